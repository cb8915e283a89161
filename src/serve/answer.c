/* answer.c - events of the engine into pieces, pieces into frames. */
#include "serve/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/siphash.h"
#include "serve/embed.h"

enum { LOW_WATER = 32 << 10 };
#define STREAM_HEADERS "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"

const sr_dialect *sr_dialect_of(sr_api api)
{
    switch (api) {
    case SR_API_CHAT:       return &sr_dialect_chat;
    case SR_API_COMPLETION: return &sr_dialect_completions;
    case SR_API_MESSAGES:   return &sr_dialect_anthropic;
    case SR_API_RESPONSES:  return &sr_dialect_responses;
    case SR_API_OLLAMA_CHAT:
    case SR_API_OLLAMA_GENERATE: return &sr_dialect_ollama;
    default:                return NULL;
    }
}

sr_usage sr_answer_usage(const sr_call *k)
{
    sr_usage u = {0};
    for (uint32_t i = 0; i < k->n_part; i++) {
        u.prompt += k->prep.prompt[i].ids.n;
        u.cached += k->part[i].cached;
        u.accepted += k->part[i].accepted;
        u.exited += k->part[i].exited;
        u.blocks_skipped += k->part[i].blocks_skipped;
        u.rejected += k->part[i].drafted - k->part[i].accepted;
    }
    for (uint32_t i = 0; i < k->n_lane; i++) {
        u.made += k->lane[i].n_tok;
        u.thought += k->lane[i].n_thought;
    }
    return u;
}

void sr_answer_toolid(const sr_call *k, const sr_lane *l, uint32_t call, const char *prefix, char out[48])
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    bool   small = sr_toolfamily_short_ids(k->s->env.family);
    size_t at    = small ? 0 : (size_t)snprintf(out, 16, "%s", prefix), n = small ? 9 : 24;
    uint64_t r[2] = {k->tag, (uint64_t)l->index << 32 | call}, v = 0;
    for (size_t i = 0; i < n; i++, v /= 62) {
        if (i % 9 == 0) {
            v    = sr_siphash64(k->s->env.secret, r, sizeof r);
            r[0] = v;
        }
        out[at++] = letters[v % 62];
    }
    out[at] = 0;
}

void sr_answer_args(sr_jsonw *w, const char *key, const char *p, size_t n)
{
    sr_jsonscan    s = {0};
    sr_jsonverdict v = SR_JSON_MORE;
    for (size_t i = 0; i < n && v == SR_JSON_MORE; i++)
        v = sr_jsonscan_step(&s, p[i]);
    sr_json_raw(w, key, v == SR_JSON_DONE ? p : "{}", v == SR_JSON_DONE ? n : 2);
}

static bool streaming(const sr_call *k) { return k->c && sr_http_streaming(k->c); }

/* ---- writing a stream ------------------------------------------------------------------------------------ */

static void emit_pieces(sr_call *k, sr_lane *l, sr_buf *o)
{
    for (uint32_t i = 0; i < l->out.n; i++) {
        sr_piece x = sr_pieces_at(&l->out, i);
        k->d->piece(k, l, &x, sr_pieces_text(&l->out, &x), o);
        if (k->d->keeps)
            sr_pieces_add(&l->kept, x.kind, x.call, sr_pieces_text(&l->out, &x), x.n);
    }
    o->failed |= sr_pieces_failed(&l->out) || sr_pieces_failed(&l->kept);
    sr_pieces_clear(&l->out);
}

/* What the lane has to say now. */
static void emit_lane(sr_call *k, sr_lane *l)
{
    bool hold = k->prep.params.echo && l->lp && !l->n_tok && !l->ended; /* the prompt's logprobs are still coming */
    if (hold || (!l->out.n && !l->ended))
        return;
    sr_buf *o = sr_http_chunk(k->c);
    emit_pieces(k, l, o);
    if (l->ended && !l->finish_sent) {
        if (l->lp && l->lp->n) /* of tokens without text */
            k->d->piece(k, l, &(sr_piece){.kind = SR_P_TEXT}, "", o);
        l->finish_sent = true;
        k->d->finish(k, l, o);
    }
    k->sent_ns = sr_serve_now(k->s);
}

