/* bench_url_net.c - see bench_url_net.h. */
#include "app/bench_url_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/mem.h"

/* ---- where ------------------------------------------------------------------------------------------------- */

static sr_status bad_url(const char *url, const char *why, sr_err *err)
{
    char shown[120];
    return sr_raise(err, SR_INVALID, "\"%s\": %s; a URL is http://HOST[:PORT][/PATH]", sr_escape(shown, sizeof shown, url, strlen(url)), why);
}

/* HOST, HOST:PORT, [V6], [V6]:PORT in p[0..n). */
static const char *take_host(const char *p, size_t n, sr_nettarget *t)
{
    const char *end = p + n, *colon;
    if (n && *p == '[') {
        const char *close = memchr(p, ']', n);
        if (!close)
            return "no ] behind the address";
        colon = close + 1 < end ? close + 1 : NULL;
        if (colon && *colon != ':')
            return "something between the address and the port";
        snprintf(t->host, sizeof t->host, "%.*s", (int)SR_MIN((size_t)(close - p - 1), sizeof t->host), p + 1);
    } else {
        colon = memchr(p, ':', n);
        size_t k = colon ? (size_t)(colon - p) : n;
        if (k >= sizeof t->host)
            return "a host of more than 255 bytes";
        snprintf(t->host, sizeof t->host, "%.*s", (int)k, p);
    }
    if (!t->host[0])
        return "no host";
    snprintf(t->port, sizeof t->port, "%s", t->tls ? "443" : "80");
    if (!colon)
        return NULL;
    unsigned v = 0;
    size_t   digits = (size_t)(end - colon - 1);
    for (const char *d = colon + 1; d < end; d++) {
        if (*d < '0' || *d > '9' || digits > 5)
            return "the port is not a number";
        v = v * 10 + (unsigned)(*d - '0');
    }
    if (v == 0 || v > 65535)
        return "a port is 1 to 65535";
    snprintf(t->port, sizeof t->port, "%u", v);
    return NULL;
}

sr_status sr_net_parse(const char *url, sr_nettarget *t, sr_err *err)
{
    *t = (sr_nettarget){0};
    for (const char *c = url; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
            return bad_url(url, "a blank or a character that is not ASCII", err);
    if (strncasecmp(url, "https://", 8) == 0)
        t->tls = true;
    else if (strncasecmp(url, "http://", 7) != 0)
        return bad_url(url, "it begins with neither http:// nor https://", err);
    const char *p = url + (t->tls ? 8 : 7);
    size_t      n = strcspn(p, "/?#");
    if (memchr(p, '@', n))
        return bad_url(url, "a user before the host is not supported (--api-key)", err);
    const char *why = take_host(p, n, t);
    if (why)
        return bad_url(url, why, err);
    snprintf(t->at, sizeof t->at, "%.*s", (int)SR_MIN(n, sizeof t->at - 1), p);
    p += n;
    n = strlen(p);
    if (strpbrk(p, "?#"))
        return bad_url(url, "a query or a fragment", err);
    while (n && p[n - 1] == '/')
        n--;
    if (n >= sizeof t->base)
        return bad_url(url, "a path of more than 511 bytes", err);
    if (n)
        snprintf(t->base, sizeof t->base, "%.*s", (int)n, p);
    else
        snprintf(t->base, sizeof t->base, "/v1");
    return SR_OK;
}

static sr_status open_tls(sr_nettarget *t, const sr_netcfg *cfg, sr_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    t->ctx = ctx;
    if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) || (!cfg->insecure && !SSL_CTX_set_default_verify_paths(ctx)))
        return sr_raise(err, SR_NOMEM, "OpenSSL: no context for TLS");
    SSL_CTX_set_verify(ctx, cfg->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return SR_OK;
}

static bool takes(const struct addrinfo *a)
{
    struct timeval patience = {3, 0}; /* of connect(), on Linux */
    int  fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) && connect(fd, a->ai_addr, a->ai_addrlen) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

sr_status sr_net_open(const char *url, const sr_netcfg *cfg, sr_nettarget *t, sr_err *err)
{
    if (sr_net_parse(url, t, err))
        return err->status;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *all = NULL;
    int e = getaddrinfo(t->host, t->port, &hints, &all);
    if (e)
        return sr_raise(err, SR_IO, "%s: %s", t->host, gai_strerror(e));
    /* The first address that takes a connection: "localhost" is often ::1 first, and servers often listen on 127.0.0.1 alone. */
    struct addrinfo *a = all;
    while (a->ai_next && !takes(a))
        a = a->ai_next;
    memcpy(&t->addr, a->ai_addr, a->ai_addrlen);
    t->addr_len = a->ai_addrlen;
    freeaddrinfo(all);
    return t->tls ? open_tls(t, cfg, err) : SR_OK;
}

void sr_net_close(sr_nettarget *t)
{
    SSL_CTX_free(t->ctx);
    *t = (sr_nettarget){0};
}

/* ---- one connection ---------------------------------------------------------------------------------------- */

