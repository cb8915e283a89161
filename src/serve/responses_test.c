/* OpenAI's responses, stateless: items in, items out, every event of a stream in its place. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

#define PATH  "/v1/responses"
#define TOOLS "'tools':[{'type':'function','name':'get_weather','description':'x','parameters':{'type':'object'},'strict':false},{'type':'function','name':'now'}]"
#define CALLS "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Ulm\"}}\n</tool_call>\n" \
              "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"

static const char shown[] =
    "{% if tools %}T <tool_call>{% endif %}{% for m in messages %}[{{ m.role }}:{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<{{ c.function.name }} {{ c.function.arguments | tojson }}>{% endfor %}{{ m.tool_call_id }}"
    "{{ '~' + m.reasoning_content if m.reasoning_content else '' }}]{% endfor %}{{ reasoning_effort }}>";

static void a_response_is_a_list_of_items(void **state)
{
    (void)state;
    tc_server s = {.text = "Hello there."};
    tc_start(&s);
    json_t *j = tc_put(&s, PATH, 200, "{'model':'m','input':'hi','instructions':'Be brief.','max_output_tokens':200,'store':false,'metadata':{'a':'b'}}");
    assert_memory_equal(tc_str(j, "id"), "resp_", 5);
    assert_string_equal(tc_str(j, "object"), "response");
    assert_string_equal(tc_str(j, "status"), "completed");
    assert_true(json_is_null(tc_at(j, "error")) && json_is_null(tc_at(j, "incomplete_details")));
    assert_int_equal(json_array_size(tc_at(j, "output")), 1);
    assert_string_equal(tc_str(j, "output.0.type"), "message");
    assert_memory_equal(tc_str(j, "output.0.id"), "msg_", 4);
    assert_string_equal(tc_str(j, "output.0.role"), "assistant");
    assert_string_equal(tc_str(j, "output.0.status"), "completed");
    assert_string_equal(tc_str(j, "output.0.content.0.type"), "output_text");
    assert_string_equal(tc_str(j, "output.0.content.0.text"), "Hello there.");
    assert_true(json_is_array(tc_at(j, "output.0.content.0.annotations")));
    assert_string_equal(tc_str(j, "instructions"), "Be brief.");
    assert_int_equal(json_integer_value(tc_at(j, "max_output_tokens")), 200);
    assert_string_equal(tc_str(j, "metadata.a"), "b");
    assert_int_equal(json_integer_value(tc_at(j, "usage.output_tokens")), s.ids.n);
    assert_int_equal(json_integer_value(tc_at(j, "usage.total_tokens")),
                     json_integer_value(tc_at(j, "usage.input_tokens")) + json_integer_value(tc_at(j, "usage.output_tokens")));
    assert_int_equal(json_integer_value(tc_at(j, "usage.input_tokens_details.cached_tokens")), 0);
    json_decref(j);
    j = tc_put(&s, "/responses", 200, "{'input':'hi','max_output_tokens':1}");
    assert_string_equal(tc_str(j, "status"), "incomplete");
    assert_string_equal(tc_str(j, "incomplete_details.reason"), "max_output_tokens");
    assert_string_equal(tc_str(j, "output.0.status"), "incomplete");
    json_decref(j);
    tc_stop(&s);
}

static void expect_order(const tc_stream *v, const char *want)
{
    sr_buf b = {0};
    for (size_t i = 0; i < v->n; i++) {
        size_t n = strlen(v->name[i]);
        assert_string_equal(v->name[i], tc_str(v->e[i], "type"));
        assert_int_equal(json_integer_value(tc_at(v->e[i], "sequence_number")), i); /* from 0, without a gap */
        if (i && n > 6 && !strcmp(v->name[i] + n - 6, ".delta") && !strcmp(v->name[i - 1], v->name[i]))
            continue;
        sr_buf_fmt(&b, "%s%s", i ? " " : "", v->name[i] + (memcmp(v->name[i], "response.", 9) ? 0 : 9));
    }
    assert_string_equal(b.p, want);
    sr_buf_end(&b);
}

