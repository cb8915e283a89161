/* grammar_mask.c - the mask of a set: shared parts of its states, and what comes after the end of their rules. */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "text/grammar_guide.h"

enum { MANY_PAIRS = 48, MASK_BYTES = 8 << 20, MAX_HASHED = 32768 };

/* ---- the key of a rule: what it says ---------------------------------------------------------------------------- */

/* Rules in the order in which a walk from `rule` meets them; everything they hold, in local numbers. */
static bool spell(const sr_grammar *m, uint32_t rule, uint32_t *number, uint32_t *order, sr_siphash *h)
{
    uint32_t n = 1, edges = 0;
    order[0]     = rule;
    number[rule] = 1;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t s = m->start[order[k]], end = order[k] + 1 < m->head->n_rule ? m->start[order[k] + 1] : m->head->n_state;
        uint32_t size = end - s;
        sr_siphash_add(h, &size, sizeof size);
        for (uint32_t at = s; at < end; at++) {
            uint32_t a = sr_g_first(m, at), z = sr_g_first(m, at + 1), head[2] = {z - a, sr_g_accepts(m, at)};
            sr_siphash_add(h, head, sizeof head);
            edges += z - a;
            for (uint32_t e = a; e < z; e++) {
                uint32_t what = m->edge[e].what, word[2] = {m->edge[e].to - s, what};
                if (what & SR_G_CALL) {
                    uint32_t to = what & ~SR_G_CALL;
                    if (!number[to]) {
                        order[n]   = to;
                        number[to] = ++n;
                    }
                    word[1] = SR_G_CALL | number[to];
                }
                sr_siphash_add(h, word, sizeof word);
            }
        }
        if (edges > MAX_HASHED)
            return false;
    }
    return true;
}

static bool key_of_rule(sr_guide *g, uint32_t rule)
{
    uint32_t  n = g->g->head->n_rule, *number = sr_calloc(2 * (size_t)n, sizeof *number);
    sr_siphash h;
    if (!number) {
        g->fail = SR_GF_NOMEM;
        return false;
    }
    sr_siphash_begin(&h, g->l->key);
    if (!spell(g->g, rule, number, number + n, &h)) { /* too large to be met again: its own */
        uint64_t own[2] = {g->serial, rule};
        sr_siphash_begin(&h, g->l->key);
        sr_siphash_add(&h, own, sizeof own);
    }
    sr_siphash_end(&h, g->rule_key[rule]);
    sr_free(number);
    return true;
}

static uint32_t rule_of(const sr_grammar *m, uint32_t state)
{
    uint32_t lo = 0, hi = m->head->n_rule;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        *(m->start[mid] <= state ? &lo : &hi) = mid;
    }
    return lo;
}

/* ---- walking the trie ------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t *mask;
    bool      collect;       /* for a shared mask: where the rule may end, and how deep it went */
    sr_buf    resume;
    uint32_t  high;
} sink;

static void allow(const sr_lexicon *l, uint32_t *mask, int32_t tok)
{
    for (; tok >= 0; tok = l->same[tok])
        mask[tok / 32] |= 1u << tok % 32;
}

/* Everything below a node goes on, whatever it is: the set's loop (a string's body) reads all of its bytes, up to `depth` characters.
 * lead: the byte before them, if that is read by the loop, too. */
static bool all_below(sr_guide *g, const sr_tsum *s, uint32_t set, uint8_t lead, sink *out)
{
    uint8_t  high  = s->high | sr_gh_of(lead), wanted = high & (SR_GH_MOST | SR_GH_E2);
    uint32_t depth = s->depth + (lead != 0);
    if (high && !s->utf8)
        return false;
    for (uint32_t k = 0; k < depth; k++) {
        if (out->collect && g->flag[set] & SR_GS_DONE)
            return false;
        const sr_gloop *l = sr_guide_loop(g, set);
        if (!l || (s->ascii[0] & ~l->ascii[0]) || (s->ascii[1] & ~l->ascii[1]) || !l->next || (wanted & ~l->high))
            return false;
        out->high = SR_MAX(out->high, g->set[l->next].deep);
        if (l->next == set)
            return true;
        set = l->next;
    }
    return true;
}

static void allow_below(const sr_lexicon *l, const sr_tnode *t, uint32_t *mask)
{
    uint32_t end = t->skip < l->n_node ? l->node[t->skip].first : l->n_order;
    for (uint32_t i = t->first; i < end; i++)
        mask[l->order[i] / 32] |= 1u << l->order[i] % 32;
}

