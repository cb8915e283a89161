/* meter_test: a bus that is acted by this thread, with copies that take a known time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <time.h>

#include "base/clock.h"
#include "weights/meter.h"

enum { MS = 1000000 };

static void nap(long ns) { nanosleep(&(struct timespec){.tv_nsec = ns}, NULL); }

static sr_metered settled(sr_meter *m, uint64_t bytes)
{
    sr_metered t = {0};
    for (int i = 0; i < 2000 && t.bytes < bytes; i++) {
        nap(MS);
        sr_meter_total(m, &t);
    }
    return t;
}

static void copies_count_from_the_free_slot_to_their_end(void **state)
{
    (void)state;
    sr_err            err = {0};
    sr_meter         *m;
    volatile uint64_t slot = 0, bus = 0;
    assert_int_equal(sr_meter_open(&m, &err), SR_OK);
    uint64_t busy = 0;
    for (uint64_t i = 1; i <= 10; i++) {
        sr_meter_add(m, 1000, (sr_point){&slot, i}, (sr_point){&bus, i});
        nap(8 * MS); /* the slot is not free: the bus stands still */
        uint64_t t = sr_now_ns();
        __atomic_store_n(&slot, i, __ATOMIC_RELEASE);
        nap(4 * MS);
        __atomic_store_n(&bus, i, __ATOMIC_RELEASE);
        busy += sr_now_ns() - t;
        nap(2 * MS);
    }
    sr_metered t = settled(m, 10000);
    assert_in_range(t.bytes, 3000, 10000); /* a meter that was held up leaves copies out */
    /* Looked at now and then, on a machine that may be busy: the waits before, twice as long, are not in it. */
    double each = (double)t.ns * 1000 / (double)t.bytes;
    assert_true(each > 0.04 * (double)busy && each < 0.1 * (double)busy + 7 * MS);
    sr_meter_close(m);
}

static void a_meter_closes_while_copies_are_under_way(void **state)
{
    (void)state;
    sr_err            err = {0};
    sr_meter         *m;
    volatile uint64_t never = 0;
    assert_int_equal(sr_meter_open(&m, &err), SR_OK);
    for (int i = 0; i < 3000; i++) /* more than it keeps */
        sr_meter_add(m, 1, (sr_point){0}, (sr_point){&never, 1});
    nap(2 * MS);
    sr_meter_close(m);
    sr_meter_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_count_from_the_free_slot_to_their_end),
        cmocka_unit_test(a_meter_closes_while_copies_are_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
