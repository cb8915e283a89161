/* ollama's API: lines of JSON, options, calls as objects, and a request without words that only asks for the model. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

#define HI    "'model':'m','messages':[{'role':'user','content':'hi'}]"
#define TOOLS "'tools':[{'type':'function','function':{'name':'get_weather','parameters':{'type':'object'}}},{'type':'function','function':{'name':'now'}}]"
#define CALLS "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>\n" \
              "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"

static const char shown[] = "{% if tools %}T <tool_call>{% endif %}{% for m in messages %}[{{ m.role }}:{{ m.content or '' }}"
                            "{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ c.function.arguments | tojson }}>{% endfor %}]{% endfor %}>";

/* The lines of a stream as one array. */
static json_t *lines(tc_server *s, const char *path, const char *body)
{
    tc_reply r = {0};
    char     type[64], *b = tc_json("%s", body);
    json_t  *list = json_array();
    tc_ask(s, "POST", path, NULL, b, &r);
    if (r.status != 200)
        fail_msg("%d for %s: %s", r.status, b, r.body.p);
    assert_string_equal(tc_header(&r, "Content-Type", type, sizeof type), "application/x-ndjson");
    for (const char *p = r.body.p, *end = p + r.body.n, *eol; p < end; p = eol + 1) {
        eol = memchr(p, '\n', (size_t)(end - p));
        assert_non_null(eol);
        json_t *j = json_loadb(p, (size_t)(eol - p), 0, NULL);
        if (!j)
            fail_msg("not JSON: %.*s", (int)(eol - p), p);
        json_array_append_new(list, j);
    }
    sr_free(b);
    tc_reply_end(&r);
    return list;
}

static void check_last(const json_t *j, const tc_server *s, const char *why)
{
    assert_true(json_is_true(tc_at(j, "done")));
    assert_string_equal(tc_str(j, "done_reason"), why);
    if (s)
        assert_int_equal(json_integer_value(tc_at(j, "eval_count")), s->ids.n);
    assert_true(json_integer_value(tc_at(j, "prompt_eval_count")) > 1);
    assert_true(json_integer_value(tc_at(j, "total_duration")) >= json_integer_value(tc_at(j, "eval_duration")));
    assert_int_equal(tc_str(j, "created_at")[10], 'T');
    assert_string_equal(tc_str(j, "model"), "strata/test");
}

static void chat_streams_unless_told_not_to(void **state)
{
    (void)state;
    tc_server s = {.text = "Hello there."};
    sr_buf    text = {0};
    tc_start(&s);
    json_t *v = lines(&s, "/api/chat", "{" HI "}");
    size_t  n = json_array_size(v);
    for (size_t i = 0; i < n; i++) {
        json_t *j = json_array_get(v, i);
        assert_string_equal(tc_str(j, "message.role"), "assistant");
        sr_buf_str(&text, tc_str(j, "message.content"));
        assert_int_equal(json_is_true(tc_at(j, "done")), i + 1 == n);
    }
    assert_string_equal(text.p, "Hello there.");
    check_last(json_array_get(v, n - 1), &s, "stop");
    json_decref(v);
    json_t *j = tc_put(&s, "/api/chat", 200, "{" HI ",'stream':false}");
    assert_string_equal(tc_str(j, "message.content"), "Hello there.");
    check_last(j, &s, "stop");
    json_decref(j);
    j = tc_put(&s, "/api/chat", 200, "{" HI ",'stream':false,'keep_alive':'5m','options':{'num_predict':2,'temperature':0,'top_k':40,'num_ctx':4096,'stop':['x']}}");
    check_last(j, NULL, "length");
    assert_int_equal(json_integer_value(tc_at(j, "eval_count")), 2);
    json_decref(j);
    sr_buf_end(&text);
    tc_stop(&s);
}

