/* Golden figures below come from llama.cpp v0.5.0's libggml-base (quantize_row_*_ref, dequantize_row_*), run
 * over the same deterministic numbers: next(), wave() and bell().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "ops/quant/quant.h"
#include "ops/quant/quant_test_data.h"

/* ---- half floats ------------------------------------------------------------------------------- */

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static void every_f16_survives_the_way_to_f32_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = sr_f16_to_f32((uint16_t)h);
        if ((h & 0x7fff) > 0x7c00)
            assert_int_equal(sr_f32_to_f16(f), h | 0x200); /* NaN: quiet, payload kept */
        else
            assert_int_equal(sr_f32_to_f16(f), h);
    }
    assert_true(sr_f16_to_f32(0x3c00) == 1.0f && sr_f16_to_f32(0x7bff) == 65504.0f);
    assert_true(sr_f16_to_f32(0x0001) == 0x1p-24f && sr_f16_to_f32(0xfc00) == -INFINITY);
    assert_int_equal(bits(sr_f16_to_f32(0x8000)), 0x80000000);
}

/* Between any two neighbours: the middle goes to the even one, a little less or more to the nearer one. */
static void f16_rounds_to_nearest_and_ties_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        float    lo = sr_f16_to_f32((uint16_t)h), hi = h == 0x7bff ? 65536.0f : sr_f16_to_f32((uint16_t)(h + 1));
        float    mid  = lo + (hi - lo) / 2;
        uint32_t even = h & 1 ? h + 1 : h;
        assert_int_equal(sr_f32_to_f16(mid), even);
        assert_int_equal(sr_f32_to_f16(nextafterf(mid, 0)), h);
        assert_int_equal(sr_f32_to_f16(nextafterf(mid, INFINITY)), h + 1);
        assert_int_equal(sr_f32_to_f16(-mid), even | 0x8000);
    }
    assert_int_equal(sr_f32_to_f16(1e30f), 0x7c00);
    assert_int_equal(sr_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(sr_f32_to_f16(1e-30f), 0);
    assert_int_equal(sr_f32_to_f16(-0.0f), 0x8000);
}

#ifdef __FLT16_MAX__
static void f16_agrees_with_the_compiler(void **state)
{
    (void)state;
    __extension__ typedef _Float16 half;
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t u = (uint16_t)h;
        half     v;
        memcpy(&v, &u, 2);
        float f = (float)v, g = sr_f16_to_f32(u);
        assert_true(bits(f) == bits(g) || (isnan(f) && isnan(g)));
    }
    for (uint64_t i = 0; i < (1u << 22); i++) { /* every exponent, every bit near the rounding point */
        uint32_t u = (uint32_t)(i * 1021u + (i >> 11));
        float    f;
        half     v;
        uint16_t b;
        memcpy(&f, &u, 4);
        v = (half)f;
        memcpy(&b, &v, 2);
        assert_true(b == sr_f32_to_f16(f) || isnan(f));
    }
}
#endif

static void every_bf16_survives_and_ties_go_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = sr_bf16_to_f32((uint16_t)h);
        if ((h & 0x7fff) > 0x7f80) {
            assert_int_equal(sr_f32_to_bf16(f), h | 0x40);
            continue;
        }
        assert_int_equal(sr_f32_to_bf16(f), h);
        if ((h & 0x7fff) == 0x7f80)
            continue;
        float    mid, under, over; /* same sign: larger bits, larger magnitude */
        uint32_t m = h << 16 | 0x8000, u = m - 1, o = m + 1;
        memcpy(&mid, &m, 4);
        memcpy(&under, &u, 4);
        memcpy(&over, &o, 4);
        assert_int_equal(sr_f32_to_bf16(mid), h + (h & 1));
        assert_int_equal(sr_f32_to_bf16(under), h);
        assert_int_equal(sr_f32_to_bf16(over), h + 1);
    }
}

/* ---- golden: bytes and values equal to ggml's ------------------------------------------------------ */

static uint64_t seed;

static uint32_t next(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static float wave(void) { return (float)(next() >> 8) / 8388608.0f - 1.0f; } /* uniform in [-1, 1) */

static float bell(void) /* sum of twelve: nearly normal, and exact in every compiler */
{
    float s = 0;
    for (int i = 0; i < 12; i++)
        s += wave();
    return s * 0.5f;
}

enum { N = GOLDEN_N };
static float   x[N], y[N];
static uint8_t code[N * 4];

static uint64_t fnv(const void *p, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)p)[i]) * 1099511628211u;
    return h;
}

