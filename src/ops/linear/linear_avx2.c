/* LINEAR on AVX2, FMA and F16C.
 *
 * Few rows (< MANY): the file's blocks are unpacked in registers and multiplied with 1..4 rows of x;
 * four rows of weights go together, so that their sums are reduced together.
 * More rows: panels and tiles (x86.h); a lane is a row of x.  With x + 128 unsigned and weights of at most
 * 6 bits signed, two 8-bit products and two of those sums fit 16 bits: 4 * 255 * 32 = 32640.
 */
#include "ops/linear/float256.h"

enum { PANEL_ROWS = 32, WIDE = 1024 };

SR_INLINE __m128i half256(__m256i v, int hi) { return hi ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v); }

/* Lane i of the result: the sum of v[i]'s eight lanes. */
SR_INLINE __m128i sum4(const __m256i v[4])
{
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    return _mm_add_epi32(half256(a, 0), half256(a, 1));
}

/* ---- few rows: K-quants ----------------------------------------------------------------------------- */

/* Scales as 16-bit numbers: even sub-blocks of 16 in the low half, odd ones in the high half. */
SR_INLINE __m256i scales(uint32_t format, const uint8_t *w, __m128i *mins)
{
    if (format == SR_Q6_K) {
        __m128i s = _mm_loadu_si128((const __m128i *)(w + 192));
        s = _mm_shuffle_epi8(s, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
        return _mm256_cvtepi8_epi16(s);
    }
    uint64_t sc, m;
    sr_scales_45(w + 4, &sc, &m);
    *mins = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)m));
    return _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)sc)));
}

/* One superblock against n_t superblocks of x: eight partial sums each, four of the minimums. */
SR_INLINE void dots(uint32_t format, const uint8_t *w, const sr_xrow_k *const *x, int n_t, uint32_t b, __m256i *s,
                    __m128i *m)
{
    __m128i mins = _mm_setzero_si128();
    __m256i sc   = scales(format, w, &mins);
    for (int t = 0; t < n_t; t++) {
        s[t] = _mm256_setzero_si256();
        if (format == SR_Q6_K) { /* the codes are 32 too large */
            __m256i y   = _mm256_loadu_si256((const __m256i *)x[t][b].sum16);
            __m256i odd = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(y, _mm256_setr_epi8(
                0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
                0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)), 0xd8);
            s[t] = _mm256_sub_epi32(s[t], _mm256_slli_epi32(_mm256_madd_epi16(odd, sc), 5));
        } else
            m[t] = _mm_madd_epi16(mins, _mm_loadu_si128((const __m128i *)x[t][b].sum32));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i q[2];
        sr_codes(format, w, i, &q[0], &q[1]);
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            int     j  = 2 * i + k;
            __m256i sj = _mm256_shuffle_epi8(sc, _mm256_set1_epi16((short)(2 * j | (2 * j + 1) << 8)));
#pragma GCC unroll 4
            for (int t = 0; t < n_t; t++) {
                __m256i p = _mm256_maddubs_epi16(q[k], _mm256_loadu_si256((const __m256i *)(x[t][b].q + j * 32)));
                s[t]      = _mm256_add_epi32(s[t], _mm256_madd_epi16(p, sj));
            }
        }
    }
}

