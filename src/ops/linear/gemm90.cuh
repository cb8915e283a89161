/* gemm90: y[m][rows] = x[m][cols] . W^T (+ bias) (+ z), weights decoded in registers (gemm90.h)
 * Shapes   as gemm90.h; N = 8 .. 256 columns a block; in pairs 16 to 64.
 * Roofline bytes = weights + m*(cols + rows)*4 up to some 100 columns, beyond 2*m*rows*cols against 989 TFLOP/s of f16.
 * Target   H200, 8B Q4_K_M: 32 columns in 80 us a layer, 128 in 200; 2048 tokens: 60 % of the f16 peak (notes/0011).
 * Mapping  two producer warps for weights (a bulk copy a row tile) and one for x; a warp decodes its row tile 64 inputs ahead of
 *          the products that take it from registers.  Weights are asked for before the launch before has ended.
 * Variants an instance per N and format, and two for the mixtures of Q4_K_M and Q5_K_M; the same in pairs, but for formats of which there are none.
 * Archs    sm_90a.                                                                                                   */
#ifndef SR_OPS_LINEAR_GEMM90_CUH
#define SR_OPS_LINEAR_GEMM90_CUH
#include "ops/linear/decode_f16.cuh"
#include "ops/linear/decode_int.cuh"
#include "ops/linear/few_tile.cuh"
#include "ops/linear/gemm90.h"
#include "ops/wgmma.cuh"

#define ONE90(F) (1u << (F))

/* How a block is made up: warpgroups that multiply, a row tile a warp; 32-blocks of a stage of weights (a tile) and of x; lanes of a seat (seat90);
 * what sums are in units of. */
