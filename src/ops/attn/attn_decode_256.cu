#include "ops/attn/attn_decode.cuh"

cudaError_t sr_attn_decode_256(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind)
{
    return decode_choose<256>(a, c, kind);
}
