/* Tools and thoughts through the server: what the template is told, what the client gets, streamed and not. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"

#define CHAT  "/v1/chat/completions"
#define HI    "'messages':[{'role':'user','content':'hi'}]"
#define TOOLS "'tools':[{'type':'function','function':{'name':'get_weather','description':'Weather of a city','parameters':{'type':'object'," \
              "'properties':{'city':{'type':'string'}}}}},{'type':'function','function':{'name':'now'}}]"
#define TWO   "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>\n" \
              "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"

/* The way Qwen 2.5 does it, shortened. */
static const char hermes[] =
    "{% if tools %}<|im_start|>system\n<tools>{% for t in tools %}\n{{ t | tojson }}{% endfor %}\n</tools> <tool_call><|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'user' if m.role == 'tool' else m.role }}\n"
    "{% if m.role == 'tool' %}<tool_response>\n{{ m.content }}\n</tool_response>{% else %}{{ m.content or '' }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char thinking[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if open_thoughts %}<think>\n{% endif %}{% endif %}";

static void a_whole_answer_carries_its_calls(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = TWO};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS "}");
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "tool_calls");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "Let me look.");
    assert_int_equal(json_array_size(tc_at(j, "choices.0.message.tool_calls")), 2);
    assert_string_equal(tc_str(j, "choices.0.message.tool_calls.0.type"), "function");
    assert_string_equal(tc_str(j, "choices.0.message.tool_calls.0.function.name"), "get_weather");
    assert_string_equal(tc_str(j, "choices.0.message.tool_calls.0.function.arguments"), "{\"city\": \"Ulm\"}");
    assert_string_equal(tc_str(j, "choices.0.message.tool_calls.1.function.arguments"), "{}");
    assert_memory_equal(tc_str(j, "choices.0.message.tool_calls.0.id"), "call_", 5);
    assert_string_not_equal(tc_str(j, "choices.0.message.tool_calls.0.id"), tc_str(j, "choices.0.message.tool_calls.1.id"));
    json_decref(j);
    tc_stop(&s);
    tc_server only = {.template_source = hermes, .text = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"};
    tc_start(&only);
    j = tc_put(&only, CHAT, 200, "{" HI "," TOOLS "}");
    assert_true(json_is_null(tc_at(j, "choices.0.message.content"))); /* only calls */
    json_decref(j);
    tc_stop(&only);
}

/* What openai-node and others put together of the deltas. */
static json_t *put_together(const tc_stream *v, int index, sr_buf *content)
{
    json_t *calls = json_array();
    for (size_t i = 0; i < v->n; i++) {
        json_t *c = json_array_get(json_object_get(v->e[i], "choices"), 0), *d = json_object_get(c, "delta");
        if (!c || json_integer_value(json_object_get(c, "index")) != index)
            continue;
        if (json_is_string(json_object_get(d, "content")))
            sr_buf_str(content, json_string_value(json_object_get(d, "content")));
        for (size_t k = 0; k < json_array_size(json_object_get(d, "tool_calls")); k++) {
            json_t *t = json_array_get(json_object_get(d, "tool_calls"), k);
            size_t  at = (size_t)json_integer_value(tc_at(t, "index"));
            if (json_object_get(t, "id")) { /* a call's first delta, and only that, says who it is */
                assert_int_equal(at, json_array_size(calls));
                assert_string_equal(tc_str(t, "type"), "function");
                assert_string_equal(tc_str(t, "function.arguments"), "");
                json_array_append_new(calls, json_pack("{s:s,s:s,s:s}", "id", tc_str(t, "id"), "name", tc_str(t, "function.name"), "arguments", ""));
                continue;
            }
            assert_null(json_object_get(tc_at(t, "function"), "name"));
            json_t *call = json_array_get(calls, at);
            assert_non_null(call);
            json_object_set_new(call, "arguments", json_sprintf("%s%s", tc_str(call, "arguments"), tc_str(t, "function.arguments")));
        }
    }
    return calls;
}

