#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "ops/rope/rope.h"
#include "ops/testkit.h"

/* Slot 0: qkv, 1: the table; weight 0: inverse frequencies. */
static void build(kit *k, uint32_t tok, uint32_t heads, uint32_t hd, uint32_t rot, uint32_t first, bool neox, uint64_t *s)
{
    uint32_t width = first + heads * hd + 7;
    *k = (kit){.n = {.tok = tok}, .max = {.tok = tok}};
    float   *freq = kit_own(k, rot / 2 * 4);
    int32_t *pos  = kit_own(k, tok * 4);
    for (uint32_t i = 0; i < rot / 2; i++)
        freq[i] = (float)pow(10000, -2.0 * i / rot);
    for (uint32_t t = 0; t < tok; t++)
        pos[t] = (int32_t)kit_below(s, t % 2 ? 1000000 : 300);
    kit_weight(k, 0, SR_F32, freq, 1, rot / 2);
    k->batch.pos = pos;
    kit_fill(kit_slot(k, 0, SR_ROWS_TOK, width, tok), (size_t)tok * width, 2, s);
    kit_slot(k, 1, SR_ROWS_TOK, rot, tok);
    k->op = (sr_op){.code = SR_OP_ROPETABLE, .out = {1}, .dim = {rot}, .f = {1}};
    for (const sr_cpukernel *const *f = sr_ropetable_kernels; *f; f++)
        kit_run(k, *f, 2);
    k->op = (sr_op){.code = SR_OP_ROPE, .flags = neox ? SR_F_NEOX : 0, .in = {0, 1}, .out = {0}, .dim = {heads, hd, rot, first}};
}

static void table_holds_cosines_and_sines_of_the_f32_angle(void **state)
{
    (void)state;
    uint64_t s = 2;
    kit      k;
    build(&k, 20, 1, 64, 64, 0, true, &s);
    const float *table = k.base[1], *freq = k.wref[0].p;
    for (uint32_t t = 0; t < 20; t++)
        for (uint32_t i = 0; i < 32; i++) {
            double angle = (float)k.batch.pos[t] * freq[i];
            assert_true(fabs(cos(angle) - table[t * 64 + i]) <= FLT_EPSILON / 2);
            assert_true(fabs(sin(angle) - table[t * 64 + 32 + i]) <= FLT_EPSILON / 2);
        }
    k.op = (sr_op){.code = SR_OP_ROPETABLE, .out = {1}, .dim = {64}, .f = {1.25f}};
    float *plain = kit_own(&k, 20 * 64 * 4);
    memcpy(plain, table, 20 * 64 * 4);
    assert_true(kit_run(&k, &sr_ropetable_ref, 3));
    for (uint32_t i = 0; i < 20 * 64; i++)
        assert_true(table[i] == plain[i] * 1.25f);
    kit_free(&k);
}

static void reference_turns_the_named_heads_and_nothing_else(void **state)
{
    (void)state;
    uint64_t s = 3;
    for (int neox = 0; neox < 2; neox++) {
        kit      k;
        uint32_t heads = 3, hd = 40, rot = 32, first = 11, tok = 5, width = first + heads * hd + 7;
        build(&k, tok, heads, hd, rot, first, neox, &s);
        float *x = k.base[0], *old = kit_own(&k, (size_t)tok * width * 4);
        const float *table = k.base[1];
        memcpy(old, x, (size_t)tok * width * 4);
        assert_true(kit_run(&k, &sr_rope_ref, 2));
        for (uint32_t t = 0; t < tok; t++)
            for (uint32_t c = 0; c < width; c++) {
                uint32_t at = t * width + c, d = (c - first) % hd;
                if (c < first || c >= first + heads * hd || d >= rot) {
                    assert_true(x[at] == old[at]);
                    continue;
                }
                uint32_t i = neox ? d % (rot / 2) : d / 2, second = neox ? d >= rot / 2 : d % 2;
                uint32_t far = neox ? rot / 2 : 1, mate = second ? at - far : at + far;
                double cosine = table[t * rot + i], sine = table[t * rot + rot / 2 + i], me = old[at], other = old[mate];
                double want = second ? other * sine + me * cosine : me * cosine - other * sine;
                assert_true(fabs(want - x[at]) <= FLT_EPSILON * (fabs(me) + fabs(other)));
            }
        kit_free(&k);
    }
}

static void fast_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    static const uint32_t rots[] = {16, 32, 64, 80, 96, 128, 48};
    uint64_t s = 4;
    for (int round = 0; round < 60; round++) {
        kit      k;
        uint32_t rot = rots[kit_below(&s, SR_COUNT(rots))], hd = rot + 8 * kit_below(&s, 3), heads = 1 + kit_below(&s, 6), tok = 1 + kit_below(&s, 6);
        build(&k, tok, heads, hd, rot, kit_below(&s, 9), round % 2, &s);
        size_t bytes = (size_t)tok * k.slot[0].width * 4;
        float *in = kit_own(&k, bytes), *want = kit_own(&k, bytes);
        memcpy(in, k.base[0], bytes);
        assert_true(kit_run(&k, &sr_rope_ref, 1));
        memcpy(want, k.base[0], bytes);
        for (const sr_cpukernel *const *f = sr_rope_kernels; *f; f++)
            for (uint32_t threads = 1; threads <= 3; threads++) {
                memcpy(k.base[0], in, bytes);
                if (kit_run(&k, *f, threads))
                    assert_memory_equal(want, k.base[0], bytes);
            }
        kit_free(&k);
    }
}

static void cost_counts_the_turned_dimensions(void **state)
{
    (void)state;
    uint64_t s = 5;
    kit      k;
    build(&k, 10, 6, 128, 64, 0, true, &s);
    kit_program(&k);
    sr_cost c = sr_op_cost(&k.prog, 0, &k.n, 0);
    assert_true(c.bytes == 10.0 * (6 * 64 * 8 + 64 * 4) && c.flops == 10.0 * 6 * 64 * 3);
    kit_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_holds_cosines_and_sines_of_the_f32_angle),
        cmocka_unit_test(reference_turns_the_named_heads_and_nothing_else),
        cmocka_unit_test(fast_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(cost_counts_the_turned_dimensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