template <int N, uint32_t FORMATS> struct shape90 {
    static constexpr bool few     = sr_gemm90_few(N), exact = sr_gemm90_exact(N, FORMATS), pairs = (FORMATS & SR_GEMM90_PAIRS) != 0;
    static constexpr int askers   = 2; /* warps that ask for weights; another does for x */
    static constexpr int groups   = sr_gemm90_groups(N), threads = groups * 128 + 128;
    static constexpr int w_blocks = sr_gemm90_tile_k(FORMATS) / 32, x_blocks = sr_gemm90_piece_k(N, FORMATS) / 32;
    static constexpr int together = 2;                     /* blocks whose products are asked for at once */
    static constexpr uint32_t x_stage = sr_gemm90_piece(N, FORMATS);
    static constexpr int rows     = N >> pairs; /* of x */
    static constexpr uint32_t lanes = sr_gemm90_wide(N) * 32;
    static constexpr bool scaled  = !few && !exact; /* sums want their column's factor at the end */
    static constexpr bool later   = N > 64; /* a unit's scales are asked for behind its first tile */
    static constexpr float unit   = few && sr_gemm90_tile_k(FORMATS) == 256 ? 0x1p-24f : 1.0f;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

struct bars90 {
    uint64_t *w_full, *w_empty, *x_full, *x_empty;
};
__device__ __forceinline__ bars90 bars90_of(const sr_gemm90 &g, uint8_t *smem)
{
    uint64_t *b = (uint64_t *)(smem + g.at_bar);
    bars90 s    = {b, b + SR_GEMM90_DEPTH, b + 2 * SR_GEMM90_DEPTH, b + 3 * SR_GEMM90_DEPTH};
    return s;
}

/* What a block multiplies at a time: some row tiles of a part by a tile of columns, steps [k0, k1) of the inputs. */
struct unit90 {
    uint32_t part, row_tile, tiles, column, k0, k1; /* row_tile: of the part */
};
__device__ __forceinline__ uint32_t clusters90(const sr_gemm90 &g) { return gridDim.x >> g.cluster_log; }
__device__ __forceinline__ uint32_t cluster90(const sr_gemm90 &g) { return blockIdx.x >> g.cluster_log; }
__device__ __forceinline__ uint32_t rank90(const sr_gemm90 &g) { return blockIdx.x & ((1u << g.cluster_log) - 1); }

__device__ __forceinline__ unit90 unit90_of(const sr_gemm90 &g, uint32_t u)
{
    unit90 s;
    const uint32_t group = u / g.col_tiles, rank = rank90(g);
    s.column = u - group * g.col_tiles;
    s.k0     = g.steps * rank >> g.cluster_log;
    s.k1     = g.steps * (rank + 1) >> g.cluster_log;
    s.part   = 0;
    for (uint32_t i = 1; i < g.n_part; i++)
        s.part += group >= g.part[i].group0;
    s.row_tile = (group - g.part[s.part].group0) * g.tiles;
    s.tiles    = min(g.tiles, g.part[s.part].row_tiles - s.row_tile);
    return s;
}

/* A producer of a cluster sees its last copies arrive, and then arrives where the blocks meet before they write sums there (join90): those who
 * write have waited for the same, so that it costs nothing, but racecheck knows of none but the producer's own wait. */
__device__ __forceinline__ void landed90(const sr_gemm90 &g, uint64_t *full, const sr_ring &r, uint32_t depth)
{
    for (uint32_t i = 0; g.cluster_log && i < depth; i++)
        sr_bar_wait(full + i, r.parity ^ (i < r.at));
}

/* One of the askers' share of the tiles: one warp alone cannot ask for them fast enough.  A row tile's tiles of a step follow each other. */
__device__ __forceinline__ void produce_w90(const sr_gemm90 &g, uint8_t *smem, uint32_t columns, uint32_t asker, uint32_t askers)
{
    const bars90 bar    = bars90_of(g, smem);
    const uint32_t each = (g.tiles + askers - 1) / askers;
    sr_ring r            = {0, 1};
    for (uint32_t u = cluster90(g); u < g.units; u += clusters90(g)) {
        const unit90 s            = unit90_of(g, u);
        const sr_gemm90part &part = g.part[s.part];
        if (s.column >= columns)
            continue;
        const uint32_t t0 = min(asker * each, s.tiles), t1 = min(t0 + each, s.tiles);
        const size_t row  = (size_t)part.tiles_k * part.bytes;
        for (uint32_t k = s.k0; k < s.k1; k++, r.next(g.w_depth)) {
            const uint32_t at = k << g.split_log, bytes = min(part.tiles_k - at, 1u << g.split_log) * part.bytes;
            if (k == s.k0 + 2 && u == cluster90(g)) /* of those asked for ahead a few: more would keep x from coming */
                sr_pdl_wait();
            uint8_t *to         = smem + g.at_w + r.at * g.w_stage;
            const uint8_t *from = part.p + s.row_tile * row + (size_t)at * part.bytes;
            sr_bar_wait(bar.w_empty + r.at, r.parity);
            sr_bar_expect(bar.w_full + r.at, (t1 - t0) * bytes);
            for (uint32_t t = t0; t < t1; t++)
                sr_bulk_load(to + (t << g.split_log) * part.bytes, from + t * row, bytes, bar.w_full + r.at);
        }
    }
    landed90(g, bar.w_full, r, g.w_depth);
}

/* A stage is what the seats need at a time: a piece of x for each of those that share a row tile's inputs.  Few columns: one ring for it and the
 * weights, of whose stages each holds both. */
template <int N, uint32_t FORMATS> __device__ __forceinline__ void produce_x90(const sr_gemm90 &g, uint8_t *smem, uint32_t columns)
{
    using P                = shape90<N, FORMATS>;
    const bars90 bar       = bars90_of(g, smem);
    constexpr uint32_t per = P::w_blocks / P::x_blocks, in_block = 8 / P::x_blocks; /* stages of a tile; pieces of a 256-block */
    uint64_t *const full = P::few ? bar.w_full : bar.x_full, *const empty = P::few ? bar.w_empty : bar.x_empty;
    sr_ring r               = {0, 1};
    if (P::few && columns) { /* factors of all of x */
        sr_bar_expect(bar.x_full, N * 4 * g.blocks_k);
        sr_bulk_load(smem + g.at_bar + SR_GEMM90_BARS, g.scale, N * 4 * g.blocks_k, bar.x_full);
    }
    for (uint32_t u = cluster90(g); u < g.units; u += clusters90(g)) {
        const unit90 s = unit90_of(g, u);
        if (s.column >= columns)
            continue;
        const uint8_t *image = g.image + (size_t)s.column * g.blocks_k * sr_gemm90_block(N);
        for (uint32_t k = s.k0 * per; k < s.k1 * per; k++, r.next(g.x_depth)) {
            const uint32_t at = k << g.split_log, n = min(g.x_pieces - min(g.x_pieces, at), 1u << g.split_log);
            sr_bar_wait(empty + r.at, r.parity);
            sr_bar_expect(full + r.at, n * P::x_stage);
            for (uint32_t i = 0; i < n; i++)
                sr_bulk_load(smem + ((r.at << g.split_log) + i) * P::x_stage,
                             image + (size_t)((at + i) / in_block) * sr_gemm90_block(N) + (at + i) % in_block * P::x_stage, P::x_stage,
                             full + r.at);
        }
    }
    landed90(g, full, r, g.x_depth);
    if (P::few && columns)
        sr_bar_wait(bar.x_full, 0);
}

/* What a warp is at. */
template <int N> struct state90 {
    float d[N / 2];
    sr_ring w, x;
    uint32_t tile, phase; /* bytes from a stage of weights to the warp's tile, from a stage of x to the seat's piece */
    uint32_t up; /* 1024 twice; in a register, and not known to be the same in all lanes: otherwise it is moved to one again and again */
};

/* Every lane says that it has read a stage itself: racecheck follows this, and not a lane that says it for its warp behind a __syncwarp(); it costs nothing (0040).
 * What wgmma alone has read, or nobody, needs no fence. */
__device__ __forceinline__ void free90(uint64_t *bar)
{
    sr_async_fence();
    sr_bar_arrive(bar);
}

/* A stage of weights: the warp's tile times as much of x. */
template <int N, int F, uint32_t FORMATS>
__device__ __forceinline__ void stage90(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, state90<N> &st)
{
    using P             = shape90<N, FORMATS>;
    const uint32_t lane = threadIdx.x % 32, up = st.up;
    const uint8_t *w    = smem + g.at_w + st.w.at * g.w_stage + st.tile;
    uint32_t op = 0, a[2][P::together][8];
    decoder<F> dec;
    sr_bar_wait(bar.w_full + st.w.at, st.w.parity);
    dec.open(w, lane);
#pragma unroll
    for (int b = 0; b < P::w_blocks; b += P::together) {
        uint32_t(&now)[P::together][8] = a[b / P::together % 2];
#pragma unroll
        for (int i = 0; i < P::together; i++)
            dec.block(w, lane, b + i, up, now[i]);
        if (b % P::x_blocks == 0) {
            sr_bar_wait(bar.x_full + st.x.at, st.x.parity);
            op = sr_deep(sr_smem(smem) + (st.x.at << g.split_log) * P::x_stage + st.phase);
        }
        sr_wg_fence();
#pragma unroll
        for (int i = 0; i < P::together * 2; i++) {
            const uint32_t in = ((b + i / 2) % P::x_blocks / 2 * (N * 128) >> 4) + (b * 2 + i) % 4 * 2;
            sr_wgmma_deep<N>(st.d, now[i / 2] + i % 2 * 4, op + in, 1);
        }
        sr_wg_commit();
        sr_wg_wait<1>();
        if (b % P::x_blocks == 0) {
            if (b > 0) /* the stage before has been read */
                sr_bar_arrive(bar.x_empty + (st.x.at ? st.x.at : g.x_depth) - 1);
            st.x.next(g.x_depth);
        }
    }
    free90(bar.w_empty + st.w.at);
    st.w.next(g.w_depth);
    sr_wg_wait<0>();
    sr_bar_arrive(bar.x_empty + (st.x.at ? st.x.at : g.x_depth) - 1);
}

/* The same in whole numbers: their sums over a tile (t) and those of its minimums (u) get the tile's factors, and x's of these inputs, in f32. */
template <int N, int F, uint32_t FORMATS>
__device__ __forceinline__ void stage90_int(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, state90<N> &st)
{
    using P               = shape90<N, FORMATS>;
    constexpr bool rounds = F == SR_Q6_K && P::pairs; /* what codes times scales lack is multiplied, too */
    /* Groups of blocks whose products are asked for at once: one, which begins soon, three times two, and one, which ends soon; or all of one, where there
     * are no registers for two. */
    constexpr int most = N == 32 && rounds ? 1 : 2, groups = most == 2 ? 5 : 8;
    const auto blocks  = [](int i) { return i == groups ? 0 : i % (groups - 1) ? most : 1; };
    const uint32_t lane = threadIdx.x % 32;
    const uint8_t *w    = smem + g.at_w + st.w.at * g.w_stage + st.tile;
    whole<F> dec;
    uint32_t a[2][most][8], lack[2][rounds ? most : 1][8], low[4];
    const auto block = [&](int b, int i, int at) {
        if constexpr (rounds)
            dec.block(w, lane, b, st.up, a[at][i], lack[at][i]);
        else
            dec.block(w, lane, b, st.up, a[at][i]);
    };
    float t[N / 2], u[N / 2];
    sr_bar_wait(bar.w_full + st.w.at, st.w.parity);
    dec.open(w, lane);
    block(0, 0, 0);
    if constexpr (F != SR_Q6_K)
        dec.minimums(lane, st.up, low);
    sr_bar_wait(bar.x_full + st.x.at, st.x.parity);
    const uint32_t at = (st.x.at << g.split_log) * P::x_stage + st.phase, op = sr_deep(sr_smem(smem) + at);
#pragma unroll
    for (int i = 0, b = 0; i < groups; i++) {
        const int n = blocks(i);
        sr_wg_fence();
        if (F != SR_Q6_K && b == 0)
            sr_wgmma_deep<N>(u, low, op + (N * 512 >> 4), 0);
#pragma unroll
        for (int j = 0; j < n * 2; j++) {
            const uint32_t in = ((b + j / 2) / 2 * (N * 128) >> 4) + (b * 2 + j) % 4 * 2;
            sr_wgmma_deep<N>(t, a[i % 2][j / 2] + j % 2 * 4, op + in, b + j > 0);
            if constexpr (rounds)
                sr_wgmma_deep<N>(t, lack[i % 2][j / 2] + j % 2 * 4, op + in, 1);
        }
        sr_wg_commit();
        sr_wg_wait<1>(); /* the products before these have read the other half of a */
        b += n;
#pragma unroll
        for (int j = 0; j < blocks(i + 1); j++)
            block(b + j, j, i % 2 ^ 1);
    }
    free90(bar.w_empty + st.w.at);
    st.w.next(g.w_depth);
    float2 factor[N / 8];
#pragma unroll
    for (int i = 0; i < N / 8; i++)
        factor[i] = *(const float2 *)(smem + at + sr_gemm90_factor(N, i * 8) + lane % 4 * 8);
    sr_wg_wait<0>();
    free90(bar.x_empty + st.x.at);
    st.x.next(g.x_depth);
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
        float v = t[j] * dec.d[j / 2 % 2];
        if constexpr (F != SR_Q6_K)
            v = fmaf(u[j], dec.dm[j / 2 % 2], v);
        st.d[j] = fmaf(v, j % 2 ? factor[j / 4].y : factor[j / 4].x, st.d[j]);
    }
}

