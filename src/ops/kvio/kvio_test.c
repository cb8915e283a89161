#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "ops/kvio/kvio.h"
#include "ops/testkit.h"

enum { GROUP = 1, LAYER = 2, LAYERS = 3, PAGES = 6 };

static void build(kit *k, uint32_t tok, uint32_t heads, uint32_t hd, uint16_t fk, uint16_t fv, uint32_t page, uint64_t *s)
{
    uint32_t width = 9 + 2 * heads * hd;
    size_t   row   = SR_MAX(sr_row_bytes(fk, hd), sr_row_bytes(fv, hd));
    *k             = (kit){.n = {.tok = tok}, .max = {.tok = tok + 2}};
    k->op = (sr_op){.code = SR_OP_KVWRITE, .in = {0}, .w = GROUP, .n_w = LAYER, .dim = {9, 9 + heads * hd, hd}};
    k->prog.kv[GROUP] = (sr_kvshape){LAYERS, heads, hd, hd, 0, fk, fv};
    sr_kvbind *kv = &k->batch.kv[GROUP];
    *kv = (sr_kvbind){.page_tokens = page, .kv_heads = heads, .dim_k = hd, .dim_v = hd, .format_k = fk, .format_v = fv};
    kv->stride.tok   = row;
    kv->stride.head  = row * page;
    kv->stride.kv    = kv->stride.head * heads;
    kv->stride.layer = kv->stride.kv * 2;
    kv->stride.page  = kv->stride.layer * LAYERS;
    kv->base         = kit_own(k, kv->stride.page * PAGES);
    kit_fill(kit_slot(k, 0, SR_ROWS_TOK, width, tok), (size_t)tok * width, 4, s);
    uint32_t *dst = kit_own(k, (GROUP + 1) * (tok + 2) * 4);
    uint32_t  at  = kit_below(s, 3);
    for (uint32_t t = 0; t < tok; t++, at += 1 + kit_below(s, 2))
        dst[GROUP * (tok + 2) + t] = (PAGES - 1 - at / page) * page + at % page;
    k->batch.dst = dst;
}

/* The place of number d of a position's key, or of its value. */
static char *number_at(const sr_kvbind *kv, char *pages, uint32_t dst, uint32_t h, bool value, uint32_t d)
{
    uint32_t i  = dst % kv->page_tokens;
    char    *at = pages + dst / kv->page_tokens * kv->stride.page + LAYER * kv->stride.layer + value * kv->stride.kv + h * kv->stride.head;
    return kv->turned && !value ? at + i / 16 * 16 * kv->stride.tok + (d * 16 + i % 16) * 2 : at + i * kv->stride.tok + d * 2;
}

static void turned_keys_lie_in_columns_of_sixteen_positions(void **state)
{
    (void)state;
    uint64_t s = 7;
    for (uint32_t page = 16; page <= 32; page += 16)
        for (const sr_cpukernel *const *f = sr_kvio_kernels; *f; f++) {
            kit      k;
            uint32_t tok = 20, heads = 2, hd = 48;
            build(&k, tok, heads, hd, SR_F16, SR_F16, page, &s);
            sr_kvbind *kv    = &k.batch.kv[GROUP];
            size_t     bytes = kv->stride.page * PAGES;
            char      *want  = kit_own(&k, bytes);
            kv->turned = 1;
            memset(want, 0x5a, bytes);
            memset(kv->base, 0x5a, bytes);
            for (uint32_t i = 0; i < tok * heads * 2 * hd; i++) {
                uint32_t     t = i / (heads * 2 * hd), h = i / (2 * hd) % heads, v = i / hd % 2, d = i % hd;
                const float *x = (float *)k.base[0] + t * k.slot[0].width + k.op.dim[v] + h * hd;
                uint16_t     half = sr_f32_to_f16(x[d]);
                memcpy(number_at(kv, want, k.batch.dst[GROUP * k.max.tok + t], h, v, d), &half, 2);
            }
            if (kit_run(&k, *f, 2))
                assert_memory_equal(want, kv->base, bytes);
            else
                assert_true(*f != &sr_kvio_ref);
            kit_free(&k);
        }
}

