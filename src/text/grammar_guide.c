/* grammar_guide.c - the lazy automaton: sets of (state, stack), and what a byte makes of them.
 *
 *     stack   frames that share their lower parts: (state to return to, frame below), each only once
 *     set     the pairs that read a byte next, sorted, each set only once; pairs that only call or return are followed at once
 *
 * A call whose return state can do nothing but end pushes no frame, so that lists written by right recursion and the
 * ends of objects do not deepen the stack. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/grammar_guide.h"

enum { MAX_FRAMES = 1 << 18, MAX_ALL_PAIRS = 1 << 20, TRANS_BYTES = 16 << 20 };

/* ---- sets ----------------------------------------------------------------------------------------------------- */

static bool grow(void **p, uint32_t *cap, uint32_t need, size_t size)
{
    if (need <= *cap)
        return true;
    uint32_t n = *cap + *cap / 2 < need ? need + 64 : *cap + *cap / 2;
    void    *q = sr_realloc(*p, n * size);
    if (!q)
        return false;
    *p   = q;
    *cap = n;
    return true;
}

static uint32_t mix(uint32_t a, uint32_t b) { return (uint32_t)(((uint64_t)a * 0x9E3779B97F4A7C15u + (uint64_t)b * 0xC2B2AE3D27D4EB4Fu) >> 29); }

static uint32_t fail(sr_guide *g, sr_gfail why)
{
    if (!g->fail)
        g->fail = why;
    return 0;
}

/* The frame (ret, up); UINT32_MAX: too deep or failed. */
static uint32_t push(sr_guide *g, uint32_t ret, uint32_t up)
{
    uint32_t *at = &g->frame_bucket[mix(ret, up) % SR_GM_BUCKETS], depth = g->frame[up].depth + 1;
    for (uint32_t i = *at; i; i = g->frame[i].next)
        if (g->frame[i].ret == ret && g->frame[i].up == up)
            return i;
    if (depth > SR_GM_MAX_DEPTH)
        return UINT32_MAX;
    if (g->n_frame >= MAX_FRAMES || !grow((void **)&g->frame, &g->cap_frame, g->n_frame + 1, sizeof *g->frame)) {
        fail(g, g->n_frame >= MAX_FRAMES ? SR_GF_FULL : SR_GF_NOMEM);
        return UINT32_MAX;
    }
    g->frame[g->n_frame] = (sr_gframe){ret, up, depth, *at, 0};
    return *at = g->n_frame++;
}

static void visit(sr_guide *g, uint32_t state, uint32_t frame)
{
    for (uint32_t h = mix(state, frame) % SR_GM_SEEN;; h = (h + 1) % SR_GM_SEEN) {
        if (g->seen[h].stamp != g->stamp) {
            if (g->n_todo == SR_GM_TODO) {
                fail(g, SR_GF_WORK);
                return;
            }
            g->seen[h].stamp = g->stamp;
            g->seen[h].state = state;
            g->seen[h].frame = frame;
            g->todo[g->n_todo++] = (sr_gpair){state, frame};
            return;
        }
        if (g->seen[h].state == state && g->seen[h].frame == frame)
            return;
    }
}

static void begin(sr_guide *g)
{
    g->n_todo = 0;
    if (++g->stamp == 0) {
        memset(g->seen, 0, SR_GM_SEEN * sizeof *g->seen);
        g->stamp = 1;
    }
}

static int by_pair(const void *a, const void *b)
{
    const sr_gpair *x = a, *y = b;
    return x->state != y->state ? (x->state < y->state ? -1 : 1) : x->frame < y->frame ? -1 : x->frame > y->frame;
}

static void sort(sr_gpair *p, uint32_t n)
{
    if (n > 16) {
        qsort(p, n, sizeof *p, by_pair);
        return;
    }
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k && by_pair(&p[k], &p[k - 1]) < 0; k--) {
            sr_gpair t = p[k];
            p[k]       = p[k - 1];
            p[k - 1]   = t;
        }
}

