#include "serve/test_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "format/gguf.h"
#include "serve/http_parse.h"

static const char chatml[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                             "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* ---- TLS ------------------------------------------------------------------------------------------------- */

static void extend(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(x, e, -1), 1);
    X509_EXTENSION_free(e);
}

void tc_certificate(const char *cert_file, const char *key_file, const char *name, int days)
{
    char      san[128];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509     *x   = X509_new();
    assert_true(key && x);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), (uint64_t)(uintptr_t)x);
    X509_gmtime_adj(X509_getm_notBefore(x), -86400L * 30);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400L * days);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    snprintf(san, sizeof san, "DNS:%s,IP:127.0.0.1", name);
    extend(x, NID_basic_constraints, "critical,CA:TRUE");
    extend(x, NID_subject_alt_name, san);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(cert_file, "we");
    assert_true(f && PEM_write_X509(f, x) == 1 && !fclose(f));
    f = fopen(key_file, "we");
    assert_true(f && !chmod(key_file, 0600) && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && !fclose(f));
    X509_free(x);
    EVP_PKEY_free(key);
}

void tc_locked_key(const char *key_file, const char *locked_file)
{
    static const unsigned char word[] = "secret";
    FILE *f = fopen(key_file, "re");
    assert_non_null(f);
    EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    assert_non_null(key);
    f = fopen(locked_file, "we");
    assert_true(f && PEM_write_PrivateKey(f, key, EVP_aes_128_cbc(), word, sizeof word - 1, NULL, NULL) == 1 && !fclose(f));
    EVP_PKEY_free(key);
}

static struct { char dir[64], cert[96], key[96]; SSL_CTX *ctx; } tls; /* for the whole run */

static void tls_end(void)
{
    SSL_CTX_free(tls.ctx);
    unlink(tls.cert);
    unlink(tls.key);
    rmdir(tls.dir);
}

bool tc_tls(void) { return tls.ctx != NULL; }

