/* The protocol below the API, against the server with the null engine on a loopback port.  With the word "tls" all of it through TLS. */
#include "serve/test_client.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"

#define CHAT "/v1/chat/completions"
static const char hello[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

static void expect(tc_server *s, const char *method, const char *path, const char *headers, const char *body, int status)
{
    tc_reply r = {0};
    tc_ask(s, method, path, headers, body, &r);
    if (r.status != status)
        fail_msg("%s %s: %d, expected %d: %.300s", method, path, r.status, status, r.body.p ? r.body.p : "");
    if (status >= 400 && strcmp(method, "HEAD")) { /* errors are always JSON of one shape */
        json_error_t e;
        json_t *j = json_loadb(r.body.p, r.body.n, 0, &e);
        assert_non_null(j);
        assert_true(json_is_string(tc_at(j, "error.message")));
        assert_true(json_is_string(tc_at(j, "error.type")));
        tc_at(j, "error.param"), tc_at(j, "error.code");
        json_decref(j);
    }
    tc_reply_end(&r);
}

static void paths_methods_and_their_errors(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    expect(&s, "GET", "/health", NULL, NULL, 200);
    expect(&s, "GET", "/health/live", NULL, NULL, 200);
    expect(&s, "GET", "/health/ready", NULL, NULL, 200);
    expect(&s, "HEAD", "/health", NULL, NULL, 200);
    expect(&s, "HEAD", "/nowhere", NULL, NULL, 404);
    expect(&s, "GET", "/metrics", NULL, NULL, 200);
    expect(&s, "GET", "/v1/models", NULL, NULL, 200);
    expect(&s, "GET", "/models", NULL, NULL, 200);
    expect(&s, "GET", "//v1//models/", NULL, NULL, 200);
    expect(&s, "GET", "/v1/models/strata/test", NULL, NULL, 200);
    expect(&s, "GET", "/v1/models/strata%2Ftest?x=1", NULL, NULL, 200);
    expect(&s, "GET", "/v1/models/other", NULL, NULL, 404);
    expect(&s, "GET", "/v1/models/%00", NULL, NULL, 404);
    expect(&s, "GET", "/v1/models/%zz", NULL, NULL, 404);
    expect(&s, "GET", "/../../etc/passwd", NULL, NULL, 404);
    expect(&s, "GET", "/", NULL, NULL, 200);
    expect(&s, "GET", "/v1", NULL, NULL, 404);
    expect(&s, "GET", CHAT, NULL, NULL, 405);
    expect(&s, "DELETE", "/v1/models", NULL, NULL, 405);
    expect(&s, "BREW", "/v1/models", NULL, NULL, 405);
    expect(&s, "POST", "/v1/models", NULL, "{}", 405);
    expect(&s, "POST", "/nowhere", NULL, "{}", 404);
    expect(&s, "POST", CHAT, "Content-Encoding: gzip\r\n", "{}", 415);
    expect(&s, "POST", CHAT, "Expect: bread\r\n", "{}", 417);
    expect(&s, "POST", "/v1/embeddings", NULL, "{\"input\":\"a\"}", 400);
    expect(&s, "POST", CHAT, NULL, "", 400);
    expect(&s, "POST", "/chat/completions/", NULL, hello, 200);
    tc_reply r = {0};
    char     v[64];
    tc_ask(&s, "GET", CHAT, NULL, NULL, &r);
    assert_string_equal(tc_header(&r, "Allow", v, sizeof v), "POST, OPTIONS");
    tc_reply_end(&r);
    expect(&s, "POST", CHAT, NULL, hello, 200);
    tc_stop(&s);
}

static void loading_is_503_with_retry_after(void **state)
{
    (void)state;
    tc_server s = {.not_ready = true};
    tc_reply  r = {0};
    char      v[64];
    tc_start(&s);
    expect(&s, "GET", "/health", NULL, NULL, 503);
    expect(&s, "GET", "/health/live", NULL, NULL, 200);
    expect(&s, "GET", "/v1/models", NULL, NULL, 503);
    expect(&s, "GET", "/metrics", NULL, NULL, 200);
    tc_ask(&s, "POST", CHAT, NULL, hello, &r);
    assert_int_equal(r.status, 503);
    assert_non_null(tc_header(&r, "Retry-After", v, sizeof v));
    tc_reply_end(&r);
    tc_ready(&s);
    expect(&s, "POST", CHAT, NULL, hello, 200);
    tc_stop(&s);
}

static void request_ids_go_in_and_out(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_reply  r = {0};
    char      v[100];
    tc_start(&s);
    tc_ask(&s, "GET", "/health", "X-Request-Id: abc-123\r\n", NULL, &r);
    assert_string_equal(tc_header(&r, "x-request-id", v, sizeof v), "abc-123");
    tc_reply_end(&r);
    tc_ask(&s, "GET", "/health", "X-Request-Id: two words\r\n", NULL, &r);
    assert_memory_equal(tc_header(&r, "x-request-id", v, sizeof v), "req_", 4);
    tc_reply_end(&r);
    static const char *const broken[] = {"GET /health HTTP/1.1\r\n\r\n", "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n",
        "POST " CHAT " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}; /* what is refused has one, too */
    for (size_t i = 0; i < SR_COUNT(broken); i++) {
        tc_conn c;
        tc_open(&c, s.at);
        tc_say(&c, broken[i]);
        tc_reply_read(&c, &r);
        assert_int_equal(r.status, i == 1 ? 413 : 400);
        assert_memory_equal(tc_header(&r, "x-request-id", v, sizeof v), "req_", 4);
        tc_reply_end(&r);
        tc_close(&c);
    }
    tc_stop(&s);
}

static void browsers_get_their_preflight(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_reply  r = {0};
    char      v[200];
    tc_start(&s);
    tc_ask(&s, "OPTIONS", CHAT, "Origin: http://a\r\nAccess-Control-Request-Method: POST\r\n"
           "Access-Control-Request-Headers: authorization, x-stainless-os\r\n", NULL, &r);
    assert_int_equal(r.status, 204);
    assert_string_equal(tc_header(&r, "Access-Control-Allow-Origin", v, sizeof v), "*");
    assert_string_equal(tc_header(&r, "Access-Control-Allow-Headers", v, sizeof v), "authorization, x-stainless-os");
    assert_null(tc_header(&r, "Access-Control-Allow-Credentials", v, sizeof v)); /* a page elsewhere must bring a key of its own */
    assert_non_null(strstr(tc_header(&r, "Access-Control-Allow-Methods", v, sizeof v), "POST"));
    tc_reply_end(&r);
    tc_stop(&s);
    tc_server named = {.cfg.cors = "https://chat.example.org"};
    tc_start(&named);
    tc_ask(&named, "POST", CHAT, "Origin: https://chat.example.org\r\nCookie: a=b\r\n", hello, &r);
    assert_int_equal(r.status, 200);
    assert_string_equal(tc_header(&r, "Access-Control-Allow-Origin", v, sizeof v), "https://chat.example.org");
    assert_null(tc_header(&r, "Access-Control-Allow-Credentials", v, sizeof v));
    tc_reply_end(&r);
    tc_stop(&named);
    tc_server quiet = {.cfg.cors = ""};
    tc_start(&quiet);
    tc_ask(&quiet, "GET", "/health", NULL, NULL, &r);
    assert_null(tc_header(&r, "Access-Control-Allow-Origin", v, sizeof v));
    tc_reply_end(&r);
    tc_stop(&quiet);
}

static void keys_are_asked_for_where_they_should(void **state)
{
    (void)state;
    static const sr_servekey keys[] = {{.key = "first"}, {.key = "second-key"}};
    tc_server s = {.cfg = {.keys = keys, .n_keys = 2}};
    tc_start(&s);
    expect(&s, "GET", "/health", NULL, NULL, 200);
    expect(&s, "GET", "/metrics", NULL, NULL, 200);
    expect(&s, "OPTIONS", CHAT, NULL, NULL, 204);
    expect(&s, "GET", "/v1/models", NULL, NULL, 401);
    expect(&s, "GET", "/nowhere", NULL, NULL, 401);
    expect(&s, "GET", "/v1/models", "Authorization: Bearer first\r\n", NULL, 200);
    expect(&s, "GET", "/v1/models", "authorization: bearer second-key\r\n", NULL, 200);
    expect(&s, "GET", "/v1/models", "x-api-key: second-key\r\n", NULL, 200);
    expect(&s, "GET", "/v1/models", "Authorization: Bearer firs\r\n", NULL, 401);
    expect(&s, "GET", "/v1/models", "Authorization: Bearer firstx\r\n", NULL, 401);
    expect(&s, "GET", "/v1/models", "Authorization: Basic first\r\n", NULL, 401);
    expect(&s, "GET", "/v1/models", "Authorization: Bearer \r\n", NULL, 401);
    expect(&s, "GET", "/v1/models", "Authorization: bearer   first\r\n", NULL, 200);
    expect(&s, "GET", "/v1/models", "x-api-key:\r\n", NULL, 401);
    expect(&s, "POST", CHAT, NULL, hello, 401);
    expect(&s, "POST", CHAT, "Authorization: Bearer first\r\n", hello, 200);
    tc_stop(&s);
    tc_server guarded = {.cfg = {.keys = keys, .n_keys = 1, .guard_metrics = true}};
    tc_start(&guarded);
    expect(&guarded, "GET", "/metrics", NULL, NULL, 401);
    expect(&guarded, "GET", "/metrics", "x-api-key: first\r\n", NULL, 200);
    tc_stop(&guarded);
}

static void large_heads_targets_and_bodies_are_refused(void **state)
{
    (void)state;
    tc_server s = {.cfg.limits = {.body_bytes = 10000}};
    sr_buf    q = {0};
    tc_reply  r = {0};
    tc_conn   c;
    tc_start(&s);
    sr_buf_char(&q, '/');
    for (int i = 0; i < 9000; i++)
        sr_buf_char(&q, 'a');
    expect(&s, "GET", q.p, NULL, NULL, 414);
    q.n = 0;
    for (int i = 0; i < 40; i++)
        sr_buf_fmt(&q, "X-%d: %01000d\r\n", i, 0);
    expect(&s, "GET", "/health", q.p, NULL, 431);
    q.n = 0;
    for (int i = 0; i < 10001; i++)
        sr_buf_char(&q, ' ');
    expect(&s, "POST", CHAT, NULL, q.p, 413);
    q.n = 0;
    sr_buf_str(&q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 11; i++)
        sr_buf_fmt(&q, "3e8\r\n%01000d\r\n", 0);
    tc_open(&c, s.at);
    tc_send(&c, q.p, q.n);
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 413);
    assert_true(r.close);
    tc_reply_end(&r);
    tc_close(&c);
    sr_buf_end(&q);
    tc_stop(&s);
}

static void expectations_are_met_before_the_body(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_conn   c;
    tc_reply  r = {0};
    tc_start(&s);
    tc_open(&c, s.at);
    tc_say(&c, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 45\r\n\r\n");
    assert_true(tc_until(&c, "HTTP/1.1 100 Continue\r\n\r\n", 5000));
    assert_int_equal(strlen(hello), 45);
    tc_say(&c, hello);
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 200);
    tc_reply_end(&r);
    tc_say(&c, "POST /nowhere HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 45\r\n\r\n");
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 404); /* no 100, and the connection ends: nobody knows whether the body comes */
    assert_true(r.close);
    tc_reply_end(&r);
    tc_close(&c);
    tc_stop(&s);
}

