/* LINEAR on AMX int8 tiles, with AVX-512 around them.
 *
 * The tile unit takes 16 clocks for 16 rows x 16 rows x 64 bytes, however few of the 64 are used.  A K-quant's
 * scale changes every 32 (16) numbers, so multiplying the codes and scaling the sums after each sub-block
 * would waste half (three quarters) of it and leave a vector multiply per sub-block.  Instead the scale goes into
 * the weights, exactly, as two planes of bytes:
 *
 *     Q4_K, Q5_K   sc = 8 sh + sl,  hi = q * sh,  lo = q * sl   (at most 31 * 7)           s = 8 H + L
 *     Q6_K         sc * (q - 32) = 256 hi + lo                  (lo 0..255, hi -17..16)    s = 256 H + L
 *
 * and all 256 numbers of a superblock accumulate in the tile: 8 tile products a superblock, 512 products a
 * clock, and one pass of vector arithmetic for 65536 products.  A tile is 16 rows of weights (as they lie, no
 * transposition) times 16 rows of x; a lane is a row of x.
 *
 * The unit works while the vector units finish the sums of the step before: 12 vector operations a row of
 * weights and superblock = 96 clocks of a tile's 128.  Q4_0 and Q8_0 have a float scale every 32 numbers: half
 * of the tile is used, and the vector part (3 operations a row and block, 24 clocks of 16) is the limit.
 */
#include "ops/linear/codes512.h"

enum {
    FEW  = 5,    /* rows of x below which the file's blocks are used directly */
    SLICE = 2,   /* superblocks of a panel: two tiles of x of that depth stay in the L1 */
    WIDE_0 = 1024, /* columns of a panel of the 0 kind */
    SLIM = 32,   /* rows of x up to which K-quants go the slim way */
    LOW  = 64,   /* rows of x up to which making panels takes the time */
    AHEAD = 1024, /* bytes of weights prefetched ahead */
    LAG  = 3     /* blocks of 32 between a tile product and its use: its latency is 52 clocks and the store's */
};

typedef struct { uint8_t hi[4][16][64], lo[4][16][64]; float d[16], dmin[16]; int32_t m[16][4]; } group_k;
typedef struct { int8_t q[16][32]; float d[16]; } group_0;

/* Tile registers: 0-3 sums, 4-5 weights, 6-7 x. */
static void configure(uint32_t depth) /* bytes of a row of weights: 64 or 32 */
{
    struct { uint8_t palette, start, reserved[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? depth : 64);
        c.rows[i]      = (uint8_t)(i >= 6 ? depth / 4 : 16);
    }
    _tile_loadconfig(&c);
}

/* The tile intrinsics do not tell the compiler what they read. */
#define written() __asm__ volatile("" ::: "memory")

/* ---- panels ----------------------------------------------------------------------------------------- */

SR_INLINE void planes_45(uint32_t format, const uint8_t *w, group_k *g, int r)
{
    uint64_t sc, m;
    sr_scales_45(w + 4, &sc, &m);
    __m512i sl = _mm512_set1_epi64((long long)(sc & 0x0707070707070707)), sh = _mm512_set1_epi64((long long)(sc >> 3 & 0x0707070707070707));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i q = sr_codes64(format, w, i), at = sr_words2((short)(2 * i | 0x8000), (short)((2 * i + 1) | 0x8000));
        /* byte by byte: a product of a code and 3 bits of scale does not carry */
        _mm512_store_si512(g->lo[i][r], _mm512_mullo_epi16(q, _mm512_shuffle_epi8(sl, at)));
        _mm512_store_si512(g->hi[i][r], _mm512_mullo_epi16(q, _mm512_shuffle_epi8(sh, at)));
    }
    _mm_storeu_si128((__m128i *)g->m[r], _mm_cvtepu8_epi16(_mm_cvtsi64_si128((long long)m)));
    g->d[r]    = sr_half(w);
    g->dmin[r] = sr_half(w + 2);
}

