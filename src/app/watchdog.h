/* watchdog.h - ends a wait that would have no end: a device that does not finish a step.
 *
 * A thread looks at how long the engine's present step has been on the device (sr_engine_busy).  Over the limit it calls `hung`, which
 * must not come back: nothing of the process can be trusted to return then, not even the driver's functions that would close it.
 *
 * The limit is for what never comes back, not for what is slow: 20 times the prediction of a step of one token where weights come
 * in every step, if that is more than was asked for.  A CPU is not watched: it is slow at times, but does not hang by itself.
 *
 * Owns:    its thread.  Borrows the engine until close().
 * Threads: open, close: one.   Errors: SR_NOMEM, SR_IO: no thread.
 */
#ifndef SR_APP_WATCHDOG_H
#define SR_APP_WATCHDOG_H
#include "engine/engine.h"

typedef struct sr_watchdog sr_watchdog;
typedef void (*sr_hungfn)(void *arg, const char *why);

uint64_t sr_watchdog_limit(uint32_t seconds, const sr_modelinfo *); /* ns; 0: not watched */
SR_MUSTUSE sr_status sr_watchdog_open(const sr_engine *, uint64_t limit_ns, const char *device, sr_hungfn hung, void *arg, sr_watchdog **,
                                      sr_err *);
void sr_watchdog_close(sr_watchdog *);
#endif
