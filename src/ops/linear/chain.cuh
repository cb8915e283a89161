/* chain: up to four products one after the other in one launch, norms and glu in between (chain.h)
 * Shapes   per product: 1 row of x (several: chain_rows.cuh), weights in tiles of 16 rows, inputs of which half fits into shared memory.
 * Roofline bytes = weights; x of every product passes L2 once per multiprocessor.
 * Target   H200, 8B Q4_K_M, 1 row: a layer's four products within 1.3 of reading their weights.
 * Mapping  a block of 16 warps per multiprocessor; two of them, twins, have the same whole row tiles and half of their inputs each (a block of small
 *          products has row tiles of its own).  Warps are `groups` along the block's inputs times 16 / groups along the rows; each has its
 *          inputs of a row tile at a time through a ring of its own.  x, as whole numbers (spread_int.cuh; f16 for F16 and BF16), is staged by those
 *          that multiply it; sums of a product meet in the memory of the block that finishes the row tile.
 * Latency  what a block must fetch between products (x, z) is asked for before anything else there; code and
 *          constants are kept few, since each product meets them cold.
 * Archs    sm_90.                                                                               */
#ifndef SR_OPS_LINEAR_CHAIN_CUH
#define SR_OPS_LINEAR_CHAIN_CUH
#include "ops/linear/chain.h"
#include "ops/linear/skinny_part.cuh"
#include "ops/linear/spread_int.cuh"

#ifdef SR_CHAIN_TRACE /* where a block's time goes: chain_cuda_bench.cu */
extern __device__ long long sr_chain_trace[512][64];
#define MARK(e)                                                                                              \
    if (threadIdx.x == 0)                                                                                    \
    sr_chain_trace[blockIdx.x][e] = clock64()
#else
#define MARK(e) (void)0
#endif

enum { WARPS_LOG = SR_CHAIN_WARPS_LOG, CHAIN_WARPS = 1 << WARPS_LOG };

#if RING
/* ---- meeting ------------------------------------------------------------------------------------------------ */

/* A block's one thread that waits for all others': the counter's other bits are zero between meetings, its top bit changes with each: block 0 adds
 * what is missing to it (as cooperative groups do). */
__device__ __forceinline__ void meet_blocks(uint32_t *counter, uint32_t blocks)
{
    uint32_t add = blockIdx.x ? 1 : 0x80000000u - (blocks - 1), was, now;
    asm volatile("atom.add.acq_rel.gpu.u32 %0, [%1], %2;" : "=r"(was) : "l"(counter), "r"(add) : "memory");
    do {
        asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
    } while (((was ^ now) & 0x80000000u) == 0);
}

/* All blocks have come here, and what they have written is visible to all. */
__device__ __forceinline__ void meet(uint32_t *counter, uint32_t blocks)
{
    __syncthreads();
    if (threadIdx.x == 0)
        meet_blocks(counter, blocks);
    __syncthreads();
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

/* The weight of a row tile and its number in it: one weight after the other, or gate and up in turn. */
__device__ __forceinline__ const sr_chainpart &part_of_row(const sr_chainlink &a, uint32_t row, uint32_t *tile)
{
    uint32_t part = a.glu ? row & 1 : (row >= a.part[1].tile0) + (row >= a.part[2].tile0);
    *tile         = a.glu ? row >> 1 : row - a.part[part].tile0;
    return a.part[part];
}

/* Row tiles are a block's, or with T = 1 those of a cluster of two (twins), of whose inputs each has half: the first one, and how many. */
template <uint32_t T> __device__ __forceinline__ uint32_t first_row(const sr_chainlink &a)
{
    const uint32_t unit = blockIdx.x >> T;
    return (unit * a.rows_block + min(unit, a.rows_extra)) << a.glu;
}
template <uint32_t T> __device__ __forceinline__ uint32_t rows_of(const sr_chainlink &a)
{
    return (a.rows_block + ((blockIdx.x >> T) < a.rows_extra)) << a.glu;
}

/* A warp's row tiles and inputs of a product.  Lane i knows the i-th row tile's weight: what each row would have to look up
 * is looked up for all of them at once. */
struct share {
    uint32_t first, n, step, end; /* row tiles first, first + step, .., n of them; end of the block's */
    uint32_t k, n_k;              /* 256-blocks of inputs: first, number */
    uint32_t what, tiles;         /* of row tile `lane`: a tile's bytes, how many of them are a stage << 16, format << 24; tiles */
    const uint8_t *p;
};

template <uint32_t T> __device__ __forceinline__ share share_of(const sr_chainlink &a)
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = first_row<T>(a), groups_log = a.groups_log + T,
                   group = (warp & ((1u << a.groups_log) - 1)) + ((blockIdx.x & T) << a.groups_log);
    share s;
    uint32_t tile;
    s.first = row0 + (warp >> a.groups_log);
    s.end   = row0 + rows_of<T>(a);
    s.step  = CHAIN_WARPS >> a.groups_log;
    s.n     = s.first < s.end ? (s.end - s.first + s.step - 1) >> (WARPS_LOG - a.groups_log) : 0;
    s.k     = a.blocks_k * group >> groups_log;
    s.n_k   = (a.blocks_k * (group + 1) >> groups_log) - s.k;

    const sr_chainpart &w = part_of_row(a, s.first + min(lane, max(s.n, 1u) - 1) * s.step, &tile);
    s.what  = w.what;
    s.tiles = s.n_k * w.per;
    s.p     = w.p + ((size_t)tile * a.row_k + s.k) * w.per * SR_CHAIN_BYTES(w.what);
    return s;
}

