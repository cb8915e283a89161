#include "base/buf.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

bool sr_buf_reserve(sr_buf *b, size_t more)
{
    size_t need;
    if (b->failed || !sr_add_size(b->n, more, &need) || !sr_add_size(need, 1, &need) ||
        (b->limit && need - 1 > b->limit)) {
        b->failed = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need && sr_mul_size(cap, 2, &cap))
        ;
    char *p = sr_realloc(b->p, SR_MAX(cap, need));
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p   = p;
    b->cap = SR_MAX(cap, need);
    return true;
}

bool sr_buf_add(sr_buf *b, const void *bytes, size_t n)
{
    if (!sr_buf_reserve(b, n))
        return false;
    if (n)
        memcpy(b->p + b->n, bytes, n);
    b->n += n;
    b->p[b->n] = 0;
    return true;
}

bool sr_buf_str(sr_buf *b, const char *s) { return sr_buf_add(b, s, strlen(s)); }

bool sr_buf_char(sr_buf *b, char c) { return sr_buf_add(b, &c, 1); }

bool sr_buf_fmt(sr_buf *b, const char *fmt, ...)
{
    va_list ap;
    size_t  room = b->p && !b->failed ? b->cap - b->n : 0;
    va_start(ap, fmt);
    int n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap); /* mostly it fits: once is enough */
    va_end(ap);
    if (n >= 0 && (size_t)n < room && (!b->limit || b->n + (size_t)n <= b->limit)) {
        b->n += (size_t)n;
        return true;
    }
    if (room)
        b->p[b->n] = 0;
    if (n < 0 || !sr_buf_reserve(b, (size_t)n)) {
        b->failed = true;
        return false;
    }
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
    return true;
}

void sr_buf_drop(sr_buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
    } else if (n) {
        memmove(b->p, b->p + n, b->n - n);
        b->n -= n;
    }
    if (b->p)
        b->p[b->n] = 0;
}

void sr_buf_end(sr_buf *b)
{
    if (b) {
        sr_free(b->p);
        *b = (sr_buf){.limit = b->limit};
    }
}
