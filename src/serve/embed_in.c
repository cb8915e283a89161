/* embed_in.c - POST /v1/embeddings, ollama's /api/embed and /api/embeddings: the texts, as token ids, and how their vectors are wanted. */
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "serve/chat_in.h"
#include "serve/embed.h"

typedef struct {
    const sr_prepenv *env;
    sr_prep          *out;
    sr_apierr        *e;
    const char       *name;    /* of the member that holds the texts */
    bool              several; /* it is a list of texts */
    bool              cut;     /* what is too long is cut at the context's end, not refused */
} inputs;

static const char *which(const inputs *in, size_t i, char at[40])
{
    snprintf(at, 40, in->several ? "%s[%zu]" : "%s", in->name, i);
    return at;
}

static bool too_long(const inputs *in, size_t i, size_t n_tok, bool at_least)
{
    char at[40];
    in->e->n_prompt = (uint32_t)SR_MIN(n_tok, (size_t)UINT32_MAX);
    in->e->n_ctx    = in->env->model.ctx;
    return sr_api_fail(in->e, 400, which(in, i, at), "context_length_exceeded",
                       "This model's maximum context length is %u tokens. However, '%s' has %s%zu tokens. Please reduce the length of "
                       "the input.", in->env->model.ctx, at, at_least ? "at least " : "", n_tok);
}

/* An end token that the tokenizer puts behind a text stays its last one. */
static void cut_ids(const sr_prepenv *env, sr_ids *ids)
{
    int32_t last = ids->p[ids->n - 1];
    if (ids->n <= env->model.ctx)
        return;
    ids->n = env->model.ctx;
    if (sr_tokenizer_is_end(env->model.tok, last))
        ids->p[ids->n - 1] = last;
}

static bool take_text(inputs *in, const json_t *v, size_t i, sr_ids *ids)
{
    const char *p   = json_string_value(v);
    size_t      n   = json_string_length(v), most = sr_max_prompt_bytes(in->env);
    sr_err      err = {0};
    char        at[40];
    unsigned    special = in->out->params.add_special ? SR_TOK_ADD_SPECIAL : 0;
    if (!n)
        return sr_api_fail(in->e, 400, which(in, i, at), NULL, "'%s' is empty.", at);
    if (n > most && !in->cut)
        return too_long(in, i, n / sr_specials_longest(in->env->specials), true);
    for (n = SR_MIN(n, most); n && n < json_string_length(v) && (p[n] & 0xc0) == 0x80; n--) /* between two characters */
        ;
    /* As with completions, the text is the caller's own: control tokens in it are meant. */
    sr_status s = sr_tokenizer_encode(in->env->model.tok, p, n, special | SR_TOK_PARSE_SPECIAL, ids, &err);
    return s ? sr_api_fail_err(in->e, s, err.msg, which(in, i, at)) : true;
}

static bool take(inputs *in, const json_t *v, size_t i, sr_ids *ids)
{
    char at[40];
    bool ok = json_is_string(v)  ? take_text(in, v, i, ids)
              : json_is_array(v) ? sr_ids_read(in->env, v, which(in, i, at), ids, in->e)
                                 : sr_api_fail(in->e, 400, in->name, NULL, "'%s' must be a string, an array of strings, of token ids or of "
                                               "arrays of token ids.", in->name);
    if (ok && in->cut && ids->n)
        cut_ids(in->env, ids);
    if (ok && ids->n > in->env->model.ctx)
        return too_long(in, i, ids->n, false);
    return ok && !ids->n ? sr_api_fail(in->e, 400, which(in, i, at), NULL, "'%s' holds no token.", at) : ok;
}

/* Not-empty `v`: one text or a list of them. */
static bool take_all(inputs *in, const json_t *v)
{
    const json_t *first = json_array_get(v, 0);
    in->several = json_is_array(v) && !json_is_integer(first);
    size_t n    = in->several ? json_array_size(v) : 1;
    if (json_is_array(v) && !first)
        return sr_api_fail(in->e, 400, in->name, NULL, "'%s' holds an empty array.", in->name);
    if (n > in->env->limits.inputs)
        return sr_api_fail(in->e, 400, in->name, NULL, "'%s' holds %zu texts; the limit is %u.", in->name, n, in->env->limits.inputs);
    if ((uint64_t)n * in->out->vec.dims > in->env->limits.numbers)
        return sr_api_fail(in->e, 400, in->name, NULL, "'%s' holds %zu texts, whose vectors have %u numbers each; the limit is %u in all.",
                           in->name, n, in->out->vec.dims, in->env->limits.numbers);
    if (!(in->out->prompt = sr_arena_zalloc(&in->out->arena, n, sizeof *in->out->prompt)))
        return sr_api_fail(in->e, 503, in->name, "out_of_memory", "No memory for the texts.");
    for (size_t i = 0; i < n; i++) {
        const json_t *one = in->several ? json_array_get(v, i) : v;
        if (in->several && json_typeof(one) != json_typeof(first))
            return sr_api_fail(in->e, 400, in->name, NULL, "'%s' mixes strings, ids and arrays.", in->name);
        if (!take(in, one, i, &in->out->prompt[in->out->n_prompt++].ids))
            return false;
    }
    return true;
}