static bool all_said(const sr_call *k)
{
    for (uint32_t i = 0; i < k->n_lane; i++)
        if (!k->lane[i].finish_sent || k->lane[i].out.n)
            return false;
    return k->n_done == k->n_lane;
}

/* Writes frames of one lane (or of all: NULL) as far as the out buffer is low; ends the answer when all is said. */
static void progress(sr_call *k, sr_lane *l)
{
    if (streaming(k)) {
        for (uint32_t i = 0; i < k->n_lane && sr_http_backlog(k->c) < LOW_WATER; i++)
            if (!l || l == &k->lane[i])
                emit_lane(k, &k->lane[i]);
        if (all_said(k))
            sr_call_finish(k);
    } else if (k->n_done == k->n_lane) {
        sr_call_finish(k);
    }
}

void sr_call_fill(sr_call *k)
{
    if (k->vec)
        sr_embed_fill(k);
    else
        progress(k, NULL);
}

/* Everything written so far is with the kernel: the engine may go on.  Half a window at a time is enough. */
void sr_call_sent(sr_call *k)
{
    for (uint32_t i = 0; k->started && i < k->n_lane; i++) {
        sr_lane *l = &k->lane[i];
        if (!l->done && !l->out.n && l->n_tok - l->acked >= SR_WINDOW / 2 &&
            sr_port_ack(k->s->port, k->part[l->part].id, l->choice, l->n_tok))
            l->acked = l->n_tok;
    }
}

void sr_call_tick(sr_call *k, uint64_t now)
{
    if (k->deadline_ns && now >= k->deadline_ns && !(k->vec && streaming(k))) { /* being prepared, waiting or running; the engine looks at it, too, more often.  Vectors on their way are all there */
        sr_call_fail_late(k);
        return;
    }
    if (k->vec || !k->started || !streaming(k) || sr_http_backlog(k->c))
        return;
    sr_call_sent(k); /* an ack that found the ring full */
    if (k->d->ping && now > k->sent_ns && now - k->sent_ns > sr_ms(k->s->cfg.times.ping)) {
        sr_buf_str(sr_http_chunk(k->c), k->d->ping);
        k->sent_ns = now;
    }
}

/* ---- tokens to pieces ------------------------------------------------------------------------------------ */

/* l->text is what the detokenizer gave: thoughts, calls and content are told apart. */
static void sort_text(sr_lane *l)
{
    l->n_text += l->text.n;
    if (!l->thinker.marks && !l->tools) {
        sr_pieces_add(&l->out, SR_P_TEXT, 0, l->text.p, l->text.n);
        l->out.bytes.failed |= l->text.failed;
        l->text.n = 0;
        return;
    }
    sr_thinker_push(&l->thinker, l->text.p ? l->text.p : "", l->text.n, &l->out, &l->rest);
    if (l->tools)
        sr_toolparse_push(l->tools, l->rest.p ? l->rest.p : "", l->rest.n, &l->out);
    else
        sr_pieces_add(&l->out, SR_P_TEXT, 0, l->rest.p, l->rest.n);
    l->out.bytes.failed |= l->text.failed || l->rest.failed;
    l->text.n = l->rest.n = 0;
}

/* No more text comes: what was held back leaves. */
static void end_lane(sr_lane *l, sr_finish why)
{
    bool midway = false; /* a stop string within a call's arguments: like the length, it makes no whole call of half a one */
    l->ended = true;
    sr_thinker_finish(&l->thinker, &l->out, &l->rest);
    if (l->tools) {
        sr_toolparse_push(l->tools, l->rest.p ? l->rest.p : "", l->rest.n, &l->out);
        midway = l->stopped && l->tools->open;
        sr_toolparse_finish(l->tools, why == SR_FIN_LENGTH || midway, &l->out);
    } else {
        sr_pieces_add(&l->out, SR_P_TEXT, 0, l->rest.p, l->rest.n);
    }
    l->rest.n = 0;
    l->finish = why == SR_FIN_STOP && l->tools && l->tools->n_call && !midway ? SR_FIN_TOOLS : why;
}

