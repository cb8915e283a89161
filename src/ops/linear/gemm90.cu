/* gemm90: host side of the products in gemm90.cuh, and x made f16 for them
 * Shapes   x [m][cols] f32 to the image of gemm90.h; cols a multiple of 64.  x is a slot, or a norm of one, or gate and up.
 * Roofline 6 bytes a number; about 2 us: a block per row.
 * Archs    nothing arch-specific; used on sm_90.                                                        */
#include <math.h>

#include "ops/glu/act.cuh"
#include "ops/linear/cut.h"
#include "ops/linear/gemm90.h"
#include "ops/linear/skinny_part.cuh"
#include "ops/mma.cuh"

static __device__ float4 times(float4 v, float4 w) { return make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w); }

/* Four inputs 4t .. 4t + 3 of a step, from column k of a row on; eight threads that follow each other have those of a 32-block, or
 * none of them is `there`.  back: the factor of these 256 inputs, inverted.  What the inputs lack as f16 numbers is returned. */
static __device__ float4 put(uint8_t *tile, uint32_t n, uint32_t row, uint32_t k, float4 v, float back, bool there)
{
    const uint32_t c = k % 64 / 16 * 2, lo = sr_pack(v.x, v.y), hi = sr_pack(v.z, v.w);
    uint8_t *block = tile + (size_t)(k / 256) * sr_gemm90_block(n), *p = block + k % 256 / 64 * n * 128 + row * 128 + k % 16;
    if (there) {
        *(uint32_t *)(p + (c ^ row % 8) * 16)       = lo;
        *(uint32_t *)(p + ((c + 1) ^ row % 8) * 16) = hi;
    }
    const float2 a    = __half22float2(sr_half2_of(lo)), b = __half22float2(sr_half2_of(hi));
    const float4 lack = make_float4(v.x - a.x, v.y - a.y, v.z - b.x, v.w - b.y);
    if (n > 64)
        return lack;
    float sum = (a.x + a.y) + (b.x + b.y);
    for (int j = 4; j; j /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, j);
    if (there && k % 32 == 0) {
        const half top = __float2half_rn(sum);
        p              = block + n * 512 + row * 128 + k % 256 / 32 * 2;
        *(half *)(p + row % 8 * 16)         = top;
        *(half *)(p + ((row % 8) ^ 1) * 16) = __float2half_rn(sum - __half2float(top));
        if (k % 256 == 0)
            *(float *)(block + sr_gemm90_factor(n, row)) = back;
    }
    return lack;
}

/* The same of row r's column, or pair of them.  The largest number is near 2^11: what one lacks is no subnormal down to 2^-14 of it. */
template <bool PAIRS> static __device__ void put_row(const sr_gemm90x &g, uint32_t r, uint32_t k, float4 v, float f, float back, bool there)
{
    const uint32_t c  = r << PAIRS;
    uint8_t *tile     = g.image + (size_t)(c / g.n) * g.blocks_k * sr_gemm90_block(g.n);
    const float4 lack = put(tile, g.n, c % g.n, k, times(v, make_float4(f, f, f, f)), back, there);
    if (PAIRS)
        (void)put(tile, g.n, c % g.n + 1, k, lack, back, there);
}

static __device__ float square(float4 v) { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; }
static __device__ float top_of(float4 v) { return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))); }

/* The largest, or the sum, of all threads' numbers. */
template <bool SUM> static __device__ float of_block(float v)
{
    __shared__ float part[32];
    const uint32_t lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int j = 16; j; j /= 2) {
        float w = __shfl_xor_sync(0xffffffff, v, j);
        v       = SUM ? v + w : fmaxf(v, w);
    }
    __syncthreads();
    if (lane == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    v = lane < warps ? part[lane] : 0;
    for (int j = 16; j; j /= 2) {
        float w = __shfl_xor_sync(0xffffffff, v, j);
        v       = SUM ? v + w : fmaxf(v, w);
    }
    return v;
}

/* Columns k .. k + 3 of a row: x and, of a gated unit, the other half, of a norm the weights. */
struct columns {
    float4 x, w;
};
template <int FROM> static __device__ columns read(const sr_gemm90x &g, const float *x, uint32_t k)
{
    columns c = {__ldcg((const float4 *)(x + k)), make_float4(1, 1, 1, 1)};
    if (FROM == SR_GEMM90_NORM)
        c.w = __ldg((const float4 *)(g.norm + k));
    else if (FROM != SR_GEMM90_SLOT)
        c.w = __ldcg((const float4 *)(x + g.cols + k));
    return c;
}

