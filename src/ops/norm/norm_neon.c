#include "ops/norm/norm_v16.h"

const sr_cpukernel sr_norm_neon = {.family = "norm", .isa = "neon", .needs = SR_CPU_NEON, .phases = 1, .run = run};
