/* gemm90: host side of the products in gemm90.cuh, and x made f16 for them
 * Shapes   x [m][cols] f32 to the image of gemm90.h; cols a multiple of 64.  x is a slot, or a norm of one, or gate and up.
 * Roofline 6 bytes a number; about 2 us: a block per row.
 * Archs    nothing arch-specific; used on sm_90.                                                        */
#include "ops/glu/act.cuh"
#include "ops/linear/gemm90.h"
#include "ops/mma.cuh"

/* Four inputs 4t .. 4t + 3 of a step, from column k of a row on; eight threads that follow each other have those of a 32-block, or
 * none of them is `there`. */
static __device__ void put(uint8_t *tile, uint32_t n, uint32_t row, uint32_t k, float4 v, float f, bool there)
{
    const uint32_t c = k % 64 / 16 * 2, lo = sr_pack(v.x * f, v.y * f), hi = sr_pack(v.z * f, v.w * f);
    uint8_t *block = tile + (size_t)(k / 256) * sr_gemm90_block(n), *p = block + k % 256 / 64 * n * 128 + row * 128 + k % 16;
    if (there) {
        *(uint32_t *)(p + (c ^ row % 8) * 16)       = lo;
        *(uint32_t *)(p + ((c + 1) ^ row % 8) * 16) = hi;
    }
    if (n > 64)
        return;
    const float2 a = __half22float2(sr_half2_of(lo)), b = __half22float2(sr_half2_of(hi));
    float sum      = (a.x + a.y) + (b.x + b.y);
    for (int j = 4; j; j /= 2)
        sum += __shfl_xor_sync(0xffffffff, sum, j);
    if (there && k % 32 == 0) {
        const half top = __float2half_rn(sum);
        p              = block + n * 512 + row * 128 + k % 256 / 32 * 2;
        *(half *)(p + row % 8 * 16)         = top;
        *(half *)(p + ((row % 8) ^ 1) * 16) = __float2half_rn(sum - __half2float(top));
    }
}

static __device__ float top_of(float4 v) { return fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))); }

/* The largest, or the sum, of all threads' numbers. */
template <bool SUM> static __device__ float of_block(float v)
{
    __shared__ float part[32];
    const uint32_t lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int j = 16; j; j /= 2) {
        float w = __shfl_xor_sync(0xffffffff, v, j);
        v       = SUM ? v + w : fmaxf(v, w);
    }
    __syncthreads();
    if (lane == 0)
        part[threadIdx.x / 32] = v;
    __syncthreads();
    v = lane < warps ? part[lane] : 0;
    for (int j = 16; j; j /= 2) {
        float w = __shfl_xor_sync(0xffffffff, v, j);
        v       = SUM ? v + w : fmaxf(v, w);
    }
    return v;
}

/* Columns k .. k + 3 of a row; a norm's without the factor that needs all of them. */
template <int FROM> static __device__ float4 take(const sr_gemm90x &g, const float *x, uint32_t k)
{
    float4 v = __ldcg((const float4 *)(x + k));
    if (FROM == SR_GEMM90_SILU || FROM == SR_GEMM90_GELU) {
        const float4 u = __ldcg((const float4 *)(x + g.cols + k));
        if (FROM == SR_GEMM90_GELU)
            return make_float4(sr_gelu(v.x) * u.x, sr_gelu(v.y) * u.y, sr_gelu(v.z) * u.z, sr_gelu(v.w) * u.w);
        return make_float4(sr_silu(v.x) * u.x, sr_silu(v.y) * u.y, sr_silu(v.z) * u.z, sr_silu(v.w) * u.w);
    }
    return v;
}