/* The largest number, or a bound of it: |silu(a) b| and |gelu(a) b| are at most |a b|. */
template <int FROM> static __device__ float bound(const columns &c) { return top_of(FROM == SR_GEMM90_SLOT ? c.x : times(c.x, c.w)); }

/* The numbers; a norm's without the factor that needs all of them. */
template <int FROM> static __device__ float4 value(const columns &c)
{
    const float4 v = c.x;
    if (FROM == SR_GEMM90_GELU)
        return times(make_float4(sr_gelu(v.x), sr_gelu(v.y), sr_gelu(v.z), sr_gelu(v.w)), c.w);
    if (FROM == SR_GEMM90_SILU)
        return times(make_float4(sr_silu(v.x), sr_silu(v.y), sr_silu(v.z), sr_silu(v.w)), c.w);
    return FROM == SR_GEMM90_NORM ? times(v, c.w) : v;
}

/* A block per row; of a gated unit's rows, whose activations are most of the work, gridDim.y blocks that have a run of columns each.  The row's
 * bound is read by all of them, which takes less than their meeting would.  What has been read stays in registers, columns beyond
 * KEEP * 4 * THREADS are read twice. */
template <int FROM, int THREADS, bool PAIRS> static __global__ void __launch_bounds__(THREADS) image_kernel(const __grid_constant__ sr_gemm90x g)
{
    constexpr int KEEP   = 4;
    constexpr bool GATED = FROM == SR_GEMM90_SILU || FROM == SR_GEMM90_GELU;
    sr_pdl_launch();
    sr_pdl_wait();
    const uint32_t r = blockIdx.x, each = GATED ? ((g.cols + gridDim.y - 1) / gridDim.y + 127) & ~127u : g.cols, first = GATED ? blockIdx.y * each : 0,
                   end = min(first + each, g.cols), k0 = first + threadIdx.x * 4;
    if (g.count && r >= __ldcg(g.count))
        return;
    const float *x = g.x + (size_t)r * g.x_stride;
    const columns none = {};
    columns v[KEEP];
    float sum = 0, top = 0, s = 1;
#pragma unroll
    for (int i = 0; i < KEEP; i++) /* loads that wait for nothing */
        v[i] = k0 + i * THREADS * 4 < end ? read<FROM>(g, x, k0 + i * THREADS * 4) : none;
    if (GATED && each < g.cols) /* the others' columns */
#pragma unroll 4
        for (uint32_t k = threadIdx.x * 4; k < g.cols; k += THREADS * 4)
            top = fmaxf(top, bound<FROM>(read<FROM>(g, x, k)));
#pragma unroll
    for (int i = 0; i < KEEP; i++) {
        top = fmaxf(top, bound<FROM>(v[i]));
        sum += square(v[i].x);
    }
    for (uint32_t k = k0 + KEEP * THREADS * 4; k < end; k += THREADS * 4)
        top = fmaxf(top, bound<FROM>(read<FROM>(g, x, k)));
    if (FROM == SR_GEMM90_NORM)
        s = 1.0f / sqrtf(of_block<true>(sum) / (float)g.cols + g.eps);
    top        = of_block<false>(top) * s;
    uint32_t e = sr_f16_exponent(__float_as_uint(top));
    float f = sr_f16_power(e) * s, back = sr_f16_back(e);
    if (threadIdx.x + blockIdx.y == 0)
        g.scale[r] = back;
#pragma unroll
    for (int i = 0; i < KEEP; i++)
        if (first + i * THREADS * 4 < end) /* warps stay whole */
            put_row<PAIRS>(g, r, k0 + i * THREADS * 4, value<FROM>(v[i]), f, back, k0 + i * THREADS * 4 < end);
    for (uint32_t k = k0 + KEEP * THREADS * 4; k - k0 < end - first; k += THREADS * 4)
        put_row<PAIRS>(g, r, k, value<FROM>(k < end ? read<FROM>(g, x, k) : none), f, back, k < end);
}

