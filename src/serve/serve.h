/* serve.h - the OpenAI-compatible HTTP server over one engine port.
 *
 *     open()  listens (and /health says 503 "loading")
 *     run()   one io thread does everything: sockets, HTTP, JSON, templates, tokens to text, SSE
 *     ready() from the loader's thread: the model is there; requests are taken from now on
 *     reload() reads the certificate's files again; connections from then on get it
 *     stop()  from a signal handler: no new connections, what runs may finish within drain_ms; twice: at once
 *
 * The engine is reached through the port alone (engine/port.h).  A client that leaves cancels its request at
 * once; a client that reads slowly fills its own bounded buffer, then its request is paused by the port's
 * window, then ended.  Long bodies are parsed and tokenised on a thread beside the io thread.
 *
 * Owns:    sockets, connections, requests.  Borrows what cfg and model point to, until close(); the port's
 *          poll() side belongs to the io thread from ready() on.
 * Threads: open, run, close: one thread.  ready: any, once.  reload: any.  stop: any, and signal handlers.
 * Errors:  open: SR_IO (address, file, named), SR_INVALID (configuration, named), SR_NOMEM.  reload: the same; nothing has changed then.  run: SR_IO if the
 *          event loop dies.  What a client does wrong is an HTTP answer, never a failure of these.
 * Source:  RFC 9110, RFC 9112; OpenAI API reference; HTML Living Standard 9.2 (server-sent events).
 */
#ifndef SR_SERVE_H
#define SR_SERVE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "engine/port.h"
#include "text/template.h"
#include "text/tokenizer.h"

typedef struct sr_serve sr_serve;

typedef struct {                           /* zero = the default at the right; a request past one is told which and how much */
    size_t   header_bytes, url_bytes;      /* 32 KiB -> 431, 8 KiB -> 414 */
    size_t   body_bytes, bodies_bytes;     /* 32 MiB -> 413; all bodies in flight together: 256 MiB -> 503 */
    uint32_t conns, conns_per_ip;          /* 12,288 -> 503; 256 -> 429 */
    uint32_t requests;                     /* generations in flight: 4,096 -> 429 */
    uint32_t json_depth, json_values;      /* 64, 1,048,576 */
    uint32_t messages, prompts, choices;   /* 4,096; prompts times n <= 256; n <= 16 */
    uint32_t inputs, numbers;              /* texts to embed 2,048; numbers of all their vectors 8,388,608 */
    uint32_t stops, stop_bytes, bias;      /* 16, 256, 1,024 */
} sr_servelimits;
typedef struct {                           /* milliseconds; zero = the default */
    uint32_t head, body, request;          /* a whole head 10,000; silence within a body 30,000; a whole body 300,000 */
    uint32_t idle, write;                  /* kept-alive 75,000; a reader that takes nothing 60,000 */
    uint32_t ping, queue, drain;           /* SSE comment after silence 15,000; wait for admission 0 = none; stop() 30,000 */
    uint32_t answer;                       /* from a request's first byte to its answer's end: 504; 0 = none but the request's own */
} sr_servetimes;
typedef struct {
    const char *key;                       /* 1..256 bytes */
    const char *name;                      /* in metrics and logs, where the key never is; NULL: "key-" and its position */
    uint32_t    at_once, per_minute;       /* requests; past one: 429.  0: no limit */
} sr_servekey;
typedef struct {
    const char *host;                      /* NULL: 127.0.0.1; a name or an address */
    uint16_t    port;                      /* 0: any free one, see sr_serve_port() */
    const char *prefix;                    /* paths may also start with it: "/openai"; NULL: none */
    const sr_servekey *keys; uint32_t n_keys; /* none: everybody may */
    const char *tls_cert, *tls_key;        /* PEM files, both or none: with them every connection is TLS (tls.h) */
    bool        guard_metrics;             /* /metrics asks for a key, too */
    bool        strict_model;              /* another model name is a 404; else any name means this model */
    bool        no_ui;                     /* nothing at "/" */
    const char *nvml;                      /* NULL: libnvidia-ml.so.1; for tests */
    const char *cors;                      /* Access-Control-Allow-Origin; NULL: "*", "": no CORS headers */
    sr_servelimits limits;
    sr_servetimes  times;
    const char *model_id;                  /* what /v1/models lists and answers carry; may hold '/' */
    const char *const *aliases; uint32_t n_aliases;
} sr_servecfg;
typedef struct {                           /* what ready() hands over */
    sr_port            *port;
    const sr_tokenizer *tok;
    const sr_template  *chat;              /* NULL: the model has none, chat is refused with that reason */
    const char         *chat_source;       /* its source: tells how the model writes tool calls and thoughts; NULL: the tokenizer's */
    uint32_t ctx;                          /* longest prompt + answer */
    /* For /v1/models; zero or NULL: left out. */
    const char *arch, *ftype, *device;
    const char *ram;                       /* what a part of its weights is in RAM beside the device: "coded", "Q4_K"; NULL: as in the file */
    const char *gpu_uuid;                  /* of the GPU it is on, "GPU-...": its heat, power, clocks and memory go into /metrics (nvml.h) */
    uint64_t n_params, bytes;
    uint32_t ctx_train, n_embd;            /* n_embd: also the width of vectors; 0: the engine makes none */
    bool     fallback;                     /* the device is the CPU because no GPU could be used: in /health and /metrics */
} sr_servemodel;

SR_MUSTUSE sr_status sr_serve_open(const sr_servecfg *, sr_serve **, sr_err *);
uint16_t sr_serve_port(const sr_serve *);
SR_MUSTUSE sr_status sr_serve_run(sr_serve *, sr_err *);
SR_MUSTUSE sr_status sr_serve_ready(sr_serve *, const sr_servemodel *, sr_err *); /* the struct is copied */
SR_MUSTUSE sr_status sr_serve_reload(sr_serve *, sr_err *);
void     sr_serve_stop(sr_serve *);
void     sr_serve_close(sr_serve *);       /* after run() has returned; NULL is fine */
#endif
