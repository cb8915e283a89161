/* Inside of serve/: the server's state, and who does what.
 *
 *     http.c   --head, body-->  routes.c (paths, keys) --> scribe.c (prepares, here or on its thread) --> call.c --> port
 *     port     --events------>  call.c --> answer.c (text, thoughts, tool calls) --> dialect_*.c (JSON) --> http.c
 *                               routes.c --> info.c (what needs no engine)
 */
#ifndef SR_SERVE_INTERNAL_H
#define SR_SERVE_INTERNAL_H
#include <pthread.h>
#include "base/clock.h"
#include "serve/http.h"
#include "serve/keys.h"
#include "serve/metrics.h"
#include "serve/nvml.h"
#include "serve/request.h"
#include "serve/serve.h"
#include "serve/tls.h"

typedef struct sr_call   sr_call;
typedef struct sr_scribe sr_scribe;

/* What the log line of a request says of its generation; stands in the connection's note. */
typedef struct {
    uint32_t prompt, cached, made, thoughts;
    uint64_t ttft_ns, decode_ns;             /* decode: from the first token to the last */
    uint32_t n;                              /* choices; 0: no generation */
    const char *finish;
    uint32_t timeout_ms;                     /* of X-Request-Timeout; 0: none */
    uint32_t key;                            /* 1 + index of the key whose limits the request counts for; 0: none */
} sr_callnote;
_Static_assert(sizeof(sr_callnote) <= SR_HTTP_NOTE, "the note of a connection holds it");

typedef enum {
    RT_NONE, RT_PAGE, RT_HEALTH, RT_LIVE, RT_READY, RT_METRICS, RT_VERSION, RT_PROPS, RT_MODELS, RT_MODEL, RT_MODEL_READY, RT_CHAT,
    RT_COMPLETIONS, RT_EMBEDDINGS, RT_TOKENIZE, RT_DETOKENIZE, RT_TEMPLATE, RT_MESSAGES,
    RT_COUNT_TOKENS, RT_RESPONSES, RT_OLLAMA_VERSION, RT_OLLAMA_TAGS, RT_OLLAMA_PS, RT_OLLAMA_SHOW, RT_OLLAMA_CHAT, RT_OLLAMA_GENERATE,
    RT_OLLAMA_EMBED, RT_OLLAMA_EMBEDDINGS, RT_COUNT
} sr_route;

typedef struct { uint64_t id; sr_call *call; uint32_t part, next_free; } sr_slot; /* call NULL: free */
typedef struct { uint64_t id; uint32_t choice; sr_endreason reason; } sr_lateend;

struct sr_serve {
    sr_servecfg  cfg;                      /* limits and times filled in */
    sr_keys     *keys;                     /* NULL: everybody may ask */
    char         fingerprint[24];
    int64_t      created;
    struct event_base *base;
    sr_tls      *tls;                      /* NULL: plain HTTP */
    sr_httpd    *http;
    int          wake_fd;                  /* rung by ready(), stop() and the scribe */
    struct event *wake_ev, *port_ev, *tick_ev;
    int          stops;                    /* atomic: calls of stop() */
    int          handed;                   /* atomic: ready() has filled in `next` */
    sr_servemodel next;
    bool         ready, quitting;          /* io thread's view */
    uint64_t     quit_at_ns;
    sr_prepenv   env;
    sr_specials *specials;
    sr_scribe   *scribe;
    sr_port     *port;
    sr_slot     *slot; uint32_t n_slot, free_slot, n_busy; /* free_slot: index + 1; n_busy: slots in use */
    uint64_t     serial;
    sr_lateend  *late; uint32_t n_late, cap_late;         /* ends the command ring had no room for */
    sr_metrics   metrics;
    sr_portstats told; uint64_t told_ns;   /* as of the last line about steps */
    sr_nvml     *nvml;                     /* NULL: no GPU, or nobody who tells of it; set before `handed` */
};

