/* attn_v16.h - attention in sixteen lanes; compiled by attn_avx2.c, attn_avx512.c and attn_neon.c.
 *
 * Both products of a tile are C[row][lane] += A[row][k] * B[k][lane], one fma accumulator per number, k in order:
 *     scores   A = queries,        k = dimension,  lanes = positions   B = keys, transposed 16 positions at a time
 *     output   A = probabilities,  k = position,   lanes = dimensions  B = values as they lie in their pages
 * Where pages keep the keys of sixteen positions turned (op.h), they are read as they lie, some blocks of sixteen side by side.
 * B's rows are given by pointer (pages lie anywhere) and may be f16: converted as they are loaded, which costs a
 * decode nothing and a full tile 1/12 (expanding them to f32 first was no faster).  Q8_0 is expanded to f32 first.
 *
 *     for each chunk:   keys -> s [row][256] -> softmax in place -> values -> part [row][dim] -> joined with o
 *
 * Rows see different positions (causal, window).  What all rows of the tile see is one product; what only some
 * tokens see, before and after, is done token by token, in order.  So what a row gets
 * never depends on a position it does not see (keys are read in sixteens: the scores of others are not used).
 * Positions from the first drafted row on (tree.h) are other rows of the table for each token: their keys are copied together, a token's
 * path at a time, from the sixteen on that the first of them is in; then all goes on by position.
 */
#include "base/cpu.h"
#include "base/err.h"
#include "base/mem.h"
#include "ops/attn/attn_plan.h"
#include "ops/attn/attn_turn.h"
#include "ops/v16.h"

#include <string.h>

enum { LD = SR_ATTN_DIM + 16 }; /* floats between rows: not a power of two (cache sets) */

#if defined(__AVX512F__)
enum { MAX_R = 12, WIDE_R = 3, WIDE = 4, NARROW = 2 }; /* 12 x 2 or 3 x 4 accumulators: 24 of 32 registers */
#else
enum { MAX_R = 6, WIDE_R = 2, WIDE = 2, NARROW = 1 }; /* AVX2: a v16 is two registers, 12 of 16; NEON: four, 24 of 32 */
#endif

/* ---- the product ---------------------------------------------------------------------------------- */

V16_FN v16 load_b(const char *p, int v, bool half)
{
    return half ? v16_from_f16(p + v * 32) : v16_load((const float *)(const void *)p + v * 16);
}

V16_FN void product_rows(int r_n, int v_n, bool half, const float *a, const char *const *b, size_t off, uint32_t n, float *c, bool fresh)
{
    v16 acc[12][4];
    V16_UNROLL for (int r = 0; r < r_n; r++)
        V16_UNROLL for (int v = 0; v < v_n; v++)
            acc[r][v] = fresh ? v16_zero() : v16_load(c + r * LD + v * 16);
    for (const char *const *end = b + n; b < end; b++, a++) {
        const char *p = *b + off;
        v16         x[4];
        V16_UNROLL for (int v = 0; v < v_n; v++)
            x[v] = load_b(p, v, half);
        V16_UNROLL for (int r = 0; r < r_n; r++) {
            v16 y = v16_set1(a[r * LD]);
            V16_UNROLL for (int v = 0; v < v_n; v++)
                acc[r][v] = v16_fma(y, x[v], acc[r][v]);
        }
    }
    V16_UNROLL for (int r = 0; r < r_n; r++)
        V16_UNROLL for (int v = 0; v < v_n; v++)
            v16_store(c + r * LD + v * 16, acc[r][v]);
}

typedef void (*productfn)(const float *a, const char *const *b, size_t off, uint32_t n, float *c, bool fresh);

#define PRODUCT(R, V)                                                                                                  \
    static void half_##R##_##V(const float *a, const char *const *b, size_t off, uint32_t n, float *c, bool fresh)    \
    {                                                                                                                  \
        product_rows(R, V, true, a, b, off, n, c, fresh);                                                             \
    }                                                                                                                  \
    static void full_##R##_##V(const float *a, const char *const *b, size_t off, uint32_t n, float *c, bool fresh)    \
    {                                                                                                                  \
        product_rows(R, V, false, a, b, off, n, c, fresh);                                                            \
    }