/* Four rows of weights against n_t rows of x. */
SR_INLINE void rows_k(uint32_t format, const uint8_t *const *w, const sr_xrow_k *const *x, int n_t, uint32_t blocks,
                      size_t gap, __m128 *acc)
{
    const size_t size = format == SR_Q4_K ? sizeof(sr_q4_K) : format == SR_Q5_K ? sizeof(sr_q5_K) : sizeof(sr_q6_K);
    for (int t = 0; t < n_t; t++)
        acc[t] = _mm_setzero_ps();
    for (uint32_t b = 0; b < blocks; b++) {
        __m256i s[4][4], sum[4];
        __m128i m[4][4];
        float   d[4], dmin[4] = {0};
        size_t  ahead = sr_ahead(b * size + AHEAD, blocks * size, gap);
        for (int r = 0; r < 4; r++) {
            const uint8_t *p = w[r] + b * size;
            __builtin_prefetch(w[r] + ahead);
            __builtin_prefetch(w[r] + ahead + 64);
            __builtin_prefetch(w[r] + ahead + 128);
            d[r] = sr_half(p + (format == SR_Q6_K ? 208 : 0));
            if (format != SR_Q6_K)
                dmin[r] = sr_half(p + 2);
            dots(format, p, x, n_t, b, s[r], m[r]);
        }
        for (int t = 0; t < n_t; t++) {
            __m128 dx = _mm_set1_ps(x[t][b].d);
            for (int r = 0; r < 4; r++)
                sum[r] = s[r][t];
            acc[t] = _mm_fmadd_ps(_mm_mul_ps(_mm_loadu_ps(d), dx), _mm_cvtepi32_ps(sum4(sum)), acc[t]);
            if (format != SR_Q6_K) {
                __m128i k = _mm_hadd_epi32(_mm_hadd_epi32(m[0][t], m[1][t]), _mm_hadd_epi32(m[2][t], m[3][t]));
                acc[t]    = _mm_fnmadd_ps(_mm_mul_ps(_mm_loadu_ps(dmin), dx), _mm_cvtepi32_ps(k), acc[t]);
            }
        }
    }
}

/* ---- few rows: Q4_0, Q8_0 --------------------------------------------------------------------------- */

SR_INLINE void rows_0(uint32_t format, const uint8_t *const *w, const sr_xrow_0 *x, int n_t, uint32_t blocks, size_t gap, __m128 *acc)
{
    const size_t size = format == SR_Q8_0 ? sizeof(sr_q8_0) : sizeof(sr_q4_0);
    for (int t = 0; t < n_t; t++)
        acc[t] = _mm_setzero_ps();
    for (uint32_t b = 0; b < blocks; b++) {
        __m256i s[4][4], sum[4];
        size_t   ahead = sr_ahead(b * size + AHEAD, blocks * size, gap);
        uint64_t d = 0; /* put together in a register: a load of what was just stored in pieces waits for the stores */
        for (int r = 0; r < 4; r++) {
            const uint8_t *p = w[r] + b * size;
            uint16_t       h;
            memcpy(&h, p, 2);
            __builtin_prefetch(w[r] + ahead);
            d |= (uint64_t)h << 16 * r;
            __m256i q = sr_codes_0(format, p), a = _mm256_abs_epi8(q);
            for (int t = 0; t < n_t; t++) {
                __m256i v = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)(x[t].q + b * 32)), q);
                s[r][t]   = _mm256_madd_epi16(_mm256_maddubs_epi16(a, v), _mm256_set1_epi16(1));
            }
        }
        __m128 dw = _mm_cvtph_ps(_mm_cvtsi64_si128((long long)d));
        for (int t = 0; t < n_t; t++) {
            for (int r = 0; r < 4; r++)
                sum[r] = s[r][t];
            acc[t] = _mm_fmadd_ps(_mm_mul_ps(dw, _mm_set1_ps(x[t].d[b])), _mm_cvtepi32_ps(sum4(sum)), acc[t]);
        }
    }
}

/* ---- few rows: driver ------------------------------------------------------------------------------- */

SR_INLINE void rows_any(uint32_t format, const sr_linop *o, const sr_linpart *w, const uint8_t *const *p, uint32_t t0,
                        int n_t, __m128 *acc)
{
    if (w->kind == SR_LIN_KINDK) {
        const sr_xrow_k *x[4];
        for (int t = 0; t < n_t; t++)
            x[t] = sr_xrow(o, t0 + (uint32_t)t) + w->col0 / 256;
        rows_k(format, p, x, n_t, w->n_col / 256, sr_row_gap(w), acc);
    } else {
        sr_xrow_0 x[4];
        for (int t = 0; t < n_t; t++)
            x[t] = sr_xrow0(o, t0 + (uint32_t)t, w->col0);
        rows_0(format, p, x, n_t, w->n_col / 32, sr_row_gap(w), acc);
    }
}

#define FEW(format)                                                                                                    \
    case format:                                                                                                       \
        switch (n_t) {                                                                                                 \
        case 1: rows_any(format, o, w, p, t0, 1, acc); break;                                                          \
        case 2: rows_any(format, o, w, p, t0, 2, acc); break;                                                          \
        case 3: rows_any(format, o, w, p, t0, 3, acc); break;                                                          \
        default: rows_any(format, o, w, p, t0, 4, acc);                                                                \
        }                                                                                                              \
        break

