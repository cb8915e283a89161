#include "ops/linear/gemm_mma.cuh"

cudaError_t sr_gemm_mma_start_s8(const cudaLaunchConfig_t *c, const sr_gemm_mma *g)
{
    return g->format == SR_Q4_0   ? gemm_mma_start_cut<SR_Q4_0, SR_GEMM_MMA_S8>(c, g)
           : g->format == SR_Q8_0 ? gemm_mma_start_cut<SR_Q8_0, SR_GEMM_MMA_S8>(c, g)
                                  : cudaErrorInvalidValue;
}
