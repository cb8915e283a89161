/* --limits: what is named is set, the rest stays; what is wrong is named. */
#include "app/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"

static void what_is_named_is_set_and_the_rest_stays(void **state)
{
    (void)state;
    sr_servelimits l = {.messages = 7, .stops = 3, .conns = 5};
    sr_servetimes  t = {.drain = 4000, .idle = 1};
    sr_err         err = {0};
    assert_int_equal(sr_limits_read("body_bytes=64MiB,messages=8192,head_seconds=20,silence_seconds=3,body_seconds=9", &l, &t, &err), SR_OK);
    assert_int_equal(l.body_bytes, 64u << 20);
    assert_int_equal(l.messages, 8192);
    assert_int_equal(t.head, 20000);
    assert_int_equal(t.body, 3000);
    assert_int_equal(t.request, 9000);
    assert_true(l.stops == 3 && l.conns == 5 && t.drain == 4000 && t.idle == 1 && !l.header_bytes && !l.json_depth);
    assert_int_equal(sr_limits_read("header_bytes=1MiB,url_bytes=1K,bodies_bytes=1G,requests=2,json_depth=9,json_values=100,prompts=6,choices=5,inputs=4,numbers=3,"
                                    "stop_strings=2,stop_bytes=1,logit_bias=2048,idle_seconds=8,write_seconds=7,ping_seconds=6", &l, &t, &err), SR_OK);
    assert_true(l.header_bytes == 1 << 20 && l.url_bytes == 1000 && l.bodies_bytes == 1000000000 && l.requests == 2 && l.json_depth == 9 && l.json_values == 100);
    assert_true(l.prompts == 6 && l.choices == 5 && l.inputs == 4 && l.numbers == 3 && l.stops == 2 && l.stop_bytes == 1 && l.bias == 2048);
    assert_true(t.idle == 8000 && t.write == 7000 && t.ping == 6000);
    assert_int_equal(sr_limits_read("", &l, &t, &err), SR_OK);
    assert_int_equal(sr_limits_read(",messages=1,", &l, &t, &err), SR_OK);
    assert_int_equal(l.messages, 1);
}

static void what_is_wrong_is_named_and_nothing_is_set(void **state)
{
    (void)state;
    static const struct { const char *list, *why; } bad[] = {
        {"bodybytes=1M", "\"bodybytes\" is not the name of a limit"}, {"messages=0", "messages 0: must be in 1"}, {"messages=x", "messages \"x\""}, {"body_bytes=5", "body_bytes 5: must be in"},
        {"body_bytes=-1", "body_bytes"}, {"messages", "messages"}, {"=5", "\"\" is not the name"}, {"messages=1,messages=2", "messages"}, {"help", "\"help\" is not the name"}, {"-x", "-x"},
        {"logit_bias=4096", "2048"}, {"json_depth=99999", "1024"}, {"head_seconds=1.5", "head_seconds"}};
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_servelimits l = {0};
        sr_servetimes  t = {0};
        sr_err         err = {0};
        if (sr_limits_read(bad[i].list, &l, &t, &err) != SR_INVALID || !strstr(err.msg, bad[i].why) || strncmp(err.msg, "--limits: ", 10) || l.messages || l.body_bytes)
            fail_msg("%s: %s", bad[i].list, err.msg);
    }
    sr_buf         many = {0};
    sr_servelimits l = {0};
    sr_servetimes  t = {0};
    sr_err         err = {0};
    for (int i = 0; i < 2000; i++)
        sr_buf_str(&many, "messages=1,");
    assert_int_equal(sr_limits_read(many.p, &l, &t, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "more than"));
    sr_buf_end(&many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_named_is_set_and_the_rest_stays), cmocka_unit_test(what_is_wrong_is_named_and_nothing_is_set)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
