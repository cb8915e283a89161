/* few512.h - K-quants and few rows of x with AVX-512 VNNI, straight from the file's blocks.  Part of avx512.h.
 *
 * Sixteen rows of weights make a group: their totals of a superblock end up in the lanes of one vector, so that the float
 * arithmetic is done once for all of them.  What a row costs is vector operations, of which a core does two a clock, so
 * the work is laid out for few of them:
 *
 *     Q4_K, Q5_K   low nibbles of 64 bytes and high nibbles of 64 bytes; a lane of 32 bits sums 8 products of one block
 *                  first   0a 4a 2a 6a | 1a 5a 3a 7a        a, b: halves of a block of 32, 128 bits each; low | high nibbles
 *                  second  0b 4b 2b 6b | 1b 5b 3b 7b
 *     Q6_K         a scale every 16 numbers: a lane sums 4 products; x's part of the offset 32 is where the sum begins
 *
 * Such a sum fits 16 bits (31 * 127 * 8), so the two vectors are packed into one and the scales come on by one
 * multiplication for all of them.  Q4_K: 16 operations a row and superblock, and 5 to join sixteen rows.
 */
#ifndef SR_OPS_LINEAR_FEW512_H
#define SR_OPS_LINEAR_FEW512_H
#include "ops/linear/quant512.h"

enum {
    SR_FEW_ROWS = 16, SR_FEW_X = 4,            /* rows of weights in a group, rows of x at a time */
    SR_FEW_AHEAD = 1024, SR_FEW_AHEAD0 = 512,  /* bytes prefetched in each run: K-quants, the 0 kind */
    SR_FLOAT_X = 6
};

/* Lane l of 128 bits: sums over lane l of s[0], s[1], s[2], s[3]. */
SR_INLINE __m512i sr_join4(const __m512i *s)
{
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* Sums pairs of 128-bit lanes: a0+a1, a2+a3, b0+b1, b2+b3. */
SR_INLINE __m512i sr_join_lanes(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

/* A superblock of a row of x in the order in which the weights come, and where sums begin. */
typedef struct { __m512i v[4], from[4]; } sr_xfew;

/* Sixteen bytes in every 128-bit lane, by the load itself.  Written out because a compiler that has use for the bytes
 * elsewhere loads once and copies by a shuffle, of which a core does one a clock. */
SR_INLINE __m512i sr_all_lanes(const uint8_t *p)
{
    __m512i z;
    __asm__("vbroadcasti32x4 %1, %0" : "=v"(z) : "m"(*(const uint8_t(*)[16])p));
    return z;
}

/* 128-bit lane i: words a, a, a, a, b, b, b, b of pair i. */
SR_INLINE __m512i sr_pairs(short a0, short b0, short a1, short b1, short a2, short b2, short a3, short b3)
{
    return _mm512_set_epi16(b3, b3, b3, b3, a3, a3, a3, a3, b2, b2, b2, b2, a2, a2, a2, a2,
                            b1, b1, b1, b1, a1, a1, a1, a1, b0, b0, b0, b0, a0, a0, a0, a0);
}

SR_INLINE sr_xfew sr_few_x(uint32_t format, const int8_t *q)
{
    sr_xfew o;
    __m512i x[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x[i]      = _mm512_loadu_si512(q + i * 64);
        o.from[i] = _mm512_setzero_si512();
    }
    if (format == SR_Q6_K) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            o.v[i]    = x[i];
            o.from[i] = _mm512_sub_epi32(o.from[i], _mm512_dpbusd_epi32(o.from[i], _mm512_set1_epi8(32), x[i]));
        }
        return o;
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) { /* halves a, b */
        __m512i even = h ? _mm512_shuffle_i32x4(x[0], x[2], 0xdd) : _mm512_shuffle_i32x4(x[0], x[2], 0x88); /* blocks 0 1 4 5 */
        __m512i odd  = h ? _mm512_shuffle_i32x4(x[1], x[3], 0xdd) : _mm512_shuffle_i32x4(x[1], x[3], 0x88); /* 2 3 6 7 */
        o.v[h]       = _mm512_shuffle_i32x4(even, odd, 0x88);
        o.v[2 + h]   = _mm512_shuffle_i32x4(even, odd, 0xdd);
    }
    return o;
}

