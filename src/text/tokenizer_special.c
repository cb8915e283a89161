/* Special tokens in text.
 *
 * The rule (llama.cpp's): tokens are tried longest first over the whole text, each takes all its
 * occurrences in what is still plain text, left to right.  So a longer token to the right beats a
 * shorter one that overlaps it from the left.  Done literally that is one pass over the text per
 * token, thousands for some vocabularies.
 *
 * Here: one pass finds *clusters*, stretches of overlapping occurrences.  Nearly all are a single
 * token and are done; the others are resolved by the rule, but inside the cluster and with the tokens
 * that occur in it.  Clusters cannot influence each other, unless a token also takes the white space
 * beside it (LSTRIP, RSTRIP): then the whole text is treated as one cluster. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static const uint16_t special_attr = SR_ATTR_CONTROL | SR_ATTR_USER | SR_ATTR_UNKNOWN;

static int by_bytes(const void *x, const void *y)
{
    const sr_special *a = x, *b = y;
    int               c = memcmp(a->p, b->p, SR_MIN(a->n, b->n));
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

/* Longest first; of equal length the smaller id (llama.cpp leaves that open: std::sort). */
static int by_rank(const void *x, const void *y)
{
    const sr_special *a = x, *b = y;
    return a->n != b->n ? (a->n < b->n) - (a->n > b->n) : (a->id > b->id) - (a->id < b->id);
}

sr_status sr_special_build(sr_tokenizer *t, sr_err *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_vocab; i++)
        n += (t->attr[i] & special_attr) != 0;
    t->special      = sr_calloc(n + 1, sizeof *t->special);
    t->special_pair = sr_calloc(65536 / 8, 1);
    if (!t->special || !t->special_pair)
        return sr_raise(err, SR_NOMEM, "host: memory for %u special tokens", n);
    for (uint32_t i = 0; i < t->n_vocab; i++)
        if (t->attr[i] & special_attr)
            t->special[t->n_special++] = (sr_special){sr_tok_at(t, t->text[i]), t->text[i].n, (int32_t)i};
    qsort(t->special, n, sizeof *t->special, by_bytes);
    for (uint32_t i = 0, lead = 0; i <= n; i++)
        while (lead <= (i < n ? (unsigned char)t->special[i].p[0] : 256u))
            t->special_from[lead++] = i;
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *p = (const unsigned char *)t->special[i].p;
        for (unsigned second = 0; second < 256; second++)
            if (t->special[i].n == 1 || p[1] == second)
                t->special_pair[(p[0] << 8 | second) / 8] |= (uint8_t)(1u << second % 8);
    }
    return SR_OK;
}

typedef struct {
    const sr_tokenizer *t;
    const char         *text;
    size_t              n;
    bool                parse_special;
    uint32_t           *seen; /* indexes into t->special that occur in the cluster */
    size_t              n_seen, cap_seen;
    uint8_t            *is_seen; /* bit per special token; made when first needed */
    sr_segments         work[2];
    sr_segments        *out;
    sr_err             *err;
} cutter;

static bool no_memory(cutter *c)
{
    sr_raise(c->err, SR_NOMEM, "host: memory to find special tokens in %zu bytes", c->n);
    return false;
}

static bool push(cutter *c, sr_segments *s, size_t at, size_t n, int32_t id)
{
    sr_segment *last = s->n ? &s->p[s->n - 1] : NULL;
    if (id < 0 && n == 0)
        return true;
    if (id < 0 && last && last->id < 0 && last->at + last->n == at) { /* plain text on both sides of a cluster's edge */
        last->n += n;
        return true;
    }
    if (s->n == s->cap) {
        size_t      cap = s->cap ? 2 * s->cap : 8;
        sr_segment *p   = sr_realloc(s->p, cap * sizeof *p);
        if (!p)
            return no_memory(c);
        s->p   = p;
        s->cap = cap;
    }
    s->p[s->n++] = (sr_segment){at, n, id};
    return true;
}

static bool active(const cutter *c, const sr_special *s)
{
    return c->parse_special || !(c->t->attr[s->id] & (SR_ATTR_CONTROL | SR_ATTR_UNKNOWN | SR_ATTR_GUARD));
}

static bool note(cutter *c, uint32_t i)
{
    if (!c->is_seen && !(c->is_seen = sr_calloc(c->t->n_special / 8 + 1, 1)))
        return no_memory(c);
    if (c->is_seen[i / 8] >> i % 8 & 1)
        return true;
    if (c->n_seen == c->cap_seen) {
        size_t    cap = c->cap_seen ? 2 * c->cap_seen : 16;
        uint32_t *p   = sr_realloc(c->seen, cap * sizeof *p);
        if (!p)
            return no_memory(c);
        c->seen     = p;
        c->cap_seen = cap;
    }
    c->is_seen[i / 8] |= (uint8_t)(1u << i % 8);
    c->seen[c->n_seen++] = i;
    return true;
}

static void forget(cutter *c)
{
    for (size_t i = 0; i < c->n_seen; i++)
        c->is_seen[c->seen[i] / 8] = 0;
    c->n_seen = 0;
}

/* First index in [lo, hi) whose byte at `depth` is >= b; all there share the first `depth` bytes, and
 * those that end at `depth` are not in the range any more. */
static uint32_t lower(const sr_special *s, uint32_t lo, uint32_t hi, size_t depth, unsigned b)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)s[mid].p[depth] < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Length of the longest active token at text[at], 0 if none.  With `all`, notes every one; *one is an
 * index of the longest. */