/* Tiles on their way into a warp's ring: c.depth stages, each of up to a few tiles of a row that follow each other. */
struct flow {
    uint8_t *ring;
    uint64_t *bar;            /* of stage 0 */
    uint32_t at, parity, asked; /* the stage to be read next; times that the ring has gone round, last bit; stages asked for and not read */
    const uint8_t *p;         /* next to be asked for: tiles of a row, `left` of them, of rows of `link` begun */
    uint32_t left, what, link, row;
    share s;
};

/* The warp's ring, before anything is asked for, and no rows; TWIN: with the block's barrier for what its twin sends. */
template <bool TWIN>
__device__ __forceinline__ void open_rings(const sr_chain &c, uint8_t *smem, uint64_t *bars, uint64_t *twin, uint32_t warp, uint32_t lane, flow &f, share &s)
{
    f.bar  = bars + warp * c.depth;
    f.ring = smem + c.at_ring + (size_t)warp * c.depth * c.stage;
    f.at = f.parity = f.asked = f.left = f.row = f.s.n = s.n = s.k = 0;
    f.link = ~0u;
    if (lane < c.depth)
        sr_bar_init(f.bar + lane, 1);
    if (TWIN && threadIdx.x == 0)
        sr_bar_init(twin, 1);
    sr_bar_fence();
    __syncwarp();
}

/* Asks for tiles, the next row's or product's too, until `most` stages are on their way or there are no more. */
template <uint32_t T> __device__ __forceinline__ void ask(const sr_chain &c, flow &f, uint32_t most)
{
#pragma unroll 1
    for (; f.asked < most; f.asked++) {
        if (f.left == 0) {
            while (f.row == f.s.n) {
                if (f.link + 1 == c.n)
                    return;
                f.s   = share_of<T>(c.link[++f.link]);
                f.row = 0;
            }
            f.what = __shfl_sync(0xffffffff, f.s.what, f.row);
            f.left = __shfl_sync(0xffffffff, f.s.tiles, f.row);
            f.p    = (const uint8_t *)__shfl_sync(0xffffffff, (unsigned long long)f.s.p, f.row);
            f.row++;
        }
        const uint32_t n = min(SR_CHAIN_CHUNK(f.what), f.left), bytes = n * SR_CHAIN_BYTES(f.what), to = f.at + f.asked,
                       put = to < c.depth ? to : to - c.depth;
        if (threadIdx.x % 32 == 0) {
            sr_bar_expect(f.bar + put, bytes);
            sr_bulk_load(f.ring + put * c.stage, f.p, bytes, f.bar + put);
        }
        f.p += bytes;
        f.left -= n;
    }
}

/* The stage has been read by the whole warp: others may take its place. */
__device__ __forceinline__ void stage_done(const sr_chain &c, flow &f)
{
    sr_async_fence();
    __syncwarp();
    f.asked--;
    if (++f.at == c.depth) {
        f.at = 0;
        f.parity ^= 1;
    }
}

/* ---- inputs ------------------------------------------------------------------------------------------------- */