static void every_number_lands_in_its_place_and_nothing_else_changes(void **state)
{
    (void)state;
    uint64_t s = 3;
    for (int round = 0; round < 6; round++) {
        kit      k;
        uint32_t tok = 20, heads = 1 + (uint32_t)round % 3, hd = 32;
        uint16_t fk = round % 2 ? SR_F16 : SR_Q8_0, fv = round < 3 ? SR_F16 : SR_Q8_0;
        build(&k, tok, heads, hd, fk, fv, 16, &s);
        const sr_kvbind *kv = &k.batch.kv[GROUP];
        size_t bytes = kv->stride.page * PAGES;
        char  *want  = kit_own(&k, bytes);
        memset(want, 0x5a, bytes);
        memset(kv->base, 0x5a, bytes);
        for (uint32_t t = 0; t < tok; t++)
            for (uint32_t h = 0; h < heads; h++)
                for (uint32_t v = 0; v < 2; v++) {
                    uint32_t dst = k.batch.dst[GROUP * k.max.tok + t];
                    sr_encode_row(v ? fv : fk, (float *)k.base[0] + t * k.slot[0].width + k.op.dim[v] + h * hd,
                                  want + dst / 16 * kv->stride.page + LAYER * kv->stride.layer + v * kv->stride.kv +
                                      h * kv->stride.head + dst % 16 * kv->stride.tok, hd);
                }
        assert_true(kit_run(&k, &sr_kvio_ref, 2));
        assert_memory_equal(want, kv->base, bytes);
        kit_free(&k);
    }
}

static void fast_kernels_give_the_bits_of_the_reference(void **state)
{
    (void)state;
    static const uint32_t dims[] = {64, 96, 128, 32, 256, 80};
    uint64_t s = 5;
    for (int round = 0; round < 40; round++) {
        kit      k;
        uint32_t hd = dims[kit_below(&s, 6)], tok = 1 + kit_below(&s, 30), heads = 1 + kit_below(&s, 3);
        bool     f16 = hd % 32 != 0;
        build(&k, tok, heads, hd, f16 || kit_below(&s, 2) ? SR_F16 : SR_Q8_0, f16 || kit_below(&s, 2) ? SR_F16 : SR_Q8_0,
              kit_below(&s, 2) ? 16 : 32, &s);
        float *x = k.base[0];
        for (uint32_t i = 0; i < tok * hd / 4; i++) { /* large, halves, zeros; not finite in a few */
            uint32_t at = kit_below(&s, tok * k.slot[0].width);
            x[at] = i % 4 == 0 ? x[at] * 1e5f : i % 4 == 1 ? 0.5f * (float)kit_below(&s, 9) : i % 4 == 2 ? 0 : x[at] * 1e-6f;
            if (round % 5 == 0 && i == 3)
                x[at] = kit_below(&s, 2) ? INFINITY : NAN;
        }
        const sr_kvbind *kv = &k.batch.kv[GROUP];
        size_t bytes = kv->stride.page * PAGES;
        char  *want  = kit_own(&k, bytes);
        memset(kv->base, 0x5a, bytes);
        assert_true(kit_run(&k, &sr_kvio_ref, 1));
        memcpy(want, kv->base, bytes);
        for (const sr_cpukernel *const *f = sr_kvio_kernels; *f; f++)
            for (uint32_t threads = 1; threads <= 3; threads++) {
                memset(kv->base, 0x5a, bytes);
                if (kit_run(&k, *f, threads))
                    assert_memory_equal(want, kv->base, bytes);
            }
        kit_free(&k);
    }
}

static void cost_counts_reads_and_stored_bytes(void **state)
{
    (void)state;
    uint64_t s = 6;
    kit      k;
    build(&k, 10, 2, 64, SR_F16, SR_Q8_0, 16, &s);
    kit_program(&k);
    assert_true(sr_op_cost(&k.prog, 0, &k.n, 0).bytes == 10 * 2 * (2 * 64 * 4 + 128 + 68));
    kit_free(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_lands_in_its_place_and_nothing_else_changes),
        cmocka_unit_test(turned_keys_lie_in_columns_of_sixteen_positions),
        cmocka_unit_test(fast_kernels_give_the_bits_of_the_reference),
        cmocka_unit_test(cost_counts_reads_and_stored_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
