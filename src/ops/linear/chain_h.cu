#include "ops/linear/chain_rows.cuh"

sr_chainstart sr_chain_start_h(uint32_t formats)
{
    sr_chainstart s = chain_of<ONLY(SR_F16)>(formats);
    return s ? s : chain_of<ONLY(SR_BF16)>(formats);
}
