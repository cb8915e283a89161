#include "ops/norm/norm_v16.h"

const sr_cpukernel sr_norm_avx2 = {.family = "norm", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 1, .run = run};
