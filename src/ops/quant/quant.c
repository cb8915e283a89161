#include "ops/quant/quant.h"
#include "ops/quant/quant_internal.h"
#include "base/err.h"

#include <string.h>

/* ---- Q4_0, Q8_0, Q8_K: one scale from the largest number, round to nearest ------------------------ */

/* The number of largest magnitude becomes -8 exactly: the code has one more step below zero than above. */
static void encode_q4_0(const float *x, sr_q4_0 *y, size_t n)
{
    for (; n; n -= 32, x += 32, y++) {
        float peak = 0;
        memset(y, 0, sizeof *y);
        if (!sr_all_finite(x, 32)) {
            y->d = SR_F16_NAN;
            continue;
        }
        for (int i = 0; i < 32; i++)
            if (fabsf(x[i]) > fabsf(peak))
                peak = x[i];
        float d = peak / -8, inv = d != 0 ? 1 / d : 0;
        y->d = sr_f32_to_f16(d);
        for (int i = 0; i < 16; i++) {
            unsigned lo = (unsigned)sr_clampf(x[i] * inv + 8.5f, 0, 15);
            unsigned hi = (unsigned)sr_clampf(x[i + 16] * inv + 8.5f, 0, 15);
            y->qs[i]    = (uint8_t)(lo | hi << 4);
        }
    }
}

static void encode_q8_0(const float *x, sr_q8_0 *y, size_t n)
{
    for (; n; n -= 32, x += 32, y++) {
        float peak = 0;
        memset(y, 0, sizeof *y);
        if (!sr_all_finite(x, 32)) {
            y->d = SR_F16_NAN;
            continue;
        }
        for (int i = 0; i < 32; i++)
            peak = fmaxf(peak, fabsf(x[i]));
        float d = peak / 127, inv = d != 0 ? 1 / d : 0;
        y->d = sr_f32_to_f16(d);
        for (int i = 0; i < 32; i++) /* halves away from zero, as the format's reference rounds */
            y->qs[i] = (int8_t)sr_clampf(roundf(x[i] * inv), -127, 127);
    }
}

static void encode_q8_K(const float *x, sr_q8_K *y, size_t n)
{
    for (; n; n -= SR_QK, x += SR_QK, y++) {
        float peak = 0;
        memset(y, 0, sizeof *y);
        if (!sr_all_finite(x, SR_QK)) {
            y->d = NAN;
            continue;
        }
        for (int i = 0; i < SR_QK; i++)
            if (fabsf(x[i]) > fabsf(peak))
                peak = x[i];
        if (peak == 0)
            continue;
        float inv = -127 / peak;
        for (int i = 0; i < SR_QK; i++) {
            y->qs[i] = (int8_t)sr_roundf_even(sr_clampf(inv * x[i], -127, 127));
            y->bsums[i / 16] = (int16_t)(y->bsums[i / 16] + y->qs[i]);
        }
        y->d = 1 / inv;
    }
}

static void decode_q4_0(const sr_q4_0 *x, float *y, size_t n)
{
    for (; n; n -= 32, x++, y += 32) {
        float d = sr_f16_to_f32(x->d);
        for (int i = 0; i < 16; i++) {
            y[i]      = (float)((x->qs[i] & 15) - 8) * d;
            y[i + 16] = (float)((x->qs[i] >> 4) - 8) * d;
        }
    }
}

static void decode_q8_0(const sr_q8_0 *x, float *y, size_t n)
{
    for (; n; n -= 32, x++, y += 32) {
        float d = sr_f16_to_f32(x->d);
        for (int i = 0; i < 32; i++)
            y[i] = (float)x->qs[i] * d;
    }
}

static void decode_q8_K(const sr_q8_K *x, float *y, size_t n)
{
    for (; n; n -= SR_QK, x++, y += SR_QK)
        for (int i = 0; i < SR_QK; i++)
            y[i] = x->d * (float)x->qs[i];
}

/* ---- Q4_K, Q5_K, Q6_K ------------------------------------------------------------------------------
 * 12 bytes hold eight 6-bit scales and eight 6-bit minimums:
 *   byte 0..3    scale j   (j = 0..3) in bits 0-5; bits 6-7: high bits of scale j+4
 *   byte 4..7    minimum j (j = 0..3) in bits 0-5; bits 6-7: high bits of minimum j+4
 *   byte 8..11   low four bits: scale j+4; high four: minimum j+4
 */
void sr_k4_scales(const uint8_t p[12], uint8_t sc[8], uint8_t m[8])
{
    for (int j = 0; j < 4; j++) {
        sc[j]     = p[j] & 63;
        m[j]      = p[j + 4] & 63;
        sc[j + 4] = (uint8_t)((p[j + 8] & 15) | (p[j] >> 6) << 4);
        m[j + 4]  = (uint8_t)(p[j + 8] >> 4 | (p[j + 4] >> 6) << 4);
    }
}

