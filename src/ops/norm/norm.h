/* norm.h - RMS norm of groups of columns: y = x / sqrt(mean(x^2) + eps) * w.   [Zhang & Sennrich 2019]
 *
 * Op       in[0] x [rows][width], out[0] y [rows][width] f32 (may be the same slot); w: one f32 weight [dim[0]]
 *          dim[0] = group size, dim[1] = first column, dim[2] = groups: a layer norm has (dim, 0, 1), Qwen3's
 *          per-head norm of K inside a qkv slot (head_dim, heads*head_dim, kv_heads).  f[0] = eps
 *          With in != out only the named columns are written (at the same place).
 * Numbers  sum of squares in 16 lanes (k mod 16) by fma, folded i+8, i+4, i+2, i+1; s = 1/sqrtf(sum/n + eps); y = (x*s)*w.
 * Roofline bytes = 2*rows*n*4, memory bound (in cache).
 */
#ifndef SR_OPS_NORM_H
#define SR_OPS_NORM_H
#include "ops/cpu.h"
sr_cost sr_norm_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
extern const sr_cpukernel        sr_norm_ref, sr_norm_avx2, sr_norm_avx512, sr_norm_neon; /* on their machines */
extern const sr_cpukernel *const sr_norm_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
