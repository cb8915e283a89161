#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "text/detok.h"
#include "text/tiny_vocab.h"
#include "text/tokenizer_internal.h"

static sr_tokenizer *tok; /* byte-level: its tokens 0..252 are single bytes, so that any text can be fed byte by byte */

static int setup(void **state)
{
    sr_err err = {0};
    (void)state;
    return tiny_tokenizer("bpe:qwen2", &tok, &err) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sr_tokenizer_close(tok);
    return 0;
}

static int32_t byte_id(unsigned char b)
{
    char    c[4];
    int32_t id = sr_tokenizer_find(tok, c, sr_gpt2_encode(b, c));
    if (id < 0)
        fail_msg("no token for byte %02x", b);
    return id;
}

static sr_detok *start(const char *const *stop, size_t n, bool include_stop)
{
    sr_stopstr list[8];
    sr_detok  *d   = NULL;
    sr_err     err = {0};
    for (size_t i = 0; i < n; i++)
        list[i] = (sr_stopstr){stop[i], strlen(stop[i])};
    if (sr_detok_open(tok, list, n, include_stop, false, &d, &err))
        fail_msg("%s", err.msg);
    return d;
}

/* Feeds text[0..n) byte by byte; what came out before the flush is out[0..*before). */
static size_t feed(sr_detok *d, const char *text, size_t n, sr_buf *out)
{
    size_t stopped = 0;
    sr_err err     = {0};
    for (size_t i = 0; i < n; i++)
        assert_int_equal(sr_detok_push(d, byte_id((unsigned char)text[i]), out, &stopped, &err), SR_OK);
    return stopped;
}

static void expect(const char *text, const char *const *stop, size_t n_stop, bool include, size_t stopped, const char *now,
                   const char *later)
{
    sr_detok *d   = start(stop, n_stop, include);
    sr_buf    out = {0};
    sr_err    err = {0};
    assert_int_equal(feed(d, text, strlen(text), &out), stopped);
    assert_string_equal(out.p ? out.p : "", now);
    out.n = 0;
    assert_int_equal(sr_detok_flush(d, &out, &err), SR_OK);
    assert_string_equal(out.n ? out.p : "", later);
    sr_buf_end(&out);
    sr_detok_close(d);
}

static void half_a_code_point_is_held_until_it_is_whole(void **state)
{
    (void)state;
    sr_detok *d       = start(NULL, 0, false);
    sr_buf    out     = {0};
    sr_err    err     = {0};
    size_t    stopped = 0;
    static const char face[] = "\xF0\x9F\x98\x80";
    for (int i = 0; i < 4; i++) {
        assert_int_equal(out.n, 0);
        assert_int_equal(sr_detok_push(d, byte_id((unsigned char)face[i]), &out, &stopped, &err), SR_OK);
    }
    assert_string_equal(out.p, face);
    sr_buf_end(&out);
    sr_detok_close(d);
}

static void broken_bytes_become_one_mark_each(void **state)
{
    (void)state;
    expect("a\xFF" "b", NULL, 0, false, 0, "a\xEF\xBF\xBD" "b", "");
    expect("\xE6\x97x", NULL, 0, false, 0, "\xEF\xBF\xBDx", ""); /* one for what had begun well */
    expect("\xC3\xC3\xA9", NULL, 0, false, 0, "\xEF\xBF\xBD\xC3\xA9", "");
    expect("\xED\xA0\x80", NULL, 0, false, 0, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", ""); /* a surrogate */
    expect("\xC0\x80", NULL, 0, false, 0, "\xEF\xBF\xBD\xEF\xBF\xBD", "");                 /* overlong */
    expect("ok\xF0\x9F\x98", NULL, 0, false, 0, "ok", "\xEF\xBF\xBD");                      /* cut off at the end */
}

static void a_stop_string_ends_the_text_before_it(void **state)
{
    (void)state;
    expect("one END two", (const char *[]){"END"}, 1, false, 1, "one ", "");
    expect("one END two", (const char *[]){"END"}, 1, true, 1, "one END", "");
    expect("no such thing", (const char *[]){"END"}, 1, false, 0, "no such thing", "");
    expect("END", (const char *[]){"x", "END"}, 2, false, 2, "", "");
}

static void a_possible_beginning_is_held_and_given_back(void **state)
{
    (void)state;
    expect("one EN", (const char *[]){"END"}, 1, false, 0, "one ", "EN");
    expect("one ENTER", (const char *[]){"END"}, 1, false, 0, "one ENTER", "");
    expect("\n\nUs", (const char *[]){"\n\nUser:", "###"}, 2, false, 0, "", "\n\nUs");
}

static void overlapping_beginnings_fall_back_right(void **state)
{
    (void)state;
    expect("aaab", (const char *[]){"aab"}, 1, false, 1, "a", "");
    expect("abababc", (const char *[]){"ababc"}, 1, false, 1, "ab", "");
    expect("aaaa", (const char *[]){"aab"}, 1, false, 0, "aa", "aa");
    expect("x\n\n\nA:", (const char *[]){"\n\nA:"}, 1, false, 1, "x\n", "");
}

static void the_first_stop_to_complete_wins_and_the_longest_of_equals(void **state)
{
    (void)state;
    expect("abcd", (const char *[]){"abcd", "bc"}, 2, false, 2, "a", "");
    expect("xabc", (const char *[]){"c", "abc", "bc"}, 3, false, 2, "x", "");
}

static void stops_beyond_ascii_are_whole_characters(void **state)
{
    (void)state;
    expect("\xE6\x97\xA5\xE3\x80\x82x", (const char *[]){"\xE3\x80\x82"}, 1, false, 1, "\xE6\x97\xA5", "");
    expect("\xE6\x97\xA5\xE3\x80\x96x", (const char *[]){"\xE3\x80\x82"}, 1, false, 0, "\xE6\x97\xA5\xE3\x80\x96x", "");
}

static void after_a_stop_nothing_comes_out(void **state)
{
    (void)state;
    sr_detok *d       = start((const char *[]){"END"}, 1, false);
    sr_buf    out     = {0};
    sr_err    err     = {0};
    size_t    stopped = feed(d, "a END", 5, &out);
    assert_int_equal(stopped, 1);
    assert_int_equal(feed(d, " more END", 9, &out), 1);
    assert_int_equal(sr_detok_flush(d, &out, &err), SR_OK);
    assert_string_equal(out.p, "a ");
    sr_buf_end(&out);
    sr_detok_close(d);
}

/* Output must be valid UTF-8 at every step, and not depend on how the text was cut into tokens. */
static void cuts_between_tokens_do_not_matter(void **state)
{
    (void)state;
    static const char *const stop[] = {"abc", "ca'", "t t"};
    uint64_t                 seed   = 1;
    for (int i = 0; i < 3000; i++) {
        char   text[64];
        size_t n = 0;
        seed     = seed * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t r = seed >> 20; n < 20 + (seed >> 60); r = r * 25214903917u + 11, n++)
            text[n] = "abcdest '12\n.\xC3\xA9"[(r >> 16) % 15];
        sr_ids    ids = {0};
        sr_err    err = {0};
        sr_buf    one = {0}, two = {0};
        size_t    s1 = 0, s2 = 0;
        sr_detok *d1 = start(stop, 3, false), *d2 = start(stop, 3, false);
        assert_int_equal(sr_tokenizer_encode(tok, text, n, 0, &ids, &err), SR_OK);
        for (size_t k = 0; k < ids.n; k++)
            assert_int_equal(sr_detok_push(d1, ids.p[k], &one, &s1, &err), SR_OK);
        sr_buf whole = {0}; /* not `text`: this vocabulary has strings that are no tokens */
        assert_int_equal(sr_tokenizer_decode(tok, ids.p, ids.n, false, &whole, &err), SR_OK);
        s2 = feed(d2, whole.p, whole.n, &two);
        sr_buf_end(&whole);
        assert_int_equal(sr_detok_flush(d1, &one, &err), SR_OK);
        assert_int_equal(sr_detok_flush(d2, &two, &err), SR_OK);
        assert_int_equal(s1, s2);
        assert_int_equal(one.n, two.n);
        assert_true(one.n == 0 || memcmp(one.p, two.p, one.n) == 0);
        sr_ids_end(&ids);
        sr_buf_end(&one);
        sr_buf_end(&two);
        sr_detok_close(d1);
        sr_detok_close(d2);
    }
}

