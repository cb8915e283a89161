/* attn_prefill_sm90: attention of many rows by warpgroup products, keys and values through shared memory
 * Shapes   attn.h; pages of F16; head sizes 64, 80, 96, 128, 256; sequences with more than split_rows rows.
 * Roofline flops = 4 * heads * head_dim * visible positions per token; 989 TFLOP/s of f16.
 * Target   head size 128, causal, 8 k positions: 320 TFLOP/s at least (notes/0012).
 * Mapping  an item is 128 rows of a (sequence, kv head): two warpgroups of 64.  One block a multiprocessor takes items, longest first,
 *          by tickets.  A warp of the third group brings tiles of K and V through a tensor map (a box is 16 or more
 *          rows of a page, 64 dimensions wide, swizzled on its way), two stages of each ahead.
 *          A warpgroup has the product with the next K under way while it makes weights of its scores and then the
 *          product with V; the groups take turns in issuing products, so that one's softmax runs under the other's.
 *          Tiles go from the last to the first: those with a mask, if any, first.
 * Numbers  q, k, v and the weights p in f16, sums in f32, online softmax over tiles, base 2.
 * Variants queries in registers up to head size 128, in shared memory above; TREES: rows may have words (ops/tree.h).
 * Archs    sm_90a.                                                                           */
#ifndef SR_OPS_ATTN_PREFILL_SM90_CUH
#define SR_OPS_ATTN_PREFILL_SM90_CUH
#include "ops/attn/attn_numbers.cuh"
#include "ops/attn/attn_softmax.cuh"
#include "ops/wgmma.cuh"

enum { ITEM_ROWS = 128, GROUPS90 = 2, THREADS90 = 128 * (GROUPS90 + 1) };

/* What a block works on; seq == SR_NO_ITEM: nothing is left. */
typedef struct {
    uint32_t seq, head, n_tok, row0, n_row;
    uint32_t lo, hi; /* positions seen by some row */
} item90;
#define SR_NO_ITEM 0xffffffffu

template <int HD, int F> struct plan90 {
    static constexpr int tile   = HD <= 128 ? 128 : 64;   /* positions */
    static constexpr int blocks = (HD + 63) / 64;         /* of 64 dimensions */
    static constexpr int block  = tile * 128;             /* bytes */
    /* A copy costs its start: where there are two blocks, one brings both, and a tile is [run of 16][block][16 rows], not [block][row]. */
    static constexpr bool split = F == SR_F16 && blocks == 2;
    static constexpr int boxes  = split && HD % 64 == 0 ? 1 : blocks; /* copies of the same rows */
    static constexpr int run    = blocks * RUN * 128;                 /* bytes of a run, if split */
    static constexpr int bytes  = blocks * block;         /* of a tile of K or of V */
    static constexpr int stages = 2;
    static constexpr bool q_regs = HD <= 128;
    static constexpr int q_bytes = q_regs ? 0 : ITEM_ROWS * HD * 2;
    /* Q8_0: a warp's runs of a tile as stored, and how many tiles of them it has on their way. */
    static constexpr int row = HD / 32 * 34, warp_runs = tile / RUN / 4, raw = warp_runs * RUN * row;
    static constexpr int raws      = F == SR_F16 ? 0 : HD <= 128 ? 4 : 1;
    static constexpr int bringers  = F == SR_F16 ? 1 : 4; /* warps */
    static constexpr int regs      = F == SR_F16 ? 240 : 224, bring_regs = F == SR_F16 ? 24 : 56; /* 2 regs + bring_regs <= 3 * 168 */
    static constexpr int smem      = 2 * stages * bytes + q_bytes + 4 * raws * raw + 1024 + 512;
};

