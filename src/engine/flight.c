/* flight.c - steps under way: the next one is on the device's queue before this one's results are read.
 *
 *     device   | step 1        | step 2        | step 3        |         a row of step 2 is the token that step 1 sampled: it
 *     host      [launch 2] .... [events of 1][launch 3] .... [events of 2]      never leaves the device (sr_batch.tok < 0)
 *
 * A step may follow blindly when everybody who runs has rows in the present one, and will want one row after it, whichever token comes out: no
 * grammar, no penalty or end that depends on the token, credit left.  Who ends with a token nobody could foresee has a row too
 * many: it is thrown away, and its K and V lie in a page of his own, whose next owner writes it later on the same queue.
 * Who comes new waits for the steps under way, so the next one is launched as late as can be: when the present one is nearly over.
 *
 * A step's riders may end or be preempted while it is under way; they are found again by id and by the number of the flight. */
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/internal.h"
#include "engine/skip.h"

/* Building, launching and waking up late take less; a slice bounds by how much a sleep can miss the end of a shorter step. */
static const uint64_t LEAD_NS = 400000, SLICE_NS = 200000;

sr_status sr_flight_open(sr_engine *e, sr_err *err)
{
    uint32_t n    = e->m->cfg.max_seqs;
    e->now.rider  = sr_calloc(n, sizeof *e->now.rider);
    e->next.rider = sr_calloc(n, sizeof *e->next.rider);
    if (!e->now.rider || !e->next.rider)
        return sr_raise(err, SR_NOMEM, "host: memory for steps of %u sequences", n);
    return SR_OK;
}

void sr_flight_close(sr_engine *e)
{
    sr_free(e->now.rider);
    sr_free(e->next.rider);
}

static bool overlaps(const sr_engine *e)
{
    return sr_model_flies(e->m) && e->cfg.overlap != SR_OVERLAP_NEVER && (e->cfg.overlap == SR_OVERLAP_ALWAYS || !e->m->info.on_host);
}

static void begin(sr_engine *e, sr_flight *f)
{
    const sr_shape *n = &e->m->block.now;
    f->on     = true;
    f->number = ++e->flights;
    f->since  = sr_now_ns();
    f->seqs   = n->seq;
    f->tokens = n->tok;
    f->single = n->tok == n->seq;
}

static void add(sr_flight *f, const sr_choice *c, uint32_t out)
{
    f->rider[f->n++] = (sr_rider){.id = c->job->id, .order = c->job->order, .choice = c->index, .out = out};
}

sr_status sr_flight_begin(sr_engine *e, sr_err *err)
{
    sr_flight *f = &e->now;
    begin(e, f);
    f->n = 0;
    for (uint32_t i = 0; i < e->n_turn; i++) {
        sr_choice *c = e->turn[i];
        if (c->state != SR_CH_RUNNING || !(c->rows || c->fail))
            continue;
        c->flight = f->number;
        add(f, c, c->out);
    }
    f->at = (sr_launched){0};
    if (!overlaps(e) || e->m->block.vectors)
        return sr_model_compute(e->m, err);
    return sr_model_launch(e->m, e->m->sampled, &f->at, err);
}

void sr_flight_doze(const sr_engine *e)
{
    uint64_t least = UINT64_MAX, now;
    if (!e->now.at.done.word || !e->now.single)
        return;
    for (uint32_t i = 0; i < SR_COUNT(e->ns_single); i++)
        least = SR_MIN(least, e->ns_single[i]);
    while (!sr_reached(e->now.at.done) && (now = sr_now_ns()) + LEAD_NS < e->now.since + least) {
        uint64_t left = e->now.since + least - LEAD_NS - now;
        nanosleep(&(struct timespec){.tv_nsec = (long)SR_MIN(left, SLICE_NS)}, NULL);
    }
}

/* ---- the next step ----------------------------------------------------------------------------------------------- */

/* Whether the token that c gets now can change what it is asked for next. */
static bool plain(const sr_choice *c)
{
    const sr_job      *j = c->job;
    const sr_sampling *s = &j->sampling;
    bool penal = s->rep_last_n && ((s->rep_penalty > 0 && s->rep_penalty != 1.0f) || s->freq_penalty != 0 || s->pres_penalty != 0);
    return j->what == SR_GENERATE && (j->forked || j->n == 1) && !c->matcher && !c->gone && !c->fail && !penal && !s->n_bias &&
           c->made >= j->min_new;
}

