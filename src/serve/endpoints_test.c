/* What the server answers without the engine: tokens and templates, versions, configuration, KServe's names. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

static json_t *ask(tc_server *s, const char *path, int status, const char *body)
{
    char   *b = tc_json("%s", body);
    json_t *j = tc_post(s, path, b, status);
    sr_free(b);
    return j;
}

static json_t *get(tc_server *s, const char *path, int status)
{
    tc_reply r = {0};
    json_error_t e;
    tc_ask(s, "GET", path, NULL, NULL, &r);
    if (r.status != status)
        fail_msg("%s: status %d, expected %d: %.300s", path, r.status, status, r.body.p);
    json_t *j = json_loadb(r.body.p, r.body.n, 0, &e);
    if (!j)
        fail_msg("%s: not JSON: %.300s", path, r.body.p);
    tc_reply_end(&r);
    return j;
}

static sr_ids ids_of(const tc_server *s, const char *text, unsigned flags)
{
    sr_ids ids = {0};
    sr_err err = {0};
    assert_int_equal(sr_tokenizer_encode(s->tok, text, strlen(text), flags, &ids, &err), SR_OK);
    return ids;
}

static void same_ids(const json_t *list, const sr_ids *ids)
{
    assert_int_equal(json_array_size(list), ids->n);
    for (size_t i = 0; i < ids->n; i++)
        assert_int_equal(json_integer_value(json_array_get(list, i)), ids->p[i]);
}

static void text_becomes_tokens_in_both_forms(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    sr_ids  plain = ids_of(&s, "Hello world", 0), whole = ids_of(&s, "Hello world", SR_TOK_ADD_SPECIAL);
    json_t *j = ask(&s, "/tokenize", 200, "{'content':'Hello world'}"); /* llama.cpp: no BOS unless asked */
    same_ids(tc_at(j, "tokens"), &plain);
    assert_int_equal(json_integer_value(tc_at(j, "count")), plain.n);
    assert_int_equal(json_integer_value(tc_at(j, "max_model_len")), 2048);
    json_decref(j);
    j = ask(&s, "/v1/tokenize", 200, "{'prompt':'Hello world','return_token_strs':true,'model':'any'}"); /* vLLM: as the model has it */
    same_ids(tc_at(j, "tokens"), &whole);
    assert_int_equal(json_array_size(tc_at(j, "token_strs")), whole.n);
    json_decref(j);
    j = ask(&s, "/tokenize", 200, "{'prompt':'Hello world','add_special_tokens':false}");
    same_ids(tc_at(j, "tokens"), &plain);
    json_decref(j);
    j = ask(&s, "/tokenize", 400, "{'prompt':'a','content':'b'}");
    assert_string_equal(tc_str(j, "error.param"), "prompt");
    json_decref(j);
    j = ask(&s, "/tokenize", 200, "{'content':'','add_special':null,'prompt':null}");
    assert_int_equal(json_array_size(tc_at(j, "tokens")), 0);
    json_decref(j);
    sr_ids_end(&plain);
    sr_ids_end(&whole);
    tc_stop(&s);
}

static void pieces_are_text_or_bytes(void **state)
{
    (void)state;
    tc_server s = {0};
    sr_buf    all = {0};
    tc_start(&s);
    json_t *j = ask(&s, "/tokenize", 200, "{'content':'caf\xc3\xa9 \xf0\x9f\xa7\xac','with_pieces':true}");
    for (size_t i = 0; i < json_array_size(tc_at(j, "tokens")); i++) {
        json_t *p = tc_at(json_array_get(tc_at(j, "tokens"), i), "piece");
        assert_true(json_is_integer(tc_at(json_array_get(tc_at(j, "tokens"), i), "id")));
        if (json_is_string(p))
            sr_buf_add(&all, json_string_value(p), json_string_length(p));
        for (size_t k = 0; k < json_array_size(p); k++)
            sr_buf_char(&all, (char)json_integer_value(json_array_get(p, k)));
    }
    assert_string_equal(all.p + (all.p[0] == ' '), "caf\xc3\xa9 \xf0\x9f\xa7\xac");
    json_decref(j);
    sr_buf_end(&all);
    tc_stop(&s);
}

