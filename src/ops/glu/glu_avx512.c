#include "ops/glu/glu_v16.h"

const sr_cpukernel sr_glu_avx512 = {.family = "glu", .isa = "avx512", .needs = SR_CPU_AVX512, .phases = 1, .run = run};
