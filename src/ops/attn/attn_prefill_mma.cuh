/* attn_prefill_mma: attention of many rows by warp products, keys and values through shared memory
 * Shapes   attn.h; head sizes 64, 80, 96, 128, 256; pages of F16 or Q8_0; sequences with more than split_rows rows.
 * Roofline flops = 4 * heads * head_dim * visible positions per token.
 * Target   0.60 of what m16n8k8 products do on the same card, head size 128, 4 k positions (notes/0012).
 * Mapping  a block of eight warps (three above head size 128) takes 192 rows of a kv head (256 up to head size 80, 48 above 128), the latest
 *          (longest) of all heads first; a warp 24 of them (32, 16), its queries in registers (in shared memory above 128), and all positions, a
 *          tile of 48 (64, 32) at a time.  The products are turned, scores are K.q and outputs V^T.p: rows are columns there and need not come
 *          in sixteens, so a warp takes as many as its registers hold, and an ldmatrix serves three products of depth 16 instead of two.
 *          Tiles lie in shared memory as f16 in rows of whole 128 bytes, 16-byte chunk c of row r at c ^ r % 8, so that ldmatrix meets
 *          no bank twice: three of K, two of V, so that one barrier a tile is enough and those that come have half a tile's time: by
 *          cp.async from sm_80 on, else, and for Q8_0, which is decoded on its way, through registers.
 *          Warps 4 to 7 are half a tile ahead of 0 to 3, with each of which one shares a scheduler: they weigh scores at different times.
 * Numbers  q, k, v and the weights p in f16, sums in f32, online softmax over tiles, base 2.
 * Softmax  the products with keys start from minus the row's reference, so that they give exponents at once.  The reference is at most MOST below
 *          the largest score so far, and moves only when a score exceeds it by more: weights are up to 2^MOST, and most tiles need
 *          neither the largest score of a row nor a change of the sums.  Whether it moves depends on the row alone.
 * Variants one.  Negatives in notes/0012: rows as rows of the products; four warps a block, two blocks; tiles of 32 and 64; twelve warps of 16 rows.
 * Archs    sm_75+; 64 KB of shared memory and all registers of a multiprocessor: one block.      */
#ifndef SR_OPS_ATTN_PREFILL_MMA_CUH
#define SR_OPS_ATTN_PREFILL_MMA_CUH
#include "ops/attn/attn_numbers.cuh"
#include "ops/attn/attn_view.cuh"

#define MOST 8.0f /* weights of up to 2^16 fit in f16 */

template <int HD, int F> struct plan_mma {
    static constexpr int warps   = HD <= 128 ? 8 : 3;      /* 64 KB of shared memory hold 48 queries of 256 and two tiles */
    static constexpr int wide    = HD <= 80 ? 4 : HD <= 128 ? 3 : 2; /* eights of rows of a warp: as many as registers hold */
    static constexpr int threads = warps * 32, rows = warps * wide * 8;
    static constexpr int tile    = HD == 64 ? 64 : HD <= 128 ? 48 : 32; /* positions */
    static constexpr bool ahead  = HD <= 128;              /* the next tiles come into other places; else into those that have been read */
    static constexpr int stages  = ahead ? 5 : 2;          /* tiles in shared memory: three of K, two of V */
    static constexpr int row     = F == SR_F16 ? HD * 2 : HD / 32 * 34; /* bytes of a row as stored */
    static constexpr int pitch   = (HD + 63) / 64 * 128;   /* bytes of a row in shared memory */
    static constexpr int bytes   = tile * pitch;           /* of a tile there */
    static constexpr int chunks  = HD / 8;                 /* of 16 bytes that a row fills */
    static constexpr int step    = threads / chunks < 8 ? threads / chunks : threads / chunks / 8 * 8; /* rows that come at once, a chunk a thread */
    static constexpr int each    = (tile + step - 1) / step; /* chunks of a tile, a thread's */
    static constexpr int some    = each < 4 ? each : 4;    /* of them that are on their way at once: they wait in registers */
    static constexpr int parts   = (each + some - 1) / some;
    static constexpr bool q_regs = HD <= 128;
    static constexpr int smem    = stages * bytes + (q_regs ? 0 : rows * pitch);
};

__device__ __forceinline__ uint32_t swizzled(uint32_t row, uint32_t chunk, uint32_t pitch)
{
    return row * pitch + ((chunk ^ (row & 7)) << 4);
}

