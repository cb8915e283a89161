/* grammar_build.c - expressions: nodes with kids, depth and a guess of their size. */
#include "text/grammar_nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

enum { MAX_NODES = 1 << 20, MAX_RULES = 16384, MAX_DEPTH = 600, MAX_BYTES = 64 << 20 };

void sr_gb_begin(sr_gbuild *b, sr_err *err)
{
    *b = (sr_gbuild){.err = err, .mem = {.limit = MAX_BYTES}};
}

void sr_gb_end(sr_gbuild *b)
{
    sr_arena_end(&b->mem);
    sr_free(b->node);
    sr_free(b->rule);
    b->node = NULL;
    b->rule = NULL;
}

sr_gx sr_gb_nomem(sr_gbuild *b)
{
    (void)!sr_raise(b->err, SR_NOMEM, "host: no memory for a grammar");
    return 0;
}

/* A new node; NULL: failure. */
static sr_gnode *add(sr_gbuild *b, sr_gnode n)
{
    if (n.depth > MAX_DEPTH || b->n_node >= MAX_NODES) {
        (void)!sr_raise(b->err, SR_INVALID, "grammar too large: %s", n.depth > MAX_DEPTH ? "nested too deeply" : "too many parts");
        return NULL;
    }
    if (b->n_node + 1 >= b->cap_node) {
        uint32_t  cap = b->cap_node ? b->cap_node * 2 : 256;
        sr_gnode *p   = sr_realloc(b->node, cap * sizeof *p);
        if (!p)
            return sr_gb_nomem(b), NULL;
        b->node     = p;
        b->cap_node = cap;
        b->n_node   = SR_MAX(b->n_node, 1); /* 0 is failure */
    }
    b->node[b->n_node] = n;
    return &b->node[b->n_node++];
}

static sr_gx index_of(const sr_gbuild *b, const sr_gnode *n) { return n ? (sr_gx)(n - b->node) : 0; }

sr_gx sr_gb_empty(sr_gbuild *b) { return index_of(b, add(b, (sr_gnode){.kind = SR_GN_EMPTY})); }

sr_gx sr_gb_lit(sr_gbuild *b, const char *bytes, size_t n)
{
    if (n == 0)
        return sr_gb_empty(b);
    char *p = sr_arena_strndup(&b->mem, bytes, n);
    if (!p)
        return sr_gb_nomem(b);
    return index_of(b, add(b, (sr_gnode){.kind = SR_GN_LIT, .n = (uint32_t)n, .size = (uint32_t)SR_MIN(n, UINT32_MAX / 2), .lit = p}));
}

sr_gx sr_gb_str(sr_gbuild *b, const char *s) { return sr_gb_lit(b, s, strlen(s)); }

sr_gx sr_gb_class(sr_gbuild *b, const sr_cprange *r, uint32_t n)
{
    sr_cprange *p = sr_arena_alloc(&b->mem, (n + 1) * sizeof *p);
    if (!p)
        return sr_gb_nomem(b);
    if (n)
        memcpy(p, r, n * sizeof *p);
    return index_of(b, add(b, (sr_gnode){.kind = SR_GN_CLASS, .n = n, .size = 1 + 2 * n, .range = p}));
}

static sr_gx many(sr_gbuild *b, int kind, const sr_gx *x, uint32_t n)
{
    uint64_t size = 1;
    uint32_t depth = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!x[i])
            return 0;
        depth = SR_MAX(depth, b->node[x[i]].depth);
        size += b->node[x[i]].size;
    }
    if (n == 1)
        return x[0];
    sr_gx *p = sr_arena_alloc(&b->mem, (n + 1) * sizeof *p);
    if (!p)
        return sr_gb_nomem(b);
    if (n)
        memcpy(p, x, n * sizeof *p);
    return index_of(b, add(b, (sr_gnode){.kind = (uint8_t)kind, .depth = (uint16_t)(depth + 1), .n = n, .kid = p,
                                         .size = (uint32_t)SR_MIN(size, UINT32_MAX / 2)}));
}

sr_gx sr_gb_seq(sr_gbuild *b, const sr_gx *x, uint32_t n) { return n ? many(b, SR_GN_SEQ, x, n) : sr_gb_empty(b); }

