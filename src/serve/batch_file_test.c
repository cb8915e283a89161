/* batch_file_test: requests of a file over the null engine: every line gets its result, whatever is wrong with others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "format/gguf.h"
#include "serve/batch_file.h"
#include "serve/null_engine.h"

static const char chatml[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                             "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char answer[] = "One two three, and that is all.";

enum { WIDTH = 24 }; /* of vectors */
typedef struct {
    sr_nullcfg    null;
    sr_port      *port;
    sr_null      *engine;
    sr_tokenizer *tok;
    sr_template  *chat;
    sr_ids        ids;
    char          in[40], out[40];
    uint64_t      called;
} world;

static void must(sr_status s, const sr_err *err)
{
    if (s)
        fail_msg("%s", err->msg);
}

static void temporary(char *path)
{
    int fd;
    snprintf(path, 40, "batch_file_test.XXXXXX");
    assert_true((fd = mkstemp(path)) >= 0);
    close(fd);
}

static void open_world(world *w)
{
    sr_err   err = {0};
    sr_gguf *g   = NULL;
    must(sr_gguf_open("models/strata-demo-base-Q4_K_M.gguf", &g, &err), &err);
    must(sr_tokenizer_open(g, &w->tok, &err), &err);
    sr_gguf_close(g);
    must(sr_template_compile(chatml, sizeof chatml - 1, &w->chat, &err), &err);
    must(sr_tokenizer_encode(w->tok, answer, sizeof answer - 1, 0, &w->ids, &err), &err);
    must(sr_port_open(NULL, &w->port, &err), &err);
    w->null.tok   = w->ids.p;
    w->null.n_tok = (uint32_t)w->ids.n;
    w->null.ctx   = 2048;
    w->null.width = WIDTH;
    must(sr_null_open(w->port, &w->null, &w->engine, &err), &err);
    temporary(w->in);
    temporary(w->out);
}

static void close_world(world *w)
{
    sr_null_close(w->engine);
    sr_port_close(w->port);
    sr_template_close(w->chat);
    sr_tokenizer_close(w->tok);
    sr_ids_end(&w->ids);
    unlink(w->in);
    unlink(w->out);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

static void count(void *arg, const sr_batchsum *sum)
{
    world *w = arg;
    w->called++;
    assert_int_equal(w->called, sum->answered + sum->refused);
}

static sr_status run(world *w, uint32_t in_flight, sr_batchsum *sum, sr_err *err)
{
    sr_batchcfg c = {.model = {.port = w->port, .tok = w->tok, .chat = w->chat, .chat_source = chatml, .ctx = 2048, .n_embd = WIDTH}, .model_id = "m",
                     .input = w->in, .output = w->out, .in_flight = in_flight, .progress = count, .arg = w};
    w->called = 0;
    return sr_batch_run(&c, sum, err);
}

/* All results; lines end whole. */
static size_t results(const world *w, json_t **out, size_t cap)
{
    char  *line = NULL;
    size_t room = 0, n = 0;
    FILE  *f    = fopen(w->out, "r");
    assert_non_null(f);
    for (ssize_t got; (got = getline(&line, &room, f)) > 0; n++) {
        assert_int_equal(line[got - 1], '\n');
        assert_true(n < cap);
        assert_non_null(out[n] = json_loads(line, 0, NULL));
    }
    free(line);
    fclose(f);
    return n;
}

static json_t *of(json_t **r, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_object_get(r[i], "custom_id"));
        if (s && strcmp(s, id) == 0)
            return r[i];
    }
    fail_msg("no result of %s", id);
    return NULL;
}

static void forget(json_t **r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        json_decref(r[i]);
}

static json_int_t status_of(json_t *r) { return json_integer_value(json_object_get(json_object_get(r, "response"), "status_code")); }
static const char *code_of(json_t *r) { return json_string_value(json_object_get(json_object_get(r, "error"), "code")); }

#define CHAT(id, more) "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" more "}}\n"
#define TEXT(id, more) "{\"custom_id\":\"" id "\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"Once\"" more "}}\n"

