/* call.c - the life of a call: slots of the port, what is posted, how it ends. */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/siphash.h"
#include "serve/answer.h"
#include "serve/embed.h"

enum { EVENTS_PER_POLL = 128, POLLS_PER_TURN = 16 };

/* ---- slots: port ids to calls ---------------------------------------------------------------------------- */

bool sr_call_part_begin(sr_call *k, uint32_t part)
{
    sr_serve *s = k->s;
    if (!s->free_slot) {
        uint32_t n = s->n_slot ? s->n_slot * 2 : 64;
        sr_slot *p = sr_realloc(s->slot, n * sizeof *p);
        if (!p)
            return false;
        for (uint32_t i = s->n_slot; i < n; i++)
            p[i] = (sr_slot){.next_free = i + 1 < n ? i + 2 : 0};
        s->free_slot = s->n_slot + 1;
        s->slot      = p;
        s->n_slot    = n;
    }
    uint32_t i = s->free_slot - 1;
    s->free_slot = s->slot[i].next_free;
    s->slot[i]   = (sr_slot){.id = ++s->serial << 32 | i, .call = k, .part = part};
    s->n_busy++;
    k->part[part].slot = i;
    k->part[part].id   = s->slot[i].id;
    return true;
}

static void slot_free(sr_serve *s, uint32_t i)
{
    s->slot[i]   = (sr_slot){.next_free = s->free_slot};
    s->free_slot = i + 1;
    s->n_busy--;
}

/* Ends a choice in the engine; if the command ring is full, later. */
static void end_in_engine(sr_serve *s, uint64_t id, uint32_t choice, sr_endreason why)
{
    if (sr_port_end(s->port, id, choice, why))
        return;
    s->metrics.late_ends++;
    if (s->n_late == s->cap_late) {
        uint32_t n = s->cap_late ? s->cap_late * 2 : 64;
        sr_lateend *p = sr_realloc(s->late, n * sizeof *p);
        if (!p) /* the engine will compute to the end for nobody; its events are dropped */
            return;
        s->late     = p;
        s->cap_late = n;
    }
    s->late[s->n_late++] = (sr_lateend){id, choice, why};
}

void sr_calls_late(sr_serve *s)
{
    uint32_t done = 0;
    while (done < s->n_late && sr_port_end(s->port, s->late[done].id, s->late[done].choice, s->late[done].reason))
        done++;
    if (!done)
        return;
    s->n_late -= done;
    memmove(s->late, s->late + done, s->n_late * sizeof *s->late);
}

sr_api sr_call_api(const sr_call *k) { return k->api; }

void sr_call_end_choice(sr_call *k, sr_part *p, uint32_t choice, sr_endreason why) { end_in_engine(k->s, p->id, choice, why); }

void sr_call_part_done(sr_call *k, sr_part *p)
{
    p->left = 0;
    slot_free(k->s, p->slot);
}

/* ---- the end of a call ----------------------------------------------------------------------------------- */

static void lane_end(sr_lane *l)
{
    sr_detok_close(l->detok);
    sr_thinker_end(&l->thinker);
    if (l->tools)
        sr_toolparse_end(l->tools);
    sr_free(l->tools);
    sr_buf_end(&l->text);
    sr_buf_end(&l->rest);
    sr_pieces_end(&l->out);
    sr_pieces_end(&l->kept);
    if (l->lp)
        sr_logprobs_end(l->lp);
    sr_free(l->lp);
}

void sr_call_end(sr_call *k)
{
    sr_serve *s = k->s;
    if (k->preparing)
        sr_scribe_forget(s->scribe, k);
    for (uint32_t i = 0; i < k->n_posted; i++)
        if (k->part[i].left) {
            end_in_engine(s, k->part[i].id, ~0u, SR_END_CANCEL);
            slot_free(s, k->part[i].slot);
        }
    for (uint32_t i = 0; i < k->n_lane; i++)
        lane_end(&k->lane[i]);
    if (k->prepared)
        sr_prep_end(&k->prep);
    sr_buf_end(&k->prefix);
    sr_free(k->lane);
    sr_free(k->part);
    sr_free(k->vec);
    sr_free(k);
}

/* For the request's log line. */
static void note(sr_call *k)
{
    static const char *const names[] = {NULL, "stop", "length", "tool_calls"};
    if (!k->c)
        return;
    sr_usage     u = sr_answer_usage(k);
    sr_callnote *n = sr_http_note(k->c);
    *n = (sr_callnote){.timeout_ms = n->timeout_ms, .key = n->key,
                       .prompt = (uint32_t)u.prompt, .cached = (uint32_t)u.cached, .made = (uint32_t)u.made, .thoughts = (uint32_t)u.thought,
                       .ttft_ns = k->first_ns ? k->first_ns - k->begun_ns : 0, .decode_ns = k->last_ns - k->first_ns, .n = k->n_lane,
                       .finish = k->n_lane ? names[k->lane[0].finish] : NULL};
}

