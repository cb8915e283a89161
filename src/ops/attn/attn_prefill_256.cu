#include "ops/attn/attn_prefill_mma.cuh"

cudaError_t sr_attn_prefill_256(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8)
{
    return prefill_start<256>(a, c, q8);
}
