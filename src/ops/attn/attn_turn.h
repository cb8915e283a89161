/* attn_turn.h - keys as attention wants them: sixteen positions become sixteen lanes.  Part of attn_v16.h.
 *
 *     in    sixteen rows, `step` bytes apart: sixteen f16 numbers of each, or a Q8_0 block of each
 *     out   sixteen columns, STRIP words apart, f16 as they were; or 32 columns of f32
 *
 * Threads: pure functions.   Errors: none.
 */
#ifndef SR_OPS_ATTN_TURN_H
#define SR_OPS_ATTN_TURN_H
#include "ops/attn/attn_plan.h"
#include "ops/v16.h"

#include <string.h>

enum { STRIP = 64 }; /* positions of a key tile */

#if defined(__aarch64__)
/* Rows z[i] and z[i + n], n a power of two: words of n elements at odd places of the one and even places of the other
 * change places.  All steps together transpose. */
#define SWAP(name, type, lanes)                                                                                        \
    V16_FN void name(uint8x16_t *z, int rows, int n)                                                                   \
    {                                                                                                                  \
        V16_UNROLL for (int i = 0; i < rows; i++) {                                                                    \
            if (i & n)                                                                                                 \
                continue;                                                                                              \
            type a = vreinterpretq_##lanes##_u8(z[i]), b = vreinterpretq_##lanes##_u8(z[i + n]);                       \
            z[i]     = vreinterpretq_u8_##lanes(vtrn1q_##lanes(a, b));                                                 \
            z[i + n] = vreinterpretq_u8_##lanes(vtrn2q_##lanes(a, b));                                                 \
        }                                                                                                              \
    }
SWAP(swap16, uint16x8_t, u16)
SWAP(swap32, uint32x4_t, u32)
SWAP(swap64, uint64x2_t, u64)

V16_FN void swap8(uint8x16_t *z)
{
    V16_UNROLL for (int i = 0; i < 16; i += 2) {
        uint8x16_t a = z[i], b = z[i + 1];
        z[i]     = vtrn1q_u8(a, b);
        z[i + 1] = vtrn2q_u8(a, b);
    }
}

/* f16 words of sixteen rows, `step` bytes apart, to sixteen columns, STRIP words apart. */
V16_FN void turn_f16(const char *row, size_t step, uint16_t *out)
{
    V16_UNROLL for (size_t part = 0; part < 4; part++) { /* eight rows by eight words */
        uint8x16_t z[8];
        size_t     r = part / 2 * 8, c = part % 2 * 8;
        V16_UNROLL for (size_t i = 0; i < 8; i++)
            z[i] = vld1q_u8((const uint8_t *)row + (r + i) * step + c * 2);
        swap16(z, 8, 1);
        swap32(z, 8, 2);
        swap64(z, 8, 4);
        V16_UNROLL for (size_t i = 0; i < 8; i++)
            vst1q_u16(out + (c + i) * STRIP + r, vreinterpretq_u16_u8(z[i]));
    }
}

