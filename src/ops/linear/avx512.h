/* avx512.h - what the AVX-512 and AMX kernels share: few rows of x on the file's blocks, and the float formats.
 *
 * Sixteen rows of weights make a group: their totals of one block end up in the lanes of one vector, so that
 * the float arithmetic of a block is done once for all of them.
 */
#ifndef SR_OPS_LINEAR_AVX512_H
#define SR_OPS_LINEAR_AVX512_H
#include "ops/linear/few512.h"

/* Bytes of weights in a piece: eight pieces a thread, and of large ops pieces that stay in the L2. */
static inline size_t sr_few_share(const sr_cpujob *j)
{
    return SR_MIN(sr_linear_bytes(j) / (8 * (size_t)j->n_threads), (size_t)256 << 10);
}

/* v of up to 16 rows of weights and row t of x, to y. */
SR_INLINE void sr_put16(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows, uint32_t t, __m512 v)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t        i    = (size_t)t * o->width + w->y0 + rows->row;
    __mmask16     m    = (__mmask16)(rows->n >= 16 ? 0xffff : (1u << rows->n) - 1);
    if (rows->apart == 1) {
        if (w->bias)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, w->bias + rows->row));
        if (o->z)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, o->z + i));
        _mm512_mask_storeu_ps(o->y + i, m, v);
        return;
    }
    __m512i at = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)rows->apart));
    if (w->bias)
        v = _mm512_add_ps(v, _mm512_mask_i32gather_ps(v, m, at, w->bias + rows->row, 4));
    if (o->z)
        v = _mm512_add_ps(v, _mm512_mask_i32gather_ps(v, m, at, o->z + i, 4));
    _mm512_mask_i32scatter_ps(o->y + i, m, at, v, 4);
}

/* Accumulators to y, sixteen rows of weights at a time. */
static inline void sr_put_acc512(const sr_linop *o, const sr_linpart *w, sr_acc acc, const sr_linrows *rows, uint32_t t0,
                                 uint32_t n_t)
{
    for (uint32_t r = 0; r < rows->n; r += 16)
        for (uint32_t t = 0; t < n_t; t += SR_LIN_TILE) {
            sr_linrows   some = {.row = rows->row + r * rows->apart, .apart = rows->apart, .n = rows->n - r};
            const float *from = sr_acc_at(acc, t / SR_LIN_TILE, r);
            __m512i      v[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++)
                v[i] = _mm512_load_si512(from + i * SR_LIN_TILE);
            sr_transpose16(v);
#pragma GCC unroll 16
            for (uint32_t i = 0; i < 16; i++)
                if (t + i < n_t)
                    sr_put16(o, w, &some, t0 + t + i, _mm512_castsi512_ps(v[i]));
        }
}

SR_INLINE __m512i sr_both(const uint8_t *p) { return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p)); }

/* ---- Q4_0, Q8_0: unsigned codes, the offset comes off by x's sums ----------------------------------- */

/* One block of two rows, each in 256 bits. */
SR_INLINE __m512i sr_codes_0x2(uint32_t format, const uint8_t *a, const uint8_t *b)
{
    if (format == SR_Q8_0) {
        __m256i l = _mm256_loadu_si256((const __m256i *)(a + 2)), h = _mm256_loadu_si256((const __m256i *)(b + 2));
        return _mm512_xor_si512(_mm512_inserti64x4(_mm512_castsi256_si512(l), h, 1), _mm512_set1_epi8((char)0x80));
    }
    __m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(a + 2)));
    v         = _mm512_mask_broadcast_i32x4(v, 0xff00, _mm_loadu_si128((const __m128i *)(b + 2)));
    v         = _mm512_mask_srli_epi16(v, 0xff00ff00, v, 4);
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

/* n_b (1 or 2) neighbouring blocks of sixteen rows.  Two go together because a row's address must be loaded anew for each step:
 * there are sixteen, and load ports are what one block at a time runs out of. */
SR_INLINE void sr_few_0_step(uint32_t format, const uint8_t *const *w, const sr_xrow_0 *x, int n_t, uint32_t b, int n_b,
                             uint16_t (*d)[16], uint16_t (*ahead)[16], uint32_t next, size_t fetch, __m512 *acc)
{
    const size_t size   = format == SR_Q8_0 ? sizeof(sr_q8_0) : sizeof(sr_q4_0);
    const int    offset = format == SR_Q8_0 ? 128 : 8;
    __m512       dw[2];
    __m512i      q[2][8];
#pragma GCC unroll 2
    for (int k = 0; k < n_b; k++)
        dw[k] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)d[k]));
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) { /* rows 0-3 beside 4-7, 8-11 beside 12-15: the joins leave them in order */
        const int      r0 = i / 4 * 8 + i % 4, r1 = r0 + 4;
        const uint8_t *p0 = w[r0] + b * size, *p1 = w[r1] + b * size;
        _mm_prefetch((const char *)w[r0] + fetch, _MM_HINT_T0);
        _mm_prefetch((const char *)w[r1] + fetch, _MM_HINT_T0);
#pragma GCC unroll 2
        for (int k = 0; k < n_b; k++) {
            q[k][i] = sr_codes_0x2(format, p0 + (size_t)k * size, p1 + (size_t)k * size);
            if (n_b == 2) {
                memcpy(&ahead[k][r0], p0 + (next + (uint32_t)k) * size, 2);
                memcpy(&ahead[k][r1], p1 + (next + (uint32_t)k) * size, 2);
            }
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < n_t; t++)
#pragma GCC unroll 2
        for (int k = 0; k < n_b; k++) {
            uint32_t at = b + (uint32_t)k;
            __m512i  y = sr_both((const uint8_t *)x[t].q + at * 32), s[8];
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                s[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q[k][i], y);
            __m512i sum = sr_join_lanes(sr_join4(s), sr_join4(s + 4));
            sum         = _mm512_sub_epi32(sum, _mm512_set1_epi32(offset * x[t].sum[at]));
            acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(dw[k], _mm512_set1_ps(x[t].d[at])), _mm512_cvtepi32_ps(sum), acc[t]);
        }
}

