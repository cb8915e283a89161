/* attn_mma: causal attention over pages on tensor cores, keys and values straight into fragments
 * Shapes   attn.h; head sizes 64, 128, 256; pages of F16 or Q8_0; up to 16 query heads a kv head.
 * Roofline decode: bytes = visible positions * kv_heads * (K + V rows);
 *          prefill: flops = 4 * heads * head_dim * visible positions per token.
 * Target   decode 0.8 of the read limit from 4 k positions on; prefill 320 TFLOP/s on an H200 (notes/0012).
 * Mapping  a warp takes 16 query rows, (token, head of the group) pairs of one kv head, and 16 positions at
 *          a time.  Dimensions may be summed in any order, so lane (g, t) reads 16 consecutive bytes of key
 *          row g as its B operand; output columns may lie in any order, so it reads 16 consecutive bytes of
 *          four value rows and pairs them by byte permutes.  No shared memory, no ldmatrix: the warps of a
 *          prefill block read the same pages at about the same time, level 1 serves them.
 *          decode: the four warps of a block share a split of the positions; the last block of
 *          (sequence, kv head) to arrive joins the splits in their order.
 *          prefill: 64 rows a block, the latest (longest) first.
 * Numbers  q, k, v and the weights p in f16, sums in f32, online softmax over runs of 16, base 2.
 * Variants one.
 * Archs    sm_75+.                                                                           */
#ifndef SR_OPS_ATTN_MMA_CUH
#define SR_OPS_ATTN_MMA_CUH
#include "ops/attn/attn_mma.h"
#include "ops/mma.cuh"

enum { WARPS = 4, RUN = 16, ROWS = 16 };

/* The 16 rows of a warp: what they see. */
typedef struct {
    uint32_t seq, head, row0, n_row; /* kv head; first (token, head) row of the sequence's, rows */
    uint32_t begin[2], end[2];       /* visible to rows g and g + 8 */
    uint32_t lo, hi, all_lo, all_hi; /* visible to some row; to all rows */
} view;

template <int HD> struct state {
    float o[HD / 8][4], m[2], l[2];
};

/* Eight numbers d0 .. d0+7 of a stored row, as f16. */
template <int F> __device__ __forceinline__ uint4 row8(const uint8_t *row, uint32_t d0)
{
    if (F == SR_F16)
        return *(const uint4 *)(row + d0 * 2);
    const uint8_t *b = row + d0 / 32 * 34;
    uint32_t at = d0 / 32 * 34 + 2 + d0 % 32, odd = at & 2; /* rows lie at multiples of four */
    const uint32_t *p = (const uint32_t *)(row + at - odd);
    uint32_t w0 = p[0], w1 = p[1], w2 = odd ? p[2] : 0;
    w0               = __funnelshift_r(w0, w1, odd * 8) ^ 0x80808080;
    w1               = __funnelshift_r(w1, w2, odd * 8) ^ 0x80808080;
    const half2 zero = __float2half2_rn(1152.0f), d = __half2half2(*(const half *)b); /* 1024 + 128 */
    uint4 v;
    v.x = sr_half2_bits(__hmul2(__hsub2(sr_half2_of(__byte_perm(w0, 0x64646464, 0x4140)), zero), d));
    v.y = sr_half2_bits(__hmul2(__hsub2(sr_half2_of(__byte_perm(w0, 0x64646464, 0x4342)), zero), d));
    v.z = sr_half2_bits(__hmul2(__hsub2(sr_half2_of(__byte_perm(w1, 0x64646464, 0x4140)), zero), d));
    v.w = sr_half2_bits(__hmul2(__hsub2(sr_half2_of(__byte_perm(w1, 0x64646464, 0x4342)), zero), d));
    return v;
}

__device__ __forceinline__ const uint8_t *run_at(const sr_attnmma &a, const view &v, uint32_t p0,
                                                 const uint8_t *base)
{
    size_t page = a.table[(size_t)v.seq * a.max_pages + (p0 >> a.page_log)] & 0x3fffffffu;
    return base + page * a.kv.stride.page + (p0 & ((1u << a.page_log) - 1)) * a.kv.stride.tok;
}

