/* engine_turns_test: who goes when: pages and places run out, readers are slow, deadlines pass, requests leave; nobody else notices. */
#include "engine/testworld.h"

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

/* Several pages are entered meanwhile, and every request has its last token in it. */
static void steps_of_running_requests_allocate_nothing(void **state)
{
    (void)state;
    world *w = open_world(&usual);
    for (uint32_t i = 0; i < 4; i++) {
        sr_request r = greedy(i + 1, i, 20 + 10 * i, 60);
        post(w, &r);
    }
    steps(w, 12);
    w->unchecked = true;
    sr_fault_arm(SR_FAULT_ALLOC, 1);
    sr_fault_arm(SR_FAULT_DEVALLOC, 1);
    steps(w, 200);
    bool host = sr_fault_fired(SR_FAULT_ALLOC), device = sr_fault_fired(SR_FAULT_DEVALLOC);
    sr_fault_arm(SR_FAULT_ALLOC, 0);
    sr_fault_arm(SR_FAULT_DEVALLOC, 0);
    if (host || device)
        fail_msg("a step allocates %s memory", host ? "host" : "device");
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(w->a[i][0].n, 60);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_pages_run_out_some_wait_and_all_answers_stay_the_same),
        cmocka_unit_test(steps_of_running_requests_allocate_nothing),
        cmocka_unit_test(a_cancelled_request_gives_its_pages_back_and_disturbs_nobody),
        cmocka_unit_test(the_first_choice_may_leave_before_the_others_begin),
        cmocka_unit_test(a_full_queue_refuses_and_deadlines_end_at_any_stage),
        cmocka_unit_test(without_credit_a_choice_pauses_and_goes_on_when_acknowledged),
        cmocka_unit_test(who_is_not_read_gives_way_and_comes_back),
        cmocka_unit_test(higher_priority_goes_first_and_deadlines_end),
        cmocka_unit_test(a_long_prompt_does_not_hold_up_those_who_answer),
    };
    return run_both_ways("engine: turns", tests);
}
