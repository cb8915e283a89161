/* gemm90: y[m][rows] = x[m][cols] . W^T (+ bias) (+ z), weights decoded in registers (gemm90.h)
 * Shapes   as gemm90.h; N = 8 .. 256 columns a block.
 * Roofline bytes = weights + m*(cols + rows)*4 up to some 100 columns, beyond 2*m*rows*cols against 989 TFLOP/s of f16.
 * Target   H200, 8B Q4_K_M: 32 columns in 80 us a layer, 128 in 200; 2048 tokens: 60 % of the f16 peak (notes/0011).
 * Mapping  two producer warps for weights (a bulk copy a row tile) and one for x (one a stage); a warp decodes its
 *          row tile 64 inputs ahead of the products that take it from registers.  Weights are asked for before the launch
 *          before has ended.
 * Variants an instance per N and format, and two for the mixtures of Q4_K_M and Q5_K_M.
 * Archs    sm_90a.                                                                                                   */
#ifndef SR_OPS_LINEAR_GEMM90_CUH
#define SR_OPS_LINEAR_GEMM90_CUH
#include "ops/linear/decode_f16.cuh"
#include "ops/linear/decode_int.cuh"
#include "ops/linear/gemm90.h"
#include "ops/wgmma.cuh"

enum { MAX_DEPTH90 = 16 };

#define ONE90(F) (1u << (F))

