/* grammar.c - the block: made, checked, asked; and the open functions of the front ends. */
#include "text/grammar.h"

#include <string.h>

#include "base/mem.h"
#include "text/grammar_build.h"

enum { MAGIC = 0x31475253, MAX_RULES = 16386, MAX_CHOICES = 4096, MAX_CHOICE_BYTES = 1 << 20, MAX_PARTS = 64 }; /* "SRG1" */

static size_t bytes_of(uint32_t n_rule, uint32_t n_state, uint32_t n_edge)
{
    return sizeof(sr_ghead) + ((size_t)n_rule + n_state + 1) * sizeof(uint32_t) + (size_t)n_edge * sizeof(sr_gedge);
}

sr_grammar *sr_grammar_alloc(uint32_t n_rule, uint32_t n_state, uint32_t n_edge)
{
    size_t      n = bytes_of(n_rule, n_state, n_edge);
    sr_grammar *g = sr_malloc(sizeof *g + n);
    if (!g)
        return NULL;
    sr_ghead *h = (sr_ghead *)(g + 1);
    *h          = (sr_ghead){MAGIC, n_rule, n_state, n_edge};
    uint32_t *u = (uint32_t *)(h + 1);
    *g = (sr_grammar){.bytes = n, .head = h, .start = u, .first = u + n_rule, .edge = (sr_gedge *)(u + n_rule + n_state + 1)};
    return g;
}

void sr_grammar_close(sr_grammar *g) { sr_free(g); }

const void *sr_grammar_bytes(const sr_grammar *g, size_t *n)
{
    *n = g->bytes;
    return g->head;
}

/* ---- questions about the whole -------------------------------------------------------------------------------- */

/* Who leads to whom, backwards: for each state the sources of its edges; for each rule the edges that call it. */
typedef struct { uint32_t *row, *source, *call_row, *call; uint32_t *todo; } reverse;

static bool reverse_open(const sr_grammar *g, reverse *r)
{
    const sr_ghead *h = g->head;
    *r = (reverse){.row = sr_calloc((size_t)h->n_state + 2, 4), .source = sr_malloc(((size_t)h->n_edge + 1) * 4),
                   .call_row = sr_calloc((size_t)h->n_rule + 2, 4), .call = sr_malloc(((size_t)h->n_edge + 1) * 4),
                   .todo = sr_malloc(((size_t)h->n_state + 1) * 4)};
    if (!r->row || !r->source || !r->call_row || !r->call || !r->todo)
        return false;
    for (uint32_t i = 0; i < h->n_edge; i++) {
        r->row[g->edge[i].to + 2]++;
        if (g->edge[i].what & SR_G_CALL)
            r->call_row[(g->edge[i].what & ~SR_G_CALL) + 2]++;
    }
    for (uint32_t s = 0; s < h->n_state; s++)
        r->row[s + 2] += r->row[s + 1];
    for (uint32_t k = 0; k < h->n_rule; k++)
        r->call_row[k + 2] += r->call_row[k + 1];
    for (uint32_t s = 0; s < h->n_state; s++)
        for (uint32_t i = sr_g_first(g, s); i < sr_g_first(g, s + 1); i++) {
            r->source[r->row[g->edge[i].to + 1]++] = i;
            if (g->edge[i].what & SR_G_CALL)
                r->call[r->call_row[(g->edge[i].what & ~SR_G_CALL) + 1]++] = i;
        }
    return true;
}

static void reverse_close(reverse *r)
{
    sr_free(r->row);
    sr_free(r->source);
    sr_free(r->call_row);
    sr_free(r->call);
    sr_free(r->todo);
}

static uint32_t rule_at(const sr_grammar *g, uint32_t state) /* whose start it is, or UINT32_MAX */
{
    uint32_t lo = 0, hi = g->head->n_rule;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        *(g->start[mid] <= state ? &lo : &hi) = mid;
    }
    return g->start[lo] == state ? lo : UINT32_MAX;
}