static bool last(const sr_choice *c) { return c->made + 1 >= c->job->max_new; }

/* Everybody can go on; some do not end by their length, and nobody waits for the place of one who does. */
static bool may_follow(sr_engine *e)
{
    uint32_t going = 0;
    for (const sr_choice *c = e->running.head; c; c = c->next) {
        const sr_job *j = c->job;
        if (c->flight != e->now.number || !c->rows || c->outs != 1 || c->given || c->computed + c->rows != c->n_tok || !plain(c))
            return false;
        if (last(c) && e->waiting.n)
            return false;
        if (last(c))
            continue;
        if (j->window && c->made + 1 - c->acked >= j->window)
            return false;
        going++;
    }
    return going != 0;
}

static bool reserve(sr_engine *e)
{
    for (sr_choice *c = e->running.head; c; c = c->next) {
        sr_err ignored = {0}; /* what is the matter is found again, and told, when nothing is under way */
        if (!last(c) && sr_kv_reserve(c->seq, c->rows + 1, &ignored))
            return false;
    }
    return true;
}

sr_status sr_flight_follow(sr_engine *e, sr_err *err)
{
    sr_flight *f = &e->next;
    sr_block  *b = &e->m->block;
    if (!e->now.at.done.word || !may_follow(e) || !reserve(e))
        return SR_OK;
    sr_status s = e->m->be->wait(e->m->dev, e->now.at.taken, UINT64_MAX, err);
    if (s)
        return s;
    sr_block_begin(b);
    f->n = 0;
    for (const sr_choice *c = e->running.head; c; c = c->next) {
        if (last(c))
            continue;
        int32_t sampled = -1 - (int32_t)c->out;
        add(f, c, b->now.out);
        ((sr_sampdev *)b->sampling)[b->now.out] = sr_sched_sampling(c, c->n_tok + 1);
        b->out[b->now.out++]                    = b->now.tok;
        b->drawn++;
        sr_block_add(e->m, c->seq, &sampled, c->computed + c->rows, 1);
    }
    begin(e, f);
    return sr_model_launch(e->m, e->m->spare, &f->at, err);
}

/* ---- its end ----------------------------------------------------------------------------------------------------- */

sr_status sr_flight_wait(sr_engine *e, sr_err *err)
{
    sr_model  *m = e->m;
    sr_flight *f = &e->now;
    sr_status  s = SR_OK;
    if (f->at.done.word && (s = m->be->wait(m->dev, f->at.done, UINT64_MAX, err)) == SR_OK) /* else sr_model_compute() has waited */
        s = sr_gguf_whole(m->gguf, err);
    f->over = sr_now_ns();
    if (f->single)
        e->ns_single[f->number % SR_COUNT(e->ns_single)] = f->over - f->since;
    return s;
}

sr_choice *sr_flight_rider(sr_engine *e, const sr_flight *f, uint32_t i)
{
    const sr_rider *r = &f->rider[i];
    sr_job         *j = sr_job_find(e, r->id);
    if (!j || j->order != r->order)
        return NULL;
    sr_choice *c = &j->choice[r->choice];
    return c->live && c->state == SR_CH_RUNNING && c->flight == e->now.number ? c : NULL;
}

sr_status sr_flight_end(sr_engine *e, sr_err *err)
{
    sr_flight f    = e->now;
    uint32_t  left = 0;
    e->now.on      = false;
    if (!e->next.on)
        return SR_OK;
    for (uint32_t i = 0; i < e->next.n; i++) {
        sr_choice *c = sr_flight_rider(e, &e->next, i);
        if (!c)
            continue;
        c->flight = e->next.number;
        c->row    = i;
        c->rows = c->outs = 1;
        c->given          = 0;
        c->out            = e->next.rider[i].out;
        left++;
    }
    sr_sampled *sampled = e->m->sampled;
    e->m->sampled       = e->m->spare;
    e->m->spare         = sampled;
    e->now              = e->next;
    e->now.since        = SR_MAX(e->now.since, f.over);
    e->next             = (sr_flight){.rider = f.rider};
    if (left)
        return SR_OK;
    e->now.on = false; /* nobody rides: its results are not waited for, only the block */
    return e->m->be->wait(e->m->dev, e->now.at.taken, UINT64_MAX, err);
}