#define PAIR(R, V) {full_##R##_##V, half_##R##_##V}

PRODUCT(1, 1) PRODUCT(2, 1) PRODUCT(3, 1) PRODUCT(4, 1) PRODUCT(5, 1) PRODUCT(6, 1)
#if defined(__AVX512F__)
PRODUCT(7, 1) PRODUCT(8, 1) PRODUCT(9, 1) PRODUCT(10, 1) PRODUCT(11, 1) PRODUCT(12, 1)
PRODUCT(1, 2) PRODUCT(2, 2) PRODUCT(3, 2) PRODUCT(4, 2) PRODUCT(5, 2) PRODUCT(6, 2)
PRODUCT(7, 2) PRODUCT(8, 2) PRODUCT(9, 2) PRODUCT(10, 2) PRODUCT(11, 2) PRODUCT(12, 2)
PRODUCT(1, 4) PRODUCT(2, 4) PRODUCT(3, 4)
static const productfn product_of[5][MAX_R + 1][2] = {
    [1] = {[1] = PAIR(1, 1), PAIR(2, 1), PAIR(3, 1), PAIR(4, 1), PAIR(5, 1), PAIR(6, 1),
           PAIR(7, 1), PAIR(8, 1), PAIR(9, 1), PAIR(10, 1), PAIR(11, 1), PAIR(12, 1)},
    [2] = {[1] = PAIR(1, 2), PAIR(2, 2), PAIR(3, 2), PAIR(4, 2), PAIR(5, 2), PAIR(6, 2),
           PAIR(7, 2), PAIR(8, 2), PAIR(9, 2), PAIR(10, 2), PAIR(11, 2), PAIR(12, 2)},
    [4] = {[1] = PAIR(1, 4), PAIR(2, 4), PAIR(3, 4)},
};
#else
PRODUCT(1, 2) PRODUCT(2, 2)
static const productfn product_of[3][MAX_R + 1][2] = {
    [1] = {[1] = PAIR(1, 1), PAIR(2, 1), PAIR(3, 1), PAIR(4, 1), PAIR(5, 1), PAIR(6, 1)},
    [2] = {[1] = PAIR(1, 2), PAIR(2, 2)},
};
#endif

/* c[rows][16 vecs] = (fresh) or += a[rows][n] * b[n][16 vecs], b's numbers `off` bytes into its rows; a and c have LD floats to a row. */
static void product(const float *a, uint32_t rows, const char *const *b, size_t off, bool half, uint32_t n, uint32_t vecs, float *c, bool fresh)
{
    size_t   size = half ? 2 : 4;
    uint32_t most = rows <= WIDE_R ? WIDE : NARROW;
    for (uint32_t v = 0, wide; v < vecs; v += wide) { /* outside: this strip of B stays in L1 for all rows */
        wide = vecs - v >= most ? most : vecs - v >= NARROW ? NARROW : 1;
        for (uint32_t r = 0, take; r < rows; r += take) {
            take = SR_MIN(rows - r, (uint32_t)MAX_R);
            product_of[wide][take][half](a + (size_t)r * LD, b, off + v * 16 * size, n, c + (size_t)r * LD + v * 16, fresh);
        }
    }
}

/* What to ask for while turned keys are read, line by line: blocks of keys that come next, this far behind them values. */
typedef struct { const char *const *keys; size_t values; } turnedahead;

/* As product(), of keys that lie turned: b are blocks of sixteen positions, [dim][16] f16; n dimensions.  ahead: NULL where
 * everything is at hand (many rows to a key). */
V16_FN void product_turned(int r_n, int v_n, const float *a, const char *const *b, uint32_t n, float *c, const turnedahead *ahead)
{
    v16 acc[12][4];
    V16_UNROLL for (int r = 0; r < r_n; r++)
        V16_UNROLL for (int v = 0; v < v_n; v++)
            acc[r][v] = v16_zero();
    for (size_t k = 0; k < n; k++) {
        v16 x[4];
        if (ahead && k % 2 == 0) {
            V16_UNROLL for (int v = 0; v < v_n; v++) {
                __builtin_prefetch(ahead->keys[v] + k * SR_KV_TURN * 2, 0, 3);
                __builtin_prefetch(b[v] + ahead->values + k * SR_KV_TURN * 2, 0, 2);
            }
        }
        V16_UNROLL for (int v = 0; v < v_n; v++)
            x[v] = v16_from_f16(b[v] + k * SR_KV_TURN * 2);
        V16_UNROLL for (int r = 0; r < r_n; r++) {
            v16 y = v16_set1(a[(size_t)r * LD + k]);
            V16_UNROLL for (int v = 0; v < v_n; v++)
                acc[r][v] = v16_fma(y, x[v], acc[r][v]);
        }
    }
    V16_UNROLL for (int r = 0; r < r_n; r++)
        V16_UNROLL for (int v = 0; v < v_n; v++)
            v16_store(c + r * LD + v * 16, acc[r][v]);
}

