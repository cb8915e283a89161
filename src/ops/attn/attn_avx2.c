#include "ops/attn/attn_v16.h"

const sr_cpukernel sr_attn_avx2 = {.family = "attn", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 2, .run = run, .supports = supports};
