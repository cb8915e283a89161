/* sse.c - the frames of a streamed answer.
 *
 * A frame is "data: ", one line of JSON, an empty line; chat and completions carry no other field, and keep-alives
 * are comments: clients in the field fail on more.  The part that every frame of a request has in common is
 * written once (prefix).
 */
#include "serve/answer.h"

void sr_sse_prefix(sr_call *k)
{
    sr_buf  *o = &k->prefix;
    sr_jsonw w = {.out = o};
    sr_buf_str(o, "data: ");
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "id", k->id);
    sr_json_str(&w, "object", k->api == SR_API_CHAT ? "chat.completion.chunk" : "text_completion");
    sr_json_int(&w, "created", k->created);
    sr_json_str(&w, "model", k->s->cfg.model_id);
    sr_json_str(&w, "system_fingerprint", k->s->fingerprint);
    sr_buf_str(o, ",\"choices\":[");
}

static void open_choice(const sr_call *k, const sr_lane *l, sr_buf *o)
{
    sr_buf_add(o, k->prefix.p, k->prefix.n);
    if (l->index < 10)
        sr_buf_add(o, (char[]){'{', '"', 'i', 'n', 'd', 'e', 'x', '"', ':', (char)('0' + l->index), ','}, 11);
    else
        sr_buf_fmt(o, "{\"index\":%u,", l->index);
}

void sr_sse_role(const sr_call *k, const sr_lane *l, sr_buf *o)
{
    open_choice(k, l, o);
    sr_buf_str(o, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
}

static void put_logprobs(sr_lane *l, sr_buf *o)
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

void sr_sse_text(const sr_call *k, sr_lane *l, sr_buf *o)
{
    open_choice(k, l, o);
    sr_buf_str(o, k->api == SR_API_CHAT ? "\"delta\":{\"content\":" : "\"text\":");
    sr_json_quote(o, l->text.p ? l->text.p : "", l->text.n);
    sr_buf_str(o, k->api == SR_API_CHAT ? "}," : ",");
    put_logprobs(l, o);
    sr_buf_str(o, "\"finish_reason\":null}]}\n\n");
    l->text.n = 0;
}

void sr_sse_finish(const sr_call *k, const sr_lane *l, sr_buf *o)
{
    open_choice(k, l, o);
    sr_buf_str(o, k->api == SR_API_CHAT ? "\"delta\":{}" : "\"text\":\"\"");
    sr_buf_fmt(o, ",\"logprobs\":null,\"finish_reason\":\"%s\"}]}\n\n", l->finish);
}

void sr_sse_end(const sr_call *k, sr_buf *o)
{
    if (k->prep.params.include_usage) {
        sr_buf   u = {0};
        sr_jsonw w = {.out = &u};
        sr_json_obj(&w, NULL);
        sr_usage_json(k, &w);
        sr_json_end(&w);
        sr_buf_add(o, k->prefix.p, k->prefix.n);
        sr_buf_str(o, "],");
        sr_buf_add(o, u.p + 1, u.n - 1); /* "usage":{..}} without the brace that opens */
        sr_buf_str(o, "\n\n");
        o->failed |= u.failed;
        sr_buf_end(&u);
    }
    sr_buf_str(o, "data: [DONE]\n\n");
}

void sr_sse_error(const sr_apierr *e, sr_buf *o)
{
    sr_buf_str(o, "data: ");
    sr_api_error_json(e, o);
    sr_buf_str(o, "\n\ndata: [DONE]\n\n"); /* clients that skip the error still learn that this is the end */
}
