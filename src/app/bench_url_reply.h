/* bench_url_reply.h - bytes of a server to one HTTP/1.1 response: its status, and its body without the framing.
 *
 * The reader of a client that measures: what is not needed is skipped, what cannot be understood is refused with the
 * reason.  Bodies end by Content-Length, by their last chunk, or with the connection.  1xx responses are passed over.
 *
 * Owns:    the bytes of an unfinished head, until end().   Threads: one at a time.
 * Errors:  SR_REPLY_BAD and `why`.   Source: RFC 9112.
 */
#ifndef SR_APP_BENCH_URL_REPLY_H
#define SR_APP_BENCH_URL_REPLY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum { SR_REPLY_HEAD_MAX = 64 << 10 };
typedef enum { SR_REPLY_MORE, SR_REPLY_DONE, SR_REPLY_BAD } sr_replyverdict;

typedef struct {
    sr_buf   head;
    int      status;     /* 0: the head is not complete */
    bool     keep_alive, chunked, has_length, events; /* events: text/event-stream */
    uint8_t  state, digits;
    uint64_t left;       /* of the body, or of the chunk */
    uint32_t line;       /* bytes of the current line of framing */
    const char *why;
} sr_reply;              /* zero-initialised = before a response */

typedef bool sr_reply_fn(void *arg, const char *p, size_t n); /* a piece of the body; false ends the reading: BAD */

/* Takes bytes of p; *used says how many; after DONE the rest belongs to the next response. */
sr_replyverdict sr_reply_feed(sr_reply *, const char *p, size_t n, size_t *used, sr_reply_fn *, void *arg);
/* The server has closed its side: DONE where that is the body's end, else BAD. */
sr_replyverdict sr_reply_eof(sr_reply *);
void sr_reply_reset(sr_reply *); /* for the next response; keeps the memory */
void sr_reply_end(sr_reply *);
#endif
