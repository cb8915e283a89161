/* dialect_completions.c - POST /v1/completions: text and nothing but text. */
#include "serve/dialect_openai.h"

static void begin(sr_call *k, sr_buf *o)
{
    (void)o;
    sr_openai_prefix(k, "text_completion");
}

static void piece(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o)
{
    sr_openai_open_choice(k, l, o);
    sr_buf_str(o, "\"text\":");
    sr_json_quote(o, p, x->n);
    sr_buf_char(o, ',');
    sr_openai_logprobs(l, o);
    sr_buf_str(o, "\"finish_reason\":null");
    sr_openai_close_choice(k, o);
}

static void finish(sr_call *k, sr_lane *l, sr_buf *o)
{
    sr_openai_open_choice(k, l, o);
    sr_buf_fmt(o, "\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"%s\"", sr_openai_finish(k, l));
    sr_openai_close_choice(k, o);
}

static void choice(const sr_call *k, const sr_lane *l, sr_jsonw *w)
{
    (void)k;
    sr_json_strn(w, "text", l->out.bytes.p ? l->out.bytes.p : "", l->out.bytes.n); /* all pieces are text */
}

static void whole(sr_call *k, sr_buf *o) { sr_openai_whole(k, "text_completion", choice, o); }

const sr_dialect sr_dialect_completions = {
    .id = "cmpl-", .type = "text/event-stream", .ping = ": ping\n\n",
    .begin = begin, .piece = piece, .finish = finish, .end = sr_openai_end, .fail = sr_openai_fail, .whole = whole, .progress = sr_openai_progress,
};
