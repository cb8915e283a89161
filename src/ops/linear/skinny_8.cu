#include "ops/linear/skinny.cuh"

cudaError_t sr_skinny_start8(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format)
{
    return skinny_start_format<8, 0>(c, s, format);
}
