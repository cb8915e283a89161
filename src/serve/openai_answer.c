/* openai_answer.c - a whole (not streamed) answer. */
#include "serve/answer.h"

void sr_usage_json(const sr_call *k, sr_jsonw *w)
{
    uint64_t prompt = 0, made = 0, cached = 0, accepted = 0, drafted = 0;
    for (uint32_t i = 0; i < k->n_part; i++) {
        prompt += k->prep.prompt[i].ids.n;
        cached += k->part[i].cached;
        accepted += k->part[i].accepted;
        drafted += k->part[i].drafted;
    }
    for (uint32_t i = 0; i < k->n_lane; i++)
        made += k->lane[i].n_tok;
    sr_json_obj(w, "usage");
    sr_json_uint(w, "prompt_tokens", prompt);
    sr_json_uint(w, "completion_tokens", made);
    sr_json_uint(w, "total_tokens", prompt + made);
    sr_json_obj(w, "prompt_tokens_details");
    sr_json_uint(w, "cached_tokens", cached);
    sr_json_end(w);
    sr_json_obj(w, "completion_tokens_details");
    sr_json_uint(w, "reasoning_tokens", 0);
    sr_json_uint(w, "accepted_prediction_tokens", accepted);
    sr_json_uint(w, "rejected_prediction_tokens", drafted - accepted);
    sr_json_end(w);
    sr_json_end(w);
}

static void choice(const sr_call *k, const sr_lane *l, sr_jsonw *w)
{
    sr_json_obj(w, NULL);
    sr_json_uint(w, "index", l->index);
    if (k->api == SR_API_CHAT) {
        sr_json_obj(w, "message");
        sr_json_str(w, "role", "assistant");
        sr_json_strn(w, "content", l->text.p ? l->text.p : "", l->text.n);
        sr_json_null(w, "refusal");
        sr_json_end(w);
    } else {
        sr_json_strn(w, "text", l->text.p ? l->text.p : "", l->text.n);
    }
    if (l->lp) {
        sr_json_raw(w, "logprobs", "", 0);
        sr_logprobs_write(l->lp, w->out);
    } else {
        sr_json_null(w, "logprobs");
    }
    sr_json_str(w, "finish_reason", l->finish);
    sr_json_end(w);
}

void sr_answer_json(const sr_call *k, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "id", k->id);
    sr_json_str(&w, "object", k->api == SR_API_CHAT ? "chat.completion" : "text_completion");
    sr_json_int(&w, "created", k->created);
    sr_json_str(&w, "model", k->s->cfg.model_id);
    sr_json_arr(&w, "choices");
    for (uint32_t i = 0; i < k->n_lane; i++)
        choice(k, &k->lane[i], &w);
    sr_json_end(&w);
    sr_usage_json(k, &w);
    sr_json_str(&w, "system_fingerprint", k->s->fingerprint);
    sr_json_end(&w);
}
