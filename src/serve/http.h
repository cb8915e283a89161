/* http.h - connections: bytes in, requests up; answers and event streams down.
 *
 *     HEAD --head()--> BODY --body()--> WORK --reply() or stream_end()--> HEAD (keep-alive) or LINGER --> gone
 *
 * All of it runs on one thread in one event loop.  An answer is appended to the connection's out buffer;
 * at the end of each turn of the loop every connection that was touched is written once, so what a turn
 * produced for a client leaves in one system call.  Streams are pulled: when the out buffer is low, fill()
 * is asked for more, and a client that does not read is simply not asked for.
 *
 * With a certificate (tls.h) a connection begins with the handshake, which has the time of a head; what follows is the same.
 *
 * A client that shuts its side down, resets or disappears while its request is unanswered has left: gone()
 * is called at once and the connection is closed.  Pipelined requests are answered one after the other.
 *
 * Owns:    sockets, connections and their buffers.   Threads: one.
 * Errors:  open: SR_IO naming the address, SR_NOMEM.  A client's faults are answered (400, 408, 413, 414, 417,
 *          431, 501, 503, 505), always with a JSON body, then the connection is closed.
 */
#ifndef SR_SERVE_HTTP_H
#define SR_SERVE_HTTP_H
#include <event2/event.h>
#include "serve/http_parse.h"
#include "base/err.h"

typedef struct sr_httpd sr_httpd;
typedef struct sr_conn  sr_conn;

typedef struct {
    const char *host; uint16_t port;
    sr_httplimits limits;
    size_t   bodies_bytes;                 /* request bodies of all connections together */
    uint32_t conns, conns_per_ip;
    uint32_t head_ms, body_ms, request_ms, idle_ms, write_ms;
    struct sr_tls *tls;                    /* NULL: in the clear */
    const char *cors;                      /* value of Access-Control-Allow-Origin; NULL: none */
} sr_httpcfg;

typedef struct {                           /* what the connections call; app is handed back */
    void *app;
    /* A head is complete: sr_http_accept() or sr_http_reply() before returning.  The head's strings live that long. */
    void (*head)(void *app, sr_conn *c, const sr_httphead *h);
    /* An accepted request is complete.  Takes the body over (sr_buf_end).  Reply now or later. */
    void (*body)(void *app, sr_conn *c, sr_buf *body);
    void (*fill)(void *app, sr_conn *c);   /* a stream's out buffer is low */
    void (*sent)(void *app, sr_conn *c);   /* the kernel has taken all that was written of a stream */
    void (*gone)(void *app, sr_conn *c);   /* the client left before its answer was complete */
    void (*tick)(void *app, sr_conn *c, uint64_t now_ns); /* now and then while a request is unanswered */
    void (*done)(void *app, sr_conn *c, int status);      /* an answer is complete; for counters and logs */
    /* The JSON body for a fault found below the app; the request may have no name yet. */
    void (*fault)(void *app, sr_conn *c, int status, const char *why, sr_buf *body);
} sr_httpapp;

SR_MUSTUSE sr_status sr_httpd_open(struct event_base *base, const sr_httpcfg *, const sr_httpapp *, sr_httpd **, sr_err *);
uint16_t sr_httpd_port(const sr_httpd *);
bool     sr_httpd_turn(sr_httpd *);        /* after each turn of the loop: writes, fills, frees; true: do not sleep yet */
void     sr_httpd_drain(sr_httpd *);       /* stops listening, closes idle connections; answers end with Connection: close */
uint32_t sr_httpd_conns(const sr_httpd *);
uint32_t sr_httpd_busy(const sr_httpd *);  /* connections that still owe or carry an answer */
uint64_t sr_httpd_refused(const sr_httpd *);
uint64_t sr_httpd_slow(const sr_httpd *);  /* connections dropped because their client did not read */
uint64_t sr_httpd_handshakes(const sr_httpd *); /* of TLS that were completed */
uint64_t sr_httpd_unshaken(const sr_httpd *);   /* connections that ended before theirs was */
uint64_t sr_httpd_now(const sr_httpd *);   /* the clock as of this turn of the loop */
void     sr_httpd_close(sr_httpd *);       /* drops what is left; gone() is called for unanswered requests */

void sr_http_accept(sr_conn *c);           /* in head(): read the body, then call body() */
void sr_http_body_freed(sr_conn *c);       /* the body that body() took over is gone: its memory no longer counts */
/* A whole answer.  headers: further header lines, each with CR LF; may be NULL. */
void sr_http_reply(sr_conn *c, int status, const char *type, const char *headers, const char *body, size_t n);
/* A stream of events: its head, then anything appended to chunk(), then its end.  What is appended until the
 * connection is written next travels as one chunk. */
void    sr_http_stream(sr_conn *c, const char *type, const char *headers);
sr_buf *sr_http_chunk(sr_conn *c);
void    sr_http_stream_end(sr_conn *c);
void    sr_http_touch(sr_conn *c);         /* fill() and write at the end of this turn */
void    sr_http_drop(sr_conn *c);          /* close now, without an answer; gone() is called if one was owed */

bool   sr_http_streaming(const sr_conn *c);
size_t sr_http_backlog(const sr_conn *c);  /* bytes not yet taken by the kernel */
void  *sr_http_user(const sr_conn *c);     /* the app's, per request; NULL again with the next request */
void   sr_http_set_user(sr_conn *c, void *user);
void   sr_http_set_id(sr_conn *c, const char *id, size_t n); /* X-Request-Id of the answer; at most 64 bytes */
const char *sr_http_id(const sr_conn *c);
void   sr_http_set_trace(sr_conn *c, const char *trace, size_t n); /* Traceparent of the answer; at most 64 bytes */
const char *sr_http_trace(const sr_conn *c); /* "" without one */
enum { SR_HTTP_NOTE = 64 };
void  *sr_http_note(sr_conn *c);           /* SR_HTTP_NOTE bytes of the app's, per request; zero again with the next request */
uint64_t    sr_http_started(const sr_conn *c); /* when the first byte of the request was read */
const char *sr_http_reason(int status);
#endif
