/* dialect_ollama.c - POST /api/chat and /api/generate: a line of JSON for each piece, the last with "done" and times.
 *
 * Calls leave whole, as ollama's clients expect them: they are written when they are over.
 */
#include <time.h>

#include "serve/answer.h"
#include "serve/json_in.h"

static bool is_chat(const sr_call *k) { return k->api == SR_API_OLLAMA_CHAT; }

static void open_line(const sr_call *k, sr_jsonw *w)
{
    struct timespec now;
    char text[40];
    clock_gettime(CLOCK_REALTIME, &now);
    sr_json_time(now.tv_sec, now.tv_nsec, text);
    sr_json_obj(w, NULL);
    sr_json_str(w, "model", k->s->cfg.model_id);
    sr_json_str(w, "created_at", text);
}

static void close_line(sr_jsonw *w)
{
    sr_json_end(w);
    sr_buf_char(w->out, '\n');
}

static void words(const sr_call *k, const char *p, size_t n, const char *thought, size_t n_thought, sr_jsonw *w)
{
    sr_json_strn(w, is_chat(k) ? "content" : "response", p, n);
    if (n_thought)
        sr_json_strn(w, "thinking", thought, n_thought);
}

static void open_message(const sr_call *k, sr_jsonw *w)
{
    if (!is_chat(k))
        return;
    sr_json_obj(w, "message");
    sr_json_str(w, "role", "assistant");
}

static void call_json(const sr_pieces *q, uint32_t i, sr_jsonw *w)
{
    sr_piece x = sr_pieces_at(q, i), args = {0};
    if (i + 1 < q->n && sr_pieces_at(q, i + 1).kind == SR_P_ARGS)
        args = sr_pieces_at(q, i + 1);
    sr_json_obj(w, NULL);
    sr_json_obj(w, "function");
    sr_json_strn(w, "name", sr_pieces_text(q, &x), x.n);
    sr_answer_args(w, "arguments", sr_pieces_text(q, &args), args.n);
    sr_json_end(w);
    sr_json_end(w);
}

static void counts(const sr_call *k, const sr_lane *l, sr_jsonw *w)
{
    sr_usage u     = sr_answer_usage(k);
    uint64_t now   = sr_httpd_now(k->s->http), first = k->first_ns ? k->first_ns : now;
    sr_json_bool(w, "done", true);
    sr_json_str(w, "done_reason", l->finish == SR_FIN_LENGTH ? "length" : "stop");
    sr_json_uint(w, "total_duration", now - k->begun_ns);
    sr_json_uint(w, "load_duration", 0);
    sr_json_uint(w, "prompt_eval_count", u.prompt);
    sr_json_uint(w, "prompt_eval_duration", first - k->begun_ns);
    sr_json_uint(w, "eval_count", u.made);
    sr_json_uint(w, "eval_duration", now - first);
}

/* ---- a stream -------------------------------------------------------------------------------------------- */

static void begin(sr_call *k, sr_buf *o) { (void)k, (void)o; }

/* The call at the end of l->kept is whole. */
static void close_call(sr_call *k, sr_lane *l, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    uint32_t at = l->kept.n;
    if (!l->block)
        return;
    l->block = 0;
    while (at > 0 && sr_pieces_at(&l->kept, at - 1).kind == SR_P_ARGS)
        at--;
    if (!at)
        return;
    open_line(k, &w);
    open_message(k, &w);
    words(k, "", 0, NULL, 0, &w);
    sr_json_arr(&w, "tool_calls");
    call_json(&l->kept, at - 1, &w);
    sr_json_end(&w);
    sr_json_end(&w);
    sr_json_bool(&w, "done", false);
    close_line(&w);
}

static void piece(sr_call *k, sr_lane *l, const sr_piece *x, const char *p, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    bool     thought = x->kind == SR_P_THOUGHT;
    if (x->kind == SR_P_ARGS)
        return;
    close_call(k, l, o);
    if (x->kind == SR_P_CALL) {
        l->block = 1;
        return;
    }
    open_line(k, &w);
    open_message(k, &w);
    words(k, thought ? "" : p, thought ? 0 : x->n, p, thought ? x->n : 0, &w);
    if (is_chat(k))
        sr_json_end(&w);
    sr_json_bool(&w, "done", false);
    close_line(&w);
}

static void finish(sr_call *k, sr_lane *l, sr_buf *o)
{
    sr_jsonw w = {.out = o};
    close_call(k, l, o);
    open_line(k, &w);
    open_message(k, &w);
    words(k, "", 0, NULL, 0, &w);
    if (is_chat(k))
        sr_json_end(&w);
    counts(k, l, &w);
    close_line(&w);
}

static void end(sr_call *k, sr_buf *o) { (void)k, (void)o; }

static void fail(sr_call *k, const sr_apierr *e, sr_buf *o)
{
    (void)k;
    sr_api_error_json(e, o);
    sr_buf_char(o, '\n');
}

static void whole(sr_call *k, sr_buf *o)
{
    const sr_lane *l = &k->lane[0];
    sr_buf   content = {0}, thoughts = {0};
    bool     calls   = sr_pieces_join(&l->out, &content, &thoughts);
    sr_jsonw w = {.out = o};
    open_line(k, &w);
    open_message(k, &w);
    words(k, content.p ? content.p : "", content.n, thoughts.p, thoughts.n, &w);
    if (calls && is_chat(k)) {
        sr_json_arr(&w, "tool_calls");
        for (uint32_t i = 0; i < l->out.n; i++)
            if (sr_pieces_at(&l->out, i).kind == SR_P_CALL)
                call_json(&l->out, i, &w);
        sr_json_end(&w);
    }
    if (is_chat(k))
        sr_json_end(&w);
    counts(k, l, &w);
    sr_json_end(&w);
    o->failed |= content.failed || thoughts.failed;
    sr_buf_end(&content);
    sr_buf_end(&thoughts);
}

const sr_dialect sr_dialect_ollama = {
    .id = "ollama-", .type = "application/x-ndjson", .keeps = true,
    .begin = begin, .piece = piece, .finish = finish, .end = end, .fail = fail, .whole = whole,
};