static void keep_alive_serves_many_and_pipelined_ones_in_order(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_conn   c;
    tc_reply  r = {0};
    tc_start(&s);
    tc_open(&c, s.at);
    for (int i = 0; i < 5; i++) {
        char q[300];
        snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nX-Request-Id: n%d\r\nContent-Length: 45\r\n\r\n%s", i, hello);
        tc_say(&c, q);
    }
    tc_say(&c, "GET /health HTTP/1.1\r\nHost: t\r\nX-Request-Id: n5\r\nConnection: close\r\n\r\n");
    for (int i = 0; i < 6; i++) {
        char want[16], got[80];
        snprintf(want, sizeof want, "n%d", i);
        tc_reply_read(&c, &r);
        assert_int_equal(r.status, 200);
        assert_string_equal(tc_header(&r, "X-Request-Id", got, sizeof got), want);
        assert_int_equal(r.close, i == 5);
        tc_reply_end(&r);
    }
    assert_false(tc_more(&c, 5000)); /* closed */
    tc_close(&c);
    tc_stop(&s);
}

static void chunked_bodies_arrive_in_any_pieces(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_conn   c;
    tc_reply  r = {0};
    tc_start(&s);
    tc_open(&c, s.at);
    tc_say(&c, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < strlen(hello); i++) {
        char piece[16];
        snprintf(piece, sizeof piece, "1\r\n%c\r\n", hello[i]);
        tc_say(&c, piece);
        if (i % 16 == 0)
            usleep(1000);
    }
    tc_say(&c, "0\r\n\r\n");
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 200);
    assert_false(r.close);
    tc_reply_end(&r);
    tc_close(&c);
    tc_stop(&s);
}