static bool room(sr_guide *g, uint32_t pairs)
{
    if (g->n_set >= g->max_set || g->n_pair + pairs > MAX_ALL_PAIRS)
        return fail(g, SR_GF_FULL);
    if (!grow((void **)&g->pair, &g->cap_pair, g->n_pair + pairs, sizeof *g->pair))
        return fail(g, SR_GF_NOMEM);
    if (g->n_set < g->cap_set)
        return true;
    uint32_t  cap = SR_MIN(g->max_set, g->cap_set * 2);
    sr_gset  *set = sr_realloc(g->set, cap * sizeof *set);
    uint32_t *trans;
    uint8_t  *flag;
    sr_gloop *loop;
    if (set)
        g->set = set;
    if ((trans = sr_realloc(g->trans, (size_t)cap * g->n_class * sizeof *trans)))
        g->trans = trans;
    if ((flag = sr_realloc(g->flag, cap)))
        g->flag = flag;
    if ((loop = sr_realloc(g->loop, cap * sizeof *loop)))
        g->loop = loop;
    if (!set || !trans || !flag || !loop)
        return fail(g, SR_GF_NOMEM);
    g->cap_set = cap;
    return true;
}

/* The set of todo[0 .. n), found or made. */
static uint32_t intern(sr_guide *g, uint32_t n, bool done)
{
    uint32_t h = done;
    if (n == 0 && !done)
        return 1;
    sort(g->todo, n);
    for (uint32_t i = 0; i < n; i++)
        h = mix(h ^ g->todo[i].state, g->todo[i].frame);
    uint32_t *at = &g->set_bucket[h % SR_GM_BUCKETS];
    for (uint32_t i = *at; i; i = g->set[i].next)
        if (g->set[i].hash == h && g->set[i].n == n && (g->flag[i] & SR_GS_DONE) == done &&
            memcmp(g->pair + g->set[i].first, g->todo, n * sizeof *g->todo) == 0)
            return i;
    if (n > SR_GM_MAX_PAIRS)
        return fail(g, SR_GF_WORK);
    if (!room(g, n))
        return 0;
    uint32_t s = g->n_set++, deep = 0;
    for (uint32_t i = 0; i < n; i++)
        deep = SR_MAX(deep, g->frame[g->todo[i].frame].depth);
    if (n)
        memcpy(g->pair + g->n_pair, g->todo, n * sizeof *g->todo);
    g->set[s]  = (sr_gset){g->n_pair, n, deep, 0, h, *at};
    g->loop[s] = (sr_gloop){.known = false};
    g->flag[s] = (uint8_t)((done ? SR_GS_DONE : 0) | (n ? SR_GS_MORE : 0));
    memset(g->trans + (size_t)s * g->n_class, 0, g->n_class * sizeof *g->trans);
    g->n_pair += n;
    return *at = s;
}

/* Follows calls and returns of what was visited; what reads bytes is the set. */
static uint32_t close_set(sr_guide *g)
{
    bool     done = false;
    uint32_t n    = 0;
    for (uint32_t i = 0; i < g->n_todo && !g->fail; i++) {
        sr_gpair p    = g->todo[i];
        uint32_t kind = g->kind[p.state], end = sr_g_first(g->g, p.state + 1);
        if (kind & SR_GK_ACCEPT) {
            if (p.frame == 0)
                done = true;
            else
                visit(g, g->frame[p.frame].ret, g->frame[p.frame].up);
        }
        for (uint32_t e = g->calls[p.state]; e < end; e++) {
            uint32_t to = g->g->edge[e].to, frame = g->kind[to] & SR_GK_END ? p.frame : push(g, to, p.frame);
            if (frame != UINT32_MAX)
                visit(g, g->g->start[g->g->edge[e].what & ~SR_G_CALL], frame);
        }
        g->work += 1 + end - g->calls[p.state];
    }
    if (g->fail)
        return 0;
    for (uint32_t i = 0; i < g->n_todo; i++)
        if (g->kind[g->todo[i].state] & SR_GK_BYTES)
            g->todo[n++] = g->todo[i];
    return intern(g, n, done);
}