SR_INLINE void planes_6(const uint8_t *w, group_k *g, int r)
{
    const __m512i even = _mm512_set1_epi16(0x00ff);
    sr_scales512  sc   = sr_load_scales(SR_Q6_K, w, NULL);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i q  = _mm512_sub_epi8(sr_codes64(SR_Q6_K, w, i), _mm512_set1_epi8(32)), s = sr_scales64(SR_Q6_K, sc, i);
        __m512i qe = _mm512_slli_epi16(q, 8), qo = _mm512_andnot_si512(even, q); /* each byte times 256 */
        __m512i he = _mm512_mulhi_epi16(qe, s), ho = _mm512_slli_epi16(_mm512_mulhi_epi16(qo, s), 8);
        __m512i le = _mm512_mullo_epi16(q, s), lo = _mm512_mullo_epi16(qo, s);
        _mm512_store_si512(g->hi[i][r], _mm512_ternarylogic_epi32(even, he, ho, 0xca));
        _mm512_store_si512(g->lo[i][r], _mm512_ternarylogic_epi32(even, le, lo, 0xca));
    }
    g->d[r] = sr_half(w + 208);
}

/* Row r of a group: a superblock; what is asked for meanwhile. */
SR_INLINE void planes(uint32_t format, const uint8_t *p, const uint8_t *ahead, group_k *g, int r)
{
    _mm_prefetch((const char *)ahead, _MM_HINT_T0);
    _mm_prefetch((const char *)ahead + 64, _MM_HINT_T0);
    _mm_prefetch((const char *)ahead + 128, _MM_HINT_T0);
    if (format == SR_Q6_K)
        planes_6(p, g, r);
    else
        planes_45(format, p, g, r);
}

/* A group: `blocks` blocks of 32 of each row, from `first` bytes of its columns here on. */
SR_INLINE void codes_of(uint32_t format, const sr_linpart *w, const uint8_t *const *p, size_t first, uint32_t blocks, group_0 *g)
{
    const size_t size = sr_linear_block(format), all = w->n_col / 32 * size, gap = sr_row_gap(w);
    uint16_t     d[WIDE_0 / 32][16]; /* apart: a vector load of numbers just stored would wait for the stores */
    for (uint32_t b = 0; b < blocks; b++) {
        size_t ahead = sr_ahead(first + b * size + AHEAD, all, gap) - first;
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++) {
            memcpy(&d[b][r], p[r] + b * size, 2);
            _mm_prefetch((const char *)p[r] + ahead, _MM_HINT_T0);
        }
    }
    for (uint32_t b = 0; b < blocks; b++) {
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            _mm256_store_si256((__m256i *)g[b].q[r], sr_codes_0(format, p[r] + b * size));
        _mm512_store_ps(g[b].d, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)d[b])));
    }
}

/* Groups of 16 rows, each with its blocks in order.  Past the end: the last row again, not stored. */
SR_INLINE void panel_in(uint32_t format, const sr_linpart *w, const sr_panelof *a, unsigned char *panel)
{
    bool     k     = sr_linear_kind(format) == SR_LIN_KINDK;
    uint32_t block = k ? 256 : 32, blocks = a->n_col / block;
    size_t   size  = sr_linear_block(format), first = a->col / block * size;
    for (uint32_t r = 0; r < a->rows.n; r += 16) {
        const uint8_t *p[16];
        group_k       *gk = (group_k *)(void *)panel + r / 16 * blocks;
        group_0       *g0 = (group_0 *)(void *)panel + r / 16 * blocks;
        for (uint32_t i = 0; i < 16; i++)
            p[i] = sr_row_of(w, &a->rows, r + i) + first;
        for (int i = 0; i < 16 && k; i++)
            for (uint32_t b = 0; b < blocks; b++)
                planes(format, p[i] + b * size, p[i] + b * size + AHEAD, gk + b, i);
        if (!k)
            codes_of(format, w, p, first, blocks, g0);
    }
}

