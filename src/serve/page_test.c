/* The page at "/": what it is made of, what its policy forbids, and how it is cached. */
#include "serve/test_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ui/ui.h"

static tc_reply get(tc_server *s, const char *method, const char *path, const char *headers, int status)
{
    tc_reply r = {0};
    tc_ask(s, method, path, headers, NULL, &r);
    if (r.status != status)
        fail_msg("%s %s: status %d, expected %d", method, path, r.status, status);
    return r;
}

static void has_header(const tc_reply *r, const char *name, const char *want)
{
    char v[512];
    assert_non_null(tc_header(r, name, v, sizeof v));
    assert_string_equal(v, want);
}

static void the_page_is_html_and_every_file_has_its_type(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    tc_reply r = get(&s, "GET", "/", NULL, 200);
    has_header(&r, "Content-Type", "text/html; charset=utf-8");
    assert_memory_equal(r.body.p, "<!doctype html>", 15);
    tc_reply_end(&r);
    for (const sr_uifile *f = sr_ui_files; f->name; f++) {
        char path[64];
        snprintf(path, sizeof path, "/ui/%s", f->name);
        r = get(&s, "GET", path, NULL, 200);
        has_header(&r, "Content-Type", strstr(f->name, ".js") ? "text/javascript; charset=utf-8"
                                       : strstr(f->name, ".css") ? "text/css; charset=utf-8" : "text/html; charset=utf-8");
        has_header(&r, "X-Content-Type-Options", "nosniff");
        has_header(&r, "ETag", f->etag);
        assert_int_equal(r.body.n, f->n);
        assert_memory_equal(r.body.p, f->p, f->n);
        tc_reply_end(&r);
    }
    tc_stop(&s);
}

static void the_page_names_only_files_that_are_there(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    tc_reply r = get(&s, "GET", "/", NULL, 200);
    int n = 0;
    for (const char *p = r.body.p; (p = strstr(p, "=\"ui/")) != NULL; n++) {
        char path[64] = "/";
        p += 2;
        size_t len = strcspn(p, "\"");
        assert_true(len < sizeof path - 2);
        memcpy(path + 1, p, len);
        path[1 + len] = 0;
        tc_reply f = get(&s, "GET", path, NULL, 200);
        tc_reply_end(&f);
    }
    assert_true(n >= 3);
    tc_reply_end(&r);
    tc_stop(&s);
}

static void the_policy_allows_own_files_and_this_server_alone(void **state)
{
    (void)state;
    static const char *const want[] = {"default-src 'none';", "script-src 'self';", "style-src 'self';", "connect-src 'self';",
                                       "img-src 'self' data:;", "base-uri 'none';", "form-action 'none';", "frame-ancestors 'none';",
                                       "require-trusted-types-for 'script';"};
    tc_server s = {0};
    tc_start(&s);
    tc_reply r = get(&s, "GET", "/", NULL, 200);
    char     v[512];
    assert_non_null(tc_header(&r, "Content-Security-Policy", v, sizeof v));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_non_null(strstr(v, want[i]));
    assert_null(strstr(v, "unsafe"));
    assert_null(strstr(r.body.p, "style=\"")); /* what the policy would refuse */
    assert_null(strstr(r.body.p, "<script>"));
    tc_reply_end(&r);
    tc_stop(&s);
}

static void a_known_tag_is_answered_304_without_a_body(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    char     line[256];
    tc_reply r;
    static const char *const before[] = {"", "W/", "\"other\", "};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        snprintf(line, sizeof line, "If-None-Match: %s%s\r\n", before[i], sr_ui_files[0].etag);
        r = get(&s, "GET", "/", line, 304);
        assert_int_equal(r.body.n, 0);
        has_header(&r, "ETag", sr_ui_files[0].etag);
        has_header(&r, "Cache-Control", "no-cache");
        assert_null(tc_header(&r, "Content-Length", line, sizeof line));
        tc_reply_end(&r);
    }
    r = get(&s, "GET", "/", "If-None-Match: *\r\n", 304);
    tc_reply_end(&r);
    r = get(&s, "GET", "/", "If-None-Match: \"0123456789abcdef\"\r\n", 200);
    tc_reply_end(&r);
    tc_stop(&s);
}

