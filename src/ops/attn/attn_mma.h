/* attn_mma.h - what the tensor-core attention kernels are told.   Owns: nothing.   Threads: plain data.
 * Errors: none. */
#ifndef SR_OPS_ATTN_MMA_H
#define SR_OPS_ATTN_MMA_H
#include "ops/cuda.h"

typedef struct {
    const float *qkv;
    float *out, *partial;                 /* partial: [seq][kv head][splits][o 16 x hd, m 16, l 16] */
    uint32_t *arrived;                    /* [seq][kv head], zero between launches */
    const sr_shape *n;                    /* true counts */
    const uint32_t *seq, *table, *kv_len; /* table, kv_len: of this group */
    sr_kvbind kv;
    uint32_t width, layer, group, kv_heads, window, max_pages, page_log;
    uint32_t split, splits; /* positions of a split, a multiple of 64; most splits */
    float scale, cap;
} sr_attnmma;

/* One file per head size; q8: pages of Q8_0, else F16. */
cudaError_t sr_attn_start64(const sr_attnmma *a, const cudaLaunchConfig_t *c, bool prefill, bool q8);
cudaError_t sr_attn_start128(const sr_attnmma *a, const cudaLaunchConfig_t *c, bool prefill, bool q8);
cudaError_t sr_attn_start256(const sr_attnmma *a, const cudaLaunchConfig_t *c, bool prefill, bool q8);
#endif
