#include "ops/kvio/kvio_v16.h"

const sr_cpukernel sr_kvio_avx512 = {.family = "kvio", .isa = "avx512", .needs = SR_CPU_AVX512, .phases = 1, .run = run, .supports = supports};
