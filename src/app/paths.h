/* paths.h - where the program finds what came with it.
 *
 * The demo model, when no --model is given, in this order:
 *     ./models/                      the working directory (a source tree)
 *     <exe>/../models/               the build folder of a source tree
 *     <exe>/../share/strata/models/  an installed program
 *
 * A machine profile by its name: the same places, with profiles/.  What is measured once is kept in
 * $XDG_CACHE_HOME/strata, or ~/.cache/strata.
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
/* A profile's file: `name` itself when it holds a slash or ends in .json. */
SR_MUSTUSE sr_status sr_profile_path(const char *name, char *out, size_t cap, sr_err *err);
/* A file of the cache; its folder is made. */
SR_MUSTUSE sr_status sr_cache_path(const char *file, char *out, size_t cap, sr_err *err);
#endif
