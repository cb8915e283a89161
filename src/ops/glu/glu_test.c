#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "ops/glu/glu.h"
#include "ops/testkit.h"

static void build(kit *k, uint32_t rows, uint32_t n, bool gelu, uint64_t *s)
{
    *k    = (kit){.n = {.tok = rows}, .max = {.tok = rows}};
    k->op = (sr_op){.code = SR_OP_GLU, .flags = gelu ? SR_F_GELU : 0, .in = {0}, .out = {1}, .dim = {n}};
    kit_fill(kit_slot(k, 0, SR_ROWS_TOK, 2 * n, rows), (size_t)rows * 2 * n, 5, s);
    kit_slot(k, 1, SR_ROWS_TOK, n, rows);
}

static double truth(double g, bool gelu)
{
    return gelu ? 0.5 * g * (1 + tanh(0.7978845608028654 * (g + 0.044715 * g * g * g))) : g / (1 + exp(-g));
}

static void reference_agrees_with_double(void **state)
{
    (void)state;
    uint64_t s = 8;
    for (int gelu = 0; gelu < 2; gelu++) {
        enum { N = 4000 };
        kit k;
        build(&k, 1, N, gelu, &s);
        float *gate = k.base[0], *up = gate + N, *out = k.base[1];
        gate[0] = 90;
        gate[1] = -90;
        gate[2] = 0;
        gate[3] = -1e30f;
        assert_true(kit_run(&k, &sr_glu_ref, 1));
        for (uint32_t i = 0; i < N; i++) {
            /* SiLU: exp 0.9 ulp, add, divide, times up.  GELU: 1 + tanh cancels for g below 0: an absolute error of 2 ulp of 1. */
            double want = truth(gate[i], gelu) * up[i], eps = FLT_EPSILON / 2;
            double tol = gelu ? 6 * eps * fabs(want) + 4 * eps * fabs((double)gate[i] * up[i]) : 6 * eps * fabs(want);
            if (fabs(gate[i]) < 1e10)
                assert_true(fabs(want - out[i]) <= tol + 1e-36);
            else
                assert_true(gelu || out[i] == 0);
        }
        kit_free(&k);
    }
}

static void fast_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    uint64_t s = 9;
    for (int round = 0; round < 60; round++) {
        kit      k;
        uint32_t rows = 1 + kit_below(&s, 5), n = 1 + kit_below(&s, round % 2 ? 600 : 40);
        build(&k, rows, n, round % 3 == 0, &s);
        float *in = k.base[0];
        for (uint32_t i = 0; i < rows * n / 8; i++) /* far ends, too */
            in[kit_below(&s, rows * 2 * n)] *= 20;
        size_t bytes = (size_t)rows * n * 4;
        void  *want  = kit_own(&k, bytes);
        assert_true(kit_run(&k, &sr_glu_ref, 1));
        memcpy(want, k.base[1], bytes);
        for (const sr_cpukernel *const *f = sr_glu_kernels; *f; f++)
            for (uint32_t threads = 1; threads <= 3; threads++) {
                memset(k.base[1], 0xee, bytes);
                if (kit_run(&k, *f, threads))
                    assert_memory_equal(want, k.base[1], bytes);
            }
        kit_free(&k);
    }
}

static void cost_counts_two_reads_and_a_write(void **state)
{
    (void)state;
    uint64_t s = 1;
    kit      k;
    build(&k, 3, 100, false, &s);
    kit_program(&k);
    assert_true(sr_op_cost(&k.prog, 0, &k.n, 0).bytes == 3 * 100 * 12);
    kit_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_agrees_with_double),
        cmocka_unit_test(fast_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(cost_counts_two_reads_and_a_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
