/* attn_part.cuh - a part of decode's work: whose rows and which positions it is, and what it takes of this step's q, k and v.
 *
 * With a turn (attn_mma.h: a token a sequence, and rotation, KV write and attention are one launch) q, k and v are as the product left them, and
 * whoever has a sequence's newest position puts its K and V into the page.
 * Threads: device code.   Source: rope/rope.h, kvio/kvio.h for the bits. */
#ifndef SR_OPS_ATTN_PART_CUH
#define SR_OPS_ATTN_PART_CUH
#include "ops/attn/attn_view.cuh"
#include "ops/kvio/kvio.cuh"

/* What a block, or a warp, has to do. */
typedef struct {
    uint32_t seq, head, row0, n_row, n_tok; /* kv head; rows row0 .. of the sequence's */
    uint32_t tok0, from, to;                /* the sequence's first token of this step; its positions */
    uint32_t lo, hi, old;                   /* seen by some row; below old: not written in this step */
    uint32_t all_lo, all_hi;                /* seen by all rows */
    uint32_t split, size, begin, stop;      /* of splits of `size` positions, a multiple of 16: begin .. stop - 1 */
    const uint64_t *tree;                   /* words of the step (ops/tree.h); NULL: none is drafted */
} part_of;

/* False: nothing to do for this block (split, kv head and chunk, sequence: `at`).  tree: a's, or NULL in a kernel that gets no steps with words.  What it has to look up is asked for together: each answer takes half a microsecond. */
__device__ __forceinline__ bool decode_part(const sr_attnmma &a, const uint64_t *tree, uint32_t rows, uint3 at, part_of &w)
{
    w.seq                = at.z;
    const uint32_t n_seq = a.n->seq, tok1 = a.seq[w.seq + 1];
    w.tok0               = a.seq[w.seq];
    w.from               = a.kv_len[2 * w.seq];
    w.to                 = a.kv_len[2 * w.seq + 1];
    w.n_tok              = tok1 - w.tok0;
    const uint32_t chunk = divided(at.y, a.over.kv_heads);
    w.head               = at.y - chunk * a.kv_heads;
    w.row0               = chunk * rows;
    w.split              = at.x;
    const uint32_t n_row = w.n_tok * a.group;
    if (w.seq >= n_seq || n_row > a.split_rows || w.row0 >= n_row)
        return false;
    w.n_row = min(n_row - w.row0, rows);
    w.tree = tree;
    visible_to(w.from, w.to, a.window, w.n_tok, tree ? tree + w.tok0 : NULL, divided(w.row0, a.over.group),
               divided(w.row0 + w.n_row - 1, a.over.group), w.lo, w.hi, w.all_lo, w.all_hi);
    w.old = w.to - w.n_tok;
    const uint32_t lo = w.lo / RUN * RUN, span = w.hi - lo, least = max(a.least, min((span + SR_ATTN_FEW - 1) / SR_ATTN_FEW, SR_ATTN_LEAST)),
                   size = (max(least, divided(span + a.splits - 1, a.over.splits)) + RUN - 1) / RUN * RUN;
    w.size  = size;
    w.begin = lo + w.split * size;
    w.stop  = min(w.begin + size, w.hi);
    return w.begin < w.hi;
}

/* A block without work leaves its place to one with work; but the grid must not be over before the kernel ahead of it is. */
__device__ __forceinline__ void decode_idle(void)
{
    if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0)
        sr_pdl_wait();
}

/* What a block, or a warp alone, takes from q, k and v: queries turned, as f16; with a turn, of the newest position, the rows of K and V as stored. */
template <int HD, int F, int NT> struct __align__(16) decode_now {
    static constexpr int row = F == SR_F16 ? HD * 2 : HD / 32 * 34;
    half q[8 * NT][HD + 32]; /* so that two rows that lanes read together share no bank */
    uint8_t kv[2][row];
};