/* Random bytes; where they form an f16 or f32 scale the exponent is pulled away from inf and NaN. */
static void random_blocks(uint32_t dtype)
{
    const sr_dtypeinfo *t = sr_dtype_info(dtype);
    seed                  = dtype;
    for (size_t i = 0; i < N / t->block * t->bytes; i++)
        code[i] = (uint8_t)(next() >> 24);
    for (size_t b = 0; b < N / t->block; b++) {
        uint8_t *p = code + b * t->bytes;
        p[dtype == SR_Q6_K ? 209 : dtype == SR_Q8_K ? 3 : 1] &= 0xbf;
        if (dtype == SR_Q4_K || dtype == SR_Q5_K)
            p[3] &= 0xbf;
    }
}

static void decoding_is_bit_equal_to_ggml(void **state)
{
    (void)state;
    for (size_t i = 0; i < SR_COUNT(golden); i++) {
        random_blocks(golden[i].dtype);
        sr_decode_row(golden[i].dtype, code, y, N);
        assert_true(fnv(y, sizeof y) == golden[i].decode);
    }
}

static void simple_formats_encode_to_the_bytes_of_ggml(void **state)
{
    (void)state;
    for (size_t i = 0; i < SR_COUNT(golden); i++) {
        if (!golden[i].encode)
            continue;
        seed = 7;
        for (int k = 0; k < N; k++)
            x[k] = bell() * (float)(1 + k / 512);
        sr_encode_row(golden[i].dtype, x, code, N);
        assert_true(fnv(code, sr_row_bytes(golden[i].dtype, N)) == golden[i].encode);
    }
}

static double rmse(uint32_t dtype, float (*draw)(void))
{
    double sum = 0;
    seed       = 11;
    for (int k = 0; k < N; k++)
        x[k] = draw();
    sr_encode_row(dtype, x, code, N);
    sr_decode_row(dtype, code, y, N);
    for (int k = 0; k < N; k++)
        sum += ((double)y[k] - x[k]) * ((double)y[k] - x[k]);
    return sqrt(sum / N);
}

static void search_is_as_good_as_ggml(void **state)
{
    (void)state;
    for (size_t i = 0; i < SR_COUNT(golden); i++) {
        assert_true(rmse(golden[i].dtype, wave) <= golden[i].rmse_wave * 1.01);
        assert_true(rmse(golden[i].dtype, bell) <= golden[i].rmse_bell * 1.01);
    }
}

/* ---- edges -------------------------------------------------------------------------------------------- */

static const uint32_t all[] = {SR_F32, SR_F16, SR_BF16, SR_Q4_0, SR_Q8_0, SR_Q4_K, SR_Q5_K, SR_Q6_K, SR_Q8_K};

static void zero_rows_stay_zero(void **state)
{
    (void)state;
    for (size_t i = 0; i < SR_COUNT(all); i++) {
        memset(x, 0, sizeof x);
        memset(y, 1, sizeof y);
        sr_encode_row(all[i], x, code, 512);
        sr_decode_row(all[i], code, y, 512);
        for (int k = 0; k < 512; k++)
            assert_true(y[k] == 0);
    }
}

static void not_a_number_and_infinity_stay_visible(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < SR_COUNT(all); i++) {
        for (size_t b = 0; b < SR_COUNT(bad); b++) {
            seed = 5;
            for (int k = 0; k < 512; k++)
                x[k] = wave();
            x[300] = bad[b];
            sr_encode_row(all[i], x, code, 512);
            sr_decode_row(all[i], code, y, 512);
            assert_true(!isfinite(y[300]));
            for (int k = 0; k < 256; k++) /* and stay in their block */
                assert_true(isfinite(y[k]));
        }
    }
}

/* The largest, smallest and least regular numbers: no undefined conversion (a sanitizer build sees it). */
static void extreme_numbers_are_encoded_without_harm(void **state)
{
    (void)state;
    const float scale[] = {3e38f, 1e30f, 65504, 1e-7f, 1e-38f, 1e-44f};
    for (size_t i = 0; i < SR_COUNT(all); i++) {
        for (size_t s = 0; s < SR_COUNT(scale); s++) {
            seed = s;
            for (int k = 0; k < 512; k++)
                x[k] = k % 7 ? wave() * scale[s] : (float)(k % 2 ? 1 : -1) * scale[s];
            sr_encode_row(all[i], x, code, 512);
            sr_decode_row(all[i], code, y, 512);
            if (scale[s] == 65504)
                assert_true(fabsf(y[0] + 65504) < 65504 * 0.1f);
        }
    }
}