/* A lane's eight of 256 numbers, if they are there; FIXED: no kernel writes them, a norm's weights. */
template <bool FIXED> __device__ __forceinline__ xload ask_eight(const float *p, bool there)
{
    const float4 *from = (const float4 *)p;
    xload x            = {};
    if (there) {
        x.u = FIXED ? __ldg(from) : __ldcg(from);
        x.v = FIXED ? __ldg(from + 4) : __ldcg(from + 4);
    }
    return x;
}

/* x into shared memory, normed if the product wants it, but for the norm's division: the lane's sum of squares for that is returned.  The warps that
 * share inputs take 256-blocks of them in turn, the loads of AHEAD of them on their way.  PAIR: column 1 is what column 0's whole numbers lack. */
template <int C, bool PAIR, bool INT> __device__ __forceinline__ float stage(const sr_chainlink &a, const share &s, uint8_t *xs, float *scale)
{
    constexpr int AHEAD = PAIR ? 1 : 2;
    const uint32_t lane = threadIdx.x % 32, first = threadIdx.x / 32 >> a.groups_log, step = CHAIN_WARPS >> a.groups_log,
                   mine = (s.k + first) * 256 + lane / 4 * 32 + lane % 4 * 4;
    const float *from = a.x + mine, *norm = a.norm + mine;
    float sum         = 0;
    xload x[AHEAD], w = {};
#pragma unroll
    for (int j = 0; j < AHEAD; j++)
        x[j] = ask_eight<false>(from + j * step * 256, first + j * step < s.n_k);
    if (a.norm)
        w = ask_eight<true>(norm, first < s.n_k);
#pragma unroll 1 /* what a chain's code is long costs more than moving loads on */
    for (uint32_t k = first; k < s.n_k;) {
        if (a.norm)
            sum += x_times(x[0], w);
        if constexpr (INT) {
            const float top = sr_warp_top8(x[0].u, x[0].v);
            int_store<C>(x[0].u, x[0].v, top, xs + k * sr_ints<C>::STEP, scale + k * C);
            if constexpr (PAIR) {
                int_lack(x[0].u, x[0].v, top);
                int_store<C>(x[0].u, x[0].v, sr_warp_top8(x[0].u, x[0].v), xs + k * sr_ints<C>::STEP + INT_BLOCK, scale + k * C + 1);
            }
        } else
            x_store<0>(x[0], xs + k * 9 * C * 64, C * 64, scale + k * C);
        if ((k += step) >= s.n_k) /* mostly the first time */
            break;
        from += step * 256;
        norm += step * 256;
#pragma unroll
        for (int j = 0; j + 1 < AHEAD; j++)
            x[j] = x[j + 1];
        x[AHEAD - 1] = ask_eight<false>(from + (AHEAD - 1) * step * 256, k + (AHEAD - 1) * step < s.n_k);
        if (a.norm)
            w = ask_eight<true>(norm, true);
    }
    return sum;
}

/* The warps that share inputs have staged them: those of a block that have their x first multiply while others still wait for it. */
__device__ __forceinline__ void staged(const sr_chainlink &a)
{
    const uint32_t group = threadIdx.x / 32 & ((1u << a.groups_log) - 1), warps = CHAIN_WARPS >> a.groups_log;
    if (warps == 1)
        __syncwarp();
    else
        asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "r"(warps * 32) : "memory"); /* 0 is __syncthreads' */
}

/* The norm's weights, which nobody has read since the last token, into L2: a line of 32 a thread, in all blocks. */
__device__ __forceinline__ void norm_ahead(const sr_chainlink &a)
{
    const uint32_t k = (blockIdx.x + threadIdx.x * gridDim.x) * 32;
    if (a.norm && k < a.cols)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(a.norm + k));
}

/* What the norm divides by, inverted; 1 without a norm. */
template <uint32_t T> __device__ __forceinline__ float divisor_of(const sr_chainlink &a, const float *squares)
{
    if (!a.norm)
        return 1;
    const uint32_t lane = threadIdx.x % 32;
    const float v       = sr_lanes_sum(lane < CHAIN_WARPS << T ? squares[lane] : 0);
    return rsqrtf(__fdividef(v, (float)a.cols) + a.eps); /* two units in the last place; exact ones are longer, and code met cold */
}

/* ---- products and sums -------------------------------------------------------------------------------------- */

