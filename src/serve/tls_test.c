/* TLS itself: certificates, versions, handshakes that go wrong.  That HTTP is the same through it, http_test with "tls" shows. */
#include "serve/test_client.h"

#include <openssl/ssl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "serve/tls.h"

static char dir[64], cert[96], key[96], other_cert[96], other_key[96], locked[96], none[96];

static int make_files(void **state)
{
    (void)state;
    static const struct { char *path; const char *name; } file[] = {{cert, "cert"}, {key, "key"}, {other_cert, "other-cert"},
                                                                    {other_key, "other-key"}, {locked, "locked"}, {none, "none"}};
    snprintf(dir, sizeof dir, "%s/strata-tls-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        snprintf(file[i].path, sizeof cert, "%s/%s", dir, file[i].name);
    tc_certificate(cert, key, "one", 10);
    tc_certificate(other_cert, other_key, "two", 20);
    tc_locked_key(key, locked);
    tc_use_tls();
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(cert), unlink(key), unlink(other_cert), unlink(other_key), unlink(locked);
    return rmdir(dir);
}

static void get_alive(tc_conn *c)
{
    tc_reply r = {0};
    tc_say(c, "GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n");
    tc_reply_read(c, &r);
    assert_int_equal(r.status, 200);
    tc_reply_end(&r);
}

static void expect_no_server(const char *c, const char *k, sr_status status, const char *a, const char *b)
{
    sr_err    err = {0};
    sr_serve *s   = NULL;
    const sr_servecfg cfg = {.model_id = "m", .tls_cert = c, .tls_key = k};
    assert_int_equal(sr_serve_open(&cfg, &s, &err), status);
    assert_null(s);
    if (!strstr(err.msg, a) || !strstr(err.msg, b))
        fail_msg("neither \"%s\" nor \"%s\" in: %s", a, b, err.msg);
}

static void files_that_do_not_serve_are_named_with_the_reason(void **state)
{
    (void)state;
    expect_no_server(none, key, SR_IO, none, "No such file");
    expect_no_server(cert, none, SR_IO, none, "No such file");
    expect_no_server(key, key, SR_INVALID, key, "no certificate that can be used");
    expect_no_server(cert, cert, SR_INVALID, cert, "no private key that can be used");
    expect_no_server(cert, other_key, SR_INVALID, other_key, cert);
    expect_no_server(cert, locked, SR_INVALID, locked, "passphrase");
    expect_no_server(cert, NULL, SR_INVALID, "belong together", "only the certificate");
    expect_no_server(NULL, key, SR_INVALID, "belong together", "only the key");
}

/* A connection with settings of its own; true: the handshake was completed. */
static bool shake_as(tc_conn *c, uint16_t port, int version, const char *alpn)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_non_null(ctx);
    SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    tc_dial(c, port);
    c->ssl = SSL_new(ctx);
    assert_non_null(c->ssl);
    SSL_CTX_free(ctx);
    if (alpn)
        assert_int_equal(SSL_set_alpn_protos(c->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn)), 0);
    SSL_set_fd(c->ssl, c->fd);
    return SSL_connect(c->ssl) == 1;
}

static void versions_1_2_and_1_3_are_spoken_and_no_older_one(void **state)
{
    (void)state;
    static const struct { int version; bool good; } t[] = {{TLS1_VERSION, false}, {TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}, {TLS1_3_VERSION, true}};
    tc_server s = {0};
    tc_start(&s);
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        tc_conn c;
        assert_int_equal(shake_as(&c, s.at, t[i].version, NULL), t[i].good);
        if (t[i].good) {
            const char *cipher = SSL_get_cipher_name(c.ssl);
            assert_int_equal(SSL_version(c.ssl), t[i].version);
            assert_true(!strncmp(cipher, "ECDHE-", 6) || !strncmp(cipher, "TLS_", 4)); /* forward secrecy */
            get_alive(&c);
        }
        tc_close(&c);
    }
    assert_true(tc_metric(&s, "strata_tls_handshakes_failed_total") == 2);
    tc_stop(&s);
}

static void http_1_1_is_what_is_agreed_on(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_conn   c;
    const unsigned char *p;
    unsigned n;
    tc_start(&s);
    assert_true(shake_as(&c, s.at, TLS1_3_VERSION, "\2h2\10http/1.1"));
    SSL_get0_alpn_selected(c.ssl, &p, &n);
    assert_true(n == 8 && !memcmp(p, "http/1.1", 8));
    get_alive(&c);
    tc_close(&c);
    assert_false(shake_as(&c, s.at, TLS1_3_VERSION, "\2h2"));
    tc_close(&c);
    tc_stop(&s);
}