/* The numbers of a row that are turned together: pair i; behind those that turn, neighbours. */
__device__ __forceinline__ uint2 decode_pair(const sr_attnturn &r, uint32_t i)
{
    return r.neox && i < r.half ? make_uint2(i, i + r.half) : make_uint2(2 * i, 2 * i + 1);
}

/* Pairs of queries on their way from memory to shared memory, N by each of T threads, from pair k0 on. */
template <int N> struct decode_pairs {
    const float *x[N][2], *cs[N]; /* where they lie; of those that turn, their cosine, and `half` further their sine */
    float v[N][4];                /* the pair, cosine, sine */
};

template <int HD, int N, int T> __device__ __forceinline__ void pairs_find(const sr_attnmma &a, const part_of &w, uint32_t k0, decode_pairs<N> &p)
{
    const float *cs = a.turn.cs + (size_t)w.tok0 * 2 * a.turn.half;
#pragma unroll
    for (int n = 0; n < N; n++) {
        const uint32_t k = min(k0 + n * T, w.n_row * (HD / 2) - 1), i = k % (HD / 2), row = w.row0 + k / (HD / 2);
        const uint32_t tok = divided(row, a.over.group);
        const uint2 d      = decode_pair(a.turn, i);
        const float *x     = a.qkv + (size_t)(w.tok0 + tok) * a.width + (size_t)(w.head * a.group + row - tok * a.group) * HD;
        p.x[n][0] = x + d.x, p.x[n][1] = x + d.y;
        p.cs[n] = i < a.turn.half ? cs + i : NULL;
    }
}

template <int N> __device__ __forceinline__ void pairs_load(const sr_attnmma &a, decode_pairs<N> &p)
{
#pragma unroll
    for (int n = 0; n < N; n++) {
        p.v[n][0] = *p.x[n][0], p.v[n][1] = *p.x[n][1];
        p.v[n][2] = p.cs[n] ? *p.cs[n] : 1;
        p.v[n][3] = p.cs[n] ? p.cs[n][a.turn.half] : 0;
    }
}

template <int HD, int N, int T>
__device__ __forceinline__ void pairs_put(const sr_attnmma &a, const part_of &w, uint32_t k0, const decode_pairs<N> &p, half (*q)[HD + 32])
{
#pragma unroll
    for (int n = 0; n < N; n++) {
        const uint32_t k = k0 + n * T, i = k % (HD / 2);
        const uint2 d    = decode_pair(a.turn, i);
        const bool turns = i < a.turn.half;
        const float *v   = p.v[n];
        if (k >= w.n_row * (HD / 2))
            continue;
        q[k / (HD / 2)][d.x] = __float2half_rn(turns ? sr_rotate(v[0], v[1], v[2], v[3], false) : v[0]);
        q[k / (HD / 2)][d.y] = __float2half_rn(turns ? sr_rotate(v[0], v[1], v[2], v[3], true) : v[1]);
    }
}

/* K and V of the newest position on their way, coded, into its page and into shared memory: pieces of 32 numbers, N by each of WARPS warps. */
template <int HD, int WARPS> struct decode_newest {
    static constexpr int pieces = (HD + 31) / 32, n = (2 * pieces + WARPS - 1) / WARPS;
    float v[n][4]; /* as of decode_pairs; a number that does not turn, and three that are not asked for */
};

template <int HD, int WARPS>
__device__ __forceinline__ void newest_load(const sr_attnmma &a, const part_of &w, uint32_t warp, decode_newest<HD, WARPS> &k)
{
    constexpr int pieces = k.pieces;
    const uint32_t half  = a.turn.half;
    const float *x = a.qkv + (size_t)w.tok0 * a.width + (size_t)(a.group * a.kv_heads + w.head) * HD, *cs = a.turn.cs + (size_t)w.tok0 * 2 * half;
#pragma unroll
    for (int n = 0; n < k.n; n++) {
        const uint32_t i = min(warp + n * WARPS, 2 * pieces - 1), value = i / pieces, d = min(i % pieces * 32 + threadIdx.x % 32, HD - 1);
        const bool turns    = !value && d < 2 * half;
        const uint32_t pair = a.turn.neox ? d < half ? d : d - half : d / 2;
        const uint2 at      = turns ? decode_pair(a.turn, pair) : make_uint2(d, d);
        const float *from   = x + (size_t)value * a.kv_heads * HD;
        k.v[n][0] = from[at.x], k.v[n][1] = from[at.y];
        k.v[n][2] = turns ? cs[pair] : 1;
        k.v[n][3] = turns ? cs[half + pair] : 0;
    }
}

