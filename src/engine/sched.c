/* sched.c - who computes what in the next step.
 *
 *               post                pages and a row free             prompt computed, token after token
 *     (io) ---> WAITING --admit---------------> RUNNING ---------------------------------> done
 *                  ^                               |
 *                  +------- preempt: pages given --+        choices 1.. of a request are BLOCKED until
 *                           back, tokens kept               choice 0 has computed the prompt, then forked
 *
 * One rule: computed catches up with n_tok.  Running choices are served in order of priority and age: first those
 * that miss one token, then prompts with what the budget leaves.  When a page is missing, the last in that order
 * gives its pages back and waits; its full pages stay in the prefix cache as long as they can.  So does, when somebody
 * waits for its place, a choice that is out of credit for half a second; it is in line again when it has credit. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/internal.h"

static bool before(const sr_choice *a, const sr_choice *b)
{
    if (a->job->priority != b->job->priority)
        return a->job->priority > b->job->priority;
    if (a->job->order != b->job->order)
        return a->job->order < b->job->order;
    return a->index < b->index;
}

/* Lists are kept in order from the tail: newcomers are nearly always last. */
void sr_list_add(sr_list *l, sr_choice *c)
{
    sr_choice *p = l->tail;
    while (p && before(c, p))
        p = p->prev;
    c->prev = p;
    c->next = p ? p->next : l->head;
    *(c->next ? &c->next->prev : &l->tail) = c;
    *(p ? &p->next : &l->head)             = c;
    l->n++;
}

void sr_list_del(sr_list *l, sr_choice *c)
{
    *(c->prev ? &c->prev->next : &l->head) = c->next;
    *(c->next ? &c->next->prev : &l->tail) = c->prev;
    c->prev = c->next = NULL;
    l->n--;
}

static sr_job **bucket(sr_engine *e, uint64_t id) { return &e->bucket[(id * 0x9E3779B97F4A7C15u) >> 54]; }

sr_job *sr_job_find(sr_engine *e, uint64_t id)
{
    sr_job *j = *bucket(e, id);
    while (j && j->id != id)
        j = j->hash_next;
    return j;
}

static sr_status check(const sr_engine *e, const sr_request *r, sr_err *err)
{
    const sr_model *m = e->m;
    uint32_t        n = r->n ? r->n : 1;
    if (r->what == SR_EMBED && sr_vector_check(m, r, err))
        return err->status;
    if (r->sampling.ext || r->adapter)
        return sr_raise(err, SR_UNSUPPORTED, "extended samplers and adapters");
    if (r->sampling.n_grammar && r->what != SR_GENERATE)
        return sr_raise(err, SR_INVALID, "a grammar for a request that generates nothing");
    if (r->n_tok == 0)
        return sr_raise(err, SR_INVALID, "empty prompt");
    if (r->n_tok > m->cfg.ctx)
        return sr_raise(err, SR_INVALID, "prompt of %u tokens; the context is %u", r->n_tok, m->cfg.ctx);
    if (n > m->cfg.max_seqs)
        return sr_raise(err, SR_INVALID, "%u choices asked; at most %u run at once", n, m->cfg.max_seqs);
    if (r->n_logprobs > SR_MAX_ALT + 1 || r->n_prompt_logprobs > SR_MAX_ALT + 1)
        return sr_raise(err, SR_INVALID, "%u alternatives asked; at most %u",
                        SR_MAX(r->n_logprobs, r->n_prompt_logprobs) - 1u, SR_MAX_ALT);
    for (uint32_t i = 0; i < r->n_tok; i++)
        if (r->tok[i] < 0 || (uint32_t)r->tok[i] >= m->info.n_vocab)
            return sr_raise(err, SR_INVALID, "token %d at position %u; the vocabulary has %u", r->tok[i], i, m->info.n_vocab);
    for (uint32_t i = 0; i < r->sampling.n_bias; i++)
        if (r->sampling.bias[i].tok < 0 || (uint32_t)r->sampling.bias[i].tok >= m->info.n_vocab)
            return sr_raise(err, SR_INVALID, "bias for token %d; the vocabulary has %u", r->sampling.bias[i].tok, m->info.n_vocab);
    if (sr_job_find((sr_engine *)(uintptr_t)e, r->id))
        return sr_raise(err, SR_INVALID, "request id %llu is in use", (unsigned long long)r->id);
    uint32_t waiting = e->waiting.n + e->forming.n;
    if (e->cfg.queue && waiting >= e->cfg.queue)
        return sr_raise(err, SR_AGAIN, "%u requests are waiting already", waiting);
    return SR_OK;
}

