/* grammar_lexicon.c - a vocabulary as a trie, and what grammars leave with it: shared masks, idle guides. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "text/grammar_guide.h"

enum { SHARED_BYTES = 64 << 20, IDLE_GUIDES = 32, IDLE_BYTES = 64 << 20 };

static sr_status nomem(sr_err *err) { return sr_raise(err, SR_NOMEM, "host: no memory for the vocabulary of a grammar"); }

/* ---- the trie ------------------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b, void *lexicon)
{
    const sr_lexicon *l = lexicon;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b, n = l->piece[x + 1] - l->piece[x], m = l->piece[y + 1] - l->piece[y];
    int      c = memcmp(l->bytes + l->piece[x], l->bytes + l->piece[y], SR_MIN(n, m));
    return c ? c : n != m ? (n < m ? -1 : 1) : x < y ? -1 : 1;
}

static bool copy_pieces(sr_lexicon *l, const sr_tokenizer *t)
{
    size_t total = 0, n;
    for (int pass = 0; pass < 2; pass++) {
        if (pass && (total > UINT32_MAX || !(l->bytes = sr_malloc(total + 1))))
            return false;
        total = 0;
        for (uint32_t i = 0; i < l->n_token; i++) {
            const char *p    = sr_tokenizer_piece(t, (int32_t)i, false, &n);
            int         type = sr_tokenizer_type(t, (int32_t)i);
            bool        text = p && n && n <= SR_GM_MAX_TOKEN && type != SR_TOK_CONTROL && type != SR_TOK_UNKNOWN && type != SR_TOK_UNUSED &&
                               !sr_tokenizer_is_end(t, (int32_t)i);
            l->piece[i] = (uint32_t)total;
            if (pass && text)
                memcpy(l->bytes + total, p, n);
            total += text ? n : 0;
        }
        l->piece[l->n_token] = (uint32_t)total;
    }
    return true;
}

typedef struct { uint32_t open[SR_GM_MAX_TOKEN + 1], depth, cap; } builder; /* nodes on the way to the last token */

static bool add_token(sr_lexicon *l, builder *b, uint32_t tok)
{
    const uint8_t *p = (const uint8_t *)l->bytes + l->piece[tok];
    uint32_t       n = l->piece[tok + 1] - l->piece[tok], k = 0;
    while (k < n && k < b->depth && l->node[b->open[k + 1]].byte == p[k])
        k++;
    while (b->depth > k)
        l->node[b->open[b->depth--]].skip = l->n_node;
    if (l->n_node + n > b->cap) {
        uint32_t  cap = b->cap + b->cap / 2 + 2 * SR_GM_MAX_TOKEN;
        sr_tnode *q   = sr_realloc(l->node, cap * sizeof *q);
        if (!q)
            return false;
        l->node = q;
        b->cap  = cap;
    }
    for (; k < n; k++) {
        b->open[++b->depth]    = l->n_node;
        l->node[l->n_node++] = (sr_tnode){.tok = -1, .first = l->n_order, .depth = (uint16_t)b->depth, .byte = p[k]};
    }
    int32_t *at = &l->node[b->open[n]].tok;
    l->same[tok] = *at;
    *at          = (int32_t)tok;
    l->n_order++;
    return true;
}

/* UTF-8 byte by byte: 0 between characters, BAD for ever, else what must come: how many bytes, from where. */
enum { BAD = 255 };
static uint8_t utf8_step(uint8_t state, uint8_t c)
{
    static const uint8_t lo[] = {0, 0x80, 0x80, 0x80, 0xa0, 0x80, 0x90, 0x80}, hi[] = {0, 0xbf, 0xbf, 0xbf, 0xbf, 0x9f, 0xbf, 0x8f},
                         then[] = {0, 0, 1, 2, 1, 1, 2, 2};
    if (state == BAD)
        return BAD;
    if (state)
        return c >= lo[state] && c <= hi[state] ? then[state] : BAD;
    return c < 0x80 ? 0 : c < 0xc2 ? BAD : c < 0xe0 ? 1 : c == 0xe0 ? 4 : c == 0xed ? 5 : c < 0xf0 ? 2 : c == 0xf0 ? 6 : c < 0xf4 ? 3 : c == 0xf4 ? 7 : BAD;
}