uint32_t sr_guide_step(sr_guide *g, uint32_t set, uint8_t byte)
{
    uint32_t *to = &g->trans[(size_t)set * g->n_class + g->class_of[byte]];
    if (*to)
        return *to;
    if (g->work > SR_GM_WORK)
        return fail(g, SR_GF_WORK);
    begin(g);
    for (uint32_t i = g->set[set].first, z = i + g->set[set].n; i < z; i++) {
        sr_gpair p = g->pair[i];
        uint32_t e = sr_g_first(g->g, p.state), end = g->calls[p.state];
        g->work += 1 + end - e;
        for (; e < end && g->g->edge[e].what >> 8 <= byte; e++)
            if ((g->g->edge[e].what & 0xff) >= byte)
                visit(g, g->g->edge[e].to, p.frame);
    }
    g->l->stats.steps++;
    uint32_t next = close_set(g);
    if (next)
        g->trans[(size_t)set * g->n_class + g->class_of[byte]] = next;
    return next;
}

uint32_t sr_guide_single(sr_guide *g, uint32_t state)
{
    g->todo[0] = (sr_gpair){state, 0};
    return intern(g, 1, false);
}

uint32_t sr_guide_caller(sr_guide *g, uint32_t frame)
{
    if (g->frame[frame].caller)
        return g->frame[frame].caller;
    begin(g);
    visit(g, g->frame[frame].ret, g->frame[frame].up);
    uint32_t s = close_set(g);
    g->frame[frame].caller = s;
    return s;
}

/* ---- loops ---------------------------------------------------------------------------------------------------- */

/* Every way of k bytes 80..BF from a set (the first from lo to hi) ends in `to`. */
static bool all_lead_to(sr_guide *g, uint32_t set, uint32_t lo, uint32_t hi, int k, uint32_t to)
{
    for (uint32_t b = lo; b <= hi; b++) {
        if (b > lo && g->class_of[b] == g->class_of[b - 1])
            continue;
        uint32_t next = sr_guide_step(g, set, (uint8_t)b);
        if (next < 2 || (k == 1 ? next != to : !all_lead_to(g, next, 0x80, 0xbf, k - 1, to)))
            return false;
    }
    return true;
}

/* SR_GH_ bits of the characters that all lead from a set to another. */
static uint8_t high_leads_to(sr_guide *g, uint32_t set, uint32_t to)
{
    static const struct { uint8_t lo, hi, then_lo, then_hi, k, bit; } leads[] = {
        {0xe2, 0xe2, 0x80, 0xbf, 2, SR_GH_E2}, {0xc2, 0xdf, 0x80, 0xbf, 1, SR_GH_MOST}, {0xe0, 0xe0, 0xa0, 0xbf, 2, SR_GH_MOST},
        {0xe1, 0xe1, 0x80, 0xbf, 2, SR_GH_MOST}, {0xe3, 0xec, 0x80, 0xbf, 2, SR_GH_MOST}, {0xed, 0xed, 0x80, 0x9f, 2, SR_GH_MOST},
        {0xee, 0xef, 0x80, 0xbf, 2, SR_GH_MOST}, {0xf0, 0xf0, 0x90, 0xbf, 3, SR_GH_MOST}, {0xf1, 0xf3, 0x80, 0xbf, 3, SR_GH_MOST},
        {0xf4, 0xf4, 0x80, 0x8f, 3, SR_GH_MOST}};
    uint8_t all = SR_GH_MOST | SR_GH_E2;
    for (size_t i = 0; i < SR_COUNT(leads); i++)
        for (uint32_t b = leads[i].lo; b <= leads[i].hi && all & leads[i].bit; b++) {
            if (b > leads[i].lo && g->class_of[b] == g->class_of[b - 1])
                continue;
            uint32_t next = sr_guide_step(g, set, (uint8_t)b);
            if (next < 2 || !all_lead_to(g, next, leads[i].then_lo, leads[i].then_hi, leads[i].k, to))
                all &= (uint8_t)~leads[i].bit;
        }
    return all;
}

/* Bytes that a set reads, at least about: a few are no loop worth looking for. */
static uint32_t breadth(const sr_guide *g, uint32_t set)
{
    uint32_t n = 0;
    for (uint32_t i = g->set[set].first, z = i + g->set[set].n; i < z && n < 24; i++) {
        uint32_t s = g->pair[i].state;
        for (uint32_t e = sr_g_first(g->g, s); e < g->calls[s]; e++)
            n += (g->g->edge[e].what & 0xff) - (g->g->edge[e].what >> 8) + 1;
    }
    return n;
}

