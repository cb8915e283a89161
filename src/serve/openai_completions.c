/* openai_completions.c - the prompts of a completion request: a string, strings, ids or lists of ids. */
#include <string.h>

#include "base/mem.h"
#include "serve/request.h"

static bool text_prompt(const sr_prepenv *env, const json_t *v, sr_prep *out, sr_promptids *p, sr_apierr *e)
{
    sr_err err = {0};
    p->n_text  = json_string_length(v);
    if (p->n_text > sr_max_prompt_bytes(env))
        return sr_prompt_too_long(env, SR_API_COMPLETION, p->n_text / sr_specials_longest(env->specials), true, e);
    p->text    = sr_arena_strndup(&out->arena, json_string_value(v), p->n_text);
    if (!p->text)
        return sr_api_fail(e, 503, "prompt", "out_of_memory", "No memory for the prompt.");
    unsigned special = out->params.add_special ? SR_TOK_ADD_SPECIAL : 0;
    /* The caller's own prompt: control tokens in it are meant (fill-in-the-middle clients write them). */
    sr_status s = sr_tokenizer_encode(env->model.tok, p->text, p->n_text, special | SR_TOK_PARSE_SPECIAL, &p->ids, &err);
    if (s)
        return sr_api_fail_err(e, s, err.msg, "prompt");
    return p->ids.n ? true : sr_api_fail(e, 400, "prompt", NULL, "A prompt is empty, and the model has no begin token to put in its place.");
}

bool sr_ids_read(const sr_prepenv *env, const json_t *v, const char *name, sr_ids *ids, sr_apierr *e)
{
    size_t   n = json_array_size(v);
    uint32_t n_vocab = sr_tokenizer_n_vocab(env->model.tok);
    if (!n)
        return sr_api_fail(e, 400, name, NULL, "'%s' holds an empty array.", name);
    ids->p = sr_malloc(n * sizeof *ids->p);
    if (!ids->p)
        return sr_api_fail(e, 503, name, "out_of_memory", "No memory for '%s'.", name);
    ids->cap = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(v, i);
        json_int_t    k  = json_integer_value(id);
        if (!json_is_integer(id))
            return sr_api_fail(e, 400, name, NULL, "An array of token ids must hold integers only.");
        if (k < 0 || k >= (json_int_t)n_vocab)
            return sr_api_fail(e, 400, name, NULL, "Token id %lld is not in the vocabulary (0..%u).", (long long)k, n_vocab - 1);
        ids->p[ids->n++] = (int32_t)k;
    }
    return true;
}

bool sr_completion_prompts(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    const json_t *v = json_object_get(root, "prompt"), *first = json_array_get(v, 0);
    bool   several = json_is_array(v) && !json_is_integer(first);
    size_t n = several ? json_array_size(v) : 1;
    if (!v || json_is_null(v))
        return sr_api_fail(e, 400, "prompt", NULL, "'prompt' is missing.");
    if ((!json_is_string(v) && !json_is_array(v)) || !n)
        return sr_api_fail(e, 400, "prompt", NULL, "'prompt' must be a string, an array of strings, of token ids or of arrays of token ids.");
    if (n > env->limits.prompts)
        return sr_api_fail(e, 400, "prompt", NULL, "'prompt' holds %zu prompts; the limit is %u.", n, env->limits.prompts);
    if (!(out->prompt = sr_arena_zalloc(&out->arena, n, sizeof *out->prompt)))
        return sr_api_fail(e, 503, "prompt", "out_of_memory", "No memory for the prompts.");
    for (size_t i = 0; i < n; i++) {
        const json_t *one = several ? json_array_get(v, i) : v;
        sr_promptids *p   = &out->prompt[out->n_prompt++];
        if (several && json_typeof(one) != json_typeof(first))
            return sr_api_fail(e, 400, "prompt", NULL, "'prompt' mixes strings, ids and arrays.");
        if (json_is_string(one) ? !text_prompt(env, one, out, p, e) : json_is_array(one) ? !sr_ids_read(env, one, "prompt", &p->ids, e)
                : !sr_api_fail(e, 400, "prompt", NULL, "'prompt' must be a string, an array of strings, of token ids or of arrays of token ids."))
            return false;
    }
    return true;
}
