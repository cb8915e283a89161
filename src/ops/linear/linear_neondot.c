#include "ops/linear/linear_neon.h"

const sr_cpukernel sr_linear_neondot = {
    .family = "linear", .isa = "neon-dot", .needs = SR_CPU_NEON | SR_CPU_NEON_DOT, .phases = 2, .skip = sr_linear_skip, .run = run};