/* What lies below each node, kept for those with enough of it. */
static bool sum_up(sr_lexicon *l)
{
    enum { WORTH = 12 };
    sr_tsum  *s  = sr_calloc((size_t)l->n_node + 1, sizeof *s);
    uint32_t *up = sr_malloc(((size_t)l->n_node + 1) * sizeof *up), path[SR_GM_MAX_TOKEN + 1];
    uint8_t  *u  = sr_malloc((size_t)l->n_node + 1);
    bool      ok = s && up && u;
    l->n_sum     = 1;
    for (uint32_t i = 0; ok && i < l->n_node; i++) {
        const sr_tnode *t = &l->node[i];
        up[i]             = t->depth > 1 ? path[t->depth - 1] : UINT32_MAX;
        u[i]              = utf8_step(t->depth > 1 ? u[up[i]] : 0, t->byte);
        path[t->depth]    = i;
        l->n_sum += t->skip - i > WORTH;
    }
    for (uint32_t i = ok ? l->n_node : 0; i-- > 0;) {
        uint32_t p = up[i], b = l->node[i].byte;
        bool bad  = s[i].utf8 || u[i] == BAD; /* until here the field said: some way below is no UTF-8 */
        s[i].utf8 = !bad && (u[i] == 0 || p == UINT32_MAX || u[p] == 0);
        if (p == UINT32_MAX)
            continue;
        s[p].ascii[0] |= s[i].ascii[0] | (b < 64 ? 1ull << b : 0);
        s[p].ascii[1] |= s[i].ascii[1] | (b >= 64 && b < 128 ? 1ull << (b - 64) : 0);
        s[p].high |= s[i].high | sr_gh_of((uint8_t)b);
        s[p].depth = SR_MAX(s[p].depth, s[i].depth + 1);
        s[p].utf8 |= bad;
    }
    l->sum = ok ? sr_malloc(l->n_sum * sizeof *l->sum) : NULL;
    ok     = ok && l->sum;
    l->n_sum = 1;
    for (uint32_t i = 0; ok && i < l->n_node; i++)
        if (l->node[i].skip - i > WORTH) {
            l->sum[l->n_sum] = s[i];
            l->node[i].sum   = l->n_sum++;
        }
    sr_free(s);
    sr_free(up);
    sr_free(u);
    return ok;
}

static bool build(sr_lexicon *l, builder *b)
{
    uint32_t *order = sr_malloc(((size_t)l->n_token + 1) * sizeof *order), n = 0;
    bool      ok    = order != NULL;
    for (uint32_t i = 0; ok && i < l->n_token; i++)
        if (l->piece[i + 1] > l->piece[i])
            order[n++] = i;
    if (ok)
        qsort_r(order, n, sizeof *order, by_bytes, l);
    for (uint32_t i = 0; ok && i < n; i++)
        ok = add_token(l, b, order[i]);
    while (ok && b->depth)
        l->node[b->open[b->depth--]].skip = l->n_node;
    l->order = order;
    return ok && sum_up(l);
}

sr_status sr_lexicon_open(const sr_tokenizer *t, uint32_t n_vocab, sr_lexicon **out, sr_err *err)
{
    *out = NULL;
    if (sr_tokenizer_n_vocab(t) > n_vocab)
        return sr_raise(err, SR_INVALID, "a vocabulary of %u tokens; the model has %u", sr_tokenizer_n_vocab(t), n_vocab);
    sr_lexicon *l = sr_calloc(1, sizeof *l);
    builder    *b = sr_calloc(1, sizeof *b);
    if (!l || !b)
        goto fail;
    *l = (sr_lexicon){.n_vocab = n_vocab, .n_token = sr_tokenizer_n_vocab(t), .words = (n_vocab + 31) / 32};
    if (getrandom(l->key, sizeof l->key, 0) != (ssize_t)sizeof l->key) /* equal keys are only a little less safe */
        l->key[0] = (uint64_t)(uintptr_t)l;
    l->piece = sr_malloc(((size_t)l->n_token + 1) * sizeof *l->piece);
    l->same  = sr_malloc(((size_t)l->n_token + 1) * sizeof *l->same);
    if (!l->piece || !l->same || !copy_pieces(l, t) || !build(l, b))
        goto fail;
    sr_free(b);
    *out = l;
    return SR_OK;
fail:
    sr_free(b);
    sr_lexicon_close(l);
    return nomem(err);
}

static void drop_shared(sr_lexicon *l, sr_shared **at)
{
    sr_shared *s = *at;
    *at          = s->next;
    l->shared_bytes -= s->bytes;
    sr_free(s);
}

