/* skinny: y[m][rows] = x[m][cols] . W^T (+ bias) (+ z) for m <= 8 NT columns, each weight read once
 * Shapes   x, y, z f32; W in tiles (layout.h), up to four weights of any packed formats side by side.
 * Roofline bytes = weights + m*(cols + rows)*4; memory bound up to m ~ 32 on an H200.
 * Target   H200, 8B Q4_K_M: 0.75 of the read limit over a layer at m = 1, m = 16 within 1.15 of that time;
 *          notes/0011 says how far it is.
 * Mapping  persistent blocks, cut up as skinny.h says.  x is converted once per block to f16 in shared memory,
 *          with a power-of-two factor per 256 inputs and column, so that nothing can overflow.
 *          Weights, sm_90: each warp keeps a ring of stages full by bulk copies, begun before the previous
 *          kernel has ended; below sm_90: straight from global memory, a tile's loads together.
 * Variants an instance per format, and one for ops that mix formats: little code is little to wait for.
 * Archs    sm_75+; the ring is sm_90.                                                        */
#ifndef SR_OPS_LINEAR_SKINNY_CUH
#define SR_OPS_LINEAR_SKINNY_CUH
#include "ops/linear/skinny.h"
#include "ops/linear/skinny_tile.cuh"

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

__device__ __forceinline__ xload x_load(const sr_skinny &a, uint32_t kb, uint32_t c)
{
    const uint32_t lane = threadIdx.x % 32, k = kb * 256 + lane / 4 * 32 + lane % 4 * 4;
    const float *p = a.x + (size_t)(a.row0 + c) * a.x_stride + k;
    xload x        = {make_float4(0, 0, 0, 0), make_float4(0, 0, 0, 0)};
    if (k < a.cols)
        x.u = *(const float4 *)p;
    if (k + 16 < a.cols)
        x.v = *(const float4 *)(p + 16);
    return x;
}

/* f16 in shared memory (layout: skinny_tile.cuh); *scale: what the 256 inputs were multiplied by, inverted.
 * */
__device__ __forceinline__ void x_store(const xload &x, uint8_t *at, uint32_t row, float *scale)
{
    const uint32_t lane = threadIdx.x % 32, b = lane / 4, t = lane % 4;
    const float4 u = x.u, v = x.v;
    float top  = fmaxf(fmaxf(fmaxf(fabsf(u.x), fabsf(u.y)), fmaxf(fabsf(u.z), fabsf(u.w))),
                       fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
    uint32_t e = max(__float_as_uint(sr_warp_top(top)) >> 23, 12u); /* |x| < 2^(e - 126) */
    float f = __uint_as_float((264 - e) << 23), f1 = f * 0.0625f;   /* the largest becomes 2^10 .. 2^11 */
    uint4 h  = make_uint4(sr_pack(u.x * f, u.y * f), sr_pack(u.z * f, u.w * f), sr_pack(v.x * f1, v.y * f1),
                          sr_pack(v.z * f1, v.w * f1));
    float s0 = ((u.x + u.y) + (u.z + u.w)) * f, s1 = ((v.x + v.y) + (v.z + v.w)) * f;
#pragma unroll
    for (int j = 1; j < 4; j *= 2) {
        s0 += __shfl_xor_sync(0xffffffff, s0, j);
        s1 += __shfl_xor_sync(0xffffffff, s1, j);
    }
    *(uint4 *)(at + b * row + t * 16) = h;
    half2 hi                          = __floats2half2_rn(s0, s1);
    float2 r                          = __half22float2(hi);
    if (t < 2)
        *(uint32_t *)(at + 8 * row + b / 2 * 16 + t * 8 + b % 2 * 4) =
            t ? sr_pack(s0 - r.x, s1 - r.y) : sr_half2_bits(hi);
    if (lane == 0)
        *scale = __uint_as_float((e - 10) << 23);
}

/* x of this slice: warps take (column, 256-block) pairs, four at a time so that their
 * loads overlap. */
template <int NT>
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
                x[j] = x_load(a, b.k0 + kb[j], c[j]);
        }
#pragma unroll
        for (uint32_t j = 0; j < n; j++)
            if (i + (j << a.warps_log) < all)
                x_store(x[j], xs + (size_t)kb[j] * 9 * row + c[j] * 64, row, scale + kb[j] * NT * 8 + c[j]);
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

