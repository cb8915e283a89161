#include "ops/attn/attn_cuda.h"

extern "C" const sr_cudakernel sr_attn_cuda[] = {{"plain", 0, 0, sr_attn_plain_supports, NULL, sr_attn_plain_launch}, {}};