/* 256 inputs of a row a warp, with a factor of their own.  Blocks are no larger than what a product's block of up to 32 columns leaves of a multiprocessor's
 * registers, and of its shared memory (PIECES_ROOM): they are there before the launch before has ended, and the next product's blocks begin beside them. */
template <int FROM, bool PAIRS> static __global__ void __launch_bounds__(128, 16) pieces_kernel(const __grid_constant__ sr_gemm90x g)
{
    constexpr bool NORM = FROM == SR_GEMM90_NORM;
    __shared__ float4 weights[NORM ? 2 : 1][NORM ? 128 : 1]; /* each thread's own */
    const uint32_t r = blockIdx.x, lane = threadIdx.x % 32, kb = blockIdx.y * 4 + threadIdx.x / 32, k = kb * 256 + lane * 4;
    const bool there = kb < g.blocks_k, idle = g.count && r >= __ldcg(g.count);
    const float *x   = g.x + (size_t)r * g.x_stride;
    float4 v[2]      = {};
    float s          = 1;
    sr_pdl_launch();
    if (NORM && there)
#pragma unroll
        for (int i = 0; i < 2; i++)
            weights[i][threadIdx.x] = __ldg((const float4 *)(g.norm + k + i * 128));
    sr_pdl_wait();
    if (idle || (!NORM && !there))
        return;
    if (there)
#pragma unroll
        for (int i = 0; i < 2; i++)
            v[i] = NORM ? __ldcg((const float4 *)(x + k + i * 128)) : value<FROM>(read<FROM>(g, x, k + i * 128));
    if (NORM) { /* the row's other inputs are asked for besides its own */
        float sum = 0;
#pragma unroll 2
        for (uint32_t j = k % 1024; j < g.cols; j += 1024)
            if (j != k) {
                const float4 a = __ldcg((const float4 *)(x + j)), b = __ldcg((const float4 *)(x + j + 128));
                sum += square(a) + square(b);
            }
        s = 1.0f / sqrtf(of_block<true>(sum + square(v[0]) + square(v[1])) / (float)g.cols + g.eps);
        if (there)
#pragma unroll
            for (int i = 0; i < 2; i++)
                v[i] = times(v[i], weights[i][threadIdx.x]);
    }
    const uint32_t e = sr_f16_exponent(__float_as_uint(sr_warp_top(fmaxf(top_of(v[0]), top_of(v[1])))));
    const float f    = sr_f16_power(e);
#pragma unroll
    for (int i = 0; i < 2; i++)
        put_row<PAIRS>(g, r, k + i * 128, v[i], f, sr_f16_back(e) * s, there);
}

/* Few columns: x as skinny_tile.cuh takes it, with a factor for 256 inputs and row, so that a warp has what it needs for them; but for a norm's
 * factor, for which a block has a row. */
template <int FROM> static __global__ void __launch_bounds__(512) few_image_kernel(const __grid_constant__ sr_gemm90x g)
{
    constexpr int MOST  = FROM == SR_GEMM90_NORM ? SR_GEMM90_KEPT / 256 / 16 : 1; /* of 256 inputs that a warp has */
    const uint32_t r    = blockIdx.x, warps = blockDim.x / 32, first = (FROM == SR_GEMM90_NORM ? 0 : blockIdx.y * warps) + threadIdx.x / 32;
    const float *x      = g.x + (size_t)r * g.x_stride;
    xload w[MOST], v[MOST];
    float sum = 0;
    if (FROM == SR_GEMM90_NORM)
#pragma unroll
        for (int i = 0; i < MOST; i++)
            w[i] = x_weights(g.norm, g.cols, first + i * warps);
    sr_pdl_launch();
    sr_pdl_wait();
    if (g.count && r >= __ldcg(g.count))
        return;
#pragma unroll
    for (int i = 0; i < MOST; i++) {
        v[i] = x_load(x, g.cols, first + i * warps);
        if (FROM == SR_GEMM90_SILU || FROM == SR_GEMM90_GELU)
            w[i] = x_load(x + g.cols, g.cols, first + i * warps);
    }
#pragma unroll
    for (int i = 0; i < MOST; i++) {
        if (FROM == SR_GEMM90_SILU || FROM == SR_GEMM90_GELU)
            v[i] = {value<FROM>({v[i].u, w[i].u}), value<FROM>({v[i].v, w[i].v})};
        if (FROM == SR_GEMM90_NORM)
            sum += x_times(v[i], w[i]);
    }
    const float s = FROM == SR_GEMM90_NORM ? 1.0f / sqrtf(of_block<true>(sum) / (float)g.cols + g.eps) : 1.0f;
#pragma unroll
    for (int i = 0; i < MOST; i++) {
        const uint32_t k = first + i * warps;
        if (FROM == SR_GEMM90_NORM)
            v[i] = {times(v[i].u, make_float4(s, s, s, s)), times(v[i].v, make_float4(s, s, s, s))};
        if (k < g.blocks_k)
            x_store<0>(v[i], g.image + (size_t)k * sr_gemm90_block(g.n) + r * 64, g.n * 64, g.scale + k * g.n + r);
    }
}

