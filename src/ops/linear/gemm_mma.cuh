/* gemm_mma: y[m][rows] = x[m][cols] . W^T (+ bias) (+ z), weights decoded in registers (gemm_mma.h)
 * Shapes   as gemm_mma.h; N = 32 or 64 columns a block, 128 or 256 rows of weights.
 * Roofline 2*m*rows*cols against the tensor cores from some 60 rows on.  int8: of 32 inputs, 16 rows and 8 columns a T4's tensor cores take 16
 *          clocks of a scheduler, the four multiplications by a block's scale 8 beside them; f16: 32 and none.
 * Target   0.6 of what the machine's own mma reach in a loop without loads (notes/0047).
 * Mapping  x: sm_80+ by cp.async some stages ahead, below through registers, a stage ahead; one barrier a stage.
 *          Weights: the next 64 inputs are asked for before these are multiplied.
 * Numbers  S8K: sums of code * scale * x over 256 inputs are whole numbers, then f32; as linear.h has them.  F16: weights rounded to f16.
 * Variants an instance per format, form and cut.
 * Archs    sm_75+; sm_90a has gemm90.                                                                                   */
#ifndef SR_OPS_LINEAR_GEMM_MMA_CUH
#define SR_OPS_LINEAR_GEMM_MMA_CUH
#include "ops/linear/decode_s8.cuh"
#include "ops/linear/gemm_mma.h"

