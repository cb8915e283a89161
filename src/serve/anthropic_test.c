/* Anthropic's messages: what comes in means what it means in chat, and the answer is blocks, streamed and not. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

#define PATH  "/v1/messages"
#define HI    "'model':'claude','max_tokens':500,'messages':[{'role':'user','content':'hi'}]"
#define TOOLS "'tools':[{'name':'get_weather','description':'x','input_schema':{'type':'object','properties':{'city':{'type':'string'}}}},{'name':'now'}]"
#define CALLS "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>\n" \
              "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"

static const char hermes[] =
    "{% if tools %}T:{% for t in tools %}{{ t | tojson }}{% endfor %} <tool_call>{% endif %}"
    "{% for m in messages %}[{{ m.role }}:{{ m.content or '' }}{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ c.function.arguments | tojson }}>"
    "{% endfor %}{{ m.tool_call_id }}]{% endfor %}{% if enable_thinking %}think{% endif %}{% if add_generation_prompt %}>{% endif %}";
static const char thinking[] = "{% for m in messages %}{{ m.content }}{% endfor %}{% if false %}<think>{% endif %}";

static void an_answer_is_a_message_of_blocks(void **state)
{
    (void)state;
    tc_server s = {.text = "Hello there."};
    tc_start(&s);
    json_t *j = tc_put(&s, PATH, 200, "{" HI "}");
    assert_memory_equal(tc_str(j, "id"), "msg_", 4);
    assert_string_equal(tc_str(j, "type"), "message");
    assert_string_equal(tc_str(j, "role"), "assistant");
    assert_string_equal(tc_str(j, "model"), "strata/test");
    assert_int_equal(json_array_size(tc_at(j, "content")), 1);
    assert_string_equal(tc_str(j, "content.0.type"), "text");
    assert_string_equal(tc_str(j, "content.0.text"), "Hello there.");
    assert_string_equal(tc_str(j, "stop_reason"), "end_turn");
    assert_true(json_is_null(tc_at(j, "stop_sequence")));
    assert_int_equal(json_integer_value(tc_at(j, "usage.output_tokens")), s.ids.n);
    assert_true(json_integer_value(tc_at(j, "usage.input_tokens")) > 3);
    assert_int_equal(json_integer_value(tc_at(j, "usage.cache_read_input_tokens")), 0);
    json_decref(j);
    j = tc_put(&s, "/messages/", 200, "{'max_tokens':1,'messages':[{'role':'user','content':'hi'}]}");
    assert_string_equal(tc_str(j, "stop_reason"), "max_tokens");
    json_decref(j);
    j = tc_put(&s, PATH, 200, "{" HI ",'stop_sequences':['xyz','there']}");
    assert_string_equal(tc_str(j, "stop_reason"), "stop_sequence");
    assert_string_equal(tc_str(j, "stop_sequence"), "there");
    assert_string_equal(tc_str(j, "content.0.text"), "Hello ");
    json_decref(j);
    tc_stop(&s);
}

/* Names in order; runs of deltas count as one. */
static void expect_order(const tc_stream *v, const char *want)
{
    sr_buf b = {0};
    for (size_t i = 0; i < v->n; i++) {
        assert_non_null(v->name[i]);
        assert_string_equal(v->name[i], tc_str(v->e[i], "type"));
        if (i && !strcmp(v->name[i], "content_block_delta") && !strcmp(v->name[i - 1], v->name[i]))
            continue;
        sr_buf_fmt(&b, "%s%s", i ? " " : "", v->name[i]);
    }
    assert_string_equal(b.p, want);
    sr_buf_end(&b);
}

static char *joined(const tc_stream *v, int index, const char *member)
{
    sr_buf b = {0};
    sr_buf_add(&b, "", 0);
    for (size_t i = 0; i < v->n; i++) {
        const json_t *s = json_object_get(json_object_get(v->e[i], "delta"), member);
        if (!strcmp(v->name[i], "content_block_delta") && json_integer_value(json_object_get(v->e[i], "index")) == index && s)
            sr_buf_str(&b, json_string_value(s));
    }
    return b.p;
}

