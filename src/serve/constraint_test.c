/* Calls that are forced: the grammar lets through what the family's parser reads, and nothing else. */
#include "serve/constraint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "text/grammar_match.h"

static sr_lexicon *lexicon;
static json_t     *tools;

static int open_all(void **state)
{
    (void)state;
    sr_err   err = {0};
    sr_gguf *g   = NULL;
    sr_tokenizer *tok = NULL;
    if (sr_gguf_open("models/strata-demo-draft-Q8_0.gguf", &g, &err) || sr_tokenizer_open(g, &tok, &err) ||
        sr_lexicon_open(tok, sr_tokenizer_n_vocab(tok), &lexicon, &err)) {
        print_error("%s\n", err.msg);
        return -1;
    }
    sr_gguf_close(g);
    sr_tokenizer_close(tok);
    tools = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"
                       "\"required\":[\"city\"]}}},"
                       "{\"type\":\"function\",\"function\":{\"name\":\"move\",\"parameters\":{\"type\":\"object\",\"properties\":{\"to\":{\"$ref\":\"#/$defs/point\"}},"
                       "\"required\":[\"to\"],\"$defs\":{\"point\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\"}},\"required\":[\"x\"]}}}}},"
                       "{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]", 0, NULL);
    return tools ? 0 : -1;
}

static int close_all(void **state)
{
    (void)state;
    sr_lexicon_close(lexicon);
    json_decref(tools);
    return 0;
}

/* 0: not a text of the grammar; 1: the beginning of one; 2: one. */
static int fits(const sr_grammar *g, const char *text)
{
    sr_guide   *guide = NULL;
    sr_matcher *m = NULL;
    sr_err      err = {0};
    size_t      n = 0;
    const void *bytes = sr_grammar_bytes(g, &n);
    assert_int_equal(sr_guide_open(lexicon, bytes, n, &guide, &err), SR_OK);
    assert_int_equal(sr_matcher_open(guide, &m, &err), SR_OK);
    int r = sr_matcher_accept_bytes(m, text, strlen(text), &err) ? 0 : sr_matcher_can_end(m) ? 2 : 1;
    sr_matcher_close(m);
    sr_guide_close(guide);
    return r;
}

static sr_grammar *calls(const char *sign, const char *only, bool several)
{
    sr_err err = {0};
    sr_grammar *g = NULL;
    if (sr_constraint_calls(sr_toolfamily_of(sign), tools, only, several, &g, &err))
        fail_msg("%s", err.msg);
    return g;
}

/* What the grammar lets through is read as that call. */
static void expect_call(const char *sign, const char *only, bool several, const char *text, const char *name, const char *args)
{
    sr_grammar  *g = calls(sign, only, several);
    sr_toolparse t;
    sr_pieces    q = {0};
    const sr_callform form = sr_toolfamily_form(sr_toolfamily_of(sign));
    if (fits(g, text) != 2)
        fail_msg("%s is not let through", text);
    sr_toolparse_begin(&t, sr_toolfamily_of(sign), tools, 0);
    if (form.prompt)
        sr_toolparse_push(&t, form.prompt, strlen(form.prompt), &q);
    sr_toolparse_push(&t, text, strlen(text), &q);
    sr_toolparse_finish(&t, false, &q);
    assert_int_equal(q.n, 2);
    sr_piece a = sr_pieces_at(&q, 0), b = sr_pieces_at(&q, 1);
    assert_int_equal(a.kind, SR_P_CALL);
    assert_memory_equal(sr_pieces_text(&q, &a), name, strlen(name));
    assert_int_equal(b.n, strlen(args));
    assert_memory_equal(sr_pieces_text(&q, &b), args, b.n);
    sr_toolparse_end(&t);
    sr_pieces_end(&q);
    sr_grammar_close(g);
}

