/* climb_test.c - the optimum of a row is found from anywhere, with noise, and found again when it moves. */
#include "engine/climb.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/philox.h"

enum { LAST = 111 };

static double noise(uint32_t run, uint32_t n, double most)
{
    return 1 + most * (2.0 * sr_philox4(7, run, n, 0, 0).v[0] / 4294967295.0 - 1);
}

/* Two sides that work at once: the time is the slower one's. */
static double two_sides(uint32_t at, double optimum)
{
    double x = at / (double)LAST, o = optimum / LAST;
    return 100 * fmax(x / o, (1 - x) / (1 - o));
}

static uint32_t settle(sr_climb *c, uint32_t at, double optimum, uint32_t times, uint32_t run, double most)
{
    for (uint32_t n = 0; n < times; n++) {
        at = sr_climb_next(c, two_sides(at, optimum) * noise(run, n, most));
        assert_true(at <= LAST);
    }
    return sr_climb_back(c);
}

static void the_optimum_is_found_from_anywhere(void **state)
{
    (void)state;
    uint32_t longest = 0;
    for (uint32_t from = 0; from <= LAST; from += 5)
        for (uint32_t optimum = 12; optimum < 100; optimum += 11) {
            sr_climb c;
            double   lean = (optimum - (double)from) / LAST;
            uint32_t n = 0, at = from;
            sr_climb_begin(&c, from, LAST, lean);
            for (; n < 200 && two_sides(c.kept, optimum) > 102; n++)
                at = sr_climb_next(&c, two_sides(at, optimum));
            longest = n > longest ? n : longest;
            assert_true(n < 40);
        }
    print_message("at most %u times\n", longest);
}

static void a_hint_that_is_wrong_costs_little(void **state)
{
    (void)state;
    sr_climb c;
    sr_climb_begin(&c, 40, LAST, 0.6); /* more, it says: less is right */
    assert_true(two_sides(settle(&c, 40, 30, 60, 0, 0), 30) < 103);
}

static void noise_below_the_gain_moves_nothing_far(void **state)
{
    (void)state;
    for (uint32_t run = 0; run < 50; run++) {
        sr_climb c;
        sr_climb_begin(&c, 70, LAST, 0.2);
        uint32_t at = settle(&c, 70, 50, 80, run, 0.004);
        assert_true(two_sides(at, 50) < 104);
        at = settle(&c, at, 50, 400, run + 100, 0.004); /* and it stays there */
        assert_true(two_sides(at, 50) < 104);
    }
}

static void it_follows_an_optimum_that_moves(void **state)
{
    (void)state;
    sr_climb c;
    sr_climb_begin(&c, 50, LAST, 0);
    uint32_t at = settle(&c, 50, 50, 40, 0, 0);
    at          = settle(&c, at, 70, 400, 0, 0);
    assert_true(two_sides(at, 70) < 104);
}

/* All times grow by a thousandth each: no reason to leave the optimum, or to run away. */
static void a_drift_of_all_times_is_no_reason(void **state)
{
    (void)state;
    sr_climb c;
    uint32_t at = 50;
    sr_climb_begin(&c, at, LAST, 0.3);
    for (uint32_t n = 0; n < 200; n++)
        at = sr_climb_next(&c, two_sides(at, 50) * (1 + n * 1e-3));
    assert_true(two_sides(sr_climb_back(&c), 50) < 102);
}

static void ends_of_the_row_are_settings_like_others(void **state)
{
    (void)state;
    for (int end = 0; end < 2; end++) {
        sr_climb c;
        uint32_t at = 60;
        sr_climb_begin(&c, at, LAST, end ? 1 : -1);
        for (uint32_t n = 0; n < 80; n++)
            at = sr_climb_next(&c, end ? 200.0 - at : 100.0 + at);
        assert_int_equal(sr_climb_back(&c), end ? LAST : 0);
    }
    sr_climb one; /* a row of one */
    sr_climb_begin(&one, 0, 0, 0.5);
    for (uint32_t n = 0; n < 5; n++)
        assert_int_equal(sr_climb_next(&one, 10.0 - n), 0);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(the_optimum_is_found_from_anywhere), cmocka_unit_test(a_hint_that_is_wrong_costs_little),
        cmocka_unit_test(noise_below_the_gain_moves_nothing_far), cmocka_unit_test(it_follows_an_optimum_that_moves),
        cmocka_unit_test(a_drift_of_all_times_is_no_reason), cmocka_unit_test(ends_of_the_row_are_settings_like_others),
    };
    return cmocka_run_group_tests(t, NULL, NULL);
}