/* Control tokens are seen where marks of thoughts and calls may be some of them; then all others are left out here. */
static bool is_shown(const sr_call *k, const sr_lane *l, int32_t tok)
{
    const sr_params *q = &k->prep.params;
    size_t n = 0;
    if (!q->skip_special || (!q->tools && !q->think))
        return true;
    sr_tokenizer_piece(k->s->env.model.tok, tok, false, &n);
    if (n)
        return true;
    const char *p = sr_tokenizer_piece(k->s->env.model.tok, tok, true, &n);
    bool thought = q->think && ((n == strlen(q->think->open) && !memcmp(p, q->think->open, n)) ||
                                (n == strlen(q->think->close) && !memcmp(p, q->think->close, n)));
    return thought || (l->tools && sr_toolfamily_token(k->s->env.family, p, n));
}

static void add_logprob(sr_call *k, sr_lane *l, const sr_event *e, bool known)
{
    if (l->lp && !l->ended)
        sr_logprobs_add(l->lp, k->s->env.model.tok,
                        &(sr_scored){.tok = e->token, .known = known, .logprob = e->logprob, .alt = e->alt, .n_alt = e->n_alt});
}

/* The answer begins with the prompt.  Its first token has no logprob: nothing comes before it. */
static void begin_echo(sr_call *k, sr_lane *l)
{
    const sr_promptids *p = &k->prep.prompt[l->part];
    sr_err err = {0};
    if (p->text)
        sr_buf_add(&l->text, p->text, p->n_text);
    else if (sr_tokenizer_decode(k->s->env.model.tok, p->ids.p, p->ids.n, true, &l->text, &err))
        l->text.failed = true;
    sort_text(l);
    add_logprob(k, l, &(sr_event){.token = p->ids.p[0]}, false);
}

/* ---- events of the engine -------------------------------------------------------------------------------- */

static void on_start(sr_call *k, sr_part *p, const sr_event *e)
{
    bool first = !k->started;
    p->cached  = e->usage.cached;
    k->started = true;
    if (first) {
        k->started_ns = sr_serve_now(k->s);
        sr_scaled_add(&k->s->metrics.vllm.queue, sr_scale_request, (double)(k->started_ns - SR_MIN(k->posted_ns, k->started_ns)) * 1e-9);
    }
    if (first && k->prep.params.stream) {
        sr_http_stream(k->c, k->d->type, STREAM_HEADERS);
        k->sent_ns = sr_serve_now(k->s);
        k->d->begin(k, sr_http_chunk(k->c));
    }
    for (uint32_t i = 0; k->prep.params.echo && i < k->n_lane; i++)
        if (&k->part[k->lane[i].part] == p)
            begin_echo(k, &k->lane[i]);
}

static void count_token(sr_call *k, sr_lane *l)
{
    sr_metrics *m = &k->s->metrics;
    uint64_t    now = sr_serve_now(k->s);
    if (!k->first_ns) {
        k->first_ns = now;
        sr_hist_add(&m->ttft, now - k->begun_ns);
        sr_scaled_add(&m->vllm.ttft, sr_scale_ttft, (double)(now - k->begun_ns) * 1e-9);
    } else if (l->last_ns) {
        sr_hist_add(&m->itl, now - l->last_ns);
        sr_scaled_add(&m->vllm.itl, sr_scale_itl, (double)(now - l->last_ns) * 1e-9);
    }
    k->last_ns = l->last_ns = now;
    l->n_tok++;
    l->n_thought += l->thinker.marks && l->thinker.inside;
    m->tokens_sent++;
}

