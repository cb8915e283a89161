#include "ops/mathf.h"
#include "ops/norm/norm.h"

static void norm(const float *x, const float *w, float *y, uint32_t n, float eps)
{
    float lane[16] = {0};
    for (uint32_t k = 0; k < n; k++)
        lane[k % 16] = fmaf(x[k], x[k], lane[k % 16]);
    float s = 1.0f / sqrtf(sr_fold16(lane) / (float)n + eps);
    for (uint32_t k = 0; k < n; k++)
        y[k] = x[k] * s * w[k];
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    const sr_op   *op = j->op;
    const sr_slot *s  = &j->prog->slot[op->in[0]];
    const float   *in = j->slot[op->in[0]], *w = j->weight[op->w].p;
    float         *out = j->slot[op->out[0]];
    uint32_t       groups = op->dim[2], a, b;
    sr_cpu_share(j, sr_slot_rows(s, j->n) * groups, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        size_t at = (size_t)(i / groups) * s->width + op->dim[1] + (size_t)(i % groups) * op->dim[0];
        norm(in + at, w, out + at, op->dim[0], op->f[0]);
    }
}

sr_cost sr_norm_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    double cols = (double)op->dim[0] * op->dim[2], rows = sr_slot_rows(&p->slot[op->in[0]], n);
    return (sr_cost){.bytes = rows * cols * 8 + 4.0 * op->dim[0], .flops = 4 * rows * cols};
}

const sr_cpukernel        sr_norm_ref       = {.family = "norm", .isa = "ref", .phases = 1, .run = run};
const sr_cpukernel *const sr_norm_kernels[] = {
#if defined(__x86_64__)
    &sr_norm_avx512, &sr_norm_avx2,
#elif defined(__aarch64__)
    &sr_norm_neon,
#endif
    &sr_norm_ref, NULL};