#define TURNED(R, V)                                                                                                   \
    static void turned_##R##_##V(const float *a, const char *const *b, uint32_t n, float *c, const turnedahead *ahead) \
    {                                                                                                                  \
        product_turned(R, V, a, b, n, c, ahead);                                                                       \
    }

typedef void (*turnedfn)(const float *a, const char *const *b, uint32_t n, float *c, const turnedahead *ahead);
TURNED(1, 1) TURNED(2, 1) TURNED(3, 1) TURNED(4, 1) TURNED(5, 1) TURNED(6, 1)
TURNED(1, 2) TURNED(2, 2)
#if defined(__AVX512F__)
TURNED(7, 1) TURNED(8, 1) TURNED(9, 1) TURNED(10, 1) TURNED(11, 1) TURNED(12, 1)
TURNED(3, 2) TURNED(4, 2) TURNED(5, 2) TURNED(6, 2)
TURNED(7, 2) TURNED(8, 2) TURNED(9, 2) TURNED(10, 2) TURNED(11, 2) TURNED(12, 2)
TURNED(1, 4) TURNED(2, 4) TURNED(3, 4)
static const turnedfn turned_of[5][MAX_R + 1] = {
    [1] = {[1] = turned_1_1, turned_2_1, turned_3_1, turned_4_1, turned_5_1, turned_6_1,
           turned_7_1, turned_8_1, turned_9_1, turned_10_1, turned_11_1, turned_12_1},
    [2] = {[1] = turned_1_2, turned_2_2, turned_3_2, turned_4_2, turned_5_2, turned_6_2,
           turned_7_2, turned_8_2, turned_9_2, turned_10_2, turned_11_2, turned_12_2},
    [4] = {[1] = turned_1_4, turned_2_4, turned_3_4},
};
#else
static const turnedfn turned_of[3][MAX_R + 1] = {
    [1] = {[1] = turned_1_1, turned_2_1, turned_3_1, turned_4_1, turned_5_1, turned_6_1},
    [2] = {[1] = turned_1_2, turned_2_2},
};
#endif

/* ---- a tile --------------------------------------------------------------------------------------- */

typedef struct {
    const sr_cpujob *j;
    const sr_op     *op;
    sr_attn_item     it;
    uint32_t group, rows, hd, vecs;      /* query heads of the kv head, rows of the tile, head_dim, head_dim/16 */
    float   *q, *s, *part, *o;           /* [rows][LD] */
    float   *m, *l, *m2, *l2;            /* [rows] */
    char    *keys;                       /* [head_dim][STRIP], f16 or f32 */
    float   *values;                     /* [SR_ATTN_CHUNK][STRIP]: 64 dimensions of a chunk, expanded */
    bool     few;                        /* rows go through the product in one pass, so memory matters */
    uint32_t a, b;                       /* positions of the chunk that any row sees */
    uint32_t first, common;              /* first drafted position; sixteens in front of its own: their keys are any token's.  UINT32_MAX: none is drafted */
    const char *block[SR_ATTN_CHUNK / 16], *row[SR_ATTN_CHUNK]; /* K of positions a/16*16 ..; V lies stride.kv after it */
    const char *key_row[SR_ATTN_DIM], *value_row[SR_ATTN_CHUNK];
} tile;

/* What token i of the tile sees of the chunk; empty: *a >= *b. */
static void token_sees(const tile *t, uint32_t i, uint32_t *a, uint32_t *b)
{
    sr_attn_visible(t->j, t->it.seq, t->it.tok + i, a, b);
    *a = SR_MAX(*a, t->a);
    *b = SR_MIN(*b, t->b);
}

