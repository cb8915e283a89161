/* expcode_test: every BF16 comes back bit for bit, in fewer bytes where exponents are alike; damaged texts are refused or decoded, never more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/philox.h"
#include "format/entropy.h"
#include "format/expcode.h"
#include "ops/quant/quant.h"

static uint32_t draw(uint32_t i, uint32_t stream) { return sr_philox4(7, i, stream, 0, 0).v[0]; }

/* Of a normal distribution, as weights are. */
static void weights(uint16_t *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        double a = ((double)draw(i, 1) + 1) / 4294967297.0, b = (double)draw(i, 2) / 4294967296.0;
        v[i]     = sr_f32_to_bf16((float)(0.02 * sqrt(-2 * log(a)) * cos(6.283185307179586 * b)));
    }
}

static size_t there_and_back(const uint16_t *v, uint32_t n)
{
    sr_err     err  = {0};
    sr_buf     text = {0};
    sr_expcode x;
    uint16_t  *back = sr_calloc(n + 1u, sizeof *back);
    if (sr_expcode_encode(v, n, &text, &err) || sr_expcode_open(text.p, text.n, &x, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(x.n, n);
    for (uint32_t b = x.n_block; b-- > 0;) /* in any order */
        if (sr_expcode_block(&x, b, back + (size_t)b * x.block, &err))
            fail_msg("%s", err.msg);
    assert_memory_equal(v, back, n * sizeof *v);
    assert_int_equal(sr_expcode_block(&x, x.n_block, back, &err), SR_INVALID);
    size_t bytes = text.n;
    sr_free(back);
    sr_buf_end(&text);
    return bytes;
}

static void every_number_comes_back(void **state)
{
    (void)state;
    static uint16_t v[70000];
    for (uint32_t i = 0; i < 65536; i++) /* NaNs, infinities, both zeros: all of them */
        v[i] = (uint16_t)i;
    assert_true(there_and_back(v, 65536) < 2 * 65536 + 1000);
    const uint32_t sizes[] = {0, 1, 2, 4095, 4096, 4097, 8192, 70000};
    for (size_t i = 0; i < SR_COUNT(sizes); i++) {
        memset(v, 0x3f, sizeof v); /* one exponent */
        there_and_back(v, sizes[i]);
        weights(v, sizes[i]);
        there_and_back(v, sizes[i]);
    }
    for (uint32_t i = 0, k = 0; i < 70000; i++) { /* counts like Fibonacci's want codes longer than there may be */
        k    = i && (i & (i - 1)) == 0 ? k + 1 : k;
        v[i] = (uint16_t)((i % (1u << (k / 2 + 1)) ? 20 : k) << 7);
    }
    there_and_back(v, 70000);
}

static void weights_take_a_third_less(void **state)
{
    (void)state;
    enum { N = 65536 };
    static uint16_t v[N];
    sr_entropy      e;
    weights(v, N);
    double bytes = (double)there_and_back(v, N);
    assert_true(sr_entropy_measure(SR_BF16, v, sizeof v, &e));
    assert_int_equal(e.n_part, 2);
    assert_true(e.held[0] < 0.4 * e.stored[0]);
    double bound = (e.held[0] + e.stored[1]) / 8;
    assert_true(bytes >= bound && bytes < 1.03 * bound); /* Huffman's own loss, blocks' ends, the head */
    assert_true(bytes < 0.70 * sizeof v);
}

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

static void damaged_texts_do_not_read_beyond_themselves(void **state)
{
    (void)state;
    enum { N = 9000 };
    static uint16_t v[N], out[SR_EXPCODE_BLOCK];
    sr_err          err  = {0};
    sr_buf          text = {0};
    sr_expcode      x;
    uint32_t        refused = 0;
    weights(v, N);
    assert_int_equal(sr_expcode_encode(v, N, &text, &err), SR_OK);
    for (uint32_t t = 0; t < 600; t++) {
        size_t   n     = t < 200 ? text.n * t / 200 : text.n;
        uint8_t *copy  = sr_malloc(n ? n : 1); /* its own size: sanitizers see the end */
        err            = (sr_err){0};
        memcpy(copy, text.p, n);
        if (t >= 200)
            copy[t < 400 ? draw(t, 3) % 160 : draw(t, 3) % n] ^= (uint8_t)(1u << draw(t, 4) % 8);
        bool ok = sr_expcode_open(copy, n, &x, &err) == SR_OK && x.block <= SR_EXPCODE_BLOCK;
        for (uint32_t b = 0; ok && b < x.n_block; b++)
            ok = sr_expcode_block(&x, b, out, &err) == SR_OK;
        assert_true(ok || err.msg[0] || x.block > SR_EXPCODE_BLOCK);
        refused += !ok;
        sr_free(copy);
    }
    assert_true(refused > 250);
    sr_buf_end(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_comes_back),
        cmocka_unit_test(weights_take_a_third_less),
        cmocka_unit_test(the_entropy_of_codes_is_that_of_what_they_say),
        cmocka_unit_test(damaged_texts_do_not_read_beyond_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
