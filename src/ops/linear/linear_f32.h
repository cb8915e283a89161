/* linear_f32.h - LINEAR with activations as they are (linear.h, Exact), for sixteen lanes (v16.h).
 *
 * Weights become f32 once, then everything is the product of F32 weights, in its order: so blocks give the bits of the same numbers
 * stored as F32.  What is unpacked lies in the L1 (few rows of x) or the L2 (many), never in memory.
 *
 *     few rows     256 columns of GROUP rows of weights -> floats -> all of at most MOST rows of x; sums carried on to the next 256
 *     many         whole rows of a panel -> floats -> R x T sums in registers
 *
 * Cost     of sixteen Q4_K weights: unpack 1/2, widen, to float, scale and minimum; a multiplication for each row of x.  With AVX-512 that
 *          would be 4.5 operations on two ports, 36 clocks a superblock (144 bytes); by look-up 3.5, 28 clocks; products of eight bits take 13
 *          (linear_avx512.c).  Times: notes/0045.
 *
 * The including file gives: GROUP, FEW_R(n_t), MANY_R, MANY_T, unpack64(), unpack32(), scales_45(), look_up(), floats() and ASK(address).
 *
 * Threads: pure functions of the job.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_F32_H
#define SR_OPS_LINEAR_F32_H
#include "ops/linear/rows.h"
#include "ops/v16.h"

enum { CHUNK = 256, LONG = 512, MOST = 8, PANEL_ROWS = 32, ASK_AHEAD = 1024 }; /* columns unpacked together; rows of x that are few */

/* Codes of numbers 64 i .. of a superblock as signed bytes; of a block of 32. */
SR_INLINE void unpack64(uint32_t format, const uint8_t *w, int i, int8_t *to);
SR_INLINE void unpack32(uint32_t format, const uint8_t *w, int8_t *to);

/* Where a register holds the values of all codes: a look-up for each weight, which widens and scales at once.  false: no such way. */
SR_INLINE bool look_up(uint32_t format, const uint8_t *w, const float *s, float *to);

SR_INLINE float half_of(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, 2);
    return v16_half(h);
}

/* Scales of the blocks of Q4_K and Q5_K, then their minimums, negative. */
SR_INLINE v16 scales_45(const uint8_t *w);

/* The same, or of Q6_K the scales of each sixteen: products of 11 and at most 8 bits, exact. */
SR_INLINE void scales_f32(uint32_t format, const uint8_t *w, float s[16])
{
    v16_store(s, format == SR_Q6_K ? v16_mul(v16_set1(half_of(w + 208)), v16_from_i8(w + 192)) : scales_45(w));
}

/* A superblock: scale times code is exact, too (at most 23 bits), so that there is one rounding, at the minimum: that of sr_decode_row. */
SR_INLINE void decode_k(uint32_t format, const uint8_t *w, float *to)
{
    _Alignas(64) int8_t q[256];
    _Alignas(64) float  s[16];
    scales_f32(format, w, s);
    __asm__("" : "+m"(s)); /* to be read from memory: taken out of a register each costs a shuffle, of which there are enough */
    if (look_up(format, w, s, to))
        return;
    V16_UNROLL for (int i = 0; i < 4; i++)
        unpack64(format, w, i, q + 64 * i);
    V16_UNROLL for (int j = 0; j < 16; j++) {
        v16 v = v16_from_i8(q + 16 * j);
        v16_store(to + 16 * j, format == SR_Q6_K ? v16_mul(v16_set1(s[j]), v) : v16_fma(v16_set1(s[j / 2]), v, v16_set1(s[8 + j / 2])));
    }
}

SR_INLINE void decode_0(uint32_t format, const uint8_t *w, float *to)
{
    _Alignas(32) int8_t q[32];
    float s = half_of(w);
    v16   d = v16_set1(s);
    if (look_up(format, w, &s, to))
        return;
    unpack32(format, w, q);
    v16_store(to, v16_mul(d, v16_from_i8(q)));
    v16_store(to + 16, v16_mul(d, v16_from_i8(q + 16)));
}