void sr_lexicon_close(sr_lexicon *l)
{
    if (!l)
        return;
    while (l->guides) {
        sr_guide *g = l->guides;
        l->guides   = g->next;
        SR_ASSERT(g->refs == 0, "a guide outlives its lexicon");
        sr_guide_free(g);
    }
    for (size_t i = 0; i < SR_GM_BUCKETS; i++)
        while (l->table[i])
            drop_shared(l, &l->table[i]);
    sr_free(l->node);
    sr_free(l->same);
    sr_free(l->order);
    sr_free(l->sum);
    sr_free(l->piece);
    sr_free(l->bytes);
    sr_free(l);
}

size_t sr_lexicon_words(const sr_lexicon *l) { return l->words; }
sr_guidestats sr_lexicon_stats(const sr_lexicon *l) { return l->stats; }

size_t sr_lexicon_memory(const sr_lexicon *l)
{
    size_t n = sizeof *l + l->n_node * sizeof *l->node + (size_t)l->n_token * 12 + l->n_sum * sizeof *l->sum + l->piece[l->n_token] + l->shared_bytes;
    for (const sr_guide *g = l->guides; g; g = g->next)
        n += sr_guide_memory(g);
    return n;
}

/* ---- shared masks --------------------------------------------------------------------------------------------- */

sr_shared *sr_lexicon_find(sr_lexicon *l, const uint64_t key[2], uint32_t offset)
{
    for (sr_shared *s = l->table[(key[0] + offset) % SR_GM_BUCKETS]; s; s = s->next)
        if (s->key[0] == key[0] && s->key[1] == key[1] && s->offset == offset) {
            s->used = ++l->tick;
            return s;
        }
    return NULL;
}

/* Those not used in the newer half of the time that is remembered go. */
static void shrink(sr_lexicon *l)
{
    uint64_t oldest = l->tick;
    for (size_t i = 0; i < SR_GM_BUCKETS; i++)
        for (sr_shared *s = l->table[i]; s; s = s->next)
            oldest = SR_MIN(oldest, s->used);
    uint64_t until = oldest + (l->tick - oldest) / 2;
    for (size_t i = 0; i < SR_GM_BUCKETS; i++)
        for (sr_shared **at = &l->table[i]; *at;) {
            if ((*at)->used <= until)
                drop_shared(l, at);
            else
                at = &(*at)->next;
        }
}

void sr_lexicon_keep(sr_lexicon *l, sr_shared *s)
{
    while (l->shared_bytes && l->shared_bytes + s->bytes > SHARED_BYTES)
        shrink(l);
    sr_shared **at = &l->table[(s->key[0] + s->offset) % SR_GM_BUCKETS];
    s->next        = *at;
    s->used        = ++l->tick;
    *at            = s;
    l->shared_bytes += s->bytes;
}

/* ---- guides --------------------------------------------------------------------------------------------------- */

static void trim_idle(sr_lexicon *l)
{
    for (;;) {
        size_t     bytes = 0, n = 0;
        sr_guide **oldest = NULL;
        for (sr_guide **at = &l->guides; *at; at = &(*at)->next)
            if (!(*at)->refs) {
                n++;
                bytes += sr_guide_memory(*at);
                oldest = !oldest || (*at)->used < (*oldest)->used ? at : oldest;
            }
        if (n <= IDLE_GUIDES && bytes <= IDLE_BYTES)
            return;
        sr_guide *g = *oldest;
        *oldest     = g->next;
        sr_guide_free(g);
    }
}

sr_status sr_guide_open(sr_lexicon *l, const void *grammar, size_t n, sr_guide **out, sr_err *err)
{
    *out = NULL;
    for (sr_guide *g = l->guides; g; g = g->next)
        if (g->g->bytes == n && memcmp(g->g->head, grammar, n) == 0) {
            g->refs++;
            g->used = ++l->tick;
            *out    = g;
            return SR_OK;
        }
    sr_guide *g;
    if (sr_guide_new(l, grammar, n, &g, err))
        return err ? err->status : SR_INVALID;
    g->refs   = 1;
    g->used   = ++l->tick;
    g->serial = ++l->serial;
    g->next   = l->guides;
    l->guides = g;
    *out      = g;
    return SR_OK;
}

void sr_guide_close(sr_guide *g)
{
    if (g && --g->refs == 0)
        trim_idle(g->l);
}