template <int HD>
__device__ __forceinline__ void load_q(const sr_attnmma &a, const view &v, uint32_t q[HD / 16][4])
{
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, t0 = a.seq[v.seq];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t r     = min(g + h * 8, v.n_row - 1) + v.row0;
        const float *p = a.qkv + (size_t)(t0 + r / a.group) * a.width +
                         (size_t)(v.head * a.group + r % a.group) * HD + t * 8;
#pragma unroll
        for (int j = 0; j < HD / 32; j++) {
            float4 x = *(const float4 *)(p + j * 32), y = *(const float4 *)(p + j * 32 + 4);
            q[2 * j][h]         = sr_pack(x.x, x.y);
            q[2 * j][2 + h]     = sr_pack(x.z, x.w);
            q[2 * j + 1][h]     = sr_pack(y.x, y.y);
            q[2 * j + 1][2 + h] = sr_pack(y.z, y.w);
        }
    }
}

/* Scores of 16 positions in base 2, invisible ones -infinity. */
__device__ __forceinline__ void scores(const sr_attnmma &a, const view &v, uint32_t p0, float s[2][4])
{
    const uint32_t t = threadIdx.x % 4;
#pragma unroll
    for (int u = 0; u < 2; u++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[u][i] = a.cap > 0 ? a.cap * tanhf(s[u][i] * a.scale / a.cap) * 1.44269504f
                                : s[u][i] * (a.scale * 1.44269504f);
    if (p0 >= v.all_lo && p0 + RUN <= v.all_hi)
        return;
#pragma unroll
    for (int u = 0; u < 2; u++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t p = p0 + u * 8 + t * 2 + i % 2;
            if (p < v.begin[i / 2] || p >= v.end[i / 2])
                s[u][i] = -INFINITY;
        }
}

/* Weights in place of scores; the state so far is scaled to the new maximum. */
template <int HD> __device__ __forceinline__ void soften(state<HD> &st, float s[2][4])
{
    float keep[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = fmaxf(fmaxf(s[0][2 * h], s[0][2 * h + 1]), fmaxf(s[1][2 * h], s[1][2 * h + 1]));
        top       = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
        top       = fmaxf(st.m[h], fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2)));
        keep[h]   = exp2f(st.m[h] - top);
        st.m[h]   = top;
        st.l[h] *= keep[h];
#pragma unroll
        for (int u = 0; u < 2; u++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                s[u][2 * h + i] = exp2f(s[u][2 * h + i] - top);
                st.l[h] += s[u][2 * h + i];
            }
    }
    if (__all_sync(0xffffffff, keep[0] == 1 && keep[1] == 1)) /* most runs bring no new maximum */
        return;
#pragma unroll
    for (int i = 0; i < HD / 8; i++) {
        st.o[i][0] *= keep[0];
        st.o[i][1] *= keep[0];
        st.o[i][2] *= keep[1];
        st.o[i][3] *= keep[1];
    }
}

