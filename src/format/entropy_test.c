/* entropy_test: what codes and scales hold is what is known of the numbers they were made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/philox.h"
#include "format/entropy.h"
#include "ops/quant/quant.h"

static uint32_t draw(uint32_t i, uint32_t stream) { return sr_philox4(7, i, stream, 0, 0).v[0]; }

static void the_entropy_of_codes_is_that_of_what_they_say(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    static float   x[N];
    static uint8_t q[N * 2];
    const struct { uint32_t format; double low, high; } want[] = {{SR_Q8_0, 6.5, 7.7}, {SR_Q6_K, 5.0, 6.0}, {SR_Q4_K, 3.4, 4.0}};
    for (uint32_t i = 0; i < N; i++) {
        double a = ((double)draw(i, 1) + 1) / 4294967297.0, b = (double)draw(i, 2) / 4294967296.0;
        x[i]     = (float)(sqrt(-2 * log(a)) * cos(6.283185307179586 * b));
    }
    for (size_t i = 0; i < SR_COUNT(want); i++) {
        sr_entropy e;
        sr_encode_row(want[i].format, x, q, N);
        assert_true(sr_entropy_measure(want[i].format, q, sr_row_bytes(want[i].format, N), &e));
        double stored = 0, codes = e.held[1] / N;
        for (uint32_t p = 0; p < e.n_part; p++) {
            stored += e.stored[p];
            assert_true(e.held[p] >= 0 && e.held[p] <= e.stored[p] * 1.0001);
        }
        assert_true(fabs(stored - 8.0 * (double)sr_row_bytes(want[i].format, N)) < 1);
        assert_true(codes > want[i].low && codes < want[i].high);
    }
    memset(q, 0, sizeof q);
    sr_entropy none;
    assert_true(sr_entropy_measure(SR_Q6_K, q, 210 * 10, &none));
    assert_true(none.held[0] + none.held[1] < 1e-9);
    assert_false(sr_entropy_measure(SR_F32, q, 64, &none));
}

/* The bound of the code of exponents (ops/expcode). */
static void exponents_of_weights_hold_a_third_of_their_bits(void **state)
{
    (void)state;
    enum { N = 65536 };
    static uint16_t v[N];
    sr_entropy      e;
    for (uint32_t i = 0; i < N; i++) {
        double a = ((double)draw(i, 1) + 1) / 4294967297.0, b = (double)draw(i, 2) / 4294967296.0;
        v[i]     = sr_f32_to_bf16((float)(0.02 * sqrt(-2 * log(a)) * cos(6.283185307179586 * b)));
    }
    assert_true(sr_entropy_measure(SR_BF16, v, sizeof v, &e));
    assert_int_equal(e.n_part, 2);
    assert_true(e.held[0] < 0.4 * e.stored[0] && e.held[0] > 0.25 * e.stored[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_entropy_of_codes_is_that_of_what_they_say),
        cmocka_unit_test(exponents_of_weights_hold_a_third_of_their_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