static void every_line_gets_its_own_result(void **state)
{
    (void)state;
    world       w   = {0};
    sr_err      err = {0};
    sr_batchsum sum;
    json_t     *r[16];
    open_world(&w);
    write_file(w.in, CHAT("a", "") "not json\n" TEXT("b", ",\"max_tokens\":3") "\n" CHAT("hot", ",\"temperature\":9") CHAT("a", "")
               "{\"custom_id\":\"url\",\"method\":\"POST\",\"url\":\"/v1/images\",\"body\":{}}\n"
               "{\"custom_id\":\"vector\",\"method\":\"POST\",\"url\":\"/v1/embeddings\",\"body\":{\"input\":[\"a\",\"b\"]}}\n"
               "{\"custom_id\":\"get\",\"method\":\"GET\",\"url\":\"/v1/completions\",\"body\":{}}\n" CHAT("stream", ",\"stream\":true")
               "{\"custom_id\":\"none\",\"method\":\"POST\",\"url\":\"/v1/completions\"}\n" "{\"custom_id\":7}\n");
    must(run(&w, 2, &sum, &err), &err);
    size_t n = results(&w, r, SR_COUNT(r));
    assert_int_equal(n, 11);
    assert_int_equal(sum.lines, 11);
    assert_int_equal(sum.answered, 3);
    assert_int_equal(sum.refused, 2);
    assert_int_equal(sum.invalid, 6);
    assert_int_equal(sum.made, w.ids.n + 3);
    json_t *a = json_object_get(json_object_get(of(r, n, "a"), "response"), "body");
    assert_string_equal(json_string_value(json_object_get(json_object_get(json_array_get(json_object_get(a, "choices"), 0), "message"), "content")), answer);
    assert_string_equal(json_string_value(json_object_get(a, "object")), "chat.completion");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(a, "usage"), "completion_tokens")), w.ids.n);
    assert_int_equal(status_of(of(r, n, "b")), 200);
    json_t *list = json_object_get(json_object_get(json_object_get(of(r, n, "vector"), "response"), "body"), "data");
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 1), "embedding")), WIDTH);
    assert_int_equal(status_of(of(r, n, "hot")), 400);
    assert_int_equal(status_of(of(r, n, "stream")), 400);
    assert_string_equal(code_of(of(r, n, "url")), "invalid_url");
    assert_string_equal(code_of(of(r, n, "get")), "invalid_method");
    assert_string_equal(code_of(of(r, n, "none")), "missing_body");
    forget(r, n);
    must(run(&w, 2, &sum, &err), &err); /* again: everything is there */
    assert_int_equal(sum.skipped, 11);
    assert_int_equal(sum.answered + sum.refused + sum.invalid, 0);
    n = results(&w, r, SR_COUNT(r));
    assert_int_equal(n, 11);
    forget(r, n);
    close_world(&w);
}

static void a_batch_goes_on_where_it_was_cut(void **state)
{
    (void)state;
    world       w   = {0};
    sr_err      err = {0};
    sr_batchsum sum;
    json_t     *r[16];
    open_world(&w);
    write_file(w.in, TEXT("a", "") TEXT("b", "") TEXT("c", "") TEXT("d", ""));
    write_file(w.out, "{\"custom_id\":\"b\",\"response\":{\"status_code\":200,\"body\":\"kept\"},\"error\":null}\n"
               "{\"custom_id\":\"c\",\"response\":{\"status_code\":503},\"error\":null}\n{\"custom_id\":\"d\",\"respon");
    must(run(&w, 0, &sum, &err), &err);
    size_t n = results(&w, r, SR_COUNT(r));
    assert_int_equal(n, 5); /* b, c as it was, then a, c, d */
    assert_int_equal(sum.skipped, 1);
    assert_int_equal(sum.answered, 3);
    assert_string_equal(json_string_value(json_object_get(json_object_get(of(r, n, "b"), "response"), "body")), "kept");
    assert_int_equal(status_of(of(r, n, "d")), 200);
    assert_int_equal(status_of(of(r + 2, n - 2, "c")), 200);
    forget(r, n);
    close_world(&w);
}

