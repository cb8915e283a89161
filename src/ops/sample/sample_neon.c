#include "ops/sample/sample_v16.h"

const sr_cpukernel sr_sample_neon = {.family = "sample", .isa = "neon", .needs = SR_CPU_NEON, .phases = 1, .run = run};
