#include "ops/attn/attn_v16.h"

const sr_cpukernel sr_attn_avx512 = {.family = "attn", .isa = "avx512", .needs = SR_CPU_AVX512, .phases = 2, .run = run, .supports = supports};
