#include "ops/linear/gemm90.cuh"

cudaError_t sr_gemm90_start64(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats)
{
    return gemm90_start_formats<64>(c, g, formats);
}
