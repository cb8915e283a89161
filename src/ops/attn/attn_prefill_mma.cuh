/* attn_prefill_mma: attention of many rows by warp products, keys and values through shared memory
 * Shapes   attn.h; head sizes 64, 80, 96, 128, 256; pages of F16 or Q8_0; sequences with more than split_rows rows.
 * Roofline flops = 4 * heads * head_dim * visible positions per token.
 * Target   0.60 of what m16n8k8 products do on the same card, head size 128, 4 k positions (notes/0012).
 * Mapping  a block of four warps (three above head size 128) takes 64 (48) rows of a kv head, the latest (longest) first; a warp
 *          16 of them, its queries in registers (in shared memory above 128), and all positions, a tile of 64 at a time.  Of Q8_0 with
 *          head size 128 a warp takes 32 rows and tiles of 32, its queries in shared memory.  Tiles lie there as f16 in rows of whole 128 bytes,
 *          16-byte chunk c of row r at c ^ r % 8, so that ldmatrix meets no bank twice.  The V of a tile is on its way during the
 *          product with its K, the K of the next during the product with V: by cp.async from sm_80 on, else, and for
 *          Q8_0, which is decoded on its way, in registers.
 * Numbers  q, k, v and the weights p in f16, sums in f32, online softmax over tiles, base 2.
 * Variants one.  Negatives in notes/0012: 32 rows a warp for F16, three blocks a multiprocessor, halves of products apart.
 * Archs    sm_75+; 64 KB of shared memory at most, two blocks a multiprocessor.                  */
#ifndef SR_OPS_ATTN_PREFILL_MMA_CUH
#define SR_OPS_ATTN_PREFILL_MMA_CUH
#include "ops/attn/attn_numbers.cuh"
#include "ops/attn/attn_softmax.cuh"

template <int HD, int F> struct plan_mma {
    static constexpr int warps   = HD <= 128 ? 4 : 3;      /* 64 KB of shared memory hold 48 queries of 256 and two tiles */
    static constexpr int high    = HD == 128 && F == SR_Q8_0 ? 2 : 1; /* sixteens of rows of a warp: two halve the decoding */
    static constexpr int threads = warps * 32, rows = warps * 16 * high;
    static constexpr int tile    = HD <= 128 && high == 1 ? 64 : 32; /* positions */
    static constexpr int row     = F == SR_F16 ? HD * 2 : HD / 32 * 34; /* bytes of a row as stored */
    static constexpr int pitch   = (HD + 63) / 64 * 128;   /* bytes of a row in shared memory */
    static constexpr int chunks  = HD / 8;                 /* of 16 bytes that a row fills */
    static constexpr int each    = (tile * chunks + threads - 1) / threads; /* of a tile, a thread's */
    static constexpr bool q_regs = HD <= 128 && high == 1;
    static constexpr int smem    = 2 * tile * pitch + (q_regs ? 0 : rows * pitch);
    static constexpr int blocks  = HD <= 128 ? 2 : 1;      /* of a multiprocessor */
};

__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk, uint32_t pitch)
{
    return row * pitch + ((chunk ^ (row & 7)) << 4);
}

template <bool TURN> __device__ __forceinline__ void load_four(uint32_t r[4], uint32_t at)
{
    if (TURN)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
}

/* ---- tiles on their way
 * --------------------------------------------------------------------------------------------- */

/* Whether tiles come by cp.async: not Q8_0, which has to be decoded, and not before sm_80. */
template <int F> __device__ constexpr bool by_itself(void)
{
#if __CUDA_ARCH__ >= 800
    return F == SR_F16;
#else
    return false;
#endif
}

/* A thread's part of a tile between memory and shared memory. */
template <int HD, int F> struct carried {
    raw8<F> x[plan_mma<HD, F>::each];
};

/* Where the keys of a block's tiles lie: per run of 16 positions, for two tiles; values are `value` bytes further. */
template <int HD, int F> struct source {
    const uint8_t *run[2][plan_mma<HD, F>::tile / RUN];
};

/* The tile at p0, by its first threads; the caller's __syncthreads() makes it everyone's. */
template <int HD, int F>
__device__ __forceinline__ void tile_find(const sr_attnmma &a, source<HD, F> *from, const uint8_t *base, uint32_t seq, uint32_t p0, uint32_t lo, uint32_t hi)
{
    using P          = plan_mma<HD, F>;
    const uint32_t p = p0 + threadIdx.x * RUN;
    uint32_t in_page;
    if (threadIdx.x >= P::tile / RUN || p >= hi || p + RUN <= lo)
        return;
    const uint32_t page = page_of(a, seq, p / RUN, in_page);
    from->run[p0 / P::tile % 2][threadIdx.x] = base + page * a.kv.stride.page + (size_t)in_page * RUN * P::row;
}

