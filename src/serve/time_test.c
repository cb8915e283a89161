/* The time of requests: their limits, wherever they are when it is over, and the time that stopping gives them. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

#define CHAT "/v1/chat/completions"
#define HI   "'messages':[{'role':'user','content':'hi'}]"
static const double MS = 1e6;

static void post(tc_server *s, const char *path, const char *headers, const char *body, tc_reply *r)
{
    char *b = tc_json("%s", body);
    tc_ask(s, "POST", path, headers, b, r);
    sr_free(b);
}

/* The answer is an error of this status that names this limit, and came not before `ms`; how much later is the machine's matter. */
static void expect_late(tc_server *s, const char *path, const char *headers, const char *body, double ms)
{
    tc_reply r = {0};
    uint64_t t = sr_now_ns();
    post(s, path, headers, body, &r);
    double took = (double)(sr_now_ns() - t) / MS;
    char   limit[60], v[16];
    snprintf(limit, sizeof limit, "time limit of %.3g s", ms * 1e-3);
    if (r.status != 504 || !strstr(r.body.p, limit) || !tc_header(&r, "X-Should-Retry", v, sizeof v) || strcmp(v, "false"))
        fail_msg("%d, not %s: %s", r.status, limit, r.body.p);
    if (took < ms - 1 || took > ms + 25000) /* before the next larger limit that is set, 30 s */
        fail_msg("%.0f ms, not %.0f", took, ms);
    tc_reply_end(&r);
    tc_wait_metric(s, "strata_requests_running", 0);
    assert_true(tc_metric(s, "strata_http_generations") == 0);
}

static void the_least_limit_ends_a_running_request(void **state)
{
    (void)state;
    tc_server s = {.null = {.endless = true, .rate = 50, .width = 8, .prompt_rate = 2}, .ctx = 100000, .cfg.times.answer = 700};
    tc_start(&s);
    expect_late(&s, CHAT, NULL, "{" HI "}", 700);
    expect_late(&s, CHAT, NULL, "{" HI ",'timeout':0.3}", 300);
    expect_late(&s, CHAT, NULL, "{" HI ",'timeout':30}", 700);
    expect_late(&s, CHAT, "X-Request-Timeout: 0.2\r\n", "{" HI ",'timeout':0.5}", 200);
    expect_late(&s, CHAT, "X-Request-Timeout: 0.5\r\n", "{" HI ",'timeout':0.2}", 200);
    expect_late(&s, "/v1/completions", "X-Request-Timeout: 0.2\r\n", "{'prompt':['a','b'],'n':2,'max_tokens':1000}", 200);
    expect_late(&s, "/v1/messages", NULL, "{" HI ",'max_tokens':9999,'timeout':0.2}", 200);
    expect_late(&s, "/v1/responses", NULL, "{'input':'hi','timeout':0.2}", 200);
    expect_late(&s, "/api/chat", "X-Request-Timeout: 0.2\r\n", "{" HI ",'stream':false}", 200);
    expect_late(&s, "/v1/embeddings", NULL, "{'input':['a','b','c'],'timeout':0.2}", 200);
    expect_late(&s, "/api/embed", "X-Request-Timeout: 0.2\r\n", "{'input':['a','b','c']}", 200);
    assert_true(tc_metric(&s, "strata_http_timeouts_total") == 11);
    assert_true(tc_metric(&s, "strata_http_requests_total{handler=\"chat\",status=\"504\"}") == 5);
    tc_stop(&s);
}

static void a_stream_keeps_what_it_has_and_ends_with_the_error(void **state)
{
    (void)state;
    tc_server s = {.null = {.endless = true, .rate = 100}, .ctx = 100000};
    tc_reply  r = {0};
    json_t   *ev[400];
    tc_start(&s);
    post(&s, CHAT, NULL, "{'stream':true,'timeout':1," HI "}", &r);
    assert_int_equal(r.status, 200);
    size_t n = tc_events(&r, ev, 400);
    assert_in_range(n, 3, 120); /* 100 of text, fewer where the machine is busy */
    tc_at(ev[n - 2], "choices.0.delta.content");
    assert_string_equal(tc_str(ev[n - 1], "error.code"), "timeout");
    for (size_t i = 0; i < n; i++)
        json_decref(ev[i]);
    tc_reply_end(&r);
    post(&s, "/v1/messages", NULL, "{'stream':true,'timeout':0.4,'max_tokens':9999," HI "}", &r);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body.p, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\""));
    tc_reply_end(&r);
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_stop(&s);
}

