#include "serve/request.h"

#include <string.h>
#include <time.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "serve/chat_in.h"
#include "serve/embed.h"
#include "serve/json_in.h"

static bool check_model(const sr_prepenv *env, const json_t *root, sr_apierr *e)
{
    const json_t *v = json_object_get(root, "model");
    const char   *name = json_string_value(v);
    if (!v || json_is_null(v))
        return true;
    if (!name)
        return sr_api_fail(e, 400, "model", NULL, "'model' must be a string.");
    if (!env->strict_model || !strcmp(name, env->model_id))
        return true;
    for (uint32_t i = 0; i < env->n_aliases; i++)
        if (!strcmp(name, env->aliases[i]))
            return true;
    return sr_api_fail(e, 404, "model", "model_not_found", "The model '%.200s' does not exist here; there is '%.200s'.", name, env->model_id);
}

size_t sr_max_prompt_bytes(const sr_prepenv *env)
{
    return 4096 + 2 * (size_t)env->model.ctx * sr_specials_longest(env->specials);
}

bool sr_prompt_too_long(const sr_prepenv *env, sr_api api, size_t n_tok, bool at_least, sr_apierr *e)
{
    e->n_prompt = (uint32_t)SR_MIN(n_tok, (size_t)UINT32_MAX);
    e->n_ctx    = env->model.ctx;
    return sr_api_fail(e, 400, api == SR_API_CHAT ? "messages" : "prompt", "context_length_exceeded",
                       "This model's maximum context length is %u tokens. However, your request has %s%zu input tokens. "
                       "Please reduce the length of the input.", env->model.ctx, at_least ? "at least " : "", n_tok);
}

/* Room for at least one token, unless none is wanted. */
static bool check_lengths(const sr_prepenv *env, const sr_prep *p, sr_apierr *e)
{
    for (uint32_t i = 0; i < p->n_prompt; i++) {
        size_t n = p->prompt[i].ids.n;
        if (n + (p->params.max_tokens != 0) > env->model.ctx)
            return sr_prompt_too_long(env, p->api, n, false, e);
    }
    return true;
}

typedef bool reader(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e);

static bool read_chat(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    return sr_params_read(env, SR_API_CHAT, root, &out->arena, &out->params, e) && sr_chat_prompt(env, root, out, e) &&
           check_lengths(env, out, e);
}

static bool read_completion(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    return sr_params_read(env, SR_API_COMPLETION, root, &out->arena, &out->params, e) && sr_completion_prompts(env, root, out, e) &&
           check_lengths(env, out, e);
}

static bool read_messages(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    json_t *chat = NULL;
    bool ok = sr_anthropic_in(root, false, &chat, e) && read_chat(env, chat, out, e);
    json_decref(chat);
    if (!ok)
        sr_api_rename(e, "stop", "stop_sequences");
    return ok;
}

static bool count_messages(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    json_t *chat = NULL;
    bool ok = sr_anthropic_in(root, true, &chat, e) && sr_params_read(env, SR_API_CHAT, chat, &out->arena, &out->params, e) &&
              sr_chat_prompt(env, chat, out, e);
    json_decref(chat);
    if (ok && !sr_buf_fmt(&out->reply, "{\"input_tokens\":%zu}", out->prompt[0].ids.n))
        ok = sr_in_nomem(e);
    return ok;
}

static bool read_responses(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    json_t *chat = NULL;
    bool ok = sr_responses_in(root, &chat, &out->echo, e) && read_chat(env, chat, out, e);
    json_decref(chat);
    if (!ok) {
        sr_api_rename(e, "max_tokens", "max_output_tokens");
        sr_api_rename(e, "reasoning_effort", "reasoning.effort");
        sr_api_rename(e, "response_format", "text.format");
    }
    return ok;
}

/* No prompt and no messages ask for the model to be loaded: it is. */
static bool ollama_loaded(const sr_prepenv *env, const char *member, sr_prep *out, sr_apierr *e)
{
    sr_jsonw w = {.out = &out->reply};
    char     when[40];
    sr_json_time((int64_t)time(NULL), 0, when);
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "model", env->model_id);
    sr_json_str(&w, "created_at", when);
    sr_json_raw(&w, member, *member == 'm' ? "{\"role\":\"assistant\",\"content\":\"\"}" : "\"\"", *member == 'm' ? 33 : 2);
    sr_json_bool(&w, "done", true);
    sr_json_str(&w, "done_reason", "load");
    sr_json_end(&w);
    return out->reply.failed ? sr_in_nomem(e) : true;
}

