#include "ops/rope/rope_v16.h"

const sr_cpukernel sr_rope_avx512 = {.family = "rope", .isa = "avx512", .needs = SR_CPU_AVX512, .phases = 1, .run = run, .supports = supports};
