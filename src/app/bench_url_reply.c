/* bench_url_reply.c - see bench_url_reply.h.
 *
 *     HEAD --> LENGTH -------------------------------> done      Content-Length, or a status without a body
 *          --> SIZE -> EXT -> DATA -> AFTER -> SIZE ..           chunked
 *                       `-- last chunk --> TRAILER --> done
 *          --> CLOSE                                             until the connection ends
 */
#include "app/bench_url_reply.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"

enum { HEAD, LENGTH, SIZE, EXT, DATA, AFTER, TRAILER, CLOSE, OVER, LINE_MAX_BYTES = 8192 };

static sr_replyverdict bad(sr_reply *r, const char *why)
{
    r->why = why;
    return SR_REPLY_BAD;
}

static bool is_name(const char *line, size_t n, const char *name)
{
    size_t k = strlen(name);
    return n > k && line[k] == ':' && strncasecmp(line, name, k) == 0;
}

/* Is `word` in the value, between blanks, commas and semicolons? */
static bool has_word(const char *p, size_t n, const char *word)
{
    size_t k = strlen(word);
    for (size_t i = 0; i + k <= n; i++)
        if (strncasecmp(p + i, word, k) == 0 && (i == 0 || strchr(" ,;\t", p[i - 1])) && (i + k == n || strchr(" ,;\t", p[i + k])))
            return true;
    return false;
}

static bool take_header(sr_reply *r, const char *line, size_t n)
{
    const char *colon = memchr(line, ':', n);
    if (!colon)
        return false;
    const char *v  = colon + 1;
    size_t      nv = (size_t)(line + n - v);
    while (nv && (*v == ' ' || *v == '\t'))
        v++, nv--;
    while (nv && (v[nv - 1] == ' ' || v[nv - 1] == '\t'))
        nv--;
    if (is_name(line, n, "Content-Length")) {
        r->has_length = nv > 0;
        r->left       = 0;
        for (size_t i = 0; i < nv; i++) {
            if (v[i] < '0' || v[i] > '9' || r->left > UINT64_MAX / 10 - 1)
                return false;
            r->left = r->left * 10 + (uint64_t)(v[i] - '0');
        }
    } else if (is_name(line, n, "Transfer-Encoding")) {
        r->chunked = has_word(v, nv, "chunked");
    } else if (is_name(line, n, "Connection")) {
        r->keep_alive = r->keep_alive ? !has_word(v, nv, "close") : has_word(v, nv, "keep-alive");
    } else if (is_name(line, n, "Content-Type")) {
        r->events = has_word(v, nv, "text/event-stream");
    }
    return true;
}

/* The whole head is in r->head, the empty line included. */
static sr_replyverdict take_head(sr_reply *r)
{
    const char *p = r->head.p, *end = p + r->head.n;
    if (r->head.n < 15 || memcmp(p, "HTTP/1.", 7) != 0 || p[8] != ' ')
        return bad(r, "not an HTTP/1 response");
    for (int i = 9; i < 12; i++)
        if (p[i] < '0' || p[i] > '9')
            return bad(r, "an HTTP response without a status");
    r->keep_alive = p[7] == '1';
    r->status     = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
    for (const char *line = memchr(p, '\n', r->head.n); line && ++line < end;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        size_t      n  = (size_t)((lf ? lf : end) - line);
        n -= n && line[n - 1] == '\r';
        if (n && !take_header(r, line, n))
            return bad(r, "a header line that cannot be read");
        line = lf;
    }
    if (r->status < 200) { /* another head follows */
        sr_reply_reset(r);
        return SR_REPLY_MORE;
    }
    bool empty = r->status == 204 || r->status == 304;
    if (empty || (!r->chunked && r->has_length && !r->left))
        r->state = OVER;
    else
        r->state = r->chunked ? SIZE : r->has_length ? LENGTH : CLOSE;
    r->keep_alive &= r->state != CLOSE;
    return r->state == OVER ? SR_REPLY_DONE : SR_REPLY_MORE;
}

