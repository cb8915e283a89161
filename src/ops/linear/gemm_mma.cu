/* gemm_mma: host side of the products in gemm_mma.cuh, and x made int8 or f16 for them
 * Shapes   x [m][cols] f32 to the image of gemm_mma.h; cols a multiple of 64 (F16), 256 (int8).  x is a slot, or a norm of one, or gate and up.
 * Roofline 5 or 6 bytes a number.
 * Mapping  a block per row, a warp per 256 inputs, a lane four of each half of them.  F16 and norms read a row twice: its largest number
 *          or its squares come before its first.
 * Archs    nothing arch-specific; used below sm_90a.                                                        */
#include "ops/glu/act.cuh"
#include "ops/linear/cut.h"
#include "ops/linear/gemm_mma.h"
#include "ops/mma.cuh"

enum { THREADS = 256, WARPS = THREADS / 32 };

static __device__ float top_of(float4 v) { return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))); }
static __device__ float4 times(float4 v, float4 w) { return make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w); }

/* The largest, or the sum, of all threads' numbers. */
template <bool SUM> static __device__ float of_block(float v)
{
    __shared__ float part[WARPS];
    for (int j = 16; j; j /= 2) {
        const float w = __shfl_xor_sync(0xffffffff, v, j);
        v             = SUM ? v + w : fmaxf(v, w);
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    v = part[0];
    for (int i = 1; i < WARPS; i++)
        v = SUM ? v + part[i] : fmaxf(v, part[i]);
    return v;
}

/* Columns k .. k + 3 of a row; a norm's without the factor that needs all of them. */
template <int FROM> static __device__ float4 value(const sr_gemm_mmax &g, const float *x, uint32_t k)
{
    const float4 v = *(const float4 *)(x + k);
    if (FROM == SR_GEMM_MMA_NORM)
        return times(v, *(const float4 *)(g.norm + k));
    if (FROM == SR_GEMM_MMA_SLOT)
        return v;
    const float4 up = *(const float4 *)(x + g.cols + k);
    if (FROM == SR_GEMM_MMA_GELU)
        return times(make_float4(sr_gelu(v.x), sr_gelu(v.y), sr_gelu(v.z), sr_gelu(v.w)), up);
    return times(make_float4(sr_silu(v.x), sr_silu(v.y), sr_silu(v.z), sr_silu(v.w)), up);
}

/* Of columns k .. k + 3 the largest number, or a bound of it: |silu(a) b| and |gelu(a) b| are at most |a b|. */
template <int FROM> static __device__ float bound(const sr_gemm_mmax &g, const float *x, uint32_t k)
{
    const bool gated = FROM == SR_GEMM_MMA_SILU || FROM == SR_GEMM_MMA_GELU;
    return top_of(gated ? times(*(const float4 *)(x + k), *(const float4 *)(x + g.cols + k)) : value<FROM>(g, x, k));
}

/* Four int8 in the order of tiles' words: 0, 2, 1, 3. */
static __device__ uint32_t word_of(const int q[4]) { return __byte_perm(__byte_perm(q[0], q[2], 0x0040), __byte_perm(q[1], q[3], 0x0040), 0x5410); }

/* Columns k .. k + 3 as int8; lanes 8i .. 8i + 7 have 32 inputs.  K: inv is the 256's; else theirs. */
template <bool K> static __device__ void put_s8(const sr_gemm_mmax &g, uint32_t r, uint32_t k, float4 v, float inv, float factor)
{
    const uint32_t eight = r / 8, row = r % 8, cells = g.cols / 64;
    int q[4]       = {__float2int_rn(v.x * inv), __float2int_rn(v.y * inv), __float2int_rn(v.z * inv), __float2int_rn(v.w * inv)};
    uint8_t *cell  = g.image + ((size_t)eight * cells + k / 64) * 512;
    *(uint32_t *)(cell + (row * 4 + k / 4 % 4) * 16 + k / 32 % 2 * 8 + k / 16 % 2 * 4) = word_of(q);
    if (K) {
        int sum = q[0] + q[1] + q[2] + q[3];
        for (int j = 4; j; j /= 2)
            sum += __shfl_xor_sync(0xffffffff, sum, j);
        if (k % 32 == 0)
            *(half *)(g.beside + ((size_t)eight * (g.cols / 256) + k / 256) * 160 + row * 16 + k % 256 / 32 * 2) = __int2half_rn(sum);
    } else if (k % 32 == 0)
        *(float *)(g.beside + ((size_t)eight * (g.cols / 128) + k / 128) * 128 + k % 128 / 32 * 32 + row * 4) = factor;
}

static __device__ void put_f16(const sr_gemm_mmax &g, uint32_t r, uint32_t k, float4 v, float f)
{
    uint8_t *cell = g.image + ((size_t)(r / 8) * (g.cols / 32) + k / 32) * 512;
    *(uint2 *)(cell + (r % 8 * 4 + k / 4 % 4) * 16 + k / 16 % 2 * 8) = make_uint2(sr_pack(v.x * f, v.y * f), sr_pack(v.z * f, v.w * f));
}

/* 127 over the largest; 0 where all are (nearly) 0, or one is not finite: its factor then says so. */
static __device__ float inverse(float top) { return top > 0x1p-118f && top < 3e38f ? 127.0f / top : 0; }

/* A row as f16; s: what it is to be multiplied by. */
template <int FROM> static __device__ void row_f16(const sr_gemm_mmax &g, uint32_t r, const float *x, float s)
{
    float top = 0;
    for (uint32_t k = threadIdx.x * 4; k < g.cols; k += THREADS * 4)
        top = fmaxf(top, bound<FROM>(g, x, k));
    const uint32_t e = sr_f16_exponent(__float_as_uint(of_block<false>(top) * s));
    s *= sr_f16_power(e);
    if (threadIdx.x == 0)
        g.scale[r] = sr_f16_back(e);
    for (uint32_t k = threadIdx.x * 4; k < g.cols; k += THREADS * 4)
        put_f16(g, r, k, value<FROM>(g, x, k), s);
}

/* As int8; K: with a factor per 256, else per 32. */
template <bool K, int FROM> static __device__ void row_s8(const sr_gemm_mmax &g, uint32_t r, const float *x, float s)
{
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t k0 = threadIdx.x / 32 * 256; k0 < g.cols; k0 += WARPS * 256) {
        float4 v[2];
        float top[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            v[i]   = times(value<FROM>(g, x, k0 + i * 128 + lane * 4), make_float4(s, s, s, s));
            top[i] = top_of(v[i]);
        }
        if (K) {
            top[0] = top[1] = sr_warp_top(fmaxf(top[0], top[1]));
            if (lane == 0)
                *(float *)(g.beside + ((size_t)(r / 8) * (g.cols / 256) + k0 / 256) * 160 + 128 + r % 8 * 4) = top[0] / 127.0f;
        } else
            for (int j = 4; j; j /= 2)
                for (int i = 0; i < 2; i++)
                    top[i] = fmaxf(top[i], __shfl_xor_sync(0xffffffff, top[i], j));
#pragma unroll
        for (int i = 0; i < 2; i++)
            put_s8<K>(g, r, k0 + i * 128 + lane * 4, v[i], inverse(top[i]), top[i] / 127.0f);
    }
}