void tc_use_tls(void)
{
    snprintf(tls.dir, sizeof tls.dir, "%s/strata-tls-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(tls.dir));
    snprintf(tls.cert, sizeof tls.cert, "%s/cert.pem", tls.dir);
    snprintf(tls.key, sizeof tls.key, "%s/key.pem", tls.dir);
    tc_certificate(tls.cert, tls.key, "localhost", 1);
    tls.ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(tls.ctx);
    SSL_CTX_clear_mode(tls.ctx, SSL_MODE_AUTO_RETRY); /* a ticket must not make a read wait for data behind it */
    SSL_CTX_set_options(tls.ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    assert_int_equal(SSL_CTX_load_verify_file(tls.ctx, tls.cert), 1);
    SSL_CTX_set_verify(tls.ctx, SSL_VERIFY_PEER, NULL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's sockets write with write(2) */
    atexit(tls_end);
}

void tc_trust(const char *cert_file) { assert_int_equal(SSL_CTX_load_verify_file(tls.ctx, cert_file), 1); }

void tc_shake(tc_conn *c)
{
    if (!tls.ctx)
        return;
    c->ssl = SSL_new(tls.ctx);
    assert_non_null(c->ssl);
    assert_int_equal(SSL_set_fd(c->ssl, c->fd), 1);
    if (SSL_connect(c->ssl) != 1) { /* the server may have closed: it says nothing then */
        ERR_clear_error();
        SSL_free(c->ssl);
        c->ssl = NULL;
    }
}

static void must(sr_status st, const sr_err *err)
{
    if (st)
        fail_msg("%s", err->msg);
}

static void *io_thread(void *arg)
{
    tc_server *s = arg;
    sr_err err = {0};
    if (sr_serve_run(s->serve, &err))
        print_error("run: %s\n", err.msg);
    return NULL;
}

void tc_ready(tc_server *s)
{
    sr_err err = {0};
    sr_servemodel m = {.port = s->port, .tok = s->tok, .chat = s->tmpl, .chat_source = s->template_source ? s->template_source : chatml, .ctx = s->ctx ? s->ctx : 2048, .arch = "null", .ram = "coded", .fallback = s->fallback, .gpu_uuid = s->gpu_uuid, .n_embd = s->null.width};
    must(sr_serve_ready(s->serve, &m, &err), &err);
    for (int i = 0; i < 6000; i++) {
        tc_reply r = {0};
        tc_ask(s, "GET", "/health", NULL, NULL, &r);
        int status = r.status;
        tc_reply_end(&r);
        if (status == 200)
            return;
        usleep(10000);
    }
    fail_msg("the server did not become ready");
}

void tc_start(tc_server *s)
{
    sr_err   err = {0};
    sr_gguf *g   = NULL;
    const char *src = s->template_source ? s->template_source : chatml;
    must(sr_gguf_open("models/strata-demo-base-Q4_K_M.gguf", &g, &err), &err);
    must(sr_tokenizer_open(g, &s->tok, &err), &err);
    sr_gguf_close(g);
    if (!s->no_template)
        must(sr_template_compile(src, strlen(src), &s->tmpl, &err), &err);
    const char *text = s->text ? s->text : "One two three. Gr\xc3\xbc\xc3\x9f" "e, \xe4\xb8\x96\xe7\x95\x8c! \xf0\x9f\x98\x80 And that is all there is to say.";
    must(sr_tokenizer_encode(s->tok, text, strlen(text), s->control_text ? SR_TOK_PARSE_SPECIAL : 0, &s->ids, &err), &err);
    must(sr_port_open(NULL, &s->port, &err), &err);
    s->null.tok   = s->ids.p;
    s->null.n_tok = (uint32_t)s->ids.n;
    s->null.ctx   = s->ctx ? s->ctx : 2048;
    must(sr_null_open(s->port, &s->null, &s->engine, &err), &err);
    if (tls.cert[0] && !s->cfg.tls_cert) {
        s->cfg.tls_cert = tls.cert;
        s->cfg.tls_key  = tls.key;
    }
    if (!s->cfg.model_id)
        s->cfg.model_id = "strata/test";
    must(sr_serve_open(&s->cfg, &s->serve, &err), &err);
    s->at = sr_serve_port(s->serve);
    assert_int_equal(pthread_create(&s->thread, NULL, io_thread, s), 0);
    if (!s->not_ready)
        tc_ready(s);
}

void tc_stop(tc_server *s)
{
    if (!s->stopped)
        sr_serve_stop(s->serve);
    pthread_join(s->thread, NULL);
    sr_serve_close(s->serve);
    sr_null_close(s->engine);
    sr_port_close(s->port);
    sr_template_close(s->tmpl);
    sr_tokenizer_close(s->tok);
    sr_ids_end(&s->ids);
}

/* ---- client ---------------------------------------------------------------------------------------------- */

void tc_dial(tc_conn *c, uint16_t port)
{
    *c = (tc_conn){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(c->fd >= 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&a, sizeof a), 0);
    int one = 1; /* a handshake and a request are small writes in a row: each would wait for the other side's delayed ACK */
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void tc_open(tc_conn *c, uint16_t port)
{
    tc_dial(c, port);
    tc_shake(c);
}

void tc_close(tc_conn *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    sr_buf_end(&c->in);
}

void tc_reset(tc_conn *c)
{
    struct linger l = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    tc_close(c);
}

void tc_send(tc_conn *c, const char *p, size_t n)
{
    while (n) {
        ssize_t k = c->ssl ? SSL_write(c->ssl, p, (int)SR_MIN(n, (size_t)1 << 20)) : send(c->fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return; /* the server may have closed: what it said is read afterwards */
        p += k;
        n -= (size_t)k;
    }
}

void tc_say(tc_conn *c, const char *s) { tc_send(c, s, strlen(s)); }

bool tc_more(tc_conn *c, int timeout_ms)
{
    char buf[65536];
    struct pollfd f = {.fd = c->fd, .events = POLLIN};
    for (;;) {
        if (!(c->ssl && SSL_pending(c->ssl)) && poll(&f, 1, timeout_ms) != 1)
            return false;
        ssize_t n = c->ssl ? SSL_read(c->ssl, buf, sizeof buf) : recv(c->fd, buf, sizeof buf, 0);
        if (n > 0)
            return sr_buf_add(&c->in, buf, (size_t)n);
        if (!c->ssl || SSL_get_error(c->ssl, (int)n) != SSL_ERROR_WANT_READ)
            return false;
    }
}

bool tc_until(tc_conn *c, const char *text, int timeout_ms)
{
    while (!c->in.n || !memmem(c->in.p, c->in.n, text, strlen(text)))
        if (!tc_more(c, timeout_ms))
            return false;
    return true;
}

const char *tc_header(const tc_reply *r, const char *name, char *out, size_t cap)
{
    size_t n = strlen(name);
    for (const char *p = strstr(r->head.p, "\r\n"); p && p[2] && p[2] != '\r'; p = strstr(p + 2, "\r\n")) {
        if (strncasecmp(p + 2, name, n) || p[2 + n] != ':')
            continue;
        const char *v = p + 3 + n + strspn(p + 3 + n, " ");
        snprintf(out, cap, "%.*s", (int)strcspn(v, "\r"), v);
        return out;
    }
    return NULL;
}

static bool read_body(tc_conn *c, tc_reply *r)
{
    char v[64];
    sr_chunked k = {0};
    size_t used = 0, want = 0;
    r->chunked = tc_header(r, "Transfer-Encoding", v, sizeof v) != NULL;
    r->close   = tc_header(r, "Connection", v, sizeof v) && !strcmp(v, "close");
    bool sized = tc_header(r, "Content-Length", v, sizeof v) != NULL;
    if (sized)
        want = strtoul(v, NULL, 10);
    if (r->status == 204 || r->status == 304 || r->no_body)
        return true;
    for (;;) {
        if (r->chunked) {
            sr_httpverdict s = sr_chunked_feed(&k, c->in.p, c->in.n, (size_t)1 << 40, &used, &r->body);
            assert_true(s != SR_HTTP_BAD);
            sr_buf_drop(&c->in, used);
            if (s == SR_HTTP_DONE)
                return true;
        } else if (sized && c->in.n >= want) {
            sr_buf_add(&r->body, c->in.p, want);
            sr_buf_drop(&c->in, want);
            return true;
        }
        if (!tc_more(c, 10000)) {
            if (!sized && !r->chunked)
                sr_buf_add(&r->body, c->in.p, c->in.n);
            return !sized && !r->chunked;
        }
    }
}

void tc_reply_read(tc_conn *c, tc_reply *r)
{
    *r = (tc_reply){.no_body = r->no_body};
    do {
        sr_buf_end(&r->head);
        if (!tc_until(c, "\r\n\r\n", 10000))
            return;
        size_t n = (size_t)((char *)memmem(c->in.p, c->in.n, "\r\n\r\n", 4) - c->in.p) + 4;
        sr_buf_add(&r->head, c->in.p, n);
        sr_buf_drop(&c->in, n);
        assert_memory_equal(r->head.p, "HTTP/1.1 ", 9);
        r->status = (int)strtol(r->head.p + 9, NULL, 10);
    } while (r->status == 100);
    sr_buf_add(&r->body, "", 0);
    if (!read_body(c, r))
        r->status = 0;
}

void tc_reply_end(tc_reply *r)
{
    sr_buf_end(&r->head);
    sr_buf_end(&r->body);
}

void tc_ask(tc_server *s, const char *method, const char *path, const char *headers, const char *body, tc_reply *r)
{
    tc_conn c;
    sr_buf  q = {0};
    tc_open(&c, s->at);
    sr_buf_fmt(&q, "%s %s HTTP/1.1\r\nHost: t\r\n%s", method, path, headers ? headers : "");
    if (body)
        sr_buf_fmt(&q, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    sr_buf_str(&q, "\r\n");
    if (body)
        sr_buf_str(&q, body);
    tc_send(&c, q.p, q.n);
    r->no_body = !strcmp(method, "HEAD");
    tc_reply_read(&c, r);
    sr_buf_end(&q);
    tc_close(&c);
}

json_t *tc_post(tc_server *s, const char *path, const char *body, int status)
{
    tc_reply r = {0};
    json_error_t e;
    tc_ask(s, "POST", path, NULL, body, &r);
    if (r.status != status)
        fail_msg("status %d, expected %d, for %.300s: %.400s", r.status, status, body, r.body.p ? r.body.p : "");
    json_t *j = json_loadb(r.body.p, r.body.n, 0, &e);
    if (!j)
        fail_msg("not JSON (%s): %.300s", e.text, r.body.p);
    tc_reply_end(&r);
    return j;
}

char *tc_json(const char *fmt, ...)
{
    char    s[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(s, sizeof s, fmt, ap);
    va_end(ap);
    assert_true(n >= 0 && (size_t)n < sizeof s);
    for (char *p = s; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    char *copy = sr_strdup(s);
    assert_non_null(copy);
    return copy;
}

json_t *tc_put(tc_server *s, const char *path, int status, const char *body)
{
    char   *b = tc_json("%s", body);
    json_t *j = tc_post(s, path, b, status);
    sr_free(b);
    return j;
}

/* One event: lines "event: name" (perhaps) and "data: json". */
static void read_event(const char *p, const char *end, tc_stream *v)
{
    json_error_t e;
    assert_true(v->n < 600);
    v->name[v->n] = NULL;
    if (!strncmp(p, "event: ", 7)) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        assert_non_null(eol);
        v->name[v->n] = sr_strndup(p + 7, (size_t)(eol - p - 7));
        p = eol + 1;
    }
    assert_memory_equal(p, "data: ", 6);
    v->e[v->n] = json_loadb(p + 6, (size_t)(end - p - 6), 0, &e);
    if (!v->e[v->n])
        fail_msg("event %zu: %s: %.*s", v->n, e.text, (int)(end - p), p);
    v->n++;
}

void tc_stream_read(tc_server *s, const char *path, const char *body, bool done, tc_stream *v)
{
    tc_reply r = {0};
    char    *b = tc_json("%s", body);
    bool     over = false;
    *v = (tc_stream){0};
    tc_ask(s, "POST", path, NULL, b, &r);
    if (r.status != 200)
        fail_msg("%d for %s: %s", r.status, b, r.body.p);
    for (const char *p = r.body.p, *end = p + r.body.n; p < end;) {
        const char *eol = strstr(p, "\n\n");
        assert_non_null(eol);
        assert_false(over);                        /* nothing after [DONE] */
        over = eol - p == 12 && !memcmp(p, "data: [DONE]", 12);
        if (p[0] != ':' && !over)
            read_event(p, eol, v);
        p = eol + 2;
    }
    assert_int_equal(over, done);
    sr_free(b);
    tc_reply_end(&r);
}

void tc_stream_end(tc_stream *v)
{
    for (size_t i = 0; i < v->n; i++) {
        json_decref(v->e[i]);
        sr_free(v->name[i]);
    }
}

size_t tc_events(const tc_reply *r, json_t **out, size_t cap)
{
    size_t n = 0;
    const char *p = r->body.p, *end = p + r->body.n;
    char type[64];
    assert_non_null(tc_header(r, "Content-Type", type, sizeof type));
    assert_string_equal(type, "text/event-stream");
    while (p < end) {
        const char *eol = strstr(p, "\n\n");
        assert_non_null(eol);                      /* every event ends with an empty line */
        assert_null(memchr(p, '\n', (size_t)(eol - p))); /* and is one line */
        assert_null(memchr(p, '\r', (size_t)(eol - p)));
        if (p[0] == ':') {
            p = eol + 2;
            continue;
        }
        assert_memory_equal(p, "data: ", 6);
        if (eol - p == 12 && !memcmp(p, "data: [DONE]", 12)) {
            assert_ptr_equal(eol + 2, end);        /* nothing after it */
            return n;
        }
        json_error_t e;
        assert_true(n < cap);
        out[n] = json_loadb(p + 6, (size_t)(eol - p - 6), 0, &e);
        if (!out[n])
            fail_msg("event %zu: %s: %.*s", n, e.text, (int)(eol - p), p);
        n++;
        p = eol + 2;
    }
    fail_msg("the stream has no [DONE]");
    return n;
}

json_t *tc_at(const json_t *j, const char *path)
{
    const json_t *v = j;
    char   part[64];
    for (const char *p = path; *p && v; p += p[strlen(part)] == '.' ? strlen(part) + 1 : strlen(part)) {
        snprintf(part, sizeof part, "%.*s", (int)strcspn(p, "."), p);
        v = json_is_array(v) ? json_array_get(v, strtoul(part, NULL, 10)) : json_object_get(v, part);
    }
    if (!v) {
        char *s = json_dumps(j, 0);
        fail_msg("no '%s' in %.800s", path, s);
        free(s);
    }
    return (json_t *)v;
}

const char *tc_str(const json_t *j, const char *path)
{
    const json_t *v = tc_at(j, path);
    if (!json_is_string(v))
        fail_msg("'%s' is not a string", path);
    return json_string_value(v);
}

double tc_metric(tc_server *s, const char *name)
{
    tc_reply r = {0};
    char     line[128];
    tc_ask(s, "GET", "/metrics", NULL, NULL, &r);
    assert_int_equal(r.status, 200);
    snprintf(line, sizeof line, "\n%s ", name);
    const char *p = strstr(r.body.p, line);
    if (!p)
        fail_msg("no metric %s", name);
    double v = strtod(p + strlen(line), NULL);
    tc_reply_end(&r);
    return v;
}

void tc_wait_metric(tc_server *s, const char *name, double value)
{
    double v = 0;
    for (int i = 0; i < 6000; i++, usleep(10000))
        if ((v = tc_metric(s, name)) == value)
            return;
    fail_msg("%s stays %g, expected %g", name, v, value);
}