static void a_stream_has_every_event_in_its_place(void **state)
{
    (void)state;
    tc_server s = {.text = "Hello there."};
    tc_stream v;
    sr_buf    text = {0};
    tc_start(&s);
    tc_stream_read(&s, PATH, "{'input':'hi','stream':true}", false, &v);
    expect_order(&v, "created in_progress output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done completed");
    assert_string_equal(tc_str(v.e[0], "response.status"), "in_progress");
    assert_int_equal(json_array_size(tc_at(v.e[0], "response.output")), 0);
    const char *id = tc_str(v.e[2], "item.id");
    for (size_t i = 3; i + 2 < v.n; i++) {
        assert_string_equal(tc_str(v.e[i], "item_id"), id);
        assert_int_equal(json_integer_value(tc_at(v.e[i], "output_index")), 0);
        assert_int_equal(json_integer_value(tc_at(v.e[i], "content_index")), 0);
        if (!strcmp(v.name[i], "response.output_text.delta"))
            sr_buf_str(&text, tc_str(v.e[i], "delta"));
    }
    assert_string_equal(text.p, "Hello there.");
    assert_string_equal(tc_str(v.e[v.n - 4], "text"), "Hello there.");
    assert_string_equal(tc_str(v.e[v.n - 3], "part.text"), "Hello there.");
    assert_string_equal(tc_str(v.e[v.n - 2], "item.content.0.text"), "Hello there.");
    assert_string_equal(tc_str(v.e[v.n - 1], "response.output.0.content.0.text"), "Hello there.");
    assert_string_equal(tc_str(v.e[v.n - 1], "response.output.0.id"), id);
    assert_string_equal(tc_str(v.e[v.n - 1], "response.id"), tc_str(v.e[0], "response.id"));
    assert_int_equal(json_integer_value(tc_at(v.e[v.n - 1], "response.usage.output_tokens")), s.ids.n);
    tc_stream_end(&v);
    tc_stream_read(&s, PATH, "{'input':'hi','stream':true,'max_output_tokens':1}", false, &v);
    assert_string_equal(v.name[v.n - 1], "response.incomplete");
    assert_string_equal(tc_str(v.e[v.n - 1], "response.incomplete_details.reason"), "max_output_tokens");
    tc_stream_end(&v);
    sr_buf_end(&text);
    tc_stop(&s);
}

static void calls_are_items_with_arguments(void **state)
{
    (void)state;
    tc_server s = {.template_source = shown, .text = CALLS};
    tc_stream v;
    tc_start(&s);
    json_t *j = tc_put(&s, PATH, 200, "{'input':'hi'," TOOLS "}");
    assert_int_equal(json_array_size(tc_at(j, "output")), 3);
    assert_string_equal(tc_str(j, "output.1.type"), "function_call");
    assert_memory_equal(tc_str(j, "output.1.id"), "fc_", 3);
    assert_memory_equal(tc_str(j, "output.1.call_id"), "call_", 5);
    assert_string_equal(tc_str(j, "output.1.name"), "get_weather");
    assert_string_equal(tc_str(j, "output.1.arguments"), "{\"city\": \"Ulm\"}");
    assert_string_equal(tc_str(j, "output.2.arguments"), "{}");
    assert_string_equal(tc_str(j, "status"), "completed");
    assert_string_equal(tc_str(j, "tools.0.name"), "get_weather");
    json_decref(j);
    tc_stream_read(&s, PATH, "{'input':'hi','stream':true," TOOLS "}", false, &v);
    expect_order(&v, "created in_progress output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done "
                     "output_item.added function_call_arguments.delta function_call_arguments.done output_item.done "
                     "output_item.added function_call_arguments.delta function_call_arguments.done output_item.done completed");
    sr_buf args = {0};
    for (size_t i = 0; i < v.n; i++) {
        if (!strcmp(v.name[i], "response.function_call_arguments.delta") && json_integer_value(tc_at(v.e[i], "output_index")) == 1)
            sr_buf_str(&args, tc_str(v.e[i], "delta"));
        if (!strcmp(v.name[i], "response.output_item.done") && json_integer_value(tc_at(v.e[i], "output_index")) == 1)
            assert_string_equal(tc_str(v.e[i], "item.arguments"), args.p);
    }
    assert_string_equal(args.p, "{\"city\": \"Ulm\"}");
    assert_string_equal(tc_str(v.e[v.n - 1], "response.output.1.call_id"), tc_str(v.e[v.n - 1], "response.output.1.call_id"));
    assert_int_equal(json_array_size(tc_at(v.e[v.n - 1], "response.output")), 3);
    sr_buf_end(&args);
    tc_stream_end(&v);
    tc_stop(&s);
}