static void a_full_queue_is_waited_for(void **state)
{
    (void)state;
    world       w   = {.null = {.max_seqs = 1, .queue = 1, .rate = 2000}};
    sr_err      err = {0};
    sr_batchsum sum;
    sr_buf      text = {0};
    json_t     *r[64];
    open_world(&w);
    for (int i = 0; i < 40; i++)
        sr_buf_fmt(&text, "{\"custom_id\":\"n%d\",\"method\":\"POST\",\"url\":\"/v1/completions\",\"body\":{\"prompt\":\"x\",\"max_tokens\":2}}\n", i);
    write_file(w.in, text.p);
    must(run(&w, 16, &sum, &err), &err);
    size_t n = results(&w, r, SR_COUNT(r));
    assert_int_equal(n, 40);
    assert_int_equal(sum.answered, 40);
    assert_int_equal(sum.made, 80);
    forget(r, n);
    sr_buf_end(&text);
    close_world(&w);
}

static void a_failed_request_leaves_the_others(void **state)
{
    (void)state;
    world       w   = {.null = {.fail_after = 4}};
    sr_err      err = {0};
    sr_batchsum sum;
    json_t     *r[16];
    open_world(&w);
    write_file(w.in, TEXT("short", ",\"max_tokens\":2") TEXT("long", "") TEXT("last", ",\"max_tokens\":3"));
    must(run(&w, 1, &sum, &err), &err);
    size_t n = results(&w, r, SR_COUNT(r));
    assert_int_equal(n, 3);
    assert_int_equal(status_of(of(r, n, "short")), 200);
    assert_int_equal(status_of(of(r, n, "long")), 500);
    assert_int_equal(status_of(of(r, n, "last")), 200);
    forget(r, n);
    close_world(&w);
}

static void a_line_longer_than_a_request_may_be_is_one_result(void **state)
{
    (void)state;
    world       w   = {0};
    sr_err      err = {0};
    sr_batchsum sum;
    sr_buf      text = {0};
    json_t     *r[8];
    open_world(&w);
    for (int i = 0; i < 100000; i++)
        sr_buf_str(&text, "0123456789");
    sr_buf_str(&text, "\n" TEXT("a", ""));
    write_file(w.in, text.p);
    sr_batchcfg c = {.model = {.port = w.port, .tok = w.tok, .chat = w.chat, .chat_source = chatml, .ctx = 2048, .n_embd = WIDTH}, .model_id = "m",
                     .input = w.in, .output = w.out, .limits = {.body_bytes = 4096}};
    must(sr_batch_run(&c, &sum, &err), &err);
    size_t n = results(&w, r, SR_COUNT(r));
    assert_int_equal(n, 2);
    assert_string_equal(code_of(r[0]), "line_too_long");
    assert_int_equal(status_of(of(r, n, "a")), 200);
    forget(r, n);
    sr_buf_end(&text);
    close_world(&w);
}

static void files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    world       w   = {0};
    sr_err      err = {0};
    sr_batchsum sum;
    open_world(&w);
    unlink(w.in);
    assert_int_equal(run(&w, 0, &sum, &err), SR_IO);
    assert_non_null(strstr(err.msg, w.in));
    write_file(w.in, TEXT("a", ""));
    sr_batchcfg c = {.model = {.port = w.port, .tok = w.tok, .chat = w.chat, .ctx = 2048}, .model_id = "m", .input = w.in, .output = "/dev/null"};
    err           = (sr_err){0};
    assert_int_equal(sr_batch_run(&c, &sum, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "/dev/null"));
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_gets_its_own_result),   cmocka_unit_test(a_batch_goes_on_where_it_was_cut),
        cmocka_unit_test(a_full_queue_is_waited_for),       cmocka_unit_test(a_failed_request_leaves_the_others),
        cmocka_unit_test(a_line_longer_than_a_request_may_be_is_one_result), cmocka_unit_test(files_that_cannot_be_used_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