static void generate_takes_a_prompt_raw_or_not(void **state)
{
    (void)state;
    tc_server s = {.template_source = shown, .text = "Hello there."};
    sr_buf    text = {0};
    tc_start(&s);
    json_t *v = lines(&s, "/api/generate", "{'model':'m','prompt':'hi','system':'be brief'}");
    for (size_t i = 0; i < json_array_size(v); i++)
        sr_buf_str(&text, tc_str(json_array_get(v, i), "response"));
    assert_string_equal(text.p, "Hello there.");
    json_t *last = json_array_get(v, json_array_size(v) - 1);
    check_last(last, &s, "stop");
    sr_ids ids = {0};
    sr_err err = {0};
    assert_int_equal(sr_tokenizer_encode(s.tok, "[system:be brief][user:hi]>", 27, 0, &ids, &err), SR_OK);
    assert_int_equal(json_integer_value(tc_at(last, "prompt_eval_count")), ids.n + sr_tokenizer_adds_bos(s.tok));
    sr_ids_end(&ids);
    json_decref(v);
    json_t *j = tc_put(&s, "/api/generate", 200, "{'model':'m','prompt':'Once upon','raw':true,'stream':false}");
    assert_string_equal(tc_str(j, "response"), "Hello there."); /* all of it: no limit unless one is given */
    json_decref(j);
    sr_buf_end(&text);
    tc_stop(&s);
}

static void no_words_ask_for_the_model(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    json_t *j = tc_put(&s, "/api/generate", 200, "{'model':'m'}");
    assert_string_equal(tc_str(j, "done_reason"), "load");
    assert_string_equal(tc_str(j, "response"), "");
    json_decref(j);
    j = tc_put(&s, "/api/chat", 200, "{'model':'m','messages':[]}");
    assert_string_equal(tc_str(j, "message.content"), "");
    assert_true(json_is_true(tc_at(j, "done")));
    json_decref(j);
    tc_stop(&s);
}

static void calls_are_whole_objects(void **state)
{
    (void)state;
    tc_server s = {.template_source = shown, .text = CALLS};
    tc_start(&s);
    json_t *j = tc_put(&s, "/api/chat", 200, "{" HI ",'stream':false," TOOLS "}");
    assert_string_equal(tc_str(j, "message.content"), "Let me look.");
    assert_string_equal(tc_str(j, "message.tool_calls.0.function.arguments.city"), "Ulm");
    assert_string_equal(tc_str(j, "message.tool_calls.1.function.name"), "now");
    json_decref(j);
    json_t *v = lines(&s, "/api/chat", "{" HI "," TOOLS "}");
    size_t  n = 0;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *calls = json_object_get(tc_at(json_array_get(v, i), "message"), "tool_calls");
        if (calls && n++ == 0)
            assert_string_equal(tc_str(calls, "0.function.arguments.city"), "Ulm");
    }
    assert_int_equal(n, 2);
    json_decref(v);
    j = tc_put(&s, "/api/chat", 200, "{'stream':false,'messages':[{'role':'user','content':'q'},{'role':'assistant','content':'','tool_calls':[{'function':{'name':'f',"
                                     "'arguments':{'a':1}}}]},{'role':'tool','content':'42','tool_name':'f'}]}");
    sr_ids ids = {0};
    sr_err err = {0};
    const char *p = "[user:q][assistant:<f {\"a\": 1}>][tool:42]>";
    assert_int_equal(sr_tokenizer_encode(s.tok, p, strlen(p), 0, &ids, &err), SR_OK);
    assert_int_equal(json_integer_value(tc_at(j, "prompt_eval_count")), ids.n + sr_tokenizer_adds_bos(s.tok));
    sr_ids_end(&ids);
    json_decref(j);
    tc_stop(&s);
}

static void thoughts_are_thinking(void **state)
{
    (void)state;
    tc_server s = {.template_source = "{{ messages[0].content }}{% if false %}<think>{% endif %}", .text = "<think>Hm.</think>Yes."};
    tc_start(&s);
    json_t *j = tc_put(&s, "/api/chat", 200, "{" HI ",'stream':false,'think':true}");
    assert_string_equal(tc_str(j, "message.thinking"), "Hm.");
    assert_string_equal(tc_str(j, "message.content"), "Yes.");
    json_decref(j);
    j = tc_put(&s, "/api/generate", 200, "{'prompt':'a','stream':false}");
    assert_string_equal(tc_str(j, "thinking"), "Hm.");
    assert_string_equal(tc_str(j, "response"), "Yes.");
    json_decref(j);
    tc_stop(&s);
}