/* A warp alone, by mma, with a tile and x of it in one stage: wgmma of 8 columns takes as long as of 32 (notes/0053).  factor: those of the tile's
 * inputs for the lane's columns. */
template <int N, int F, uint32_t FORMATS>
__device__ __forceinline__ void stage90_few(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, const float *factor, state90<N> &st)
{
    constexpr int NT    = N / 8;
    const uint32_t lane = threadIdx.x % 32;
    const uint8_t *w    = smem + g.at_w + st.w.at * g.w_stage + st.tile, *x = smem + st.w.at * g.x_stage + st.phase + lane * 16;
    float sum[NT][4]    = {};
    sr_bar_wait(bar.w_full + st.w.at, st.w.parity);
    sr_cols<NT> at = {x, N * 64, {}};
#pragma unroll
    for (int i = 1; i < NT; i++)
        at.off[i] = i * 512;
    if constexpr (F == SR_Q4_K || F == SR_Q5_K)
        few_k45<F, NT>(w, at, lane, st.up, sum);
    else
        tile_multiply<F, NT>(w, at, lane, 0, sum);
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        const float2 f = *(const float2 *)(factor + nt * 8);
#pragma unroll
        for (int i = 0; i < 4; i++)
            st.d[nt * 4 + i] = fmaf(sum[nt][i], i % 2 ? f.y : f.x, st.d[nt * 4 + i]);
    }
    free90(bar.w_empty + st.w.at);
    st.w.next(g.w_depth);
}

