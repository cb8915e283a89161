/* dialect_responses.c - POST /v1/responses: a response of output items, nothing stored.
 *
 *     response.created, response.in_progress,
 *     ( response.output_item.added, its content in parts and deltas, response.output_item.done )*,
 *     response.completed or response.incomplete
 *
 * Every event has a sequence_number, every one of an item its output_index and item_id, every one of a part its
 * content_index: clients drop what has none.  One choice, one lane; an item is a run of pieces of one kind.
 */
#include <stdio.h>
#include <string.h>

#include "base/siphash.h"
#include "serve/answer.h"
#include "serve/json_in.h"

static void item_id(const sr_call *k, sr_piecekind kind, uint32_t item, char out[48])
{
    uint64_t r[2] = {k->tag, item};
    snprintf(out, 48, "%s_%016llx%016llx", kind == SR_P_CALL ? "fc" : kind == SR_P_THOUGHT ? "rs" : "msg",
             (unsigned long long)sr_siphash64(k->s->env.secret, r, sizeof r), (unsigned long long)k->tag);
}

/* ---- objects --------------------------------------------------------------------------------------------- */

static void text_part(const char *key, const char *p, size_t n, bool thought, sr_jsonw *w)
{
    sr_json_obj(w, key);
    sr_json_str(w, "type", thought ? "reasoning_text" : "output_text");
    sr_json_strn(w, "text", p, n);
    if (!thought) {
        sr_json_arr(w, "annotations");
        sr_json_end(w);
        sr_json_arr(w, "logprobs");
        sr_json_end(w);
    }
    sr_json_end(w);
}

typedef struct {
    uint32_t    index, call;           /* output_index */
    sr_piecekind kind;                 /* TEXT, THOUGHT or CALL */
    const char *name; size_t n_name;   /* of a call */
    const char *p;    size_t n;        /* text, or the arguments of a call */
} item;

/* begun: only what is known when the item is announced. */
static void item_json(const sr_call *k, const char *key, const item *x, const char *status, bool begun, sr_jsonw *w)
{
    char id[48];
    item_id(k, x->kind, x->index, id);
    sr_json_obj(w, key);
    sr_json_str(w, "id", id);
    sr_json_str(w, "type", x->kind == SR_P_CALL ? "function_call" : x->kind == SR_P_THOUGHT ? "reasoning" : "message");
    sr_json_str(w, "status", status);
    if (x->kind == SR_P_CALL) {
        sr_answer_toolid(k, &k->lane[0], x->call, "call_", id);
        sr_json_str(w, "call_id", id);
        sr_json_strn(w, "name", x->name, x->n_name);
        sr_json_strn(w, "arguments", begun ? "" : x->p, begun ? 0 : x->n);
        sr_json_end(w);
        return;
    }
    if (x->kind == SR_P_THOUGHT) {
        sr_json_arr(w, "summary");
        sr_json_end(w);
    } else {
        sr_json_str(w, "role", "assistant");
    }
    sr_json_arr(w, "content");
    if (!begun)
        text_part(NULL, x->p, x->n, x->kind == SR_P_THOUGHT, w);
    sr_json_end(w);
    sr_json_end(w);
}

/* The item that piece i of q begins. */
static item item_at(const sr_pieces *q, uint32_t i, uint32_t index)
{
    sr_piece x = sr_pieces_at(q, i);
    item     y = {.index = index, .call = x.call, .kind = x.kind, .p = sr_pieces_text(q, &x), .n = x.n};
    if (x.kind != SR_P_CALL)
        return y;
    y.name = y.p, y.n_name = y.n;
    y.p = "", y.n = 0;
    if (i + 1 < q->n && sr_pieces_at(q, i + 1).kind == SR_P_ARGS) {
        sr_piece a = sr_pieces_at(q, i + 1);
        y.p = sr_pieces_text(q, &a), y.n = a.n;
    }
    return y;
}

static void output(const sr_call *k, const sr_pieces *q, const char *last_status, sr_jsonw *w)
{
    uint32_t index = 0, n = 0;
    for (uint32_t i = 0; i < q->n; i++)
        n += sr_pieces_at(q, i).kind != SR_P_ARGS;
    sr_json_arr(w, "output");
    for (uint32_t i = 0; i < q->n; i++) {
        if (sr_pieces_at(q, i).kind == SR_P_ARGS)
            continue;
        item x = item_at(q, i, index++);
        item_json(k, NULL, &x, index == n ? last_status : "completed", false, w);
    }
    if (!n)
        item_json(k, NULL, &(item){.kind = SR_P_TEXT, .p = ""}, last_status, false, w);
    sr_json_end(w);
}

