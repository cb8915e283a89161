#include "serve/http_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const sr_httplimits lim = {.header_bytes = 1024, .url_bytes = 64, .body_bytes = 1000};

static sr_httpverdict parse(const char *s, sr_httphead *h)
{
    size_t at = 0;
    return sr_http_parse(s, strlen(s), &at, &lim, h);
}

/* Byte by byte and at once must agree. */
static void expect_bad(const char *s, int status)
{
    sr_httphead h;
    sr_httpverdict v = parse(s, &h);
    if (v != SR_HTTP_BAD || h.status != status)
        fail_msg("verdict %d status %d (want %d) for: %s", v, h.status, status, s);
    assert_non_null(h.why);
    size_t at = 0, n = 0;
    for (v = SR_HTTP_MORE; v == SR_HTTP_MORE && n < strlen(s);)
        v = sr_http_parse(s, ++n, &at, &lim, &h);
    if (v != SR_HTTP_BAD || h.status != status)
        fail_msg("piecewise: verdict %d status %d (want %d) for: %s", v, h.status, status, s);
}

static void reads_a_plain_head(void **state)
{
    (void)state;
    sr_httphead h;
    const char *s = "POST /v1/models?a=b HTTP/1.1\r\nHost: x\r\nContent-Length:  12 \r\nX-Request-Id: r1\r\n\r\nrest";
    assert_int_equal(parse(s, &h), SR_HTTP_DONE);
    assert_int_equal(h.method, SR_POST);
    assert_true(sr_str_is(h.path, "/v1/models"));
    assert_true(sr_str_is(h.query, "a=b"));
    assert_true(h.has_length && h.keep_alive && !h.chunked && h.minor == 1);
    assert_int_equal(h.length, 12);
    assert_string_equal(s + h.bytes, "rest");
    assert_true(sr_str_is(sr_http_header(&h, "x-request-id"), "r1"));
    assert_null(sr_http_header(&h, "accept").p);
}

static void byte_by_byte_gives_the_same(void **state)
{
    (void)state;
    sr_httphead h;
    const char *s = "\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: Keep-Alive, Close\r\n\r\n";
    size_t at = 0, n = 0;
    sr_httpverdict v = SR_HTTP_MORE;
    while (v == SR_HTTP_MORE && n < strlen(s))
        v = sr_http_parse(s, ++n, &at, &lim, &h);
    assert_int_equal(v, SR_HTTP_DONE);
    assert_int_equal(n, strlen(s));
    assert_int_equal(h.bytes, n);
    assert_false(h.keep_alive);
}

static void keep_alive_follows_the_version(void **state)
{
    (void)state;
    sr_httphead h;
    assert_int_equal(parse("GET / HTTP/1.0\r\n\r\n", &h), SR_HTTP_DONE);
    assert_false(h.keep_alive);
    assert_int_equal(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &h), SR_HTTP_DONE);
    assert_true(h.keep_alive);
}

static void absolute_targets_lose_their_host(void **state)
{
    (void)state;
    sr_httphead h;
    assert_int_equal(parse("GET http://h:1/v1/models HTTP/1.1\r\nHost: h\r\n\r\n", &h), SR_HTTP_DONE);
    assert_true(sr_str_is(h.path, "/v1/models"));
    assert_int_equal(parse("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", &h), SR_HTTP_DONE);
}