/* ALL: somebody sees every row; else those outside [lo, hi) become zero (V may hold anything there, NaN too). */
template <int HD, int F, bool ALL>
__device__ __forceinline__ void tile_bring(const sr_attnmma &a, const source<HD, F> *from, size_t value, uint32_t p0, uint32_t lo, uint32_t hi, uint8_t *smem,
                                           carried<HD, F> &c)
{
    using P = plan_mma<HD, F>;
#pragma unroll
    for (int i = 0; i < P::each; i++) {
        const uint32_t x = i * P::threads + threadIdx.x, r = x / P::chunks, k = x - r * P::chunks, p = p0 + r;
        if (P::tile * P::chunks % P::threads && r >= P::tile)
            break;
        const bool seen    = ALL || (p >= lo && p < hi);
        const uint8_t *row = from->run[p0 / P::tile % 2][r / RUN] + value + r % RUN * P::row;
        if constexpr (!by_itself<F>())
            c.x[i] = seen ? raw_load<F>(row, k * 8) : raw_zero<F>();
        else
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sr_smem(smem) + swizzled(r, k, P::pitch)),
                         "l"(seen ? row + k * 16 : (const uint8_t *)a.kv.base), "r"(seen ? 16 : 0)
                         : "memory");
    }
    if constexpr (by_itself<F>())
        asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Starts to bring the tile at p0. */
template <int HD, int F>
__device__ __forceinline__ void tile_fetch(const sr_attnmma &a, const source<HD, F> *from, size_t value, uint32_t p0, uint32_t lo, uint32_t hi, uint8_t *smem,
                                           carried<HD, F> &c)
{
    if (p0 >= lo && p0 + plan_mma<HD, F>::tile <= hi)
        tile_bring<HD, F, true>(a, from, value, p0, lo, hi, smem, c);
    else
        tile_bring<HD, F, false>(a, from, value, p0, lo, hi, smem, c);
}

/* Puts down what was brought; the caller's __syncthreads() makes it everyone's. */
template <int HD, int F> __device__ __forceinline__ void tile_put(uint8_t *smem, const carried<HD, F> &c)
{
    using P = plan_mma<HD, F>;
    if constexpr (by_itself<F>())
        asm volatile("cp.async.wait_group 0;" ::: "memory");
    else
#pragma unroll
        for (int i = 0; i < P::each; i++) {
            const uint32_t x = i * P::threads + threadIdx.x, r = x / P::chunks, k = x - r * P::chunks;
            if (P::tile * P::chunks % P::threads == 0 || r < P::tile)
                *(uint4 *)(smem + swizzled(r, k, P::pitch)) = raw_numbers<F>(c.x[i]);
        }
}

/* ---- a warp's rows
 * -------------------------------------------------------------------------------------------------- */

template <int HD, int F> struct rows_mma {
    using P = plan_mma<HD, F>;
    float o[P::high][HD / 8][4], s[P::high][P::tile / 2];
    uint32_t p[P::high][P::tile / 4], q[P::q_regs ? HD / 16 : 1][4];
    softmax_rows r[P::high];
};

template <int HD, int F> __device__ __forceinline__ void scores_mma(rows_mma<HD, F> &st, const uint8_t *k_tile, const uint8_t *q_smem)
{
    using P             = plan_mma<HD, F>;
    const uint32_t lane = threadIdx.x % 32, row = lane % 8 + lane / 16 * 8, half = lane / 8 % 2, base = sr_smem(k_tile);
#pragma unroll
    for (int m = 0; m < P::high; m++)
#pragma unroll
        for (int i = 0; i < P::tile / 2; i++)
            st.s[m][i] = 0;
#pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        sr_frag_a q[P::high];
#pragma unroll
        for (int m = 0; m < P::high; m++)
            if constexpr (!P::q_regs)
                load_four<false>(q[m].r, sr_smem(q_smem) + swizzled((threadIdx.x / 32 * P::high + m) * 16 + lane % 16, k * 2 + lane / 16, P::pitch));
            else
#pragma unroll
                for (int i = 0; i < 4; i++)
                    q[m].r[i] = st.q[k][i];
#pragma unroll
        for (int n = 0; n < P::tile / 16; n++) {
            uint32_t b[4];
            load_four<false>(b, base + swizzled(n * 16 + row, k * 2 + half, P::pitch));
#pragma unroll
            for (int m = 0; m < P::high; m++) {
                sr_mma(st.s[m] + n * 8, q[m], b[0], b[1]);
                sr_mma(st.s[m] + n * 8 + 4, q[m], b[2], b[3]);
            }
        }
    }
}

