/* What templates can take is found by trying, and the others are told in words. */
#include "serve/template_caps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"
#include "serve/tool_prompt.h"
#include "text/tiny_vocab.h"

static sr_tokenizer *tok;

static int open_vocab(void **state)
{
    (void)state;
    sr_err err = {0};
    return tiny_tokenizer("bpe:gpt-2", &tok, &err) ? -1 : 0;
}

static int close_vocab(void **state)
{
    (void)state;
    sr_tokenizer_close(tok);
    return 0;
}

static sr_tplcaps caps_of(const char *source)
{
    sr_template *t = NULL;
    sr_err err = {0};
    if (sr_template_compile(source, strlen(source), &t, &err))
        fail_msg("%s", err.msg);
    sr_tplcaps c = sr_tplcaps_of(t, tok);
    sr_template_close(t);
    return c;
}

#define CALLS(args) "{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ " args " }}>{% endfor %}"
#define ALL_TOOLS   "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"

static void a_template_that_knows_all_is_left_alone(void **state)
{
    (void)state;
    sr_tplcaps c = caps_of(ALL_TOOLS "{% for m in messages %}{{ m.content }}" CALLS("c.function.arguments | tojson") "{% endfor %}");
    assert_false(c.no_tools || c.no_calls || c.no_system || c.null_content || c.text_arguments);
    c = caps_of("{% for m in messages %}{% if '</think>' in m.content %}x{% endif %}{{ m.content }}" CALLS("c.function.arguments | tojson") "{% endfor %}");
    assert_true(c.no_tools); /* fails on null, so "" it is */
    assert_false(c.no_calls || c.null_content);
}

static void calls_have_the_form_that_shows_them(void **state)
{
    (void)state;
    sr_tplcaps c = caps_of("{% for m in messages %}{% if m.role == 'assistant' and m.content is none %}" CALLS("'' + c.function.arguments")
                           "{% else %}{{ m.content }}{% endif %}{% endfor %}");
    assert_true(c.null_content && c.text_arguments);
    assert_false(c.no_calls || c.no_system);
    c = caps_of("{% for m in messages %}{{ m.content }}" CALLS("'' + c.function.arguments") "{% endfor %}");
    assert_true(c.text_arguments && !c.null_content);
}

static void what_is_not_shown_is_not_there(void **state)
{
    (void)state;
    sr_tplcaps c = caps_of("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}");
    assert_true(c.no_tools && c.no_calls && !c.no_system);
    c = caps_of("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ messages[0].content }}");
    assert_true(c.no_tools && c.no_calls && c.no_system);
    c = caps_of("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"); /* swallows it without a word */
    assert_true(c.no_system);
    c = caps_of("{{ tools | length }}{{ messages[0].content }}"); /* counts, but does not show */
    assert_true(c.no_tools);
}

static void expect_text(bool (*change)(json_t *), const char *before, const char *after)
{
    json_t *a = json_loads(before, 0, NULL), *b = json_loads(after, 0, NULL);
    assert_true(a && b && change(a));
    if (!json_equal(a, b)) {
        char *s = json_dumps(a, 0);
        fail_msg("%s became %s, expected %s", before, s, after);
    }
    json_decref(a);
    json_decref(b);
}

static void the_system_message_is_told_by_the_user(void **state)
{
    (void)state;
    expect_text(sr_system_into_user, "[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"}]", "[{\"role\":\"user\",\"content\":\"s\\n\\nu\"}]");
    expect_text(sr_system_into_user, "[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"system\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"u\"}]",
                "[{\"role\":\"user\",\"content\":\"a\\n\\nb\\n\\nu\"}]");
    expect_text(sr_system_into_user, "[{\"role\":\"system\",\"content\":\"s\"}]", "[{\"role\":\"user\",\"content\":\"s\"}]");
    expect_text(sr_system_into_user, "[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}]",
                "[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}]");
}

static void calls_and_results_are_told_as_text(void **state)
{
    (void)state;
    expect_text(sr_calls_into_text,
                "[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}},{\"function\":{\"name\":\"g\","
                "\"arguments\":\"oops\"}}]},{\"role\":\"tool\",\"content\":\"1\"},{\"role\":\"tool\",\"content\":\"2\"},{\"role\":\"assistant\",\"content\":\"x\"},"
                "{\"role\":\"tool\",\"content\":\"3\"}]",
                "[{\"role\":\"assistant\",\"content\":\"<tool_call>\\n{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": {\\\"a\\\": 1}}\\n</tool_call>\\n<tool_call>\\n"
                "{\\\"name\\\": \\\"g\\\", \\\"arguments\\\": \\\"oops\\\"}\\n</tool_call>\"},{\"role\":\"user\",\"content\":\"<tool_response>\\n1\\n</tool_response>\\n"
                "<tool_response>\\n2\\n</tool_response>\"},{\"role\":\"assistant\",\"content\":\"x\"},{\"role\":\"user\",\"content\":\"<tool_response>\\n3\\n</tool_response>\"}]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_template_that_knows_all_is_left_alone),
        cmocka_unit_test(calls_have_the_form_that_shows_them),
        cmocka_unit_test(what_is_not_shown_is_not_there),
        cmocka_unit_test(the_system_message_is_told_by_the_user),
        cmocka_unit_test(calls_and_results_are_told_as_text),
    };
    return cmocka_run_group_tests(tests, open_vocab, close_vocab);
}
