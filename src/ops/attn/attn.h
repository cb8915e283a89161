/* attn.h - causal attention over paged keys and values.   [Dao 2022/2023 (online softmax); Kwon et al. 2023 (pages)]
 *
 * Op       in[0] qkv [tok][width] f32, q heads first; out[0] [tok][heads*head_dim] f32
 *          dim[0] = heads, dim[1] = kv_heads (heads % kv_heads == 0: query head h reads kv head h / (heads/kv_heads)),
 *          dim[2] = head_dim, dim[3] = window (0: all; else positions > pos - window).
 *          w = KV group, n_w = layer within the group.  f[0] = scale of q.k, f[1] = soft-cap (0: none; s = cap*tanh(s/cap))
 * Sees     token row t of sequence s (batch.seq[s] <= t < batch.seq[s+1]) sees positions [kv_len[s][0], end) where
 *          end = kv_len[s][1] - (batch.seq[s+1] - 1 - t): the step's tokens are the last ones of the sequence, in order.
 *          Position i lies in page table[s][i / page_tokens] (sr_page: tier in the top 2 bits, must be the
 *          device's own), at i % page_tokens.  batch.tree != NULL: SR_UNSUPPORTED until speculation needs it.
 * Numbers  Positions are taken in chunks of SR_ATTN_CHUNK aligned to position 0; each chunk gives (m, l, o) by
 *          online softmax over blocks of 16 positions (block maximum first, rescale by exp(m_old - m_new) when it grows); chunks are merged
 *          in order by the log-sum-exp rule.  q.k: 16 lanes (d mod 16) fma, folded i+8, i+4, i+2, i+1; p.v: per
 *          d one accumulator, fma in order of position.  exp is the project's own polynomial (same bits everywhere).
 *          So an output does not depend on how the prompt was cut into steps, nor on who computed a chunk.
 * Roofline bytes = visible positions * kv_heads*(dim_k+dim_v)*2 (F16) per sequence; flops = 4*heads*head_dim*visible per token.
 * Scratch  (m, l, o) per (token, head, chunk) where a sequence has more than one chunk and the op is shared by chunks.
 */
#ifndef SR_OPS_ATTN_H
#define SR_OPS_ATTN_H
#include "ops/cpu.h"
enum { SR_ATTN_CHUNK = 512 };
sr_cost sr_attn_cost(const sr_program *p, const sr_op *op, const sr_shape *n, uint32_t kv_tokens);
size_t  sr_attn_scratch(const sr_program *p, const sr_op *op, const sr_shape *max, uint32_t workers);
extern const sr_cpukernel sr_attn_ref;
#endif