static void tags_and_version_are_told(void **state)
{
    (void)state;
    static const char *const also[] = {"second"};
    tc_server s = {.cfg = {.aliases = also, .n_aliases = 1}};
    tc_reply  r = {0};
    tc_start(&s);
    tc_ask(&s, "GET", "/api/tags", NULL, NULL, &r);
    json_t *j = json_loadb(r.body.p, r.body.n, 0, NULL);
    assert_string_equal(tc_str(j, "models.0.name"), "strata/test");
    assert_string_equal(tc_str(j, "models.0.details.family"), "null");
    json_decref(j);
    tc_reply_end(&r);
    tc_ask(&s, "GET", "/api/ps", NULL, NULL, &r);
    j = json_loadb(r.body.p, r.body.n, 0, NULL);
    assert_int_equal(json_integer_value(tc_at(j, "models.0.context_length")), 2048);
    json_decref(j);
    tc_reply_end(&r);
    static const struct { const char *body; int status; const char *why; } show[] = {
        {"{'name':'strata/test'}", 200, ""}, {"{'model':'second'}", 200, ""}, {"{'model':'strata/test:latest','verbose':true}", 200, ""},
        {"{'model':'any'}", 404, "model 'any' not found; there is 'strata/test'"}, {"{'model':'strata/test:8b'}", 404, "not found"},
        {"{'model':'strata'}", 404, "not found"}, {"{'model':'\\u001b[31m'}", 404, "model '\\x1b[31m' not found"}, {"{}", 400, "model is required"},
        {"{'model':5}", 400, "model is required"}, {"[]", 400, "model is required"}, {"{'model':", 400, "invalid JSON"}, {"", 400, "empty"}};
    for (size_t i = 0; i < SR_COUNT(show); i++) {
        j = tc_put(&s, "/api/show", show[i].status, show[i].body);
        if (*show[i].why && !strstr(tc_str(j, "error"), show[i].why))
            fail_msg("%s: %s", show[i].body, tc_str(j, "error"));
        json_decref(j);
    }
    j = tc_put(&s, "/api/show", 200, "{'model':'strata/test'}");
    const json_t *info = tc_at(j, "model_info");
    assert_int_equal(json_integer_value(json_object_get(info, "null.context_length")), 2048);
    assert_string_equal(tc_str(j, "capabilities.1"), "tools");
    assert_non_null(strstr(tc_str(j, "template"), "im_start"));
    json_decref(j);
    tc_ask(&s, "GET", "/api/version", NULL, NULL, &r);
    j = json_loadb(r.body.p, r.body.n, 0, NULL);
    assert_string_equal(tc_str(j, "version"), SR_VERSION);
    json_decref(j);
    tc_reply_end(&r);
    tc_stop(&s);
}

static void errors_are_one_string(void **state)
{
    (void)state;
    static const char *const bad[] = {"{" HI ",'options':{'mirostat':2}}", "{" HI ",'logprobs':true}", "{'messages':5}", "{'messages':[5]}", "{'messages':[{'role':'x','content':'y'}]}", "{" HI ",'options':5}",
        "{" HI ",'options':{'temperature':9}}", "{" HI ",'stream':'yes'}", "{'messages':[{'role':'user','content':'a','images':['AAAA']}]}"};
    static const char *const gen[] = {"{'prompt':5}", "{'prompt':'a','suffix':'b'}", "{'prompt':'a','template':'b'}", "{'prompt':'a','context':[1]}",
        "{'prompt':'a','images':['AAAA']}"};
    tc_server s = {0};
    tc_start(&s);
    for (size_t i = 0; i < SR_COUNT(bad) + SR_COUNT(gen); i++) {
        json_t *j = i < SR_COUNT(bad) ? tc_put(&s, "/api/chat", 400, bad[i]) : tc_put(&s, "/api/generate", 400, gen[i - SR_COUNT(bad)]);
        assert_true(strlen(tc_str(j, "error")) > 10);
        json_decref(j);
    }
    tc_stop(&s);
    tc_server t = {.null = {.fail_after = 3}};
    tc_start(&t);
    json_t *v = lines(&t, "/api/chat", "{" HI "}");
    assert_non_null(strstr(tc_str(json_array_get(v, json_array_size(v) - 1), "error"), "made to fail"));
    json_decref(v);
    tc_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_streams_unless_told_not_to),
        cmocka_unit_test(generate_takes_a_prompt_raw_or_not),
        cmocka_unit_test(no_words_ask_for_the_model),
        cmocka_unit_test(calls_are_whole_objects),
        cmocka_unit_test(thoughts_are_thinking),
        cmocka_unit_test(tags_and_version_are_told),
        cmocka_unit_test(errors_are_one_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