static void http_1_0_gets_a_plain_stream_that_ends_with_the_connection(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_conn   c;
    tc_reply  r = {0};
    tc_start(&s);
    tc_open(&c, s.at);
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char q[300];
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    tc_say(&c, q);
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 200);
    assert_true(r.close && !r.chunked);
    json_t *ev[200];
    size_t  n = tc_events(&r, ev, 200);
    assert_true(n > 3);
    for (size_t i = 0; i < n; i++)
        json_decref(ev[i]);
    tc_reply_end(&r);
    tc_close(&c);
    tc_stop(&s);
}

static void slow_heads_and_bodies_time_out(void **state)
{
    (void)state;
    tc_server s = {.cfg.times = {.head = 200, .body = 200, .request = 600, .idle = 300}};
    tc_conn   c[4];
    tc_reply  r = {0};
    tc_start(&s);
    uint64_t t = sr_now_ns();
    for (int i = 0; i < 4; i++)
        tc_open(&c[i], s.at);
    tc_say(&c[0], "GET /hea");                               /* a head that never ends */
    tc_say(&c[1], "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: 45\r\n\r\n{");
    tc_say(&c[2], "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: 45\r\n\r\n{");
    for (int i = 0; i < 12; i++, usleep(100000))             /* a byte now and then: the whole takes too long */
        tc_say(&c[2], " ");
    for (int i = 0; i < 3; i++) {
        tc_reply_read(&c[i], &r);
        assert_int_equal(r.status, 408);
        assert_true(r.close);
        tc_reply_end(&r);
        tc_close(&c[i]);
    }
    assert_false(tc_more(&c[3], 5000));                      /* never said anything: closed without a word */
    assert_int_equal(c[3].in.n, 0);
    tc_close(&c[3]);
    assert_true(sr_now_ns() - t < 5000000000u);
    tc_stop(&s);
}