/* What a lane has of a row tile's sums with C columns becomes 16 C sums, by out(number, sum). */
template <int C, bool INT, class OUT> __device__ __forceinline__ void row_out(const float acc[4], const OUT &out)
{
    const uint32_t lane = threadIdx.x % 32, t = lane % 4;
    if constexpr (INT && C == 4) { /* acc: rows g and g + 8 of column t */
        out(t * 16 + lane / 4, acc[0]);
        out(t * 16 + lane / 4 + 8, acc[1]);
    } else if constexpr (INT) { /* of column t % C, in parts: half of the lanes get row g, the others g + 8 */
        const bool upper = t & C;
        float mine       = upper ? acc[1] : acc[0];
        mine += __shfl_xor_sync(0xffffffff, upper ? acc[0] : acc[1], C);
        if (C == 1)
            mine += __shfl_xor_sync(0xffffffff, mine, 2);
        if (C == 2 || t < 2)
            out(t % C * 16 + lane / 4 + upper * 8, mine);
    } else /* columns 2t and 2t + 1 of an mma's accumulators */
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (2 * t + i < C) {
                out((2 * t + i) * 16 + lane / 4, acc[i]);
                out((2 * t + i) * 16 + lane / 4 + 8, acc[2 + i]);
            }
}

/* One tile of a format the kernel knows. */
template <int C, uint32_t FORMATS>
__device__ __forceinline__ void int_tile(uint32_t format, const uint8_t *w, const sr_ints<C> &x, uint32_t lane, float at[2])
{
#define CASE(F) IF_FORMAT(F, tile_multiply_int<F, C>(w, x, lane, at);)
    CASE(SR_Q4_K)
    CASE(SR_Q5_K)
    CASE(SR_Q6_K)
    CASE(SR_Q4_0)
    CASE(SR_Q8_0)
#undef CASE
}

/* A stage of whole-number tiles, n of them. */
template <int C, uint32_t FORMATS>
__device__ __forceinline__ void multiply_ints(uint32_t what, const uint8_t *tile, uint32_t n, sr_ints<C> &x, const float *&scale, float acc[4])
{
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll 1
    do {
        float at[2];
        int_tile<C, FORMATS>(SR_CHAIN_FORMAT(what), tile, x, lane, at);
        const float f = scale[C == 1 ? 0 : lane % C];
        acc[0]        = fmaf(at[0], f, acc[0]);
        acc[1]        = fmaf(at[1], f, acc[1]);
        scale += C;
        x.next();
        tile += SR_CHAIN_BYTES(what);
    } while (--n);
}

/* The same of halves; i: tiles of the row before these, four to each 256 inputs. */
template <int C, uint32_t FORMATS>
__device__ __forceinline__ void multiply_halves(uint32_t what, const uint8_t *tile, uint32_t n, uint32_t i, sr_cols<1> &x, const float *&scale,
                                                float at[1][4], float acc[4])
{
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll 1
    do {
        tile_half<FORMATS == ONLY(SR_F16) ? SR_F16 : SR_BF16, 1>(tile, x, lane, i % 4 * 2, at);
        tile += SR_CHAIN_BYTES(what);
        if (++i % 4)
            continue;
        const float v0 = scale[lane * 2 % C], v1 = scale[(lane * 2 + 1) % C];
        acc[0]   = fmaf(at[0][0], v0, acc[0]);
        acc[1]   = fmaf(at[0][1], v1, acc[1]);
        acc[2]   = fmaf(at[0][2], v0, acc[2]);
        acc[3]   = fmaf(at[0][3], v1, acc[3]);
        at[0][0] = at[0][1] = at[0][2] = at[0][3] = 0;
        scale += C;
        x.xs += 9 * x.row;
    } while (--n);
}

/* The warp's row tiles: their products with its inputs; what lanes have of the row-th of them goes to out(row, acc).  No rows: tiles are asked for,
 * no more. */
template <int C, uint32_t T, uint32_t FORMATS, class OUT>
__device__ __forceinline__ void multiply(const sr_chain &c, const share &s, uint32_t most, flow &f, const uint8_t *xs, const float *scales,
                                         const OUT &out)
{
    constexpr bool INT  = !(FORMATS & HALVES);
    const uint32_t lane = threadIdx.x % 32;
    uint32_t what = 0, left = 0;
    float acc[4], at[1][4];
    sr_ints<C> ints;
    sr_cols<1> cols;
    const float *scale = NULL;
#pragma unroll 1
    for (uint32_t row = 0;;) {
        ask<T>(c, f, most);
        if (row == s.n)
            return;
        if (left == 0) {
            what = __shfl_sync(0xffffffff, s.what, row);
            left = __shfl_sync(0xffffffff, s.tiles, row);
            if constexpr (INT)
                ints = ints_of<C>(xs, lane);
            else
                cols = cols_of<1>(C, xs);
            scale = scales;
#pragma unroll
            for (int i = 0; i < 4; i++)
                acc[i] = at[0][i] = 0;
        }
        const uint32_t n = min(SR_CHAIN_CHUNK(what), left);
        sr_bar_wait(f.bar + f.at, f.parity);
        if constexpr (INT)
            multiply_ints<C, FORMATS>(what, f.ring + f.at * c.stage, n, ints, scale, acc);
        else
            multiply_halves<C, FORMATS>(what, f.ring + f.at * c.stage, n, 4 * s.n_k - left, cols, scale, at, acc);
        stage_done(c, f);
        left -= n;
        if (left == 0)
            out(row++, acc);
    }
}

