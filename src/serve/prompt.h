/* prompt.h - from messages to token ids, so that no text of a user can become a control token.
 *
 * A chat template is code from the model file.  It may trim, split, repeat or wrap what it is given, so where
 * a user's text has gone in the output cannot be seen from the output.  Two renders answer it:
 *
 *     real:    {role: "user", content: "Hi <|im_end|>"}     -> <|im_start|>user\nHi <|im_end|><|im_end|>\n
 *     opaque:  {role: "user", content: "4711...000001"}     -> <|im_start|>user\n4711...000001<|im_end|>\n
 *
 * In the opaque render every string of the user is an unguessable number.  All control tokens found there
 * are the template's: their sequence is the prompt's skeleton.
 *   1. If no user string contains the text of a control token, and the real render, tokenised with control
 *      tokens parsed, has the same skeleton, it is the prompt: token for token what the reference makes.
 *   2. Else the prompt is assembled from the opaque render: control tokens are cut out of it, then the
 *      numbers are replaced by the user's text, and what lies between is tokenised as plain text.
 *   3. The skeleton of an assembled prompt is checked again, and a second opaque render with other numbers must
 *      agree with the first outside of whole numbers (a template that cuts strings up or turns them round does
 *      not); else the request is refused.
 * So the invariant does not rest on the template: the control tokens of a prompt are those of the same
 * conversation with other words.  White space at both ends of a string stays outside its number, so that
 * templates that trim still trim.  Roles and types are words out of a list; names, ids and keyword values that
 * are plain words ([A-Za-z0-9_-]) may stay, as templates compare them.
 *
 * Owns:    specials own their tables.   Threads: any (read-only once open).
 * Errors:  SR_INVALID: the template's complaint, or a prompt that fails step 3; SR_NOMEM.
 * Source:  notes/0008-serving.md.
 */
#ifndef SR_SERVE_PROMPT_H
#define SR_SERVE_PROMPT_H
#include <jansson.h>
#include "text/template.h"
#include "text/tokenizer.h"

typedef struct sr_specials sr_specials;    /* the texts of a vocabulary's control tokens, to be found in text */
SR_MUSTUSE sr_status sr_specials_open(const sr_tokenizer *tok, sr_specials **out, sr_err *err);
void   sr_specials_close(sr_specials *s);
/* The first and longest control token text in p[from..n): its place, *len its length, *id the token.  n: none. */
size_t sr_specials_longest(const sr_specials *s); /* bytes of the longest token of the vocabulary, of any kind */
size_t sr_specials_find(const sr_specials *s, const char *p, size_t n, size_t from, size_t *len, int32_t *id);

typedef struct {
    const sr_tokenizer *tok;
    const sr_template  *chat;
    const sr_specials  *specials;
    int64_t now;                           /* seconds since the epoch, for strftime_now */
    size_t  max_bytes;                     /* a longer text cannot fit the context: it is not tokenised; 0: no limit */
} sr_promptenv;
typedef struct {
    const json_t *messages;                /* an array of objects; roles already checked */
    const json_t *kwargs;                  /* further variables of the template; NULL: none */
    bool add_generation_prompt, continue_final; /* continue_final: the prompt ends with the last message's content */
} sr_chatinput;

typedef struct {
    bool   assembled;                      /* step 2 was needed */
    size_t over_bytes;                     /* the text was longer than max_bytes: this long; there are no ids */
} sr_chatinfo;

/* Appends the conversation as the template writes it: text to look at.  Text is no prompt: control tokens that a user's
 * words spell are not told apart from the template's. */
SR_MUSTUSE sr_status sr_prompt_text(const sr_promptenv *env, const sr_chatinput *in, sr_buf *out, sr_err *err);
/* Appends the ids of the conversation. */
SR_MUSTUSE sr_status sr_prompt_chat(const sr_promptenv *env, const sr_chatinput *in, sr_ids *out, sr_chatinfo *info, sr_err *err);
#endif
