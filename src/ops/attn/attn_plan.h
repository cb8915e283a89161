/* attn_plan.h - what a query row sees and where it lies: shared by the attention kernels of the CPU. */
#ifndef SR_OPS_ATTN_PLAN_H
#define SR_OPS_ATTN_PLAN_H
#include "ops/attn/attn.h"

/* Token row t of sequence s sees positions [*begin, *end). */
static inline void sr_attn_visible(const sr_cpujob *j, uint32_t s, uint32_t t, uint32_t *begin, uint32_t *end)
{
    const sr_batch *b   = j->batch;
    const uint32_t *len = b->kv_len + ((size_t)j->op->w * j->max->seq + s) * 2;
    uint32_t        window = j->op->dim[3];
    *end   = len[1] - (b->seq[s + 1] - 1 - t);
    *begin = window && *end > window && *end - window > len[0] ? *end - window : len[0];
}

/* K (or V) of position i of sequence s for kv head h. */
static inline const char *sr_attn_row(const sr_cpujob *j, uint32_t s, uint32_t h, uint32_t i, bool value)
{
    const sr_kvbind *kv    = &j->batch->kv[j->op->w];
    const uint32_t  *table = j->batch->table + ((size_t)j->op->w * j->max->seq + s) * j->max->pages;
    size_t           page  = table[i / kv->page_tokens] & 0x3fffffffu; /* less the tier */
    return (const char *)kv->base + page * kv->stride.page + j->op->n_w * kv->stride.layer + value * kv->stride.kv +
           h * kv->stride.head + i % kv->page_tokens * kv->stride.tok;
}
#endif
