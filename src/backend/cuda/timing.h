/* timing.h - what the launches of a plan took, by events between them; or its steps, by events around them.
 *
 * A launch that computes several ops (chains, norms with their product, rotation with attention) is timed as the group that it is. An event
 * between two launches keeps the second from beginning while the first ends, which it does in a step that nobody looks into: times of
 * launches may add up to more than such a step takes. What a submit's events say is read at the next one, or when it is asked for.
 *
 * Owns:    events, page-locked words.   Threads: those of submit.   Errors: those of CUDA.
 */
#ifndef SR_BACKEND_CUDA_TIMING_H
#define SR_BACKEND_CUDA_TIMING_H
#include "backend/cuda/internal.h"

enum { SR_CUDA_WAYS = 8 }; /* launches of different length that begin with the same op, in steps of different shapes */
typedef struct sr_cudatiming sr_cudatiming;

SR_MUSTUSE sr_status sr_cudatiming_open(sr_dev *d, const sr_program *p, const sr_shape *max, sr_cudatiming **out, sr_err *err);
void      sr_cudatiming_close(sr_cudatiming *t); /* NULL is fine */
bool      sr_cudatiming_of_ops(const sr_cudatiming *t); /* launches must be told, one by one; false for NULL */
/* Around a submit; fresh at its end: graphs were made on the way, so that it took longer than it will. */
SR_MUSTUSE sr_status sr_cudatiming_begin(sr_cudatiming *t, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err);
SR_MUSTUSE sr_status sr_cudatiming_end(sr_cudatiming *t, const sr_batch *b, bool fresh, sr_err *err);
/* Before a launch that begins with op i, and behind it: how many it has computed. */
SR_MUSTUSE sr_status sr_cudatiming_launch(sr_cudatiming *t, uint32_t i, sr_err *err);
void      sr_cudatiming_launched(sr_cudatiming *t, uint32_t i, uint32_t n);
SR_MUSTUSE sr_status sr_cudatiming_read(sr_cudatiming *t, sr_timing next, sr_timed *out, sr_err *err);
#endif