static void a_stream_opens_and_closes_its_blocks(void **state)
{
    (void)state;
    tc_server s = {.text = "Hello there."};
    tc_stream v;
    tc_start(&s);
    tc_stream_read(&s, PATH, "{" HI ",'stream':true}", false, &v);
    expect_order(&v, "message_start content_block_start content_block_delta content_block_stop message_delta message_stop");
    assert_memory_equal(tc_str(v.e[0], "message.id"), "msg_", 4);
    assert_int_equal(json_array_size(tc_at(v.e[0], "message.content")), 0);
    assert_true(json_is_null(tc_at(v.e[0], "message.stop_reason")));
    assert_true(json_integer_value(tc_at(v.e[0], "message.usage.input_tokens")) > 3);
    char *text = joined(&v, 0, "text");
    assert_string_equal(text, "Hello there.");
    assert_string_equal(tc_str(v.e[v.n - 2], "delta.stop_reason"), "end_turn");
    assert_int_equal(json_integer_value(tc_at(v.e[v.n - 2], "usage.output_tokens")), s.ids.n);
    sr_free(text);
    tc_stream_end(&v);
    tc_stop(&s);
}

static void tools_are_blocks_of_their_own(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = CALLS};
    tc_stream v;
    tc_start(&s);
    json_t *j = tc_put(&s, PATH, 200, "{" HI "," TOOLS "}");
    assert_string_equal(tc_str(j, "stop_reason"), "tool_use");
    assert_int_equal(json_array_size(tc_at(j, "content")), 3);
    assert_string_equal(tc_str(j, "content.0.text"), "Let me look.");
    assert_string_equal(tc_str(j, "content.1.type"), "tool_use");
    assert_string_equal(tc_str(j, "content.1.name"), "get_weather");
    assert_string_equal(tc_str(j, "content.1.input.city"), "Ulm");
    assert_memory_equal(tc_str(j, "content.1.id"), "toolu_", 6);
    assert_int_equal(json_object_size(tc_at(j, "content.2.input")), 0);
    json_decref(j);
    tc_stream_read(&s, PATH, "{" HI "," TOOLS ",'stream':true,'tool_choice':{'type':'auto'}}", false, &v);
    expect_order(&v, "message_start content_block_start content_block_delta content_block_stop content_block_start content_block_delta content_block_stop "
                     "content_block_start content_block_delta content_block_stop message_delta message_stop");
    char *json = joined(&v, 1, "partial_json");
    assert_string_equal(json, "{\"city\": \"Ulm\"}");
    for (size_t i = 0; i < v.n; i++)
        if (!strcmp(v.name[i], "content_block_start") && json_integer_value(tc_at(v.e[i], "index")) == 1) {
            assert_string_equal(tc_str(v.e[i], "content_block.name"), "get_weather");
            assert_int_equal(json_object_size(tc_at(v.e[i], "content_block.input")), 0);
        }
    assert_string_equal(tc_str(v.e[v.n - 2], "delta.stop_reason"), "tool_use");
    sr_free(json);
    tc_stream_end(&v);
    j = tc_put(&s, PATH, 200, "{" HI "," TOOLS ",'tool_choice':{'type':'auto','disable_parallel_tool_use':true}}");
    assert_int_equal(json_array_size(tc_at(j, "content")), 2);
    json_decref(j);
    tc_stop(&s);
}

