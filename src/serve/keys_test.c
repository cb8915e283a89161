/* API keys: their file, their limits, what of them can be seen, and that the time of a comparison tells nothing. */
#include "serve/test_client.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "serve/keys.h"

#define CHAT "/v1/chat/completions"
static const char hello[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
static const char streamed[] = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

static void lines_are_keys_with_what_limits_them(void **state)
{
    (void)state;
    char text[] = "# who may\n\nplain\nsk-with:colons:3 name=alice at-once=4 per-minute=60\r\n   \n\tindented\tper-minute=100000 name=b.o_b-2\nlast at-once=100000";
    sr_servekey k[8];
    uint32_t    n = 1; /* one is there already */
    sr_err      err = {0};
    assert_int_equal(sr_keyfile_parse(text, k, 8, &n, &err), SR_OK);
    assert_int_equal(n, 5);
    assert_string_equal(k[1].key, "plain");
    assert_true(!k[1].name && !k[1].at_once && !k[1].per_minute);
    assert_string_equal(k[2].key, "sk-with:colons:3");
    assert_string_equal(k[2].name, "alice");
    assert_true(k[2].at_once == 4 && k[2].per_minute == 60);
    assert_string_equal(k[3].key, "indented");
    assert_string_equal(k[3].name, "b.o_b-2");
    assert_true(k[3].at_once == 0 && k[3].per_minute == 100000);
    assert_true(k[4].at_once == 100000 && !k[4].per_minute);
}

static void wrong_lines_are_named_and_keys_are_not_shown(void **state)
{
    (void)state;
    static const struct { const char *text, *says; } t[] = {
        {"a\nCANARY CANARY\n", "line 2: behind the key come"},
        {"CANARY at-once=0", "at-once must be a number from 1 to 100000"},
        {"CANARY at-once=100001", "at-once must be"},
        {"CANARY at-once=99999999999999999999", "at-once must be"},
        {"CANARY per-minute=1x", "per-minute must be"},
        {"CANARY per-minute=", "per-minute must be"},
        {"CANARY per-minute=-1", "per-minute must be"},
        {"CANARY at-once=1 at-once=2", "at-once stands there twice"},
        {"CANARY name=a name=b", "name stands there twice"},
        {"CANARY name=", "a name is"},
        {"CANARY name=a\"b", "a name is"},
        {"CANARY name=\xc3\xa4", "a name is"},
        {"CANARY name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a name is"},
        {"1\n2\n3\n4\nCANARY", "line 5: more than 4 keys"},
    };
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        char       *text = strdup(t[i].text);
        sr_servekey k[4];
        uint32_t    n = 0;
        sr_err      err = {0};
        assert_int_equal(sr_keyfile_parse(text, k, 4, &n, &err), SR_INVALID);
        if (!strstr(err.msg, t[i].says) || strstr(err.msg, "CANARY"))
            fail_msg("%s: %s", t[i].says, err.msg);
        free(text);
    }
}

static void keys_and_names_are_there_once(void **state)
{
    (void)state;
    static const sr_servekey same_key[] = {{.key = "CANARY"}, {.key = "other"}, {.key = "CANARY", .name = "x"}};
    static const sr_servekey same_name[] = {{.key = "a", .name = "key-2"}, {.key = "b"}};
    sr_keys *t = NULL;
    sr_err   err = {0};
    assert_int_equal(sr_keys_open(same_key, 3, &t, &err), SR_INVALID);
    assert_string_equal(err.msg, "API keys 1 and 3 have the same key");
    err = (sr_err){0};
    assert_int_equal(sr_keys_open(same_name, 2, &t, &err), SR_INVALID);
    assert_string_equal(err.msg, "API keys 1 and 2 have the same name");
    assert_null(t);
}

