/* chain: up to four products one after the other in one launch, norms and glu in between (chain.h)
 * Shapes   per product: 1 or 2 rows of x, weights in tiles of 16 rows, as many inputs as fit into shared memory.
 * Roofline bytes = weights; x of every product passes L2 once per multiprocessor.
 * Target   H200, 8B Q4_K_M, 1 row: a layer's four products within 1.3 of reading their weights.
 * Mapping  a block of 16 warps per multiprocessor, which has whole row tiles.  Warps are `groups` along the inputs times
 *          16 / groups along the rows; each has its inputs of a row tile at a time through a ring of its own.  x, as f16,
 *          is staged by all; sums of a product meet in shared memory behind its last tile.
 * Latency  what a block must fetch between products (x, z) is asked for before anything else there; code and
 *          constants are kept few, since each product meets them cold.
 * Archs    sm_90.                                                                               */
#ifndef SR_OPS_LINEAR_CHAIN_CUH
#define SR_OPS_LINEAR_CHAIN_CUH
#include "ops/linear/chain.h"
#include "ops/linear/skinny_part.cuh"

#ifdef SR_CHAIN_TRACE /* where a block's time goes: chain_cuda_bench.cu */
extern __device__ long long sr_chain_trace[512][32];
#define MARK(e)                                                                                              \
    if (threadIdx.x == 0)                                                                                    \
    sr_chain_trace[blockIdx.x][e] = clock64()
#else
#define MARK(e) (void)0
#endif

enum { WARPS_LOG = SR_CHAIN_WARPS_LOG, CHAIN_WARPS = 1 << WARPS_LOG };

#if RING
/* ---- meeting ------------------------------------------------------------------------------------------------ */

/* All blocks have come here, and what they have written is visible to all.  The counter's other bits are zero between
 * meetings, its top bit changes with each: block 0 adds what is missing to it (as cooperative groups do). */
__device__ __forceinline__ void meet(uint32_t *counter, uint32_t blocks)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        uint32_t add = blockIdx.x ? 1 : 0x80000000u - (blocks - 1), was, now;
        asm volatile("atom.add.acq_rel.gpu.u32 %0, [%1], %2;" : "=r"(was) : "l"(counter), "r"(add) : "memory");
        do {
            asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
        } while (((was ^ now) & 0x80000000u) == 0);
    }
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

/* A warp's row tiles and inputs of a product.  Lane i knows the i-th row tile's weight: what each row would have to look up
 * is looked up for all of them at once. */
struct share {
    uint32_t first, n, step, end; /* row tiles first, first + step, .., n of them; end of the block's */
    uint32_t k, n_k;              /* 256-blocks of inputs: first, number */
    uint32_t format, bytes, tiles; /* of row tile `lane`: of a tile; tiles */
    const uint8_t *p;
};

__device__ __forceinline__ share share_of(const sr_chainlink &a)
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, extra = min(blockIdx.x, a.rows_extra),
                   group = warp & ((1u << a.groups_log) - 1), row0 = (blockIdx.x * a.rows_block + extra) << a.glu;
    share s;
    uint32_t tile;
    s.first = row0 + (warp >> a.groups_log);
    s.end   = row0 + ((a.rows_block + (blockIdx.x < a.rows_extra)) << a.glu);
    s.step  = CHAIN_WARPS >> a.groups_log;
    s.n     = s.first < s.end ? (s.end - s.first + s.step - 1) / s.step : 0;
    s.k     = a.blocks_k * group >> a.groups_log;
    s.n_k   = (a.blocks_k * (group + 1) >> a.groups_log) - s.k;

    const sr_chainpart &w = part_of_row(a, s.first + min(lane, max(s.n, 1u) - 1) * s.step, &tile);
    s.format = w.format;
    s.bytes  = w.bytes;
    s.tiles  = s.n_k * w.per;
    s.p      = w.p + ((size_t)tile * a.blocks_k + s.k) * w.per * w.bytes;
    return s;
}

/* Tiles on their way into a warp's ring of bytes: one after the other, from the beginning again where one does not fit
 * before the end.  Tile number i is announced by barrier i % SR_CHAIN_FLIGHT. */
struct flow {
    uint8_t *ring;
    uint64_t *bar;
    const uint8_t *p;
    uint32_t put, take, room;      /* offsets; bytes that are free */
    uint32_t asked, taken;         /* tiles */
    uint32_t link, row, left, bytes; /* rows of the link begun; tiles of this one left at p */
    share s;
};

