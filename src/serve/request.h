/* request.h - a request body, understood: parameters, prompts as token ids, everything within limits.
 *
 *     bytes --json--> tree --params--> numbers, stops, biases --chat or completions--> prompts --> sr_prep
 *
 * Preparing touches no connection and no engine, so a long body is prepared on a thread of its own.
 *
 * Owns:    everything a prep points to lies in its arena or in its prompts' ids, until sr_prep_end().
 * Threads: one per prep; the environment is read-only.
 * Errors:  sr_apierr, naming the parameter and the limit.
 * Source:  OpenAI API reference (chat completions, completions); vLLM and llama.cpp for the further samplers.
 */
#ifndef SR_SERVE_REQUEST_H
#define SR_SERVE_REQUEST_H
#include <jansson.h>
#include "base/arena.h"
#include "engine/port.h"
#include "serve/openai_error.h"
#include "serve/prompt.h"
#include "serve/reasoning.h"
#include "serve/serve.h"
#include "serve/template_caps.h"
#include "serve/toolcall.h"
#include "text/grammar.h"
#include "text/detok.h"

typedef enum { /* bits */
    SR_API_CHAT = 1, SR_API_COMPLETION = 2,
    SR_API_MESSAGES = 4, SR_API_RESPONSES = 8, SR_API_OLLAMA_CHAT = 0x10, SR_API_OLLAMA_GENERATE = 0x20, /* read as one of those two */
    SR_API_TOKENIZE = 0x100, SR_API_DETOKENIZE = 0x200, SR_API_TEMPLATE = 0x400, SR_API_COUNT = 0x800, /* answered without the engine */
    SR_API_EMBEDDINGS = 0x1000, SR_API_OLLAMA_EMBED = 0x2000, SR_API_OLLAMA_EMBEDDINGS = 0x4000, /* embed.h */
    SR_API_ALL = 0x7f3f
} sr_api;

typedef struct {                    /* the parameters of a request; defaults: sr_params_default() */
    bool    stream, include_usage, usage_always, echo, want_logprobs, include_stop, skip_special, add_special, ignore_eos;
    bool    add_generation_prompt, continue_final, parallel, progress;
    int64_t n, max_tokens, min_tokens, top_logprobs; /* max_tokens -1: up to the context's end */
    int64_t seed, top_k, rep_last_n, priority;       /* seed -1: a random one; rep_last_n -1: all, -2: not given */
    double  timeout_s;                  /* 0: none */
    double  temperature, top_p, min_p, typical_p, rep_penalty, freq_penalty, pres_penalty;
    sr_stopstr *stop;      uint32_t n_stop;
    int32_t    *stop_tok;  uint32_t n_stop_tok;
    sr_bias    *bias;      uint32_t n_bias;
    uint64_t    salt;
    sr_grammar *grammar;                /* what the answer must look like; NULL: anything; freed by sr_prep_end() */
    const char *prefill;                /* text at the end of the prompt that the answer goes on from; NULL: none */
    json_t     *tools;                  /* what the model may call, checked; NULL: nothing; freed by sr_prep_end() */
    bool        functions;              /* they came as "functions": the answer's call goes by the names of 2023, too */
    const sr_thinkmarks *think;         /* thoughts are told from the answer; NULL: they are not */
} sr_params;

typedef struct {
    sr_ids      ids;
    const char *text; size_t n_text; /* completions: as given; NULL when given as ids */
} sr_promptids;

typedef struct {
    sr_api    api;
    sr_arena  arena;
    sr_params params;
    sr_promptids *prompt; uint32_t n_prompt;
    struct { uint32_t dims; bool base64; } vec; /* requests for vectors: numbers of each */
    bool      thinking;             /* the prompt ends inside the thoughts: the answer begins there */
    json_t   *echo;                 /* members of the request that its answer repeats, or NULL */
    sr_buf    reply;                /* not empty: the whole answer, no engine is needed */
} sr_prep;

typedef struct {                    /* what preparing needs to know; lives as long as the model */
    sr_servemodel      model;
    const sr_specials *specials;
    sr_servelimits     limits;      /* filled in: no zeros */
    bool               strict_model;
    uint64_t           secret[2];   /* random, per process: keys of salts and ids */
    const sr_toolfamily *family;    /* how the model writes tool calls */
    const sr_thinkmarks *think;     /* how it marks its thoughts; NULL: it has none */
    sr_tplcaps  caps;               /* what its template can take */
    const char *model_id;
    const char *const *aliases; uint32_t n_aliases;
} sr_prepenv;

/* body: the text of the request.  False: *e says why. */
bool sr_prepare(const sr_prepenv *env, sr_api api, const char *body, size_t n, sr_prep *out, sr_apierr *e);
bool sr_prepare_tree(const sr_prepenv *env, sr_api api, const json_t *root, sr_prep *out, sr_apierr *e); /* the same, parsed already */
void sr_prep_end(sr_prep *p);

/* The steps. */
void sr_params_default(sr_params *p, sr_api api);
bool sr_params_read(const sr_prepenv *env, sr_api api, const json_t *root, sr_arena *arena, sr_params *p, sr_apierr *e);
bool sr_chat_prompt(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e);
bool sr_completion_prompts(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e);
/* The conversation as the template's text, which no user's words can be told apart from: for showing, never for a prompt. */
bool sr_chat_text(const sr_prepenv *env, const json_t *root, sr_prep *prep, sr_buf *text, sr_apierr *e);
bool sr_ids_read(const sr_prepenv *env, const json_t *array, const char *name, sr_ids *ids, sr_apierr *e); /* token ids, at least one */
bool sr_text_tokenize(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e); /* text_api.c: these fill out->reply */
bool sr_text_detokenize(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e);
bool sr_text_template(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e);
/* A text longer than this is longer than the context however it is cut: saying so costs no tokenising.  Twice what
 * the longest token allows, for normalisation may shrink a text. */
size_t sr_max_prompt_bytes(const sr_prepenv *env);
bool   sr_prompt_too_long(const sr_prepenv *env, sr_api api, size_t n_tok, bool at_least, sr_apierr *e); /* always false */
#endif