/* Format, form of x, row tiles of a warp, n-tiles (eight columns) of a block. */
template <int F, int FORM, int R, int NT> struct cut {
    static constexpr int threads = SR_GEMM_MMA_WARPS * 32;
    static constexpr bool halves = F == SR_F16 || F == SR_BF16, whole = FORM == SR_GEMM_MMA_S8K;
    static constexpr uint32_t tile = F == SR_Q8_0 ? 4352 : F == SR_Q6_K ? 3360 : F == SR_Q5_K ? 2816 : halves ? 2048 : 2304; /* bytes */
    static constexpr int stages  = FORM == SR_GEMM_MMA_F16 ? halves ? 1 : 4 : 2; /* of a tile */
    static constexpr uint32_t beside = sr_gemm_mma_beside(FORM), x = NT * 1024, stage = x + NT * beside;
    static constexpr int sums    = R * NT * (whole ? 8 : 4); /* registers */
    static constexpr int blocks  = sums <= (whole ? 64 : 32) ? 2 : 1; /* of a multiprocessor */
    static constexpr bool late   = blocks >= 2;              /* the next tile's scales are asked for behind this one's last products: registers */
    static constexpr int depth   = 3;                        /* stages under way or in use, sm_80+; below 2 */
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 900

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define CP_ASYNC 1
#else
#define CP_ASYNC 0
#endif

__device__ __forceinline__ void to_smem(uint32_t at, uint4 v)
{
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
__device__ __forceinline__ uint4 from_smem(uint32_t at)
{
    uint4 v;
    asm("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
    return v;
}
__device__ __forceinline__ float2 pair_from_smem(uint32_t at)
{
    float2 v;
    asm("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at) : "memory");
    return v;
}
__device__ __forceinline__ uint32_t word_from_smem(uint32_t at)
{
    uint32_t v;
    asm("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at) : "memory");
    return v;
}

/* Stages of x on their way into shared memory.  A thread brings the pieces of 16 bytes p, p + 256 ..; some threads one of what lies beside. */
template <class P> struct feed {
    static constexpr int each = P::x / 16 / P::threads;
    static constexpr uint32_t ring = P::stage * (CP_ASYNC ? P::depth : 2);
    const uint8_t *x, *beside; /* of the stage to ask for next; beside NULL: other threads' */
    uint32_t hop;              /* from piece to piece */
    uint32_t smem, at, put;    /* put: where this thread's pieces of the stage asked for go; at: the stage in use, from smem on */
    int left;                  /* stages to ask for */
#if !CP_ASYNC
    uint4 v[each], w;
#endif

    __device__ __forceinline__ void begin(const sr_gemm_mma &g, const uint8_t *to, uint32_t form, uint32_t eight)
    {
        const uint32_t i = threadIdx.x, cells = g.cols / (form == SR_GEMM_MMA_F16 ? 32 : 64);
        constexpr uint32_t per = P::beside ? P::beside / 16 : 1;
        left   = (int)cells / 2;
        x      = g.image + (size_t)(eight + i / 64) * cells * 512 + i % 64 * 16;
        hop    = P::threads / 64 * cells * 512;
        beside = NULL;
        if (P::beside && i * 16 < P::stage - P::x)
            beside = g.beside + (size_t)(eight + i / per) * (g.cols / sr_gemm_mma_beside_k(form)) * P::beside + i % per * 16;
        smem = sr_smem(to);
        put  = smem + i * 16;
        at   = ring - P::stage;
    }
    __device__ __forceinline__ static void next(uint32_t &place, uint32_t first)
    {
        place += P::stage;
        if (place - first >= ring)
            place -= ring;
    }
    /* Asked for: with what lies beside it, if ODD. */
    template <bool ODD> __device__ __forceinline__ void ask(void)
    {
#if CP_ASYNC
        if (left > 0) {
#pragma unroll
            for (int i = 0; i < each; i++)
                sr_copy16(put + i * P::threads * 16, x + (size_t)i * hop);
            if (P::beside && ODD && beside)
                sr_copy16(put + P::x, beside);
        }
        sr_copy_commit();
        step<ODD>();
#else
        if (left > 0) {
#pragma unroll
            for (int i = 0; i < each; i++)
                v[i] = at16(x + (size_t)i * hop);
            if (P::beside && ODD && beside)
                w = at16(beside);
        }
#endif
    }
    template <bool ODD> __device__ __forceinline__ void step(void)
    {
        x += 1024;
        if (P::beside && ODD && beside)
            beside += P::beside;
        next(put, smem + threadIdx.x * 16);
        left--;
    }
    /* The first stages. */
    __device__ __forceinline__ void start(void)
    {
        ask<!P::whole>();
#if CP_ASYNC
        static_assert(P::depth == 3);
        ask<true>();
#else
        bring<!P::whole>();
#endif
    }
    /* The stage to read; J: of its tile.  Another is asked for: ODD, as above. */
    template <int J> __device__ __forceinline__ uint32_t here(void)
    {
#if CP_ASYNC
        sr_copy_wait<P::depth - 2>();
        __syncthreads();
        ask<!P::whole || J % 2 == 1>(); /* where the stage before this one was */
#else
        ask<!P::whole || J % 2 == 0>();
#endif
        next(at, 0);
        return smem + at;
    }
    template <int J> __device__ __forceinline__ void done(void)
    {
#if !CP_ASYNC
        bring<!P::whole || J % 2 == 0>();
#endif
    }
#if !CP_ASYNC
    template <bool ODD> __device__ __forceinline__ void bring(void)
    {
        if (left > 0) {
#pragma unroll
            for (int i = 0; i < each; i++)
                to_smem(put + i * P::threads * 16, v[i]);
            if (P::beside && ODD && beside)
                to_smem(put + P::x, w);
        }
        step<ODD>();
        __syncthreads();
    }
#endif
};

/* What a warp is at: bytes of its row tiles, of the present tile and of the one behind it. */
template <int R> struct rows {
    const uint8_t *now[R], *next[R];
};

/* ---- f16: a stage is 64 inputs -------------------------------------------------------------------------- */

template <int F, int R, int NT> struct sums_f16 {
    using P = cut<F, SR_GEMM_MMA_F16, R, NT>;
    float d[R][NT][4];
    decoder<F> dec[R];

    __device__ __forceinline__ void begin(const rows<R> &w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < R; r++) {
            dec[r].fetch(w.now[r], lane);
            dec[r].take(w.now[r], lane, 0);
#pragma unroll
            for (int i = 0; i < NT * 4; i++)
                d[r][i / 4][i % 4] = 0;
        }
    }
    __device__ __forceinline__ void stage(const rows<R> &w, uint32_t xs, uint32_t lane, int j)
    {
        const uint32_t up = TWICE(H_1024);
#pragma unroll
        for (int b = 0; b < 2; b++) {
            uint32_t a[R][8];
#pragma unroll
            for (int r = 0; r < R; r++) {
                if (j == 0 && b == 0)
                    dec[r].open();
                dec[r].codes(2 * j + b, up, a[r]);
                if (b == 1) {
                    dec[r].take(j + 1 < P::stages ? w.now[r] : w.next[r], lane, (j + 1) % P::stages);
                }
            }
            if (j + 1 == P::stages && b == 1 && !P::late)
                heads(w, lane);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                const uint4 v = from_smem(xs + (n * 2 + b) * 512 + lane * 16);
#pragma unroll
                for (int r = 0; r < R; r++) {
                    sr_mma(d[r][n], {{a[r][0], a[r][1], a[r][2], a[r][3]}}, v.x, v.y);
                    sr_mma(d[r][n], {{a[r][4], a[r][5], a[r][6], a[r][7]}}, v.z, v.w);
                }
            }
        }
        if (j + 1 == P::stages && P::late)
            heads(w, lane);
    }
    __device__ __forceinline__ void heads(const rows<R> &w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < R; r++)
            dec[r].fetch(w.next[r], lane);
    }
    __device__ __forceinline__ void tile(const rows<R> &, uint32_t, uint32_t) {}
};

/* ---- int8: a stage is 128 inputs ------------------------------------------------------------------------- */

/* Codes of 64 inputs; then the next are asked for. */
template <int F, int R>
__device__ __forceinline__ void codes_of_64(codes8<F> (&c)[R], const rows<R> &w, uint32_t lane, int j, uint32_t a[R][2][4])
{
#pragma unroll
    for (int r = 0; r < R; r++) {
        c[r].block(2 * j, a[r][0]);
        c[r].block(2 * j + 1, a[r][1]);
        c[r].take(j < 3 ? w.now[r] : w.next[r], lane, (j + 1) % 4);
    }
}

/* t += p * s here and now: the compiler would rather gather products of many blocks first, for which there are no registers. */
__device__ __forceinline__ void add_times(int &t, int p, int s) { asm volatile("mad.lo.s32 %0, %1, %2, %0;" : "+r"(t) : "r"(p), "r"(s)); }

/* K-quants: whole numbers over a tile. */
template <int F, int R, int NT> struct sums_s8k {
    using P = cut<F, SR_GEMM_MMA_S8K, R, NT>;
    static constexpr bool k45 = F != SR_Q6_K;
    float d[R][NT][4];
    int t[R][NT][4];
    codes8<F> c[R];

    __device__ __forceinline__ void begin(const rows<R> &w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < R; r++) {
            c[r].open(w.now[r], lane);
            c[r].take(w.now[r], lane, 0);
#pragma unroll
            for (int i = 0; i < NT * 4; i++) {
                d[r][i / 4][i % 4] = 0;
                t[r][i / 4][i % 4] = 0;
            }
        }
    }
    __device__ __forceinline__ void stage(const rows<R> &w, uint32_t xs, uint32_t lane, int h)
    {
#pragma unroll
        for (int j = 2 * h; j < 2 * h + 2; j++) {
            uint32_t a[R][2][4];
            int s[R][2][2][2]; /* [row tile][block][row half][step] */
            codes_of_64<F, R>(c, w, lane, j, a);
#pragma unroll
            for (int i = 0; i < R * 8; i++)
                s[i / 8][i / 4 % 2][i / 2 % 2][i % 2] = c[i / 8].scale(i / 2 % 2, 2 * j + i / 4 % 2, i % 2);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                const uint4 v = from_smem(xs + (n * 2 + j % 2) * 512 + lane * 16);
#pragma unroll
                for (int r = 0; r < R; r++)
#pragma unroll
                    for (int b = 0; b < 2; b++) {
                        int p[4];
                        if constexpr (k45)
                            sr_mma_s8(p, a[r][b], b ? v.z : v.x, b ? v.w : v.y, 0);
                        else {
                            sr_mma_s8_16(p, a[r][b][0], a[r][b][1], b ? v.z : v.x, 0);
#pragma unroll
                            for (int i = 0; i < 4; i++)
                                add_times(t[r][n][i], p[i], s[r][b][i / 2][0]);
                            sr_mma_s8_16(p, a[r][b][2], a[r][b][3], b ? v.w : v.y, 0);
                        }
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            add_times(t[r][n][i], p[i], s[r][b][i / 2][1]);
                    }
            }
        }
    }
    __device__ __forceinline__ void tile(const rows<R> &w, uint32_t beside, uint32_t lane)
    {
        float factor[R][2], less[R][2];
        uint32_t low[R][2];
#pragma unroll
        for (int r = 0; r < R; r++) { /* the last of this tile's head */
#pragma unroll
            for (int i = 0; i < 2; i++) {
                factor[r][i] = c[r].factor(i);
                if constexpr (k45) {
                    less[r][i] = c[r].less(i);
                    low[r][i]  = c[r].minimums(lane, i);
                }
            }
            c[r].open(w.next[r], lane);
        }
#pragma unroll
        for (int n = 0; n < NT; n++) {
            const float2 f   = pair_from_smem(beside + n * 160 + 128 + lane % 4 * 8);
            const uint32_t s = k45 ? word_from_smem(beside + n * 160 + lane * 4) : 0;
#pragma unroll
            for (int r = 0; r < R; r++) {
                float v[4], m[4] = {};
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    v[i]       = (float)t[r][n][i] * factor[r][i / 2];
                    t[r][n][i] = 0;
                }
                if constexpr (k45) {
                    sr_mma8(m, low[r][0], low[r][1], s);
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        v[i] = fmaf(m[i], less[r][i / 2], v[i]);
                }
#pragma unroll
                for (int i = 0; i < 4; i++)
                    d[r][n][i] = fmaf(v[i], i % 2 ? f.y : f.x, d[r][n][i]);
            }
        }
    }
};

