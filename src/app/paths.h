/* paths.h - where the program finds what came with it.
 *
 * The demo model, when no --model is given, in this order:
 *     ./models/                      the working directory (a source tree)
 *     <exe>/../models/               the build folder of a source tree
 *     <exe>/../share/strata/models/  an installed program
 *
 * Threads: any.   Errors: SR_IO naming every place that was tried.
 */
#ifndef SR_APP_PATHS_H
#define SR_APP_PATHS_H
#include <stddef.h>
#include "base/err.h"

#define SR_DEMO_MODEL "strata-demo-base-Q4_K_M.gguf"

/* given, or (NULL) the demo model's path. */
SR_MUSTUSE sr_status sr_model_path(const char *given, char *out, size_t cap, sr_err *err);
/* The file name without folders and without ".gguf": what a model is called. */
void sr_model_id(const char *path, char *out, size_t cap);
#endif
