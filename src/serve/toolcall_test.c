/* Tool calls, their arguments and thoughts in the text of models: found whole, found byte by byte, and never made up. */
#include "serve/toolcall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "serve/reasoning.h"

static json_t *tools;

static int open_tools(void **state)
{
    (void)state;
    tools = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{"
                       "\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"}}}}},"
                       "{\"type\":\"function\",\"function\":{\"name\":\"get_weather\"}}]", 0, NULL);
    return tools ? 0 : -1;
}

static int close_tools(void **state)
{
    (void)state;
    json_decref(tools);
    return 0;
}

/* What was understood, as "text|f({..})|g({..})|text". */
static char *shown(const sr_pieces *q)
{
    sr_buf b = {0};
    bool   open = false;
    sr_buf_add(&b, "", 0);
    for (uint32_t i = 0; i < q->n; i++) {
        sr_piece x = sr_pieces_at(q, i);
        if (x.kind == SR_P_CALL || (open && x.kind != SR_P_ARGS)) {
            sr_buf_str(&b, open ? ")" : "");
            sr_buf_str(&b, b.n ? "|" : "");
            open = false;
        }
        sr_buf_str(&b, x.kind == SR_P_THOUGHT ? "~" : "");
        sr_buf_add(&b, sr_pieces_text(q, &x), x.n);
        sr_buf_str(&b, x.kind == SR_P_THOUGHT ? "~" : "");
        if (x.kind == SR_P_CALL) {
            sr_buf_char(&b, '(');
            open = true;
        }
    }
    sr_buf_str(&b, open ? ")" : "");
    assert_false(b.failed || sr_pieces_failed(q));
    return b.p;
}

static char *understood(const sr_toolfamily *f, const char *text, size_t step, uint32_t max, bool cut)
{
    sr_toolparse t;
    sr_pieces    q = {0};
    size_t       n = strlen(text);
    sr_toolparse_begin(&t, f, tools, max);
    for (size_t i = 0; i < n; i += step)
        sr_toolparse_push(&t, text + i, SR_MIN(step, n - i), &q);
    sr_toolparse_finish(&t, cut, &q);
    sr_toolparse_end(&t);
    char *s = shown(&q);
    sr_pieces_end(&q);
    return s;
}

static const sr_toolfamily *family(const char *sign) { return sr_toolfamily_of(sign); }
#define HERMES  family("... <tool_call> ...")
#define MISTRAL family("... [TOOL_CALLS] ...")
#define LLAMA   family("... Environment: ipython ...")
#define GENERIC family(NULL)

/* However the text is cut into tokens, the same comes out. */
static void expect(const sr_toolfamily *f, const char *text, const char *want)
{
    static const size_t steps[] = {1, 2, 3, 7, 16, 100000};
    for (size_t i = 0; i < SR_COUNT(steps); i++) {
        char *got = understood(f, text, steps[i], 0, false);
        if (strcmp(got, want))
            fail_msg("%s, %zu bytes at a time\n  text %s\n  got  %s\n  want %s", sr_toolfamily_name(f), steps[i], text, got, want);
        sr_free(got);
    }
}

static void templates_tell_the_family(void **state)
{
    (void)state;
    assert_string_equal(sr_toolfamily_name(HERMES), "hermes");
    assert_string_equal(sr_toolfamily_name(MISTRAL), "mistral");
    assert_string_equal(sr_toolfamily_name(LLAMA), "llama3");
    assert_string_equal(sr_toolfamily_name(family("<|python_tag|>")), "llama3");
    assert_string_equal(sr_toolfamily_name(GENERIC), "generic");
    assert_string_equal(sr_toolfamily_name(family("{% for m in messages %}")), "generic");
    assert_true(sr_toolfamily_short_ids(MISTRAL) && !sr_toolfamily_short_ids(HERMES));
    assert_true(sr_toolfamily_token(MISTRAL, "[TOOL_CALLS]", 12) && sr_toolfamily_token(MISTRAL, "[ARGS]", 6));
    assert_false(sr_toolfamily_token(MISTRAL, "<s>", 3) || sr_toolfamily_token(HERMES, "[ARGS]", 6));
}

