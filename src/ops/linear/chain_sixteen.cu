#include "ops/linear/chain_sixteen.cuh"

/* One for all K-quants, as gemm90's of few columns. */
sr_chainstart sr_chain_start_sixteen(uint32_t formats)
{
    constexpr uint32_t all = ONLY(SR_Q4_K) | ONLY(SR_Q5_K) | ONLY(SR_Q6_K);
    return formats & ~all ? NULL : chain_start_of<chain_sixteen_kernel<all>>;
}
