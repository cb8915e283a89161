/* attn.h - attention over paged keys and values, causal or along the paths of token trees.   [Dao 2022/2023 (online softmax); Kwon et al. 2023 (pages)]
 *
 * Op       in[0] qkv [tok][width] f32, q heads first; out[0] [tok][heads*head_dim] f32
 *          dim[0] = heads, dim[1] = kv_heads (heads % kv_heads == 0: query head h reads kv head h / (heads/kv_heads)),
 *          dim[2] = head_dim, dim[3] = window (0: all; else positions > pos - window).
 *          w = KV group, n_w = layer within the group.  f[0] = scale of q.k, f[1] = soft-cap (0: none; s = cap*tanh(s/cap))
 * Sees     token row t of sequence s (batch.seq[s] <= t < batch.seq[s+1]) sees positions [kv_len[s][0], end) where
 *          end = kv_len[s][1] - (batch.seq[s+1] - 1 - t): the step's tokens are the last ones of the sequence, in order.
 *          Position i lies in page table[s][i / page_tokens] (sr_page: tier in the top 2 bits, must be the
 *          device's own), at i % page_tokens.  A drafted row (batch.tree, ops/tree.h) sees the positions of its path, which
 *          in its block lie where the path's rows do.
 * Numbers  Positions are taken in chunks of SR_ATTN_CHUNK aligned to position 0.  A chunk, of its visible positions i:
 *            s_i = (sum over d, in order, ONE fma accumulator: q[d]*k_i[d]) * scale, then the soft-cap
 *            m   = max s_i;   p_i = sr_expf(s_i - m);   l = sum of p_i in 16 lanes (i mod 16), folded i+8, i+4, i+2, i+1
 *            o[d] = sum over i, in order, ONE fma accumulator: p_i*v_i[d]
 *          Chunks are joined in order: M = max(m, m'), a = sr_expf(m - M), b = sr_expf(m' - M), l = fma(l, a, l'*b),
 *          o = fma(o, a, o'*b).  At the end out[d] = o[d] * (1/l).
 *          K and V of any format count as the f32 numbers that sr_decode_row gives.  So an output does not depend
 *          on how the prompt was cut into steps, nor on who computed a chunk, nor on the other rows of the batch: a
 *          drafted row has the bits of its path as a text.  (Devices go by places: their sums are in another order where a tree branches.)
 *          Lanes run over positions in q.k and over d in p.v: both are then the same small matrix product
 *          (C[r][lanes] += A[r][k] * B[k][lanes]), with no sum across lanes in it.  (notes/0006)
 * Roofline bytes = visible positions * kv_heads*(dim_k+dim_v)*2 (F16) per sequence; flops = 4*heads*head_dim*visible per token.
 * Scratch  per thread: one tile's queries, scores and accumulators; shared: (m, l, o) per (query row, chunk) of the
 *          sequences whose chunks are computed by different threads.
 */
#ifndef SR_OPS_ATTN_H
#define SR_OPS_ATTN_H
#include "ops/cpu.h"
enum { SR_ATTN_CHUNK = 256 };
sr_cost sr_attn_cost(const sr_program *p, const sr_op *op, const sr_shape *n, uint32_t kv_tokens);
size_t  sr_attn_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers);
extern const sr_cpukernel        sr_attn_ref, sr_attn_avx2, sr_attn_avx512, sr_attn_neon; /* on their machines */
extern const sr_cpukernel *const sr_attn_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