/* Q4_0, Q8_0: whole numbers over a block. */
template <int F, int R, int NT> struct sums_s8 {
    using P = cut<F, SR_GEMM_MMA_S8, R, NT>;
    float d[R][NT][4];
    codes8<F> c[R];

    __device__ __forceinline__ void begin(const rows<R> &w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < R; r++) {
            c[r].open(w.now[r], lane);
            c[r].take(w.now[r], lane, 0);
#pragma unroll
            for (int i = 0; i < NT * 4; i++)
                d[r][i / 4][i % 4] = 0;
        }
    }
    __device__ __forceinline__ void heads(const rows<R> &w, uint32_t lane)
    {
#pragma unroll
        for (int r = 0; r < R; r++)
            c[r].open(w.next[r], lane);
    }
    __device__ __forceinline__ void stage(const rows<R> &w, uint32_t xs, uint32_t lane, int h)
    {
        constexpr int magic = 0x4b400000; /* 1.5 * 2^23: what is added to it below 2^22 can be read as f32 */
#pragma unroll
        for (int j = 2 * h; j < 2 * h + 2; j++) {
            uint32_t a[R][2][4];
            float s[R][2][2];
            codes_of_64<F, R>(c, w, lane, j, a);
#pragma unroll
            for (int i = 0; i < R * 4; i++)
                s[i / 4][i / 2 % 2][i % 2] = c[i / 4].factor(i % 2, 2 * j + i / 2 % 2);
            if (j == 3 && !P::late)
                heads(w, lane);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                const uint4 v = from_smem(xs + (n * 2 + j % 2) * 512 + lane * 16);
#pragma unroll
                for (int b = 0; b < 2; b++) {
                    const float2 f = pair_from_smem(xs + P::x + n * 128 + (j % 2 * 2 + b) * 32 + lane % 4 * 8);
#pragma unroll
                    for (int r = 0; r < R; r++) {
                        int p[4];
                        sr_mma_s8(p, a[r][b], b ? v.z : v.x, b ? v.w : v.y, magic);
#pragma unroll
                        for (int i = 0; i < 4; i++)
                            d[r][n][i] = fmaf(__int_as_float(p[i]) - 12582912.0f, s[r][b][i / 2] * (i % 2 ? f.y : f.x), d[r][n][i]);
                    }
                }
            }
            if (j == 3 && P::late)
                heads(w, lane);
        }
    }
    __device__ __forceinline__ void tile(const rows<R> &, uint32_t, uint32_t) {}
};