template <int FORM, int FROM> static __global__ void __launch_bounds__(THREADS) image_kernel(const __grid_constant__ sr_gemm_mmax g)
{
    const uint32_t r = blockIdx.x;
    if (g.count && r >= *g.count)
        return;
    const float *x = g.x + (size_t)r * g.x_stride;
    float s        = 1;
    if (FROM == SR_GEMM_MMA_NORM) {
        float sum = 0;
        for (uint32_t k = threadIdx.x * 4; k < g.cols; k += THREADS * 4) {
            const float4 v = *(const float4 *)(x + k);
            sum += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
        }
        s = 1.0f / sqrtf(of_block<true>(sum) / (float)g.cols + g.eps);
    }
    if constexpr (FORM == SR_GEMM_MMA_F16)
        row_f16<FROM>(g, r, x, s);
    else
        row_s8<FORM == SR_GEMM_MMA_S8K, FROM>(g, r, x, s);
}

/* ---- host ---------------------------------------------------------------------------------------------- */

static size_t up(size_t v, size_t to) { return (v + to - 1) / to * to; }

/* Measured on an H200 that ran the code of sm_75 and of sm_80 (notes/0047).  int8 is ahead wherever tensor cores multiply it twice as fast as f16
 * or faster, which on sm_80 the work beside them takes back for all but K-quants with a scale per 32.  Of these 64 columns have more sums than
 * registers; for the others few columns a block are ahead as long as there are few blocks. */