__device__ __forceinline__ uint32_t skipped(const sr_chain &c, uint32_t at, uint32_t bytes)
{
    return at + bytes > c.ring ? c.ring - at : 0; /* never 0 at the end: put and take are below the ring's size */
}

/* Asks for the next tile, which may be the next row's or product's; false: there is none, or no room for it. */
__device__ __forceinline__ bool ask(const sr_chain &c, flow &f)
{
    if (f.left == 0) {
        while (f.row == f.s.n) {
            if (f.link + 1 >= c.n)
                return false;
            f.s   = share_of(c.link[++f.link]);
            f.row = 0;
        }
        f.bytes = __shfl_sync(0xffffffff, f.s.bytes, f.row);
        f.left  = __shfl_sync(0xffffffff, f.s.tiles, f.row);
        f.p     = (const uint8_t *)__shfl_sync(0xffffffff, (unsigned long long)f.s.p, f.row);
        f.row++;
    }
    const uint32_t skip = skipped(c, f.put, f.bytes);
    if (f.room < skip + f.bytes || f.asked - f.taken == SR_CHAIN_FLIGHT)
        return false;
    f.put = skip ? 0 : f.put;
    if (threadIdx.x % 32 == 0) {
        uint64_t *bar = f.bar + f.asked % SR_CHAIN_FLIGHT;
        sr_bar_expect(bar, f.bytes);
        sr_bulk_load(f.ring + f.put, f.p, f.bytes, bar);
    }
    f.put = f.put + f.bytes == c.ring ? 0 : f.put + f.bytes;
    f.room -= skip + f.bytes;
    f.p += f.bytes;
    f.asked++;
    f.left--;
    return true;
}

/* The next tile, once it has come. */
__device__ __forceinline__ const uint8_t *tile_take(const sr_chain &c, flow &f, uint32_t bytes)
{
    const uint32_t skip = skipped(c, f.take, bytes);
    f.room += skip; /* nothing is asked for before tile_done() */
    f.take = skip ? 0 : f.take;
    sr_bar_wait(f.bar + f.taken % SR_CHAIN_FLIGHT, f.taken / SR_CHAIN_FLIGHT & 1);
    return f.ring + f.take;
}

/* It has been read by the whole warp: others may take its place. */
__device__ __forceinline__ void tile_done(const sr_chain &c, flow &f, uint32_t bytes)
{
    f.take = f.take + bytes == c.ring ? 0 : f.take + bytes;
    f.room += bytes;
    f.taken++;
    __syncwarp();
    do {
        if (!ask(c, f))
            break;
    } while (f.room >= f.bytes);
}

/* ---- inputs ------------------------------------------------------------------------------------------------- */

/* x as f16 into shared memory, normed if the product wants it, but for the norm's division: squares gets what it needs,
 * [warp][C].  Warps take 256-blocks of a column in turn, four at a time so that their loads overlap. */
template <int C, int S>
__device__ __forceinline__ void stage(const sr_chainlink &a, uint32_t m, uint8_t *xs, float *scale, float *squares)
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = m * 64;
    float sum[C] = {};
#pragma unroll 1
    for (uint32_t kb = warp; kb < a.blocks_k; kb += 4 * CHAIN_WARPS) {
#pragma unroll
        for (int c = 0; c < C; c++) {
            if (c >= m)
                break;
            xload x[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                x[j] = x_load(a.x + (size_t)c * a.x_stride, a.cols, kb + j * CHAIN_WARPS);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const uint32_t k = kb + j * CHAIN_WARPS;
                if (k >= a.blocks_k)
                    break;
                if (a.norm)
                    sum[c] += x_norm(a.norm, a.cols, k, x[j]);
                x_store<S>(x[j], xs + (size_t)k * 9 * row + c * 64, row, scale + k * C + c);
            }
        }
    }
#pragma unroll
    for (int c = 0; c < C; c++) {
        float v = sr_lanes_sum(sum[c]);
        if (lane == 0)
            squares[warp * C + c] = v;
    }
}

/* What the norm divides by, inverted, of column c; 1 without a norm. */
template <int C> __device__ __forceinline__ float divisor_of(const sr_chainlink &a, const float *squares, uint32_t c)
{
    float v = squares[threadIdx.x % CHAIN_WARPS * C + c];
#pragma unroll
    for (int j = 1; j < CHAIN_WARPS; j *= 2)
        v += __shfl_xor_sync(0xffffffff, v, j);
    return a.norm ? 1.0f / sqrtf(v / (float)a.cols + a.eps) : 1;
}

