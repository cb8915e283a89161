/* attn_softmax.cuh - scores of a tile become weights, online; what the prefill kernels do between their two products.
 *
 * A warp holds 16 rows by N positions as its tensor cores leave them: lane (g, t) has rows g and g + 8, s[4 i + 2 h + e] is row g + 8 h,
 * position 8 i + 2 t + e.  Pairs of them, packed, are the A operand of the next product.
 */
#ifndef SR_OPS_ATTN_SOFTMAX_CUH
#define SR_OPS_ATTN_SOFTMAX_CUH
#include "ops/attn/attn_view.cuh"

typedef struct {
    float m[2], l[2];          /* of rows g and g + 8: largest score; sum of weights, this lane's positions only */
    uint32_t begin[2], end[2]; /* what they see */
    uint32_t all_lo, all_hi;   /* what all rows see: a tile within needs no mask */
} softmax_rows;

__device__ __forceinline__ void softmax_begin(softmax_rows &r)
{
    r.m[0] = r.m[1] = SR_NOTHING;
    r.l[0] = r.l[1] = 0;
}

/* SPLIT: the tile's runs of 16 positions come as two products, the first eights of all runs and the second eights.
 * Position of score i, less 2 t + e. */
template <int N, bool SPLIT> __device__ __forceinline__ constexpr uint32_t place_of(int i)
{
    return SPLIT ? i % (N / 4) / 4 * 16 + i / (N / 4) * 8 : i / 4 * 8;
}

/* Scores of the tile at p0: soft-capped, what a row may not see -infinity.  words: within the window, of rows g and g + 8, if there are TREES. */
template <int N, bool SPLIT, bool TREES>
__device__ __forceinline__ void mask_tile(const sr_attnmma &a, const softmax_rows &r, float s[N / 2], uint32_t p0, const uint64_t words[2])
{
    if (a.cap > 0)
#pragma unroll
        for (int i = 0; i < N / 2; i++)
            s[i] = capped(s[i], a.scale, a.cap);
    if (p0 >= r.all_lo && p0 + N <= r.all_hi)
        return;
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        uint32_t p = p0 + place_of<N, SPLIT>(i) + threadIdx.x % 4 * 2 + i % 2, h = i / 2 % 2;
        if (p < r.begin[h] || p >= r.end[h])
            s[i] = -INFINITY;
    }
#pragma unroll
    for (int h = 0; TREES && h < 2; h++) {
        const uint32_t first = words[h] ? r.end[h] - 1 - sr_tree_own(words[h]) : ~0u;
#pragma unroll
        for (int i = 0; i < N / 2; i++)
            if (i / 2 % 2 == h && hidden_by(words[h], first, p0 + place_of<N, SPLIT>(i) + threadIdx.x % 4 * 2 + i % 2))
                s[i] = -INFINITY;
    }
}

/* Weights 2^(c (s - m)) in place of scores; keep: what the rows' sums so far are to be multiplied by. */
template <int N> __device__ __forceinline__ void weigh_tile(softmax_rows &r, float s[N / 2], float c, float keep[2])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = s[2 * h];
#pragma unroll
        for (int i = 0; i < N / 8; i++)
            top = fmaxf(top, fmaxf(s[4 * i + 2 * h], s[4 * i + 2 * h + 1]));
        top     = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
        top     = fmaxf(r.m[h], fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2)));
        keep[h] = power2((r.m[h] - top) * c);
        r.m[h]  = top;
        float shift = top * c, sum = 0;
#pragma unroll
        for (int i = 0; i < N / 8; i++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float &x = s[4 * i + 2 * h + e];
                x        = power2(fmaf(x, c, -shift));
                sum += x;
            }
        r.l[h] = fmaf(r.l[h], keep[h], sum);
    }
}

template <int N, bool SPLIT> __device__ __forceinline__ void pack_tile(const float s[N / 2], uint32_t p[N / 4])
{
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        const int from = SPLIT ? i / 4 * 4 + i / 2 % 2 * (N / 4) + i % 2 * 2 : 2 * i;
        p[i]           = sr_pack(s[from], s[from + 1]);
    }
}

/* Sums over the lanes of a row. */
__device__ __forceinline__ void softmax_end(softmax_rows &r)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        r.l[h] += __shfl_xor_sync(0xffffffff, r.l[h], 1);
        r.l[h] += __shfl_xor_sync(0xffffffff, r.l[h], 2);
    }
}
#endif