static void usage(const sr_call *k, sr_jsonw *w)
{
    sr_usage u = sr_answer_usage(k);
    sr_json_obj(w, "usage");
    sr_json_uint(w, "input_tokens", u.prompt);
    sr_json_obj(w, "input_tokens_details");
    sr_json_uint(w, "cached_tokens", u.cached);
    sr_json_end(w);
    sr_json_uint(w, "output_tokens", u.made);
    sr_json_obj(w, "output_tokens_details");
    sr_json_uint(w, "reasoning_tokens", u.thought);
    sr_json_end(w);
    sr_json_uint(w, "total_tokens", u.prompt + u.made);
    sr_json_end(w);
}

/* A member of the request, or what holds without it (JSON text). */
static void echo(const sr_call *k, const char *key, const char *otherwise, sr_jsonw *w)
{
    const json_t *v = json_object_get(k->prep.echo, key);
    sr_json_raw(w, key, v ? "" : otherwise, v ? 0 : strlen(otherwise));
    if (v && !sr_json_dump(v, w->out))
        w->out->failed = true;
}

/* q NULL: nothing has been made yet. */
static void response(const sr_call *k, const char *status, const sr_pieces *q, const sr_apierr *e, sr_jsonw *w)
{
    bool incomplete = !strcmp(status, "incomplete");
    sr_json_str(w, "id", k->id);
    sr_json_str(w, "object", "response");
    sr_json_int(w, "created_at", k->created);
    sr_json_str(w, "status", status);
    sr_json_bool(w, "background", false);
    if (e) {
        sr_json_obj(w, "error");
        sr_json_str(w, "code", e->code ? e->code : "server_error");
        sr_json_str(w, "message", e->msg);
        sr_json_end(w);
    } else {
        sr_json_null(w, "error");
    }
    sr_json_raw(w, "incomplete_details", incomplete ? "{\"reason\":\"max_output_tokens\"}" : "null",
                incomplete ? 30 : 4);
    sr_json_str(w, "model", k->s->cfg.model_id);
    if (q) {
        output(k, q, incomplete ? "incomplete" : "completed", w);
    } else {
        sr_json_arr(w, "output");
        sr_json_end(w);
    }
    echo(k, "instructions", "null", w);
    echo(k, "max_output_tokens", "null", w);
    echo(k, "metadata", "{}", w);
    echo(k, "parallel_tool_calls", "true", w);
    sr_json_null(w, "previous_response_id");
    echo(k, "reasoning", "{\"effort\":null,\"summary\":null}", w);
    sr_json_bool(w, "store", false);
    echo(k, "temperature", "1", w);
    echo(k, "text", "{\"format\":{\"type\":\"text\"}}", w);
    echo(k, "tool_choice", "\"auto\"", w);
    echo(k, "tools", "[]", w);
    echo(k, "top_p", "1", w);
    echo(k, "truncation", "\"disabled\"", w);
    if (q)
        usage(k, w);
    else
        sr_json_null(w, "usage");
    echo(k, "user", "null", w);
}

/* ---- a stream -------------------------------------------------------------------------------------------- */

static void open_event(sr_call *k, const char *name, sr_jsonw *w)
{
    sr_buf_fmt(w->out, "event: %s\ndata: ", name);
    sr_json_obj(w, NULL);
    sr_json_str(w, "type", name);
    sr_json_uint(w, "sequence_number", k->n_event++);
}

static void close_event(sr_jsonw *w)
{
    sr_json_end(w);
    sr_buf_str(w->out, "\n\n");
}

static void response_event(sr_call *k, const char *name, const char *status, const sr_pieces *q, const sr_apierr *e,
                           sr_buf *o)
{
    sr_jsonw w = {.out = o};
    open_event(k, name, &w);
    sr_json_obj(&w, "response");
    response(k, status, q, e, &w);
    sr_json_end(&w);
    close_event(&w);
}

static void begin(sr_call *k, sr_buf *o)
{
    response_event(k, "response.created", "in_progress", NULL, NULL, o);
    response_event(k, "response.in_progress", "in_progress", NULL, NULL, o);
}

static void item_event(sr_call *k, const char *name, const item *x, const char *status, bool begun, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    open_event(k, name, &w);
    sr_json_uint(&w, "output_index", x->index);
    item_json(k, "item", x, status, begun, &w);
    close_event(&w);
}

/* An event of an item's content: the item's id, its index and, where it has parts, the part's. */
static void open_content(sr_call *k, const char *name, sr_piecekind kind, uint32_t index, sr_jsonw *w)
{
    char id[48];
    item_id(k, kind, index, id);
    open_event(k, name, w);
    sr_json_str(w, "item_id", id);
    sr_json_uint(w, "output_index", index);
    if (kind != SR_P_CALL)
        sr_json_uint(w, "content_index", 0);
}

