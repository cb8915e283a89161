/* chat_in.h - requests of other dialects, put as chat requests of OpenAI, so that what they mean is checked in one place.
 *
 *     Anthropic messages, OpenAI responses, ollama chat  -->  {"messages":[..],"tools":[..],"max_tokens":..}  --> openai_*.c
 *
 * Only the form is looked at here; values are passed on as they are, and what is wrong with them is said under OpenAI's
 * names (which are these dialects' names, too, nearly always).
 *
 * Owns:    *out is the caller's (json_decref).   Threads: any.   Errors: false, *e says what; 503: no memory.
 * Source:  Anthropic Messages API; OpenAI Responses API; ollama docs/api.md.
 */
#ifndef SR_SERVE_CHAT_IN_H
#define SR_SERVE_CHAT_IN_H
#include <jansson.h>
#include <stdbool.h>
#include "serve/openai_error.h"

bool sr_anthropic_in(const json_t *root, bool count_only, json_t **out, sr_apierr *e); /* count_only: max_tokens may be missing */
/* echo: the members of the request that its answer repeats. */
bool sr_responses_in(const json_t *root, json_t **out, json_t **echo, sr_apierr *e);
bool sr_ollama_chat_in(const json_t *root, json_t **out, sr_apierr *e);
bool sr_ollama_generate_in(const json_t *root, json_t **out, bool *raw, sr_apierr *e); /* raw: a completion, not a chat */

/* Pieces of the above. */
bool sr_in_nomem(sr_apierr *e);
bool sr_in_given(const json_t *root, const char *key);             /* there, and not null */
bool sr_in_set(json_t *o, const char *key, json_t *owned);         /* false: no memory, or owned is NULL */
bool sr_in_copy(const json_t *from, const char *key, json_t *to, const char *as); /* if given; false: no memory */
bool sr_in_append(json_t *list, json_t *owned);
#endif