/* A block per row; what has been read stays in registers, columns beyond KEEP * 4 * THREADS are read twice. */
template <int FROM, int THREADS> static __global__ void __launch_bounds__(THREADS) image_kernel(const __grid_constant__ sr_gemm90x g)
{
    constexpr int KEEP = 4;
    sr_pdl_launch();
    sr_pdl_wait();
    const uint32_t r = blockIdx.x, k0 = threadIdx.x * 4;
    if (g.count && r >= __ldcg(g.count))
        return;
    const float *x = g.x + (size_t)r * g.x_stride;
    float4 v[KEEP];
    float sum = 0, top = 0, s = 1;
#pragma unroll
    for (int i = 0; i < KEEP; i++) {
        const uint32_t k = k0 + i * THREADS * 4;
        v[i]             = k < g.cols ? take<FROM>(g, x, k) : make_float4(0, 0, 0, 0);
        if (FROM == SR_GEMM90_NORM) {
            sum += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z + v[i].w * v[i].w;
            if (k < g.cols) {
                const float4 w = __ldg((const float4 *)(g.norm + k));
                v[i]           = make_float4(v[i].x * w.x, v[i].y * w.y, v[i].z * w.z, v[i].w * w.w);
            }
        }
        top = fmaxf(top, top_of(v[i]));
    }
    for (uint32_t k = k0 + KEEP * THREADS * 4; k < g.cols; k += THREADS * 4)
        top = fmaxf(top, top_of(take<FROM>(g, x, k)));
    if (FROM == SR_GEMM90_NORM)
        s = 1.0f / sqrtf(of_block<true>(sum) / (float)g.cols + g.eps);
    top        = of_block<false>(top) * s;
    uint32_t e = max(__float_as_uint(top) >> 23, 12u); /* the largest becomes 2^10 .. 2^11 */
    float f    = __uint_as_float((264 - e) << 23) * s;
    if (threadIdx.x == 0)
        g.scale[r] = __uint_as_float((e - 10) << 23);
    uint8_t *tile = g.image + (size_t)(r / g.n) * g.blocks_k * sr_gemm90_block(g.n);
#pragma unroll
    for (int i = 0; i < KEEP; i++)
        put(tile, g.n, r % g.n, k0 + i * THREADS * 4, v[i], f, k0 + i * THREADS * 4 < g.cols);
    for (uint32_t k = k0 + KEEP * THREADS * 4; k - k0 < g.cols; k += THREADS * 4) /* warps stay whole */
        put(tile, g.n, r % g.n, k, k < g.cols ? take<FROM>(g, x, k) : make_float4(0, 0, 0, 0), f, k < g.cols);
}

static size_t up(size_t v, size_t to) { return (v + to - 1) / to * to; }

uint32_t sr_gemm90_cols(uint32_t m) { return m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : m <= 64 ? 64 : m <= 128 ? 128 : 256; }

/* What leaving and joining sums takes, in pieces (measured: notes/0040). */
static uint32_t joining(uint32_t n) { return n <= 16 ? 2 : n <= 32 ? 3 : n <= 64 ? 4 : 6; }

void sr_gemm90_plan(sr_gemm90 *g, uint32_t formats, const sr_cudainfo *d)
{
    uint32_t sms = (uint32_t)d->sms, smem = (uint32_t)d->smem_block;
    const uint32_t OWN = 1024, BARS = 1024, MOST = 16;
    const bool half = formats == 1u << SR_F16 || formats == 1u << SR_BF16;
    uint32_t n = sr_gemm90_cols(g->m), groups = 0, tile = 0, tiles, units, x_stage;
    const uint32_t x_k = half || n == 256 ? 64 : n == 128 ? 128 : 256; /* shape90 */
    g->rows     = n <= 32 ? 256 : 128;
    g->stage_k  = half ? 64 : 256;
    g->x_stages = (g->part[0].tiles_k * sr_tile_cols(g->part[0].format) + x_k - 1) / x_k;
    x_stage     = x_k == 256 ? sr_gemm90_block(n) : n * x_k * 2;
    g->twice_1024 = 0x64006400;
    for (uint32_t i = 0; i < g->n_part; i++) {
        g->part[i].group0 = groups;
        g->part[i].bytes  = sr_tile_bytes(g->part[i].format);
        tile              = g->part[i].bytes > tile ? g->part[i].bytes : tile;
        groups += (g->part[i].row_tiles * 16 + g->rows - 1) / g->rows;
    }
    g->col_tiles = (g->m + n - 1) / n;
    tiles        = groups * g->col_tiles;
    /* Whole groups where the last of them make blocks wait for less than joining costs.  Also where blocks must not wait for others. */
    g->run  = !d->chains || ((tiles + sms - 1) / sms * sms - tiles) * g->blocks_k <= joining(n) * sms ? g->blocks_k : 1;
    units   = tiles * g->blocks_k / g->run;
    g->grid = units < sms ? units : sms;
    g->each = units / g->grid;
    g->more = units % g->grid;
    g->w_stage = g->rows / 16 * tile;
    smem -= OWN + BARS;
    g->x_depth = g->w_depth = 0;
    for (uint32_t left = smem;;) { /* stages of weights and of x by turns, for about as many inputs */
        bool w         = g->w_depth * g->stage_k <= g->x_depth * x_k;
        uint32_t bytes = w ? g->w_stage : x_stage;
        if (left < bytes || (w ? g->w_depth : g->x_depth) == MOST)
            break;
        left -= bytes;
        g->w_depth += w;
        g->x_depth += !w;
    }
    g->at_w    = g->x_depth * x_stage;
    g->at_bar  = g->at_w + g->w_depth * g->w_stage;
    g->smem    = g->at_bar + BARS;
}

