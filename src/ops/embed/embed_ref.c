#include "base/err.h"
#include "ops/embed/embed.h"

/* The token of row t: of this step, or one that the previous step sampled.  A row that could not be sampled (-1) has ended its
 * request; what its successor computes is not looked at. */
static uint32_t token_of(const sr_cpujob *j, uint32_t t)
{
    int32_t tok = j->batch->tok[t];
    if (tok < 0)
        tok = j->previous[-1 - tok].tok;
    return tok < 0 ? j->weight[j->op->w].row0 : (uint32_t)tok;
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    (void)phase;
    const sr_wref *w   = &j->weight[j->op->w];
    uint32_t       dim = j->op->dim[0], a, b;
    size_t         row = sr_row_bytes(w->format, dim);
    float         *out = j->slot[j->op->out[0]];
    SR_ASSERT(w->layout == 0 && w->col0 == 0, "embedding weight %u: layout %u, first column %u", j->op->w, w->layout, w->col0);
    sr_cpu_share(j, j->n->tok, 1, &a, &b);
    for (uint32_t t = a; t < b; t++) {
        float   *y   = out + (size_t)t * dim;
        uint32_t tok = token_of(j, t);
        SR_ASSERT(tok - w->row0 < w->n_row, "token %u, rows %u+%u", tok, w->row0, w->n_row);
        sr_decode_row(w->format, (const char *)w->p + (tok - w->row0) * row, y, dim);
        for (uint32_t i = 0; i < dim; i++)
            y[i] *= j->op->f[0];
    }
}

sr_cost sr_embed_cost(const sr_program *p, const sr_op *op, const sr_shape *n)
{
    double row = (double)sr_row_bytes(p->weight[op->w].format, op->dim[0]);
    return (sr_cost){.bytes = n->tok * (row + 4.0 * op->dim[0]), .flops = (double)n->tok * op->dim[0]};
}

const sr_cpukernel        sr_embed_ref       = {.family = "embed", .isa = "ref", .phases = 1, .run = run};
const sr_cpukernel *const sr_embed_kernels[] = {&sr_embed_ref, NULL};
