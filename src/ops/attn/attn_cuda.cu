#include "ops/attn/attn_cuda.h"

extern "C" const sr_cudakernel sr_attn_cuda[] = {
    {"sm90", 90, 0, sr_attn_mma_supports, sr_attn_mma_scratch, sr_attn_mma_launch}, /* the same host side starts other kernels */
    {"mma", 0, 0, sr_attn_mma_supports, sr_attn_mma_scratch, sr_attn_mma_launch},
    {"plain", 0, 0, sr_attn_plain_supports, NULL, sr_attn_plain_launch},
    {},
};
