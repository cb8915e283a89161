/* engine_test: the engine stepped by hand, on the small bundled model: what a request gets must depend on the request
 * alone, whoever else is in the batch, however its prompt is cut, and whatever happened to its pages meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

static sr_enginecfg     engine; /* of open_world(); main() changes it */
static const sr_loadcfg usual = {.path = MODEL, .ctx = 512, .max_seqs = 8, .max_step_tokens = 128, .dev = {.threads = 2}};

static world *open_world(const sr_loadcfg *c)
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

static void close_world(world *w)
{
    sr_engine_close(w->e);
    sr_port_close(w->port);
    sr_model_close(w->m);
    sr_free(w);
}

static void note(world *w, const sr_event *ev)
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

static void poll_all(world *w)
{
    sr_event ev[16];
    size_t   n;
    while ((n = sr_port_poll(w->port, ev, 16)))
        for (size_t i = 0; i < n; i++)
            note(w, &ev[i]);
}

static void steps(world *w, uint32_t most)
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

/* What fails may be the step behind the one under way, which then still ends well. */
static sr_status step_until_lost(world *w, sr_err *err)
{
    sr_step   st;
    sr_status s = SR_OK;
    for (uint32_t i = 0; i < 2 && s == SR_OK; i++)
        s = sr_engine_step(w->e, &st, err);
    return s;
}

static void no_page_is_held(world *w)
{
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_int_equal(s.pages_used, 0);
    assert_int_equal(s.running + s.waiting, 0);
    assert_int_equal(s.pages_free + s.pages_cached, s.pages_total);
}

static int32_t *prompt(uint32_t kind, uint32_t n)
{
    static int32_t p[MAX_REQ][512];
    for (uint32_t i = 0; i < n; i++)
        p[kind % MAX_REQ][i] = i ? (int32_t)((i * 7919 + kind * 104729 + 13) % 8000 + 3) : 0;
    return p[kind % MAX_REQ];
}

static sr_request greedy(uint64_t id, uint32_t kind, uint32_t n, uint32_t max_new)
{
    return (sr_request){.id = id, .tok = prompt(kind, n), .n_tok = n, .max_new = max_new, .n = 1, .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
}

static void post(world *w, const sr_request *r)
{
    sr_err err = {0};
    if (sr_port_post(w->port, r, &err))
        fail_msg("%s", err.msg);
}

/* The answer of one request on its own, in a fresh engine. */
static answer alone(const sr_loadcfg *c, sr_request r)
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

static void same(const answer *a, const answer *b)
{
    assert_int_equal(a->error, SR_OK);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tok, b->tok, a->n * sizeof *a->tok);
    assert_memory_equal(a->logprob, b->logprob, a->n * sizeof *a->logprob);
}

static void an_answer_depends_on_neither_batch_nor_chunks_nor_threads_nor_instruction_set(void **state)
{
    (void)state;
    answer want = alone(&usual, greedy(1, 1, 90, 40));
    assert_int_equal(want.n, 40);
    assert_int_equal(want.reason, SR_END_LENGTH);
    sr_loadcfg one = usual, tiny = usual, ref = usual;
    one.dev.threads      = 1;
    tiny.max_step_tokens = 9;
    ref.dev.isa          = "ref";
    answer a = alone(&one, greedy(1, 1, 90, 40)), b = alone(&tiny, greedy(1, 1, 90, 40));
    same(&a, &want);
    same(&b, &want);
    answer c = alone(&usual, greedy(1, 1, 20, 6)), d = alone(&ref, greedy(1, 1, 20, 6)); /* plain C takes its time */
    same(&d, &c);
    world *w = open_world(&usual);
    for (uint32_t i = 0; i < 8; i++) {
        sr_request r = greedy(i + 1, i, 30 + 20 * i, 40);
        if (i == 3)
            r = greedy(4, 1, 90, 40);
        post(w, &r);
        steps(w, 2); /* they come one after another, into a batch that runs */
    }
    steps(w, 1000);
    same(&w->a[3][0], &want);
    same(&w->a[3][0], &want);
    no_page_is_held(w);
    close_world(w);
}

static void an_equal_prefix_is_computed_once_and_changes_nothing(void **state)
{
    (void)state;
    world     *w = open_world(&usual);
    sr_request r = greedy(1, 2, 200, 16);
    post(w, &r);
    steps(w, 1000);
    r.id = 2;
    post(w, &r);
    steps(w, 1000);
    assert_int_equal(w->a[0][0].cached, 0);
    assert_in_range(w->a[1][0].cached, 176, 199);
    same(&w->a[1][0], &w->a[0][0]);
    r.id   = 3;
    r.salt = 7; /* another tenant does not see it */
    post(w, &r);
    steps(w, 1000);
    assert_int_equal(w->a[2][0].cached, 0);
    same(&w->a[2][0], &w->a[0][0]);
    close_world(w);
}

static void choices_share_the_prompt_differ_and_are_repeatable(void **state)
{
    (void)state;
    world     *w = open_world(&usual);
    sr_request r = greedy(1, 3, 75, 20);
    r.n             = 3;
    r.sampling.temp = 1.0f;
    r.sampling.seed = 42;
    post(w, &r);
    steps(w, 1000);
    r.id = 2;
    post(w, &r);
    steps(w, 1000);
    for (int c = 0; c < 3; c++) {
        assert_int_equal(w->a[0][c].done, 1);
        assert_int_equal(w->a[0][c].n, 20);
        same(&w->a[1][c], &w->a[0][c]);
    }
    assert_memory_not_equal(w->a[0][0].tok, w->a[0][1].tok, 20 * sizeof(int32_t));
    assert_memory_not_equal(w->a[0][1].tok, w->a[0][2].tok, 20 * sizeof(int32_t));
    r.id = 3;
    r.n  = 1; /* choice 0 is what the request alone would get */
    post(w, &r);
    steps(w, 1000);
    same(&w->a[2][0], &w->a[0][0]);
    no_page_is_held(w);
    close_world(w);
}

