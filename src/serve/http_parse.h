/* http_parse.h - bytes to one HTTP/1.1 request head; chunked bodies to plain ones.
 *
 * Pure functions over bytes, strict on purpose: whatever two parsers on one path could read differently
 * (bare LF, folded lines, Content-Length beside Transfer-Encoding, repeated or listed lengths, spaces
 * before a colon) is refused with 400 instead of being guessed at.
 *
 * Owns:    nothing; a head's strings point into the bytes that were parsed.   Threads: any.
 * Errors:  SR_HTTP_BAD with `status` (400, 413, 414, 417, 431, 501, 505) and a one-line `why`.
 * Source:  RFC 9110, RFC 9112.
 */
#ifndef SR_SERVE_HTTP_PARSE_H
#define SR_SERVE_HTTP_PARSE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

typedef struct {
    const char *p;
    size_t      n;
} sr_str;

typedef enum { SR_HTTP_MORE, SR_HTTP_DONE, SR_HTTP_BAD } sr_httpverdict;
typedef enum { SR_GET, SR_HEAD, SR_POST, SR_PUT, SR_PATCH, SR_DELETE, SR_OPTIONS, SR_OTHER_METHOD } sr_httpmethod;
enum { SR_HTTP_HEADERS = 100 };

typedef struct {
    size_t header_bytes, url_bytes;  /* whole head; request target */
    size_t body_bytes;
} sr_httplimits;

typedef struct {
    sr_httpmethod method;
    sr_str   target, path, query;    /* path and query: parts of target, not decoded */
    uint8_t  minor;                  /* HTTP/1.minor, 0 or 1 */
    bool     keep_alive, chunked, has_length, expect_continue;
    uint64_t length;                 /* of Content-Length */
    size_t   bytes;                  /* of the head, with the empty line */
    uint32_t n_header;
    struct { sr_str name, value; } header[SR_HTTP_HEADERS];
    int         status;              /* BAD: what to answer, and why */
    const char *why;
} sr_httphead;

/* Looks at p[0..n).  *scanned (zero at first) remembers how far earlier calls with a shorter n have looked, so
 * that a head that comes byte by byte costs linear time. */
sr_httpverdict sr_http_parse(const char *p, size_t n, size_t *scanned, const sr_httplimits *limits, sr_httphead *out);

/* The value of the only header of that name (case ignored); absent: p == NULL. */
sr_str sr_http_header(const sr_httphead *h, const char *name);
bool   sr_str_is(sr_str s, const char *text);      /* equal */
bool   sr_str_iscase(sr_str s, const char *text);  /* equal, ASCII case ignored */

typedef struct {                     /* zero-initialised = at the start of a body */
    uint8_t  state, digits;
    uint32_t line;                   /* bytes of the current size line or trailer line */
    uint64_t left, body, framing;    /* framing: bytes that were not body */
    int         status;
    const char *why;
} sr_chunked;

/* Takes bytes from p[0..n), appends body bytes to out (NULL: drops them).  *used: how many were taken; after
 * DONE the rest belongs to the next request.  BAD: 400, 413 past limit, 500 when out cannot grow. */
sr_httpverdict sr_chunked_feed(sr_chunked *c, const char *p, size_t n, size_t limit, size_t *used, sr_buf *out);
#endif
