/* gemm: y[m][rows] = x[m][cols] . W^T (+ bias) (+ z) for many columns
 * Shapes   as linear.h; W in tiles (layout.h); cols a multiple of 64.
 * Roofline flops = 2*m*rows*cols against 989 TFLOP/s of f16; beside it the weights are read and written as
 * f16, 2.6 bytes each.
 * Target   8B Q4_K_M, 2048 tokens: 40 % of the f16 peak (notes/0011).
 * Mapping  decode: a warp per 16 x 256 tile.  multiply: a block of one producer warp and two warpgroups per
 *          128 x 128 outputs,
 *          x is A (rows of y), W is B; six stages of 32 KB by bulk copies.  Blocks of one weight stripe run
 *          side by side.
 * Variants one.  The slab costs a pass over the weights as f16; decoding in registers is the next step.
 * Archs    sm_90a.
 *          */
#include "ops/linear/gemm.h"
#include "ops/mma.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900 && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#error "code for sm_90 must be built for sm_90a: wgmma"
#endif

enum { TILE = SR_GEMM_TILE, TILE_BYTES = 16384, STAGES = 6, GROUPS = 2 };

static __device__ __forceinline__ size_t at_tile(uint32_t row, uint32_t k, uint32_t blocks_k)
{
    return ((size_t)(row / TILE) * blocks_k + k / 64) * TILE_BYTES + row % TILE * 128 +
           ((k % 64 / 8) ^ (row % 8)) * 16 + k % 8 * 2;
}

/* ---- x to f16
 * ------------------------------------------------------------------------------------------------ */

