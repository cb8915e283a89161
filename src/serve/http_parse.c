#include "serve/http_parse.h"

#include <string.h>
#include <strings.h>

static sr_httpverdict bad(sr_httphead *h, int status, const char *why)
{
    h->status = status;
    h->why    = why;
    return SR_HTTP_BAD;
}

bool sr_str_is(sr_str s, const char *text) { return s.p && s.n == strlen(text) && !memcmp(s.p, text, s.n); }

bool sr_str_iscase(sr_str s, const char *text)
{
    return s.p && s.n == strlen(text) && !strncasecmp(s.p, text, s.n);
}

sr_str sr_http_header(const sr_httphead *h, const char *name)
{
    for (uint32_t i = 0; i < h->n_header; i++)
        if (sr_str_iscase(h->header[i].name, name))
            return h->header[i].value;
    return (sr_str){NULL, 0};
}

/* RFC 9110 5.6.2: the characters of method and header names. */
static bool is_token(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool all_token(sr_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token((unsigned char)s.p[i]))
            return false;
    return s.n > 0;
}

/* Looks for the empty line, and refuses bytes that no head may contain, and too many bytes, as soon as they are seen:
 * the verdict is that of the first offending byte, in however many pieces the head comes. */
static sr_httpverdict find_end(const char *p, size_t n, size_t *scanned, const sr_httplimits *limits, sr_httphead *h)
{
    for (size_t i = *scanned; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (i == limits->url_bytes + 32 && !memchr(p, '\n', i)) /* 32: method and version */
            return bad(h, 414, "the request target is too long");
        if (i == limits->header_bytes)
            return bad(h, 431, "the request head is too large");
        if (c == '\n') {
            if (!i || p[i - 1] != '\r')
                return bad(h, 400, "a line of the request ends with a bare LF");
            if (i >= 3 && p[i - 2] == '\n') {
                *scanned = i;
                h->bytes = i + 1;
                return SR_HTTP_DONE;
            }
        } else if (i && p[i - 1] == '\r') {
            return bad(h, 400, "a CR in the request head is not followed by LF");
        } else if ((c < 32 && c != '\r' && c != '\t') || c == 127) {
            return bad(h, 400, "a control character in the request head");
        }
    }
    *scanned = n;
    return SR_HTTP_MORE;
}

static sr_httpmethod method_of(sr_str s)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sr_str_is(s, names[i]))
            return (sr_httpmethod)i;
    return SR_OTHER_METHOD;
}

/* Splits target into path and query; the absolute form ("http://host/path") loses scheme and host. */
static sr_httpverdict parse_target(sr_httphead *h)
{
    sr_str t = h->target;
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] <= 32 || (unsigned char)t.p[i] >= 127 || t.p[i] == '#')
            return bad(h, 400, "the request target holds a character that must be percent-encoded");
    if (sr_str_is(t, "*")) {
        h->path = t;
        return h->method == SR_OPTIONS ? SR_HTTP_DONE : bad(h, 400, "the target * goes with OPTIONS only");
    }
    size_t scheme = t.n > 7 && !strncasecmp(t.p, "http://", 7) ? 7 : t.n > 8 && !strncasecmp(t.p, "https://", 8) ? 8 : 0;
    if (scheme) {
        const char *slash = memchr(t.p + scheme, '/', t.n - scheme);
        if (!slash || slash == t.p + scheme)
            return bad(h, 400, "the request target has no path");
        t.n -= (size_t)(slash - t.p);
        t.p = slash;
    }
    if (!t.n || t.p[0] != '/')
        return bad(h, 400, "the request target does not start with /");
    const char *q = memchr(t.p, '?', t.n);
    h->path  = (sr_str){t.p, q ? (size_t)(q - t.p) : t.n};
    h->query = q ? (sr_str){q + 1, t.n - h->path.n - 1} : (sr_str){NULL, 0};
    return SR_HTTP_DONE;
}