/* Where K of the chunk lies: of each sixteen positions (a page has a multiple), and of each position. */
static void find_rows(tile *t)
{
    uint32_t first = t->a / 16 * 16, page = t->j->batch->kv[t->op->w].page_tokens;
    size_t   step  = t->j->batch->kv[t->op->w].stride.tok;
    const char *at = NULL;
    for (uint32_t i = first, n = 0; i < t->b; i += 16) {
        at = at && i % page ? at + 16 * step : sr_attn_row(t->j, t->it.seq, t->it.kv_head, i, false);
        t->block[(i - first) / 16] = at;
        V16_UNROLL for (size_t k = 0; k < 16; k++)
            t->row[n + k] = at + k * step;
        n += 16;
    }
}

/* The first rows of sixteen on their way: pages lie anywhere, so the hardware's prefetching starts anew with each, but
 * it follows once it has seen four rows go by.  (Asking for all sixteen costs 15 % where the cache has them.) */
V16_FN void fetch_ahead(const char *row, size_t step, size_t bytes, bool near)
{
    for (int i = 0; i < 4; i++, row += step)
        for (size_t k = 0; k < bytes; k += 64)
            if (near)
                __builtin_prefetch(row + k, 0, 3);
            else
                __builtin_prefetch(row + k, 0, 2);
}

/* Sixteen keys into column k of the strip. */
static void turn_keys(tile *t, const char *row, size_t step, uint32_t k)
{
    const sr_kvbind *kv  = &t->j->batch->kv[t->op->w];
    float           *out = (float *)(void *)t->keys + k;
    if (kv->format_k != SR_F16)
        for (uint32_t d = 0; d < t->hd; d += 32)
            turn_q8(row + d / 32 * sizeof(sr_q8_0), step, out + (size_t)d * STRIP);
    else
        for (uint32_t d = 0; d < t->hd; d += 16)
            turn_f16(row + d * 2, step, (uint16_t *)(void *)t->keys + (size_t)d * STRIP + k);
}

/* Q8_0 values of n_row positions, the chunk's from number `at` on, numbers d .. d+n-1 (n a multiple of 32), as f32. */
static void expand_values(tile *t, const char *const *rows, uint32_t at, uint32_t n_row, uint32_t d, uint32_t n)
{
    size_t off = t->j->batch->kv[t->op->w].stride.kv + d / 32 * sizeof(sr_q8_0);
    float *out = t->values + (size_t)at * STRIP;
    for (const char *const *end = rows + n_row; rows < end; rows++, out += STRIP) {
        const sr_q8_0 *x = (const sr_q8_0 *)(const void *)(*rows + off);
        for (float *y = out; y < out + n; y += 32, x++) {
            v16 s = v16_set1(v16_half(x->d));
            v16_store(y, v16_mul(v16_from_i8(x->qs), s));
            v16_store(y + 16, v16_mul(v16_from_i8(x->qs + 16), s));
        }
    }
}

/* Sixteens of the chunk whose keys are the same for all tokens. */
static uint32_t common_blocks(const tile *t, uint32_t first)
{
    uint32_t stop = SR_MIN(t->b, t->common);
    return stop > first ? (stop - first + 15) / 16 : 0;
}

static void scores(tile *t)
{
    const sr_kvbind *kv = &t->j->batch->kv[t->op->w];
    uint32_t first = t->a / 16 * 16, blocks = common_blocks(t, first);
    size_t   bytes_k = sr_row_bytes(kv->format_k, t->hd), bytes_v = sr_row_bytes(kv->format_v, t->hd);
    find_rows(t);
    for (uint32_t i = 0, n; i < blocks; i += n) {
        n = SR_MIN(STRIP / 16u, blocks - i);
        for (uint32_t k = i; k < i + n; k++) {
            if (t->few && k + 1 < blocks)
                fetch_ahead(t->block[k + 1], kv->stride.tok, bytes_k, true);
            if (t->few)
                fetch_ahead(t->block[k] + kv->stride.kv, kv->stride.tok, bytes_v, false);
            turn_keys(t, t->block[k], kv->stride.tok, (k - i) * 16);
        }
        product(t->q, t->rows, t->key_row, 0, kv->format_k == SR_F16, t->hd, n, t->s + (first + i * 16) % SR_ATTN_CHUNK, true);
    }
}