static bool on_token(sr_call *k, sr_part *p, sr_lane *l, const sr_event *e)
{
    size_t stopped = 0;
    sr_err err = {0};
    if (l->ended)
        return true;
    count_token(k, l);
    add_logprob(k, l, e, true);
    if (is_shown(k, l, e->token) && sr_detok_push(l->detok, e->token, &l->text, &stopped, &err))
        return false;
    sort_text(l);
    if (stopped && l->lp)
        sr_logprobs_cut(l->lp, l->n_text);
    if (stopped || (l->tools && l->tools->full)) {
        l->stopped = (uint32_t)stopped;
        end_lane(l, SR_FIN_STOP);
        sr_call_end_choice(k, p, l->choice, SR_END_STOP);
    }
    return !sr_pieces_failed(&l->out);
}

static bool on_done(sr_call *k, sr_part *p, sr_lane *l, const sr_event *e)
{
    sr_err err = {0};
    if (l->done)
        return true;
    l->done = true;
    k->n_done++;
    p->cached = SR_MAX(p->cached, e->usage.cached);
    p->drafted += e->usage.drafted;
    p->accepted += e->usage.accepted;
    p->exited += e->usage.exited;
    p->blocks_skipped += e->usage.blocks_skipped;
    if (--p->left == 0)
        sr_call_part_done(k, p);
    if (!l->ended) {
        if (sr_detok_flush(l->detok, &l->text, &err))
            return false;
        sort_text(l);
        end_lane(l, e->reason == SR_END_LENGTH ? SR_FIN_LENGTH : SR_FIN_STOP);
    }
    sr_metrics *m = &k->s->metrics;
    m->vllm.success[l->finish == SR_FIN_LENGTH]++;
    m->vllm.drafted += e->usage.drafted;
    m->vllm.accepted += e->usage.accepted;
    if (e->reason == SR_END_LENGTH)
        m->finished_length++;
    else
        m->finished_stop++;
    return !sr_pieces_failed(&l->out);
}

static void on_error(sr_call *k, sr_part *p, sr_lane *l, const sr_event *e)
{
    sr_apierr why = {0};
    if (e->choice == ~0u || p->left == 1) { /* the engine has forgotten the request */
        sr_call_part_done(k, p);
    } else if (l) {
        l->done = true;
        p->left--;
    }
    if (e->reason == SR_END_DEADLINE) {
        sr_call_fail_late(k);
        return;
    }
    sr_api_fail_err(&why, e->status, e->msg, NULL);
    sr_call_fail(k, &why);
}

void sr_answer_event(sr_call *k, uint32_t part, const sr_event *e)
{
    sr_part *p = &k->part[part];
    uint32_t n = (uint32_t)k->prep.params.n;
    sr_lane *l = e->choice < n ? &k->lane[part * n + e->choice] : NULL;
    bool     ok = true;
    if (k->vec) {
        sr_embed_event(k, part, e);
        return;
    }
    if (e->kind == SR_EV_ERROR) {
        on_error(k, p, l, e);
        return;
    }
    if (!l)
        return;
    switch (e->kind) {
    case SR_EV_START:
        on_start(k, p, e);
        break;
    case SR_EV_PROGRESS:
        if (k->prep.params.progress && k->d->progress && streaming(k) && sr_http_backlog(k->c) < LOW_WATER) {
            k->d->progress(k, part, e->pos, sr_http_chunk(k->c));
            k->sent_ns = sr_serve_now(k->s);
        }
        break;
    case SR_EV_PROMPT: /* once for all choices: they share the prompt */
        for (uint32_t i = 0; k->prep.params.echo && i < n; i++)
            add_logprob(k, &k->lane[part * n + i], e, true);
        break;
    case SR_EV_TOKEN:
        ok = on_token(k, p, l, e);
        break;
    case SR_EV_DONE:
        if (e->reason == SR_END_CANCEL || e->reason == SR_END_DEADLINE) {
            on_error(k, p, l, &(sr_event){.choice = e->choice, .reason = e->reason, .status = SR_NOMEM, .msg = "the engine ended the request"});
            return;
        }
        ok = on_done(k, p, l, e);
        break;
    default:
        break;
    }
    if (!ok)
        sr_call_fail_nomem(k);
    else
        progress(k, l);
}
