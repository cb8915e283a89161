#include "ops/attn/attn_mma.cuh"

cudaError_t sr_attn_start256(const sr_attnmma *a, const cudaLaunchConfig_t *c, bool prefill, bool q8)
{
    return q8 ? attn_start<256, SR_Q8_0>(a, *c, prefill) : attn_start<256, SR_F16>(a, *c, prefill);
}