static void when_pages_run_out_some_wait_and_all_answers_stay_the_same(void **state)
{
    (void)state;
    sr_loadcfg small = usual;
    small.ctx        = 160;
    small.kv_pages   = 24; /* 384 positions for six requests of up to 150 */
    answer want[6];
    for (uint32_t i = 0; i < 6; i++)
        want[i] = alone(&small, greedy(1, i, 40 + 10 * i, 60));
    world *w = open_world(&small);
    for (uint32_t i = 0; i < 6; i++) {
        sr_request r = greedy(i + 1, i, 40 + 10 * i, 60);
        post(w, &r);
    }
    steps(w, 4000);
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_true(s.preemptions > 0);
    for (uint32_t i = 0; i < 6; i++)
        same(&w->a[i][0], &want[i]);
    no_page_is_held(w);
    close_world(w);
}

static void a_cancelled_request_gives_its_pages_back_and_disturbs_nobody(void **state)
{
    (void)state;
    answer want = alone(&usual, greedy(1, 5, 100, 30));
    world *w    = open_world(&usual);
    for (uint32_t i = 0; i < 8; i++) {
        sr_request r = greedy(i + 1, i, 100, 30);
        r.n          = i == 6 ? 3 : 1;
        post(w, &r);
    }
    for (uint32_t i = 0; i < 8; i++) { /* waiting, in the prompt, in the answer */
        if (i != 5)
            sr_port_end(w->port, i + 1, i == 6 ? 1 : ~0u, SR_END_CANCEL);
        steps(w, 1 + i);
    }
    sr_port_end(w->port, 7, 0, SR_END_STOP); /* choice 0, on whose prompt the others may depend */
    sr_port_end(w->port, 99, ~0u, SR_END_CANCEL);
    steps(w, 1000);
    same(&w->a[5][0], &want);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(w->a[i][0].done, 1);
    assert_int_equal(w->a[0][0].reason, SR_END_CANCEL);
    assert_int_equal(w->a[6][1].reason, SR_END_CANCEL);
    assert_int_equal(w->a[6][2].n, 30);
    no_page_is_held(w);
    close_world(w);
}

static void stop_tokens_end_a_choice_unless_held_or_ignored(void **state)
{
    (void)state;
    answer  free_run = alone(&usual, greedy(1, 4, 50, 30));
    int32_t stop     = free_run.tok[9];
    uint32_t first   = 0;
    while (free_run.tok[first] != stop)
        first++;
    sr_request r = greedy(1, 4, 50, 30);
    r.stop_tok   = &stop;
    r.n_stop_tok = 1;
    answer a     = alone(&usual, r);
    assert_int_equal(a.reason, SR_END_EOS);
    assert_int_equal(a.n, first);
    assert_int_equal(a.made, first + 1);
    r.ignore_eos = true;
    answer b     = alone(&usual, r);
    same(&b, &free_run);
    r.ignore_eos = false;
    r.min_new    = 25;
    answer c     = alone(&usual, r);
    assert_true(c.n >= 24);
    for (uint32_t i = 0; i < 24; i++)
        assert_int_not_equal(c.tok[i], stop);
}

static void biases_and_penalties_reach_the_sampler(void **state)
{
    (void)state;
    answer     free_run = alone(&usual, greedy(1, 4, 50, 30));
    sr_bias    bias[]   = {{free_run.tok[0], -INFINITY}, {4321, 100.0f}};
    sr_request r        = greedy(1, 4, 50, 10);
    r.sampling.bias     = bias;
    r.sampling.n_bias   = 1;
    answer a            = alone(&usual, r);
    assert_int_not_equal(a.tok[0], free_run.tok[0]);
    r.sampling.n_bias = 2;
    answer b          = alone(&usual, r);
    for (uint32_t i = 0; i < b.n; i++)
        assert_int_equal(b.tok[i], 4321);
    r.sampling.rep_last_n   = 512; /* a presence penalty against the bias: each token at most once */
    r.sampling.pres_penalty = 1000.0f;
    answer c                = alone(&usual, r);
    for (uint32_t i = 0; i < c.n; i++)
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(c.tok[i], c.tok[k]);
}

typedef struct { float *lp; const int32_t *tok; uint32_t n_vocab; } scoring;
static bool score_row(void *arg, uint32_t pos, const float *logits)
{
    scoring *s = arg;
    double   top = -1e30, sum = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++)
        top = fmax(top, (double)logits[i]);
    for (uint32_t i = 0; i < s->n_vocab; i++)
        sum += exp((double)logits[i] - top);
    s->lp[pos + 1] = (float)((double)logits[s->tok[pos + 1]] - top - log(sum));
    return true;
}

static void prompt_scores_are_the_log_softmax_of_the_logits(void **state)
{
    (void)state;
    world     *w = open_world(&usual);
    sr_request r = greedy(1, 6, 120, 0);
    float      lp[MAX_TOK + 1];
    sr_err     err = {0};
    scoring    sc  = {lp, r.tok, sr_model_info(w->m)->n_vocab};
    assert_int_equal(sr_model_eval(w->m, r.tok, 119, 0, score_row, &sc, &err), SR_OK);
    r.what              = SR_SCORE;
    r.n_prompt_logprobs = 3;
    post(w, &r);
    steps(w, 1000);
    assert_int_equal(w->a[0][0].done, 1);
    assert_int_equal(w->n_prompt, 119);
    for (uint32_t i = 1; i < 120; i++)
        assert_true(fabsf(w->prompt[i] - lp[i]) < 1e-4f);
    r.id      = 2; /* echo: scores of a prompt that is cached already, then an answer */
    r.what    = SR_GENERATE;
    r.max_new = 5;
    w->n_prompt = 0;
    post(w, &r);
    steps(w, 1000);
    assert_int_equal(w->n_prompt, 119);
    assert_int_equal(w->a[1][0].n, 5);
    no_page_is_held(w);
    close_world(w);
}

