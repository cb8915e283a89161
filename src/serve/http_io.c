/* http_io.c - between a connection and its socket: as it is, or through TLS (tls.h).
 *
 *     accepted --shake(): the handshake, at most head_ms--> ST_HEAD as any other connection
 *                 |  letters of an HTTP request: 400 in the clear, then the end
 */
#include "serve/http_internal.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* A handshake costs up to a millisecond of this thread (RSA 2048); those of a crowd wait in their sockets while streams go on. */
enum { SHAKES_PER_TURN = 8 };

bool sr_conn_secure(sr_conn *c)
{
    c->tls     = sr_tlsio_open(c->hd->cfg.tls, c->fd);
    c->shaking = c->tls != NULL;
    return c->shaking;
}

static void await_writable(sr_conn *c)
{
    c->writing = true;
    event_add(&c->ev_write, NULL);
}

bool sr_conn_shake(sr_conn *c)
{
    sr_httpd *hd = c->hd;
    if (hd->shakes++ >= SHAKES_PER_TURN) /* the socket stays readable: the next turn comes back to it */
        return false;
    switch (sr_tlsio_shake(c->tls)) {
    case SR_TLS_OK:
        c->shaking = false;
        c->since_ns = c->progress_ns = sr_httpd_now(hd);
        hd->handshakes++;
        return true;
    case SR_TLS_READ:
        return false;
    case SR_TLS_WRITE:
        await_writable(c);
        return false;
    case SR_TLS_PLAIN:
        hd->unshaken++;
        sr_tlsio_close(c->tls);
        c->tls     = NULL;
        c->shaking = false;
        sr_conn_fault(c, 400, "this port speaks TLS: the address begins with https://");
        return false;
    default:
        hd->unshaken++;
        sr_http_drop(c);
        return false;
    }
}

static ssize_t recv_plain(const sr_conn *c, char *p, size_t cap)
{
    ssize_t n = recv(c->fd, p, cap, 0);
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? SR_IO_AGAIN : SR_IO_GONE;
}

ssize_t sr_conn_recv(sr_conn *c, char *p, size_t cap)
{
    size_t n = 0, k = 0;
    sr_tlsverdict v = SR_TLS_OK;
    if (!c->tls || c->state == ST_LINGER) /* what still comes then is dropped: it need not be read to be dropped */
        return recv_plain(c, p, cap);
    while (n < cap && (v = sr_tlsio_read(c->tls, p + n, cap - n, &k)) == SR_TLS_OK)
        n += k;
    if (v == SR_TLS_WRITE) { /* the answer to a change of keys found the socket full */
        c->read_again = true;
        await_writable(c);
    }
    /* What the session holds already, the poll of the socket does not see. */
    if (n && (v == SR_TLS_EOF || sr_tlsio_pending(c->tls)))
        event_active(&c->ev_read, EV_READ, 1);
    if (n)
        return (ssize_t)n;
    return v == SR_TLS_EOF ? 0 : v == SR_TLS_BROKEN ? SR_IO_GONE : SR_IO_AGAIN;
}

ssize_t sr_conn_send(sr_conn *c, const char *p, size_t len)
{
    if (!c->tls) {
        ssize_t n;
        while ((n = send(c->fd, p, len, MSG_NOSIGNAL)) < 0 && errno == EINTR)
            ;
        return n >= 0 ? n : errno == EAGAIN ? SR_IO_AGAIN : SR_IO_GONE;
    }
    size_t n = 0;
    sr_tlsverdict v = sr_tlsio_write(c->tls, p, len, &n);
    /* Never waits for reading: there is no renegotiation. */
    return v == SR_TLS_OK ? (ssize_t)n : v == SR_TLS_WRITE ? SR_IO_AGAIN : SR_IO_GONE;
}

ssize_t sr_conn_bye(sr_conn *c)
{
    sr_tlsverdict v = c->tls ? sr_tlsio_bye(c->tls) : SR_TLS_OK;
    if (v == SR_TLS_OK)
        return shutdown(c->fd, SHUT_WR) ? SR_IO_GONE : 0;
    return v == SR_TLS_WRITE ? SR_IO_AGAIN : SR_IO_GONE;
}

void sr_conn_io_end(sr_conn *c)
{
    /* An idle connection ends as it should, if that costs no waiting; one in the middle of something is cut, and its client sees that. */
    if (c->tls && c->state == ST_HEAD && !c->shaking && !sr_http_backlog(c))
        (void)sr_tlsio_bye(c->tls);
    sr_tlsio_close(c->tls);
    c->tls = NULL;
    close(c->fd);
}