template <int F, int FORM, int R, int NT> struct sums_of {
    using type = sums_f16<F, R, NT>;
};
template <int F, int R, int NT> struct sums_of<F, SR_GEMM_MMA_S8K, R, NT> {
    using type = sums_s8k<F, R, NT>;
};
template <int F, int R, int NT> struct sums_of<F, SR_GEMM_MMA_S8, R, NT> {
    using type = sums_s8<F, R, NT>;
};

/* The stages of a tile, from J on. */
template <int J, class P, class S, int R> __device__ __forceinline__ void stages(S &sums, feed<P> &x, const rows<R> &w, uint32_t lane)
{
    const uint32_t xs = x.template here<J>();
    sums.stage(w, xs, lane, J);
    if constexpr (J + 1 == P::stages)
        sums.tile(w, xs + P::x, lane);
    x.template done<J>();
    if constexpr (J + 1 < P::stages)
        stages<J + 1, P>(sums, x, w, lane);
}

/* Where a warp is; found out at both ends of a kernel, for between them there are no registers for it. */
struct seat {
    uint32_t part, tile, column0, columns; /* tile: the first of the part's row tiles; columns: of the step */
};
template <int R, int NT> __device__ __forceinline__ seat seat_of(const sr_gemm_mma &g)
{
    seat s;
    uint32_t x, y, warp;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(x));
    asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(y));
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(warp));
    s.column0 = x * NT * 8;
    s.columns = g.m;
    if (g.count)
        s.columns = min(*(const volatile uint32_t *)g.count, g.m);
    s.part = 0;
    for (uint32_t i = 1; i < g.n_part; i++)
        s.part += y >= g.part[i].group0;
    s.tile = ((y - g.part[s.part].group0) * SR_GEMM_MMA_WARPS + warp / 32) * R;
    return s;
}