/* The state that an edge leaves, found by its place. */
static uint32_t edge_source(const sr_grammar *g, uint32_t i)
{
    uint32_t lo = 0, hi = g->head->n_state;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        *(sr_g_first(g, mid) <= i ? &lo : &hi) = mid;
    }
    return lo;
}

static void mark_source(const sr_grammar *g, uint32_t edge, bool bytes, uint8_t *mark, reverse *r, uint32_t *n)
{
    sr_gedge e = g->edge[edge];
    uint32_t s = edge_source(g, edge);
    bool     passable = e.what & SR_G_CALL ? mark[g->start[e.what & ~SR_G_CALL]] : bytes;
    if (mark[s] || !mark[e.to] || !passable)
        return;
    mark[s]        = 1;
    r->todo[(*n)++] = s;
}

bool sr_grammar_reach(const sr_grammar *g, bool bytes, uint8_t *mark)
{
    reverse  r;
    uint32_t n  = 0;
    bool     ok = reverse_open(g, &r);
    for (uint32_t s = 0; ok && s < g->head->n_state; s++)
        if (sr_g_accepts(g, s)) {
            mark[s]     = 1;
            r.todo[n++] = s;
        }
    while (ok && n) {
        uint32_t s = r.todo[--n], k = rule_at(g, s);
        for (uint32_t i = r.row[s]; i < r.row[s + 1]; i++)
            mark_source(g, r.source[i], bytes, mark, &r, &n);
        for (uint32_t i = k == UINT32_MAX ? 0 : r.call_row[k]; k != UINT32_MAX && i < r.call_row[k + 1]; i++)
            mark_source(g, r.call[i], bytes, mark, &r, &n);
    }
    reverse_close(&r);
    return ok;
}

/* Calls of rule k that may come first, into out; seen and todo: [n_state]. */
static uint32_t first_calls(const sr_grammar *g, uint32_t k, const uint8_t *nullable, uint32_t *seen, uint32_t *todo, uint32_t *out)
{
    uint32_t n = 0, calls = 0;
    todo[n++]         = g->start[k];
    seen[g->start[k]] = k + 1;
    while (n) {
        uint32_t s = todo[--n];
        for (uint32_t i = sr_g_first(g, s); i < sr_g_first(g, s + 1); i++) {
            if (!(g->edge[i].what & SR_G_CALL))
                continue;
            uint32_t rule = g->edge[i].what & ~SR_G_CALL, to = g->edge[i].to;
            out[calls++]  = rule;
            if (nullable[g->start[rule]] && seen[to] != k + 1) {
                seen[to]  = k + 1;
                todo[n++] = to;
            }
        }
    }
    return calls;
}

/* Rules whose first calls are all harmless are taken away until none is left, or the rest goes in circles. */
bool sr_grammar_left_recursion(const sr_grammar *g, const uint8_t *nullable, uint32_t *rule, bool *nomem)
{
    uint32_t  n_rule = g->head->n_rule, n_state = g->head->n_state, left = n_rule;
    uint32_t *row  = sr_calloc((size_t)n_rule + 1, 4), *call = sr_malloc(((size_t)g->head->n_edge + 1) * 4);
    uint32_t *seen = sr_calloc(n_state, 4), *todo = sr_malloc((size_t)n_state * 4);
    uint8_t  *gone = sr_calloc(n_rule, 1);
    *nomem = !row || !call || !seen || !todo || !gone;
    for (uint32_t k = 0; !*nomem && k < n_rule; k++)
        row[k + 1] = row[k] + first_calls(g, k, nullable, seen, todo, call + row[k]);
    for (bool more = !*nomem; more && left;) {
        more = false;
        for (uint32_t k = n_rule; k-- > 0;) {
            uint32_t i = row[k];
            while (i < row[k + 1] && gone[call[i]])
                i++;
            if (gone[k] || i < row[k + 1])
                continue;
            gone[k] = 1;
            left--;
            more = true;
        }
    }
    if (!*nomem && left) { /* from any that is left, a walk along those that are left ends in a circle */
        uint32_t k = 0;
        while (gone[k])
            k++;
        for (uint32_t step = 0; step < n_rule; step++) {
            uint32_t i = row[k];
            while (gone[call[i]])
                i++;
            k = call[i];
        }
        *rule = k;
    }
    sr_free(row);
    sr_free(call);
    sr_free(seen);
    sr_free(todo);
    sr_free(gone);
    return !*nomem && left;
}