/* A step of which nothing is this seat's. */
template <int N, uint32_t FORMATS> __device__ __forceinline__ void skip90(const sr_gemm90 &g, const bars90 &bar, state90<N> &st)
{
    sr_bar_wait(bar.w_full + st.w.at, st.w.parity);
    sr_bar_arrive(bar.w_empty + st.w.at);
    st.w.next(g.w_depth);
    if constexpr (shape90<N, FORMATS>::few)
        return;
    sr_bar_wait(bar.x_full + st.x.at, st.x.parity);
    sr_bar_arrive(bar.x_empty + st.x.at);
    st.x.next(g.x_depth);
}

/* What is done with one of FORMATS, if it is the one at hand; a lone one is not asked for. */
#define IF_FORMAT90(F, ...)                                                                                  \
    if constexpr ((FORMATS & ONE90(F)) != 0)                                                                 \
        if ((FORMATS & ~SR_GEMM90_PAIRS) == ONE90(F) || format == F) {                                       \
            __VA_ARGS__                                                                                      \
            return;                                                                                          \
        }

template <int N, uint32_t FORMATS>
__device__ __forceinline__ void any_stage90(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, uint32_t format, const float *factor, state90<N> &st)
{
#define CASE(F)                                                                                              \
    IF_FORMAT90(                                                                                             \
        F, if constexpr (shape90<N, FORMATS>::few) stage90_few<N, F, FORMATS>(g, bar, smem, factor, st);     \
        else stage90<N, F, FORMATS>(g, bar, smem, st);)
    CASE(SR_Q4_K)
    CASE(SR_Q6_K)
    CASE(SR_Q5_K)
    CASE(SR_Q8_0)
    CASE(SR_Q4_0)
    CASE(SR_F16)
    CASE(SR_BF16)
#undef CASE
}