/* Nodes [i, end), children of a node of that depth, from a set. */
static bool walk(sr_guide *g, uint32_t from, uint32_t i, uint32_t end, uint32_t depth, sink *out)
{
    const sr_lexicon *l    = g->l;
    const sr_tnode   *node = l->node;
    uint32_t         *at   = g->path, seen = 0;
    at[depth] = from;
    while (i < end) {
        const sr_tnode *t = &node[i];
        if (t->byte >= 0x80 && t->sum && all_below(g, &l->sum[t->sum], at[t->depth - 1], t->byte, out)) {
            allow_below(l, t, out->mask);
            i = t->skip;
            continue;
        }
        if (g->fail)
            return false;
        uint32_t to = g->trans[(size_t)at[t->depth - 1] * g->n_class + g->class_of[t->byte]];
        if (!to && !(to = sr_guide_step(g, at[t->depth - 1], t->byte)))
            return false;
        uint8_t flag = g->flag[to];
        seen++;
        if (!flag) {
            i = t->skip;
            continue;
        }
        if (t->tok >= 0)
            allow(l, out->mask, t->tok);
        if (out->collect) {
            out->high = SR_MAX(out->high, g->set[to].deep);
            if (flag & SR_GS_DONE && t->skip > i + 1)
                sr_buf_add(&out->resume, &i, sizeof i);
        }
        if (t->sum && flag & SR_GS_MORE && all_below(g, &l->sum[t->sum], to, 0, out)) {
            allow_below(l, t, out->mask);
            i = t->skip;
            continue;
        }
        if (g->fail)
            return false;
        at[t->depth] = to;
        i            = flag & SR_GS_MORE ? i + 1 : t->skip;
    }
    g->work += seen / 4;
    return true;
}

/* ---- shared masks ----------------------------------------------------------------------------------------------- */

static sr_shared *pack(const sr_lexicon *l, const uint32_t *mask, const sink *s)
{
    uint32_t n = 0, k = 0, n_resume = (uint32_t)(s->resume.n / sizeof(uint32_t));
    for (uint32_t w = 0; w < l->words; w++)
        n += (uint32_t)__builtin_popcount(mask[w]);
    uint32_t   words = n < l->words ? n : l->words;
    size_t     bytes = sizeof(sr_shared) + ((size_t)words + n_resume) * sizeof(uint32_t);
    sr_shared *e     = sr_malloc(bytes);
    if (!e)
        return NULL;
    *e        = (sr_shared){.high = s->high, .n_tok = n < l->words ? n : UINT32_MAX, .n_resume = n_resume, .bytes = bytes};
    e->tok    = (uint32_t *)(e + 1);
    e->resume = e->tok + words;
    if (n_resume)
        memcpy(e->resume, s->resume.p, n_resume * sizeof(uint32_t));
    if (e->n_tok == UINT32_MAX) {
        memcpy(e->tok, mask, l->words * sizeof *mask);
        return e;
    }
    for (uint32_t w = 0; w < l->words; w++)
        for (uint32_t bits = mask[w]; bits; bits &= bits - 1)
            e->tok[k++] = w * 32 + (uint32_t)__builtin_ctz(bits);
    return e;
}

static sr_shared *make_shared(sr_guide *g, uint32_t state, const uint64_t key[2], uint32_t offset)
{
    sr_lexicon *l = g->l;
    sink        s = {.collect = true};
    sr_shared  *e = NULL;
    uint32_t    from;
    s.mask = sr_calloc(l->words, sizeof *s.mask);
    l->stats.walks++;
    if (!s.mask)
        g->fail = SR_GF_NOMEM;
    else if ((from = sr_guide_single(g, state)) && walk(g, from, 0, l->n_node, 0, &s)) {
        e = s.resume.failed ? NULL : pack(l, s.mask, &s);
        g->fail = e ? g->fail : SR_GF_NOMEM;
    }
    if (e) {
        e->key[0] = key[0];
        e->key[1] = key[1];
        e->offset = offset;
        sr_lexicon_keep(l, e);
    }
    sr_free(s.mask);
    sr_buf_end(&s.resume);
    return e;
}

static sr_shared *shared_of(sr_guide *g, uint32_t state)
{
    uint32_t rule = rule_of(g->g, state), offset = state - g->g->start[rule];
    uint64_t *key = g->rule_key[rule];
    if (!key[0] && !key[1] && !key_of_rule(g, rule))
        return NULL;
    sr_shared *e = sr_lexicon_find(g->l, key, offset);
    g->l->stats.shared_hits += e != NULL;
    return e ? e : make_shared(g, state, key, offset);
}