/* A Q8_0 block of sixteen rows to 32 columns: transposed as bytes, then widened and scaled by their row's d. */
V16_FN void turn_q8(const char *row, size_t step, float *out)
{
    uint16_t scale[16];
    V16_UNROLL for (size_t i = 0; i < 16; i++)
        memcpy(&scale[i], row + i * step, 2);
    v16 s = v16_from_f16(scale);
    row += sizeof scale[0];
    for (int h = 0; h < 2; h++, row += 16, out += 16 * STRIP) {
        uint8x16_t z[16];
        V16_UNROLL for (size_t i = 0; i < 16; i++)
            z[i] = vld1q_u8((const uint8_t *)row + i * step);
        swap8(z);
        swap16(z, 16, 2);
        swap32(z, 16, 4);
        swap64(z, 16, 8);
        V16_UNROLL for (int i = 0; i < 16; i++)
            v16_store(out + i * STRIP, v16_mul(v16_of_i8(vreinterpretq_s8_u8(z[i])), s));
    }
}
#else
/* In each 128-bit lane: eight rows of eight 16-bit words to eight columns. */
V16_FN void transpose_words(__m256i z[8])
{
    __m256i t[8], u[8];
    V16_UNROLL for (int i = 0; i < 8; i += 2) {
        t[i]     = _mm256_unpacklo_epi16(z[i], z[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi16(z[i], z[i + 1]);
    }
    V16_UNROLL for (int i = 0; i < 8; i += 4)
        V16_UNROLL for (int k = 0; k < 2; k++) {
            u[i + 2 * k]     = _mm256_unpacklo_epi32(t[i + k], t[i + k + 2]);
            u[i + 2 * k + 1] = _mm256_unpackhi_epi32(t[i + k], t[i + k + 2]);
        }
    V16_UNROLL for (int i = 0; i < 4; i++) {
        z[2 * i]     = _mm256_unpacklo_epi64(u[i], u[i + 4]);
        z[2 * i + 1] = _mm256_unpackhi_epi64(u[i], u[i + 4]);
    }
}

/* f16 words of sixteen rows, `step` bytes apart, to sixteen columns, STRIP words apart.  (512-bit forms, with masked or
 * whole-line loads, take the same 32 cycles for 256 words: shuffles have half the ports there.) */
V16_FN void turn_f16(const char *row, size_t step, uint16_t *out)
{
    V16_UNROLL for (int h = 0; h < 2; h++) {
        __m256i z[8];
        V16_UNROLL for (size_t r = 0; r < 8; r++) {
            const __m128i *lo = (const __m128i *)(row + r * step) + h, *hi = (const __m128i *)(row + (r + 8) * step) + h;
            z[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(lo)), _mm_loadu_si128(hi), 1);
        }
        transpose_words(z);
        V16_UNROLL for (int i = 0; i < 8; i++)
            _mm256_storeu_si256((__m256i *)(out + (i + 8 * h) * STRIP), z[i]);
    }
}

/* A Q8_0 block of sixteen rows to 32 columns: transposed as bytes, then widened and scaled by their row's d. */
V16_FN void turn_q8(const char *row, size_t step, float *out)
{
    uint16_t scale[16];
    int8_t   column[16][16];
    V16_UNROLL for (size_t i = 0; i < 16; i++)
        memcpy(&scale[i], row + i * step, 2);
    v16 s = v16_from_f16(scale);
    row += sizeof scale[0];
    for (int h = 0; h < 2; h++, row += 16, out += 16 * STRIP) {
        __m256i z[8], t[8];
        V16_UNROLL for (size_t r = 0; r < 8; r++) {
            __m128i lo = _mm_loadu_si128((const __m128i *)(row + r * step)), hi = _mm_loadu_si128((const __m128i *)(row + (r + 8) * step));
            z[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(lo), hi, 1);
        }
        V16_UNROLL for (int i = 0; i < 8; i += 2) {
            t[i]     = _mm256_unpacklo_epi8(z[i], z[i + 1]);
            t[i + 1] = _mm256_unpackhi_epi8(z[i], z[i + 1]);
        }
        V16_UNROLL for (int i = 0; i < 8; i += 4)
            V16_UNROLL for (int k = 0; k < 2; k++) {
                z[i + 2 * k]     = _mm256_unpacklo_epi16(t[i + k], t[i + k + 2]);
                z[i + 2 * k + 1] = _mm256_unpackhi_epi16(t[i + k], t[i + k + 2]);
            }
        V16_UNROLL for (int i = 0; i < 4; i++) { /* a lane: two columns of eight rows; together two of sixteen */
            t[2 * i]     = _mm256_unpacklo_epi32(z[i], z[i + 4]);
            t[2 * i + 1] = _mm256_unpackhi_epi32(z[i], z[i + 4]);
        }
        V16_UNROLL for (int i = 0; i < 8; i++)
            _mm256_storeu_si256((__m256i *)column[2 * i], _mm256_permute4x64_epi64(t[i], 0xd8));
        V16_UNROLL for (int i = 0; i < 16; i++)
            v16_store(out + i * STRIP, v16_mul(v16_from_i8(column[i]), s));
    }
}
#endif
#endif