/* How a block is made up: warpgroups that multiply, a row tile a warp; 32-blocks of a stage of weights (a tile) and of x. */
template <int N, uint32_t FORMATS> struct shape90 {
    static constexpr bool half    = FORMATS == ONE90(SR_F16) || FORMATS == ONE90(SR_BF16);
    static constexpr int groups   = N <= 32 ? 4 : 2, threads = groups * 128 + 128;
    static constexpr int askers   = 2; /* warps that ask for weights; another does for x */
    static constexpr int w_blocks = half ? 2 : 8, x_blocks = half || N == 256 ? 2 : N == 128 ? 4 : 8;
    static constexpr int together = 2;                     /* blocks whose products are asked for at once */
    static constexpr uint32_t x_stage = x_blocks == 8 ? sr_gemm90_block(N) : N * x_blocks * 64; /* bytes */
    /* Codes times scales are multiplied as the integers that they are (decode_int.cuh), not as weights rounded to f16. */
    static constexpr bool exact = N <= 64 && !(FORMATS & ~(ONE90(SR_Q4_K) | ONE90(SR_Q5_K) | ONE90(SR_Q6_K)));
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

struct bars90 {
    uint64_t *w_full, *w_empty, *x_full, *x_empty;
};
__device__ __forceinline__ bars90 bars90_of(const sr_gemm90 &g, uint8_t *smem)
{
    uint64_t *b = (uint64_t *)(smem + g.at_bar);
    bars90 s    = {b, b + MAX_DEPTH90, b + 2 * MAX_DEPTH90, b + 3 * MAX_DEPTH90};
    return s;
}

struct ring90 {
    uint32_t at, parity;
    __device__ __forceinline__ void next(uint32_t depth)
    {
        if (++at == depth) {
            at = 0;
            parity ^= 1;
        }
    }
};

/* Runs of pieces, in units that stay together: block b has [first(b), first(b + 1)), the first `more` blocks a unit more. */
__device__ __forceinline__ uint32_t first90(const sr_gemm90 &g, uint32_t b) { return (b * g.each + min(b, g.more)) * g.run; }
__device__ __forceinline__ uint32_t block90(const sr_gemm90 &g, uint32_t piece) /* the block that has it */
{
    const uint32_t u = piece / g.run, big = g.more * (g.each + 1);
    return u < big ? u / (g.each + 1) : g.more + (u - big) / g.each;
}

/* The run of pieces of one group and column tile that begins at `piece`. */
struct span90 {
    uint32_t part, row_tile, tiles, column, k0, k1; /* row_tile: of the part; tiles: of this group */
};
__device__ __forceinline__ span90 span90_of(const sr_gemm90 &g, uint32_t piece, uint32_t end)
{
    span90 s;
    uint32_t t = piece / g.blocks_k, group = t / g.col_tiles;
    s.column = t % g.col_tiles;
    s.k0     = piece % g.blocks_k;
    s.k1     = min(g.blocks_k, s.k0 + end - piece);
    s.part   = 0;
    for (uint32_t i = 1; i < g.n_part; i++)
        s.part += group >= g.part[i].group0;
    s.row_tile = (group - g.part[s.part].group0) * (g.rows / 16);
    s.tiles    = min(g.rows / 16, g.part[s.part].row_tiles - s.row_tile);
    return s;
}
/* One of the askers' share of the tiles: one warp alone cannot ask for them fast enough. */
__device__ __forceinline__ void produce_w90(const sr_gemm90 &g, uint8_t *smem, uint32_t columns, uint32_t asker, uint32_t each)
{
    const bars90 bar   = bars90_of(g, smem);
    const uint32_t per = 256 / g.stage_k;
    ring90 r           = {0, 1};
    for (uint32_t p = first90(g, blockIdx.x), end = first90(g, blockIdx.x + 1); p < end;) {
        const span90 s            = span90_of(g, p, end);
        const sr_gemm90part &part = g.part[s.part];
        p += s.k1 - s.k0;
        if (s.column >= columns)
            continue;
        for (uint32_t k = s.k0 * per, k1 = min(s.k1 * per, part.tiles_k); k < k1; k++, r.next(g.w_depth)) {
            const uint32_t t0   = asker * each, t1 = min(t0 + each, max(s.tiles, t0));
            uint8_t *to         = smem + g.at_w + r.at * g.w_stage;
            const uint8_t *from = part.p + ((size_t)s.row_tile * part.tiles_k + k) * part.bytes;
            sr_bar_wait(bar.w_empty + r.at, r.parity);
            sr_bar_expect(bar.w_full + r.at, (t1 - t0) * part.bytes);
            for (uint32_t t = t0; t < t1; t++)
                sr_bulk_load(to + t * part.bytes, from + (size_t)t * part.tiles_k * part.bytes, part.bytes, bar.w_full + r.at);
        }
    }
}

template <int N, uint32_t FORMATS> __device__ __forceinline__ void produce_x90(const sr_gemm90 &g, uint8_t *smem, uint32_t columns)
{
    constexpr uint32_t stage = shape90<N, FORMATS>::x_stage;
    const bars90 bar         = bars90_of(g, smem);
    constexpr uint32_t per   = 8 / shape90<N, FORMATS>::x_blocks;
    ring90 r                 = {0, 1};
    for (uint32_t p = first90(g, blockIdx.x), end = first90(g, blockIdx.x + 1); p < end;) {
        const span90 s = span90_of(g, p, end);
        p += s.k1 - s.k0;
        if (s.column >= columns)
            continue;
        const uint8_t *image = g.image + (size_t)s.column * g.blocks_k * sr_gemm90_block(N);
        for (uint32_t k = s.k0 * per, k1 = min(s.k1 * per, g.x_stages); k < k1; k++, r.next(g.x_depth)) {
            const uint8_t *from = image + (size_t)(k / per) * sr_gemm90_block(N) + k % per * stage;
            sr_bar_wait(bar.x_empty + r.at, r.parity);
            sr_bar_expect(bar.x_full + r.at, stage);
            sr_bulk_load(smem + r.at * stage, from, stage, bar.x_full + r.at);
        }
    }
}

/* What a warp is at. */
template <int N> struct state90 {
    float d[N / 2];
    ring90 w, x;
    uint32_t up; /* 1024 twice; in a register, and not known to be the same in all lanes: otherwise it is moved to one again and again */
};

__device__ __forceinline__ void free90(uint64_t *bar)
{
    __syncwarp(); /* all lanes have read */
    if (threadIdx.x % 32 == 0)
        sr_bar_arrive(bar);
}

/* A stage of weights: the warp's tile times as much of x. */
template <int N, int F, uint32_t FORMATS>
__device__ __forceinline__ void stage90(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, state90<N> &st)
{
    using P             = shape90<N, FORMATS>;
    const uint32_t lane = threadIdx.x % 32, up = st.up;
    const uint8_t *w    = smem + g.at_w + st.w.at * g.w_stage + threadIdx.x / 32 * sr_tile_bytes(F);
    uint32_t op = 0, a[2][P::together][8];
    decoder<F> dec;
    sr_bar_wait(bar.w_full + st.w.at, st.w.parity);
    dec.open(w, lane);
#pragma unroll
    for (int b = 0; b < P::w_blocks; b += P::together) {
        uint32_t(&now)[P::together][8] = a[b / P::together % 2];
#pragma unroll
        for (int i = 0; i < P::together; i++)
            dec.block(w, lane, b + i, up, now[i]);
        if (b % P::x_blocks == 0) {
            sr_bar_wait(bar.x_full + st.x.at, st.x.parity);
            op = (uint32_t)sr_operand_deep(smem + st.x.at * P::x_stage, 1024);
        }
        sr_wg_fence();
#pragma unroll
        for (int i = 0; i < P::together * 2; i++) {
            const uint32_t in  = ((b + i / 2) % P::x_blocks / 2 * (N * 128) >> 4) + (b * 2 + i) % 4 * 2;
            const uint64_t at  = (uint64_t)(1024 >> 4 | 1u << 30) << 32 | (op + in); /* the half above is every operand's */
            sr_wgmma<N, 0>(st.d, now[i / 2] + i % 2 * 4, at, 1);
        }
        sr_wg_commit();
        sr_wg_wait<1>();
        if (b % P::x_blocks == 0) {
            if (b > 0) /* the stage before has been read */
                free90(bar.x_empty + (st.x.at ? st.x.at : g.x_depth) - 1);
            st.x.next(g.x_depth);
        }
    }
    free90(bar.w_empty + st.w.at); /* wgmma brought the warp together: all lanes have read */
    st.w.next(g.w_depth);
    sr_wg_wait<0>();
    free90(bar.x_empty + (st.x.at ? st.x.at : g.x_depth) - 1);
}

/* The same in whole numbers: their sums over a tile (t) and those of its minimums (u) get the tile's factors in f32. */
template <int N, int F, uint32_t FORMATS>
__device__ __forceinline__ void stage90_int(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, state90<N> &st)
{
    constexpr int together = 2;
    const uint32_t lane = threadIdx.x % 32;
    const uint8_t *w    = smem + g.at_w + st.w.at * g.w_stage + threadIdx.x / 32 * sr_tile_bytes(F);
    uint32_t a[2][together][8], low[4];
    float t[N / 2], u[N / 2];
    whole<F> dec;
    sr_bar_wait(bar.w_full + st.w.at, st.w.parity);
    dec.open(w, lane, st.up);
#pragma unroll
    for (int i = 0; i < together; i++)
        dec.block(w, lane, i, st.up, a[0][i]);
    if constexpr (F != SR_Q6_K)
        dec.minimums(lane, st.up, low);
    sr_bar_wait(bar.x_full + st.x.at, st.x.parity);
    const uint32_t op = (uint32_t)sr_operand_deep(smem + st.x.at * shape90<N, FORMATS>::x_stage, 1024);
#pragma unroll
    for (int b = 0; b < 8; b += together) {
        uint32_t(&now)[together][8] = a[b / together % 2], (&next)[together][8] = a[b / together % 2 ^ 1];
        sr_wg_fence();
        if (F != SR_Q6_K && b == 0)
            sr_wgmma<N, 0>(u, low, (uint64_t)(1024 >> 4 | 1u << 30) << 32 | (op + (N * 512 >> 4)), 0);
#pragma unroll
        for (int i = 0; i < together * 2; i++) {
            const uint32_t in = ((b + i / 2) / 2 * (N * 128) >> 4) + (b * 2 + i) % 4 * 2;
            sr_wgmma<N, 0>(t, now[i / 2] + i % 2 * 4, (uint64_t)(1024 >> 4 | 1u << 30) << 32 | (op + in), b + i > 0);
        }
        sr_wg_commit();
        sr_wg_wait<1>(); /* the products before these have read `next` */
#pragma unroll
        for (int i = 0; i < together && b + together < 8; i++)
            dec.block(w, lane, b + together + i, st.up, next[i]);
    }
    free90(bar.w_empty + st.w.at); /* wgmma brought the warp together: all lanes have read */
    st.w.next(g.w_depth);
    sr_wg_wait<0>();
    free90(bar.x_empty + st.x.at);
    st.x.next(g.x_depth);
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
        st.d[j] = fmaf(t[j], dec.d[j / 2 % 2], st.d[j]);
        if (F != SR_Q6_K)
            st.d[j] = fmaf(u[j], dec.dm[j / 2 % 2], st.d[j]);
    }
}