/* Stages [k0, k1) in whole numbers: a loop of its own for each format, which asks for it once. */
template <int N, uint32_t FORMATS>
__device__ __forceinline__ void stages90_int(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, uint32_t format, uint32_t k0, uint32_t k1, state90<N> &st)
{
#define CASE(F) IF_FORMAT90(F, for (uint32_t k = k0; k < k1; k++) stage90_int<N, F, FORMATS>(g, bar, smem, st);)
    CASE(SR_Q4_K)
    CASE(SR_Q6_K)
    CASE(SR_Q5_K)
#undef CASE
}

/* Seats are warpgroups, with four row tiles each, or with few columns warps, with one.  `split` seats share their row tiles' inputs, and have a tile
 * of a step each. */
struct seat90 {
    uint32_t at, phase, rows; /* at: which of the block's `rows` runs of row tiles */
};
template <int N> __device__ __forceinline__ seat90 seat90_of(const sr_gemm90 &g)
{
    constexpr uint32_t wide = sr_gemm90_wide(N);
    const uint32_t seat     = __shfl_sync(0xffffffff, threadIdx.x / (wide * 32), 0); /* one for all lanes, as the compiler sees now */
    return {seat >> g.split_log, seat & ((1u << g.split_log) - 1), (g.tiles + wide - 1) / wide};
}
/* The warp's row tile, of the unit's. */
template <int N> __device__ __forceinline__ uint32_t tile90(const seat90 &seat)
{
    constexpr uint32_t wide = sr_gemm90_wide(N);
    return seat.at * wide + threadIdx.x / 32 % wide;
}

/* Where numbers d[j] of this thread go, and what is added to them there.  PAIRS: d[j] is the sum of what was d[2 j], d[2 j + 1], a row of x a column.
 * SCALED: what is summed up still wants its column's factor. */
template <bool PAIRS, bool SCALED> struct target90 {
    uint32_t c0, columns; /* the first; of this unit's, those that are true */
    float bias[2];
    const float *z;
    float *y;
    bool mine;
    static constexpr bool scaled = SCALED;
    static __device__ __forceinline__ uint32_t column(uint32_t j) { return PAIRS ? j / 2 * 4 : j / 4 * 8 + j % 2; } /* from c0 on */
    static __device__ __forceinline__ uint32_t half_of(uint32_t j) { return (PAIRS ? j : j / 2) % 2; } /* row g or g + 8 of the row tile */
    __device__ __forceinline__ bool there(uint32_t j) const { return mine && c0 + column(j) < columns; }
    __device__ __forceinline__ size_t at(const sr_gemm90 &g, uint32_t j) const { return (size_t)column(j) * g.width + half_of(j) * 8; }
};
template <int N, uint32_t FORMATS>
__device__ __forceinline__ target90<shape90<N, FORMATS>::pairs, shape90<N, FORMATS>::scaled> target90_of(const sr_gemm90 &g, const unit90 &s, uint32_t tile, uint32_t n)
{
    using P                   = shape90<N, FORMATS>;
    const sr_gemm90part &part = g.part[s.part];
    const uint32_t lane = threadIdx.x % 32, row = (s.row_tile + tile) * 16 + lane / 4;
    target90<P::pairs, P::scaled> t;
    t.mine          = tile < s.tiles;
    t.c0            = P::pairs ? lane % 4 : lane % 4 * 2;
    t.columns       = n - s.column * P::rows;
    const size_t at = (size_t)(s.column * P::rows + t.c0) * g.width + part.y0 + row;
    t.z             = g.z ? g.z + at : NULL;
    t.y             = g.y + at;
    t.bias[0]       = part.bias && t.mine ? __ldg(part.bias + row) : 0;
    t.bias[1]       = part.bias && t.mine ? __ldg(part.bias + row + 8) : 0;
    return t;
}

/* What is added to d[j0] .. d[j1 - 1]; asked for before it is needed. */
template <int MOST, class T>
__device__ __forceinline__ void beside90(const sr_gemm90 &g, const T &t, uint32_t j0, uint32_t j1, float *more)
{
#pragma unroll
    for (int i = 0; i < MOST; i++) /* loads that wait for nothing */
        more[i] = t.z && j0 + i < j1 && t.there(j0 + i) ? __ldcg(t.z + t.at(g, j0 + i)) : 0;
#pragma unroll
    for (int i = 0; i < MOST; i++)
        more[i] += T::half_of(j0 + i) ? t.bias[1] : t.bias[0];
}