static void panel_of(const sr_linpart *w, const sr_panelof *a, unsigned char *panel)
{
    switch (w->format) {
    case SR_Q4_K: panel_in(SR_Q4_K, w, a, panel); break;
    case SR_Q5_K: panel_in(SR_Q5_K, w, a, panel); break;
    case SR_Q6_K: panel_in(SR_Q6_K, w, a, panel); break;
    case SR_Q8_0: panel_in(SR_Q8_0, w, a, panel); break;
    default: panel_in(SR_Q4_0, w, a, panel);
    }
    written();
}

/* ---- K-quants --------------------------------------------------------------------------------------- */

typedef struct {                 /* a finished tile product whose sums wait for the vector units */
    const int32_t    (*c)[16][16]; /* [hi, lo of tile 0, hi, lo of tile 1][row of weights][row of x] */
    const group_k     *w;
    const sr_xtile_k  *x[2];
    float             *acc[2];
} waiting;

/* Rows [r, r+n) of weights of tile t. */
SR_INLINE void finish(bool six, const waiting *p, int t, int r, int n)
{
    const sr_xtile_k *x  = p->x[t];
    __m512            dx = _mm512_loadu_ps(x->d);
    __m512i           y[4];
    for (int i = 0; i < 4; i++)
        y[i] = _mm512_loadu_si512(x->pair[i]);
    for (int end = r + n; r < end; r++) {
        __m512i h   = _mm512_load_si512(p->c[2 * t][r]), l = _mm512_load_si512(p->c[2 * t + 1][r]);
        __m512i s   = _mm512_add_epi32(_mm512_slli_epi32(h, six ? 8 : 3), l);
        __m512  acc = _mm512_load_ps(p->acc[t] + r * SR_LIN_TILE);
        acc = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_set1_ps(p->w->d[r]), dx), _mm512_cvtepi32_ps(s), acc);
        if (!six) {
            __m512i m = _mm512_madd_epi16(y[0], _mm512_set1_epi32(p->w->m[r][0]));
            for (int i = 1; i < 4; i++)
                m = _mm512_dpwssd_epi32(m, y[i], _mm512_set1_epi32(p->w->m[r][i]));
            acc = _mm512_fnmadd_ps(_mm512_mul_ps(_mm512_set1_ps(p->w->dmin[r]), dx), _mm512_cvtepi32_ps(m), acc);
        }
        _mm512_store_ps(p->acc[t] + r * SR_LIN_TILE, acc);
    }
}

#define HI(six, sum, w, x)                                                                                             \
    if (six)                                                                                                           \
        _tile_dpbssd(sum, w, x);                                                                                       \
    else                                                                                                               \
        _tile_dpbusd(sum, w, x)

SR_INLINE void zero_sums(int n_t)
{
    _tile_zero(0);
    _tile_zero(1);
    if (n_t == 2) {
        _tile_zero(2);
        _tile_zero(3);
    }
}

/* 64 of the 256 numbers, 16 rows of weights, n_t tiles of x. */
SR_INLINE void products(bool six, int n_t, const group_k *w, const sr_xtile_k *const *x, int k)
{
    _tile_loadd(6, x[0]->q[k * 16], 64);
    _tile_loadd(4, w->hi[k], 64);
    _tile_loadd(5, w->lo[k], 64);
    HI(six, 0, 4, 6);
    _tile_dpbusd(1, 5, 6);
    if (n_t == 2) {
        _tile_loadd(7, x[1]->q[k * 16], 64);
        HI(six, 2, 4, 7);
        _tile_dpbusd(3, 5, 7);
    }
}

SR_INLINE void store_sums(int n_t, int32_t (*c)[16][16])
{
    _tile_stored(0, c[0], 64);
    _tile_stored(1, c[1], 64);
    if (n_t == 2) {
        _tile_stored(2, c[2], 64);
        _tile_stored(3, c[3], 64);
    }
}