static void thoughts_are_reasoning_items(void **state)
{
    (void)state;
    tc_server s = {.template_source = "{{ messages[0].content }}{% if false %}<think>{% endif %}", .text = "<think>Hm.</think>Yes."};
    tc_stream v;
    tc_start(&s);
    json_t *j = tc_put(&s, PATH, 200, "{'input':'hi'}");
    assert_string_equal(tc_str(j, "output.0.type"), "reasoning");
    assert_string_equal(tc_str(j, "output.0.content.0.text"), "Hm.");
    assert_int_equal(json_array_size(tc_at(j, "output.0.summary")), 0);
    assert_string_equal(tc_str(j, "output.1.content.0.text"), "Yes.");
    assert_true(json_integer_value(tc_at(j, "usage.output_tokens_details.reasoning_tokens")) > 0);
    json_decref(j);
    tc_stream_read(&s, PATH, "{'input':'hi','stream':true}", false, &v);
    expect_order(&v, "created in_progress output_item.added content_part.added reasoning_text.delta reasoning_text.done content_part.done output_item.done "
                     "output_item.added content_part.added output_text.delta output_text.done content_part.done output_item.done completed");
    tc_stream_end(&v);
    tc_stop(&s);
}

static void expect_prompt(tc_server *s, const char *body, const char *prompt)
{
    json_t *n = tc_put(s, PATH, 200, body);
    sr_ids  ids = {0};
    sr_err  err = {0};
    assert_int_equal(sr_tokenizer_encode(s->tok, prompt, strlen(prompt), SR_TOK_PARSE_SPECIAL, &ids, &err), SR_OK);
    size_t want = ids.n + (sr_tokenizer_adds_bos(s->tok) && ids.p[0] != sr_tokenizer_bos(s->tok));
    if ((size_t)json_integer_value(tc_at(n, "usage.input_tokens")) != want)
        fail_msg("%s: %lld tokens, expected %zu (%s)", body, (long long)json_integer_value(tc_at(n, "usage.input_tokens")), want, prompt);
    sr_ids_end(&ids);
    json_decref(n);
}

static void items_become_messages(void **state)
{
    (void)state;
    tc_server s = {.template_source = shown};
    tc_start(&s);
    expect_prompt(&s, "{'input':'hi','instructions':'Be brief.'}", "[system:Be brief.][user:hi]>");
    expect_prompt(&s, "{'input':[{'role':'developer','content':'d'},{'type':'message','role':'user','content':[{'type':'input_text','text':'a'},"
                      "{'type':'input_text','text':'b'}]}]}", "[system:d][user:a\nb]>");
    expect_prompt(&s, "{'input':[{'role':'user','content':'q'},{'type':'reasoning','id':'rs','summary':[],'content':[{'type':'reasoning_text','text':'r'}]},"
                      "{'type':'function_call','call_id':'c1','name':'f','arguments':'{}'},{'type':'function_call','call_id':'c2','name':'g','arguments':'{}'},"
                      "{'type':'function_call_output','call_id':'c1','output':'one'},{'type':'function_call_output','call_id':'c2','output':[{'type':'input_text','text':'two'}]}]}",
                  "[user:q][assistant:<f {}><g {}>~r][tool:onec1][tool:twoc2]>");
    expect_prompt(&s, "{'input':[{'role':'user','content':'q'},{'type':'message','id':'msg_1','status':'completed','role':'assistant','content':"
                      "[{'type':'output_text','text':'a','annotations':[]}]},{'role':'user','content':'r'}],'reasoning':{'effort':'low'}}",
                  "[user:q][assistant:a][user:r]low>");
    tc_stop(&s);
}

