/* Vectors of texts: forms of input and of output, limits, long lists, ollama's two ways; over an engine whose vectors depend on tokens alone. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "serve/embed.h"

#define EMB "/v1/embeddings"
enum { WIDTH = 300 }; /* more than one event of the port */

static void start(tc_server *s)
{
    s->null.width = WIDTH;
    tc_start(s);
}

static size_t vector(const json_t *list, float *v)
{
    size_t n = json_array_size(list);
    assert_in_range(n, 1, WIDTH);
    for (size_t i = 0; i < n; i++) {
        assert_true(json_is_number(json_array_get(list, i)));
        v[i] = (float)json_number_value(json_array_get(list, i));
    }
    return n;
}

static void decode(const char *text, float *v, size_t n)
{
    uint8_t  byte[WIDTH * 4 + 3];
    uint32_t bits = 0, have = 0;
    size_t   at = 0;
    assert_int_equal(strlen(text), (4 * n + 2) / 3 * 4);
    for (; *text && *text != '='; text++) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *d = strchr(digits, *text);
        assert_non_null(d);
        bits = bits << 6 | (uint32_t)(d - digits);
        if ((have += 6) >= 8)
            byte[at++] = (uint8_t)(bits >> (have -= 8));
    }
    assert_int_equal(at, 4 * n);
    for (size_t i = 0; i < n; i++) {
        uint32_t w = byte[4 * i] | (uint32_t)byte[4 * i + 1] << 8 | (uint32_t)byte[4 * i + 2] << 16 | (uint32_t)byte[4 * i + 3] << 24;
        memcpy(&v[i], &w, 4);
    }
}

static double length(const float *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double)v[i] * (double)v[i];
    return sqrt(s);
}

static void numbers_read_back_the_same(void **state)
{
    (void)state;
    uint32_t x = 12345;
    sr_buf   b = {0};
    for (int i = 0; i < 300000; i++) {
        float v;
        x          = x * 1664525u + 1013904223u;
        uint32_t w = (x & 0x80ffffffu) | (i % 48 + 80u) << 23; /* from 2^-47 to 1 */
        memcpy(&v, &w, 4);
        v   = i == 0 ? 0 : i == 1 ? 1 : i == 2 ? -1 : i == 3 ? 0.1f : i == 4 ? nextafterf(1, 0) : i == 5 ? 1e-4f : i == 6 ? 0.001f : v;
        b.n = 0;
        sr_embed_number(&b, v);
        sr_buf_char(&b, 0);
        if (strtof(b.p, NULL) != v)
            fail_msg("%s for %.9g", b.p, (double)v);
        assert_true(strlen(b.p) <= 16);
    }
    sr_buf_end(&b);
}

static void floats_and_base64_are_the_same_numbers(void **state)
{
    (void)state;
    tc_server s = {0};
    float     v[WIDTH], w[WIDTH];
    start(&s);
    for (size_t n = 1; n <= WIDTH; n += 299) { /* with and without padding */
        char body[160];
        snprintf(body, sizeof body, "{'model':'any','input':'Hello','user':'u','encoding_format':null,'dimensions':%zu}", n);
        json_t *j = tc_put(&s, EMB, 200, body);
        assert_string_equal(tc_str(j, "object"), "list");
        assert_string_equal(tc_str(j, "model"), "strata/test");
        assert_string_equal(tc_str(j, "data.0.object"), "embedding");
        assert_int_equal(json_integer_value(tc_at(j, "data.0.index")), 0);
        assert_int_equal(json_array_size(tc_at(j, "data")), 1);
        assert_int_equal(json_integer_value(tc_at(j, "usage.total_tokens")), json_integer_value(tc_at(j, "usage.prompt_tokens")));
        assert_int_equal(vector(tc_at(j, "data.0.embedding"), v), n);
        assert_true(fabs(length(v, n) - 1) < 1e-5);
        json_decref(j);
        snprintf(body, sizeof body, "{'input':'Hello','encoding_format':'base64','dimensions':%zu}", n);
        j = tc_put(&s, EMB, 200, body);
        decode(tc_str(j, "data.0.embedding"), w, n);
        assert_memory_equal(v, w, n * sizeof *v);
        json_decref(j);
    }
    tc_stop(&s);
}