static void refuses_what_two_parsers_could_read_differently(void **state)
{
    (void)state;
    static const struct { const char *s; int status; } bad[] = {
        {"GET / HTTP/1.1\nHost: x\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\n\r\n", 400},
        {"GET / HTTP/1.1\rHost: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\n: v\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /\r\nHost: x\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
        {"GET x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET / HTTX/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n", 413},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\n\r\n", 417},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_bad(bad[i].s, bad[i].status);
}

static void long_targets_are_414_and_long_heads_431(void **state)
{
    (void)state;
    sr_buf s = {0};
    sr_buf_str(&s, "GET /");
    for (int i = 0; i < 195; i++)
        sr_buf_char(&s, 'a');
    expect_bad(s.p, 414);                   /* without an end in sight */
    s.n = 100;
    sr_buf_str(&s, " HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_bad(s.p, 414);
    s.n = 0;
    sr_buf_str(&s, "GET / HTTP/1.1\r\nX: ");
    for (int i = 0; i < 1100; i++)
        sr_buf_char(&s, 'a');
    expect_bad(s.p, 431);
    s.n = 0;
    sr_buf_str(&s, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 100; i++)
        sr_buf_str(&s, "a:b\r\n");
    sr_buf_str(&s, "\r\n");
    expect_bad(s.p, 431);                   /* 101 headers */
    sr_buf_end(&s);
}

static sr_httpverdict dechunk(const char *s, size_t n, size_t step, sr_buf *out, size_t *total, int *status)
{
    sr_chunked c = {0};
    sr_httpverdict v = SR_HTTP_MORE;
    *total = 0;
    while (v == SR_HTTP_MORE && *total < n) {
        size_t used, len = n - *total < step ? n - *total : step;
        v = sr_chunked_feed(&c, s + *total, len, 1000, &used, out);
        *total += used;
    }
    *status = c.status;
    return v;
}

static void chunks_join_at_any_split(void **state)
{
    (void)state;
    const char *s = "4\r\nWiki\r\n6;x=y\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n000\r\nA: b\r\n\r\nGET";
    for (size_t step = 1; step < strlen(s) + 1; step++) {
        sr_buf out = {0};
        size_t total;
        int    status;
        assert_int_equal(dechunk(s, strlen(s), step, &out, &total, &status), SR_HTTP_DONE);
        assert_string_equal(out.p, "Wikipedia in \r\n\r\nchunks.");
        assert_string_equal(s + total, "GET");
        sr_buf_end(&out);
    }
}

static void bad_chunks_are_refused(void **state)
{
    (void)state;
    static const struct { const char *s; int status; } bad[] = {
        {"\r\n", 400}, {"g\r\n", 400}, {"-1\r\n", 400}, {"0x1\r\n", 400}, {" 1\r\n", 400}, {"1 \r\nx\r\n", 400},
        {"1\nx\r\n", 400}, {"1\rx", 400}, {"1\r\nxy\r\n", 400}, {"1\r\nx\n", 400}, {"ffffffffffffffff\r\n", 400},
        {"3e9\r\n", 413}, {"0000000000000001\r\n", 400}, {"1;\x01\r\n", 400}, {"0\r\nA\x01\r\n", 400}, {"0\r\n\rx", 400},
        {"fffffffffffffff\r\n", 413},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t step = 1; step < 40; step += 19) {
            size_t total;
            int    status;
            sr_httpverdict v = dechunk(bad[i].s, strlen(bad[i].s), step, NULL, &total, &status);
            if (v != SR_HTTP_BAD || status != bad[i].status)
                fail_msg("%zu: verdict %d status %d for %s", i, v, status, bad[i].s);
        }
}

static void endless_extensions_and_trailers_are_cut_off(void **state)
{
    (void)state;
    char *s = malloc(100000);
    size_t total;
    int    status;
    memset(s, 'x', 100000);
    memcpy(s, "1;", 2);
    assert_int_equal(dechunk(s, 100000, 1000, NULL, &total, &status), SR_HTTP_BAD);
    assert_true(total < 2000);
    memset(s, 'x', 100000);
    memcpy(s, "0\r\n", 3);
    assert_int_equal(dechunk(s, 100000, 1000, NULL, &total, &status), SR_HTTP_BAD);
    assert_true(total < 20000);
    for (size_t i = 0; i + 100 < 100000; i += 100) { /* 99 bytes of framing per byte of data */
        memset(s + i, 'e', 100);
        memcpy(s + i, "1;", 2);
        memcpy(s + i + 95, "\r\nx\r\n", 5);
    }
    assert_int_equal(dechunk(s, 99900, 1000, NULL, &total, &status), SR_HTTP_BAD);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_plain_head),
        cmocka_unit_test(byte_by_byte_gives_the_same),
        cmocka_unit_test(keep_alive_follows_the_version),
        cmocka_unit_test(absolute_targets_lose_their_host),
        cmocka_unit_test(refuses_what_two_parsers_could_read_differently),
        cmocka_unit_test(long_targets_are_414_and_long_heads_431),
        cmocka_unit_test(chunks_join_at_any_split),
        cmocka_unit_test(bad_chunks_are_refused),
        cmocka_unit_test(endless_extensions_and_trailers_are_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
