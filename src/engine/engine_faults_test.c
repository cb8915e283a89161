/* engine_faults_test: a device lost, memory refused, a file cut short, a process that ends; and that steps allocate nothing. */
#include "engine/testworld.h"

#include <signal.h>
#include <sys/wait.h>

/* What fails may be the step behind the one under way, which then still ends well. */
static sr_status step_until_lost(world *w, sr_err *err)
{
    sr_step   st;
    sr_status s = SR_OK;
    for (uint32_t i = 0; i < 2 && s == SR_OK; i++)
        s = sr_engine_step(w->e, &st, err);
    return s;
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
        cmocka_unit_test(a_lost_device_ends_those_who_wait_too),
        cmocka_unit_test(a_lost_device_leaves_those_who_wait_to_the_next_engine),
        cmocka_unit_test(an_engine_opens_whole_or_not_at_all),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(a_lost_device_ends_everybody_with_its_reason),
        cmocka_unit_test(a_failed_allocation_ends_one_request_and_nothing_else),
        cmocka_unit_test(a_file_cut_short_is_an_error_not_a_signal),
        cmocka_unit_test(many_sequences_want_a_port_that_holds_what_a_step_may_say),
        cmocka_unit_test(the_engine_may_be_a_process_of_its_own),
    };
    return run_both_ways("engine: faults", tests);
}
