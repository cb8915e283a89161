/* x86.h - what the AVX2, AVX-512 and AMX kernels share: quantised activations, weights as panels, stores.
 * Static functions on AVX2; each including file compiles them with its own instruction set.
 *
 * Activations   few rows:  row layout (rows.h)
 *               more rows: tiles of 16 rows, four consecutive numbers of a row in one 32-bit lane, so that
 *               a vector holds 16 rows and a weight is broadcast.  The codes are stored plus `flip`
 *               (0x80: as unsigned bytes, the offset is taken off by sr_wrow.corr).
 * Panel         weights unpacked to signed bytes, one sr_wrow_k per (row, superblock), one sr_wrow_0 per
 *               (row, block of 32); made once, used for all rows of x.
 * Accumulators  float [tile of x][row of the panel][16 rows of x] in the thread's scratch, transposed into y
 *               at the end.
 */
#ifndef SR_OPS_LINEAR_X86_H
#define SR_OPS_LINEAR_X86_H
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "ops/linear/rows.h"

enum { SR_LIN_TB = 512 }; /* rows of x that one panel serves before the next is made */

typedef struct { uint8_t q[64][16][4]; float d[16]; int16_t pair[4][16][2]; } sr_xtile_k; /* pair: sums of 32 */
typedef struct { uint8_t q[8][16][4]; float d[16]; } sr_xtile_0;
typedef struct {
    int8_t  q[256];
    int32_t sc[16];     /* of 16 numbers; form is the kernel's */
    int32_t m[4];       /* minimums of two blocks of 32 as int16 pairs */
    float   d, dmin;
    int32_t corr, pad;  /* sum of sc * 128 * q */
} sr_wrow_k;
typedef struct { int8_t q[32]; float d; int32_t corr; } sr_wrow_0;

typedef char sr_xtile_fits[sizeof(sr_xtile_k) <= SR_LIN_XK * SR_LIN_TILE ? 1 : -1];
typedef char sr_xtile0_fits[sizeof(sr_xtile_0) <= SR_LIN_X0 * SR_LIN_TILE ? 1 : -1];

/* ---- activations ------------------------------------------------------------------------------------ */

SR_INLINE __m256 sr_abs8(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }

/* Largest magnitude's bits: they order as the numbers do, and infinities and NaNs come last. */
SR_INLINE uint32_t sr_top_bits(const float *x, int n)
{
    __m256i top = _mm256_setzero_si256();
    for (int i = 0; i < n; i += 8)
        top = _mm256_max_epi32(top, _mm256_castps_si256(sr_abs8(_mm256_loadu_ps(x + i))));
    __m128i t = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    t         = _mm_max_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    t         = _mm_max_epi32(t, _mm_shuffle_epi32(t, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(t);
}

/* The first number of largest magnitude, with its sign. */
SR_INLINE float sr_peak(const float *x, uint32_t top)
{
    __m256i want = _mm256_set1_epi32((int)top);
    for (int i = 0;; i += 8) {
        __m256i v = _mm256_castps_si256(sr_abs8(_mm256_loadu_ps(x + i)));
        int     m = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(v, want)));
        if (m)
            return x[i + __builtin_ctz((unsigned)m)];
    }
}

/* 32 floats that are integers in +-127 to bytes. */
SR_INLINE __m256i sr_bytes32(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256i ab = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
    __m256i cd = _mm256_packs_epi32(_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d));
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* NaN becomes -127: the order of the operands matters. */
SR_INLINE __m256 sr_clamp127(__m256 v)
{
    return _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(-127)), _mm256_set1_ps(127));
}

SR_INLINE int32_t sr_sum8(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s         = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s         = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

/* Sum of 32 signed bytes. */
SR_INLINE int32_t sr_sum32(__m256i q)
{
    return sr_sum8(_mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q), _mm256_set1_epi16(1)));
}
static inline int32_t sr_sum_codes(const int8_t q[32]) { return sr_sum32(_mm256_loadu_si256((const __m256i *)q)); }