static sr_httpverdict parse_line(const char *p, size_t n, const sr_httplimits *limits, sr_httphead *h)
{
    const char *sp1 = memchr(p, ' ', n);
    const char *sp2 = sp1 ? memchr(sp1 + 1, ' ', n - (size_t)(sp1 + 1 - p)) : NULL;
    if (!sp2)
        return bad(h, 400, "the request line is not \"METHOD TARGET HTTP/1.1\"");
    sr_str method = {p, (size_t)(sp1 - p)}, version = {sp2 + 1, n - (size_t)(sp2 + 1 - p)};
    if (!all_token(method) || method.n > 32)
        return bad(h, 400, "the method is not a token");
    h->method = method_of(method);
    h->target = (sr_str){sp1 + 1, (size_t)(sp2 - sp1 - 1)};
    if (h->target.n > limits->url_bytes)
        return bad(h, 414, "the request target is too long");
    if (version.n != 8 || memcmp(version.p, "HTTP/", 5) || version.p[5] < '0' || version.p[5] > '9' ||
        version.p[6] != '.' || version.p[7] < '0' || version.p[7] > '9')
        return bad(h, 400, "the request line does not end with an HTTP version");
    if (version.p[5] != '1')
        return bad(h, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    h->minor = version.p[7] == '0' ? 0 : 1;
    return parse_target(h);
}

static sr_httpverdict parse_header(const char *p, size_t n, sr_httphead *h)
{
    if (p[0] == ' ' || p[0] == '\t')
        return bad(h, 400, "a folded header line");
    const char *colon = memchr(p, ':', n);
    sr_str name = {p, colon ? (size_t)(colon - p) : 0};
    if (!colon || !all_token(name))
        return bad(h, 400, "a header line is not \"Name: value\"");
    if (h->n_header == SR_HTTP_HEADERS)
        return bad(h, 431, "too many headers (limit 100)");
    sr_str v = {colon + 1, n - name.n - 1};
    while (v.n && (v.p[0] == ' ' || v.p[0] == '\t'))
        v.p++, v.n--;
    while (v.n && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t'))
        v.n--;
    h->header[h->n_header].name    = name;
    h->header[h->n_header++].value = v;
    return SR_HTTP_DONE;
}

/* True when the comma-separated list holds the token. */
static bool list_has(sr_str s, const char *token)
{
    for (size_t i = 0; i < s.n;) {
        size_t a = i;
        while (i < s.n && s.p[i] != ',')
            i++;
        size_t b = i++;
        while (a < b && (s.p[a] == ' ' || s.p[a] == '\t'))
            a++;
        while (b > a && (s.p[b - 1] == ' ' || s.p[b - 1] == '\t'))
            b--;
        if (sr_str_iscase((sr_str){s.p + a, b - a}, token))
            return true;
    }
    return false;
}

static sr_httpverdict parse_length(sr_httphead *h, sr_str v, const sr_httplimits *limits)
{
    if (h->has_length)
        return bad(h, 400, "more than one Content-Length");
    if (!v.n || v.n > 18)
        return bad(h, 400, "Content-Length is not a number of at most 18 digits");
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return bad(h, 400, "Content-Length is not a number of at most 18 digits");
        h->length = h->length * 10 + (uint64_t)(v.p[i] - '0');
    }
    h->has_length = true;
    return h->length > limits->body_bytes ? bad(h, 413, "the request body is too large") : SR_HTTP_DONE;
}

/* What the headers say about the message itself. */
static sr_httpverdict interpret(sr_httphead *h, const sr_httplimits *limits)
{
    bool close = false, keep = false;
    int  hosts = 0, too_large = 0;
    for (uint32_t i = 0; i < h->n_header; i++) {
        sr_str name = h->header[i].name, v = h->header[i].value;
        if (sr_str_iscase(name, "host")) {
            hosts++;
        } else if (sr_str_iscase(name, "content-length")) {
            if (parse_length(h, v, limits) == SR_HTTP_BAD && h->status != 413)
                return SR_HTTP_BAD;
            too_large |= h->status == 413;
        } else if (sr_str_iscase(name, "transfer-encoding")) {
            if (h->chunked)
                return bad(h, 400, "more than one Transfer-Encoding");
            if (!sr_str_iscase(v, "chunked"))
                return bad(h, 501, "the only Transfer-Encoding understood is chunked");
            h->chunked = true;
        } else if (sr_str_iscase(name, "connection")) {
            close |= list_has(v, "close");
            keep |= list_has(v, "keep-alive");
        } else if (sr_str_iscase(name, "expect")) {
            if (!sr_str_iscase(v, "100-continue"))
                return bad(h, 417, "the only expectation understood is 100-continue");
            h->expect_continue = h->minor > 0;
        }
    }
    h->keep_alive = !close && (h->minor > 0 || keep);
    if (h->chunked && (h->has_length || !h->minor))
        return bad(h, 400, h->minor ? "Content-Length beside Transfer-Encoding" : "Transfer-Encoding in HTTP/1.0");
    if (hosts > 1 || (!hosts && h->minor))
        return bad(h, 400, hosts ? "more than one Host" : "no Host header");
    return too_large ? bad(h, 413, "the request body is too large") : SR_HTTP_DONE;
}

sr_httpverdict sr_http_parse(const char *p, size_t n, size_t *scanned, const sr_httplimits *limits, sr_httphead *out)
{
    memset(out, 0, offsetof(sr_httphead, header));
    out->status = 0;
    out->why    = NULL;
    size_t skip = 0; /* RFC 9112 2.2: an empty line before the request line is ignored */
    while (skip < 4 && n >= skip + 2 && p[skip] == '\r' && p[skip + 1] == '\n')
        skip += 2;
    if (n == skip + 1 && p[skip] == '\r')
        return SR_HTTP_MORE;
    size_t from = *scanned > skip ? *scanned - skip : 0;
    sr_httpverdict v = find_end(p + skip, n - skip, &from, limits, out);
    *scanned = from + skip;
    if (v != SR_HTTP_DONE)
        return v;
    const char *at = p + skip, *end = p + skip + out->bytes - 2; /* the last line before the empty one ends at end */
    for (bool first = true; at < end; first = false) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        size_t      len = (size_t)(eol - at) - 1;
        v = first ? parse_line(at, len, limits, out) : parse_header(at, len, out);
        if (v != SR_HTTP_DONE)
            return v;
        at = eol + 1;
    }
    out->bytes += skip;
    return interpret(out, limits);
}

