/* sample.h - from logits to a token, over the full vocabulary, where the logits are.
 *
 * Op       in[0] logits [out][dim[0]] f32 (not changed); out[0] [out] sr_sampled (slot of I32, width 43)
 *          row i's parameters: ((const sr_sampdev *)batch.sampling)[i], its lists at offsets in the same blob.
 * Steps    1 adjust, entries in order: with count > 0: logit /= rep_penalty if > 0 else *= it; -= count*freq + pres;
 *            then, with any count, += bias.  A bias of -INFINITY forbids; a mask bit of 0 forbids.
 *          2 temp <= 0: the largest, lowest id on ties.
 *          3 else filters, in llama.cpp's order, on the adjusted logits: top_k, typical_p, top_p, min_p (each off at 0, 1, 1, 0;
 *            each keeps at least one; ties at a threshold are kept by lower id), then temperature
 *          4 draw: argmax over kept of logit/temp + g(t), g = -log(-log(u(t))), u from philox4x32-10 with key =
 *            seed and counter = (t, choice, pos, 0): the Gumbel-max trick, exact, without order or state.  [Salmon et al. 2011; Maddison et al. 2014]
 *          given >= 0: no 1-4, tok = given.
 * Always   logprob = logit[tok] - logsumexp(logits), of the unadjusted logits; alternatives likewise, most
 *          likely first (lower id on ties).  tok = -1, logprob 0 and no alternatives if a logit is NaN, if the
 *          largest is not finite, or if (not given) every token is forbidden or the adjusted maximum is not finite.
 * Numbers  f32.  logsumexp: maximum m first, then 16 lanes (k mod 16) of sr_expf(x - m), folded; logprob = (x - m) - sr_logf(sum).
 *          With a = adjusted logits and M their maximum, a token's weight is the integer W = trunc(sr_expf(a - M) * 2^32):
 *          sums of weights are exact (in double too), so that no order of summation needs a rule; what weighs less counts as 0.
 *            top_k      the first k by (a descending, id)
 *            typical_p  s = max(0, sr_logf((float)sum W * 2^-32) - (a - M)) = -log p;  H = (double)sum trunc(sr_expf(a - M) * s * 2^32) / sum W, to f32;
 *                       by (|s - H| ascending, id): the shortest run whose weight is > typical_p of all
 *            top_p      by (a descending, id): the shortest run whose weight is >= top_p of all that is left
 *            min_p      a >= the largest left + sr_logf(min_p)
 *          (shares are compared as (double)run >= (double)p * (double)all.)
 *          Draw: z = fma(a - M, min(1/temp, 1e30), g), g = -sr_logf(-sr_logf(sr_uniform(word 0))); the largest z, lowest id on ties.
 * Scratch  per thread: five words a token: adjusted logits, and the candidates of the filters.
 */
#ifndef SR_OPS_SAMPLE_H
#define SR_OPS_SAMPLE_H
#include "ops/cpu.h"
sr_cost sr_sample_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
size_t  sr_sample_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers);
extern const sr_cpukernel        sr_sample_ref, sr_sample_avx2, sr_sample_avx512, sr_sample_neon; /* on their machines */
extern const sr_cpukernel *const sr_sample_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