/* sr_encode_row(SR_Q8_K) of 256 numbers: the same bits. */
static inline void sr_quant_k(const float *x, sr_xrow_k *o)
{
    uint32_t top = sr_top_bits(x, 256);
    if (top == 0 || top >= 0x7f800000) {
        memset(o, 0, sizeof *o);
        o->d = top ? NAN : 0;
        return;
    }
    float  inv = -127 / sr_peak(x, top);
    __m256 k   = _mm256_set1_ps(inv);
    o->d       = 1 / inv;
    for (int j = 0; j < 8; j++) {
        __m256 v[4];
        for (int i = 0; i < 4; i++) /* the conversion rounds to nearest even */
            v[i] = sr_clamp127(_mm256_mul_ps(k, _mm256_loadu_ps(x + j * 32 + i * 8)));
        __m256i q = sr_bytes32(v[0], v[1], v[2], v[3]);
        _mm256_storeu_si256((__m256i *)(o->q + j * 32), q);
        __m256i s = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
        s         = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
        s         = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
        s         = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
        o->sum16[j * 2]     = (int16_t)_mm256_extract_epi32(s, 0);
        o->sum16[j * 2 + 1] = (int16_t)_mm256_extract_epi32(s, 4);
        o->sum32[j]         = (int16_t)(o->sum16[j * 2] + o->sum16[j * 2 + 1]);
    }
}

/* sr_encode_row(SR_Q8_0) of 32 numbers: the same bits.  Returns the scale after its rounding to f16. */
static inline float sr_quant_0(const float *x, int8_t q[32])
{
    uint32_t top = sr_top_bits(x, 32);
    if (top >= 0x7f800000) {
        memset(q, 0, 32);
        return NAN;
    }
    float peak;
    memcpy(&peak, &top, 4);
    float        d = peak / 127, inv = d != 0 ? 1 / d : 0;
    __m256       v[4];
    const __m256 sign = _mm256_set1_ps(-0.0f);
    for (int i = 0; i < 4; i++) { /* halves away from zero: the remainder of truncation is exact */
        __m256 a = _mm256_mul_ps(_mm256_loadu_ps(x + i * 8), _mm256_set1_ps(inv));
        __m256 r = _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
        __m256 f = _mm256_cmp_ps(sr_abs8(_mm256_sub_ps(a, r)), _mm256_set1_ps(0.5f), _CMP_GE_OQ);
        __m256 u = _mm256_or_ps(_mm256_and_ps(a, sign), _mm256_set1_ps(1));
        v[i]     = sr_clamp127(_mm256_add_ps(r, _mm256_and_ps(f, u)));
    }
    _mm256_storeu_si256((__m256i *)q, sr_bytes32(v[0], v[1], v[2], v[3]));
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtps_ph(_mm_set_ss(d), _MM_FROUND_TO_NEAREST_INT)));
}

/* One row's codes into lane t of a tile. */
SR_INLINE void sr_spread(uint8_t (*to)[16][4], int t, const int8_t *q, int n, uint32_t flip)
{
    for (int i = 0; i < n / 4; i++) {
        uint32_t v;
        memcpy(&v, q + i * 4, 4);
        v ^= flip * 0x01010101u;
        memcpy(to[i][t], &v, 4);
    }
}

static inline void sr_tile_k(const sr_linop *o, uint32_t tile, uint32_t b, uint32_t flip)
{
    sr_xtile_k *x = (sr_xtile_k *)o->xk + (size_t)tile * (o->cols / 256) + b;
    sr_xrow_k   row;
    for (uint32_t t = 0; t < SR_LIN_TILE; t++) {
        if (tile * SR_LIN_TILE + t < o->rows)
            sr_quant_k(o->x + (size_t)(tile * SR_LIN_TILE + t) * o->cols + (size_t)b * 256, &row);
        else
            memset(&row, 0, sizeof row);
        sr_spread(x->q, (int)t, row.q, 256, flip);
        x->d[t] = row.d;
        for (int i = 0; i < 4; i++)
            memcpy(x->pair[i][t], row.sum32 + i * 2, 4);
    }
}

