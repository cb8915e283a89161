#include "serve/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

struct sr_tls {
    char           *cert_file, *key_file;
    BIO_METHOD     *socket;
    pthread_mutex_t lock;   /* of ctx and expires: sessions begin on one thread, reload() comes from another */
    SSL_CTX        *ctx;
    int64_t         expires;
};
struct sr_tlsio {
    SSL *ssl;
    int  fd;
    bool eof, broken, begun;
};

/* ---- the socket, as OpenSSL sees it ------------------------------------------------------------------------ */

/* OpenSSL's own socket BIO writes with write(2): a client that is gone would be SIGPIPE. */
static int socket_write(BIO *b, const char *p, int n)
{
    const sr_tlsio *io = BIO_get_data(b);
    ssize_t k;
    BIO_clear_retry_flags(b);
    while ((k = send(io->fd, p, (size_t)n, MSG_NOSIGNAL)) < 0 && errno == EINTR)
        ;
    if (k < 0 && errno == EAGAIN)
        BIO_set_retry_write(b);
    return (int)k;
}

static int socket_read(BIO *b, char *p, int n)
{
    sr_tlsio *io = BIO_get_data(b);
    ssize_t   k;
    BIO_clear_retry_flags(b);
    while ((k = recv(io->fd, p, (size_t)n, 0)) < 0 && errno == EINTR)
        ;
    if (k < 0 && errno == EAGAIN)
        BIO_set_retry_read(b);
    io->eof |= k == 0;
    return (int)k;
}

static long socket_ctrl(BIO *b, int cmd, long arg, void *p)
{
    (void)b, (void)arg, (void)p;
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static BIO_METHOD *socket_method(void)
{
    int         type = BIO_get_new_index();
    BIO_METHOD *m = type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "socket of strata");
    if (m && BIO_meth_set_write(m, socket_write) && BIO_meth_set_read(m, socket_read) && BIO_meth_set_ctrl(m, socket_ctrl))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* ---- certificate and key ----------------------------------------------------------------------------------- */

/* OpenSSL's last word on what went wrong; its queue is empty afterwards. */
static const char *reason(void)
{
    const char *r = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return r ? r : "unknown error";
}

/* The default asks at the terminal, which a service has not got. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
    (void)buf, (void)size, (void)rwflag;
    *(bool *)arg = true;
    return 0;
}

/* Only HTTP/1.1 is spoken here.  Who offers protocols, and not that one, is told so by the alert of RFC 7301. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n_out, const unsigned char *in, unsigned n, void *arg)
{
    static const unsigned char http[] = "http/1.1";
    (void)ssl, (void)arg;
    for (unsigned i = 0; i < n && i + 1 + in[i] <= n; i += 1u + in[i])
        if (in[i] == sizeof http - 1 && !memcmp(in + i + 1, http, sizeof http - 1)) {
            *out   = in + i + 1;
            *n_out = in[i];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A file that is not there or may not be read: errno's word, which OpenSSL's error does not have. */
static sr_status readable(const char *path, bool secret, sr_err *err)
{
    struct stat st;
    FILE *f = fopen(path, "re");
    if (!f)
        return sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    if (secret && !fstat(fileno(f), &st) && (st.st_mode & S_IROTH))
        sr_log(SR_LOG_WARN, "%s: a private key that everybody may read (mode %04o)", path, (unsigned)(st.st_mode & 07777));
    fclose(f);
    return SR_OK;
}

static sr_status load_files(const sr_tls *t, SSL_CTX *ctx, sr_err *err)
{
    bool asked = false;
    if (readable(t->cert_file, false, err) || readable(t->key_file, true, err))
        return err->status;
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
    if (SSL_CTX_use_certificate_chain_file(ctx, t->cert_file) != 1)
        return sr_raise(err, SR_INVALID, "%s: no certificate that can be used: %s", t->cert_file, reason());
    bool key_ok = SSL_CTX_use_PrivateKey_file(ctx, t->key_file, SSL_FILETYPE_PEM) == 1;
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    if (asked)
        return ERR_clear_error(), sr_raise(err, SR_INVALID, "%s: the key has a passphrase; only keys without can be used", t->key_file);
    if (!key_ok && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_TYPE_MISMATCH)
        return sr_raise(err, SR_INVALID, "%s: no private key that can be used: %s", t->key_file, reason());
    if (!key_ok || SSL_CTX_check_private_key(ctx) != 1)
        return ERR_clear_error(), sr_raise(err, SR_INVALID, "%s: not the key of the certificate in %s", t->key_file, t->cert_file);
    return SR_OK;
}

static int64_t expiry_of(SSL_CTX *ctx)
{
    struct tm tm;
    X509 *x = SSL_CTX_get0_certificate(ctx);
    return x && ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) ? (int64_t)timegm(&tm) : 0;
}

static sr_status make_ctx(const sr_tls *t, SSL_CTX **out, sr_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) ||
        !SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20")) { /* of TLS 1.2; those of 1.3 are all as good */
        sr_raise(err, SR_NOMEM, "host: a TLS context: %s", reason());
    } else {
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
        /* Moving: the out buffer of a connection grows between two tries.  Released: idle sessions keep no buffers. */
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets need no memory here */
        SSL_CTX_set_num_tickets(ctx, 1);
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
        load_files(t, ctx, err);
    }
    if (err->status) {
        SSL_CTX_free(ctx);
        return err->status;
    }
    *out = ctx;
    return SR_OK;
}

