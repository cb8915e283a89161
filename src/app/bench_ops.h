/* bench_ops.h - the table of `strata bench --ops`: where the time of a row went.
 *
 * One line per kind of launch: on a GPU ops that run as one are one (a chain of products, a norm with its product, rotation with
 * attention), on a CPU each op is its own.  A line has its share of the time, what a call takes, the bytes a call must move at least and
 * their rate, arithmetic, and how near that is to the limit that binds it: the measured memory bandwidth, or the peak of the matrix units
 * where that is known.  A share over 1 means that the data came from a cache.
 *
 * Below, the lines' sum in a step beside a step that was not looked into, and the rest between them.  On a GPU launches of such
 * a step overlap, and the rest is mostly negative; where it is positive, something was waited for between launches.
 *
 * Threads: one.   Errors: of sr_model_profile.
 */
#ifndef SR_APP_BENCH_OPS_H
#define SR_APP_BENCH_OPS_H
#include "base/jsonw.h"
#include "engine/engine.h"

typedef struct { double read, peak; } sr_opslimits; /* bytes/s, operations/s; 0: not known */
typedef sr_status (*sr_benchrun)(void *arg, sr_err *err); /* once what is measured */

/* Runs it twice, for its steps and for its launches, and prints; json NULL: text to stdout.  Afterwards nothing is timed. */
SR_MUSTUSE sr_status sr_bench_ops(sr_model *, sr_benchrun run, void *arg, const sr_opslimits *, sr_jsonw *json, sr_err *);
#endif