/* A block per row; rows up to the next multiple of 128 become zero. */
static __global__ void __launch_bounds__(256) convert_kernel(const __grid_constant__ sr_gemm g)
{
    __shared__ float top[8];
    const uint32_t r = blockIdx.x, n = g.count ? min(__ldcg(g.count), g.m) : g.m;
    const float *x = g.x + (size_t)r * g.x_stride;
    float m        = 0;
    for (uint32_t k = threadIdx.x * 4; r < n && k < g.cols; k += 1024) {
        float4 v = *(const float4 *)(x + k);
        m        = fmaxf(m, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
    }
    m = sr_warp_top(m);
    if (threadIdx.x % 32 == 0)
        top[threadIdx.x / 32] = m;
    __syncthreads();
    for (int i = 0; i < 8; i++)
        m = fmaxf(m, top[i]);
    uint32_t e = max(__float_as_uint(m) >> 23, 12u); /* the largest becomes 2^10 .. 2^11 */
    float f    = __uint_as_float((264 - e) << 23);
    if (threadIdx.x == 0 && r < g.m)
        g.scale[r] = __uint_as_float((e - 10) << 23);
    for (uint32_t k = threadIdx.x * 4; k < g.cols; k += 1024) {
        float4 v = r < n ? *(const float4 *)(x + k) : make_float4(0, 0, 0, 0);
        *(uint2 *)(g.xs + at_tile(r, k, g.cols / 64)) =
            make_uint2(sr_pack(v.x * f, v.y * f), sr_pack(v.z * f, v.w * f));
    }
}

/* ---- weights to f16
 * -------------------------------------------------------------------------------------------- */

/* Scale and offset of input k of a row of a tile: w = q * scale - offset. */
template <int F>
static __device__ __forceinline__ float2 scale_of(const uint8_t *w, uint32_t row, uint32_t b, uint32_t s)
{
    if (F == SR_Q4_0 || F == SR_Q8_0) {
        float d = __half2float(*(const half *)(w + (F == SR_Q8_0 ? 4096 : 2048) + row * 16 + b * 2));
        return make_float2(d, d * (F == SR_Q8_0 ? 128 : 8));
    }
    if (F == SR_Q6_K) {
        float d = __half2float(*(const half *)(w + 3328 + row * 2)) *
                  (float)*(const int8_t *)(w + 2048 + row * 16 + b * 2 + s);
        return make_float2(d, d * 32);
    }
    const uint8_t *h = w + 2048 + row * 16, *p = h + 4;
    uint32_t sc = b < 4 ? p[b] & 63 : (p[b + 4] & 15) | (p[b - 4] >> 6) << 4;
    uint32_t m  = b < 4 ? p[b + 4] & 63 : p[b + 4] >> 4 | (p[b] >> 6) << 4;
    return make_float2(__half2float(*(const half *)h) * (float)sc,
                       __half2float(*(const half *)(h + 2)) * (float)m);
}

/* Code of (row half, step s, register h, element e). */
template <int F>
static __device__ __forceinline__ uint32_t code_of(const uint32_t w[4], uint32_t top, uint32_t b, int row,
                                                   int s, int h, int e)
{
    if (F == SR_Q8_0)
        return w[s * 2 + h] >> (row * 16 + e * 8) & 255;
    uint32_t q = w[h] >> (e * 16 + row * 8 + s * 4) & 15;
    if (F == SR_Q5_K) {
        uint32_t c = b % 2 * 4 + h * 2 + row;
        q |= (top >> (e * 16 + s * 4 + c + (c & 4)) & 1) << 4;
    }
    if (F == SR_Q6_K)
        q |= (top >> (e * 16 + s * 4 + (h ? 8 : 0) + (row ? 2 : 0)) & 3) << 4;
    return q;
}

template <int F>
static __global__ void __launch_bounds__(256) decode_kernel(const __grid_constant__ sr_gemm g)
{
    const uint32_t lane = threadIdx.x % 32, t = lane % 4, i = blockIdx.x * 8 + threadIdx.x / 32,
                   rt = i / g.tiles_k, kt = i % g.tiles_k;
    if (rt >= g.rows / 16)
        return;
    constexpr bool halves = F == SR_F16 || F == SR_BF16;
    const uint8_t *w      = g.w + (size_t)i * sr_tile_bytes(F);
    const uint32_t k0 = kt * sr_tile_cols(F), blocks_k = g.cols / 64;
#pragma unroll 2
    for (uint32_t b = 0; b < (halves ? 2 : 8); b++) {
        uint32_t c[4], top = 0;
        if (!halves && F != SR_Q8_0) {
            uint2 v = *(const uint2 *)(w + (b / 2 * 32 + lane) * 16 + b % 2 * 8);
            c[0]    = v.x;
            c[1]    = v.y;
        } else if (!halves) {
            uint4 v = *(const uint4 *)(w + (b * 32 + lane) * 16);
            c[0] = v.x, c[1] = v.y, c[2] = v.z, c[3] = v.w;
        }
        if (F == SR_Q5_K)
            top = *(const uint32_t *)(w + 2304 + (lane * 4 + b / 2) * 4);
        if (F == SR_Q6_K)
            top = *(const uint32_t *)(w + 2304 + ((b / 2 * 32 + lane) * 2 + b % 2) * 4);
#pragma unroll
        for (int s = 0; s < 2; s++) {
            uint4 raw =
                halves ? *(const uint4 *)(w + ((b * 2 + s) * 32 + lane) * 16) : make_uint4(0, 0, 0, 0);
#pragma unroll
            for (int row = 0; row < 2; row++) {
                uint32_t r = lane / 4 + row * 8;
                uint2 out;
                if (halves) {
                    out = make_uint2(row ? raw.y : raw.x, row ? raw.w : raw.z);
                    if (F == SR_BF16) {
                        out.x = sr_pack(__uint_as_float(out.x << 16), __uint_as_float(out.x & 0xffff0000));
                        out.y = sr_pack(__uint_as_float(out.y << 16), __uint_as_float(out.y & 0xffff0000));
                    }
                } else {
                    float2 d = scale_of<F>(w, r, b, s);
                    float v[4];
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        v[e] = fmaf((float)code_of<F>(c, top, b, row, s, e / 2, e % 2), d.x, -d.y);
                    out = make_uint2(sr_pack(v[0], v[1]), sr_pack(v[2], v[3]));
                }
                *(uint2 *)(g.ws + at_tile(rt * 16 + r, k0 + b * 32 + s * 16 + t * 4, blocks_k)) = out;
            }
        }
    }
}

/* ---- the product
 * ------------------------------------------------------------------------------------------------ */

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
/* Operand in shared memory: rows of 128 bytes, 128-byte swizzle, 1024 bytes from 8 rows to the next. */
static __device__ __forceinline__ uint64_t operand(const void *p)
{
    return (uint64_t)(sr_smem(p) >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)64 << 32 | (uint64_t)1 << 62;
}

static __device__ __forceinline__ void wgmma(float d[64], uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "
                 "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, "
                 "%38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "
                 "%56, %57, %58, %59, %60, %61, %62, %63}, "
                 "%64, %65, 1, 1, 1, 0, 0;\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
                   "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
                   "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
                   "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
                   "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
                   "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
                   "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
                   "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
                   "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
                   "+f"(d[63])
                 : "l"(a), "l"(b));
}

static __device__ __forceinline__ void produce(const sr_gemm &g, uint8_t *smem, uint64_t *full,
                                               uint64_t *empty)
{
    const uint32_t n = g.cols / 64;
    const uint8_t *x = g.xs + (size_t)blockIdx.x * n * TILE_BYTES,
                  *w = g.ws + (size_t)blockIdx.y * n * TILE_BYTES;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t s = i % STAGES;
        sr_bar_wait(empty + s, i / STAGES % 2 ^ 1);
        sr_bar_expect(full + s, 2 * TILE_BYTES);
        sr_bulk_load(smem + s * 2 * TILE_BYTES, x + (size_t)i * TILE_BYTES, TILE_BYTES, full + s);
        sr_bulk_load(smem + s * 2 * TILE_BYTES + TILE_BYTES, w + (size_t)i * TILE_BYTES, TILE_BYTES,
                     full + s);
    }
}

