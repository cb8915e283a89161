/* engine.c - the step, and what comes out of it: commands in, one program run, tokens out. */
#include "engine/engine.h"

#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/offload.h"
#include "engine/skip.h"

enum { DEFAULT_QUEUE = 1024, FEW = 4, MANY = 32 };

/* ---- events ------------------------------------------------------------------------------------------------- */

/* The poller is behind and commands may be waiting: the port's own sleep would return at once. */
static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
}

static void emit(sr_engine *e, const sr_event *ev)
{
    /* Room was asked for before the step; commands that end a request can still find the ring full: the poller is
     * behind by a whole ring and must catch up before anything else makes sense. */
    while (!sr_port_emit(e->port, ev)) {
        sr_port_flush(e->port);
        rest();
    }
}

void sr_emit_start(sr_engine *e, sr_job *j)
{
    j->started = true;
    emit(e, &(sr_event){.id = j->id, .choice = 0, .kind = SR_EV_START, .usage = {.prompt = j->n_prompt, .cached = j->cached}});
}

/* The choice is over; with the last one the request is. */
static void finish(sr_engine *e, sr_choice *c, sr_event *ev)
{
    sr_job *j = c->job;
    ev->id     = j->id;
    ev->choice = c->index;
    ev->usage.prompt    = j->n_prompt;
    ev->usage.cached    = j->cached;
    ev->usage.made      = c->made;
    ev->usage.exited    = c->exited;
    ev->usage.blocks_skipped = c->blocks_skipped;
    ev->usage.ns_queue  = j->ns_queue;
    ev->usage.ns_prompt = j->ns_prompt;
    ev->usage.ns_total  = sr_now_ns() - j->arrival;
    emit(e, ev);
    sr_choice_stop(e, c);
    if (--j->live == 0)
        sr_job_free(e, j);
}

void sr_emit_done(sr_engine *e, sr_choice *c, sr_endreason reason)
{
    sr_portstats *g = sr_port_gauges(e->port);
    if (reason == SR_END_CANCEL)
        g->cancelled++;
    g->requests_done += c->job->live == 1;
    finish(e, c, &(sr_event){.kind = SR_EV_DONE, .reason = reason});
}

/* An error before the choices have parted ends them all. */
void sr_emit_error(sr_engine *e, sr_choice *c, sr_status s, const char *msg)
{
    sr_job *j = c->job;
    sr_port_gauges(e->port)->requests_failed++;
    if (j->forked || j->n == 1) {
        finish(e, c, &(sr_event){.kind = SR_EV_ERROR, .status = s, .msg = msg});
        return;
    }
    emit(e, &(sr_event){.id = j->id, .choice = ~0u, .kind = SR_EV_ERROR, .status = s, .msg = msg});
    for (uint32_t i = 0; i < j->n; i++)
        if (j->choice[i].live)
            sr_choice_stop(e, &j->choice[i]);
    sr_job_free(e, j);
}

/* The most a step or a scan of deadlines may say at once: an event for every row and twice for every choice. */
static size_t step_room(uint32_t max_seqs, uint32_t out_rows) { return ((size_t)out_rows + 4u * max_seqs + 4u) * SR_PORT_EVENT_MAX; }
static size_t event_room(const sr_engine *e) { return step_room(e->m->cfg.max_seqs, e->m->cfg.out_rows); }

size_t sr_engine_events(uint32_t max_seqs, uint32_t out_rows)
{
    max_seqs = max_seqs ? max_seqs : SR_ENGINE_SEQS;
    return SR_MAX((size_t)1 << 20, 2 * step_room(max_seqs, SR_MAX(SR_MAX(out_rows, max_seqs), (uint32_t)SR_ENGINE_MEAN_ROWS)));
}

/* ---- commands ----------------------------------------------------------------------------------------------- */