static void constant_rows_are_kept(void **state)
{
    (void)state;
    for (size_t i = 0; i < SR_COUNT(all); i++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int k = 0; k < 256; k++)
                x[k] = (float)sign * 0.375f;
            sr_encode_row(all[i], x, code, 256);
            sr_decode_row(all[i], code, y, 256);
            for (int k = 0; k < 256; k++)
                assert_true(fabsf(y[k] - x[k]) < 0.375f * 0.02f);
        }
    }
}

static void q8_k_sums_match_its_numbers(void **state)
{
    (void)state;
    sr_q8_K b;
    seed = 3;
    for (int k = 0; k < 256; k++)
        x[k] = bell();
    sr_encode_row(SR_Q8_K, x, &b, 256);
    for (int j = 0; j < 16; j++) {
        int sum = 0;
        for (int k = 0; k < 16; k++)
            sum += b.qs[j * 16 + k];
        assert_int_equal(b.bsums[j], sum);
    }
}

static void scales_of_a_superblock_unpack_in_order(void **state)
{
    (void)state;
    const uint8_t packed[12] = {0x41, 0x82, 0xc3, 0x04, 0x45, 0x86, 0xc7, 0x08, 0x9a, 0xbc, 0xde, 0xf0};
    const uint8_t want_sc[8] = {1, 2, 3, 4, 0x1a, 0x2c, 0x3e, 0}, want_m[8] = {5, 6, 7, 8, 0x19, 0x2b, 0x3d, 0xf};
    uint8_t       sc[8], m[8];
    sr_k4_scales(packed, sc, m);
    assert_memory_equal(sc, want_sc, 8);
    assert_memory_equal(m, want_m, 8);
}

static void types_have_names_sizes_and_can_be_parsed(void **state)
{
    (void)state;
    sr_dtype t = SR_DTYPE_NONE;
    assert_true(sr_dtype_parse("q4_k", &t) && t == SR_Q4_K);
    assert_true(sr_dtype_parse("BF16", &t) && t == SR_BF16);
    assert_false(sr_dtype_parse("IQ2_XS", &t));
    assert_false(sr_dtype_parse("", &t));
    assert_string_equal(sr_dtype_name(17), "IQ2_XS");
    assert_string_equal(sr_dtype_name(39), "MXFP4");
    assert_null(sr_dtype_name(43));
    assert_null(sr_dtype_name(SR_DTYPE_NONE));
    assert_null(sr_dtype_info(17));
    assert_null(sr_dtype_info(0xffffffff));
    assert_int_equal(sr_row_bytes(SR_Q4_K, 4096), 2304);
    assert_int_equal(sr_row_bytes(SR_Q8_0, 64), 68);
    assert_int_equal(sr_row_bytes(SR_F16, 3), 6);
}

static void integer_rows_are_read_as_numbers(void **state)
{
    (void)state;
    const int32_t in[4] = {0, -7, 1 << 24, INT32_MIN};
    float         f[4];
    int32_t       out[4];
    sr_decode_row(SR_I32, in, f, 4);
    assert_true(f[1] == -7 && f[3] == -2147483648.0f);
    sr_encode_row(SR_I32, f, out, 4);
    assert_memory_equal(in, out, sizeof in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_survives_the_way_to_f32_and_back),
        cmocka_unit_test(f16_rounds_to_nearest_and_ties_to_even),
#ifdef __FLT16_MAX__
        cmocka_unit_test(f16_agrees_with_the_compiler),
#endif
        cmocka_unit_test(every_bf16_survives_and_ties_go_to_even),
        cmocka_unit_test(decoding_is_bit_equal_to_ggml),
        cmocka_unit_test(simple_formats_encode_to_the_bytes_of_ggml),
        cmocka_unit_test(search_is_as_good_as_ggml),
        cmocka_unit_test(zero_rows_stay_zero),
        cmocka_unit_test(not_a_number_and_infinity_stay_visible),
        cmocka_unit_test(extreme_numbers_are_encoded_without_harm),
        cmocka_unit_test(constant_rows_are_kept),
        cmocka_unit_test(q8_k_sums_match_its_numbers),
        cmocka_unit_test(scales_of_a_superblock_unpack_in_order),
        cmocka_unit_test(types_have_names_sizes_and_can_be_parsed),
        cmocka_unit_test(integer_rows_are_read_as_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
