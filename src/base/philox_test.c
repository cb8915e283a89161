#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/philox.h"

static void assert_words(sr_philox got, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    assert_int_equal(got.v[0], a);
    assert_int_equal(got.v[1], b);
    assert_int_equal(got.v[2], c);
    assert_int_equal(got.v[3], d);
}

/* Random123, tests/kat_vectors, "philox4x32 10": counter, key, result. */
static void philox_gives_the_known_answers(void **state)
{
    (void)state;
    assert_words(sr_philox4(0, 0, 0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
    assert_words(sr_philox4(0xffffffffffffffffu, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff), 0x408f276d, 0x41c83b0e,
                 0xa20bc7c6, 0x6d5451fd);
    assert_words(sr_philox4(0x299f31d0a4093822u, 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), 0xd16cfe09, 0x94fdcceb,
                 0x5001e420, 0x24126ea1);
}

static void uniforms_are_inside_the_open_interval(void **state)
{
    (void)state;
    assert_true(sr_uniform(0) > 0 && sr_uniform(0) < 1e-7f);
    assert_true(sr_uniform(0xffffffff) < 1 && sr_uniform(0xffffffff) > 0.9999999f);
    assert_true(sr_uniform(0x80000000) > 0.5f && sr_uniform(0x7fffffff) < 0.5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(uniforms_are_inside_the_open_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