sr_gemm_mmaway sr_gemm_mma_way(const sr_cudainfo *d, uint32_t format, uint32_t m)
{
    enum { FEW = 16 }; /* up to so many rows skinny, which reads weights once and cuts along the inputs, is ahead */
    const bool k45 = format == SR_Q4_K || format == SR_Q5_K, k = k45 || format == SR_Q6_K, codes = k || format == SR_Q4_0 || format == SR_Q8_0;
    const bool s8 = codes && (d->products == SR_PRODUCTS_S8 || (d->products == SR_PRODUCTS_TABLE && (d->arch != 80 || k45)));
    sr_gemm_mmaway w = {};
    if (d->arch >= 90 || d->deterministic || d->products == SR_PRODUCTS_SKINNY || (d->products == SR_PRODUCTS_TABLE && m <= FEW))
        return w;
    w.form      = !s8 ? SR_GEMM_MMA_F16 : k ? SR_GEMM_MMA_S8K : SR_GEMM_MMA_S8;
    w.row_tiles = !s8 && codes && d->arch >= 80 && m > 256 ? 2 : 1;
    w.n         = w.form == SR_GEMM_MMA_S8K || m <= (s8 ? 64 : 32) ? 32 : 64;
    return w;
}

size_t sr_gemm_mma_scratch(uint32_t m, uint32_t cols) { return up((size_t)m * 4, 1024) + up(m, SR_GEMM_MMA_COLS) * up(cols, 256) * 2; }

void sr_gemm_mma_place(sr_gemm_mmax *x, void *scratch)
{
    x->scale  = x->form == SR_GEMM_MMA_F16 ? (float *)scratch : NULL;
    x->image  = (uint8_t *)scratch + up((size_t)x->m * 4, 1024);
    x->beside = x->image + up(x->m, SR_GEMM_MMA_COLS) * x->cols;
}

template <int FORM> static void image(const sr_gemm_mmax *x, cudaStream_t stream)
{
    switch (x->from) {
    case SR_GEMM_MMA_NORM:
        image_kernel<FORM, SR_GEMM_MMA_NORM><<<x->m, THREADS, 0, stream>>>(*x);
        break;
    case SR_GEMM_MMA_SILU:
        image_kernel<FORM, SR_GEMM_MMA_SILU><<<x->m, THREADS, 0, stream>>>(*x);
        break;
    case SR_GEMM_MMA_GELU:
        image_kernel<FORM, SR_GEMM_MMA_GELU><<<x->m, THREADS, 0, stream>>>(*x);
        break;
    default:
        image_kernel<FORM, SR_GEMM_MMA_SLOT><<<x->m, THREADS, 0, stream>>>(*x);
        break;
    }
}

void sr_gemm_mma_image(const sr_gemm_mmax *x, cudaStream_t stream)
{
    if (x->form == SR_GEMM_MMA_F16)
        image<SR_GEMM_MMA_F16>(x, stream);
    else if (x->form == SR_GEMM_MMA_S8K)
        image<SR_GEMM_MMA_S8K>(x, stream);
    else
        image<SR_GEMM_MMA_S8>(x, stream);
}

void sr_gemm_mma_multiply(sr_gemm_mma *g, cudaStream_t stream)
{
    cudaLaunchConfig_t c = {};
    uint32_t groups      = 0;
    for (uint32_t i = 0; i < g->n_part; i++) {
        g->part[i].group0 = groups;
        groups += div_up(g->part[i].row_tiles, SR_GEMM_MMA_WARPS * g->row_tiles);
    }
    c.gridDim  = dim3(div_up(g->m, g->n), groups);
    c.blockDim = dim3(SR_GEMM_MMA_WARPS * 32);
    c.stream   = stream;
    if (g->form == SR_GEMM_MMA_F16) /* a failure stays in cudaGetLastError() */
        (void)sr_gemm_mma_start_f16(&c, g);
    else if (g->form == SR_GEMM_MMA_S8K)
        (void)sr_gemm_mma_start_s8k(&c, g);
    else
        (void)sr_gemm_mma_start_s8(&c, g);
}