/* Codes of a superblock as unsigned bytes, in the order of sr_few_x; high nibbles of Q4_K are left where they are. */
SR_INLINE void sr_few_codes(uint32_t format, const uint8_t *w, __m512i c[4])
{
    const __m512i low = _mm512_set1_epi8(15);
    if (format == SR_Q6_K) {
        const __m512i all6 = _mm512_set1_epi8(63);
#pragma GCC unroll 2
        for (int n = 0; n < 2; n++) { /* the high bits: 0-1 and 2-3 of qh, then 4-5 and 6-7 */
            __m512i l = _mm512_loadu_si512(w + n * 64);
            __m512i h = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(w + 128 + n * 32)));
            __m512i up = _mm512_sllv_epi64(h, _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2));
            __m512i down = _mm512_srlv_epi64(h, _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2));
            c[2 * n]     = _mm512_and_si512(_mm512_ternarylogic_epi32(low, l, up, 0xca), all6); /* low ? l : up */
            c[2 * n + 1] = _mm512_and_si512(_mm512_ternarylogic_epi32(low, _mm512_srli_epi16(l, 4), down, 0xca), all6);
        }
        return;
    }
    const uint8_t *q = w + (format == SR_Q5_K ? 48 : 16);
    __m512i a = _mm512_mask_loadu_epi64(_mm512_loadu_si512(q), 0xcc, q + 48);
    __m512i b = _mm512_mask_loadu_epi64(_mm512_loadu_si512(q + 16), 0xcc, q + 64);
    if (format == SR_Q4_K) {
        c[0] = _mm512_and_si512(a, low);
        c[1] = _mm512_and_si512(b, low);
        c[2] = _mm512_andnot_si512(low, a);
        c[3] = _mm512_andnot_si512(low, b);
        return;
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) { /* bit i of qh belongs to block i: to bit 4 */
        __m512i top = sr_all_lanes(w + 16 + h * 16), v = h ? b : a;
        __m512i lo = _mm512_rolv_epi32(top, _mm512_setr_epi32(4, 4, 4, 4, 0, 0, 0, 0, 2, 2, 2, 2, 30, 30, 30, 30));
        __m512i hi = _mm512_rolv_epi32(top, _mm512_setr_epi32(3, 3, 3, 3, 31, 31, 31, 31, 1, 1, 1, 1, 29, 29, 29, 29));
        c[h]     = _mm512_and_si512(_mm512_ternarylogic_epi32(low, v, lo, 0xca), _mm512_set1_epi8(31));
        c[2 + h] = _mm512_and_si512(_mm512_ternarylogic_epi32(low, _mm512_srli_epi16(v, 4), hi, 0xca), _mm512_set1_epi8(31));
    }
}

/* The 6-bit scales and minimums of Q4_K and Q5_K (bytes 4-15 of a superblock: quant.h's sr_k4_scales) by a multiplication of
 * bytes, which costs three operations; the scalar way takes nine, which the ports of the vector units share.
 *     scale   j < 4: a[j] & 63         j >= 4: c[j-4] & 15 | (a[j-4] >> 6) << 4      4 times it:  4 (c & 15) + (a & 0xc0)
 *     minimum j < 4: b[j] & 63         j >= 4: c[j-4] >> 4 | (b[j-4] >> 6) << 4      16 times it: (c & 0xf0) + 4 (b & 0xc0)   */
SR_INLINE __m512i sr_few_scales(const uint8_t *w) /* four times them, for packed sums */
{
    enum { A = 4, C = 12, NO = -0x8000 }; /* a byte of zeros above */
    __m512i both = _mm512_shuffle_epi8(sr_all_lanes(w), sr_pairs(A | NO, (A + 1) | NO, A | C << 8, (A + 1) | (C + 1) << 8, (A + 2) | NO,
                                                      (A + 3) | NO, (A + 2) | (C + 2) << 8, (A + 3) | (C + 3) << 8));
    __m512i bits = sr_pairs(63, 63, 0x0fc0, 0x0fc0, 63, 63, 0x0fc0, 0x0fc0), by = sr_pairs(4, 4, 0x0401, 0x0401, 4, 4, 0x0401, 0x0401);
    return _mm512_maddubs_epi16(_mm512_and_si512(both, bits), by);
}

