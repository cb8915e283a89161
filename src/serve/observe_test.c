/* What an operator sees: one log line for each request, traces carried through, metrics under vLLM's names. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"

#define CHAT "/v1/chat/completions"
#define HI   "'messages':[{'role':'user','content':'my secret words'}]"

static int log_fd[2];

static void log_begin(bool json)
{
    assert_int_equal(pipe(log_fd), 0);
    sr_log_setup(&(sr_logcfg){.fd = log_fd[1], .level = SR_LOG_INFO, .json = json});
}

/* All that was logged, the sink closed. */
static char *log_end(void)
{
    sr_buf b = {0};
    char   part[4096];
    sr_log_setup(&(sr_logcfg){.level = SR_LOG_ERROR});
    close(log_fd[1]);
    for (ssize_t n; (n = read(log_fd[0], part, sizeof part)) > 0;)
        sr_buf_add(&b, part, (size_t)n);
    close(log_fd[0]);
    assert_non_null(b.p);
    return b.p;
}

/* The log line that holds `text`, as JSON. */
static json_t *line_with(const char *log, const char *text)
{
    const char *hit = strstr(log, text);
    if (!hit)
        fail_msg("no %s in: %s", text, log);
    const char *p = hit, *end = strchr(hit, '\n');
    while (p > log && p[-1] != '\n')
        p--;
    json_t *j = json_loadb(p, (size_t)(end - p), 0, NULL);
    if (!j)
        fail_msg("not JSON: %.300s", p);
    return j;
}

