/* attn_prefill_mma: attention of many rows by warp products, keys and values through shared memory
 * Shapes   attn.h; head sizes 64, 80, 96, 128, 256; pages of F16 or Q8_0; sequences with more than split_rows rows.
 * Roofline flops = 4 * heads * head_dim * visible positions per token.
 * Target   0.60 of what m16n8k8 products do on the same card, head size 128, 4 k positions (notes/0012).
 * Mapping  a block of eight warps (three above head size 128) takes 192 rows of a kv head (256 up to head size 80, 48 above 128), the latest
 *          (longest) of all heads first; a warp 24 of them (32, 16), its queries in registers (in shared memory above 128), and all positions, a
 *          tile of 48 (64, 32) at a time.  The products are turned, scores are K.q and outputs V^T.p: rows are columns there and need not come
 *          in sixteens, so a warp takes as many as its registers hold, and an ldmatrix serves three products of depth 16 instead of two.
 *          Tiles lie in shared memory (attn_prefill_tiles.cuh), three of K, two of V, so that a warp waits once a tile and those that come have
 *          half a tile's time: by cp.async from sm_80 on, else, and for Q8_0, which is decoded on its way, through registers.
 *          Warps 4 to 7 are half a tile ahead of 0 to 3, with each of which one shares a scheduler: they weigh scores at different times.
 *          Each half tells the other that it has ended a tile, and waits for the other's word only where it needs it.
 * Numbers  q, k, v and the weights p in f16, sums in f32, online softmax over tiles, base 2.
 * Tiles    those that all rows see whole, nearly all, have products of their own: the weights of all blocks of sixteen positions but the last are made
 *          between the last block's (F16 from sm_80 on: behind them), and what other tiles need takes no registers.  Steps with words (ops/tree.h) have
 *          an instance of their own.
 * Softmax  the products with keys start from minus the row's reference, so that they give exponents at once.  The reference is at most MOST below
 *          the largest score so far, and moves only when a score exceeds it by more: weights are up to 2^MOST, and most tiles need
 *          neither the largest score of a row nor a change of the sums.  Whether it moves depends on the row alone.
 * Variants one.  Negatives in notes/0012: rows as rows of the products; four warps a block, two blocks; tiles of 32 and 64; twelve warps of 16
 *          rows; one barrier for all; blocks that take items by ticket.
 * Archs    sm_75+; 64 KB of shared memory and all registers of a multiprocessor: one block.      */
#ifndef SR_OPS_ATTN_PREFILL_MMA_CUH
#define SR_OPS_ATTN_PREFILL_MMA_CUH
#include "ops/attn/attn_prefill_tiles.cuh"

#define MOST 8.0f /* weights of up to 2^16 fit in f16 */

enum { EARLY = 1, LATE }; /* barriers: that half of the warps has ended a tile */

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

/* d = c + a . b */
__device__ __forceinline__ void mma_from(float d[4], const sr_frag_a &a, const uint32_t b[2], const float c[4])
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%8,%9,%10};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(b[0]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a.r[2]), "r"(a.r[3]), "r"(b[1]));
#endif
}

/* Barrier `id` of `all` threads: those that wait for it, and those that only have come. */
__device__ __forceinline__ void bar_wait(int id, int all) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(all) : "memory"); }
__device__ __forceinline__ void bar_come(int id, int all) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(all) : "memory"); }

/* ---- a warp's rows
 * -------------------------------------------------------------------------------------------------- */

/* Lane (g, t) has rows 8 n + 2 t + e: of sums dimensions 16 i + g + 8 h at o[i][n][2 h + e], of scores positions so. */
template <int HD, int F> struct rows_mma {
    using P = plan_mma<HD, F>;
    float o[HD / 16][P::wide][4], s[P::tile / 16][P::wide][4];
    uint32_t p[P::tile / 16][P::wide][2], q[P::q_regs ? HD / 16 : 1][P::wide][2];
    float start[P::wide][4]; /* minus a row's reference, twice; 0: it has seen nothing yet */
    float l[P::wide][2];     /* sum of weights, this lane's positions only */
    float most;              /* of scores: above, references have to move; always, as long as some row has seen nothing yet */
};

/* Row of column 8 n + x. */
template <int HD, int F> __device__ __forceinline__ uint32_t row_of(const block_mma<HD, F> &w, int n, uint32_t x)
{
    return w.row0 + min((threadIdx.x / 32 * plan_mma<HD, F>::wide + n) * 8 + x, w.n_row - 1);
}