static void end_choices(sr_engine *e, uint64_t id, uint32_t choice, sr_endreason reason)
{
    sr_job *j = sr_job_find(e, id);
    if (!j)
        return; /* it ended by itself while the word was under way */
    uint32_t n = j->n;
    for (uint32_t i = 0, left = j->live; i < n && left; i++) {
        sr_choice *c = &j->choice[i];
        if (!c->live || (choice != ~0u && choice != i))
            continue;
        /* Choice 0 computes the prompt for the others: while they wait for it, it cannot go alone. */
        if (!j->forked && j->n > 1 && choice == 0) {
            c->gone = reason;
            return;
        }
        left--;
        sr_emit_done(e, c, reason); /* frees j with its last choice */
        if (!left)
            return;
    }
}

static void take_commands(sr_engine *e)
{
    sr_command c;
    /* A command may end every choice of a request.  Without room for that, commands wait in their ring. */
    size_t room = ((size_t)e->m->cfg.max_seqs + 2) * SR_PORT_EVENT_MAX;
    while (sr_port_event_room(e->port) >= room && sr_port_take(e->port, &c)) {
        sr_job *j;
        sr_err  err = {0};
        switch (c.kind) {
        case SR_CMD_POST:
            if (sr_job_take(e, &c.request, &err)) {
                sr_port_gauges(e->port)->requests_failed++;
                emit(e, &(sr_event){.id = c.id, .choice = ~0u, .kind = SR_EV_ERROR, .status = err.status, .msg = err.msg});
            }
            break;
        case SR_CMD_END:
            end_choices(e, c.id, c.choice, c.reason);
            break;
        case SR_CMD_ACK:
            j = sr_job_find(e, c.id);
            for (uint32_t i = 0; j && i < j->n; i++)
                if (c.choice == ~0u || c.choice == i)
                    j->choice[i].acked = SR_MAX(j->choice[i].acked, SR_MIN(c.pos, j->choice[i].made));
            break;
        case SR_CMD_NONE:
            break;
        }
    }
}

static void expire_waiting(sr_engine *e, sr_list *l, uint64_t now)
{
    for (sr_choice *c = l->head, *next; c && sr_port_event_room(e->port) >= 2 * SR_PORT_EVENT_MAX; c = next) {
        next      = c->next;
        sr_job *j = c->job;
        if (!j->started && j->queue_deadline && now > j->queue_deadline)
            sr_emit_error(e, c, SR_AGAIN, "waited too long for a place in the batch");
        else if (j->deadline && now > j->deadline)
            sr_emit_done(e, c, SR_END_DEADLINE);
    }
}

/* Deadlines are seconds, so looking every 10 ms is enough. */
static void expire(sr_engine *e)
{
    uint64_t now = sr_now_ns();
    if (now - e->deadline_scan < 10000000 || sr_port_event_room(e->port) < event_room(e))
        return;
    e->deadline_scan = now;
    expire_waiting(e, &e->forming, now);
    expire_waiting(e, &e->waiting, now);
    for (sr_choice *c = e->running.head, *next; c; c = next) {
        next = c->next;
        if (c->job->deadline && now > c->job->deadline && (c->job->forked || c->job->n == 1))
            sr_emit_done(e, c, SR_END_DEADLINE);
    }
}

/* ---- one step ----------------------------------------------------------------------------------------------- */

static bool ends(const sr_job *j, int32_t tok)
{
    for (uint32_t i = 0; !j->ignore_eos && i < j->n_stop_tok; i++)
        if (j->stop_tok[i] == tok)
            return true;
    return false;
}

static const char not_numbers[] = "the model computed what is not a number: its weights may be damaged";

/* Why row r of the last step has no token: what the request forbids can be all that its grammar allows, anything else is
 * the model's fault, not the client's. */