/* One superblock of 16 rows of weights against n_t tiles; finishes `last` meanwhile, if there is one. */
SR_INLINE void step_k(bool six, int n_t, const waiting *now, const waiting *last, int32_t (*c)[16][16])
{
    zero_sums(n_t);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        products(six, n_t, now->w, now->x, k);
        if (last->w && n_t == 2)
            finish(six, last, k / 2, k % 2 * 8, 8);
        else if (last->w)
            finish(six, last, 0, k * 4, 4);
    }
    store_sums(n_t, c);
}

/* The tile product two steps back is finished: its sums are surely stored, and none of its operations waits in
 * the scheduler in front of the next products. */
enum { TURNS = 3 };

/* n_t tiles from `at` on against the whole panel. */
SR_INLINE void against_k(bool six, int n_t, const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile,
                         uint32_t at, const group_k *g, sr_acc acc)
{
    _Alignas(64) int32_t c[TURNS][4][16][16];
    waiting              q[TURNS] = {{.w = NULL}};
    uint32_t             turn = 0, blocks = a->n_col / 256;
    const sr_xtile_k    *x = (const sr_xtile_k *)o->xk + (size_t)(tile + at) * (o->cols / 256) + (w->col0 + a->col) / 256;
    for (uint32_t r = 0; r < a->rows.n; r += 16)
        for (uint32_t b = 0; b < blocks; b++, g++) {
            waiting *now = &q[turn];
            now->c       = (const int32_t(*)[16][16])c[turn];
            now->w       = g;
            for (uint32_t t = 0; t < (uint32_t)n_t; t++) {
                now->x[t]   = x + (size_t)t * (o->cols / 256) + b;
                now->acc[t] = sr_acc_at(acc, at + t, r);
            }
            step_k(six, n_t, now, &q[(turn + 1) % TURNS], c[turn]);
            turn = (turn + 1) % TURNS;
        }
    for (int i = 1; i < TURNS; i++)
        for (int t = 0; t < n_t && q[(turn + i) % TURNS].w; t++)
            finish(six, &q[(turn + i) % TURNS], t, 0, 16);
}

static void chunk_k(const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t n_tile,
                    unsigned char *panel, sr_acc acc)
{
    const group_k *g   = (const group_k *)(void *)panel;
    bool           six = w->format == SR_Q6_K;
    panel_of(w, a, panel);
    for (uint32_t t = 0; t < n_tile; t += 2)
        if (six && t + 1 < n_tile)
            against_k(true, 2, o, w, a, tile, t, g, acc);
        else if (six)
            against_k(true, 1, o, w, a, tile, t, g, acc);
        else if (t + 1 < n_tile)
            against_k(false, 2, o, w, a, tile, t, g, acc);
        else
            against_k(false, 1, o, w, a, tile, t, g, acc);
}

/* ---- K-quants, one or two tiles of x -----------------------------------------------------------------
 * Here the time goes into making planes: the tile unit multiplies superblock b while the vector units finish
 * b - 1 and make the planes of b + 1, all in the L1.
 * The tile products are spread out: behind a waiting one only 512 operations fit into the reorder buffer.
 */