static size_t up(size_t v, size_t to) { return (v + to - 1) / to * to; }

uint32_t sr_gemm90_cols(uint32_t m, uint32_t pairs)
{
    if (pairs)
        return m <= 8 ? 16 : m <= 16 ? 32 : 64;
    return m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : m <= 64 ? 64 : m <= 128 ? 128 : 256;
}

/* ---- cutting up ---------------------------------------------------------------------------------------- */

enum { OWN = 1024, PIECES_ROOM = 6144 }; /* shared memory that the system keeps; what a block of pieces_kernel takes */

static __global__ void __launch_bounds__(640, 1) room_kernel(void) {}

/* Clusters of so many blocks, a block a multiprocessor, that run at once; asked for once a device. */
static uint32_t clusters_at_once(uint32_t log, const sr_cudainfo *d)
{
    static uint32_t known[16][4];
    int dev = 0;
    if (!log)
        return (uint32_t)d->sms;
    if (cudaGetDevice(&dev) || dev >= 16 || log > 3)
        return 0;
    if (!known[dev][log]) {
        cudaLaunchAttribute attr = {};
        cudaLaunchConfig_t c     = {};
        int n                    = 0;
        attr.id                  = cudaLaunchAttributeClusterDimension;
        attr.val.clusterDim      = {1u << log, 1, 1};
        c.gridDim                = dim3(1u << log);
        c.blockDim               = dim3(640);
        c.dynamicSmemBytes       = (size_t)d->smem_block - OWN;
        c.attrs                  = &attr;
        c.numAttrs               = 1;
        if (cudaFuncSetAttribute(room_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)c.dynamicSmemBytes) ||
            cudaOccupancyMaxActiveClusters(&n, room_kernel, &c))
            n = 0;
        known[dev][log] = 1u + (uint32_t)n;
    }
    return known[dev][log] - 1;
}

/* Pieces of x and tiles of the weights: inputs, bytes of the largest. */
typedef struct {
    uint32_t n, seats, wide, tile_k, x_k, tile, x_piece;
    bool exact;
} sizes;

static sizes sizes_of(const sr_gemm90 *g, uint32_t formats)
{
    const uint32_t n = sr_gemm90_cols(g->m, g->pairs);
    sizes z          = {n, sr_gemm90_seats(n), sr_gemm90_wide(n), sr_gemm90_tile_k(formats), sr_gemm90_piece_k(n, formats),
                        0, sr_gemm90_piece(n, formats), sr_gemm90_exact(n, formats)};
    for (uint32_t i = 0; i < g->n_part; i++) {
        const uint32_t bytes = sr_tile_bytes(g->part[i].format);
        z.tile               = bytes > z.tile ? bytes : z.tile;
    }
    return z;
}

/* Stages of weights and of x by turns, for about as many inputs; few columns: each has both. */
static bool rings(sr_gemm90 *g, const sizes *z, uint32_t smem)
{
    const bool few        = sr_gemm90_few(z->n);
    const uint32_t behind = SR_GEMM90_BARS + (few ? g->blocks_k : z->exact ? 0 : 2 * z->seats) * z->n * 4; /* barriers; factors for 256 inputs, or twice a seat */
    g->x_stage            = z->x_piece << g->split_log;
    g->w_stage            = (g->tiles * z->tile) << g->split_log;
    g->x_depth = g->w_depth = 0;
    for (uint32_t left = smem - OWN - behind - (z->exact ? PIECES_ROOM : 0);;) {
        const bool w         = few || g->w_depth * z->tile_k <= g->x_depth * z->x_k;
        const uint32_t bytes = few ? g->w_stage + g->x_stage : w ? g->w_stage : g->x_stage;
        if (left < bytes || (w ? g->w_depth : g->x_depth) == SR_GEMM90_DEPTH)
            break;
        left -= bytes;
        g->w_depth += w;
        g->x_depth += few || !w;
    }
    g->at_w   = g->x_depth * g->x_stage;
    g->at_bar = (g->at_w + g->w_depth * g->w_stage + 15) & ~15u;
    g->smem   = g->at_bar + behind;
    return g->w_depth >= 2 && g->x_depth >= 2;
}

