/* skinny_part.cuh - what blocks do for products with few columns: x into shared memory, tiles through a ring, sums out.
 *
 * Shared by the kernel of one product (skinny.cuh, all of this) and by that of a chain of them (chain.cuh: x, tiles).
 * How the work is cut up: skinny.h.   Threads: device code, a whole block. */
#ifndef SR_OPS_LINEAR_SKINNY_PART_CUH
#define SR_OPS_LINEAR_SKINNY_PART_CUH
#include "ops/glu/act.cuh"
#include "ops/linear/skinny.h"
#include "ops/linear/skinny_spread.cuh"

#if __CUDA_ARCH__ >= 900
#define RING 1
#else
#define RING 0
#endif

struct place {
    uint32_t first, last, k0, n_k, warp;
    float inv_k;
}; /* the block's row tiles, its slice, the warp; 1 / n_k */

/* Loads of one column's 256 inputs, and what becomes of them. */
struct xload {
    float4 u, v;
};

__device__ __forceinline__ xload x_load(const float *column, uint32_t cols, uint32_t kb)
{
    const uint32_t lane = threadIdx.x % 32, k = kb * 256 + lane / 4 * 32 + lane % 4 * 4;
    xload x             = {make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0)};
    if (k < cols)
        x.u = __ldcg((const float4 *)(column + k));
    if (k + 16 < cols)
        x.v = __ldcg((const float4 *)(column + k + 16));
    return x;
}

/* A norm's weights of 256 inputs; those weights go in: the lane's sum of squares. */
__device__ __forceinline__ xload x_weights(const float *norm, uint32_t cols, uint32_t kb)
{
    const uint32_t lane = threadIdx.x % 32, k = kb * 256 + lane / 4 * 32 + lane % 4 * 4;
    xload w             = {make_float4(1, 1, 1, 1), make_float4(1, 1, 1, 1)};
    if (k < cols)
        w.u = __ldg((const float4 *)(norm + k));
    if (k + 16 < cols)
        w.v = __ldg((const float4 *)(norm + k + 16));
    return w;
}
__device__ __forceinline__ float x_times(xload &x, const xload &w)
{
    float sum = x.u.x * x.u.x + x.u.y * x.u.y + x.u.z * x.u.z + x.u.w * x.u.w + x.v.x * x.v.x + x.v.y * x.v.y +
                x.v.z * x.v.z + x.v.w * x.v.w;
    x.u       = make_float4(x.u.x * w.u.x, x.u.y * w.u.y, x.u.z * w.u.z, x.u.w * w.u.w);
    x.v       = make_float4(x.v.x * w.v.x, x.v.y * w.v.y, x.v.z * w.v.z, x.v.w * w.v.w);
    return sum;
}

__device__ __forceinline__ float sr_lanes_sum(float v)
{
#pragma unroll
    for (int j = 1; j < 32; j *= 2)
        v += __shfl_xor_sync(0xffffffff, v, j);
    return v;
}

/* f16 in shared memory (layout: skinny_tile.cuh, or with S > 0 skinny_spread.cuh); *scale: what the 256 inputs were
 * multiplied by, inverted. */
