#include "ops/linear/chain_rows.cuh"

sr_chainstart sr_chain_start_k(uint32_t formats)
{
    sr_chainstart s = chain_of<ONLY(SR_Q4_K) | ONLY(SR_Q6_K)>(formats);
    return s ? s : chain_of<ONLY(SR_Q4_K) | ONLY(SR_Q5_K) | ONLY(SR_Q6_K)>(formats);
}