static void a_wrong_request_ends_alone_with_a_reason(void **state)
{
    (void)state;
    world     *w      = open_world(&usual);
    int32_t    bad[2] = {1, 999999};
    sr_request r[]    = {greedy(1, 1, 511, 600), greedy(2, 1, 10, 5), greedy(3, 1, 10, 5), greedy(4, 1, 10, 5), greedy(4, 1, 10, 5)};
    r[1].tok   = bad;
    r[1].n_tok = 2;
    r[2].n     = 9;
    for (size_t i = 0; i < SR_COUNT(r); i++)
        post(w, &r[i]);
    steps(w, 2000);
    assert_int_equal(w->a[0][0].error, SR_OK); /* cut by the context, and said so */
    assert_int_equal(w->a[0][0].n, 1);
    assert_int_equal(w->a[0][0].reason, SR_END_LENGTH);
    assert_int_equal(w->a[1][0].error, SR_INVALID);
    assert_non_null(strstr(w->a[1][0].msg, "999999"));
    assert_int_equal(w->a[2][0].error, SR_INVALID);
    assert_int_equal(w->a[3][0].done, 2); /* the second use of id 4 was refused, the first one went on */
    assert_int_equal(w->a[3][0].n, 5);
    no_page_is_held(w);
    close_world(w);
}

/* What the engine itself refuses: the server checks most of it before, another asker may not. */
static void each_wrong_request_has_its_own_sentence(void **state)
{
    (void)state;
    int32_t           negative[] = {1, -1}, large[] = {1, 1 << 30};
    const sr_bias     low[] = {{-1, 1}}, high[] = {{1 << 30, 1}};
    static const char grammar[] = "no grammar at all";
    const struct { sr_request r; sr_status want; const char *says; } t[] = {
        {{.adapter = 1}, SR_UNSUPPORTED, "adapters"},
        {{.n_tok = ~0u}, SR_INVALID, "no tokens"},
        {{.n_logprobs = 30}, SR_INVALID, "at most 20"},
        {{.n_prompt_logprobs = 30}, SR_INVALID, "at most 20"},
        {{.tok = negative, .n_tok = 2}, SR_INVALID, "token -1 at position 1"},
        {{.tok = large, .n_tok = 2}, SR_INVALID, "token 1073741824"},
        {{.sampling = {.bias = low, .n_bias = 1}}, SR_INVALID, "bias for token -1"},
        {{.sampling = {.bias = high, .n_bias = 1}}, SR_INVALID, "bias for token 1073741824"},
        {{.what = SR_SCORE, .sampling = {.grammar = grammar, .n_grammar = sizeof grammar}}, SR_INVALID, "grammar"},
    };
    world *w = open_world(&usual);
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        sr_request r = greedy(i + 1, 1, 10, 5);
        r.what              = t[i].r.what;
        r.adapter           = t[i].r.adapter;
        r.n_logprobs        = t[i].r.n_logprobs;
        r.n_prompt_logprobs = t[i].r.n_prompt_logprobs;
        r.tok               = t[i].r.tok ? t[i].r.tok : r.tok;
        r.n_tok             = t[i].r.n_tok == ~0u ? 0 : t[i].r.tok ? t[i].r.n_tok : r.n_tok;
        if (t[i].r.sampling.n_bias || t[i].r.sampling.n_grammar)
            r.sampling = t[i].r.sampling;
        sr_err err = {0};
        if (sr_port_post(w->port, &r, &err)) { /* some the port itself */
            w->a[i][0].error = err.status;
            snprintf(w->a[i][0].msg, sizeof w->a[i][0].msg, "%.199s", err.msg);
        }
        steps(w, 100);
        if (w->a[i][0].error != t[i].want || !strstr(w->a[i][0].msg, t[i].says))
            fail_msg("%zu: %d: %s", i, (int)w->a[i][0].error, w->a[i][0].msg);
    }
    no_page_is_held(w);
    close_world(w);
}

static void a_request_that_forbids_every_token_is_told_so(void **state)
{
    (void)state;
    world      *w = open_world(&usual);
    uint32_t    n = w->m->info.n_vocab;
    sr_bias    *b = sr_calloc(n, sizeof *b);
    sr_request  r = greedy(1, 1, 10, 5), other = greedy(2, 1, 10, 5);
    for (uint32_t i = 0; i < n; i++)
        b[i] = (sr_bias){(int32_t)i, -INFINITY};
    r.sampling.bias   = b;
    r.sampling.n_bias = n;
    post(w, &r);
    post(w, &other);
    steps(w, 1000);
    assert_int_equal(w->a[0][0].error, SR_INVALID);
    assert_non_null(strstr(w->a[0][0].msg, "every token is forbidden"));
    assert_int_equal(w->a[1][0].n, 5);
    no_page_is_held(w);
    sr_free(b);
    close_world(w);
}

/* The next scan of deadlines comes ten milliseconds after the last. */
static void scan_deadlines(world *w)
{
    usleep(12000);
    steps(w, 1);
}

static void a_full_queue_refuses_and_deadlines_end_at_any_stage(void **state)
{
    (void)state;
    world *w = open_world(&usual);
    w->e->cfg.queue = 3;
    for (uint32_t i = 0; i < 8 + 6; i++) { /* eight at once, three wait, three are too many */
        sr_request r = greedy(i + 1, i, 40, 200);
        r.ignore_eos = true;
        post(w, &r);
        steps(w, 1);
    }
    for (uint32_t i = 11; i < 14; i++)
        assert_int_equal(w->a[i][0].error, SR_AGAIN);
    assert_int_equal(w->e->waiting.n, 3);
    sr_job_find(w->e, 9)->queue_deadline = 1; /* long ago */
    sr_job_find(w->e, 10)->deadline      = 1;
    scan_deadlines(w);
    assert_int_equal(w->a[8][0].error, SR_AGAIN);
    assert_non_null(strstr(w->a[8][0].msg, "waited too long"));
    assert_int_equal(w->a[9][0].reason, SR_END_DEADLINE);
    assert_int_equal(w->a[9][0].n, 0);
    sr_job_find(w->e, 1)->deadline = 1; /* it runs */
    scan_deadlines(w);
    assert_int_equal(w->a[0][0].reason, SR_END_DEADLINE);
    assert_true(w->a[0][0].n > 0);
    steps(w, 3000);
    for (uint32_t i = 1; i < 8; i++)
        assert_int_equal(w->a[i][0].n, 200);
    assert_int_equal(w->a[10][0].n, 200); /* the one that still waited */
    no_page_is_held(w);
    close_world(w);
}

