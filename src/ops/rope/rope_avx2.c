#include "ops/rope/rope_v16.h"

const sr_cpukernel sr_rope_avx2 = {.family = "rope", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 1, .run = run, .supports = supports};
