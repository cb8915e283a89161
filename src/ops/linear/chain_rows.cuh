/* chain_rows.cuh - a chain's kernel for several rows of x (chain.h).
 *
 * As that for one row (chain.cuh: meetings, rings, products), but for x, which is what several rows cost: blocks are clusters of two (twins), and
 * each reads and rounds half of x for both.  Stores into the twin's memory are counted by a barrier of its own (st.async): nobody waits for them
 * but who needs them.  The twin's x may be overwritten when all blocks have met, or both of a cluster have.
 *
 * Three rows are four without one: their warps share three columns. */
#ifndef SR_OPS_LINEAR_CHAIN_ROWS_CUH
#define SR_OPS_LINEAR_CHAIN_ROWS_CUH
#include "ops/linear/chain.cuh"

#if RING
/* ---- inputs ------------------------------------------------------------------------------------------------- */

/* Columns of x that are there. */
template <int C> __device__ __forceinline__ uint32_t columns_of(const sr_chain &c) { return C < 4 ? C : c.m; }

/* A store into shared memory, and with `there` also as far away, in the twin's, where the barrier `bar` counts its bytes. */
struct twice {
    uint32_t there, bar;
    __device__ __forceinline__ void store(void *to, uint2 v) const
    {
        *(uint2 *)to = v;
        if (there)
            sr_store_there(sr_smem(to) + there, v, bar);
    }
    __device__ __forceinline__ void store(float *to, float v) const
    {
        *to = v;
        if (there)
            sr_store_there(sr_smem(to) + there, __float_as_uint(v), bar);
    }
};

/* Of n 256-blocks those that a block of a cluster stages: turns of `each` go to the two alternately. */
__device__ __forceinline__ uint32_t turns_of(uint32_t n, uint32_t each, uint32_t rank)
{
    const uint32_t rest = n % (2 * each), before = rank * each;
    return n / (2 * each) * each + (rest > before ? min(rest - before, each) : 0);
}

/* x into shared memory, normed if the product wants it, but for the norm's division: squares gets what it needs, [block of the cluster][warp].
 * A warp has 256-blocks of one column, the loads of AHEAD of them on their way. */
template <int C, bool INT>
__device__ __forceinline__ void stage_rows(const sr_chain &c, const sr_chainlink &a, uint8_t *xs, float *scale, float *squares, uint64_t *bar)
{
    constexpr int AHEAD = INT ? 2 : 4; /* halves have no twins */
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, columns = columns_of<C>(c), each = CHAIN_WARPS / columns,
                   column = warp % columns;
    uint32_t step = each, first = warp / columns, rank = 0;
    twice to      = {0, 0};
    if (INT && c.twin) {
        rank     = sr_cluster_rank();
        to.there = sr_cluster_offset(xs, rank ^ 1);
        to.bar   = sr_smem(bar) + to.there;
        step *= 2;
        first += rank * each;
        if (threadIdx.x == 0) /* pieces, sums and factors; squares */
            sr_bar_expect(bar, columns * turns_of(a.blocks_k, each, rank ^ 1) * (SR_CHAIN_X(C, 0) / C + 4) + CHAIN_WARPS * 4);
    }
    const uint32_t mine = first * 256 + lane / 4 * 32 + lane % 4 * 4;
    const float *from = a.x + (size_t)column * a.x_stride + mine, *norm = a.norm + mine;
    float sum         = 0;
    xload x[AHEAD], w = {};
#pragma unroll
    for (int j = 0; j < AHEAD; j++)
        x[j] = ask_eight<false>(from + j * step * 256, first + j * step < a.blocks_k);
    if (a.norm)
        w = ask_eight<true>(norm, first < a.blocks_k);
#pragma unroll 1 /* what a chain's code is long costs more than moving loads on */
    for (uint32_t k = warp < each * columns ? first : ~0u; k < a.blocks_k; k += step) {
        from += step * 256;
        if (a.norm) {
            sum += x_times(x[0], w);
            norm += step * 256;
            w = ask_eight<true>(norm, k + step < a.blocks_k);
        }
        if constexpr (INT)
            int_store<C>(x[0].u, x[0].v, sr_warp_top8(x[0].u, x[0].v), xs + k * sr_ints<C>::STEP + column * INT_BLOCK, scale + k * C + column, to);
        else
            x_store<0>(x[0], xs + k * 9 * C * 64 + column * 64, C * 64, scale + k * C + column);
#pragma unroll
        for (int j = 0; j + 1 < AHEAD; j++)
            x[j] = x[j + 1];
        x[AHEAD - 1] = ask_eight<false>(from + (AHEAD - 1) * step * 256, k + AHEAD * step < a.blocks_k);
    }
    sum = sr_lanes_sum(sum);
    if (lane == 0)
        to.store(squares + rank * CHAIN_WARPS + warp, sum);
}