/* Scores, less the rows' references.  at: where this lane's row of the first sixteen positions of the tile begins for ldmatrix. */
template <int HD, int F>
__device__ __forceinline__ void scores_mma(rows_mma<HD, F> &st, uint32_t at, uint32_t at_q, const block_mma<HD, F> &w, carried<HD, F> &c)
{
    using P = plan_mma<HD, F>;
#pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        uint32_t q[P::wide][2];
        if constexpr (P::q_regs)
#pragma unroll
            for (int n = 0; n < P::wide; n++)
                q[n][0] = st.q[k][n][0], q[n][1] = st.q[k][n][1];
        else {
            static_assert(P::q_regs || P::wide == 2, "one ldmatrix brings two eights of rows");
            load_four<false>(q[0], at_q ^ k * 32);
        }
#pragma unroll
        for (int m = 0; m < P::tile / 16; m++) {
            sr_frag_a b;
            load_four<false>(b.r, (at ^ k * 32) + m * 16 * P::pitch);
#pragma unroll
            for (int n = 0; n < P::wide; n++)
                if (k == 0)
                    mma_from(st.s[m][n], b, q[n], st.start[n]);
                else
                    sr_mma(st.s[m][n], b, q[n][0], q[n][1]);
        }
        tile_go_on(w, c, k + 1, HD / 16);
    }
}

/* Step k of the products of the tile's block m of sixteen positions; queries in registers. */
template <int HD, int F> __device__ __forceinline__ void scores_step(rows_mma<HD, F> &st, uint32_t at, int k, int m)
{
    using P = plan_mma<HD, F>;
    sr_frag_a b;
    load_four<false>(b.r, (at ^ k * 32) + m * 16 * P::pitch);
#pragma unroll
    for (int n = 0; n < P::wide; n++)
        if (k == 0)
            mma_from(st.s[m][n], b, st.q[k][n], st.start[n]);
        else
            sr_mma(st.s[m][n], b, st.q[k][n][0], st.q[k][n][1]);
}

/* Weights as the products with keys left their scores, as the second factor of those with V. */
__device__ __forceinline__ uint32_t turned(uint32_t p)
{
    uint32_t r;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(r) : "r"(p)); /* where it stands: in front of the wait for V */
    return r;
}

/* Two scores of block m of sixteen positions become weights, in f16; they are added to `sum`, or are its first. */
template <int HD, int F> __device__ __forceinline__ void weigh_mma(rows_mma<HD, F> &st, int m, int n, int h, float sum[plan_mma<HD, F>::wide][2], bool first)
{
    const float x = power2(st.s[m][n][2 * h]), y = power2(st.s[m][n][2 * h + 1]);
    sum[n][0]     = first ? x : sum[n][0] + x;
    sum[n][1]     = first ? y : sum[n][1] + y;
    st.p[m][n][h] = turned(sr_pack(x, y));
}

/* Weights from .. to - 1, in pairs, of all blocks but the last. */
template <int HD, int F> __device__ __forceinline__ void weigh_some(rows_mma<HD, F> &st, int from, int to, float sum[plan_mma<HD, F>::wide][2])
{
    constexpr int wide = plan_mma<HD, F>::wide;
#pragma unroll
    for (int i = from; i < to; i++)
        weigh_mma(st, i / 2 / wide, i / 2 % wide, i % 2, sum, i / 2 / wide + i % 2 == 0);
}

/* Scores of a tile that all rows see whole and the weights of all blocks but the last: between that one's products; but behind all where tiles come by
 * themselves, on sm_80 and later: products of depth 16 one after the other want the sums of all blocks.  False: references may have to move; `sum` of
 * a lane's weights tells as well as the largest of their scores would, and surely if one has to. */