static void a_client_that_leaves_frees_its_request(void **state)
{
    (void)state;
    tc_server s = {.null = {.endless = true, .rate = 200}, .ctx = 100000};
    tc_conn   c;
    tc_start(&s);
    const char *bodies[] = {"{\"stream\":true,\"n\":3,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", hello};
    for (int way = 0; way < 6; way++) { /* streaming and not; FIN, RST, half-close */
        const char *body = bodies[way / 3];
        char q[400];
        tc_open(&c, s.at);
        snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
        tc_say(&c, q);
        tc_wait_metric(&s, "strata_requests_running", way < 3 ? 3 : 1);
        assert_true(tc_metric(&s, "strata_kv_blocks_used") > 0);
        if (way < 3)
            assert_true(tc_until(&c, "content", 5000));
        if (way % 3 == 0)
            tc_close(&c);
        else if (way % 3 == 1)
            tc_reset(&c);
        else
            shutdown(c.fd, SHUT_WR);
        tc_wait_metric(&s, "strata_requests_running", 0);
        assert_true(tc_metric(&s, "strata_kv_blocks_used") == 0);
        assert_true(tc_metric(&s, "strata_http_generations") == 0);
        if (way % 3 == 2)
            tc_close(&c);
    }
    assert_true(tc_metric(&s, "strata_http_clients_left_total") == 6);
    tc_stop(&s);
}

static void a_reader_that_does_not_read_is_paused_then_ended(void **state)
{
    (void)state;
    tc_server s = {.null = {.endless = true}, .ctx = 4000000, .cfg.times.write = 2000};
    tc_conn   c;
    tc_start(&s);
    tc_open(&c, s.at);
    int small = 4096;
    setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char q[300];
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    tc_say(&c, q);
    double made = 0, before = -1; /* at first tokens fill the sockets' buffers; then nothing is computed for it */
    for (int i = 0; i < 50 && (made < 100 || made != before); i++, usleep(50000)) {
        before = made;
        made   = tc_metric(&s, "strata_generated_tokens_total");
    }
    assert_true(made > 100 && made == before);
    assert_true(tc_metric(&s, "strata_requests_paused") == 1);
    expect(&s, "GET", "/health", NULL, NULL, 200);
    tc_wait_metric(&s, "strata_requests_running", 0);
    assert_true(tc_metric(&s, "strata_http_slow_readers_total") == 1);
    tc_close(&c);
    tc_stop(&s);
}