static void ollama_names(sr_apierr *e)
{
    sr_api_rename(e, "max_tokens", "num_predict");
    sr_api_rename(e, "n_predict", "num_predict");
    sr_api_rename(e, "response_format", "format");
    sr_api_rename(e, "json_schema", "format");
}

static bool read_ollama_chat(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    json_t *chat = NULL;
    bool ok = sr_ollama_chat_in(root, &chat, e);
    if (ok)
        ok = json_array_size(json_object_get(chat, "messages")) ? read_chat(env, chat, out, e) : ollama_loaded(env, "message", out, e);
    json_decref(chat);
    if (!ok)
        ollama_names(e);
    return ok;
}

static bool read_ollama_generate(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    json_t *to  = NULL;
    bool    raw = false, ok = sr_ollama_generate_in(root, &to, &raw, e);
    if (ok && !json_string_length(json_object_get(root, "prompt")))
        ok = ollama_loaded(env, "response", out, e);
    else if (ok)
        ok = raw ? read_completion(env, to, out, e) : read_chat(env, to, out, e);
    json_decref(to);
    if (!ok)
        ollama_names(e);
    return ok;
}

static reader *reader_of(sr_api api)
{
    static const struct { sr_api api; reader *read; } readers[] = {
        {SR_API_CHAT, read_chat}, {SR_API_COMPLETION, read_completion}, {SR_API_TOKENIZE, sr_text_tokenize},
        {SR_API_DETOKENIZE, sr_text_detokenize}, {SR_API_TEMPLATE, sr_text_template}, {SR_API_MESSAGES, read_messages},
        {SR_API_COUNT, count_messages}, {SR_API_RESPONSES, read_responses}, {SR_API_OLLAMA_CHAT, read_ollama_chat},
        {SR_API_OLLAMA_GENERATE, read_ollama_generate}, {SR_API_EMBEDDINGS, sr_embeddings_in},
        {SR_API_OLLAMA_EMBED, sr_ollama_embed_in}, {SR_API_OLLAMA_EMBEDDINGS, sr_ollama_embed_in}};
    for (size_t i = 0; i < SR_COUNT(readers); i++)
        if (readers[i].api == api)
            return readers[i].read;
    return NULL;
}

bool sr_prepare_tree(const sr_prepenv *env, sr_api api, const json_t *root, sr_prep *out, sr_apierr *e)
{
    *out         = (sr_prep){.api = api};
    reader *read = reader_of(api);
    SR_ASSERT(read, "no reader for the API %d", (int)api);
    bool ok = json_is_object(root) ? check_model(env, root, e) && read(env, root, out, e)
                                   : sr_api_fail(e, 400, NULL, NULL, "The body must be a JSON object.");
    if (!ok)
        sr_prep_end(out);
    return ok;
}

bool sr_prepare(const sr_prepenv *env, sr_api api, const char *body, size_t n, sr_prep *out, sr_apierr *e)
{
    sr_err    err  = {0};
    json_t   *root = NULL;
    sr_status s    = sr_json_read(body, n, env->limits.json_depth, env->limits.json_values, &root, &err);
    *out           = (sr_prep){.api = api};
    if (s)
        return sr_api_fail(e, s == SR_NOMEM ? 503 : 400, NULL, s == SR_NOMEM ? "out_of_memory" : "invalid_json", "%s.", err.msg);
    bool ok = sr_prepare_tree(env, api, root, out, e);
    json_decref(root);
    return ok;
}

void sr_prep_end(sr_prep *p)
{
    for (uint32_t i = 0; i < p->n_prompt; i++)
        sr_ids_end(&p->prompt[i].ids);
    json_decref(p->params.tools);
    sr_grammar_close(p->params.grammar);
    json_decref(p->echo);
    sr_buf_end(&p->reply);
    sr_arena_end(&p->arena);
    *p = (sr_prep){0};
}
