/* skip_text.h - the text with which a model's blocks are measured when some may be left out (--skip-threshold; engine/skip.h).
 *
 * Owns:    *ids, sr_ids_end(); the configuration points into it.   Threads: any.
 * Errors:  SR_IO naming the file; those of the tokenizer.
 */
#ifndef SR_APP_SKIP_TEXT_H
#define SR_APP_SKIP_TEXT_H
#include "app/session.h"
#include "text/tokenizer.h"

/* What cfg says of skipping, for loading the model at `path`. */
SR_MUSTUSE sr_status sr_skip_text(const sr_sessioncfg *cfg, const char *path, sr_ids *ids, sr_loadcfg *load, sr_err *err);
#endif
