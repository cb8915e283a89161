/* between.h - whether ops that follow each other may be one launch: what lies between them has no other reader.
 *
 * Owns: nothing.   Threads: pure functions.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_BETWEEN_H
#define SR_OPS_LINEAR_BETWEEN_H
#include "ops/op.h"

/* Whether an op from `op` on reads the slot before another writes it; `but`: the op that may. */
static inline bool sr_read_later(const sr_program *p, uint32_t op, uint16_t slot, uint32_t but)
{
    for (uint32_t i = op; i < p->n_op; i++) {
        const sr_op *o = &p->op[i];
        for (int k = 0; k < 4; k++)
            if (o->in[k] == slot && i != but)
                return true;
        if (o->epilogue == slot && i != but)
            return true;
        for (int k = 0; k < 3; k++)
            if (o->out[k] == slot)
                return false;
    }
    return slot == p->hidden || slot == p->logits;
}

/* Whether a program may be run without writing the slot between ops i and i + 1. */
static inline bool sr_passes(const sr_program *p, uint32_t i)
{
    const sr_op *o = &p->op[i];
    return p->op[i + 1].code == SR_OP_LINEAR && p->op[i + 1].in[0] == o->out[0] && o->in[0] != o->out[0] &&
           !sr_read_later(p, i + 1, o->out[0], i + 1);
}

/* Whether an op's products are small enough to take x in 22 bits: they take little longer than their launch even so.  A head may have four times as
 * many weights: it is one of many launches, and has few rows. */
static inline bool sr_small(const sr_program *p, const sr_op *o, uint64_t most)
{
    uint64_t weights = 0;
    for (uint32_t k = 0; k < o->n_w; k++)
        weights += (uint64_t)p->weight[o->w + k].rows * p->weight[o->w + k].cols;
    return weights <= (p->slot[o->in[0]].rows == SR_ROWS_OUT ? 4 : 1) * most;
}

static inline bool sr_whole_norm(const sr_program *p, const sr_op *o)
{
    return o->code == SR_OP_NORM && o->dim[1] == 0 && o->dim[2] == 1 && o->dim[0] == p->slot[o->in[0]].width &&
           o->dim[0] % 4 == 0;
}
#endif