/* ---- many plain texts ------------------------------------------------------------------------------------------
 * As alternatives side by side each would be a way of its own through the same beginning, and a set holds so many ways only.  As a
 * tree of what they begin with there is one; each branch is a rule whose calls stand last, so nothing is pushed for them.
 *
 *     "red" | "rest" | "blue"   ->   "re" A | "blue"      A ::= "d" | "st"                                               */

#ifdef SR_FUZZ /* a fuzzer writes few */
enum { WORDS_LEAST = 3 };
#else
enum { WORDS_LEAST = 32 };
#endif
typedef struct { uint32_t rule, lo, hi, at; } branch; /* for the words lo..hi, which are the same up to `at` */

static int by_bytes(const void *x, const void *y)
{
    const sr_gnode *a = x, *b = y;
    int c = memcmp(a->lit, b->lit, SR_MIN(a->n, b->n));
    return c ? c : (a->n > b->n) - (a->n < b->n);
}

static sr_gx grow(sr_gbuild *b, const sr_gnode *w, branch t, sr_buf *todo)
{
    sr_gx    kid[257];
    uint32_t n = 0;
    if (w[t.lo].n == t.at) {
        kid[n++] = sr_gb_empty(b);
        t.lo++;
    }
    for (uint32_t i = t.lo, k; i < t.hi; i = k) {
        for (k = i + 1; k < t.hi && w[k].lit[t.at] == w[i].lit[t.at];)
            k++;
        branch next = {0, i, k, t.at};
        if (k - i == 1) {
            kid[n++] = sr_gb_lit(b, w[i].lit + t.at, w[i].n - t.at);
            continue;
        }
        while (next.at < w[i].n && w[i].lit[next.at] == w[k - 1].lit[next.at]) /* sorted: the first and the last differ soonest */
            next.at++;
        if ((next.rule = sr_gb_rule(b, NULL, 0)) == UINT32_MAX)
            return 0;
        if (!sr_buf_add(todo, &next, sizeof next))
            return sr_gb_nomem(b);
        kid[n++] = SR_GB_SEQ(b, sr_gb_lit(b, w[i].lit + t.at, next.at - t.at), sr_gb_ref(b, next.rule));
    }
    return many(b, SR_GN_ALT, kid, n);
}

/* Of sorted words, each once. */
static sr_gx tree(sr_gbuild *b, const sr_gnode *w, uint32_t n)
{
    sr_buf   todo = {0};
    uint32_t root = sr_gb_rule(b, NULL, 0);
    bool     ok   = root != UINT32_MAX && (sr_buf_add(&todo, &(branch){root, 0, n, 0}, sizeof(branch)) || sr_gb_nomem(b));
    for (size_t at = 0; ok && at < todo.n; at += sizeof(branch)) {
        branch t;
        memcpy(&t, todo.p + at, sizeof t);
        ok = sr_gb_define(b, t.rule, grow(b, w, t, &todo));
    }
    sr_buf_end(&todo);
    return ok ? sr_gb_ref(b, root) : 0;
}

sr_gx sr_gb_alt(sr_gbuild *b, const sr_gx *x, uint32_t n)
{
    uint32_t n_word = 0, n_rest = 0, last = 0;
    for (uint32_t i = 0; i < n; i++)
        n_word += x[i] && b->node[x[i]].kind == SR_GN_LIT;
    if (n_word < WORDS_LEAST)
        return many(b, SR_GN_ALT, x, n);
    sr_gnode *w    = sr_malloc(n_word * sizeof *w);
    sr_gx    *rest = sr_malloc((n - n_word + 1) * sizeof *rest), made = 0;
    if (!w || !rest) {
        made = sr_gb_nomem(b);
        goto done;
    }
    n_word = 0;
    for (uint32_t i = 0; i < n; i++)
        if (x[i] && b->node[x[i]].kind == SR_GN_LIT)
            w[n_word++] = b->node[x[i]];
        else
            rest[n_rest++] = x[i];
    qsort(w, n_word, sizeof *w, by_bytes);
    for (uint32_t i = 1; i < n_word; i++)
        if (by_bytes(&w[last], &w[i]) != 0)
            w[++last] = w[i];
    rest[n_rest++] = tree(b, w, last + 1);
    made = many(b, SR_GN_ALT, rest, n_rest);
done:
    sr_free(w);
    sr_free(rest);
    return made;
}


