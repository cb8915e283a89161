/* The OpenAI API against the server with the null engine: answers, streams, refusals. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"

#define CHAT "/v1/chat/completions"
#define COMP "/v1/completions"
#define HI   "'messages':[{'role':'user','content':'hi'}]"
enum { EVENTS = 600 };

static json_t *ask(tc_server *s, const char *path, int status, const char *body)
{
    char   *b = tc_json("%s", body);
    json_t *j = tc_post(s, path, b, status);
    sr_free(b);
    return j;
}

typedef struct { json_t *e[EVENTS]; size_t n; } events;

static events stream(tc_server *s, const char *path, const char *body)
{
    events   v = {0};
    tc_reply r = {0};
    char    *b = tc_json("%s", body);
    tc_ask(s, "POST", path, NULL, b, &r);
    if (r.status != 200)
        fail_msg("%d for %s: %s", r.status, b, r.body.p);
    sr_free(b);
    v.n = tc_events(&r, v.e, EVENTS);
    tc_reply_end(&r);
    return v;
}

static void events_end(events *v)
{
    for (size_t i = 0; i < v->n; i++)
        json_decref(v->e[i]);
}

/* What a choice says in a stream of `member` ("delta.content" or "text"). */
static char *said(const events *v, int index, const char *member)
{
    sr_buf b = {0};
    sr_buf_add(&b, "", 0);
    for (size_t i = 0; i < v->n; i++) {
        const json_t *c = json_array_get(json_object_get(v->e[i], "choices"), 0);
        if (!c || json_integer_value(json_object_get(c, "index")) != index)
            continue;
        const json_t *t = !strcmp(member, "text") ? json_object_get(c, "text") : json_object_get(json_object_get(c, "delta"), "content");
        if (t)
            sr_buf_add(&b, json_string_value(t), json_string_length(t));
    }
    return b.p;
}

static char *null_text(const tc_server *s, size_t n_tok)
{
    sr_buf b = {0};
    sr_err err = {0};
    assert_int_equal(sr_tokenizer_decode(s->tok, s->ids.p, n_tok, false, &b, &err), SR_OK);
    return b.p;
}

static void a_chat_answer_has_every_member(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    char   *text = null_text(&s, s.ids.n);
    json_t *j = ask(&s, CHAT, 200, "{" HI ",'model':'gpt-4o-mini'}");
    assert_memory_equal(tc_str(j, "id"), "chatcmpl-", 9);
    assert_string_equal(tc_str(j, "object"), "chat.completion");
    assert_true(json_is_integer(tc_at(j, "created")));
    assert_string_equal(tc_str(j, "model"), "strata/test");
    assert_memory_equal(tc_str(j, "system_fingerprint"), "fp_", 3);
    assert_string_equal(tc_str(j, "choices.0.message.role"), "assistant");
    assert_string_equal(tc_str(j, "choices.0.message.content"), text);
    assert_true(json_is_null(tc_at(j, "choices.0.message.refusal")));
    assert_true(json_is_null(tc_at(j, "choices.0.logprobs")));
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "stop");
    json_int_t p = json_integer_value(tc_at(j, "usage.prompt_tokens")), c = json_integer_value(tc_at(j, "usage.completion_tokens"));
    assert_true(p > 5);
    assert_int_equal(c, s.ids.n);
    assert_int_equal(json_integer_value(tc_at(j, "usage.total_tokens")), p + c);
    assert_int_equal(json_integer_value(tc_at(j, "usage.prompt_tokens_details.cached_tokens")), 0);
    json_decref(j);
    sr_free(text);
    tc_stop(&s);
}