const sr_gloop *sr_guide_loop(sr_guide *g, uint32_t set)
{
    enum { WORTH = 24 };
    uint32_t to[128], best = 0, most = 0;
    sr_gloop l = {.known = true};
    if (g->loop[set].known)
        return &g->loop[set];
    if (breadth(g, set) >= WORTH) {
        for (uint32_t b = 0; b < 128; b++)
            if (!(to[b] = sr_guide_step(g, set, (uint8_t)b)))
                return NULL;
        for (uint32_t b = 0, n = 0; b < 128; b++) { /* the longest run of bytes is of the set looked for, whatever lies between */
            n    = b && to[b] == to[b - 1] ? n + 1 : 1;
            best = to[b] > 1 && n > most ? to[b] : best;
            most = to[b] > 1 ? SR_MAX(most, n) : most;
        }
        for (uint32_t b = 0; best && b < 128; b++)
            l.ascii[b / 64] |= (uint64_t)(to[b] == best) << b % 64;
        l.next = best;
        l.high = best ? high_leads_to(g, set, best) : 0;
        if (g->fail)
            return NULL;
    }
    g->loop[set] = l;
    return &g->loop[set];
}

/* ---- a guide -------------------------------------------------------------------------------------------------- */

static void classify(sr_guide *g)
{
    const sr_grammar *m = g->g;
    bool cut[257] = {true};
    for (uint32_t s = 0; s < m->head->n_state; s++) {
        uint32_t a = sr_g_first(m, s), z = sr_g_first(m, s + 1), e = a;
        for (; e < z && !(m->edge[e].what & SR_G_CALL); e++)
            cut[m->edge[e].what >> 8] = cut[(m->edge[e].what & 0xff) + 1] = true;
        g->calls[s] = e;
        g->kind[s]  = (uint8_t)((e > a ? SR_GK_BYTES : 0) | (sr_g_accepts(m, s) ? SR_GK_ACCEPT : 0) |
                                (sr_g_accepts(m, s) && a == z ? SR_GK_END : 0));
    }
    uint32_t n = 0;
    for (uint32_t b = 0; b < 256; b++) {
        if (cut[b])
            g->byte_of[n++] = (uint8_t)b;
        g->class_of[b] = (uint8_t)(n - 1);
    }
    g->n_class = n;
}

static void forget(sr_guide *g)
{
    memset(g->frame_bucket, 0, SR_GM_BUCKETS * sizeof *g->frame_bucket);
    memset(g->set_bucket, 0, SR_GM_BUCKETS * sizeof *g->set_bucket);
    g->frame[0] = (sr_gframe){0};
    g->set[0] = g->set[1] = (sr_gset){0};
    g->flag[0] = g->flag[1] = 0;
    memset(g->trans, 0, 2 * g->n_class * sizeof *g->trans);
    for (uint32_t c = 0; c < g->n_class; c++)
        g->trans[g->n_class + c] = 1;
    g->n_frame = 1;
    g->n_pair  = 0;
    g->n_set   = 2;
    g->n_mask  = 0;
}

static bool start(sr_guide *g)
{
    begin(g);
    visit(g, g->g->start[0], 0);
    g->start = close_set(g);
    return g->start != 0;
}

sr_status sr_guide_raise(const sr_guide *g, sr_err *err)
{
    if (g->fail == SR_GF_NOMEM)
        return sr_raise(err, SR_NOMEM, "host: no memory for the states of a grammar");
    return sr_raise(err, SR_UNSUPPORTED, "the grammar is too ambiguous: one token takes more than %d steps, %d ways at once or %d states",
                    SR_GM_WORK, SR_GM_MAX_PAIRS, SR_GM_MAX_SETS);
}