SR_INLINE __m512i sr_few_mins(__m512i heads) /* 16 times the minimums of four rows, from their first 16 bytes */
{
    enum { B = 8, C = 12, NO = 0x80 };
    const __m512i at = _mm512_broadcast_i32x4(_mm_setr_epi8(B, (char)NO, B + 1, (char)NO, B + 2, (char)NO, B + 3, (char)NO, B, C, B + 1, C + 1,
                                                            B + 2, C + 2, B + 3, C + 3));
    const __m512i bits = _mm512_set4_epi32((int)0xf0c0f0c0, (int)0xf0c0f0c0, 0x003f003f, 0x003f003f);
    const __m512i by   = _mm512_set4_epi32(0x01040104, 0x01040104, 0x00100010, 0x00100010);
    return _mm512_maddubs_epi16(_mm512_and_si512(_mm512_shuffle_epi8(heads, at), bits), by);
}

/* One superblock of one row against n_t rows of x: sixteen partial sums each; Q4_K and Q5_K: four times them. */
SR_INLINE void sr_few_dots(uint32_t format, const uint8_t *w, const sr_xfew *x, int n_t, __m512i *s)
{
    __m512i c[4];
    sr_few_codes(format, w, c);
    if (format == SR_Q6_K) { /* scales are signed: into the upper bytes of words, times 256 */
        enum { UP = 0x80 };
        __m512i sc = sr_all_lanes(w + 192);
        __m512i s0 = _mm512_shuffle_epi8(sc, sr_pairs(UP, 4 << 8 | UP, 1 << 8 | UP, 5 << 8 | UP, 2 << 8 | UP, 6 << 8 | UP, 3 << 8 | UP, 7 << 8 | UP));
        __m512i s1 = _mm512_shuffle_epi8(sc, sr_pairs(8 << 8 | UP, 12 << 8 | UP, 9 << 8 | UP, 13 << 8 | UP, 10 << 8 | UP, 14 << 8 | UP,
                                                      11 << 8 | UP, 15 << 8 | UP));
#pragma GCC unroll 4
        for (int t = 0; t < n_t; t++) { /* at most 4 * (32 * 127 * 4) * (128 * 256) in a lane: below 2^31 */
            __m512i d[4];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                d[i] = _mm512_dpbusd_epi32(x[t].from[i], c[i], x[t].v[i]);
            __m512i a = _mm512_packs_epi32(d[0], d[1]), b = _mm512_packs_epi32(d[2], d[3]);
            s[t]      = _mm512_srai_epi32(_mm512_dpwssd_epi32(_mm512_madd_epi16(a, s0), b, s1), 8);
        }
        return;
    }
    __m512i k = sr_few_scales(w);
#pragma GCC unroll 4
    for (int t = 0; t < n_t; t++) {
        __m512i lo = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), c[0], x[t].v[0]), c[1], x[t].v[1]);
        __m512i hi = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), c[2], x[t].v[2]), c[3], x[t].v[3]);
        s[t]       = _mm512_madd_epi16(_mm512_packs_epi32(lo, format == SR_Q4_K ? _mm512_srai_epi32(hi, 4) : hi), k);
    }
}

/* What a superblock of 16 rows leaves for the float arithmetic. */
typedef struct {
    __m512i  sum[SR_FEW_X][4]; /* of rows 4g .. 4g+3, before the last joins */
    __m128i  head[16];         /* Q4_K, Q5_K: the first 16 bytes of each row */
    uint32_t d[16];            /* Q6_K: d in the high half */
} sr_few_sums;

/* sum over j of m[row][j] * sum32[j], for the 16 rows. */
SR_INLINE __m512i sr_few_min_sums(const __m512i m[4], const sr_xrow_k *x, __m512i order)
{
    __m512i y = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)x->sum32)), v[4];
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) /* 128-bit lane l: four partial sums of row 4g + l */
        v[g] = _mm512_madd_epi16(m[g], y);
    return _mm512_srai_epi32(_mm512_permutexvar_epi32(order, sr_join4(v)), 4);
}