static void thoughts_are_blocks_with_a_signature(void **state)
{
    (void)state;
    tc_server s = {.template_source = thinking, .text = "<think>\nHm.\n</think>\n\nYes."};
    tc_stream v;
    tc_start(&s);
    json_t *j = tc_put(&s, PATH, 200, "{" HI "}");
    assert_string_equal(tc_str(j, "content.0.type"), "thinking");
    assert_string_equal(tc_str(j, "content.0.thinking"), "Hm.");
    assert_string_equal(tc_str(j, "content.0.signature"), "");
    assert_string_equal(tc_str(j, "content.1.text"), "Yes.");
    json_decref(j);
    tc_stream_read(&s, PATH, "{" HI ",'stream':true}", false, &v);
    char *a = joined(&v, 0, "thinking"), *b = joined(&v, 1, "text");
    assert_string_equal(a, "Hm.");
    assert_string_equal(b, "Yes.");
    bool signed_ = false;
    for (size_t i = 0; i < v.n; i++)
        signed_ |= json_object_get(json_object_get(v.e[i], "delta"), "signature") != NULL;
    assert_true(signed_);
    sr_free(a);
    sr_free(b);
    tc_stream_end(&v);
    tc_stop(&s);
}

/* What a body says, in the words of the template: count_tokens counts exactly that. */
static void expect_prompt(tc_server *s, const char *body, const char *prompt)
{
    json_t *n = tc_put(s, "/v1/messages/count_tokens", 200, body);
    sr_ids  ids = {0};
    sr_err  err = {0};
    assert_int_equal(sr_tokenizer_encode(s->tok, prompt, strlen(prompt), SR_TOK_PARSE_SPECIAL, &ids, &err), SR_OK);
    size_t want = ids.n + (sr_tokenizer_adds_bos(s->tok) && ids.p[0] != sr_tokenizer_bos(s->tok));
    if ((size_t)json_integer_value(tc_at(n, "input_tokens")) != want)
        fail_msg("%s: %lld tokens, expected %zu (%s)", body, (long long)json_integer_value(tc_at(n, "input_tokens")), want, prompt);
    sr_ids_end(&ids);
    json_decref(n);
}

static void blocks_become_messages(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes};
    tc_start(&s);
    expect_prompt(&s, "{'messages':[{'role':'user','content':'a'}],'system':'be brief'}", "[system:be brief][user:a]>");
    expect_prompt(&s, "{'messages':[{'role':'user','content':[{'type':'text','text':'a','cache_control':{'type':'ephemeral'}},{'type':'text','text':'b'}]}],"
                      "'system':[{'type':'text','text':'x'},{'type':'text','text':'y'}]}", "[system:x\ny][user:a\nb]>");
    expect_prompt(&s, "{'messages':[{'role':'user','content':'q'},{'role':'assistant','content':[{'type':'thinking','thinking':'t','signature':''},"
                      "{'type':'tool_use','id':'t1','name':'f','input':{'a':1}}]},{'role':'user','content':[{'type':'tool_result','tool_use_id':'t1',"
                      "'content':[{'type':'text','text':'42'}]},{'type':'text','text':'and?'}]}]}",
                  "[user:q][assistant:<f {\"a\": 1}>][tool:42t1][user:and?]>");
    expect_prompt(&s, "{'messages':[{'role':'user','content':'q'},{'role':'user','content':[{'type':'tool_result','tool_use_id':'t1','content':'ok','is_error':false}]}]}",
                  "[user:q][tool:okt1]>");
    expect_prompt(&s, "{'messages':[{'role':'user','content':'q'}],'thinking':{'type':'enabled','budget_tokens':1024}}", "[user:q]think>");
    expect_prompt(&s, "{'messages':[{'role':'user','content':'q'}],'thinking':{'type':'disabled'}}", "[user:q]>");
    expect_prompt(&s, "{'messages':[{'role':'user','content':'q'}],'tools':[{'name':'f','input_schema':{'type':'object'}}]}",
                  "T:{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\"}}} <tool_call>[user:q]>");
    expect_prompt(&s, "{'messages':[{'role':'user','content':'q'},{'role':'assistant','content':'Sure, '}]}", "[user:q][assistant:Sure,");
    tc_stop(&s);
}

