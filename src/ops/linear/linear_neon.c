#include "ops/linear/linear_neon.h"

const sr_cpukernel sr_linear_neon = {
    .family = "linear", .isa = "neon", .needs = SR_CPU_NEON, .phases = 2, .skip = sr_linear_skip, .run = run};
