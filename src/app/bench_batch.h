/* bench_batch.h - strata bench --batch-file: requests of a file through the engine, its steps kept full; what came of it in all.
 *
 * Owns:    nothing after return.   Threads: one.   Errors: serve/batch_file.h's, and of opening the model.
 */
#ifndef SR_APP_BENCH_BATCH_H
#define SR_APP_BENCH_BATCH_H
#include "app/session.h"

typedef struct {
    sr_sessioncfg *cfg;
    const char    *input, *output;
    uint32_t       seqs;   /* at once */
    bool           json;
} sr_benchbatch;
SR_MUSTUSE sr_status sr_bench_batch(const sr_benchbatch *, sr_err *);
#endif
