/* port.h - the door between the people who ask (io) and the engine that computes.
 *
 * Two rings and a block of gauges in shared memory (memfd), no pointers inside, woken by eventfd: the same
 * code serves an engine that is a thread and one that is a process of its own.
 *
 *     io threads  --post, end, ack-->  [command ring]  -->  engine thread or process
 *     io thread   <--poll------------  [event ring  ]  <--
 *                 <--stats-----------  [gauges      ]
 *
 * An engine that is a process may die.  A port opened with `keep` remembers what was posted; whoever watches the process says
 * so with sr_port_down().  Then, in the poller's thread: requests that had begun end with SR_EV_ERROR (SR_DEVLOST), the rings are made
 * empty, requests that had not begun are posted again, in order, and the new engine's process may attach.  In between
 * post() keeps on taking requests, up to four rings full.
 *
 *     watcher   down(why) .. await_renewal() .. start a process .. it attaches to the same descriptors
 *
 * Owns:    the mapping and its descriptors.  Requests are copied in by value, events out.
 * Threads: post, end, ack: any thread.  poll: one thread.  down, await_renewal, gone: the watcher's.  The engine's side: its thread.
 * Errors:  post: SR_AGAIN = the ring is full, nothing was taken (a 429); SR_INVALID: larger than the ring;
 *          SR_UNSUPPORTED: an extended sampler.
 *          One request's fault is an event SR_EV_ERROR, never a failure of the port.
 */
#ifndef SR_ENGINE_PORT_H
#define SR_ENGINE_PORT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef struct sr_port sr_port;
typedef struct { int32_t tok; float bias; } sr_bias;
typedef struct { int32_t tok; float logprob; } sr_alt;
typedef struct {
    float temp, top_p, min_p, typical_p;   /* temp <= 0: greedy; off: 1, 0, 1 */
    float rep_penalty, freq_penalty, pres_penalty; /* off: 1, 0, 0 */
    uint32_t top_k, rep_last_n;            /* 0: off; window of the three penalties: last rep_last_n tokens of prompt and answer */
    uint64_t seed;                         /* draw for token t of choice c at position p = philox(seed, t, c, p): no state to save */
    const sr_bias *bias; uint32_t n_bias;
    const void *grammar; uint32_t n_grammar; /* sr_grammar_bytes() of text/grammar.h; NULL, 0 = none.  A choice ends with SR_END_EOS when its text is whole */
    const void *ext;                       /* sr_sampext: dry, xtc, mirostat ...; NULL = none */
} sr_sampling;
typedef enum { SR_GENERATE, SR_SCORE, SR_EMBED } sr_what; /* SCORE: only the logprobs of the prompt; EMBED: a vector of it, no tokens */
typedef enum { SR_POOL_MODEL, SR_POOL_NONE, SR_POOL_MEAN, SR_POOL_CLS, SR_POOL_LAST, SR_POOL_RANK } sr_pooling; /* from GGUF's pooling_type, + 1 */
typedef struct {
    uint64_t       id, salt;               /* id: unique among live requests; salt covers tenant, adapter, anything that changes K/V */
    sr_what        what;
    const int32_t *tok; uint32_t n_tok;    /* >= 1 */
    uint32_t       max_new, min_new, n;    /* n choices, forked after the prompt; 0 = 1 */
    const int32_t *stop_tok; uint32_t n_stop_tok; bool ignore_eos; /* ids that end a choice (end-of-text ids are the caller's business too) */
    uint16_t       n_logprobs, n_prompt_logprobs; /* 0 = off, k+1 = the token and k alternatives (k <= 20) */
    uint16_t       pooling, adapter;       /* pooling: EMBED: MEAN, CLS (the first token's state), LAST; 0: the model's */
    int32_t        priority; uint32_t tenant;     /* higher priority first; equal: in order of arrival */
    uint64_t       queue_deadline_ns, deadline_ns; /* 0 = none; monotonic clock */
    uint32_t       window;                 /* tokens made ahead of sr_port_ack(); 0 = unbounded */
    sr_sampling    sampling;
} sr_request;

typedef enum { SR_EV_START, SR_EV_PROGRESS, SR_EV_PROMPT, SR_EV_TOKEN, SR_EV_VECTOR, SR_EV_DONE, SR_EV_ERROR } sr_evkind;
typedef enum { SR_END_NONE, SR_END_EOS, SR_END_STOP, SR_END_LENGTH, SR_END_CANCEL, SR_END_DEADLINE } sr_endreason;
typedef struct {
    uint64_t id; uint32_t choice, pos;     /* pos: of the token, in the choice's answer; PROGRESS: prompt tokens computed so far */
    sr_evkind kind;
    int32_t  token; float logprob;         /* TOKEN; PROMPT: the prompt token at pos (pos 0 has none) */
    const sr_alt *alt; uint32_t n_alt;     /* valid until the next poll, like msg and vec */
    const float  *vec; uint32_t n_vec;     /* VECTOR: numbers pos .. pos + n_vec - 1 of a vector of length 1, in order */
    sr_endreason reason;                   /* DONE: EOS and STOP: the ending token was not sent as TOKEN */
    struct { uint32_t prompt, cached, made, drafted, accepted, exited; uint64_t blocks_skipped, ns_queue, ns_prompt, ns_total; } usage; /* DONE; exited: tokens
                                              of early exits; blocks_skipped: half layers left out, summed over the tokens made */
    sr_status status; const char *msg;     /* ERROR */
} sr_event;                                /* START once per request when admitted; then per choice TOKEN* (EMBED: VECTOR*) and one DONE or ERROR;
                                              an ERROR with choice ~0u ends the whole request */