/* A sum to where it is added to others, `away` from here in a twin's memory or 0, and counted there. */
template <uint32_t T> __device__ __forceinline__ void put(float *to, float v, uint32_t away, uint64_t *bar)
{
    if (T)
        sr_store_there(sr_smem(to) + away, __float_as_uint(v), sr_smem(bar) + away);
    else
        *to = v;
}

/* Twins finish every second one of their row tiles (with a glu pairs of them) each.  Sums of which a block has: the row tile of number `at`; all. */
template <uint32_t T> __device__ __forceinline__ uint32_t own_row(const sr_chainlink &a, uint32_t at)
{
    return first_row<T>(a) + ((at >> a.glu << T | (blockIdx.x & T)) << a.glu);
}
template <uint32_t T> __device__ __forceinline__ uint32_t own_rows(const sr_chainlink &a)
{
    return ((rows_of<T>(a) >> a.glu) + T - (blockIdx.x & T)) >> T << a.glu;
}

/* Row tiles' sums, by warps in turn: the two halves of a warp take every second group, or the gate and the up tile.  C: parts of a sum; m: 1, or 0. */
template <int C, uint32_t T> __device__ __forceinline__ void finish(const sr_chainlink &a, uint32_t m, const float *sums, float s, float z)
{
    const uint32_t lane = threadIdx.x % 32, half = lane / 16, r = lane % 16, groups = 1u << (a.groups_log + T), n = own_rows<T>(a),
                   step = groups == 1 || a.glu ? 1 : 2;
#pragma unroll 1
    for (uint32_t at = threadIdx.x / 32 << a.glu; at < n; at += CHAIN_WARPS << a.glu) {
        const uint32_t row = own_row<T>(a, at);
        const float *p     = sums + (size_t)(at + (a.glu ? half : 0)) * groups * C * 16 + r;
        float v[C]         = {};
#pragma unroll 4
        for (uint32_t i = step == 2 ? half : 0; i < groups; i += step)
#pragma unroll
            for (int c = 0; c < C; c++)
                v[c] += p[((step == 1 && groups > 1 ? i ^ half : i) * C + c) * 16];
        const float mine = C == 1 ? v[0] : v[0] + v[C - 1], other = __shfl_xor_sync(0xffffffff, mine, 16);
        if (a.glu) {
            const float gate = (half ? other : mine) * s, up = (half ? mine : other) * s;
            if (half < m)
                a.y[row / 2 * 16 + r] = (a.glu_gelu ? sr_gelu(gate) : sr_silu(gate)) * up;
            continue;
        }
        uint32_t tile;
        const sr_chainpart &w = part_of_row(a, row, &tile);
        const uint32_t y      = w.y0 + tile * 16 + r;
        float sum             = (step == 2 ? mine + other : mine) * s;
        if (w.bias)
            sum += w.bias[tile * 16 + r];
        if (at >= CHAIN_WARPS && a.z && half < m) /* the first one has come before the products */
            z = __ldcg(a.z + y);
        if (half < m)
            a.y[y] = a.z ? sum + z : sum;
    }
}

#endif