/* What the norm divides by, inverted, of a column; 1 without a norm. */
template <int C> __device__ __forceinline__ float divisor_of_rows(const sr_chain &c, const sr_chainlink &a, const float *squares, uint32_t column)
{
    if (!a.norm)
        return 1;
    const uint32_t warp = threadIdx.x % CHAIN_WARPS;
    float v             = warp % columns_of<C>(c) == column ? squares[warp] + (c.twin ? squares[CHAIN_WARPS + warp] : 0) : 0;
#pragma unroll
    for (int j = 1; j < CHAIN_WARPS; j *= 2)
        v += __shfl_xor_sync(0xffffffff, v, j);
    return rsqrtf(__fdividef(v, (float)a.cols) + a.eps); /* as divisor_of */
}

/* ---- sums --------------------------------------------------------------------------------------------------- */

/* Of a row tile's sums a half warp has one column, C / 2 warps have all: the column of a lane, and the first row tile of its turns. */
template <int C> __device__ __forceinline__ uint32_t column_of(void) { return threadIdx.x / 16 % C; }
template <int C> __device__ __forceinline__ uint32_t turn_of(void) { return threadIdx.x / (16 * C); }

template <int C> __device__ __forceinline__ float sum_of(const float *p, uint32_t groups)
{
    float v = 0;
#pragma unroll 4
    for (uint32_t i = 0; i < groups; i++)
        v += p[i * C * 16];
    return v;
}

/* Row tiles' sums, by warps in turn; s: the norm's factor. */
template <int C>
__device__ __forceinline__ void finish_rows(const sr_chainlink &a, uint32_t m, const float *sums, float s, float z)
{
    constexpr uint32_t STEP = CHAIN_WARPS * 2 / C;
    const uint32_t r = threadIdx.x % 16, groups = 1u << a.groups_log, step = groups * C * 16, column = column_of<C>(), first = first_row<0>(a),
                   last = first + rows_of<0>(a);
#pragma unroll 1
    for (uint32_t row = first + (turn_of<C>() << a.glu); row < last; row += STEP << a.glu) {
        const float *p = sums + (row - first) * step + column * 16 + r;
        float sum      = sum_of<C>(p, groups) * s;
        if (a.glu) {
            float up = sum_of<C>(p + step, groups) * s;
            if (column < m)
                a.y[(size_t)column * a.width + row / 2 * 16 + r] = (a.glu_gelu ? sr_gelu(sum) : sr_silu(sum)) * up;
            continue;
        }
        uint32_t tile;
        const sr_chainpart &w = part_of_row(a, row, &tile);
        const size_t y        = (size_t)column * a.width + w.y0 + tile * 16 + r;
        if (w.bias)
            sum += w.bias[tile * 16 + r];
        if (row >= first + STEP && a.z && column < m) /* the first one has come before the products */
            z = __ldcg(a.z + y);
        if (column < m)
            a.y[y] = a.z ? sum + z : sum;
    }
}
#endif

