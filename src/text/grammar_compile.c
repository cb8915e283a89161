/* grammar_compile.c - from expressions to automata over bytes, rule by rule.
 *
 *     expression --emit--> edges between numbered states, some of them empty --close--> edges without empty ones
 *     whole grammar: what can never end is cut off; left recursion is refused
 *
 * A class of code points becomes byte ranges: [U+0800, U+FFFF] is (E0)(A0-BF)(80-BF) | (E1-EF)(80-BF)(80-BF), and the
 * states behind equal tails are shared within the class. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/grammar_nodes.h"

#define EMPTY 0xffffffffu
enum { MAX_WORK = 4 << 20, MAX_RAW = 1 << 20 };
typedef struct { uint32_t from, to, what; } raw;
typedef struct {
    sr_gbuild *b;
    raw       *e;      uint32_t n_raw, cap_raw;     /* of the rule at hand */
    uint32_t   n_local;                             /* its states */
    sr_gedge  *edge;   uint32_t n_edge, cap_edge;   /* of all rules so far */
    uint32_t  *first;  uint32_t n_state, cap_state;
    uint32_t  *start, *queue, *number; uint32_t n_rule; /* rules reached; builder's rule -> ours, +1 */
    uint32_t   work;
    struct tail { uint32_t lo, hi, to, state; } tail[64]; uint32_t n_tail;
} job;

static bool too_large(job *j, const char *what)
{
    (void)!sr_raise(j->b->err, SR_INVALID, "grammar too large: %s", what);
    return false;
}

static bool no_memory(job *j)
{
    (void)!sr_raise(j->b->err, SR_NOMEM, "host: no memory to compile a grammar");
    return false;
}

static bool link_to(job *j, uint32_t from, uint32_t to, uint32_t what)
{
    if (j->n_raw == j->cap_raw) {
        uint32_t cap = j->cap_raw ? j->cap_raw * 2 : 1024;
        raw     *p   = cap > MAX_RAW ? NULL : sr_realloc(j->e, cap * sizeof *p);
        if (!p)
            return cap > MAX_RAW ? too_large(j, "more than 1048576 edges in a rule") : no_memory(j);
        j->e       = p;
        j->cap_raw = cap;
    }
    j->e[j->n_raw++] = (raw){from, to, what};
    return true;
}

static uint32_t range_of(uint32_t lo, uint32_t hi) { return lo << 8 | hi; }

/* A state that leads to `to` by [lo, hi]; the same one for the same question within a class. */
static bool before_tail(job *j, uint32_t lo, uint32_t hi, uint32_t to, uint32_t *state)
{
    for (uint32_t i = 0; i < j->n_tail; i++)
        if (j->tail[i].lo == lo && j->tail[i].hi == hi && j->tail[i].to == to) {
            *state = j->tail[i].state;
            return true;
        }
    *state = j->n_local++;
    if (j->n_tail < SR_COUNT(j->tail))
        j->tail[j->n_tail++] = (struct tail){lo, hi, to, *state};
    return link_to(j, *state, to, range_of(lo, hi));
}

/* lo and hi take n bytes, and all bytes behind the first where they differ span 80..BF. */
static bool emit_bytes(job *j, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
{
    char   a[4], z[4];
    size_t n = sr_g_encode(lo, a);
    sr_g_encode(hi, z);
    for (size_t i = n; i-- > 1;)
        if (!before_tail(j, (unsigned char)a[i], (unsigned char)z[i], to, &to))
            return false;
    return link_to(j, from, to, range_of((unsigned char)a[0], (unsigned char)z[0]));
}

/* Cuts [lo, hi] where the length of the encoding changes and where a byte's range is not whole. [utf8-ranges, A. Gallant] */
static bool emit_range(job *j, uint32_t lo, uint32_t hi, uint32_t from, uint32_t to)
{
    static const uint32_t last[] = {0x7f, 0x7ff, 0xffff};
    for (int i = 0; i < 3; i++)
        if (lo <= last[i] && hi > last[i])
            return emit_range(j, lo, last[i], from, to) && emit_range(j, last[i] + 1, hi, from, to);
    if (hi > 0x7f)
        for (int i = 1; i < 4; i++) {
            uint32_t m = (1u << 6 * i) - 1;
            if ((lo & ~m) == (hi & ~m))
                break;
            if (lo & m)
                return emit_range(j, lo, lo | m, from, to) && emit_range(j, (lo | m) + 1, hi, from, to);
            if ((hi & m) != m)
                return emit_range(j, lo, (hi & ~m) - 1, from, to) && emit_range(j, hi & ~m, hi, from, to);
        }
    return emit_bytes(j, lo, hi, from, to);
}

static bool emit(job *j, sr_gx x, uint32_t from, uint32_t to);

static bool emit_literal(job *j, const sr_gnode *n, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < n->n; i++) {
        uint32_t next = i + 1 == n->n ? to : j->n_local++, c = (unsigned char)n->lit[i];
        if (!link_to(j, from, next, range_of(c, c)))
            return false;
        from = next;
    }
    return true;
}

