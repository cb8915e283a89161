#include "ops/linear/skinny.cuh"

cudaError_t sr_skinny_start4(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format)
{
    return skinny_start_format<4, 0>(c, s, format);
}
