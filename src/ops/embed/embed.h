/* embed.h - token embedding: decodes one row of the embedding matrix per token.
 *
 * Op       out[0] [tok][dim[0]] f32 = row batch.tok[t] of weight w ([vocab][dim[0]], any format), times f[0] (1, or
 *          Gemma's sqrt(dim)).  batch.tok[t] < 0: the token that row -1 - tok of the previous step sampled.
 * Ids are below the weight's rows (the engine checked).
 */
#ifndef SR_OPS_EMBED_H
#define SR_OPS_EMBED_H
#include "ops/cpu.h"
sr_cost sr_embed_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
extern const sr_cpukernel        sr_embed_ref;
extern const sr_cpukernel *const sr_embed_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