static void a_text_its_ids_and_lists_of_both_give_the_same_vector(void **state)
{
    (void)state;
    tc_server s = {0};
    float     v[WIDTH], w[WIDTH];
    sr_ids    ids = {0};
    sr_err    err = {0};
    sr_buf    list = {0}, body = {0};
    start(&s);
    assert_int_equal(sr_tokenizer_encode(s.tok, "Hello world", 11, SR_TOK_ADD_SPECIAL, &ids, &err), SR_OK);
    for (size_t i = 0; i < ids.n; i++)
        sr_buf_fmt(&list, "%s%d", i ? "," : "", ids.p[i]);
    const char *const forms[] = {"'Hello world'", "['Hello world']", "[%s]", "[[%s]]", "['x','Hello world']", "[[5,6],[%s]]"};
    for (size_t i = 0; i < SR_COUNT(forms); i++) {
        char input[400];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(input, sizeof input, forms[i], list.p);
#pragma GCC diagnostic pop
        body.n = 0;
        sr_buf_fmt(&body, "{'input':%s}", input);
        json_t *j = tc_put(&s, EMB, 200, body.p);
        size_t  n = json_array_size(tc_at(j, "data"));
        assert_int_equal(n, i < 4 ? 1 : 2);
        assert_int_equal(json_integer_value(json_object_get(json_array_get(tc_at(j, "data"), n - 1), "index")), n - 1);
        assert_int_equal(vector(json_object_get(json_array_get(tc_at(j, "data"), n - 1), "embedding"), i ? w : v), WIDTH);
        if (i)
            assert_memory_equal(v, w, sizeof v);
        if (i < 4)
            assert_int_equal(json_integer_value(tc_at(j, "usage.prompt_tokens")), ids.n);
        json_decref(j);
    }
    sr_buf_end(&list);
    sr_buf_end(&body);
    sr_ids_end(&ids);
    tc_stop(&s);
}

static void fewer_dimensions_are_the_first_numbers_of_length_one(void **state)
{
    (void)state;
    tc_server s = {0};
    float     v[WIDTH], w[WIDTH];
    start(&s);
    json_t *j = tc_put(&s, EMB, 200, "{'input':'Hello'}"), *k = tc_put(&s, EMB, 200, "{'input':'Hello','dimensions':7}");
    assert_int_equal(vector(tc_at(j, "data.0.embedding"), v), WIDTH);
    assert_int_equal(vector(tc_at(k, "data.0.embedding"), w), 7);
    double part = length(v, 7);
    for (int i = 0; i < 7; i++)
        assert_true(fabs((double)v[i] / part - (double)w[i]) < 1e-6);
    json_decref(j);
    json_decref(k);
    tc_stop(&s);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct { const char *path, *body; int status; const char *param, *says; } wrong[] = {
        {EMB, "{}", 400, "input", "missing"}, {EMB, "{'input':null}", 400, "input", "missing"}, {EMB, "{'input':7}", 400, "input", "string"},
        {EMB, "{'input':[]}", 400, "input", "empty"}, {EMB, "{'input':''}", 400, "input", "empty"}, {EMB, "{'input':{}}", 400, "input", "string"},
        {EMB, "{'input':['a','']}", 400, "input[1]", "empty"}, {EMB, "{'input':['a',5]}", 400, "input", "mixes"},
        {EMB, "{'input':[5,'a']}", 400, "input", "integers"}, {EMB, "{'input':[[1],[]]}", 400, "input[1]", "empty"},
        {EMB, "{'input':[[1],[2,99999999]]}", 400, "input[1]", "99999999"}, {EMB, "{'input':[[[1]]]}", 400, "input[0]", "integers"},
        {EMB, "{'input':'a','dimensions':301}", 400, "dimensions", "300"}, {EMB, "{'input':'a','dimensions':0}", 400, "dimensions", "1 to 300"},
        {EMB, "{'input':'a','dimensions':2.5}", 400, "dimensions", "integer"}, {EMB, "{'input':'a','encoding_format':'int8'}", 400, "encoding_format", "base64"},
        {EMB, "{'input':'a','encoding_format':1}", 400, "encoding_format", "base64"}, {EMB, "{'input':'a','model':'other'}", 404, "model", "other"},
        {EMB, "{'input':'a','model':5}", 400, "model", "string"}, {EMB, "{'input':['a','b','c','d','e']}", 400, "input", "limit is 4"},
        {EMB, "{'input':['a','b','c','d']}", 400, "input", "limit is 1000"},
        {EMB, "{'input':'a','normalize':false}", 400, "normalize", "length 1"}, {EMB, "{'input':'a','truncate_prompt_tokens':3}", 400, "truncate_prompt_tokens", "not available"},
    };
    tc_server s = {.cfg = {.strict_model = true, .limits = {.inputs = 4, .numbers = 1000}}};
    start(&s);
    for (size_t i = 0; i < SR_COUNT(wrong); i++) {
        json_t *j = tc_put(&s, wrong[i].path, wrong[i].status, wrong[i].body);
        if (strcmp(tc_str(j, "error.param"), wrong[i].param) != 0 || !strstr(tc_str(j, "error.message"), wrong[i].says))
            fail_msg("%s: %s: %s", wrong[i].body, tc_str(j, "error.param"), tc_str(j, "error.message"));
        json_decref(j);
    }
    json_decref(tc_put(&s, EMB, 200, "{'input':['a','b','c','d'],'dimensions':250}"));
    tc_stop(&s);
    tc_server none = {0}; /* an engine without vectors */
    tc_start(&none);
    json_decref(tc_put(&none, EMB, 400, "{'input':'a'}"));
    tc_stop(&none);
}

