/* err.h - how a failure travels.
 *
 * Fallible functions return sr_status and take an sr_err.  The first error is the cause and is
 * never overwritten; callers add context with sr_while().  The result reads
 *     /m/x.gguf: No such file or directory < while loading draft model for "qwen2.5-7b"
 *
 * Owns:    nothing; an sr_err is plain data, zero-initialised by its owner.
 * Threads: one sr_err belongs to one thread at a time.
 * Errors:  SR_AGAIN is a value, not a fault: no message is written for it.
 */
#ifndef SR_BASE_ERR_H
#define SR_BASE_ERR_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
typedef enum {
    SR_OK = 0,
    SR_AGAIN,       /* not now: no page, no slot, queue full.  Not a fault; no message is written. */
    SR_INVALID,     /* the caller or the file is wrong; retrying cannot help */
    SR_NOMEM,       /* host or device memory; the message says which, how much was asked, how much was free */
    SR_IO,          /* file or socket; the message carries errno's text */
    SR_UNSUPPORTED, /* a correct request for something this build, device or version does not have */
    SR_DEVLOST      /* the device context is dead (sticky CUDA error): reload it, nothing else will work */
} sr_status;

#define SR_MUSTUSE __attribute__((warn_unused_result))

typedef struct {
    sr_status   status;
    const char *file; /* where it was first raised */
    int         line;
    char        msg[480]; /* cause first, then " < while ..." for each caller that added context */
} sr_err;

sr_status sr_raise_(sr_err *e, const char *file, int line, sr_status s, const char *fmt, ...)
    __attribute__((format(printf, 5, 6))); /* keeps an error already there */
sr_status sr_while(sr_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define sr_raise(e, s, ...) sr_raise_((e), __FILE__, __LINE__, (s), __VA_ARGS__)

const char *sr_status_name(sr_status s);

/* Copies n untrusted bytes into out as printable ASCII ("\x1b" for others), cut with "..." to fit.
 * For file content inside messages: a name from a hostile file must not drive a terminal. */
const char *sr_escape(char *out, unsigned long cap, const char *bytes, unsigned long n);

/* A broken invariant of ours (never bad input): prints the expression and the state it is given,
 * then ends the process.  Stays on in release builds. */
#define SR_ASSERT(cond, ...) ((cond) ? (void)0 : sr_panic_(__FILE__, __LINE__, #cond, "" __VA_ARGS__))
void sr_panic_(const char *file, int line, const char *cond, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), noreturn));
#ifdef __cplusplus
}
#endif
#endif
