/* LINEAR of BF16 and F16 weights on AMX BF16 tiles: prompts only, and only where it is asked for (isa "amx-bf16").
 *
 * Not the bits of the other kernels: the order of the sums is the tile unit's, and x is not F32 but two BF16,
 *     x = a + b,   a = bf16(x),  b = bf16(x - a)            |x - a - b| <= 2^-17 |x|
 * An F16 weight is two BF16 without loss (8 and 3 bits), w = u + v; the product v b (2^-18 of u a) is left out.
 *
 * Numbers  y = sum over k of  w b + w a  (BF16),  u b + u a + v a  (F16), products exact, f32 sums: a tile
 *          product takes 32 k as fma chains of the 16 even and the 16 odd ones, added, then added to the sum.
 *          So |y - exact| <= (2^-17 + 2^-18 + (n/16 + 8) 2^-24) sum |w x|, n columns: two or three tile products each 32, two
 *          operations each into y's sum, at most 16 inside.
 *          Numbers below 2^-126 count as zero (the unit's way); |x| >= 2^128 - 2^119 as infinite.
 *          A row's result does not depend on the rows beside it, but with fewer than MANY rows in the op (answers) it is that
 *          of the other kernels.
 * Mapping  x is taken apart once (phase 0) into tiles of 16 rows x 32 columns as the unit wants them, pairs of columns
 *          side by side.  Panels of weights are copied into tiles: rows of a file lie a power of two apart and would share few
 *          sets of the L1.  2 x 2 tiles of sums: 8 (12) products of 16 clocks for 6 (8) tile loads of 8.
 *          A panel's slice of 256 columns against all tiles of x: of x 32 rows (32 KB) stay in the L1, weights come from
 *          the L2 at 16 bytes a clock.
 */
#include "ops/linear/avx512.h"

enum {
    MANY = 32,     /* rows of x from which tiles are worth it: F16 with 16 is no faster, BF16 1.5 times */
    WIDE = 256,    /* columns of a panel */
    HIGH = 256,    /* most rows of one: sums of 512 rows of x and the panel fill three quarters of the work area */
    DEPTH = 32     /* columns of a tile */
};

typedef struct { uint16_t a[16][16][2], b[16][16][2]; } xtile; /* [pair of columns][row of x][2] */
typedef struct { uint16_t w[16][DEPTH]; } wtile;               /* one plane: BF16 the weights, F16 u, and v after it */

typedef char xtile_fits[sizeof(xtile) == SR_LIN_XH * SR_LIN_TILE * DEPTH ? 1 : -1];
typedef char work_fits[HIGH * SR_LIN_TB * 4 + HIGH * WIDE * 4 <= SR_LIN_WORKER ? 1 : -1];

static void configure(void)
{
    struct { uint8_t palette, start, reserved[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i]      = 16;
    }
    _tile_loadconfig(&c);
}

/* The tile intrinsics do not tell the compiler what they read and write. */
#define memory() __asm__ volatile("" ::: "memory")

/* ---- x ---------------------------------------------------------------------------------------------- */

/* 32 numbers as pairs: a = bf16(x), b = bf16(x - a), which is 0 where a is not finite. */
SR_INLINE void split32(__m512 lo, __m512 hi, __m512i *a, __m512i *b)
{
    enum { NOT_FINITE = 0x99 }; /* quiet NaN, +inf, -inf, signalling NaN */
    const __m512i top = _mm512_set1_epi32((int)0xffff0000);
    __m512i       v[2];
    __m512        x[2] = {lo, hi}, y[2];
    for (int i = 0; i < 2; i++) {
        __m256i h = (__m256i)_mm512_cvtneps_pbh(x[i]);
        v[i]      = _mm512_and_si512(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16), top);
        y[i] = _mm512_maskz_sub_ps(_knot_mask16(_mm512_fpclass_ps_mask(_mm512_castsi512_ps(v[i]), NOT_FINITE)), x[i],
                                   _mm512_castsi512_ps(v[i]));
    }
    *a = (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
    *b = (__m512i)_mm512_cvtne2ps_pbh(y[1], y[0]);
}

