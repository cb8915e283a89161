#include "ops/glu/glu_v16.h"

const sr_cpukernel sr_glu_avx2 = {.family = "glu", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 1, .run = run};
