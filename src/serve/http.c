/* http.c - the life of a connection.  See http.h for the states. */
#include "serve/http_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { ROUNDS = 8, GRACE_MS = 1000, DISCARD_BYTES = 1 << 20, SEND_BUFFER = 128 << 10, MS = 1000000 };

uint64_t sr_httpd_now(const sr_httpd *hd)
{
    if (!hd->now_ns)
        ((sr_httpd *)hd)->now_ns = sr_now_ns(); /* read once a turn; turn() forgets it */
    return hd->now_ns;
}

size_t sr_http_backlog(const sr_conn *c) { return c->out.n - c->out_at; }

static void set_state(sr_conn *c, connstate s)
{
    c->state    = s;
    c->since_ns = c->progress_ns = sr_httpd_now(c->hd);
}

void sr_http_touch(sr_conn *c)
{
    if (c->touched || c->state == ST_DEAD)
        return;
    c->touched      = true;
    c->next_touched = c->hd->touched;
    c->hd->touched  = c;
}

static void uncharge(sr_conn *c)
{
    c->hd->bodies -= c->body_charge;
    c->body_charge = 0;
}

void sr_http_drop(sr_conn *c)
{
    sr_httpd *hd = c->hd;
    if (c->state == ST_DEAD)
        return;
    bool owed = c->state == ST_WORK || c->state == ST_BODY;
    event_del(&c->ev_read);
    event_del(&c->ev_write);
    sr_conn_io_end(c);
    uncharge(c);
    if (c->counted)
        sr_peers_sub(&hd->peers, c->peer);
    else
        hd->n_refused_open--;
    if (c->prev)
        c->prev->next = c->next;
    else
        hd->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    hd->n_conn--;
    c->state = ST_DEAD;
    c->next  = hd->dead;
    hd->dead = c;
    if (owed)
        hd->app.gone(hd->app.app, c);
    c->user = NULL;
}

static void conn_free(sr_conn *c)
{
    sr_buf_end(&c->in);
    sr_buf_end(&c->body);
    sr_buf_end(&c->out);
    sr_free(c);
}

/* ---- answers ------------------------------------------------------------------------------------------- */