static void count_finished(const sr_call *k)
{
    sr_vllm *m = &k->s->metrics.vllm;
    sr_usage u = sr_answer_usage(k);
    uint64_t last = k->last_ns ? k->last_ns : sr_serve_now(k->s);
    sr_hist_add(&k->s->metrics.total, sr_serve_now(k->s) - k->begun_ns);
    sr_scaled_add(&m->e2e, sr_scale_request, (double)(last - k->begun_ns) * 1e-9);
    sr_scaled_add(&m->inference, sr_scale_request, (double)(last - SR_MIN(k->started_ns, last)) * 1e-9);
    if (k->first_ns) {
        sr_scaled_add(&m->prefill, sr_scale_request, (double)(k->first_ns - k->started_ns) * 1e-9);
        sr_scaled_add(&m->decode, sr_scale_request, (double)(last - k->first_ns) * 1e-9);
    }
    sr_scaled_add(&m->prompt_tokens, sr_scale_tokens, (double)u.prompt);
    sr_scaled_add(&m->generation_tokens, sr_scale_tokens, (double)u.made);
    uint64_t longest = 0;
    for (uint32_t i = 0; i < k->n_lane; i++)
        longest = SR_MAX(longest, k->lane[i].n_tok);
    sr_scaled_add(&m->longest, sr_scale_tokens, (double)longest);
    sr_scaled_add(&m->n, sr_scale_n, (double)k->prep.params.n);
    if (k->prep.params.max_tokens >= 0)
        sr_scaled_add(&m->max_tokens, sr_scale_tokens, (double)k->prep.params.max_tokens);
}

void sr_call_gone(sr_call *k)
{
    k->s->metrics.left++;
    k->s->metrics.vllm.success[2] += k->n_lane - k->n_done;
    note(k);
    sr_call_end(k);
}

/* The answer of a call without a connection; frees the call first, because fn may begin another. */
static void hand_over(sr_call *k, int status, sr_buf *body)
{
    sr_answeredfn fn  = k->answered;
    void         *arg = k->arg;
    sr_usage      u   = status == 200 ? sr_answer_usage(k) : (sr_usage){0};
    char          id[sizeof k->id];
    memcpy(id, k->id, sizeof id);
    sr_call_end(k);
    fn(arg, &(sr_answered){.status = status, .id = id, .body = body->p ? body->p : "", .n = body->n, .prompt = u.prompt,
                           .cached = u.cached, .made = u.made});
    sr_buf_end(body);
}

void sr_call_fail(sr_call *k, const sr_apierr *why)
{
    sr_conn  *c = k->c;
    sr_apierr e = *why;
    k->s->metrics.failed++;
    if (!c) {
        sr_buf body = {0};
        sr_api_error_json(&e, &body);
        hand_over(k, e.status, &body);
        return;
    }
    sr_route_mark(c, k->api);
    e.form = sr_route_errors(k->api);
    note(k);
    if (sr_http_streaming(c)) {
        const sr_dialect *d = k->d;
        if (d)
            d->fail(k, &e, sr_http_chunk(c));
        sr_call_end(k);
        if (d)
            sr_http_stream_end(c);
        else /* its form has no place for an error: it must not look whole */
            sr_http_drop(c);
    } else {
        sr_call_end(k);
        sr_reply_error(c, &e);
    }
}

void sr_call_fail_nomem(sr_call *k)
{
    sr_apierr e = {0};
    sr_api_fail(&e, 503, NULL, "out_of_memory", "No memory for the answer.");
    sr_call_fail(k, &e);
}

void sr_call_reply(sr_call *k, sr_buf *body)
{
    sr_conn *c = k->c;
    if (body->failed) {
        sr_buf_end(body);
        sr_call_fail_nomem(k);
        return;
    }
    if (!c) {
        hand_over(k, 200, body);
        return;
    }
    sr_route_mark(c, k->api);
    sr_call_end(k);
    sr_http_reply(c, 200, "application/json", NULL, body->p, body->n);
    sr_buf_end(body);
}

void sr_call_fail_late(sr_call *k)
{
    sr_apierr e = {0};
    k->s->metrics.timeouts++;
    if (k->deadline_ns)
        sr_api_fail(&e, 504, NULL, "timeout", "The request has reached its time limit of %.3g s%s.", (double)(k->deadline_ns - k->begun_ns) * 1e-9,
                    k->started ? "" : " before it was begun with");
    else
        sr_api_fail(&e, 503, NULL, "queue_timeout", "The request has waited too long for a place.");
    sr_call_fail(k, &e);
}