static void no_token(sr_engine *e, sr_choice *c, const sr_sampled *r)
{
    const sr_block   *b       = &e->m->block;
    const sr_sampdev *d       = (const sr_sampdev *)b->sampling + (r - e->m->sampled);
    const sr_adjust  *a       = (const sr_adjust *)(b->sampling + d->adjust);
    const uint32_t   *mask    = (const uint32_t *)(const void *)(b->sampling + d->mask);
    uint32_t          allowed = d->mask ? 0 : e->m->info.n_vocab, forbidden = 0;
    for (size_t i = 0; d->mask && i < sr_block_mask(e->m) / sizeof *mask; i++)
        allowed += (uint32_t)__builtin_popcount(mask[i]);
    for (uint32_t i = 0; i < d->n_adjust; i++)
        forbidden += a[i].bias == -INFINITY;
    if (forbidden >= allowed)
        sr_emit_error(e, c, SR_INVALID, "no token could be sampled: every token is forbidden");
    else
        sr_emit_error(e, c, SR_IO, not_numbers);
}

/* A new token of choice c.  May end it. */
static void token(sr_engine *e, sr_choice *c, const sr_sampled *r)
{
    sr_job *j = c->job;
    if (r->tok < 0) {
        no_token(e, c, r);
        return;
    }
    c->made++;
    if (e->m->skip) {
        c->exited += e->m->skip->step_exited;
        c->blocks_skipped += e->m->skip->step_blocks;
    }
    sr_port_gauges(e->port)->tokens_made++;
    if (ends(j, r->tok)) {
        sr_emit_done(e, c, SR_END_EOS);
        return;
    }
    bool   whole = false;
    sr_err err   = {0};
    if (c->matcher && sr_constrain_accept(c, r->tok, &whole, &err)) {
        sr_emit_error(e, c, err.status, err.msg);
        return;
    }
    sr_alt   alt[SR_MAX_ALT];
    uint32_t n_alt = j->n_logprobs ? SR_MIN(r->n_alt, (uint32_t)SR_MAX_ALT) : 0;
    for (uint32_t i = 0; i < n_alt; i++)
        alt[i] = (sr_alt){r->alt[i].tok, r->alt[i].logprob};
    emit(e, &(sr_event){.id = j->id, .choice = c->index, .pos = c->made - 1, .kind = SR_EV_TOKEN, .token = r->tok,
                        .logprob = r->logprob, .alt = alt, .n_alt = n_alt});
    c->tok[c->n_tok++] = r->tok;
    if (c->made == 1 && e->now.n == 1) /* somebody alone waits for the first text: the rest of the step's work comes after it */
        sr_port_hurry(e->port);
    if (whole) /* its grammar ends here: no step for an end token that must come */
        sr_emit_done(e, c, SR_END_EOS);
    else if (c->made >= j->max_new)
        sr_emit_done(e, c, SR_END_LENGTH);
}

/* False: there are none, and the request has ended. */
static bool prompt_scores(sr_engine *e, sr_choice *c, const sr_sampled *r)
{
    for (uint32_t i = 0; i < c->given; i++, r++) {
        if (r->tok < 0) {
            sr_emit_error(e, c, SR_IO, not_numbers);
            return false;
        }
        sr_alt   alt[SR_MAX_ALT];
        uint32_t n_alt = SR_MIN(r->n_alt, (uint32_t)SR_MAX_ALT);
        for (uint32_t k = 0; k < n_alt; k++)
            alt[k] = (sr_alt){r->alt[k].tok, r->alt[k].logprob};
        c->scored++;
        emit(e, &(sr_event){.id = c->job->id, .choice = c->index, .pos = c->scored, .kind = SR_EV_PROMPT, .token = r->tok,
                            .logprob = r->logprob, .alt = alt, .n_alt = n_alt});
    }
    return true;
}