template <int HD, int F> struct shared90 {
    uint64_t k_full[plan90<HD, F>::stages], k_free[plan90<HD, F>::stages], v_full[plan90<HD, F>::stages],
        v_free[plan90<HD, F>::stages], item_full[2], item_free[2], raw_full[4][4];
    item90 item[2];
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
__device__ __forceinline__ void box_load(void *dst, const CUtensorMap *map, int32_t x, int32_t y, uint64_t *bar)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, 0}], [%2];" ::"r"(
                     sr_smem(dst)),
                 "l"(map), "r"(sr_smem(bar)), "r"(x), "r"(y)
                 : "memory");
}
__device__ __forceinline__ void named_wait(uint32_t id, uint32_t threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_arrive(uint32_t id, uint32_t threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* ---- items
 * --------------------------------------------------------------------------------------------------------- */

/* Item number `ticket`, by a whole warp: sequences from the last, rows from the last, kv heads fastest. */
template <bool TREES> __device__ __forceinline__ item90 item_of(const sr_attnmma &a, uint32_t ticket)
{
    const uint32_t lane = threadIdx.x % 32, n_seq = a.n->seq;
    uint32_t want = ticket / a.kv_heads, all_lo, all_hi;
    item90 it     = {};
    it.seq        = SR_NO_ITEM;
    for (uint32_t s0 = 0; s0 < n_seq; s0 += 32) {
        uint32_t s = s0 + lane, n = 0;
        if (s < n_seq) {
            s          = n_seq - 1 - s;
            uint32_t r = (a.seq[s + 1] - a.seq[s]) * a.group;
            n          = r > a.split_rows ? (r + ITEM_ROWS - 1) / ITEM_ROWS : 0;
        }
        uint32_t sum = n;
        for (int i = 1; i < 32; i *= 2) {
            uint32_t x = __shfl_up_sync(0xffffffff, sum, i);
            sum += lane >= i ? x : 0;
        }
        uint32_t hit = __ballot_sync(0xffffffff, want < sum);
        if (!hit) {
            want -= __shfl_sync(0xffffffff, sum, 31);
            continue;
        }
        int at         = __ffs((int)hit) - 1;
        uint32_t block = __shfl_sync(0xffffffff, sum - 1 - want, at);
        it.seq         = __shfl_sync(0xffffffff, s, at);
        it.head        = ticket % a.kv_heads;
        const uint32_t tok0 = a.seq[it.seq];
        it.n_tok       = a.seq[it.seq + 1] - tok0;
        it.row0        = block * ITEM_ROWS;
        it.n_row       = min(it.n_tok * a.group - it.row0, (uint32_t)ITEM_ROWS);
        visible_to(a.kv_len[2 * it.seq], a.kv_len[2 * it.seq + 1], a.window, it.n_tok, TREES ? a.tree + tok0 : NULL, it.row0 / a.group,
                   (it.row0 + it.n_row - 1) / a.group, it.lo, it.hi, all_lo, all_hi);
        break;
    }
    return it;
}

/* The last block to find nothing leaves the counters as they were. */
__device__ __forceinline__ void tickets_end(const sr_attnmma &a)
{
    if (threadIdx.x % 32)
        return;
    __threadfence();
    if (atomicAdd(a.ticket + 1, 1) == gridDim.x - 1) {
        a.ticket[0] = 0;
        a.ticket[1] = 0;
    }
}

/* ---- the warp that brings tiles of F16
 * ------------------------------------------------------------------------------------ */

/* First row of the tensor map for lane's box of the tile at p0, K; SR_NO_ITEM: nobody sees any of it. */
template <int HD, int F>
__device__ __forceinline__ uint32_t box_row(const sr_attnmma &a, const item90 &it, uint32_t p0)
{
    const uint32_t lane = threadIdx.x % 32, p = p0 + lane / plan90<HD, F>::boxes * a.box_rows;
    uint32_t in_page;
    if (p >= it.hi || p + a.box_rows <= it.lo || p >= p0 + plan90<HD, F>::tile)
        return SR_NO_ITEM;
    uint32_t page = page_of(a, it.seq, p / RUN, in_page);
    return page * a.rows.page + a.layer * a.rows.layer + it.head * a.rows.head + in_page * RUN;
}

template <int HD, int F>
__device__ __forceinline__ void tile_load(const sr_attnmma &a, const CUtensorMap *map, uint8_t *tile, uint32_t row, uint64_t *full)
{
    using P             = plan90<HD, F>;
    const uint32_t lane = threadIdx.x % 32, block = lane % P::boxes, box = lane / P::boxes;
    const uint32_t n    = __popc(__ballot_sync(0xffffffff, row != SR_NO_ITEM));
    if (lane == 0)
        sr_bar_expect(full, n * a.box_rows * 128 * (P::blocks / P::boxes));
    __syncwarp();
    if (row != SR_NO_ITEM)
        box_load(tile + (P::split ? box * P::run + block * RUN * 128 : block * P::block + box * a.box_rows * 128), map, (int)(block * 64), (int)row, full);
    __syncwarp();
}

template <int HD, int F, bool TREES>
__device__ __forceinline__ void bring(const sr_attnmma &a, const CUtensorMap *map, uint8_t *k_tiles, uint8_t *v_tiles, shared90<HD, F> *sh)
{
    using P             = plan90<HD, F>;
    const uint32_t lane = threadIdx.x % 32;
    uint32_t kn = 0, vn = 0, ticket = blockIdx.x;
    for (uint32_t n = 0;; n++) {
        item90 it = item_of<TREES>(a, ticket);
        sr_bar_wait(&sh->item_free[n % 2], n / 2 % 2 ^ 1);
        if (lane == 0) {
            sh->item[n % 2] = it;
            sr_bar_arrive(&sh->item_full[n % 2]);
        }
        __syncwarp();
        if (it.seq == SR_NO_ITEM)
            break;
        if (lane == 0)
            ticket = gridDim.x + atomicAdd(a.ticket, 1);
        const uint32_t first = it.lo / P::tile;
        uint32_t row = SR_NO_ITEM;
        for (uint32_t j = (it.hi + P::tile - 1) / P::tile; j-- > first;) { /* the V of a tile after the K of the next */
            uint32_t before = row;
            row             = box_row<HD, F>(a, it, j * P::tile);
            sr_bar_wait(&sh->k_free[kn % P::stages], kn / P::stages % 2 ^ 1);
            tile_load<HD, F>(a, map, k_tiles + kn % P::stages * P::bytes, row, &sh->k_full[kn % P::stages]);
            kn++;
            if (j + 1 == (it.hi + P::tile - 1) / P::tile)
                continue;
            sr_bar_wait(&sh->v_free[vn % P::stages], vn / P::stages % 2 ^ 1);
            tile_load<HD, F>(a, map, v_tiles + vn % P::stages * P::bytes, before == SR_NO_ITEM ? before : before + a.rows.kv,
                          &sh->v_full[vn % P::stages]);
            vn++;
        }
        sr_bar_wait(&sh->v_free[vn % P::stages], vn / P::stages % 2 ^ 1);
        tile_load<HD, F>(a, map, v_tiles + vn % P::stages * P::bytes, row == SR_NO_ITEM ? row : row + a.rows.kv, &sh->v_full[vn % P::stages]);
        vn++;
        ticket = __shfl_sync(0xffffffff, ticket, 0);
    }
    tickets_end(a);
}

/* ---- the warps that bring and decode tiles of Q8_0
 * ------------------------------------------------------------------ */

/* The order in which tiles are brought: K of the last, then K of each before the V of the one after it. */
__device__ __forceinline__ uint32_t tile_of(uint32_t unit, uint32_t first, uint32_t tiles, bool &value)
{
    const uint32_t last = first + tiles - 1;
    value               = unit == 2 * tiles - 1 || (unit && unit % 2 == 0);
    return unit == 2 * tiles - 1 ? first : value ? last + 1 - unit / 2 : last - (unit + 1) / 2;
}

template <int HD, int F>
__device__ __forceinline__ void raw_bring(const sr_attnmma &a, const item90 &it, uint32_t p0, bool value, uint8_t *raw, uint64_t *full)
{
    using P             = plan90<HD, F>;
    const uint32_t lane = threadIdx.x % 32, p = p0 + (threadIdx.x % 128 / 32 * P::warp_runs + lane) * RUN;
    const bool seen     = lane < P::warp_runs && p < it.hi && p + RUN > it.lo;
    const uint32_t n    = __popc(__ballot_sync(0xffffffff, seen));
    if (lane == 0)
        sr_bar_expect(full, n * RUN * P::row);
    __syncwarp();
    if (seen) {
        uint32_t in_page, page = page_of(a, it.seq, p / RUN, in_page);
        const uint8_t *from = (const uint8_t *)a.kv.base + page * a.kv.stride.page + a.layer * a.kv.stride.layer +
                              value * a.kv.stride.kv + it.head * a.kv.stride.head + (size_t)in_page * RUN * P::row;
        sr_bulk_load(raw + lane * RUN * P::row, from, RUN * P::row, full);
    }
    __syncwarp();
}

/* A warp's runs of a tile as f16, a block of 32 numbers a lane. */
template <int HD, int F> __device__ __forceinline__ void raw_decode(const uint8_t *raw, uint8_t *tile)
{
    using P = plan90<HD, F>;
    constexpr int blocks = HD / 32;
    for (uint32_t i = threadIdx.x % 32; i < P::warp_runs * RUN * blocks; i += 32) {
        const uint32_t r = i / blocks, b = i % blocks, row = threadIdx.x % 128 / 32 * P::warp_runs * RUN + r;
        uint8_t *to = tile + b / 2 * P::block + row * 128;
        uint32_t w[8];
        const half2 scale = block_bytes(raw + i * 34, w);
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const uint2 x = four_bytes(w[2 * k], scale), y = four_bytes(w[2 * k + 1], scale);
            *(uint4 *)(to + (((b % 2 * 4 + k) ^ (row % 8)) * 16)) = make_uint4(x.x, x.y, y.x, y.y);
        }
    }
}

/* One of four warps; the first hands out items.  Its share of a tile is its own from memory to f16: no barrier among them. */
template <int HD, int F, bool TREES>
__device__ __forceinline__ void decode_tiles(const sr_attnmma &a, uint8_t *k_tiles, uint8_t *v_tiles, uint8_t *raw, shared90<HD, F> *sh)
{
    using P             = plan90<HD, F>;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x % 128 / 32;
    uint32_t kn = 0, vn = 0, ticket = blockIdx.x, raw_n = 0;
    raw += warp * P::raws * P::raw;
    for (uint32_t n = 0;; n++) {
        item90 it;
        if (warp == 0) {
            it = item_of<TREES>(a, ticket);
            sr_bar_wait(&sh->item_free[n % 2], n / 2 % 2 ^ 1);
            if (lane == 0) {
                sh->item[n % 2] = it;
                sr_bar_arrive(&sh->item_full[n % 2]);
            }
        } else {
            sr_bar_wait(&sh->item_full[n % 2], n / 2 % 2);
            it = sh->item[n % 2];
            sr_bar_arrive(&sh->item_free[n % 2]); /* what lanes read or wrote themselves every lane gives back: racecheck follows no other (0040) */
        }
        __syncwarp();
        if (it.seq == SR_NO_ITEM)
            break;
        if (warp == 0) {
            if (lane == 0)
                ticket = gridDim.x + atomicAdd(a.ticket, 1);
            ticket = __shfl_sync(0xffffffff, ticket, 0);
        }
        const uint32_t first = it.lo / P::tile, tiles = (it.hi + P::tile - 1) / P::tile - first;
        bool value;
        for (uint32_t u = 0; u < P::raws && u < 2 * tiles; u++) {
            const uint32_t j = tile_of(u, first, tiles, value), slot = (raw_n + u) % P::raws;
            raw_bring<HD, F>(a, it, j * P::tile, value, raw + slot * P::raw, &sh->raw_full[warp][slot]);
        }
        for (uint32_t u = 0; u < 2 * tiles; u++, raw_n++) {
            const uint32_t slot = raw_n % P::raws;
            tile_of(u, first, tiles, value);
            uint32_t &count = value ? vn : kn;
            const uint32_t s = count % P::stages;
            uint64_t *full = value ? &sh->v_full[s] : &sh->k_full[s], *free = value ? &sh->v_free[s] : &sh->k_free[s];
            sr_bar_wait(free, count / P::stages % 2 ^ 1);
            sr_bar_wait(&sh->raw_full[warp][slot], raw_n / P::raws % 2);
            raw_decode<HD, F>(raw + slot * P::raw, (value ? v_tiles : k_tiles) + s * P::bytes);
            sr_async_fence();
            sr_bar_arrive(full);
            __syncwarp(); /* what comes next goes where other lanes have read */
            count++;
            if (u + P::raws < 2 * tiles) {
                const uint32_t j = tile_of(u + P::raws, first, tiles, value);
                raw_bring<HD, F>(a, it, j * P::tile, value, raw + slot * P::raw, &sh->raw_full[warp][slot]);
            }
        }
    }
    if (warp == 0)
        tickets_end(a);
}

/* ---- the warpgroups that multiply
 * ---------------------------------------------------------------------------------- */

template <int HD, int F> struct rows90 {
    static constexpr int tile = plan90<HD, F>::tile;
    float o[HD / 2], s[tile / 2];
    softmax_rows r;
    uint32_t p[tile / 4], q[plan90<HD, F>::q_regs ? HD / 4 : 1];
};

/* Token of row g + 8 h of a warp. */
__device__ __forceinline__ uint32_t token90(const sr_attnmma &a, const item90 &it, uint32_t group, int h)
{
    return (min(group * 64 + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + h * 8, it.n_row - 1) + it.row0) / a.group;
}

template <int HD, int F, bool TREES>
__device__ __forceinline__ void load_q90(const sr_attnmma &a, const item90 &it, rows90<HD, F> &st, uint8_t *q_smem, uint32_t group)
{
    const uint32_t warp = threadIdx.x % 128 / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint32_t in = group * 64 + warp * 16 + g + h * 8, r = min(in, it.n_row - 1) + it.row0, tok = r / a.group;
        const float *x = a.qkv + (size_t)(a.seq[it.seq] + tok) * a.width + (size_t)(it.head * a.group + r - tok * a.group) * HD + t * 2;
        visible(a, it.seq, it.n_tok, TREES ? a.tree + a.seq[it.seq] : NULL, tok, st.r.begin[h], st.r.end[h]);
#pragma unroll
        for (int k = 0; k < HD / 16; k++) {
            float2 u = *(const float2 *)(x + k * 16), v = *(const float2 *)(x + k * 16 + 8);
            if constexpr (plan90<HD, F>::q_regs) {
                st.q[k * 4 + h]     = sr_pack(u.x, u.y);
                st.q[k * 4 + 2 + h] = sr_pack(v.x, v.y);
            } else {
                uint8_t *row = q_smem + k / 4 * (ITEM_ROWS * 128) + in * 128 + t * 4;
                *(uint32_t *)(row + (((k % 4 * 2) ^ (in % 8)) * 16))     = sr_pack(u.x, u.y);
                *(uint32_t *)(row + (((k % 4 * 2 + 1) ^ (in % 8)) * 16)) = sr_pack(v.x, v.y);
            }
        }
    }
    if constexpr (!plan90<HD, F>::q_regs) {
        sr_async_fence();
        named_wait(1 + group, 128);
    }
    uint32_t lo, hi;
    visible_to(a.kv_len[2 * it.seq], a.kv_len[2 * it.seq + 1], a.window, it.n_tok, TREES ? a.tree + a.seq[it.seq] : NULL, it.row0 / a.group,
               (it.row0 + it.n_row - 1) / a.group, lo, hi, st.r.all_lo, st.r.all_hi);
}