SR_INLINE void sr_few_0(uint32_t format, const uint8_t *const *w, const sr_xrow_0 *x, int n_t,
                        uint32_t blocks, size_t gap, __m512 *acc)
{
    const size_t size = format == SR_Q8_0 ? sizeof(sr_q8_0) : sizeof(sr_q4_0);
    uint16_t     d[2][2][16]; /* scales are collected a step ahead, so that the vector load finds them stored */
    uint32_t     b = 0, last = blocks > 2 ? blocks - 2 : 0;
    for (int t = 0; t < n_t; t++)
        acc[t] = _mm512_setzero_ps();
    for (int k = 0; k < 2; k++)
        for (int r = 0; r < 16; r++)
            memcpy(&d[0][k][r], w[r] + (k ? SR_MIN(1u, blocks - 1) : 0) * size, 2);
    for (; b + 2 <= blocks; b += 2) {
        uint32_t next = SR_MIN(b + 2, last) - b;
        sr_few_0_step(format, w, x, n_t, b, 2, d[b / 2 % 2], d[(b / 2 + 1) % 2], next, sr_ahead(b * size + SR_FEW_AHEAD0, blocks * size, gap), acc);
    }
    if (b < blocks) { /* the step before collected the last two: this one is the second of them */
        uint16_t(*lone)[16] = d[b / 2 % 2];
        sr_few_0_step(format, w, x, n_t, b, 1, blocks > 2 ? lone + 1 : lone, NULL, 0, sr_ahead(b * size + SR_FEW_AHEAD0, blocks * size, gap), acc);
    }
}

/* ---- F32, F16, BF16 --------------------------------------------------------------------------------- */

SR_INLINE __m512 sr_load16(uint32_t format, const uint8_t *p, __mmask16 m)
{
    if (format == SR_F32)
        return _mm512_maskz_loadu_ps(m, p);
    __m256i h = _mm256_maskz_loadu_epi16(m, p);
    return format == SR_F16 ? _mm512_cvtph_ps(h) : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Lane r: the sum of v[r]'s lanes, i and i+8 first, then i+4, i+2, i+1. */
SR_INLINE __m512 sr_sums16(const __m512 *v)
{
    __m512 a[8], b[4], c[2];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x44), _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xee));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x88), _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xdd));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        c[i] = _mm512_add_ps(_mm512_shuffle_ps(b[2 * i], b[2 * i + 1], 0x44), _mm512_shuffle_ps(b[2 * i], b[2 * i + 1], 0xee));
    __m512 s = _mm512_add_ps(_mm512_shuffle_ps(c[0], c[1], 0x88), _mm512_shuffle_ps(c[0], c[1], 0xdd));
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), s);
}

/* 16 columns of n_r rows of weights and n_t rows of x. */
SR_INLINE void sr_float_step(uint32_t format, const uint8_t *const *w, int n_r, const float *const *x, int n_t, uint32_t k, __mmask16 m,
                             __m512 *acc)
{
    const uint32_t size = format == SR_F32 ? 4 : 2;
    __m512         v[SR_FLOAT_X];
#pragma GCC unroll 6
    for (int t = 0; t < n_t; t++)
        v[t] = _mm512_maskz_loadu_ps(m, x[t] + k);
#pragma GCC unroll 16
    for (int r = 0; r < n_r; r++) {
        __m512 u = sr_load16(format, w[r] + (size_t)k * size, m);
        if (n_t == 1)
            _mm_prefetch((const char *)w[r] + (size_t)k * size + SR_FEW_AHEAD, _MM_HINT_T0);
#pragma GCC unroll 6
        for (int t = 0; t < n_t; t++)
            acc[t * n_r + r] = _mm512_fmadd_ps(u, v[t], acc[t * n_r + r]);
    }
}