/* The prompt is computed: the other choices get their own view of its pages and their first token. */
static void fork_choices(sr_engine *e, sr_choice *c, const sr_sampled *r)
{
    sr_job *j = c->job;
    j->forked = true;
    for (uint32_t i = 1; i < j->n; i++) {
        sr_choice *o = &j->choice[i];
        if (!o->live)
            continue;
        sr_err err = {0};
        o->computed = c->computed;
        if (e->running.n < e->m->cfg.max_seqs && sr_kv_fork(c->seq, &o->seq, &err) == SR_OK) {
            o->state = SR_CH_RUNNING;
            sr_list_add(&e->running, o);
        } else { /* no room now: it comes back through the prefix cache, with its first token */
            o->computed = 0;
            o->state    = SR_CH_WAITING;
            sr_list_add(&e->waiting, o);
        }
    }
    /* Ended choices free the job with the last of them: take what is needed first. */
    uint32_t n = j->n, left = j->live;
    for (uint32_t i = 1; i < n && left > 1; i++) {
        sr_choice *o = &j->choice[i];
        if (o->live) {
            left--;
            token(e, o, ++r);
        }
    }
}

/* The prompt is computed: its vector leaves in pieces.  The schedule has kept room for them. */
static void vector(sr_engine *e, sr_choice *c)
{
    sr_job  *j   = c->job;
    uint32_t dim = e->m->info.n_embd, n;
    if (!sr_vector_finish(e->m, j)) {
        sr_emit_error(e, c, SR_IO, not_numbers);
        return;
    }
    for (uint32_t at = 0; at < dim; at += n) {
        float piece[SR_PORT_VECTOR_MAX];
        n = SR_MIN(dim - at, (uint32_t)SR_PORT_VECTOR_MAX);
        for (uint32_t i = 0; i < n; i++)
            piece[i] = (float)j->pool_sum[at + i];
        emit(e, &(sr_event){.id = j->id, .kind = SR_EV_VECTOR, .pos = at, .vec = piece, .n_vec = n});
    }
    sr_emit_done(e, c, SR_END_LENGTH);
}

static void after(sr_engine *e, sr_choice *c, uint64_t now)
{
    sr_job           *j = c->job;
    const sr_sampled *r = e->m->sampled + c->out;
    sr_err            err = {0};
    if (sr_kv_commit(c->seq, c->tok + c->computed, NULL, c->rows, &err)) {
        sr_emit_error(e, c, err.status, err.msg);
        return;
    }
    uint32_t was = c->computed;
    c->computed += c->rows;
    if (was < j->n_prompt)
        sr_port_gauges(e->port)->tokens_prompt += SR_MIN(c->computed, j->n_prompt) - was;
    if (!prompt_scores(e, c, r))
        return;
    if (j->what == SR_EMBED)
        sr_vector_add(e->m, c);
    if (c->computed < c->n_tok) {
        if (was < j->n_prompt)
            emit(e, &(sr_event){.id = j->id, .choice = c->index, .kind = SR_EV_PROGRESS, .pos = c->computed});
        return;
    }
    if (!j->ns_prompt)
        j->ns_prompt = now - j->arrival - j->ns_queue;
    if (j->what == SR_EMBED) {
        vector(e, c);
        return;
    }
    if (j->max_new == 0) {
        sr_emit_done(e, c, SR_END_LENGTH);
        return;
    }
    r += c->given;
    bool first = !j->forked && j->n > 1;
    sr_endreason gone = c->gone;
    if (first)
        fork_choices(e, c, r); /* choice 0 is still live, so the job is */
    if (gone)
        sr_emit_done(e, c, gone);
    else
        token(e, c, r);
}