sr_status sr_tls_reload(sr_tls *t, sr_err *err)
{
    SSL_CTX *fresh = NULL, *old;
    if (make_ctx(t, &fresh, err))
        return err->status;
    int64_t expires = expiry_of(fresh);
    pthread_mutex_lock(&t->lock);
    old        = t->ctx;
    t->ctx     = fresh;
    t->expires = expires;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old); /* sessions of it hold it until they end */
    if (expires < (int64_t)time(NULL))
        sr_log(SR_LOG_WARN, "%s: the certificate has expired", t->cert_file);
    return SR_OK;
}

sr_status sr_tls_open(const char *cert_file, const char *key_file, sr_tls **out, sr_err *err)
{
    *out = NULL;
    sr_tls *t = sr_calloc(1, sizeof *t);
    if (!t)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a certificate", sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    t->cert_file = sr_strdup(cert_file);
    t->key_file  = sr_strdup(key_file);
    t->socket    = socket_method();
    if (!t->cert_file || !t->key_file || !t->socket)
        sr_raise(err, SR_NOMEM, "host: memory for a certificate");
    if (err->status || sr_tls_reload(t, err)) {
        sr_tls_close(t);
        return err->status;
    }
    *out = t;
    return SR_OK;
}

int64_t sr_tls_expires(sr_tls *t)
{
    pthread_mutex_lock(&t->lock);
    int64_t v = t->expires;
    pthread_mutex_unlock(&t->lock);
    return v;
}

void sr_tls_close(sr_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    BIO_meth_free(t->socket);
    pthread_mutex_destroy(&t->lock);
    sr_free(t->cert_file);
    sr_free(t->key_file);
    sr_free(t);
}

/* ---- sessions ---------------------------------------------------------------------------------------------- */

sr_tlsio *sr_tlsio_open(sr_tls *t, int fd)
{
    sr_tlsio *io = sr_calloc(1, sizeof *io);
    BIO      *b  = BIO_new(t->socket);
    pthread_mutex_lock(&t->lock);
    SSL *ssl = io && b ? SSL_new(t->ctx) : NULL;
    pthread_mutex_unlock(&t->lock);
    if (!ssl) {
        ERR_clear_error();
        BIO_free(b);
        sr_free(io);
        return NULL;
    }
    *io = (sr_tlsio){.ssl = ssl, .fd = fd};
    BIO_set_data(b, io);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    SSL_set_accept_state(ssl);
    return io;
}

void sr_tlsio_close(sr_tlsio *io)
{
    if (!io)
        return;
    SSL_free(io->ssl);
    sr_free(io);
}

/* What a call of OpenSSL meant that did not succeed. */
static sr_tlsverdict verdict(sr_tlsio *io, int rc)
{
    int e = SSL_get_error(io->ssl, rc);
    ERR_clear_error(); /* a word left in the queue would be taken for the next session's */
    if (e == SSL_ERROR_WANT_READ)
        return SR_TLS_READ;
    if (e == SSL_ERROR_WANT_WRITE)
        return SR_TLS_WRITE;
    if (e == SSL_ERROR_ZERO_RETURN)
        return SR_TLS_EOF;
    io->broken = true; /* SSL_shutdown() must not be called any more */
    return io->eof ? SR_TLS_EOF : SR_TLS_BROKEN;
}

sr_tlsverdict sr_tlsio_shake(sr_tlsio *io)
{
    if (!io->begun) { /* a TLS record begins with its type, 20 to 24; an HTTP request with a letter */
        char    first;
        ssize_t n = recv(io->fd, &first, 1, MSG_PEEK);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? SR_TLS_READ : SR_TLS_BROKEN;
        if (n == 0)
            return SR_TLS_EOF;
        if (first >= 'A' && first <= 'Z')
            return SR_TLS_PLAIN;
        io->begun = true;
    }
    int rc = SSL_do_handshake(io->ssl);
    return rc == 1 ? SR_TLS_OK : verdict(io, rc);
}

sr_tlsverdict sr_tlsio_read(sr_tlsio *io, char *p, size_t cap, size_t *n)
{
    int rc = SSL_read_ex(io->ssl, p, cap, n);
    return rc == 1 ? SR_TLS_OK : verdict(io, rc);
}

sr_tlsverdict sr_tlsio_write(sr_tlsio *io, const char *p, size_t len, size_t *n)
{
    int rc = SSL_write_ex(io->ssl, p, len, n);
    return rc == 1 ? SR_TLS_OK : verdict(io, rc);
}

size_t sr_tlsio_pending(const sr_tlsio *io) { return (size_t)SSL_pending(io->ssl); }

sr_tlsverdict sr_tlsio_bye(sr_tlsio *io)
{
    if (io->broken)
        return SR_TLS_BROKEN;
    int rc = SSL_shutdown(io->ssl);
    return rc >= 0 ? SR_TLS_OK : verdict(io, rc); /* 0: said; the other side has not answered, and need not */
}