static void part_event(sr_call *k, const char *name, const item *x, bool begun, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    open_content(k, name, x->kind, x->index, &w);
    text_part("part", begun ? "" : x->p, begun ? 0 : x->n, x->kind == SR_P_THOUGHT, &w);
    close_event(&w);
}

static void text_event(sr_call *k, const char *name, sr_piecekind kind, uint32_t index, const char *member,
                       const char *p, size_t n, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    open_content(k, name, kind, index, &w);
    sr_json_strn(&w, member, p, n);
    if (kind == SR_P_TEXT) {
        sr_json_arr(&w, "logprobs");
        sr_json_end(&w);
    }
    close_event(&w);
}

static void open_item(sr_call *k, sr_lane *l, const item *x, sr_buf *o)
{
    l->block = (uint8_t)(1 + x->kind);
    l->n_block++;
    item_event(k, "response.output_item.added", x, "in_progress", true, o);
    if (x->kind != SR_P_CALL)
        part_event(k, "response.content_part.added", x, true, o);
}

/* What the item said stands at the end of l->kept: pieces of one kind are one there. */
static void close_item(sr_call *k, sr_lane *l, const char *status, sr_buf *o)
{
    if (!l->block)
        return;
    uint32_t at = l->kept.n;
    while (at > 0 && sr_pieces_at(&l->kept, at - 1).kind == SR_P_ARGS)
        at--;
    item x = at ? item_at(&l->kept, at - 1, l->n_block - 1) : (item){.kind = SR_P_TEXT, .p = ""};
    if (x.kind == SR_P_CALL)
        text_event(k, "response.function_call_arguments.done", x.kind, x.index, "arguments", x.p, x.n, o);
    else if (x.kind == SR_P_THOUGHT)
        text_event(k, "response.reasoning_text.done", x.kind, x.index, "text", x.p, x.n, o);
    else
        text_event(k, "response.output_text.done", x.kind, x.index, "text", x.p, x.n, o);
    if (x.kind != SR_P_CALL)
        part_event(k, "response.content_part.done", &x, false, o);
    item_event(k, "response.output_item.done", &x, status, false, o);
    l->block = 0;
}

static void piece(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o)
{
    if (x->kind == SR_P_ARGS) {
        text_event(k, "response.function_call_arguments.delta", SR_P_CALL, l->n_block - 1, "delta", p, x->n, o);
        return;
    }
    if (x->kind == SR_P_CALL || l->block != 1 + x->kind) {
        close_item(k, l, "completed", o);
        open_item(k, l,
                  &(item){.index = l->n_block, .call = x->call, .kind = x->kind, .name = p, .n_name = x->n, .p = ""},
                  o);
    }
    if (x->kind == SR_P_TEXT)
        text_event(k, "response.output_text.delta", x->kind, l->n_block - 1, "delta", p, x->n, o);
    else if (x->kind == SR_P_THOUGHT)
        text_event(k, "response.reasoning_text.delta", x->kind, l->n_block - 1, "delta", p, x->n, o);
}

static void finish(sr_call *k, sr_lane *l, sr_buf *o)
{
    bool cut = l->finish == SR_FIN_LENGTH;
    if (!l->n_block)
        open_item(k, l, &(item){.kind = SR_P_TEXT, .p = ""}, o);
    close_item(k, l, cut ? "incomplete" : "completed", o);
}

static void end(sr_call *k, sr_buf *o)
{
    bool cut = k->lane[0].finish == SR_FIN_LENGTH;
    response_event(k, cut ? "response.incomplete" : "response.completed", cut ? "incomplete" : "completed",
                   &k->lane[0].kept, NULL, o);
}

static void fail(sr_call *k, const sr_apierr *e, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    response_event(k, "response.failed", "failed", NULL, e, o);
    open_event(k, "error", &w); /* SDKs raise on this one */
    sr_json_str(&w, "code", e->code ? e->code : "server_error");
    sr_json_str(&w, "message", e->msg);
    sr_json_null(&w, "param");
    close_event(&w);
}

static void whole(sr_call *k, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    sr_json_obj(&w, NULL);
    response(k, k->lane[0].finish == SR_FIN_LENGTH ? "incomplete" : "completed", &k->lane[0].out, NULL, &w);
    sr_json_end(&w);
}

const sr_dialect sr_dialect_responses = {
    .id = "resp_", .type = "text/event-stream", .ping = ": ping\n\n", .keeps = true,
    .begin = begin, .piece = piece, .finish = finish, .end = end, .fail = fail, .whole = whole,
};
