/* balance.h - the two sides of a step that shares its feed-forwards with the CPU, measured; and the share, corrected between steps.
 *
 *     bus   |##########|####      |    busy: from the copies' points (weights/meter)    idle: the rest of the step
 *     CPU       |######|   |####|      busy: its ops, timed
 *
 * The plan divided hidden units by figures that were measured before, one side after the other; in a step both read the same memory.  After a
 * window of steps the share is computed again from what both really did.  It is taken if it should bring 2 % or more, and given back if the
 * next window is not faster; then it rests for some hundred steps.  Weights lie in RAM in the file's own blocks, which both sides read, so that a new share
 * is new addresses and lengths: nothing is copied or packed.
 *
 * The share is part of how sums are rounded: with a deterministic device it stays what the plan made it.
 *
 * Owns:    the meter, its lists.   Threads: the engine's.   Errors: those of binding weights.
 */
#ifndef SR_ENGINE_BALANCE_H
#define SR_ENGINE_BALANCE_H
#include "engine/engine.h"
#include "weights/meter.h"

typedef struct {
    sr_meter  *meter;
    sr_opstat *stat;                 /* [ops] of the CPU's plan */
    sr_metered seen;                 /* by the end of the last step */
    uint64_t   began, cpu_bytes;     /* this step; read by the CPU in a step */
    uint32_t   window, skip;         /* steps that are looked at together; not counted yet after a change */
    struct { uint64_t steps, ns, cpu_ns, cpu_bytes, bus_ns, bus_bytes; } now, all; /* of this window; since the start, all steps */
    double     before;               /* ns of a step before the change on trial; 0: none is */
    uint32_t   was;                  /* hidden units of the device before it */
    uint32_t   rest;                 /* windows until the next try */
    uint64_t   changes;
} sr_balance;

SR_MUSTUSE sr_status sr_balance_open(sr_model *m, sr_err *err);  /* after the routes */
void sr_balance_close(sr_model *m);
void sr_balance_begin(sr_model *m);
SR_MUSTUSE sr_status sr_balance_end(sr_model *m, sr_err *err);   /* the step is over: both queues of it are idle */
#endif
