#include "ops/linear/gemm_mma.cuh"

cudaError_t sr_gemm_mma_start_f16(const cudaLaunchConfig_t *c, const sr_gemm_mma *g)
{
    switch (g->format) {
    case SR_Q4_K:
        return gemm_mma_start_cut<SR_Q4_K, SR_GEMM_MMA_F16>(c, g);
    case SR_Q5_K:
        return gemm_mma_start_cut<SR_Q5_K, SR_GEMM_MMA_F16>(c, g);
    case SR_Q6_K:
        return gemm_mma_start_cut<SR_Q6_K, SR_GEMM_MMA_F16>(c, g);
    case SR_Q4_0:
        return gemm_mma_start_cut<SR_Q4_0, SR_GEMM_MMA_F16>(c, g);
    case SR_Q8_0:
        return gemm_mma_start_cut<SR_Q8_0, SR_GEMM_MMA_F16>(c, g);
    case SR_F16:
        return gemm_mma_start_cut<SR_F16, SR_GEMM_MMA_F16>(c, g);
    case SR_BF16:
        return gemm_mma_start_cut<SR_BF16, SR_GEMM_MMA_F16>(c, g);
    default:
        return cudaErrorInvalidValue;
    }
}
