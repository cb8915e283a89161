/* glu.h - gated linear unit: out = act(gate) * up.   [Shazeer 2020]
 *
 * Op       in[0] [rows][2n] f32: gate in columns [0, n), up in [n, 2n); out[0] [rows][n] f32; dim[0] = n
 *          SiLU: g / (1 + exp(-g)); SR_F_GELU: 0.5 g (1 + tanh(0.79788456 (g + 0.044715 g^3)))
 * Numbers  SiLU as written, with sr_expf; GELU: ((0.5 g) * (1 + sr_tanhf(0.79788456 * fma((0.044715 g) g, g, g)))); then times up.
 */
#ifndef SR_OPS_GLU_H
#define SR_OPS_GLU_H
#include "ops/cpu.h"
sr_cost sr_glu_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
extern const sr_cpukernel        sr_glu_ref, sr_glu_avx2, sr_glu_avx512, sr_glu_neon; /* on their machines */
extern const sr_cpukernel *const sr_glu_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
