#include "ops/linear/gemm_mma.cuh"

cudaError_t sr_gemm_mma_start_s8k(const cudaLaunchConfig_t *c, const sr_gemm_mma *g)
{
    return g->format == SR_Q4_K   ? gemm_mma_start_cut<SR_Q4_K, SR_GEMM_MMA_S8K>(c, g)
           : g->format == SR_Q5_K ? gemm_mma_start_cut<SR_Q5_K, SR_GEMM_MMA_S8K>(c, g)
           : g->format == SR_Q6_K ? gemm_mma_start_cut<SR_Q6_K, SR_GEMM_MMA_S8K>(c, g)
                                  : cudaErrorInvalidValue;
}