static void gauges(sr_engine *e)
{
    sr_portstats *g = sr_port_gauges(e->port);
    sr_kvtier     t[SR_TIER_COUNT];
    sr_kv_stats(e->m->kv, 0, t);
    g->running       = e->running.n;
    g->waiting       = e->waiting.n + e->forming.n;
    g->pages_total   = t[SR_TIER_DEVICE].total;
    g->pages_used    = t[SR_TIER_DEVICE].in_use;
    g->pages_cached  = t[SR_TIER_DEVICE].cached;
    g->pages_free    = t[SR_TIER_DEVICE].free;
    g->prefix_hits   = t[SR_TIER_DEVICE].hits;
    g->prefix_misses = t[SR_TIER_DEVICE].misses;
    if (e->m->off) {
        const sr_balance *b = &e->m->off->balance;
        g->stream_steps     = b->all.steps;
        g->ns_stream_steps  = b->all.ns;
        g->cpu_bytes        = b->all.cpu_bytes;
        g->ns_cpu_busy      = b->all.cpu_ns;
        g->bus_bytes        = b->all.bus_bytes;
        g->ns_bus_busy      = b->all.bus_ns;
        g->cpu_share_ppm    = (uint64_t)(e->m->info.cpu_share * 1e6);
        g->share_changes    = b->changes;
    }
    sr_skipcount skipped = sr_model_skipped(e->m);
    g->blocks          = 2 * e->m->info.n_layer;
    g->blocks_left_out = skipped.blocks;
    g->exit_tests      = skipped.tested;
    g->exits           = skipped.exited;
}

/* Those who have not begun have lost nothing yet if another engine comes: the port posts them again (port_journal.h). */
static void fail_list(sr_engine *e, sr_list *l, const char *msg)
{
    sr_choice *c = l->head;
    while (c) {
        if (e->cfg.replaced && !c->job->started) {
            c = c->next;
            continue;
        }
        sr_emit_error(e, c, SR_DEVLOST, msg);
        c = l->head; /* it may have taken others of its request along */
    }
}

/* The device is gone: everybody who was in it hears so. */
static sr_status lose(sr_engine *e, sr_err *err)
{
    e->lost   = true;
    e->now.on = e->next.on = false;
    sr_port_gauges(e->port)->fault = !e->cfg.replaced;
    sr_port_gauges(e->port)->ready = 0;
    fail_list(e, &e->running, err->msg);
    fail_list(e, &e->waiting, err->msg);
    fail_list(e, &e->forming, err->msg);
    gauges(e);
    sr_port_flush(e->port);
    return err->status;
}

static void end_failed(sr_engine *e)
{
    for (uint32_t i = 0; i < e->n_turn; i++)
        if (e->turn[i]->fail)
            sr_emit_error(e, e->turn[i], e->turn[i]->fail, e->turn[i]->why);
}

/* A step costs something even with one token: little on a CPU or with all weights on the card, nearly everything where they come over
 * a bus. */
static void learn_cost(sr_engine *e, uint32_t tok, double ns)
{
    double  *mean = tok <= FEW ? &e->ns_step : &e->ns_per_token;
    if (tok > FEW && tok < MANY)
        return;
    ns    = tok <= FEW ? ns : SR_MAX(ns - e->ns_step, ns / 64) / tok;
    *mean = *mean > 0 ? 0.7 * *mean + 0.3 * ns : ns;
}

/* The step under way, and the launch of the one behind it; returns when the former is over. */
static sr_status compute(sr_engine *e, uint64_t *ns_wait, sr_err *err)
{
    uint64_t t0 = sr_now_ns(), work = 0;
    __atomic_store_n(&e->busy_since, t0, __ATOMIC_RELEASE);
    sr_status s = e->now.on ? SR_OK : sr_flight_begin(e, err);
    if (s == SR_OK && e->now.at.done.word) {
        sr_flight_doze(e);
        uint64_t t = sr_now_ns();
        take_commands(e); /* who came meanwhile is in the next step, which is not launched yet then */
        sr_sched_admit(e);
        s    = sr_flight_follow(e, err);
        work = sr_now_ns() - t;
    }
    if (s == SR_OK)
        s = sr_flight_wait(e, err);
    *ns_wait = sr_now_ns() - t0 - work;
    __atomic_store_n(&e->busy_since, 0, __ATOMIC_RELEASE);
    return s;
}

/* What came out of the step under way. */
static void events(sr_engine *e, uint64_t now)
{
    for (uint32_t i = 0; i < e->now.n; i++) {
        sr_choice *c = sr_flight_rider(e, &e->now, i);
        if (c && c->rows)
            after(e, c, now);
        else if (c && c->fail)
            sr_emit_error(e, c, c->fail, c->why);
    }
}

