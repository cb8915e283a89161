/* dialect_anthropic.c - POST /v1/messages: a message of content blocks.
 *
 *     message_start, (content_block_start, content_block_delta.., content_block_stop)*, message_delta, message_stop
 *
 * One choice, one lane.  An answer always has a block: an empty one has one of empty text.
 */
#include "serve/answer.h"

static void open_event(const char *name, sr_jsonw *w)
{
    sr_buf_fmt(w->out, "event: %s\ndata: ", name);
    sr_json_obj(w, NULL);
    sr_json_str(w, "type", name);
}

static void close_event(sr_jsonw *w)
{
    sr_json_end(w);
    sr_buf_str(w->out, "\n\n");
}

static void usage(const sr_call *k, sr_jsonw *w)
{
    sr_usage u = sr_answer_usage(k);
    sr_json_obj(w, "usage");
    sr_json_uint(w, "input_tokens", u.prompt - u.cached); /* those that were computed, as Anthropic counts */
    sr_json_uint(w, "cache_creation_input_tokens", 0);
    sr_json_uint(w, "cache_read_input_tokens", u.cached);
    sr_json_uint(w, "output_tokens", u.made);
    sr_json_end(w);
}

static void stop_reason(const sr_call *k, const sr_lane *l, sr_jsonw *w)
{
    const sr_params *q = &k->prep.params;
    bool by_string = l->finish == SR_FIN_STOP && l->stopped && l->stopped <= q->n_stop;
    sr_json_str(w, "stop_reason", l->finish == SR_FIN_TOOLS    ? "tool_use"
                                  : l->finish == SR_FIN_LENGTH ? "max_tokens"
                                  : by_string                  ? "stop_sequence"
                                                               : "end_turn");
    if (by_string)
        sr_json_strn(w, "stop_sequence", q->stop[l->stopped - 1].p, q->stop[l->stopped - 1].n);
    else
        sr_json_null(w, "stop_sequence");
}

static void head(const sr_call *k, sr_jsonw *w)
{
    sr_json_str(w, "id", k->id);
    sr_json_str(w, "type", "message");
    sr_json_str(w, "role", "assistant");
    sr_json_str(w, "model", k->s->cfg.model_id);
}

/* ---- a stream -------------------------------------------------------------------------------------------- */

static void begin(sr_call *k, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    open_event("message_start", &w);
    sr_json_obj(&w, "message");
    head(k, &w);
    sr_json_arr(&w, "content");
    sr_json_end(&w);
    sr_json_null(&w, "stop_reason");
    sr_json_null(&w, "stop_sequence");
    usage(k, &w);
    sr_json_end(&w);
    close_event(&w);
}

enum { NO_BLOCK, TEXT = 1 + SR_P_TEXT, THOUGHT = 1 + SR_P_THOUGHT, CALL = 1 + SR_P_CALL };

static void delta(const sr_lane *l, const char *type, const char *member, const char *p, size_t n, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    open_event("content_block_delta", &w);
    sr_json_uint(&w, "index", l->n_block - 1);
    sr_json_obj(&w, "delta");
    sr_json_str(&w, "type", type);
    sr_json_strn(&w, member, p, n);
    sr_json_end(&w);
    close_event(&w);
}

static void close_block(sr_lane *l, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    if (!l->block)
        return;
    if (l->block == THOUGHT)
        delta(l, "signature_delta", "signature", "", 0, o); /* clients expect one; there is nothing to sign */
    open_event("content_block_stop", &w);
    sr_json_uint(&w, "index", l->n_block - 1);
    close_event(&w);
    l->block = NO_BLOCK;
}