template <int HD, int F>
__device__ __forceinline__ bool plain_mma(const sr_attnmma &a, rows_mma<HD, F> &st, uint32_t at, const carried<HD, F> &c, float sum[plan_mma<HD, F>::wide][2])
{
    using P = plan_mma<HD, F>;
    constexpr int last = P::tile / 16 - 1, steps = HD / 16, all = last * P::wide * 2, at_once = by_itself<F>() ? last + 1 : last;
#pragma unroll
    for (int k = 0; k < steps; k++)
#pragma unroll
        for (int m = 0; m < at_once; m++)
            scores_step(st, at, k, m);
    if (__builtin_expect(a.group == 0, 0)) { /* never.  Without a branch ptxas asks for the next keys, and weighs, behind all products */
        tile_end(c);
        asm volatile("trap;");
    }
#pragma unroll
    for (int k = 0; k < steps; k++) {
        if (at_once == last)
            scores_step(st, at, k, last);
        weigh_some(st, k * all / steps, (k + 1) * all / steps, sum);
    }
    float top = 0, most = 0;
#pragma unroll
    for (int n = 0; n < P::wide; n++) {
        const float x = fmaxf(fmaxf(st.s[last][n][0], st.s[last][n][1]), fmaxf(st.s[last][n][2], st.s[last][n][3]));
        top  = n ? fmaxf(top, x) : x;
        most = n ? fmaxf(most, fmaxf(sum[n][0], sum[n][1])) : fmaxf(sum[n][0], sum[n][1]);
    }
    return !__any_sync(0xffffffff, top > MOST || most > 255.75f); /* 2^MOST, less than power2() may be off by */
}

/* Sums of a tile to those of all. */
template <int HD, int F> __device__ __forceinline__ void sum_mma(rows_mma<HD, F> &st, const float sum[plan_mma<HD, F>::wide][2])
{
#pragma unroll
    for (int n = 0; n < plan_mma<HD, F>::wide; n++)
        st.l[n][0] += sum[n][0], st.l[n][1] += sum[n][1];
}

/* The outputs' sums; the last block's weights are made between the products with the first. */
template <int HD, int F>
__device__ __forceinline__ void values_mma(rows_mma<HD, F> &st, uint32_t at, const block_mma<HD, F> &w, carried<HD, F> &c)
{
    using P           = plan_mma<HD, F>;
    constexpr int all = 2 * P::wide, steps = HD / 16;
#pragma unroll
    for (int k = 0; k < P::tile / 16; k++)
#pragma unroll
        for (int m = 0; m < steps; m++) {
            sr_frag_a v;
            load_four<true>(v.r, (at ^ m * 32) + k * 16 * P::pitch);
#pragma unroll
            for (int n = 0; n < P::wide; n++)
                sr_mma(st.o[m][n], v, st.p[k][n][0], st.p[k][n][1]);
            if (k == 0)
#pragma unroll
                for (int i = m * all / steps; i < (m + 1) * all / steps; i++)
                    weigh_mma(st, P::tile / 16 - 1, i / 2, i % 2, st.l, false);
            tile_go_on(w, c, k * steps + m + 1, P::tile / 16 * steps);
        }
}

/* Soft-caps scores. */
template <int HD, int F> __device__ __forceinline__ void cap_mma(const sr_attnmma &a, rows_mma<HD, F> &st)
{
    using P = plan_mma<HD, F>;
#pragma unroll
    for (int m = 0; m < P::tile / 16; m++)
#pragma unroll
        for (int n = 0; n < P::wide; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                st.s[m][n][i] = fmaf(capped(st.s[m][n][i] - st.start[n][i], a.scale, a.cap), SR_LOG2E, st.start[n][i]);
}

/* Token of row r of the block's. */
template <int HD, int F> __device__ __forceinline__ uint32_t token_of(const sr_attnmma &a, const block_mma<HD, F> &w, uint32_t r)
{
    return w.tok0 + (uint32_t)(((float)(r - w.tok0 * a.group) + 0.5f) * w.each); /* (r - ..) / group: both are small */
}

/* What a row may not see becomes -infinity. */
template <int HD, int F, bool TREES> __device__ __forceinline__ void mask_mma(const sr_attnmma &a, const block_mma<HD, F> &w, rows_mma<HD, F> &st, uint32_t p0)
{
    using P = plan_mma<HD, F>;
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < P::wide; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            uint32_t begin, end;
            visible(a, w.seq, w.n_tok, TREES ? a.tree + w.first : NULL, token_of(a, w, row_of(w, n, t * 2 + e)), begin, end);
#pragma unroll
            for (int m = 0; m < P::tile / 16; m++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const uint32_t p = p0 + m * 16 + h * 8 + g;
                    if (p < begin || p >= end)
                        st.s[m][n][2 * h + e] = -INFINITY;
                }
        }
}