template <int HD, int F> __device__ __forceinline__ void values_mma(rows_mma<HD, F> &st, const uint8_t *v_tile)
{
    using P             = plan_mma<HD, F>;
    const uint32_t lane = threadIdx.x % 32, row = lane % 16, half = lane / 16, base = sr_smem(v_tile);
#pragma unroll
    for (int k = 0; k < P::tile / 16; k++)
#pragma unroll
        for (int n = 0; n < HD / 16; n++) {
            uint32_t b[4];
            load_four<true>(b, base + swizzled(k * 16 + row, n * 2 + half, P::pitch));
#pragma unroll
            for (int m = 0; m < P::high; m++) {
                sr_frag_a p = {{st.p[m][4 * k], st.p[m][4 * k + 1], st.p[m][4 * k + 2], st.p[m][4 * k + 3]}};
                sr_mma(st.o[m][2 * n], p, b[0], b[1]);
                sr_mma(st.o[m][2 * n + 1], p, b[2], b[3]);
            }
        }
}

/* The block's queries by way of shared memory (`smem`: 64 rows, overwritten later where they fit in registers). */
template <int HD, int F>
__device__ __forceinline__ void load_q_mma(const sr_attnmma &a, uint32_t seq, uint32_t head, uint32_t row0, uint32_t n_row, uint8_t *smem,
                                           rows_mma<HD, F> &st)
{
    using P = plan_mma<HD, F>;
    for (uint32_t i = threadIdx.x; i < P::rows * P::chunks; i += P::threads) {
        const uint32_t in = i / P::chunks, k = i - in * P::chunks, r = row0 + min(in, n_row - 1), tok = r / a.group;
        const float *x = a.qkv + (size_t)(a.seq[seq] + tok) * a.width + (size_t)(head * a.group + r - tok * a.group) * HD + k * 8;
        float4 u = *(const float4 *)x, v = *(const float4 *)(x + 4);
        *(uint4 *)(smem + swizzled(in, k, P::pitch)) = make_uint4(sr_pack(u.x, u.y), sr_pack(u.z, u.w), sr_pack(v.x, v.y), sr_pack(v.z, v.w));
    }
    __syncthreads();
    if constexpr (P::q_regs) {
        const uint32_t lane = threadIdx.x % 32;
#pragma unroll
        for (int k = 0; k < HD / 16; k++)
            load_four<false>(st.q[k], sr_smem(smem) + swizzled(threadIdx.x / 32 * 16 + lane % 16, k * 2 + lane / 16, P::pitch));
        __syncthreads();
    }
}

template <int HD, int F>
__device__ __forceinline__ void write_mma(const sr_attnmma &a, uint32_t seq, uint32_t head, uint32_t row0, uint32_t n_row, rows_mma<HD, F> &st)
{
    using P          = plan_mma<HD, F>;
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int m = 0; m < P::high; m++) {
        softmax_end(st.r[m]);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t in = (threadIdx.x / 32 * P::high + m) * 16 + g + h * 8, r = in + row0, tok = r / a.group;
            if (in >= n_row)
                continue;
            const float inv = 1.0f / st.r[m].l[h];
            float *y = a.out + ((size_t)(a.seq[seq] + tok) * a.group * a.kv_heads + head * a.group + r - tok * a.group) * HD + t * 2;
#pragma unroll
            for (int i = 0; i < HD / 8; i++)
                *(float2 *)(y + i * 8) = make_float2(st.o[m][i][2 * h] * inv, st.o[m][i][2 * h + 1] * inv);
        }
    }
}