/* n numbers from a block's beginning on; `ahead` bytes on is what will be read later. */
SR_INLINE void decode_any(uint32_t format, const uint8_t *w, uint32_t n, size_t ahead, float *to)
{
    const uint32_t block = sr_linear_kind(format) == SR_LIN_KINDK ? 256 : 32;
    const size_t   size  = sr_linear_block(format);
    for (uint32_t k = 0; k < n; k += block, w += size) {
        V16_UNROLL for (size_t line = 0; line < size; line += 64)
            ASK(w + ahead + line);
        if (block == 256)
            decode_k(format, w, to + k);
        else
            decode_0(format, w, to + k);
    }
}

static void decode(uint32_t format, const uint8_t *w, uint32_t n, size_t ahead, float *to)
{
    switch (format) {
    case SR_Q4_K: decode_any(SR_Q4_K, w, n, ahead, to); break;
    case SR_Q5_K: decode_any(SR_Q5_K, w, n, ahead, to); break;
    case SR_Q6_K: decode_any(SR_Q6_K, w, n, ahead, to); break;
    case SR_Q8_0: decode_any(SR_Q8_0, w, n, ahead, to); break;
    default: decode_any(SR_Q4_0, w, n, ahead, to);
    }
}

/* n_r rows of floats, `stride` apart, against n_t rows of x, n columns (a multiple of 16): acc[t * group + r] goes on. */
SR_INLINE void tile(const float *w, size_t stride, int n_r, const float *const *x, int n_t, uint32_t n, v16 *acc, int group)
{
    v16 a[MANY_R * MANY_T > GROUP ? MANY_R * MANY_T : GROUP], v[MANY_T > 4 ? MANY_T : 4];
    V16_UNROLL for (int t = 0; t < n_t; t++)
        V16_UNROLL for (int r = 0; r < n_r; r++)
            a[t * n_r + r] = acc[t * group + r];
    for (uint32_t k = 0; k < n; k += 16) {
        V16_UNROLL for (int t = 0; t < n_t; t++)
            v[t] = v16_load(x[t] + k);
        V16_UNROLL for (int r = 0; r < n_r; r++) {
            v16 u = v16_load(w + (size_t)r * stride + k);
            V16_UNROLL for (int t = 0; t < n_t; t++)
                a[t * n_r + r] = v16_fma(u, v[t], a[t * n_r + r]);
        }
    }
    V16_UNROLL for (int t = 0; t < n_t; t++)
        V16_UNROLL for (int r = 0; r < n_r; r++)
            acc[t * group + r] = a[t * n_r + r];
}

/* ---- few rows of x ---------------------------------------------------------------------------------- */

typedef struct { v16 sum[MOST][GROUP]; } sums;

SR_INLINE void chunk_of(const float *w, const float *const *x, uint32_t n_x, int n_t, uint32_t n, sums *s)
{
    const int n_r = FEW_R(n_t);
    for (uint32_t t = 0; t < n_x; t += (uint32_t)n_t)
        for (int r = 0; r < GROUP; r += n_r)
            tile(w + (size_t)r * CHUNK, CHUNK, n_r, x + t, n_t, n, &s->sum[t][r], GROUP);
}

