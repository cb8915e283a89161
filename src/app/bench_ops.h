/* bench_ops.h - the table of `strata bench --ops`: where the time of a row went.
 *
 * One line per kind of op (same op, weights and format in all layers): its share of the time, what a call takes, the bytes a
 * call must move at least and their rate, that rate as a share of the measured memory bandwidth, and arithmetic.
 * A share over 1 means that the data came from a cache.   Threads: one.   Errors: of sr_model_profile.
 */
#ifndef SR_APP_BENCH_OPS_H
#define SR_APP_BENCH_OPS_H
#include "base/jsonw.h"
#include "engine/engine.h"

/* Since the last call.  json NULL: text to stdout; read_bw (bytes/s) 0: not known. */
SR_MUSTUSE sr_status sr_bench_ops(sr_model *, double read_bw, sr_jsonw *json, sr_err *);
SR_MUSTUSE sr_status sr_bench_ops_reset(sr_model *, sr_err *);
#endif