/* Clocks of a multiprocessor (measured on an H200: notes/0040): what limits a step, and what there is besides. */
static double clocks(const sr_gemm90 *g, const sizes *z, const sr_cudainfo *d)
{
    const double split = 1u << g->split_log, part = z->tile_k / 256.0, fours = div_up(g->tiles, z->wide) * z->wide / 4.0, at_once = g->grid >> g->cluster_log,
                 rounds = ceil(g->units / at_once), busy = g->units / (rounds * at_once) * g->grid / d->sms,
                 tile    = z->n <= 8 ? 80 : z->n <= 16 ? 154 : z->n <= 32 ? 181 : z->n <= 64 ? 256 : z->n <= 128 ? 385 : 600,
                 bytes_w = g->tiles * z->tile * split, bytes_x = (double)z->x_piece * (z->tile_k / z->x_k) * split,
                 issue = fours * 4 * split * tile * part, memory = bytes_w * busy / 18, l2 = (bytes_w + bytes_x) * busy / 40,
                 alone = (sr_gemm90_few(z->n) ? 600 : 800 + 7.0 * z->n) * part;
    const double step  = fmax(fmax(issue, memory), fmax(l2, alone)) + 0.15 * l2 + 16.0 * g->tiles + 250,
                 steps = ceil((double)g->steps / (1u << g->cluster_log)),
                 join  = (g->cluster_log ? 5500 : 0) + (split > 1 ? 300 : 0) + (split > 1 || g->cluster_log ? 16 * z->n * fours : 0);
    return 5000 + l2 + rounds * (steps * step + 12 * z->n) + join; /* nothing hides the first step's way */
}

double sr_gemm90_cut(sr_gemm90 *g, uint32_t formats, const sr_cudainfo *d, uint32_t tiles, uint32_t split_log, uint32_t cluster_log)
{
    const sizes z         = sizes_of(g, formats);
    const uint32_t tiles_k = g->part[0].tiles_k, rows = div_up(tiles, z.wide), all_log = split_log + cluster_log;
    uint32_t group        = 0;
    g->tiles              = tiles;
    g->split_log          = split_log;
    g->cluster_log        = cluster_log;
    g->twice_1024         = 0x64006400;
    if (!tiles || rows << split_log > z.seats || (split_log && z.x_k != z.tile_k))
        return -1;
    for (uint32_t i = 0; i < g->n_part; i++) {
        g->part[i].group0 = group;
        g->part[i].bytes  = sr_tile_bytes(g->part[i].format);
        group += div_up(g->part[i].row_tiles, tiles);
    }
    g->steps     = div_up(tiles_k, 1u << split_log);
    g->x_pieces  = tiles_k * (z.tile_k / z.x_k);
    g->col_tiles = div_up(g->m << g->pairs, z.n);
    g->units     = group * g->col_tiles;
    const uint32_t room = clusters_at_once(cluster_log, d);
    g->grid      = (g->units < room ? g->units : room) << cluster_log;
    if (!g->grid || g->steps < 1u << cluster_log || (all_log && g->units > room) || !rings(g, &z, (uint32_t)d->smem_block))
        return -1;
    const uint32_t kept = div_up(z.n / 2 >> g->pairs, 1u << cluster_log); /* numbers of a thread that a block of a cluster adds up */
    if (all_log && ((kept << all_log) * rows * z.wide * 128 > g->at_bar || 1u << all_log > (sr_gemm90_few(z.n) ? 16 : z.n >> g->pairs)))
        return -1;
    return clocks(g, &z, d);
}