/* At most GROUP rows of weights against rows t0 .. t0 + n_x of x. */
static void few_at(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows, uint32_t t0, uint32_t n_x)
{
    _Alignas(64) float buf[GROUP][CHUNK];
    const uint8_t *p[GROUP];
    const float   *x[MOST];
    sums           s;
    const size_t   size = sr_row_bytes(w->format, w->n_col), gap = sr_row_gap(w);
    for (uint32_t i = 0; i < GROUP; i++) /* past the end: the last row again, not stored */
        p[i] = sr_row_of(w, rows, i);
    for (uint32_t t = 0; t <= n_x && t < MOST; t++) /* one more: rows of x go by twos */
        for (uint32_t i = 0; i < GROUP; i++)
            s.sum[t][i] = v16_zero();
    for (uint32_t c = 0; c < w->n_col; c += CHUNK) {
        uint32_t n  = SR_MIN(w->n_col - c, (uint32_t)CHUNK);
        size_t   at = sr_row_bytes(w->format, c), ahead = sr_ahead(at + ASK_AHEAD, size, gap) - at;
        for (uint32_t i = 0; i < SR_MIN(rows->n, (uint32_t)GROUP); i++)
            decode(w->format, p[i] + at, n, ahead, buf[i]);
        for (uint32_t i = rows->n; i < GROUP && c == 0; i++)
            memset(buf[i], 0, sizeof buf[i]);
        for (uint32_t t = 0; t < MOST; t++)
            x[t] = o->x + (size_t)(t0 + SR_MIN(t, n_x - 1)) * o->cols + w->col0 + c;
        if (n_x == 1)
            chunk_of(buf[0], x, n_x, 1, n, &s);
        else
            chunk_of(buf[0], x, n_x, 2, n, &s);
    }
    for (uint32_t t = 0; t < n_x; t++)
        for (uint32_t i = 0; i < rows->n; i++)
            sr_put(o, w, rows->row + i * rows->apart, t0 + t, v16_fold(s.sum[t][i]));
}

static void few(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    for (uint32_t t = 0; t < o->rows; t += MOST)
        few_at(o, w, rows, t, SR_MIN(o->rows - t, (uint32_t)MOST));
}

/* ---- many ------------------------------------------------------------------------------------------- */

/* A panel against MANY_T rows of x, LONG columns of these at a time, which stay in the L1 meanwhile. */
static void against(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows, const float *panel, uint32_t t)
{
    v16      sum[(PANEL_ROWS + MANY_R - 1) / MANY_R][MANY_T * MANY_R];
    uint32_t groups = (rows->n + MANY_R - 1) / MANY_R;
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t i = 0; i < MANY_T * MANY_R; i++)
            sum[g][i] = v16_zero();
    for (uint32_t c = 0; c < w->n_col; c += LONG) {
        const float *x[MANY_T];
        for (uint32_t k = 0; k < MANY_T; k++) /* past the end: the last row again, not stored */
            x[k] = o->x + (size_t)SR_MIN(t + k, o->rows - 1) * o->cols + w->col0 + c;
        for (uint32_t g = 0; g < groups; g++)
            tile(panel + (size_t)g * MANY_R * w->n_col + c, w->n_col, MANY_R, x, MANY_T, SR_MIN(w->n_col - c, (uint32_t)LONG), sum[g], MANY_R);
    }
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t i = 0; i < MANY_T * MANY_R; i++) {
            uint32_t r = g * MANY_R + i % MANY_R;
            if (r < rows->n && t + i / MANY_R < o->rows)
                sr_put(o, w, rows->row + r * rows->apart, t + i / MANY_R, v16_fold(sum[g][i]));
        }
}

static void many(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    float   *panel = (float *)(void *)o->work;
    uint32_t most  = (uint32_t)(SR_LIN_WORKER / (sizeof(float) * w->n_col)) / MANY_R * MANY_R;
    for (uint32_t r0 = 0, n; r0 < rows->n; r0 += n) {
        sr_linrows some = {.row = rows->row + r0 * rows->apart, .apart = rows->apart};
        some.n = n = SR_MIN(rows->n - r0, most ? SR_MIN(most, (uint32_t)PANEL_ROWS) : (uint32_t)GROUP);
        if (!most) { /* rows too long for a panel */
            few(o, w, &some);
            continue;
        }
        for (uint32_t i = 0; i < sr_align_up(n, MANY_R); i++)
            decode(w->format, sr_row_of(w, &some, i), w->n_col, ASK_AHEAD, panel + (size_t)i * w->n_col);
        for (uint32_t t = 0; t < o->rows; t += MANY_T)
            against(o, w, &some, panel, t);
    }
}

/* ---- the kernel ------------------------------------------------------------------------------------- */

static void run_f32(const sr_cpujob *j, uint32_t phase)
{
    sr_linop o;
    (void)phase;
    sr_linear_unfold(j, &o);
    if (o.rows < MOST)
        sr_linear_few(j, &o, GROUP, floats, few);
    else
        sr_linear_many(j, &o, PANEL_ROWS, floats, many);
}
#endif