/* What drafted rows do not see of their block. */
template <int HD, int F> __device__ __forceinline__ void hide_mma(const sr_attnmma &a, const block_mma<HD, F> &w, rows_mma<HD, F> &st, uint32_t p0)
{
    using P = plan_mma<HD, F>;
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < P::wide; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const uint32_t tok   = token_of(a, w, row_of(w, n, t * 2 + e));
            const uint64_t word  = within(a.tree[w.first + tok], a.window);
            const uint32_t first = word ? a.kv_len[2 * w.seq + 1] - (w.n_tok - tok) - sr_tree_own(word) : ~0u;
#pragma unroll
            for (int i = 0; i < P::tile / 8; i++)
                if (hidden_by(word, first, p0 + i * 8 + g))
                    st.s[i / 2][n][i % 2 * 2 + e] = -INFINITY;
        }
}

/* Moves the references of rows that need it, with them their scores and sums. */
template <int HD, int F> __device__ __forceinline__ void move_mma(rows_mma<HD, F> &st)
{
    using P = plan_mma<HD, F>;
    bool fresh = false;
#pragma unroll
    for (int n = 0; n < P::wide; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float top = SR_NOTHING;
#pragma unroll
            for (int m = 0; m < P::tile / 16; m++)
                top = fmaxf(top, fmaxf(st.s[m][n][e], st.s[m][n][2 + e]));
#pragma unroll
            for (int y = 4; y < 32; y *= 2)
                top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, y));
            const bool first = st.start[n][e] == 0 && top > SR_NOTHING;
            const float by = first || top > MOST ? top : 0, keep = first ? 1 : power2(-by);
            float start    = st.start[n][e] - by;
            if (first && start == 0)
                start = -1e-30f; /* 0 would say that nothing was seen */
            st.start[n][e] = st.start[n][2 + e] = start;
            fresh = fresh || start == 0;
            st.l[n][e] *= keep;
#pragma unroll
            for (int m = 0; m < P::tile / 16; m++) {
                st.s[m][n][e] -= by;
                st.s[m][n][2 + e] -= by;
            }
#pragma unroll
            for (int m = 0; m < HD / 16; m++) {
                st.o[m][n][e] *= keep;
                st.o[m][n][2 + e] *= keep;
            }
        }
    st.most = __any_sync(0xffffffff, fresh) ? -INFINITY : MOST;
}

/* The largest of this lane's scores. */
template <int HD, int F> __device__ __forceinline__ float top_mma(const rows_mma<HD, F> &st)
{
    using P = plan_mma<HD, F>;
    float top[P::wide];
#pragma unroll
    for (int m = 0; m < P::tile / 16; m++)
#pragma unroll
        for (int n = 0; n < P::wide; n++) {
            const float x = fmaxf(fmaxf(st.s[m][n][0], st.s[m][n][1]), fmaxf(st.s[m][n][2], st.s[m][n][3]));
            top[n]        = m ? fmaxf(top[n], x) : x;
        }
#pragma unroll
    for (int n = 1; n < P::wide; n++)
        top[0] = fmaxf(top[0], top[n]);
    return top[0];
}

/* Eight numbers of a query, in f16. */
__device__ __forceinline__ uint4 query_chunk(const float *x, float scale)
{
    const float4 u = *(const float4 *)x, v = *(const float4 *)(x + 4);
    return make_uint4(sr_pack(u.x * scale, u.y * scale), sr_pack(u.z * scale, u.w * scale), sr_pack(v.x * scale, v.y * scale),
                      sr_pack(v.z * scale, v.w * scale));
}

/* Queries of n rows from row `from` of the block on, times `scale`, by whole lines to shared memory. */
template <int HD, int F>
__device__ __forceinline__ void bring_q_mma(const sr_attnmma &a, const block_mma<HD, F> &w, float scale, uint8_t *smem, uint32_t from, uint32_t n)
{
    using P = plan_mma<HD, F>;
    const float *all = a.qkv + (size_t)w.first * a.width + (size_t)blockIdx.x * a.group * HD;
#pragma unroll (P::rows * P::chunks <= 12 * P::threads ? 12 : 6) /* all of a thread's are under way at once, if they find room in registers */
    for (uint32_t i = threadIdx.x; i < n * P::chunks; i += P::threads) {
        const uint32_t in = i / P::chunks, k = i - in * P::chunks, r = w.row0 + min(from + in, w.n_row - 1), tok = token_of(a, w, r);
        *(uint4 *)(smem + swizzled(in, k, P::pitch)) = query_chunk(all + (size_t)tok * a.width + (r - tok * a.group) * HD + k * 8, scale);
    }
}

