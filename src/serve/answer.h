/* answer.h - a generation on its way: posted to the engine, its events turned into text, its answer written.
 *
 *     PREPARING --prepared--> POSTED --START--> STARTED --DONE of every choice--> answered
 *         |  bad request: 4xx    |  ERROR: 4xx, 5xx   |  ERROR: an error in the stream
 *         +---- client leaves: every part is cancelled at once, what still arrives for it is dropped ----+
 *
 * A call holds one part (a request of the port) per prompt and one lane per choice of every prompt; a lane's index
 * in the answer is prompt * n + choice.  A token's way through its lane:
 *
 *     token --detok--> text --thinker--> thoughts                                  } pieces --dialect--> frames, or
 *                               `------> the rest --toolparse--> content and calls }                     one answer
 *
 * A stream's frames are written while the connection's out buffer is low; above that, pieces gather in the lanes, bounded
 * by the port's window, which is acknowledged when the kernel has taken everything: a client that reads slowly pauses its
 * own choices and nothing else.
 *
 * Threads: the io thread.   Owns: a call owns its prep, lanes and jobs; its connection's user pointer is the call.
 */
#ifndef SR_SERVE_ANSWER_H
#define SR_SERVE_ANSWER_H
#include "serve/dialect.h"
#include "serve/internal.h"
#include "serve/logprobs.h"
#include "serve/pieces.h"
#include "serve/reasoning.h"
#include "serve/toolcall.h"

enum { SR_WINDOW = 128 };              /* tokens a stream's choice may be ahead of its socket */
typedef enum { SR_FIN_NONE, SR_FIN_STOP, SR_FIN_LENGTH, SR_FIN_TOOLS } sr_finish;

struct sr_lane {
    sr_detok     *detok;
    sr_logprobs  *lp;                  /* NULL: not asked for */
    sr_thinker    thinker;
    sr_toolparse *tools;               /* NULL: no tools */
    sr_buf        text, rest;          /* between detok, thinker and toolparse; empty between two tokens */
    sr_pieces     out;                 /* not sent yet (stream), or all (whole answer) */
    sr_pieces     kept;                /* a stream's, of dialects that end with the whole answer: what was sent */
    uint64_t n_text;                   /* bytes of text made so far, thoughts and calls included, sent or not */
    uint32_t index, choice, part, n_tok, n_thought, acked; /* n_thought: tokens of thoughts */
    uint32_t stopped;                  /* 1 + index of the stop string that ended it */
    bool     ended, done, finish_sent; /* ended: no more text; done: the engine said so */
    sr_finish finish;                  /* once ended */
    uint64_t last_ns;
    uint32_t n_block; uint8_t block;   /* dialects that write in blocks: how many were opened; 1 + kind of the open one, 0: none */
};

typedef struct {
    uint64_t id;
    uint32_t slot, left;               /* left: choices without DONE; 0: the slot is free again */
    uint32_t cached, drafted, accepted, exited;
    uint64_t blocks_skipped;
} sr_part;

struct sr_call {
    sr_serve *s;
    sr_conn  *c;
    sr_api    api;
    const sr_dialect *d;
    sr_prep   prep;
    char      id[64];
    int64_t   created;
    uint64_t  tag;                     /* random: ids of calls and items are made of it */
    sr_part  *part; uint32_t n_part, n_posted;
    sr_lane  *lane; uint32_t n_lane, n_done;
    sr_buf    prefix;                  /* of every frame, where frames have something in common */
    bool      preparing, prepared, started;
    uint64_t  deadline_ns;             /* 0: none */
    uint64_t  begun_ns, posted_ns, started_ns, first_ns, last_ns, sent_ns; /* first, last: tokens; 0: not yet */
    uint64_t  n_event;                 /* dialects that count their events */
    float    *vec;                     /* [n_part][prep.vec.dims]: a call for vectors (embed.h); it has no lanes */
    uint32_t  n_over, n_written;       /* its parts that are done; that are in the answer */
    sr_answeredfn answered; void *arg; /* c is NULL: where the answer goes */
};

/* call.c: the life of a call. */
void sr_call_end(sr_call *k);                                /* frees it; what the engine still computes is cancelled */
void sr_call_fail(sr_call *k, const sr_apierr *e);           /* the answer is an error; frees the call */
void sr_call_fail_nomem(sr_call *k);
void sr_call_fail_late(sr_call *k);                          /* its time is over */
void sr_call_finish(sr_call *k);                             /* everything is there: writes what is left, frees the call */
void sr_call_reply(sr_call *k, sr_buf *body);                /* the whole answer; frees the body and the call */
void sr_call_end_choice(sr_call *k, sr_part *p, uint32_t choice, sr_endreason why); /* in the engine */
bool sr_call_part_begin(sr_call *k, uint32_t part);          /* a slot for a request of the port: its id; false: no memory */
void sr_call_part_done(sr_call *k, sr_part *p);              /* the engine has forgotten the request */

/* answer.c: events into pieces, pieces into frames. */
void sr_answer_event(sr_call *k, uint32_t part, const sr_event *e);
/* "call_" and 24 characters; nine characters for templates that take no others. */
void sr_answer_toolid(const sr_call *k, const sr_lane *l, uint32_t call, const char *prefix, char out[48]);
void sr_answer_args(sr_jsonw *w, const char *key, const char *p, size_t n); /* a call's arguments as an object; {} if they were cut off */
typedef struct { uint64_t prompt, made, cached, thought, accepted, rejected, exited, blocks_skipped; } sr_usage;
sr_usage sr_answer_usage(const sr_call *k);
#endif