static void a_stream_says_the_same_in_deltas(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = TWO};
    tc_stream v;
    tc_start(&s);
    tc_stream_read(&s, CHAT, "{" HI "," TOOLS ",'stream':true,'n':2,'logprobs':true}", true, &v);
    for (int i = 0; i < 2; i++) {
        sr_buf  content = {0};
        json_t *calls = put_together(&v, i, &content);
        assert_string_equal(content.p, "Let me look.");
        assert_int_equal(json_array_size(calls), 2);
        assert_string_equal(tc_str(calls, "0.name"), "get_weather");
        assert_string_equal(tc_str(calls, "0.arguments"), "{\"city\": \"Ulm\"}");
        assert_string_equal(tc_str(calls, "1.name"), "now");
        assert_string_equal(tc_str(calls, "1.arguments"), "{}");
        json_decref(calls);
        sr_buf_end(&content);
    }
    assert_string_equal(tc_str(v.e[v.n - 1], "choices.0.finish_reason"), "tool_calls");
    tc_stream_end(&v);
    tc_stop(&s);
}

/* The form of 2023: one call, without a list, an index or an id. */
static void functions_are_answered_in_their_own_form(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = TWO, .null.endless = true};
    tc_stream v;
    sr_buf    args = {0}, content = {0};
    int       names = 0;
    tc_start(&s);
#define FUNCTIONS "'functions':[{'name':'get_weather','parameters':{'type':'object','properties':{'city':{'type':'string'}}}},{'name':'now'}]"
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "," FUNCTIONS "}");
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "function_call");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "Let me look.");
    assert_string_equal(tc_str(j, "choices.0.message.function_call.name"), "get_weather");
    assert_string_equal(tc_str(j, "choices.0.message.function_call.arguments"), "{\"city\": \"Ulm\"}");
    assert_null(json_object_get(tc_at(j, "choices.0.message"), "tool_calls"));
    json_decref(j);
    tc_stream_read(&s, CHAT, "{" HI "," FUNCTIONS ",'stream':true}", true, &v);
    for (size_t i = 0; i < v.n; i++) {
        json_t *d = tc_at(v.e[i], "choices.0.delta"), *f = json_object_get(d, "function_call");
        assert_null(json_object_get(d, "tool_calls"));
        if (json_is_string(json_object_get(d, "content")))
            sr_buf_str(&content, tc_str(d, "content"));
        if (json_object_get(f, "name")) {
            assert_string_equal(tc_str(f, "name"), "get_weather");
            assert_int_equal(args.n, 0);
            names++;
        }
        if (f)
            sr_buf_str(&args, tc_str(f, "arguments"));
    }
    assert_int_equal(names, 1);
    assert_string_equal(args.p, "{\"city\": \"Ulm\"}");
    assert_string_equal(content.p, "Let me look.");
    assert_string_equal(tc_str(v.e[v.n - 1], "choices.0.finish_reason"), "function_call");
    sr_buf_end(&args);
    sr_buf_end(&content);
    tc_stream_end(&v);
    j = tc_put(&s, CHAT, 200, "{" HI "," FUNCTIONS ",'function_call':'none','max_tokens':5}");
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "length");
    json_decref(j);
    tc_stop(&s);
}

static void text_with_tools_at_hand_is_text(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = "It is <b>warm</b> in Ulm: {\"name\": \"x\"}.\n"};
    tc_stream v;
    sr_buf    content = {0};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS "}");
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "stop");
    assert_string_equal(tc_str(j, "choices.0.message.content"), s.text);
    assert_null(json_object_get(tc_at(j, "choices.0.message"), "tool_calls"));
    json_decref(j);
    tc_stream_read(&s, CHAT, "{" HI "," TOOLS ",'stream':true}", true, &v);
    json_decref(put_together(&v, 0, &content));
    assert_string_equal(content.p, s.text);
    sr_buf_end(&content);
    tc_stream_end(&v);
    tc_stop(&s);
}