/* y of v[i], which is d[j0 + i].  scale: in shared memory, from the unit's first column on. */
template <int MOST, class T>
__device__ __forceinline__ void store90(const sr_gemm90 &g, const T &t, const float *scale, uint32_t j0, uint32_t j1, const float *v,
                                        const float *more)
{
#pragma unroll
    for (int i = 0; i < MOST; i++)
        if (j0 + i < j1 && t.there(j0 + i))
            t.y[t.at(g, j0 + i)] = T::scaled ? fmaf(v[i], scale[t.c0 + T::column(j0 + i)], more[i]) : v[i] + more[i];
}

/* All who share a unit are here. */
template <int N> __device__ __forceinline__ void meet90(const sr_gemm90 &g, const seat90 &seat)
{
    if (g.cluster_log)
        sr_cluster_meet();
    else
        asm volatile("bar.sync 1, %0;" ::"r"((seat.rows << g.split_log) * sr_gemm90_wide(N) * 32) : "memory");
}

/* Sums of those who share a unit's inputs become one: each gets some numbers, d[j] (E of them) of all threads, from the others, and adds them up in the
 * order of the inputs.  They lie where the rings were. */
template <int N, uint32_t E, class T>
__device__ __forceinline__ void join90(const sr_gemm90 &g, uint8_t *smem, const seat90 &seat, const T &t, const float *scale, const state90<N> &st)
{
    constexpr uint32_t lanes = sr_gemm90_wide(N) * 32;
    constexpr int at_once = N <= 16 ? 4 : N <= 32 ? 8 : 16;
    const uint32_t all_log = g.cluster_log + g.split_log, all = 1u << all_log, rank = rank90(g), mine = (rank << g.split_log) + seat.phase,
                   base = sr_smem(smem) + (seat.at * lanes + threadIdx.x % lanes) * 4, hop = seat.rows * lanes * 4;
    meet90<N>(g, seat); /* nobody reads rings any more */
#pragma unroll
    for (uint32_t j = 0; j < E; j++) {
        const uint32_t owner = ((((j + 1) << all_log) - 1) / E) >> g.split_log, low = owner * E >> g.cluster_log;
        uint32_t at;
        asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(at) : "r"(base + (((j - low) << all_log) + mine) * hop), "r"(owner));
        asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(at), "f"(st.d[j]) : "memory");
    }
    const uint32_t j0 = mine * E >> all_log, j1 = (mine + 1) * E >> all_log, low = rank * E >> g.cluster_log;
    float more[at_once];
    beside90<at_once>(g, t, j0, j1, more);
    meet90<N>(g, seat);
    for (uint32_t j = j0; j < j1; j += at_once) {
        float v[at_once] = {};
        if (j > j0)
            beside90<at_once>(g, t, j, j1, more);
        for (uint32_t b = 0; b < all; b++) {
#pragma unroll
            for (int k = 0; k < at_once; k++) {
                float w = 0;
                if (j + k < j1)
                    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(w) : "r"(base + (((j + k - low) << all_log) + b) * hop) : "memory");
                v[k] += w;
            }
        }
        store90<at_once>(g, t, scale, j, j1, v, more);
    }
}

/* A seat's copy of a unit's scales; units take two by turns, so that nobody still reads what the next unit's are written to. */
template <int N> __device__ __forceinline__ float *scales90(const sr_gemm90 &g, uint8_t *smem, const seat90 &seat, bool even)
{
    constexpr uint32_t seats = sr_gemm90_seats(N);
    return (float *)(smem + g.at_bar + SR_GEMM90_BARS) + ((even ? seats : 0) + (seat.at << g.split_log) + seat.phase) * N;
}

/* A thread's share of a unit's scales. */
template <int N, uint32_t FORMATS> struct some90 {
    using P = shape90<N, FORMATS>;
    static constexpr int most = (P::rows + P::lanes - 1) / P::lanes;
    float v[most];
    __device__ __forceinline__ void ask(const sr_gemm90 &g, const unit90 &s, uint32_t n)
    {
        sr_pdl_wait();
#pragma unroll
        for (uint32_t i = 0; i < most; i++) {
            const uint32_t r = threadIdx.x % P::lanes + i * P::lanes, at = s.column * P::rows + r;
            v[i]             = r < P::rows && at < n ? __ldcg(g.scale + at) : 0;
        }
    }
    __device__ __forceinline__ void put(float *scale) const
    {
#pragma unroll
        for (uint32_t i = 0; i < most; i++)
            if (threadIdx.x % P::lanes + i * P::lanes < P::rows)
                scale[threadIdx.x % P::lanes + i * P::lanes] = v[i];
    }
};