static bool allocate(sr_guide *g)
{
    enum { FIRST_SETS = 64, FIRST_FRAMES = 64, FIRST_PAIRS = 256 };
    const sr_ghead *h = g->g->head;
    g->kind     = sr_malloc(h->n_state);
    g->calls    = sr_malloc(h->n_state * sizeof *g->calls);
    g->rule_key = sr_calloc(h->n_rule, sizeof *g->rule_key);
    g->frame    = sr_malloc(FIRST_FRAMES * sizeof *g->frame);
    g->pair     = sr_malloc(FIRST_PAIRS * sizeof *g->pair);
    g->set      = sr_malloc(FIRST_SETS * sizeof *g->set);
    g->flag     = sr_malloc(FIRST_SETS);
    g->loop     = sr_malloc(FIRST_SETS * sizeof *g->loop);
    g->todo     = sr_malloc(SR_GM_TODO * sizeof *g->todo);
    g->seen     = sr_calloc(SR_GM_SEEN, sizeof *g->seen);
    g->frame_bucket = sr_malloc(SR_GM_BUCKETS * sizeof *g->frame_bucket);
    g->set_bucket   = sr_malloc(SR_GM_BUCKETS * sizeof *g->set_bucket);
    g->cap_frame = FIRST_FRAMES, g->cap_pair = FIRST_PAIRS, g->cap_set = FIRST_SETS;
    if (!g->kind || !g->calls || !g->rule_key || !g->frame || !g->pair || !g->set || !g->flag || !g->loop || !g->todo || !g->seen ||
        !g->frame_bucket || !g->set_bucket)
        return false;
    classify(g);
    g->trans = sr_malloc((size_t)FIRST_SETS * g->n_class * sizeof *g->trans);
    g->max_set = SR_MIN((uint32_t)SR_GM_MAX_SETS, (uint32_t)(TRANS_BYTES / (g->n_class * sizeof *g->trans)));
    return g->trans != NULL;
}

sr_status sr_guide_new(sr_lexicon *l, const void *grammar, size_t n, sr_guide **out, sr_err *err)
{
    sr_guide *g = sr_calloc(1, sizeof *g);
    *out        = NULL;
    if (!g)
        return sr_raise(err, SR_NOMEM, "host: no memory for a grammar");
    g->l = l;
    if (sr_grammar_open_bytes(grammar, n, &g->g, err)) {
        sr_free(g);
        return err ? err->status : SR_INVALID;
    }
    if (!allocate(g)) {
        sr_guide_free(g);
        return sr_raise(err, SR_NOMEM, "host: no memory for a grammar");
    }
    forget(g);
    if (!start(g)) {
        sr_status s = sr_guide_raise(g, err);
        sr_guide_free(g);
        return s;
    }
    *out = g;
    return SR_OK;
}

void sr_guide_free(sr_guide *g)
{
    if (!g)
        return;
    void *all[] = {g->kind, g->calls, g->rule_key, g->frame, g->pair, g->set, g->trans, g->flag, g->loop, g->frame_bucket, g->set_bucket, g->masks,
                   g->todo, g->seen};
    for (size_t i = 0; i < SR_COUNT(all); i++)
        sr_free(all[i]);
    sr_grammar_close(g->g);
    sr_free(g);
}

size_t sr_guide_memory(const sr_guide *g)
{
    return sizeof *g + g->g->bytes + g->g->head->n_state * 5u + g->g->head->n_rule * sizeof *g->rule_key + g->cap_frame * sizeof *g->frame + g->cap_pair * sizeof *g->pair +
           g->cap_set * (sizeof *g->set + sizeof *g->loop + 1 + g->n_class * sizeof *g->trans) + (size_t)g->cap_mask * g->l->words * 4 +
           SR_GM_TODO * sizeof *g->todo + SR_GM_SEEN * sizeof *g->seen + 2 * SR_GM_BUCKETS * sizeof(uint32_t);
}

/* A stack of the old frames, pushed anew. */
static uint32_t transplant(sr_guide *g, const sr_gframe *old, uint32_t frame)
{
    uint32_t chain[SR_GM_MAX_DEPTH + 1], n = 0, to = 0;
    for (; frame; frame = old[frame].up)
        chain[n++] = old[frame].ret;
    while (n && to != UINT32_MAX)
        to = push(g, chain[--n], to);
    return to;
}