/* One word of the scheduler's books set to another value: the check must say so, and be content when it is back. */
static void damage(world *w, uint32_t *at, uint32_t value)
{
    sr_err   err = {0};
    uint32_t was = *at;
    *at          = value;
    assert_false(sr_engine_check(w->e, &err));
    assert_true(err.msg[0]);
    *at = was;
    err = (sr_err){0};
    if (!sr_engine_check(w->e, &err))
        fail_msg("%s", err.msg);
}

static void every_planted_damage_is_found(void **state)
{
    (void)state;
    sr_loadcfg one = usual;
    one.max_seqs   = 1;
    world *w       = open_world(&one);
    for (uint32_t i = 0; i < 3; i++) {
        sr_request r = greedy(i + 1, i, 40, 60);
        post(w, &r);
    }
    steps(w, 10);
    sr_choice *runs = w->e->running.head, *waits = w->e->waiting.head;
    assert_true(runs && waits);
    damage(w, &runs->computed, runs->computed + 1);
    damage(w, &runs->n_tok, runs->computed);
    damage(w, (uint32_t *)&runs->state, SR_CH_BLOCKED);
    damage(w, (uint32_t *)&waits->state, SR_CH_RUNNING);
    damage(w, &w->e->running.n, 5);
    damage(w, &w->e->waiting.n, 5);
    damage(w, &w->e->jobs, 9);
    steps(w, 2000);
    no_page_is_held(w);
    close_world(w);
}

/* ---- anything at all ------------------------------------------------------------------------------------------- */

enum { CROWD = 40 };
static uint64_t draw_state;

static uint32_t draw(uint32_t below)
{
    draw_state ^= draw_state << 13;
    draw_state ^= draw_state >> 7;
    draw_state ^= draw_state << 17;
    return (uint32_t)(draw_state >> 33) % below;
}

/* A request with most of what there is; lists stay valid until the next. */
static sr_request any_request(const world *w, uint64_t id)
{
    static int32_t stop[2];
    static sr_bias bias[3];
    sr_request     r = greedy(id, draw(4), 1 + draw(draw(3) ? 60 : 200), draw(5) ? draw(40) : 0);
    stop[0] = (int32_t)draw(w->m->info.n_vocab);
    stop[1] = draw(2) ? INT32_MAX : 5;
    for (size_t i = 0; i < SR_COUNT(bias); i++)
        bias[i] = (sr_bias){draw(3) ? (int32_t)draw(50) : stop[0], draw(4) ? (float)draw(20) - 10 : -INFINITY};
    bias[1].tok += 50, bias[2].tok = 150;
    r.n           = draw(2) ? 1 : 1 + draw(4);
    r.min_new     = draw(3) ? 0 : draw(12);
    r.stop_tok    = stop;
    r.n_stop_tok  = draw(3);
    r.ignore_eos  = draw(2);
    r.n_logprobs  = (uint16_t)draw(4);
    r.n_prompt_logprobs = draw(4) ? 0 : (uint16_t)(1 + draw(3));
    r.priority    = (int32_t)draw(3) - 1;
    r.window      = draw(4) ? 0 : 3 + draw(8);
    r.deadline_ns = draw(8) ? 0 : sr_now_ns() + draw(40) * 1000000u;
    r.queue_deadline_ns = draw(8) ? 0 : sr_now_ns() + draw(20) * 1000000u;
    r.what        = r.max_new ? SR_GENERATE : SR_SCORE;
    r.sampling    = (sr_sampling){.temp = draw(2) ? 0.0f : 1.0f, .top_p = 1, .typical_p = 1, .rep_penalty = draw(2) ? 1.0f : 1.2f,
                                  .rep_last_n = draw(2) ? 64 : draw(2), .freq_penalty = draw(3) ? 0 : 0.5f, .pres_penalty = draw(3) ? 0 : 0.5f,
                                  .seed = id, .bias = bias, .n_bias = draw(4)};
    return r;
}

/* What has ended is taken from `left`, choices of each request that are still to end. */
static void hear(world *w, uint32_t *left)
{
    sr_event ev[16];
    size_t   n;
    while ((n = sr_port_poll(w->port, ev, 16)))
        for (size_t i = 0; i < n; i++) {
            uint32_t *l = &left[ev[i].id];
            assert_in_range(ev[i].id, 1, CROWD);
            assert_true(*l > 0); /* nothing comes after the end */
            if (ev[i].kind == SR_EV_ERROR && ev[i].choice == ~0u)
                *l = 0;
            else if (ev[i].kind == SR_EV_DONE || ev[i].kind == SR_EV_ERROR)
                --*l;
            if (ev[i].kind == SR_EV_ERROR)
                assert_true(ev[i].msg[0] != 0);
        }
}

static void one_random_step(world *w, uint32_t *left)
{
    sr_step  st;
    sr_err   err = {0};
    uint64_t id  = 1 + draw(CROWD);
    switch (draw(8)) {
    case 0: case 1: case 2:
        if (!left[id]) {
            sr_request r = any_request(w, id);
            left[id]     = r.n;
            post(w, &r);
        }
        break;
    case 3:
        assert_true(sr_port_end(w->port, id, draw(3) ? draw(4) : ~0u, SR_END_CANCEL));
        break;
    case 4: case 5:
        assert_true(sr_port_ack(w->port, id, draw(2) ? draw(4) : ~0u, draw(60)));
        break;
    default:
        break;
    }
    sr_status s = sr_engine_step(w->e, &st, &err);
    if ((s && s != SR_AGAIN) || !sr_engine_check(w->e, &err))
        fail_msg("%s", err.msg);
    hear(w, left);
}