static void connections_are_limited_in_all_and_per_address(void **state)
{
    (void)state;
    tc_server s = {.cfg.limits = {.conns_per_ip = 5}};
    tc_conn   c[6];
    tc_reply  r = {0};
    tc_start(&s);
    usleep(50000);
    for (int i = 0; i < 5; i++) {
        tc_open(&c[i], s.at);
        tc_say(&c[i], "GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
        tc_reply_read(&c[i], &r);
        assert_int_equal(r.status, 200);
        tc_reply_end(&r);
    }
    tc_open(&c[5], s.at);
    tc_reply_read(&c[5], &r); /* without having asked; with TLS the connection is just closed */
    assert_int_equal(r.status, tc_tls() ? 0 : 429);
    assert_true(r.close || tc_tls());
    tc_reply_end(&r);
    tc_close(&c[5]);
    tc_close(&c[0]);
    usleep(50000);
    expect(&s, "GET", "/health", NULL, NULL, 200);
    for (int i = 1; i < 5; i++)
        tc_close(&c[i]);
    tc_stop(&s);

    tc_server t = {.cfg.limits = {.conns = 3}};
    tc_start(&t);
    usleep(50000);
    for (int i = 0; i < 4; i++)
        tc_open(&c[i], t.at);
    tc_reply_read(&c[3], &r);
    assert_int_equal(r.status, tc_tls() ? 0 : 503);
    tc_reply_end(&r);
    for (int i = 0; i < 4; i++)
        tc_close(&c[i]);
    usleep(50000);
    expect(&t, "GET", "/health", NULL, NULL, 200);
    tc_stop(&t);
}

static void running_out_of_descriptors_is_survived(void **state)
{
    (void)state;
    tc_server s = {0};
    struct rlimit old, low;
    tc_start(&s);
    /* The test's own sockets exist before the limit falls to what is open; connecting needs no more. */
    int fd[4], n = 0;
    while (n < 4)
        fd[n++] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int next = dup(0);
    close(next);
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)next;
    setrlimit(RLIMIT_NOFILE, &low);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(s.at), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < n; i++)
        assert_int_equal(connect(fd[i], (struct sockaddr *)&a, sizeof a), 0); /* by the kernel: accept() fails */
    struct rusage r0, r1;
    getrusage(RUSAGE_SELF, &r0);
    usleep(300000);
    getrusage(RUSAGE_SELF, &r1);
    setrlimit(RLIMIT_NOFILE, &old);
    long used_ms = (r1.ru_utime.tv_sec - r0.ru_utime.tv_sec + r1.ru_stime.tv_sec - r0.ru_stime.tv_sec) * 1000 +
                   (r1.ru_utime.tv_usec - r0.ru_utime.tv_usec + r1.ru_stime.tv_usec - r0.ru_stime.tv_usec) / 1000;
    assert_true(used_ms < 150); /* it rests instead of spinning */
    for (int i = 0; i < n; i++) {
        tc_conn  c = {.fd = fd[i]};
        tc_reply r = {0};
        tc_shake(&c);
        tc_say(&c, "GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
        tc_reply_read(&c, &r);
        assert_int_equal(r.status, 200);
        tc_reply_end(&r);
        tc_close(&c);
    }
    tc_stop(&s);
}