static void text_alone_is_left_as_it_is(void **state)
{
    (void)state;
    static const char *const texts[] = {"", " ", "\n\n", "Hello.", "  Hello  \n", "a < b and <tool> and <tool_cal", "[TOOL_CALLS", "{", "[", "{}", "[1, 2]",
        "{\"name\":\"Ada\",\"age\":36}", "{\"a\": {\"name\": \"f\"}}", "{\"name\":\"unknown\",\"arguments\":{}}", "[{\"x\":1}]", "{not json}",
        "{\"name\":5}", "{\"name\":\"f\"", "<tool_call>", "<tool_call>oops</tool_call> more", "<function=", "<function=f", "<function=nope>x"};
    for (size_t i = 0; i < SR_COUNT(texts); i++) {
        if (strcmp(texts[i], "{\"name\":\"f\"")) {
            expect(GENERIC, texts[i], texts[i]);
            expect(LLAMA, texts[i], texts[i]);
            expect(HERMES, texts[i], texts[i]);
        }
    }
    expect(MISTRAL, "The mark [TOOL_CALLS] is a token. And {", "The mark [TOOL_CALLS] is a token. And {");
    expect(LLAMA, "<|python_tag|>import os", "<|python_tag|>import os");
}

static void hermes_puts_calls_between_tags(void **state)
{
    (void)state;
    expect(HERMES, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>", "f({\"a\": 1})");
    expect(HERMES, "Let me see.\n\n<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":[1,{\"b\":null}]}}</tool_call>",
           "Let me see.|f({\"a\":[1,{\"b\":null}]})");
    expect(HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>{\"name\":\"get_weather\",\"arguments\":{\"x\":\"</tool_call>\"}}</tool_call>\n",
           "f({})|get_weather({\"x\":\"</tool_call>\"})");
    expect(HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{}}\n{\"name\":\"f\",\"arguments\":{\"s\":\"\"}}</tool_call>", "f({})|f({\"s\":\"\"})");
    expect(HERMES, "<tool_call>{\"arguments\":{\"n\":2},\"name\":\"f\"}</tool_call> Done.", "f({\"n\":2})|Done.");
    expect(HERMES, "<tool_call>{\"name\":\"made_up\",\"arguments\":{}}</tool_call>", "made_up({})"); /* between tags it is meant */
    expect(HERMES, "<tool_call>{\"name\":\"f\"}</tool_call>", "f({})");
    expect(HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"s\\\":\\\"\\u00e4\\\"}\"}</tool_call>", "f({\"s\":\"\xc3\xa4\"})");
    expect(HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\n\\\"n\\\": 1}\"}</tool_call>", "f({\n\"n\": 1})");
    expect(HERMES, "<tool_call>[{\"name\":\"f\",\"arguments\":{}}]</tool_call>", "f({})");
}

static void coder_writes_parameters_in_tags(void **state)
{
    (void)state;
    expect(HERMES, "<tool_call>\n<function=f>\n<parameter=s>\n42\n</parameter>\n<parameter=n>\n42\n</parameter>\n</function>\n</tool_call>",
           "f({\"s\":\"42\",\"n\":42})");
    expect(HERMES, "Fine.<tool_call><function=f><parameter=x>a \"b\"\nc</parameter></function></tool_call>", "Fine.|f({\"x\":\"a \\\"b\\\"\\nc\"})");
    expect(HERMES, "<tool_call><function=get_weather></function></tool_call>", "get_weather({})");
    expect(HERMES, "<function=f>{\"n\":1}</function>", "f({\"n\":1})");
    expect(HERMES, "<tool_call><function=f><parameter=n>1</parameter>", "f({\"n\":1})");
    expect(HERMES, "<tool_call><function=f><parameter=s>open end", "f({\"s\":\"open end\"})");
    expect(HERMES, "<tool_call><function=f>nonsense</function></tool_call>after", "f({})|after");
}

static void llama_writes_the_object_alone(void **state)
{
    (void)state;
    expect(LLAMA, "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}", "f({\"a\": \"b\"})");
    expect(LLAMA, "\n {\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}", "f({})");
    expect(LLAMA, "<|python_tag|>{\"name\":\"f\",\"parameters\":{\"n\":1}}; {\"name\":\"get_weather\",\"parameters\":{}}", "f({\"n\":1})|get_weather({})");
    expect(LLAMA, "<function=f>{\"n\": 3}</function>", "f({\"n\": 3})");
    expect(LLAMA, "Sure: {\"name\":\"f\",\"parameters\":{}}", "Sure: {\"name\":\"f\",\"parameters\":{}}"); /* not at the start: an example */
    expect(LLAMA, "{\"name\":\"f\",\"parameters\":{}}\n\nThat was it.", "f({})|That was it.");
}

static void mistral_writes_a_list_or_names(void **state)
{
    (void)state;
    expect(MISTRAL, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}, {\"name\": \"get_weather\", \"arguments\": {}}]",
           "f({\"a\": 1})|get_weather({})");
    expect(MISTRAL, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{}", "f({\"a\": 1})|get_weather({})");
    expect(MISTRAL, "Well. [TOOL_CALLS]f{\"a\": 1}", "Well.|f({\"a\": 1})");
    expect(MISTRAL, "[TOOL_CALLS]f x {", "[TOOL_CALLS]f x {");
}

static void a_forgotten_mark_is_forgiven(void **state)
{
    (void)state;
    expect(HERMES, "{\"name\": \"f\", \"arguments\": {\"n\": 1}}", "f({\"n\": 1})");
    expect(MISTRAL, "[{\"name\": \"f\", \"arguments\": {}}]", "f({})");
    expect(MISTRAL, "{\"name\": \"g\", \"arguments\": {}}", "{\"name\": \"g\", \"arguments\": {}}");
}

static void without_a_known_form_an_object_is_enough(void **state)
{
    (void)state;
    expect(GENERIC, "{\"name\":\"f\",\"arguments\":{\"s\":\"x\"}}", "f({\"s\":\"x\"})");
    expect(GENERIC, "[{\"name\":\"f\",\"arguments\":{}},{\"name\":\"f\",\"arguments\":{\"n\":1}}]", "f({})|f({\"n\":1})");
    expect(GENERIC, "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{\"n\":1}}}", "f({\"n\":1})");
    expect(GENERIC, "```json\n{\"name\":\"f\",\"arguments\":{}}\n```", "f({})");
    expect(GENERIC, "```json\n{\"name\":\"Ada\"}\n```", "```json\n{\"name\":\"Ada\"}\n```");
    expect(GENERIC, "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}}]", "f({})");
    expect(GENERIC, "I call <tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "I call|f({})");
}

/* Whatever a model writes, the arguments join to an object. */
static void arguments_are_always_an_object(void **state)
{
    (void)state;
    static const struct { const char *written, *left; } cases[] = {
        {"{\"a\":1,}", "{\"a\":1}"}, {"{\"a\":1,\"b\"}", "{\"a\":1}"}, {"{\"a\":[1,2,}", "{\"a\":[1,2]}"}, {"{'a':1}", "{}"},
        {"{\"a\":tru}", "{}"}, {"{\"a\":\"x", "{\"a\":\"x\"}"}, {"{\"a\":\"x\\", "{\"a\":\"x\"}"}, {"{\"a\":\"\\ud83d", "{\"a\":\"\"}"},
        {"{\"a\":\"\\ud83d\\ude00\"}", "{\"a\":\"\\ud83d\\ude00\"}"}, {"{\"a\":\"\\ude00\"}", "{\"a\":\"\"}"}, {"{\"a\":12", "{\"a\":12}"},
        {"{\"a\":1.}", "{}"}, {"{\"a\":01}", "{}"}, {"{\"a\":-", "{}"}, {"{\"a\":1e5}", "{\"a\":1e5}"}, {"{\"a\":{\"b\":{}", "{\"a\":{\"b\":{}}}"},
        {"{\"two\nlines\":\"a\nb\tc\"}", "{\"two\\nlines\":\"a\\nb\\u0009c\"}"}, {"[1]", "{}"}, {"5", "{}"}, {"null", "{}"}, {"\"x\"", "{}"},
        {"{\"a\":1 2}", "{\"a\":1 }"}, {"{\"a\" 1}", "{}"}, {"{]", "{}"}, {"{\"a\":[}", "{\"a\":[]}"}, {"{ }", "{ }"}, {"{\"a\":null}", "{\"a\":null}"}};
    for (size_t i = 0; i < SR_COUNT(cases); i++) {
        char text[300], want[300];
        snprintf(text, sizeof text, "<tool_call>{\"name\":\"f\",\"arguments\":%s}</tool_call>", cases[i].written);
        snprintf(want, sizeof want, "f(%s)", cases[i].left);
        for (size_t step = 1; step < 40; step += 6) {
            char *got = understood(HERMES, text, step, 0, false), args[300];
            bool  runs_on = strstr(cases[i].written, "\"x") && cases[i].written[strlen(cases[i].written) - 1] != '"';
            snprintf(args, sizeof args, "%.*s", (int)strlen(got) - 3, got + 2);
            json_t *j = json_loads(args, JSON_REJECT_DUPLICATES, NULL);
            if (!json_is_object(j))
                fail_msg("%s: not an object: %s", cases[i].written, got);
            if (!runs_on && strcmp(cases[i].written, "{\"a\":\"\\ud83d") && strncmp(got, want, strlen(want) - 1))
                fail_msg("%s: got %s, expected %s", cases[i].written, got, want);
            json_decref(j);
            sr_free(got);
        }
    }
}

static void a_call_cut_off_stays_cut_off(void **state)
{
    (void)state;
    char *got = understood(HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{\"path\":\"/ho", 3, 0, true);
    assert_string_equal(got, "f({\"path\":\"/ho)"); /* nobody takes half a path for a whole one */
    sr_free(got);
    got = understood(HERMES, "<tool_call><function=f><parameter=n>1</parameter><parameter=s>ab", 3, 0, true);
    assert_string_equal(got, "f({\"n\":1)");
    sr_free(got);
    got = understood(HERMES, "<tool_call>{\"na", 3, 0, true);
    assert_string_equal(got, "<tool_call>{\"na");
    sr_free(got);
    for (const char *end = "\n</tool_call>"; *end; end++) { /* a part of the mark behind a call is no text */
        char text[80];
        snprintf(text, sizeof text, "<tool_call>{\"name\":\"f\",\"arguments\":{}}%.*s", (int)strlen(end) - 1, "\n</tool_call>");
        got = understood(HERMES, text, 3, 0, true);
        assert_string_equal(got, "f({})");
        sr_free(got);
    }
}

static void only_as_many_calls_as_wanted(void **state)
{
    (void)state;
    const char *text = "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call><tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>";
    for (size_t step = 1; step < 200; step += 30) {
        char *got = understood(HERMES, text, step, 1, false);
        assert_string_equal(got, "f({})");
        sr_free(got);
    }
    sr_toolparse t;
    sr_pieces    q = {0};
    sr_toolparse_begin(&t, HERMES, tools, 1);
    sr_toolparse_push(&t, text, 51, &q);
    assert_true(t.full);
    sr_toolparse_end(&t);
    sr_pieces_end(&q);
}

static void arguments_leave_as_they_come(void **state)
{
    (void)state;
    sr_toolparse t;
    sr_pieces    q = {0};
    sr_toolparse_begin(&t, HERMES, tools, 0);
    sr_toolparse_push(&t, "<tool_call>{\"name\":\"f\",", 23, &q);
    assert_int_equal(q.n, 1);
    assert_int_equal(sr_pieces_at(&q, 0).kind, SR_P_CALL);
    sr_toolparse_push(&t, "\"arguments\":{\"s\":\"half a", 24, &q);
    assert_int_equal(q.n, 2);
    sr_piece x = sr_pieces_at(&q, 1);
    assert_int_equal(x.kind, SR_P_ARGS);
    assert_memory_equal(sr_pieces_text(&q, &x), "{\"s\":\"half a", 12);
    sr_toolparse_end(&t);
    sr_pieces_end(&q);
}

static char *thought(const char *source, bool inside, const char *text, size_t step)
{
    sr_thinker t = {.marks = sr_thinkmarks_of(source), .inside = inside};
    sr_pieces  q = {0};
    sr_buf     rest = {0};
    size_t     n = strlen(text);
    for (size_t i = 0; i < n; i += step)
        sr_thinker_push(&t, text + i, SR_MIN(step, n - i), &q, &rest);
    sr_thinker_finish(&t, &q, &rest);
    sr_pieces_add(&q, SR_P_TEXT, 0, rest.p, rest.n);
    char *s = shown(&q);
    sr_thinker_end(&t);
    sr_buf_end(&rest);
    sr_pieces_end(&q);
    return s;
}

static void thoughts_are_told_from_the_answer(void **state)
{
    (void)state;
    static const struct { bool inside; const char *text, *want; } cases[] = {
        {false, "<think>\nHm.\nSo.\n</think>\n\nYes.\n", "~Hm.\nSo.~Yes.\n"}, {true, "Hm.\n</think>\n\nYes.", "~Hm.~Yes."},
        {false, "Yes <think>no</think>", "Yes <think>no</think>"}, {false, "\n<think></think>x", "x"}, {true, "all of it", "~all of it~"},
        {false, "<think>a</think>b<think>c</think>", "~a~b<think>c</think>"}, {false, "<thin", "<thin"}, {false, "  lead", "  lead"},
        {true, "a </think", "~a </think~"}, {false, "", ""}, {false, "<think>a < b </ c</think>d", "~a < b </ c~d"}, {true, " \n ", ""}};
    for (size_t i = 0; i < SR_COUNT(cases); i++)
        for (size_t step = 1; step < 40; step += 4) {
            char *got = thought("{{ '<think>' }}", cases[i].inside, cases[i].text, step);
            if (strcmp(got, cases[i].want))
                fail_msg("%s, %zu at a time: got %s, expected %s", cases[i].text, step, got, cases[i].want);
            sr_free(got);
        }
    char *got = thought("[THINK]", false, "[THINK]a[/THINK]b", 3);
    assert_string_equal(got, "~a~b");
    sr_free(got);
    assert_null(sr_thinkmarks_of("{{ messages }}"));
    assert_null(sr_thinkmarks_of(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_tell_the_family),
        cmocka_unit_test(text_alone_is_left_as_it_is),
        cmocka_unit_test(hermes_puts_calls_between_tags),
        cmocka_unit_test(coder_writes_parameters_in_tags),
        cmocka_unit_test(llama_writes_the_object_alone),
        cmocka_unit_test(mistral_writes_a_list_or_names),
        cmocka_unit_test(a_forgotten_mark_is_forgiven),
        cmocka_unit_test(without_a_known_form_an_object_is_enough),
        cmocka_unit_test(arguments_are_always_an_object),
        cmocka_unit_test(a_call_cut_off_stays_cut_off),
        cmocka_unit_test(only_as_many_calls_as_wanted),
        cmocka_unit_test(arguments_leave_as_they_come),
        cmocka_unit_test(thoughts_are_told_from_the_answer),
    };
    return cmocka_run_group_tests(tests, open_tools, close_tools);
}