/* x, in a register for good: the compiler would rather look up and compute again what depends on the thread's number only. */
__device__ __forceinline__ uint32_t kept(uint32_t x) { return __shfl_sync(0xffffffff, x, threadIdx.x % 32); }

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

/* __syncthreads() for warps that wait at different places. */
__device__ __forceinline__ void block_wait(void) { asm volatile("bar.sync 0;" ::: "memory"); }

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

/* What a block does, in shared memory: looked at too seldom to keep it in registers. */
template <int HD, int F> struct block_mma {
    uint32_t seq, n_tok;     /* the sequence, its tokens in this step */
    uint32_t row0, n_row;    /* the block's first row of its, how many it has */
    uint32_t lo, hi;         /* positions that some row sees */
    uint32_t all_lo, all_hi; /* that all rows see: a tile within needs no mask */
    /* Where the keys of tiles lie, from the layer's and head's in page 0 on: per run of 16 positions, for four tiles.  Runs that nobody
     * sees are told as the nearest that somebody does: they may be read. */
    size_t run[4][plan_mma<HD, F>::tile / RUN];
};

/* The tile that is on its way, and this thread's chunks of it. */
template <int HD, int F> struct carried {
    uint32_t me, to;        /* this thread's number; where its first chunk of a tile goes */
    uint32_t page, in_page; /* of the first threads: where their run lies in the tile that is told next */
    const uint8_t *base;    /* its keys or values, in page 0 */
    uint8_t *smem;
    uint32_t tile;
    raw8<F> x[plan_mma<HD, F>::some];
};

/* Looks up the page of run i of a tile. */
template <int HD, int F>
__device__ __forceinline__ void run_look(const sr_attnmma &a, const block_mma<HD, F> &w, carried<HD, F> &c, uint32_t tile, uint32_t i)
{
    const uint32_t run = min(max(tile * (plan_mma<HD, F>::tile / RUN) + i, w.lo / RUN), (w.hi - 1) / RUN),
                   at  = a.page_runs == 1 ? run : run / a.page_runs; /* a division keeps the whole block waiting */
    c.in_page = run - at * a.page_runs;
    c.page    = a.table[(size_t)w.seq * a.max_pages + at] & 0x3fffffffu;
}

/* Tells it to all; the caller's __syncthreads() makes it everyone's. */
template <int HD, int F>
__device__ __forceinline__ void run_tell(const sr_attnmma &a, block_mma<HD, F> &w, const carried<HD, F> &c, uint32_t tile, uint32_t i)
{
    w.run[tile % 4][i] = c.page * a.kv.stride.page + (size_t)c.in_page * (RUN * plan_mma<HD, F>::row);
}

/* Tells the runs of a tile and looks up those of the next, by the first threads: nobody waits for the table. */
template <int HD, int F> __device__ __forceinline__ void tile_tell(const sr_attnmma &a, block_mma<HD, F> &w, carried<HD, F> &c, uint32_t tile)
{
    if (threadIdx.x >= plan_mma<HD, F>::tile / RUN)
        return;
    run_tell(a, w, c, tile, threadIdx.x);
    run_look(a, w, c, tile - 1, threadIdx.x);
}

/* Tells the first tiles, from this one down. */
template <int HD, int F> __device__ __forceinline__ void tell_first(const sr_attnmma &a, block_mma<HD, F> &w, carried<HD, F> &c, uint32_t tile, uint32_t tiles)
{
    constexpr uint32_t runs = plan_mma<HD, F>::tile / RUN;
    const uint32_t back     = threadIdx.x / runs;
    if (back < tiles) {
        run_look(a, w, c, tile - back, threadIdx.x % runs);
        run_tell(a, w, c, tile - back, threadIdx.x % runs);
    }
    if (threadIdx.x < runs)
        run_look(a, w, c, tile - tiles, threadIdx.x);
}

/* Whether this thread brings chunk i of its. */
template <int HD, int F> __device__ __forceinline__ bool brings(const carried<HD, F> &c, int i)
{
    using P = plan_mma<HD, F>;
    return (P::threads == P::step * P::chunks || c.me / P::chunks < P::step) && (P::tile % P::step == 0 || i * P::step + c.me / P::chunks < P::tile);
}

