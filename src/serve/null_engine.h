/* null_engine.h - the engine's side of a port with nothing behind it: a fixed text at a given rate.
 *
 * For protocol tests and for measuring the server alone.  It speaks the whole protocol: admission with a
 * limit and a queue, prompt scores, choices, windows and acks, ends, gauges (KV blocks of 16 tokens are counted
 * as if there were any).  Logprobs are made up: -0.25 for the token, one less for each alternative;
 * so are vectors.
 *
 * Owns:    its thread.  Borrows the port and the text until close().
 * Threads: open, close: one thread.   Errors: SR_NOMEM, SR_INVALID (an empty text).
 */
#ifndef SR_SERVE_NULL_ENGINE_H
#define SR_SERVE_NULL_ENGINE_H
#include <stdbool.h>
#include "engine/port.h"

typedef struct sr_null sr_null;
typedef struct {
    const int32_t *tok; uint32_t n_tok;    /* the text every answer consists of */
    bool     endless;                      /* starts again at its end; else that is an end of text */
    double   rate;                         /* tokens per second and choice; 0: as fast as the port takes them */
    double   prompt_rate;                  /* tokens per second of a prompt, before the first token; 0: at once */
    uint32_t max_seqs, ctx, queue;         /* 0: 64 choices at once, 8192 tokens, 1024 waiting */
    uint32_t width;                        /* of vectors, which depend on the tokens alone; 0: none are made */
    uint32_t start_ms;                     /* from admission to the first token, as if the prompt took that long */
    uint32_t fail_after;                   /* > 0: a choice fails after that many tokens */
    uint32_t die_after;                    /* > 0: after that many tokens in all the engine is gone, without a word */
    uint64_t device, outside;              /* weights it claims to have on a device, and beside it */
} sr_nullcfg;

SR_MUSTUSE sr_status sr_null_open(sr_port *port, const sr_nullcfg *cfg, sr_null **out, sr_err *err);
void sr_null_close(sr_null *e);
#endif