static size_t partial_bytes(uint32_t n, uint32_t sms) { return (size_t)2 * sms * 256 * n * 4; }

size_t sr_gemm90_scratch(uint32_t m, uint32_t cols, uint32_t sms)
{
    return up((size_t)m * 4, 1024) + up(m, SR_GEMM90_COLS) * up(cols, 256) * 2 + partial_bytes(sr_gemm90_cols(m), sms);
}

void sr_gemm90_place(sr_gemm90 *g, sr_gemm90x *x, void *counters, void *scratch)
{
    x->n       = sr_gemm90_cols(g->m);
    x->m       = g->m;
    x->count   = g->count;
    x->scale   = (float *)scratch;
    x->image   = (uint8_t *)scratch + up((size_t)g->m * 4, 1024);
    x->blocks_k = g->blocks_k;
    g->scale   = x->scale;
    g->image   = x->image;
    g->partial = (float *)(x->image + up(g->m, SR_GEMM90_COLS) * g->blocks_k * 512);
    g->arrived = (uint32_t *)counters;
}

static void configure(cudaLaunchConfig_t *c, cudaLaunchAttribute *attr, bool pdl, cudaStream_t stream)
{
    *c         = {};
    *attr      = {};
    attr->id   = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr->val.programmaticStreamSerializationAllowed = 1;
    c->stream   = stream;
    c->attrs    = attr;
    c->numAttrs = pdl ? 1 : 0;
}

/* Failures stay in cudaGetLastError(). */

template <int FROM> static void image(cudaLaunchConfig_t *c, const sr_gemm90x *x)
{
    c->blockDim = dim3(x->cols <= 4096 ? 256 : 1024);
    (void)(x->cols <= 4096 ? cudaLaunchKernelEx(c, image_kernel<FROM, 256>, *x) : cudaLaunchKernelEx(c, image_kernel<FROM, 1024>, *x));
}

void sr_gemm90_image(const sr_gemm90x *x, bool pdl, cudaStream_t stream)
{
    cudaLaunchAttribute attr;
    cudaLaunchConfig_t c;
    configure(&c, &attr, pdl, stream);
    c.gridDim = dim3(x->m);
    switch (x->from) {
    case SR_GEMM90_NORM:
        image<SR_GEMM90_NORM>(&c, x);
        break;
    case SR_GEMM90_SILU:
        image<SR_GEMM90_SILU>(&c, x);
        break;
    case SR_GEMM90_GELU:
        image<SR_GEMM90_GELU>(&c, x);
        break;
    default:
        image<SR_GEMM90_SLOT>(&c, x);
        break;
    }
}

uint32_t sr_gemm90_share(const sr_gemm90part *p, uint32_t n, uint32_t *formats)
{
    *formats = 1u << p[0].format;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t all = *formats | 1u << p[i].format;
        if (all & (all - 1) && all != SR_GEMM90_MIX4 && all != SR_GEMM90_MIX5)
            return i;
        *formats = all;
    }
    return n;
}

void sr_gemm90_multiply(const sr_gemm90 *g, uint32_t formats, bool pdl, cudaStream_t stream)
{
    cudaLaunchAttribute attr;
    cudaLaunchConfig_t c;
    configure(&c, &attr, pdl, stream);
    c.gridDim          = dim3(g->grid);
    c.dynamicSmemBytes = g->smem;
    uint32_t n         = sr_gemm90_cols(g->m);
    c.blockDim         = dim3(n <= 32 ? 640 : 384); /* shape90 */
    switch (n) {
    case 8:
        (void)sr_gemm90_start8(&c, g, formats);
        break;
    case 16:
        (void)sr_gemm90_start16(&c, g, formats);
        break;
    case 32:
        (void)sr_gemm90_start32(&c, g, formats);
        break;
    case 64:
        (void)sr_gemm90_start64(&c, g, formats);
        break;
    case 128:
        (void)sr_gemm90_start128(&c, g, formats);
        break;
    default:
        (void)sr_gemm90_start256(&c, g, formats);
        break;
    }
}
