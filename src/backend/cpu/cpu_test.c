/* cpu_test: the pool's barriers, the queues' order, and what opening a CPU device refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cpu/internal.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"

typedef struct {
    sr_pool *pool;
    uint32_t n, rounds;
    uint32_t seen[8], total, wrong;
} counting;

static void count_rounds(void *arg, uint32_t t)
{
    counting *c = arg;
    for (uint32_t r = 1; r <= c->rounds; r++) {
        __atomic_store_n(&c->seen[t], r, __ATOMIC_RELAXED);
        sr_pool_barrier(c->pool);
        for (uint32_t i = 0; i < c->n; i++) /* everybody has stored r, nobody r + 1 */
            if (__atomic_load_n(&c->seen[i], __ATOMIC_RELAXED) != r)
                __atomic_fetch_add(&c->wrong, 1, __ATOMIC_RELAXED);
        sr_pool_barrier(c->pool);
    }
    __atomic_fetch_add(&c->total, 1, __ATOMIC_RELAXED);
}

static void a_barrier_holds_until_all_have_come(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 5; n++) {
        sr_err   err = {0};
        counting c   = {.n = n, .rounds = 300};
        assert_int_equal(sr_pool_open(n, 20, false, &c.pool, &err), SR_OK);
        for (int run = 1; run <= 10; run++) {
            sr_pool_run(c.pool, count_rounds, &c);
            assert_int_equal(c.total, n * (uint32_t)run);
            memset(c.seen, 0, sizeof c.seen);
        }
        usleep(2000); /* long enough for workers to fall asleep */
        sr_pool_run(c.pool, count_rounds, &c);
        assert_int_equal(c.wrong, 0);
        sr_pool_close(c.pool);
    }
}

static sr_dev *open_dev(const sr_devcfg *cfg)
{
    sr_err  err = {0};
    sr_dev *d   = NULL;
    if (sr_backend_cpu.open(0, cfg, &d, &err))
        fail_msg("%s", err.msg);
    return d;
}

static void copies_follow_their_steps_and_marks_their_order(void **state)
{
    (void)state;
    sr_err  err = {0};
    sr_dev *d   = open_dev(&(sr_devcfg){.threads = 1});
    int     src[64], dst[64] = {0};
    for (int i = 0; i < 64; i++)
        src[i] = i + 1;
    sr_span s[2] = {{.dst = dst, .src = src, .bytes = 8, .n = 4, .dst_step = 16, .src_step = 32},
                    {.dst = dst + 32, .src = src, .bytes = 4, .n = 1}};
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_IN, s, 2, &err), SR_OK);
    sr_point p = sr_backend_cpu.mark(d, SR_Q_IN);
    assert_int_equal(sr_backend_cpu.wait(d, p, UINT64_MAX, &err), SR_OK);
    assert_true(sr_reached(p));
    for (int k = 0; k < 4; k++) {
        assert_int_equal(dst[4 * k], src[8 * k]);
        assert_int_equal(dst[4 * k + 1], src[8 * k + 1]);
        assert_int_equal(dst[4 * k + 2], 0);
    }
    assert_int_equal(dst[32], 1);
    sr_backend_cpu.close(d);
}

static void a_fence_holds_a_queue_until_the_host_signals(void **state)
{
    (void)state;
    sr_err   err  = {0};
    sr_dev  *d    = open_dev(&(sr_devcfg){.threads = 1});
    uint64_t word = 0;
    int      a = 7, b = 0;
    sr_span  s = {.dst = &b, .src = &a, .bytes = sizeof a, .n = 1};
    sr_backend_cpu.fence(d, SR_Q_OUT, (sr_point){&word, 3});
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_OUT, &s, 1, &err), SR_OK);
    sr_point p = sr_backend_cpu.mark(d, SR_Q_OUT);
    assert_int_equal(sr_backend_cpu.wait(d, p, 3000000, &err), SR_AGAIN);
    assert_int_equal(b, 0);
    __atomic_store_n(&word, 3, __ATOMIC_RELEASE);
    assert_int_equal(sr_backend_cpu.wait(d, p, UINT64_MAX, &err), SR_OK);
    assert_int_equal(b, 7);
    sr_backend_cpu.close(d);
}

static void a_full_queue_says_again_and_loses_nothing(void **state)
{
    (void)state;
    sr_err   err  = {0};
    sr_dev  *d    = open_dev(&(sr_devcfg){.threads = 1});
    uint64_t word = 0, from = 1, to[1] = {0};
    sr_span  s = {.dst = to, .src = &from, .bytes = 8, .n = 1};
    uint32_t taken = 0;
    sr_backend_cpu.fence(d, SR_Q_COMPUTE, (sr_point){&word, 1});
    while (sr_backend_cpu.copyv(d, SR_Q_COMPUTE, &s, 1, &err) == SR_OK && taken < 100000)
        taken++;
    assert_in_range(taken, 1000, 99999);
    assert_int_equal(err.status, SR_OK); /* not now is no fault */
    __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
    assert_int_equal(sr_backend_cpu.wait(d, sr_backend_cpu.mark(d, SR_Q_COMPUTE), UINT64_MAX, &err), SR_OK);
    assert_int_equal(to[0], 1);
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_COMPUTE, &s, 1, &err), SR_OK);
    sr_backend_cpu.close(d);
}