/* y of the row tile `tile`. */
template <int NT> __device__ __forceinline__ void store_mma(const sr_gemm_mma &g, const seat &s, uint32_t tile, const float d[NT][4])
{
    const sr_gemm_mmapart &part = g.part[s.part];
    const uint32_t lane = threadIdx.x % 32, row = tile * 16 + lane / 4;
    const float bias[2] = {part.bias ? __ldg(part.bias + row) : 0, part.bias ? __ldg(part.bias + row + 8) : 0};
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t c = s.column0 + n * 8 + lane % 4 * 2 + i;
            if (c >= s.columns)
                continue;
            const float f   = g.scale ? g.scale[c] : 1;
            const size_t at = (size_t)c * g.width + part.y0 + row;
            float more[2]   = {bias[0], bias[1]};
            if (g.z) {
                more[0] += g.z[at];
                more[1] += g.z[at + 8];
            }
            g.y[at]     = fmaf(d[n][i], f, more[0]);
            g.y[at + 8] = fmaf(d[n][i + 2], f, more[1]);
        }
}
#endif

/* blockIdx.x: columns, so that blocks that follow each other share weights; blockIdx.y: eight or sixteen row tiles of a part. */
template <int F, int FORM, int R, int NT>
__global__ void __launch_bounds__((cut<F, FORM, R, NT>::threads), (cut<F, FORM, R, NT>::blocks)) gemm_mma_kernel(const __grid_constant__ sr_gemm_mma g)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ < 900
    using P = cut<F, FORM, R, NT>;
    extern __shared__ __align__(128) uint8_t smem[];
    const uint32_t lane = threadIdx.x % 32;
    typename sums_of<F, FORM, R, NT>::type sums;
    rows<R> w;
    feed<P> x;
    {
        const seat s = seat_of<R, NT>(g);
        if (s.column0 >= s.columns)
            return;
        const sr_gemm_mmapart &part = g.part[s.part];
#pragma unroll
        for (int r = 0; r < R; r++) /* warps beyond the last row tile multiply it again */
            w.now[r] = part.p + (size_t)min(s.tile + r, part.row_tiles - 1) * g.tiles_k * P::tile;
        sums.begin(w, lane);
        x.begin(g, smem, FORM, s.column0 / 8);
        x.start();
    }
#pragma unroll 1
    for (uint32_t k = 1; k <= g.tiles_k; k++) {
#pragma unroll
        for (int r = 0; r < R; r++)
            w.next[r] = w.now[r] + (k < g.tiles_k ? P::tile : 0);
        stages<0, P>(sums, x, w, lane);
#pragma unroll
        for (int r = 0; r < R; r++)
            w.now[r] = w.next[r];
    }
    const seat s = seat_of<R, NT>(g);
#pragma unroll
    for (int r = 0; r < R; r++)
        if (s.tile + r < g.part[s.part].row_tiles)
            store_mma<NT>(g, s, s.tile + r, sums.d[r]);
#endif
}

template <int F, int FORM, int R, int NT> static cudaError_t gemm_mma_start(const cudaLaunchConfig_t *c, const sr_gemm_mma *g)
{
    cudaLaunchConfig_t with = *c;
    cudaError_t e           = cudaSuccess;
    with.dynamicSmemBytes   = cut<F, FORM, R, NT>::stage * (g->arch >= 80 ? cut<F, FORM, R, NT>::depth : 2);
    if (with.dynamicSmemBytes > 48 << 10)
        e = cudaFuncSetAttribute(gemm_mma_kernel<F, FORM, R, NT>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)with.dynamicSmemBytes);
    if (!e)
        e = cudaFuncSetAttribute(gemm_mma_kernel<F, FORM, R, NT>, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(&with, gemm_mma_kernel<F, FORM, R, NT>, *g);
}

/* The cuts there are: of S8K one, two row tiles a warp for codes as f16 alone. */
template <int F, int FORM> static cudaError_t gemm_mma_start_cut(const cudaLaunchConfig_t *c, const sr_gemm_mma *g)
{
    if (g->row_tiles == 1 && g->n == 32)
        return gemm_mma_start<F, FORM, 1, 4>(c, g);
    if constexpr (FORM != SR_GEMM_MMA_S8K)
        if (g->row_tiles == 1 && g->n == 64)
            return gemm_mma_start<F, FORM, 1, 8>(c, g);
    if constexpr (FORM == SR_GEMM_MMA_F16 && F != SR_F16 && F != SR_BF16)
        if (g->row_tiles == 2 && g->n == 64)
            return gemm_mma_start<F, FORM, 2, 8>(c, g);
    return cudaErrorInvalidValue;
}
#endif