/* ---- products and sums -------------------------------------------------------------------------------------- */

/* One row tile: its products with the warp's inputs (x, at_scale) become 16 C sums in shared memory. */
template <int C, int S, uint32_t FORMATS>
__device__ __forceinline__ void multiply_row(const sr_chain &c, const share &s, uint32_t row, flow &f, xview<1, S> x,
                                             const float *at_scale, float *sums)
{
    const uint32_t lane = threadIdx.x % 32, t = lane % 4, per = FORMATS & HALVES ? 4 : 1, all = s.n_k * per,
                   format = FORMATS & (FORMATS - 1) ? __shfl_sync(0xffffffff, s.format, row) : 0,
                   bytes  = __shfl_sync(0xffffffff, s.bytes, row);
    float at[1][4] = {}, acc[4] = {};
#pragma unroll 1
    for (uint32_t i = 0; i < all; i++) {
        any_tile<1, S, FORMATS>(format, tile_take(c, f, bytes), x, lane, i % per * 2, at);
        tile_done(c, f, bytes);
        if (per > 1 && i % per + 1 < per)
            continue;
        float v0 = at_scale[0], v1 = C == 1 ? v0 : at_scale[C - 1];
        acc[0]   = fmaf(at[0][0], v0, acc[0]);
        acc[1]   = fmaf(at[0][1], v1, acc[1]);
        acc[2]   = fmaf(at[0][2], v0, acc[2]);
        acc[3]   = fmaf(at[0][3], v1, acc[3]);
        at[0][0] = at[0][1] = at[0][2] = at[0][3] = 0;
        at_scale += C;
        if constexpr (S > 0)
            x.spread.next();
        else
            x.cols.xs += 9 * x.cols.row;
    }
    if (S > 0) { /* lanes have parts; codes were subnormals */
        if (C == 1) {
            acc[0] += acc[1];
            acc[2] += acc[3];
        }
#pragma unroll
        for (int i = 0; i < C; i++) { /* even lanes get row g, odd ones row g + 8 */
            float mine = t & 1 ? acc[2 + i] : acc[i], other = t & 1 ? acc[i] : acc[2 + i];
            mine += __shfl_xor_sync(0xffffffff, other, 1);
            mine += __shfl_xor_sync(0xffffffff, mine, 2);
            if (t < 2)
                sums[i * 16 + lane / 4 + t * 8] = mine * 0x1p24f;
        }
    } else if (t == 0) /* columns 0 and 1 of the accumulators */
#pragma unroll
        for (int i = 0; i < C; i++) {
            sums[i * 16 + lane / 4]     = acc[i];
            sums[i * 16 + lane / 4 + 8] = acc[2 + i];
        }
}

/* Row tiles' sums, by warps in turn: the two halves of a warp take every second group, or the gate and the up tile; then
 * half h has column h. */
template <int C>
__device__ __forceinline__ void finish(const sr_chainlink &a, uint32_t first, uint32_t last, uint32_t m, const float *sums, float s,
                                       float z)
{
    const uint32_t lane = threadIdx.x % 32, half = lane / 16, r = lane % 16, groups = 1u << a.groups_log,
                   step = groups == 1 || a.glu ? 1 : 2, column = C == 1 ? 0 : half;
#pragma unroll 1
    for (uint32_t row = first + (threadIdx.x / 32 << a.glu); row < last; row += CHAIN_WARPS << a.glu) {
        const float *p = sums + (size_t)(row - first + (a.glu ? half : 0)) * groups * C * 16 + r;
        float v[C]     = {};
#pragma unroll 4
        for (uint32_t i = step == 2 ? half : 0; i < groups; i += step)
#pragma unroll
            for (int c = 0; c < C; c++)
                v[c] += p[((step == 1 && groups > 1 ? i ^ half : i) * C + c) * 16];
        float mine = C == 1 ? v[0] : half ? v[C - 1] : v[0], other = C == 1 ? v[0] : half ? v[0] : v[C - 1];
        other = __shfl_xor_sync(0xffffffff, other, 16);
        if (a.glu) {
            float gate = (half ? other : mine) * s, up = (half ? mine : other) * s;
            if (column < m && half < C)
                a.y[(size_t)column * a.width + row / 2 * 16 + r] = (a.glu_gelu ? sr_gelu(gate) : sr_silu(gate)) * up;
            continue;
        }
        uint32_t tile;
        const sr_chainpart &w = part_of_row(a, row, &tile);
        const uint32_t y      = w.y0 + tile * 16 + r;
        float sum             = (step == 2 ? mine + other : mine) * s;
        if (w.bias)
            sum += w.bias[tile * 16 + r];
        if (row >= first + CHAIN_WARPS && a.z && column < m) /* the first one has come before the products */
            z = __ldcg(a.z + (size_t)column * a.width + y);
        if (column < m && half < C)
            a.y[(size_t)column * a.width + y] = a.z ? sum + z : sum;
    }
}