static void http_in_the_clear_is_told_so_and_other_bytes_are_not_answered(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_conn   c;
    tc_reply  r = {0};
    tc_start(&s);
    tc_dial(&c, s.at);
    tc_say(&c, "GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 400);
    assert_true(r.close);
    assert_non_null(strstr(r.body.p, "https://"));
    tc_reply_end(&r);
    assert_false(tc_more(&c, 60000));
    tc_close(&c);
    static const char noise[] = "\x16\x03\x01\xff\xff no hello at all, whatever the first bytes say";
    tc_dial(&c, s.at);
    tc_send(&c, noise, sizeof noise);
    while (tc_more(&c, 60000)) /* perhaps an alert */
        ;
    assert_true(c.in.n < 16);
    tc_close(&c);
    tc_wait_metric(&s, "strata_tls_handshakes_failed_total", 2);
    tc_stop(&s);
}

/* A third says nothing, a third one byte, a third a hello that never goes on. */
static void begin_handshakes(tc_server *s, tc_conn *c, int n)
{
    for (int i = 0; i < n; i++) {
        tc_dial(&c[i], s->at);
        if (i % 3 == 1)
            tc_send(&c[i], "\x16", 1);
        else if (i % 3 == 2)
            tc_send(&c[i], "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03", 11);
    }
}

static bool is_over(const tc_conn *c, int timeout_ms)
{
    struct pollfd f = {.fd = c->fd, .events = POLLIN};
    char byte;
    return poll(&f, 1, timeout_ms) == 1 && recv(c->fd, &byte, 1, 0) <= 0;
}

static void nobody_waits_for_half_handshakes(void **state)
{
    (void)state;
    enum { N = 60 };
    tc_server s = {.cfg.times.head = 120000};
    tc_conn   c[N];
    tc_start(&s);
    begin_handshakes(&s, c, N);
    tc_wait_metric(&s, "strata_http_connections", N + 1); /* and the one that asks */
    for (int i = 0; i < 20; i++) {
        tc_conn ok;
        tc_open(&ok, s.at);
        get_alive(&ok);
        tc_close(&ok);
    }
    for (int i = 0; i < N; i++) {
        assert_false(is_over(&c[i], 0)); /* they still were in the way, had they been able to */
        tc_close(&c[i]);
    }
    tc_wait_metric(&s, "strata_tls_handshakes_failed_total", N);
    tc_stop(&s);
}

static void half_handshakes_end_in_time(void **state)
{
    (void)state;
    enum { N = 60 };
    tc_server s = {.cfg.times.head = 4000};
    tc_conn   c[N];
    tc_start(&s);
    begin_handshakes(&s, c, N);
    for (int i = 0; i < N; i++) {
        assert_true(is_over(&c[i], 60000));
        tc_close(&c[i]);
    }
    tc_wait_metric(&s, "strata_tls_handshakes_failed_total", N);
    tc_wait_metric(&s, "strata_http_connections", 1);
    tc_stop(&s);
}

static void a_half_handshake_does_not_hold_up_the_end(void **state)
{
    (void)state;
    tc_server s = {.cfg.times.head = 120000};
    tc_conn   c;
    tc_start(&s);
    tc_dial(&c, s.at);
    tc_send(&c, "\x16\x03\x01", 3);
    tc_wait_metric(&s, "strata_http_connections", 2);
    uint64_t t = sr_now_ns();
    tc_stop(&s);
    assert_true(sr_now_ns() - t < 60000000000u);
    tc_close(&c);
}

static void a_crowd_of_handshakes_is_served(void **state)
{
    (void)state;
    enum { N = 100 };
    tc_server s = {.cfg.times.head = 120000}; /* whoever comes last may take long on a busy machine */
    tc_conn   c[N];
    tc_start(&s);
    for (int i = 0; i < N; i++)
        tc_dial(&c[i], s.at);
    for (int i = N - 1; i >= 0; i--) {
        tc_shake(&c[i]);
        assert_non_null(c[i].ssl);
    }
    for (int i = 0; i < N; i++) {
        get_alive(&c[i]);
        tc_close(&c[i]);
    }
    tc_stop(&s);
}

static void expect_name(uint16_t port, const char *name)
{
    tc_conn c;
    char    got[64] = "";
    assert_true(shake_as(&c, port, TLS1_3_VERSION, NULL));
    X509 *x = SSL_get1_peer_certificate(c.ssl);
    assert_non_null(x);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, got, sizeof got);
    X509_free(x);
    assert_string_equal(got, name);
    get_alive(&c);
    tc_close(&c);
}