/* The bytes are the port's, until the next command.  A guide is made of them when the request is admitted: it is larger by far. */
static sr_status keep_grammar(sr_job *j, const sr_request *r, sr_err *err)
{
    void *p = sr_malloc(r->sampling.n_grammar);
    if (!p)
        return sr_raise(err, SR_NOMEM, "host: %u bytes for a grammar", r->sampling.n_grammar);
    memcpy(p, r->sampling.grammar, r->sampling.n_grammar);
    j->grammar   = p;
    j->n_grammar = r->sampling.n_grammar;
    return SR_OK;
}

/* A request is one allocation: the job, its choices, their tokens, its lists. */
sr_status sr_job_take(sr_engine *e, const sr_request *r, sr_err *err)
{
    if (check(e, r, err))
        return err->status;
    uint32_t n   = r->n ? r->n : 1;
    uint32_t cap = r->what != SR_GENERATE ? 0 : SR_MIN(r->max_new, e->m->cfg.ctx - r->n_tok);
    size_t   per = sr_align_up(((size_t)r->n_tok + cap + 1) * sizeof(int32_t), 16);
    size_t   bytes = sizeof(sr_job) + n * (sizeof(sr_choice) + per) + 16 + r->n_stop_tok * sizeof(int32_t) +
                   r->sampling.n_bias * sizeof(sr_bias) + (r->what == SR_EMBED ? e->m->info.n_embd * sizeof(double) : 0);
    sr_job *j = sr_calloc(1, bytes);
    if (!j)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a request of %u tokens", bytes, r->n_tok);
    *j = (sr_job){.id = r->id, .salt = r->salt, .arrival = sr_now_ns(), .order = e->order++, .what = r->what, .n_prompt = r->n_tok,
                  .max_new = cap, .min_new = SR_MIN(r->min_new, cap), .n = n, .live = n, .n_logprobs = r->n_logprobs,
                  .n_prompt_logprobs = r->n_prompt_logprobs, .window = r->window, .priority = r->priority,
                  .queue_deadline = r->queue_deadline_ns, .deadline = r->deadline_ns, .ignore_eos = r->ignore_eos,
                  .sampling = r->sampling, .n_stop_tok = r->n_stop_tok};
    char *at  = (char *)(j + 1);
    j->choice = (sr_choice *)at;
    at += n * sizeof(sr_choice);
    if (r->what == SR_EMBED) {
        sr_vector_begin(e->m, r, j, (double *)at);
        at += e->m->info.n_embd * sizeof(double);
    }
    for (uint32_t i = 0; i < n; i++, at += per) {
        sr_choice *c = &j->choice[i];
        *c = (sr_choice){.job = j, .index = i, .live = true, .n_tok = r->n_tok, .tok = (int32_t *)at,
                         .state = i ? SR_CH_BLOCKED : SR_CH_WAITING};
        memcpy(c->tok, r->tok, r->n_tok * sizeof(int32_t));
    }
    if (r->n_stop_tok)
        memcpy(at, r->stop_tok, r->n_stop_tok * sizeof(int32_t));
    j->stop_tok = (const int32_t *)at;
    at += r->n_stop_tok * sizeof(int32_t);
    if (r->sampling.n_bias)
        memcpy(at, r->sampling.bias, r->sampling.n_bias * sizeof(sr_bias));
    j->sampling.bias    = (const sr_bias *)at;
    j->sampling.grammar = NULL; /* its bytes are the port's */
    sr_status ready = r->sampling.n_grammar ? sr_constrain_ready(e, err) : SR_OK;
    if ((ready != SR_OK && ready != SR_AGAIN) || (r->sampling.n_grammar && keep_grammar(j, r, err))) {
        sr_free(j);
        return err->status;
    }
    j->hash_next     = *bucket(e, j->id);
    *bucket(e, j->id) = j;
    e->jobs++;
    j->choice[0].state = ready == SR_OK ? SR_CH_WAITING : SR_CH_FORMING;
    sr_list_add(ready == SR_OK ? &e->waiting : &e->forming, &j->choice[0]);
    return SR_OK;
}