static void open_block(sr_call *k, sr_lane *l, sr_piecekind kind, uint32_t call, const char *name, size_t n, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    char     id[48];
    close_block(l, o);
    l->block = (uint8_t)(1 + kind);
    open_event("content_block_start", &w);
    sr_json_uint(&w, "index", l->n_block++);
    sr_json_obj(&w, "content_block");
    if (kind == SR_P_CALL) {
        sr_answer_toolid(k, l, call, "toolu_", id);
        sr_json_str(&w, "type", "tool_use");
        sr_json_str(&w, "id", id);
        sr_json_strn(&w, "name", name, n);
        sr_json_obj(&w, "input");
        sr_json_end(&w);
    } else if (kind == SR_P_THOUGHT) {
        sr_json_str(&w, "type", "thinking");
        sr_json_str(&w, "thinking", "");
        sr_json_str(&w, "signature", "");
    } else {
        sr_json_str(&w, "type", "text");
        sr_json_str(&w, "text", "");
    }
    sr_json_end(&w);
    close_event(&w);
}

static void piece(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o)
{
    if (x->kind == SR_P_ARGS) {
        delta(l, "input_json_delta", "partial_json", p, x->n, o);
        return;
    }
    if (x->kind == SR_P_CALL || l->block != 1 + x->kind)
        open_block(k, l, x->kind, x->call, p, x->n, o);
    if (x->kind == SR_P_TEXT)
        delta(l, "text_delta", "text", p, x->n, o);
    else if (x->kind == SR_P_THOUGHT)
        delta(l, "thinking_delta", "thinking", p, x->n, o);
}

static void finish(sr_call *k, sr_lane *l, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    if (!l->n_block)
        open_block(k, l, SR_P_TEXT, 0, NULL, 0, o);
    close_block(l, o);
    open_event("message_delta", &w);
    sr_json_obj(&w, "delta");
    stop_reason(k, l, &w);
    sr_json_end(&w);
    usage(k, &w);
    close_event(&w);
}

static void end(sr_call *k, sr_buf *o)
{
    (void)k;
    sr_buf_str(o, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void fail(sr_call *k, const sr_apierr *e, sr_buf *o)
{
    (void)k;
    sr_buf_str(o, "event: error\ndata: ");
    sr_api_error_json(e, o);
    sr_buf_str(o, "\n\n");
}

/* ---- a whole answer -------------------------------------------------------------------------------------- */

static void block(const sr_call *k, const sr_lane *l, uint32_t i, sr_jsonw *w)
{
    sr_piece    x = sr_pieces_at(&l->out, i), args = {0};
    const char *p = sr_pieces_text(&l->out, &x);
    char        id[48];
    sr_json_obj(w, NULL);
    if (x.kind == SR_P_CALL) {
        if (i + 1 < l->out.n && sr_pieces_at(&l->out, i + 1).kind == SR_P_ARGS)
            args = sr_pieces_at(&l->out, i + 1);
        sr_answer_toolid(k, l, x.call, "toolu_", id);
        sr_json_str(w, "type", "tool_use");
        sr_json_str(w, "id", id);
        sr_json_strn(w, "name", p, x.n);
        sr_answer_args(w, "input", sr_pieces_text(&l->out, &args), args.n);
    } else if (x.kind == SR_P_THOUGHT) {
        sr_json_str(w, "type", "thinking");
        sr_json_strn(w, "thinking", p, x.n);
        sr_json_str(w, "signature", "");
    } else {
        sr_json_str(w, "type", "text");
        sr_json_strn(w, "text", p, x.n);
    }
    sr_json_end(w);
}

static void whole(sr_call *k, sr_buf *o)
{
    const sr_lane *l = &k->lane[0];
    sr_jsonw w = {.out = o};
    sr_json_obj(&w, NULL);
    head(k, &w);
    sr_json_arr(&w, "content");
    for (uint32_t i = 0; i < l->out.n; i++)
        if (sr_pieces_at(&l->out, i).kind != SR_P_ARGS)
            block(k, l, i, &w);
    if (!l->out.n) {
        sr_json_obj(&w, NULL);
        sr_json_str(&w, "type", "text");
        sr_json_str(&w, "text", "");
        sr_json_end(&w);
    }
    sr_json_end(&w);
    stop_reason(k, l, &w);
    usage(k, &w);
    sr_json_end(&w);
}

const sr_dialect sr_dialect_anthropic = {
    .id = "msg_", .type = "text/event-stream", .ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    .begin = begin, .piece = piece, .finish = finish, .end = end, .fail = fail, .whole = whole,
};