static size_t tokens_at(cutter *c, size_t at, bool all, uint32_t *one, bool *failed)
{
    const sr_special    *s    = c->t->special;
    const unsigned char *p    = (const unsigned char *)c->text + at;
    size_t               left = c->n - at, best = 0;
    unsigned             pair = (unsigned)p[0] << 8 | (left > 1 ? p[1] : 0);
    if (!(c->t->special_pair[pair / 8] >> pair % 8 & 1))
        return 0;
    uint32_t lo = c->t->special_from[p[0]], hi = c->t->special_from[p[0] + 1];
    for (size_t depth = 1; lo < hi; depth++) {
        if (s[lo].n == depth) { /* the shortest sorts first; texts are unique */
            if (active(c, &s[lo])) {
                best = depth;
                *one = lo;
                if (all && !note(c, lo)) {
                    *failed = true;
                    return 0;
                }
            }
            lo++;
        }
        if (depth == left)
            break;
        lo = lower(s, lo, hi, depth, p[depth]);
        hi = p[depth] == 255 ? hi : lower(s, lo, hi, depth, p[depth] + 1u);
    }
    return best;
}

static bool is_space(char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r'); }

/* One token over one plain piece of the work list. */
static bool take_all(cutter *c, const sr_special *s, sr_segment plain, sr_segments *to)
{
    uint16_t attr = c->t->attr[s->id];
    size_t   at = plain.at, end = plain.at + plain.n;
    while (at < end) {
        const char *hit = memmem(c->text + at, end - at, s->p, s->n);
        if (!hit)
            break;
        size_t from = (size_t)(hit - c->text), to_left = from;
        while (attr & SR_ATTR_LSTRIP && to_left > at && is_space(c->text[to_left - 1]))
            to_left--;
        if (!push(c, to, at, to_left - at, -1) || !push(c, to, from, s->n, s->id))
            return false;
        at = from + s->n;
        while (attr & SR_ATTR_RSTRIP && at < end && is_space(c->text[at]))
            at++;
    }
    return push(c, to, at, end - at, -1);
}


/* The rule itself, over text[at..end) with the tokens in `seen`. */
static bool resolve(cutter *c, size_t at, size_t end)
{
    const sr_special *s    = c->t->special;
    sr_segments      *from = &c->work[0], *to = &c->work[1];
    sr_special       *order = sr_malloc((c->n_seen + 1) * sizeof *order);
    if (!order)
        return no_memory(c);
    for (size_t i = 0; i < c->n_seen; i++)
        order[i] = s[c->seen[i]];
    qsort(order, c->n_seen, sizeof *order, by_rank);
    from->n = 0;
    bool ok = push(c, from, at, end - at, -1);
    for (size_t i = 0; ok && i < c->n_seen; i++) {
        to->n = 0;
        for (size_t k = 0; ok && k < from->n; k++)
            ok = from->p[k].id < 0 ? take_all(c, &order[i], from->p[k], to)
                                   : push(c, to, from->p[k].at, from->p[k].n, from->p[k].id);
        sr_segments *swap = from;
        from              = to;
        to                = swap;
    }
    for (size_t k = 0; ok && k < from->n; k++)
        ok = push(c, c->out, from->p[k].at, from->p[k].n, from->p[k].id);
    sr_free(order);
    return ok;
}

/* The cluster that begins with the token of length n at text[at]; *end: where it ends. */
static bool cluster(cutter *c, size_t at, size_t n, uint32_t one, size_t *end)
{
    bool     failed = false;
    uint32_t unused;
    size_t   count = 1;
    *end           = at + n;
    for (size_t i = at + 1; i < *end; i++) {
        size_t k = tokens_at(c, i, false, &unused, &failed);
        count += k > 0;
        if (k)
            *end = SR_MAX(*end, i + k);
    }
    if (count == 1) /* shorter tokens at the same place lose to it */
        return push(c, c->out, at, n, c->t->special[one].id);
    for (size_t i = at; i < *end && !failed; i++)
        tokens_at(c, i, true, &unused, &failed);
    bool ok = !failed && resolve(c, at, *end);
    forget(c);
    return ok;
}

static bool cut(cutter *c)
{
    bool     failed = false;
    uint32_t one    = 0;
    size_t   plain  = 0; /* where the plain text not yet put out begins */
    if (c->t->special_strips) {
        for (size_t i = 0; i < c->n && !failed; i++)
            tokens_at(c, i, true, &one, &failed);
        return !failed && resolve(c, 0, c->n);
    }
    for (size_t i = 0; i < c->n;) {
        size_t n = tokens_at(c, i, false, &one, &failed), end;
        if (n == 0) {
            i++;
            continue;
        }
        if (!push(c, c->out, plain, i - plain, -1) || !cluster(c, i, n, one, &end))
            return false;
        plain = i = end;
    }
    return push(c, c->out, plain, c->n - plain, -1);
}

sr_status sr_special_cut(const sr_tokenizer *t, const char *text, size_t n, bool parse_special, sr_segments *out,
                         sr_err *err)
{
    cutter c  = {.t = t, .text = text, .n = n, .parse_special = parse_special, .out = out, .err = err};
    bool   ok = cut(&c);
    sr_free(c.seen);
    sr_free(c.is_seen);
    sr_free(c.work[0].p);
    sr_free(c.work[1].p);
    return ok ? SR_OK : SR_NOMEM;
}