/* Positions p0, p0 + step, .. < stop in runs of 16. */
template <int HD, int F>
__device__ __forceinline__ void attend(const sr_attnmma &a, const view &v, const uint32_t q[HD / 16][4],
                                       uint32_t p0, uint32_t stop, uint32_t step, state<HD> &st)
{
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const size_t tok = a.kv.stride.tok;
    const uint8_t *base =
        (const uint8_t *)a.kv.base + a.layer * a.kv.stride.layer + v.head * a.kv.stride.head;
    const uint8_t *run = p0 < stop ? run_at(a, v, p0, base) : base;
    for (; p0 < stop; p0 += step) {
        uint4 k[2][HD / 32], w[HD / 64][4];
        const uint8_t *next = p0 + step < stop ? run_at(a, v, p0 + step, base) : run;
        const bool edge     = p0 < v.lo || p0 + RUN > v.hi; /* what nobody sees may be anything, NaN too */
#pragma unroll
        for (int u = 0; u < 2; u++)
#pragma unroll
            for (int j = 0; j < HD / 32; j++)
                k[u][j] = row8<F>(run + (u * 8 + g) * tok, j * 32 + t * 8);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t r = t * 2 + i % 2 + i / 2 * 8;
#pragma unroll
            for (int c = 0; c < HD / 64; c++)
                w[c][i] = row8<F>(run + a.kv.stride.kv + r * tok, c * 64 + g * 8);
            if (edge && (p0 + r < v.lo || p0 + r >= v.hi))
#pragma unroll
                for (int c = 0; c < HD / 64; c++)
                    w[c][i] = make_uint4(0, 0, 0, 0);
        }
        run           = next;
        float s[2][4] = {};
#pragma unroll
        for (int j = 0; j < HD / 32; j++)
#pragma unroll
            for (int u = 0; u < 2; u++) {
                sr_frag_a a0 = {{q[2 * j][0], q[2 * j][1], q[2 * j][2], q[2 * j][3]}};
                sr_frag_a a1 = {{q[2 * j + 1][0], q[2 * j + 1][1], q[2 * j + 1][2], q[2 * j + 1][3]}};
                sr_mma(s[u], a0, k[u][j].x, k[u][j].y);
                sr_mma(s[u], a1, k[u][j].z, k[u][j].w);
            }
        scores(a, v, p0, s);
        soften<HD>(st, s);
        sr_frag_a p = {{sr_pack(s[0][0], s[0][1]), sr_pack(s[0][2], s[0][3]), sr_pack(s[1][0], s[1][1]),
                        sr_pack(s[1][2], s[1][3])}};
#pragma unroll
        for (int c = 0; c < HD / 64; c++)
#pragma unroll
            for (int i = 0; i < 8; i++) { /* output column n of tile i is dimension 64 c + 8 n + i */
                const uint32_t *x = &w[c][0].x, *y = &w[c][1].x, *x2 = &w[c][2].x, *y2 = &w[c][3].x;
                sr_mma(st.o[c * 8 + i], p, __byte_perm(x[i / 2], y[i / 2], i % 2 ? 0x7632 : 0x5410),
                       __byte_perm(x2[i / 2], y2[i / 2], i % 2 ? 0x7632 : 0x5410));
            }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        st.l[h] += __shfl_xor_sync(0xffffffff, st.l[h], 1);
        st.l[h] += __shfl_xor_sync(0xffffffff, st.l[h], 2);
    }
}

/* Token `tok` of sequence s sees [begin, end). */
__device__ __forceinline__ void visible(const sr_attnmma &a, uint32_t s, uint32_t n_tok, uint32_t tok,
                                        uint32_t &begin, uint32_t &end)
{
    begin = a.kv_len[2 * s];
    end   = a.kv_len[2 * s + 1] - (n_tok - 1 - tok);
    if (a.window && end > a.window && end - a.window > begin)
        begin = end - a.window;
}

__device__ __forceinline__ view view_of(const sr_attnmma &a, uint32_t s, uint32_t head, uint32_t n_tok,
                                        uint32_t row0)
{
    const uint32_t g = threadIdx.x % 32 / 4;
    uint32_t skip;
    view v;
    v.seq   = s;
    v.head  = head;
    v.row0  = row0;
    v.n_row = min(n_tok * a.group - row0, (uint32_t)ROWS);
    for (int h = 0; h < 2; h++)
        visible(a, s, n_tok, (row0 + min(g + h * 8, v.n_row - 1)) / a.group, v.begin[h], v.end[h]);
    visible(a, s, n_tok, row0 / a.group, v.lo, v.all_hi);
    visible(a, s, n_tok, (row0 + v.n_row - 1) / a.group, v.all_lo, v.hi);
    (void)skip;
    return v;
}