static void a_request_that_waits_ends_in_its_place_and_the_others_go_on(void **state)
{
    (void)state;
    tc_server s = {.null = {.rate = 20, .max_seqs = 1, .endless = true}, .ctx = 100000};
    tc_conn   first;
    tc_reply  r = {0};
    tc_start(&s);
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char q[300];
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    tc_open(&first, s.at); /* takes the one place there is, for as long as it likes */
    tc_say(&first, q);
    tc_wait_metric(&s, "strata_requests_running", 1);
    post(&s, CHAT, "X-Request-Timeout: 0.3\r\n", "{" HI "}", &r);
    assert_int_equal(r.status, 504);
    assert_non_null(strstr(r.body.p, "before it was begun with"));
    tc_reply_end(&r);
    tc_wait_metric(&s, "strata_requests_waiting", 0);
    assert_true(tc_metric(&s, "strata_requests_running") == 1);
    while (tc_more(&first, 0)) /* what came so far */
        ;
    first.in.n = 0;
    assert_true(tc_until(&first, "content", 60000));
    tc_close(&first);
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_stop(&s);
}

static void limits_that_are_none_are_refused_and_named(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "0", "0.0001", "-1", "1e3", "x", "1.", ".5", "1.2.3", "86401", "99999999999999999999", "1 2", "inf"};
    static const char *const good[] = {"1", "0.5", "86400", "00001.50", "0.001999999999999999999999"};
    tc_server s = {0};
    tc_reply  r = {0};
    tc_start(&s);
    for (size_t i = 0; i < SR_COUNT(bad) + SR_COUNT(good); i++) {
        char head[100];
        bool fine = i >= SR_COUNT(bad);
        snprintf(head, sizeof head, "X-Request-Timeout: %s\r\n", fine ? good[i - SR_COUNT(bad)] : bad[i]);
        post(&s, CHAT, head, "{" HI "}", &r);
        if (fine ? r.status == 400 : r.status != 400 || !strstr(r.body.p, "X-Request-Timeout"))
            fail_msg("%s%d: %s", head, r.status, r.body.p);
        tc_reply_end(&r);
    }
    tc_stop(&s);
}

/* The text of every stream is there, to its end, though the server was told to stop in their middle. */
static void a_hundred_streams_end_whole_when_the_server_is_stopped(void **state)
{
    (void)state;
    enum { N = 100 };
    static const char text[] = "It rained for a week, and when it stopped nobody could say when, because everybody had grown used to the sound.";
    tc_server s = {.null = {.rate = 4, .max_seqs = 128}, .text = text}; /* long enough for all of them to begin before the first is over */
    static tc_conn c[N];
    static json_t *ev[400];
    tc_conn  late;
    tc_reply r = {0};
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    char q[300];
    tc_start(&s);
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    tc_open(&late, s.at);
    for (int i = 0; i < N; i++) {
        tc_open(&c[i], s.at);
        tc_say(&c[i], q);
    }
    for (int i = 0; i < N; i++)
        assert_true(tc_until(&c[i], "content", 60000)); /* they have all begun, and the last of them is not over */
    assert_true(tc_metric(&s, "strata_requests_running") >= 1);
    sr_serve_stop(s.serve);
    s.stopped = true;
    assert_false(tc_more(&late, 60000)); /* idle ones are closed */
    tc_close(&late);
    for (int i = 0; i < N; i++) {
        char   got[400] = "";
        size_t at = 0;
        tc_reply_read(&c[i], &r);
        assert_int_equal(r.status, 200);
        size_t n = tc_events(&r, ev, 400);
        for (size_t k = 0; k < n; k++) {
            const json_t *piece = json_object_get(tc_at(ev[k], "choices.0.delta"), "content");
            if (piece)
                at += (size_t)snprintf(got + at, sizeof got - at, "%s", json_string_value(piece));
        }
        assert_string_equal(got, text);
        assert_string_equal(tc_str(ev[n - 1], "choices.0.finish_reason"), "stop");
        for (size_t k = 0; k < n; k++)
            json_decref(ev[k]);
        assert_false(tc_more(&c[i], 60000)); /* and closed, since nothing more is taken */
        tc_reply_end(&r);
        tc_close(&c[i]);
    }
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_limit_ends_a_running_request),
        cmocka_unit_test(a_stream_keeps_what_it_has_and_ends_with_the_error),
        cmocka_unit_test(a_request_that_waits_ends_in_its_place_and_the_others_go_on),
        cmocka_unit_test(limits_that_are_none_are_refused_and_named),
        cmocka_unit_test(a_hundred_streams_end_whole_when_the_server_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
