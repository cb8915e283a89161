#include "ops/norm/norm_v16.h"

const sr_cpukernel sr_norm_avx512 = {.family = "norm", .isa = "avx512", .needs = SR_CPU_AVX512, .phases = 1, .run = run};
