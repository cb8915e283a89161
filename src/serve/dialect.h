/* dialect.h - how an answer is written: one table of functions for each API, one file for each table.
 *
 *     begin  piece piece piece ..  finish (of each choice)  end          a stream
 *     whole                                                             not a stream
 *     fail                                                              a stream that breaks off
 *
 * All append to `o`.  A dialect keeps what it must remember in the lane and the call (n_block, n_event, prefix).
 *
 * Threads: the io thread.   Owns: nothing.   Errors: o->failed.
 */
#ifndef SR_SERVE_DIALECT_H
#define SR_SERVE_DIALECT_H
#include "base/jsonw.h"
#include "serve/pieces.h"
#include "serve/request.h"

typedef struct sr_call sr_call;
typedef struct sr_lane sr_lane;
typedef struct {
    const char *id;                    /* what the ids of answers begin with */
    const char *type;                  /* Content-Type of a stream */
    const char *ping;                  /* written into a silent stream; NULL: nothing may be */
    bool        keeps;                 /* a stream ends with the whole answer: lanes keep what was sent */
    void (*begin)(sr_call *k, sr_buf *o);
    void (*piece)(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o); /* x->n bytes at p */
    void (*finish)(sr_call *k, sr_lane *l, sr_buf *o);
    void (*end)(sr_call *k, sr_buf *o);
    void (*fail)(sr_call *k, const sr_apierr *e, sr_buf *o);
    void (*whole)(sr_call *k, sr_buf *o);
    void (*progress)(sr_call *k, uint32_t part, uint32_t n_tok, sr_buf *o); /* a part's prompt is computed so far; NULL: not told */
} sr_dialect;

const sr_dialect *sr_dialect_of(sr_api api);   /* NULL: requests of this kind never reach the engine */
extern const sr_dialect sr_dialect_chat, sr_dialect_completions, sr_dialect_anthropic, sr_dialect_responses, sr_dialect_ollama;
#endif