/* The block's queries to shared memory; from there to registers, where they fit: then `smem` is free again. */
template <int HD, int F>
__device__ __forceinline__ void load_q_mma(const sr_attnmma &a, const block_mma<HD, F> &w, float scale, uint8_t *smem, rows_mma<HD, F> &st)
{
    using P = plan_mma<HD, F>;
    if constexpr (!P::q_regs)
        bring_q_mma(a, w, scale, smem, 0, P::rows);
    else {
        constexpr uint32_t times = (P::rows * P::pitch + P::smem - 1) / P::smem, warps = P::warps / times; /* those whose queries find room together */
        const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (uint32_t i = 0; i < times; i++) {
            bring_q_mma(a, w, scale, smem, i * warps * P::wide * 8, warps * P::wide * 8);
            __syncthreads();
            if (times == 1 || warp / warps == i)
#pragma unroll
                for (int n = 0; n < P::wide; n++)
#pragma unroll
                    for (int k = 0; k < HD / 16; k += 2) {
                        uint32_t q[4];
                        load_four<false>(q, sr_smem(smem) + swizzled((warp % warps * P::wide + n) * 8 + lane % 8, k * 2 + lane / 8, P::pitch));
                        st.q[k][n][0] = q[0], st.q[k][n][1] = q[1];
                        if (k + 1 < HD / 16)
                            st.q[k + 1][n][0] = q[2], st.q[k + 1][n][1] = q[3];
                    }
            __syncthreads();
        }
    }
}

template <int HD, int F> __device__ __forceinline__ void write_mma(const sr_attnmma &a, const block_mma<HD, F> &w, const rows_mma<HD, F> &st)
{
    using P          = plan_mma<HD, F>;
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float inv[P::wide][2];
#pragma unroll
    for (int n = 0; n < P::wide; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float l = st.l[n][e];
#pragma unroll
            for (int y = 4; y < 32; y *= 2)
                l += __shfl_xor_sync(0xffffffff, l, y);
            inv[n][e] = __fdividef(1.0f, l);
        }
    float *all = a.out + ((size_t)w.first * a.kv_heads + blockIdx.x) * a.group * HD + g;
#pragma unroll
    for (int n = 0; n < P::wide; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const uint32_t r = row_of(w, n, t * 2 + e), tok = token_of(a, w, r);
            float *y = all + ((size_t)tok * a.group * a.kv_heads + r - tok * a.group) * HD;
            if ((threadIdx.x / 32 * P::wide + n) * 8 + t * 2 + e < w.n_row)
#pragma unroll
                for (int i = 0; i < HD / 16; i++) {
                    y[i * 16]     = st.o[i][n][e] * inv[n][e];
                    y[i * 16 + 8] = st.o[i][n][2 + e] * inv[n][e];
                }
        }
}

template <int HD, int F> __device__ __forceinline__ void begin_mma(rows_mma<HD, F> &st)
{
    using P = plan_mma<HD, F>;
    st.most = -INFINITY;
#pragma unroll
    for (int n = 0; n < P::wide; n++) {
        st.l[n][0] = st.l[n][1] = 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            st.start[n][i] = 0;
#pragma unroll
            for (int m = 0; m < HD / 16; m++)
                st.o[m][n][i] = 0;
        }
    }
}

/* Which rows are this block's, counted from the end: within a sequence the longest rows come first.  False: none. */
template <int HD, int F, bool TREES> __device__ __forceinline__ bool find_mma(const sr_attnmma &a, block_mma<HD, F> &w)
{
    using P       = plan_mma<HD, F>;
    uint32_t want = blockIdx.y, seq = a.n->seq, n_tok = 0, blocks = 0;
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
        return false;
    const uint32_t row0 = (blocks - 1 - want) * P::rows, n_row = min(n_tok * a.group - row0, (uint32_t)P::rows);
    uint32_t lo, hi, all_lo, all_hi;
    visible_to(a.kv_len[2 * seq], a.kv_len[2 * seq + 1], a.window, n_tok, TREES ? a.tree + a.seq[seq] : NULL, row0 / a.group, (row0 + n_row - 1) / a.group, lo, hi, all_lo, all_hi);
    if (threadIdx.x == 0) {
        w.seq    = seq, w.n_tok = n_tok, w.first = a.seq[seq];
        w.row0   = row0, w.n_row = n_row;
        w.lo     = lo, w.hi = hi;
        w.all_lo = all_lo, w.all_hi = all_hi;
        w.tok0   = row0 / a.group, w.each = 1.0f / (float)a.group;
    }
    __syncthreads();
    return true;
}