static void whatever_is_asked_nothing_is_left_behind(void **state)
{
    (void)state;
    const struct { uint32_t seqs, pages, tokens, out; } shapes[] = {{4, 20, 64, 0}, {2, 16, 32, 0}, {8, 100, 128, 0}, {3, 17, 8, 8}};
    for (size_t k = 0; k < SR_COUNT(shapes); k++) {
        sr_loadcfg c = usual;
        c.ctx             = 256;
        c.max_seqs        = shapes[k].seqs;
        c.kv_pages        = shapes[k].pages;
        c.max_step_tokens = shapes[k].tokens;
        c.out_rows        = (uint16_t)shapes[k].out;
        world   *w               = open_world(&c);
        uint32_t left[CROWD + 1] = {0};
        draw_state = k + 1;
        for (int i = 0; i < 1200; i++)
            one_random_step(w, left);
        for (uint32_t id = 1; id <= CROWD; id++) /* those that wait for an ack for ever */
            assert_true(sr_port_end(w->port, id, ~0u, SR_END_CANCEL));
        for (int i = 0; i < 50 && w->e->jobs; i++) {
            sr_step st;
            sr_err  err = {0};
            (void)!sr_engine_step(w->e, &st, &err);
            hear(w, left);
        }
        for (uint32_t id = 1; id <= CROWD; id++)
            assert_int_equal(left[id], 0);
        no_page_is_held(w);
        close_world(w);
    }
}

/* All places are taken by answers that nobody reads: who comes does not wait for them, and they lose nothing. */
static void who_is_not_read_gives_way_and_comes_back(void **state)
{
    (void)state;
    sr_loadcfg two = usual;
    two.max_seqs   = 2;
    answer want[3];
    for (uint32_t i = 0; i < 3; i++)
        want[i] = alone(&two, greedy(1, i + 1, 40, 30));
    world   *w     = open_world(&two);
    uint64_t begun = sr_now_ns();
    for (uint32_t i = 0; i < 3; i++) {
        sr_request r = greedy(i + 1, i + 1, 40, 30);
        r.window     = i < 2 ? 4 : 0;
        post(w, &r);
        steps(w, 20);
    }
    assert_int_equal(w->a[0][0].n, 4);
    assert_int_equal(w->a[1][0].n, 4);
    if (sr_now_ns() - begun < 450000000) /* not at once, where the machine is fast enough to tell: a reader may be slow for a moment */
        assert_true(w->a[2][0].n == 0 && w->e->waiting.n == 1);
    usleep(520000);
    steps(w, 60);
    assert_int_equal(w->a[2][0].done, true);
    same(&w->a[2][0], &want[2]);
    assert_int_equal(w->e->waiting.n, 1); /* only as many as must */
    usleep(520000);
    steps(w, 20);
    assert_int_equal(w->e->waiting.n, 1); /* it waits for its reader: nobody is put out for it */
    assert_int_equal(w->a[0][0].n + w->a[1][0].n, 8);
    for (uint32_t i = 0; i < 20; i++) {
        sr_port_ack(w->port, 1, 0, w->a[0][0].n);
        sr_port_ack(w->port, 2, 0, w->a[1][0].n);
        steps(w, 20);
    }
    same(&w->a[0][0], &want[0]);
    same(&w->a[1][0], &want[1]);
    no_page_is_held(w);
    close_world(w);
}

static void without_credit_a_choice_pauses_and_goes_on_when_acknowledged(void **state)
{
    (void)state;
    world     *w = open_world(&usual);
    sr_request r = greedy(1, 1, 20, 30);
    r.window     = 8;
    post(w, &r);
    steps(w, 50);
    assert_int_equal(w->a[0][0].n, 8);
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_int_equal(s.paused, 1);
    sr_port_ack(w->port, 1, 0, 8);
    steps(w, 50);
    assert_int_equal(w->a[0][0].n, 16);
    sr_port_ack(w->port, 1, 0, 16);
    sr_port_ack(w->port, 1, 0, 1000000); /* never more than was made */
    steps(w, 50);
    assert_in_range(w->a[0][0].n, 24, 30);
    sr_port_end(w->port, 1, ~0u, SR_END_CANCEL);
    steps(w, 50);
    no_page_is_held(w);
    close_world(w);
}

static void higher_priority_goes_first_and_deadlines_end(void **state)
{
    (void)state;
    sr_loadcfg one = usual;
    one.max_seqs   = 1;
    world     *w   = open_world(&one);
    sr_request r[4];
    for (uint32_t i = 0; i < 4; i++) {
        r[i]          = greedy(i + 1, i, 30, 20);
        r[i].priority = i == 3 ? 5 : 0;
    }
    r[2].queue_deadline_ns = sr_now_ns() + 1;
    usleep(12000);
    for (uint32_t i = 0; i < 4; i++)
        post(w, &r[i]);
    steps(w, 2000);
    assert_int_equal(w->order[0], 4);
    assert_int_equal(w->order[1], 1);
    assert_int_equal(w->order[2], 2);
    assert_int_equal(w->a[2][0].error, SR_AGAIN);
    sr_request late = greedy(5, 1, 30, 400);
    late.deadline_ns = sr_now_ns() + 20000000;
    post(w, &late);
    while (!w->a[4][0].done) /* a step at a time, with pauses: it ends by its deadline long before its 400 tokens */
        scan_deadlines(w);
    assert_int_equal(w->a[4][0].reason, SR_END_DEADLINE);
    assert_in_range(w->a[4][0].n, 0, 50);
    no_page_is_held(w);
    close_world(w);
}

static void a_long_prompt_does_not_hold_up_those_who_answer(void **state)
{
    (void)state;
    sr_loadcfg c      = usual;
    c.max_step_tokens = 32;
    world     *w      = open_world(&c);
    sr_request a = greedy(1, 1, 10, 100), b = greedy(2, 2, 480, 4);
    post(w, &a);
    steps(w, 5);
    uint32_t before = w->a[0][0].n;
    post(w, &b);
    steps(w, 10); /* the prompt takes 16 steps: in each of them the other gets its token */
    assert_int_equal(w->a[0][0].n, before + 10);
    assert_int_equal(w->a[1][0].n, 0);
    steps(w, 1000);
    assert_int_equal(w->a[1][0].n, 4);
    assert_true(w->progress > 5);
    close_world(w);
}