void sr_call_finish(sr_call *k)
{
    sr_conn *c = k->c;
    sr_buf   body = {0};
    note(k);
    count_finished(k);
    if (c && sr_http_streaming(c)) {
        k->d->end(k, sr_http_chunk(c));
        sr_route_mark(c, k->api);
        sr_call_end(k);
        sr_http_stream_end(c);
        return;
    }
    bool failed = false;
    for (uint32_t i = 0; i < k->n_lane; i++)
        failed |= sr_pieces_failed(&k->lane[i].out) || (k->lane[i].lp && sr_logprobs_failed(k->lane[i].lp));
    k->d->whole(k, &body);
    body.failed |= failed;
    sr_call_reply(k, &body);
}

/* ---- events and aborts ----------------------------------------------------------------------------------- */

void sr_calls_poll(sr_serve *s)
{
    sr_event e[EVENTS_PER_POLL];
    size_t   n = EVENTS_PER_POLL;
    for (int round = 0; round < POLLS_PER_TURN && n == EVENTS_PER_POLL; round++) {
        n = sr_port_poll(s->port, e, EVENTS_PER_POLL);
        for (size_t i = 0; i < n; i++) {
            uint32_t slot = (uint32_t)e[i].id;
            if (slot < s->n_slot && s->slot[slot].call && s->slot[slot].id == e[i].id)
                sr_answer_event(s->slot[slot].call, s->slot[slot].part, &e[i]);
        }
    }
}

void sr_calls_abort(sr_serve *s, int status, const char *code, const char *why)
{
    for (uint32_t i = 0; i < s->n_slot; i++) {
        sr_apierr e = {0};
        sr_api_fail(&e, status, NULL, code, "%s", why);
        if (s->slot[i].call)
            sr_call_fail(s->slot[i].call, &e);
    }
}

/* ---- the beginning of a call ----------------------------------------------------------------------------- */

static bool make_tools(sr_call *k, sr_lane *l)
{
    const sr_params *q = &k->prep.params;
    if (!q->tools)
        return true;
    if (!(l->tools = sr_calloc(1, sizeof *l->tools)))
        return false;
    sr_toolparse_begin(l->tools, k->s->env.family, q->tools, q->parallel ? 0 : 1);
    if (q->prefill) /* the prompt's end is the beginning of what is parsed */
        sr_toolparse_push(l->tools, q->prefill, strlen(q->prefill), &l->out);
    return !sr_pieces_failed(&l->out);
}

static bool make_lanes(sr_call *k)
{
    const sr_params *q = &k->prep.params;
    sr_err err = {0};
    k->part = sr_calloc(k->prep.n_prompt, sizeof *k->part);
    k->lane = sr_calloc((size_t)k->prep.n_prompt * (size_t)q->n, sizeof *k->lane);
    if (!k->part || !k->lane)
        return false;
    k->n_part = k->prep.n_prompt;
    k->n_lane = k->n_part * (uint32_t)q->n;
    for (uint32_t i = 0; i < k->n_lane; i++) {
        sr_lane *l = &k->lane[i];
        l->index   = i;
        l->part    = i / (uint32_t)q->n;
        l->choice  = i % (uint32_t)q->n;
        l->thinker = (sr_thinker){.marks = q->think, .inside = q->think && k->prep.thinking};
        bool marks = q->think || q->tools; /* they may be control tokens: sr_answer_event() leaves out the others */
        if (sr_detok_open(k->s->env.model.tok, q->stop, q->n_stop, q->include_stop, marks || !q->skip_special, &l->detok, &err))
            return false;
        if (!make_tools(k, l) || (q->want_logprobs && !(l->lp = sr_calloc(1, sizeof *l->lp))))
            return false;
        if (l->lp)
            *l->lp = (sr_logprobs){.chat = k->api == SR_API_CHAT, .top = (uint32_t)q->top_logprobs};
    }
    return true;
}

/* Ids that end an answer: the caller's and, unless he ignores them, the model's. */
static bool stop_tokens(sr_call *k, const int32_t **out, uint32_t *n)
{
    sr_params *q = &k->prep.params;
    size_t     n_end = 0;
    const int32_t *end = q->ignore_eos ? NULL : sr_tokenizer_ends(k->s->env.model.tok, &n_end);
    int32_t *all = sr_arena_alloc(&k->prep.arena, (q->n_stop_tok + n_end + 1) * sizeof *all);
    if (!all)
        return false;
    if (n_end)
        memcpy(all, end, n_end * sizeof *all);
    if (q->n_stop_tok)
        memcpy(all + n_end, q->stop_tok, q->n_stop_tok * sizeof *all);
    *out = all;
    *n   = q->n_stop_tok + (uint32_t)n_end;
    return true;
}

