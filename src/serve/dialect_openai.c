/* dialect_openai.c - frames and answers in OpenAI's form.
 *
 * A frame is "data: ", one line of JSON, an empty line; chat and completions carry no other field, and keep-alives
 * are comments: clients in the field fail on more.  The part that every frame of a request has in common is
 * written once (prefix).
 */
#include "serve/dialect_openai.h"

const char *sr_openai_finish(const sr_call *k, const sr_lane *l)
{
    static const char *const words[] = {"stop", "stop", "length", "tool_calls"}; /* by sr_finish */
    return l->finish == SR_FIN_TOOLS && k->prep.params.functions ? "function_call" : words[l->finish];
}

void sr_openai_prefix(sr_call *k, const char *object)
{
    sr_buf  *o = &k->prefix;
    sr_jsonw w = {.out = o};
    sr_buf_str(o, "data: ");
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "id", k->id);
    sr_json_str(&w, "object", object);
    sr_json_int(&w, "created", k->created);
    sr_json_str(&w, "model", k->s->cfg.model_id);
    sr_json_str(&w, "system_fingerprint", k->s->fingerprint);
    sr_buf_str(o, ",\"choices\":[");
}

void sr_openai_open_choice(const sr_call *k, const sr_lane *l, sr_buf *o)
{
    sr_buf_add(o, k->prefix.p, k->prefix.n);
    o->failed |= k->prefix.failed;
    if (l->index < 10)
        sr_buf_add(o, (char[]){'{', '"', 'i', 'n', 'd', 'e', 'x', '"', ':', (char)('0' + l->index), ','}, 11);
    else
        sr_buf_fmt(o, "{\"index\":%u,", l->index);
}

/* ,"usage":{..}} */
static void put_usage(const sr_call *k, sr_buf *o)
{
    sr_buf   u = {0};
    sr_jsonw w = {.out = &u};
    sr_json_obj(&w, NULL);
    sr_openai_usage(k, &w);
    sr_json_end(&w);
    sr_buf_char(o, ',');
    if (u.n)
        sr_buf_add(o, u.p + 1, u.n - 1); /* without the brace that opens */
    o->failed |= u.failed;
    sr_buf_end(&u);
}

void sr_openai_close_choice(const sr_call *k, sr_buf *o)
{
    sr_buf_str(o, "}]");
    if (k->prep.params.usage_always)
        put_usage(k, o);
    else
        sr_buf_char(o, '}');
    sr_buf_str(o, "\n\n");
}

void sr_openai_logprobs(sr_lane *l, sr_buf *o)
{
    if (!l->lp || !l->lp->n) {
        sr_buf_str(o, "\"logprobs\":null,");
        return;
    }
    sr_buf_str(o, "\"logprobs\":");
    sr_logprobs_write(l->lp, o);
    sr_buf_char(o, ',');
    sr_logprobs_clear(l->lp);
}

void sr_openai_end(sr_call *k, sr_buf *o)
{
    if (k->prep.params.include_usage) {
        sr_buf_add(o, k->prefix.p, k->prefix.n);
        sr_buf_char(o, ']');
        put_usage(k, o);
        sr_buf_str(o, "\n\n");
    }
    sr_buf_str(o, "data: [DONE]\n\n");
}

void sr_openai_fail(sr_call *k, const sr_apierr *e, sr_buf *o)
{
    (void)k;
    sr_buf_str(o, "data: ");
    sr_api_error_json(e, o);
    sr_buf_str(o, "\n\ndata: [DONE]\n\n"); /* clients that skip the error still learn that this is the end */
}

void sr_openai_usage(const sr_call *k, sr_jsonw *w)
{
    sr_usage u = sr_answer_usage(k);
    sr_json_obj(w, "usage");
    sr_json_uint(w, "prompt_tokens", u.prompt);
    sr_json_uint(w, "completion_tokens", u.made);
    sr_json_uint(w, "total_tokens", u.prompt + u.made);
    sr_json_obj(w, "prompt_tokens_details");
    sr_json_uint(w, "cached_tokens", u.cached);
    sr_json_end(w);
    sr_json_obj(w, "completion_tokens_details");
    sr_json_uint(w, "reasoning_tokens", u.thought);
    sr_json_uint(w, "accepted_prediction_tokens", u.accepted);
    sr_json_uint(w, "rejected_prediction_tokens", u.rejected);
    if (u.blocks_skipped || u.exited) { /* strata's own, and only where it was asked for */
        sr_json_num(w, "layers_skipped", (double)u.blocks_skipped / 2);
        sr_json_uint(w, "early_exit_tokens", u.exited);
    }
    sr_json_end(w);
    sr_json_end(w);
}

void sr_openai_progress(sr_call *k, uint32_t part, uint32_t n_tok, sr_buf *o)
{
    uint64_t ns = sr_serve_now(k->s) - k->started_ns;
    sr_buf_add(o, k->prefix.p, k->prefix.n);
    sr_buf_fmt(o, "],\"prompt_progress\":{\"total\":%zu,\"cache\":%u,\"processed\":%u,\"time_ms\":%llu}}\n\n",
               k->prep.prompt[part].ids.n, k->part[part].cached, n_tok, (unsigned long long)(ns / 1000000));
}

void sr_openai_whole(const sr_call *k, const char *object,
                     void (*choice)(const sr_call *k, const sr_lane *l, sr_jsonw *w), sr_buf *o)
{
    sr_jsonw w = {.out = o};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "id", k->id);
    sr_json_str(&w, "object", object);
    sr_json_int(&w, "created", k->created);
    sr_json_str(&w, "model", k->s->cfg.model_id);
    sr_json_arr(&w, "choices");
    for (uint32_t i = 0; i < k->n_lane; i++) {
        const sr_lane *l = &k->lane[i];
        sr_json_obj(&w, NULL);
        sr_json_uint(&w, "index", l->index);
        choice(k, l, &w);
        if (l->lp) {
            sr_json_raw(&w, "logprobs", "", 0);
            sr_logprobs_write(l->lp, o);
        } else {
            sr_json_null(&w, "logprobs");
        }
        sr_json_str(&w, "finish_reason", sr_openai_finish(k, l));
        sr_json_end(&w);
    }
    sr_json_end(&w);
    sr_openai_usage(k, &w);
    sr_json_str(&w, "system_fingerprint", k->s->fingerprint);
    sr_json_end(&w);
}
