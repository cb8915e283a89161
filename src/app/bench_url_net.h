/* bench_url_net.h - where a server is, and one connection to it that never blocks, plain or TLS.
 *
 *     open(url)  ->  connect()  ->  SR_NET_MORE .. ready  ->  read, write
 *
 * Owns:    a target its TLS context, until close(); a connection its descriptor and session, until sr_net_drop().
 * Threads: one.   Errors: open: SR_INVALID (the URL), SR_IO (no such host), SR_NOMEM.  Afterwards a connection's `why` says
 *          what went wrong.
 */
#ifndef SR_APP_BENCH_URL_NET_H
#define SR_APP_BENCH_URL_NET_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include "base/err.h"

typedef struct {
    bool   tls;
    char   host[256], port[8], at[280]; /* at: for the Host header */
    char   base[512];                   /* path before /chat/completions: "/v1" where the URL has none */
    struct sockaddr_storage addr;
    socklen_t addr_len;
    void  *ctx;                         /* SSL_CTX */
} sr_nettarget;
typedef struct { bool insecure; } sr_netcfg; /* insecure: any certificate will do */
SR_MUSTUSE sr_status sr_net_parse(const char *url, sr_nettarget *out, sr_err *err); /* the text alone */
SR_MUSTUSE sr_status sr_net_open(const char *url, const sr_netcfg *, sr_nettarget *out, sr_err *err);
void sr_net_close(sr_nettarget *);

typedef struct {
    int   fd;                           /* -1: none */
    void *ssl;
    bool  shaken;                       /* TLS: the handshake is done */
    char  why[160];
} sr_netconn;
typedef enum { SR_NET_OK, SR_NET_READ, SR_NET_WRITE, SR_NET_END, SR_NET_FAIL } sr_netverdict; /* READ, WRITE: wait for that, call again */

sr_netverdict sr_net_connect(const sr_nettarget *, sr_netconn *);  /* begins; WRITE: wait, then _connected */
sr_netverdict sr_net_connected(sr_netconn *);                      /* the connection is there?  then TLS's handshake */
sr_netverdict sr_net_read(sr_netconn *, char *p, size_t cap, size_t *n);
sr_netverdict sr_net_write(sr_netconn *, const char *p, size_t len, size_t *n);
void sr_net_drop(sr_netconn *);
#endif