/* s = q . k, under way when it returns. */
template <int HD, int F>
__device__ __forceinline__ void times_k(rows90<HD, F> &st, const uint8_t *k_tile, const uint8_t *q_smem, uint32_t group)
{
    using P = plan90<HD, F>;
    sr_wg_fence();
#pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        if constexpr (P::split) {
#pragma unroll
            for (int h = 0; h < 2; h++) /* the first, the second eights of all runs */
                sr_wgmma<P::tile / 2, 0>(st.s + h * (P::tile / 4), st.q + k * 4,
                                         sr_operand_deep(k_tile + k / 4 * (RUN * 128) + h * 1024, P::run) + k % 4 * 2, k > 0);
        } else {
            const uint64_t b = sr_operand_deep(k_tile + k / 4 * P::block, 1024) + k % 4 * 2;
            if constexpr (P::q_regs)
                sr_wgmma<P::tile, 0>(st.s, st.q + k * 4, b, k > 0);
            else
                sr_wgmma_ss<P::tile>(st.s, sr_operand_deep(q_smem + k / 4 * (ITEM_ROWS * 128) + group * 8192, 1024) + k % 4 * 2, b, k > 0);
        }
    }
    sr_wg_commit();
}

/* o += p . v, under way when it returns. */
template <int HD, int F> __device__ __forceinline__ void times_v(rows90<HD, F> &st, const uint8_t *v_tile)
{
    using P = plan90<HD, F>;
    sr_wg_fence();
#pragma unroll
    for (int k = 0; k < P::tile / 16; k++)
        sr_wgmma<HD, 1>(st.o, st.p + k * 4, P::split ? sr_operand_wide(v_tile + k * P::run, RUN * 128) : sr_operand_wide(v_tile + k * 2048, P::block), 1);
    sr_wg_commit();
}

