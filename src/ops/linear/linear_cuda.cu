#include "ops/linear/linear_cuda.h"

extern "C" const sr_cudakernel sr_linear_cuda[] = {
    {"mma", 0, 0, sr_linear_mma_supports, sr_linear_mma_scratch, sr_linear_mma_launch},
    {"plain", 0, 0, NULL, NULL, sr_linear_plain_launch},
    {},
};
