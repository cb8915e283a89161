/* attn_plan.h - what a query row sees, where it lies, and how the fast kernels share out the work.
 *
 * A tile is up to SR_ATTN_ROWS query rows of one sequence and one kv head: `n_tok` tokens times the query heads of
 * that kv head, so that each key and value is loaded and converted once for all of them.  An item is a tile
 * with all its chunks (phase 0 writes the output), or, where tiles are too few to keep the threads busy (decode of
 * few sequences), a tile with one chunk (phase 0 writes (m, l, o) per row, phase 1 joins them).  Whichever: same bits.
 *
 *     sequence      rows of this step       items of kv head h
 *     0  (decode)   [t]                     chunk 0 | chunk 1 | chunk 2            split
 *     1  (prompt)   [tttttt][tttttt][tt]    tile 2, tile 1, tile 0                 the last tiles see most: first
 *
 * Threads: every thread keeps a plan of its own; all see the same items under the same numbers.
 */
#ifndef SR_OPS_ATTN_PLAN_H
#define SR_OPS_ATTN_PLAN_H
#include "ops/attn/attn.h"
#include "ops/tree.h"

enum { SR_ATTN_ROWS = 48, SR_ATTN_DIM = 256 }; /* rows of a tile (more if a kv head has more); largest fast head_dim */

typedef struct {
    uint32_t seq, tok, n_tok, kv_head; /* tokens tok .. tok+n_tok-1 (rows of the step) */
    uint32_t chunk, chunks;            /* first, how many */
    float   *part;                     /* split: m[rows], l[rows], o[rows][head_dim] of this chunk; else NULL */
} sr_attn_item;

typedef struct {
    const sr_cpujob *job;
    uint32_t group, tile_tok, rows;     /* query heads of a kv head; tokens and rows of a full tile */
    bool     split;
    size_t   slots, used;               /* room for partial results, in rows * chunks */
    uint32_t seq, tile, n_item, first;  /* cursor: this tile's items are first .. first+n_item-1 */
    uint32_t chunk, chunks;
    bool     tile_split;
} sr_attn_plan;

void sr_attn_plan_begin(sr_attn_plan *p, const sr_cpujob *j);
bool sr_attn_plan_item(sr_attn_plan *p, uint32_t index, sr_attn_item *out); /* index must not fall; false: no such item */
bool sr_attn_plan_next_split(sr_attn_plan *p, sr_attn_item *out);           /* each (tile, kv head) that was split, all chunks */

/* Floats of one thread's own memory, and of one partial row. */
size_t sr_attn_thread_floats(const sr_op *op, const sr_shape *max);
static inline size_t sr_attn_part_floats(const sr_op *op) { return op->dim[2] + 2; }

static inline uint64_t sr_attn_word(const sr_cpujob *j, uint32_t t) { return j->batch->tree ? j->batch->tree[t] : 0; } /* tree.h */

/* Token row t of sequence s sees positions [*begin, *end). */
static inline void sr_attn_visible(const sr_cpujob *j, uint32_t s, uint32_t t, uint32_t *begin, uint32_t *end)
{
    const sr_batch *b   = j->batch;
    const uint32_t *len = b->kv_len + ((size_t)j->op->w * j->max->seq + s) * 2;
    uint32_t        window = j->op->dim[3];
    uint64_t        word = sr_attn_word(j, t);
    *end   = len[1] - (b->seq[s + 1] - 1 - t);
    if (word)
        *end -= sr_tree_own(word) + 1 - sr_tree_bits(word); /* drafted rows in front of it that are not of its path */
    *begin = window && *end > window && *end - window > len[0] ? *end - window : len[0];
}

/* Tokens t .. t+n-1 of sequence s see no position outside of [*begin, *end). */
void sr_attn_span(const sr_cpujob *j, uint32_t s, uint32_t t, uint32_t n, uint32_t *begin, uint32_t *end);

/* Place of the first drafted row of the sequence of drafted row t; UINT32_MAX: t is not drafted. */
static inline uint32_t sr_attn_first(const sr_cpujob *j, uint32_t s, uint32_t t)
{
    const uint32_t *len  = j->batch->kv_len + ((size_t)j->op->w * j->max->seq + s) * 2;
    uint64_t        word = sr_attn_word(j, t);
    return word ? len[1] - (j->batch->seq[s + 1] - t) - sr_tree_own(word) : UINT32_MAX;
}

/* K (or V) at place i of sequence s for kv head h: of position i, unless that is a drafted row's (sr_tree_place). */
static inline const char *sr_attn_row(const sr_cpujob *j, uint32_t s, uint32_t h, uint32_t i, bool value)
{
    const sr_kvbind *kv    = &j->batch->kv[j->op->w];
    const uint32_t  *table = j->batch->table + ((size_t)j->op->w * j->max->seq + s) * j->max->pages;
    size_t           page  = table[i / kv->page_tokens] & 0x3fffffffu; /* less the tier */
    return (const char *)kv->base + page * kv->stride.page + j->op->n_w * kv->stride.layer + value * kv->stride.kv +
           h * kv->stride.head + i % kv->page_tokens * kv->stride.tok;
}
#endif
