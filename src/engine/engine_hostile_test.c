/* engine_hostile_test: what is wrong is refused with its own sentence, whatever is asked nothing is left behind, and damage to the
 * scheduler's books is found. */
#include "engine/testworld.h"

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
        c.dev.threads     = 1; /* of the small steps here a thread more takes longer, where others use the machine, too: many times as long */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_request_ends_alone_with_a_reason),
        cmocka_unit_test(each_wrong_request_has_its_own_sentence),
        cmocka_unit_test(every_planted_damage_is_found),
        cmocka_unit_test(whatever_is_asked_nothing_is_left_behind),
        cmocka_unit_test(a_request_that_forbids_every_token_is_told_so),
    };
    return run_both_ways("engine: hostile", tests);
}