/* Values that no row sees may be anything, NaN too, and 0 * NaN is NaN: they become zero.  Both groups do it, for themselves. */
template <int HD, int F>
__device__ __forceinline__ void clear90(const item90 &it, uint8_t *v_tile, uint32_t p0, uint32_t group)
{
    using P = plan90<HD, F>;
    if (p0 >= it.lo && p0 + P::tile <= it.hi)
        return;
    for (uint32_t i = threadIdx.x % 128; i < P::tile * 8; i += 128) {
        uint32_t p = p0 + i / 8;
        if (p < it.lo || p >= it.hi)
#pragma unroll
            for (int b = 0; b < P::blocks; b++)
                *(uint4 *)(v_tile + (P::split ? i / 128 * P::run + b * RUN * 128 + i % 128 * 16 : b * P::block + i * 16)) = make_uint4(0, 0, 0, 0);
    }
    sr_async_fence();
    named_wait(1 + group, 128);
}

template <int HD, int F> __device__ __forceinline__ void write90(const sr_attnmma &a, const item90 &it, rows90<HD, F> &st, uint32_t group)
{
    const uint32_t warp = threadIdx.x % 128 / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    softmax_end(st.r);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint32_t in = group * 64 + warp * 16 + g + h * 8, r = in + it.row0, tok = r / a.group;
        if (in >= it.n_row)
            continue;
        const float inv = 1.0f / st.r.l[h];
        float *y = a.out + ((size_t)(a.seq[it.seq] + tok) * a.group * a.kv_heads + it.head * a.group + r - tok * a.group) * HD + t * 2;
#pragma unroll
        for (int i = 0; i < HD / 8; i++)
            *(float2 *)(y + i * 8) = make_float2(st.o[4 * i + 2 * h] * inv, st.o[4 * i + 2 * h + 1] * inv);
    }
}