/* As scores(), where the keys of sixteen positions lie turned. */
static void scores_turned(tile *t)
{
    const sr_kvbind *kv = &t->j->batch->kv[t->op->w];
    uint32_t first = t->a / 16 * 16, blocks = common_blocks(t, first), most = t->rows <= WIDE_R ? WIDE : NARROW;
    find_rows(t);
    for (uint32_t i = 0, n; i < blocks; i += n) { /* outside: these blocks stay in the L1 for all rows */
        n = blocks - i >= most ? most : blocks - i >= NARROW ? NARROW : 1;
        turnedahead ahead = {t->block + SR_MIN(i + n, blocks - n), kv->stride.kv};
        for (uint32_t r = 0, take; r < t->rows; r += take) {
            take = SR_MIN(t->rows - r, (uint32_t)MAX_R);
            turned_of[n][take](t->q + (size_t)r * LD, t->block + i, t->hd,
                               t->s + (size_t)r * LD + (first + i * 16) % SR_ATTN_CHUNK, t->few ? &ahead : NULL);
        }
    }
}

/* Keys of positions from .. from+n-1 on the path of token i of the tile. */
static void find_path(const tile *t, uint32_t i, uint32_t from, uint32_t n, const char **rows)
{
    uint64_t word = sr_attn_word(t->j, t->it.tok + i);
    for (uint32_t k = 0; k < n; k++)
        rows[k] = sr_attn_row(t->j, t->it.seq, t->it.kv_head, sr_tree_place(word, t->first, from + k), false);
}

/* Sixteen keys of a path together: rows one behind the other, or columns. */
static void copy_keys(const tile *t, uint32_t i, uint32_t from, uint32_t n, char *out)
{
    const sr_kvbind *kv = &t->j->batch->kv[t->op->w];
    size_t           bytes = sr_row_bytes(kv->format_k, t->hd);
    const char      *row[16];
    uint64_t         word = sr_attn_word(t->j, t->it.tok + i);
    find_path(t, i, from, n, row);
    for (uint32_t k = 0; k < 16; k++) { /* behind the last: the last, whose scores are not used */
        uint32_t at = SR_MIN(k, n - 1), place = sr_tree_place(word, t->first, from + at);
        if (!kv->turned) {
            memcpy(out + k * bytes, row[at], bytes);
            continue;
        }
        const char *column = row[at] - place % SR_KV_TURN * kv->stride.tok + place % SR_KV_TURN * 2;
        for (uint32_t d = 0; d < t->hd; d++)
            memcpy(out + ((size_t)d * SR_KV_TURN + k) * 2, column + (size_t)d * SR_KV_TURN * 2, 2);
    }
}

/* Scores of positions from the first drafted row's sixteen on: each token's path by itself. */
static void scores_drafted(tile *t)
{
    const sr_kvbind *kv   = &t->j->batch->kv[t->op->w];
    uint32_t         from = SR_MAX(t->common, t->a / 16 * 16), a, b;
    char             keys[16 * SR_ATTN_DIM * 2];
    const char      *block[1] = {keys};
    for (uint32_t i = 0; i < t->it.n_tok; i++) {
        token_sees(t, i, &a, &b);
        for (uint32_t p = from; p < b; p += 16) {
            float *q = t->q + (size_t)i * t->group * LD, *s = t->s + (size_t)i * t->group * LD + p % SR_ATTN_CHUNK;
            copy_keys(t, i, p, SR_MIN(b - p, 16u), keys);
            if (kv->turned) {
                for (uint32_t r = 0, take; r < t->group; r += take) {
                    take = SR_MIN(t->group - r, (uint32_t)MAX_R);
                    turned_of[1][take](q + (size_t)r * LD, block, t->hd, s + (size_t)r * LD, NULL);
                }
                continue;
            }
            turn_keys(t, keys, sr_row_bytes(kv->format_k, t->hd), 0);
            product(q, t->group, t->key_row, 0, kv->format_k == SR_F16, t->hd, 1, s, true);
        }
    }
}

