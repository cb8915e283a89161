/* dialect_openai.h - what chat and text completions of OpenAI have in common. */
#ifndef SR_SERVE_DIALECT_OPENAI_H
#define SR_SERVE_DIALECT_OPENAI_H
#include "serve/answer.h"

const char *sr_openai_finish(const sr_call *k, const sr_lane *l);
void sr_openai_prefix(sr_call *k, const char *object);              /* data: {"id":..,"choices":[ */
void sr_openai_open_choice(const sr_call *k, const sr_lane *l, sr_buf *o); /* prefix and {"index":0, */
void sr_openai_close_choice(const sr_call *k, sr_buf *o);           /* }]}, before it usage where every frame has it */
void sr_openai_logprobs(sr_lane *l, sr_buf *o);                     /* "logprobs":.., and they are sent */
void sr_openai_end(sr_call *k, sr_buf *o);                          /* usage, if asked for, and [DONE] */
void sr_openai_fail(sr_call *k, const sr_apierr *e, sr_buf *o);     /* and [DONE] */
void sr_openai_usage(const sr_call *k, sr_jsonw *w);                /* the member "usage" */
void sr_openai_progress(sr_call *k, uint32_t part, uint32_t n_tok, sr_buf *o); /* "prompt_progress", as llama.cpp has it */
/* The whole answer; choice writes what stands between "index" and "logprobs". */
void sr_openai_whole(const sr_call *k, const char *object, void (*choice)(const sr_call *k, const sr_lane *l, sr_jsonw *w), sr_buf *o);
#endif