void sr_job_free(sr_engine *e, sr_job *j)
{
    sr_job **p = bucket(e, j->id);
    while (*p != j)
        p = &(*p)->hash_next;
    *p = j->hash_next;
    e->jobs--;
    sr_constrain_end(j);
    sr_free((void *)(uintptr_t)j->grammar);
    sr_free(j);
}

void sr_choice_stop(sr_engine *e, sr_choice *c)
{
    if (c->state == SR_CH_WAITING)
        sr_list_del(&e->waiting, c);
    else if (c->state == SR_CH_FORMING)
        sr_list_del(&e->forming, c);
    else if (c->state == SR_CH_RUNNING)
        sr_list_del(&e->running, c);
    sr_kv_end(c->seq);
    c->seq  = NULL;
    c->live = false;
}

static void preempt(sr_engine *e, sr_choice *c)
{
    sr_list_del(&e->running, c);
    sr_kv_end(c->seq);
    c->seq      = NULL;
    c->computed = 0;
    c->rows = c->outs = 0;
    c->flight = 0;
    c->state  = SR_CH_WAITING;
    sr_list_add(&e->waiting, c);
    sr_port_gauges(e->port)->preemptions++;
}

/* Pages a choice still needs to compute what it has, on the device tier of group 0 (all groups have as many). */
static uint32_t pages_missing(const sr_engine *e, const sr_choice *c)
{
    uint32_t per = e->m->cfg.page_tokens;
    return (c->n_tok + per) / per - c->computed / per;
}

/* The vocabulary is ready: its requests stand in line, as early as they came. */
static void form(sr_engine *e)
{
    while (e->forming.head && sr_port_event_room(e->port) > 4u * SR_PORT_EVENT_MAX) {
        sr_choice *c   = e->forming.head;
        sr_err     err = {0};
        sr_status  s   = sr_constrain_ready(e, &err);
        if (s == SR_AGAIN)
            return;
        if (s) {
            sr_emit_error(e, c, s, err.msg);
            continue;
        }
        sr_list_del(&e->forming, c);
        c->state = SR_CH_WAITING;
        sr_list_add(&e->waiting, c);
    }
}

static bool out_of_credit(const sr_choice *c) { return c->job->window && c->made - c->acked >= c->job->window; }

/* The first in line who could go on: who is out of credit waits for his reader, not for a place. */
static sr_choice *first_in_line(const sr_engine *e)
{
    sr_choice *c = e->waiting.head;
    while (c && out_of_credit(c))
        c = c->next;
    return c;
}

/* A place, and the pages with it, are not held by who has not been read for a while: else as many clients that do not read as there are
 * places stop everybody.  He comes back when he is read, through the prefix cache.  False: there is nobody like that. */
enum { UNREAD_NS = 500000000 };
static bool give_way(sr_engine *e)
{
    uint64_t now = 0;
    for (sr_choice *c = e->running.tail; c; c = c->prev) {
        if (!c->paused_at || !out_of_credit(c))
            continue;
        now = now ? now : sr_now_ns();
        if (now - c->paused_at >= UNREAD_NS) {
            preempt(e, c);
            return true;
        }
    }
    return false;
}

