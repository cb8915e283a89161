#include "ops/sample/sample_v16.h"

const sr_cpukernel sr_sample_avx2 = {.family = "sample", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 1, .run = run};