static void stopping_lets_streams_finish(void **state)
{
    (void)state;
    tc_server s = {.null = {.rate = 100}};
    tc_conn   c[5], idle;
    tc_reply  r = {0};
    json_t   *ev[200];
    tc_start(&s);
    tc_open(&idle, s.at);
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char q[300];
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    for (int i = 0; i < 5; i++) {
        tc_open(&c[i], s.at);
        tc_say(&c[i], q);
    }
    tc_wait_metric(&s, "strata_requests_running", 5);
    sr_serve_stop(s.serve);
    s.stopped = true;
    assert_false(tc_more(&idle, 5000)); /* closed at once */
    tc_close(&idle);
    for (int i = 0; i < 5; i++) {
        tc_reply_read(&c[i], &r);
        assert_int_equal(r.status, 200);
        size_t n = tc_events(&r, ev, 200);
        assert_string_equal(tc_str(ev[n - 1], "choices.0.finish_reason"), "stop");
        for (size_t k = 0; k < n; k++)
            json_decref(ev[k]);
        tc_reply_end(&r);
        tc_close(&c[i]);
    }
    tc_stop(&s);
}

static void stopping_answers_who_has_connected_already(void **state)
{
    (void)state;
    tc_server s = {.null = {.rate = 50}};
    tc_conn   late, kept, busy;
    tc_reply  r = {0};
    tc_start(&s);
    const char *ask = "GET /health HTTP/1.1\r\nHost: t\r\n\r\n", *body = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    tc_open(&late, s.at);
    tc_open(&kept, s.at);
    tc_open(&busy, s.at);
    tc_say(&kept, ask);
    tc_reply_read(&kept, &r);
    assert_int_equal(r.status, 200);
    tc_reply_end(&r);
    char q[300];
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    usleep(1100000); /* the second of grace begins with the stop, however long the connection has been there */
    tc_say(&busy, q);
    tc_wait_metric(&s, "strata_requests_running", 1);
    sr_serve_stop(s.serve);
    s.stopped = true;
    assert_false(tc_more(&kept, 5000)); /* used before, silent now: closed at once */
    usleep(400000);
    tc_say(&late, ask);                 /* connected in time: told */
    tc_reply_read(&late, &r);
    assert_int_equal(r.status, 503);
    assert_true(r.close);
    tc_reply_end(&r);
    tc_reply_read(&busy, &r);           /* asked in time: served */
    assert_int_equal(r.status, 200);
    tc_reply_end(&r);
    tc_close(&late);
    tc_close(&kept);
    tc_close(&busy);
    tc_stop(&s);
}

static void stopping_ends_what_takes_too_long_with_an_error(void **state)
{
    (void)state;
    tc_server s = {.null = {.rate = 20, .endless = true}, .ctx = 100000, .cfg.times.drain = 300};
    tc_conn   c;
    tc_reply  r = {0};
    json_t   *ev[200];
    tc_start(&s);
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char q[300];
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    tc_open(&c, s.at);
    tc_say(&c, q);
    assert_true(tc_until(&c, "assistant", 5000));
    sr_serve_stop(s.serve);
    s.stopped = true;
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 200);
    size_t n = tc_events(&r, ev, 200);
    assert_string_equal(tc_str(ev[n - 1], "error.code"), "shutting_down");
    for (size_t k = 0; k < n; k++)
        json_decref(ev[k]);
    tc_reply_end(&r);
    tc_close(&c);
    tc_stop(&s);
}

/* Requests with bytes changed, doubled and left out, sent in pieces; whatever comes back, the server lives. */
static void damaged_requests_do_no_harm(void **state)
{
    (void)state;
    tc_server s = {.cfg.times = {.head = 300, .body = 300}};
    static const char *const seed[] = {
        "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: 45\r\n\r\n{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}GET /health HTTP/1.1\r\nHost: t\r\n\r\n",
        "POST " CHAT " HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2d\r\n{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\r\n0\r\n\r\n",
        "GET /v1/models/a%2Fb HTTP/1.1\r\nHost: t\r\nConnection: keep-alive\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n",
    };
    uint64_t x = 88172645463325252u;
    tc_start(&s);
    for (int i = 0; i < 600; i++) {
        tc_conn c;
        sr_buf  q = {0};
        sr_buf_str(&q, seed[i % 3]);
        for (int k = 0; k <= i % 4 && q.n > 16; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            size_t at = x % q.n;
            if (x >> 60 < 6)
                q.p[at] = (char)(x >> 32);
            else if (x >> 60 < 9)
                sr_buf_drop(&q, x >> 32 & 7);
            else if (x >> 60 < 12)
                q.n = at + 1;
            else
                q.p[at] = "\r\n 0:;,"[x >> 40 & 7];
        }
        tc_open(&c, s.at);
        size_t cut = x % (q.n + 1);
        tc_send(&c, q.p, cut);
        tc_send(&c, q.p + cut, q.n - cut);
        if (x >> 59 & 1)
            shutdown(c.fd, SHUT_WR);
        tc_more(&c, (int)(x >> 50 & 3));
        if (x >> 58 & 1)
            tc_reset(&c);
        else
            tc_close(&c);
        sr_buf_end(&q);
    }
    expect(&s, "POST", CHAT, NULL, hello, 200);
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_wait_metric(&s, "strata_http_generations", 0);
    tc_wait_metric(&s, "strata_http_connections", 1); /* the one that asks */
    tc_stop(&s);
}