SR_INLINE void sr_few_finish(uint32_t format, const sr_few_sums *f, const sr_xrow_k *const *x, int n_t, uint32_t b,
                             __m512 *acc)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i       both, high, m[4];
    if (format == SR_Q6_K) {
        both = _mm512_loadu_si512(f->d);
    } else {
        __m512i h[4];
#pragma GCC unroll 4
        for (int g = 0; g < 4; g++) {
            h[g] = _mm512_load_si512(f->head + 4 * g);
            m[g] = sr_few_mins(h[g]);
        }
        both = _mm512_unpacklo_epi64(_mm512_unpacklo_epi32(h[0], h[1]), _mm512_unpacklo_epi32(h[2], h[3]));
        both = _mm512_permutexvar_epi32(order, both);
    }
    high      = _mm512_srli_epi32(both, 16);
    __m512 dw = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(format == SR_Q6_K ? high : both));
#pragma GCC unroll 4
    for (int t = 0; t < n_t; t++) {
        __m512  dx = _mm512_set1_ps(x[t][b].d);
        __m512i s  = sr_join_lanes(sr_join_lanes(f->sum[t][0], f->sum[t][1]), sr_join_lanes(f->sum[t][2], f->sum[t][3]));
        s          = format == SR_Q6_K ? s : _mm512_srai_epi32(s, 2);
        acc[t]     = _mm512_fmadd_ps(_mm512_mul_ps(dw, dx), _mm512_cvtepi32_ps(s), acc[t]);
        if (format != SR_Q6_K) {
            __m512 dm = _mm512_mul_ps(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(high)), dx);
            acc[t]    = _mm512_fnmadd_ps(dm, _mm512_cvtepi32_ps(sr_few_min_sums(m, &x[t][b], order)), acc[t]);
        }
    }
}

/* The heads (Q6_K: d) of rows are stored one by one, and a wider load of them cannot be forwarded: reading them at once would wait for the
 * stores, so sums are finished a superblock later. */
SR_INLINE void sr_few_k(uint32_t format, const uint8_t *const *w, const sr_xrow_k *const *x, int n_t,
                        uint32_t blocks, size_t gap, __m512 *acc)
{
    const size_t size = sr_linear_block(format);
    sr_few_sums f[2];
    for (int t = 0; t < n_t; t++)
        acc[t] = _mm512_setzero_ps();
    for (uint32_t b = 0; b < blocks; b++) {
        sr_few_sums *to = &f[b % 2];
        sr_xfew      y[SR_FEW_X];
        size_t       ahead = sr_ahead(b * size + SR_FEW_AHEAD, blocks * size, gap);
        for (int t = 0; t < n_t; t++)
            y[t] = sr_few_x(format, x[t][b].q);
        for (int g = 0; g < 4; g++) {
            __m512i s[4][SR_FEW_X], one[4];
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                const uint8_t *p = w[g * 4 + r] + b * size, *next = w[g * 4 + r] + ahead;
                _mm_prefetch((const char *)next, _MM_HINT_T0);
                _mm_prefetch((const char *)next + 64, _MM_HINT_T0);
                _mm_prefetch((const char *)next + 128, _MM_HINT_T0);
                if (format == SR_Q6_K)
                    memcpy(&to->d[g * 4 + r], p + 206, 4);
                else
                    to->head[g * 4 + r] = _mm_loadu_si128((const __m128i *)p);
                sr_few_dots(format, p, y, n_t, s[r]);
            }
#pragma GCC unroll 4
            for (int t = 0; t < n_t; t++) {
#pragma GCC unroll 4
                for (int r = 0; r < 4; r++)
                    one[r] = s[r][t];
                to->sum[t][g] = sr_join4(one);
            }
        }
        if (b)
            sr_few_finish(format, &f[(b - 1) % 2], x, n_t, b - 1, acc);
    }
    sr_few_finish(format, &f[(blocks - 1) % 2], x, n_t, blocks - 1, acc);
}
#endif