static void tools_of_a_server_are_not_offered(void **state)
{
    (void)state;
    tc_server s = {.template_source = shown, .text = "Hello."};
    tc_start(&s);
    json_t *j = tc_put(&s, PATH, 200, "{'input':'q','tools':[{'type':'web_search','external_web_access':false},{'type':'function','name':'f'},{'type':'custom','name':'g'}]}");
    assert_int_equal(json_array_size(tc_at(j, "tools")), 1); /* and the answer says so */
    assert_string_equal(tc_str(j, "tools.0.name"), "f");
    json_decref(j);
    j = tc_put(&s, PATH, 200, "{'input':'q','tools':[{'type':'web_search'}],'tool_choice':'auto'}");
    assert_int_equal(json_array_size(tc_at(j, "tools")), 0);
    json_decref(j);
    tc_stop(&s);
}

static void what_needs_a_memory_is_refused(void **state)
{
    (void)state;
    static const struct { const char *body, *param; } bad[] = {
        {"{}", "input"}, {"{'input':[]}", "input"}, {"{'input':5}", "input"}, {"{'input':'a','previous_response_id':'resp_1'}", "previous_response_id"},
        {"{'input':'a','conversation':'c'}", "conversation"}, {"{'input':'a','prompt':{'id':'p'}}", "prompt"}, {"{'input':'a','background':true}", "background"},
        {"{'input':'a','top_logprobs':3}", "top_logprobs"}, {"{'input':'a','include':['message.output_text.logprobs']}", "include"},
        {"{'input':[{'type':'item_reference','id':'x'}]}", "input[0]"}, {"{'input':[{'type':'web_search_call'}]}", "input[0]"},
        {"{'input':[{'role':'user','content':[{'type':'input_image'}]}]}", "input[0]"}, {"{'input':'a','tools':[{'name':'f'}]}", "tools[0]"},
        {"{'input':'a','tools':[{'type':'web_search'}],'tool_choice':'required'}", "tool_choice"}, {"{'input':'a','tools':[5]}", "tools[0]"},
        {"{'input':'a','tools':[{'type':'web_search'},{'type':'function','name':'f'}],'tool_choice':{'type':'web_search'}}", "tool_choice"},
        {"{'input':'a','tools':[{'type':'function','name':'f'}],'tool_choice':{'type':'function','name':'g'}}", "tool_choice"}, {"{'input':'a','temperature':9}", "temperature"},
        {"{'input':'a','text':{'format':{'type':'unheard_of'}}}", "text.format"}, {"{'input':[{'type':'function_call','name':'f'}]}", "input[0]"},
        {"{'input':'a','instructions':5}", "instructions"}, {"{'input':'a','max_output_tokens':0}", "max_output_tokens"}};
    tc_server s = {0};
    tc_start(&s);
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        json_t *j = tc_put(&s, PATH, 400, bad[i].body);
        if (strcmp(tc_str(j, "error.param"), bad[i].param))
            fail_msg("%s: %s, expected %s", bad[i].body, tc_str(j, "error.param"), bad[i].param);
        json_decref(j);
    }
    json_decref(tc_put(&s, PATH, 200, "{'input':'a','previous_response_id':null,'store':true,'include':['x'],'truncation':'auto','service_tier':'flex','max_output_tokens':1}"));
    tc_stop(&s);
    tc_server t = {.null = {.fail_after = 3}};
    tc_stream v;
    tc_start(&t);
    tc_stream_read(&t, PATH, "{'input':'hi','stream':true}", false, &v);
    assert_string_equal(v.name[v.n - 2], "response.failed");
    assert_string_equal(tc_str(v.e[v.n - 2], "response.status"), "failed");
    assert_string_equal(v.name[v.n - 1], "error");
    assert_non_null(strstr(tc_str(v.e[v.n - 1], "message"), "made to fail"));
    tc_stream_end(&v);
    tc_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_is_a_list_of_items),
        cmocka_unit_test(a_stream_has_every_event_in_its_place),
        cmocka_unit_test(calls_are_items_with_arguments),
        cmocka_unit_test(thoughts_are_reasoning_items),
        cmocka_unit_test(items_become_messages),
        cmocka_unit_test(tools_of_a_server_are_not_offered),
        cmocka_unit_test(what_needs_a_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