void sr_sched_admit(sr_engine *e)
{
    sr_choice *c;
    form(e);
    while ((c = first_in_line(e)) && sr_port_event_room(e->port) > 4u * SR_PORT_EVENT_MAX) {
        sr_job    *j = c->job;
        if (e->running.n == e->m->cfg.max_seqs && !give_way(e))
            return;
        sr_kvtier  t[SR_TIER_COUNT];
        sr_kv_stats(e->m->kv, 0, t);
        /* Everybody who runs may want a page soon: without that reserve the newcomer would be thrown out again. */
        uint32_t room = t[SR_TIER_DEVICE].free + t[SR_TIER_DEVICE].cached, need = pages_missing(e, c) + e->running.n;
        if (e->running.n && room < need) {
            if (!give_way(e))
                return;
            continue;
        }
        sr_err err    = {0};
        if (j->grammar && sr_constrain_begin(e, j, &err)) {
            sr_emit_error(e, c, err.status, err.msg);
            continue;
        }
        size_t cached = 0;
        size_t reuse  = j->n_prompt_logprobs && c->scored + 1 < j->n_prompt ? 0 : c->n_tok - 1;
        reuse         = j->what == SR_EMBED ? SR_MIN(reuse, j->pool_at) : reuse; /* a cached token has no state any more */
        sr_status s   = sr_kv_begin(e->m->kv, j->salt, c->tok, c->n_tok, reuse, &c->seq, &cached, &err);
        if (s == SR_AGAIN && give_way(e))
            continue;
        if (s == SR_AGAIN)
            return;
        if (s) {
            sr_emit_error(e, c, s, err.msg);
            continue;
        }
        sr_list_del(&e->waiting, c);
        c->state     = SR_CH_RUNNING;
        c->paused_at = 0;
        c->computed  = (uint32_t)cached;
        sr_list_add(&e->running, c);
        if (!j->started) {
            j->cached   = (uint32_t)cached;
            j->ns_queue = sr_now_ns() - j->arrival;
            sr_port_gauges(e->port)->tokens_cached += cached;
            sr_emit_start(e, j);
        }
    }
}

static bool is_end(const sr_job *j, int32_t tok)
{
    for (uint32_t i = 0; i < j->n_stop_tok; i++)
        if (j->stop_tok[i] == tok)
            return true;
    return false;
}

/* Adds (token, count, bias) to the row's list in the blob.  Returns false when the blob is full. */
static bool adjust(sr_block *b, sr_sampdev *row, int32_t tok, uint32_t count, float bias)
{
    if (b->sampling_used + sizeof(sr_adjust) > b->sampling_bytes)
        return false;
    sr_adjust *a = (sr_adjust *)(b->sampling + b->sampling_used);
    *a           = (sr_adjust){tok, count, bias};
    b->sampling_used += sizeof *a;
    row->n_adjust++;
    return true;
}

/* Penalties look at the last rep_last_n tokens; biases, and ends forbidden before min_new, are added to the same list:
 * one entry a token. */
static bool adjustments(sr_engine *e, const sr_choice *c, sr_sampdev *row)
{
    const sr_job      *j = c->job;
    const sr_sampling *s = &j->sampling;
    sr_block          *b = &e->m->block;
    uint32_t           n = 0;
    bool penal = s->rep_last_n && ((s->rep_penalty > 0 && s->rep_penalty != 1.0f) || s->freq_penalty != 0 || s->pres_penalty != 0);
    row->adjust = (uint32_t)b->sampling_used;
    if (penal)
        for (uint32_t i = c->n_tok - SR_MIN(c->n_tok, s->rep_last_n); i < c->n_tok; i++)
            if (e->count[c->tok[i]]++ == 0)
                e->touched[n++] = c->tok[i];
    bool ok = true;
    for (uint32_t i = 0; i < s->n_bias; i++) {
        int32_t t = s->bias[i].tok;
        ok &= adjust(b, row, t, e->count[t], s->bias[i].bias);
        e->count[t] = 0;
    }
    bool hold = c->made < j->min_new;
    for (uint32_t i = 0; hold && i < j->n_stop_tok; i++)
        if ((uint32_t)j->stop_tok[i] < e->m->info.n_vocab)
            ok &= adjust(b, row, j->stop_tok[i], 0, -INFINITY);
    for (uint32_t i = 0; i < n; i++) {
        int32_t t = e->touched[i];
        if (e->count[t] && !(hold && is_end(j, t)))
            ok &= adjust(b, row, t, e->count[t], 0);
        e->count[t] = 0;
    }
    return ok;
}

static void fail(sr_choice *c, sr_status status, const char *why)
{
    c->fail = status;
    snprintf(c->why, sizeof c->why, "%.*s", (int)sizeof c->why - 1, why);
}

/* The tokens that the choice's grammar allows next, behind the lists.  False: no room, or c has failed. */
static bool allowed(sr_engine *e, sr_choice *c, sr_sampdev *row)
{
    sr_block *b     = &e->m->block;
    size_t    bytes = sr_block_mask(e->m);
    sr_err    err   = {0};
    if (b->sampling_used + bytes > b->sampling_bytes)
        return false;
    if (sr_constrain_mask(e, c, (uint32_t *)(void *)(b->sampling + b->sampling_used), &err)) {
        fail(c, err.status, err.msg);
        return false;
    }
    row->mask = (uint32_t)b->sampling_used;
    b->sampling_used += bytes;
    return true;
}

