/* limits.h - what every backend refuses alike: weights and ops that the program does not have, counts beyond what was prepared.
 *
 * Threads: pure functions.   Errors: SR_INVALID with the numbers.
 */
#ifndef SR_BACKEND_LIMITS_H
#define SR_BACKEND_LIMITS_H
#include "base/err.h"
#include "ops/op.h"

static inline sr_status sr_bind_fits(const sr_program *p, uint32_t w, uint32_t n, sr_err *err)
{
    if ((uint64_t)w + n > p->n_weight)
        return sr_raise(err, SR_INVALID, "weights %u to %u bound, the program has %u", w, w + n, p->n_weight);
    return SR_OK;
}

static inline sr_status sr_submit_fits(const sr_program *p, const sr_shape *max, uint32_t op, uint32_t n, const sr_shape *now, sr_err *err)
{
    if ((uint64_t)op + n > p->n_op)
        return sr_raise(err, SR_INVALID, "ops %u to %u submitted, the program has %u", op, op + n, p->n_op);
    if (now->tok > max->tok || now->out > max->out || now->seq > max->seq || now->pages > max->pages)
        return sr_raise(err, SR_INVALID, "step of %u tokens, %u outputs, %u sequences, %u pages; prepared for %u, %u, %u, %u",
                        now->tok, now->out, now->seq, now->pages, max->tok, max->out, max->seq, max->pages);
    return SR_OK;
}
#endif
