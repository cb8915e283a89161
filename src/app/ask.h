/* ask.h - what ask and chat have in common: the model's words, how tokens are drawn, a question and its answer.
 *
 * Owns:    an sr_text its tokenizer and template, until close.   Threads: one.
 * Errors:  the first cause, with what was being done.
 */
#ifndef SR_APP_ASK_H
#define SR_APP_ASK_H
#include "app/opt.h"
#include "app/session.h"
#include "serve/prompt.h"
#include "text/template.h"
#include "text/tokenizer.h"

typedef struct {
    float    temp, top_p, min_p, rep_penalty;
    uint32_t top_k;
    uint64_t seed; /* ~0: a new one each time */
} sr_askopts;
extern const sr_askopts sr_askopts_default;

#define SR_O_SAMPLING(o)                                                                                            \
    SR_O_REAL("temperature", 0, (o).temp, "T", "0 takes the likeliest token, larger values vary more", 0, 100),    \
    SR_O_UINT("top-k", 0, (o).top_k, "K", "draw from the K likeliest tokens only; 0 is off", 0, 1 << 20),           \
    SR_O_REAL("top-p", 0, (o).top_p, "P", "draw from the likeliest tokens that make up this share; 1 is off", 0, 1), \
    SR_O_REAL("min-p", 0, (o).min_p, "P", "leave out tokens less likely than P times the likeliest; 0 is off", 0, 1), \
    SR_O_REAL("repeat-penalty", 0, (o).rep_penalty, "R", "make tokens of the last 64 less likely; 1 is off", 0.01, 100), \
    SR_O_U64("seed", 's', (o).seed, "S", "the same seed gives the same answer; without it, a new one each time")

sr_sampling sr_askopts_sampling(const sr_askopts *);

typedef struct {
    sr_tokenizer *tok;
    sr_specials  *specials;
    sr_template  *chat;          /* NULL: none that can be used, see chat_why */
    char          chat_why[480];
} sr_text;
SR_MUSTUSE sr_status sr_text_open(const char *path, sr_text *, sr_err *);
void sr_text_close(sr_text *);

typedef struct {
    const int32_t *tok;
    uint32_t       n_tok, max_new;
    sr_sampling    sampling;
    bool           special;      /* control tokens in the answer as their text */
    bool           ignore_end;   /* go on past end tokens */
    bool (*text)(void *arg, const char *p, size_t n); /* whole code points; false: the answer is not wanted any more */
    void *arg;
} sr_ask;
typedef struct {
    sr_endreason reason;         /* SR_END_CANCEL: interrupted or not wanted */
    bool         interrupted;    /* by SIGINT */
    uint32_t     prompt, cached, made;
    uint64_t     ns_prompt, ns_total;
} sr_answer;
/* One request from post to end.  SIGINT ends the answer meanwhile, and nothing else. */
SR_MUSTUSE sr_status sr_session_ask(sr_session *, const sr_text *, const sr_ask *, sr_answer *, sr_err *);

/* "prompt 12 tokens (4 cached) 812.3 tok/s | answer 64 tokens 51.2 tok/s | 1.34 s" */
void sr_answer_line(const sr_answer *, char *out, size_t cap);

/* An answer's way to stdout, as it comes; copy (or NULL) keeps it.  write() returns false when the reader is gone or
 * the disk is full; then `failed` is set, and `why` names the error unless it was a closed pipe. */
typedef struct { sr_buf *copy; bool failed; int why; char last; } sr_askout;
bool sr_askout_write(void *out, const char *p, size_t n);

/* {"role": role, "content": text}, or NULL. */
json_t *sr_message(const char *role, const char *text, size_t n);
/* The ids of a conversation with the prompt for an answer behind it. */
SR_MUSTUSE sr_status sr_conversation_ids(const sr_text *, json_t *messages, sr_ids *out, sr_err *);
#endif