#endif

template <int C, uint32_t FORMATS>
__global__ void __launch_bounds__(32 << WARPS_LOG, 1) chain_kernel(const __grid_constant__ sr_chain c)
{
#if RING
    constexpr int S = spread_cols(C, FORMATS);
    extern __shared__ __align__(128) uint8_t smem[];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float *scale = (float *)(smem + c.at_scale), *squares = (float *)(smem + c.at_squares), *sums = (float *)(smem + c.at_sums);
    MARK(0);
    flow f;
    f.bar  = (uint64_t *)(smem + c.at_bar) + warp * SR_CHAIN_FLIGHT;
    f.ring = smem + c.at_ring + (size_t)warp * c.ring;
    f.put = f.take = f.asked = f.taken = f.left = f.link = f.row = 0;
    f.room = c.ring;
    f.s    = share_of(c.link[0]);
    if (lane < SR_CHAIN_FLIGHT)
        sr_bar_init(f.bar + lane, 1);
    sr_bar_fence();
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < 2 && ask(c, f); i++) { /* copies are begun one in 60 clocks: the rest when x is on its way */
    }
    MARK(1);
    sr_pdl_launch();
    sr_pdl_wait();
    MARK(2);
    const uint32_t rows = __ldcg(c.count);
#pragma unroll 1
    for (uint32_t i = 0; i < c.n; i++) {
        const sr_chainlink &a = c.link[i];
        const uint32_t first  = (blockIdx.x * a.rows_block + min(blockIdx.x, a.rows_extra)) << a.glu;
        const share s         = share_of(a);
        if (i)
            meet(c.meet, c.blocks);
        MARK(3 + 5 * i);
        stage<C, S>(a, c.m, smem, scale, squares);
        float z = 0;
        if (a.z && first + warp < s.end) { /* of the row tile this warp will finish */
            uint32_t tile, column = C == 1 ? 0 : min(lane / 16, c.m - 1);
            const sr_chainpart &w = part_of_row(a, first + warp, &tile);
            z                     = __ldcg(a.z + (size_t)column * a.width + w.y0 + tile * 16 + lane % 16);
        }
        while (i == 0 && ask(c, f)) {
        }
        __syncthreads();
        MARK(4 + 5 * i);
        const uint32_t groups = 1u << a.groups_log, m = min(rows, c.m);
        const float d         = divisor_of<C>(a, squares, C == 1 ? 0 : lane / 16);
        xview<1, S> x;
        if constexpr (S > 0)
            x.spread = spread_of<S>(smem + (size_t)s.k * 9 * c.m * 64, c.m, lane);
        else
            x.cols = cols_of<1>(c.m, smem + (size_t)s.k * 9 * c.m * 64);
#pragma unroll 1
        for (uint32_t r = 0; r < s.n; r++)
            multiply_row<C, S, FORMATS>(c, s, r, f, x, scale + s.k * C,
                                        sums + ((s.first + r * s.step - first) * groups + warp % groups) * C * 16);
        MARK(5 + 5 * i);
        __syncthreads();
        MARK(6 + 5 * i);
        finish<C>(a, first, s.end, m, sums, d, z);
        MARK(7 + 5 * i);
    }
#endif
}

template <int C, uint32_t FORMATS> static cudaError_t chain_go(const cudaLaunchConfig_t *config, const sr_chain *c)
{
    auto kernel   = chain_kernel<C, FORMATS>;
    int bytes     = (int)config->dynamicSmemBytes;
    cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (!e)
        e = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(config, kernel, *c);
}

template <uint32_t FORMATS> static cudaError_t chain_start(const cudaLaunchConfig_t *config, const sr_chain *c)
{
    return c->m == 1 ? chain_go<1, FORMATS>(config, c) : chain_go<2, FORMATS>(config, c);
}

/* The start of an instance that knows `formats`, if FORMATS do. */
template <uint32_t FORMATS> static sr_chainstart chain_of(uint32_t formats)
{
    return (formats & ~FORMATS) == 0 ? chain_start<FORMATS> : NULL;
}
#endif