static void merge(const sr_lexicon *l, const sr_shared *e, uint32_t *mask)
{
    if (e->n_tok == UINT32_MAX)
        for (uint32_t w = 0; w < l->words; w++)
            mask[w] |= e->tok[w];
    else
        for (uint32_t i = 0; i < e->n_tok; i++)
            mask[e->tok[i] / 32] |= 1u << e->tok[i] % 32;
}

/* ---- the mask of a set ------------------------------------------------------------------------------------------ */

/* SR_AGAIN: by parts it cannot be told (nesting at its end). */
static sr_status by_parts(sr_guide *g, uint32_t set, uint32_t *mask)
{
    sr_lexicon *l = g->l;
    sink        s = {.mask = mask};
    for (uint32_t i = 0; i < g->set[set].n; i++) {
        sr_gpair         p = g->pair[g->set[set].first + i];
        if (!p.frame) { /* nothing comes after its rule: no need to know where it may end */
            uint32_t alone = sr_guide_single(g, p.state);
            if (!alone || !walk(g, alone, 0, l->n_node, 0, &s))
                return SR_UNSUPPORTED;
            continue;
        }
        const sr_shared *e = shared_of(g, p.state);
        if (!e)
            return SR_UNSUPPORTED;
        if (g->frame[p.frame].depth + e->high > SR_GM_MAX_DEPTH)
            return SR_AGAIN;
        merge(l, e, mask);
        uint32_t caller = e->n_resume ? sr_guide_caller(g, p.frame) : 1;
        if (!caller)
            return SR_UNSUPPORTED;
        for (uint32_t k = 0; caller > 1 && k < e->n_resume; k++) {
            uint32_t t = e->resume[k];
            if (!walk(g, caller, t + 1, l->node[t].skip, l->node[t].depth, &s))
                return SR_UNSUPPORTED;
        }
    }
    return SR_OK;
}

static bool fill(sr_guide *g, uint32_t set, uint32_t *mask)
{
    sr_status s = g->set[set].n > MANY_PAIRS ? SR_AGAIN : by_parts(g, set, mask);
    if (s == SR_AGAIN) {
        memset(mask, 0, g->l->words * sizeof *mask);
        return walk(g, set, 0, g->l->n_node, 0, &(sink){.mask = mask});
    }
    return s == SR_OK;
}

/* Remembers the mask of a set; when there is no more room, all are forgotten. */
static void remember(sr_guide *g, uint32_t set, const uint32_t *mask)
{
    uint32_t words = g->l->words, most = SR_MAX(16u, (uint32_t)(MASK_BYTES / (words * sizeof *mask)));
    if (g->n_mask == most) {
        for (uint32_t i = 0; i < g->n_set; i++)
            g->set[i].mask = 0;
        g->n_mask = 0;
    }
    if (g->n_mask == g->cap_mask) {
        uint32_t  cap = g->cap_mask ? SR_MIN(most, g->cap_mask * 2) : 8;
        uint32_t *p   = sr_realloc(g->masks, (size_t)cap * words * sizeof *p);
        if (!p)
            return;
        g->masks    = p;
        g->cap_mask = cap;
    }
    memcpy(g->masks + (size_t)g->n_mask * words, mask, words * sizeof *mask);
    g->set[set].mask = ++g->n_mask;
}

sr_status sr_matcher_mask(sr_matcher *m, uint32_t *mask, bool *any, sr_err *err)
{
    sr_guide *g     = m->g;
    size_t    bytes = g->l->words * sizeof *mask;
    uint32_t  bits  = 0, cached = g->set[m->set].mask;
    g->l->stats.masks++;
    if (cached) {
        g->l->stats.hits++;
        memcpy(mask, g->masks + (size_t)(cached - 1) * g->l->words, bytes);
    } else {
        for (int again = 0;; again++) {
            g->fail = SR_GF_NONE;
            g->work = 0;
            memset(mask, 0, bytes);
            if (fill(g, m->set, mask))
                break;
            if (again || g->fail != SR_GF_FULL || !sr_guide_renew(g))
                return sr_guide_raise(g, err);
        }
        remember(g, m->set, mask);
    }
    for (uint32_t w = 0; w < g->l->words && !bits; w++)
        bits |= mask[w];
    *any = bits != 0;
    return SR_OK;
}
