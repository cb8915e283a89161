/* move.h - moving and joining rows.
 *
 * GATHER   out[0] [out][dim[0]] f32 = in[0] [tok][dim[0]] rows batch.out[i]
 * ADD      out[0] = in[0] + in[1], [rows][dim[0]] f32 (out may be in[0]); joins the partial sums of two devices
 */
#ifndef SR_OPS_MOVE_H
#define SR_OPS_MOVE_H
#include "ops/cpu.h"
sr_cost sr_move_cost(const sr_program *p, const sr_op *op, const sr_shape *n);
extern const sr_cpukernel        sr_gather_ref, sr_add_ref;
extern const sr_cpukernel *const sr_gather_kernels[], *const sr_add_kernels[]; /* best first, NULL-terminated, the reference last */
#endif