static void limits_hold_over_any_minute(void **state)
{
    (void)state;
    static const sr_servekey key[] = {{.key = "a", .at_once = 2}, {.key = "b", .per_minute = 3}, {.key = "c"}};
    const uint64_t s = 1000000000;
    sr_keys *t = NULL;
    sr_err   err = {0};
    uint32_t retry = 0;
    assert_int_equal(sr_keys_open(key, 3, &t, &err), SR_OK);
    assert_int_equal(sr_keys_take(t, 1, 0, &retry), SR_KEY_OK);
    assert_int_equal(sr_keys_take(t, 1, 0, &retry), SR_KEY_OK);
    assert_int_equal(sr_keys_take(t, 1, 0, &retry), SR_KEY_BUSY);
    assert_int_equal(retry, 1);
    sr_keys_release(t, 1, 10, 20);
    assert_int_equal(sr_keys_take(t, 1, 0, &retry), SR_KEY_OK);
    assert_true(sr_keys_stat(t, 1)->running == 2 && sr_keys_stat(t, 1)->requests == 3 && sr_keys_stat(t, 1)->refused[0] == 1);
    assert_true(sr_keys_stat(t, 1)->prompt == 10 && sr_keys_stat(t, 1)->made == 20);
    for (int i = 0; i < 3; i++) { /* at 100, 120, 140 s */
        assert_int_equal(sr_keys_take(t, 2, (100 + 20 * (uint64_t)i) * s, &retry), SR_KEY_OK);
        sr_keys_release(t, 2, 0, 0);
    }
    assert_int_equal(sr_keys_take(t, 2, 140 * s, &retry), SR_KEY_FAST);
    assert_int_equal(retry, 20);
    assert_int_equal(sr_keys_take(t, 2, 160 * s - 1, &retry), SR_KEY_FAST);
    assert_int_equal(retry, 1);
    assert_int_equal(sr_keys_take(t, 2, 160 * s, &retry), SR_KEY_OK); /* the one at 100 s is a minute ago */
    assert_int_equal(sr_keys_take(t, 2, 161 * s, &retry), SR_KEY_FAST);
    assert_int_equal(retry, 19);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(sr_keys_take(t, 3, 100 * s, &retry), SR_KEY_OK);
    sr_keys_close(t);
}

static int status_of(tc_server *s, const char *key, const char *method, const char *path, const char *body, tc_reply *r)
{
    char head[100];
    snprintf(head, sizeof head, "Authorization: Bearer %s\r\n", key);
    tc_ask(s, method, path, head, body, r);
    return r->status;
}

static int ask(tc_server *s, const char *key, const char *method, const char *path, const char *body)
{
    tc_reply r = {0};
    int status = status_of(s, key, method, path, body, &r);
    tc_reply_end(&r);
    return status;
}

static void begin_stream(tc_server *s, const char *key, tc_conn *c)
{
    char q[400];
    tc_open(c, s->at);
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nx-api-key: %s\r\nContent-Length: %zu\r\n\r\n%s", key, strlen(streamed), streamed);
    tc_say(c, q);
    assert_true(tc_until(c, "content", 5000));
}

static void too_many_at_once_are_told_which_limit_and_when(void **state)
{
    (void)state;
    static const sr_servekey key[] = {{.key = "CANARY-1", .name = "alice", .at_once = 2}, {.key = "CANARY-2", .name = "bob"}};
    tc_server s = {.cfg = {.keys = key, .n_keys = 2}, .null = {.endless = true, .rate = 100}, .ctx = 100000};
    tc_conn   c[3];
    tc_reply  r = {0};
    char      v[64];
    tc_start(&s);
    begin_stream(&s, "CANARY-1", &c[0]);
    begin_stream(&s, "CANARY-1", &c[1]);
    assert_true(tc_metric(&s, "strata_key_requests_running{key=\"alice\"}") == 2);
    assert_int_equal(status_of(&s, "CANARY-1", "POST", CHAT, hello, &r), 429);
    assert_non_null(strstr(r.body.p, "2 requests at once"));
    assert_non_null(strstr(r.body.p, "rate_limit_exceeded"));
    assert_string_equal(tc_header(&r, "Retry-After", v, sizeof v), "1");
    tc_reply_end(&r);
    assert_int_equal(ask(&s, "CANARY-1", "GET", "/v1/models", NULL), 200); /* looking is free */
    begin_stream(&s, "CANARY-2", &c[2]);                                   /* others are not touched */
    tc_close(&c[0]);                                                       /* left: its place is free again */
    tc_wait_metric(&s, "strata_key_requests_running{key=\"alice\"}", 1);
    begin_stream(&s, "CANARY-1", &c[0]);
    for (int i = 0; i < 3; i++)
        tc_close(&c[i]);
    tc_wait_metric(&s, "strata_key_requests_running{key=\"alice\"}", 0);
    tc_wait_metric(&s, "strata_key_requests_running{key=\"bob\"}", 0);
    assert_true(tc_metric(&s, "strata_key_requests_total{key=\"alice\"}") == 3);
    assert_true(tc_metric(&s, "strata_key_requests_refused_total{key=\"alice\",limit=\"at_once\"}") == 1);
    assert_true(tc_metric(&s, "strata_key_generated_tokens_total{key=\"alice\"}") > 0);
    assert_true(tc_metric(&s, "strata_key_prompt_tokens_total{key=\"bob\"}") > 0);
    assert_int_equal(status_of(&s, "CANARY-2", "GET", "/metrics", NULL, &r), 200);
    assert_null(strstr(r.body.p, "CANARY"));
    tc_reply_end(&r);
    tc_stop(&s);
}

