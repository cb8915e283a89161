/* Two machines in a row, a byte at a time:
 *
 *   bytes of tokens --(UTF-8: pend holds the begun code point)--> whole code points
 *                   --(stops: one Knuth-Morris-Pratt state each)--> held --> out
 *
 * `held` is text not yet given out; it need not be longer than the longest state, since that is how
 * much of a stop string may have begun.  Working by bytes, the result does not depend on how the text
 * was cut into tokens: the stop string that completes first wins, of those that complete at the same
 * byte the longest. */
#include "text/detok.h"
#include "base/mem.h"

#include <string.h>

typedef struct {
    char     *p;
    size_t    n, state; /* state: how many bytes of it the text ends with */
    uint32_t *back;     /* back[i]: the state to fall back to when p[i + 1] does not follow p[0..i] */
} stop;

struct sr_detok {
    const sr_tokenizer *t;
    bool                include_stop, special;
    stop               *stops;
    size_t              n_stops, stopped; /* stopped: 1 + index, once */
    unsigned char       pend[4];
    size_t              n_pend;
    sr_buf              held;
};

/* ---- UTF-8 ---------------------------------------------------------------------------------- */

/* p[0..n), n 1 to 4: 1 a whole code point, 0 the beginning of one, -1 neither.  Unicode 15, table 3-7. */
static int utf8_check(const unsigned char *p, size_t n)
{
    unsigned a    = p[0];
    unsigned lo   = a == 0xE0 ? 0xA0 : a == 0xF0 ? 0x90 : 0x80, hi = a == 0xED ? 0x9F : a == 0xF4 ? 0x8F : 0xBF;
    size_t   need = a < 0x80 ? 1 : a < 0xC2 ? 0 : a < 0xE0 ? 2 : a < 0xF0 ? 3 : a < 0xF5 ? 4 : 0;
    if (need == 0 || n > need || (n > 1 && (p[1] < lo || p[1] > hi)))
        return -1;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xBF)
            return -1;
    return n == need;
}

static bool utf8_valid(const char *p, size_t n)
{
    for (size_t i = 0, len; i < n; i += len) {
        int ok = 0;
        for (len = 1; i + len <= n && (ok = utf8_check((const unsigned char *)p + i, len)) == 0; len++)
            ;
        if (ok != 1)
            return false;
    }
    return true;
}

/* ---- open and close -------------------------------------------------------------------------- */

static sr_status add_stop(sr_detok *d, const sr_stopstr *s, sr_err *err)
{
    stop *x = &d->stops[d->n_stops];
    if (s->n == 0 || s->n > UINT32_MAX || !utf8_valid(s->p, s->n))
        return sr_raise(err, SR_INVALID, "stop string %zu is %s", d->n_stops + 1, s->n ? "not UTF-8" : "empty");
    d->n_stops++;
    x->n    = s->n;
    x->p    = sr_strndup(s->p, s->n);
    x->back = sr_calloc(s->n, sizeof *x->back);
    if (!x->p || !x->back)
        return sr_raise(err, SR_NOMEM, "host: memory for a stop string of %zu bytes", s->n);
    for (uint32_t i = 1, k = 0; i < x->n; i++) {
        while (k && x->p[i] != x->p[k])
            k = x->back[k - 1];
        k += x->p[i] == x->p[k];
        x->back[i] = k;
    }
    return SR_OK;
}

sr_status sr_detok_open(const sr_tokenizer *t, const sr_stopstr *list, size_t n_stop, bool include_stop, bool special,
                        sr_detok **out, sr_err *err)
{
    sr_detok *d = sr_calloc(1, sizeof *d);
    sr_status s = SR_OK;
    *out        = NULL;
    if (!d || !(d->stops = sr_calloc(n_stop + 1, sizeof *d->stops)))
        s = sr_raise(err, SR_NOMEM, "host: memory for %zu stop strings", n_stop);
    for (size_t i = 0; !s && i < n_stop; i++)
        s = add_stop(d, &list[i], err);
    if (s) {
        sr_detok_close(d);
        return s;
    }
    d->t            = t;
    d->include_stop = include_stop;
    d->special      = special;
    *out            = d;
    return SR_OK;
}

void sr_detok_close(sr_detok *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->n_stops; i++) {
        sr_free(d->stops[i].p);
        sr_free(d->stops[i].back);
    }
    sr_free(d->stops);
    sr_buf_end(&d->held);
    sr_free(d);
}

/* ---- the machines ---------------------------------------------------------------------------- */

/* 1 + index of the longest stop string that this byte completes, else 0. */
static size_t step_stops(sr_detok *d, char c)
{
    size_t hit = 0;
    for (size_t i = 0; i < d->n_stops; i++) {
        stop *x = &d->stops[i];
        while (x->state && x->p[x->state] != c)
            x->state = x->back[x->state - 1];
        x->state += x->p[x->state] == c;
        if (x->state == x->n) {
            x->state = x->back[x->n - 1];
            if (!hit || x->n > d->stops[hit - 1].n)
                hit = i + 1;
        }
    }
    return hit;
}

/* A whole code point (or U+FFFD) joins the text. */
static void add_text(sr_detok *d, const void *bytes, size_t n)
{
    const char *p = bytes;
    for (size_t i = 0; i < n && !d->stopped; i++) {
        sr_buf_char(&d->held, p[i]);
        d->stopped = step_stops(d, p[i]);
    }
    if (d->stopped && !d->include_stop && !d->held.failed)
        d->held.n -= d->stops[d->stopped - 1].n;
}

static void add_bad(sr_detok *d)
{
    d->n_pend = 0;
    add_text(d, "\xEF\xBF\xBD", 3);
}

static void add_byte(sr_detok *d, unsigned char b)
{
    d->pend[d->n_pend++] = b;
    int ok               = utf8_check(d->pend, d->n_pend);
    if (ok > 0) {
        add_text(d, d->pend, d->n_pend);
        d->n_pend = 0;
    } else if (ok < 0) { /* one mark for the bytes that had begun well, then the new byte afresh */
        bool alone = d->n_pend == 1;
        add_bad(d);
        if (!alone && !d->stopped)
            add_byte(d, b);
    }
}

/* Gives out all but the last `keep` bytes. */
static sr_status give(sr_detok *d, size_t keep, sr_buf *out, sr_err *err)
{
    size_t n = d->held.n > keep ? d->held.n - keep : 0;
    if (d->held.failed || (n && !sr_buf_add(out, d->held.p, n)))
        return sr_raise(err, SR_NOMEM, "host: memory for %zu bytes of text", d->held.n);
    sr_buf_drop(&d->held, n);
    return SR_OK;
}

sr_status sr_detok_push(sr_detok *d, int32_t id, sr_buf *out, size_t *stopped, sr_err *err)
{
    size_t      n, keep = 0;
    const char *p = sr_tokenizer_piece(d->t, id, d->special, &n);
    for (size_t i = 0; i < n && !d->stopped; i++)
        add_byte(d, (unsigned char)p[i]);
    for (size_t i = 0; i < d->n_stops && !d->stopped; i++)
        keep = SR_MAX(keep, d->stops[i].state);
    *stopped = d->stopped;
    return give(d, keep, out, err);
}

sr_status sr_detok_flush(sr_detok *d, sr_buf *out, sr_err *err)
{
    if (d->n_pend && !d->stopped)
        add_bad(d);
    return give(d, 0, out, err);
}
