#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "app/watchdog.h"
#include "base/clock.h"

/* In place of an engine's: how long the step has been on the device. */
static uint64_t busy_since; /* 0: it is not */
uint64_t sr_engine_busy(const sr_engine *e)
{
    uint64_t since = __atomic_load_n(&busy_since, __ATOMIC_ACQUIRE);
    (void)e;
    return since ? sr_now_ns() - since : 0;
}

typedef struct { int calls; char why[200]; } told;

static void hung(void *arg, const char *why)
{
    told *t = arg;
    strncpy(t->why, why, sizeof t->why - 1);
    __atomic_fetch_add(&t->calls, 1, __ATOMIC_RELEASE);
    pthread_exit(NULL); /* it must not come back */
}

static void a_step_that_does_not_come_back_is_told_once_with_device_and_time(void **state)
{
    (void)state;
    told         t   = {0};
    sr_watchdog *d   = NULL;
    sr_err       err = {0};
    __atomic_store_n(&busy_since, sr_now_ns(), __ATOMIC_RELEASE);
    uint64_t start = sr_now_ns();
    assert_int_equal(sr_watchdog_open(NULL, 200000000, "card of glass", hung, &t, &d, &err), SR_OK);
    while (!__atomic_load_n(&t.calls, __ATOMIC_ACQUIRE) && sr_now_ns() - start < 20000000000u)
        usleep(1000);
    assert_true(sr_now_ns() - start >= 200000000);
    sr_watchdog_close(d);
    assert_int_equal(t.calls, 1);
    assert_non_null(strstr(t.why, "card of glass"));
    assert_non_null(strstr(t.why, "--step-timeout"));
}

static void steps_that_come_back_and_an_idle_device_are_left_alone(void **state)
{
    (void)state;
    told         t   = {0};
    sr_watchdog *d   = NULL;
    sr_err       err = {0};
    __atomic_store_n(&busy_since, 0, __ATOMIC_RELEASE);
    assert_int_equal(sr_watchdog_open(NULL, 3600000000000u, "card", hung, &t, &d, &err), SR_OK);
    for (int i = 0; i < 20; i++) {
        __atomic_store_n(&busy_since, i % 2 ? sr_now_ns() : 0, __ATOMIC_RELEASE);
        usleep(2000);
    }
    uint64_t start = sr_now_ns();
    sr_watchdog_close(d); /* at once, not after its next look */
    assert_true(sr_now_ns() - start < 900000000);
    assert_int_equal(t.calls, 0);
    sr_watchdog_close(NULL);
}

static void the_limit_follows_what_is_slow_by_nature(void **state)
{
    (void)state;
    const sr_modelinfo card = {0}, streamed = {.predicted_s = 6.5}, quick = {.predicted_s = 0.1}, host = {.on_host = true, .predicted_s = 6.5};
    assert_int_equal(sr_watchdog_limit(60, &card), 60000000000u);
    assert_int_equal(sr_watchdog_limit(60, &quick), 60000000000u);
    assert_int_equal(sr_watchdog_limit(60, &streamed), 130000000000u);
    assert_int_equal(sr_watchdog_limit(0, &card), 0);
    assert_int_equal(sr_watchdog_limit(60, &host), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_that_does_not_come_back_is_told_once_with_device_and_time),
                                       cmocka_unit_test(steps_that_come_back_and_an_idle_device_are_left_alone),
                                       cmocka_unit_test(the_limit_follows_what_is_slow_by_nature)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
