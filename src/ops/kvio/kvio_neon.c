#include "ops/kvio/kvio_v16.h"

const sr_cpukernel sr_kvio_neon = {.family = "kvio", .isa = "neon", .needs = SR_CPU_NEON, .phases = 1, .run = run, .supports = supports};
