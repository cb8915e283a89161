/* ppl_skip.h - strata perplexity of a model that leaves parts out, beside the whole one: how far apart, and how much faster.
 *
 * Token by token, as answers are made.   Owns: nothing after return.   Threads: one; no request may be running.
 */
#ifndef SR_APP_PPL_SKIP_H
#define SR_APP_PPL_SKIP_H
#include "app/session.h"

typedef struct {
    const sr_sessioncfg *cfg;
    const char *file;
    uint32_t    chunk, chunks; /* chunks of so many tokens, the second half of each scored */
    int32_t    *tok;           /* [chunks][chunk]; the first token of each is overwritten by bos */
    int32_t     bos;           /* < 0: none */
    bool        json;
} sr_pplskip;
SR_MUSTUSE sr_status sr_ppl_skip(const sr_pplskip *, sr_session *, sr_err *);
#endif