template <int S>
__device__ __forceinline__ void x_store(const xload &x, uint8_t *at, uint32_t row, float *scale)
{
    const uint32_t lane = threadIdx.x % 32, b = lane / 4, t = lane % 4;
    const float4 u = x.u, v = x.v;
    uint32_t e = sr_f16_exponent(__float_as_uint(sr_warp_top8(u, v)));
    float f = sr_f16_power(e), f1 = f * 0.0625f;
    uint4 h  = make_uint4(sr_pack(u.x * f, u.y * f), sr_pack(u.z * f, u.w * f), sr_pack(v.x * f1, v.y * f1),
                          sr_pack(v.z * f1, v.w * f1));
    /* Sums of what is multiplied, not of what it was: a minimum then errs as its codes do, and as in gemm90. */
    const float2 h0 = __half22float2(sr_half2_of(h.x)), h1 = __half22float2(sr_half2_of(h.y)), h2 = __half22float2(sr_half2_of(h.z)),
                 h3 = __half22float2(sr_half2_of(h.w));
    float s0 = (h0.x + h0.y) + (h1.x + h1.y), s1 = ((h2.x + h2.y) + (h3.x + h3.y)) * 16;
#pragma unroll
    for (int j = 1; j < 4; j *= 2) {
        s0 += __shfl_xor_sync(0xffffffff, s0, j);
        s1 += __shfl_xor_sync(0xffffffff, s1, j);
    }
    *(uint4 *)(at + b * row + t * 16) = h;
    if (S) {
        if (t == 0)
            *(float2 *)(at + 8 * row + b * 8) = make_float2(s0, s1);
        if (lane == 0)
            *scale = sr_f16_back(e);
        return;
    }
    half2 hi                          = __floats2half2_rn(s0, s1);
    float2 r                          = __half22float2(hi);
    if (t < 2)
        *(uint32_t *)(at + 8 * row + b / 2 * 16 + t * 8 + b % 2 * 4) =
            t ? sr_pack(s0 - r.x, s1 - r.y) : sr_half2_bits(hi);
    if (lane == 0)
        *scale = sr_f16_back(e);
}

/* x of this slice: warps take (column, 256-block) pairs, four at a time so that their
 * loads overlap. */
template <int NT, int S>
__device__ __forceinline__ void stage_x(const sr_skinny &a, const place &b, uint8_t *xs, float *scale)
{
    constexpr uint32_t n = 4;
    const uint32_t row = a.m * 64, all = b.n_k * a.m;
    for (uint32_t i = b.warp; i < all; i += n << a.warps_log) {
        xload x[n];
        uint32_t kb[n], c[n];
#pragma unroll
        for (uint32_t j = 0; j < n; j++) {
            uint32_t at = i + (j << a.warps_log);
            c[j]        = (uint32_t)(((float)at + 0.5f) * b.inv_k);
            kb[j]       = at - c[j] * b.n_k;
            if (at < all)
                x[j] = x_load(a.x + (size_t)(a.row0 + c[j]) * a.x_stride, a.cols, b.k0 + kb[j]);
        }
#pragma unroll
        for (uint32_t j = 0; j < n; j++)
            if (i + (j << a.warps_log) < all)
                x_store<S>(x[j], xs + (size_t)kb[j] * 9 * row + c[j] * 64, row, scale + kb[j] * NT * 8 + c[j]);
    }
}

/* Where a warp is.  One slice: 256-blocks [pos, end) of the rows [row0, row0 + rows) of this round, counted
 * along the inputs
 * first.  Several: row tile pos of the block's, all of the slice's inputs. */
struct walk {
    uint32_t row0, rows, pos, end;
};
struct segment {
    const uint8_t *p;
    uint32_t row, kb, left, bytes, part;
}; /* row: of the round; kb: of the slice; tiles left */

__device__ __forceinline__ void round_begin(const sr_skinny &a, const place &b, walk &w, uint32_t row0)
{
    w.row0 = row0;
    w.rows = row0 < b.last ? min(a.rows_round, b.last - row0) : 0;
    w.pos  = a.slices > 1 ? b.warp : w.rows * b.n_k * b.warp >> a.warps_log;
    w.end  = a.slices > 1 ? w.rows : w.rows * b.n_k * (b.warp + 1) >> a.warps_log;
}

__device__ __forceinline__ uint32_t part_of(const sr_skinny &a, uint32_t rt)
{
    uint32_t part = 0;
    for (uint32_t i = 1; i < a.n_part; i++)
        part += rt >= a.part[i].tile0;
    return part;
}