sr_gx sr_gb_rep(sr_gbuild *b, sr_gx x, uint32_t min, uint32_t max)
{
    if (!x)
        return 0;
    if (min > SR_G_MAX_REP || (max != SR_G_NOMAX && (max > SR_G_MAX_REP || max < min))) {
        (void)!sr_raise(b->err, SR_INVALID, "repetition of %u to %u: at most %d, and not less than the least", min, max, SR_G_MAX_REP);
        return 0;
    }
    if (min == 1 && max == 1)
        return x;
    sr_gx *kid = sr_arena_alloc(&b->mem, sizeof *kid);
    if (!kid)
        return sr_gb_nomem(b);
    *kid = x;
    const sr_gnode *of     = &b->node[x];
    uint64_t        copies = max == SR_G_NOMAX ? min + 1 : max, size = copies * of->size;
    /* Copies of something large are calls of a rule: a state each. */
    if (copies > 1 && size > 8192 && of->kind != SR_GN_REF) {
        uint32_t rule = sr_gb_rule(b, NULL, 0);
        if (rule == UINT32_MAX || !sr_gb_define(b, rule, x))
            return 0;
        *kid = sr_gb_ref(b, rule);
        size = copies;
        if (!*kid)
            return 0;
    }
    return index_of(b, add(b, (sr_gnode){.kind = SR_GN_REP, .depth = (uint16_t)(b->node[*kid].depth + 1), .n = 1, .min = min, .max = max,
                                         .kid = kid, .size = (uint32_t)SR_MIN(size, UINT32_MAX / 2)}));
}

sr_gx sr_gb_ref(sr_gbuild *b, uint32_t rule)
{
    if (rule >= b->n_rule)
        return 0;
    return index_of(b, add(b, (sr_gnode){.kind = SR_GN_REF, .min = rule, .size = 1}));
}

static uint32_t *bucket(sr_gbuild *b, const char *name, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return &b->bucket[h % SR_COUNT(b->bucket)];
}

uint32_t sr_gb_rule(sr_gbuild *b, const char *name, size_t n)
{
    uint32_t *at = name ? bucket(b, name, n) : NULL;
    for (uint32_t i = at ? *at : 0; i; i = b->rule[i - 1].next)
        if (b->rule[i - 1].n_name == n && memcmp(b->rule[i - 1].name, name, n) == 0)
            return i - 1;
    if (b->n_rule >= MAX_RULES) {
        (void)!sr_raise(b->err, SR_INVALID, "grammar too large: more than %d rules", MAX_RULES);
        return UINT32_MAX;
    }
    if (b->n_rule == b->cap_rule) {
        uint32_t  cap = b->cap_rule ? b->cap_rule * 2 : 64;
        sr_grule *p   = sr_realloc(b->rule, cap * sizeof *p);
        if (!p)
            return sr_gb_nomem(b), UINT32_MAX;
        b->rule     = p;
        b->cap_rule = cap;
    }
    char *copy = name ? sr_arena_strndup(&b->mem, name, n) : NULL;
    if (name && !copy)
        return sr_gb_nomem(b), UINT32_MAX;
    b->rule[b->n_rule] = (sr_grule){.name = copy, .n_name = n, .next = at ? *at : 0};
    if (at)
        *at = b->n_rule + 1;
    return b->n_rule++;
}

