/* climb.h - the fastest of a row of settings, looked for while it works: time a setting, try another, keep what is faster.
 *
 *     time, --> try --(faster)--> keep it; try again that way
 *       ^        |
 *       |   (not faster)
 *       +--------+   back; then the other way; then steps of half the size; then rest
 *
 * "Faster" is half a percent: less is noise.  What is kept is timed again before each try that goes another way, so that a slow drift of all times
 * (a context that grows) is no reason to stay or to go.  After a rest it looks one step either way, for the optimum may have moved.
 *
 * Owns:    plain data, zero = not begun.   Threads: one.   Errors: none.
 */
#ifndef SR_ENGINE_CLIMB_H
#define SR_ENGINE_CLIMB_H
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t kept, last;      /* the setting that is kept; settings are 0 .. last */
    uint32_t step;            /* how far the next try goes; 0: not begun */
    int      way;             /* +1, -1 */
    double   best;            /* time of what is kept */
    uint32_t failed, rest;    /* ways that were not faster by this step; times until the next try */
    bool     trial, gained;   /* the time that comes is of a try; the last try was kept */
} sr_climb;

/* At a setting; lean -1 .. 1: which way looks better, and how much. */
void sr_climb_begin(sr_climb *, uint32_t at, uint32_t last, double lean);
/* What the present setting took; the setting to go on with. */
uint32_t sr_climb_next(sr_climb *, double time);
/* The setting that is kept; a try that was not timed yet is forgotten. */
uint32_t sr_climb_back(sr_climb *);
#endif
