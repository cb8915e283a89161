#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_ = 4096, MSG_MAX = 2048 };

/* The sink: set once before threads start, read by all. */
static sr_logcfg sink = {.fd = 0, .level = SR_LOG_WARN, .json = false};

static const char *const level_name[] = {"error", "warn", "info", "debug"};

typedef struct { char p[LINE_MAX_]; size_t n; bool cut; } line;

/* Keeps room for the tail of every line: "...", a quote, a brace and the newline. */
static void put(line *l, const char *s, size_t n)
{
    enum { TAIL = 8 };
    if (l->cut || n > sizeof l->p - TAIL - l->n) {
        l->cut = true;
        return;
    }
    memcpy(l->p + l->n, s, n);
    l->n += n;
}

static void puts_(line *l, const char *s) { put(l, s, strlen(s)); }

/* The length of the well-formed UTF-8 sequence of a printable code point at s, or 0.  [Unicode 15, table 3-7]
 * C1 controls (U+0080..U+009F) drive terminals, U+2028/9 break lines, U+202A..E and U+2066..9 reorder them: not
 * printable. */
static size_t printable(const unsigned char *s, size_t n)
{
    unsigned c = s[0];
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    size_t   k  = c >= 0xf0 && c <= 0xf4 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 0;
    uint32_t cp = k == 4 ? c & 7 : k == 3 ? c & 15 : c & 31;
    if (k == 0 || n < k)
        return 0;
    for (size_t i = 1; i < k; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3f);
    }
    bool overlong  = (k == 3 && cp < 0x800) || (k == 4 && (cp < 0x10000 || cp > 0x10ffff));
    bool surrogate = cp >= 0xd800 && cp <= 0xdfff;
    bool control   = cp < 0xa0 || (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
    return overlong || surrogate || control ? 0 : k;
}

/* Bytes that are not printable UTF-8 are escaped one by one; quotes only where the text stands in quotes. */
static void put_escaped(line *l, const char *s, size_t n, bool json, bool quoted)
{
    const unsigned char *u = (const unsigned char *)s;
    for (size_t i = 0, k; i < n && !l->cut; i += k ? k : 1) {
        char hex[8];
        k = printable(u + i, n - i);
        if (k == 0)
            put(l, hex, (size_t)snprintf(hex, sizeof hex, json ? "\\u%04x" : "\\x%02x", u[i]));
        else if (u[i] == '\\' || (u[i] == '"' && quoted))
            put(l, (const char[]){'\\', s[i]}, 2);
        else
            put(l, s + i, k);
    }
}

static void put_time(line *l, bool json)
{
    struct timespec t;
    struct tm       tm;
    char            at[40];
    clock_gettime(CLOCK_REALTIME, &t);
    if (json)
        gmtime_r(&t.tv_sec, &tm);
    else
        localtime_r(&t.tv_sec, &tm);
    size_t n = strftime(at, sizeof at, json ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &tm);
    n += (size_t)snprintf(at + n, sizeof at - n, ".%03ld%s", t.tv_nsec / 1000000, json ? "Z" : "");
    put(l, at, n);
}

static void put_field(line *l, const sr_logfield *f, bool json)
{
    char num[40];
    int  n = f->kind == SR_FIELD_INT ? snprintf(num, sizeof num, "%lld", (long long)f->i)
                                     : snprintf(num, sizeof num, "%.6g", f->num);
    puts_(l, json ? ",\"" : " ");
    puts_(l, f->key);
    puts_(l, json ? "\":" : "=");
    if (f->kind == SR_FIELD_STR) {
        bool quoted = json || !f->str || !*f->str || strpbrk(f->str, " \"\\=") != NULL;
        if (!f->str) {
            puts_(l, json ? "null" : "-");
            return;
        }
        puts_(l, quoted ? "\"" : "");
        put_escaped(l, f->str, strlen(f->str), json, quoted);
        puts_(l, quoted ? "\"" : "");
    } else if (json && f->kind == SR_FIELD_NUM && !isfinite(f->num)) {
        puts_(l, "null"); /* JSON has no infinity */
    } else {
        put(l, num, (size_t)n);
    }
}

static void finish(line *l, bool in_string, bool json)
{
    const char *tail = !l->cut ? "" : json && in_string ? "...\"" : json ? "" : "...";
    size_t      n    = strlen(tail);
    memcpy(l->p + l->n, tail, n);
    l->n += n;
    if (json)
        l->p[l->n++] = '}';
    l->p[l->n++] = '\n';
    ssize_t r;
    do
        r = write(sink.fd ? sink.fd : STDERR_FILENO, l->p, l->n);
    while (r < 0 && errno == EINTR);
}

void sr_log_setup(const sr_logcfg *cfg) { sink = *cfg; }

bool sr_log_on(sr_loglevel level) { return level <= sink.level; }

void sr_log_write(sr_loglevel level, sr_logfields fields, const char *fmt, ...)
{
    char    msg[MSG_MAX];
    line    l = {.n = 0};
    bool    json = sink.json;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof msg ? (size_t)n : sizeof msg - 1;

    puts_(&l, json ? "{\"time\":\"" : "");
    put_time(&l, json);
    puts_(&l, json ? "\",\"level\":\"" : " ");
    puts_(&l, level_name[level]);
    puts_(&l, json ? "\",\"msg\":\"" : level == SR_LOG_INFO || level == SR_LOG_WARN ? "  " : " ");
    put_escaped(&l, msg, len, json, json);
    if (l.cut) {
        finish(&l, true, json);
        return;
    }
    puts_(&l, (size_t)n > len && n > 0 ? "..." : "");
    puts_(&l, json ? "\"" : "");
    for (size_t i = 0; i < fields.n; i++) {
        size_t before = l.n;
        put_field(&l, &fields.f[i], json);
        if (l.cut) { /* a field that does not fit is left out whole, so that JSON stays JSON */
            l.n = before;
            break;
        }
    }
    finish(&l, false, json);
}