/* Chunked bodies:  SIZE -> (EXT ->) LF -> DATA -> CR -> LF2 -> SIZE ... ; size 0: -> TRAILER lines -> DONE */
enum { C_SIZE, C_EXT, C_SIZE_LF, C_DATA, C_DATA_CR, C_DATA_LF, C_TRAILER, C_TRAILER_LF, C_END };
enum { LINE_MAX_BYTES = 256, TRAILER_MAX_BYTES = 8192 };

static sr_httpverdict cbad(sr_chunked *c, int status, const char *why)
{
    c->status = status;
    c->why    = why;
    return SR_HTTP_BAD;
}

static int hex(unsigned char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
}

/* One byte outside chunk data. */
static sr_httpverdict framing_byte(sr_chunked *c, unsigned char ch, size_t limit)
{
    int d = hex(ch);
    switch (c->state) {
    case C_SIZE:
        if (d >= 0) {
            if (++c->digits > 15)
                return cbad(c, 400, "a chunk size of more than 15 digits");
            c->left = c->left * 16 + (unsigned)d;
            return SR_HTTP_MORE;
        }
        if (!c->digits || (ch != '\r' && ch != ';'))
            return cbad(c, 400, "a chunk size is not a hexadecimal number");
        if (c->left > limit || c->body > limit - c->left)
            return cbad(c, 413, "the request body is too large");
        c->state = ch == '\r' ? C_SIZE_LF : C_EXT;
        return SR_HTTP_MORE;
    case C_EXT: /* extensions are allowed to be there, and ignored */
        if (ch == '\r')
            c->state = C_SIZE_LF;
        else if (ch < 32 || ch == 127 || ++c->line > LINE_MAX_BYTES)
            return cbad(c, 400, "a bad or overlong chunk extension");
        return SR_HTTP_MORE;
    case C_SIZE_LF:
        if (ch != '\n')
            return cbad(c, 400, "a chunk size line does not end with CR LF");
        c->state  = c->left ? C_DATA : C_TRAILER;
        c->digits = 0;
        c->line   = 0;
        return SR_HTTP_MORE;
    case C_DATA_CR:
    case C_DATA_LF:
        if (ch != (c->state == C_DATA_CR ? '\r' : '\n'))
            return cbad(c, 400, "chunk data is not followed by CR LF");
        c->state = c->state == C_DATA_CR ? C_DATA_LF : C_SIZE;
        return SR_HTTP_MORE;
    case C_TRAILER: /* trailer fields are dropped; left counts their bytes */
        if (ch == '\r')
            c->state = C_TRAILER_LF;
        else if ((ch < 32 && ch != '\t') || ch == 127 || ++c->left > TRAILER_MAX_BYTES)
            return cbad(c, 400, "a bad or overlong trailer");
        else
            c->line++;
        return SR_HTTP_MORE;
    default: /* C_TRAILER_LF */
        if (ch != '\n')
            return cbad(c, 400, "a trailer line does not end with CR LF");
        c->state = c->line ? C_TRAILER : C_END;
        c->line  = 0;
        return c->state == C_END ? SR_HTTP_DONE : SR_HTTP_MORE;
    }
}

sr_httpverdict sr_chunked_feed(sr_chunked *c, const char *p, size_t n, size_t limit, size_t *used, sr_buf *out)
{
    size_t i = 0;
    sr_httpverdict v = SR_HTTP_MORE;
    while (i < n && v == SR_HTTP_MORE) {
        if (c->state == C_DATA) {
            size_t take = c->left < n - i ? (size_t)c->left : n - i;
            if (out && !sr_buf_add(out, p + i, take))
                v = cbad(c, 500, "no memory for the request body");
            i += take;
            c->left -= take;
            c->body += take;
            if (!c->left)
                c->state = C_DATA_CR;
            continue;
        }
        v = framing_byte(c, (unsigned char)p[i++], limit);
        /* One-byte chunks cost 5 bytes of framing each; much more than that is abuse, not transport. */
        if (v == SR_HTTP_MORE && ++c->framing > 65536 + 16 * c->body)
            v = cbad(c, 400, "more chunk framing than data");
    }
    *used = i;
    return v;
}
