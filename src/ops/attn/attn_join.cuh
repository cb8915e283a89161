/* attn_join.cuh - partial results (o, m, l) become one: the warps of a block, then the splits of a sequence.
 *
 * A partial result of `rows` rows is [o rows x HD, m rows, l rows] floats: weighted sum of values, largest score (base 2), sum of weights.
 * Always in the same order: warps by number; splits by number.
 */
#ifndef SR_OPS_ATTN_JOIN_CUH
#define SR_OPS_ATTN_JOIN_CUH
#include "ops/attn/attn_mma.h"
#include "ops/attn/attn_view.cuh"
#include "ops/linear/chain_form.cuh"

typedef struct {
    float4 o; /* four dimensions of a row */
    float m, l;
} sum4;

/* A warp's partial result in shared memory: lanes store pairs of dimensions 8 or 16 apart, of several rows together; laid out so, those of four rows
 * share no bank, and four dimensions are 16 aligned bytes. */
template <int HD, int ROWS> struct warp_sums {
    static constexpr uint32_t row = (HD + HD / 32 * 4 + 11) / 16 * 16 + 4, m = ROWS * row, l = m + ROWS, size = l + ROWS;
    static __device__ __forceinline__ uint32_t at(uint32_t r, uint32_t d) { return r * row + d + d / 32 * 4; }
};

/* The partial results of WARPS warps at p, in shared memory. */
template <int WARPS, int HD, int ROWS> __device__ __forceinline__ sum4 sum_of_warps(const float *p, uint32_t r, uint32_t d)
{
    using S = warp_sums<HD, ROWS>;
    sum4 s = {make_float4(0, 0, 0, 0), SR_NOTHING, 0};
#pragma unroll
    for (int i = 0; i < WARPS; i++)
        s.m = fmaxf(s.m, p[i * S::size + S::m + r]);
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        const float *x = p + i * S::size;
        const float f  = power2(x[S::m + r] - s.m);
        const float4 o = *(const float4 *)(x + S::at(r, d));
        s.l   = fmaf(x[S::l + r], f, s.l);
        s.o.x = fmaf(o.x, f, s.o.x);
        s.o.y = fmaf(o.y, f, s.o.y);
        s.o.z = fmaf(o.z, f, s.o.z);
        s.o.w = fmaf(o.w, f, s.o.w);
    }
    return s;
}

/* Which partial result of which rows. */
typedef struct {
    uint32_t seq, tok0, head, row0, n_row; /* the sequence's first token; kv head; rows of the sequence's */
    uint32_t split, n_split;
} join_part;

template <int HD>
__device__ __forceinline__ void join_put(const sr_attnmma &a, const join_part &w, uint32_t r, uint32_t d, const sum4 &s)
{
    const uint32_t row = w.row0 + r, tok = divided(row, a.over.group), at = (w.head * a.group + row - tok * a.group) * HD + d;
    const float inv    = __fdividef(1, s.l); /* the largest weight is 1 */
    const float4 y     = make_float4(s.o.x * inv, s.o.y * inv, s.o.z * inv, s.o.w * inv);
    if (a.out)
        *(float4 *)(a.out + (size_t)(w.tok0 + tok) * a.group * a.kv_heads * HD + at) = y;
    if (a.form)
        form_put(a.form, at, w.tok0 + tok, a.form_wide, y);
}

