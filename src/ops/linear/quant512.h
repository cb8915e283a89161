/* quant512.h - activations to tiles with AVX-512: the bits of x86.h's sr_quant_k and sr_quant_0, sixteen rows
 * at a time.  Rows with numbers that are not finite, all zero or too small for 1/scale go the slow way there.
 */
#ifndef SR_OPS_LINEAR_QUANT512_H
#define SR_OPS_LINEAR_QUANT512_H
#include "ops/linear/x86.h"

/* 16 x 16 numbers of 32 bits. */
SR_INLINE void sr_transpose16(__m512i v[16])
{
    __m512i a[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        a[2 * i]     = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* v[4i + c]: column c of each quarter, rows 4i .. 4i+3 */
        v[4 * i]     = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
        v[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
        v[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
        v[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512i p = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x88), q = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xdd);
        __m512i r = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0x88), s = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0xdd);
        a[c]      = _mm512_shuffle_i32x4(p, r, 0x88);
        a[8 + c]  = _mm512_shuffle_i32x4(p, r, 0xdd);
        a[4 + c]  = _mm512_shuffle_i32x4(q, s, 0x88);
        a[12 + c] = _mm512_shuffle_i32x4(q, s, 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        v[i] = a[i];
}

/* n / 4 lanes of four codes: codes[16][stride] to lines of a tile. */
SR_INLINE void sr_to_tile(const int8_t *codes, int stride, int n, uint32_t flip, uint8_t (*to)[16][4])
{
    for (int k = 0; k < n; k += 64, to += 16) {
        __m512i v[16];
        if (n >= 64) {
#pragma GCC unroll 16
            for (int t = 0; t < 16; t++)
                v[t] = _mm512_xor_si512(_mm512_load_si512(codes + t * stride + k), _mm512_set1_epi8((char)flip));
        } else {
#pragma GCC unroll 16
            for (int t = 0; t < 16; t++)
                v[t] = _mm512_xor_si512(_mm512_zextsi256_si512(_mm256_load_si256((const __m256i *)(codes + t * stride))),
                                        _mm512_set1_epi8((char)flip));
        }
        sr_transpose16(v);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++)
            if (i < 8 || n >= 64)
                _mm512_store_si512(to[i], v[i]);
    }
}

SR_INLINE __m512i sr_abs_bits(__m512 v) { return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)); }

/* 256 numbers of a row to codes and eight sums of 32. */
SR_INLINE float sr_row_512(const float *x, int8_t *codes, int16_t *sum32)
{
    __m512  big[4], low[4];
    __m512i top[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        big[i] = low[i] = _mm512_loadu_ps(x + i * 16);
        top[i] = sr_abs_bits(big[i]);
#pragma GCC unroll 3
        for (int k = 64; k < 256; k += 64) {
            __m512 v = _mm512_loadu_ps(x + k + i * 16);
            top[i]   = _mm512_max_epi32(top[i], sr_abs_bits(v));
            big[i]   = _mm512_max_ps(big[i], v);
            low[i]   = _mm512_min_ps(low[i], v);
        }
    }
    top[0] = _mm512_max_epi32(_mm512_max_epi32(top[0], top[1]), _mm512_max_epi32(top[2], top[3]));
    big[0] = _mm512_max_ps(_mm512_max_ps(big[0], big[1]), _mm512_max_ps(big[2], big[3]));
    low[0] = _mm512_min_ps(_mm512_min_ps(low[0], low[1]), _mm512_min_ps(low[2], low[3]));
    uint32_t peak_bits = (uint32_t)_mm512_reduce_max_epi32(top[0]);
    float    peak, most = _mm512_reduce_max_ps(big[0]), least = _mm512_reduce_min_ps(low[0]);
    memcpy(&peak, &peak_bits, 4);
    if (!(peak > 1e-30f && peak < INFINITY)) { /* also NaN */
        sr_xrow_k slow;
        sr_quant_k(x, &slow);
        memcpy(codes, slow.q, 256);
        memcpy(sum32, slow.sum32, sizeof slow.sum32);
        return slow.d;
    }
    if (most == -least) /* with both signs: the first counts */
        peak = sr_peak(x, peak_bits);
    else if (most < peak)
        peak = -peak;
    float   inv = -127 / peak;
    __m512i s[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        __m128i q[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) /* at most 127 after rounding: no clamp */
            q[i] = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_set1_ps(inv), _mm512_loadu_ps(x + k * 64 + i * 16))));
        __m512i all = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set_m128i(q[1], q[0])), _mm256_set_m128i(q[3], q[2]), 1);
        _mm512_store_si512(codes + k * 64, all);
        s[k] = _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_set1_epi8(1), all), _mm512_set1_epi16(1));
    }
    /* lane l of j: sums of 16 number l of vectors 0 .. 3 */
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
    __m512i j = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    j         = _mm512_add_epi32(j, _mm512_shuffle_i32x4(j, j, 0xb1)); /* lanes 0, 2: sums of 32 */
    j = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0), j);
    _mm_storeu_si128((__m128i *)sum32, _mm256_cvtepi32_epi16(_mm512_castsi512_si256(j)));
    return 1 / inv;
}

