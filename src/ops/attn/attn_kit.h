/* attn_kit.h - attention over made-up sequences, for test and bench.
 *
 * All numbers follow from (seed, sequence, position), whatever the step contains: the same position in
 * another batch, or of a prompt cut elsewhere, has the same q, k and v.  Memory that no row may look at is
 * NaN, pages that no row may look at are not in the table.  The last rows of a sequence may be drafted (ops/tree.h): then
 * numbers follow from the place; a text that is a path of a tree has those of its rows (case_path).
 */
#ifndef SR_OPS_ATTN_KIT_H
#define SR_OPS_ATTN_KIT_H
#include "ops/attn/attn.h"
#include "ops/testkit.h"
#include "ops/tree.h"

enum { CASE_SEQS = 128, CASE_GROUP = 1 };

typedef struct {
    uint32_t heads, kv_heads, hd, window, page_tokens, n_seq;
    uint32_t tok[CASE_SEQS], past[CASE_SEQS], first[CASE_SEQS]; /* in this step, before it, first visible */
    uint16_t format_k, format_v;
    float    cap;
    uint64_t seed;
    uint32_t layers; /* of the group; the op reads the last */
    bool     turned; /* keys lie in columns of sixteen positions */
    bool     words;  /* the batch has words even if nobody drafts */
    uint8_t  drafted[CASE_SEQS];             /* of tok, the last ones */
    int8_t   parent[CASE_SEQS][SR_TREE_MOST]; /* of each; -1: none */
    uint32_t path_at, n_path, path[SR_TREE_MOST]; /* sequence 0: what lies at places path_at .. has the numbers of these */
} attn_case;

enum { CASE_CHAIN, CASE_STAR, CASE_TREE, CASE_SHAPES };

/* Drafts the last n tokens of a sequence. */
static inline void case_draft(attn_case *c, uint32_t seq, uint32_t n, uint32_t shape, uint64_t *s)
{
    c->drafted[seq] = (uint8_t)n;
    for (uint32_t i = 0; i < n; i++) /* -1 .. i - 1, none as often as any other; late ones more often, so that some are deep */
        c->parent[seq][i] = (int8_t)((shape == CASE_CHAIN ? i : shape == CASE_STAR ? i > 0 : SR_MAX(kit_below(s, i + 1), kit_below(s, i + 1))) - 1);
}

static inline uint64_t case_word(const attn_case *c, uint32_t seq, uint32_t draft)
{
    uint64_t w = 0;
    for (int i = (int)draft; i >= 0; i = c->parent[seq][i])
        w |= 1ull << i;
    return w;
}

/* Trees of any kind; some sequences have none, some have rows of a text in front of them. */
static inline void case_drafts(attn_case *c, uint64_t *s)
{
    c->words  = true;
    c->window = c->window && kit_below(s, 2) ? 1 + kit_below(s, 12) : c->window; /* that a path is longer than */
    for (uint32_t q = 0; q < c->n_seq; q++) {
        uint32_t n = kit_below(s, 3) ? 1 + kit_below(s, kit_below(s, 2) ? SR_TREE_MOST : 9) : 0;
        c->tok[q]  = n ? n + (kit_below(s, 2) ? 0 : 1 + kit_below(s, 20)) : c->tok[q];
        case_draft(c, q, n, kit_below(s, CASE_SHAPES), s);
    }
}

static inline uint64_t case_state(const attn_case *c, uint32_t seq, uint32_t pos, uint32_t what)
{
    if (seq == 0 && pos >= c->path_at && pos - c->path_at < c->n_path)
        pos = c->path[pos - c->path_at];
    uint64_t s = (c->seed + 1) * 0x9e3779b97f4a7c15u ^ ((uint64_t)seq << 40 | (uint64_t)pos << 8 | what);
    s          = (s ^ s >> 30) * 0xbf58476d1ce4e5b9u;
    s          = (s ^ s >> 27) * 0x94d049bb133111ebu;
    return s | 1;
}

/* k (or v) of a position: kv_heads rows of hd numbers. */
static inline void case_kv(const attn_case *c, uint32_t seq, uint32_t pos, bool value, float *out)
{
    uint64_t s = case_state(c, seq, pos, value ? 1 : 2);
    kit_fill(out, (size_t)c->kv_heads * c->hd, 1, &s);
}

