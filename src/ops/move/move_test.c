#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "ops/move/move.h"
#include "ops/testkit.h"

static void gather_takes_the_named_rows_in_order(void **state)
{
    (void)state;
    static const uint32_t out[] = {4, 0, 4, 9};
    uint64_t s = 1;
    kit      k = {.n = {.tok = 10, .out = 4}, .max = {.tok = 10, .out = 4}};
    k.op        = (sr_op){.code = SR_OP_GATHER, .in = {0}, .out = {1}, .dim = {33}};
    k.batch.out = out;
    float *in = kit_slot(&k, 0, SR_ROWS_TOK, 33, 10), *to = kit_slot(&k, 1, SR_ROWS_OUT, 33, 4);
    kit_fill(in, 330, 1, &s);
    for (uint32_t threads = 1; threads <= 5; threads++) {
        memset(to, 0xee, 4 * 33 * 4);
        assert_true(kit_run(&k, sr_gather_kernels[0], threads));
        for (uint32_t i = 0; i < 4; i++)
            assert_memory_equal(to + i * 33, in + out[i] * 33, 33 * 4);
    }
    assert_true(sr_op_cost(&k.prog, 0, &k.n, 0).bytes == 4 * 33 * 8);
    kit_free(&k);
}

static void add_joins_two_slots_in_place_too(void **state)
{
    (void)state;
    uint64_t s = 2;
    kit      k = {.n = {.tok = 5}, .max = {.tok = 5}};
    k.op       = (sr_op){.code = SR_OP_ADD, .in = {0, 1}, .out = {2}, .dim = {21}};
    float *a = kit_slot(&k, 0, SR_ROWS_TOK, 21, 5), *b = kit_slot(&k, 1, SR_ROWS_TOK, 21, 5), *c = kit_slot(&k, 2, SR_ROWS_TOK, 21, 5);
    kit_fill(a, 105, 1, &s);
    kit_fill(b, 105, 1, &s);
    assert_true(kit_run(&k, sr_add_kernels[0], 3));
    for (uint32_t i = 0; i < 105; i++)
        assert_true(c[i] == a[i] + b[i]);
    k.op.out[0] = 0;
    assert_true(kit_run(&k, sr_add_kernels[0], 3));
    assert_memory_equal(a, c, 105 * 4);
    assert_true(sr_op_cost(&k.prog, 0, &k.n, 0).flops == 105);
    kit_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gather_takes_the_named_rows_in_order),
        cmocka_unit_test(add_joins_two_slots_in_place_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