/* Registers for 640 threads are 96 each: of 512 threads they leave 16384 to a block beside them (chain.h). */
template <int C, bool PAIR, uint32_t FORMATS>
__global__ void __launch_bounds__((C == 1 || PAIR) && !(FORMATS & HALVES) ? 640 : 32 << WARPS_LOG, 1) chain_kernel(const __grid_constant__ sr_chain c)
{
#if RING
    constexpr uint32_t T = PAIR ? 0 : 1; /* twins; small products have a short x */
    constexpr bool INT   = !(FORMATS & HALVES);
    extern __shared__ __align__(128) uint8_t smem[];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, rank = blockIdx.x & T;
    float *scale = (float *)(smem + c.at_scale), *squares = (float *)(smem + c.at_squares);
    uint64_t *bars = (uint64_t *)(smem + c.at_bar), *twin = bars + CHAIN_WARPS * c.depth;
    uint32_t *rows = (uint32_t *)(twin + 1) + warp; /* true ones of this step */
    const uint32_t away = T ? sr_cluster_offset(smem, rank ^ 1) : 0;
    MARK(0);
    flow f;
    share s;
    open_rings<T>(c, smem, bars, twin, warp, lane, f, s);
#pragma unroll 1
    for (uint32_t i = ~0u;; i++) { /* ~0: before the first product its first tiles are asked for */
        const sr_chainlink &a = c.link[i == ~0u ? 0 : i];
        float z = 0, *sums = (float *)(smem + a.at_sums);
        uint32_t k = 0; /* of the block's 256-blocks of inputs the warp's first */
        if (i != ~0u) {
            s = share_of<T>(a);
            k = s.k - (a.blocks_k * rank >> T);
            if (i)
                meet(c.meet, c.blocks);
            MARK(3 + 5 * i);
            if (T && threadIdx.x == 0) /* both blocks' sums of the row tiles that are finished here; their squares */
                sr_bar_expect(twin, (own_rows<T>(a) * C * 64 << (a.groups_log + 1)) + (a.norm ? 2 * CHAIN_WARPS * 4 : 0));
            float square = stage<C, PAIR, INT>(a, s, smem + (size_t)k * 9 * C * 64, scale + k * C);
            if (a.norm) {
                square = sr_lanes_sum(square);
                if (lane <= T)
                    put<T>(squares + rank * CHAIN_WARPS + warp, square, lane == rank ? 0 : away, twin);
            }
            if ((warp << a.glu) < own_rows<T>(a) && a.z) { /* of the row tile this warp will finish */
                uint32_t tile;
                const sr_chainpart &w = part_of_row(a, own_row<T>(a, warp << a.glu), &tile);
                z                     = __ldcg(a.z + w.y0 + tile * 16 + lane % 16);
            }
            staged(a);
            MARK(4 + 5 * i);
        }
        const auto sum_up = [&](uint32_t row, const float acc[4]) { /* into the memory of the block that finishes the row tile: twins in turn */
            row              = row * s.step + (warp >> a.groups_log);
            const uint32_t n = row >> a.glu, at = n >> T << a.glu | (row & a.glu), to = (n & T) == rank ? 0 : away;
            float *p         = sums + ((at << T | rank) << a.groups_log | (warp & ((1u << a.groups_log) - 1))) * C * 16;
            row_out<C, INT>(acc, [&](uint32_t j, float v) { put<T>(p + j, v, to, twin); });
        };
        multiply<C, T, FORMATS>(c, s, i == ~0u ? c.first : c.depth, f, smem + (size_t)k * 9 * C * 64, scale + k * C, sum_up);
        if (i == ~0u) {
            MARK(1);
            if (T)
                sr_cluster_arrive();
            sr_pdl_launch();
            if (T)
                sr_cluster_wait(); /* the twin is there */
            sr_pdl_wait();
            MARK(2);
            if (lane == 0)
                *rows = __ldcg(c.count);
            continue;
        }
        if (i + 1 < c.n)
            norm_ahead(c.link[i + 1]);
        MARK(5 + 5 * i);
        if (!T)
            __syncthreads();
        if (!T || (warp << a.glu) < max(own_rows<T>(a), 1u)) { /* warp 0 in any case: a count has ended when the next begins */
            if (T)
                sr_bar_wait(twin, i & 1); /* once a link */
            MARK(6 + 5 * i);
            finish<C, T>(a, min(*rows, 1u), sums, divisor_of<T>(a, squares), z);
        }
        MARK(7 + 5 * i);
        if (i + 1 == c.n)
            break;
    }
    if (T) /* what the twin sends has come: nothing of it is on its way to a block that has ended */
        sr_bar_wait(twin, c.n - 1 & 1);
#endif
}

/* Launches one of the kernels. */
static cudaError_t chain_go(void (*kernel)(sr_chain), const cudaLaunchConfig_t *config, const sr_chain *c)
{
    int bytes     = (int)config->dynamicSmemBytes;
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (!e)
        e = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(config, kernel, *c);
}
#endif