/* A request without a byte of the test's own heap; what comes back is read to its end, or half a second. */
static void raw(uint16_t port, const char *path, const char *body, size_t n)
{
    char    buf[65536];
    tc_conn c;
    int     got, waits = 0;
    struct timeval tv = {0, 500000};
    tc_open(&c, port);
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    int k = snprintf(buf, sizeof buf, "POST %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", path, n);
    tc_send(&c, buf, (size_t)k);
    tc_send(&c, body, n);
    do
        got = c.ssl ? SSL_read(c.ssl, buf, sizeof buf) : (int)recv(c.fd, buf, sizeof buf, 0);
    while (got > 0 || (c.ssl && SSL_get_error(c.ssl, got) == SSL_ERROR_WANT_READ && waits++ < 2)); /* a ticket; the time */
    tc_close(&c);
}

static void any_allocation_may_fail_and_the_server_goes_on(void **state)
{
    (void)state;
    tc_server s = {0};
    static char big[20000];
    const char *stream = "{\"stream\":true,\"n\":2,\"logprobs\":true,\"top_logprobs\":2,\"stop\":[\"zzz\"],\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    const char *echo = "{\"prompt\":[\"a\",\"b c\"],\"echo\":true,\"logprobs\":2,\"max_tokens\":2}";
    int n = snprintf(big, sizeof big, "{\"messages\":[{\"role\":\"user\",\"content\":\"%09999d\"}]}", 1); /* goes to the scribe */
    tc_start(&s);
    int nth = 1;
    for (bool fired = true; fired && nth < 5000; nth++) {
        sr_fault_arm(SR_FAULT_ALLOC, (uint64_t)nth);
        raw(s.at, CHAT, stream, strlen(stream));
        raw(s.at, "/v1/completions", echo, strlen(echo));
        raw(s.at, CHAT, big, (size_t)n);
        fired = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        if (nth % 16 == 0)
            expect(&s, "POST", CHAT, NULL, hello, 200);
    }
    assert_true(nth > 50 && nth < 5000);
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_wait_metric(&s, "strata_http_generations", 0);
    expect(&s, "POST", CHAT, NULL, hello, 200);
    tc_stop(&s);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "tls"))
        tc_use_tls();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_methods_and_their_errors),
        cmocka_unit_test(loading_is_503_with_retry_after),
        cmocka_unit_test(request_ids_go_in_and_out),
        cmocka_unit_test(browsers_get_their_preflight),
        cmocka_unit_test(keys_are_asked_for_where_they_should),
        cmocka_unit_test(large_heads_targets_and_bodies_are_refused),
        cmocka_unit_test(expectations_are_met_before_the_body),
        cmocka_unit_test(keep_alive_serves_many_and_pipelined_ones_in_order),
        cmocka_unit_test(chunked_bodies_arrive_in_any_pieces),
        cmocka_unit_test(http_1_0_gets_a_plain_stream_that_ends_with_the_connection),
        cmocka_unit_test(slow_heads_and_bodies_time_out),
        cmocka_unit_test(a_client_that_leaves_frees_its_request),
        cmocka_unit_test(a_reader_that_does_not_read_is_paused_then_ended),
        cmocka_unit_test(connections_are_limited_in_all_and_per_address),
        cmocka_unit_test(running_out_of_descriptors_is_survived),
        cmocka_unit_test(stopping_lets_streams_finish), cmocka_unit_test(stopping_answers_who_has_connected_already),
        cmocka_unit_test(stopping_ends_what_takes_too_long_with_an_error),
        cmocka_unit_test(damaged_requests_do_no_harm),
        cmocka_unit_test(any_allocation_may_fail_and_the_server_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