template <int N, uint32_t FORMATS>
__device__ __forceinline__ void consume90(const sr_gemm90 &g, uint8_t *smem, uint32_t n, uint32_t columns)
{
    using P           = shape90<N, FORMATS>;
    const bars90 bar  = bars90_of(g, smem);
    const seat90 seat = seat90_of<N>(g);
    state90<N> st;
    bool even = false;
    if (seat.at >= seat.rows)
        return;
    st.w     = {0, 0};
    st.x     = {0, 0};
    st.up    = __shfl_sync(0xffffffff, g.twice_1024, 0);
    st.phase = seat.phase * P::x_stage;
    for (uint32_t u = cluster90(g); u < g.units; u += clusters90(g)) {
        const unit90 s            = unit90_of(g, u);
        const sr_gemm90part &part = g.part[s.part];
        if (s.column >= columns)
            continue;
        const uint32_t tile = tile90<N>(seat);
        st.tile             = ((min(tile, s.tiles - 1) << g.split_log) + seat.phase) * part.bytes;
        float *scale = !P::scaled ? NULL : scales90<N>(g, smem, seat, even);
        even         = !even;
        some90<N, FORMATS> scales;
        for (uint32_t i = threadIdx.x % P::lanes; P::scaled && !P::later && i < P::rows; i += P::lanes) /* while the first tiles are on their way */
            scale[i] = s.column * P::rows + i < n ? __ldcg(g.scale + s.column * P::rows + i) : 0;
#pragma unroll
        for (int j = 0; j < N / 2; j++)
            st.d[j] = 0;
        const uint32_t mine = (part.tiles_k - seat.phase + (1u << g.split_log) - 1) >> g.split_log;
        uint32_t k1         = P::few && tile >= s.tiles ? s.k0 : min(s.k1, mine);
        if (P::few) { /* what comes from a shuffle is kept, not worked out again for each step */
            k1      = __shfl_sync(0xffffffff, k1, 0);
            st.tile = __shfl_sync(0xffffffff, st.tile, 0);
            sr_bar_wait(bar.x_full, 0);
        }
        const float *factor = (const float *)(smem + g.at_bar + SR_GEMM90_BARS) + threadIdx.x % 4 * 2; /* few columns: of each 256 inputs */
        if (P::later && k1 <= s.k0)
            scales.ask(g, s, n);
        if constexpr (P::exact)
            stages90_int<N, FORMATS>(g, bar, smem, part.format, s.k0, k1, st);
        else
            for (uint32_t k = s.k0; k < k1; k++) {
                any_stage90<N, FORMATS>(g, bar, smem, part.format, factor + ((k << g.split_log) + seat.phase) / (8 / P::w_blocks) * N, st);
                if (P::later && k == s.k0) /* nobody has waited for them, nor for the launch before: x is here, and they are */
                    scales.ask(g, s, n);
            }
        if (k1 < s.k1) /* a last step in which others' inputs end */
            skip90<N, FORMATS>(g, bar, st);
        for (uint32_t k = max(k1, s.k0) + 1; P::few && k < s.k1; k++) /* a warp that has no row tile */
            skip90<N, FORMATS>(g, bar, st);
        if constexpr (P::later)
            scales.put(scale);
        if constexpr (P::exact) /* x is there: nobody waits */
            sr_pdl_wait();
        constexpr int E = P::rows / 2; /* sums of this thread */
        const auto t    = target90_of<N, FORMATS>(g, s, tile, n);
        if constexpr (P::pairs)
#pragma unroll
            for (int j = 0; j < E; j++)
                st.d[j] = st.d[2 * j] + st.d[2 * j + 1];
        if constexpr (P::few)
#pragma unroll
            for (int j = 0; j < E; j++)
                st.d[j] *= 1 / P::unit;
        if (g.split_log + g.cluster_log) { /* such a block has one unit */
            join90<N, E>(g, smem, seat, t, scale, st);
            return;
        }
        if constexpr (P::few)
            __syncwarp();
        else
            asm volatile("bar.sync %0, 128;" ::"r"(threadIdx.x / 128 + 1) : "memory");
        constexpr int some = E < 16 ? E : 16;
#pragma unroll
        for (int j = 0; j < E; j += some) {
            float more[some];
            beside90<some>(g, t, j, j + some, more);
            store90<some>(g, t, scale, j, j + some, st.d + j, more);
        }
    }
}
#endif