/* Tile `tile` of x, columns [32 at, 32 at + 32). */
static void split_tile(const sr_linop *o, uint32_t tile, uint32_t at)
{
    uint32_t  deep = (o->cols + DEPTH - 1) / DEPTH, left = o->cols - at * DEPTH;
    xtile    *to   = (xtile *)(void *)o->xh + (size_t)tile * deep + at;
    __m512i   a[16], b[16];
    __mmask16 m0 = (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1);
    __mmask16 m1 = (__mmask16)(left >= 32 ? 0xffff : left > 16 ? (1u << (left - 16)) - 1 : 0);
    for (uint32_t r = 0; r < 16; r++) {
        uint32_t t = tile * 16 + r;
        a[r] = b[r] = _mm512_setzero_si512();
        if (t < o->rows) {
            const float *x = o->x + (size_t)t * o->cols + (size_t)at * DEPTH;
            split32(_mm512_maskz_loadu_ps(m0, x), _mm512_maskz_loadu_ps(m1, x + 16), &a[r], &b[r]);
        }
    }
    sr_transpose16(a);
    sr_transpose16(b);
    for (int i = 0; i < 16; i++) {
        _mm512_store_si512(to->a[i], a[i]);
        _mm512_store_si512(to->b[i], b[i]);
    }
}

static void split(const sr_cpujob *j, const sr_linop *o)
{
    uint32_t a, b, deep = (o->cols + DEPTH - 1) / DEPTH;
    sr_cpu_share(j, (o->rows + SR_LIN_TILE - 1) / SR_LIN_TILE * deep, 1, &a, &b);
    for (uint32_t i = a; i < b; i++)
        split_tile(o, i / deep, i % deep);
}

/* ---- weights ---------------------------------------------------------------------------------------- */

/* 32 weights of a row, the columns of m, into row r of the tile's planes. */
SR_INLINE void panel_row(bool half, const uint8_t *p, __mmask32 m, wtile *g, uint32_t r)
{
    __m512i w = _mm512_maskz_loadu_epi16(m, p);
    if (half) {
        __m512i v;
        split32(_mm512_cvtph_ps(_mm512_castsi512_si256(w)), _mm512_cvtph_ps(_mm512_extracti64x4_epi64(w, 1)), &w, &v);
        _mm512_store_si512(g[1].w[r], v);
    }
    _mm512_store_si512(g[0].w[r], w);
}

/* Groups of 16 rows, an even number, each with its tiles in order.  Past the end: the last row again, not stored. */
SR_INLINE void panel_of(bool half, const sr_linpart *w, const sr_panelof *a, wtile *g)
{
    for (uint32_t r = 0; r < sr_align_up(a->rows.n, 32); r += 16)
        for (uint32_t c = 0; c < a->n_col; c += DEPTH, g += half ? 2 : 1) {
            uint32_t  n = a->n_col - c;
            __mmask32 m = n >= DEPTH ? 0xffffffffu : (1u << n) - 1;
            for (uint32_t i = 0; i < 16; i++) {
                const uint8_t *p = sr_row_of(w, &a->rows, r + i) + (size_t)(a->col + c) * 2;
                _mm_prefetch((const char *)p + WIDE * 2, _MM_HINT_T1); /* the next panel's */
                panel_row(half, p, m, g, i);
            }
        }
}

/* ---- products --------------------------------------------------------------------------------------- */

/* One piece of one or two tiles of x, 6 and 7, against the weights in 4 and 5.  The four sums take turns: a tile product needs 52
 * clocks, and the unit begins one every 16. */
