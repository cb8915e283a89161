/* http_listen.c - listening sockets and the limits on who may connect. */
#include "serve/http_internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"

enum { ACCEPTS_PER_TURN = 64, TURNS_AT_THE_END = 128, REST_MS = 100, LAST_MS = 5, LAST_WAITS = 20 };

/* Too many connections in all, or from this address: the first few of those are told so, the rest just closed; with TLS all of
 * them, for being told would cost a handshake. */
static void admit(sr_httpd *hd, int fd, const struct sockaddr *from)
{
    sr_peer peer = sr_peer_of(from);
    bool over = hd->n_conn - hd->n_refused_open >= hd->cfg.conns, full = false;
    bool counted = !over && sr_peers_add(&hd->peers, peer, hd->cfg.conns_per_ip, &full);
    hd->refused += !counted;
    if (counted || (!hd->cfg.tls && hd->n_refused_open < REFUSED_AT_ONCE)) {
        sr_conn *c = sr_conn_new(hd, fd, &peer);
        if (c) {
            c->counted = counted;
            if (!counted)
                sr_conn_refuse(c, full ? 429 : 503, full ? "too many connections from this address" : "too many connections");
            return;
        }
        if (counted)
            sr_peers_sub(&hd->peers, peer);
    } else {
        close(fd);
    }
}

/* False: nobody more stands in the queue, or nobody can be taken now. */
static bool accept_some(sr_httpd *hd, int fd)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage from = {0};
        socklen_t n = sizeof from;
        int s = sr_fault(SR_FAULT_ACCEPT) ? (errno = EMFILE, -1) : accept4(fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (s >= 0) {
            admit(hd, s, (const struct sockaddr *)&from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays in the kernel's queue and the listener readable: without a rest this
             * would spin. */
            sr_listen_pause(hd, true);
            hd->accept_again_ns = sr_httpd_now(hd) + REST_MS * 1000000u;
            return false;
        } else if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
            return false;
        }
    }
    return true;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    accept_some(arg, fd);
}

/* From here on nobody new begins to connect: segments with SYN and without ACK are dropped.  Who has begun may end: closing a
 * listener resets whoever is between the last accept() and close(), or waits for its third segment.  What is dropped is sent
 * again by the client's system after a second, and refused. */
static void deafen(int fd)
{
    enum { TCP_FLAGS = 13, SYN = 0x02, ACK = 0x10 };
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, UINT32_MAX)};
    struct sock_fprog  prog   = {.len = sizeof code / sizeof *code, .filter = code};
    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog); /* a kernel without filters: as before, a few may be reset */
}

void sr_listen_empty(sr_httpd *hd)
{
    struct pollfd p[LISTENERS];
    for (uint32_t i = 0; i < hd->n_listener; i++) {
        deafen(hd->listener[i].fd);
        p[i] = (struct pollfd){.fd = hd->listener[i].fd, .events = POLLIN};
    }
    for (int wait = 0; wait < LAST_WAITS; wait++) {
        for (uint32_t i = 0; i < hd->n_listener; i++)
            for (int turn = 0; turn < TURNS_AT_THE_END && accept_some(hd, hd->listener[i].fd); turn++)
                ;
        if (poll(p, hd->n_listener, LAST_MS) <= 0)
            return;
    }
}

void sr_listen_pause(sr_httpd *hd, bool pause)
{
    for (uint32_t i = 0; i < hd->n_listener && hd->accepting == pause; i++) {
        if (pause)
            event_del(hd->listener[i].ev);
        else
            event_add(hd->listener[i].ev, NULL);
    }
    hd->accepting = !pause;
}

static int listen_on(sr_httpd *hd, struct addrinfo *a)
{
    if (hd->port && a->ai_family == AF_INET) /* all addresses of one name share the first one's free port */
        ((struct sockaddr_in *)a->ai_addr)->sin_port = htons(hd->port);
    else if (hd->port && a->ai_family == AF_INET6)
        ((struct sockaddr_in6 *)a->ai_addr)->sin6_port = htons(hd->port);
    int one = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, 4096))
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n))
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
}

sr_status sr_listen(sr_httpd *hd, sr_err *err)
{
    const char *host = hd->cfg.host ? hd->cfg.host : "127.0.0.1";
    char port[8];
    snprintf(port, sizeof port, "%u", hd->cfg.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *all = NULL;
    int e = getaddrinfo(host, port, &hints, &all), cause = 0;
    if (e)
        return sr_raise(err, SR_IO, "cannot listen on %s:%s: %s", host, port, gai_strerror(e));
    for (struct addrinfo *a = all; a && hd->n_listener < LISTENERS; a = a->ai_next) {
        int fd = listen_on(hd, a);
        if (fd < 0) {
            cause = cause ? cause : errno;
            continue;
        }
        struct event *ev = event_new(hd->base, fd, EV_READ | EV_PERSIST, on_accept, hd);
        if (!ev || event_add(ev, NULL)) {
            if (ev)
                event_free(ev);
            close(fd);
            cause = ENOMEM;
            continue;
        }
        hd->listener[hd->n_listener].fd   = fd;
        hd->listener[hd->n_listener++].ev = ev;
        hd->port = port_of(fd);
    }
    freeaddrinfo(all);
    hd->accepting = true;
    return hd->n_listener ? SR_OK : sr_raise(err, SR_IO, "cannot listen on %s:%s: %s", host, port, strerror(cause));
}

void sr_listen_close(sr_httpd *hd)
{
    while (hd->n_listener) {
        hd->n_listener--;
        event_free(hd->listener[hd->n_listener].ev);
        close(hd->listener[hd->n_listener].fd);
    }
}