static void steps_allocate_nothing(void **state)
{
    (void)state;
    world *w = open_world(&usual);
    for (uint32_t i = 0; i < 4; i++) {
        sr_request r = greedy(i + 1, i, 60, 100);
        r.sampling.temp = i ? 0.8f : 0;
        r.sampling.rep_last_n   = 64;
        r.sampling.freq_penalty = 0.1f;
        r.n_logprobs = 3;
        post(w, &r);
    }
    sr_step st;
    sr_err  err = {0};
    for (int i = 0; i < 8; i++)
        assert_int_equal(sr_engine_step(w->e, &st, &err), SR_OK);
    uint64_t before = sr_alloc_count();
    for (int i = 0; i < 60; i++)
        assert_int_equal(sr_engine_step(w->e, &st, &err), SR_OK);
    assert_int_equal(sr_alloc_count(), before);
    close_world(w);
}

/* Lengths, ends by a token, seeds, a penalty, somebody who comes late and somebody who leaves: in turns the next step is launched and is not. */
static void crowd(world *w, answer out[8], uint32_t *under_way)
{
    for (uint32_t i = 0; i < 6; i++) {
        sr_request r    = greedy(i + 1, i, 20 + 7 * i, 12 + 9 * i);
        r.sampling.temp = i % 2 ? 0.9f : 0;
        r.sampling.seed = i;
        r.n_logprobs    = i == 3 ? 3 : 0;
        r.sampling.rep_last_n   = i == 1 ? 16 : 0;
        r.sampling.freq_penalty = i == 1 ? 0.5f : 0;
        post(w, &r);
    }
    for (uint32_t i = 0; i < 30; i++) {
        steps(w, 1);
        *under_way += w->e->now.on;
    }
    int32_t    end  = w->a[5][0].tok[0];
    sr_request late = greedy(7, 3, 33, 40), leaves = greedy(8, 5, 40, 60);
    late.stop_tok = &end, late.n_stop_tok = 1;
    post(w, &late);
    post(w, &leaves);
    steps(w, 9);
    assert_true(sr_port_end(w->port, 8, ~0u, SR_END_CANCEL));
    steps(w, 200);
    no_page_is_held(w);
    assert_false(w->e->now.on);
    for (uint32_t i = 0; i < 8; i++)
        out[i] = w->a[i][0];
}

static void answers_are_the_same_when_steps_overlap(void **state)
{
    (void)state;
    sr_enginecfg was = engine;
    answer       each[2][8];
    uint32_t     under_way[2] = {0};
    for (int on = 0; on < 2; on++) {
        engine.overlap = on ? SR_OVERLAP_ALWAYS : SR_OVERLAP_NEVER;
        world *w       = open_world(&usual);
        crowd(w, each[on], &under_way[on]);
        close_world(w);
    }
    engine = was;
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t n = SR_MIN(each[0][i].n, each[1][i].n);
        assert_int_equal(each[1][i].done, 1);
        assert_int_equal(each[0][i].reason, each[1][i].reason);
        if (i < 7) /* who left may have been a step further */
            same(&each[1][i], &each[0][i]);
        assert_memory_equal(each[0][i].tok, each[1][i].tok, n * sizeof(int32_t));
    }
    assert_int_equal(under_way[0], 0);
    assert_in_range(under_way[1], 5, 29); /* not while the penalty was there */
}

/* Everybody rides in the step under way and ends by a token in the one before it: it comes to an end by itself. */
static void a_step_that_nobody_rides_is_left_behind(void **state)
{
    (void)state;
    sr_enginecfg was  = engine;
    answer       want = alone(&usual, greedy(1, 2, 30, 12));
    uint32_t     at   = 11;
    while (at && want.tok[at - 1] == want.tok[at]) /* the first of its kind */
        at--;
    for (uint32_t i = 0; i < at; i++)
        assert_int_not_equal(want.tok[i], want.tok[at]);
    engine.overlap = SR_OVERLAP_ALWAYS;
    world     *w   = open_world(&usual);
    sr_request r   = greedy(1, 2, 30, 100);
    r.stop_tok = &want.tok[at], r.n_stop_tok = 1;
    post(w, &r);
    steps(w, 200);
    assert_int_equal(w->a[0][0].reason, SR_END_EOS);
    assert_int_equal(w->a[0][0].n, at);
    assert_int_equal(w->e->flights, at + 2); /* one too many */
    assert_false(w->e->now.on);
    no_page_is_held(w);
    r = greedy(2, 2, 30, 12);
    post(w, &r);
    steps(w, 200);
    same(&w->a[1][0], &want);
    close_world(w);
    engine = was;
}

static void a_lost_device_ends_everybody_with_its_reason(void **state)
{
    (void)state;
    world *w = open_world(&usual);
    for (uint32_t i = 0; i < 3; i++) {
        sr_request r = greedy(i + 1, i, 40, 40);
        post(w, &r);
    }
    steps(w, 3);
    sr_fault_arm(SR_FAULT_SUBMIT, 1);
    sr_step st;
    sr_err  err = {0};
    assert_int_equal(step_until_lost(w, &err), SR_DEVLOST);
    sr_fault_arm(SR_FAULT_SUBMIT, 0);
    poll_all(w);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(w->a[i][0].error, SR_DEVLOST);
        assert_non_null(strstr(w->a[i][0].msg, "injected"));
    }
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_int_equal(s.fault, 1);
    assert_int_equal(s.ready, 0);
    err = (sr_err){0};
    assert_int_equal(sr_engine_step(w->e, &st, &err), SR_DEVLOST); /* it does not come back */
    close_world(w);
}

