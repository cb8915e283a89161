#include "ops/linear/chain_few.cuh"

sr_chainstart sr_chain_start_few(uint32_t formats)
{
    sr_chainstart s = chain_few_of<ONLY(SR_Q4_K) | ONLY(SR_Q6_K)>(formats);
    s               = s ? s : chain_few_of<ONLY(SR_Q5_K) | ONLY(SR_Q6_K)>(formats);
    s               = s ? s : chain_few_of<ONLY(SR_Q8_0)>(formats);
    return s ? s : chain_few_of<ONLY(SR_Q4_0)>(formats);
}