static char *long_text(const char *before, const char *after, size_t words)
{
    sr_buf b = {0};
    sr_buf_str(&b, before);
    for (size_t i = 0; i < words; i++)
        sr_buf_str(&b, "word ");
    sr_buf_str(&b, after);
    sr_buf_char(&b, 0);
    return b.p;
}

static void a_text_that_is_too_long_is_named_by_its_index_or_cut_where_that_is_asked(void **state)
{
    (void)state;
    tc_server s = {.ctx = 64};
    float     v[WIDTH], w[WIDTH];
    size_t    words[] = {100, 200000}; /* the second is not even tokenised */
    start(&s);
    for (int i = 0; i < 2; i++) {
        char   *body = long_text("{\"input\":[\"a\",\"b\",\"", "\",\"d\"]}", words[i]);
        json_t *j    = tc_post(&s, EMB, body, 400);
        assert_string_equal(tc_str(j, "error.code"), "context_length_exceeded");
        assert_string_equal(tc_str(j, "error.param"), "input[2]");
        assert_non_null(strstr(tc_str(j, "error.message"), "maximum context length is 64 tokens"));
        assert_int_equal(json_integer_value(tc_at(j, "error.n_ctx")), 64);
        json_decref(j);
        sr_free(body);
        body = long_text("{\"truncate\":false,\"input\":\"", "\"}", words[i]);
        json_decref(tc_post(&s, "/api/embed", body, 400));
        sr_free(body);
        body = long_text("{\"model\":\"m\",\"input\":\"", "\"}", words[i]);
        j    = tc_post(&s, "/api/embed", body, 200);
        assert_int_equal(json_integer_value(tc_at(j, "prompt_eval_count")), 64);
        vector(tc_at(j, "embeddings.0"), i ? w : v);
        json_decref(j);
        sr_free(body);
    }
    assert_memory_equal(v, w, sizeof v);
    json_decref(tc_put(&s, EMB, 200, "{'input':[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
                                     "1,1,1,1]}")); /* the whole context: nothing is to follow */
    tc_stop(&s);
}

