#include "ops/linear/chain_rows.cuh"

sr_chainstart sr_chain_start_0(uint32_t formats)
{
    sr_chainstart s = chain_of<ONLY(SR_Q8_0)>(formats);
    return s ? s : chain_of<ONLY(SR_Q4_0)>(formats);
}