/* Where a kv head's rows are several chunks, the blocks of all of them store the same bytes. */
template <int HD, int F, int WARPS, int ROW>
__device__ __forceinline__ void newest_put(const sr_attnmma &a, const part_of &w, uint32_t warp, uint32_t to, const decode_newest<HD, WARPS> &k,
                                           uint8_t (*kv)[ROW])
{
    constexpr int pieces = k.pieces;
#pragma unroll
    for (int n = 0; n < k.n; n++) {
        const uint32_t i = warp + n * WARPS, value = i / pieces, d = i % pieces * 32 + threadIdx.x % 32;
        const float *v   = k.v[n];
        if (i >= 2 * pieces)
            continue;
        const bool turns = !value && d < 2 * a.turn.half, second = a.turn.neox ? d >= a.turn.half : d % 2;
        const sr_kvcode c = sr_kv_encode(F, turns ? sr_rotate(v[0], v[1], v[2], v[3], second) : v[0]);
        sr_kv_put(F, sr_kv_row(a.kv, a.layer, value, to, w.head), d, HD, c);
        sr_kv_put(F, kv[value], d, HD, c);
    }
}

/* Waits for the previous kernel, then takes what it wrote: N pairs a thread at once. */
template <int HD, int F, int NT, int WARPS, int N>
__device__ __forceinline__ void take_pairs(const sr_attnmma &a, const part_of &w, bool newest, decode_now<HD, F, NT> &now)
{
    constexpr int T   = WARPS * 32;
    const uint32_t me = threadIdx.x % T, to = newest ? a.turn.dst[w.tok0] : 0;
    decode_pairs<N> q;
    pairs_find<HD, N, T>(a, w, me, q);
    if (a.early) /* its blocks come as the previous kernel's leave, and bring weights meanwhile */
        sr_pdl_launch();
    sr_pdl_wait();
    if (!a.early)
        sr_pdl_launch();
    pairs_load<N>(a, q);
    if (newest) {
        decode_newest<HD, WARPS> kv;
        newest_load(a, w, me / 32, kv);
        newest_put<HD, F>(a, w, me / 32, to, kv, now.kv);
    }
    pairs_put<HD, N, T>(a, w, me, q, now.q);
    for (uint32_t k = me + N * T; k < w.n_row * (HD / 2); k += N * T) {
        pairs_find<HD, N, T>(a, w, k, q);
        pairs_load<N>(a, q);
        pairs_put<HD, N, T>(a, w, k, q, now.q);
    }
}

/* That by all threads of the block; of the warp, where WARPS is 1. */
template <int HD, int F, int NT, int WARPS>
__device__ __forceinline__ void decode_take(const sr_attnmma &a, const part_of &w, bool newest, decode_now<HD, F, NT> &now)
{
    constexpr int each = (8 * NT * HD / 2 + WARPS * 32 - 1) / (WARPS * 32), N = each < 8 ? each : 8;
    if (N > 1 && w.n_row * (HD / 2) <= WARPS * 32 * (N / 2)) /* up to four rows: half of the instructions */
        take_pairs<HD, F, NT, WARPS, (N > 1 ? N / 2 : 1)>(a, w, newest, now);
    else
        take_pairs<HD, F, NT, WARPS, N>(a, w, newest, now);
    if (WARPS > 1)
        __syncthreads();
    else
        __syncwarp();
}
#endif