/* The next segment of the round; false: none. */
__device__ __forceinline__ bool segment_next(const sr_skinny &a, const place &b, walk &w, segment &s)
{
    if (w.pos >= w.end)
        return false;
    uint32_t n = b.n_k;
    if (a.slices > 1) {
        s.row = w.pos;
        s.kb  = 0;
        w.pos += 1u << a.warps_log;
    } else {
        s.row = (uint32_t)(((float)w.pos + 0.5f) * b.inv_k);
        s.kb  = w.pos - s.row * b.n_k;
        n     = min(b.n_k - s.kb, w.end - w.pos);
        w.pos += n;
    }
    const uint32_t rt      = w.row0 + s.row;
    s.part                 = part_of(a, rt);
    const sr_skinnypart &p = a.part[s.part];
    uint32_t per = p.per, k = (b.k0 + s.kb) * per;
    s.bytes = p.bytes;
    s.left  = min(k + n * per, p.tiles_k) - k;
    s.p     = p.p + ((size_t)(rt - p.tile0) * p.tiles_k + k) * s.bytes;
    return true;
}

/* The tiles of a warp through a ring of its own: a stage is up to a.chunk tiles that follow each other in a
 * segment. */
struct feed {
    uint8_t *ring;
    uint64_t *bar;
    uint32_t put, take, parity; /* stages */
    walk w;
    segment next;
};

/* The next segment to be asked for; false: the op has no more for this warp. */
__device__ __forceinline__ bool feed_find(const sr_skinny &a, const place &b, feed &f)
{
    while (!segment_next(a, b, f.w, f.next)) {
        if (f.w.row0 + f.w.rows >= b.last)
            return false;
        round_begin(a, b, f.w, f.w.row0 + f.w.rows);
    }
    return true;
}

/* Asks for the next tiles of the segment found. */
__device__ __forceinline__ void feed_ask(const sr_skinny &a, feed &f)
{
#if RING
    uint32_t n = min(a.chunk, f.next.left), bytes = n * f.next.bytes;
    if (threadIdx.x % 32 == 0) {
        sr_bar_expect(f.bar + f.put, bytes);
        sr_bulk_load(f.ring + f.put * a.stage, f.next.p, bytes, f.bar + f.put);
    }
    f.put = f.put + 1 == a.depth ? 0 : f.put + 1;
    f.next.p += bytes;
    f.next.left -= n;
#endif
}

/* Where a lane finds its columns of x; those beyond m repeat the last, unused. */
template <int NT> __device__ __forceinline__ sr_cols<NT> cols_of(uint32_t m, const uint8_t *xs)
{
    const uint32_t lane = threadIdx.x % 32;
    sr_cols<NT> x;
    x.xs  = xs;
    x.row = m * 64;
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
        x.off[nt] = min(nt * 8 + lane / 4, m - 1) * 64 + lane % 4 * 16;
    return x;
}

/* The formats a kernel knows, as bits: the fewer, the less code there is to wait for. */
#define ONLY(F) (1u << (F))
#define HALVES (ONLY(SR_F16) | ONLY(SR_BF16))
#define ANY (ONLY(SR_Q4_K) | ONLY(SR_Q5_K) | ONLY(SR_Q6_K) | ONLY(SR_Q4_0) | ONLY(SR_Q8_0) | HALVES)

/* In a function of FORMATS and `format`: if the latter is F, and may be, what is to be done then, and nothing behind it. */
#define IF_FORMAT(F, ...)                                                                                    \
    if constexpr ((FORMATS & ONLY(F)) != 0)                                                                  \
        if (FORMATS == ONLY(F) || format == F) {                                                             \
            __VA_ARGS__                                                                                      \
            return;                                                                                          \
        }

/* Columns whose blocks lie side by side (skinny_spread.cuh) in a kernel for C columns: tiles of F16 and BF16 have no scales. */
__host__ __device__ constexpr int spread_cols(int C, uint32_t formats) { return formats & HALVES ? 0 : C; }

/* A lane's view of x. */
template <int NT, int S> struct xview {
    sr_cols<NT> cols;
};
template <int NT> struct xview<NT, 1> {
    sr_spread<1> spread;
};
template <int NT> struct xview<NT, 2> {
    sr_spread<2> spread;
};