static void control_tokens_are_silent_or_text(void **state)
{
    (void)state;
    for (int special = 0; special < 2; special++) {
        sr_detok *d       = NULL;
        sr_buf    out     = {0};
        sr_err    err     = {0};
        size_t    stopped = 0;
        assert_int_equal(sr_detok_open(tok, NULL, 0, false, special, &d, &err), SR_OK);
        assert_int_equal(sr_detok_push(d, sr_tokenizer_find(tok, "<|end|>", 7), &out, &stopped, &err), SR_OK);
        assert_int_equal(sr_detok_push(d, 1 << 30, &out, &stopped, &err), SR_OK); /* no such token: no text */
        assert_string_equal(out.p ? out.p : "", special ? "<|end|>" : "");
        sr_buf_end(&out);
        sr_detok_close(d);
    }
}

static void bad_stop_strings_are_refused(void **state)
{
    (void)state;
    sr_detok *d   = NULL;
    sr_err    err = {0};
    assert_int_equal(sr_detok_open(tok, (sr_stopstr[]){{"x", 1}, {"", 0}}, 2, false, false, &d, &err), SR_INVALID);
    assert_string_equal(err.msg, "stop string 2 is empty");
    assert_null(d);
    err = (sr_err){0};
    assert_int_equal(sr_detok_open(tok, (sr_stopstr[]){{"a\xE2\x96", 3}}, 1, false, false, &d, &err), SR_INVALID);
    assert_string_equal(err.msg, "stop string 1 is not UTF-8");
}

static void failed_allocations_are_errors(void **state)
{
    (void)state;
    bool fired = true;
    for (uint64_t nth = 1; fired; nth++) {
        sr_detok *d       = NULL;
        sr_buf    out     = {0};
        sr_err    err     = {0};
        size_t    stopped = 0;
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        sr_status s = sr_detok_open(tok, (sr_stopstr[]){{"END", 3}}, 1, false, false, &d, &err);
        if (!s)
            s = sr_detok_push(d, byte_id('x'), &out, &stopped, &err);
        if (!s)
            s = sr_detok_flush(d, &out, &err);
        fired = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(s, fired ? SR_NOMEM : SR_OK);
        sr_buf_end(&out);
        sr_detok_close(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_a_code_point_is_held_until_it_is_whole),
        cmocka_unit_test(broken_bytes_become_one_mark_each),
        cmocka_unit_test(a_stop_string_ends_the_text_before_it),
        cmocka_unit_test(a_possible_beginning_is_held_and_given_back),
        cmocka_unit_test(overlapping_beginnings_fall_back_right),
        cmocka_unit_test(the_first_stop_to_complete_wins_and_the_longest_of_equals),
        cmocka_unit_test(stops_beyond_ascii_are_whole_characters),
        cmocka_unit_test(after_a_stop_nothing_comes_out),
        cmocka_unit_test(cuts_between_tokens_do_not_matter),
        cmocka_unit_test(control_tokens_are_silent_or_text),
        cmocka_unit_test(bad_stop_strings_are_refused),
        cmocka_unit_test(failed_allocations_are_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