static void a_chat_stream_is_role_text_finish_usage(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    char  *text = null_text(&s, s.ids.n);
    events v = stream(&s, CHAT, "{" HI ",'stream':true,'stream_options':{'include_usage':true}}");
    assert_string_equal(tc_str(v.e[0], "choices.0.delta.role"), "assistant");
    assert_string_equal(tc_str(v.e[0], "choices.0.delta.content"), "");
    assert_true(json_is_null(tc_at(v.e[0], "choices.0.finish_reason")));
    for (size_t i = 0; i < v.n; i++) {
        assert_string_equal(tc_str(v.e[i], "id"), tc_str(v.e[0], "id"));
        assert_string_equal(tc_str(v.e[i], "object"), "chat.completion.chunk");
        assert_int_equal(json_integer_value(tc_at(v.e[i], "created")), json_integer_value(tc_at(v.e[0], "created")));
        if (i + 1 < v.n)
            assert_null(json_object_get(v.e[i], "usage"));
    }
    char *got = said(&v, 0, "delta");
    assert_string_equal(got, text);
    assert_string_equal(tc_str(v.e[v.n - 2], "choices.0.finish_reason"), "stop");
    assert_int_equal(json_object_size(tc_at(v.e[v.n - 2], "choices.0.delta")), 0);
    assert_int_equal(json_array_size(tc_at(v.e[v.n - 1], "choices")), 0);
    assert_int_equal(json_integer_value(tc_at(v.e[v.n - 1], "usage.completion_tokens")), s.ids.n);
    events_end(&v);
    sr_free(got);
    sr_free(text);
    tc_stop(&s);
}

static void usage_comes_with_every_chunk_where_it_is_asked_for(void **state)
{
    (void)state;
    static const struct { const char *path, *body; } of[] = {
        {CHAT, "{" HI ",'n':2,'stream':true,'stream_options':{'include_usage':true,'continuous_usage_stats':true}}"},
        {COMP, "{'prompt':'a','n':2,'max_tokens':5,'stream':true,'stream_options':{'include_usage':true,'continuous_usage_stats':true}}"}};
    tc_server s = {0};
    tc_start(&s);
    for (size_t k = 0; k < SR_COUNT(of); k++) {
        events     v = stream(&s, of[k].path, of[k].body);
        json_int_t before = 0, made = 0;
        for (size_t i = 0; i < v.n; i++, before = made) {
            assert_true(json_integer_value(tc_at(v.e[i], "usage.prompt_tokens")) > 0);
            made = json_integer_value(tc_at(v.e[i], "usage.completion_tokens"));
            assert_true(made >= before);
            assert_int_equal(json_integer_value(tc_at(v.e[i], "usage.total_tokens")), json_integer_value(tc_at(v.e[i], "usage.prompt_tokens")) + made);
        }
        assert_int_equal(json_array_size(tc_at(v.e[v.n - 1], "choices")), 0);
        assert_int_equal(made, 2 * (k ? 5 : (json_int_t)s.ids.n));
        events_end(&v);
    }
    events v = stream(&s, CHAT, "{" HI ",'stream':true,'stream_options':{'continuous_usage_stats':true}}"); /* as vLLM: not alone */
    for (size_t i = 0; i < v.n; i++)
        assert_null(json_object_get(v.e[i], "usage"));
    events_end(&v);
    tc_stop(&s);
}

static void choices_are_separate(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    char   *text = null_text(&s, s.ids.n);
    json_t *j = ask(&s, CHAT, 200, "{" HI ",'n':3}");
    assert_int_equal(json_array_size(tc_at(j, "choices")), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(json_integer_value(json_object_get(json_array_get(tc_at(j, "choices"), (size_t)i), "index")), i);
        assert_string_equal(tc_str(json_array_get(tc_at(j, "choices"), (size_t)i), "message.content"), text);
    }
    assert_int_equal(json_integer_value(tc_at(j, "usage.completion_tokens")), 3 * s.ids.n);
    json_decref(j);
    events v = stream(&s, CHAT, "{" HI ",'n':2,'stream':true}");
    for (int i = 0; i < 2; i++) {
        char *got = said(&v, i, "delta");
        assert_string_equal(got, text);
        sr_free(got);
    }
    events_end(&v);
    sr_free(text);
    tc_stop(&s);
}

