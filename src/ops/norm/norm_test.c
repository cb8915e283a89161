#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "ops/norm/norm.h"
#include "ops/testkit.h"

static const double EPS = FLT_EPSILON / 2;

/* rows of `width` columns, of which `groups` groups of n from column `first` are normed. */
static void build(kit *k, uint32_t rows, uint32_t n, uint32_t first, uint32_t groups, uint32_t width, uint64_t *s)
{
    *k      = (kit){.n = {.tok = rows}, .max = {.tok = rows}};
    k->op   = (sr_op){.code = SR_OP_NORM, .in = {0}, .out = {1}, .dim = {n, first, groups}, .f = {1e-5f}};
    float *w = kit_own(k, n * 4);
    kit_fill(kit_slot(k, 0, SR_ROWS_TOK, width, rows), (size_t)rows * width, 3, s);
    kit_fill(w, n, 1, s);
    kit_weight(k, 0, SR_F32, w, 1, n);
    memset(kit_slot(k, 1, SR_ROWS_TOK, width, rows), 0x7f, (size_t)rows * width * 4);
}

static void reference_agrees_with_double(void **state)
{
    (void)state;
    uint64_t s = 3;
    for (int round = 0; round < 20; round++) {
        kit      k;
        uint32_t n = 1 + kit_below(&s, 700), rows = 1 + kit_below(&s, 4);
        build(&k, rows, n, 0, 1, n, &s);
        assert_true(kit_run(&k, &sr_norm_ref, 1));
        for (uint32_t r = 0; r < rows; r++) {
            const float *x = (float *)k.base[0] + (size_t)r * n, *y = (float *)k.base[1] + (size_t)r * n, *w = k.wref[0].p;
            double       sum = 0;
            for (uint32_t i = 0; i < n; i++)
                sum += (double)x[i] * x[i];
            double scale = 1 / sqrt(sum / n + (double)1e-5f);
            for (uint32_t i = 0; i < n; i++) /* a sum of n/16 + 4 roundings, halved by the root, and five more */
                assert_true(fabs(x[i] * scale * w[i] - y[i]) <= (n / 32.0 + 7) * EPS * fabs(x[i] * scale * w[i]) + 1e-40);
        }
        kit_free(&k);
    }
}

static void only_the_named_columns_are_written(void **state)
{
    (void)state;
    uint64_t s = 4;
    kit      k;
    build(&k, 3, 24, 5, 2, 60, &s);
    for (const sr_cpukernel *const *f = sr_norm_kernels; *f; f++) {
        memset(k.base[1], 0x7f, 3 * 60 * 4);
        if (!kit_run(&k, *f, 2))
            continue;
        for (uint32_t i = 0; i < 3 * 60; i++) {
            uint32_t word;
            memcpy(&word, (char *)k.base[1] + i * 4, 4);
            assert_int_equal(word == 0x7f7f7f7f, i % 60 < 5 || i % 60 >= 53);
        }
    }
    kit_free(&k);
}

static void fast_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    uint64_t s = 5;
    for (int round = 0; round < 60; round++) {
        kit      k;
        uint32_t n = 1 + kit_below(&s, round % 2 ? 300 : 64), groups = 1 + kit_below(&s, 4), first = kit_below(&s, 40), rows = 1 + kit_below(&s, 9);
        uint32_t width = first + n * groups + kit_below(&s, 10);
        build(&k, rows, n, first, groups, width, &s);
        size_t bytes = (size_t)rows * width * 4;
        void  *want  = kit_own(&k, bytes);
        assert_true(kit_run(&k, &sr_norm_ref, 1));
        memcpy(want, k.base[1], bytes);
        for (const sr_cpukernel *const *f = sr_norm_kernels; *f; f++)
            for (uint32_t threads = 1; threads <= 3; threads++) {
                memset(k.base[1], 0x7f, bytes);
                if (kit_run(&k, *f, threads))
                    assert_memory_equal(want, k.base[1], bytes);
            }
        kit_free(&k);
    }
}

static void norm_in_place_equals_norm_beside(void **state)
{
    (void)state;
    uint64_t s = 6;
    for (const sr_cpukernel *const *f = sr_norm_kernels; *f; f++) {
        kit k;
        build(&k, 4, 96, 0, 1, 96, &s);
        if (kit_run(&k, *f, 2)) {
            float *beside = kit_own(&k, 4 * 96 * 4);
            memcpy(beside, k.base[1], 4 * 96 * 4);
            k.op.out[0] = 0;
            assert_true(kit_run(&k, *f, 2));
            assert_memory_equal(beside, k.base[0], 4 * 96 * 4);
        }
        kit_free(&k);
    }
}

static void cost_counts_the_named_columns(void **state)
{
    (void)state;
    uint64_t s = 7;
    kit      k;
    build(&k, 8, 128, 512, 2, 1024, &s);
    kit_program(&k);
    assert_true(sr_op_cost(&k.prog, 0, &k.n, 0).bytes == 8 * 256 * 8 + 512);
    assert_true(sr_op_scratch(&k.prog, 0, &k.max, 4) == 0);
    kit_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_agrees_with_double),
        cmocka_unit_test(only_the_named_columns_are_written),
        cmocka_unit_test(fast_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(norm_in_place_equals_norm_beside),
        cmocka_unit_test(cost_counts_the_named_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