template <int HD, int F, bool TREES> __global__ void __launch_bounds__(plan_mma<HD, F>::threads, 1) prefill_kernel(const __grid_constant__ sr_attnmma a)
{
    using P = plan_mma<HD, F>;
    extern __shared__ __align__(1024) uint8_t tiles[]; /* of K, of V, then queries; addresses of chunks are made by exclusive or */
    __shared__ block_mma<HD, F> w;
    sr_pdl_wait();
    sr_pdl_launch();
    if (!find_mma<HD, F, TREES>(a, w))
        return;
    const uint8_t *keys = (const uint8_t *)a.kv.base + a.layer * a.kv.stride.layer + blockIdx.x * a.kv.stride.head, *values = keys + a.kv.stride.kv;
    rows_mma<HD, F> st;
    carried<HD, F> c;
    constexpr uint32_t v_smem = (P::stages + 1) / 2 * P::bytes, q_smem = P::stages * P::bytes;
    const uint32_t lane = threadIdx.x % 32;
    uint32_t j = (w.hi - 1) / P::tile;
    c.me = kept(threadIdx.x);
    c.to = kept(swizzled(threadIdx.x / P::chunks, threadIdx.x % P::chunks, P::pitch));
    c.from = kept(threadIdx.x / P::chunks % RUN * P::row);
    tell_first(a, w, c);
    __syncthreads();
    begin_mma(st);
    raw8<F> x[3][P::each]; /* the first tiles come at once: keys, the next keys, values */
    auto first = [&](int i) { tile_is(c, i < 2 ? keys : values, j - i % 2, tiles + i % 2 * P::bytes + i / 2 * v_smem); };
    auto fetch = [&] {
#pragma unroll
        for (int i = 0; i < (P::ahead ? 3 : 1); i++) {
            first(i);
#pragma unroll
            for (int k = 0; k < P::each; k++)
                chunk_fetch(w, c, k, x[i][k]);
        }
    };
    if (!by_itself<F>()) /* to registers: queries may still be where tiles go */
        fetch();
    load_q_mma(a, w, a.cap > 0 ? 1 : a.scale * SR_LOG2E, P::q_regs ? tiles : tiles + q_smem, st);
    if constexpr (by_itself<F>()) {
        fetch();
        asm volatile("cp.async.wait_all;" ::: "memory");
    }
#pragma unroll
    for (int i = 0; i < (P::ahead ? 3 : 1); i++) {
        first(i);
#pragma unroll
        for (int k = 0; k < P::each; k++)
            chunk_put(c, k, x[i][k]);
    }
    if (P::ahead)
        tile_clear(w, j, tiles + v_smem);
    const uint32_t at_q = sr_smem(tiles) + q_smem + swizzled(threadIdx.x / 32 * 16 + lane % 8 + lane / 16 * 8, lane / 8 % 2, P::pitch),
                   at_k = kept(sr_smem(tiles) + swizzled(lane % 16, lane / 16, P::pitch)),
                   at_v = kept(sr_smem(tiles) + v_smem + swizzled(lane % 8 + lane / 16 * 8, lane / 8 % 2, P::pitch));
    /* Half the warps are half a tile ahead of the others: while those weigh their scores, these keep the tensor cores busy. */
    const bool early = P::ahead && c.me >= P::threads / 2;
    uint32_t k_here = 0, v_here = 0; /* where this tile's keys and values lie */
    if (P::ahead)
        __syncthreads();
    const uint32_t last = w.lo / P::tile;
    int seldom          = max((int)last + 1, tile_told(c)); /* behind tiles up to this one there is something to do: one branch for all that */
    int other           = (int)j; /* tiles up to this one are not plain: with a mask, a soft-cap, or rows that have seen nothing yet */
    for (;; j--) { /* from the last tile: those with a mask, if any, first */
        const uint32_t after = k_here == 2 * P::bytes ? 0 : k_here + P::bytes, before = k_here == 0 ? 2 * P::bytes : k_here - P::bytes;
        uint8_t *k_next = tiles + (!P::ahead ? 0 : early ? after : before), *v_next = tiles + v_smem + (P::ahead ? P::bytes - v_here : 0);
        if (!P::ahead)
            bar_wait(0, P::threads);
        else if (early)
            bar_come(EARLY, P::threads);
        else { /* in this order: nobody comes to a barrier again before all have waited there */
            bar_wait(EARLY, P::threads);
            bar_come(LATE, P::threads);
        }
        float sum[P::wide][2];
        /* Tiles behind the last are the nearest, in vain. */
        const uint32_t next = P::ahead ? j - 2 + early : j;
        const bool tried    = P::ahead && (int)j > other;
        if constexpr (P::ahead)
            if (__builtin_expect(tried, 1)) {
                tile_begin(w, c, keys, next, k_next);
                const bool plain = plain_mma(a, st, at_k + k_here, c, sum);
                tile_end(c);
                if (__builtin_expect(plain, 1)) {
                    sum_mma(st, sum);
                    if (early)
                        bar_wait(LATE, P::threads);
                    tile_begin(w, c, values, j - 1, v_next);
                    values_mma(st, at_v + v_here, w, c);
                    tile_end(c); /* in front of the branch: behind it the compiler would load only there */
                    goto done;
                }
            }
        { /* with its own products, not to take registers from those of plain tiles */
            const bool masked = j * P::tile < w.all_lo || j * P::tile + P::tile > w.all_hi;
            if (!tried)
                tile_begin(w, c, P::ahead ? keys : values, next, P::ahead ? k_next : v_next);
            scores_mma(st, at_k + k_here, at_q, w, c);
            if (!tried)
                tile_end(c);
            if (a.cap > 0)
                cap_mma(a, st);
            if (masked)
                mask_mma<HD, F, TREES>(a, w, st, j * P::tile);
            if (TREES && masked)
                hide_mma(a, w, st, j * P::tile);
            if (__any_sync(0xffffffff, top_mma(st) > st.most))
                move_mma(st);
            weigh_some(st, 0, (P::tile / 16 - 1) * P::wide * 2, sum);
            sum_mma(st, sum);
            if (!P::ahead)
                tile_clear(w, j, v_next);
            if (early || !P::ahead)
                bar_wait(P::ahead ? LATE : 0, P::threads);
            tile_begin(w, c, P::ahead ? values : keys, j - 1, P::ahead ? v_next : k_next);
            values_mma(st, at_v + v_here, w, c);
            tile_end(c);
            const bool again = !P::ahead || a.cap > 0 || st.most != MOST || j * P::tile > w.all_hi || (j - 1) * P::tile < w.all_lo;
            other = again ? (int)j - 1 : (int)((w.all_lo + P::tile - 1) / P::tile) - 1;
        }
    done: __attribute__((unused)); /* above head size 128 */
        if (__builtin_expect((int)j <= seldom, 0)) {
            if (j == last)
                break;
            tile_tell(a, w, c, j);
            if (P::ahead && j == last + 1)
                tile_clear(w, last, v_next);
            seldom = max((int)last + 1, tile_told(c));
        }
        if (P::ahead) {
            k_here = after;
            v_here = P::bytes - v_here;
        }
    }
    write_mma(a, w, st);
}

template <int HD, int F, bool TREES> static cudaError_t prefill_start_of(const sr_attnmma *a, cudaLaunchConfig_t c)
{
    c.blockDim         = dim3(plan_mma<HD, F>::threads);
    c.dynamicSmemBytes = plan_mma<HD, F>::smem;
    cudaError_t e      = cudaFuncSetAttribute(prefill_kernel<HD, F, TREES>, cudaFuncAttributeMaxDynamicSharedMemorySize, plan_mma<HD, F>::smem);
    return e ? e : cudaLaunchKernelEx(&c, prefill_kernel<HD, F, TREES>, *a);
}

template <int HD> static cudaError_t prefill_start(const sr_attnmma *a, cudaLaunchConfig_t c, bool q8)
{
    if constexpr (HD % 32 == 0)
        if (q8)
            return a->tree ? prefill_start_of<HD, SR_Q8_0, true>(a, c) : prefill_start_of<HD, SR_Q8_0, false>(a, c);
    if (q8)
        return cudaErrorInvalidValue;
    return a->tree ? prefill_start_of<HD, SR_F16, true>(a, c) : prefill_start_of<HD, SR_F16, false>(a, c);
}
#endif