static bool emit_class(job *j, const sr_gnode *n, uint32_t from, uint32_t to)
{
    j->n_tail = 0;
    for (uint32_t i = 0; i < n->n; i++)
        if (!emit_range(j, n->range[i].lo, n->range[i].hi, from, to))
            return false;
    return true;
}

static bool emit_repeat(job *j, const sr_gnode *n, uint32_t from, uint32_t to)
{
    sr_gx x = n->kid[0];
    for (uint32_t i = 0; i < n->min; i++) {
        uint32_t next = j->n_local++;
        if (!emit(j, x, from, next))
            return false;
        from = next;
    }
    if (n->max == SR_G_NOMAX) {
        uint32_t loop = j->n_local++;
        return link_to(j, from, loop, EMPTY) && emit(j, x, loop, loop) && link_to(j, loop, to, EMPTY);
    }
    for (uint32_t i = n->min; i < n->max; i++) {
        uint32_t next = j->n_local++;
        if (!link_to(j, from, to, EMPTY) || !emit(j, x, from, next))
            return false;
        from = next;
    }
    return link_to(j, from, to, EMPTY);
}

static bool emit_call(job *j, uint32_t rule, uint32_t from, uint32_t to)
{
    if (!j->number[rule]) {
        if (!j->b->rule[rule].body) {
            (void)!sr_raise(j->b->err, SR_INVALID, "rule \"%.60s\" is not defined", j->b->rule[rule].name ? j->b->rule[rule].name : "?");
            return false;
        }
        j->queue[j->n_rule]  = rule;
        j->number[rule]      = ++j->n_rule;
    }
    return link_to(j, from, to, SR_G_CALL | (j->number[rule] - 1));
}

static bool emit(job *j, sr_gx x, uint32_t from, uint32_t to)
{
    const sr_gnode *n = &j->b->node[x];
    if (++j->work > MAX_WORK || j->n_local > MAX_RAW)
        return too_large(j, "too many repetitions");
    switch (n->kind) {
    case SR_GN_EMPTY: return link_to(j, from, to, EMPTY);
    case SR_GN_LIT: return emit_literal(j, n, from, to);
    case SR_GN_CLASS: return emit_class(j, n, from, to);
    case SR_GN_REP: return emit_repeat(j, n, from, to);
    case SR_GN_REF: return emit_call(j, n->min, from, to);
    case SR_GN_ALT:
        for (uint32_t i = 0; i < n->n; i++)
            if (!emit(j, n->kid[i], from, to))
                return false;
        return true;
    default: /* SEQ */
        for (uint32_t i = 0; i < n->n; i++) {
            uint32_t next = i + 1 == n->n ? to : j->n_local++;
            if (!emit(j, n->kid[i], from, next))
                return false;
            from = next;
        }
        return true;
    }
}

/* ---- empty edges ---------------------------------------------------------------------------------------------- */