/* Row r of all parts by one warp: lane i sees to the weight of part i of each 32, loads of 16 parts are under way together. */
template <int HD, int ROWS> __device__ __forceinline__ void join_row(const sr_attnmma &a, const join_part &w, const float *all, uint32_t r)
{
    constexpr uint32_t size = ROWS * (HD + 2);
    constexpr int wide = (HD / 4 + 31) / 32, deep = 16 / wide; /* columns of a lane; parts under way */
    const uint32_t lane = threadIdx.x % 32;
    sum4 s[wide];
    float m = SR_NOTHING, l = 0;
#pragma unroll
    for (int c = 0; c < wide; c++)
        s[c].o = make_float4(0, 0, 0, 0);
    const float4 *from = (const float4 *)(all + r * HD) + lane;
    for (uint32_t k0 = 0; k0 < w.n_split; k0 += 32) {
        const uint32_t k = min(k0 + lane, w.n_split - 1);
        const float *x   = all + k * size + ROWS * HD + r, mine = k0 + lane < w.n_split ? __ldcg(x) : -INFINITY, sum = __ldcg(x + ROWS);
        float f = 1, top = mine;
        for (uint32_t i0 = 0; i0 < 32 && k0 + i0 < w.n_split; i0 += deep) {
            float4 o[deep][wide];
#pragma unroll
            for (int i = 0; i < deep; i++)
#pragma unroll
                for (int c = 0; c < wide; c++) {
                    o[i][c] = make_float4(0, 0, 0, 0);
                    if (k0 + i0 + i < w.n_split && (HD % 128 == 0 || c * 32 + lane < HD / 4))
                        o[i][c] = __ldcg(from + i * (size / 4) + c * 32);
                }
            from += deep * (size / 4);
            if (i0 == 0) {
#pragma unroll
                for (int y = 16; y; y /= 2)
                    top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, y));
                top        = fmaxf(top, m);
                float keep = power2(m - top);
                m          = top;
                f          = power2(mine - top);
                float all  = sum * f;
#pragma unroll
                for (int y = 16; y; y /= 2)
                    all += __shfl_xor_sync(0xffffffff, all, y);
                l = fmaf(l, keep, all);
#pragma unroll
                for (int c = 0; c < wide; c++)
                    s[c].o = make_float4(s[c].o.x * keep, s[c].o.y * keep, s[c].o.z * keep, s[c].o.w * keep);
            }
#pragma unroll
            for (int i = 0; i < deep; i++) {
                const float g = __shfl_sync(0xffffffff, f, i0 + i); /* 0 behind the last */
#pragma unroll
                for (int c = 0; c < wide; c++) {
                    s[c].o.x = fmaf(o[i][c].x, g, s[c].o.x);
                    s[c].o.y = fmaf(o[i][c].y, g, s[c].o.y);
                    s[c].o.z = fmaf(o[i][c].z, g, s[c].o.z);
                    s[c].o.w = fmaf(o[i][c].w, g, s[c].o.w);
                }
            }
        }
    }
#pragma unroll
    for (int c = 0; c < wide; c++) {
        s[c].l = l;
        if (c * 32 + lane < HD / 4)
            join_put<HD>(a, w, r, (c * 32 + lane) * 4, s[c]);
    }
}

/* Counts the arrival of this block, whose stores have been issued; true in the last of n_split, which sees what all stored. */
__device__ __forceinline__ bool join_arrive(uint32_t *arrived, uint32_t n_split)
{
    __shared__ uint32_t last;
    __syncthreads();
    if (threadIdx.x == 0) { /* its release and acquire hold for the block: barriers lie before and behind */
        uint32_t before;
        asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], 1;" : "=r"(before) : "l"(arrived) : "memory");
        last = before + 1 == n_split;
        if (last)
            *arrived = 0;
    }
    __syncthreads();
    return last;
}

/* All threads of a block, after __syncthreads(): its warps' partial results in shared memory; written out if there is one split, else to
 * memory, where the last block to arrive joins all. */
template <int WARPS, int HD, int ROWS> __device__ __forceinline__ void join_block(const sr_attnmma &a, const join_part &w, const float *part)
{
    constexpr uint32_t T  = WARPS * 32;
    constexpr size_t size = ROWS * (HD + 2);
    const uint32_t item   = (w.seq * a.kv_heads + w.head) * a.chunks + w.row0 / ROWS;
    float *all            = a.partial + (size_t)item * a.splits * size, *mem = all + w.split * size;
    for (uint32_t i = threadIdx.x; i < w.n_row * (HD / 4); i += T) {
        const uint32_t r = i / (HD / 4), d = i % (HD / 4) * 4;
        const sum4 s = sum_of_warps<WARPS, HD, ROWS>(part, r, d);
        if (w.n_split == 1) {
            join_put<HD>(a, w, r, d, s);
            continue;
        }
        __stcg((float4 *)(mem + r * HD + d), s.o);
        if (d == 0) {
            __stcg(mem + ROWS * HD + r, s.m);
            __stcg(mem + ROWS * HD + ROWS + r, s.l);
        }
    }
    if (w.n_split > 1 && join_arrive(a.arrived + item, w.n_split))
        for (uint32_t r = threadIdx.x / 32; r < w.n_row; r += WARPS)
            join_row<HD, ROWS>(a, w, all, r);
}
#endif