static void control_tokens_are_parsed_unless_told_not_to(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    sr_ids  parsed = ids_of(&s, "<|im_start|>", SR_TOK_PARSE_SPECIAL), plain = ids_of(&s, "<|im_start|>", 0);
    json_t *j = ask(&s, "/tokenize", 200, "{'content':'<|im_start|>'}");
    same_ids(tc_at(j, "tokens"), &parsed);
    json_decref(j);
    j = ask(&s, "/tokenize", 200, "{'content':'<|im_start|>','parse_special':false}");
    same_ids(tc_at(j, "tokens"), &plain);
    assert_true(plain.n > parsed.n);
    json_decref(j);
    sr_ids_end(&parsed);
    sr_ids_end(&plain);
    tc_stop(&s);
}

static void a_conversation_is_counted_as_chat_would(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    json_t *j = ask(&s, "/tokenize", 200, "{'messages':[{'role':'user','content':'hi <|im_end|>'}]}");
    json_t *c = ask(&s, "/v1/chat/completions", 200, "{'messages':[{'role':'user','content':'hi <|im_end|>'}],'max_tokens':1}");
    assert_int_equal(json_integer_value(tc_at(j, "count")), json_integer_value(tc_at(c, "usage.prompt_tokens")));
    json_decref(j);
    json_decref(c);
    tc_stop(&s);
}

static void tokens_become_text_again(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    json_t *j = ask(&s, "/tokenize", 200, "{'content':'Two  words, \xe4\xb8\x96!'}");
    json_t *q = json_pack("{s:O}", "tokens", tc_at(j, "tokens"));
    char   *body = json_dumps(q, 0);
    json_t *r = tc_post(&s, "/detokenize", body, 200);
    assert_string_equal(tc_str(r, "content"), "Two  words, \xe4\xb8\x96!");
    assert_string_equal(tc_str(r, "prompt"), tc_str(r, "content"));
    free(body);
    json_decref(j);
    json_decref(q);
    json_decref(r);
    r = ask(&s, "/detokenize", 200, "{'tokens':[]}");
    assert_string_equal(tc_str(r, "content"), "");
    json_decref(r);
    tc_stop(&s);
}

static void a_template_shows_its_text(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    json_t *j = ask(&s, "/apply-template", 200, "{'messages':[{'role':'user','content':'hi'}]}");
    assert_string_equal(tc_str(j, "prompt"), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    json_decref(j);
    j = ask(&s, "/v1/apply-template", 200, "{'messages':[{'role':'developer','content':'x'}],'add_generation_prompt':false}");
    assert_string_equal(tc_str(j, "prompt"), "<|im_start|>system\nx<|im_end|>\n");
    json_decref(j);
    j = ask(&s, "/apply-template", 200, "{'messages':[{'role':'user','content':'q'},{'role':'assistant','content':'Well, '}],'continue_final_message':true}");
    assert_string_equal(tc_str(j, "prompt"), "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nWell,");
    json_decref(j);
    tc_stop(&s);
}

static void what_is_wrong_with_text_is_named(void **state)
{
    (void)state;
    static const struct { const char *path, *body, *param; } bad[] = {
        {"/tokenize", "{}", "content"}, {"/tokenize", "{'content':5}", "content"}, {"/tokenize", "{'prompt':['a']}", "prompt"},
        {"/tokenize", "{'content':'a','with_pieces':1}", "with_pieces"}, {"/tokenize", "{'content':'a','add_special':'no'}", "add_special"},
        {"/tokenize", "{'messages':[]}", "messages"}, {"/detokenize", "{}", "tokens"}, {"/detokenize", "{'tokens':'1'}", "tokens"},
        {"/detokenize", "{'tokens':[1.5]}", "tokens"}, {"/detokenize", "{'tokens':[-1]}", "tokens"},
        {"/detokenize", "{'tokens':[99999999]}", "tokens"}, {"/apply-template", "{}", "messages"}};
    tc_server s = {0};
    tc_start(&s);
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        json_t *j = ask(&s, bad[i].path, 400, bad[i].body);
        assert_string_equal(tc_str(j, "error.param"), bad[i].param);
        json_decref(j);
    }
    tc_stop(&s);
}

