/* plan_emit.h - a plan as the file that deploys it: a ServingTemplate for SAP AI Core.
 *
 * AI Core runs a container under one of a few resource plans (GPU, cores, memory).  The model is planned for each of them, from the
 * smallest on; the first on which all weights lie in VRAM and RAM is the template's default, and the template says what each would do.
 *
 * Threads: one.   Errors: those of a plan; *fits false: on none of them, and stderr has been told how much lacks.
 * Source:  "Choose a Resource Plan" in SAP's documentation of AI Core (docs/sap-ai-core of SAP-docs/sap-artificial-intelligence). */
#ifndef SR_APP_PLAN_EMIT_H
#define SR_APP_PLAN_EMIT_H
#include "app/plan_model.h"
#include "engine/outlook.h"

typedef struct {                     /* options of strata serve that the plan was made with; defaults are not written */
    const char *offload, *ram_format, *transit, *kv_k, *kv_v, *activations;
} sr_emitwords;

/* To stdout.  spec: the model as it was named, a file or synth:... */
SR_MUSTUSE sr_status sr_plan_emit_aicore(const sr_planmodel *, const char *spec, const sr_units *, const sr_outlookcfg *asked, const sr_emitwords *,
                                         bool *fits, sr_err *);
#endif