/* Starts to bring chunk i. */
template <int HD, int F> __device__ __forceinline__ void chunk_fetch(const block_mma<HD, F> &w, const carried<HD, F> &c, int i, raw8<F> &x)
{
    using P           = plan_mma<HD, F>;
    const uint32_t k  = c.me % P::chunks, r = i * P::step + c.me / P::chunks, run = RUN % P::step ? r / RUN : i * P::step / RUN,
                   in = RUN % P::step ? r % RUN : i * P::step % RUN + c.me / P::chunks; /* the same, simpler */
    if (!brings(c, i))
        return;
    const uint8_t *row = c.base + w.run[c.tile % 4][run] + in * P::row;
    if constexpr (by_itself<F>()) {
        const uint32_t p = c.tile * P::tile + r;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sr_smem(c.smem) + swizzled(r, k, P::pitch)), "l"(row + k * 16),
                     "r"(p >= w.lo && p < w.hi ? 16 : 0)
                     : "memory");
    } else
        x = raw_load<F>(row, k * 8);
}

/* Puts it down. */
template <int HD, int F> __device__ __forceinline__ void chunk_put(const carried<HD, F> &c, int i, const raw8<F> &x)
{
    using P = plan_mma<HD, F>;
    if (!by_itself<F>() && brings(c, i))
        *(uint4 *)(c.smem + (P::step % 8 ? swizzled(i * P::step + c.me / P::chunks, c.me % P::chunks, P::pitch) : c.to + i * P::step * P::pitch)) =
            raw_numbers<F>(x);
}

template <int HD, int F> __device__ __forceinline__ void tile_is(carried<HD, F> &c, const uint8_t *base, uint32_t tile, uint8_t *smem)
{
    c.base = base;
    c.tile = tile;
    c.smem = smem;
}

/* Part i of the tile: some chunks. */
template <int HD, int F> __device__ __forceinline__ void part_fetch(const block_mma<HD, F> &w, carried<HD, F> &c, int i)
{
    using P = plan_mma<HD, F>;
#pragma unroll
    for (int k = 0; k < P::some; k++)
        if (i * P::some + k < P::each)
            chunk_fetch(w, c, i * P::some + k, c.x[k]);
}

template <int HD, int F> __device__ __forceinline__ void part_put(const carried<HD, F> &c, int i)
{
    using P = plan_mma<HD, F>;
#pragma unroll
    for (int k = 0; k < P::some; k++)
        if (i * P::some + k < P::each)
            chunk_put(c, i * P::some + k, c.x[k]);
}

/* Begins to bring a tile. */
template <int HD, int F>
__device__ __forceinline__ void tile_begin(const block_mma<HD, F> &w, carried<HD, F> &c, const uint8_t *base, uint32_t tile, uint8_t *smem)
{
    tile_is(c, base, tile, smem);
#pragma unroll
    for (int i = 0; i < (by_itself<F>() ? plan_mma<HD, F>::parts : 1); i++)
        part_fetch(w, c, i);
}

/* Goes on, after part `done` of `all` of a product: a part has come, the next is asked for. */
template <int HD, int F> __device__ __forceinline__ void tile_go_on(const block_mma<HD, F> &w, carried<HD, F> &c, int done, int all)
{
    using P = plan_mma<HD, F>;
    static_assert(P::parts <= HD / 16, "a part of the tile for a part of the product at most");
#pragma unroll
    for (int i = 1; i < P::parts && !by_itself<F>(); i++)
        if (i * all / P::parts == done) {
            part_put(c, i - 1);
            part_fetch(w, c, i);
        }
}

/* Ends; the caller's __syncthreads() makes it everyone's. */
template <int HD, int F> __device__ __forceinline__ void tile_end(const carried<HD, F> &c)
{
    part_put(c, plan_mma<HD, F>::parts - 1);
    if constexpr (by_itself<F>())
        asm volatile("cp.async.wait_all;" ::: "memory");
}

/* Values that nobody sees may be anything, NaN too: zero, by the threads that have put them down. */
template <int HD, int F> __device__ __forceinline__ void tile_clear(const block_mma<HD, F> &w, uint32_t tile, uint8_t *smem)
{
    using P           = plan_mma<HD, F>;
    const uint32_t p0 = tile * P::tile;
    if (p0 >= w.lo && p0 + P::tile <= w.hi)
        return;
    for (uint32_t r = threadIdx.x / P::chunks; r < P::tile && threadIdx.x < P::step * P::chunks; r += P::step)
        if (p0 + r < w.lo || p0 + r >= w.hi)
            *(uint4 *)(smem + swizzled(r, threadIdx.x % P::chunks, P::pitch)) = make_uint4(0, 0, 0, 0);
}

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