static inline void sr_tile_0(const sr_linop *o, uint32_t tile, uint32_t b, uint32_t flip)
{
    sr_xtile_0 *x = (sr_xtile_0 *)o->x0 + (size_t)tile * (o->cols / 32) + b;
    for (uint32_t t = 0; t < SR_LIN_TILE; t++) {
        int8_t q[32] = {0};
        x->d[t]      = 0;
        if (tile * SR_LIN_TILE + t < o->rows)
            x->d[t] = sr_quant_0(o->x + (size_t)(tile * SR_LIN_TILE + t) * o->cols + (size_t)b * 32, q);
        sr_spread(x->q, (int)t, q, 32, flip);
    }
}

static inline void sr_quant_tiles(const sr_cpujob *j, const sr_linop *o, uint32_t flip_k, uint32_t flip_0)
{
    uint32_t a, b, tiles = (o->rows + SR_LIN_TILE - 1) / SR_LIN_TILE, n = o->cols / 256;
    if (o->xk) {
        sr_cpu_share(j, tiles * n, 1, &a, &b);
        for (uint32_t i = a; i < b; i++)
            sr_tile_k(o, i / n, i % n, flip_k);
    }
    n = o->cols / 32;
    if (o->x0) {
        sr_cpu_share(j, tiles * n, 4, &a, &b);
        for (uint32_t i = a; i < b; i++)
            sr_tile_0(o, i / n, i % n, flip_0);
    }
}

/* ---- weights ---------------------------------------------------------------------------------------- */

/* sr_scales_45 of a superblock's first 16 bytes, without leaving the registers: scales in the lower half, minimums in the upper. */
SR_INLINE __m128i sr_scales_45x(__m128i head)
{
    __m128i low  = _mm_shuffle_epi8(head, _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
    __m128i high = _mm_shuffle_epi8(head, _mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11));
    low          = _mm_and_si128(_mm_srlv_epi32(low, _mm_setr_epi32(0, 0, 0, 4)), _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    return _mm_or_si128(low, _mm_and_si128(_mm_srli_epi16(high, 2), _mm_set1_epi8(0x30)));
}

SR_INLINE float sr_half(const void *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

/* Blocks 2i and 2i+1 (of 32) of a superblock as unsigned codes; Q6_K's are 32 too large. */
SR_INLINE void sr_codes(uint32_t format, const uint8_t *w, int i, __m256i *a, __m256i *b)
{
    const __m256i low = _mm256_set1_epi8(15);
    if (format == SR_Q6_K) {
        const uint8_t *ql = w + i / 2 * 64;
        __m256i        l0 = _mm256_loadu_si256((const __m256i *)ql), l1 = _mm256_loadu_si256((const __m256i *)(ql + 32));
        __m256i        h  = _mm256_loadu_si256((const __m256i *)(w + 128 + i / 2 * 32));
        const __m256i  up = _mm256_set1_epi8(0x30);
        if (i % 2) {
            l0 = _mm256_srli_epi16(l0, 4);
            l1 = _mm256_srli_epi16(l1, 4);
            *a = _mm256_or_si256(_mm256_and_si256(l0, low), _mm256_and_si256(h, up));
            *b = _mm256_or_si256(_mm256_and_si256(l1, low), _mm256_and_si256(_mm256_srli_epi16(h, 2), up));
        } else {
            *a = _mm256_or_si256(_mm256_and_si256(l0, low), _mm256_and_si256(_mm256_slli_epi16(h, 4), up));
            *b = _mm256_or_si256(_mm256_and_si256(l1, low), _mm256_and_si256(_mm256_slli_epi16(h, 2), up));
        }
        return;
    }
    __m256i v = _mm256_loadu_si256((const __m256i *)(w + (format == SR_Q5_K ? 48 : 16) + i * 32));
    *a        = _mm256_and_si256(v, low);
    *b        = _mm256_and_si256(_mm256_srli_epi16(v, 4), low);
    if (format == SR_Q5_K) {
        const __m256i bit = _mm256_set1_epi8(16);
        __m256i       h   = _mm256_loadu_si256((const __m256i *)(w + 16));
        __m256i       ha = i < 2 ? _mm256_slli_epi16(h, 4 - 2 * i) : _mm256_srli_epi16(h, 2 * i - 4);
        __m256i       hb = i < 2 ? _mm256_slli_epi16(h, 3 - 2 * i) : _mm256_srli_epi16(h, 2 * i - 3);
        *a               = _mm256_or_si256(*a, _mm256_and_si256(ha, bit));
        *b               = _mm256_or_si256(*b, _mm256_and_si256(hb, bit));
    }
}

/* The 32 codes of a Q4_0 or Q8_0 block, signed. */
SR_INLINE __m256i sr_codes_0(uint32_t format, const uint8_t *w)
{
    if (format == SR_Q8_0)
        return _mm256_loadu_si256((const __m256i *)(w + 2));
    __m128i v = _mm_loadu_si128((const __m128i *)(w + 2));
    __m256i q = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), _mm256_set1_epi8(15));
    return _mm256_sub_epi8(q, _mm256_set1_epi8(8));
}