static void a_failure_is_kept_and_told_to_every_later_wait(void **state)
{
    (void)state;
    sr_err  err = {0}, again = {0};
    sr_dev *d = open_dev(&(sr_devcfg){.threads = 1});
    int     a = 1, b = 0;
    sr_span s = {.dst = &b, .src = &a, .bytes = sizeof a, .n = 1};
    sr_fault_arm(SR_FAULT_COPY, 1);
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_IN, &s, 1, &err), SR_OK);
    assert_int_equal(sr_backend_cpu.wait(d, sr_backend_cpu.mark(d, SR_Q_IN), UINT64_MAX, &err), SR_DEVLOST);
    assert_non_null(strstr(err.msg, "strata-in"));
    sr_fault_arm(SR_FAULT_COPY, 0);
    assert_int_equal(sr_backend_cpu.copyv(d, SR_Q_IN, &s, 1, &err), SR_OK);
    assert_int_equal(sr_backend_cpu.wait(d, sr_backend_cpu.mark(d, SR_Q_IN), UINT64_MAX, &again), SR_DEVLOST);
    assert_int_equal(b, 0);
    sr_backend_cpu.close(d);
}

static void an_instruction_set_asked_for_is_had_or_refused(void **state)
{
    static const char *const names[] = {"ref", "avx2", "avx512", "amx", "neon", "neon-dot"};
    (void)state;
    uint32_t had = 0;
    for (size_t i = 0; i < SR_COUNT(names); i++) {
        sr_err     err = {0};
        sr_dev    *d   = NULL;
        sr_devinfo info = {.size = sizeof info};
        sr_status  s = sr_backend_cpu.open(0, &(sr_devcfg){.threads = 1, .isa = names[i]}, &d, &err);
        if (s == SR_OK) {
            assert_int_equal(sr_backend_cpu.info(0, d, &info, &err), SR_OK);
            assert_string_equal(info.isa, names[i]);
            had++;
        } else {
            assert_int_equal(s, SR_UNSUPPORTED);
            assert_non_null(strstr(err.msg, names[i]));
        }
        sr_backend_cpu.close(d);
    }
    assert_true(had > 0);
}

static void what_cannot_be_opened_is_named(void **state)
{
    (void)state;
    const sr_devcfg bad[]  = {{.isa = "sse9"}, {.threads = 100000}};
    const char     *want[] = {"sse9", "100000"};
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_err  err = {0};
        sr_dev *d   = NULL;
        assert_int_equal(sr_backend_cpu.open(0, &bad[i], &d, &err), SR_INVALID);
        assert_non_null(strstr(err.msg, want[i]));
        assert_null(d);
    }
    for (uint64_t nth = 1, fired = 1; fired; nth++) {
        sr_err  err = {0};
        sr_dev *d   = NULL;
        sr_fault_arm(SR_FAULT_ALLOC, nth);
        sr_status s = sr_backend_cpu.open(0, &(sr_devcfg){.threads = 2}, &d, &err);
        fired       = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        assert_int_equal(s, fired ? SR_NOMEM : SR_OK);
        sr_backend_cpu.close(d);
    }
}

static void devices_are_picked_by_name_and_never_silently(void **state)
{
    (void)state;
    const sr_backend *be = NULL;
    int               n  = -1;
    char              why[200];
    sr_err            err = {0};
    assert_int_equal(sr_backend_pick("cpu", &be, &n, why, &err), SR_OK);
    assert_ptr_equal(be, &sr_backend_cpu);
    assert_int_equal(sr_backend_pick("auto", &be, &n, why, &err), SR_OK);
    assert_true(be != &sr_backend_cpu || why[0]); /* fell back: says why */
    const char *bad[] = {"cuda:x", "cuda:", "gpu:0", "tpu", "cuda:-1", ""};
    for (size_t i = 0; i < SR_COUNT(bad); i++) {
        sr_err e = {0};
        assert_int_equal(sr_backend_pick(bad[i], &be, &n, why, &e), SR_INVALID);
        assert_non_null(strstr(e.msg, "unknown device"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_barrier_holds_until_all_have_come),
        cmocka_unit_test(copies_follow_their_steps_and_marks_their_order),
        cmocka_unit_test(a_fence_holds_a_queue_until_the_host_signals),
        cmocka_unit_test(a_full_queue_says_again_and_loses_nothing),
        cmocka_unit_test(a_failure_is_kept_and_told_to_every_later_wait),
        cmocka_unit_test(an_instruction_set_asked_for_is_had_or_refused),
        cmocka_unit_test(what_cannot_be_opened_is_named),
        cmocka_unit_test(devices_are_picked_by_name_and_never_silently),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
