/* attn_join.cuh - partial results (o, m, l) become one: the warps of a block, then the splits of a sequence.
 *
 * A partial result of `rows` rows is [o rows x HD, m rows, l rows] floats: weighted sum of values, largest score (base 2), sum of weights.
 * Always in the same order: warps by number; splits by number, cut into as many runs as a block has threads for, joined by number.
 */
#ifndef SR_OPS_ATTN_JOIN_CUH
#define SR_OPS_ATTN_JOIN_CUH
#include "ops/attn/attn_mma.h"
#include "ops/attn/attn_view.cuh"

typedef struct {
    float4 o; /* four dimensions of a row */
    float m, l;
} sum4;

__device__ __forceinline__ void add4(sum4 &s, float4 o, float m, float l)
{
    float top = fmaxf(s.m, m), f = exp2f(s.m - top), g = exp2f(m - top);
    s.m   = top;
    s.l   = fmaf(s.l, f, l * g);
    s.o.x = fmaf(s.o.x, f, o.x * g);
    s.o.y = fmaf(s.o.y, f, o.y * g);
    s.o.z = fmaf(s.o.z, f, o.z * g);
    s.o.w = fmaf(s.o.w, f, o.w * g);
}

/* Partial results first .. last - 1 at p, `stride` floats apart, eight loads under way at a time. */
template <int HD, int ROWS, class LOAD>
__device__ __forceinline__ sum4 sum_of(const float *p, size_t stride, uint32_t first, uint32_t last, uint32_t r, uint32_t d, LOAD load)
{
    sum4 s = {make_float4(0, 0, 0, 0), SR_NOTHING, 0};
    for (uint32_t i = first; i < last; i += 8) {
        float m[8], l[8], top = s.m;
        float4 o[8];
#pragma unroll
        for (uint32_t k = 0; k < 8; k++) {
            const float *x = p + min(i + k, last - 1) * stride;
            o[k]           = load((const float4 *)(x + r * HD + d));
            m[k]           = load(x + ROWS * HD + r);
            l[k]           = load(x + ROWS * HD + ROWS + r);
        }
#pragma unroll
        for (uint32_t k = 0; k < 8; k++) {
            m[k] = i + k < last ? m[k] : -INFINITY;
            top  = fmaxf(top, m[k]);
        }
        float f = exp2f(s.m - top);
        s.m     = top;
        s.l *= f;
        s.o.x *= f, s.o.y *= f, s.o.z *= f, s.o.w *= f;
#pragma unroll
        for (uint32_t k = 0; k < 8; k++) {
            f     = exp2f(m[k] - top);
            s.l   = fmaf(l[k], f, s.l);
            s.o.x = fmaf(o[k].x, f, s.o.x);
            s.o.y = fmaf(o[k].y, f, s.o.y);
            s.o.z = fmaf(o[k].z, f, s.o.z);
            s.o.w = fmaf(o[k].w, f, s.o.w);
        }
    }
    return s;
}

/* Which partial result of which rows. */
typedef struct {
    uint32_t seq, head, row0, n_row; /* kv head; rows of the sequence's */
    uint32_t split, n_split;
} join_part;

template <int HD>
__device__ __forceinline__ void join_put(const sr_attnmma &a, const join_part &w, uint32_t r, uint32_t d, const sum4 &s)
{
    const uint32_t row = w.row0 + r, tok = row / a.group;
    const float inv    = 1.0f / s.l;
    float *y = a.out + ((size_t)(a.seq[w.seq] + tok) * a.group * a.kv_heads + w.head * a.group + row - tok * a.group) * HD + d;
    *(float4 *)y = make_float4(s.o.x * inv, s.o.y * inv, s.o.z * inv, s.o.w * inv);
}

/* All threads of a block of T, after __syncthreads(): the block's partial results of n warps in shared memory; written out if
 * there is one split, else to memory, where the last block to arrive joins all. */
template <int T, int HD, int ROWS>
__device__ __forceinline__ void join_block(const sr_attnmma &a, const join_part &w, float *part, uint32_t n)
{
    __shared__ uint32_t last;
    constexpr size_t size  = ROWS * (HD + 2);
    const uint32_t columns = w.n_row * HD / 4, item = (w.seq * a.kv_heads + w.head) * a.chunks + w.row0 / ROWS;
    float *all             = a.partial + (size_t)item * a.splits * size, *mem = all + w.split * size;
    for (uint32_t i = threadIdx.x; i < columns; i += T) {
        const uint32_t r = i / (HD / 4), d = i % (HD / 4) * 4;
        sum4 s = sum_of<HD, ROWS>(part, size, 0, n, r, d, [](auto *x) { return *x; });
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
    if (w.n_split == 1)
        return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(a.arrived + item, 1) + 1 == w.n_split;
        if (last)
            a.arrived[item] = 0;
    }
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    const uint32_t runs = columns < T ? T / columns : 1, each = (w.n_split + runs - 1) / runs; /* splits of a run */
    sum4 *sums          = (sum4 *)part;
    for (uint32_t i = threadIdx.x; i < columns * runs; i += T) {
        const uint32_t c = i % columns, run = i / columns, r = c / (HD / 4), d = c % (HD / 4) * 4;
        sum4 s = sum_of<HD, ROWS>(all, size, min(run * each, w.n_split), min((run + 1) * each, w.n_split), r, d, [](auto *x) { return __ldcg(x); });
        if (runs == 1)
            join_put<HD>(a, w, r, d, s);
        else
            sums[i] = s;
    }
    if (runs == 1)
        return;
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < columns; c += T) {
        sum4 s = sums[c];
        for (uint32_t run = 1; run < runs; run++) {
            sum4 x = sums[run * columns + c];
            add4(s, x.o, x.m, x.l);
        }
        join_put<HD>(a, w, c / (HD / 4), c % (HD / 4) * 4, s);
    }
}
#endif
