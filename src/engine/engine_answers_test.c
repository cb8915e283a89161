/* engine_answers_test: what a request gets depends on the request alone, whoever else is in the batch, however its prompt is cut and
 * whether steps overlap; and what it may ask for (choices, stop tokens, biases, scores) is what it gets. */
#include "engine/testworld.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_depends_on_neither_batch_nor_chunks_nor_threads_nor_instruction_set),
        cmocka_unit_test(an_equal_prefix_is_computed_once_and_changes_nothing),
        cmocka_unit_test(choices_share_the_prompt_differ_and_are_repeatable),
        cmocka_unit_test(stop_tokens_end_a_choice_unless_held_or_ignored),
        cmocka_unit_test(biases_and_penalties_reach_the_sampler),
        cmocka_unit_test(prompt_scores_are_the_log_softmax_of_the_logits),
        cmocka_unit_test(answers_are_the_same_when_steps_overlap),
        cmocka_unit_test(a_step_that_nobody_rides_is_left_behind),
    };
    return run_both_ways("engine: answers", tests);
}
