/* warm.c - steps over nothing at the end of a load, so that the first request finds kernels' code on the device and usual steps captured.
 *
 *     one row            twice: run, then captured (backend/cuda/graph.h)
 *     prompts            2, 4, 8 .. tokens up to a step's most: each number of rows has kernels of its own
 *     2, 4, 8 .. rows    twice each, as many as may answer at once
 *     one row            at 16, 32 .. pages of context, twice each
 *
 * A sequence's pages are taken and given back without a commit: nothing can be found in them.  What they hold is what memory held, a step
 * far into a context reads numbers that nobody wrote, and its results are looked at by nobody.  No step begins after WARM_NS: a slow
 * device must not keep a server from being ready.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/offload.h"
#include "engine/skip.h"

enum { MOST_ROWS = 128, FIRST_PAGES = 8 }; /* steps of more rows are not captured; the smallest of a captured step's counts of pages */
static const uint64_t WARM_NS = 300000000;

typedef struct {
    sr_model  *m;
    sr_kvseq **seq; /* [MOST_ROWS] */
    int32_t   *tok; /* [max.tok], zeros */
    uint64_t   until;
} warm;

static sr_status compute(warm *w, uint32_t seqs, uint32_t first, uint32_t n, sr_err *err)
{
    sr_model *m = w->m;
    sr_block *b = &m->block;
    sr_block_begin(b);
    for (uint32_t i = 0; i < seqs; i++) {
        ((sr_sampdev *)b->sampling)[b->now.out] = (sr_sampdev){.temp = i % 2 ? 1 : 0, .top_p = 1, .typical_p = 1, .rep_penalty = 1, .given = -1};
        b->out[b->now.out++]                    = b->now.tok + n - 1;
        b->drawn++;
        sr_block_add(m, w->seq[i], w->tok, first, n);
    }
    m->info.warm_steps++;
    return sr_model_compute(m, err);
}

/* `times` steps of tokens [first, first + n) of each of `seqs` sequences, if there are pages and time for them. */
static sr_status steps(warm *w, uint32_t seqs, uint32_t first, uint32_t n, uint32_t times, sr_err *err)
{
    sr_status s = SR_OK;
    uint32_t  open = 0;
    size_t    cached;
    while (s == SR_OK && open < seqs && sr_now_ns() < w->until) {
        s = sr_kv_begin(w->m->kv, 0, NULL, 0, 0, &w->seq[open], &cached, err);
        if (s == SR_OK)
            s = sr_kv_reserve(w->seq[open++], first + n, err);
    }
    for (uint32_t i = 0; i < times && s == SR_OK && open == seqs && sr_now_ns() < w->until; i++)
        s = compute(w, seqs, first, n, err);
    while (open)
        sr_kv_end(w->seq[--open]);
    return s == SR_AGAIN ? SR_OK : s; /* no pages for so many: they would have to wait for each other */
}

static sr_status all(warm *w, sr_err *err)
{
    const sr_model *m    = w->m;
    uint32_t        per  = m->cfg.page_tokens, rows = SR_MIN(m->max.seq, (uint32_t)MOST_ROWS), prompt = SR_MIN(m->max.tok, m->cfg.ctx);
    sr_status       s    = steps(w, 1, 0, 1, 2, err);
    for (uint32_t n = 2; n <= prompt && s == SR_OK; n *= 2)
        s = steps(w, 1, 0, n, 1, err);
    for (uint32_t n = 2; n <= rows && s == SR_OK; n *= 2)
        s = steps(w, n, 0, 1, 2, err);
    for (uint32_t n = 2 * FIRST_PAGES; n <= m->max.pages && s == SR_OK; n *= 2)
        s = steps(w, 1, SR_MIN(n * per, m->cfg.ctx) - 1, 1, 2, err);
    return s;
}

/* What steps leave in counts and averages, as it was before. */
static void forget(sr_model *m, const sr_skip *skip, const sr_balance *balance, uint64_t bytes)
{
    if (skip) {
        m->skip->tested = skip->tested;
        m->skip->exited = skip->exited;
        m->skip->step_exited = false;
        m->skip->step_blocks = skip->step_blocks;
    }
    if (balance) {
        sr_metered now;
        sr_meter_total(balance->meter, &now);
        m->off->balance      = *balance;
        m->off->balance.seen = now;
        m->off->bytes_before -= sr_offload_bytes(m) - bytes;
    }
    if (m->cfg.dev.profile) {
        sr_err ignored = {0};
        (void)!m->be->profile(m->plan, SR_TIME_OPS, NULL, &ignored);
    }
}

sr_status sr_model_warm(sr_model *m, sr_err *err)
{
    uint64_t   since   = sr_now_ns(), bytes = sr_offload_bytes(m);
    warm       w       = {.m = m, .until = since + WARM_NS, .tok = sr_calloc(m->max.tok, sizeof *w.tok), .seq = sr_calloc(MOST_ROWS, sizeof(sr_kvseq *))};
    sr_skip    skip    = m->skip ? *m->skip : (sr_skip){0};
    sr_balance balance = m->off ? m->off->balance : (sr_balance){0};
    sr_status  s       = w.tok && w.seq ? all(&w, err) : sr_raise(err, SR_NOMEM, "host: memory for steps of %u tokens", m->max.tok);
    forget(m, m->skip ? &skip : NULL, m->off ? &balance : NULL, bytes);
    sr_free(w.tok);
    sr_free(w.seq);
    m->info.warm_s = (double)(sr_now_ns() - since) * 1e-9;
    return s ? sr_while(err, "taking the first steps, to warm up") : SR_OK;
}