sr_sampdev sr_sched_sampling(const sr_choice *c, uint32_t pos)
{
    const sr_sampling *s = &c->job->sampling;
    return (sr_sampdev){.temp = s->temp, .top_p = s->top_p, .min_p = s->min_p, .typical_p = s->typical_p, .rep_penalty = s->rep_penalty,
                        .freq_penalty = s->freq_penalty, .pres_penalty = s->pres_penalty, .top_k = s->top_k, .seed = s->seed,
                        .choice = c->index, .pos = pos, .n_alt = c->job->n_logprobs ? c->job->n_logprobs - 1 : 0, .given = -1};
}

/* One wanted row: the logits after token row `row`, for choice c. */
static bool want(sr_engine *e, sr_choice *c, uint32_t row, int32_t given)
{
    sr_block          *b = &e->m->block;
    const sr_job      *j = c->job;
    sr_sampdev        *d = (sr_sampdev *)b->sampling + b->now.out;
    *d                   = sr_sched_sampling(c, c->n_tok);
    if (given >= 0) {
        d->given = given;
        d->n_alt = j->n_prompt_logprobs ? j->n_prompt_logprobs - 1 : 0;
    }
    b->out[b->now.out++] = row;
    *(j->what == SR_EMBED ? &b->vectors : &b->drawn) += 1;
    return given >= 0 || (adjustments(e, c, d) && (!c->matcher || allowed(e, c, d)));
}

/* The rows of a request for a vector.  What is sampled there, if others sample, is looked at by nobody. */
static bool states(sr_engine *e, sr_choice *c, uint32_t n)
{
    uint32_t first, rows = sr_vector_rows(c, n, &first);
    for (uint32_t i = 0; i < rows; i++)
        if (!want(e, c, c->row + first + i, 0))
            return false;
    c->outs = rows;
    return true;
}

/* What is wanted after the last rows: the next token (of every choice, if they part here), or the prompt's own. */
static bool outputs(sr_engine *e, sr_choice *c, uint32_t n)
{
    sr_block *b = &e->m->block;
    sr_job   *j = c->job;
    c->out      = b->now.out;
    c->given    = 0;
    if (j->what == SR_EMBED)
        return states(e, c, n);
    if (j->n_prompt_logprobs)
        for (uint32_t i = 0; i < n; i++) {
            uint32_t p = c->computed + i;
            if (p + 1 < j->n_prompt && p + 1 > c->scored) {
                if (!want(e, c, c->row + i, c->tok[p + 1]))
                    return false;
                c->given++;
            }
        }
    if (c->computed + n == c->n_tok && j->max_new) {
        for (uint32_t k = 0; k < j->n; k++)
            if (j->choice[k].live && (&j->choice[k] == c || j->choice[k].state == SR_CH_BLOCKED))
                if (!want(e, &j->choice[k], c->row + n - 1, -1))
                    return false;
    }
    c->outs = b->now.out - c->out;
    return true;
}

/* Most tokens of this choice that fit the rows left for wanted outputs. */
static uint32_t limit_by_outputs(const sr_engine *e, const sr_choice *c, uint32_t n)
{
    const sr_block *b    = &e->m->block;
    const sr_job   *j    = c->job;
    uint32_t        room = b->max.out - b->now.out, first;
    if (j->what == SR_EMBED) {
        uint32_t rows = sr_vector_rows(c, n, &first);
        return rows > room ? first + room : n;
    }
    uint32_t        last = j->max_new ? (j->forked || j->n == 1 ? 1 : j->live) : 0;
    if (j->n_prompt_logprobs && c->scored + 1 < j->n_prompt)
        return room > last ? SR_MIN(n, room - last) : 0;
    return c->computed + n == c->n_tok && room < last ? (n > 1 ? n - 1 : 0) : n;
}

/* Makes room for n more tokens of c.  Those after c in order that have no rows in this step yet may have to give
 * their pages back; if that is not enough, c waits for a step. */