void sr_gemm90_plan(sr_gemm90 *g, uint32_t formats, const sr_cudainfo *d)
{
    const uint32_t n = sr_gemm90_cols(g->m, g->pairs), seats = sr_gemm90_seats(n), wide = sr_gemm90_wide(n);
    uint32_t tiles = 1, split = 0, cluster = 0;
    double least   = -1;
    for (uint32_t c = 0; c <= (g->alike ? 0 : 3); c++)
        for (uint32_t s = 0; s == 0 || (!g->alike && seats >> s); s++) {
            const uint32_t room = clusters_at_once(c, d);
            for (uint32_t t = 1, before = 0; room && t <= (seats >> s) * wide; t++) { /* fewest row tiles for each number of rounds, or whole seats */
                uint32_t units = 0;
                for (uint32_t i = 0; i < g->n_part; i++)
                    units += div_up(g->part[i].row_tiles, t);
                const uint32_t rounds = div_up(units * div_up(g->m << g->pairs, n), room);
                const double now      = (rounds == before && (wide == 1 || t % wide)) || (rounds > 1 && c + s) ? -1 : sr_gemm90_cut(g, formats, d, t, s, c);
                before                = rounds;
                if (now >= 0 && (least < 0 || now < least)) {
                    least   = now;
                    tiles   = t;
                    split   = s;
                    cluster = c;
                }
            }
        }
    (void)sr_gemm90_cut(g, formats, d, tiles, split, cluster);
}

/* Bytes of x's factors. */
static size_t factors(uint32_t m, uint32_t pairs, uint32_t cols)
{
    const uint32_t n = sr_gemm90_cols(m, pairs);
    return up(sr_gemm90_few(n) ? up(cols, 256) / 256 * n * 4 : (size_t)m * 4, 1024);
}

size_t sr_gemm90_scratch(uint32_t m, uint32_t cols, bool pairs)
{
    const size_t one = up(m, SR_GEMM90_COLS) * 512, two = pairs ? up(2 * (size_t)m, 64) * (sr_gemm90_block(64) / 64) : 0; /* bytes for 256 inputs */
    return factors(m, 0, cols) + up(cols, 256) / 256 * (two > one ? two : one);
}

void sr_gemm90_place(sr_gemm90 *g, sr_gemm90x *x, void *scratch)
{
    x->n       = sr_gemm90_cols(g->m, g->pairs);
    x->m       = g->m;
    x->pairs   = g->pairs;
    x->count   = g->count;
    x->scale   = (float *)scratch;
    x->image   = (uint8_t *)scratch + factors(g->m, g->pairs, g->blocks_k * 256);
    x->blocks_k = g->blocks_k;
    g->scale   = x->scale;
    g->image   = x->image;
}

static void configure(cudaLaunchConfig_t *c, cudaLaunchAttribute attr[2], bool pdl, uint32_t cluster_log, cudaStream_t stream)
{
    *c        = {};
    attr[0]   = {};
    attr[1]   = {};
    c->stream = stream;
    c->attrs  = attr;
    if (pdl) {
        attr[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attr[0].val.programmaticStreamSerializationAllowed = 1;
        c->numAttrs = 1;
    }
    if (cluster_log) {
        attr[c->numAttrs].id             = cudaLaunchAttributeClusterDimension;
        attr[c->numAttrs].val.clusterDim = {1u << cluster_log, 1, 1};
        c->numAttrs++;
    }
}

/* Failures stay in cudaGetLastError(). */

template <int FROM, bool PAIRS> static void image(cudaLaunchConfig_t *c, const sr_gemm90x *x)
{
    c->blockDim = dim3(x->cols <= 4096 ? 256 : 1024);
    (void)(x->cols <= 4096 ? cudaLaunchKernelEx(c, image_kernel<FROM, 256, PAIRS>, *x) : cudaLaunchKernelEx(c, image_kernel<FROM, 1024, PAIRS>, *x));
}
template <int FROM> static void image(cudaLaunchConfig_t *c, const sr_gemm90x *x)
{
    if (x->pairs)
        image<FROM, true>(c, x);
    else
        image<FROM, false>(c, x);
}

static void few_image(cudaLaunchConfig_t *c, const sr_gemm90x *x)
{
    const bool norm = x->from == SR_GEMM90_NORM;
    c->blockDim     = dim3(norm ? 512 : 256);
    c->gridDim      = dim3(x->m, norm ? 1 : div_up(x->blocks_k, 8));
    switch (x->from) {
    case SR_GEMM90_NORM:
        (void)cudaLaunchKernelEx(c, few_image_kernel<SR_GEMM90_NORM>, *x);
        break;
    case SR_GEMM90_SILU:
        (void)cudaLaunchKernelEx(c, few_image_kernel<SR_GEMM90_SILU>, *x);
        break;
    case SR_GEMM90_GELU:
        (void)cudaLaunchKernelEx(c, few_image_kernel<SR_GEMM90_GELU>, *x);
        break;
    default:
        (void)cudaLaunchKernelEx(c, few_image_kernel<SR_GEMM90_SLOT>, *x);
        break;
    }
}

template <int FROM> static void pieces(cudaLaunchConfig_t *c, const sr_gemm90x *x)
{
    void (*const kernel)(sr_gemm90x) = x->pairs ? pieces_kernel<FROM, true> : pieces_kernel<FROM, false>;
    c->blockDim = dim3(128);
    c->gridDim  = dim3(x->m, div_up(x->blocks_k, 4));
    (void)cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared); /* as products have it (gemm90.cuh) */
    (void)cudaLaunchKernelEx(c, kernel, *x);
}