static sr_request request_of(sr_call *k, uint32_t part)
{
    const sr_params *q = &k->prep.params;
    const sr_ids    *t = &k->prep.prompt[part].ids;
    uint32_t room = k->s->env.model.ctx - (uint32_t)SR_MIN(t->n, (size_t)k->s->env.model.ctx);
    uint32_t max  = q->max_tokens < 0 || q->max_tokens > (int64_t)room ? room : (uint32_t)q->max_tokens;
    bool     penal = q->rep_penalty != 1 || q->freq_penalty != 0 || q->pres_penalty != 0;
    uint32_t last = q->rep_last_n == -2 ? (q->rep_penalty != 1 && !q->freq_penalty && !q->pres_penalty ? 64 : k->s->env.model.ctx)
                    : q->rep_last_n == -1 ? k->s->env.model.ctx : (uint32_t)q->rep_last_n;
    uint64_t queue = k->s->cfg.times.queue;
    size_t   n_grammar = 0;
    const void *grammar = q->grammar ? sr_grammar_bytes(q->grammar, &n_grammar) : NULL;
    return (sr_request){
        .id = k->part[part].id, .salt = q->salt, .what = max ? SR_GENERATE : SR_SCORE, .tok = t->p, .n_tok = (uint32_t)t->n,
        .max_new = max, .min_new = (uint32_t)SR_MIN(q->min_tokens, (int64_t)max), .n = (uint32_t)q->n,
        .n_logprobs = (uint16_t)(q->want_logprobs ? q->top_logprobs + 1 : 0),
        .n_prompt_logprobs = (uint16_t)(q->want_logprobs && q->echo ? q->top_logprobs + 1 : 0),
        .priority = (int32_t)q->priority, .deadline_ns = k->deadline_ns,
        .queue_deadline_ns = queue ? sr_now_ns() + sr_ms((uint32_t)queue) : 0,
        .window = q->stream ? SR_WINDOW : 0,
        .sampling = {.temp = (float)q->temperature, .top_p = (float)q->top_p, .min_p = (float)q->min_p,
                     .typical_p = (float)(q->typical_p > 0 ? q->typical_p : 1), .rep_penalty = (float)q->rep_penalty,
                     .freq_penalty = (float)q->freq_penalty, .pres_penalty = (float)q->pres_penalty,
                     .top_k = q->top_k > 0 ? (uint32_t)q->top_k : 0, .rep_last_n = penal ? last : 0, .seed = (uint64_t)q->seed,
                     .bias = q->bias, .n_bias = q->n_bias, .grammar = grammar, .n_grammar = (uint32_t)n_grammar}};
}

/* What only the running server can say. */
static bool has_room(const sr_call *k, sr_apierr *e)
{
    const sr_serve  *s = k->s;
    const sr_params *q = &k->prep.params;
    sr_portstats     now;
    if (s->n_busy + k->prep.n_prompt > s->cfg.limits.requests)
        return sr_api_fail(e, 429, NULL, "queue_full", "The server is busy: %u generations are in flight.", s->n_busy);
    sr_port_stats(s->port, &now);
    if (now.max_seqs && q->n > (int64_t)now.max_seqs)
        return sr_api_fail(e, 400, "n", NULL, "'n' is %lld; at most %llu choices run at once.", (long long)q->n,
                           (unsigned long long)now.max_seqs);
    if (k->prep.n_prompt * (uint64_t)q->n > s->cfg.limits.prompts)
        return sr_api_fail(e, 400, "n", NULL, "%u prompts of %lld choices each; the limit is %u in one request.", k->prep.n_prompt,
                           (long long)q->n, s->cfg.limits.prompts);
    return true;
}

/* The least of what the server, the header and the body allow, from the request's first byte. */
static uint64_t deadline_of(const sr_call *k)
{
    uint64_t header = k->c ? sr_ms(((const sr_callnote *)sr_http_note(k->c))->timeout_ms) : 0, server = sr_ms(k->s->cfg.times.answer);
    uint64_t body = k->prepared ? (uint64_t)(k->prep.params.timeout_s * 1e9) : 0, least = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        uint64_t v = i == 0 ? header : i == 1 ? server : body;
        if (v && v < least)
            least = v;
    }
    return least == UINT64_MAX ? 0 : k->begun_ns + least;
}