/* ---- a block from outside ------------------------------------------------------------------------------------- */

static bool sound(const sr_grammar *g)
{
    const sr_ghead *h = g->head;
    if (g->start[0] != 0 || g->first[h->n_state] != h->n_edge)
        return false;
    for (uint32_t k = 1; k < h->n_rule; k++)
        if (g->start[k] <= g->start[k - 1] || g->start[k] >= h->n_state)
            return false;
    for (uint32_t s = 0; s < h->n_state; s++)
        if (sr_g_first(g, s) > sr_g_first(g, s + 1) || (s == 0 && sr_g_first(g, s) != 0))
            return false;
    for (uint32_t s = 0, k = 0; s < h->n_state; s++) {
        k += k + 1 < h->n_rule && g->start[k + 1] == s;
        uint32_t end = k + 1 < h->n_rule ? g->start[k + 1] : h->n_state;
        for (uint32_t i = sr_g_first(g, s), called = 0; i < sr_g_first(g, s + 1); i++) {
            sr_gedge e = g->edge[i];
            if (e.to < g->start[k] || e.to >= end) /* a rule keeps to its own states */
                return false;
            if (e.what & SR_G_CALL) {
                called = 1;
                if ((e.what & ~SR_G_CALL) >= h->n_rule)
                    return false;
            } else if (called || e.what > 0xffff || e.what >> 8 > (e.what & 0xff)) {
                return false;
            }
        }
    }
    return true;
}

sr_status sr_grammar_open_bytes(const void *bytes, size_t n, sr_grammar **out, sr_err *err)
{
    sr_ghead h;
    *out = NULL;
    if (n < sizeof h)
        return sr_raise(err, SR_INVALID, "a grammar of %zu bytes", n);
    memcpy(&h, bytes, sizeof h);
    if (h.magic != MAGIC || !h.n_rule || !h.n_state || h.n_rule > MAX_RULES || h.n_state > SR_G_MAX_STATES ||
        h.n_edge > SR_G_MAX_EDGES || n != bytes_of(h.n_rule, h.n_state, h.n_edge))
        return sr_raise(err, SR_INVALID, "no compiled grammar: its head does not fit its %zu bytes", n);
    sr_grammar *g = sr_grammar_alloc(h.n_rule, h.n_state, h.n_edge);
    if (!g)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a grammar", n);
    memcpy((void *)(uintptr_t)g->head, bytes, n);
    uint8_t *null  = sr_calloc(h.n_state, 1);
    uint32_t rule;
    bool     nomem = !null, fine = sound(g);
    if (fine && !nomem)
        nomem = !sr_grammar_reach(g, false, null);
    if (fine && !nomem)
        fine = !sr_grammar_left_recursion(g, null, &rule, &nomem);
    sr_free(null);
    if (fine && !nomem) {
        *out = g;
        return SR_OK;
    }
    sr_grammar_close(g);
    return nomem ? sr_raise(err, SR_NOMEM, "host: no memory to check a grammar")
                 : sr_raise(err, SR_INVALID, "a compiled grammar contradicts itself");
}

/* ---- front ends ----------------------------------------------------------------------------------------------- */

static sr_status finish(sr_gbuild *b, sr_gx root, sr_grammar **out)
{
    sr_status s = sr_gb_compile(b, root, out);
    sr_gb_end(b);
    return s;
}

static sr_status too_long(size_t n, size_t most, sr_err *err)
{
    return sr_raise(err, SR_INVALID, "a grammar of %zu bytes; at most %zu", n, most);
}

/* The builder needs a place for its cause even when the caller has none. */
#define WITH_ERR(err) sr_err own_err = {0}; err = err ? err : &own_err