template <int HD> __device__ __forceinline__ void state_begin(state<HD> &st)
{
#pragma unroll
    for (int i = 0; i < HD / 8; i++)
        st.o[i][0] = st.o[i][1] = st.o[i][2] = st.o[i][3] = 0;
    st.m[0] = st.m[1] = -1e30f; /* finite: a row that has seen nothing yet is no NaN */
    st.l[0] = st.l[1] = 0;
}

__device__ __forceinline__ float *out_row(const sr_attnmma &a, const view &v, uint32_t r, uint32_t hd)
{
    uint32_t row = v.row0 + r;
    return a.out + ((size_t)(a.seq[v.seq] + row / a.group) * a.group * a.kv_heads + v.head * a.group +
                    row % a.group) *
                       hd;
}

/* ---- prefill: sequences with more than 16 rows
 * ------------------------------------------------------------------ */

template <int HD, int F>
__global__ void __launch_bounds__(WARPS * 32) prefill_kernel(const __grid_constant__ sr_attnmma a)
{
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    sr_pdl_wait();
    sr_pdl_launch();
    uint32_t tile = gridDim.x - 1 - blockIdx.x, s = 0, n_tok = 0, first = 0, n_seq = a.n->seq;
    for (; s < n_seq;
         s++) { /* whose block this is, counted from the end: within a sequence the longest rows come first */
        n_tok      = a.seq[s + 1] - a.seq[s];
        uint32_t n = n_tok * a.group > ROWS ? (n_tok * a.group + WARPS * ROWS - 1) / (WARPS * ROWS) : 0;
        if (tile < first + n)
            break;
        first += n;
    }
    uint32_t row0 = (tile - first) * WARPS * ROWS + threadIdx.x / 32 * ROWS;
    if (s == n_seq || row0 >= n_tok * a.group)
        return;
    view v = view_of(a, s, blockIdx.y, n_tok, row0);
    uint32_t q[HD / 16][4];
    state<HD> st;
    state_begin<HD>(st);
    load_q<HD>(a, v, q);
    attend<HD, F>(a, v, q, v.lo / RUN * RUN, v.hi, RUN, st);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (g + h * 8 >= v.n_row)
            continue;
        float inv = 1.0f / st.l[h];
        float *p  = out_row(a, v, g + h * 8, HD) + t * 16;
#pragma unroll
        for (int c = 0; c < HD / 64; c++)
#pragma unroll
            for (int i = 0; i < 16; i++) /* columns 2t and 2t + 1 of eight tiles */
                p[c * 64 + i] = st.o[c * 8 + i % 8][2 * h + i / 8] * inv;
    }
}

/* ---- decode: up to 16 rows
 * ---------------------------------------------------------------------------------------- */

/* Joins n partial results (o, m, l), `stride` floats apart, in their order: row r, dimensions d .. d+3. */
template <class Load>
__device__ __forceinline__ float4 join(const float *p, size_t stride, uint32_t n, uint32_t hd, uint32_t r,
                                       uint32_t d, float *m, float *l, Load load)
{
    float4 o = make_float4(0, 0, 0, 0);
    *m       = -1e30f;
    *l       = 0;
#pragma unroll 4
    for (uint32_t i = 0; i < n; i++)
        *m = fmaxf(*m, load(p + i * stride + ROWS * hd + r));
#pragma unroll 4
    for (uint32_t i = 0; i < n; i++) {
        const float *x = p + i * stride;
        float f        = exp2f(load(x + ROWS * hd + r) - *m);
        float4 v       = load((const float4 *)(x + r * hd + d));
        *l             = fmaf(load(x + ROWS * hd + ROWS + r), f, *l);
        o.x            = fmaf(v.x, f, o.x);
        o.y            = fmaf(v.y, f, o.y);
        o.z            = fmaf(v.z, f, o.z);
        o.w            = fmaf(v.w, f, o.w);
    }
    return o;
}

__device__ __forceinline__ void put(float *p, float4 o, float l)
{
    float inv    = 1.0f / l;
    *(float4 *)p = make_float4(o.x * inv, o.y * inv, o.z * inv, o.w * inv);
}