static void a_connection_lives_on_after_304(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    tc_conn  c;
    tc_reply r = {0};
    tc_open(&c, s.at);
    tc_say(&c, "GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 304);
    tc_reply_end(&r);
    r = (tc_reply){0};
    tc_reply_read(&c, &r);
    assert_int_equal(r.status, 200);
    assert_memory_equal(r.body.p, "{\"version\":", 11);
    tc_reply_end(&r);
    tc_close(&c);
    tc_stop(&s);
}

static void head_tells_the_length_and_sends_nothing(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    char     n[32];
    tc_reply r = get(&s, "HEAD", "/", NULL, 200);
    snprintf(n, sizeof n, "%zu", sr_ui_files[0].n);
    has_header(&r, "Content-Length", n);
    has_header(&r, "Content-Type", "text/html; charset=utf-8");
    assert_int_equal(r.body.n, 0);
    tc_reply_end(&r);
    tc_stop(&s);
}

static void the_page_needs_neither_key_nor_model(void **state)
{
    (void)state;
    const sr_servekey keys[] = {{.key = "secret"}};
    tc_server s = {.cfg = {.keys = keys, .n_keys = 1}, .not_ready = true};
    tc_start(&s);
    tc_reply r = get(&s, "GET", "/", NULL, 200);
    tc_reply_end(&r);
    r = get(&s, "GET", "/ui/app.js", NULL, 200);
    tc_reply_end(&r);
    r = get(&s, "GET", "/v1/models", NULL, 401);
    tc_reply_end(&r);
    tc_stop(&s);
}

static void the_page_stands_under_the_prefix_too(void **state)
{
    (void)state;
    tc_server s = {.cfg = {.prefix = "/openai"}};
    tc_start(&s);
    static const char *const paths[] = {"/", "/openai/", "/openai", "/openai/ui/style.css"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        tc_reply r = get(&s, "GET", paths[i], NULL, 200);
        tc_reply_end(&r);
    }
    tc_stop(&s);
}

static void other_names_are_404_and_other_methods_405(void **state)
{
    (void)state;
    tc_server s = {0};
    tc_start(&s);
    static const char *const paths[] = {"/ui/nothing.js", "/ui/../serve/page.c", "/ui/%2e%2e/page.c", "/ui/", "/index.html", "/ui/ui.h"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        tc_reply r = get(&s, "GET", paths[i], NULL, 404);
        tc_reply_end(&r);
    }
    tc_reply r = get(&s, "POST", "/", NULL, 405);
    has_header(&r, "Allow", "GET, HEAD, OPTIONS");
    tc_reply_end(&r);
    tc_stop(&s);
}

static void without_a_page_its_paths_are_unknown(void **state)
{
    (void)state;
    tc_server s = {.cfg = {.no_ui = true}};
    tc_start(&s);
    static const char *const paths[] = {"/", "/ui/app.js", "/ui/style.css"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        tc_reply r = get(&s, "GET", paths[i], NULL, 404);
        has_header(&r, "Content-Type", "application/json");
        tc_reply_end(&r);
    }
    tc_stop(&s);
}

static void all_files_together_stay_under_60_kb(void **state)
{
    (void)state;
    size_t n = 0;
    for (const sr_uifile *f = sr_ui_files; f->name; f++)
        n += f->n;
    assert_in_range(n, 1000, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_is_html_and_every_file_has_its_type),
        cmocka_unit_test(the_page_names_only_files_that_are_there),
        cmocka_unit_test(the_policy_allows_own_files_and_this_server_alone),
        cmocka_unit_test(a_known_tag_is_answered_304_without_a_body),
        cmocka_unit_test(a_connection_lives_on_after_304),
        cmocka_unit_test(head_tells_the_length_and_sends_nothing),
        cmocka_unit_test(the_page_needs_neither_key_nor_model),
        cmocka_unit_test(the_page_stands_under_the_prefix_too),
        cmocka_unit_test(other_names_are_404_and_other_methods_405),
        cmocka_unit_test(without_a_page_its_paths_are_unknown),
        cmocka_unit_test(all_files_together_stay_under_60_kb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