static inline char *case_at(const kit *k, uint32_t layer, uint32_t seq, uint32_t pos, uint32_t head, bool value)
{
    const sr_kvbind *kv   = &k->batch.kv[CASE_GROUP];
    uint32_t         page = k->batch.table[(CASE_GROUP * k->max.seq + seq) * k->max.pages + pos / kv->page_tokens];
    return (char *)kv->base + (page & 0x3fffffff) * kv->stride.page + layer * kv->stride.layer +
           value * kv->stride.kv + head * kv->stride.head + pos % kv->page_tokens * kv->stride.tok;
}

static inline void case_pages(kit *k, const attn_case *c, uint32_t *table)
{
    sr_kvbind *kv = &k->batch.kv[CASE_GROUP];
    uint32_t   n = 0, pages[CASE_SEQS], used[CASE_SEQS];
    size_t     row = SR_MAX(sr_row_bytes(c->format_k, c->hd), sr_row_bytes(c->format_v, c->hd));
    uint64_t   s   = case_state(c, 0, 0, 3);
    for (uint32_t i = 0; i < c->n_seq; i++) {
        used[i]  = c->window && c->past[i] > c->window ? (c->past[i] - c->window + 1) / c->page_tokens : c->first[i] / c->page_tokens;
        pages[i] = (c->past[i] + c->tok[i] + c->page_tokens - 1) / c->page_tokens;
        n += pages[i];
    }
    *kv = (sr_kvbind){.page_tokens = c->page_tokens, .kv_heads = c->kv_heads, .dim_k = c->hd, .dim_v = c->hd,
                      .format_k = c->format_k, .format_v = c->format_v, .turned = c->turned,
                      .stride = {.tok = row, .head = row * c->page_tokens, .kv = row * c->page_tokens * c->kv_heads,
                                 .layer = row * c->page_tokens * c->kv_heads * 2,
                                 .page  = row * c->page_tokens * c->kv_heads * 2 * c->layers}};
    kv->base = kit_own(k, n * kv->stride.page);
    memset(kv->base, 0xff, n * kv->stride.page);
    uint32_t *order = kit_own(k, n * sizeof *order), at = 0;
    for (uint32_t i = 0; i < n; i++) { /* Fisher and Yates, inside out */
        uint32_t r = kit_below(&s, i + 1);
        order[i]   = order[r];
        order[r]   = i;
    }
    for (uint32_t q = 0; q < c->n_seq; q++)
        for (uint32_t i = 0; i < pages[q]; i++, at++)
            if (i >= used[q])
                table[(size_t)(CASE_GROUP * k->max.seq + q) * k->max.pages + i] = order[at] | 1u << 30;
}

static inline void case_column(const kit *k, uint32_t layer, uint32_t seq, uint32_t pos, uint32_t head, const float *x, uint32_t n)
{
    char *at = case_at(k, layer, seq, pos / 16 * 16, head, false) + pos % 16 * 2;
    for (uint32_t d = 0; d < n; d++, at += 32) {
        uint16_t h = sr_f32_to_f16(x[d]);
        memcpy(at, &h, sizeof h);
    }
}

/* The key of a position, decoded. */
static inline void case_key(const kit *k, const attn_case *c, uint32_t seq, uint32_t pos, uint32_t head, float *out)
{
    const char *at = case_at(k, c->layers - 1, seq, c->turned ? pos / 16 * 16 : pos, head, false);
    for (uint32_t d = 0; d < c->hd && c->turned; d++) {
        uint16_t h;
        memcpy(&h, at + (d * 16 + pos % 16) * 2, sizeof h);
        out[d] = sr_f16_to_f32(h);
    }
    if (!c->turned)
        sr_decode_row(c->format_k, at, out, c->hd);
}