static void version_and_configuration_are_told(void **state)
{
    (void)state;
    static const sr_servekey keys[] = {{.key = "secret-key"}};
    tc_server s = {.cfg = {.keys = keys, .n_keys = 1}};
    tc_reply  r = {0};
    json_error_t e;
    tc_start(&s);
    tc_ask(&s, "GET", "/props", "Authorization: Bearer secret-key\r\n", NULL, &r);
    assert_int_equal(r.status, 200);
    assert_null(strstr(r.body.p, "secret-key"));
    json_t *j = json_loadb(r.body.p, r.body.n, 0, &e);
    assert_int_equal(json_integer_value(tc_at(j, "default_generation_settings.n_ctx")), 2048);
    assert_int_equal(json_integer_value(tc_at(j, "total_slots")), 64);
    assert_int_equal(json_integer_value(tc_at(j, "limits.body_bytes")), 32 << 20);
    assert_string_equal(tc_str(j, "model_alias"), "strata/test");
    assert_true(json_is_true(tc_at(j, "api_key")));
    assert_string_equal(tc_str(j, "chat.tool_calls"), "generic");
    assert_true(json_is_null(tc_at(j, "chat.thoughts")));
    assert_true(json_is_false(tc_at(j, "chat.template_shows_tools")) && json_is_true(tc_at(j, "chat.template_takes_system")));
    json_decref(j);
    tc_reply_end(&r);
    tc_ask(&s, "GET", "/version", "x-api-key: secret-key\r\n", NULL, &r);
    j = json_loadb(r.body.p, r.body.n, 0, &e);
    assert_string_equal(tc_str(j, "version"), SR_VERSION);
    json_decref(j);
    tc_reply_end(&r);
    json_decref(get(&s, "/props", 401));
    json_decref(get(&s, "/v1/version", 401));
    json_decref(get(&s, "/v2/health/ready", 200)); /* probes have no keys */
    json_decref(get(&s, "/v2/models/strata/test/ready", 200));
    tc_stop(&s);
}

static void kserve_asks_by_its_own_names(void **state)
{
    (void)state;
    tc_server s = {.not_ready = true};
    tc_start(&s);
    json_decref(get(&s, "/v2/health/live", 200));
    json_t *j = get(&s, "/v2/health/ready", 503);
    assert_string_equal(tc_str(j, "error.code"), "unavailable");
    json_decref(j);
    j = get(&s, "/v2/models/strata/test/ready", 503);
    assert_true(json_is_false(tc_at(j, "ready")));
    json_decref(j);
    json_decref(get(&s, "/props", 503));
    tc_ready(&s);
    json_decref(get(&s, "/v2/health/ready", 200));
    j = get(&s, "/v2/models/strata%2Ftest/ready", 200);
    assert_string_equal(tc_str(j, "name"), "strata/test");
    assert_true(json_is_true(tc_at(j, "ready")));
    json_decref(j);
    json_decref(get(&s, "/v2/models/other/ready", 404));
    tc_stop(&s);
}

static void health_and_metrics_tell_that_the_cpu_stands_in_for_a_gpu(void **state)
{
    (void)state;
    for (int fallback = 0; fallback < 2; fallback++) {
        tc_server s = {.fallback = fallback};
        tc_reply  r = {0};
        tc_start(&s);
        json_t *j = get(&s, "/health", 200);
        assert_int_equal(json_is_true(json_object_get(j, "device_fallback")), fallback);
        json_decref(j);
        tc_ask(&s, "GET", "/metrics", NULL, NULL, &r);
        assert_non_null(strstr(r.body.p, fallback ? "\nstrata_device_fallback 1\n" : "\nstrata_device_fallback 0\n"));
        tc_reply_end(&r);
        tc_stop(&s);
    }
}