SR_INLINE void slim_of(uint32_t format, int n_t, const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    _Alignas(64) int32_t c[2][4][16][16];
    const bool           six    = format == SR_Q6_K;
    group_k             *g      = (group_k *)(void *)o->work;
    sr_acc               acc    = {.p = (float *)(void *)(g + 2), .high = 16};
    uint32_t             blocks = w->n_col / 256;
    const size_t         size   = sr_linear_block(format), gap = sr_row_gap(w);
    const sr_xtile_k    *x      = (const sr_xtile_k *)o->xk + w->col0 / 256;
    const uint8_t       *p[16];
    waiting              last = {.w = NULL}, now;
    for (uint32_t i = 0; i < 16; i++)
        p[i] = sr_row_of(w, rows, i);
    memset(acc.p, 0, (size_t)n_t * 16 * SR_LIN_TILE * sizeof *acc.p);
    for (int i = 0; i < 16; i++)
        planes(format, p[i], p[i] + sr_ahead(AHEAD, blocks * size, gap), g, i);
    for (uint32_t b = 0; b < blocks; b++, last = now) {
        now = (waiting){.c = (const int32_t(*)[16][16])c[b % 2], .w = g + b % 2, .x = {x + b, x + o->cols / 256 + b},
                        .acc = {sr_acc_at(acc, 0, 0), sr_acc_at(acc, 1, 0)}};
        written();
        zero_sums(n_t);
        for (int k = 0; k < 4; k++) {
            products(six, n_t, now.w, now.x, k);
            for (int t = 0; t < n_t && last.w; t++)
                finish(six, &last, t, 4 * k, 4);
            for (int i = 4 * k; i < 4 * k + 4 && b + 1 < blocks; i++) /* after last's use of row i */
                planes(format, p[i] + (b + 1) * size, p[i] + sr_ahead((b + 1) * size + AHEAD, blocks * size, gap), g + (b + 1) % 2, i);
        }
        store_sums(n_t, c[b % 2]);
    }
    for (int t = 0; t < n_t; t++)
        finish(six, &last, t, 0, 16);
    sr_put_acc512(o, w, acc, rows, 0, o->rows);
}

static void slim(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows)
{
    int n_t = o->rows > SR_LIN_TILE ? 2 : 1;
    switch (w->format + (n_t == 2 ? 256 : 0)) {
    case SR_Q4_K: slim_of(SR_Q4_K, 1, o, w, rows); break;
    case SR_Q5_K: slim_of(SR_Q5_K, 1, o, w, rows); break;
    case SR_Q6_K: slim_of(SR_Q6_K, 1, o, w, rows); break;
    case SR_Q4_K + 256: slim_of(SR_Q4_K, 2, o, w, rows); break;
    case SR_Q5_K + 256: slim_of(SR_Q5_K, 2, o, w, rows); break;
    default: slim_of(SR_Q6_K, 2, o, w, rows);
    }
}

/* ---- Q4_0, Q8_0 ------------------------------------------------------------------------------------- */

SR_INLINE void finish_0(const int32_t (*c)[16], const group_0 *w, const sr_xtile_0 *x, __m512 *acc)
{
    __m512 dx = _mm512_loadu_ps(x->d);
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++)
        acc[r] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_set1_ps(w->d[r]), dx), _mm512_cvtepi32_ps(_mm512_load_si512(c[r])), acc[r]);
}

#define STEP_0(i, sum, a, x_)                                                                                          \
    do {                                                                                                               \
        if (b + (i) < blocks) {                                                                                        \
            _tile_zero(sum);                                                                                           \
            _tile_loadd(a, w[b + (i)].q, 32);                                                                          \
            _tile_loadd(x_, x[b + (i)].q, 64);                                                                         \
            _tile_dpbssd(sum, a, x_);                                                                                  \
            _tile_stored(sum, c[i], 64);                                                                               \
        }                                                                                                              \
        if (b + (i) >= LAG && b + (i) - LAG < blocks)                                                                  \
            finish_0((const int32_t(*)[16])c[((i) + 8 - LAG) % 8], w + b + (i) - LAG, x + b + (i) - LAG, acc);         \
    } while (0)

