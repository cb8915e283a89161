#include "ops/attn/attn_decode.cuh"

cudaError_t sr_attn_decode_80(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind)
{
    return decode_choose<80>(a, c, kind);
}