/* One superblock into a panel; twice: the scale in both halves of a lane, for 16-bit multiplies. */
SR_INLINE void sr_panel_row(uint32_t format, const uint8_t *w, sr_wrow_k *o, bool twice)
{
    int16_t  sc[16];
    uint64_t s8 = 0, m8 = 0;
    if (format == SR_Q6_K) {
        _mm256_storeu_si256((__m256i *)sc, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + 192))));
        o->d    = sr_half(w + 208);
        o->dmin = 0;
    } else {
        sr_scales_45(w + 4, &s8, &m8);
        for (int i = 0; i < 8; i++)
            sc[2 * i] = sc[2 * i + 1] = (int16_t)(s8 >> 8 * i & 63);
        o->d    = sr_half(w);
        o->dmin = sr_half(w + 2);
    }
    for (int i = 0; i < 16; i++)
        o->sc[i] = twice ? (int32_t)((uint32_t)(uint16_t)sc[i] * 0x10001u) : sc[i];
    for (int i = 0; i < 4; i++)
        o->m[i] = (int32_t)((m8 >> 16 * i & 63) | (m8 >> (16 * i + 8) & 63) << 16);
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) {
        __m256i q[2];
        sr_codes(format, w, i, &q[0], &q[1]);
        for (int k = 0; k < 2; k++) {
            const int16_t *s = sc + i * 4 + k * 2;
            if (format == SR_Q6_K)
                q[k] = _mm256_sub_epi8(q[k], _mm256_set1_epi8(32));
            _mm256_storeu_si256((__m256i *)(o->q + i * 64 + k * 32), q[k]);
            __m256i v = _mm256_set_m128i(_mm_set1_epi16(s[1]), _mm_set1_epi16(s[0]));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q[k]), v));
        }
    }
    o->corr = 128 * sr_sum8(sum);
}

SR_INLINE void sr_panel_row0(uint32_t format, const uint8_t *w, sr_wrow_0 *o)
{
    __m256i q = sr_codes_0(format, w);
    _mm256_storeu_si256((__m256i *)o->q, q);
    o->d    = sr_half(w);
    o->corr = 128 * sr_sum32(q);
}

/* Rows of a part, columns [col, col+n_col) of what is held. */
typedef struct { sr_linrows rows; uint32_t col, n_col; } sr_panelof;

/* The whole panel; n is rounded up to a multiple of `even` with the last row again. */
SR_INLINE void sr_panel(const sr_linpart *w, const sr_panelof *a, uint32_t even, bool twice, unsigned char *panel)
{
    bool     k     = w->kind == SR_LIN_KINDK;
    uint32_t block = k ? 256 : 32, blocks = a->n_col / block;
    size_t   size  = sr_row_bytes(w->format, block);
    for (uint32_t r = 0; r < sr_align_up(a->rows.n, even); r++) {
        const uint8_t *p = sr_row_of(w, &a->rows, r) + a->col / block * size;
        for (uint32_t b = 0; b < blocks; b++, p += size, panel += k ? sizeof(sr_wrow_k) : sizeof(sr_wrow_0))
            switch (w->format) {
            case SR_Q4_K: sr_panel_row(SR_Q4_K, p, (sr_wrow_k *)panel, twice); break;
            case SR_Q5_K: sr_panel_row(SR_Q5_K, p, (sr_wrow_k *)panel, twice); break;
            case SR_Q6_K: sr_panel_row(SR_Q6_K, p, (sr_wrow_k *)panel, twice); break;
            case SR_Q8_0: sr_panel_row0(SR_Q8_0, p, (sr_wrow_0 *)panel); break;
            default: sr_panel_row0(SR_Q4_0, p, (sr_wrow_0 *)panel);
            }
    }
}

