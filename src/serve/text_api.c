/* text_api.c - /tokenize, /detokenize and /apply-template: what the model's vocabulary and template make of text.
 *
 * The forms of llama.cpp ("content", "with_pieces") and of vLLM ("prompt" or "messages", "return_token_strs") in one:
 * a member of either is understood, and the answer carries what the clients of both read.
 */
#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "serve/logprobs.h"
#include "serve/request.h"

/* Optional boolean; *out stays as it is where there is none. */
static bool take_bool(const json_t *root, const char *name, bool *out, sr_apierr *e)
{
    const json_t *v = json_object_get(root, name);
    if (!v || json_is_null(v))
        return true;
    if (!json_is_boolean(v))
        return sr_api_fail(e, 400, name, NULL, "'%s' must be true or false.", name);
    *out = json_is_true(v);
    return true;
}

static bool nomem(sr_apierr *e) { return sr_api_fail(e, 503, NULL, "out_of_memory", "No memory for the answer."); }

/* A piece that is not whole characters is the list of its bytes, as llama.cpp writes it. */
static void put_piece(const char *p, size_t n, sr_jsonw *w)
{
    if (sr_whole_chars(p, n)) {
        sr_json_strn(w, "piece", p, n);
        return;
    }
    sr_json_arr(w, "piece");
    for (size_t i = 0; i < n; i++)
        sr_json_uint(w, NULL, (unsigned char)p[i]);
    sr_json_end(w);
}

static void put_tokens(const sr_prepenv *env, const sr_ids *ids, bool with_pieces, bool with_strings, sr_buf *out)
{
    const sr_tokenizer *tok = env->model.tok;
    sr_jsonw w = {.out = out};
    size_t   n = 0;
    sr_json_obj(&w, NULL);
    sr_json_arr(&w, "tokens");
    for (size_t i = 0; i < ids->n; i++) {
        if (!with_pieces) {
            sr_json_int(&w, NULL, ids->p[i]);
            continue;
        }
        const char *p = sr_tokenizer_piece(tok, ids->p[i], true, &n);
        sr_json_obj(&w, NULL);
        sr_json_int(&w, "id", ids->p[i]);
        put_piece(p, n, &w);
        sr_json_end(&w);
    }
    sr_json_end(&w);
    sr_json_uint(&w, "count", ids->n);
    sr_json_uint(&w, "max_model_len", env->model.ctx);
    if (with_strings) {
        sr_json_arr(&w, "token_strs");
        for (size_t i = 0; i < ids->n; i++) {
            const char *p = sr_tokenizer_piece(tok, ids->p[i], true, &n);
            sr_json_strn(&w, NULL, p, n);
        }
        sr_json_end(&w);
    }
    sr_json_end(&w);
}

static bool text_tokens(const sr_prepenv *env, const json_t *root, const char *name, sr_ids *ids, sr_apierr *e)
{
    const json_t *v = json_object_get(root, name);
    bool special = !strcmp(name, "prompt"),
         parse = true; /* vLLM adds BOS where it is not told otherwise, llama.cpp does not */
    sr_err err = {0};
    if (!json_is_string(v))
        return sr_api_fail(e, 400, name, NULL, "'%s' must be a string.", name);
    if (!take_bool(root, "add_special", &special, e) || !take_bool(root, "add_special_tokens", &special, e) ||
        !take_bool(root, "parse_special", &parse, e))
        return false;
    if (json_string_length(v) > sr_max_prompt_bytes(env))
        return sr_prompt_too_long(env, SR_API_COMPLETION, json_string_length(v) / sr_specials_longest(env->specials),
                                  true, e);
    sr_status s =
        sr_tokenizer_encode(env->model.tok, json_string_value(v), json_string_length(v),
                            (special ? SR_TOK_ADD_SPECIAL : 0u) | (parse ? SR_TOK_PARSE_SPECIAL : 0u), ids, &err);
    return s ? sr_api_fail_err(e, s, err.msg, name) : true;
}

static bool given(const json_t *root, const char *name)
{
    const json_t *v = json_object_get(root, name);
    return v && !json_is_null(v);
}

bool sr_text_tokenize(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    bool   pieces = false, strings = false, ok;
    sr_ids text = {0}, *ids = &text;
    if (!take_bool(root, "with_pieces", &pieces, e) || !take_bool(root, "return_token_strs", &strings, e))
        return false;
    if (given(root, "messages") + given(root, "content") + given(root, "prompt") > 1) {
        ok = sr_api_fail(e, 400, given(root, "prompt") ? "prompt" : "content", NULL, "Only one of 'content', 'prompt' and 'messages' is taken.");
    } else if (given(root, "messages")) {
        ok = sr_params_read(env, SR_API_CHAT, root, &out->arena, &out->params, e) && sr_chat_prompt(env, root, out, e);
        ids = ok ? &out->prompt[0].ids : &text;
    } else if (given(root, "content") || given(root, "prompt")) {
        ok = text_tokens(env, root, given(root, "content") ? "content" : "prompt", ids, e);
    } else {
        ok = sr_api_fail(e, 400, "content", NULL, "One of 'content', 'prompt' and 'messages' is needed.");
    }
    if (ok)
        put_tokens(env, ids, pieces, strings, &out->reply);
    sr_ids_end(&text);
    return ok && out->reply.failed ? nomem(e) : ok;
}

bool sr_text_detokenize(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    const json_t *v = json_object_get(root, "tokens");
    sr_ids   ids  = {0};
    sr_buf   text = {0};
    sr_err   err  = {0};
    sr_jsonw w    = {.out = &out->reply};
    if (!json_is_array(v))
        return sr_api_fail(e, 400, "tokens", NULL, "'tokens' must be an array of token ids.");
    if (json_array_size(v) && !sr_ids_read(env, v, "tokens", &ids, e)) {
        sr_ids_end(&ids);
        return false;
    }
    sr_status s = sr_tokenizer_decode(env->model.tok, ids.p, ids.n, true, &text, &err);
    if (!s) {
        sr_json_obj(&w, NULL);
        sr_json_strn(&w, "content", text.p ? text.p : "", text.n); /* llama.cpp's name */
        sr_json_strn(&w, "prompt", text.p ? text.p : "", text.n);  /* vLLM's */
        sr_json_end(&w);
    }
    sr_ids_end(&ids);
    sr_buf_end(&text);
    if (s)
        return sr_api_fail_err(e, s, err.msg, "tokens");
    return out->reply.failed ? nomem(e) : true;
}

bool sr_text_template(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    sr_buf   text = {0};
    sr_jsonw w    = {.out = &out->reply};
    bool ok = sr_params_read(env, SR_API_CHAT, root, &out->arena, &out->params, e) &&
              sr_chat_text(env, root, out, &text, e);
    if (ok) {
        sr_json_obj(&w, NULL);
        sr_json_strn(&w, "prompt", text.p ? text.p : "", text.n);
        sr_json_end(&w);
    }
    sr_buf_end(&text);
    return ok && out->reply.failed ? nomem(e) : ok;
}
