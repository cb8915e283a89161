/* linear.h - y = x . W^T (+ bias) (+ residual): every matrix of the model, on its quantised blocks.
 *
 * Op       in[0]    x   [rows][cols] f32
 *          out[0]   y   [rows][R] f32, R = sum over weights of their rows: n_w weights side by side
 *          epilogue z   [rows][R] f32 added to the result, or SR_NONE; may be out[0] itself
 *          w, n_w   weights [rows_k][cols] of any format, each its own; with SR_F_BIAS weights w+n_w .. w+2 n_w-1
 *                   are f32 biases [rows_k] (wref.p NULL: that one has none)
 *          dim[0] = cols; dim[1] = R
 * Shares   A wref may hold rows [row0, row0+n_row) only: just those columns of y are written.  It may hold
 *          input columns [col0, col0+n_col) only (multiples of 256): y is then a partial sum, the epilogue is
 *          still added (give it to one device only).
 * Numbers  For quantised W the activations are quantised too: Q8_K (scale per 256) for the K-quants, Q8_0
 *          (per 32) for Q4_0 and Q8_0, as ggml does.  Integer products are exact; then, per output, ONE f32
 *          accumulator runs over the blocks in order:
 *            K-quants, per superblock b: s = sum_j sc[j] * dot_j, t = sum_j m[j] * bsum_j   (int32, exact)
 *                     acc = fma(d_w*d_x, s, acc);  acc = fma(-(dmin_w*d_x), t, acc)   (Q6_K: the first only)
 *            Q4_0, Q8_0, per block of 32:  acc = fma(d_w*d_x, dot, acc)
 *          For F32, F16, BF16 W: x stays f32; 16 accumulators, lane k mod 16, fma in order of k; then
 *          lanes i and i+8 are added, then i and i+4, i+2, i+1.  A tail of k is as if padded by zeros.
 *          Then bias, then residual.  All instruction sets give bit-identical results; "amx-bf16", which nobody gets who
 *          has not asked for it, does not for BF16 and F16 (linear_amxbf16.c says how far they are off).
 * Exact    Kernels of sr_linear_f32_kernels quantise no activations: every W is multiplied as if it were F32 in the file
 *          (sr_decode_row's numbers), by x as it is, in the order of F32 weights.  So an op gives the bits of the same op on
 *          weights decoded to F32; and all instruction sets give the same, "amx" and "amx-bf16" those of AVX-512.
 * Roofline bytes = sum of weight bytes + rows*(cols + R)*4; flops = 2*rows*cols*R.
 *          rows = 1: memory bound; prefill: compute bound.
 * Scratch  the quantised activations of all rows, both kinds if the weights of one op need both; of BF16 and F16 as two BF16.
 */
#ifndef SR_OPS_LINEAR_H
#define SR_OPS_LINEAR_H
#include "ops/cpu.h"

sr_cost sr_linear_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
size_t  sr_linear_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers);

extern const sr_cpukernel sr_linear_ref;
#if defined(__x86_64__)
extern const sr_cpukernel sr_linear_avx2;
extern const sr_cpukernel sr_linear_avx512; /* with VNNI */
extern const sr_cpukernel sr_linear_amx;
extern const sr_cpukernel sr_linear_amxbf16; /* BF16, F16; needs SR_CPU_ANY_ORDER: see Numbers */
#elif defined(__aarch64__)
extern const sr_cpukernel sr_linear_neon, sr_linear_neondot; /* without and with dot products */
#endif
#if defined(__x86_64__)
extern const sr_cpukernel sr_linear_f32_avx2, sr_linear_f32_avx512;
#elif defined(__aarch64__)
extern const sr_cpukernel sr_linear_f32_neon;
#endif
extern const sr_cpukernel sr_linear_f32_ref;
extern const sr_cpukernel *const sr_linear_f32_kernels[]; /* for activations as they are; likewise */
extern const sr_cpukernel *const sr_linear_kernels[]; /* of this architecture, best first, NULL last; ref is always there */
#endif