static void without_tools_nothing_is_a_call(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = TWO};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), TWO);
    json_decref(j);
    j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS ",'tool_choice':'none'}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), TWO);
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "stop");
    json_decref(j);
    tc_stop(&s);
}

static void one_call_is_enough_where_one_is_wanted(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = TWO, .null.endless = true};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS ",'parallel_tool_calls':false}"); /* and the endless answer ends there */
    assert_int_equal(json_array_size(tc_at(j, "choices.0.message.tool_calls")), 1);
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "tool_calls");
    json_decref(j);
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_stop(&s);
}

static void a_call_cut_by_the_length_or_a_stop_says_so(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .text = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm, Neu-Ulm and all the villages around\"}}\n</tool_call>"};
    char body[600];
    tc_start(&s);
    snprintf(body, sizeof body, "{" HI "," TOOLS ",'max_tokens':%zu}", s.ids.n * 2 / 3);
    json_t *j = tc_put(&s, CHAT, 200, body);
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "length");
    assert_null(json_loads(tc_str(j, "choices.0.message.tool_calls.0.function.arguments"), 0, NULL));
    json_decref(j);
    j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS ",'stop':'Neu'}"); /* nobody asks for the weather in "Ulm, " */
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "stop");
    assert_string_equal(tc_str(j, "choices.0.message.tool_calls.0.function.arguments"), "{\"city\": \"Ulm, ");
    json_decref(j);
    j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS ",'stop':'</tool_call>'}"); /* the call is whole */
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "tool_calls");
    json_decref(j);
    tc_stop(&s);
}

static void the_template_is_told_of_tools_and_results(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes};
    tc_start(&s);
    json_t *j = tc_put(&s, "/apply-template", 200,
                       "{'messages':[{'role':'user','content':'hi'},{'role':'assistant','content':null,'tool_calls':[{'id':'c1','type':'function',"
                       "'function':{'name':'now','arguments':'{}'}}]},{'role':'tool','tool_call_id':'c1','content':'noon'}],"
                       "'tools':[{'type':'function','function':{'name':'now'}}]}");
    assert_string_equal(tc_str(j, "prompt"),
                        "<|im_start|>system\n<tools>{\"type\": \"function\", \"function\": {\"name\": \"now\"}}</tools> <tool_call><|im_end|>\n"
                        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call><|im_end|>\n"
                        "<|im_start|>user\n<tool_response>\nnoon\n</tool_response><|im_end|>\n<|im_start|>assistant\n");
    json_decref(j);
    tc_stop(&s);
}

/* And calls and results of 2023 are shown to the template as today's, with ids that belong together. */
static void the_template_sees_functions_as_tools(void **state)
{
    (void)state;
    tc_server s = {.template_source =
                       "{% for t in tools %}{{ t | tojson }};{% endfor %}{% for m in messages %}{{ m.role }}:{% for c in m.tool_calls %}{{ c.id }} {{ c.function.name }} "
                       "{{ c.function.arguments | tojson }}{% endfor %}{{ m.tool_call_id }} {{ m.name }} {{ m.content }};{% endfor %}"};
    tc_start(&s);
    json_t *j = tc_put(&s, "/apply-template", 200,
                       "{'messages':[{'role':'user','content':'hi'},{'role':'assistant','content':'','function_call':{'name':'now','arguments':'{}'}},"
                       "{'role':'function','name':'now','content':'noon'}],'functions':[{'name':'now'}]}");
    assert_string_equal(tc_str(j, "prompt"), "{\"type\": \"function\", \"function\": {\"name\": \"now\"}};user:  hi;assistant:call00001 now {}  ;tool:call00001 now noon;");
    json_decref(j);
    tc_stop(&s);
}

