/* bisect.h - the first op that drifts: the same program on two devices, slots compared after each op.
 *
 * After an op its output on the first device is copied over the second one's, so that each op is judged by its own
 * error and not by what it inherited.
 *
 * Threads: one.   Errors: those of the devices.
 */
#ifndef SR_TOOLS_BISECT_H
#define SR_TOOLS_BISECT_H
#include "engine/engine.h"

typedef struct {
    uint32_t op;            /* index; ~0u: none drifted */
    uint32_t code, layer;
    double   worst, limit;  /* |a - b| / (|a| + rms of the op's output), the largest */
    uint32_t compared;      /* ops compared */
} sr_bisect;

/* Both models are loaded from the same file with equal shapes.  limit 0: bits must be equal. */
SR_MUSTUSE sr_status sr_bisect_run(sr_model *a, sr_model *b, const int32_t *tok, uint32_t n, double limit, sr_bisect *out, sr_err *err);

/* The same program as an engine runs it, in one submit (fused as the backend fuses), against op by op: the logits are compared,
 * out->op tells no more than that they drift (0). */
SR_MUSTUSE sr_status sr_bisect_whole(sr_model *whole, sr_model *parts, const int32_t *tok, uint32_t n, double limit, sr_bisect *out, sr_err *err);
#endif
