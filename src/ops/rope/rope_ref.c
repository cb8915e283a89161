#include "ops/mathf.h"
#include "ops/rope/rope.h"

static void table(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    uint32_t     half = j->op->dim[0] / 2, a, b;
    const float *freq = j->weight[j->op->w].p;
    float       *out = j->slot[j->op->out[0]], scale = j->op->f[0];
    sr_cpu_share(j, j->n->tok, 1, &a, &b);
    for (uint32_t t = a; t < b; t++) {
        float *row = out + (size_t)t * 2 * half;
        for (uint32_t i = 0; i < half; i++) {
            float s, c;
            sr_sincosf((float)j->batch->pos[t] * freq[i], &s, &c);
            row[i]        = c * scale;
            row[half + i] = s * scale;
        }
    }
}

static void turn(float *x, const float *cs, uint32_t rot, bool neox)
{
    uint32_t half = rot / 2;
    for (uint32_t i = 0; i < half; i++) {
        float *p0 = neox ? &x[i] : &x[2 * i], *p1 = neox ? &x[i + half] : &x[2 * i + 1];
        float  x0 = *p0, x1 = *p1, c = cs[i], s = cs[half + i];
        *p0       = fmaf(x0, c, -(x1 * s));
        *p1       = fmaf(x0, s, x1 * c);
    }
}

static void rope(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    const sr_op *op = j->op;
    float       *x = j->slot[op->in[0]];
    const float *cs = j->slot[op->in[1]];
    uint32_t     width = j->prog->slot[op->in[0]].width, heads = op->dim[0], rot = op->dim[2], a, b;
    sr_cpu_share(j, j->n->tok * heads, 1, &a, &b);
    for (uint32_t i = a; i < b; i++) {
        uint32_t t = i / heads;
        turn(x + (size_t)t * width + op->dim[3] + (size_t)(i % heads) * op->dim[1], cs + (size_t)t * rot, rot,
             op->flags & SR_F_NEOX);
    }
}

sr_cost sr_rope_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    (void)p;
    if (op->code == SR_OP_ROPETABLE) /* about 40 operations for an angle's reduction, sine and cosine */
        return (sr_cost){.bytes = n->tok * (4.0 * op->dim[0] + 4) + 2.0 * op->dim[0], .flops = 20.0 * n->tok * op->dim[0]};
    double turned = (double)n->tok * op->dim[0] * op->dim[2];
    return (sr_cost){.bytes = 8 * turned + 4.0 * n->tok * op->dim[2], .flops = 3 * turned};
}

const sr_cpukernel sr_ropetable_ref = {.family = "ropetable", .isa = "ref", .phases = 1, .run = table};
const sr_cpukernel sr_rope_ref      = {.family = "rope", .isa = "ref", .phases = 1, .run = rope};
const sr_cpukernel *const sr_ropetable_kernels[] = {&sr_ropetable_ref, NULL};
const sr_cpukernel *const sr_rope_kernels[] = {
#if defined(__x86_64__)
    &sr_rope_avx512, &sr_rope_avx2,
#elif defined(__aarch64__)
    &sr_rope_neon,
#endif
    &sr_rope_ref, NULL};