/* A template that knows no tools is told in words; what comes back is understood all the same. */
static void templates_without_tools_are_told_in_words(void **state)
{
    (void)state;
    tc_server s = {.text = "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}"};
    tc_start(&s);
    json_t *j = tc_put(&s, "/apply-template", 200,
                       "{'messages':[{'role':'system','content':'Be brief.'},{'role':'assistant','content':'I look.','tool_calls':[{'function':{'name':'now',"
                       "'arguments':'{}'}}]},{'role':'tool','content':'noon'},{'role':'tool','content':'12'},{'role':'user','content':'So?'}]," TOOLS "}");
    const char *p = tc_str(j, "prompt");
    assert_non_null(strstr(p, "Be brief.\n\n# Tools"));
    assert_non_null(strstr(p, "\"name\": \"get_weather\""));
    assert_non_null(strstr(p, "I look.\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call><|im_end|>"));
    assert_non_null(strstr(p, "<|im_start|>user\n<tool_response>\nnoon\n</tool_response>\n<tool_response>\n12\n</tool_response><|im_end|>"));
    json_decref(j);
    j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS "}");
    assert_string_equal(tc_str(j, "choices.0.message.tool_calls.0.function.arguments"), "{\"city\": \"Ulm\"}");
    json_decref(j);
    tc_stop(&s);
}

static void descriptions_of_tools_become_no_control_tokens(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes};
    tc_start(&s);
    json_t *a = tc_put(&s, "/tokenize", 200, "{" HI ",'with_pieces':true,'tools':[{'function':{'name':'f','description':'a <|im_end|> b'}}]}");
    size_t  n = 0;
    for (size_t i = 0; i < json_array_size(tc_at(a, "tokens")); i++) {
        const json_t *p = json_object_get(json_array_get(tc_at(a, "tokens"), i), "piece");
        n += json_is_string(p) && !strcmp(json_string_value(p), "<|im_end|>");
    }
    assert_int_equal(n, 2); /* of the system message and the user's */
    json_decref(a);
    tc_stop(&s);
}

static void ids_are_nine_characters_where_the_template_wants_them(void **state)
{
    (void)state;
    tc_server s = {.template_source = "{{ '[TOOL_CALLS]' if tools }}{% for m in messages %}{{ m.content }}{% endfor %}",
                   .text = "[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}]"};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS "}");
    const char *id = tc_str(j, "choices.0.message.tool_calls.0.id");
    assert_int_equal(strlen(id), 9);
    assert_int_equal(strspn(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"), 9);
    json_decref(j);
    tc_stop(&s);
}

/* Where marks may be control tokens all of them are looked at, and only the marks are seen. */
static void other_control_tokens_stay_unseen(void **state)
{
    (void)state;
    tc_server s = {.template_source = hermes, .control_text = true, .text = "Well<|im_start|>, yes."};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS "}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "Well, yes.");
    json_decref(j);
    j = tc_put(&s, CHAT, 200, "{" HI "," TOOLS ",'skip_special_tokens':false}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), s.text);
    json_decref(j);
    tc_stop(&s);
    tc_server m = {.template_source = "{{ '<|im_start|>' }}{# [TOOL_CALLS] #}{{ messages[0].content }}", .control_text = true, .text = "<|im_start|>x"};
    tc_start(&m);
    j = tc_put(&m, CHAT, 200, "{" HI "}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "x"); /* without tools as ever */
    json_decref(j);
    tc_stop(&m);
}

static void thoughts_have_a_member_of_their_own(void **state)
{
    (void)state;
    tc_server s = {.template_source = thinking, .text = "<think>\nHm, four?\n</think>\n\nIt is 4."};
    tc_stream v;
    sr_buf    thoughts = {0}, content = {0};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI "}");
    assert_string_equal(tc_str(j, "choices.0.message.reasoning_content"), "Hm, four?");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "It is 4.");
    json_int_t t = json_integer_value(tc_at(j, "usage.completion_tokens_details.reasoning_tokens"));
    assert_true(t >= 3 && t < json_integer_value(tc_at(j, "usage.completion_tokens")));
    json_decref(j);
    tc_stream_read(&s, CHAT, "{" HI ",'stream':true,'logprobs':true}", true, &v);
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        const json_t *d = tc_at(v.e[i], "choices.0.delta");
        const char *a = json_string_value(json_object_get(d, "reasoning_content")), *b = json_string_value(json_object_get(d, "content"));
        assert_false(a && b);
        sr_buf_str(&thoughts, a ? a : "");
        sr_buf_str(&content, b ? b : "");
        n += json_array_size(json_object_get(tc_at(v.e[i], "choices.0.logprobs"), "content"));
    }
    assert_string_equal(thoughts.p, "Hm, four?");
    assert_string_equal(content.p, "It is 4.");
    assert_int_equal(n, s.ids.n); /* every token has its logprob, that of a mark, too */
    tc_stream_end(&v);
    j = tc_put(&s, CHAT, 200, "{" HI ",'reasoning_format':'none'}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), s.text);
    assert_null(json_object_get(tc_at(j, "choices.0.message"), "reasoning_content"));
    json_decref(j);
    sr_buf_end(&thoughts);
    sr_buf_end(&content);
    tc_stop(&s);
}

static void a_prompt_may_begin_the_thoughts(void **state)
{
    (void)state;
    tc_server s = {.template_source = thinking, .text = "Hm, four?\n</think>\n\nIt is 4."};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI ",'chat_template_kwargs':{'open_thoughts':true}}");
    assert_string_equal(tc_str(j, "choices.0.message.reasoning_content"), "Hm, four?");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "It is 4.");
    json_decref(j);
    j = tc_put(&s, CHAT, 200, "{" HI "}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), s.text);
    json_decref(j);
    tc_stop(&s);
}