template <int HD, int F> __global__ void __launch_bounds__(plan_mma<HD, F>::threads, plan_mma<HD, F>::blocks) prefill_kernel(const __grid_constant__ sr_attnmma a)
{
    using P = plan_mma<HD, F>;
    extern __shared__ __align__(128) uint8_t k_tile[];
    __shared__ source<HD, F> from;
    uint8_t *v_tile = k_tile + P::tile * P::pitch, *q_smem = v_tile + P::tile * P::pitch;
    const uint32_t g = threadIdx.x % 32 / 4, head = blockIdx.y;
    sr_pdl_wait();
    sr_pdl_launch();
    /* Whose block this is, counted from the end: within a sequence the longest rows come first. */
    uint32_t want = blockIdx.x, seq = a.n->seq, n_tok = 0, blocks = 0;
    while (seq > 0) {
        n_tok  = a.seq[seq] - a.seq[seq - 1];
        blocks = n_tok * a.group > a.split_rows ? (n_tok * a.group + P::rows - 1) / P::rows : 0;
        seq--;
        if (want < blocks)
            break;
        want -= blocks;
        blocks = 0;
    }
    if (!blocks)
        return;
    const uint32_t row0 = (blocks - 1 - want) * P::rows, n_row = min(n_tok * a.group - row0, (uint32_t)P::rows);
    rows_mma<HD, F> st;
    carried<HD, F> c;
    uint32_t lo, hi;
    visible(a, seq, n_tok, row0 / a.group, lo, st.r[0].all_hi);
    visible(a, seq, n_tok, (row0 + n_row - 1) / a.group, st.r[0].all_lo, hi);
#pragma unroll
    for (int m = 0; m < P::high; m++) {
#pragma unroll
        for (int h = 0; h < 2; h++)
            visible(a, seq, n_tok, (row0 + min((threadIdx.x / 32 * P::high + m) * 16 + g + h * 8, n_row - 1)) / a.group, st.r[m].begin[h],
                    st.r[m].end[h]);
        st.r[m].all_lo = st.r[0].all_lo;
        st.r[m].all_hi = st.r[0].all_hi;
        softmax_begin(st.r[m]);
#pragma unroll
        for (int i = 0; i < HD / 8; i++)
            st.o[m][i][0] = st.o[m][i][1] = st.o[m][i][2] = st.o[m][i][3] = 0;
    }
    const uint8_t *base = (const uint8_t *)a.kv.base + a.layer * a.kv.stride.layer + head * a.kv.stride.head;
    const uint32_t first = lo / P::tile;
    uint32_t j           = (hi - 1) / P::tile;
    tile_find<HD, F>(a, &from, base, seq, j * P::tile, lo, hi);
    load_q_mma<HD, F>(a, seq, head, row0, n_row, P::q_regs ? k_tile : q_smem, st);
    const float scale = a.cap > 0 ? SR_LOG2E : a.scale * SR_LOG2E;
    tile_fetch<HD, F>(a, &from, 0, j * P::tile, lo, hi, k_tile, c);
    tile_put<HD, F>(k_tile, c);
    for (;; j--) { /* from the last tile: those with a mask, if any, first */
        float keep[2];
        __syncthreads();
        tile_fetch<HD, F>(a, &from, a.kv.stride.kv, j * P::tile, lo, hi, v_tile, c);
        if (j > first)
            tile_find<HD, F>(a, &from, base, seq, (j - 1) * P::tile, lo, hi);
        scores_mma<HD, F>(st, k_tile, q_smem);
#pragma unroll
        for (int m = 0; m < P::high; m++) {
            mask_tile<P::tile, false>(a, st.r[m], st.s[m], j * P::tile);
            weigh_tile<P::tile>(st.r[m], st.s[m], scale, keep);
            if (!__all_sync(0xffffffff, keep[0] == 1 && keep[1] == 1))
#pragma unroll
                for (int i = 0; i < HD / 8; i++) {
                    st.o[m][i][0] *= keep[0];
                    st.o[m][i][1] *= keep[0];
                    st.o[m][i][2] *= keep[1];
                    st.o[m][i][3] *= keep[1];
                }
            pack_tile<P::tile, false>(st.s[m], st.p[m]);
        }
        tile_put<HD, F>(v_tile, c);
        __syncthreads();
        if (j > first)
            tile_fetch<HD, F>(a, &from, 0, (j - 1) * P::tile, lo, hi, k_tile, c);
        values_mma<HD, F>(st, v_tile);
        if (j == first)
            break;
        tile_put<HD, F>(k_tile, c);
    }
    write_mma<HD, F>(a, seq, head, row0, n_row, st);
}

template <int HD, int F> static cudaError_t prefill_start_of(const sr_attnmma *a, cudaLaunchConfig_t c)
{
    c.blockDim         = dim3(plan_mma<HD, F>::threads);
    c.dynamicSmemBytes = plan_mma<HD, F>::smem;
    cudaError_t e      = cudaFuncSetAttribute(prefill_kernel<HD, F>, cudaFuncAttributeMaxDynamicSharedMemorySize, plan_mma<HD, F>::smem);
    return e ? e : cudaLaunchKernelEx(&c, prefill_kernel<HD, F>, *a);
}

template <int HD> static cudaError_t prefill_start(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8)
{
    if constexpr (HD % 32 == 0)
        if (q8)
            return prefill_start_of<HD, SR_Q8_0>(a, c);
    return q8 ? cudaErrorInvalidValue : prefill_start_of<HD, SR_F16>(a, c);
}
#endif
