#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "ops/embed/embed.h"
#include "ops/testkit.h"

enum { VOCAB = 50, DIM = 512, TOK = 7 };

static void rows_are_decoded_scaled_and_taken_from_the_previous_step(void **state)
{
    (void)state;
    static const uint16_t formats[] = {SR_F32, SR_F16, SR_BF16, SR_Q8_0, SR_Q4_K, SR_Q6_K};
    static const int32_t  tok[TOK]  = {3, 49, 0, -1, 3, -2, 17}, means[TOK] = {3, 49, 0, 8, 3, 11, 17};
    for (uint32_t f = 0; f < SR_COUNT(formats); f++) {
        uint64_t s = 9;
        kit      k = {.n = {.tok = TOK}, .max = {.tok = TOK}};
        size_t   row = sr_row_bytes(formats[f], DIM);
        float   *plain = kit_own(&k, VOCAB * DIM * 4), *want = kit_own(&k, DIM * 4);
        char    *packed = kit_own(&k, VOCAB * row);
        kit_fill(plain, VOCAB * DIM, 1, &s);
        for (uint32_t t = 0; t < VOCAB; t++)
            sr_encode_row(formats[f], plain + (size_t)t * DIM, packed + t * row, DIM);
        k.op = (sr_op){.code = SR_OP_EMBED, .out = {0}, .dim = {DIM}, .f = {2.5f}};
        k.batch.tok   = tok;
        k.previous[0] = (sr_sampled){.tok = 8};
        k.previous[1] = (sr_sampled){.tok = 11};
        kit_weight(&k, 0, formats[f], packed, VOCAB, DIM);
        float *out = kit_slot(&k, 0, SR_ROWS_TOK, DIM, TOK);
        for (const sr_cpukernel *const *g = sr_embed_kernels; *g; g++) {
            memset(out, 0xee, TOK * DIM * 4);
            if (!kit_run(&k, *g, 2))
                continue;
            for (uint32_t t = 0; t < TOK; t++) {
                sr_decode_row(formats[f], packed + (size_t)means[t] * row, want, DIM);
                for (uint32_t i = 0; i < DIM; i++)
                    assert_true(out[t * DIM + i] == want[i] * 2.5f);
            }
        }
        assert_true(sr_op_cost(&k.prog, 0, &k.n, 0).bytes == TOK * (row + DIM * 4.0));
        kit_free(&k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_decoded_scaled_and_taken_from_the_previous_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
