/* bench_url_prompt.h - what is asked: bodies of requests, made up or from a file.
 *
 * A made-up prompt is a number of common English words, each of which is one token in nearly every vocabulary: first the
 * shared prefix, the same in all, then words of its own drawn from `seed` and the request's number.  The same seed asks the
 * same; another index never repeats a prompt, so that no prefix cache helps beyond the shared part.
 *
 * A file has one prompt a line: plain text, or a JSON object with "prompt" (a string) or "messages" (chat); they are
 * asked in turn, from the first again after the last.
 *
 * Owns:    the file's lines, until close().   Threads: one.
 * Errors:  SR_IO, SR_INVALID with the file and the line, SR_NOMEM.
 */
#ifndef SR_APP_BENCH_URL_PROMPT_H
#define SR_APP_BENCH_URL_PROMPT_H
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

typedef struct {
    const char *model;
    bool     chat, ignore_eos, usage;
    uint32_t words, prefix, max_tokens;  /* prefix: of the words */
    float    temperature;
    uint64_t seed;
    char   **line; uint32_t n_line;      /* of a file, each a JSON value: a string, or an array of messages */
} sr_prompts;

SR_MUSTUSE sr_status sr_prompts_read(sr_prompts *, const char *path, sr_err *); /* chat must be set */
void sr_prompts_close(sr_prompts *);
void sr_prompts_body(const sr_prompts *, uint64_t index, sr_buf *out);          /* the request, as JSON */
#endif
