/* queue.h - a timeline on the CPU: a thread that executes commands in order.
 *
 * Commands are copies, fences, marks and calls (a plan's ops).  Pushing never blocks and never
 * allocates: the ring of commands and the ring of spans have fixed room, SR_AGAIN when it is used up.
 * The first failure of a command (fault injection; a real device has more) is kept: later work is
 * dropped, marks still move, so that waiters wake and find the error.
 *
 * Threads: one pusher per queue at a time; the queue's own thread executes.
 */
#ifndef SR_BACKEND_CPU_QUEUE_H
#define SR_BACKEND_CPU_QUEUE_H
#include "backend/backend.h"

typedef struct sr_cpuqueue sr_cpuqueue;
typedef sr_status (*sr_cpucall)(void *arg, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err);

SR_MUSTUSE sr_status sr_cpuqueue_open(const char *name, uint32_t spin_us, uint32_t pin_first, sr_cpuqueue **out,
                                      sr_err *err); /* pin_first: its thread has the place of the first of so many; 0: anywhere */
void      sr_cpuqueue_close(sr_cpuqueue *q); /* waits for what was pushed */
SR_MUSTUSE sr_status sr_cpuqueue_copyv(sr_cpuqueue *q, const sr_span *s, uint32_t n, sr_err *err);
SR_MUSTUSE sr_status sr_cpuqueue_call(sr_cpuqueue *q, sr_cpucall fn, void *arg, uint32_t op, uint32_t n, const sr_shape *shape,
                                      sr_err *err);
sr_point  sr_cpuqueue_mark(sr_cpuqueue *q);
void      sr_cpuqueue_fence(sr_cpuqueue *q, sr_point on);
sr_status sr_cpuqueue_failure(sr_cpuqueue *q, sr_err *err); /* SR_OK, or the kept error */
void      sr_cpuqueue_pace(sr_cpuqueue *q, uint64_t bytes_per_s, uint64_t ns_per_command); /* slow links emulated; 0: off */
/* Waits for any point: SR_AGAIN after timeout_ns (~0: none). */
sr_status sr_cpupoint_wait(sr_point p, uint64_t timeout_ns);
#endif
