/* Any bytes, in one piece and in two, must give the same verdict of the head parser and of the chunk decoder, and
 * what the head points to lies inside the bytes. */
#include "base/err.h"
#include "serve/http_parse.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void inside(sr_str s, const char *p, size_t n)
{
    SR_ASSERT(!s.p || (s.p >= p && s.p + s.n <= p + n), "a string of the head lies outside");
}

static void fuzz_head(const char *p, size_t n, size_t cut)
{
    static const sr_httplimits lim = {.header_bytes = 4096, .url_bytes = 512, .body_bytes = 1 << 20};
    sr_httphead a, b;
    size_t at = 0;
    sr_httpverdict va = sr_http_parse(p, n, &at, &lim, &a);
    at = 0;
    sr_httpverdict vb = sr_http_parse(p, cut, &at, &lim, &b);
    if (vb == SR_HTTP_MORE)
        vb = sr_http_parse(p, n, &at, &lim, &b);
    SR_ASSERT(va == vb && (va != SR_HTTP_BAD || (a.status >= 400 && a.why)), "whole %d, in two %d", va, vb);
    if (va != SR_HTTP_DONE)
        return;
    SR_ASSERT(a.bytes <= n && a.bytes == b.bytes && a.bytes <= lim.header_bytes + 8, "%zu bytes of %zu", a.bytes, n);
    inside(a.target, p, a.bytes), inside(a.path, p, a.bytes), inside(a.query, p, a.bytes);
    for (uint32_t i = 0; i < a.n_header; i++)
        inside(a.header[i].name, p, a.bytes), inside(a.header[i].value, p, a.bytes);
}

static void fuzz_chunks(const char *p, size_t n, size_t cut)
{
    sr_buf a = {0}, b = {0};
    sr_chunked ca = {0}, cb = {0};
    size_t ua, ub, uc = 0;
    sr_httpverdict va = sr_chunked_feed(&ca, p, n, 4096, &ua, &a);
    sr_httpverdict vb = sr_chunked_feed(&cb, p, cut, 4096, &ub, &b);
    if (vb == SR_HTTP_MORE)
        vb = sr_chunked_feed(&cb, p + ub, n - ub, 4096, &uc, &b);
    SR_ASSERT(va == vb && ua == ub + uc && a.n == b.n && a.n <= 4096, "whole %d %zu, in two %d %zu", va, a.n, vb, b.n);
    SR_ASSERT(!a.n || !memcmp(a.p, b.p, a.n), "bodies differ");
    sr_buf_end(&a);
    sr_buf_end(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    const char *p = (const char *)data + 2;
    n -= 2;
    size_t cut = n ? (data[0] | (size_t)data[1] << 8) % (n + 1) : 0;
    fuzz_head(p, n, cut);
    fuzz_chunks(p, n, cut);
    return 0;
}