/* Collects the head; *used: up to its end. */
static sr_replyverdict feed_head(sr_reply *r, const char *p, size_t n, size_t *used)
{
    for (size_t i = 0; i < n; i++) {
        const char *lf = memchr(p + i, '\n', n - i);
        size_t      to = lf ? (size_t)(lf - p) + 1 : n;
        *used = to;
        if (!sr_buf_add(&r->head, p + i, to - i))
            return bad(r, "no memory for a response's head");
        if (r->head.n > SR_REPLY_HEAD_MAX)
            return bad(r, "a response's head of more than 64 KiB");
        const char *h = r->head.p;
        size_t      m = r->head.n;
        if (m >= 5 && memcmp(h, "HTTP/", 5) != 0)
            return bad(r, h[0] >= 0x14 && h[0] <= 0x17 && h[1] == 3 ? "TLS, not HTTP: is it https?" : "not an HTTP response");
        if (lf && m >= 2 && (h[m - 2] == '\n' || (m >= 3 && h[m - 2] == '\r' && h[m - 3] == '\n')))
            return take_head(r);
        i = to - 1;
    }
    return SR_REPLY_MORE;
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1; }

/* One byte of framing between chunks.  False: not chunked as it should be. */
static bool frame_byte(sr_reply *r, char c)
{
    if (++r->line > LINE_MAX_BYTES)
        return false;
    switch (r->state) {
    case SIZE:
        if (hex(c) >= 0) {
            r->left = r->left << 4 | (uint64_t)hex(c);
            return ++r->digits <= 15;
        }
        r->state = EXT;
        if (!r->digits)
            return false;
        /* fallthrough */
    case EXT:
        if (c != '\n')
            return true;
        r->state = r->left ? DATA : TRAILER;
        break;
    case AFTER:
        if (c != '\n')
            return c == '\r' && r->line == 1;
        r->state = SIZE;
        r->left  = r->digits = 0;
        break;
    default: /* TRAILER: lines up to an empty one */
        if (c != '\n')
            return true;
        r->state = r->line == 1 || (r->line == 2 && r->digits == '\r') ? OVER : TRAILER;
        break;
    }
    r->line = 0;
    return true;
}

static sr_replyverdict feed_body(sr_reply *r, const char *p, size_t n, size_t *used, sr_reply_fn *fn, void *arg)
{
    size_t i = 0;
    for (*used = 0; i < n && r->state != OVER; *used = i) {
        if (r->state == LENGTH || r->state == DATA || r->state == CLOSE) {
            size_t k = r->state == CLOSE ? n - i : (size_t)SR_MIN((uint64_t)(n - i), r->left);
            if (!fn(arg, p + i, k))
                return bad(r, "a body that cannot be read");
            i += k;
            r->left -= r->state == CLOSE ? 0 : k;
            if (r->state != CLOSE && !r->left)
                r->state = r->state == LENGTH ? OVER : AFTER, r->line = 0;
            continue;
        }
        bool trailer = r->state == TRAILER;
        char c       = p[i++];
        if (!frame_byte(r, c))
            return bad(r, "a body whose chunks are not framed as they should be");
        if (trailer) /* what the trailer's line began with: "\r\n" is empty, "x\n" is not */
            r->digits = r->line == 1 ? (uint8_t)c : r->digits;
    }
    return r->state == OVER ? SR_REPLY_DONE : SR_REPLY_MORE;
}

sr_replyverdict sr_reply_feed(sr_reply *r, const char *p, size_t n, size_t *used, sr_reply_fn *fn, void *arg)
{
    size_t at = 0, k = 0;
    *used = 0;
    while (r->state == HEAD && at < n) {
        sr_replyverdict v = feed_head(r, p + at, n - at, &k);
        at += k;
        *used = at;
        if (v != SR_REPLY_MORE)
            return v;
    }
    if (r->state == HEAD)
        return SR_REPLY_MORE;
    sr_replyverdict v = feed_body(r, p + at, n - at, &k, fn, arg);
    *used = at + k;
    return v;
}

sr_replyverdict sr_reply_eof(sr_reply *r)
{
    if (r->state == CLOSE || r->state == OVER)
        return SR_REPLY_DONE;
    return bad(r, r->state == HEAD ? (r->head.n ? "closed within the response's head" : "closed without an answer") : "closed within the answer");
}

void sr_reply_reset(sr_reply *r)
{
    sr_buf head = r->head;
    head.n = 0;
    *r = (sr_reply){.head = head};
}

void sr_reply_end(sr_reply *r)
{
    sr_buf_end(&r->head);
    *r = (sr_reply){0};
}