static void a_forced_call_is_what_the_parser_reads(void **state)
{
    (void)state;
    static const char *const hermes = "<tool_call>", *const mistral = "[TOOL_CALLS]", *const llama = "<|python_tag|>";
    expect_call(hermes, "get_weather", false, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>", "get_weather", "{\"city\": \"Ulm\"}");
    expect_call(hermes, NULL, true, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "now", "{}");
    expect_call(hermes, NULL, false, "<tool_call>\n{\"name\": \"move\", \"arguments\": {\"to\": {\"x\": 3}}}\n</tool_call>", "move", "{\"to\": {\"x\": 3}}");
    expect_call(hermes, "move", false, "<tool_call>\n{\"name\": \"move\", \"arguments\": {\"to\": {\"x\": 3}}}\n</tool_call>", "move", "{\"to\": {\"x\": 3}}");
    expect_call(NULL, "now", false, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "now", "{}");
    expect_call(mistral, NULL, true, "[{\"name\": \"now\", \"arguments\": {}}]", "now", "{}");
    expect_call(mistral, "get_weather", true, "[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}]", "get_weather", "{\"city\": \"Ulm\"}");
    expect_call(llama, NULL, true, "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Ulm\"}}", "get_weather", "{\"city\": \"Ulm\"}");
    expect_call(llama, "now", true, "{\"name\": \"now\", \"parameters\": {}}", "now", "{}");
}

static void nothing_else_is_let_through(void **state)
{
    (void)state;
    sr_grammar *g = calls("<tool_call>", "get_weather", false);
    assert_int_equal(fits(g, "Sure"), 0);
    assert_int_equal(fits(g, ""), 1);
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"now"), 0);
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {}"), 0); /* the city is required */
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": 5"), 0);
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>\n"), 0);
    sr_grammar_close(g);
    g = calls("<tool_call>", NULL, false);
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call><"), 0); /* one call alone */
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"make_up"), 0);
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a"), 0); /* takes nothing */
    sr_grammar_close(g);
    g = calls("<tool_call>", NULL, true);
    assert_int_equal(fits(g, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call><tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"), 2);
    sr_grammar_close(g);
}

static void parameters_need_not_say_that_they_are_an_object(void **state)
{
    (void)state;
    static const struct { const char *parameters, *good, *bad; } cases[] = {
        {"{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]}", "{\"a\": 1}", "[1]"},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"}},\"required\":[\"a\"]}]}", "{\"a\": null}", "{}"},
        {"{}", "{}", "{\"a\""}, {"{\"$ref\":\"#/$defs/x\",\"$defs\":{\"x\":{\"type\":\"object\",\"properties\":{}}}}", "{}", "5"}};
    for (size_t i = 0; i < SR_COUNT(cases); i++) {
        sr_err err = {0};
        sr_grammar *g = NULL;
        char text[200];
        json_t *one = json_pack("[{s:{s:s,s:o}}]", "function", "name", "f", "parameters", json_loads(cases[i].parameters, 0, NULL));
        if (sr_constraint_calls(sr_toolfamily_of(NULL), one, "f", false, &g, &err))
            fail_msg("%s: %s", cases[i].parameters, err.msg);
        snprintf(text, sizeof text, "<tool_call>\n{\"name\": \"f\", \"arguments\": %s}\n</tool_call>", cases[i].good);
        assert_int_equal(fits(g, text), 2);
        snprintf(text, sizeof text, "<tool_call>\n{\"name\": \"f\", \"arguments\": %s", cases[i].bad);
        assert_int_equal(fits(g, text), 0);
        sr_grammar_close(g);
        json_decref(one);
    }
}

static void a_call_or_an_answer(void **state)
{
    (void)state;
    sr_err err = {0};
    sr_grammar *g = NULL;
    json_t *schema = json_loads("{\"type\":\"object\",\"properties\":{\"t\":{\"$ref\":\"#/$defs/n\"}},\"required\":[\"t\"],\"$defs\":{\"n\":{\"type\":\"integer\"}}}", 0, NULL);
    assert_int_equal(sr_constraint_call_or(sr_toolfamily_of("<tool_call>"), tools, schema, &g, &err), SR_OK);
    assert_int_equal(fits(g, "{\"t\": 5}"), 2);
    assert_int_equal(fits(g, "{\"name\": \"move\", \"arguments\": {\"to\": {\"x\": 3}}}"), 2);
    assert_int_equal(fits(g, "{\"name\": \"now\", \"arguments\": {}}"), 2);
    assert_int_equal(fits(g, "{\"name\": \"fly"), 0);
    assert_int_equal(fits(g, "{\"t\": \"x"), 0);
    sr_grammar_close(g);
    json_decref(schema);
}

static void what_cannot_be_forced_is_said(void **state)
{
    (void)state;
    sr_err err = {0};
    sr_grammar *g = NULL;
    assert_int_equal(sr_constraint_calls(sr_toolfamily_of(NULL), tools, "fly", false, &g, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "fly"));
    err = (sr_err){0};
    assert_int_equal(sr_constraint_calls(sr_toolfamily_of(NULL), NULL, NULL, false, &g, &err), SR_INVALID);
    json_t *bad = json_loads("{\"type\":\"object\",\"properties\":{\"a\":{\"not\":{\"type\":\"string\"}}}}", 0, NULL);
    err = (sr_err){0};
    sr_status s = sr_constraint_schema(bad, &g, &err);
    assert_true(s == SR_UNSUPPORTED || s == SR_INVALID);
    assert_non_null(strstr(err.msg, "not"));
    json_decref(bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_forced_call_is_what_the_parser_reads),
        cmocka_unit_test(nothing_else_is_let_through),
        cmocka_unit_test(parameters_need_not_say_that_they_are_an_object),
        cmocka_unit_test(a_call_or_an_answer),
        cmocka_unit_test(what_cannot_be_forced_is_said),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