template <int HD, int F>
__global__ void __launch_bounds__(WARPS * 32) decode_kernel(const __grid_constant__ sr_attnmma a)
{
    extern __shared__ float part[]; /* [warp][o 16 x HD, m 16, l 16] */
    __shared__ uint32_t flag;
    constexpr size_t size = ROWS * (HD + 2);
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, warp = threadIdx.x / 32, s = blockIdx.z,
                   head = blockIdx.y;
    sr_pdl_wait();
    sr_pdl_launch();
    if (s >= a.n->seq)
        return;
    const uint32_t n_tok = a.seq[s + 1] - a.seq[s];
    if (n_tok == 0 || n_tok * a.group > ROWS)
        return;
    view v               = view_of(a, s, head, n_tok, 0);
    const uint32_t first = v.lo / a.split, n_split = (v.hi + a.split - 1) / a.split - first,
                   split = blockIdx.x;
    if (split >= n_split)
        return;
    const uint32_t begin = max((first + split) * a.split, v.lo / RUN * RUN),
                   stop  = min((first + split + 1) * a.split, v.hi);
    uint32_t q[HD / 16][4];
    state<HD> st;
    state_begin<HD>(st);
    load_q<HD>(a, v, q);
    attend<HD, F>(a, v, q, begin + warp * RUN, stop, WARPS * RUN, st);
    float *mine = part + warp * size;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t r = g + h * 8;
#pragma unroll
        for (int c = 0; c < HD / 64; c++)
#pragma unroll
            for (int i = 0; i < 16; i++)
                mine[r * HD + c * 64 + t * 16 + i] = st.o[c * 8 + i % 8][2 * h + i / 8];
        if (t == 0) {
            mine[ROWS * HD + r]        = st.m[h];
            mine[ROWS * HD + ROWS + r] = st.l[h];
        }
    }
    __syncthreads();
    const uint32_t item = s * a.kv_heads + head;
    float *mem          = a.partial + ((size_t)item * a.splits + split) * size, m, l;
    for (uint32_t i = threadIdx.x; i < v.n_row * HD / 4; i += WARPS * 32) {
        uint32_t r = i / (HD / 4), d = i % (HD / 4) * 4;
        float4 o = join(part, size, WARPS, HD, r, d, &m, &l, [](auto *x) { return *x; });
        if (n_split == 1) {
            put(out_row(a, v, r, HD) + d, o, l);
            continue;
        }
        __stcg((float4 *)(mem + r * HD + d), o);
        if (d == 0) {
            __stcg(mem + ROWS * HD + r, m);
            __stcg(mem + ROWS * HD + ROWS + r, l);
        }
    }
    if (n_split == 1)
        return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        flag = atomicAdd(a.arrived + item, 1) + 1 == n_split;
        if (flag)
            a.arrived[item] = 0;
    }
    __syncthreads();
    if (!flag)
        return;
    __threadfence();
    for (uint32_t i = threadIdx.x; i < v.n_row * HD / 4; i += WARPS * 32) {
        uint32_t r = i / (HD / 4), d = i % (HD / 4) * 4;
        float4 o = join(a.partial + (size_t)item * a.splits * size, size, n_split, HD, r, d, &m, &l,
                        [](auto *x) { return __ldcg(x); });
        put(out_row(a, v, r, HD) + d, o, l);
    }
}

template <int HD, int F>
static cudaError_t attn_start(const sr_attnmma *a, cudaLaunchConfig_t c, bool prefill)
{
    if (prefill)
        return cudaLaunchKernelEx(&c, prefill_kernel<HD, F>, *a);
    c.dynamicSmemBytes = (size_t)WARPS * ROWS * (HD + 2) * sizeof(float);
    cudaError_t e = cudaFuncSetAttribute(decode_kernel<HD, F>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         (int)c.dynamicSmemBytes);
    return e ? e : cudaLaunchKernelEx(&c, decode_kernel<HD, F>, *a);
}
#endif