/* One tile of a format the kernel knows. */
template <int NT, int S, uint32_t FORMATS>
__device__ __forceinline__ void any_tile(uint32_t format, const uint8_t *w, const xview<NT, S> &x, uint32_t lane, uint32_t b0,
                                         float at[NT][4])
{
#define CASE(F)                                                                                              \
    IF_FORMAT(                                                                                               \
        F, if constexpr (S > 0) tile_multiply_spread<F, S>(w, x.spread, lane, at[0]);                        \
        else tile_multiply<F, NT>(w, x.cols, lane, b0, at);)
    CASE(SR_Q4_K)
    CASE(SR_Q6_K)
    CASE(SR_Q5_K)
    CASE(SR_Q8_0)
    CASE(SR_Q4_0)
    CASE(SR_F16)
    CASE(SR_BF16)
#undef CASE
}

/* The products of a segment.  put(): asks for the next tiles, if there are any; called when a stage has been read. */
template <int NT, int S, uint32_t FORMATS, class PUT>
__device__ __forceinline__ void segment_multiply(const sr_skinny &a, const segment &r, feed &f, const uint8_t *xs,
                                                 const float *scale, float acc[NT][4], const PUT &put)
{
    const uint32_t lane = threadIdx.x % 32, format = FORMATS & (FORMATS - 1) ? a.part[r.part].format : 0,
                   per  = FORMATS & HALVES ? (FORMATS & ~HALVES ? a.part[r.part].per : 4) : 1;
    uint32_t sub        = 0;
    float at[NT][4]     = {};
    xview<NT, S> x;
    xs += (size_t)r.kb * 9 * a.m * 64;
    scale += r.kb * NT * 8 + (S == 1 ? 0 : S ? 2 * (lane % 4) % S : 2 * (lane % 4));
    if constexpr (S > 0)
        x.spread = spread_of<S>(xs, a.m, lane);
    else
        x.cols = cols_of<NT>(a.m, xs);
    const uint8_t *w = r.p;
#if RING
    uint32_t n = 0; /* tiles left of the stage */
#endif
#pragma unroll 1
    for (uint32_t i = 0; i < r.left; i++) {
#if RING
        if (n == 0) {
            n = min(a.chunk, r.left - i);
            w = f.ring + f.take * a.stage;
            sr_bar_wait(f.bar + f.take, f.parity);
        }
#endif
        any_tile<NT, S, FORMATS>(format, w, x, lane, sub * 2, at);
        w += r.bytes;
#if RING
        if (--n == 0) {
            if (++f.take == a.depth) {
                f.take = 0;
                f.parity ^= 1;
            }
            sr_async_fence();
            __syncwarp();
            put(); /* into the stage just read */
        }
#endif
        if (++sub < per && i + 1 < r.left)
            continue;
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            float2 v   = S == 1 ? make_float2(scale[0], scale[0]) : *(const float2 *)(scale + nt * 8);
            acc[nt][0] = fmaf(at[nt][0], v.x, acc[nt][0]);
            acc[nt][1] = fmaf(at[nt][1], v.y, acc[nt][1]);
            acc[nt][2] = fmaf(at[nt][2], v.x, acc[nt][2]);
            acc[nt][3] = fmaf(at[nt][3], v.y, acc[nt][3]);
            at[nt][0] = at[nt][1] = at[nt][2] = at[nt][3] = 0;
        }
        sub = 0;
        scale += NT * 8;
        if constexpr (S > 0)
            x.spread.next();
        else
            x.cols.xs += 9 * x.cols.row;
    }
    if ((FORMATS & HALVES) == 0 || (FORMATS & ~HALVES && per == 1))
#pragma unroll
        for (int i = 0; i < NT * 4; i++)
            acc[i / 4][i % 4] *= 0x1p24f; /* codes were subnormals */
    if constexpr (S > 0)
        spread_fold<S>(acc[0]);
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