static void lengths_and_stops_end_an_answer(void **state)
{
    (void)state;
    tc_server s = {.text = "alpha beta gamma delta"};
    tc_start(&s);
    json_t *j = ask(&s, CHAT, 200, "{" HI ",'max_tokens':2}");
    char   *two = null_text(&s, 2);
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "length");
    assert_string_equal(tc_str(j, "choices.0.message.content"), two);
    assert_int_equal(json_integer_value(tc_at(j, "usage.completion_tokens")), 2);
    json_decref(j);
    sr_free(two);
    j = ask(&s, CHAT, 200, "{" HI ",'max_tokens':9,'max_completion_tokens':1}");
    assert_int_equal(json_integer_value(tc_at(j, "usage.completion_tokens")), 1);
    json_decref(j);
    j = ask(&s, CHAT, 200, "{" HI ",'stop':'gamma'}");
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "stop");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "alpha beta ");
    json_decref(j);
    j = ask(&s, CHAT, 200, "{" HI ",'stop':['nothing',' be'],'include_stop_str_in_output':true}");
    assert_string_equal(tc_str(j, "choices.0.message.content"), "alpha be");
    json_decref(j);
    events v = stream(&s, CHAT, "{" HI ",'stop':'ta gam','stream':true,'logprobs':true}");
    char  *got = said(&v, 0, "delta");
    assert_string_equal(got, "alpha be"); /* nothing of a stop string ever leaves */
    assert_string_equal(tc_str(v.e[v.n - 1], "choices.0.finish_reason"), "stop");
    sr_free(got);
    events_end(&v);
    tc_wait_metric(&s, "strata_requests_running", 0);
    sr_buf b = {0};
    sr_buf_fmt(&b, "{" HI ",'stop_token_ids':[%d]}", s.ids.p[s.ids.n - 1]);
    j = ask(&s, CHAT, 200, b.p);
    size_t first = 0;
    while (s.ids.p[first] != s.ids.p[s.ids.n - 1])
        first++;
    assert_int_equal(json_integer_value(tc_at(j, "usage.completion_tokens")), first);
    json_decref(j);
    sr_buf_end(&b);
    tc_stop(&s);
}

static void characters_are_never_split(void **state)
{
    (void)state;
    tc_server s = {.text = "\xf0\x9f\x98\x80\xf0\x9f\xa7\xac \xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87 \xec\x95\x88\xeb\x85\x95"};
    tc_start(&s);
    events v = stream(&s, CHAT, "{" HI ",'stream':true}"); /* tc_events parses every frame: invalid UTF-8 would fail there */
    char  *got = said(&v, 0, "delta");
    assert_string_equal(got, s.text);
    for (size_t i = 0; i < v.n; i++)
        assert_null(strstr(json_string_value(json_object_get(tc_at(v.e[i], "choices.0.delta"), "content"))
                           ? tc_str(v.e[i], "choices.0.delta.content") : "", "\xef\xbf\xbd"));
    sr_free(got);
    events_end(&v);
    tc_stop(&s);
}

static void chat_logprobs_carry_bytes_and_alternatives(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    json_t *j = ask(&s, CHAT, 200, "{" HI ",'logprobs':true,'top_logprobs':2}");
    json_t *list = tc_at(j, "choices.0.logprobs.content");
    sr_buf  bytes = {0};
    char   *text = null_text(&s, s.ids.n);
    assert_int_equal(json_array_size(list), s.ids.n);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *t = json_array_get(list, i);
        assert_true(json_is_string(tc_at(t, "token")));
        assert_true(json_number_value(tc_at(t, "logprob")) == -0.25);
        assert_int_equal(json_array_size(tc_at(t, "top_logprobs")), 2);
        assert_true(json_is_array(tc_at(t, "top_logprobs.1.bytes")));
        for (size_t k = 0; k < json_array_size(tc_at(t, "bytes")); k++)
            sr_buf_char(&bytes, (char)json_integer_value(json_array_get(tc_at(t, "bytes"), k)));
    }
    assert_string_equal(bytes.p, text); /* the bytes of all tokens are the text */
    json_decref(j);
    events v = stream(&s, CHAT, "{" HI ",'logprobs':true,'stream':true}");
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++)
        n += json_array_size(json_object_get(tc_at(v.e[i], "choices.0.logprobs"), "content"));
    assert_int_equal(n, s.ids.n);
    events_end(&v);
    sr_buf_end(&bytes);
    sr_free(text);
    tc_stop(&s);
}