static void a_lost_device_ends_those_who_wait_too(void **state)
{
    (void)state;
    sr_loadcfg one = usual;
    one.max_seqs   = 1;
    world *w       = open_world(&one);
    for (uint32_t i = 0; i < 3; i++) {
        sr_request r = greedy(i + 1, i, 40, 40);
        post(w, &r);
    }
    steps(w, 2);
    sr_err err = {0};
    sr_fault_arm(SR_FAULT_SUBMIT, 1);
    assert_int_equal(step_until_lost(w, &err), SR_DEVLOST);
    sr_fault_arm(SR_FAULT_SUBMIT, 0);
    poll_all(w);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(w->a[i][0].error, SR_DEVLOST);
    close_world(w);
}

/* Where another engine comes, only those who have begun have lost something. */
static void a_lost_device_leaves_those_who_wait_to_the_next_engine(void **state)
{
    (void)state;
    sr_loadcfg one = usual;
    one.max_seqs   = 1;
    world *w       = open_world(&one);
    sr_err err     = {0};
    sr_engine_close(w->e);
    assert_int_equal(sr_engine_open(w->m, &(sr_enginecfg){.replaced = true, .overlap = engine.overlap}, NULL, w->port, &w->e, &err), SR_OK);
    for (uint32_t i = 0; i < 3; i++) {
        sr_request r = greedy(i + 1, i, 40, 40);
        post(w, &r);
    }
    steps(w, 2);
    sr_fault_arm(SR_FAULT_SUBMIT, 1);
    assert_int_equal(step_until_lost(w, &err), SR_DEVLOST);
    sr_fault_arm(SR_FAULT_SUBMIT, 0);
    poll_all(w);
    assert_int_equal(w->a[0][0].error, SR_DEVLOST);
    for (uint32_t i = 1; i < 3; i++)
        assert_int_equal(w->a[i][0].error, SR_OK);
    sr_portstats s;
    sr_port_stats(w->port, &s);
    assert_int_equal(s.ready, 0);
    assert_int_equal(s.fault, 0); /* it would mean that nobody comes */
    assert_true(s.tokens_made > 0);
    assert_int_equal(sr_engine_busy(w->e), 0);
    close_world(w);
}

static void an_engine_opens_whole_or_not_at_all(void **state)
{
    (void)state;
    sr_err            err   = {0};
    world            *w     = open_world(&usual);
    sr_engine        *e     = NULL;
    sr_port          *port  = NULL;
    const sr_proposer draft = {.name = "draft"};
    bool              fired = true;
    uint64_t          n     = 1;
    assert_int_equal(sr_engine_open(w->m, NULL, &draft, w->port, &e, &err), SR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "\"draft\""));
    err = (sr_err){0};
    assert_int_equal(sr_port_open(NULL, &port, &err), SR_OK);
    for (; fired; n++) {
        err = (sr_err){0};
        sr_fault_arm(SR_FAULT_ALLOC, n);
        sr_status s = sr_engine_open(w->m, &(sr_enginecfg){.queue = 7}, NULL, port, &e, &err);
        fired       = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(s, fired ? SR_NOMEM : SR_OK);
    }
    assert_true(n > 4);
    sr_engine_close(e);
    sr_port_close(port);
    assert_true(sr_engine_events(0, 0) >= 1 << 20);
    close_world(w);
}

/* Choice 0 computes the prompt that the others wait for: it can be sent away, and they still get their answers. */
static void the_first_choice_may_leave_before_the_others_begin(void **state)
{
    (void)state;
    world     *w = open_world(&usual);
    sr_request r = greedy(1, 2, 400, 6), other = greedy(2, 3, 400, 6);
    r.n = 3, other.n = 2;
    r.ignore_eos = other.ignore_eos = true;
    post(w, &r);
    post(w, &other);
    steps(w, 1); /* a part of the prompt */
    assert_true(sr_port_end(w->port, 1, 0, SR_END_CANCEL));
    sr_job_find(w->e, 2)->deadline = 1; /* too late before its choices have parted */
    steps(w, 1000);
    assert_int_equal(w->a[0][0].reason, SR_END_CANCEL);
    assert_int_equal(w->a[0][1].n, 6);
    assert_int_equal(w->a[0][2].n, 6);
    assert_int_equal(w->a[1][0].done, 1);
    assert_int_equal(w->a[1][1].done, 1);
    no_page_is_held(w);
    close_world(w);
}

static void a_failed_allocation_ends_one_request_and_nothing_else(void **state)
{
    (void)state;
    answer want = alone(&usual, greedy(1, 1, 60, 20));
    world *w    = open_world(&usual);
    for (uint64_t nth = 1, fired = 1; fired && nth < 50; nth++) {
        memset(w->a, 0, sizeof w->a);
        sr_request r = greedy(1, 1, 60, 20), other = greedy(2, 2, 50, 20);
        post(w, &r);
        steps(w, 2);
        post(w, &other);
        w->unchecked = true;
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        steps(w, 1000);
        fired = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        w->unchecked = false;
        steps(w, 1);
        same(&w->a[0][0], &want);
        assert_int_equal(w->a[1][0].done, 1);
        assert_true(w->a[1][0].error == SR_OK || w->a[1][0].error == SR_NOMEM);
        no_page_is_held(w);
    }
    close_world(w);
}

static void many_sequences_want_a_port_that_holds_what_a_step_may_say(void **state)
{
    (void)state;
    sr_loadcfg many = {.path = MODEL, .ctx = 64, .max_seqs = 300, .max_step_tokens = 300, .dev = {.threads = 2}};
    world     *w    = sr_calloc(1, sizeof *w);
    sr_err     err  = {0};
    assert_int_equal(sr_model_load(&many, &w->m, &err), SR_OK);
    assert_int_equal(sr_port_open(NULL, &w->port, &err), SR_OK);
    assert_int_equal(sr_engine_open(w->m, NULL, NULL, w->port, &w->e, &err), SR_INVALID);
    assert_non_null(strstr(err.msg, "300 sequences"));
    sr_port_close(w->port);
    err = (sr_err){0};
    assert_int_equal(sr_port_open(&(sr_portcfg){.event_bytes = sr_engine_events(300, 0)}, &w->port, &err), SR_OK);
    assert_int_equal(sr_engine_open(w->m, NULL, NULL, w->port, &w->e, &err), SR_OK);
    for (uint32_t i = 0; i < MAX_REQ; i++)
        post(w, &(sr_request){.id = i + 1, .tok = prompt(i, 10), .n_tok = 10, .max_new = 5, .n = i % 2 ? 1 : MAX_CHOICE,
                              .sampling = {.temp = 1, .top_p = 1, .typical_p = 1, .rep_penalty = 1}});
    steps(w, 1000);
    for (uint32_t i = 0; i < MAX_REQ; i++)
        assert_int_equal(w->a[i][0].n, 5);
    close_world(w);
}

