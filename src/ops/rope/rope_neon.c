#include "ops/rope/rope_v16.h"

const sr_cpukernel sr_rope_neon = {.family = "rope", .isa = "neon", .needs = SR_CPU_NEON, .phases = 1, .run = run, .supports = supports};