/* Asks for the next tiles, if there are any. */
__device__ __forceinline__ void feed_put(const sr_skinny &a, const place &b, feed &f)
{
#if RING
    if (f.next.left == 0) {
        while (!segment_next(a, b, f.w, f.next)) {
            if (f.w.row0 + f.w.rows >= b.last)
                return;
            round_begin(a, b, f.w, f.w.row0 + f.w.rows);
        }
    }
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

/* The formats a kernel knows: one (little code, which is little to wait for), or all where an op mixes
 * them. */
enum { ANY = 0xffff };

template <int F, int NT>
__device__ __forceinline__ void segment_multiply(const sr_skinny &a, const place &b, const segment &r,
                                                 feed &f, sr_cols<NT> x, const float *scale, float acc[NT][4])
{
    const uint32_t lane    = threadIdx.x % 32;
    constexpr uint32_t per = F == SR_F16 || F == SR_BF16 ? 4 : 1;
    uint32_t sub           = 0;
    float at[NT][4]        = {};
    x.xs += (size_t)r.kb * 9 * x.row;
    scale += r.kb * NT * 8 + 2 * (lane % 4);
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
        tile_multiply<F, NT>(w, x, lane, sub * 2, at);
        w += sr_tile_bytes(F);
#if RING
        if (--n == 0) {
            if (++f.take == a.depth) {
                f.take = 0;
                f.parity ^= 1;
            }
            __syncwarp();
            feed_put(a, b, f); /* into the stage just read */
        }
#endif
        if (++sub < per && i + 1 < r.left)
            continue;
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            float2 v   = *(const float2 *)(scale + nt * 8);
            acc[nt][0] = fmaf(at[nt][0], v.x, acc[nt][0]);
            acc[nt][1] = fmaf(at[nt][1], v.y, acc[nt][1]);
            acc[nt][2] = fmaf(at[nt][2], v.x, acc[nt][2]);
            acc[nt][3] = fmaf(at[nt][3], v.y, acc[nt][3]);
            at[nt][0] = at[nt][1] = at[nt][2] = at[nt][3] = 0;
        }
        sub = 0;
        x.xs += 9 * x.row;
        scale += NT * 8;
    }
    if (F != SR_F16 && F != SR_BF16)
#pragma unroll
        for (int i = 0; i < NT * 4; i++)
            acc[i / 4][i % 4] *= 0x1p24f; /* codes were subnormals */
}

template <int NT, int FORMAT>
__device__ __forceinline__ void multiply(const sr_skinny &a, const place &b, const segment &r, feed &f,
                                         const sr_cols<NT> &x, const float *scale, float acc[NT][4])
{
    if constexpr (FORMAT != ANY)
        segment_multiply<FORMAT, NT>(a, b, r, f, x, scale, acc);
    else
        switch (a.part[r.part].format) {
        case SR_Q4_K:
            segment_multiply<SR_Q4_K, NT>(a, b, r, f, x, scale, acc);
            break;
        case SR_Q5_K:
            segment_multiply<SR_Q5_K, NT>(a, b, r, f, x, scale, acc);
            break;
        case SR_Q6_K:
            segment_multiply<SR_Q6_K, NT>(a, b, r, f, x, scale, acc);
            break;
        case SR_Q4_0:
            segment_multiply<SR_Q4_0, NT>(a, b, r, f, x, scale, acc);
            break;
        case SR_Q8_0:
            segment_multiply<SR_Q8_0, NT>(a, b, r, f, x, scale, acc);
            break;
        case SR_F16:
            segment_multiply<SR_F16, NT>(a, b, r, f, x, scale, acc);
            break;
        default:
            segment_multiply<SR_BF16, NT>(a, b, r, f, x, scale, acc);
            break;
        }
}

/* ---- sums
 * ---------------------------------------------------------------------------------------------------- */

/* One output of row r of row tile rt, column c of this launch, bias and z added. */
__device__ __forceinline__ void store(const sr_skinny &a, const sr_skinnypart &w, uint32_t rt, uint32_t c,
                                      uint32_t r, float v)
{
    uint32_t row = (rt - w.tile0) * 16 + r;
    size_t at    = (size_t)(a.row0 + c) * a.width + w.y0 + row;
    if (w.bias)
        v += w.bias[row];
    a.y[at] = a.z ? v + a.z[at] : v;
}

/* One slice: the sums of a round.  Warp w's sum of row i is number w + i: no two are the same, since each
 * warp begins in the
 * row where the one before it ended, or behind it.  They are added in the order of the warps. */