static bool reserve(sr_engine *e, sr_choice *c, uint32_t n, sr_step *step)
{
    for (;;) {
        sr_err    err = {0};
        sr_status s   = sr_kv_reserve(c->seq, n, &err);
        if (s == SR_OK)
            return true;
        if (s != SR_AGAIN) {
            fail(c, s, err.msg);
            return false;
        }
        sr_choice *victim = e->running.tail;
        while (victim != c && victim->rows)
            victim = victim->prev;
        if (victim == c) {
            if (e->running.n == 1)
                fail(c, SR_NOMEM, "the KV pool is too small for this sequence");
            return false;
        }
        step->preempted++;
        preempt(e, victim);
    }
}

/* Gives c up to n rows.  Wanted rows first: they can fail, and nothing is lost then. */
static uint32_t serve(sr_engine *e, sr_choice *c, uint32_t n, sr_step *step)
{
    sr_block *b    = &e->m->block;
    uint32_t  outs = b->now.out, drawn = b->drawn, vectors = b->vectors;
    size_t    used = b->sampling_used;
    size_t    vec  = c->job->what == SR_EMBED ? (size_t)sr_vector_events(e->m) * SR_PORT_EVENT_MAX : 0;
    n              = limit_by_outputs(e, c, n);
    if (n && c->computed + n == c->n_tok && e->vector_room < vec) /* its last token waits until the vector can leave */
        n--;
    if (n == 0 || b->now.seq == b->max.seq || !reserve(e, c, n, step))
        return 0;
    c->row = b->now.tok;
    if (!outputs(e, c, n)) {
        b->now.out       = outs;
        b->sampling_used = used;
        b->drawn         = drawn;
        b->vectors       = vectors;
        c->outs          = 0;
        sr_kv_trim(c->seq);
        if (b->now.seq == 0 && !c->fail) /* nobody else used the room: it will never fit */
            fail(c, SR_NOMEM, "too many penalised or biased tokens");
        return 0;
    }
    c->rows = n;
    e->vector_room -= c->computed + n == c->n_tok ? vec : 0;
    sr_block_add(e->m, c->seq, c->tok + c->computed, c->computed, n);
    return n;
}

/* While others wait for their next token, prompts get about this much of a step's time, or as much as the step takes anyway. */
enum { STEP_TARGET_NS = 60000000, MIN_CHUNK = 32 };

/* Rows of a step for a prompt that misses so many: its last token is not left alone, which would go the way of an answer's tokens, whose sums have another
 * order (ops/attn). */
static uint32_t piece(uint32_t missing, uint32_t room)
{
    const uint32_t n = SR_MIN(missing, room);
    return n > 2 && missing - n == 1 ? n - 1 : n;
}

bool sr_sched_build(sr_engine *e, sr_step *step)
{
    sr_block *b = &e->m->block;
    uint32_t  paused = 0, decoding = 0, n = 0;
    sr_block_begin(b);
    for (sr_choice *c = e->running.head; c; c = c->next) {
        c->rows = c->outs = c->given = 0;
        decoding += c->n_tok - c->computed == 1;
        e->turn[n++] = c;
    }
    uint32_t prompt_budget = b->max.tok;
    if (decoding && e->ns_per_token > 0) {
        double fit    = SR_MAX((double)STEP_TARGET_NS, e->ns_step) / e->ns_per_token;
        prompt_budget = fit < MIN_CHUNK ? MIN_CHUNK : fit < b->max.tok ? (uint32_t)fit : b->max.tok;
    }
    e->n_turn = n;
    for (int prompts = 0; prompts < 2; prompts++)
        for (uint32_t i = 0; i < n; i++) {
            sr_choice *c       = e->turn[i];
            uint32_t   missing = c->n_tok - c->computed;
            if (c->state != SR_CH_RUNNING || (missing > 1) != prompts)
                continue;
            if (out_of_credit(c)) {
                c->paused_at = c->paused_at ? c->paused_at : sr_now_ns();
                paused++;
                continue;
            }
            c->paused_at = 0;
            uint32_t room = b->max.tok - b->now.tok;
            uint32_t got  = serve(e, c, prompts ? piece(missing, SR_MIN(prompt_budget, room)) : SR_MIN(missing, room), step);
            prompt_budget -= prompts ? got : 0;
        }
    sr_port_gauges(e->port)->paused = paused;
    step->seqs   = b->now.seq;
    step->tokens = b->now.tok;
    return b->now.tok > 0;
}
