/* plan_model.h - a model to be planned: a GGUF file, or one that is made up ("synth:70b:Q4_K_M").
 *
 * A made-up model becomes a GGUF in memory whose tensors are a hole: header as strata-synth would write it, no data.  So there
 * is one path from a model to a plan, and sizes are the file's.
 *
 * Owns:    the file's mapping and the program, until close.   Threads: one.
 * Errors:  those of the file; SR_INVALID: a shape or format that is not known, with what is near.
 */
#ifndef SR_APP_PLAN_MODEL_H
#define SR_APP_PLAN_MODEL_H
#include "model/model.h"

typedef struct {
    char         id[256];
    sr_gguf     *gguf;
    sr_compiled *code;
    uint64_t     bytes; /* of all tensors */
} sr_planmodel;

SR_MUSTUSE sr_status sr_planmodel_open(const char *spec, sr_planmodel *out, sr_err *err);
/* What the code of `--transit coded` takes of the bytes of this model's matrices in a format, from some numbers of the largest; 0: it has none. */
SR_MUSTUSE sr_status sr_planmodel_code(const sr_planmodel *m, uint32_t format, double *share, sr_err *err);
void sr_planmodel_close(sr_planmodel *m);
#endif