static int by_what(const void *a, const void *b)
{
    const sr_gedge *x = a, *y = b;
    if (x->what != y->what)
        return x->what < y->what ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

typedef struct {       /* of one rule */
    uint32_t *row;     /* [n_local + 1] its raw edges by state */
    uint32_t *id;      /* [n_local] final number + 1, 0: not reached */
    uint32_t *order;   /* states in order of their final numbers */
    uint32_t *todo, *stamp;
    uint32_t  n_order;
} closing;

static bool sort_rows(job *j, closing *c)
{
    raw *sorted = sr_malloc(((size_t)j->n_raw + 1) * sizeof *sorted);
    if (!sorted)
        return no_memory(j);
    for (uint32_t i = 0; i < j->n_raw; i++)
        c->row[j->e[i].from + 1]++;
    for (uint32_t s = 0; s < j->n_local; s++)
        c->row[s + 1] += c->row[s];
    for (uint32_t i = j->n_raw; i-- > 0;)
        sorted[c->row[j->e[i].from + 1] - 1] = j->e[i], c->row[j->e[i].from + 1]--;
    /* every row[s + 1] now is its start: one to the left */
    for (uint32_t s = 0; s < j->n_local; s++)
        c->row[s] = c->row[s + 1];
    c->row[j->n_local] = j->n_raw;
    sr_free(j->e);
    j->e       = sorted;
    j->cap_raw = j->n_raw + 1;
    return true;
}

static uint32_t number_of(closing *c, uint32_t s)
{
    if (!c->id[s]) {
        c->order[c->n_order++] = s;
        c->id[s]               = c->n_order;
    }
    return c->id[s] - 1;
}

static bool put_edge(job *j, sr_gedge e)
{
    if (j->n_edge == j->cap_edge) {
        uint32_t  cap = j->cap_edge ? j->cap_edge * 2 : 4096;
        sr_gedge *p   = cap > 2 * SR_G_MAX_EDGES ? NULL : sr_realloc(j->edge, cap * sizeof *p);
        if (!p)
            return cap > 2 * SR_G_MAX_EDGES ? too_large(j, "more than 262144 edges") : no_memory(j);
        j->edge     = p;
        j->cap_edge = cap;
    }
    j->edge[j->n_edge++] = e;
    return true;
}

/* Edges of the k-th state in order: those of all states reached from it by empty ones.  end: the rule's last state. */
static bool close_state(job *j, closing *c, uint32_t k, uint32_t base, uint32_t end)
{
    uint32_t n = 0, from = j->n_edge, flag = 0;
    c->todo[n++]           = c->order[k];
    c->stamp[c->order[k]]  = k + 1;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t s = c->todo[i];
        if (++j->work > MAX_WORK)
            return too_large(j, "too many empty alternatives");
        flag |= s == end ? SR_G_ACCEPT : 0;
        for (uint32_t r = c->row[s]; r < c->row[s + 1]; r++) {
            raw e = j->e[r];
            if (e.what == EMPTY) {
                if (c->stamp[e.to] != k + 1)
                    c->todo[n++] = e.to;
                c->stamp[e.to] = k + 1;
            } else if (!put_edge(j, (sr_gedge){base + number_of(c, e.to), e.what})) {
                return false;
            }
        }
    }
    uint32_t kept = from;
    if (j->n_edge > from)
        qsort(j->edge + from, j->n_edge - from, sizeof *j->edge, by_what);
    for (uint32_t i = from; i < j->n_edge; i++)
        if (kept == from || by_what(&j->edge[i], &j->edge[kept - 1]))
            j->edge[kept++] = j->edge[i];
    j->n_edge = kept;
    if (j->n_edge > SR_G_MAX_EDGES)
        return too_large(j, "more than 262144 edges");
    if (j->n_state == SR_G_MAX_STATES)
        return too_large(j, "more than 65536 states");
    j->first[j->n_state++] = from | flag;
    return true;
}

static bool close_rule(job *j, uint32_t end)
{
    size_t    n = (size_t)j->n_local + 1;
    uint32_t *m = sr_calloc(5 * n + 1, sizeof *m), base = j->n_state;
    bool      ok;
    if (!m)
        return no_memory(j);
    closing c = {m, m + n + 1, m + 2 * n + 1, m + 3 * n + 1, m + 4 * n + 1, 0};
    ok        = sort_rows(j, &c);
    if (ok)
        number_of(&c, 0);
    for (uint32_t k = 0; ok && k < c.n_order; k++)
        ok = close_state(j, &c, k, base, end);
    sr_free(m);
    return ok;
}