/* qs: pairs of 32-blocks, the even one in the low nibbles. */
static void decode_q4_K(const sr_q4_K *x, float *y, size_t n)
{
    uint8_t sc[8], m[8];
    for (; n; n -= SR_QK, x++, y += SR_QK) {
        float d = sr_f16_to_f32(x->d), dmin = sr_f16_to_f32(x->dmin);
        sr_k4_scales(x->scales, sc, m);
        for (int j = 0; j < 8; j++) {
            const uint8_t *q = x->qs + j / 2 * 32;
            float          s = d * sc[j], o = dmin * m[j];
            for (int i = 0; i < 32; i++)
                y[j * 32 + i] = s * (float)(q[i] >> (j & 1) * 4 & 15) - o;
        }
    }
}

/* As Q4_K; bit j of qh[i] is the fifth bit of number i of block j. */
static void decode_q5_K(const sr_q5_K *x, float *y, size_t n)
{
    uint8_t sc[8], m[8];
    for (; n; n -= SR_QK, x++, y += SR_QK) {
        float d = sr_f16_to_f32(x->d), dmin = sr_f16_to_f32(x->dmin);
        sr_k4_scales(x->scales, sc, m);
        for (int j = 0; j < 8; j++) {
            const uint8_t *q = x->qs + j / 2 * 32;
            float          s = d * sc[j], o = dmin * m[j];
            for (int i = 0; i < 32; i++)
                y[j * 32 + i] = s * (float)((q[i] >> (j & 1) * 4 & 15) | (x->qh[i] >> j & 1) << 4) - o;
        }
    }
}

/* Two halves of 128.  In a half, number 32*k + i: low four bits in ql[i + 32*(k%2)], nibble k/2; high two
 * bits in qh[i], bits 2k and 2k+1. */
static void decode_q6_K(const sr_q6_K *x, float *y, size_t n)
{
    for (; n; n -= SR_QK, x++, y += SR_QK) {
        float d = sr_f16_to_f32(x->d);
        for (int j = 0; j < 8; j++) {
            const uint8_t *ql = x->ql + j / 4 * 64 + j % 2 * 32, *qh = x->qh + j / 4 * 32;
            for (int i = 0; i < 32; i++) {
                int q         = (ql[i] >> j / 2 % 2 * 4 & 15) | (qh[i] >> j % 4 * 2 & 3) << 4;
                y[j * 32 + i] = d * x->scales[j * 2 + i / 16] * (float)(q - 32);
            }
        }
    }
}

/* ---- by type ---------------------------------------------------------------------------------------- */

void sr_decode_row(uint32_t dtype, const void *src, float *dst, size_t n)
{
    const sr_dtypeinfo *t = sr_dtype_info(dtype);
    SR_ASSERT(t && n % t->block == 0, "decode type %u, row of %zu", dtype, n);
    const unsigned char *p = src;
    switch (dtype) {
    case SR_F32: memcpy(dst, src, n * sizeof *dst); break;
    case SR_F16:
    case SR_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + i * 2, 2);
            dst[i] = dtype == SR_F16 ? sr_f16_to_f32(h) : sr_bf16_to_f32(h);
        }
        break;
    case SR_I32:
        for (size_t i = 0; i < n; i++) {
            int32_t v;
            memcpy(&v, p + i * 4, 4);
            dst[i] = (float)v;
        }
        break;
    case SR_Q4_0: decode_q4_0(src, dst, n); break;
    case SR_Q8_0: decode_q8_0(src, dst, n); break;
    case SR_Q4_K: decode_q4_K(src, dst, n); break;
    case SR_Q5_K: decode_q5_K(src, dst, n); break;
    case SR_Q6_K: decode_q6_K(src, dst, n); break;
    case SR_Q8_K: decode_q8_K(src, dst, n); break;
    default: SR_ASSERT(false, "decode type %u", dtype);
    }
}

void sr_encode_row(uint32_t dtype, const float *src, void *dst, size_t n)
{
    const sr_dtypeinfo *t = sr_dtype_info(dtype);
    SR_ASSERT(t && n % t->block == 0, "encode type %u, row of %zu", dtype, n);
    unsigned char *p = dst;
    switch (dtype) {
    case SR_F32: memcpy(dst, src, n * sizeof *src); break;
    case SR_F16:
    case SR_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t h = dtype == SR_F16 ? sr_f32_to_f16(src[i]) : sr_f32_to_bf16(src[i]);
            memcpy(p + i * 2, &h, 2);
        }
        break;
    case SR_I32:
        for (size_t i = 0; i < n; i++) {
            int32_t v = (int32_t)sr_clampf(rintf(src[i]), -2147483648.0f, 2147483520.0f);
            memcpy(p + i * 4, &v, 4);
        }
        break;
    case SR_Q4_0: encode_q4_0(src, dst, n); break;
    case SR_Q8_0: encode_q8_0(src, dst, n); break;
    case SR_Q4_K: sr_encode_q4_K(src, dst, n); break;
    case SR_Q5_K: sr_encode_q5_K(src, dst, n); break;
    case SR_Q6_K: sr_encode_q6_K(src, dst, n); break;
    case SR_Q8_K: encode_q8_K(src, dst, n); break;
    default: SR_ASSERT(false, "encode type %u", dtype);
    }
}