/* 16 rows of weights against a tile, `blocks` blocks. */
static void tile_0(const group_0 *w, const sr_xtile_0 *x, uint32_t blocks, float *out)
{
    _Alignas(64) int32_t c[8][16][16];
    __m512 acc[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++)
        acc[r] = _mm512_load_ps(out + r * SR_LIN_TILE);
    for (uint32_t b = 0; b < blocks + LAG; b += 8) {
        STEP_0(0, 0, 4, 6);
        STEP_0(1, 1, 5, 7);
        STEP_0(2, 2, 4, 6);
        STEP_0(3, 3, 5, 7);
        STEP_0(4, 0, 4, 6);
        STEP_0(5, 1, 5, 7);
        STEP_0(6, 2, 4, 6);
        STEP_0(7, 3, 5, 7);
    }
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++)
        _mm512_store_ps(out + r * SR_LIN_TILE, acc[r]);
}

static void chunk_0(const sr_linop *o, const sr_linpart *w, const sr_panelof *a, uint32_t tile, uint32_t n_tile,
                    unsigned char *panel, sr_acc acc)
{
    uint32_t blocks = a->n_col / 32;
    panel_of(w, a, panel);
    for (uint32_t t = 0; t < n_tile; t++) {
        const sr_xtile_0 *x = (const sr_xtile_0 *)o->x0 + (size_t)(tile + t) * (o->cols / 32) + (w->col0 + a->col) / 32;
        const group_0    *g = (const group_0 *)(void *)panel;
        for (uint32_t r = 0; r < a->rows.n; r += 16, g += blocks)
            tile_0(g, x, blocks, sr_acc_at(acc, t, r));
    }
}

/* ---- the kernel ------------------------------------------------------------------------------------- */

/* With many rows of x a panel is high and stays in the L2, so that x is read seldom from there; with few, most of
 * the time goes into making panels, and they stay in the L1. */
static uint32_t height(const sr_linop *o, uint32_t threads)
{
    return o->rows <= LOW ? 16 : o->width >= 64 * 4 * threads ? 64 : 32;
}

/* Rows of a part with tiles. */
static void some(const sr_linop *o, const sr_linpart *w, const sr_linrows *rows, uint32_t high, uint32_t *depth)
{
    uint32_t want = w->kind == SR_LIN_KINDK ? 64 : 32;
    if (w->kind == SR_LIN_FLOAT) {
        sr_floats512(o, w, rows);
        return;
    }
    if (want != *depth)
        configure(*depth = want);
    if (want == 64 && o->rows <= SLIM)
        slim(o, w, rows);
    else
        sr_many(o, w, rows, high, want == 64 ? SLICE * 256 : WIDE_0, want == 64 ? chunk_k : chunk_0, sr_put_acc512);
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    sr_linop o;
    sr_linear_unfold(j, &o);
    bool tiles = o.rows >= FEW;
    if (phase == 0) {
        if (tiles)
            sr_quant_tiles512(j, &o, 0);
        else
            sr_quant_rows(j, &o);
        return;
    }
    if (sr_linear_skip(j))
        sr_quant_alone(j, &o);
    uint32_t depth = 0;
    if (o.rows <= SLIM) {
        sr_linrows rows;
        sr_linwalk k;
        for (sr_linear_walk(j, SR_FEW_ROWS, &k); sr_linear_step(&k, &rows);)
            if (tiles)
                some(&o, &k.part, &rows, SR_FEW_ROWS, &depth);
            else
                sr_few512(&o, &k.part, &rows);
    } else {
        uint32_t    high  = height(&o, j->n_threads);
        size_t      share = o.rows > LOW ? 0 : sr_few_share(j);
        sr_linpiece s;
        while (sr_linear_take(j, high, share, &s))
            some(&o, &s.part, &(sr_linrows){.row = s.row, .apart = 1, .n = s.n}, high, &depth);
    }
    if (depth)
        _tile_release(); /* a thread with live tiles is dearer to switch */
}

const sr_cpukernel sr_linear_amx = {.family = "linear",
                                    .isa    = "amx",
                                    .needs  = SR_CPU_AMX_INT8 | SR_CPU_AVX512 | SR_CPU_AVX512_VNNI,
                                    .phases = 2,
                                    .skip   = sr_linear_skip,
                                    .run    = run};
