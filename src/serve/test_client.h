/* test_client.h - for tests: a server over the null engine on a free port, and a blocking client that can misbehave. */
#ifndef SR_SERVE_TEST_CLIENT_H
#define SR_SERVE_TEST_CLIENT_H
#include <jansson.h>
#include <pthread.h>
#include "serve/null_engine.h"
#include "serve/serve.h"

typedef struct {
    sr_servecfg   cfg;
    sr_nullcfg    null;
    const char   *text;               /* of every answer */
    bool          not_ready, no_template, control_text, fallback; /* control_text: control tokens in the text are meant; fallback: to the CPU */
    const char   *gpu_uuid;           /* what the model is said to be on */
    const char   *template_source;    /* NULL: the plain ChatML below */
    uint32_t      ctx;
    /* Filled in by tc_start(). */
    sr_serve     *serve;
    sr_port      *port;
    sr_null      *engine;
    sr_tokenizer *tok;
    sr_template  *tmpl;
    sr_ids        ids;
    pthread_t     thread;
    uint16_t      at;
    bool          stopped;
} tc_server;

/* From now on servers are started with a certificate made for this run, and connections are TLS. */
void tc_use_tls(void);
bool tc_tls(void);
void tc_trust(const char *cert_file); /* that certificate, too */
/* A P-256 key and a certificate that it signs itself, for `name`, 127.0.0.1 and that many days from now, as PEM files; the key once more with a passphrase. */
void tc_certificate(const char *cert_file, const char *key_file, const char *name, int days);
void tc_locked_key(const char *key_file, const char *locked_file);
void tc_start(tc_server *s);
void tc_ready(tc_server *s);          /* for not_ready: the model arrives now */
void tc_stop(tc_server *s);           /* drains, joins, frees */
double tc_metric(tc_server *s, const char *name); /* of /metrics; fails the test if it is not there */
void tc_wait_metric(tc_server *s, const char *name, double value); /* at most a minute */

typedef struct { int fd; sr_buf in; struct ssl_st *ssl; } tc_conn; /* ssl: with TLS */
typedef struct {
    int     status;
    sr_buf  head, body;               /* body: decoded */
    bool    chunked, close, no_body; /* no_body: set it before reading the answer to a HEAD */
} tc_reply;

void tc_open(tc_conn *c, uint16_t port);
void tc_dial(tc_conn *c, uint16_t port); /* the socket alone, without a handshake */
void tc_shake(tc_conn *c);            /* the handshake on an open socket; nothing without TLS */
void tc_close(tc_conn *c);
void tc_reset(tc_conn *c);            /* RST instead of FIN */
void tc_send(tc_conn *c, const char *p, size_t n);
void tc_say(tc_conn *c, const char *s);
bool tc_more(tc_conn *c, int timeout_ms);      /* reads what there is; false: end of stream or time */
bool tc_until(tc_conn *c, const char *text, int timeout_ms); /* reads until text is in c->in */
void tc_reply_read(tc_conn *c, tc_reply *r);   /* one whole answer; status 0: the connection ended first */
void tc_reply_end(tc_reply *r);
const char *tc_header(const tc_reply *r, const char *name, char *out, size_t cap); /* NULL: absent */

/* One request on a connection of its own; headers each with CR LF, or NULL. */
void tc_ask(tc_server *s, const char *method, const char *path, const char *headers, const char *body, tc_reply *r);
json_t *tc_post(tc_server *s, const char *path, const char *body, int status); /* the JSON answer, status checked */
/* Single quotes in fmt become double quotes: JSON stays readable in C. */
char *tc_json(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
json_t *tc_put(tc_server *s, const char *path, int status, const char *body); /* the same, single quotes for double ones */
/* A stream's events: "data" and, where there are names, "event"; [DONE] is not one, but must be there if `done`. */
typedef struct { json_t *e[600]; char *name[600]; size_t n; } tc_stream;
void tc_stream_read(tc_server *s, const char *path, const char *body, bool done, tc_stream *v); /* single quotes */
void tc_stream_end(tc_stream *v);
/* The data payloads of a stream, framing checked byte by byte; returns how many; [DONE] not counted. */
size_t tc_events(const tc_reply *r, json_t **out, size_t cap);
json_t *tc_at(const json_t *j, const char *path); /* "choices.0.message.content"; fails the test if not there */
const char *tc_str(const json_t *j, const char *path);
#endif