static void a_prefix_that_no_path_could_have_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"openai", "/openai/", "/", "//a", "/a//b", "/a b", "/%61", "/a?b", "/\x80"}, *const right[] = {"/a", "/a/b", ""};
    for (size_t i = 0; i < SR_COUNT(wrong) + SR_COUNT(right); i++) {
        sr_err      err = {0};
        sr_serve   *s   = NULL;
        bool        ok  = i >= SR_COUNT(wrong);
        sr_servecfg cfg = {.host = "127.0.0.1", .model_id = "m", .prefix = ok ? right[i - SR_COUNT(wrong)] : wrong[i]};
        if ((sr_serve_open(&cfg, &s, &err) == SR_OK) != ok || (!ok && !strstr(err.msg, cfg.prefix)))
            fail_msg("\"%s\": %s", cfg.prefix, err.msg);
        sr_serve_close(s);
    }
}

static void every_path_takes_v1_a_prefix_and_stray_slashes(void **state)
{
    (void)state;
    static const char *const paths[] = {"health", "live", "ready", "health/live", "ping", "metrics", "version", "props", "models", "models/strata/test"};
    static const char *const before[] = {"/", "/v1/", "//v1//", "/openai/", "/openai/v1/", "//openai//v1//"};
    tc_server s = {.cfg.prefix = "/openai"};
    tc_start(&s);
    for (size_t i = 0; i < SR_COUNT(paths); i++)
        for (size_t k = 0; k < SR_COUNT(before); k++)
            for (int slash = 0; slash < 2; slash++) {
                char p[128];
                tc_reply r = {0};
                snprintf(p, sizeof p, "%s%s%s", before[k], paths[i], slash ? "/" : "");
                tc_ask(&s, "GET", p, NULL, NULL, &r);
                if (r.status != 200)
                    fail_msg("%s: %d", p, r.status);
                tc_reply_end(&r);
            }
    json_decref(ask(&s, "/openai/v1//tokenize/", 200, "{'content':'a'}"));
    json_decref(ask(&s, "/chat/completions", 200, "{'messages':[{'role':'user','content':'a'}]}"));
    json_decref(get(&s, "/openaiv1/models", 404));
    json_decref(get(&s, "/v1", 404));
    json_decref(get(&s, "/tokenize", 405));
    json_t *j = get(&s, "/nothing", 404); /* in the form of the dialect that it was looked for in */
    assert_string_equal(tc_str(j, "error.code"), "unknown_url");
    json_decref(j);
    j = ask(&s, "/api/pull", 404, "{'model':'a'}");
    assert_non_null(strstr(tc_str(j, "error"), "nothing"));
    json_decref(j);
    j = ask(&s, "/v1/messages/batches", 404, "{}");
    assert_string_equal(tc_str(j, "error.type"), "not_found_error");
    json_decref(j);
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_tokens_in_both_forms),
        cmocka_unit_test(pieces_are_text_or_bytes),
        cmocka_unit_test(control_tokens_are_parsed_unless_told_not_to),
        cmocka_unit_test(a_conversation_is_counted_as_chat_would),
        cmocka_unit_test(tokens_become_text_again),
        cmocka_unit_test(a_template_shows_its_text),
        cmocka_unit_test(what_is_wrong_with_text_is_named),
        cmocka_unit_test(version_and_configuration_are_told),
        cmocka_unit_test(kserve_asks_by_its_own_names),
        cmocka_unit_test(health_and_metrics_tell_that_the_cpu_stands_in_for_a_gpu),
        cmocka_unit_test(a_prefix_that_no_path_could_have_is_refused), cmocka_unit_test(every_path_takes_v1_a_prefix_and_stray_slashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