static void ollama_asks_in_two_ways(void **state)
{
    (void)state;
    tc_server s = {0};
    float     v[WIDTH], w[WIDTH];
    start(&s);
    json_t *j = tc_put(&s, "/api/embed", 200, "{'model':'m','input':['Hello','there'],'keep_alive':'5m','options':{'num_ctx':512}}");
    assert_string_equal(tc_str(j, "model"), "strata/test");
    assert_int_equal(json_array_size(tc_at(j, "embeddings")), 2);
    assert_true(json_integer_value(tc_at(j, "prompt_eval_count")) >= 2);
    assert_true(json_integer_value(tc_at(j, "total_duration")) > 0);
    assert_int_equal(vector(tc_at(j, "embeddings.1"), v), WIDTH);
    json_decref(j);
    j = tc_put(&s, "/api/embeddings", 200, "{'model':'m','prompt':'there'}");
    assert_int_equal(vector(tc_at(j, "embedding"), w), WIDTH);
    assert_memory_equal(v, w, sizeof v);
    json_decref(j);
    j = tc_put(&s, "/api/embed", 200, "{'input':'there','dimensions':3}");
    assert_int_equal(vector(tc_at(j, "embeddings.0"), w), 3);
    json_decref(j);
    const char *const empty[] = {"{'model':'m'}", "{'input':''}", "{'input':[]}"};
    for (size_t i = 0; i < SR_COUNT(empty); i++) { /* the model is to be loaded */
        j = tc_put(&s, "/api/embed", 200, empty[i]);
        assert_int_equal(json_array_size(tc_at(j, "embeddings")), 0);
        json_decref(j);
    }
    j = tc_put(&s, "/api/embeddings", 200, "{'prompt':''}");
    assert_int_equal(json_array_size(tc_at(j, "embedding")), 0);
    json_decref(j);
    j = tc_put(&s, "/api/embeddings", 400, "{'prompt':['a']}");
    assert_non_null(strstr(tc_str(j, "error"), "prompt"));
    json_decref(j);
    json_decref(tc_put(&s, "/api/embed", 400, "{'input':['a',''],'model':'m'}"));
    json_decref(tc_put(&s, "/api/embed", 400, "{'input':'a','truncate':5}"));
    tc_stop(&s);
}

static char *many_texts(uint32_t n)
{
    sr_buf b = {0};
    sr_buf_str(&b, "{\"input\":[");
    for (uint32_t i = 0; i < n; i++)
        sr_buf_fmt(&b, "%s[%u,%u,7]", i ? "," : "", i % 5000 + 3, i / 50 + 3);
    sr_buf_str(&b, "]}");
    sr_buf_char(&b, 0);
    return b.p;
}

static void a_long_list_comes_in_order_and_is_posted_little_by_little(void **state)
{
    (void)state;
    enum { N = 2048 };
    tc_server s    = {.null = {.max_seqs = 3, .queue = 8}}; /* a queue that the list would overflow */
    char     *body = many_texts(N);
    float     v[WIDTH], w[WIDTH];
    start(&s);
    tc_reply r = {0};
    tc_ask(&s, "POST", EMB, NULL, body, &r);
    assert_int_equal(r.status, 200);
    assert_true(r.chunked); /* as it is taken */
    json_t *j = json_loadb(r.body.p, r.body.n, 0, NULL);
    assert_non_null(j);
    assert_int_equal(json_integer_value(tc_at(j, "usage.prompt_tokens")), 3 * N);
    assert_int_equal(json_array_size(tc_at(j, "data")), N);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(tc_at(j, "data"), i), "index")), i);
    for (uint32_t i = 0; i < N; i += 997) {
        char one[80];
        snprintf(one, sizeof one, "{'input':[%u,%u,7]}", i % 5000 + 3, i / 50 + 3);
        json_t *k = tc_put(&s, EMB, 200, one);
        vector(tc_at(k, "data.0.embedding"), v);
        vector(json_object_get(json_array_get(tc_at(j, "data"), i), "embedding"), w);
        assert_memory_equal(v, w, sizeof v);
        json_decref(k);
    }
    json_decref(j);
    tc_reply_end(&r);
    sr_free(body);
    tc_stop(&s);
}

