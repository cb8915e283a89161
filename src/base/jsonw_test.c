#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "base/jsonw.h"

static void a_nested_document_is_written_in_order(void **state)
{
    (void)state;
    sr_buf   b = {0};
    sr_jsonw w = {.out = &b};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "s", "x");
    sr_json_arr(&w, "a");
    sr_json_int(&w, NULL, INT64_MIN);
    sr_json_uint(&w, NULL, UINT64_MAX);
    sr_json_obj(&w, NULL);
    sr_json_end(&w);
    sr_json_arr(&w, NULL);
    sr_json_end(&w);
    sr_json_end(&w);
    sr_json_bool(&w, "t", true);
    sr_json_bool(&w, "f", false);
    sr_json_null(&w, "n");
    sr_json_str(&w, "absent", NULL);
    sr_json_raw(&w, "raw", "[1, 2]", 6);
    sr_json_end(&w);
    assert_string_equal(b.p, "{\"s\":\"x\",\"a\":[-9223372036854775808,18446744073709551615,{},[]],\"t\":true,"
                             "\"f\":false,\"n\":null,\"absent\":null,\"raw\":[1, 2]}");
    assert_int_equal(w.depth, 0);
    sr_buf_end(&b);
}

static void indentation_gives_one_member_per_line(void **state)
{
    (void)state;
    sr_buf   b = {0};
    sr_jsonw w = {.out = &b, .indent = 2};
    sr_json_obj(&w, NULL);
    sr_json_arr(&w, "a");
    sr_json_int(&w, NULL, 1);
    sr_json_int(&w, NULL, 2);
    sr_json_end(&w);
    sr_json_obj(&w, "empty");
    sr_json_end(&w);
    sr_json_end(&w);
    assert_string_equal(b.p, "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"empty\": {}\n}");
    sr_buf_end(&b);
}

static void quoted(const char *in, size_t n, const char *want)
{
    sr_buf b = {0};
    sr_json_quote(&b, in, n);
    assert_string_equal(b.p, want);
    sr_buf_end(&b);
}

static void control_characters_quotes_and_backslashes_are_escaped(void **state)
{
    (void)state;
    quoted("a\"b\\c\n\r\t/", 9, "\"a\\\"b\\\\c\\n\\r\\t/\"");
    quoted("\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\"");
    quoted("", 0, "\"\"");
}

static void bytes_that_are_not_utf8_become_the_replacement_character(void **state)
{
    (void)state;
#define R "\xef\xbf\xbd"
    quoted("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    quoted("a\xff" "b", 3, "\"a" R "b\"");
    quoted("\xc3", 1, "\"" R "\"");                     /* cut */
    quoted("\xe2\x82", 2, "\"" R R "\"");               /* cut */
    quoted("\xc0\xaf", 2, "\"" R R "\"");               /* overlong */
    quoted("\xe0\x80\xaf", 3, "\"" R R R "\"");         /* overlong */
    quoted("\xed\xa0\x80", 3, "\"" R R R "\"");         /* surrogate */
    quoted("\xf4\x90\x80\x80", 4, "\"" R R R R "\"");   /* above U+10FFFF */
    quoted("\xf5\x80\x80\x80", 4, "\"" R R R R "\"");
    quoted("\xc3\"", 2, "\"" R "\\\"\"");               /* the quote after a cut sequence is still escaped */
#undef R
}

static void number(double v, const char *want)
{
    sr_buf   b = {0};
    sr_jsonw w = {.out = &b};
    sr_json_num(&w, NULL, v);
    assert_string_equal(b.p, want);
    sr_buf_end(&b);
}

static void numbers_are_short_and_read_back_the_same(void **state)
{
    (void)state;
    number(0.1, "0.1");
    number(1.0 / 3, "0.3333333333333333");
    number(1e300, "1e+300");
    number(-0.0, "-0");
    number(NAN, "null");
    number(-INFINITY, "null");
    sr_buf   b = {0};
    sr_jsonw w = {.out = &b};
    sr_json_arr(&w, NULL);
    sr_json_f32(&w, NULL, 0.1f);
    sr_json_f32(&w, NULL, 1e-5f);
    sr_json_f32(&w, NULL, 16777217.0f);
    sr_json_f32(&w, NULL, INFINITY);
    sr_json_end(&w);
    assert_string_equal(b.p, "[0.1,1e-05,16777216,null]");
    sr_buf_end(&b);
}

static void a_full_buffer_is_reported_and_nothing_is_written_past_it(void **state)
{
    (void)state;
    sr_buf   b = {.limit = 10};
    sr_jsonw w = {.out = &b};
    sr_json_arr(&w, NULL);
    for (int i = 0; i < 100; i++)
        sr_json_int(&w, NULL, i);
    sr_json_end(&w);
    assert_true(b.failed);
    assert_true(b.n <= 10);
    sr_buf_end(&b);
}

static void every_failing_allocation_is_reported(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        sr_buf   b = {0};
        sr_jsonw w = {.out = &b};
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        sr_json_arr(&w, NULL);
        for (int i = 0; i < 200; i++)
            sr_json_str(&w, NULL, "some text\n");
        sr_json_end(&w);
        bool fired = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(b.failed, fired);
        sr_buf_end(&b);
        if (!fired)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_nested_document_is_written_in_order),
        cmocka_unit_test(indentation_gives_one_member_per_line),
        cmocka_unit_test(control_characters_quotes_and_backslashes_are_escaped),
        cmocka_unit_test(bytes_that_are_not_utf8_become_the_replacement_character),
        cmocka_unit_test(numbers_are_short_and_read_back_the_same),
        cmocka_unit_test(a_full_buffer_is_reported_and_nothing_is_written_past_it),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
