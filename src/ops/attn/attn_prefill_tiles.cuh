/* attn_prefill_tiles.cuh - tiles of keys and values on their way to shared memory: where they lie, who brings what.  Part of attn_prefill_mma.cuh.
 *
 * A tile is brought by all threads of a block, chunks of 16 bytes of its rows: begun (asked for), gone on with where a thread has more chunks
 * than wait in registers, ended (put down).  From sm_80 on F16 comes by cp.async.  Runs are looked up in the page table long before, a half of
 * TOLD at a time, by the first threads.
 * Shapes  rows in shared memory of whole 128 bytes, 16-byte chunk c of row r at c ^ r % 8, so that ldmatrix meets no bank twice.
 */
#ifndef SR_OPS_ATTN_PREFILL_TILES_CUH
#define SR_OPS_ATTN_PREFILL_TILES_CUH
#include "ops/attn/attn_numbers.cuh"
#include "ops/attn/attn_view.cuh"

enum { TOLD = 128 }; /* runs whose places are known at a time, in two halves */

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
    uint32_t first;          /* of them, in the step */
    uint32_t row0, n_row;    /* the block's first row of its, how many it has */
    uint32_t lo, hi;         /* positions that some row sees */
    uint32_t all_lo, all_hi; /* that all rows see: a tile within needs no mask */
    uint32_t tok0;           /* token of its first row */
    float each;              /* 1 / group */
    /* Where runs of 16 positions lie, counted in runs from the layer's and head's first in page 0.  Runs that nobody sees are told as the
     * nearest that somebody does: they may be read. */
    uint32_t run[TOLD];
};

/* The tile that is on its way, and this thread's chunks of it. */
template <int HD, int F> struct carried {
    uint32_t me, to;        /* this thread's number; where its first chunk of a tile goes */
    uint32_t from;          /* where its rows begin in a run */
    uint32_t page, in_page; /* of the first threads: where their run lies in the half that is told next */
    int told;               /* the half told last: this and the next are known */
    const uint8_t *base;    /* its keys or values, in page 0 */
    uint8_t *smem;
    uint32_t tile;
    raw8<F> x[plan_mma<HD, F>::some];
};

/* Looks up the page of a run; those in front of the first and behind the last are the nearest. */
template <int HD, int F> __device__ __forceinline__ void run_look(const sr_attnmma &a, const block_mma<HD, F> &w, carried<HD, F> &c, int at)
{
    const uint32_t run = (uint32_t)min(max(at, (int)(w.lo / RUN)), (int)((w.hi - 1) / RUN)),
                   i   = a.page_runs == 1 ? run : run / a.page_runs; /* a division keeps the whole block waiting */
    c.in_page = run - i * a.page_runs;
    c.page    = a.table[(size_t)w.seq * a.max_pages + i] & 0x3fffffffu;
}

/* Tells it to all; the caller's __syncthreads() makes it everyone's. */
template <int HD, int F> __device__ __forceinline__ void run_tell(const sr_attnmma &a, block_mma<HD, F> &w, const carried<HD, F> &c, int at)
{
    w.run[(uint32_t)at % TOLD] = c.page * a.page_step + c.in_page;
}

/* Tells the half with the last run and the one in front of it. */
template <int HD, int F> __device__ __forceinline__ void tell_first(const sr_attnmma &a, block_mma<HD, F> &w, carried<HD, F> &c)
{
    c.told = (int)((w.hi - 1) / RUN / (TOLD / 2)) - 1;
    for (uint32_t i = threadIdx.x; i < TOLD; i += plan_mma<HD, F>::threads) { /* a block above head size 128 has fewer */
        const int at = c.told * (TOLD / 2) + (int)i;
        run_look(a, w, c, at);
        run_tell(a, w, c, at);
    }
}

/* The last tile at which tile_tell() has something to do. */
template <int HD, int F> __device__ __forceinline__ int tile_told(const carried<HD, F> &c)
{
    return (c.told + 1) * (TOLD / 2) / (plan_mma<HD, F>::tile / RUN);
}

/* When the tiles still to be brought have left the upper half, looks up the one in front of the lower, and a tile later tells it in the upper's
 * place: nobody waits for the table. */
template <int HD, int F> __device__ __forceinline__ void tile_tell(const sr_attnmma &a, block_mma<HD, F> &w, carried<HD, F> &c, uint32_t tile)
{
    constexpr int runs = plan_mma<HD, F>::tile / RUN;
    const int end = (c.told + 1) * (TOLD / 2), top = (int)tile * runs - 1, at = (c.told - 1) * (TOLD / 2) + (int)threadIdx.x;
    if (__builtin_expect(top >= end, 1))
        return;
    if (top + runs >= end) {
        if (threadIdx.x < TOLD / 2)
            run_look(a, w, c, at);
    } else {
        if (threadIdx.x < TOLD / 2)
            run_tell(a, w, c, at);
        c.told--;
    }
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
    const uint32_t k = c.me % P::chunks, r = i * P::step + c.me / P::chunks, run = RUN % P::step ? r / RUN : i * P::step / RUN; /* the same, simpler */
    if (!brings(c, i))
        return;
    const uint8_t *row = c.base + (size_t)w.run[(c.tile * (P::tile / RUN) + run) % TOLD] * (RUN * P::row);
    if constexpr (RUN % P::step == 0 || P::step % RUN == 0)
        row += i * P::step % RUN * P::row + c.from;
    else
        row += r % RUN * P::row;
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
#endif
