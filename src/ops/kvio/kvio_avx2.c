#include "ops/kvio/kvio_v16.h"

const sr_cpukernel sr_kvio_avx2 = {.family = "kvio", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 1, .run = run, .supports = supports};