template <int N, uint32_t FORMATS>
__device__ __forceinline__ void any_stage90(const sr_gemm90 &g, const bars90 &bar, uint8_t *smem, uint32_t format, state90<N> &st)
{
#define CASE(F)                                                                                              \
    if constexpr ((FORMATS & ONE90(F)) != 0)                                                                 \
        if (FORMATS == ONE90(F) || format == F) {                                                            \
            if constexpr (shape90<N, FORMATS>::exact)                                                        \
                stage90_int<N, F, FORMATS>(g, bar, smem, st);                                                \
            else                                                                                             \
                stage90<N, F, FORMATS>(g, bar, smem, st);                                                    \
            return;                                                                                          \
        }
    CASE(SR_Q4_K)
    CASE(SR_Q6_K)
    CASE(SR_Q5_K)
    CASE(SR_Q8_0)
    CASE(SR_Q4_0)
    CASE(SR_F16)
    CASE(SR_BF16)
#undef CASE
}

/* y of some numbers of this thread's: v[i] is d[j0 + i], of which there are j1 - j0.  All loads go before the stores. */
template <int N, int MOST>
__device__ __forceinline__ void store90(const sr_gemm90 &g, const span90 &s, uint32_t n, uint32_t j0, uint32_t j1, const float *v)
{
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = (s.row_tile + warp) * 16 + lane / 4, c0 = s.column * N + lane % 4 * 2;
    const sr_gemm90part &part = g.part[s.part];
    if (warp >= s.tiles)
        return;
    const float *z = g.z ? g.z + part.y0 + row : NULL;
    float scale[MOST], more[MOST], bias[2] = {part.bias ? __ldg(part.bias + row) : 0, part.bias ? __ldg(part.bias + row + 8) : 0};
#pragma unroll
    for (int i = 0; i < MOST; i++) {
        const uint32_t j = j0 + i, c = c0 + j / 4 * 8 + j % 2;
        const bool there = j < j1 && c < n;
        scale[i]         = there ? __ldcg(g.scale + c) : 0;
        more[i]          = there && z ? __ldcg(z + (size_t)c * g.width + j / 2 % 2 * 8) : 0;
    }
    float *y = g.y + part.y0 + row;
#pragma unroll
    for (int i = 0; i < MOST; i++) {
        const uint32_t j = j0 + i, c = c0 + j / 4 * 8 + j % 2;
        if (j < j1 && c < n)
            y[(size_t)c * g.width + j / 2 % 2 * 8] = fmaf(v[i], scale[i], (j / 2 % 2 ? bias[1] : bias[0]) + more[i]);
    }
}