static void few(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    const uint8_t *p[ROWS];
    for (uint32_t i = 0; i < ROWS; i++) /* past the end: the last row again, not stored */
        p[i] = sr_row_of(w, rows, i);
    for (uint32_t t0 = 0; t0 < o->rows; t0 += 4) {
        __m128   acc[4];
        float    out[ROWS];
        uint32_t n_t = SR_MIN(o->rows - t0, 4u);
        switch (w->format) {
            FEW(SR_Q4_K);
            FEW(SR_Q5_K);
            FEW(SR_Q6_K);
            FEW(SR_Q4_0);
            FEW(SR_Q8_0);
        default: return;
        }
        for (uint32_t t = 0; t < n_t; t++) {
            _mm_storeu_ps(out, acc[t]);
            for (uint32_t i = 0; i < rows->n; i++)
                sr_put(o, w, rows->row + i * rows->apart, t0 + t, out[i]);
        }
    }
}

/* ---- more rows: tiles ------------------------------------------------------------------------------- */

/* Two rows of a panel against one tile, `blocks` superblocks. */
SR_INLINE void tile_k(bool mins, const sr_wrow_k *w0, const sr_wrow_k *w1, const sr_xtile_k *x, uint32_t blocks,
                      float *acc0, float *acc1)
{
    const sr_wrow_k *w[2]   = {w0, w1};
    float           *out[2] = {acc0, acc1};
    for (uint32_t b = 0; b < blocks; b++, x++) {
        __m256i s[2][2];
        for (int i = 0; i < 4; i++)
            s[i / 2][i % 2] = _mm256_setzero_si256();
        for (int k = 0; k < 64; k += 2) {
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                __m256i x0 = _mm256_loadu_si256((const __m256i *)x->q[k][h * 8]);
                __m256i x1 = _mm256_loadu_si256((const __m256i *)x->q[k + 1][h * 8]);
#pragma GCC unroll 2
                for (int r = 0; r < 2; r++) {
                    int a[2];
                    memcpy(a, w[r][b].q + k * 4, 8);
                    __m256i p = _mm256_add_epi16(_mm256_maddubs_epi16(x0, _mm256_set1_epi32(a[0])),
                                                 _mm256_maddubs_epi16(x1, _mm256_set1_epi32(a[1])));
                    s[r][h]   = _mm256_add_epi32(s[r][h], _mm256_madd_epi16(p, _mm256_set1_epi32(w[r][b].sc[k / 4])));
                }
            }
        }
        for (int r = 0; r < 2; r++)
            for (int h = 0; h < 2; h++) {
                const sr_wrow_k *u   = &w[r][b];
                __m256           dx  = _mm256_loadu_ps(x->d + h * 8), acc = _mm256_loadu_ps(out[r] + h * 8);
                __m256i          sum = _mm256_sub_epi32(s[r][h], _mm256_set1_epi32(u->corr));
                acc = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(u->d), dx), _mm256_cvtepi32_ps(sum), acc);
                if (mins) {
                    __m256i t = _mm256_setzero_si256();
                    for (int i = 0; i < 4; i++)
                        t = _mm256_add_epi32(t, _mm256_madd_epi16(_mm256_set1_epi32(u->m[i]),
                                                                  _mm256_loadu_si256((const __m256i *)x->pair[i][h * 8])));
                    acc = _mm256_fnmadd_ps(_mm256_mul_ps(_mm256_set1_ps(u->dmin), dx), _mm256_cvtepi32_ps(t), acc);
                }
                _mm256_storeu_ps(out[r] + h * 8, acc);
            }
    }
}

