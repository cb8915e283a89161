/* logprobs.h - the logprobs of one choice, gathered token by token as JSON, in chat's or completions' form.
 *
 *     chat:        {"content":[{"token","logprob","bytes","top_logprobs":[...]}...],"refusal":null}
 *     completions: {"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]}
 *
 * A token whose bytes are not whole characters is shown as \xe2\x82 (chat) or bytes:\xe2\x82 (completions),
 * as OpenAI does; "bytes" is exact.
 *
 * Owns:    its buffers, until end().   Threads: one at a time.   Errors: failed() after any number of adds.
 */
#ifndef SR_SERVE_LOGPROBS_H
#define SR_SERVE_LOGPROBS_H
#include "engine/port.h"
#include "text/tokenizer.h"

typedef struct {
    bool     chat;
    uint32_t top;                 /* alternatives wanted */
    sr_buf   list[4];             /* chat: [0]; completions: tokens, token_logprobs, top_logprobs, text_offset */
    sr_buf   marks;               /* per token: where its text starts, where its items end */
    uint64_t bytes, chars;        /* of text so far */
    uint32_t n;
} sr_logprobs;                    /* zero-initialised but for chat and top */

typedef struct { int32_t tok; bool known; float logprob; const sr_alt *alt; uint32_t n_alt; } sr_scored; /* known false: null */
void sr_logprobs_add(sr_logprobs *l, const sr_tokenizer *t, const sr_scored *s);
void sr_logprobs_cut(sr_logprobs *l, uint64_t bytes); /* drops the tokens whose text starts at or after that many bytes */
void sr_logprobs_write(const sr_logprobs *l, sr_buf *out); /* the object */
void sr_logprobs_clear(sr_logprobs *l);               /* sent: forgets the items, keeps counting */
bool sr_logprobs_failed(const sr_logprobs *l);
void sr_logprobs_end(sr_logprobs *l);
bool sr_whole_chars(const char *s, size_t n);         /* valid UTF-8 with nothing cut off */
#endif