static void a_request_is_one_line(void **state)
{
    (void)state;
    tc_server s = {.null.rate = 500};
    tc_reply  r = {0};
    char     *body = tc_json("%s", "{" HI ",'n':2,'stream':true}");
    log_begin(true);
    tc_start(&s);
    tc_ask(&s, "POST", CHAT, "X-Request-Id: mine-1\r\nTraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n", body, &r);
    tc_reply_end(&r);
    json_decref(tc_put(&s, CHAT, 400, "{" HI ",'temperature':9}"));
    tc_stop(&s);
    char   *log = log_end();
    json_t *j = line_with(log, "mine-1");
    assert_string_equal(tc_str(j, "msg"), "request");
    assert_string_equal(tc_str(j, "route"), "chat");
    assert_string_equal(tc_str(j, "model"), "strata/test");
    assert_int_equal(json_integer_value(tc_at(j, "status")), 200);
    assert_int_equal(json_integer_value(tc_at(j, "made")), 2 * s.null.n_tok);
    assert_true(json_integer_value(tc_at(j, "prompt")) > 3);
    assert_int_equal(json_integer_value(tc_at(j, "cached")), 0);
    assert_string_equal(tc_str(j, "finish"), "stop");
    assert_true(json_number_value(tc_at(j, "ttft_ms")) > 0 && json_number_value(tc_at(j, "ms")) > json_number_value(tc_at(j, "ttft_ms")));
    double rate = json_number_value(tc_at(j, "tok_s"));
    assert_true(rate > 50 && rate < 1100); /* two choices of 500 a second each at most */
    assert_string_equal(tc_str(j, "trace"), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_null(strstr(strstr(log, "mine-1") + 1, "mine-1")); /* one line */
    json_decref(j);
    j = line_with(log, "\"status\":400");
    assert_string_equal(tc_str(j, "route"), "chat");
    json_decref(j);
    assert_null(strstr(log, "secret"));
    sr_free(log);
    sr_free(body);
}

static void a_client_that_leaves_is_a_line_too(void **state)
{
    (void)state;
    tc_server s = {.null = {.rate = 50, .endless = true}};
    tc_conn   c;
    char      q[300];
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    log_begin(true);
    tc_start(&s);
    tc_open(&c, s.at);
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nX-Request-Id: gone-1\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    tc_say(&c, q);
    assert_true(tc_until(&c, "\"content\":\"O", 5000) || tc_until(&c, "content", 5000));
    tc_reset(&c);
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_stop(&s);
    char   *log = log_end();
    json_t *j = line_with(log, "gone-1");
    assert_int_equal(json_integer_value(tc_at(j, "status")), 499);
    assert_true(json_is_null(tc_at(j, "finish")));
    json_decref(j);
    sr_free(log);
}

static void traces_come_back_if_they_are_traces(void **state)
{
    (void)state;
    static const char *const bad[] = {"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                      "00-short-00f067aa0ba902b7-01", "x"};
    tc_server s = {0};
    tc_reply  r = {0};
    char      v[100], h[200];
    tc_start(&s);
    tc_ask(&s, "GET", "/v1/models", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\r\n", NULL, &r);
    assert_string_equal(tc_header(&r, "Traceparent", v, sizeof v), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");
    tc_reply_end(&r);
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        snprintf(h, sizeof h, "traceparent: %s\r\n", bad[i]);
        tc_ask(&s, "GET", "/v1/models", h, NULL, &r);
        assert_null(tc_header(&r, "Traceparent", v, sizeof v));
        tc_reply_end(&r);
    }
    tc_stop(&s);
}

static double metric(tc_server *s, const char *name, const char *labels)
{
    char n[200];
    snprintf(n, sizeof n, "vllm:%s{model_name=\"a\\\"b\",engine=\"0\"%s}", name, labels);
    return tc_metric(s, n);
}

static void the_figures_have_vllms_names_and_buckets(void **state)
{
    (void)state;
    static const char *const once[] = {"time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds",
        "request_prefill_time_seconds", "request_decode_time_seconds", "request_inference_time_seconds", "request_prompt_tokens",
        "request_generation_tokens", "request_max_num_generation_tokens", "request_params_n"};
    tc_server s = {.cfg.model_id = "a\"b", .null.rate = 2000};
    char      name[100];
    tc_start(&s);
    json_decref(tc_put(&s, CHAT, 200, "{" HI "}"));
    json_decref(tc_put(&s, CHAT, 200, "{" HI ",'max_tokens':3}"));
    for (size_t i = 0; i < SR_COUNT(once); i++) {
        snprintf(name, sizeof name, "%s_count", once[i]);
        assert_true(metric(&s, name, "") == 2);
        snprintf(name, sizeof name, "%s_bucket", once[i]);
        assert_true(metric(&s, name, ",le=\"+Inf\"") == 2);
    }
    assert_true(metric(&s, "request_params_max_tokens_count", "") == 1);
    assert_true(metric(&s, "request_params_max_tokens_bucket", ",le=\"5\"") == 1);
    assert_true(metric(&s, "request_params_max_tokens_bucket", ",le=\"2\"") == 0);
    assert_true(metric(&s, "inter_token_latency_seconds_count", "") == (double)s.ids.n - 1 + 2);
    assert_true(metric(&s, "request_generation_tokens_sum", "") == (double)s.ids.n + 3);
    assert_true(metric(&s, "request_max_num_generation_tokens_sum", "") == (double)s.ids.n + 3);
    json_decref(tc_put(&s, CHAT, 200, "{" HI ",'n':2,'max_tokens':2}"));
    assert_true(metric(&s, "request_max_num_generation_tokens_sum", "") == (double)s.ids.n + 5); /* the longest of two */
    assert_true(metric(&s, "request_generation_tokens_sum", "") == (double)s.ids.n + 7);
    assert_true(metric(&s, "time_to_first_token_seconds_bucket", ",le=\"2560\"") == 3);
    assert_true(metric(&s, "e2e_request_latency_seconds_bucket", ",le=\"0.3\"") <= metric(&s, "e2e_request_latency_seconds_bucket", ",le=\"7680\""));
    assert_true(metric(&s, "request_success_total", ",finished_reason=\"stop\"") == 1);
    assert_true(metric(&s, "request_success_total", ",finished_reason=\"length\"") == 3);
    assert_true(metric(&s, "request_success_total", ",finished_reason=\"abort\"") == 0);
    assert_true(metric(&s, "num_requests_running", "") == 0 && metric(&s, "num_requests_waiting", "") == 0);
    assert_true(metric(&s, "kv_cache_usage_perc", "") == 0);
    assert_true(metric(&s, "generation_tokens_total", "") == tc_metric(&s, "strata_generated_tokens_total"));
    assert_true(metric(&s, "cache_config_info", ",block_size=\"16\",num_gpu_blocks=\"8192\"") == 1);
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_one_line),
        cmocka_unit_test(a_client_that_leaves_is_a_line_too),
        cmocka_unit_test(traces_come_back_if_they_are_traces),
        cmocka_unit_test(the_figures_have_vllms_names_and_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
