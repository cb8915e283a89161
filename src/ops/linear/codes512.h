/* codes512.h - superblocks of K-quants as bytes in order, for the panels of the AMX kernel. */
#ifndef SR_OPS_LINEAR_CODES512_H
#define SR_OPS_LINEAR_CODES512_H
#include "ops/linear/avx512.h"

/* 16-bit lanes: a, b, c, d in one 128-bit lane each.  Written out so that it is one constant in memory. */
SR_INLINE __m512i sr_words4(short a, short b, short c, short d)
{
    return _mm512_set_epi16(d, d, d, d, d, d, d, d, c, c, c, c, c, c, c, c, b, b, b, b, b, b, b, b, a, a, a, a, a, a, a, a);
}
SR_INLINE __m512i sr_words2(short a, short b) { return sr_words4(a, a, b, b); }

/* Blocks 2i and 2i+1 (of 32) of a superblock as unsigned codes; Q6_K's are 32 too large. */
SR_INLINE __m512i sr_codes64(uint32_t format, const uint8_t *w, int i)
{
    const __m512i low = _mm512_set1_epi8(15), all6 = _mm512_set1_epi8(63);
    if (format == SR_Q6_K) { /* the pair's high bits: 0-1 and 2-3 of qh, or 4-5 and 6-7 */
        __m512i l = _mm512_loadu_si512(w + i / 2 * 64), h = sr_both(w + 128 + i / 2 * 32);
        l = i % 2 ? _mm512_srli_epi16(l, 4) : l;
        h = i % 2 ? _mm512_srlv_epi16(h, sr_words2(0, 2)) : _mm512_sllv_epi16(h, sr_words2(4, 2));
        return _mm512_and_si512(_mm512_ternarylogic_epi32(low, l, h, 0xca), all6); /* low ? l : h */
    }
    __m512i v = _mm512_srlv_epi16(sr_both(w + (format == SR_Q5_K ? 48 : 16) + i * 32), sr_words2(0, 4));
    if (format == SR_Q4_K)
        return _mm512_and_si512(v, low);
    __m512i h = sr_both(w + 16);
    h = i < 2 ? _mm512_sllv_epi16(h, sr_words2((short)(4 - 2 * i), (short)(3 - 2 * i)))
              : _mm512_srlv_epi16(h, sr_words2((short)(2 * i - 4), (short)(2 * i - 3)));
    return _mm512_and_si512(_mm512_ternarylogic_epi32(low, v, h, 0xca), _mm512_set1_epi8(31));
}

/* Scales of those 64 codes, one 16-bit number a pair of codes. */
typedef struct { __m512i a, b; } sr_scales512;

SR_INLINE sr_scales512 sr_load_scales(uint32_t format, const uint8_t *w, uint64_t *mins)
{
    if (format == SR_Q6_K) {
        __m256i s = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + 192)));
        return (sr_scales512){_mm512_broadcast_i32x4(_mm256_castsi256_si128(s)),
                              _mm512_broadcast_i32x4(_mm256_extracti128_si256(s, 1))};
    }
    uint64_t sc;
    sr_scales_45(w + 4, &sc, mins);
    return (sr_scales512){_mm512_set1_epi64((long long)sc), _mm512_setzero_si512()};
}

SR_INLINE __m512i sr_scales64(uint32_t format, sr_scales512 s, int i)
{
    if (format == SR_Q6_K) { /* one a 128-bit lane */
        short   k  = (short)(i % 2 * 8);
        __m512i at = sr_words4((short)(k | (k + 1) << 8), (short)((k + 2) | (k + 3) << 8), (short)((k + 4) | (k + 5) << 8),
                               (short)((k + 6) | (k + 7) << 8));
        return _mm512_shuffle_epi8(i < 2 ? s.a : s.b, at);
    }
    /* bytes to 16 bits: index 0x80 gives zero */
    return _mm512_shuffle_epi8(s.a, sr_words2((short)(2 * i | 0x8000), (short)((2 * i + 1) | 0x8000)));
}

#endif