/* s of one row: scaled, capped, exponentials of what it sees, 0 elsewhere; its m and l. */
V16_FN void softmax_row(const sr_op *op, float *s, uint32_t a, uint32_t b, float *m, float *l)
{
    v16      scale = v16_set1(op->f[0]), cap = v16_set1(op->f[1]), none = v16_set1(-INFINITY), top = none, sum = v16_zero();
    uint32_t first = a / 16 * 16;
    for (uint32_t i = first; i < b; i += 16) {
        v16 x = v16_mul(v16_load(s + i), scale);
        if (op->f[1] > 0)
            x = v16_mul(cap, v16_tanh(v16_div(x, cap)));
        if (i < a || i + 16 > b)
            x = v16_select(m16_range(i < a ? a - i : 0, i + 16 > b ? b - i : 16), x, none);
        v16_store(s + i, x);
        top = v16_max(x, top);
    }
    *m  = v16_top(top);
    top = v16_set1(*m);
    for (uint32_t i = first; i < b; i += 16) {
        v16 p = v16_exp(v16_sub(v16_load(s + i), top));
        v16_store(s + i, p);
        sum = v16_add(sum, p);
    }
    *l = v16_fold(sum);
}

static void softmax(tile *t)
{
    for (uint32_t r = 0; r < t->rows; r++) {
        uint32_t a, b, base = t->a / SR_ATTN_CHUNK * SR_ATTN_CHUNK;
        token_sees(t, r / t->group, &a, &b);
        if (a < b)
            softmax_row(t->op, t->s + (size_t)r * LD, a - base, b - base, &t->m2[r], &t->l2[r]);
    }
}

/* All tokens see [*lo, *hi) of the chunk, and it lies at the same places for all. */
static void all_see(const tile *t, uint32_t *lo, uint32_t *hi)
{
    uint32_t a, b, skip;
    token_sees(t, t->it.n_tok - 1, lo, &skip); /* from the last one's begin to the first one's end */
    token_sees(t, 0, &skip, hi);
    *hi = SR_MIN(*hi, t->first);
    for (uint32_t i = 0; i < t->it.n_tok && t->first < UINT32_MAX; i++) {
        token_sees(t, i, &a, &b);
        *lo = SR_MAX(*lo, a);
        *hi = SR_MIN(*hi, b);
    }
    if (*lo >= *hi)
        *lo = *hi = t->b;
}

/* Values of positions [a, b) for token i alone; rows: of the chunk, by place. */
static void outputs_alone(tile *t, uint32_t i, uint32_t a, uint32_t b, uint32_t d, uint32_t vecs, const char *const *rows, size_t off, bool half)
{
    uint32_t    base = t->a / SR_ATTN_CHUNK * SR_ATTN_CHUNK, step = t->group * LD;
    const char *path[SR_ATTN_CHUNK];
    rows += a - t->a;
    if (b > t->first) {
        uint32_t own = SR_MAX(a, t->first);
        memcpy(path, rows, (b - a) * sizeof *path);
        if (half)
            find_path(t, i, own, b - own, path + (own - a));
        else {
            const char *stored[SR_ATTN_CHUNK];
            find_path(t, i, own, b - own, stored);
            expand_values(t, stored, own - t->a, b - own, d, vecs * 16);
        }
        rows = path;
    }
    product(t->s + (size_t)i * step + a - base, t->group, rows, off, half, b - a, vecs, t->part + (size_t)i * step + d, false);
}

/* part of dimensions d .. (vecs*16 of them): what all tokens see at once, what only some see token by token. */
static void outputs_of(tile *t, uint32_t d, uint32_t vecs, const char *const *rows, size_t off, bool half)
{
    uint32_t a, b, lo, hi, base = t->a / SR_ATTN_CHUNK * SR_ATTN_CHUNK, step = t->group * LD;
    all_see(t, &lo, &hi);
    bool fresh = lo == t->a;
    for (uint32_t i = 0; i < t->it.n_tok && !fresh; i++) {
        float *part = t->part + (size_t)i * step + d;
        token_sees(t, i, &a, &b);
        b = SR_MIN(b, lo);
        for (uint32_t g = 0; g < t->group; g++)
            memset(part + g * LD, 0, vecs * 16 * sizeof *part);
        if (a < b)
            outputs_alone(t, i, a, b, d, vecs, rows, off, half);
    }
    if (lo < hi)
        product(t->s + lo - base, t->rows, rows + lo - t->a, off, half, hi - lo, vecs, t->part + d, fresh);
    for (uint32_t i = 0; i < t->it.n_tok && lo < hi; i++) {
        token_sees(t, i, &a, &b);
        if (hi < b)
            outputs_alone(t, i, hi, b, d, vecs, rows, off, half);
    }
}

