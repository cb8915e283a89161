/* balance.h - the two sides of a step that shares its feed-forwards with the CPU, measured; and the share, corrected between steps.
 *
 *     bus   |##########|####      |    busy: from the copies' points (weights/meter)    idle: the rest of the step
 *     CPU       |######|   |####|      busy: its ops, timed
 *
 * The plan divided hidden units by figures that were measured before.  Here the step's own time decides: a window of steps is timed, a
 * somewhat other share is tried for the next one, what was faster is kept (climb.h).  The first way and step come from who waited longer.  Both
 * sides read the same memory, so their own rates change with the share and do not tell where the optimum is; the step's time does.  Weights
 * lie in RAM in the file's own blocks, which both sides read, so that a new share is new addresses and lengths: nothing is copied or packed.
 *
 * The more tokens, the slower the CPU reads: from about four on its arithmetic is the limit.  Each size of steps has a search of its own, and
 * what it found comes back when a window of such steps is full.
 *
 * The share is part of how sums are rounded: with a deterministic device it stays what the plan made it.
 *
 * Owns:    the meter, its lists.   Threads: the engine's.   Errors: those of binding weights.
 */
#ifndef SR_ENGINE_BALANCE_H
#define SR_ENGINE_BALANCE_H
#include "engine/climb.h"
#include "engine/engine.h"
#include "weights/meter.h"

enum { SR_BALANCE_STEPS = 64, SR_BALANCE_SIZES = 3 }; /* sizes: steps of 1 or 2 tokens, of 3 or 4, of more */
typedef struct {
    sr_meter  *meter;
    sr_opstat *stat;                 /* [ops] of the CPU's plan */
    sr_metered seen;                 /* by the end of the last step */
    uint64_t   began, cpu_bytes;     /* this step; read by the CPU in a step */
    uint32_t   window, skip;         /* least steps that are looked at together; not counted yet after a change */
    struct { uint64_t steps, ns, cpu_ns, cpu_bytes, bus_ns, bus_bytes; } now, all; /* of this window; since the start, all steps */
    double     took[SR_BALANCE_STEPS]; /* ns of the window's steps */
    uint32_t   tok;                  /* of each of them */
    sr_climb   climb[SR_BALANCE_SIZES]; /* over the device's hidden units, in 256s, by the size of the steps */
    uint64_t   changes;
} sr_balance;

SR_MUSTUSE sr_status sr_balance_open(sr_model *m, sr_err *err);  /* after the routes */
void sr_balance_close(sr_model *m);
void sr_balance_begin(sr_model *m);
SR_MUSTUSE sr_status sr_balance_end(sr_model *m, sr_err *err);   /* the step is over: both queues of it are idle */
#endif