sr_status sr_engine_step(sr_engine *e, sr_step *step, sr_err *err)
{
    uint64_t t0 = sr_now_ns();
    *step       = (sr_step){0};
    if (e->lost)
        return sr_raise(err, SR_DEVLOST, "the device is lost");
    take_commands(e);
    expire(e);
    sr_sched_admit(e);
    e->n_turn = 0;
    size_t room    = sr_port_event_room(e->port), least = event_room(e);
    e->vector_room = room - SR_MIN(room, least);
    bool work      = room >= least && (e->now.on || (e->running.n && sr_sched_build(e, step)));
    if (!work) {
        end_failed(e);
        gauges(e);
        sr_port_flush(e->port);
        return SR_AGAIN;
    }
    uint64_t wait = 0;
    if (compute(e, &wait, err))
        return lose(e, err);
    uint64_t t2 = sr_now_ns();
    step->seqs   = e->now.seqs;
    step->tokens = e->now.tokens;
    learn_cost(e, e->now.tokens, (double)(e->now.over - e->now.since));
    events(e, t2);
    sr_portstats *g = sr_port_gauges(e->port);
    uint64_t      t3 = sr_now_ns();
    step->ns_wait    = wait;
    step->ns_predicted   = (uint64_t)(e->m->info.predicted_s * 1e9);
    step->bytes_streamed = sr_offload_bytes(e->m) - g->bytes_streamed;
    g->bytes_streamed += step->bytes_streamed;
    step->ns_host    = t3 - t0 - wait;
    g->steps++;
    g->ns_steps += t3 - t0;
    g->ns_wait += step->ns_wait;
    g->ns_host += step->ns_host;
    gauges(e);
    sr_port_flush(e->port);
    return sr_flight_end(e, err) ? lose(e, err) : SR_OK;
}

uint64_t sr_engine_busy(const sr_engine *e)
{
    uint64_t since = __atomic_load_n(&e->busy_since, __ATOMIC_ACQUIRE), now = sr_now_ns();
    return since && now > since ? now - since : 0;
}

sr_status sr_engine_run(sr_engine *e, const volatile int *stop, sr_err *err)
{
    sr_step step;
    while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
        sr_status s = sr_engine_step(e, &step, err);
        if (s == SR_AGAIN && sr_port_event_room(e->port) < event_room(e))
            rest();
        else if (s == SR_AGAIN)
            sr_port_sleep(e->port, e->jobs ? 2000000 : 1000000000);
        else if (s)
            return s;
    }
    return SR_OK;
}

/* ---- life --------------------------------------------------------------------------------------------------- */

