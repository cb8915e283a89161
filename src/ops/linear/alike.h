/* alike.h - whether what a step computes of a row is the same to the bit, whoever is beside it in the step.
 *
 * Programs of small products (gemm90.h, pairs) that are made for several sequences: an answer is then what it would be alone, though nobody asked for
 * --deterministic.  What it takes: products of all rows, one and two included, by gemm90 in one order of inputs, so no chains (chain.h); attention of single tokens cut
 * by their own sequence alone, that of more tokens by one kernel (attn_mma.cu).  Their launches take longer than what they compute, so that many rows
 * lose nothing by it; one answer at a time does (notes/0056), which is why programs for one sequence keep chains.
 *
 * Owns: nothing.   Threads: pure functions.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_ALIKE_H
#define SR_OPS_LINEAR_ALIKE_H
#include "ops/cuda.h"
#include "ops/linear/between.h"

/* Formats that gemm90 has in pairs. */
static inline bool sr_in_pairs(uint16_t format) { return format != SR_Q4_0 && format != SR_Q8_0; }

/* Of a job that has all but `op`; goes over the whole program. */
static inline bool sr_alike(const sr_cudajob *j)
{
    const sr_program *p = j->prog;
    if (j->max->seq < 2 || j->dev->arch != 90 || j->dev->deterministic)
        return false;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const sr_op *o = &p->op[i];
        if (o->code != SR_OP_LINEAR)
            continue;
        if (!sr_small(p, o, j->dev->pairs))
            return false;
        for (uint32_t k = 0; k < o->n_w; k++)
            if (!sr_in_pairs(p->weight[o->w + k].format) || (j->weight[o->w + k].p && !sr_in_pairs(j->weight[o->w + k].format)))
                return false;
    }
    return true;
}
#endif