static bool post(sr_call *k, sr_apierr *e)
{
    sr_serve      *s = k->s;
    const int32_t *stop;
    uint32_t       n_stop;
    k->deadline_ns = deadline_of(k); /* once more: now it is known what the body asks for */
    if (k->prep.vec.dims)
        return sr_embed_post(k, e);
    if (!has_room(k, e))
        return false;
    if (!make_lanes(k) || !stop_tokens(k, &stop, &n_stop))
        return sr_api_fail(e, 503, NULL, "out_of_memory", "No memory for the request.");
    k->posted_ns = sr_serve_now(s);
    if (k->prep.params.seed == -1)
        k->prep.params.seed = (int64_t)sr_siphash64(s->env.secret, (uint64_t[]){++s->serial, sr_now_ns()}, 16);
    for (uint32_t i = 0; i < k->n_part; i++) {
        sr_err err = {0};
        if (!sr_call_part_begin(k, i))
            return sr_api_fail(e, 503, NULL, "out_of_memory", "No memory for the request.");
        sr_request r = request_of(k, i);
        r.stop_tok   = stop;
        r.n_stop_tok = n_stop;
        sr_status st = sr_port_post(s->port, &r, &err);
        if (st) {
            slot_free(s, k->part[i].slot);
            return sr_api_fail_err(e, st, err.msg, NULL);
        }
        k->part[i].left = r.n;
        k->n_posted++;
        s->metrics.tokens_prompt += r.n_tok;
    }
    return true;
}

/* The answer was ready with the request. */
static void reply_now(sr_call *k)
{
    sr_conn *c = k->c;
    sr_buf   body = k->prep.reply;
    k->prep.reply = (sr_buf){0};
    sr_route_mark(c, k->api);
    sr_call_end(k);
    sr_http_reply(c, 200, "application/json", NULL, body.p, body.n);
    sr_buf_end(&body);
}

static void on_prepared(void *arg, sr_prep *prep, const sr_apierr *bad)
{
    sr_call  *k = arg;
    sr_apierr e = *bad;
    k->preparing = false;
    sr_http_body_freed(k->c);
    if (!e.status) {
        k->prep     = *prep;
        k->prepared = true;
        if (k->prep.reply.n) {
            reply_now(k);
            return;
        }
        post(k, &e);
    }
    if (e.status)
        sr_call_fail(k, &e);
}

static sr_call *new_call(sr_serve *s, sr_api api, uint64_t begun_ns)
{
    sr_call *k = sr_calloc(1, sizeof *k);
    if (!k)
        return NULL;
    *k = (sr_call){.s = s, .api = api, .d = sr_dialect_of(api), .created = (int64_t)time(NULL), .begun_ns = begun_ns,
                   .tag = sr_siphash64(s->env.secret, (uint64_t[]){++s->serial, sr_now_ns()}, 16)};
    snprintf(k->id, sizeof k->id, "%s%016llx%08x", k->d ? k->d->id : "", (unsigned long long)k->tag, (unsigned)s->serial);
    return k;
}

void sr_call_offline(sr_serve *s, sr_api api, const json_t *body, sr_answeredfn fn, void *arg)
{
    sr_call  *k = new_call(s, api, sr_serve_now(s));
    sr_apierr e = {0};
    if (!k) {
        static const char why[] = "{\"error\":{\"message\":\"No memory for the request.\",\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}";
        fn(arg, &(sr_answered){.status = 503, .id = "", .body = why, .n = sizeof why - 1});
        return;
    }
    k->answered = fn;
    k->arg      = arg;
    k->prepared = sr_prepare_tree(&s->env, api, body, &k->prep, &e);
    if (k->prepared && k->prep.params.stream)
        sr_api_fail(&e, 400, "stream", NULL, "'stream' cannot be true here: the answer is written as a whole.");
    if (!e.status)
        post(k, &e);
    if (e.status)
        sr_call_fail(k, &e);
}

void sr_call_begin(sr_serve *s, sr_conn *c, sr_api api, sr_buf *body)
{
    sr_call  *k = new_call(s, api, sr_http_started(c));
    sr_apierr e = {0};
    if (!k) {
        sr_buf_end(body);
        sr_api_fail(&e, 503, NULL, "out_of_memory", "No memory for the request.");
        sr_reply_error(c, &e);
        return;
    }
    k->c         = c;
    k->preparing = true;
    k->deadline_ns = deadline_of(k);
    sr_http_set_user(c, k);
    if (!sr_scribe_post(s->scribe, api, body, on_prepared, k)) {
        k->preparing = false;
        sr_call_fail_nomem(k);
    }
}
