#include "ops/glu/glu_v16.h"

const sr_cpukernel sr_glu_neon = {.family = "glu", .isa = "neon", .needs = SR_CPU_NEON, .phases = 1, .run = run};