static bool compile_rule(job *j, uint32_t k, sr_gx body)
{
    j->n_raw    = 0;
    j->n_local  = 2;
    j->start[k] = j->n_state;
    return emit(j, body, 0, 1) && close_rule(j, 1);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

/* Cuts off what cannot end; states stay where they are, edges move together. */
static bool trim(job *j, sr_grammar *g)
{
    uint8_t *ends = sr_calloc(g->head->n_state, 1);
    if (!ends || !sr_grammar_reach(g, true, ends)) {
        sr_free(ends);
        return no_memory(j);
    }
    bool      ok    = ends[0];
    uint32_t *first = (uint32_t *)(uintptr_t)g->first, n = 0;
    sr_gedge *edge  = (sr_gedge *)(uintptr_t)g->edge;
    for (uint32_t s = 0; s < g->head->n_state; s++) {
        uint32_t a = sr_g_first(g, s), z = sr_g_first(g, s + 1), at = n;
        for (uint32_t i = a; i < z; i++) {
            bool call = (edge[i].what & SR_G_CALL) != 0;
            if (ends[edge[i].to] && (!call || ends[g->start[edge[i].what & ~SR_G_CALL]]))
                edge[n++] = edge[i];
        }
        first[s] = at | (first[s] & SR_G_ACCEPT);
    }
    first[g->head->n_state] = n;
    ((sr_ghead *)(uintptr_t)g->head)->n_edge = n;
    g->bytes -= (size_t)(j->n_edge - n) * sizeof *edge;
    sr_free(ends);
    if (!ok)
        (void)!sr_raise(j->b->err, SR_INVALID, "the grammar matches no text at all");
    return ok;
}

static const char *name_of(const job *j, uint32_t k)
{
    const sr_grule *r = k ? &j->b->rule[j->queue[k]] : NULL;
    return !k ? "root" : r->name ? r->name : "(repeated)";
}

static bool check_recursion(job *j, const sr_grammar *g)
{
    bool     nomem = false, left = false;
    uint32_t rule = 0;
    uint8_t *null = sr_calloc(g->head->n_state, 1);
    if (!null || !sr_grammar_reach(g, false, null))
        nomem = true;
    else
        left = sr_grammar_left_recursion(g, null, &rule, &nomem);
    sr_free(null);
    if (nomem)
        return no_memory(j);
    if (left)
        (void)!sr_raise(j->b->err, SR_INVALID, "rule \"%.60s\" is left-recursive: it calls itself before it has read anything",
                        name_of(j, rule));
    return !left;
}

static sr_grammar *gather(job *j)
{
    sr_grammar *g = sr_grammar_alloc(j->n_rule, j->n_state, j->n_edge);
    if (!g) {
        no_memory(j);
        return NULL;
    }
    memcpy((uint32_t *)(uintptr_t)g->start, j->start, j->n_rule * sizeof *g->start);
    memcpy((uint32_t *)(uintptr_t)g->first, j->first, j->n_state * sizeof *g->first);
    ((uint32_t *)(uintptr_t)g->first)[j->n_state] = j->n_edge;
    if (j->n_edge)
        memcpy((sr_gedge *)(uintptr_t)g->edge, j->edge, j->n_edge * sizeof *g->edge);
    if (trim(j, g) && check_recursion(j, g))
        return g;
    sr_grammar_close(g);
    return NULL;
}

static void end_job(job *j)
{
    sr_free(j->e);
    sr_free(j->edge);
    sr_free(j->first);
    sr_free(j->start);
}

sr_status sr_gb_compile(sr_gbuild *b, sr_gx root, sr_grammar **out)
{
    *out = NULL;
    if (b->err->status)
        return b->err->status;
    job j = {.b = b, .n_rule = 1};
    size_t n = (size_t)b->n_rule + 2;
    j.start  = sr_calloc(3 * n, sizeof *j.start);
    j.first  = sr_malloc((SR_G_MAX_STATES + 1) * sizeof *j.first);
    bool ok  = j.start && j.first && root;
    if (!ok)
        no_memory(&j);
    j.queue  = j.start + n;
    j.number = j.start + 2 * n;
    ok       = ok && compile_rule(&j, 0, root);
    for (uint32_t k = 1; ok && k < j.n_rule; k++)
        ok = compile_rule(&j, k, b->rule[j.queue[k]].body);
    if (ok)
        *out = gather(&j);
    end_job(&j);
    return b->err->status;
}