/* One output of row r of row tile rt, column c of this launch, bias and z added. */
__device__ __forceinline__ void store(const sr_skinny &a, const sr_skinnypart &w, uint32_t rt, uint32_t c,
                                      uint32_t r, float v)
{
    uint32_t row = (rt - w.tile0) * 16 + r;
    size_t at    = (size_t)(a.row0 + c) * a.width + w.y0 + row;
    if (w.bias)
        v += w.bias[row];
    a.y[at] = a.z ? v + __ldcg(a.z + at) : v;
}

/* The warps' sum of row r, column c of the tile of a row of a round, added in the order of the warps.  Warp i has
 * [total i / warps, total (i + 1) / warps) of the round, the row [row n_k, (row + 1) n_k).  Warp w's sum of row i is
 * number w + i: no two are the same, since each warp begins in the row where the one before it ended, or behind it. */
template <int NT>
__device__ __forceinline__ float sum_of(const sr_skinny &a, const place &b, const walk &w, const float *red, uint32_t row,
                                        uint32_t r, uint32_t c)
{
    const uint32_t total = w.rows * b.n_k, first = (((row * b.n_k + 1) << a.warps_log) - 1) / total,
                   last = ((((row + 1) * b.n_k) << a.warps_log) + total - 1) / total;
    const float *p = red + (size_t)(first + row) * NT * 128 + r / 8 * 64 + r % 8 * 4 + c / 8 * 128 + c % 2 * 32 + c % 8 / 2;
    float v        = 0;
#pragma unroll 2
    for (uint32_t i = first; i < last; i++, p += NT * 128)
        if (total >> a.warps_log || total * i >> a.warps_log < total * (i + 1) >> a.warps_log) /* else it had none */
            v += *p;
    return v;
}

/* One slice: the sums of a round. */
template <int NT>
__device__ __forceinline__ void round_store(const sr_skinny &a, const place &b, const walk &w, const float *red, uint32_t m)
{
    const uint32_t lane = threadIdx.x % 32, r = lane % 16;
    for (uint32_t row = b.warp; row < w.rows; row += 1u << a.warps_log) {
        uint32_t rt               = w.row0 + row;
        const sr_skinnypart &part = a.part[part_of(a, rt)];
        for (uint32_t c = lane / 16; c < m; c += 2)
            store(a, part, rt, c, r, sum_of<NT>(a, b, w, red, row, r, c));
    }
}

/* Several slices: leaves a warp's sums of a row tile in scratch; the last warp to arrive adds up the
 * slices, in their order.
 * Lanes keep the places they have in the accumulators. */
template <int NT>
__device__ __forceinline__ void slice_store(const sr_skinny &a, uint32_t rt, uint32_t m,
                                            const float acc[NT][4])
{
    const uint32_t lane = threadIdx.x % 32, r = lane / 4, t = lane % 4, pitch = a.row_tiles * 16;
    const size_t step = (size_t)a.m * pitch;
    float *p = a.partial + (size_t)rt * 16 + r, *mine = p + blockIdx.y * step;
#pragma unroll
    for (int i = 0; i < NT * 4; i++) {
        uint32_t c = i / 4 * 8 + t * 2 + i % 2;
        if (c < m)
            __stcg(mine + (size_t)c * pitch + i / 2 % 2 * 8, acc[i / 4][i % 4]);
    }
    __threadfence();
    __syncwarp();
    uint32_t n = 0;
    if (lane == 0) {
        n = atomicAdd(a.arrived + rt, 1);
        if (n + 1 == a.slices)
            a.arrived[rt] = 0;
    }
    if (__shfl_sync(0xffffffff, n, 0) + 1 != a.slices)
        return;
    __threadfence();
    const sr_skinnypart &part = a.part[part_of(a, rt)];
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        float v[4] = {};
#pragma unroll 4
        for (uint32_t s = 0; s < a.slices; s++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t c = nt * 8 + t * 2 + i % 2;
                v[i] += c < m ? __ldcg(p + s * step + (size_t)c * pitch + i / 2 * 8) : 0;
            }
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (nt * 8 + t * 2 + i % 2 < m)
                store(a, part, rt, nt * 8 + t * 2 + i % 2, r + i / 2 * 8, v[i]);
    }
}
#endif