bool sr_guide_renew(sr_guide *g)
{
    sr_gframe *frame = g->frame;
    sr_gpair  *pair  = g->pair;
    uint32_t   n     = 0, *first = NULL;
    for (sr_matcher *m = g->matchers; m; m = m->next)
        n++;
    g->l->stats.renewals++;
    /* Where each matcher's pairs are, and whether it may end, before the sets go. */
    first    = sr_malloc(((size_t)n + 1) * 3 * sizeof *first);
    g->frame = sr_malloc(64 * sizeof *frame);
    g->pair  = sr_malloc(256 * sizeof *pair);
    if (!first || !g->frame || !g->pair) {
        sr_free(first);
        sr_free(g->frame);
        sr_free(g->pair);
        g->frame = frame;
        g->pair  = pair;
        return fail(g, SR_GF_NOMEM);
    }
    g->cap_frame = 64, g->cap_pair = 256;
    n = 0;
    for (sr_matcher *m = g->matchers; m; m = m->next, n++) {
        first[3 * n]     = g->set[m->set].first;
        first[3 * n + 1] = g->set[m->set].n;
        first[3 * n + 2] = g->flag[m->set] & SR_GS_DONE;
    }
    forget(g);
    g->fail = SR_GF_NONE;
    g->work = 0;
    start(g);
    n = 0;
    for (sr_matcher *m = g->matchers; m; m = m->next, n++) {
        for (uint32_t i = 0; !g->fail && i < first[3 * n + 1]; i++) {
            sr_gpair p = pair[first[3 * n] + i];
            g->todo[i] = (sr_gpair){p.state, transplant(g, frame, p.frame)};
        }
        m->set = g->fail ? 1 : intern(g, first[3 * n + 1], first[3 * n + 2]);
    }
    sr_free(frame);
    sr_free(pair);
    sr_free(first);
    return !g->fail;
}

/* ---- matchers ------------------------------------------------------------------------------------------------- */

sr_status sr_matcher_open(sr_guide *g, sr_matcher **out, sr_err *err)
{
    sr_matcher *m = sr_calloc(1, sizeof *m);
    *out          = m;
    if (!m)
        return sr_raise(err, SR_NOMEM, "host: no memory for a place in a grammar");
    *m = (sr_matcher){.g = g, .next = g->matchers, .set = g->start};
    if (m->next)
        m->next->prev = m;
    g->matchers = m;
    return SR_OK;
}

void sr_matcher_close(sr_matcher *m)
{
    if (!m)
        return;
    *(m->prev ? &m->prev->next : &m->g->matchers) = m->next;
    if (m->next)
        m->next->prev = m->prev;
    sr_free(m);
}

void sr_matcher_copy(sr_matcher *to, const sr_matcher *from)
{
    SR_ASSERT(to->g == from->g, "matchers of two guides");
    to->set = from->set;
}

bool sr_matcher_can_end(const sr_matcher *m) { return m->g->flag[m->set] & SR_GS_DONE; }
bool sr_matcher_must_end(const sr_matcher *m) { return m->g->flag[m->set] == SR_GS_DONE; }

sr_status sr_matcher_accept_bytes(sr_matcher *m, const char *p, size_t n, sr_err *err)
{
    sr_guide *g = m->g;
    for (int again = 0;; again++) {
        uint32_t s = m->set;
        g->fail    = SR_GF_NONE;
        g->work    = 0;
        for (size_t i = 0; i < n && s > 1; i++)
            s = sr_guide_step(g, s, (uint8_t)p[i]);
        if (s > 1) {
            m->set = s;
            return SR_OK;
        }
        if (s == 1)
            return sr_raise(err, SR_INVALID, "the text does not fit the grammar");
        if (again || g->fail != SR_GF_FULL || !sr_guide_renew(g))
            return sr_guide_raise(g, err);
    }
}

sr_status sr_matcher_accept(sr_matcher *m, int32_t token, sr_err *err)
{
    const sr_lexicon *l = m->g->l;
    if (token < 0 || (uint32_t)token >= l->n_token || l->piece[token + 1] == l->piece[token])
        return sr_raise(err, SR_INVALID, "token %d has no text that a grammar could read", token);
    return sr_matcher_accept_bytes(m, l->bytes + l->piece[token], l->piece[token + 1] - l->piece[token], err);
}
