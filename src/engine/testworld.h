/* testworld.h - an engine stepped by hand on the small bundled model, for tests: requests go in, what comes back is noted by choice.
 *
 *     world *w = open_world(&usual);
 *     sr_request r = greedy(1, 1, 90, 40);       id, which prompt, its tokens, at most so many new ones
 *     post(w, &r);
 *     steps(w, 1000);                            w->a[0][0] is the answer of request 1, choice 0
 *     close_world(w);
 */
#ifndef SR_ENGINE_TESTWORLD_H
#define SR_ENGINE_TESTWORLD_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "engine/internal.h"

#define MODEL "models/strata-demo-draft-Q8_0.gguf"
enum { MAX_REQ = 16, MAX_CHOICE = 4, MAX_TOK = 256 };

/* What came back for one choice. */
typedef struct {
    int32_t      tok[MAX_TOK];
    float        logprob[MAX_TOK];
    uint32_t     n, done, cached, made;
    sr_endreason reason;
    sr_status    error;
    char         msg[200];
} answer;

typedef struct {
    sr_model  *m;
    sr_port   *port;
    sr_engine *e;
    answer     a[MAX_REQ][MAX_CHOICE];
    float      prompt[MAX_TOK];
    bool       unchecked; /* the check itself allocates: not while allocations fail */
    uint32_t   n_prompt, starts, progress, order[MAX_REQ], n_order;
} world;

static sr_enginecfg     engine; /* of open_world(); run_both_ways() changes it */
static const sr_loadcfg usual = {.path = MODEL, .ctx = 512, .max_seqs = 8, .max_step_tokens = 128, .dev = {.threads = 2}};

static inline world *open_world(const sr_loadcfg *c)
{
    sr_err err = {0};
    world *w   = sr_calloc(1, sizeof *w);
    if (sr_model_load(c, &w->m, &err) || sr_port_open(NULL, &w->port, &err) || sr_engine_open(w->m, &engine, NULL, w->port, &w->e, &err))
        fail_msg("%s", err.msg);
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_true(s.ready); /* before its first step: who is told so may ask at once */
    return w;
}

static inline void close_world(world *w)
{
    sr_engine_close(w->e);
    sr_port_close(w->port);
    sr_model_close(w->m);
    sr_free(w);
}

static inline void note(world *w, const sr_event *ev)
{
    assert_in_range(ev->id, 1, MAX_REQ);
    uint32_t lo = ev->choice == ~0u ? 0 : ev->choice, hi = ev->choice == ~0u ? MAX_CHOICE : ev->choice + 1;
    for (uint32_t c = lo; c < hi; c++) {
        answer *a = &w->a[ev->id - 1][c];
        switch (ev->kind) {
        case SR_EV_START: w->starts++; w->order[w->n_order++] = (uint32_t)ev->id; break;
        case SR_EV_PROGRESS: w->progress++; break;
        case SR_EV_PROMPT: w->prompt[ev->pos] = ev->logprob; w->n_prompt++; break;
        case SR_EV_TOKEN:
            assert_int_equal(ev->pos, a->n);
            a->logprob[a->n] = ev->logprob;
            a->tok[a->n++]   = ev->token;
            break;
        case SR_EV_DONE: a->done++; a->reason = ev->reason; a->cached = ev->usage.cached; a->made = ev->usage.made; break;
        case SR_EV_ERROR: a->done++; a->error = ev->status; snprintf(a->msg, sizeof a->msg, "%.199s", ev->msg); break;
        case SR_EV_VECTOR: fail(); break;
        }
    }
}

static inline void poll_all(world *w)
{
    sr_event ev[16];
    size_t   n;
    while ((n = sr_port_poll(w->port, ev, 16)))
        for (size_t i = 0; i < n; i++)
            note(w, &ev[i]);
}

static inline void steps(world *w, uint32_t most)
{
    sr_step st;
    sr_err  err = {0};
    for (uint32_t i = 0; i < most; i++) {
        sr_status s = sr_engine_step(w->e, &st, &err);
        if (s && s != SR_AGAIN)
            fail_msg("%s", err.msg);
        poll_all(w);
        if (!w->unchecked && !sr_engine_check(w->e, &err))
            fail_msg("%s", err.msg);
        if (s == SR_AGAIN && w->e->jobs == 0)
            return;
    }
}

static inline void no_page_is_held(world *w)
{
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_int_equal(s.pages_used, 0);
    assert_int_equal(s.running + s.waiting, 0);
    assert_int_equal(s.pages_free + s.pages_cached, s.pages_total);
}

static inline int32_t *prompt(uint32_t kind, uint32_t n)
{
    static int32_t p[MAX_REQ][512];
    for (uint32_t i = 0; i < n; i++)
        p[kind % MAX_REQ][i] = i ? (int32_t)((i * 7919 + kind * 104729 + 13) % 8000 + 3) : 0;
    return p[kind % MAX_REQ];
}

static inline sr_request greedy(uint64_t id, uint32_t kind, uint32_t n, uint32_t max_new)
{
    return (sr_request){.id = id, .tok = prompt(kind, n), .n_tok = n, .max_new = max_new, .n = 1, .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
}

static inline void post(world *w, const sr_request *r)
{
    sr_err err = {0};
    if (sr_port_post(w->port, r, &err))
        fail_msg("%s", err.msg);
}

/* The answer of one request on its own, in a fresh engine. */
static inline answer alone(const sr_loadcfg *c, sr_request r)
{
    world *w = open_world(c);
    r.id     = 1;
    post(w, &r);
    steps(w, 1000);
    answer a = w->a[0][0];
    assert_int_equal(a.done, 1);
    close_world(w);
    return a;
}

static inline void same(const answer *a, const answer *b)
{
    assert_int_equal(a->error, SR_OK);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tok, b->tok, a->n * sizeof *a->tok);
    assert_memory_equal(a->logprob, b->logprob, a->n * sizeof *a->logprob);
}

/* Every test twice: as a CPU runs, and with steps overlapping. */
#define run_both_ways(name, tests) \
    (cmocka_run_group_tests_name(name, tests, NULL, NULL) + (engine.overlap = SR_OVERLAP_ALWAYS, cmocka_run_group_tests_name(name ", steps overlapping", tests, NULL, NULL)))
#endif
