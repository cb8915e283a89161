/* answer.h - a generation on its way: posted to the engine, its events turned into text, its answer written.
 *
 *     PREPARING --prepared--> POSTED --START--> STARTED --DONE of every choice--> answered
 *         |  bad request: 4xx    |  ERROR: 4xx, 5xx   |  ERROR: data: {"error"...}
 *         +---- client leaves: every part is cancelled at once, what still arrives for it is dropped ----+
 *
 * A call holds one part (a request of the port) per prompt and one lane per choice of every prompt; a lane's index
 * in the answer is prompt * n + choice.  A stream's frames are written while the connection's out buffer is low; above
 * that, text gathers in the lanes, bounded by the port's window, which is acknowledged when the kernel has taken
 * everything: a client that reads slowly pauses its own choices and nothing else.
 *
 * Threads: the io thread.   Owns: a call owns its prep, lanes and jobs; its connection's user pointer is the call.
 */
#ifndef SR_SERVE_ANSWER_H
#define SR_SERVE_ANSWER_H
#include "serve/internal.h"
#include "base/jsonw.h"
#include "serve/logprobs.h"

enum { SR_WINDOW = 128 };              /* tokens a stream's choice may be ahead of its socket */

typedef struct {
    sr_detok    *detok;
    sr_logprobs *lp;                   /* NULL: not asked for */
    sr_buf       text;                 /* not sent yet (stream), or all (whole answer) */
    uint64_t     n_text;               /* bytes of text made so far, sent or not */
    uint32_t     index, choice, part, n_tok, acked;
    bool         ended, done, finish_sent; /* ended: no more text; done: the engine said so */
    const char  *finish;               /* "stop" or "length" once ended */
    uint64_t     last_ns;
} sr_lane;

typedef struct {
    uint64_t id;
    uint32_t slot, left;               /* left: choices without DONE; 0: the slot is free again */
    uint32_t cached, drafted, accepted;
    bool     started;
} sr_part;

struct sr_call {
    sr_serve *s;
    sr_conn  *c;
    sr_api    api;
    sr_prep   prep;
    char      id[48];
    int64_t   created;
    sr_part  *part; uint32_t n_part, n_posted;
    sr_lane  *lane; uint32_t n_lane, n_done;
    sr_buf    prefix;                  /* of every frame: data: {"id":..,"choices":[{"index": */
    bool      preparing, prepared, started, scored; /* scored: the prompt's logprobs are all there (echo) */
    uint64_t  begun_ns, sent_ns;
    bool      first_seen;
};

/* sse.c: frames, appended to o. */
void sr_sse_prefix(sr_call *k);
void sr_sse_role(const sr_call *k, const sr_lane *l, sr_buf *o);
void sr_sse_text(const sr_call *k, sr_lane *l, sr_buf *o);   /* what the lane holds; it is empty afterwards */
void sr_sse_finish(const sr_call *k, const sr_lane *l, sr_buf *o);
void sr_sse_end(const sr_call *k, sr_buf *o);                /* usage, if asked for, and [DONE] */
void sr_sse_error(const sr_apierr *e, sr_buf *o);            /* and [DONE] */

/* openai_answer.c */
void sr_answer_json(const sr_call *k, sr_buf *o);
void sr_usage_json(const sr_call *k, sr_jsonw *w);           /* the member "usage" */
#endif