static bool begin(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    const json_t *v     = json_object_get(root, "dimensions");
    json_t       *some  = json_object();
    uint32_t      width = env->model.n_embd;
    bool ok = some && sr_in_copy(root, "priority", some, "priority") && sr_in_copy(root, "cache_salt", some, "cache_salt") &&
              sr_in_copy(root, "timeout", some, "timeout") && sr_in_copy(root, "add_special_tokens", some, "add_special_tokens") &&
              sr_in_copy(root, "truncate_prompt_tokens", some, "truncate_prompt_tokens") ? true : sr_in_nomem(e);
    ok      = ok && sr_params_read(env, SR_API_COMPLETION, some, &out->arena, &out->params, e);
    json_decref(some);
    if (!ok)
        return false;
    out->vec.dims = width;
    if (!width)
        return sr_api_fail(e, 400, NULL, "unsupported", "This engine makes no vectors.");
    if (!v || json_is_null(v))
        return true;
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > width)
        return sr_api_fail(e, 400, "dimensions", NULL, "'dimensions' must be an integer from 1 to %u, the width of this model.", width);
    out->vec.dims = (uint32_t)json_integer_value(v);
    return true;
}

bool sr_embeddings_in(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    const json_t *v = json_object_get(root, "input"), *form = json_object_get(root, "encoding_format");
    const char   *word = json_string_value(form);
    inputs        in = {.env = env, .out = out, .e = e, .name = "input"};
    if (form && !json_is_null(form) && (!word || (strcmp(word, "float") != 0 && strcmp(word, "base64") != 0)))
        return sr_api_fail(e, 400, "encoding_format", NULL, "'encoding_format' must be 'float' or 'base64'.");
    if (json_is_false(json_object_get(root, "normalize")))
        return sr_api_fail(e, 400, "normalize", "unsupported_value", "'normalize' false is not available: vectors have length 1.");
    out->vec.base64 = word && *word == 'b';
    if (!v || json_is_null(v))
        return sr_api_fail(e, 400, "input", NULL, "'input' is missing.");
    return begin(env, root, out, e) && take_all(&in, v);
}

/* ---- ollama ------------------------------------------------------------------------------------------------ */

/* No text asks for the model to be loaded: it is. */
static bool nothing(const sr_prepenv *env, bool old, sr_prep *out, sr_apierr *e)
{
    sr_jsonw w = {.out = &out->reply};
    sr_json_obj(&w, NULL);
    if (!old)
        sr_json_str(&w, "model", env->model_id);
    sr_json_arr(&w, old ? "embedding" : "embeddings");
    sr_json_end(&w);
    sr_json_end(&w);
    return out->reply.failed ? sr_api_fail(e, 503, NULL, "out_of_memory", "No memory for the answer.") : true;
}

bool sr_ollama_embed_in(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    bool          old = out->api == SR_API_OLLAMA_EMBEDDINGS;
    const char   *name = old ? "prompt" : "input";
    const json_t *v = json_object_get(root, name), *cut = json_object_get(root, "truncate");
    inputs        in = {.env = env, .out = out, .e = e, .name = name, .cut = !json_is_false(cut)};
    if (cut && !json_is_null(cut) && !json_is_boolean(cut))
        return sr_api_fail(e, 400, "truncate", NULL, "'truncate' must be true or false.");
    if (old && v && !json_is_null(v) && !json_is_string(v))
        return sr_api_fail(e, 400, "prompt", NULL, "'prompt' must be a string.");
    if (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)) || (json_is_array(v) && !json_array_size(v)))
        return nothing(env, old, out, e);
    return begin(env, root, out, e) && take_all(&in, v);
}
