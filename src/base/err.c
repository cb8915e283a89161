#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first error is the cause; later ones are consequences and must not hide it. */
sr_status sr_raise_(sr_err *e, const char *file, int line, sr_status s, const char *fmt, ...)
{
    if (!e || e->status != SR_OK)
        return e ? e->status : s;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    e->status = s;
    e->file   = file;
    e->line   = line;
    return s;
}

/* Appends context.  When the buffer is full the context is cut, never the cause. */
sr_status sr_while(sr_err *e, const char *fmt, ...)
{
    if (!e || e->status == SR_OK)
        return e ? e->status : SR_OK;
    size_t at = strlen(e->msg);
    int    k  = snprintf(e->msg + at, sizeof e->msg - at, " < while ");
    if (k > 0 && at + (size_t)k < sizeof e->msg) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(e->msg + at + (size_t)k, sizeof e->msg - at - (size_t)k, fmt, ap);
        va_end(ap);
    }
    return e->status;
}

const char *sr_status_name(sr_status s)
{
    static const char *const names[] = {"ok", "again", "invalid", "no memory", "i/o", "unsupported", "device lost"};
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

const char *sr_escape(char *out, unsigned long cap, const char *bytes, unsigned long n)
{
    unsigned long o = 0;
    if (cap == 0)
        return "";
    for (unsigned long i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        unsigned long need = c >= 0x20 && c < 0x7f && c != '\\' ? 1 : 4;
        if (o + need + 4 > cap) { /* keep room for "..." */
            for (int d = 0; d < 3 && o + 1 < cap; d++)
                out[o++] = '.';
            break;
        }
        if (need == 1)
            out[o++] = (char)c;
        else
            o += (unsigned long)snprintf(out + o, cap - o, "\\x%02x", c);
    }
    out[o] = 0;
    return out;
}

void sr_panic_(const char *file, int line, const char *cond, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "strata: broken invariant at %s:%d: %s", file, line, cond);
    if (*fmt) {
        fputs(": ", stderr);
        va_start(ap, fmt);
        vfprintf(stderr, fmt, ap);
        va_end(ap);
    }
    fputc('\n', stderr);
    abort();
}