/* ---- results ---------------------------------------------------------------------------------------- */

SR_INLINE void sr_transpose8(__m256 v[8])
{
    __m256 a[8], b[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[2 * i]     = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        b[4 * i]     = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
        b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        v[i]     = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

/* Accumulators of a panel of `high` rows; of row r and tile t. */
typedef struct { float *p; uint32_t high; } sr_acc;
SR_INLINE float *sr_acc_at(sr_acc a, uint32_t t, uint32_t r) { return a.p + ((size_t)t * a.high + r) * SR_LIN_TILE; }

/* Accumulators to y: neighbouring rows of the part, rows t0.. of x. */
static inline void sr_put_acc(const sr_linop *o, const sr_linpart *w, sr_acc acc, const sr_linrows *rows, uint32_t t0, uint32_t n_t)
{
    uint32_t row = rows->row, n = rows->n, r = 0;
    for (; r + 8 <= n; r += 8)
        for (uint32_t t = 0; t < n_t; t += 8) {
            const float *from = sr_acc_at(acc, t / SR_LIN_TILE, r) + t % SR_LIN_TILE;
            __m256       v[8], bias = w->bias ? _mm256_loadu_ps(w->bias + row + r) : _mm256_setzero_ps();
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++)
                v[i] = _mm256_loadu_ps(from + i * SR_LIN_TILE);
            sr_transpose8(v);
#pragma GCC unroll 8
            for (uint32_t i = 0; i < 8; i++) {
                if (t + i >= n_t)
                    break;
                size_t at = (size_t)(t0 + t + i) * o->width + w->y0 + row + r;
                __m256 s  = w->bias ? _mm256_add_ps(v[i], bias) : v[i];
                if (o->z)
                    s = _mm256_add_ps(s, _mm256_loadu_ps(o->z + at));
                _mm256_storeu_ps(o->y + at, s);
            }
        }
    for (; r < n; r++)
        for (uint32_t t = 0; t < n_t; t++)
            sr_put(o, w, row + r, t0 + t, sr_acc_at(acc, t / SR_LIN_TILE, r)[t % SR_LIN_TILE]);
}

/* Rows of a part against all rows of x, by panels of `high` rows and `wide` columns. */
typedef void (*sr_chunkfn)(const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t n_tile,
                           unsigned char *panel, sr_acc acc);
typedef void (*sr_putfn)(const sr_linop *o, const sr_linpart *w, sr_acc acc, const sr_linrows *rows, uint32_t t0, uint32_t n_t);
SR_INLINE void sr_many(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows, uint32_t high, uint32_t wide,
                       sr_chunkfn chunk, sr_putfn put)
{
    sr_acc         acc   = {.p = (float *)(void *)o->work, .high = high};
    unsigned char *panel = o->work + high * SR_LIN_TB * sizeof *acc.p;
    for (uint32_t r = 0; r < rows->n; r += high)
        for (uint32_t t = 0; t < o->rows; t += SR_LIN_TB) {
            sr_linrows some = {.row = rows->row + r * rows->apart, .apart = rows->apart, .n = SR_MIN(rows->n - r, high)};
            uint32_t   n_t  = SR_MIN(o->rows - t, (uint32_t)SR_LIN_TB);
            uint32_t n_tile = (n_t + SR_LIN_TILE - 1) / SR_LIN_TILE;
            memset(acc.p, 0, (size_t)n_tile * high * SR_LIN_TILE * sizeof *acc.p);
            for (uint32_t c = 0; c < w->n_col; c += wide) {
                sr_panelof a = {.rows = some, .col = c, .n_col = SR_MIN(w->n_col - c, wide)};
                chunk(o, w, &a, t / SR_LIN_TILE, n_tile, panel, acc);
            }
            put(o, w, acc, &some, t, n_t);
        }
}
#endif
