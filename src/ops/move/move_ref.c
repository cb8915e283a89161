#include "ops/move/move.h"

#include <string.h>

static void gather(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    size_t       dim = j->op->dim[0];
    const float *in  = j->slot[j->op->in[0]];
    float       *out = j->slot[j->op->out[0]];
    uint32_t     a, b;
    sr_cpu_share(j, j->n->out, 1, &a, &b);
    for (uint32_t i = a; i < b; i++)
        memcpy(out + i * dim, in + j->batch->out[i] * dim, dim * sizeof *out);
}

static void add(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    size_t       dim = j->op->dim[0];
    const float *x = j->slot[j->op->in[0]], *y = j->slot[j->op->in[1]];
    float       *out = j->slot[j->op->out[0]];
    uint32_t     a, b;
    sr_cpu_share(j, sr_slot_rows(&j->prog->slot[j->op->in[0]], j->n), 1, &a, &b);
    for (size_t i = a * dim; i < b * dim; i++)
        out[i] = x[i] + y[i];
}

sr_cost sr_move_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    double numbers = (double)sr_slot_rows(&p->slot[op->out[0]], n) * op->dim[0];
    bool   adds    = op->code == SR_OP_ADD;
    return (sr_cost){.bytes = numbers * (adds ? 12 : 8), .flops = adds ? numbers : 0};
}

const sr_cpukernel        sr_gather_ref       = {.family = "gather", .isa = "ref", .phases = 1, .run = gather};
const sr_cpukernel        sr_add_ref          = {.family = "add", .isa = "ref", .phases = 1, .run = add};
const sr_cpukernel *const sr_gather_kernels[] = {&sr_gather_ref, NULL};
const sr_cpukernel *const sr_add_kernels[]    = {&sr_add_ref, NULL};