SR_INLINE void against(int n_t)
{
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    if (n_t == 2) {
        _tile_dpbf16ps(2, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* n_t tiles of x against two groups of weights, n tiles deep; c: sums [tile of x][group]. */
SR_INLINE void block(bool half, int n_t, const wtile *const w[2], const xtile *const x[2], uint32_t n, float *const c[2][2])
{
    const int planes = half ? 2 : 1;
    _tile_loadd(0, c[0][0], 64);
    _tile_loadd(1, c[0][1], 64);
    if (n_t == 2) {
        _tile_loadd(2, c[1][0], 64);
        _tile_loadd(3, c[1][1], 64);
    }
    for (uint32_t k = 0; k < n; k++) {
        const wtile *w0 = w[0] + (size_t)k * planes, *w1 = w[1] + (size_t)k * planes;
        _tile_loadd(4, w0->w, 64);
        _tile_loadd(5, w1->w, 64);
        _tile_loadd(6, x[0][k].b, 64);
        if (n_t == 2)
            _tile_loadd(7, x[1][k].b, 64);
        against(n_t);
        _tile_loadd(6, x[0][k].a, 64);
        if (n_t == 2)
            _tile_loadd(7, x[1][k].a, 64);
        against(n_t);
        if (half) {
            _tile_loadd(4, w0[1].w, 64);
            _tile_loadd(5, w1[1].w, 64);
            against(n_t);
        }
    }
    _tile_stored(0, c[0][0], 64);
    _tile_stored(1, c[0][1], 64);
    if (n_t == 2) {
        _tile_stored(2, c[1][0], 64);
        _tile_stored(3, c[1][1], 64);
    }
}

SR_INLINE void chunk_of(bool half, const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t n_tile,
                        unsigned char *panel, sr_acc acc)
{
    uint32_t deep = (o->cols + DEPTH - 1) / DEPTH, n = (a->n_col + DEPTH - 1) / DEPTH, group = n * (half ? 2 : 1);
    wtile   *g    = (wtile *)(void *)panel;
    panel_of(half, w, a, g);
    memory();
    for (uint32_t t = 0; t < n_tile; t += 2) {
        const xtile *x = (const xtile *)(void *)o->xh + (size_t)(tile + t) * deep + (w->col0 + a->col) / DEPTH;
        for (uint32_t r = 0; r < a->rows.n; r += 32) {
            const wtile *const wt[2] = {g + (size_t)r / 16 * group, g + ((size_t)r / 16 + 1) * group};
            const xtile *const xt[2] = {x, x + deep};
            float *const c[2][2] = {{sr_acc_at(acc, t, r), sr_acc_at(acc, t, r + 16)}, {sr_acc_at(acc, t + 1, r), sr_acc_at(acc, t + 1, r + 16)}};
            if (t + 1 < n_tile)
                block(half, 2, wt, xt, n, c);
            else
                block(half, 1, wt, xt, n, c);
        }
    }
    memory();
}

static void chunk(const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t n_tile, unsigned char *panel,
                  sr_acc acc)
{
    if (w->format == SR_F16)
        chunk_of(true, o, w, a, tile, n_tile, panel, acc);
    else
        chunk_of(false, o, w, a, tile, n_tile, panel, acc);
}

/* ---- the kernel ------------------------------------------------------------------------------------- */

/* Rows of a panel: as high as leaves every thread four pieces. */
static uint32_t height(const sr_linop *o, uint32_t threads)
{
    uint32_t n = o->width / (4 * threads) / 32 * 32;
    return SR_MIN(SR_MAX(n, 32u), (uint32_t)HIGH);
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    sr_linop o;
    sr_linear_unfold(j, &o);
    if (phase == 0) {
        split(j, &o);
        return;
    }
    if (o.rows < MANY) {
        sr_linrows rows;
        sr_linwalk k;
        for (sr_linear_walk(j, SR_FEW_ROWS, &k); sr_linear_step(&k, &rows);)
            sr_few512(&o, &k.part, &rows);
        return;
    }
    uint32_t    high = height(&o, j->n_threads);
    sr_linpiece s;
    configure();
    while (sr_linear_take(j, high, 0, &s))
        sr_many(&o, &s.part, &(sr_linrows){.row = s.row, .apart = 1, .n = s.n}, high, WIDE, chunk, sr_put_acc512);
    _tile_release(); /* a thread with live tiles is dearer to switch */
}

static uint32_t skip(const sr_cpujob *j)
{
    return sr_slot_rows(&j->prog->slot[j->op->in[0]], j->n) < MANY;
}

static bool supports(const sr_program *p, const sr_op *op)
{
    for (uint32_t k = 0; k < op->n_w; k++)
        if (p->weight[op->w + k].format != SR_BF16 && p->weight[op->w + k].format != SR_F16)
            return false;
    return true;
}

const sr_cpukernel sr_linear_amxbf16 = {.family   = "linear",
                                        .isa      = "amx-bf16",
                                        .needs    = SR_CPU_AMX_BF16 | SR_CPU_AVX512 | SR_CPU_AVX512_BF16 | SR_CPU_ANY_ORDER,
                                        .phases   = 2,
                                        .run      = run,
                                        .supports = supports,
                                        .skip     = skip};