static void errors_are_in_anthropics_form(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{'messages':[{'role':'user','content':'hi'}]}", "{'max_tokens':5}", "{'max_tokens':5,'messages':[]}", "{'max_tokens':5,'messages':[5]}",
        "{'max_tokens':5,'messages':[{'role':'bot','content':'hi'}]}", "{'max_tokens':5,'messages':[{'role':'user'}]}",
        "{'max_tokens':5,'messages':[{'role':'user','content':[{'type':'image','source':{}}]}]}", "{'max_tokens':0,'messages':[{'role':'user','content':'hi'}]}",
        "{'max_tokens':5,'messages':[{'role':'user','content':[{'type':'tool_result'}]}]}", "{'max_tokens':5,'messages':[{'role':'user','content':'a'}],'system':5}",
        "{'max_tokens':5,'messages':[{'role':'user','content':'a'}],'tools':[{'type':'web_search_20250305','name':'web_search'}]}",
        "{'max_tokens':5,'messages':[{'role':'user','content':'a'}],'tools':[{'name':'f'}],'tool_choice':{'type':'tool','name':'g'}}",
        "{'max_tokens':5,'messages':[{'role':'user','content':'a'}],'tool_choice':{'type':'any'}}",
        "{'max_tokens':5,'messages':[{'role':'user','content':'a'}],'temperature':7}", "{'max_tokens':5,'messages':[{'role':'user','content':'a'}],'thinking':{'type':'x'}}",
        "{" HI ",'output_format':{'type':'json_object'}}", "{" HI ",'output_config':{'format':{'type':'json_schema'}}}", "{" HI ",'output_format':5}",
        "{" HI ",'output_format':{'type':'json_schema','schema':{'type':'frob'}}}", "{" HI ",'mcp_servers':[{'type':'url'}]}", "{" HI ",'container':'c'}"};
    static const sr_servekey keys[] = {{.key = "k"}};
    tc_server s = {0};
    tc_start(&s);
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        json_t *j = tc_put(&s, PATH, 400, bad[i]);
        assert_string_equal(tc_str(j, "type"), "error");
        assert_string_equal(tc_str(j, "error.type"), "invalid_request_error");
        assert_true(strlen(tc_str(j, "error.message")) > 10);
        json_decref(j);
    }
    tc_stop(&s);
    tc_server t = {.cfg = {.keys = keys, .n_keys = 1}};
    tc_reply  r = {0};
    tc_start(&t);
    json_t *j = tc_put(&t, PATH, 401, "{" HI "}");
    assert_string_equal(tc_str(j, "error.type"), "authentication_error");
    json_decref(j);
    tc_ask(&t, "POST", PATH, "x-api-key: k\r\nanthropic-version: 2023-06-01\r\n", "{\"max_tokens\":2,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", &r);
    assert_int_equal(r.status, 200);
    tc_reply_end(&r);
    tc_stop(&t);
    tc_server u = {.null = {.fail_after = 3}};
    tc_stream v;
    tc_start(&u);
    tc_stream_read(&u, PATH, "{" HI ",'stream':true}", false, &v);
    assert_string_equal(v.name[v.n - 1], "error");
    assert_string_equal(tc_str(v.e[v.n - 1], "error.type"), "api_error");
    tc_stream_end(&v);
    tc_stop(&u);
}

static void a_silent_stream_is_pinged_by_events(void **state)
{
    (void)state;
    tc_server s = {.cfg.times = {.ping = 50, .idle = 400}, .null.start_ms = 300};
    tc_stream v;
    tc_start(&s);
    tc_stream_read(&s, PATH, "{" HI ",'stream':true}", false, &v);
    assert_string_equal(v.name[1], "ping");
    tc_stream_end(&v);
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_a_message_of_blocks),
        cmocka_unit_test(a_stream_opens_and_closes_its_blocks),
        cmocka_unit_test(tools_are_blocks_of_their_own),
        cmocka_unit_test(thoughts_are_blocks_with_a_signature),
        cmocka_unit_test(blocks_become_messages),
        cmocka_unit_test(errors_are_in_anthropics_form),
        cmocka_unit_test(a_silent_stream_is_pinged_by_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
