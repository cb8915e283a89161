#include "ops/sample/sample_v16.h"

const sr_cpukernel sr_sample_avx512 = {.family = "sample", .isa = "avx512", .needs = SR_CPU_AVX512, .phases = 1, .run = run};