static void completions_take_text_ids_and_lists(void **state)
{
    (void)state;
    tc_server s = {.text = "Plain words that are cut into pieces anywhere without harm, for there are enough of them here."};
    tc_start(&s);
    json_t *j = ask(&s, COMP, 200, "{'prompt':'Hello'}");
    char   *sixteen = null_text(&s, 16);
    assert_memory_equal(tc_str(j, "id"), "cmpl-", 5);
    assert_string_equal(tc_str(j, "object"), "text_completion");
    assert_string_equal(tc_str(j, "choices.0.text"), sixteen); /* max_tokens defaults to 16 */
    assert_string_equal(tc_str(j, "choices.0.finish_reason"), "length");
    assert_true(json_is_null(tc_at(j, "choices.0.logprobs")));
    json_decref(j);
    sr_free(sixteen);
    j = ask(&s, COMP, 200, "{'prompt':[1,2,3],'max_tokens':1}");
    assert_int_equal(json_integer_value(tc_at(j, "usage.prompt_tokens")), 3);
    json_decref(j);
    j = ask(&s, COMP, 200, "{'prompt':['a','b b',' c'],'n':2,'max_tokens':1}");
    assert_int_equal(json_array_size(tc_at(j, "choices")), 6);
    assert_int_equal(json_integer_value(tc_at(j, "choices.5.index")), 5);
    assert_int_equal(json_integer_value(tc_at(j, "usage.completion_tokens")), 6);
    json_decref(j);
    j = ask(&s, COMP, 200, "{'prompt':[[1,2],[3]],'max_tokens':1}");
    assert_int_equal(json_integer_value(tc_at(j, "usage.prompt_tokens")), 3);
    json_decref(j);
    events v = stream(&s, COMP, "{'prompt':['a','b'],'max_tokens':3,'stream':true,'stream_options':{'include_usage':true}}");
    char  *got = said(&v, 1, "text"), *three = null_text(&s, 3);
    assert_string_equal(got, three);
    assert_string_equal(tc_str(v.e[0], "object"), "text_completion");
    assert_int_equal(json_integer_value(tc_at(v.e[v.n - 1], "usage.completion_tokens")), 6);
    sr_free(got);
    sr_free(three);
    events_end(&v);
    tc_stop(&s);
}