template <int NT>
__device__ __forceinline__ void round_store(const sr_skinny &a, const place &b, const walk &w,
                                            const float *red, uint32_t m)
{
    const uint32_t lane = threadIdx.x % 32, r = lane % 16, total = w.rows * b.n_k, warps = 1u << a.warps_log;
    for (uint32_t row = b.warp; row < w.rows; row += warps) {
        uint32_t lo = row * b.n_k, rt = w.row0 + row, first = 0, last;
        while (total * (first + 1) >> a.warps_log <= lo)
            first++;
        for (last = first + 1; last < warps && total * last >> a.warps_log < lo + b.n_k; last++) {
        }
        const sr_skinnypart &part = a.part[part_of(a, rt)];
        const float *p            = red + (size_t)(first + row) * NT * 128 + r / 8 * 64 + r % 8 * 4;
        for (uint32_t c = lane / 16; c < m; c += 2) {
            const float *q = p + c / 8 * 128 + c % 2 * 32 + c % 8 / 2;
            float v        = 0;
#pragma unroll 2
            for (uint32_t i = first; i < last; i++, q += NT * 128)
                if (total >= warps ||
                    total * i >> a.warps_log < total * (i + 1) >> a.warps_log) /* else it had none */
                    v += *q;
            store(a, part, rt, c, r, v);
        }
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

template <int NT, int FORMAT>
__global__ void __launch_bounds__(NT <= 2 ? 512 : 256, 1) skinny_kernel(const __grid_constant__ sr_skinny a)
{
    extern __shared__ __align__(128) uint8_t smem[];
    const uint32_t lane = threadIdx.x % 32, extra = min(blockIdx.x, a.rows_extra);
    place b;
    b.warp  = threadIdx.x / 32;
    b.first = blockIdx.x * a.rows_block + extra;
    b.last  = b.first + a.rows_block + (blockIdx.x < a.rows_extra);
    b.k0    = blockIdx.y * a.slice_k;
    b.n_k   = min(a.slice_k, a.blocks_k - b.k0);
    b.inv_k = 1.0f / (float)b.n_k;
    feed f;
#if RING
    f.bar  = (uint64_t *)(smem + a.at_bar) + b.warp * a.depth;
    f.ring = smem + a.at_ring + (size_t)b.warp * a.depth * a.stage;
    f.put = f.take = f.parity = 0;
    f.next.left               = 0;
    if (lane < a.depth)
        sr_bar_init(f.bar + lane, 1);
    sr_bar_fence();
    round_begin(a, b, f.w, b.first);
    __syncwarp();
#pragma unroll 1
    for (uint32_t i = 0; i < a.depth; i++)
        feed_put(a, b, f);
#endif
    float *scale = (float *)(smem + a.at_scale), *red = (float *)(smem + a.at_red);
    sr_pdl_launch();
    sr_pdl_wait();
    const uint32_t rows = a.count ? __ldcg(a.count) : a.row0 + a.m;
    stage_x<NT>(a, b, smem, scale);
    const uint32_t m = rows > a.row0 ? min(rows - a.row0, a.m) : 0; /* columns to be written */
    __syncthreads();

    sr_cols<NT> x;
    x.xs  = smem;
    x.row = a.m * 64;
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
        x.off[nt] = min(nt * 8 + lane / 4, a.m - 1) * 64 +
                    lane % 4 * 16; /* columns beyond m repeat the last, unused */
    walk w;
    segment s;
    for (round_begin(a, b, w, b.first); w.rows; round_begin(a, b, w, w.row0 + w.rows)) {
        if (w.row0 > b.first)
            __syncthreads(); /* the sums of the round before have been read */
        while (segment_next(a, b, w, s)) {
            float acc[NT][4] = {};
            multiply<NT, FORMAT>(a, b, s, f, x, scale, acc);
            if (a.slices == 1) {
#pragma unroll
                for (int i = 0; i < NT * 4; i++)
                    red[(size_t)(b.warp + s.row) * NT * 128 + i * 32 + lane] = acc[i / 4][i % 4];
                continue;
            }
            slice_store<NT>(a, w.row0 + s.row, m, acc);
        }
        if (a.slices > 1)
            continue;
        __syncthreads();
        round_store<NT>(a, b, w, red, m);
    }
}

template <int NT, int FORMAT> static cudaError_t skinny_start(const cudaLaunchConfig_t *c, const sr_skinny *s)
{
    cudaError_t e = cudaFuncSetAttribute(skinny_kernel<NT, FORMAT>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)s->smem);
    if (!e) /* one split of the memory for all: changing it empties the multiprocessor */
        e = cudaFuncSetAttribute(skinny_kernel<NT, FORMAT>, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(c, skinny_kernel<NT, FORMAT>, *s);
}

template <int NT>
static cudaError_t skinny_start_format(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format)
{
    switch (format) {
    case SR_Q4_K:
        return skinny_start<NT, SR_Q4_K>(c, s);
    case SR_Q5_K:
        return skinny_start<NT, SR_Q5_K>(c, s);
    case SR_Q6_K:
        return skinny_start<NT, SR_Q6_K>(c, s);
    case SR_Q4_0:
        return skinny_start<NT, SR_Q4_0>(c, s);
    case SR_Q8_0:
        return skinny_start<NT, SR_Q8_0>(c, s);
    case SR_F16:
        return skinny_start<NT, SR_F16>(c, s);
    case SR_BF16:
        return skinny_start<NT, SR_BF16>(c, s);
    default:
        return skinny_start<NT, ANY>(c, s);
    }
}
#endif
