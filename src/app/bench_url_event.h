/* bench_url_event.h - what a server streams, as far as a measurement needs it: server-sent events, and a few facts of their JSON.
 *
 *     bytes --sr_sse_feed--> events (the text behind "data:") --sr_load_facts--> how much text, the end, usage, an error
 *
 * Both read bytes of a stranger.  The JSON is looked through in one pass without a tree: at 200,000 events a second a
 * tree would measure the client.  Known are the chunks of OpenAI's chat and completions and what vLLM, TGI and
 * llama-server make of them (reasoning, reasoning_content, errors as a string or an object); other members are skipped.
 *
 * Owns:    an sr_sse its half lines, until end().   Threads: one at a time.
 * Errors:  sr_sse_feed: false when an event is larger than SR_SSE_MAX.  sr_load_facts: false: not one JSON value.
 * Source:  HTML Living Standard 9.2.6; RFC 8259; OpenAI API reference.
 */
#ifndef SR_APP_BENCH_URL_EVENT_H
#define SR_APP_BENCH_URL_EVENT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum { SR_SSE_MAX = 4 << 20, SR_LOAD_MESSAGE = 200 };

typedef struct {
    sr_buf      line, data; /* an unfinished line; the event's data, where it is not in one piece of the input */
    const char *at;         /* data that lies whole in the input being fed, or NULL */
    size_t      n;
    bool        has, after_cr;
} sr_sse;                   /* zero-initialised = at the start of a stream */
typedef void sr_sse_fn(void *arg, const char *data, size_t n);

bool sr_sse_feed(sr_sse *, const char *p, size_t n, sr_sse_fn *, void *arg);
void sr_sse_finish(sr_sse *, sr_sse_fn *, void *arg); /* the stream is over: an event without its empty line counts, too */
void sr_sse_end(sr_sse *);                            /* frees; it may be used again */

typedef struct {
    size_t  n_text;                            /* bytes of content, reasoning and tool calls, as written */
    bool    finish, error, usage;              /* a finish_reason; an error; usage was there */
    int64_t n_prompt, n_made, n_cached;        /* of usage; -1: not told */
    char    message[SR_LOAD_MESSAGE];          /* of an error; also a top-level "message" or "detail" */
} sr_loadfacts;
bool sr_load_facts(const char *json, size_t n, sr_loadfacts *out);

/* The ids of GET /v1/models; false: not JSON.  id: the first one, "" if there is none. */
bool sr_load_model_id(const char *json, size_t n, char *id, size_t cap);
#endif
