/* bench.h - figures that can be compared: spread of repeated runs, and what this machine's memory can give.
 *
 * sr_bench_read() sums a buffer much larger than the last-level cache with the given number of threads and
 * reports the rate of the median pass, whose pieces are for whoever has time: the roof of anything that must read its weights once a token (MBU).
 *
 * Owns:    nothing after return.   Threads: any; sr_bench_read starts and joins its own.
 * Errors:  SR_NOMEM, SR_IO when a thread cannot be started.
 */
#ifndef SR_BASE_BENCH_H
#define SR_BASE_BENCH_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef struct { double min, p10, median, p90, max; } sr_spread;

sr_spread sr_bench_spread(double *v, size_t n); /* sorts v; n >= 1; percentiles interpolated */
/* bytes: 0 = four times the last-level cache, at least 256 MiB, at most a quarter of the memory. */
SR_MUSTUSE sr_status sr_bench_read(uint32_t threads, size_t bytes, double *bytes_per_s, sr_err *err);
#endif
