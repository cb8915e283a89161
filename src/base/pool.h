/* pool.h - threads that run the same function together, again and again: the CPU backend's workers, who go through a list of ops in lockstep, a
 * barrier after each phase; those who fill the staging of weights.
 *
 *     leader (the caller, worker 0)                   run(list) --+--> ... barrier ... --> returns
 *     workers 1 .. n-1      asleep or spinning for a generation --+--> ... barrier ... --> wait again
 *
 * One broadcast wakes the pool for a whole submit; between ops there is only a barrier of two atomic
 * operations a thread.  Waiting threads pause, then yield, then sleep on a futex: a worker that lost its
 * core to the server's io thread costs a wake-up, not a stall.
 *
 * Owns:    its threads.   Threads: run() from the leader only.
 * Errors:  open: SR_NOMEM, SR_IO (thread creation).
 */
#ifndef SR_BASE_POOL_H
#define SR_BASE_POOL_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

typedef struct sr_pool sr_pool;
typedef void (*sr_poolfn)(void *arg, uint32_t thread);

SR_MUSTUSE sr_status sr_pool_open(uint32_t threads, uint32_t spin_us, bool pin, sr_pool **out, sr_err *err);
void     sr_pool_close(sr_pool *p);
uint32_t sr_pool_threads(const sr_pool *p);
void     sr_pool_run(sr_pool *p, sr_poolfn fn, void *arg); /* fn(arg, t) on every worker; returns when all have */
void     sr_pool_barrier(sr_pool *p);                       /* inside fn: all workers have come this far */
#endif