template <int HD, int F, bool TREES>
__device__ __forceinline__ void multiply90(const sr_attnmma &a, uint8_t *k_tiles, uint8_t *v_tiles, uint8_t *q_smem, shared90<HD, F> *sh,
                                           uint32_t group)
{
    using P             = plan90<HD, F>;
    const uint32_t lane = threadIdx.x % 32;
    const float c       = a.cap > 0 ? SR_LOG2E : a.scale * SR_LOG2E;
    uint32_t kn = 0, vn = 0; /* tiles so far */
    if (group == 0)
        named_arrive(3, 256); /* the first turn is group 0's */
    for (uint32_t n = 0;; n++) {
        sr_bar_wait(&sh->item_full[n % 2], n / 2 % 2);
        const item90 it = sh->item[n % 2];
        if (it.seq == SR_NO_ITEM)
            break;
        rows90<HD, F> st;
        float keep[2];
        uint64_t words[2] = {0, 0}; /* asked for with the queries: in a masked tile everybody would wait for them */
        for (int h = 0; TREES && h < 2; h++)
            words[h] = within(a.tree[a.seq[it.seq] + token90(a, it, group, h)], a.window);
        load_q90<HD, F, TREES>(a, it, st, q_smem, group);
        sr_bar_arrive(&sh->item_free[n % 2]);
#pragma unroll
        for (int i = 0; i < HD / 2; i++)
            st.o[i] = 0;
        softmax_begin(st.r);
        const uint32_t first = it.lo / P::tile;
        uint32_t j           = (it.hi - 1) / P::tile;
        sr_bar_wait(&sh->k_full[kn % P::stages], kn / P::stages % 2);
        times_k<HD, F>(st, k_tiles + kn % P::stages * P::bytes, q_smem, group);
        sr_wg_wait<0>();
        if (lane == 0)
            sr_bar_arrive(&sh->k_free[kn % P::stages]);
        kn++;
        mask_tile<P::tile, P::split, TREES>(a, st.r, st.s, j * P::tile, words);
        weigh_tile<P::tile>(st.r, st.s, c, keep);
        pack_tile<P::tile, P::split>(st.s, st.p);
        while (j > first) {
            sr_bar_wait(&sh->k_full[kn % P::stages], kn / P::stages % 2);
            named_wait(3 + group, 256);
            times_k<HD, F>(st, k_tiles + kn % P::stages * P::bytes, q_smem, group);
            uint8_t *v = v_tiles + vn % P::stages * P::bytes;
            sr_bar_wait(&sh->v_full[vn % P::stages], vn / P::stages % 2);
            clear90<HD, F>(it, v, j * P::tile, group);
            times_v<HD, F>(st, v);
            named_arrive(4 - group, 256);
            sr_wg_wait<1>();
            if (lane == 0)
                sr_bar_arrive(&sh->k_free[kn % P::stages]);
            kn++;
            j--;
            mask_tile<P::tile, P::split, TREES>(a, st.r, st.s, j * P::tile, words);
            weigh_tile<P::tile>(st.r, st.s, c, keep);
            sr_wg_wait<0>();
            sr_bar_arrive(&sh->v_free[vn % P::stages]);
            vn++;
            if (!__all_sync(0xffffffff, keep[0] == 1 && keep[1] == 1)) /* most tiles bring no new maximum */
#pragma unroll
                for (int i = 0; i < HD / 2; i++)
                    st.o[i] *= keep[i / 2 % 2];
            pack_tile<P::tile, P::split>(st.s, st.p);
        }
        uint8_t *v = v_tiles + vn % P::stages * P::bytes;
        sr_bar_wait(&sh->v_full[vn % P::stages], vn / P::stages % 2);
        clear90<HD, F>(it, v, j * P::tile, group);
        times_v<HD, F>(st, v);
        sr_wg_wait<0>();
        sr_bar_arrive(&sh->v_free[vn % P::stages]);
        vn++;
        write90<HD, F>(a, it, st, group);
    }
}
#endif