/* Sums of a span that is not a whole group go to scratch.  When all runs of the group have left theirs there, each warpgroup adds up some
 * numbers of all, those of d[j0] .. d[j1 - 1], in the order of the runs. */
template <int N> __device__ __forceinline__ float *partial90(const sr_gemm90 &g, uint32_t block, uint32_t which)
{
    constexpr int groups = N <= 32 ? 4 : 2;
    return g.partial + ((size_t)(2 * block + which) * groups + threadIdx.x / 128) * (64 * N) + threadIdx.x % 128;
}

template <int N> __device__ __forceinline__ void leave90(const sr_gemm90 &g, uint32_t piece, uint32_t which, const state90<N> &st)
{
    constexpr int groups = N <= 32 ? 4 : 2;
    const uint32_t group = threadIdx.x / 128;
    float *mine          = partial90<N>(g, blockIdx.x, which);
#pragma unroll
    for (int j = 0; j < N / 2; j++)
        __stcg(mine + j * 128, st.d[j]);
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
    if (threadIdx.x % 128 == 0) {
        __threadfence(); /* for all that the barrier has brought here */
        atomicAdd(g.arrived + (block90(g, piece / g.blocks_k * g.blocks_k) * groups + group) * 2, 1);
    }
}

/* A counter; what was written before it was counted is visible behind this. */
__device__ __forceinline__ uint32_t counted90(const uint32_t *counter)
{
    uint32_t v;
    asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(v) : "l"(counter) : "memory");
    return v;
}

