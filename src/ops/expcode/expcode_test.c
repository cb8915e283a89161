/* expcode_test: every BF16 and F16 comes back bit for bit, in fewer bytes where exponents are alike; damaged texts are refused or decoded, never more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/philox.h"
#include "ops/expcode/expcode.h"
#include "ops/quant/quant.h"

static uint32_t draw(uint32_t i, uint32_t stream) { return sr_philox4(7, i, stream, 0, 0).v[0]; }

/* Of a normal distribution, as weights are. */
static void weights(uint32_t format, uint16_t *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        double a = ((double)draw(i, 1) + 1) / 4294967297.0, b = (double)draw(i, 2) / 4294967296.0;
        float  x = (float)(0.02 * sqrt(-2 * log(a)) * cos(6.283185307179586 * b));
        v[i]     = format == SR_BF16 ? sr_f32_to_bf16(x) : sr_f32_to_f16(x);
    }
}

static size_t there_and_back(uint32_t format, const uint16_t *v, uint32_t n)
{
    sr_err     err  = {0};
    sr_buf     text = {0};
    sr_expcode x;
    uint16_t  *back = sr_calloc(n + 1u, sizeof *back);
    if (sr_expcode_encode(format, v, n, &text, &err) || sr_expcode_open(text.p, text.n, &x, &err))
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

static const uint32_t formats[] = {SR_BF16, SR_F16};

static void every_number_comes_back(void **state)
{
    (void)state;
    static uint16_t v[70000];
    const uint32_t  sizes[] = {0, 1, 2, 4095, 4096, 4097, 8192, 70000};
    for (size_t f = 0; f < SR_COUNT(formats); f++) {
        for (uint32_t i = 0; i < 65536; i++) /* NaNs, infinities, both zeros: all of them */
            v[i] = (uint16_t)i;
        assert_true(there_and_back(formats[f], v, 65536) < 2 * 65536 + 9000);
        for (size_t i = 0; i < SR_COUNT(sizes); i++) {
            memset(v, 0x3f, sizeof v); /* one symbol */
            there_and_back(formats[f], v, sizes[i]);
            weights(formats[f], v, sizes[i]);
            there_and_back(formats[f], v, sizes[i]);
        }
        for (uint32_t i = 0, k = 0; i < 70000; i++) { /* counts like Fibonacci's want codes longer than there may be */
            k    = i && (i & (i - 1)) == 0 ? k + 1 : k;
            v[i] = (uint16_t)((i % (1u << (k / 2 + 1)) ? 20 : k) << (7 + f));
        }
        there_and_back(formats[f], v, 70000);
    }
    sr_expmake m;
    sr_err     err = {0};
    assert_int_equal(sr_expcode_plan(SR_Q8_0, v, 64, 1, &m, &err), SR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "Q8_0"));
}

/* Bits of a number's upper part, were its code perfect. */
static double entropy(const uint16_t *v, uint32_t n, uint32_t shift)
{
    double count[256] = {0}, bits = 0;
    for (uint32_t i = 0; i < n; i++)
        count[v[i] >> shift & 255]++;
    for (uint32_t i = 0; i < 256; i++)
        bits += count[i] > 0 ? count[i] / n * log2(n / count[i]) : 0;
    return bits;
}

static void weights_take_a_third_less_and_in_f16_a_seventh(void **state)
{
    (void)state;
    enum { N = 1 << 19 };
    static uint16_t v[N];
    const double    most[] = {0.68, 0.87};
    for (size_t f = 0; f < SR_COUNT(formats); f++) {
        sr_err     err = {0};
        sr_expmake some;
        weights(formats[f], v, N);
        double bytes = (double)there_and_back(formats[f], v, N);
        double bound = (entropy(v, N, formats[f] == SR_BF16 ? 7 : 8) + 8) / 8 * N;
        assert_true(bytes >= bound && bytes < 1.03 * bound); /* Huffman's own loss, blocks' ends, the table */
        assert_true(bytes < most[f] * sizeof v);
        assert_int_equal(sr_expcode_plan(formats[f], v, N, 16, &some, &err), SR_OK); /* a part of them tells */
        assert_true(fabs((double)some.bytes / bytes - 1) < 0.01);
    }
}

static void damaged_texts_do_not_read_beyond_themselves(void **state)
{
    (void)state;
    enum { N = 9000, HEAD = 32 };
    static uint16_t v[N], out[SR_EXPCODE_BLOCK];
    sr_err          err  = {0};
    sr_buf          text = {0};
    sr_expcode      x;
    uint32_t        refused = 0;
    weights(SR_BF16, v, N);
    assert_int_equal(sr_expcode_encode(SR_BF16, v, N, &text, &err), SR_OK);
    for (uint32_t t = 0; t < 600; t++) {
        size_t   n     = t < 200 ? text.n * t / 200 : text.n;
        uint8_t *copy  = sr_malloc(n ? n : 1); /* its own size: sanitizers see the end */
        err            = (sr_err){0};
        memcpy(copy, text.p, n);
        if (t >= 200)
            copy[t < 400 ? draw(t, 3) % HEAD : draw(t, 3) % n] ^= (uint8_t)(1u << draw(t, 4) % 8);
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
        cmocka_unit_test(weights_take_a_third_less_and_in_f16_a_seventh),
        cmocka_unit_test(damaged_texts_do_not_read_beyond_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
