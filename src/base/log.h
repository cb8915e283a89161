/* log.h - what the program tells its operator, a line at a time.
 *
 *     sr_log(SR_LOG_INFO, "listening on %s", url);
 *     sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FSTR("id", id), SR_FNUM("ms", ms)), "request done");
 *
 *     12:34:56.789 info  request done id=chatcmpl-7 ms=12.5
 *     {"time":"2026-11-20T12:34:56.789Z","level":"info","msg":"request done","id":"chatcmpl-7","ms":12.5}
 *
 * A line is built on the stack (4096 bytes, then cut with "...") and leaves by one write(2), so lines of
 * several threads never mix and nothing is allocated.  Control characters, line breaks and broken UTF-8 are
 * escaped: what is logged cannot forge a line or drive a terminal.
 * What never goes in: text of prompts or answers, keys, file content.
 *
 * Owns:    the sink, a process-wide variable by nature (README.md beside this file); not the descriptor.
 * Threads: any.  sr_log_setup() before threads start.
 * Errors:  none reported: a line that cannot be written is dropped, the program goes on.
 */
#ifndef SR_BASE_LOG_H
#define SR_BASE_LOG_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { SR_LOG_ERROR, SR_LOG_WARN, SR_LOG_INFO, SR_LOG_DEBUG } sr_loglevel;
typedef struct {
    int         fd;    /* 0: stderr */
    sr_loglevel level; /* lines above it are not written; zero: errors only */
    bool        json;
} sr_logcfg;
typedef struct {
    const char *key; /* a plain word of ours */
    enum { SR_FIELD_STR, SR_FIELD_INT, SR_FIELD_NUM } kind;
    const char *str; /* NULL: JSON null, "-" in text */
    int64_t     i;
    double      num;
} sr_logfield;
typedef struct { const sr_logfield *f; size_t n; } sr_logfields;

void sr_log_setup(const sr_logcfg *); /* until then: warnings and errors, as text, to stderr */
bool sr_log_on(sr_loglevel);
void sr_log_write(sr_loglevel, sr_logfields, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The arguments are not evaluated when the level is off. */
#define sr_logf(level, fields, ...) (sr_log_on(level) ? sr_log_write(level, fields, __VA_ARGS__) : (void)0)
#define sr_log(level, ...)          sr_logf(level, ((sr_logfields){NULL, 0}), __VA_ARGS__)
#define SR_FIELDS(...)                                                                                             \
    ((sr_logfields){(const sr_logfield[]){__VA_ARGS__}, sizeof((const sr_logfield[]){__VA_ARGS__}) / sizeof(sr_logfield)})
#define SR_FSTR(k, s) {.key = (k), .kind = SR_FIELD_STR, .str = (s)}
#define SR_FINT(k, v) {.key = (k), .kind = SR_FIELD_INT, .i = (int64_t)(v)}
#define SR_FNUM(k, v) {.key = (k), .kind = SR_FIELD_NUM, .num = (v)}
#endif