static void outputs(tile *t)
{
    const char *const *rows = t->row + t->a % 16;
    const sr_kvbind   *kv   = &t->j->batch->kv[t->op->w];
    if (kv->format_v == SR_F16) {
        outputs_of(t, 0, t->vecs, rows, kv->stride.kv, true);
        return;
    }
    for (uint32_t d = 0; d < t->hd; d += STRIP) {
        uint32_t n = SR_MIN((uint32_t)STRIP, t->hd - d);
        expand_values(t, rows, 0, SR_MIN(t->b, SR_MAX(t->first, t->a)) - t->a, d, n);
        outputs_of(t, d, n / 16, t->value_row, 0, false);
    }
}

/* ---- joining chunks -------------------------------------------------------------------------------- */

/* (m, l, o) of a row joined with a chunk's; o and part have hd floats. */
V16_FN void join(uint32_t hd, float *m, float *l, float *o, float m2, float l2, const float *part)
{
    float top = *m > m2 ? *m : m2, fa = sr_expf(*m - top), fb = sr_expf(m2 - top);
    v16   va = v16_set1(fa), vb = v16_set1(fb);
    *m = top;
    *l = fmaf(*l, fa, l2 * fb);
    for (uint32_t d = 0; d < hd; d += 16)
        v16_store(o + d, v16_fma(v16_load(o + d), va, v16_mul(v16_load(part + d), vb)));
}

V16_FN void finish(uint32_t hd, float *out, const float *o, float l)
{
    v16 inv = v16_set1(1.0f / l);
    for (uint32_t d = 0; d < hd; d += 16)
        v16_store(out + d, v16_mul(v16_load(o + d), inv));
}

static float *out_row(const tile *t, uint32_t r)
{
    float *out = t->j->slot[t->op->out[0]];
    return out + ((size_t)(t->it.tok + r / t->group) * t->op->dim[0] + t->it.kv_head * t->group + r % t->group) * t->hd;
}

/* The chunk's part of each row that saw something of it, to the running o or to the partial results. */
static void keep(tile *t, uint32_t chunk)
{
    for (uint32_t r = 0; r < t->rows; r++) {
        uint32_t a, b;
        token_sees(t, r / t->group, &a, &b);
        if (a >= b)
            continue;
        const float *part = t->part + (size_t)r * LD;
        float       *o    = t->o + (size_t)r * LD;
        sr_attn_visible(t->j, t->it.seq, t->it.tok + r / t->group, &a, &b);
        if (t->it.part) {
            t->it.part[r]           = t->m2[r];
            t->it.part[t->rows + r] = t->l2[r];
            memcpy(t->it.part + 2 * t->rows + (size_t)r * t->hd, part, t->hd * sizeof *part);
        } else if (a / SR_ATTN_CHUNK == chunk) {
            t->m[r] = t->m2[r];
            t->l[r] = t->l2[r];
            memcpy(o, part, t->hd * sizeof *part);
        } else {
            join(t->hd, &t->m[r], &t->l[r], o, t->m2[r], t->l2[r], part);
        }
        if (!t->it.part && (b - 1) / SR_ATTN_CHUNK == chunk)
            finish(t->hd, out_row(t, r), o, t->l[r]);
    }
}

