#include "ops/attn/attn_prefill_sm90.cuh"

cudaError_t sr_attn_sm90_80(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map, bool q8)
{
    return prefill90_start<80>(a, c, map, q8);
}