static void a_new_certificate_is_for_new_connections_and_a_bad_one_for_none(void **state)
{
    (void)state;
    char c_path[96], k_path[96];
    snprintf(c_path, sizeof c_path, "%s/live-cert", dir);
    snprintf(k_path, sizeof k_path, "%s/live-key", dir);
    assert_int_equal(link(cert, c_path) | link(key, k_path), 0);
    tc_server s = {.cfg = {.tls_cert = c_path, .tls_key = k_path}, .not_ready = true};
    tc_conn   old;
    sr_err    err = {0};
    tc_start(&s);
    assert_true(shake_as(&old, s.at, TLS1_3_VERSION, NULL)); /* shaken when the certificate was the first one */
    expect_name(s.at, "one");
    assert_int_equal(unlink(c_path) | link(other_cert, c_path), 0);
    assert_int_equal(sr_serve_reload(s.serve, &err), SR_INVALID); /* the key is still the first one's */
    assert_non_null(strstr(err.msg, "not the key of the certificate"));
    expect_name(s.at, "one");
    assert_int_equal(unlink(k_path), 0);
    err = (sr_err){0};
    assert_int_equal(sr_serve_reload(s.serve, &err), SR_IO);
    expect_name(s.at, "one");
    assert_int_equal(link(other_key, k_path), 0);
    err = (sr_err){0};
    assert_int_equal(sr_serve_reload(s.serve, &err), SR_OK);
    expect_name(s.at, "two");
    get_alive(&old);
    tc_close(&old);
    unlink(c_path), unlink(k_path);
    tc_stop(&s);
}

static void an_answer_ends_with_a_word_and_a_change_of_keys_is_followed(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_conn   c;
    tc_start(&s);
    tc_open(&c, s.at);
    get_alive(&c);
    assert_int_equal(SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
    get_alive(&c);
    get_alive(&c);
    assert_int_equal(SSL_get_shutdown(c.ssl), 0);
    tc_say(&c, "GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    while (tc_more(&c, 60000))
        ;
    assert_int_equal(SSL_get_shutdown(c.ssl), SSL_RECEIVED_SHUTDOWN); /* close_notify: what came is all of it */
    tc_close(&c);
    tc_stop(&s);
}

/* More than a turn reads at once, in records of every size: what a session holds decrypted is not forgotten. */
static void bodies_of_many_records_arrive(void **state)
{
    (void)state;
    tc_server s = {0};
    sr_buf    q = {0};
    enum { BODY = 600000 };
    tc_start(&s);
    for (size_t record = 1000; record <= 16384; record += 5128) {
        tc_conn  c;
        tc_reply r = {0};
        q.n = 0;
        sr_buf_fmt(&q, "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n", BODY);
        size_t end = q.n + BODY;
        sr_buf_str(&q, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
        while (q.n < end)
            sr_buf_char(&q, ' ');
        tc_open(&c, s.at);
        for (size_t at = 0; at < q.n; at += record)
            tc_send(&c, q.p + at, q.n - at < record ? q.n - at : record);
        tc_reply_read(&c, &r);
        assert_int_equal(r.status, 200);
        tc_reply_end(&r);
        tc_close(&c);
    }
    sr_buf_end(&q);
    tc_stop(&s);
}

/* The client says that it is done and keeps the socket open: as good as a shutdown. */
static void a_client_that_says_it_is_done_has_left(void **state)
{
    (void)state;
    tc_server s = {.null = {.endless = true, .rate = 200}, .ctx = 100000};
    tc_conn   c;
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char q[300];
    tc_start(&s);
    tc_open(&c, s.at);
    snprintf(q, sizeof q, "POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    tc_say(&c, q);
    assert_true(tc_until(&c, "content", 60000));
    SSL_shutdown(c.ssl);
    tc_wait_metric(&s, "strata_requests_running", 0);
    assert_true(tc_metric(&s, "strata_http_clients_left_total") == 1);
    tc_close(&c);
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_do_not_serve_are_named_with_the_reason),
        cmocka_unit_test(versions_1_2_and_1_3_are_spoken_and_no_older_one),
        cmocka_unit_test(http_1_1_is_what_is_agreed_on),
        cmocka_unit_test(http_in_the_clear_is_told_so_and_other_bytes_are_not_answered),
        cmocka_unit_test(nobody_waits_for_half_handshakes),
        cmocka_unit_test(half_handshakes_end_in_time),
        cmocka_unit_test(a_half_handshake_does_not_hold_up_the_end),
        cmocka_unit_test(a_crowd_of_handshakes_is_served),
        cmocka_unit_test(a_new_certificate_is_for_new_connections_and_a_bad_one_for_none),
        cmocka_unit_test(an_answer_ends_with_a_word_and_a_change_of_keys_is_followed),
        cmocka_unit_test(bodies_of_many_records_arrive),
        cmocka_unit_test(a_client_that_says_it_is_done_has_left),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