template <int N, uint32_t FORMATS>
__global__ void __launch_bounds__((shape90<N, FORMATS>::threads), 1) gemm90_kernel(const __grid_constant__ sr_gemm90 g)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(1024) uint8_t smem[];
    constexpr int groups = shape90<N, FORMATS>::groups, askers = shape90<N, FORMATS>::askers;
    const bars90 bar     = bars90_of(g, smem);
    if (threadIdx.x < SR_GEMM90_DEPTH) {
        sr_bar_init(bar.w_full + threadIdx.x, askers + shape90<N, FORMATS>::few);
        const uint32_t wide = sr_gemm90_wide(N), readers = (g.tiles + wide - 1) / wide * wide * 32 << g.split_log;
        sr_bar_init(bar.w_empty + threadIdx.x, readers);
        sr_bar_init(bar.x_full + threadIdx.x, 1);
        sr_bar_init(bar.x_empty + threadIdx.x, readers);
        sr_bar_fence();
    }
    __syncthreads();
    sr_pdl_launch();
    /* Neither weights nor the count are written by launches that may still run. */
    constexpr uint32_t rows = shape90<N, FORMATS>::rows;
    const uint32_t warp = threadIdx.x / 32, n = g.count ? min(__ldcg(g.count), g.m) : g.m, columns = (n + rows - 1) / rows;
    if (warp >= groups * 4) {
        if constexpr (groups == 2)
            asm volatile("setmaxnreg.dec.sync.aligned.u32 72;");
        else
            asm volatile("setmaxnreg.dec.sync.aligned.u32 64;");
        if (warp < groups * 4 + askers && threadIdx.x % 32 == 0)
            produce_w90(g, smem, columns, warp - groups * 4, askers);
        if (warp == groups * 4 + askers && threadIdx.x % 32 == 0) {
            sr_pdl_wait();
            produce_x90<N, FORMATS>(g, smem, columns);
        }
        if (g.cluster_log) { /* the first meet90() is a producer's, too */
            __syncwarp();
            sr_cluster_arrive();
        }
        return;
    }
    if constexpr (groups == 2)
        asm volatile("setmaxnreg.inc.sync.aligned.u32 216;");
    else
        asm volatile("setmaxnreg.inc.sync.aligned.u32 104;");
    if (!shape90<N, FORMATS>::later && !shape90<N, FORMATS>::exact)
        sr_pdl_wait();
    consume90<N, FORMATS>(g, smem, n, columns);
#endif
}

template <int N, uint32_t FORMATS> static cudaError_t gemm90_start(const cudaLaunchConfig_t *c, const sr_gemm90 *g)
{
    cudaError_t e = cudaFuncSetAttribute(gemm90_kernel<N, FORMATS>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)g->smem);
    if (!e) /* one split of the memory for all: changing it empties the multiprocessor */
        e = cudaFuncSetAttribute(gemm90_kernel<N, FORMATS>, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(c, gemm90_kernel<N, FORMATS>, *g);
}

/* Instances of formats that may be in pairs; PAIRS: 0, or that bit.  Up to 32 columns one for all K-quants: code that a launch does not find on its
 * multiprocessor comes from L2, or from behind it (notes/0062). */
template <int N, uint32_t PAIRS> static cudaError_t gemm90_start_either(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats)
{
    if constexpr (N <= 32 && sr_gemm90_exact(N, SR_GEMM90_K)) {
        if (!(formats & ~SR_GEMM90_K))
            return gemm90_start<N, PAIRS | SR_GEMM90_K>(c, g);
    } else
        switch (formats) {
        case ONE90(SR_Q4_K):
            return gemm90_start<N, PAIRS | ONE90(SR_Q4_K)>(c, g);
        case ONE90(SR_Q5_K):
            return gemm90_start<N, PAIRS | ONE90(SR_Q5_K)>(c, g);
        case ONE90(SR_Q6_K):
            return gemm90_start<N, PAIRS | ONE90(SR_Q6_K)>(c, g);
        case SR_GEMM90_MIX4:
            return gemm90_start<N, PAIRS | SR_GEMM90_MIX4>(c, g);
        case SR_GEMM90_MIX5:
            return gemm90_start<N, PAIRS | SR_GEMM90_MIX5>(c, g);
        default:
            break;
        }
    switch (formats) {
    case ONE90(SR_F16):
        return gemm90_start<N, PAIRS | ONE90(SR_F16)>(c, g);
    case ONE90(SR_BF16):
        return gemm90_start<N, PAIRS | ONE90(SR_BF16)>(c, g);
    default:
        return cudaErrorInvalidValue;
    }
}

template <int N> static cudaError_t gemm90_start_formats(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats)
{
    if (formats & SR_GEMM90_PAIRS) {
        if constexpr (N >= 16 && N <= 64)
            return gemm90_start_either<N, SR_GEMM90_PAIRS>(c, g, formats & ~SR_GEMM90_PAIRS);
        return cudaErrorInvalidValue;
    }
    switch (formats) {
    case ONE90(SR_Q4_0):
        return gemm90_start<N, ONE90(SR_Q4_0)>(c, g);
    case ONE90(SR_Q8_0):
        return gemm90_start<N, ONE90(SR_Q8_0)>(c, g);
    default:
        return gemm90_start_either<N, 0>(c, g, formats);
    }
}
#endif