typedef struct {                           /* gauges and counters, written by the engine, read by anyone */
    uint64_t ready, fault;                 /* 1 when it takes work; 1 when it has died */
    uint64_t running, waiting, paused;     /* choices running, waiting for admission, out of credit */
    uint64_t pages_total, pages_used, pages_cached, pages_free;   /* device tier; used: held by live requests */
    uint64_t prefix_hits, prefix_misses;   /* tokens */
    uint64_t steps, tokens_prompt, tokens_cached, tokens_made, preemptions, requests_done, requests_failed, cancelled;
    uint64_t ns_steps, ns_host, ns_wait;
    uint64_t bytes_device, bytes_outside, bytes_streamed; /* of weights: on the device; in RAM or on disk; brought in by steps so far */
    uint64_t ns_predicted;                 /* of a step of one token, where weights come in every step; 0: all lie on the device */
    uint64_t stream_steps, ns_stream_steps; /* steps for which weights came in, and their time */
    uint64_t cpu_bytes, ns_cpu_busy, bus_bytes, ns_bus_busy; /* in them: weights computed by the CPU beside the device; copies that were seen to end */
    uint64_t cpu_share_ppm, share_changes; /* of all feed-forwards; how often it was divided anew */
    uint64_t blocks, blocks_left_out;      /* half layers (attention, feed-forward); of these, in no step */
    uint64_t exit_tests, exits;            /* steps tested for early exit, and ended by it */
    uint64_t max_ctx, page_tokens, max_seqs;
    uint64_t restarts;                     /* engines that have died and were replaced; the counters above begin anew with each */
} sr_portstats;

typedef struct { size_t command_bytes, event_bytes; bool keep; } sr_portcfg; /* 0: 4 MiB, 1 MiB; a request's tokens must fit the first */
SR_MUSTUSE sr_status sr_port_open(const sr_portcfg *, sr_port **, sr_err *);
void   sr_port_close(sr_port *);
/* Asker's side. */
SR_MUSTUSE sr_status sr_port_post(sr_port *, const sr_request *, sr_err *);
/* End and ack have room that posts cannot take, one ack for every event there can be: false, and nothing is done,
 * only when the engine has not taken commands for longer than that.  Ask again later. */
bool   sr_port_end(sr_port *, uint64_t id, uint32_t choice, sr_endreason reason); /* choice ~0u = all; unknown ids are ignored */
bool   sr_port_ack(sr_port *, uint64_t id, uint32_t choice, uint32_t pos);        /* tokens up to pos have left; see window */
size_t sr_port_poll(sr_port *, sr_event *out, size_t cap);
int    sr_port_fd(const sr_port *);        /* eventfd: readable when poll() has something (now and then when not); poll() clears it */
void   sr_port_stats(const sr_port *, sr_portstats *out); /* all of one flush, any thread; fault = 1 also when the rings are damaged */

/* An engine in another process: the descriptors to inherit, and the port there.  attach() owns them from then on, also when it fails. */
typedef struct { int memory, work, event; } sr_portfds;
sr_portfds sr_port_fds(const sr_port *);
SR_MUSTUSE sr_status sr_port_attach(sr_portfds, sr_port **, sr_err *);

/* Watcher's side, of ports that keep. */
void sr_port_down(sr_port *, const char *why);
bool sr_port_await_renewal(sr_port *, uint64_t timeout_ns); /* false: poll() has not been called since */
void sr_port_gone(sr_port *);                               /* no engine will come again: stats.fault */

/* Engine's side. */
typedef struct { enum { SR_CMD_NONE, SR_CMD_POST, SR_CMD_END, SR_CMD_ACK } kind; uint64_t id; uint32_t choice, pos; sr_endreason reason;
                 sr_request request; } sr_command; /* request's pointers are valid until the next take */
bool   sr_port_take(sr_port *, sr_command *out);
void   sr_port_sleep(sr_port *, uint64_t timeout_ns);  /* until a command, a wake or a signal; UINT64_MAX: no limit.  Flush first */
void   sr_port_wake(sr_port *);                        /* ends a sleep: any thread (shutdown) */
size_t sr_port_event_room(const sr_port *);            /* bytes; an event takes at most SR_PORT_EVENT_MAX */
bool   sr_port_emit(sr_port *, const sr_event *);      /* false: no room (the engine asks first) */
void   sr_port_flush(sr_port *);                       /* makes emitted events and the gauges visible, wakes the poller */
void   sr_port_hurry(sr_port *);                       /* the events alone, and at once: for what somebody is waiting for */
sr_portstats *sr_port_gauges(sr_port *);               /* the engine's own copy, to write; shown by flush and sleep */
enum { SR_PORT_EVENT_MAX = 1024, SR_PORT_VECTOR_MAX = 240 }; /* a vector has many events: at most so many numbers in one */
#endif