struct share90 { /* of one group's sums: numbers [j0, j1), from `runs` runs, the first of them block b0's */
    uint32_t piece, b0, runs, j0, j1, slot0;
};
template <int N> __device__ __forceinline__ share90 share90_of(const sr_gemm90 &g, uint32_t piece)
{
    const uint32_t start = piece / g.blocks_k * g.blocks_k, b0 = block90(g, start), runs = block90(g, start + g.blocks_k - 1) - b0 + 1,
                   i = blockIdx.x - b0;
    return {piece, b0, runs, i * (N / 2) / runs, (i + 1) * (N / 2) / runs, first90(g, b0) < start};
}

template <int N> __device__ __forceinline__ void join90(const sr_gemm90 &g, const uint32_t left[2], uint32_t end, uint32_t n)
{
    constexpr int groups = N <= 32 ? 4 : 2, at_once = N <= 16 ? 4 : N <= 32 ? 8 : 16;
    const uint32_t group = threadIdx.x / 128;
    share90 s[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        s[i].j0 = s[i].j1 = 0;
        if (left[i] < end)
            s[i] = share90_of<N>(g, left[i]);
        if (s[i].j0 < s[i].j1 && threadIdx.x % 128 == 0)
            while (counted90(g.arrived + (s[i].b0 * groups + group) * 2) < s[i].runs)
                ;
    }
    asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
#pragma unroll
    for (int i = 0; i < 2; i++) {
        for (uint32_t j = s[i].j0; j < s[i].j1; j += at_once) {
            float v[at_once] = {};
#pragma unroll 8
            for (uint32_t b = 0; b < s[i].runs; b++) {
                const float *p = partial90<N>(g, s[i].b0 + b, b ? 0 : s[i].slot0) + j * 128;
#pragma unroll
                for (int k = 0; k < at_once; k++)
                    v[k] += j + k < s[i].j1 ? __ldcg(p + k * 128) : 0;
            }
            store90<N, at_once>(g, span90_of(g, s[i].piece, end), n, j, s[i].j1, v);
        }
        if (s[i].j0 < s[i].j1 && threadIdx.x % 128 == 0) {
            uint32_t *counter = g.arrived + (s[i].b0 * groups + group) * 2;
            if (atomicAdd(counter + 1, 1) + 1 == min(s[i].runs, (uint32_t)(N / 2))) /* nobody looks at them any more */
                counter[0] = counter[1] = 0;
        }
    }
}

template <int N, uint32_t FORMATS>
__device__ __forceinline__ void consume90(const sr_gemm90 &g, uint8_t *smem, uint32_t n, uint32_t columns)
{
    constexpr uint32_t per = 8 / shape90<N, FORMATS>::w_blocks;
    const bars90 bar       = bars90_of(g, smem);
    const uint32_t first = first90(g, blockIdx.x), end = first90(g, blockIdx.x + 1);
    uint32_t left[2]     = {end, end}; /* spans left in scratch: the first of the block, the last */
    state90<N> st;
    st.w  = {0, 0};
    st.x  = {0, 0};
    st.up = __shfl_sync(0xffffffff, g.twice_1024, 0);
    for (uint32_t p = first; p < end;) {
        const span90 s = span90_of(g, p, end);
        if (s.column < columns) {
            const sr_gemm90part &part = g.part[s.part];
#pragma unroll
            for (int j = 0; j < N / 2; j++)
                st.d[j] = 0;
            for (uint32_t k = s.k0 * per, k1 = min(s.k1 * per, part.tiles_k); k < k1; k++)
                any_stage90<N, FORMATS>(g, bar, smem, part.format, st);
            if (s.k0 == 0 && s.k1 == g.blocks_k) {
                constexpr int some = N / 2 < 16 ? N / 2 : 16;
#pragma unroll
                for (int j = 0; j < N / 2; j += some)
                    store90<N, some>(g, s, n, j, j + some, st.d + j);
            } else {
                left[p != first] = p;
                leave90<N>(g, p, p != first, st);
            }
        }
        p += s.k1 - s.k0;
    }
    if (left[0] < end || left[1] < end)
        join90<N>(g, left, end, n);
}
#endif