static inline void case_store(kit *k, const attn_case *c, bool everywhere)
{
    float *row = kit_own(k, (size_t)c->kv_heads * c->hd * 4);
    for (uint32_t q = 0; q < c->n_seq; q++) {
        uint32_t a = c->first[q];
        if (c->window && c->past[q] > c->window)
            a = SR_MAX(a, c->past[q] + 1 - c->window);
        for (uint32_t i = a; i < c->past[q] + c->tok[q]; i++)
            for (int v = 0; v < 2; v++) {
                case_kv(c, q, i, v, row);
                for (uint32_t h = 0; h < c->kv_heads; h++)
                    for (uint32_t layer = everywhere ? 0 : c->layers - 1; layer < c->layers; layer++)
                        if (c->turned && !v)
                            case_column(k, layer, q, i, h, row + (size_t)h * c->hd, c->hd);
                        else
                            sr_encode_row(v ? c->format_v : c->format_k, row + (size_t)h * c->hd, case_at(k, layer, q, i, h, v), c->hd);
            }
    }
}

/* The kit of a case (everywhere: each layer holds the same, for benches): slot 0 the queries (with room for k and v beside them), slot 1 the output. */
static inline void case_build(kit *k, const attn_case *c, bool everywhere)
{
    *k = (kit){0};
    uint32_t width = (c->heads + 2 * c->kv_heads) * c->hd, tok = 0, pages = 1;
    for (uint32_t q = 0; q < c->n_seq; q++) {
        tok += c->tok[q];
        pages = SR_MAX(pages, (c->past[q] + c->tok[q] + c->page_tokens - 1) / c->page_tokens);
    }
    k->n   = (sr_shape){.tok = tok, .out = tok, .seq = c->n_seq, .pages = pages};
    k->max = (sr_shape){.tok = tok + 3, .out = tok, .seq = c->n_seq + 1, .pages = pages + 2};
    k->op  = (sr_op){.code = SR_OP_ATTN, .in = {0, SR_NONE, SR_NONE, SR_NONE}, .out = {1}, .w = CASE_GROUP,
                     .n_w = c->layers - 1, .dim = {c->heads, c->kv_heads, c->hd, c->window},
                     .f = {1.0f / sqrtf((float)c->hd), c->cap}};
    k->prog.kv[CASE_GROUP] = (sr_kvshape){.n_layers = c->layers, .kv_heads = c->kv_heads, .dim_k = c->hd, .dim_v = c->hd,
                                          .window = c->window, .format_k = c->format_k, .format_v = c->format_v};
    k->prog.n_kv = CASE_GROUP + 1;
    k->prog.page_tokens = c->page_tokens;
    float *in = kit_slot(k, 0, SR_ROWS_TOK, width, tok);
    kit_slot(k, 1, SR_ROWS_TOK, c->heads * c->hd, tok);
    size_t    entries = (size_t)(CASE_GROUP + 1) * k->max.seq;
    uint32_t *seq = kit_own(k, (c->n_seq + 1) * 4), *len = kit_own(k, entries * 8);
    uint32_t *table = kit_own(k, entries * k->max.pages * 4);
    memset(table, 0xff, entries * k->max.pages * 4);
    seq[0] = 0;
    for (uint32_t q = 0, t = 0; q < c->n_seq; q++) {
        seq[q + 1] = seq[q] + c->tok[q];
        len[(CASE_GROUP * k->max.seq + q) * 2]     = c->first[q];
        len[(CASE_GROUP * k->max.seq + q) * 2 + 1] = c->past[q] + c->tok[q];
        for (uint32_t i = 0; i < c->tok[q]; i++, t++) {
            uint64_t s = case_state(c, q, c->past[q] + i, 0);
            kit_fill(in + (size_t)t * width, width, 1.5f, &s);
        }
    }
    k->batch = (sr_batch){.seq = seq, .kv_len = len, .table = table};
    uint64_t *tree = kit_own(k, tok * sizeof *tree);
    memset(tree, 0, tok * sizeof *tree);
    for (uint32_t q = 0; q < c->n_seq; q++)
        for (uint32_t i = 0; i < c->drafted[q]; i++, k->batch.tree = tree)
            tree[seq[q + 1] - c->drafted[q] + i] = case_word(c, q, i);
    if (c->words)
        k->batch.tree = tree;
    case_pages(k, c, table);
    case_store(k, c, everywhere);
}
#endif
