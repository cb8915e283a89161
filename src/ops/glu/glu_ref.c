#include "ops/glu/glu.h"
#include "ops/mathf.h"

static float silu(float g) { return g / (1.0f + sr_expf(-g)); }

static float gelu(float g)
{
    float u = 0.79788456f * fmaf(0.044715f * g * g, g, g);
    return 0.5f * g * (1.0f + sr_tanhf(u));
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    uint32_t     n = j->op->dim[0], a, b, rows = sr_slot_rows(&j->prog->slot[j->op->in[0]], j->n);
    const float *in  = j->slot[j->op->in[0]];
    float       *out = j->slot[j->op->out[0]];
    sr_cpu_share(j, rows, 1, &a, &b);
    for (uint32_t r = a; r < b; r++) {
        const float *gate = in + (size_t)r * 2 * n, *up = gate + n;
        for (uint32_t i = 0; i < n; i++)
            out[(size_t)r * n + i] = (j->op->flags & SR_F_GELU ? gelu(gate[i]) : silu(gate[i])) * up[i];
    }
}

sr_cost sr_glu_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    double numbers = (double)sr_slot_rows(&p->slot[op->in[0]], n) * op->dim[0];
    return (sr_cost){.bytes = 12 * numbers, .flops = 25 * numbers}; /* an exponential is some 20 operations */
}

const sr_cpukernel        sr_glu_ref       = {.family = "glu", .isa = "ref", .phases = 1, .run = run};
const sr_cpukernel *const sr_glu_kernels[] = {
#if defined(__x86_64__)
    &sr_glu_avx512, &sr_glu_avx2,
#elif defined(__aarch64__)
    &sr_glu_neon,
#endif
    &sr_glu_ref, NULL};