/* What lm-evaluation-harness asks: echo, logprobs, a prompt of ids, max_tokens 0 or 1. */
static void echo_gives_the_prompt_and_its_logprobs(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    for (int max = 0; max < 2; max++) {
        sr_buf b = {0};
        sr_buf_fmt(&b, "{'prompt':[%d,%d,%d],'echo':true,'logprobs':1,'max_tokens':%d}", s.ids.p[0], s.ids.p[1], s.ids.p[2], max);
        json_t *j = ask(&s, COMP, 200, b.p);
        char   *text = null_text(&s, 3);
        json_t *lp = tc_at(j, "choices.0.logprobs");
        assert_memory_equal(tc_str(j, "choices.0.text"), text, strlen(text));
        assert_int_equal(json_array_size(tc_at(lp, "tokens")), 3 + max);
        assert_int_equal(json_array_size(tc_at(lp, "token_logprobs")), 3 + max);
        assert_true(json_is_null(tc_at(lp, "token_logprobs.0")));
        assert_true(json_is_null(tc_at(lp, "top_logprobs.0")));
        assert_true(json_number_value(tc_at(lp, "token_logprobs.1")) == -0.25);
        assert_int_equal(json_object_size(tc_at(lp, "top_logprobs.1")), 1);
        assert_int_equal(json_integer_value(tc_at(lp, "text_offset.0")), 0);
        assert_true(json_integer_value(tc_at(lp, "text_offset.2")) > 0);
        json_decref(j);
        sr_free(text);
        b.n--;
        sr_buf_str(&b, ",'stream':true}");
        events v = stream(&s, COMP, b.p);
        size_t n = 0;
        for (size_t i = 0; i < v.n; i++)
            n += json_array_size(json_object_get(tc_at(v.e[i], "choices.0.logprobs"), "tokens"));
        assert_int_equal(n, 3 + max);
        events_end(&v);
        sr_buf_end(&b);
    }
    json_t *j = ask(&s, COMP, 200, "{'prompt':'What I said.','echo':true,'max_tokens':0}");
    assert_string_equal(tc_str(j, "choices.0.text"), "What I said.");
    json_decref(j);
    tc_stop(&s);
}