/* However a request ends, its place is free again. */
static void places_come_back_whatever_becomes_of_a_request(void **state)
{
    (void)state;
    static const sr_servekey key[] = {{.key = "k", .at_once = 1}};
    tc_server s = {.cfg = {.keys = key, .n_keys = 1, .limits.body_bytes = 1000, .times = {.body = 200}}};
    tc_conn   c;
    tc_reply  r = {0};
    tc_start(&s);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&s, "k", "POST", CHAT, hello), 200);
        assert_int_equal(ask(&s, "k", "POST", CHAT, "{"), 400);
        assert_int_equal(ask(&s, "k", "POST", "/v1/embeddings", "{}") >= 400, 1);
        assert_int_equal(ask(&s, "k", "POST", "/tokenize", "{\"content\":\"a\"}"), 200);
        assert_int_equal(ask(&s, "k", "POST", "/api/show", "{\"model\":\"strata/test\"}"), 200);
        assert_int_equal(ask(&s, "k", "POST", "/api/show", "{}"), 400);
        tc_open(&c, s.at); /* a body that stops coming */
        tc_say(&c, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nx-api-key: k\r\nContent-Length: 100\r\n\r\n{");
        tc_reply_read(&c, &r);
        assert_int_equal(r.status, 408);
        tc_reply_end(&r);
        tc_close(&c);
        tc_open(&c, s.at); /* a client that leaves within its body */
        tc_say(&c, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nx-api-key: k\r\nContent-Length: 100\r\n\r\n{");
        tc_wait_metric(&s, "strata_key_requests_running{key=\"key-1\"}", 1);
        tc_close(&c);
        tc_wait_metric(&s, "strata_key_requests_running{key=\"key-1\"}", 0);
        tc_open(&c, s.at); /* too large, found out on the way */
        tc_say(&c, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nx-api-key: k\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n");
        tc_reply_read(&c, &r);
        assert_int_equal(r.status, 413);
        tc_reply_end(&r);
        tc_close(&c);
    }
    tc_wait_metric(&s, "strata_key_requests_running{key=\"key-1\"}", 0);
    assert_true(tc_metric(&s, "strata_key_requests_refused_total{key=\"key-1\",limit=\"at_once\"}") == 0);
    tc_stop(&s);
}

static void too_many_a_minute_are_told_which_limit_and_when(void **state)
{
    (void)state;
    static const sr_servekey key[] = {{.key = "a", .per_minute = 3}, {.key = "b"}};
    tc_server s = {.cfg = {.keys = key, .n_keys = 2}};
    tc_reply  r = {0};
    char      v[64];
    tc_start(&s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&s, "a", "POST", CHAT, hello), 200);
    assert_int_equal(status_of(&s, "a", "POST", CHAT, hello, &r), 429);
    assert_non_null(strstr(r.body.p, "3 requests a minute"));
    long retry = strtol(tc_header(&r, "Retry-After", v, sizeof v), NULL, 10);
    assert_true(retry >= 50 && retry <= 60);
    tc_reply_end(&r);
    assert_int_equal(status_of(&s, "a", "POST", "/v1/messages", "{}", &r), 429); /* the same in the other dialects, in their form */
    assert_non_null(strstr(r.body.p, "\"type\":\"rate_limit_error\""));
    tc_reply_end(&r);
    assert_int_equal(ask(&s, "b", "POST", CHAT, hello), 200);
    assert_true(tc_metric(&s, "strata_key_requests_refused_total{key=\"key-1\",limit=\"per_minute\"}") == 2);
    tc_stop(&s);
}

/* ---- time -------------------------------------------------------------------------------------------------- */

enum { CALLS = 1000000, KEY = 48 };
typedef uint32_t compare(void *with, const char *given, size_t n);

static uint32_t by_table(void *with, const char *given, size_t n) { return sr_keys_find(with, given, n); }

/* What must not be: a comparison that stops at the first byte that differs. */
static uint32_t by_hasty_loop(void *with, const char *given, size_t n)
{
    const volatile char *a = with, *b = given;
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

/* Welch's t of the times of two kinds of wrong keys: one differs in its first byte, the other in its last.  In turn by chance;
 * what was interrupted (longer than four medians) is left out of both. */
static double t_of(compare *f, void *with, const char *right)
{
    static float ns[CALLS];
    static bool  kind[CALLS];
    static float sorted[1001];
    char     wrong[2][KEY + 1];
    uint64_t x = 88172645463325252u;
    for (int k = 0; k < 2; k++)
        memcpy(wrong[k], right, KEY + 1);
    wrong[0][0] ^= 1, wrong[1][KEY - 1] ^= 1;
    char given[KEY + 1];
    for (int i = 0; i < CALLS; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        kind[i] = x >> 40 & 1;
        memcpy(given, wrong[kind[i]], sizeof given); /* both from the same address */
        uint64_t t0 = sr_now_ns();
        uint32_t found = f(with, given, KEY);
        ns[i] = (float)(sr_now_ns() - t0);
        assert_int_equal(found, 0);
    }
    for (int i = 0; i < 1001; i++) { /* the median of a sample */
        float v = ns[i * 997];
        int   at = i;
        for (; at > 0 && sorted[at - 1] > v; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = v;
    }
    double n[2] = {0}, mean[2] = {0}, m2[2] = {0};
    for (int i = 0; i < CALLS; i++) {
        if (ns[i] > 4 * sorted[500])
            continue;
        int    k = kind[i];
        double d = ns[i] - mean[k];
        mean[k] += d / ++n[k];
        m2[k] += d * (ns[i] - mean[k]);
    }
    return (mean[0] - mean[1]) / sqrt(m2[0] / (n[0] * (n[0] - 1)) + m2[1] / (n[1] * (n[1] - 1)));
}

/* Less than 4.5 is what chance makes of a million calls; a leak gives hundreds, every time.  A machine that is busy with
 * other things may be beyond it once, not three times. */
static void the_time_of_a_comparison_says_nothing(void **state)
{
    (void)state;
    static const char right[] = "sk-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHI";
    _Static_assert(sizeof right == KEY + 1, "as long as it says");
    const sr_servekey key[] = {{.key = "first-of-three"}, {.key = right}, {.key = "third-of-three"}};
    sr_keys *t = NULL;
    sr_err   err = {0};
    double   found = 0, hasty = 0;
    assert_int_equal(sr_keys_open(key, 3, &t, &err), SR_OK);
    assert_int_equal(sr_keys_find(t, right, KEY), 2);
    for (int i = 0; i < 3 && (i == 0 || fabs(found) >= 4.5); i++)
        found = t_of(by_table, t, right);
    for (int i = 0; i < 3 && fabs(hasty) <= 4.5; i++)
        hasty = t_of(by_hasty_loop, (void *)(uintptr_t)right, right);
    print_message("t of the table %.2f, of a loop that stops early %.2f\n", found, hasty);
    assert_true(fabs(found) < 4.5);
    assert_true(fabs(hasty) > 4.5); /* the measure would see it */
    sr_keys_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_keys_with_what_limits_them),
        cmocka_unit_test(wrong_lines_are_named_and_keys_are_not_shown),
        cmocka_unit_test(keys_and_names_are_there_once),
        cmocka_unit_test(limits_hold_over_any_minute),
        cmocka_unit_test(too_many_at_once_are_told_which_limit_and_when),
        cmocka_unit_test(places_come_back_whatever_becomes_of_a_request),
        cmocka_unit_test(too_many_a_minute_are_told_which_limit_and_when),
        cmocka_unit_test(the_time_of_a_comparison_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