template <int C, uint32_t FORMATS> __global__ void __launch_bounds__(32 << WARPS_LOG, 1) chain_rows_kernel(const __grid_constant__ sr_chain c)
{
#if RING
    extern __shared__ __align__(128) uint8_t smem[];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *scale = (float *)(smem + c.at_scale), *squares = (float *)(smem + c.at_squares);
    uint64_t *bars = (uint64_t *)(smem + c.at_bar), *twin = bars + CHAIN_WARPS * c.depth;
    MARK(0);
    flow f;
    share s;
    open_rings<true>(c, smem, bars, twin, warp, lane, f, s);
    uint32_t rows = 0;
#pragma unroll 1
    for (uint32_t i = ~0u;; i++) { /* ~0: before the first product its first tiles are asked for */
        const sr_chainlink &a = c.link[i == ~0u ? 0 : i];
        float z = 0, d = 0, *sums = (float *)(smem + a.at_sums);
        if (i != ~0u) {
            s = share_of<0>(a);
            if (i && !a.later)
                meet(c.meet, c.blocks);
            else if (i && c.twin) { /* the twin has done with x */
                sr_cluster_meet();
            }
            MARK(3 + 5 * i);
            stage_rows<C, !(FORMATS & HALVES)>(c, a, smem, scale, squares, twin);
            if (a.z && !a.more && turn_of<C>() < rows_of<0>(a)) { /* of the row tile this warp will finish */
                uint32_t tile;
                const sr_chainpart &w = part_of_row(a, first_row<0>(a) + turn_of<C>(), &tile);
                z                     = __ldcg(a.z + (size_t)min(column_of<C>(), c.m - 1) * a.width + w.y0 + tile * 16 + lane % 16);
            }
            __syncthreads();
            if (c.twin)
                sr_bar_wait(twin, i & 1); /* once a link */
            MARK(4 + 5 * i);
            d = divisor_of_rows<C>(c, a, squares, column_of<C>());
        }
        multiply<C, 0, FORMATS>(c, s, i == ~0u ? c.first : c.depth, f, smem + s.k * SR_CHAIN_X(C, FORMATS & HALVES), scale + s.k * C,
                             [&](uint32_t row, const float acc[4]) {
                                 float *to = sums + (warp + row * CHAIN_WARPS) * C * 16;
                                 row_out<C, !(FORMATS & HALVES)>(acc, [&](uint32_t j, float v) { to[j] = a.later ? to[j] + v : v; });
                             });
        if (i == ~0u) {
            MARK(1);
            if (c.twin)
                sr_cluster_arrive();
            sr_pdl_launch();
            if (c.twin)
                sr_cluster_wait(); /* the twin is there */
            sr_pdl_wait();
            MARK(2);
            rows = __ldcg(c.count);
            continue;
        }
        if (i + 1 < c.n)
            norm_ahead(c.link[i + 1]);
        MARK(5 + 5 * i);
        __syncthreads();
        MARK(6 + 5 * i);
        if (a.more)
            continue;
        finish_rows<C>(a, min(rows, c.m), sums, d, z);
        MARK(7 + 5 * i);
        if (i + 1 == c.n) /* what the twin has sent has come: nothing of it is on its way to a block that has ended */
            return;
    }
#endif
}

template <uint32_t FORMATS> static cudaError_t chain_start(const cudaLaunchConfig_t *config, const sr_chain *c)
{
    if (c->m > 1 && !c->pair)
        return chain_go(c->m == 2 ? chain_rows_kernel<2, FORMATS> : chain_rows_kernel<4, FORMATS>, config, c);
    if constexpr (!(FORMATS & HALVES))
        if (c->pair)
            return chain_go(chain_kernel<2, true, FORMATS>, config, c);
    return chain_go(chain_kernel<1, false, FORMATS>, config, c);
}

/* The start of an instance that knows `formats`, if FORMATS do. */
template <uint32_t FORMATS> static sr_chainstart chain_of(uint32_t formats)
{
    return (formats & ~FORMATS) == 0 ? chain_start<FORMATS> : NULL;
}
#endif
