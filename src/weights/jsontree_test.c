/* jsontree_test.c - what is JSON is read as it is, what is not is refused with its place. */
#include "weights/jsontree.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"

static void members_keep_their_order_and_kind(void **state)
{
    (void)state;
    const char  text[] = " {\"b\": 12, \"a\":-0.5e1 ,\"s\":\"x\\n\\u00e9\\ud83d\\ude00\\\"\", \"o\":{\"p\":{}}, \"l\":[1,[2]], \"t\":true,\"n\":null,\"h\":12345678901234567890}\n";
    sr_jsontree t;
    sr_err      err = {0};
    assert_int_equal(sr_jsontree_parse(text, sizeof text - 1, &t, &err), SR_OK);
    const char *const        key[]  = {"b", "a", "s", "o", "l", "t", "n", "h"};
    static const sr_jsonkind kind[] = {SR_JSON_WHOLE, SR_JSON_REAL, SR_JSON_STRING, SR_JSON_OBJECT, SR_JSON_OTHER, SR_JSON_OTHER, SR_JSON_OTHER, SR_JSON_REAL};
    const sr_jsonnode       *m      = sr_json_first(&t, t.node);
    for (size_t i = 0; i < SR_COUNT(key); i++, m = sr_json_next(&t, m)) {
        assert_non_null(m);
        assert_string_equal(m->key, key[i]);
        assert_int_equal(m->kind, kind[i]);
    }
    assert_null(m);
    assert_int_equal(sr_json_member(&t, t.node, "b")->whole, 12);
    assert_true(sr_json_member(&t, t.node, "a")->number == -5);
    assert_string_equal(sr_json_member(&t, t.node, "s")->text, "x\n\xc3\xa9\xf0\x9f\x98\x80\"");
    assert_non_null(sr_json_member(&t, sr_json_member(&t, t.node, "o"), "p"));
    assert_null(sr_json_member(&t, sr_json_member(&t, t.node, "l"), "p"));
    assert_null(sr_json_member(&t, t.node, "zz"));
    sr_jsontree_end(&t);
}

static void refuses(const char *text, size_t n, const char *says)
{
    sr_jsontree t;
    sr_err      err = {0};
    assert_int_equal(sr_jsontree_parse(text, n, &t, &err), SR_INVALID);
    if (!strstr(err.msg, says))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
    assert_null(t.node);
}

static void what_is_no_json_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct { const char *text, *says; } bad[] = {
        {"", "the text ends"}, {"{", "a key expected"}, {"{\"a\"}", "\":\" expected"}, {"{\"a\":}", "a value expected"}, {"{\"a\":1,}", "a key expected"},
        {"{\"a\":1 \"b\":2}", "\",\" or \"}\""}, {"[1,]", "a value expected"}, {"[1", "\",\" or \"]\""}, {"01", "no number"}, {"-", "no number"},
        {"1.", "no digit behind"}, {"1e", "no digit in"}, {"1e999", "too large"}, {"+1", "a value expected"}, {".5", "a value expected"}, {"NaN", "a value expected"},
        {"tru", "a word"}, {"\"a", "ends in a string"}, {"\"a\\", "ends in a string"}, {"\"\\x\"", "an escape"}, {"\"\\u12\"", "an escape"},
        {"\"\\ud800\"", "half of a surrogate"}, {"\"\\ud800\\u0041\"", "half of a surrogate"}, {"\"\\udc00\"", "half of a surrogate"}, {"\"\\u0000\"", "a NUL"},
        {"\"\t\"", "a control character"}, {"\"\xc0\x80\"", "not UTF-8"}, {"\"\xed\xa0\x80\"", "not UTF-8"}, {"\"\xf4\x90\x80\x80\"", "not UTF-8"}, {"\"\xe2\x82\"", "not UTF-8"},
        {"{\"a\":1,\"a\":2}", "duplicate"}, {"1 2", "behind the end"}, {"{}x", "behind the end"},
        {"{\n\n  \"a\" 1}", "line 3, column 7"},
        {"11111111111111111111111111111111111111111111111111111111111111111", "too many digits"},
    };
    for (size_t i = 0; i < SR_COUNT(bad); i++)
        refuses(bad[i].text, strlen(bad[i].text), bad[i].says);
    refuses("1\0", 2, "behind the end");
}

static void depth_and_number_of_values_have_limits(void **state)
{
    (void)state;
    static char many[3 * 5000];
    char        deep[64];
    sr_jsontree t;
    sr_err      err = {0};
    memset(deep, '[', 17);
    memset(deep + 17, ']', 17);
    refuses(deep, 34, "deeper than 16");
    assert_int_equal(sr_jsontree_parse(deep + 1, 32, &t, &err), SR_OK);
    sr_jsontree_end(&t);
    for (size_t i = 0; i < 5000; i++)
        memcpy(many + 2 * i, i ? ",1" : "[1", 2);
    many[10000] = ']';
    refuses(many, 10001, "more values");
}

static void every_cut_of_a_text_is_refused(void **state)
{
    (void)state;
    const char  text[] = "{\"a\":{\"b\":-1.5e+3,\"c\":\"\\u00e9x\"},\"d\":[true,false,null]}";
    sr_jsontree t;
    for (size_t n = 0; n < sizeof text - 1; n++) {
        char  *copy = sr_malloc(n + 1); /* of just that length: a checker sees reads behind it */
        sr_err err  = {0};
        assert_non_null(copy);
        memcpy(copy, text, n);
        assert_int_equal(sr_jsontree_parse(copy, n, &t, &err), SR_INVALID);
        sr_free(copy);
    }
}

static void no_memory_is_told(void **state)
{
    (void)state;
    for (int n = 1; n <= 2; n++) {
        sr_jsontree t;
        sr_err      err = {0};
        sr_fault_arm(SR_FAULT_ALLOC, (uint64_t)n);
        assert_int_equal(sr_jsontree_parse("{}", 2, &t, &err), SR_NOMEM);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
    }
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(members_keep_their_order_and_kind), cmocka_unit_test(what_is_no_json_is_refused_with_its_place),
        cmocka_unit_test(depth_and_number_of_values_have_limits), cmocka_unit_test(every_cut_of_a_text_is_refused), cmocka_unit_test(no_memory_is_told),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