static sr_netverdict failed(sr_netconn *c, int e)
{
    snprintf(c->why, sizeof c->why, "%s", strerror(e));
    return SR_NET_FAIL;
}

static sr_netverdict tls_verdict(sr_netconn *c, int ret)
{
    int           e = SSL_get_error(c->ssl, ret), sys = errno;
    unsigned long code;
    switch (e) {
    case SSL_ERROR_WANT_READ: return SR_NET_READ;
    case SSL_ERROR_WANT_WRITE: return SR_NET_WRITE;
    case SSL_ERROR_ZERO_RETURN: return SR_NET_END;
    case SSL_ERROR_SYSCALL: return sys ? failed(c, sys) : SR_NET_END;
    default: break;
    }
    code      = ERR_get_error();
    long peer = SSL_get_verify_result(c->ssl);
    if (!c->shaken && peer != X509_V_OK)
        snprintf(c->why, sizeof c->why, "certificate: %s (--insecure takes any)", X509_verify_cert_error_string(peer));
    else if (!c->shaken && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
        snprintf(c->why, sizeof c->why, "what answers there does not speak TLS: is it http?");
    else
        snprintf(c->why, sizeof c->why, "%s", ERR_reason_error_string(code) ? ERR_reason_error_string(code) : "TLS failed");
    return SR_NET_FAIL;
}

static bool tls_begin(const sr_nettarget *t, sr_netconn *c)
{
    unsigned char ip[16];
    SSL *ssl = SSL_new(t->ctx);
    c->ssl = ssl;
    if (!ssl || !SSL_set_fd(ssl, c->fd))
        return false;
    bool numeric = inet_pton(AF_INET, t->host, ip) == 1 || inet_pton(AF_INET6, t->host, ip) == 1;
    if (numeric ? !X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), t->host)
                : !SSL_set1_host(ssl, t->host) || !SSL_set_tlsext_host_name(ssl, t->host))
        return false;
    SSL_set_connect_state(ssl);
    return true;
}

sr_netverdict sr_net_connect(const sr_nettarget *t, sr_netconn *c)
{
    int one = 1;
    *c = (sr_netconn){.fd = socket(t->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (c->fd < 0)
        return failed(c, errno);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (const struct sockaddr *)&t->addr, t->addr_len) && errno != EINPROGRESS)
        return failed(c, errno);
    if (t->tls && !tls_begin(t, c)) {
        snprintf(c->why, sizeof c->why, "OpenSSL: no session");
        return SR_NET_FAIL;
    }
    return SR_NET_WRITE;
}

/* A port of this machine where nobody listens may be given to the very connection that asks for it, which then talks to itself. */
static bool is_itself(int fd)
{
    struct sockaddr_in6 a = {0}, b = {0};
    socklen_t           n = sizeof a, m = sizeof b;
    return getsockname(fd, (struct sockaddr *)&a, &n) == 0 && getpeername(fd, (struct sockaddr *)&b, &m) == 0 && n == m && memcmp(&a, &b, n) == 0;
}

sr_netverdict sr_net_connected(sr_netconn *c)
{
    int       e = 0;
    socklen_t n = sizeof e;
    if (c->shaken)
        return SR_NET_OK;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n) || e)
        return failed(c, e ? e : errno);
    if (is_itself(c->fd))
        return failed(c, ECONNREFUSED);
    if (c->ssl) {
        ERR_clear_error();
        int ret = SSL_do_handshake(c->ssl);
        if (ret != 1) {
            sr_netverdict v = tls_verdict(c, ret);
            if (v == SR_NET_END)
                snprintf(c->why, sizeof c->why, "closed within the TLS handshake");
            return v == SR_NET_END ? SR_NET_FAIL : v;
        }
    }
    c->shaken = true;
    return SR_NET_OK;
}

sr_netverdict sr_net_read(sr_netconn *c, char *p, size_t cap, size_t *n)
{
    if (c->ssl) {
        ERR_clear_error();
        errno   = 0;
        int ret = SSL_read_ex(c->ssl, p, cap, n);
        return ret == 1 ? SR_NET_OK : tls_verdict(c, ret);
    }
    ssize_t got;
    do
        got = recv(c->fd, p, cap, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? SR_NET_READ : failed(c, errno);
    *n = (size_t)got;
    return got ? SR_NET_OK : SR_NET_END;
}

sr_netverdict sr_net_write(sr_netconn *c, const char *p, size_t len, size_t *n)
{
    if (c->ssl) {
        ERR_clear_error();
        errno   = 0;
        int ret = SSL_write_ex(c->ssl, p, len, n);
        return ret == 1 ? SR_NET_OK : tls_verdict(c, ret);
    }
    ssize_t put;
    do
        put = send(c->fd, p, len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? SR_NET_WRITE : failed(c, errno);
    *n = (size_t)put;
    return SR_NET_OK;
}

void sr_net_drop(sr_netconn *c)
{
    SSL_free(c->ssl);
    if (c->fd >= 0)
        close(c->fd);
    *c = (sr_netconn){.fd = -1};
}
