#include "ops/linear/skinny.cuh"

cudaError_t sr_skinny_start1(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format)
{
    return s->m == 1 && !s->alike ? skinny_start_format<1, 1>(c, s, format) : skinny_start_format<1, 0>(c, s, format);
}