sr_status sr_grammar_gbnf(const char *text, size_t n, sr_grammar **out, sr_err *err)
{
    WITH_ERR(err);
    *out = NULL;
    if (n > SR_G_MAX_TEXT)
        return too_long(n, SR_G_MAX_TEXT, err);
    sr_gbuild b;
    sr_gb_begin(&b, err);
    return finish(&b, sr_gb_gbnf(&b, text, n), out);
}

sr_status sr_grammar_regex(const char *text, size_t n, sr_grammar **out, sr_err *err)
{
    WITH_ERR(err);
    *out = NULL;
    if (n > SR_G_MAX_TEXT)
        return too_long(n, SR_G_MAX_TEXT, err);
    sr_gbuild b;
    sr_gb_begin(&b, err);
    return finish(&b, sr_gb_regex(&b, text, n, false, false), out);
}

sr_status sr_grammar_schema(const char *json, size_t n, sr_grammar **out, sr_err *err)
{
    WITH_ERR(err);
    *out = NULL;
    if (n > SR_G_MAX_TEXT)
        return too_long(n, SR_G_MAX_TEXT, err);
    sr_gbuild b;
    sr_gb_begin(&b, err);
    return finish(&b, sr_gb_schema_text(&b, json, n), out);
}

sr_status sr_grammar_json_object(sr_grammar **out, sr_err *err)
{
    WITH_ERR(err);
    sr_gbuild b;
    sr_gb_begin(&b, err);
    return finish(&b, sr_gj_object(&b), out);
}

sr_status sr_grammar_choice(const sr_gtext *choice, size_t n, sr_grammar **out, sr_err *err)
{
    WITH_ERR(err);
    size_t    bytes = 0;
    sr_gbuild b;
    *out = NULL;
    if (n == 0 || n > MAX_CHOICES)
        return sr_raise(err, SR_INVALID, "%zu choices; 1 to %d", n, MAX_CHOICES);
    for (size_t i = 0; i < n; i++)
        if (choice[i].n > MAX_CHOICE_BYTES || (bytes += choice[i].n) > MAX_CHOICE_BYTES)
            return too_long(bytes + choice[i].n, MAX_CHOICE_BYTES, err);
    sr_gx *x = sr_malloc(n * sizeof *x);
    if (!x)
        return sr_raise(err, SR_NOMEM, "host: %zu choices", n);
    sr_gb_begin(&b, err);
    for (size_t i = 0; i < n; i++)
        x[i] = sr_gb_lit(&b, choice[i].p, choice[i].n);
    sr_gx all = sr_gb_alt(&b, x, (uint32_t)n);
    sr_free(x);
    return finish(&b, all, out);
}

static sr_gx part_of(sr_gbuild *b, const sr_gpart *p)
{
    switch (p->kind) {
    case SR_GPART_SCHEMA: return sr_gb_schema_text(b, p->text.p, p->text.n);
    case SR_GPART_REGEX: return sr_gb_regex(b, p->text.p, p->text.n, false, false);
    default: return sr_gb_lit(b, p->text.p, p->text.n);
    }
}

sr_status sr_grammar_parts(const sr_gpart *part, size_t n, uint32_t min, uint32_t max, sr_grammar **out, sr_err *err)
{
    WITH_ERR(err);
    sr_gbuild b;
    sr_gx     x[MAX_PARTS];
    *out = NULL;
    if (n == 0 || n > MAX_PARTS)
        return sr_raise(err, SR_INVALID, "%zu parts; 1 to %d", n, MAX_PARTS);
    for (size_t i = 0; i < n; i++)
        if (part[i].text.n > SR_G_MAX_TEXT)
            return too_long(part[i].text.n, SR_G_MAX_TEXT, err);
    sr_gb_begin(&b, err);
    for (size_t i = 0; i < n; i++)
        x[i] = part_of(&b, &part[i]);
    sr_gx all = sr_gb_seq(&b, x, (uint32_t)n);
    return finish(&b, max ? sr_gb_rep(&b, all, min, max) : all, out);
}
