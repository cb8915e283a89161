/* sample.h - from logits to a token, over the full vocabulary, where the logits are.
 *
 * Op       in[0] logits [out][dim[0]] f32 (not changed); out[0] [out] sr_sampled (slot of I32, width 43)
 *          row i's parameters: ((const sr_sampdev *)batch.sampling)[i], its lists at offsets in the same blob.
 * Steps    1 adjust: entries with count > 0: logit /= rep_penalty if > 0 else *= it; -= count*freq + pres; += bias.
 *            A bias of -INFINITY forbids; a mask bit of 0 forbids.
 *          2 temp <= 0: the largest, lowest id on ties.
 *          3 else filters, in llama.cpp's order, on the adjusted logits: top_k, typical_p, top_p, min_p (each off at 0, 1, 1, 0;
 *            each keeps at least one; ties at a threshold are kept by lower id), then temperature
 *          4 draw: argmax over kept of logit/temp + g(t), g = -log(-log(u(t))), u from philox4x32-10 with key =
 *            seed and counter = (t, choice, pos, 0): the Gumbel-max trick, exact, without order or state.  [Salmon et al. 2011; Maddison et al. 2014]
 *          given >= 0: no 1-4, tok = given.
 * Always   logprob = logit[tok] - logsumexp(logits), of the unadjusted logits; alternatives likewise, most
 *          likely first (lower id on ties).  If every token is forbidden or logits are NaN: tok = -1.
 * Numbers  logsumexp: maximum first, then 16 lanes (k mod 16) of expf, folded; draws use sr_logf of ops/mathf.h.
 * Scratch  per thread: dim[0] floats and ids for the filters.
 */
#ifndef SR_OPS_SAMPLE_H
#define SR_OPS_SAMPLE_H
#include "ops/cpu.h"
sr_cost sr_sample_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
size_t  sr_sample_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers);
extern const sr_cpukernel sr_sample_ref;
#endif
