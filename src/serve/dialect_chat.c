/* dialect_chat.c - POST /v1/chat/completions: content, reasoning_content, tool_calls. */
#include "serve/dialect_openai.h"

static const char REST[] = "},\"logprobs\":null,\"finish_reason\":null"; /* the choice is still open */

static void begin(sr_call *k, sr_buf *o)
{
    sr_openai_prefix(k, "chat.completion.chunk");
    for (uint32_t i = 0; i < k->n_lane; i++) {
        sr_openai_open_choice(k, &k->lane[i], o);
        sr_buf_str(o, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"");
        sr_buf_str(o, REST);
        sr_openai_close_choice(k, o);
    }
}

static void words(sr_call *k, sr_lane *l, const char *member, const char *p, size_t n, sr_buf *o)
{
    sr_openai_open_choice(k, l, o);
    sr_buf_fmt(o, "\"delta\":{\"%s\":", member);
    sr_json_quote(o, p, n);
    sr_buf_str(o, "},");
    sr_openai_logprobs(l, o);
    sr_buf_str(o, "\"finish_reason\":null");
    sr_openai_close_choice(k, o);
}

/* The form of 2023: no index, no id, the name first. */
static void function(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o)
{
    bool name = x->kind == SR_P_CALL;
    sr_openai_open_choice(k, l, o);
    sr_buf_str(o, name ? "\"delta\":{\"function_call\":{\"name\":" : "\"delta\":{\"function_call\":{\"arguments\":");
    sr_json_quote(o, p, x->n);
    sr_buf_str(o, name ? ",\"arguments\":\"\"}" : "}");
    sr_buf_str(o, REST);
    sr_openai_close_choice(k, o);
}

/* The first delta of a call has its index, id, type and name; the others its index and arguments alone. */
static void tool(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o)
{
    char id[48];
    if (k->prep.params.functions) {
        function(k, l, x, p, o);
        return;
    }
    sr_openai_open_choice(k, l, o);
    sr_buf_fmt(o, "\"delta\":{\"tool_calls\":[{\"index\":%u,", x->call);
    if (x->kind == SR_P_CALL) {
        sr_answer_toolid(k, l, x->call, "call_", id);
        sr_buf_fmt(o, "\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", id);
        sr_json_quote(o, p, x->n);
        sr_buf_str(o, ",\"arguments\":\"\"}}]");
    } else {
        sr_buf_str(o, "\"function\":{\"arguments\":");
        sr_json_quote(o, p, x->n);
        sr_buf_str(o, "}}]");
    }
    sr_buf_str(o, REST);
    sr_openai_close_choice(k, o);
}

static void piece(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o)
{
    if (x->kind == SR_P_CALL || x->kind == SR_P_ARGS)
        tool(k, l, x, p, o);
    else
        words(k, l, x->kind == SR_P_THOUGHT ? "reasoning_content" : "content", p, x->n, o);
}

static void finish(sr_call *k, sr_lane *l, sr_buf *o)
{
    sr_openai_open_choice(k, l, o);
    sr_buf_fmt(o, "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"", sr_openai_finish(k, l));
    sr_openai_close_choice(k, o);
}

/* Call i: its name and arguments, as a member of this name. */
static void called(const sr_lane *l, uint32_t i, const char *member, sr_jsonw *w)
{
    sr_piece x = sr_pieces_at(&l->out, i), args = {0};
    if (i + 1 < l->out.n && sr_pieces_at(&l->out, i + 1).kind == SR_P_ARGS)
        args = sr_pieces_at(&l->out, i + 1);
    sr_json_obj(w, member);
    sr_json_strn(w, "name", sr_pieces_text(&l->out, &x), x.n);
    sr_json_strn(w, "arguments", sr_pieces_text(&l->out, &args), args.n);
    sr_json_end(w);
}

static void tool_calls(const sr_call *k, const sr_lane *l, sr_jsonw *w)
{
    char id[48];
    bool old = k->prep.params.functions; /* one call, no list */
    if (!old)
        sr_json_arr(w, "tool_calls");
    for (uint32_t i = 0; i < l->out.n; i++) {
        sr_piece x = sr_pieces_at(&l->out, i);
        if (x.kind != SR_P_CALL)
            continue;
        if (old) {
            called(l, i, "function_call", w);
            return;
        }
        sr_answer_toolid(k, l, x.call, "call_", id);
        sr_json_obj(w, NULL);
        sr_json_str(w, "id", id);
        sr_json_str(w, "type", "function");
        called(l, i, "function", w);
        sr_json_end(w);
    }
    sr_json_end(w);
}

static void choice(const sr_call *k, const sr_lane *l, sr_jsonw *w)
{
    sr_buf content = {0}, thoughts = {0};
    bool   calls = sr_pieces_join(&l->out, &content, &thoughts);
    sr_json_obj(w, "message");
    sr_json_str(w, "role", "assistant");
    if (content.n || !calls)
        sr_json_strn(w, "content", content.p ? content.p : "", content.n);
    else
        sr_json_null(w, "content");
    if (thoughts.n)
        sr_json_strn(w, "reasoning_content", thoughts.p, thoughts.n);
    sr_json_null(w, "refusal");
    if (calls)
        tool_calls(k, l, w);
    sr_json_end(w);
    w->out->failed |= content.failed || thoughts.failed;
    sr_buf_end(&content);
    sr_buf_end(&thoughts);
}

static void whole(sr_call *k, sr_buf *o) { sr_openai_whole(k, "chat.completion", choice, o); }

const sr_dialect sr_dialect_chat = {
    .id = "chatcmpl-", .type = "text/event-stream", .ping = ": ping\n\n",
    .begin = begin, .piece = piece, .finish = finish, .end = sr_openai_end, .fail = sr_openai_fail, .whole = whole, .progress = sr_openai_progress,
};
