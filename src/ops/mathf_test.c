/* The errors that mathf.h states, over every 997th float, against the C library in double. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "ops/mathf.h"

static double worst_ulps(float (*f)(float), double (*truth)(double), float lo, float hi)
{
    double worst = 0;
    for (uint32_t u = 0; u < 0xffffffffu - 997; u += 997) {
        float x = sr_float_of(u);
        int   e;
        if (!(x >= lo && x <= hi))
            continue;
        double t = truth(x);
        frexp(t, &e);
        double ulp = ldexp(1, e < -125 ? -149 : e - 24);
        worst      = fmax(worst, fabs(f(x) - t) / ulp);
    }
    return worst;
}

static float sine(float x)
{
    float s, c;
    sr_sincosf(x, &s, &c);
    return s;
}

static float cosine(float x)
{
    float s, c;
    sr_sincosf(x, &s, &c);
    return c;
}

static void functions_keep_the_errors_they_state(void **state)
{
    (void)state;
    assert_true(worst_ulps(sr_expf, exp, SR_EXP_MIN, SR_EXP_MAX) < 0.9);
    assert_true(worst_ulps(sr_logf, log, 1e-45f, 3.4e38f) < 0.8);
    assert_true(worst_ulps(sr_tanhf, tanh, -20, 20) < 1.4);
    assert_true(worst_ulps(sine, sin, -1.6e6f, 1.6e6f) < 0.501);
    assert_true(worst_ulps(cosine, cos, -1.6e6f, 1.6e6f) < 0.501);
}

static void ends_of_the_range_are_exact(void **state)
{
    (void)state;
    assert_true(sr_expf(-INFINITY) == 0 && sr_expf(-87.34f) == 0 && sr_expf(0) == 1);
    assert_true(sr_expf(INFINITY) == INFINITY && sr_expf(88.73f) == INFINITY && sr_expf(88.7228f) < INFINITY);
    assert_true(sr_expf(SR_EXP_MIN) >= 0x1p-126f);
    assert_true(sr_logf(0) == -INFINITY && sr_logf(1) == 0 && sr_logf(INFINITY) == INFINITY);
    assert_true(sr_tanhf(0) == 0 && sr_tanhf(50) == 1 && sr_tanhf(-50) == -1);
    assert_true(isnan(sr_expf(NAN)) && isnan(sr_logf(NAN)) && isnan(sr_logf(-1)) && isnan(sr_tanhf(NAN)));
    assert_true(isnan(sine(NAN)) && isnan(sine(INFINITY)) && isnan(cosine(-INFINITY)));
    assert_true(sine(0) == 0 && cosine(0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_keep_the_errors_they_state),
        cmocka_unit_test(ends_of_the_range_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
