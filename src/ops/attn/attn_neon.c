#include "ops/attn/attn_v16.h"

const sr_cpukernel sr_attn_neon = {.family = "attn", .isa = "neon", .needs = SR_CPU_NEON, .phases = 2, .run = run, .supports = supports};