static void pieces(cudaLaunchConfig_t *c, const sr_gemm90x *x)
{
    switch (x->from) {
    case SR_GEMM90_NORM:
        pieces<SR_GEMM90_NORM>(c, x);
        break;
    case SR_GEMM90_SILU:
        pieces<SR_GEMM90_SILU>(c, x);
        break;
    case SR_GEMM90_GELU:
        pieces<SR_GEMM90_GELU>(c, x);
        break;
    default:
        pieces<SR_GEMM90_SLOT>(c, x);
        break;
    }
}

void sr_gemm90_image(const sr_gemm90x *x, bool pdl, cudaStream_t stream)
{
    cudaLaunchAttribute attr[2];
    cudaLaunchConfig_t c;
    configure(&c, attr, pdl, 0, stream);
    if (sr_gemm90_few(x->n)) {
        few_image(&c, x);
        return;
    }
    if (x->pieces) {
        pieces(&c, x);
        return;
    }
    const bool gated     = x->from == SR_GEMM90_SILU || x->from == SR_GEMM90_GELU;
    const uint32_t parts = gated && x->m <= 128 ? 128 / x->m : 1;
    c.gridDim            = dim3(x->m, parts < 4 ? parts : 4); /* eight take as long as four */
    switch (x->from) {
    case SR_GEMM90_NORM:
        image<SR_GEMM90_NORM>(&c, x);
        break;
    case SR_GEMM90_SILU:
        image<SR_GEMM90_SILU>(&c, x);
        break;
    case SR_GEMM90_GELU:
        image<SR_GEMM90_GELU>(&c, x);
        break;
    default:
        image<SR_GEMM90_SLOT>(&c, x);
        break;
    }
}

uint32_t sr_gemm90_share(const sr_gemm90part *p, uint32_t n, uint32_t *formats)
{
    *formats = 1u << p[0].format;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t all = *formats | 1u << p[i].format;
        if (all & (all - 1) && all != SR_GEMM90_MIX4 && all != SR_GEMM90_MIX5)
            return i;
        *formats = all;
    }
    return n;
}

void sr_gemm90_multiply(const sr_gemm90 *g, uint32_t formats, bool pdl, cudaStream_t stream)
{
    cudaLaunchAttribute attr[2];
    cudaLaunchConfig_t c;
    configure(&c, attr, pdl, g->cluster_log, stream);
    c.gridDim          = dim3(g->grid);
    c.dynamicSmemBytes = g->smem;
    uint32_t n         = sr_gemm90_cols(g->m, g->pairs);
    c.blockDim         = dim3(sr_gemm90_groups(n) * 128 + 128); /* shape90 */
    switch (n) {
    case 8:
        (void)sr_gemm90_start8(&c, g, formats);
        break;
    case 16:
        (void)sr_gemm90_start16(&c, g, formats);
        break;
    case 32:
        (void)sr_gemm90_start32(&c, g, formats);
        break;
    case 64:
        (void)sr_gemm90_start64(&c, g, formats);
        break;
    case 128:
        (void)sr_gemm90_start128(&c, g, formats);
        break;
    default:
        (void)sr_gemm90_start256(&c, g, formats);
        break;
    }
}
