/* rope.h - rotary position embedding.   [Su et al. 2021; NeoX pairing as in GPT-NeoX; scalings: model/hparams.c]
 *
 * ROPETABLE  out[0] [tok][dim[0]] f32: for i < dim[0]/2: cos(a), then at dim[0]/2 + i: sin(a), both times f[0]
 *            (YaRN's magnitude, else 1); a = (float)batch.pos[tok] * inv_freq[i]; weight w: inv_freq f32 [dim[0]/2].
 *            Scaling rules (linear, llama3, YaRN) are in inv_freq: the kernels know none of them.
 * ROPE       in[0] = out[0] [tok][width] in place: dim[0] = heads to turn (q and k lie side by side), dim[1] =
 *            head_dim, dim[2] = rotated dims of each head (<= head_dim, even), dim[3] = first column.
 *            in[1] = the table.  SR_F_NEOX: pairs (i, i + rot/2); else (2i, 2i+1).
 *            (x0, x1) -> (x0*c - x1*s, x0*s + x1*c), each as fma(x0, c, -(x1*s)) and fma(x0, s, x1*c)
 * Numbers    the angle in f32 reduced and evaluated by cosf/sinf of the reference (own, same on every machine).
 */
#ifndef SR_OPS_ROPE_H
#define SR_OPS_ROPE_H
#include "ops/cpu.h"
sr_cost sr_rope_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
extern const sr_cpukernel        sr_ropetable_ref, sr_rope_ref, sr_rope_avx2, sr_rope_avx512, sr_rope_neon; /* on their machines */
extern const sr_cpukernel *const sr_ropetable_kernels[], *const sr_rope_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