/* serve.c: what a server is without sockets. */
SR_MUSTUSE sr_status sr_serve_basics(sr_serve *s, const sr_servecfg *cfg, sr_err *err);
SR_MUSTUSE sr_status sr_serve_model(sr_serve *s, const sr_servemodel *m, sr_err *err); /* into `next` and the environment */
/* The clock as of this turn of the loop; without sockets there are no turns. */
static inline uint64_t sr_serve_now(const sr_serve *s) { return s->http ? sr_httpd_now(s->http) : sr_now_ns(); }

/* scribe.c: prepares request bodies; the result comes back on the io thread. */
typedef void (*sr_prepared)(void *arg, sr_prep *prep, const sr_apierr *e); /* e->status 0: *prep is the callee's */
SR_MUSTUSE sr_status sr_scribe_open(sr_serve *s, sr_scribe **out, sr_err *err);
bool sr_scribe_post(sr_scribe *x, sr_api api, sr_buf *body, sr_prepared fn, void *arg); /* takes the body; false: no memory */
void sr_scribe_forget(sr_scribe *x, void *arg); /* fn will not be called for arg any more */
void sr_scribe_collect(sr_scribe *x);           /* calls fn for what is done */
uint32_t sr_scribe_waiting(sr_scribe *x);
void sr_scribe_close(sr_scribe *x);

/* call.c, answer.c */
void sr_call_begin(sr_serve *s, sr_conn *c, sr_api api, sr_buf *body);
void sr_call_gone(sr_call *call);               /* the client left */
/* A call without a connection: its whole answer goes to fn, possibly before this returns.  body: as one may POST it; no stream. */
typedef struct { int status; const char *id; const char *body; size_t n; uint64_t prompt, cached, made; } sr_answered;
typedef void (*sr_answeredfn)(void *arg, const sr_answered *a);
void sr_call_offline(sr_serve *s, sr_api api, const json_t *body, sr_answeredfn fn, void *arg);
sr_api sr_call_api(const sr_call *call);
void sr_call_fill(sr_call *call);
void sr_call_sent(sr_call *call);
void sr_call_tick(sr_call *call, uint64_t now_ns);
void sr_calls_poll(sr_serve *s);                /* events of the port */
void sr_calls_late(sr_serve *s);                /* tries again what found the command ring full */
void sr_calls_abort(sr_serve *s, int status, const char *code, const char *why); /* all of them end with this error */

/* routes.c */
extern const sr_httpapp sr_routes;
void sr_reply_error(sr_conn *c, const sr_apierr *e);

/* info.c: whole answers that need no engine. */
void sr_info_live(sr_conn *c);
void sr_info_health(sr_serve *s, sr_conn *c, const char *model); /* 200 or 503; model: KServe's form for that id, or NULL */
void sr_info_metrics(sr_serve *s, sr_conn *c, const char *const *names, uint32_t n); /* names of the routes */
void sr_info_version(sr_conn *c);
void sr_info_props(sr_serve *s, sr_conn *c);
void sr_info_models(sr_serve *s, sr_conn *c);
void sr_info_model(sr_serve *s, sr_conn *c, const char *id);
void sr_info_tags(sr_serve *s, sr_conn *c);     /* ollama's list of models */
void sr_info_ps(sr_serve *s, sr_conn *c);       /* ollama's list of loaded models: the same */
void sr_info_show(sr_serve *s, sr_conn *c, const char *body, size_t n); /* what ollama tells of the model that the body names */

/* page.c: the page and its files.  name: what stands behind /ui/; NULL: the page. */
bool sr_page_has(const sr_serve *s, const char *name);
void sr_page_answer(sr_conn *c, const char *name, const sr_httphead *h); /* only what there is */

static inline uint64_t sr_ms(uint32_t ms) { return (uint64_t)ms * 1000000u; }
/* routes.c: the call is over, the connection's log line and counters still want to know what it was. */
void sr_route_mark(sr_conn *c, uint32_t api);
sr_errform sr_route_errors(uint32_t api); /* the form of the route's errors */
#endif
