#include "ops/attn/attn_prefill_mma.cuh"

cudaError_t sr_attn_prefill_64(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8)
{
    return prefill_start<64>(a, c, q8);
}