/* No grammar can make a control token: the mark of a forced call ends the prompt, and the answer goes on from there. */
static void a_forced_call_may_begin_in_the_prompt(void **state)
{
    (void)state;
    tc_server s = {.template_source = "{{ '[TOOL_CALLS]' if tools }}{% for m in messages %}{{ m.content }}{% endfor %}",
                   .text = "[{\"name\": \"now\", \"arguments\": {}}]"};
    tc_start(&s);
    json_t *a = tc_put(&s, CHAT, 200, "{" HI "," TOOLS "}"), *b = tc_put(&s, CHAT, 200, "{" HI "," TOOLS ",'tool_choice':'required'}");
    assert_string_equal(tc_str(b, "choices.0.message.tool_calls.0.function.name"), "now");
    assert_true(json_is_null(tc_at(b, "choices.0.message.content")));
    assert_true(json_integer_value(tc_at(b, "usage.prompt_tokens")) > json_integer_value(tc_at(a, "usage.prompt_tokens")));
    json_decref(a);
    json_decref(b);
    tc_stop(&s);
}

static void an_answer_of_a_form_has_no_thoughts(void **state)
{
    (void)state;
    tc_server s = {.template_source = thinking, .text = "{\"a\": 1}"};
    tc_start(&s);
    json_t *j = tc_put(&s, CHAT, 200, "{" HI ",'chat_template_kwargs':{'open_thoughts':true},'response_format':{'type':'json_object'}}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "{\"a\": 1}");
    assert_null(json_object_get(tc_at(j, "choices.0.message"), "reasoning_content"));
    json_decref(j);
    tc_stop(&s);
}

/* Sends and reads to the end, whatever it is. */
static void send_away(tc_server *s, const char *path, const char *body)
{
    tc_conn c;
    sr_buf  q = {0};
    tc_open(&c, s->at);
    sr_buf_fmt(&q, "POST %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", path, strlen(body), body);
    if (q.p)
        tc_send(&c, q.p, q.n);
    while (tc_more(&c, 500))
        ;
    sr_buf_end(&q);
    tc_close(&c);
}

static void any_allocation_may_fail_in_any_dialect(void **state)
{
    (void)state;
    static const struct { const char *path, *body; } asks[] = {
        {CHAT, "{" HI "," TOOLS ",'stream':true}"}, {CHAT, "{" HI "," TOOLS ",'tool_choice':'required'}"},
        {CHAT, "{" HI ",'response_format':{'type':'json_object'}}"},
        {"/v1/messages", "{'max_tokens':200," HI ",'stream':true,'tools':[{'name':'now','input_schema':{}}]}"},
        {"/v1/messages", "{'max_tokens':200," HI ",'tools':[{'name':'now'}],'tool_choice':{'type':'any'}}"},
        {"/v1/responses", "{'input':[{'type':'function_call','call_id':'c','name':'now','arguments':'{}'},{'type':'function_call_output',"
                          "'call_id':'c','output':'x'}],'tools':[{'type':'function','name':'now'}]}"},
        {"/api/chat", "{" HI "," TOOLS ",'stream':false}"}, {"/api/generate", "{'prompt':'a','format':{'type':'object'}}"},
        {"/apply-template", "{" HI "," TOOLS "}"}, {"/detokenize", "{'tokens':[1,2]}"},
        {"/v1/messages/count_tokens", "{" HI ",'system':[{'type':'text','text':'x'}]}"},
        {"/v1/responses", "{'input':[{'role':'user','content':'hi'}],'stream':true,'tools':[{'type':'function','name':'now'}]}"},
        {"/api/chat", "{" HI "," TOOLS ",'options':{'seed':1}}"}, {"/tokenize", "{'content':'a b','with_pieces':true}"}};
    tc_server s = {.template_source = hermes, .text = TWO};
    char *body[SR_COUNT(asks)];
    tc_start(&s);
    for (size_t i = 0; i < SR_COUNT(asks); i++)
        body[i] = tc_json("%s", asks[i].body);
    for (size_t i = 0; i < SR_COUNT(asks); i++) {
        int nth = 1;
        for (bool fired = true; fired && nth < 3000; nth++) {
            sr_fault_arm(SR_FAULT_ALLOC, (uint64_t)nth);
            send_away(&s, asks[i].path, body[i]);
            fired = sr_fault_fired(SR_FAULT_ALLOC);
            sr_fault_arm(SR_FAULT_ALLOC, 0);
        }
        assert_true(nth > 10 && nth < 3000);
        json_decref(tc_put(&s, CHAT, 200, "{" HI "," TOOLS "}"));
    }
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_wait_metric(&s, "strata_http_generations", 0);
    for (size_t i = 0; i < SR_COUNT(asks); i++)
        sr_free(body[i]);
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_carries_its_calls),
        cmocka_unit_test(a_stream_says_the_same_in_deltas),
        cmocka_unit_test(functions_are_answered_in_their_own_form),
        cmocka_unit_test(the_template_sees_functions_as_tools),
        cmocka_unit_test(text_with_tools_at_hand_is_text),
        cmocka_unit_test(without_tools_nothing_is_a_call),
        cmocka_unit_test(one_call_is_enough_where_one_is_wanted),
        cmocka_unit_test(a_call_cut_by_the_length_or_a_stop_says_so),
        cmocka_unit_test(the_template_is_told_of_tools_and_results),
        cmocka_unit_test(templates_without_tools_are_told_in_words),
        cmocka_unit_test(descriptions_of_tools_become_no_control_tokens),
        cmocka_unit_test(ids_are_nine_characters_where_the_template_wants_them),
        cmocka_unit_test(other_control_tokens_stay_unseen),
        cmocka_unit_test(thoughts_have_a_member_of_their_own),
        cmocka_unit_test(a_prompt_may_begin_the_thoughts),
        cmocka_unit_test(a_forced_call_may_begin_in_the_prompt),
        cmocka_unit_test(an_answer_of_a_form_has_no_thoughts),
        cmocka_unit_test(any_allocation_may_fail_in_any_dialect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