/* Superblock b of a tile. */
static inline void sr_tile_k512(const sr_linop *o, uint32_t tile, uint32_t b, uint32_t flip)
{
    _Alignas(64) int8_t  codes[16][256];
    _Alignas(16) int16_t sum[16][8];
    sr_xtile_k *x = (sr_xtile_k *)o->xk + (size_t)tile * (o->cols / 256) + b;
    for (uint32_t t = 0; t < SR_LIN_TILE; t++) {
        x->d[t] = 0;
        if (tile * SR_LIN_TILE + t < o->rows)
            x->d[t] = sr_row_512(o->x + (size_t)(tile * SR_LIN_TILE + t) * o->cols + (size_t)b * 256, codes[t], sum[t]);
        else {
            memset(codes[t], 0, sizeof codes[t]);
            memset(sum[t], 0, sizeof sum[t]);
        }
    }
    sr_to_tile(codes[0], 256, 256, flip, x->q);
    for (int i = 0; i < 4; i++)
        for (int t = 0; t < 16; t++)
            memcpy(x->pair[i][t], sum[t] + 2 * i, 4);
}

/* Block b of a tile of the 0 kind; false: not all rows of it can go the fast way. */
SR_INLINE bool sr_tile_0fast(const float *x, size_t stride, sr_xtile_0 *to, uint32_t flip)
{
    _Alignas(64) int8_t codes[16][32];
    _Alignas(64) float  inv[16];
    __m512i             top[16];
#pragma GCC unroll 16
    for (int t = 0; t < 16; t++)
        top[t] = _mm512_max_epi32(sr_abs_bits(_mm512_loadu_ps(x + t * stride)), sr_abs_bits(_mm512_loadu_ps(x + t * stride + 16)));
    sr_transpose16(top);
#pragma GCC unroll 4
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            top[i] = _mm512_max_epi32(top[i], top[i + half]);
    __m512 peak = _mm512_castsi512_ps(top[0]), d = _mm512_div_ps(peak, _mm512_set1_ps(127));
    if (_mm512_cmp_ps_mask(peak, _mm512_set1_ps(1e-30f), _CMP_NGT_UQ) | _mm512_cmp_ps_mask(peak, _mm512_set1_ps(INFINITY), _CMP_NLT_UQ))
        return false;
    _mm512_store_ps(inv, _mm512_div_ps(_mm512_set1_ps(1), d));
    _mm512_store_ps(to->d, _mm512_cvtph_ps(_mm512_cvtps_ph(d, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
    for (int t = 0; t < 16; t++)
        for (int i = 0; i < 2; i++) {
            /* halves away from zero: add the number below 0.5 with x's sign, cut off */
            __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + t * stride + i * 16), _mm512_set1_ps(inv[t]));
            __m512 h = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_set1_epi32(0x7fffffff), _mm512_castps_si512(_mm512_set1_ps(0x1.fffffep-2f)), _mm512_castps_si512(v), 0xca));
            _mm_store_si128((__m128i *)(codes[t] + i * 16), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(_mm512_add_ps(v, h))));
        }
    sr_to_tile(codes[0], 32, 32, flip, to->q);
    return true;
}

static inline void sr_quant_tiles512(const sr_cpujob *j, const sr_linop *o, uint32_t flip)
{
    uint32_t a, b, tiles = (o->rows + SR_LIN_TILE - 1) / SR_LIN_TILE, n = o->cols / 256;
    if (o->xk) {
        sr_cpu_share(j, tiles * n, 1, &a, &b);
        for (uint32_t i = a; i < b; i++)
            sr_tile_k512(o, i / n, i % n, flip);
    }
    n = o->cols / 32;
    if (o->x0) {
        sr_cpu_share(j, tiles * n, 4, &a, &b);
        for (uint32_t i = a; i < b; i++) {
            uint32_t tile = i / n, k = i % n;
            bool     full = (tile + 1) * SR_LIN_TILE <= o->rows;
            if (!full || !sr_tile_0fast(o->x + (size_t)tile * SR_LIN_TILE * o->cols + (size_t)k * 32, o->cols, (sr_xtile_0 *)o->x0 + i, flip))
                sr_tile_0(o, tile, k, flip);
        }
    }
}
#endif
