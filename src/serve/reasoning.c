#include "serve/reasoning.h"

#include <string.h>

#include "base/mem.h"

const sr_thinkmarks *sr_thinkmarks_of(const char *src)
{
    static const sr_thinkmarks marks[] = {{"<think>", "</think>"}, {"[THINK]", "[/THINK]"}};
    for (size_t i = 0; src && i < SR_COUNT(marks); i++)
        if (strstr(src, marks[i].open) || strstr(src, marks[i].close))
            return &marks[i];
    return NULL;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Bytes at the end of p[0..n) that may be the beginning of mark. */
static size_t begun(const char *p, size_t n, const char *mark)
{
    size_t m = strlen(mark);
    for (size_t k = n < m ? n : m - 1; k > 0; k--)
        if (!memcmp(p + n - k, mark, k))
            return k;
    return 0;
}

/* p[0..n) are thoughts; white space in front of the first is dropped. */
static void thought(sr_thinker *t, const char *p, size_t n, sr_pieces *out)
{
    while (!t->said && n && is_space(*p))
        p++, n--;
    if (!n)
        return;
    t->said = true;
    sr_pieces_add(out, SR_P_THOUGHT, 0, p, n);
}

static void read_thoughts(sr_thinker *t, bool last, sr_pieces *out)
{
    sr_buf *h   = &t->held;
    char   *end = h->n ? memmem(h->p, h->n, t->marks->close, strlen(t->marks->close)) : NULL;
    size_t  n   = end ? (size_t)(end - h->p) : h->n - (last || !h->n ? 0 : begun(h->p, h->n, t->marks->close));
    size_t  keep = n;
    while (keep && is_space(h->p[keep - 1]))
        keep--;
    thought(t, h->p, keep, out);
    if (end) {
        sr_buf_drop(h, n + strlen(t->marks->close));
        t->inside = false;
        t->over   = true;
    } else {
        sr_buf_drop(h, last ? h->n : keep);
    }
}

/* Before anything but white space has come: is it the opening mark? */
static void read_start(sr_thinker *t, bool last)
{
    sr_buf *h = &t->held;
    size_t  at = 0, m = strlen(t->marks->open);
    while (at < h->n && is_space(h->p[at]))
        at++;
    size_t n = h->n - at;
    if (!last && (n < m && (!n || !memcmp(h->p + at, t->marks->open, n))))
        return; /* may still become one */
    if (n >= m && !memcmp(h->p + at, t->marks->open, m)) {
        sr_buf_drop(h, at + m);
        t->inside = true;
    } else {
        t->over = true;
    }
}

static void run(sr_thinker *t, bool last, sr_pieces *out, sr_buf *rest)
{
    bool began_outside = !t->inside && !t->over;
    if (began_outside)
        read_start(t, last);
    bool plain = began_outside && t->over;
    if (t->inside)
        read_thoughts(t, last, out);
    if (!t->over)
        return;
    size_t at = 0; /* behind the closing mark white space is dropped; an answer without thoughts is left as it is */
    while (!plain && at < t->held.n && is_space(t->held.p[at]))
        at++;
    if (at < t->held.n)
        sr_buf_add(rest, t->held.p + at, t->held.n - at);
    if (at == t->held.n && !plain)
        t->held.n = 0; /* more of it may come */
    else
        sr_buf_end(&t->held), t->marks = NULL;
}

void sr_thinker_push(sr_thinker *t, const char *p, size_t n, sr_pieces *out, sr_buf *rest)
{
    if (!t->marks) {
        sr_buf_add(rest, p, n);
        return;
    }
    if (!n)
        return;
    sr_buf_add(&t->held, p, n);
    rest->failed |= t->held.failed;
    run(t, false, out, rest);
}

void sr_thinker_finish(sr_thinker *t, sr_pieces *out, sr_buf *rest)
{
    if (t->marks)
        run(t, true, out, rest);
}

void sr_thinker_end(sr_thinker *t) { sr_buf_end(&t->held); }