bool sr_gb_define(sr_gbuild *b, uint32_t rule, sr_gx x)
{
    if (!x || rule >= b->n_rule || b->rule[rule].body)
        return false;
    b->rule[rule].body = x;
    return true;
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

uint32_t sr_g_decode(const char **p, const char *end)
{
    const unsigned char *u = (const unsigned char *)*p;
    size_t               n = (size_t)(end - *p);
    uint32_t             c, k;
    if (n == 0)
        return UINT32_MAX;
    if (u[0] < 0x80)
        c = u[0], k = 1;
    else if (u[0] >= 0xc2 && u[0] < 0xe0)
        c = u[0] & 0x1f, k = 2;
    else if (u[0] >= 0xe0 && u[0] < 0xf0)
        c = u[0] & 0x0f, k = 3;
    else if (u[0] >= 0xf0 && u[0] < 0xf5)
        c = u[0] & 0x07, k = 4;
    else
        return UINT32_MAX;
    if (n < k)
        return UINT32_MAX;
    for (uint32_t i = 1; i < k; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return UINT32_MAX;
        c = c << 6 | (u[i] & 0x3f);
    }
    if ((k == 3 && (c < 0x800 || (c >= 0xd800 && c <= 0xdfff))) || (k == 4 && (c < 0x10000 || c > SR_G_MAX_CP)))
        return UINT32_MAX;
    *p += k;
    return c;
}

size_t sr_g_encode(uint32_t c, char out[4])
{
    size_t               n       = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

const char *sr_g_place(char out[48], const char *text, const char *at)
{
    unsigned line = 1, column = 1;
    for (const char *p = text; p < at; p++) {
        column = *p == '\n' ? 1 : column + ((*p & 0xc0) != 0x80);
        line += *p == '\n';
    }
    snprintf(out, 48, "line %u, column %u", line, column);
    return out;
}

/* ---- classes -------------------------------------------------------------------------------------------------- */

void sr_cpset_add(sr_cpset *s, uint32_t lo, uint32_t hi)
{
    if (s->n == s->cap) {
        uint32_t    cap = s->cap ? s->cap * 2 : 16;
        sr_cprange *p   = sr_realloc(s->p, cap * sizeof *p);
        if (!p) {
            s->failed = true;
            return;
        }
        s->p   = p;
        s->cap = cap;
    }
    s->p[s->n++] = (sr_cprange){lo, hi};
}

static int by_start(const void *a, const void *b)
{
    const sr_cprange *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static void join(sr_cpset *s)
{
    uint32_t n = 0;
    if (s->n)
        qsort(s->p, s->n, sizeof *s->p, by_start);
    for (uint32_t i = 0; i < s->n; i++) {
        if (n && s->p[i].lo <= s->p[n - 1].hi + 1)
            s->p[n - 1].hi = SR_MAX(s->p[n - 1].hi, s->p[i].hi);
        else
            s->p[n++] = s->p[i];
    }
    s->n = n;
}

/* Surrogates are no characters: no UTF-8 writes them. */
static void drop_surrogates(sr_cpset *s)
{
    enum { LO = 0xd800, HI = 0xdfff };
    uint32_t n = s->n;
    for (uint32_t i = 0; i < n; i++) {
        sr_cprange r = s->p[i];
        if (r.hi < LO || r.lo > HI)
            continue;
        if (r.hi > HI)
            sr_cpset_add(s, HI + 1, r.hi);
        if (r.lo < LO)
            s->p[i].hi = LO - 1;
        else
            s->p[i] = (sr_cprange){1, 0};
    }
    n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->p[i].lo <= s->p[i].hi)
            s->p[n++] = s->p[i];
    s->n = n;
}

void sr_cpset_tidy(sr_cpset *s)
{
    join(s);
    drop_surrogates(s);
    if (s->n)
        qsort(s->p, s->n, sizeof *s->p, by_start);
}

void sr_cpset_invert(sr_cpset *s)
{
    join(s);
    uint32_t n = s->n, from = 0;
    for (uint32_t i = 0; i < n; i++) {
        sr_cprange r = s->p[i];
        if (r.lo > from)
            sr_cpset_add(s, from, r.lo - 1);
        from = r.hi + 1;
    }
    if (from <= SR_G_MAX_CP)
        sr_cpset_add(s, from, SR_G_MAX_CP);
    if (n)
        memmove(s->p, s->p + n, (s->n - n) * sizeof *s->p);
    s->n -= n;
    sr_cpset_tidy(s);
}

void sr_cpset_end(sr_cpset *s)
{
    sr_free(s->p);
    *s = (sr_cpset){0};
}