static void too_long_prompts_are_named_before_anything_is_sent(void **state)
{
    (void)state;
    tc_server s = {.ctx = 64};
    sr_buf    b = {0};
    tc_start(&s);
    sr_buf_str(&b, "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 200; i++)
        sr_buf_str(&b, "word ");
    sr_buf_str(&b, "\"}]}");
    json_t *j = tc_post(&s, CHAT, b.p, 400);
    assert_string_equal(tc_str(j, "error.code"), "context_length_exceeded");
    assert_non_null(strstr(tc_str(j, "error.message"), "maximum context length is 64 tokens"));
    assert_int_equal(json_integer_value(tc_at(j, "error.n_ctx")), 64);
    assert_true(json_integer_value(tc_at(j, "error.n_prompt_tokens")) > 64);
    json_decref(j);
    b.n = 0;
    sr_buf_str(&b, "{\"messages\":[{\"role\":\"user\",\"content\":\""); /* past what a template may write, too */
    for (int i = 0; i < 9 << 10; i++)
        for (int k = 0; k < 16; k++)
            sr_buf_str(&b, "a word and another, a word and another, a word and another, word");
    sr_buf_str(&b, "\"}]}");
    j = tc_post(&s, CHAT, b.p, 400);
    assert_string_equal(tc_str(j, "error.code"), "context_length_exceeded");
    json_decref(j);
    b.n = 0;
    sr_buf_str(&b, "{\"prompt\":[1");
    for (int i = 0; i < 63; i++)
        sr_buf_str(&b, ",1");
    sr_buf_str(&b, "]}");
    j = tc_post(&s, COMP, b.p, 400); /* 64 ids leave no room for an answer */
    assert_string_equal(tc_str(j, "error.code"), "context_length_exceeded");
    json_decref(j);
    b.n -= 2;
    sr_buf_str(&b, "],\"max_tokens\":0,\"echo\":true}");
    json_decref(tc_post(&s, COMP, b.p, 200));
    j = ask(&s, CHAT, 200, "{" HI ",'max_tokens':5000}"); /* more than fits: up to the end of the context */
    json_decref(j);
    sr_buf_end(&b);
    tc_stop(&s);
}

static void names_of_models(void **state)
{
    (void)state;
    static const char *const also[] = {"tiny", "org/tiny"};
    tc_server s = {.cfg = {.strict_model = true, .aliases = also, .n_aliases = 2}, .null = {.device = 5000000000, .outside = 7}};
    tc_reply  r = {0};
    json_error_t e;
    tc_start(&s);
    json_decref(ask(&s, CHAT, 200, "{" HI ",'model':'org/tiny'}"));
    json_t *j = ask(&s, CHAT, 404, "{" HI ",'model':'gpt-4o-mini'}");
    assert_string_equal(tc_str(j, "error.code"), "model_not_found");
    json_decref(j);
    tc_ask(&s, "GET", "/v1/models", NULL, NULL, &r);
    j = json_loadb(r.body.p, r.body.n, 0, &e);
    assert_int_equal(json_array_size(tc_at(j, "data")), 3);
    assert_string_equal(tc_str(j, "data.0.id"), "strata/test");
    assert_string_equal(tc_str(j, "data.0.object"), "model");
    assert_int_equal(json_integer_value(tc_at(j, "data.0.max_model_len")), 2048);
    assert_string_equal(tc_str(j, "data.0.meta.ram_format"), "coded");
    assert_int_equal(json_integer_value(tc_at(j, "data.0.meta.n_ctx")), 2048);
    assert_true(json_integer_value(tc_at(j, "data.0.meta.placement.device")) == 5000000000);
    assert_int_equal(json_integer_value(tc_at(j, "data.0.meta.placement.outside")), 7);
    assert_string_equal(tc_str(j, "data.2.root"), "strata/test");
    json_decref(j);
    tc_reply_end(&r);
    tc_stop(&s);
}

static void a_full_queue_is_429_and_a_failing_engine_500_or_an_event(void **state)
{
    (void)state;
    tc_server s = {.null = {.max_seqs = 1, .queue = 1, .rate = 5, .endless = true}, .ctx = 100000};
    tc_conn   c[3];
    tc_reply  r = {0};
    char      q[300], v[32];
    tc_start(&s);
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    for (int i = 0; i < 3; i++) {
        tc_open(&c[i], s.at);
        tc_say(&c[i], q);
        if (i < 2)
            tc_wait_metric(&s, i ? "strata_requests_waiting" : "strata_requests_running", 1);
    }
    tc_reply_read(&c[2], &r);
    assert_int_equal(r.status, 429);
    assert_non_null(tc_header(&r, "Retry-After", v, sizeof v));
    tc_reply_end(&r);
    for (int i = 0; i < 3; i++)
        tc_close(&c[i]);
    tc_wait_metric(&s, "strata_requests_waiting", 0);
    tc_stop(&s);

    tc_server few = {.null.max_seqs = 2};
    tc_start(&few);
    json_t *j3 = ask(&few, CHAT, 400, "{" HI ",'n':3}");
    assert_string_equal(tc_str(j3, "error.param"), "n");
    json_decref(j3);
    tc_stop(&few);

    tc_server t = {.null = {.fail_after = 3}};
    tc_start(&t);
    json_t *j = ask(&t, CHAT, 500, "{" HI "}");
    assert_string_equal(tc_str(j, "error.type"), "server_error");
    json_decref(j);
    events ev = stream(&t, CHAT, "{" HI ",'stream':true,'n':2}");
    assert_non_null(strstr(tc_str(ev.e[ev.n - 1], "error.message"), "made to fail"));
    events_end(&ev);
    tc_wait_metric(&t, "strata_requests_running", 0);
    assert_true(tc_metric(&t, "strata_http_generations") == 0);
    tc_stop(&t);

    tc_server u = {.cfg.limits.requests = 1, .null = {.rate = 1}};
    tc_start(&u);
    json_decref(ask(&u, COMP, 429, "{'prompt':['a','b']}"));
    json_decref(ask(&u, COMP, 400, "{'prompt':'a','n':17}"));
    tc_stop(&u);

    tc_server d = {.null = {.die_after = 5, .rate = 100}};
    tc_reply  r2 = {0};
    tc_start(&d);
    j = ask(&d, CHAT, 500, "{" HI "}");
    assert_string_equal(tc_str(j, "error.code"), "engine_failed");
    json_decref(j);
    tc_ask(&d, "GET", "/health", NULL, NULL, &r2);
    assert_int_equal(r2.status, 503);
    tc_reply_end(&r2);
    j = ask(&d, CHAT, 503, "{" HI "}");
    json_decref(j);
    tc_stop(&d);
}

static void silence_is_filled_with_comments(void **state)
{
    (void)state;
    tc_server s = {.cfg.times = {.ping = 50, .idle = 400}, .null.start_ms = 400};
    tc_reply  r = {0};
    tc_start(&s);
    tc_ask(&s, "POST", CHAT, NULL, "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", &r);
    assert_int_equal(r.status, 200);
    const char *ping = strstr(r.body.p, ": ping\n\n");
    assert_non_null(ping);
    assert_true(ping > strstr(r.body.p, "assistant")); /* the role came at admission, before the first token */
    json_t *ev[EVENTS];
    size_t  n = tc_events(&r, ev, EVENTS);
    for (size_t i = 0; i < n; i++)
        json_decref(ev[i]);
    tc_reply_end(&r);
    tc_stop(&s);
}

static void the_prompts_progress_is_told_on_request(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    events v = stream(&s, CHAT, "{" HI ",'stream':true,'return_progress':true}");
    json_t *p = tc_at(v.e[1], "prompt_progress"); /* behind the role, before the first token */
    assert_int_equal(json_array_size(tc_at(v.e[1], "choices")), 0);
    assert_true(json_integer_value(tc_at(p, "total")) > 3);
    assert_int_equal(json_integer_value(tc_at(p, "processed")), json_integer_value(tc_at(p, "total")));
    assert_int_equal(json_integer_value(tc_at(p, "cache")), 0);
    events_end(&v);
    v = stream(&s, CHAT, "{" HI ",'stream':true}");
    for (size_t i = 0; i < v.n; i++)
        assert_null(json_object_get(v.e[i], "prompt_progress"));
    events_end(&v);
    tc_stop(&s);
}

static void long_bodies_are_prepared_beside_the_io_thread(void **state)
{
    (void)state;
    tc_server s = {.ctx = 200000};
    sr_buf    b = {0};
    tc_conn   c;
    tc_start(&s);
    sr_buf_str(&b, "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 20000; i++)
        sr_buf_str(&b, "word ");
    sr_buf_str(&b, "\"}]}");
    json_t *j = tc_post(&s, CHAT, b.p, 200);
    assert_true(json_integer_value(tc_at(j, "usage.prompt_tokens")) > 10000);
    json_decref(j);
    for (int i = 0; i < 10; i++) { /* leaving while the scribe has it */
        char q[200];
        tc_open(&c, s.at);
        snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n", b.n);
        tc_say(&c, q);
        tc_send(&c, b.p, b.n);
        usleep((unsigned)i * 2000);
        tc_reset(&c);
    }
    tc_wait_metric(&s, "strata_http_preparing", 0);
    tc_wait_metric(&s, "strata_http_generations", 0);
    sr_buf_end(&b);
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chat_answer_has_every_member),
        cmocka_unit_test(a_chat_stream_is_role_text_finish_usage),
        cmocka_unit_test(usage_comes_with_every_chunk_where_it_is_asked_for),
        cmocka_unit_test(choices_are_separate),
        cmocka_unit_test(lengths_and_stops_end_an_answer),
        cmocka_unit_test(characters_are_never_split),
        cmocka_unit_test(chat_logprobs_carry_bytes_and_alternatives),
        cmocka_unit_test(completions_take_text_ids_and_lists),
        cmocka_unit_test(echo_gives_the_prompt_and_its_logprobs),
        cmocka_unit_test(too_long_prompts_are_named_before_anything_is_sent),
        cmocka_unit_test(names_of_models),
        cmocka_unit_test(a_full_queue_is_429_and_a_failing_engine_500_or_an_event),
        cmocka_unit_test(silence_is_filled_with_comments),
        cmocka_unit_test(the_prompts_progress_is_told_on_request),
        cmocka_unit_test(long_bodies_are_prepared_beside_the_io_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