const char *sr_http_reason(int status)
{
    static const struct { int status; const char *reason; } t[] = {
        {200, "OK"}, {204, "No Content"}, {304, "Not Modified"}, {400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
        {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"}, {413, "Content Too Large"},
        {414, "URI Too Long"}, {415, "Unsupported Media Type"}, {417, "Expectation Failed"},
        {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"}, {500, "Internal Server Error"},
        {501, "Not Implemented"}, {503, "Service Unavailable"}, {504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < SR_COUNT(t); i++)
        if (t[i].status == status)
            return t[i].reason;
    return "Status";
}

static const char *date(sr_httpd *hd)
{
    uint64_t now = sr_httpd_now(hd);
    if (!hd->date_ns || now - hd->date_ns > 500 * (uint64_t)MS) {
        time_t t = time(NULL);
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(hd->date, sizeof hd->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        hd->date_ns = now;
    }
    return hd->date;
}

enum { HEAD_ROOM = 1023 }; /* of a head and a first text */

/* length < 0: a stream. */
static void put_head(sr_conn *c, int status, const char *type, const char *headers, int64_t length)
{
    sr_httpd *hd = c->hd;
    sr_buf   *o  = &c->out;
    (void)sr_buf_reserve(o, HEAD_ROOM); /* or it grows five times */
    if (hd->draining || (length < 0 && !c->minor))
        c->keep_alive = false; /* HTTP/1.0 has no chunks: its streams end with the connection */
    sr_buf_fmt(o, "HTTP/1.1 %d %s\r\nDate: %s\r\nConnection: %s\r\n", status, sr_http_reason(status), date(hd),
               c->keep_alive ? "keep-alive" : "close");
    if (type)
        sr_buf_fmt(o, "Content-Type: %s\r\n", type);
    if (length >= 0 && status != 204 && status != 304)
        sr_buf_fmt(o, "Content-Length: %lld\r\n", (long long)length);
    else if (length < 0 && c->minor)
        sr_buf_str(o, "Transfer-Encoding: chunked\r\n");
    if (c->id[0])
        sr_buf_fmt(o, "X-Request-Id: %s\r\n", c->id);
    if (c->trace[0])
        sr_buf_fmt(o, "Traceparent: %s\r\n", c->trace);
    if (hd->cfg.cors)
        sr_buf_fmt(o, "Access-Control-Allow-Origin: %s\r\nAccess-Control-Expose-Headers: x-request-id, retry-after, x-should-retry\r\n",
                   hd->cfg.cors);
    if (headers)
        sr_buf_str(o, headers);
    sr_buf_str(o, "\r\n");
    c->status = status;
}

/* The answer is complete (not yet sent).  The connection is free for the next request. */
static void answered(sr_conn *c)
{
    c->hd->app.done(c->hd->app.app, c, c->status);
    c->streaming = c->is_head = false;
    c->keep_alive = c->keep_alive && !c->hd->draining;
    c->user  = NULL;
    c->id[0] = c->trace[0] = 0;
    memset(c->note, 0, sizeof c->note);
    uncharge(c);
    sr_buf_end(&c->body);
    if (c->out.failed)
        sr_http_drop(c);
    else
        set_state(c, ST_HEAD);
    sr_http_touch(c);
}

void sr_http_reply(sr_conn *c, int status, const char *type, const char *headers, const char *body, size_t n)
{
    if (c->state == ST_DEAD)
        return;
    put_head(c, status, type, headers, (int64_t)n);
    if (!c->is_head && status != 204 && status != 304)
        sr_buf_add(&c->out, body, n);
    answered(c);
}

void sr_http_stream(sr_conn *c, const char *type, const char *headers)
{
    c->chunked_out = c->minor > 0;
    c->streaming   = true;
    put_head(c, 200, type, headers, -1);
    sr_http_touch(c);
}

enum { CHUNK_HEAD = 10 }; /* "0000abcd\r\n": fixed width, so that the size can be filled in afterwards */

sr_buf *sr_http_chunk(sr_conn *c)
{
    if (!c->chunk_open && c->state != ST_DEAD) {
        c->chunk_open = true;
        c->chunk_at   = c->out.n;
        if (c->chunked_out)
            sr_buf_str(&c->out, "00000000\r\n");
        sr_http_touch(c);
    }
    return &c->out;
}

/* Fills in the size of the chunk that was being written; one that stayed empty leaves no trace. */
static void close_chunk(sr_conn *c)
{
    if (!c->chunk_open)
        return;
    c->chunk_open = false;
    if (!c->chunked_out || c->out.failed)
        return;
    size_t n = c->out.n - c->chunk_at - CHUNK_HEAD;
    if (!n) {
        c->out.n = c->chunk_at;
        return;
    }
    for (size_t i = 0; i < 8; i++)
        c->out.p[c->chunk_at + i] = "0123456789abcdef"[n >> (28 - 4 * i) & 15];
    sr_buf_str(&c->out, "\r\n");
}

/* What is whole leaves before its end is counted and logged, which takes as long as its last text took.  What cannot leave now
 * does so at the end of the turn, and so is learnt there that the client has gone. */
static void send_early(sr_conn *c)
{
    ssize_t n = c->writing || c->out.failed || !sr_http_backlog(c) ? 0 : sr_conn_send(c, c->out.p + c->out_at, sr_http_backlog(c));
    if (n > 0) {
        c->out_at += (size_t)n;
        c->progress_ns = sr_httpd_now(c->hd);
    }
}

void sr_http_stream_end(sr_conn *c)
{
    if (c->state == ST_DEAD)
        return;
    close_chunk(c);
    if (c->chunked_out)
        sr_buf_str(&c->out, "0\r\n\r\n");
    send_early(c);
    answered(c);
}

/* A fault below the app: answered, and the connection ends, for what follows on it cannot be trusted. */
void sr_conn_fault(sr_conn *c, int status, const char *why)
{
    sr_buf body = {0};
    c->keep_alive = false;
    c->discard    = true;
    c->hd->app.fault(c->hd->app.app, c, status, why, &body);
    put_head(c, status, "application/json", status == 503 || status == 429 ? "Retry-After: 1\r\n" : NULL, (int64_t)body.n);
    sr_buf_add(&c->out, body.p, body.n);
    sr_buf_end(&body);
    answered(c);
}

void sr_conn_refuse(sr_conn *c, int status, const char *why)
{
    c->hd->n_refused_open++;
    sr_conn_fault(c, status, why);
}

/* ---- requests ------------------------------------------------------------------------------------------ */

void sr_http_accept(sr_conn *c)
{
    c->keep_alive = c->keep_wanted;
    set_state(c, ST_BODY);
}

/* Takes one head off the input.  True: something else may be possible now. */
static bool take_head(sr_conn *c)
{
    sr_httphead h;
    sr_httpd *hd = c->hd;
    const char *p = c->in.p + c->in_at;
    size_t n = c->in.n - c->in_at;
    if (!n || sr_http_backlog(c) > HIGH_WATER) /* pipelined requests wait until their answers leave */
        return false;
    if (!c->scanned)
        c->started_ns = c->since_ns = sr_httpd_now(hd);
    sr_httpverdict v = sr_http_parse(p, n, &c->scanned, &hd->cfg.limits, &h);
    if (v == SR_HTTP_MORE)
        return false;
    c->scanned = 0;
    c->minor   = 1;
    if (v == SR_HTTP_BAD) {
        sr_conn_fault(c, h.status, h.why);
        return false;
    }
    c->minor      = h.minor;
    /* Refused before its body was read, the connection ends: what follows is that body, not a request. */
    bool has_body  = h.chunked || h.length;
    c->keep_wanted = h.keep_alive;
    c->keep_alive  = h.keep_alive && !has_body;
    c->is_head    = h.method == SR_HEAD;
    c->chunked_in = h.chunked;
    c->length     = h.length;
    c->chunks     = (sr_chunked){0};
    c->in_at += h.bytes;
    hd->app.head(hd->app.app, c, &h);
    if (c->state == ST_BODY) {
        if (h.expect_continue && has_body && c->in_at == c->in.n)
            sr_buf_str(&c->out, "HTTP/1.1 100 Continue\r\n\r\n"), sr_http_touch(c);
    } else if (c->state == ST_HEAD && has_body) {
        c->discard = true;
    }
    return c->state != ST_DEAD && !c->discard;
}

/* Charges what the body buffer has grown to.  False: all bodies together are over the limit. */
static bool charge(sr_conn *c)
{
    size_t more = c->body.cap - SR_MIN(c->body.cap, c->body_charge);
    c->hd->bodies += more;
    c->body_charge += more;
    return c->hd->bodies <= c->hd->cfg.bodies_bytes;
}

/* Moves body bytes from the input.  True: the body is complete and was handed up. */
static bool take_body(sr_conn *c)
{
    size_t n = c->in.n - c->in_at, used;
    bool complete;
    if (c->chunked_in) {
        sr_httpverdict v = sr_chunked_feed(&c->chunks, c->in.p + c->in_at, n, c->hd->cfg.limits.body_bytes, &used, &c->body);
        if (v == SR_HTTP_BAD) {
            sr_conn_fault(c, c->chunks.status, c->chunks.why);
            return false;
        }
        complete = v == SR_HTTP_DONE;
    } else {
        used = (size_t)SR_MIN(c->length - c->body.n, (uint64_t)n);
        if (!sr_buf_add(&c->body, c->in.p + c->in_at, used)) {
            sr_conn_fault(c, 503, "no memory for the request body");
            return false;
        }
        complete = c->body.n == c->length;
    }
    c->in_at += used;
    if (used)
        c->progress_ns = sr_httpd_now(c->hd);
    if (!charge(c)) {
        sr_conn_fault(c, 503, "the request bodies being received take too much memory");
        return false;
    }
    if (!complete)
        return false;
    sr_buf body = c->body;
    c->body     = (sr_buf){0};
    set_state(c, ST_WORK);
    c->hd->app.body(c->hd->app.app, c, &body);
    return c->state != ST_DEAD;
}

void sr_http_body_freed(sr_conn *c) { uncharge(c); }

static void advance(sr_conn *c)
{
    while (!c->discard && (c->state == ST_HEAD ? take_head(c) : c->state == ST_BODY ? take_body(c) : false))
        ;
    if (c->in_at == c->in.n || c->discard || c->state == ST_DEAD) {
        c->in_at = c->scanned = 0;
        if (c->in.cap > 1024)
            sr_buf_end(&c->in);
        c->in.n = 0;
    } else if (c->in_at) {
        sr_buf_drop(&c->in, c->in_at);
        c->in_at = 0;
    }
}

/* ---- events -------------------------------------------------------------------------------------------- */

/* The client has shut its side.  Nothing that is still being made will be read. */
static void on_eof(sr_conn *c)
{
    if (c->state != ST_HEAD || !sr_http_backlog(c)) {
        sr_http_drop(c);
        return;
    }
    c->eof        = true;
    c->keep_alive = false;
    event_del(&c->ev_read);
}

static void on_read(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    sr_conn *c = arg;
    if (c->shaking && !sr_conn_shake(c))
        return;
    ssize_t n = sr_conn_recv(c, c->hd->scratch, SCRATCH);
    if (n == SR_IO_AGAIN)
        return;
    if (n == SR_IO_GONE) {
        sr_http_drop(c);
        return;
    }
    if (n == 0) {
        on_eof(c);
        return;
    }
    if (!c->discard && !sr_buf_add(&c->in, c->hd->scratch, (size_t)n)) {
        sr_http_drop(c);
        return;
    }
    if (!c->discard)
        advance(c);
    /* Pipelined far ahead of its answers: the answer being made is the last one. */
    if (c->in.n > c->hd->cfg.limits.header_bytes + PIPELINE_BYTES) {
        c->keep_alive = false;
        c->discard    = true;
        sr_buf_end(&c->in);
        c->in_at = 0;
    }
    if (c->discard && (c->discarded += (size_t)n) > DISCARD_BYTES)
        sr_http_drop(c);
}

static void on_write(evutil_socket_t fd, short what, void *arg)
{
    sr_conn *c = arg;
    c->writing = false;
    sr_http_touch(c);
    if (c->shaking || c->read_again) {
        c->read_again = false;
        on_read(fd, what, c);
    }
}

/* The socket takes no more now. */
static void await_room(sr_conn *c)
{
    c->writing = true;
    event_add(&c->ev_write, NULL);
    if (c->out_at > HIGH_WATER && c->out_at >= sr_http_backlog(c)) {
        sr_buf_drop(&c->out, c->out_at);
        c->out_at = 0;
    }
}

/* Sends what is there.  False: the socket takes no more now, or the connection is gone. */
static bool flush(sr_conn *c)
{
    close_chunk(c);
    if (c->out.failed) {
        sr_http_drop(c);
        return false;
    }
    while (sr_http_backlog(c)) {
        if (c->writing)
            return false;
        ssize_t n = sr_conn_send(c, c->out.p + c->out_at, sr_http_backlog(c));
        if (n == SR_IO_GONE) {
            sr_http_drop(c);
            return false;
        }
        if (n == SR_IO_AGAIN) {
            await_room(c);
            return false;
        }
        c->out_at += (size_t)n;
        c->progress_ns = sr_httpd_now(c->hd);
        if (sr_http_backlog(c) && !c->tls) { /* a socket that took a part is full; TLS takes a record at a time */
            await_room(c);
            return false;
        }
    }
    c->out.n = c->out_at = 0;
    if (c->out.cap > (size_t)(c->streaming ? HIGH_WATER * 2 : 1024))
        sr_buf_end(&c->out);
    return true;
}

/* Everything was answered and sent.  Closing at once would reset the connection if the client is still
 * sending, and the answer could be lost with it: say FIN, then read a while. */
static void finish(sr_conn *c)
{
    ssize_t said = c->eof ? SR_IO_GONE : sr_conn_bye(c);
    if (said == SR_IO_AGAIN) {
        await_room(c);
        return;
    }
    if (said == SR_IO_GONE) {
        sr_http_drop(c);
        return;
    }
    c->discard = true;
    sr_buf_end(&c->in);
    sr_buf_end(&c->out);
    c->in_at = 0;
    set_state(c, ST_LINGER);
}

/* Brings one touched connection as far as it will go in this turn. */
static void settle(sr_conn *c)
{
    for (int round = 0; round < ROUNDS && c->state != ST_DEAD; round++) {
        if (c->streaming && sr_http_backlog(c) < HIGH_WATER)
            c->hd->app.fill(c->hd->app.app, c);
        if (c->state == ST_DEAD)
            return;
        bool sent = sr_http_backlog(c) > 0;
        if (!flush(c))
            return;
        if (c->streaming)
            c->hd->app.sent(c->hd->app.app, c);
        if (c->state == ST_HEAD && !c->keep_alive && c->status) {
            finish(c);
            return;
        }
        if (c->state == ST_HEAD && c->in.n) {
            advance(c);
            sent = true;
        }
        if (!sent || (!c->streaming && !sr_http_backlog(c)))
            return;
    }
    sr_http_touch(c);
}

bool sr_httpd_turn(sr_httpd *hd)
{
    sr_conn *c = hd->touched;
    hd->touched = NULL;
    while (c) {
        sr_conn *next = c->next_touched;
        c->touched = false;
        settle(c);
        c = next;
    }
    sr_conn **link = &hd->dead;
    while ((c = *link)) {
        if (c->touched) { /* died after it was touched again: next turn */
            link = &c->next;
            continue;
        }
        *link = c->next;
        conn_free(c);
    }
    hd->now_ns = 0;
    hd->shakes = 0;
    return hd->touched != NULL;
}

/* ---- time ---------------------------------------------------------------------------------------------- */

static bool older(uint64_t now, uint64_t then, uint32_t ms) { return now > then && now - then > (uint64_t)ms * MS; }

/* Has the client sent something that was not read yet? */
static bool has_sent(const sr_conn *c)
{
    int n = 0;
    return c->in.n || (ioctl(c->fd, FIONREAD, &n) == 0 && n > 0);
}

static void check_times(sr_conn *c, uint64_t now)
{
    const sr_httpcfg *cfg = &c->hd->cfg;
    uint32_t grace = c->hd->draining ? GRACE_MS : UINT32_MAX; /* from the stop on, or from when it came */
    uint64_t since = SR_MAX(c->since_ns, c->hd->drain_ns);
    if (sr_http_backlog(c) && older(now, c->progress_ns, cfg->write_ms)) {
        c->hd->slow++;
        sr_http_drop(c);
    } else if (c->shaking) {
        if (older(now, since, SR_MIN(cfg->head_ms, grace))) {
            c->hd->unshaken++;
            sr_http_drop(c);
        }
    } else if (c->state == ST_HEAD && !sr_http_backlog(c)) {
        if (c->scanned && older(now, c->since_ns, cfg->head_ms))
            sr_conn_fault(c, 408, "the request head took too long");
        else if (!c->scanned && older(now, since, SR_MIN(cfg->idle_ms, grace)) && !has_sent(c)) /* what came in this very turn is read yet */
            sr_http_drop(c);
    } else if (c->state == ST_BODY) {
        if (older(now, c->progress_ns, cfg->body_ms) || older(now, c->since_ns, cfg->request_ms))
            sr_conn_fault(c, 408, "the request body took too long");
    } else if (c->state == ST_WORK) {
        c->hd->app.tick(c->hd->app.app, c, now);
    } else if (c->state == ST_LINGER && older(now, c->since_ns, LINGER_MS)) {
        sr_http_drop(c);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    sr_httpd *hd  = arg;
    uint64_t  now = sr_httpd_now(hd);
    if (hd->accept_again_ns && now >= hd->accept_again_ns) {
        hd->accept_again_ns = 0;
        sr_listen_pause(hd, false);
    }
    for (sr_conn *c = hd->conns, *next; c; c = next) {
        next = c->next;
        check_times(c, now);
    }
}

/* ---- open and close ------------------------------------------------------------------------------------ */

sr_conn *sr_conn_new(sr_httpd *hd, int fd, const sr_peer *peer)
{
    sr_conn *c = sr_calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return NULL;
    }
    /* Answers are written whole, so Nagle only delays; a small kernel buffer makes slow readers visible early;
     * keep-alive probes and the user timeout find peers that vanished without a word. */
    int one = 1, idle = 60, gap = 15, probes = 4, sndbuf = SEND_BUFFER, dead_ms = 120000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &gap, sizeof gap);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof sndbuf);
    c->hd    = hd;
    c->fd    = fd;
    c->peer  = *peer;
    c->minor = 1;
    event_assign(&c->ev_read, hd->base, fd, EV_READ | EV_PERSIST, on_read, c);
    event_assign(&c->ev_write, hd->base, fd, EV_WRITE, on_write, c);
    if ((hd->cfg.tls && !sr_conn_secure(c)) || event_add(&c->ev_read, NULL)) {
        sr_conn_io_end(c);
        sr_free(c);
        return NULL;
    }
    set_state(c, ST_HEAD);
    c->next = hd->conns;
    if (c->next)
        c->next->prev = c;
    hd->conns = c;
    hd->n_conn++;
    return c;
}

static sr_status start_tick(sr_httpd *hd, sr_err *err)
{
    const sr_httpcfg *g = &hd->cfg;
    uint32_t least = SR_MIN(SR_MIN(SR_MIN(g->head_ms, g->body_ms), SR_MIN(g->idle_ms, g->write_ms)), g->request_ms);
    uint32_t ms = SR_MAX(10u, SR_MIN(250u, least / 8));
    struct timeval tv = {ms / 1000, (long)(ms % 1000) * 1000};
    hd->tick = event_new(hd->base, -1, EV_PERSIST, on_tick, hd);
    if (!hd->tick || event_add(hd->tick, &tv))
        return sr_raise(err, SR_NOMEM, "host: a timer");
    return SR_OK;
}

sr_status sr_httpd_open(struct event_base *base, const sr_httpcfg *cfg, const sr_httpapp *app, sr_httpd **out, sr_err *err)
{
    sr_httpd *hd = sr_calloc(1, sizeof *hd);
    if (!hd)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for an HTTP server", sizeof *hd);
    hd->base = base;
    hd->cfg  = *cfg;
    hd->app  = *app;
    if (getrandom(&hd->peers.key, sizeof hd->peers.key, 0) != (ssize_t)sizeof hd->peers.key) {
        sr_raise(err, SR_IO, "getrandom: %s", strerror(errno));
        goto fail;
    }
    if (sr_listen(hd, err) || start_tick(hd, err))
        goto fail;
    *out = hd;
    return SR_OK;
fail:
    sr_httpd_close(hd);
    return err->status;
}

void sr_httpd_close(sr_httpd *hd)
{
    if (!hd)
        return;
    sr_listen_close(hd);
    while (hd->conns)
        sr_http_drop(hd->conns);
    while (hd->dead) {
        sr_conn *c = hd->dead;
        hd->dead = c->next;
        conn_free(c);
    }
    if (hd->tick)
        event_free(hd->tick);
    sr_peers_end(&hd->peers);
    sr_free(hd);
}

/* Who has connected or asked already gets an answer, if only that the server is going: a connection that the kernel took for
 * us, or that was never used, has GRACE_MS to say what it wants.  Kept connections that say nothing are closed. */
void sr_httpd_drain(sr_httpd *hd)
{
    sr_listen_empty(hd);
    sr_listen_close(hd);
    hd->accepting = false;
    hd->accept_again_ns = 0;
    hd->draining = true;
    hd->drain_ns = sr_now_ns();
    for (sr_conn *c = hd->conns, *next; c; c = next) {
        next = c->next;
        if (c->state == ST_HEAD && c->status && !sr_http_backlog(c) && !has_sent(c))
            sr_http_drop(c);
    }
}

uint32_t sr_httpd_busy(const sr_httpd *hd)
{
    uint32_t n = 0;
    for (const sr_conn *c = hd->conns; c; c = c->next)
        n += c->state != ST_LINGER;
    return n;
}

uint16_t sr_httpd_port(const sr_httpd *hd) { return hd->port; }
uint32_t sr_httpd_conns(const sr_httpd *hd) { return hd->n_conn; }
uint64_t sr_httpd_refused(const sr_httpd *hd) { return hd->refused; }
uint64_t sr_httpd_handshakes(const sr_httpd *hd) { return hd->handshakes; }
uint64_t sr_httpd_unshaken(const sr_httpd *hd) { return hd->unshaken; }
uint64_t sr_httpd_slow(const sr_httpd *hd) { return hd->slow; }
bool     sr_http_streaming(const sr_conn *c) { return c->streaming; }
void    *sr_http_user(const sr_conn *c) { return c->user; }
void     sr_http_set_user(sr_conn *c, void *user) { c->user = user; }
const char *sr_http_id(const sr_conn *c) { return c->id; }
uint64_t sr_http_started(const sr_conn *c) { return c->started_ns; }

const char *sr_http_trace(const sr_conn *c) { return c->trace; }
void *sr_http_note(sr_conn *c) { return c->note; }

void sr_http_set_trace(sr_conn *c, const char *trace, size_t n)
{
    n = SR_MIN(n, (size_t)ID_BYTES);
    memcpy(c->trace, trace, n);
    c->trace[n] = 0;
}

void sr_http_set_id(sr_conn *c, const char *id, size_t n)
{
    n = SR_MIN(n, (size_t)ID_BYTES);
    memcpy(c->id, id, n);
    c->id[n] = 0;
}