SR_INLINE void tile_0(const sr_wrow_0 *w0, const sr_wrow_0 *w1, const sr_xtile_0 *x, uint32_t blocks, float *acc0,
                      float *acc1)
{
    const sr_wrow_0 *w[2]   = {w0, w1};
    float           *out[2] = {acc0, acc1};
    __m256           acc[2][2];
    for (int i = 0; i < 4; i++)
        acc[i / 2][i % 2] = _mm256_loadu_ps(out[i / 2] + i % 2 * 8);
    for (uint32_t b = 0; b < blocks; b++, x++) {
        __m256i s[2][2];
        for (int i = 0; i < 4; i++)
            s[i / 2][i % 2] = _mm256_setzero_si256();
        for (int k = 0; k < 8; k++)
            for (int r = 0; r < 2; r++) {
                int a;
                memcpy(&a, w[r][b].q + k * 4, 4);
                __m256i q = _mm256_set1_epi32(a), mag = _mm256_abs_epi8(q);
                for (int h = 0; h < 2; h++) {
                    __m256i v = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)x->q[k][h * 8]), q);
                    v         = _mm256_madd_epi16(_mm256_maddubs_epi16(mag, v), _mm256_set1_epi16(1));
                    s[r][h]   = _mm256_add_epi32(s[r][h], v);
                }
            }
        for (int r = 0; r < 2; r++)
            for (int h = 0; h < 2; h++) {
                __m256 dd = _mm256_mul_ps(_mm256_set1_ps(w[r][b].d), _mm256_loadu_ps(x->d + h * 8));
                acc[r][h] = _mm256_fmadd_ps(dd, _mm256_cvtepi32_ps(s[r][h]), acc[r][h]);
            }
    }
    for (int i = 0; i < 4; i++)
        _mm256_storeu_ps(out[i / 2] + i % 2 * 8, acc[i / 2][i % 2]);
}

static void chunk(const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t n_tile,
                  unsigned char *panel, sr_acc acc)
{
    bool     k     = w->kind == SR_LIN_KINDK;
    uint32_t block = k ? 256 : 32, blocks = a->n_col / block;
    size_t   size  = blocks * (k ? sizeof(sr_wrow_k) : sizeof(sr_wrow_0));
    sr_panel(w, a, 2, true, panel);
    for (uint32_t t = 0; t < n_tile; t++)
        for (uint32_t r = 0; r < a->rows.n; r += 2) {
            const unsigned char *w0 = panel + r * size, *w1 = w0 + size;
            float               *a0 = sr_acc_at(acc, t, r), *a1 = a0 + SR_LIN_TILE;
            size_t               at = (size_t)(tile + t) * (o->cols / block) + (w->col0 + a->col) / block;
            if (!k)
                tile_0((const sr_wrow_0 *)w0, (const sr_wrow_0 *)w1, (const sr_xtile_0 *)o->x0 + at, blocks, a0, a1);
            else if (w->format == SR_Q6_K)
                tile_k(false, (const sr_wrow_k *)w0, (const sr_wrow_k *)w1, (const sr_xtile_k *)o->xk + at, blocks, a0, a1);
            else
                tile_k(true, (const sr_wrow_k *)w0, (const sr_wrow_k *)w1, (const sr_xtile_k *)o->xk + at, blocks, a0, a1);
        }
}

/* ---- the kernel ------------------------------------------------------------------------------------- */

static void run(const sr_cpujob *j, uint32_t phase)
{
    sr_linop o;
    sr_linear_unfold(j, &o);
    bool tiles = o.rows >= MANY;
    if (phase == 0) {
        if (tiles)
            sr_quant_tiles(j, &o, 0x80, 0);
        else
            sr_quant_rows(j, &o);
        return;
    }
    if (sr_linear_skip(j))
        sr_quant_alone(j, &o);
    if (!tiles) {
        sr_linear_few(j, &o, ROWS, floats, few);
        return;
    }
    sr_linpiece s;
    while (sr_linear_take(j, PANEL_ROWS, 0, &s)) {
        sr_linrows rows = {.row = s.row, .apart = 1, .n = s.n};
        if (s.part.kind == SR_LIN_FLOAT)
            floats(&o, &s.part, &rows);
        else
            sr_many(&o, &s.part, &rows, PANEL_ROWS, WIDE, chunk, sr_put_acc);
    }
}

const sr_cpukernel sr_linear_avx2 = {
    .family = "linear", .isa = "avx2", .needs = SR_CPU_AVX2, .phases = 2, .skip = sr_linear_skip, .run = run};