template <int N, uint32_t FORMATS>
__global__ void __launch_bounds__((shape90<N, FORMATS>::threads), 1) gemm90_kernel(const __grid_constant__ sr_gemm90 g)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(1024) uint8_t smem[];
    constexpr int groups = shape90<N, FORMATS>::groups, askers = shape90<N, FORMATS>::askers;
    const bars90 bar     = bars90_of(g, smem);
    if (threadIdx.x < MAX_DEPTH90) {
        sr_bar_init(bar.w_full + threadIdx.x, askers);
        sr_bar_init(bar.w_empty + threadIdx.x, groups * 4);
        sr_bar_init(bar.x_full + threadIdx.x, 1);
        sr_bar_init(bar.x_empty + threadIdx.x, groups * 4);
        sr_bar_fence();
    }
    __syncthreads();
    sr_pdl_launch();
    /* Neither weights nor the count are written by launches that may still run. */
    const uint32_t warp = threadIdx.x / 32, n = g.count ? min(__ldcg(g.count), g.m) : g.m, columns = (n + N - 1) / N;
    if (warp >= groups * 4) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (warp < groups * 4 + askers && threadIdx.x % 32 == 0)
            produce_w90(g, smem, columns, warp - groups * 4, groups * 4 / askers);
        if (warp == groups * 4 + askers && threadIdx.x % 32 == 0) {
            sr_pdl_wait();
            produce_x90<N, FORMATS>(g, smem, columns);
        }
        return;
    }
    if constexpr (groups == 2)
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    else
        asm volatile("setmaxnreg.inc.sync.aligned.u32 104;");
    sr_pdl_wait();
    consume90<N, FORMATS>(g, smem, n, columns);
#endif
}

template <int N, uint32_t FORMATS> static cudaError_t gemm90_start(const cudaLaunchConfig_t *c, const sr_gemm90 *g)
{
    cudaError_t e = cudaFuncSetAttribute(gemm90_kernel<N, FORMATS>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)g->smem);
    if (!e) /* one split of the memory for all: changing it empties the multiprocessor */
        e = cudaFuncSetAttribute(gemm90_kernel<N, FORMATS>, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(c, gemm90_kernel<N, FORMATS>, *g);
}

template <int N> static cudaError_t gemm90_start_formats(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats)
{
    switch (formats) {
    case ONE90(SR_Q4_K):
        return gemm90_start<N, ONE90(SR_Q4_K)>(c, g);
    case ONE90(SR_Q5_K):
        return gemm90_start<N, ONE90(SR_Q5_K)>(c, g);
    case ONE90(SR_Q6_K):
        return gemm90_start<N, ONE90(SR_Q6_K)>(c, g);
    case ONE90(SR_Q4_0):
        return gemm90_start<N, ONE90(SR_Q4_0)>(c, g);
    case ONE90(SR_Q8_0):
        return gemm90_start<N, ONE90(SR_Q8_0)>(c, g);
    case ONE90(SR_F16):
        return gemm90_start<N, ONE90(SR_F16)>(c, g);
    case ONE90(SR_BF16):
        return gemm90_start<N, ONE90(SR_BF16)>(c, g);
    case SR_GEMM90_MIX4:
        return gemm90_start<N, SR_GEMM90_MIX4>(c, g);
    case SR_GEMM90_MIX5:
        return gemm90_start<N, SR_GEMM90_MIX5>(c, g);
    default:
        return cudaErrorInvalidValue;
    }
}
#endif