static void the_engine_may_be_a_process_of_its_own(void **state)
{
    (void)state;
    answer want = alone(&usual, greedy(1, 1, 60, 40));
    world *w    = sr_calloc(1, sizeof *w);
    sr_err err  = {0};
    assert_int_equal(sr_port_open(NULL, &w->port, &err), SR_OK);
    pid_t pid = fork();
    if (pid == 0) {
        volatile int stop = 0;
        if (sr_model_load(&usual, &w->m, &err) || sr_engine_open(w->m, &engine, NULL, w->port, &w->e, &err))
            _exit(1);
        _exit(sr_engine_run(w->e, &stop, &err) ? 2 : 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        sr_request r = greedy(i + 1, i == 2 ? 1 : i + 4, 60, 40);
        post(w, &r);
    }
    uint32_t done = 0;
    for (uint64_t t0 = sr_now_ns(); done < 4 && sr_now_ns() - t0 < 60000000000u;) {
        usleep(1000);
        poll_all(w);
        done = 0;
        for (int i = 0; i < 4; i++)
            done += w->a[i][0].done;
    }
    assert_int_equal(done, 4);
    same(&w->a[2][0], &want);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    sr_port_close(w->port);
    sr_free(w);
}

static bool count_row(void *arg, uint32_t pos, const float *row)
{
    (void)pos, (void)row;
    ++*(uint32_t *)arg;
    return true;
}

/* Somebody truncates the model's file while it is served. */
static void a_file_cut_short_is_an_error_not_a_signal(void **state)
{
    (void)state;
    char     path[] = "/tmp/strata-cut-XXXXXX", buf[1 << 16];
    int      fd     = mkstemp(path);
    FILE    *from   = fopen(MODEL, "rb");
    size_t   n;
    sr_err   err  = {0};
    uint32_t rows = 0;
    int32_t  tok[] = {5, 6, 7, 8};
    assert_true(fd >= 0 && from);
    while ((n = fread(buf, 1, sizeof buf, from)) > 0)
        assert_int_equal(write(fd, buf, n), n);
    fclose(from);
    sr_loadcfg c = usual;
    sr_model  *m = NULL;
    c.path       = path;
    assert_int_equal(sr_model_load(&c, &m, &err), SR_OK);
    assert_int_equal(sr_model_eval(m, tok, 4, 3, count_row, &rows, &err), SR_OK);
    assert_int_equal(rows, 1);
    assert_int_equal(ftruncate(fd, 3 << 20), 0);
    assert_int_equal(sr_model_eval(m, tok, 4, 3, count_row, &rows, &err), SR_IO);
    assert_non_null(strstr(err.msg, "cut short"));
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(rows, 1); /* nothing made of zeros came out */
    sr_model_close(m);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_depends_on_neither_batch_nor_chunks_nor_threads_nor_instruction_set),
        cmocka_unit_test(an_equal_prefix_is_computed_once_and_changes_nothing),
        cmocka_unit_test(choices_share_the_prompt_differ_and_are_repeatable),
        cmocka_unit_test(when_pages_run_out_some_wait_and_all_answers_stay_the_same),
        cmocka_unit_test(a_cancelled_request_gives_its_pages_back_and_disturbs_nobody),
        cmocka_unit_test(stop_tokens_end_a_choice_unless_held_or_ignored),
        cmocka_unit_test(biases_and_penalties_reach_the_sampler),
        cmocka_unit_test(prompt_scores_are_the_log_softmax_of_the_logits),
        cmocka_unit_test(a_wrong_request_ends_alone_with_a_reason),
        cmocka_unit_test(each_wrong_request_has_its_own_sentence),
        cmocka_unit_test(every_planted_damage_is_found),
        cmocka_unit_test(a_lost_device_ends_those_who_wait_too),
        cmocka_unit_test(a_lost_device_leaves_those_who_wait_to_the_next_engine),
        cmocka_unit_test(an_engine_opens_whole_or_not_at_all),
        cmocka_unit_test(the_first_choice_may_leave_before_the_others_begin),
        cmocka_unit_test(whatever_is_asked_nothing_is_left_behind),
        cmocka_unit_test(a_request_that_forbids_every_token_is_told_so),
        cmocka_unit_test(a_full_queue_refuses_and_deadlines_end_at_any_stage),
        cmocka_unit_test(without_credit_a_choice_pauses_and_goes_on_when_acknowledged),
        cmocka_unit_test(who_is_not_read_gives_way_and_comes_back),
        cmocka_unit_test(higher_priority_goes_first_and_deadlines_end),
        cmocka_unit_test(a_long_prompt_does_not_hold_up_those_who_answer),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(answers_are_the_same_when_steps_overlap),
        cmocka_unit_test(a_step_that_nobody_rides_is_left_behind),
        cmocka_unit_test(a_lost_device_ends_everybody_with_its_reason),
        cmocka_unit_test(a_failed_allocation_ends_one_request_and_nothing_else),
        cmocka_unit_test(a_file_cut_short_is_an_error_not_a_signal),
        cmocka_unit_test(many_sequences_want_a_port_that_holds_what_a_step_may_say),
        cmocka_unit_test(the_engine_may_be_a_process_of_its_own),
    };
    int failed     = cmocka_run_group_tests_name("engine", tests, NULL, NULL);
    engine.overlap = SR_OVERLAP_ALWAYS; /* whatever is under way, nobody is to notice */
    return failed + cmocka_run_group_tests_name("engine, steps overlapping", tests, NULL, NULL);
}