static void set_up(tile *t, const sr_attn_plan *p)
{
    const sr_cpujob *j    = p->job;
    size_t           rows = p->rows;
    float           *at   = (float *)j->scratch + j->thread * sr_attn_thread_floats(j->op, j->max);
    t->j      = j;
    t->op     = j->op;
    t->group  = p->group;
    t->hd     = j->op->dim[2];
    t->vecs   = t->hd / 16;
    t->q      = at;
    t->s      = t->q + rows * LD;
    t->part   = t->s + rows * LD;
    t->o      = t->part + rows * LD;
    t->m      = t->o + rows * LD;
    t->l      = t->m + rows;
    t->m2     = t->l + rows;
    t->l2     = t->m2 + rows;
    t->values = t->l2 + rows;
    t->keys   = (char *)(t->values + (size_t)SR_ATTN_CHUNK * STRIP);
    size_t size = j->batch->kv[t->op->w].format_k == SR_F16 ? 2 : 4;
    for (uint32_t d = 0; d < t->hd; d++)
        t->key_row[d] = t->keys + (size_t)d * STRIP * size;
    for (uint32_t i = 0; i < SR_ATTN_CHUNK; i++)
        t->value_row[i] = (const char *)(t->values + (size_t)i * STRIP);
}

static void attend(tile *t)
{
    const float *in    = t->j->slot[t->op->in[0]];
    size_t       width = t->j->prog->slot[t->op->in[0]].width;
    uint32_t     begin, end;
    t->rows = t->it.n_tok * t->group;
    t->few  = t->rows <= MAX_R;
    for (uint32_t r = 0; r < t->rows; r++)
        memcpy(t->q + (size_t)r * LD,
               in + (t->it.tok + r / t->group) * width + (t->it.kv_head * t->group + r % t->group) * (size_t)t->hd,
               t->hd * sizeof(float));
    sr_attn_span(t->j, t->it.seq, t->it.tok, t->it.n_tok, &begin, &end);
    t->first  = sr_attn_first(t->j, t->it.seq, t->it.tok + t->it.n_tok - 1); /* drafted rows are the last ones */
    t->common = t->first < UINT32_MAX ? t->first / 16 * 16 : UINT32_MAX;
    for (uint32_t c = t->it.chunk; c < t->it.chunk + t->it.chunks; c++) {
        t->a = SR_MAX(begin, c * SR_ATTN_CHUNK);
        t->b = SR_MIN(end, (c + 1) * SR_ATTN_CHUNK);
        if (t->j->batch->kv[t->op->w].turned)
            scores_turned(t);
        else
            scores(t);
        if (t->b > t->common)
            scores_drafted(t);
        softmax(t);
        outputs(t);
        keep(t, c);
    }
}

/* Joins the chunks of this thread's share of the split rows. */
static void join_split(tile *t, sr_attn_plan *p)
{
    uint32_t turn = 0;
    while (sr_attn_plan_next_split(p, &t->it)) {
        t->rows = t->it.n_tok * t->group;
        size_t step = t->rows * sr_attn_part_floats(t->op);
        for (uint32_t r = 0; r < t->rows; r++) {
            uint32_t a, b;
            if (turn++ % t->j->n_threads != t->j->thread)
                continue;
            sr_attn_visible(t->j, t->it.seq, t->it.tok + r / t->group, &a, &b);
            uint32_t first = a / SR_ATTN_CHUNK, n = (b - 1) / SR_ATTN_CHUNK - first;
            float   *at = t->it.part + (first - t->it.chunk) * step, *o = at + 2 * t->rows + (size_t)r * t->hd;
            float    m = at[r], l = at[t->rows + r];
            for (const float *next = at + step; n; n--, next += step)
                join(t->hd, &m, &l, o, next[r], next[t->rows + r], next + 2 * t->rows + (size_t)r * t->hd);
            finish(t->hd, out_row(t, r), o, l);
        }
    }
}

static void run(const sr_cpujob *j, uint32_t phase)
{
    tile         t;
    sr_attn_plan p;
    sr_attn_plan_begin(&p, j);
    set_up(&t, &p);
    if (phase == 0)
        while (sr_attn_plan_item(&p, sr_cpu_take(j), &t.it))
            attend(&t);
    else
        join_split(&t, &p);
}

static bool supports(const sr_program *p, const sr_op *op)
{
    const sr_kvshape *kv = &p->kv[op->w];
    bool k = kv->format_k == SR_F16 || kv->format_k == SR_Q8_0, v = kv->format_v == SR_F16 || kv->format_v == SR_Q8_0;
    return op->dim[2] % 16 == 0 && op->dim[2] <= SR_ATTN_DIM && p->page_tokens % 16 == 0 && k && v;
}