/* Two scores of block m of sixteen positions become weights, in f16, turned into the second factor of the product with V. */
template <int HD, int F> __device__ __forceinline__ void weigh_mma(rows_mma<HD, F> &st, int m, int n, int h)
{
    const float x = power2(st.s[m][n][2 * h]), y = power2(st.s[m][n][2 * h + 1]);
    st.l[n][0] += x;
    st.l[n][1] += y;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(st.p[m][n][h]) : "r"(sr_pack(x, y)));
}

/* The outputs' sums; a block's weights are made between the products with the block before. */
template <int HD, int F>
__device__ __forceinline__ void values_mma(rows_mma<HD, F> &st, uint32_t at, const block_mma<HD, F> &w, carried<HD, F> &c)
{
    using P           = plan_mma<HD, F>;
    constexpr int all = 2 * P::wide, steps = HD / 16;
#pragma unroll
    for (int i = 0; i < all; i++)
        weigh_mma(st, 0, i / 2, i % 2);
#pragma unroll
    for (int k = 0; k < P::tile / 16; k++)
#pragma unroll
        for (int m = 0; m < steps; m++) {
            sr_frag_a v;
            load_four<true>(v.r, (at ^ m * 32) + k * 16 * P::pitch);
#pragma unroll
            for (int n = 0; n < P::wide; n++)
                sr_mma(st.o[m][n], v, st.p[k][n][0], st.p[k][n][1]);
            if (k + 1 < P::tile / 16)
#pragma unroll
                for (int i = m * all / steps; i < (m + 1) * all / steps; i++)
                    weigh_mma(st, k + 1, i / 2, i % 2);
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

/* What a row may not see becomes -infinity. */
template <int HD, int F> __device__ __forceinline__ void mask_mma(const sr_attnmma &a, const block_mma<HD, F> &w, rows_mma<HD, F> &st, uint32_t p0)
{
    using P = plan_mma<HD, F>;
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < P::wide; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            uint32_t begin, end;
            visible(a, w.seq, w.n_tok, row_of(w, n, t * 2 + e) / a.group, begin, end);
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

/* Two numbers of a query from dimension d on, in f16. */
__device__ __forceinline__ uint32_t query_pair(const float *x, float scale)
{
    const float2 v = *(const float2 *)x;
    return sr_pack(v.x * scale, v.y * scale);
}

/* The block's queries, times `scale`: a lane's to its registers, or all to shared memory. */
template <int HD, int F>
__device__ __forceinline__ void load_q_mma(const sr_attnmma &a, const block_mma<HD, F> &w, float scale, uint8_t *smem, rows_mma<HD, F> &st)
{
    using P = plan_mma<HD, F>;
    const float *all = a.qkv + (size_t)a.seq[w.seq] * a.width + (size_t)blockIdx.x * a.group * HD;
    if constexpr (P::q_regs) {
#pragma unroll
        for (int n = 0; n < P::wide; n++) {
            const uint32_t r = row_of(w, n, threadIdx.x % 32 / 4), tok = r / a.group;
            const float *x   = all + (size_t)tok * a.width + (r - tok * a.group) * HD + threadIdx.x % 4 * 2;
#pragma unroll
            for (int k = 0; k < HD / 16; k++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    st.q[k][n][h] = query_pair(x + k * 16 + h * 8, scale);
        }
    } else {
        for (uint32_t i = threadIdx.x; i < P::rows * P::chunks; i += P::threads) {
            const uint32_t in = i / P::chunks, k = i - in * P::chunks, r = w.row0 + min(in, w.n_row - 1), tok = r / a.group;
            const float *x = all + (size_t)tok * a.width + (r - tok * a.group) * HD + k * 8;
            uint32_t y[4];
#pragma unroll
            for (int h = 0; h < 4; h++)
                y[h] = query_pair(x + h * 2, scale);
            *(uint4 *)(smem + swizzled(in, k, P::pitch)) = make_uint4(y[0], y[1], y[2], y[3]);
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
    float *all = a.out + ((size_t)a.seq[w.seq] * a.kv_heads + blockIdx.x) * a.group * HD + g;
#pragma unroll
    for (int n = 0; n < P::wide; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const uint32_t r = row_of(w, n, t * 2 + e), tok = r / a.group;
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
template <int HD, int F> __device__ __forceinline__ bool find_mma(const sr_attnmma &a, block_mma<HD, F> &w)
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
    visible(a, seq, n_tok, row0 / a.group, lo, all_hi);
    visible(a, seq, n_tok, (row0 + n_row - 1) / a.group, all_lo, hi);
    if (threadIdx.x == 0) {
        w.seq    = seq, w.n_tok = n_tok;
        w.row0   = row0, w.n_row = n_row;
        w.lo     = lo, w.hi = hi;
        w.all_lo = all_lo, w.all_hi = all_hi;
    }
    __syncthreads();
    return true;
}

template <int HD, int F> __global__ void __launch_bounds__(plan_mma<HD, F>::threads, 1) prefill_kernel(const __grid_constant__ sr_attnmma a)
{
    using P = plan_mma<HD, F>;
    extern __shared__ __align__(1024) uint8_t tiles[]; /* of K, of V, then queries; addresses of chunks are made by exclusive or */
    __shared__ block_mma<HD, F> w;
    sr_pdl_wait();
    sr_pdl_launch();
    if (!find_mma(a, w))
        return;
    const uint8_t *keys = (const uint8_t *)a.kv.base + a.layer * a.kv.stride.layer + blockIdx.x * a.kv.stride.head, *values = keys + a.kv.stride.kv;
    rows_mma<HD, F> st;
    carried<HD, F> c;
    constexpr uint32_t v_smem = (P::stages + 1) / 2 * P::bytes, q_smem = P::stages * P::bytes, told = P::ahead ? 3 : 2;
    const uint32_t lane = threadIdx.x % 32;
    uint32_t j = (w.hi - 1) / P::tile;
    c.me = kept(threadIdx.x);
    c.to = kept(swizzled(threadIdx.x / P::chunks, threadIdx.x % P::chunks, P::pitch));
    tell_first(a, w, c, j, told);
    __syncthreads();
    raw8<F> x[told][P::each]; /* the first tiles come at once: keys, the next keys, values */
#pragma unroll
    for (int i = 0; i < (P::ahead ? 3 : 1); i++) {
        tile_is(c, i < 2 ? keys : values, j - i % 2, tiles + i % 2 * P::bytes + i / 2 * v_smem);
#pragma unroll
        for (int k = 0; k < P::each; k++)
            chunk_fetch(w, c, k, x[i][k]);
    }
    begin_mma(st);
    load_q_mma(a, w, a.cap > 0 ? 1 : a.scale * SR_LOG2E, tiles + q_smem, st);
#pragma unroll
    for (int i = 0; i < (P::ahead ? 3 : 1); i++) {
        c.smem = tiles + i % 2 * P::bytes + i / 2 * v_smem;
#pragma unroll
        for (int k = 0; k < P::each; k++)
            chunk_put(c, k, x[i][k]);
    }
    if constexpr (by_itself<F>())
        asm volatile("cp.async.wait_all;" ::: "memory");
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
    for (uint32_t left = j - w.lo / P::tile;; j--, left--) { /* from the last tile: those with a mask, if any, first */
        const uint32_t after = k_here == 2 * P::bytes ? 0 : k_here + P::bytes, before = k_here == 0 ? 2 * P::bytes : k_here - P::bytes;
        uint8_t *k_next = tiles + (!P::ahead ? 0 : early ? after : before), *v_next = tiles + v_smem + (P::ahead ? P::bytes - v_here : 0);
        if (!early)
            block_wait();
        const bool masked = j * P::tile < w.all_lo || j * P::tile + P::tile > w.all_hi;
        /* Tiles behind the last are the nearest, in vain. */
        tile_begin(w, c, P::ahead ? keys : values, P::ahead ? j - 2 + early : j, P::ahead ? k_next : v_next);
        scores_mma(st, at_k + k_here, at_q, w, c);
        tile_end(c);
        if (a.cap > 0)
            cap_mma(a, st);
        if (masked)
            mask_mma(a, w, st, j * P::tile);
        if (__any_sync(0xffffffff, top_mma(st) > st.most))
            move_mma(st);
        if (!P::ahead)
            tile_clear(w, j, v_next);
        if (early || !P::ahead)
            block_wait();
        tile_tell(a, w, c, j - told);
        tile_begin(w, c, P::ahead ? values : keys, j - 1, P::ahead ? v_next : k_next);
        values_mma(st, at_v + v_here, w, c);
        tile_end(c); /* in front of the branch: behind it the compiler would load only there */
        if (!left)
            break;
        if (P::ahead) {
            if (left == 1)
                tile_clear(w, j - 1, v_next);
            k_here = after;
            v_here = P::bytes - v_here;
        }
    }
    write_mma(a, w, st);
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