sr_status sr_engine_open(sr_model *m, const sr_enginecfg *cfg, const sr_proposer *proposer, sr_port *port, sr_engine **out,
                         sr_err *err)
{
    if (proposer)
        return sr_raise(err, SR_UNSUPPORTED, "speculative decoding (proposer \"%s\")", proposer->name);
    sr_engine *e = sr_calloc(1, sizeof *e);
    if (!e)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for an engine", sizeof *e);
    e->m         = m;
    e->port      = port;
    e->cfg       = cfg ? *cfg : (sr_enginecfg){0};
    e->cfg.queue = e->cfg.queue ? e->cfg.queue : DEFAULT_QUEUE;
    e->count     = sr_calloc(m->info.n_vocab, sizeof *e->count);
    e->touched   = sr_calloc(m->info.n_vocab, sizeof *e->touched);
    e->turn      = sr_calloc(m->cfg.max_seqs, sizeof *e->turn);
    if (!e->count || !e->touched || !e->turn) {
        sr_engine_close(e);
        return sr_raise(err, SR_NOMEM, "host: memory for an engine of %u tokens of vocabulary", m->info.n_vocab);
    }
    if (sr_flight_open(e, err)) {
        sr_engine_close(e);
        return err->status;
    }
    size_t room = sr_port_event_room(port), least = event_room(e) + sr_vector_events(m) * (size_t)SR_PORT_EVENT_MAX;
    if (room < least) { /* it would wait for room for ever */
        sr_engine_close(e);
        return sr_raise(err, SR_INVALID, "the port holds %zu bytes of events; a step of %u sequences and %u outputs may need %zu", room,
                        m->cfg.max_seqs, m->cfg.out_rows, least);
    }
    sr_portstats *g = sr_port_gauges(port);
    g->max_ctx      = m->cfg.ctx;
    g->bytes_device   = m->info.bytes_device;
    g->bytes_outside  = m->info.bytes - m->info.bytes_device;
    g->bytes_streamed = sr_offload_bytes(m);
    g->ns_predicted   = (uint64_t)(m->info.predicted_s * 1e9);
    g->page_tokens  = m->cfg.page_tokens;
    g->max_seqs     = m->cfg.max_seqs;
    gauges(e);
    sr_status s = e->cfg.grammars ? sr_constrain_prepare(e, err) : SR_OK;
    if (s) {
        sr_engine_close(e);
        return s;
    }
    g->ready = 1;
    sr_port_flush(port); /* not when its thread gets to it: who is told that the server is ready may ask at once */
    *out = e;
    return SR_OK;
}

void sr_engine_close(sr_engine *e)
{
    if (!e)
        return;
    for (uint32_t i = 0; i < SR_JOB_BUCKETS; i++)
        while (e->bucket[i]) {
            sr_job *j = e->bucket[i];
            for (uint32_t k = 0; k < j->n; k++)
                if (j->choice[k].live)
                    sr_choice_stop(e, &j->choice[k]);
            sr_job_free(e, j);
        }
    if (e->port)
        sr_port_gauges(e->port)->ready = 0;
    sr_constrain_close(e);
    sr_free(e->count);
    sr_free(e->touched);
    sr_free(e->turn);
    sr_flight_close(e);
    sr_free(e);
}

bool sr_engine_check(const sr_engine *e, sr_err *err)
{
    uint32_t running = 0, waiting = 0, forming = 0, jobs = 0;
    for (const sr_choice *c = e->running.head; c; c = c->next, running++)
        if (!c->seq || c->state != SR_CH_RUNNING || c->computed != sr_kv_length(c->seq) || c->computed >= c->n_tok) {
            sr_raise(err, SR_INVALID, "running choice %u of request %llu: %u computed of %u, %zu in its pages", c->index,
                     (unsigned long long)c->job->id, c->computed, c->n_tok, c->seq ? sr_kv_length(c->seq) : 0);
            return false;
        }
    for (const sr_choice *c = e->waiting.head; c; c = c->next, waiting++)
        if (c->seq || c->state != SR_CH_WAITING) {
            sr_raise(err, SR_INVALID, "waiting choice %u of request %llu holds pages", c->index, (unsigned long long)c->job->id);
            return false;
        }
    for (const sr_choice *c = e->forming.head; c; c = c->next, forming++)
        if (c->seq || c->state != SR_CH_FORMING || !c->job->grammar || c->job->guide) {
            sr_raise(err, SR_INVALID, "request %llu waits for a grammar and has one", (unsigned long long)c->job->id);
            return false;
        }
    for (uint32_t i = 0; i < SR_JOB_BUCKETS; i++)
        for (const sr_job *j = e->bucket[i]; j; j = j->hash_next)
            jobs++;
    if (running != e->running.n || waiting != e->waiting.n || forming != e->forming.n || jobs != e->jobs) {
        sr_raise(err, SR_INVALID, "%u running, %u waiting, %u requests counted; %u, %u, %u expected", running, waiting, jobs,
                 e->running.n, e->waiting.n, e->jobs);
        return false;
    }
    return sr_kv_check(e->m->kv, err);
}
