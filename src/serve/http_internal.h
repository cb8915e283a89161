/* Inside of http*.c: connection and listener state. */
#ifndef SR_SERVE_HTTP_INTERNAL_H
#define SR_SERVE_HTTP_INTERNAL_H
#include <event2/event.h>
#include <event2/event_struct.h>
#include "serve/http.h"
#include "serve/peers.h"
#include "serve/tls.h"

enum { LISTENERS = 8, SCRATCH = 64 << 10, PIPELINE_BYTES = 16 << 10, HIGH_WATER = 32 << 10, ID_BYTES = 64, LINGER_MS = 2000,
       REFUSED_AT_ONCE = 64 };
typedef enum { ST_HEAD, ST_BODY, ST_WORK, ST_LINGER, ST_DEAD } connstate;

struct sr_conn {
    sr_conn  *prev, *next;      /* in httpd.conns, or next alone in httpd.dead */
    sr_conn  *next_touched;
    sr_httpd *hd;
    int       fd;
    sr_tlsio *tls;              /* NULL: in the clear */
    uint8_t   state, minor;
    bool      touched, keep_alive, keep_wanted, is_head, streaming, chunked_in, chunked_out, chunk_open, eof, writing, counted;
    bool      shaking, read_again; /* the TLS handshake goes on; what was to be read waits for the socket to take bytes */
    bool      discard;          /* what still comes in is dropped: the connection ends after its answer */
    int       status;           /* of the answer that is being sent */
    struct event ev_read, ev_write;
    sr_buf    in, body, out;
    size_t    in_at, scanned, out_at, chunk_at;
    size_t    body_charge;      /* bytes of httpd.bodies that are this body's */
    uint64_t  length;
    sr_chunked chunks;
    uint64_t  since_ns, progress_ns, started_ns; /* state entered; last byte moved; request began */
    size_t    discarded;
    sr_peer   peer;
    void     *user;
    char      id[ID_BYTES + 1], trace[ID_BYTES + 1];
    _Alignas(8) char note[SR_HTTP_NOTE];
};

struct sr_httpd {
    struct event_base *base;
    sr_httpcfg  cfg;
    sr_httpapp  app;
    struct { int fd; struct event *ev; } listener[LISTENERS];
    uint32_t    n_listener;
    uint16_t    port;
    bool        accepting, draining;
    struct event *tick;
    uint64_t    drain_ns;        /* since when it drains; 0: it does not */
    uint64_t    accept_again_ns; /* accept() ran out of descriptors: rest until then */
    sr_conn    *conns, *touched, *dead;
    uint32_t    n_conn, n_refused_open;
    uint64_t    refused, slow, handshakes, unshaken;
    uint32_t    shakes;          /* steps of handshakes in this turn */
    size_t      bodies;
    sr_peers    peers;
    uint64_t    now_ns;
    char        date[40];
    uint64_t    date_ns;
    char        scratch[SCRATCH];
};

sr_conn *sr_conn_new(sr_httpd *hd, int fd, const sr_peer *peer);  /* http.c; closes fd on failure, NULL */
void     sr_conn_refuse(sr_conn *c, int status, const char *why);
void     sr_conn_fault(sr_conn *c, int status, const char *why);   /* answered, and the connection ends */

/* http_io.c: the socket, or the TLS session on it. */
enum { SR_IO_AGAIN = -1, SR_IO_GONE = -2 };
bool     sr_conn_secure(sr_conn *c);      /* of a new connection; false: no memory */
bool     sr_conn_shake(sr_conn *c);       /* a step of the handshake; true: it is complete.  May drop c */
ssize_t  sr_conn_recv(sr_conn *c, char *p, size_t cap);        /* bytes, 0: the client has ended its half, AGAIN, GONE */
ssize_t  sr_conn_send(sr_conn *c, const char *p, size_t len);  /* bytes, AGAIN, GONE */
ssize_t  sr_conn_bye(sr_conn *c);         /* says that nothing follows: 0, AGAIN, GONE */
void     sr_conn_io_end(sr_conn *c);      /* closes the socket */
sr_status sr_listen(sr_httpd *hd, sr_err *err);                   /* http_listen.c */
void     sr_listen_empty(sr_httpd *hd);                           /* at the end: accepts all who have begun to connect */
void     sr_listen_close(sr_httpd *hd);
void     sr_listen_pause(sr_httpd *hd, bool pause);
#endif