template <int HD, int F, bool TREES>
__global__ void __launch_bounds__(THREADS90, 1)
    prefill90_kernel(const __grid_constant__ sr_attnmma a, const __grid_constant__ CUtensorMap map)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    using P = plan90<HD, F>;
    extern __shared__ uint8_t memory[];
    uint8_t *k_tiles = memory + (-sr_smem(memory) & 1023), *v_tiles = k_tiles + P::stages * P::bytes,
            *q_smem = v_tiles + P::stages * P::bytes, *raw = q_smem + P::q_bytes;
    shared90<HD, F> *sh = (shared90<HD, F> *)(raw + 4 * P::raws * P::raw);
    static_assert(sizeof *sh <= 512, "shared memory of barriers");
    if (threadIdx.x == 0) {
        for (int i = 0; i < P::stages; i++) {
            sr_bar_init(&sh->k_full[i], F == SR_F16 ? 1 : P::bringers * 32);
            sr_bar_init(&sh->v_full[i], F == SR_F16 ? 1 : P::bringers * 32);
            sr_bar_init(&sh->k_free[i], GROUPS90 * 4);
            sr_bar_init(&sh->v_free[i], GROUPS90 * 128);
        }
        for (int i = 0; i < 2; i++) {
            sr_bar_init(&sh->item_full[i], 1);
            sr_bar_init(&sh->item_free[i], (GROUPS90 * 4 + P::bringers - 1) * 32);
        }
        for (int i = 0; i < 16; i++)
            sr_bar_init(&sh->raw_full[i / 4][i % 4], 1);
        sr_bar_fence();
    }
    __syncthreads();
    sr_pdl_wait();
    sr_pdl_launch();
    const uint32_t group = threadIdx.x / 128;
    if (group == GROUPS90) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(P::bring_regs));
        if constexpr (F != SR_F16)
            decode_tiles<HD, F, TREES>(a, k_tiles, v_tiles, raw, sh);
        else if (threadIdx.x % 128 < 32)
            bring<HD, F, TREES>(a, &map, k_tiles, v_tiles, sh);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(P::regs));
        multiply90<HD, F, TREES>(a, k_tiles, v_tiles, q_smem, sh, group);
    }
#endif
}

template <int HD, int F, bool TREES> static cudaError_t prefill90_start_of(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map)
{
    c.blockDim         = dim3(THREADS90);
    c.dynamicSmemBytes = plan90<HD, F>::smem;
    cudaError_t e      = cudaFuncSetAttribute(prefill90_kernel<HD, F, TREES>, cudaFuncAttributeMaxDynamicSharedMemorySize, plan90<HD, F>::smem);
    return e ? e : cudaLaunchKernelEx(&c, prefill90_kernel<HD, F, TREES>, *a, *map);
}

template <int HD> static cudaError_t prefill90_start(const sr_attnmma *a, cudaLaunchConfig_t c, const CUtensorMap *map, bool q8)
{
    if constexpr (HD % 32 == 0)
        if (q8)
            return a->tree ? prefill90_start_of<HD, SR_Q8_0, true>(a, c, map) : prefill90_start_of<HD, SR_Q8_0, false>(a, c, map);
    return q8 ? cudaErrorInvalidValue : a->tree ? prefill90_start_of<HD, SR_F16, true>(a, c, map) : prefill90_start_of<HD, SR_F16, false>(a, c, map);
}
#endif