/* n_r rows of weights against n_t rows of x, at most 32 sums: out[t * n_r + r].  Masked lanes of the tail are zeros on both sides. */
SR_INLINE void sr_float_block(uint32_t format, const uint8_t *const *w, int n_r, const float *const *x, int n_t, uint32_t n, float *out)
{
    __m512   acc[32];
    uint32_t k = 0;
#pragma GCC unroll 32
    for (int i = 0; i < 32; i++)
        acc[i] = _mm512_setzero_ps();
    for (; k + 16 <= n; k += 16)
        sr_float_step(format, w, n_r, x, n_t, k, 0xffff, acc);
    if (k < n)
        sr_float_step(format, w, n_r, x, n_t, k, (__mmask16)((1u << (n - k)) - 1), acc);
    _mm512_storeu_ps(out, sr_sums16(acc));
    if (n_r * n_t > 16)
        _mm512_storeu_ps(out + 16, sr_sums16(acc + 16));
}

/* Rows of weights go together as many as the registers hold beside rows of x. */
#define SR_FLOATS(n_r, n_t)                                                                                            \
    case n_t:                                                                                                          \
        for (uint32_t r = 0; r < rows->n; r += n_r) {                                                                  \
            for (uint32_t i = 0; i < n_r; i++) /* past the end: the last row again, not stored */                      \
                p[i] = sr_row_of(w, rows, r + i);                                                                      \
            sr_float_block(format, p, n_r, x, n_t, w->n_col, out);                                                     \
            for (uint32_t i = 0; i < n_r * n_t; i++)                                                                   \
                if (r + i % n_r < rows->n)                                                                             \
                    sr_put(o, w, rows->row + (r + i % n_r) * rows->apart, t + i / n_r, out[i]);                        \
        }                                                                                                              \
        break

SR_INLINE void sr_floats_of(uint32_t format, const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    for (uint32_t t = 0, n_t; t < o->rows; t += n_t) {
        const uint8_t *p[16];
        const float   *x[SR_FLOAT_X];
        float          out[32];
        n_t = SR_MIN(o->rows - t, (uint32_t)SR_FLOAT_X);
        for (uint32_t i = 0; i < n_t; i++)
            x[i] = o->x + (size_t)(t + i) * o->cols + w->col0;
        switch (n_t) {
            SR_FLOATS(16, 1);
            SR_FLOATS(8, 2);
            SR_FLOATS(8, 3);
            SR_FLOATS(4, 4);
            SR_FLOATS(4, 5);
            SR_FLOATS(4, 6);
        }
    }
}

static inline void sr_floats512(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    switch (w->format) {
    case SR_F32: sr_floats_of(SR_F32, o, w, rows); break;
    case SR_F16: sr_floats_of(SR_F16, o, w, rows); break;
    default: sr_floats_of(SR_BF16, o, w, rows);
    }
}

/* ---- driver ----------------------------------------------------------------------------------------- */

SR_INLINE void sr_few_any(uint32_t format, const sr_linop *o, const sr_linpart *w, const uint8_t *const *p, uint32_t t0,
                          int n_t, __m512 *acc)
{
    if (sr_linear_kind(format) == SR_LIN_KINDK) {
        const sr_xrow_k *x[SR_FEW_X];
        for (int t = 0; t < n_t; t++)
            x[t] = sr_xrow(o, t0 + (uint32_t)t) + w->col0 / 256;
        sr_few_k(format, p, x, n_t, w->n_col / 256, sr_row_gap(w), acc);
    } else {
        sr_xrow_0 x[SR_FEW_X];
        for (int t = 0; t < n_t; t++)
            x[t] = sr_xrow0(o, t0 + (uint32_t)t, w->col0);
        sr_few_0(format, p, x, n_t, w->n_col / 32, sr_row_gap(w), acc);
    }
}

#define SR_FEW(format)                                                                                                 \
    case format:                                                                                                       \
        switch (n_t) {                                                                                                 \
        case 1: sr_few_any(format, o, w, p, t0, 1, acc); break;                                                 \
        case 2: sr_few_any(format, o, w, p, t0, 2, acc); break;                                                 \
        case 3: sr_few_any(format, o, w, p, t0, 3, acc); break;                                                 \
        default: sr_few_any(format, o, w, p, t0, 4, acc);                                                       \
        }                                                                                                              \
        break

/* A group of rows, straight from the file's blocks. */
static inline void sr_few512(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    const uint8_t *p[SR_FEW_ROWS];
    if (w->kind == SR_LIN_FLOAT) {
        sr_floats512(o, w, rows);
        return;
    }
    for (uint32_t i = 0; i < SR_FEW_ROWS; i++) /* past the end: the last row again, not stored */
        p[i] = sr_row_of(w, rows, i);
    for (uint32_t t0 = 0; t0 < o->rows; t0 += SR_FEW_X) {
        __m512   acc[SR_FEW_X];
        uint32_t n_t = SR_MIN(o->rows - t0, (uint32_t)SR_FEW_X);
        switch (w->format) {
            SR_FEW(SR_Q4_K);
            SR_FEW(SR_Q5_K);
            SR_FEW(SR_Q6_K);
            SR_FEW(SR_Q4_0);
            SR_FEW(SR_Q8_0);
        default: return;
        }
        for (uint32_t t = 0; t < n_t; t++)
            sr_put16(o, w, rows, t0 + t, acc[t]);
    }
}
#endif