static __device__ __forceinline__ void multiply(const sr_gemm &g, const uint8_t *smem, uint64_t *full,
                                                uint64_t *empty, uint32_t group, float d[64])
{
    const uint32_t n = g.cols / 64, lane = threadIdx.x % 32;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t s = i % STAGES;
        sr_bar_wait(full + s, i / STAGES % 2);
        uint64_t a = operand(smem + s * 2 * TILE_BYTES + group * 8192),
                 b = operand(smem + s * 2 * TILE_BYTES + TILE_BYTES);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int k = 0; k < 4; k++)
            wgmma(d, a + k * 2, b + k * 2);
        asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 1;" ::: "memory");
        if (i && lane == 0) /* the stage before has been read by this warp */
            sr_bar_arrive(empty + (i - 1) % STAGES);
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
#endif

static __global__ void __launch_bounds__(128 + GROUPS * 128, 1)
    multiply_kernel(const __grid_constant__ sr_gemm g)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(1024) uint8_t smem[];
    __shared__ uint64_t full[STAGES], empty[STAGES];
    if (threadIdx.x < STAGES) {
        sr_bar_init(full + threadIdx.x, 1);
        sr_bar_init(empty + threadIdx.x, GROUPS * 4);
        sr_bar_fence();
    }
    __syncthreads();
    const uint32_t group = threadIdx.x / 128;
    if (group == GROUPS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x % 128 == 0)
            produce(g, smem, full, empty);
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    float d[64];
#pragma unroll
    for (int i = 0; i < 64; i++)
        d[i] = 0;
    multiply(g, smem, full, empty, group, d);
    const uint32_t lane = threadIdx.x % 32, n = g.count ? min(__ldcg(g.count), g.m) : g.m;
    const uint32_t r0 = blockIdx.x * TILE + group * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t r = r0 + h * 8;
        if (r >= n)
            continue;
        float scale = g.scale[r];
#pragma unroll
        for (int j = 0; j < 16; j++) {
            uint32_t c = blockIdx.y * TILE + j * 8 + lane % 4 * 2;
            if (c >= g.rows)
                continue;
            size_t at = (size_t)r * g.width + g.y0 + c;
            for (int i = 0; i < 2; i++) {
                float v = d[j * 4 + h * 2 + i] * scale;
                if (g.bias)
                    v += g.bias[c + i];
                g.y[at + i] = g.z ? v + g.z[at + i] : v;
            }
        }
    }
#endif
}

/* ---- host
 * -------------------------------------------------------------------------------------------------------- */

static size_t up(size_t v, size_t to) { return (v + to - 1) / to * to; }

uint32_t sr_gemm_slab_rows(uint32_t cols) { return SR_GEMM_SLAB / (cols * 2) / TILE * TILE; }

void sr_gemm_place(sr_gemm *g, void *scratch)
{
    g->scale = (float *)scratch;
    g->xs    = (uint8_t *)scratch + up((size_t)g->m * 4, 1024);
    g->ws    = g->xs + up(g->m, TILE) * g->cols * 2;
}

size_t sr_gemm_scratch(uint32_t m, uint32_t cols)
{
    return up((size_t)m * 4, 1024) + up(m, TILE) * cols * 2 + SR_GEMM_SLAB;
}

void sr_gemm_convert(const sr_gemm *g, cudaStream_t stream)
{
    convert_kernel<<<(unsigned)up(g->m, TILE), 256, 0, stream>>>(*g);
}

void sr_gemm_multiply(const sr_gemm *g, cudaStream_t stream)
{
    uint32_t blocks = (g->rows / 16 * g->tiles_k + 7) / 8;
    switch (g->format) {
    case SR_Q4_K:
        decode_kernel<SR_Q4_K><<<blocks, 256, 0, stream>>>(*g);
        break;
    case SR_Q5_K:
        decode_kernel<SR_Q5_K><<<blocks, 256, 0, stream>>>(*g);
        break;
    case SR_Q6_K:
        decode_kernel<SR_Q6_K><<<blocks, 256, 0, stream>>>(*g);
        break;
    case SR_Q4_0:
        decode_kernel<SR_Q4_0><<<blocks, 256, 0, stream>>>(*g);
        break;
    case SR_Q8_0:
        decode_kernel<SR_Q8_0><<<blocks, 256, 0, stream>>>(*g);
        break;
    case SR_F16:
        decode_kernel<SR_F16><<<blocks, 256, 0, stream>>>(*g);
        break;
    default:
        decode_kernel<SR_BF16><<<blocks, 256, 0, stream>>>(*g);
        break;
    }
    const int smem = STAGES * 2 * TILE_BYTES + 1024;
    if (cudaFuncSetAttribute(multiply_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, smem))
        return;
    dim3 grid((unsigned)up(g->m, TILE) / TILE, (unsigned)up(g->rows, TILE) / TILE);
    multiply_kernel<<<grid, 128 + GROUPS * 128, smem, stream>>>(*g);
}