static void who_leaves_holds_nothing(void **state)
{
    (void)state;
    tc_server s    = {.null = {.max_seqs = 2, .start_ms = 50}};
    char     *body = many_texts(600), head[200];
    tc_conn   c = {0};
    start(&s);
    snprintf(head, sizeof head, "POST " EMB " HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    tc_open(&c, s.at); /* while texts are computed */
    tc_say(&c, head);
    tc_say(&c, body);
    tc_wait_metric(&s, "strata_requests_running", 2);
    tc_reset(&c);
    tc_wait_metric(&s, "strata_requests_running", 0);
    tc_wait_metric(&s, "strata_requests_waiting", 0);
    sr_free(body);
    tc_stop(&s);
    s    = (tc_server){.null = {.max_seqs = 8}};
    body = many_texts(2000);
    start(&s);
    snprintf(head, sizeof head, "POST " EMB " HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    c = (tc_conn){0};
    tc_open(&c, s.at); /* in the middle of the answer, of which he has read a little */
    tc_say(&c, head);
    tc_say(&c, body);
    assert_true(tc_until(&c, "\"index\":3,", 5000));
    tc_reset(&c);
    json_decref(tc_put(&s, EMB, 200, "{'input':'still there'}"));
    sr_free(body);
    tc_stop(&s);
}

static void a_time_limit_does_not_cut_an_answer_that_is_on_its_way(void **state)
{
    (void)state;
    enum { N = 2000 };
    tc_server s    = {.null = {.max_seqs = 64}, .cfg = {.times = {.answer = 1500}}};
    char     *body = many_texts(N), head[200];
    tc_conn   c = {0};
    tc_reply  r = {0};
    start(&s);
    snprintf(head, sizeof head, "POST " EMB " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n", strlen(body));
    tc_open(&c, s.at);
    tc_say(&c, head);
    tc_say(&c, body);
    if (!tc_until(&c, "\r\n\r\n", 10000))
        fail_msg("no answer");
    bool in_time = strstr(c.in.p, " 200 ") != NULL; /* else this machine was too slow to make the vectors */
    usleep(2500000);                                /* far more than fits the buffers is left */
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, in_time ? 200 : 504);
    json_t *j = json_loadb(r.body.p, r.body.n, 0, NULL);
    assert_non_null(j);
    if (in_time)
        assert_int_equal(json_array_size(tc_at(j, "data")), N);
    json_decref(j);
    tc_reply_end(&r);
    tc_close(&c);
    sr_free(body);
    tc_stop(&s);
}

static void a_stopping_server_finishes_what_it_has(void **state)
{
    (void)state;
    tc_server s = {.null = {.max_seqs = 2, .start_ms = 20}};
    tc_conn   c = {0};
    tc_reply  r = {0};
    start(&s);
    tc_open(&c, s.at);
    tc_say(&c, "POST " EMB " HTTP/1.1\r\nHost: x\r\nContent-Length: 31\r\n\r\n{\"input\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}");
    tc_wait_metric(&s, "strata_requests_running", 2);
    sr_serve_stop(s.serve);
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 200);
    tc_reply_end(&r);
    tc_close(&c);
    tc_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_back_the_same),
        cmocka_unit_test(floats_and_base64_are_the_same_numbers),
        cmocka_unit_test(a_text_its_ids_and_lists_of_both_give_the_same_vector),
        cmocka_unit_test(fewer_dimensions_are_the_first_numbers_of_length_one),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(a_text_that_is_too_long_is_named_by_its_index_or_cut_where_that_is_asked),
        cmocka_unit_test(ollama_asks_in_two_ways),
        cmocka_unit_test(a_long_list_comes_in_order_and_is_posted_little_by_little),
        cmocka_unit_test(who_leaves_holds_nothing),
        cmocka_unit_test(a_time_limit_does_not_cut_an_answer_that_is_on_its_way),
        cmocka_unit_test(a_stopping_server_finishes_what_it_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
