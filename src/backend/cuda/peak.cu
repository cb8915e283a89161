/* peak.cu - what the matrix units of a card give: products whose operands never leave the multiprocessor, on and on.
 *
 * Mapping  as many warps as keep the units busy. sm_90a: two warpgroups a block, A in registers, B in shared memory (wgmma); else 16
 *          products of m16n8k16 (f16) or m16n8k32 (int8) a round and warp, everything in registers, which code for sm_75 makes of the smaller
 *          ones that it has. So the figure is the ceiling of the kernels that run, which are of the same code.
 * Power    operands are random and change from product to product: of zeros the units would draw too little to be slowed down, and
 *          no model multiplies zeros. */
#include "backend/cuda/internal.h"
#include "ops/wgmma.cuh"

enum { THREADS = 256, STAGES = 4, STAGE = 256 * 128 /* bytes of B: 256 columns of 64 f16 or 128 int8 */, PER_SM = 2, PIECE_MS = 5 };

static __device__ __forceinline__ uint32_t noise(uint32_t i)
{
    i = (i ^ 61) ^ i >> 16;
    i *= 9;
    i ^= i >> 4;
    i *= 0x27d4eb2d;
    return i ^ i >> 15;
}

/* Four of int8, or two of f16 between -1 and 1. */
template <bool INT8> static __device__ __forceinline__ uint32_t operand(uint32_t i)
{
    const uint32_t u = noise(i);
    if constexpr (INT8)
        return u;
    else
        return sr_pack((float)(int16_t)u * 0x1p-15f, (float)(int16_t)(u >> 16) * 0x1p-15f);
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
/* d[64][128] += a[64][32] . b[32][128] of int8; a and b as sr_wgmma_deep() has them. */
#define R8(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3]), "+r"(d[i + 4]), "+r"(d[i + 5]), "+r"(d[i + 6]), "+r"(d[i + 7])
static __device__ __forceinline__ void wgmma_int8(int *d, const uint32_t *a, uint32_t b)
{
    asm volatile("{\n.reg .b64 b;\nmov.b64 b, {%68, 0x40000040};\nwgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
                 "{%64, %65, %66, %67}, b, 1;\n}"
                 : R8(0), R8(8), R8(16), R8(24), R8(32), R8(40), R8(48), R8(56)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b));
}
#undef R8
#endif

/* Warpgroups of sm_90a.  A round: 16 steps of 64 rows by 256 columns, and 16 inputs of f16 or 32 of int8. */
template <bool INT8, class SUM> static __global__ void __launch_bounds__(THREADS, 1) warpgroups(uint32_t rounds, uint32_t *never)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(1024) uint32_t words[];
    SUM      d[128];
    uint32_t a[16];
    for (uint32_t i = threadIdx.x; i < STAGES * STAGE / 4; i += THREADS)
        words[i] = operand<INT8>(i);
    for (int i = 0; i < 16; i++) {
        a[i] = operand<INT8>(threadIdx.x << 16 | blockIdx.x << 8 | i);
        asm volatile("" : "+r"(a[i])); /* here and now, not between the products */
    }
    for (int i = 0; i < 128; i++)
        d[i] = 0;
    sr_async_fence();
    __syncthreads();
    const uint32_t b = sr_deep(sr_smem(words));
    for (uint32_t k = 0; k < rounds; k++) {
        sr_wg_fence();
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const uint32_t at = b + (i / 4 * STAGE >> 4) + i % 4 * 2;
            if constexpr (INT8) {
                wgmma_int8(d, a + i % 4 * 4, at);
                wgmma_int8(d + 64, a + i % 4 * 4, at + (STAGE / 2 >> 4));
            } else
                sr_wgmma_deep<256>(d, a + i % 4 * 4, at, 1);
        }
        sr_wg_commit();
        sr_wg_wait<1>();
    }
    sr_wg_wait<0>();
    SUM all = 0;
    for (int i = 0; i < 128; i++)
        all += d[i];
    if (all == 12345 && never) /* the sums are wanted, as far as the compiler knows */
        *never = 1;
#endif
}

static __device__ __forceinline__ void product(float *c, const sr_frag_a &a, const uint32_t *b) { sr_mma(c, a, b[0], b[1]); }

static __device__ __forceinline__ void product(int *c, const sr_frag_a &a, const uint32_t *b) { sr_mma_int(c, a.r, b[0], b[1]); }

/* Warps of any card.  A round: 16 products of 16 rows by 8 columns. */
template <bool INT8, class SUM> static __global__ void __launch_bounds__(THREADS, PER_SM) warps(uint32_t rounds, uint32_t *never)
{
    SUM       c[4][4][4] = {};
    sr_frag_a a[4];
    uint32_t  b[4][2];
    for (uint32_t i = 0; i < 24; i++) {
        const uint32_t v = operand<INT8>(threadIdx.x << 16 | blockIdx.x << 8 | i);
        if (i < 16)
            a[i / 4].r[i % 4] = v;
        else
            b[i % 8 / 2][i % 2] = v;
    }
    for (uint32_t k = 0; k < rounds; k++)
#pragma unroll
        for (int i = 0; i < 16; i++)
            product(c[i / 4][i % 4], a[i / 4], b[i % 4]);
    SUM all = 0;
    for (int i = 0; i < 64; i++)
        all += c[i / 16][i / 4 % 4][i % 4];
    if (all == 12345 && never)
        *never = 1;
}

/* Operations of a round on the whole card. */
template <bool INT8, class SUM> static double start(cudaStream_t s, const sr_cudainfo *d, uint32_t rounds)
{
    const double deep = INT8 ? 32 : 16, n_warps = THREADS / 32;
    if (d->arch == 90) {
        (void)cudaFuncSetAttribute(warpgroups<INT8, SUM>, cudaFuncAttributeMaxDynamicSharedMemorySize, STAGES * STAGE);
        warpgroups<INT8, SUM><<<(unsigned)d->sms, THREADS, STAGES * STAGE, s>>>(rounds, NULL);
        return 2.0 * 16 * 64 * 256 * deep * n_warps / 4 * d->sms;
    }
    warps<INT8, SUM><<<(unsigned)d->sms * PER_SM, THREADS, 0, s>>>(rounds, NULL);
    return 2.0 * 16 * 16 * 8 * deep * n_warps * (double)PER_SM * d->sms;
}

static double any(cudaStream_t s, const sr_cudainfo *d, bool int8, uint32_t rounds)
{
    return int8 ? start<true, int>(s, d, rounds) : start<false, float>(s, d, rounds);
}

/* Launches follow each other without a pause: the card heats as in a model's step. */
extern "C" cudaError_t sr_cuda_peak(cudaStream_t s, const sr_cudainfo *d, bool int8, double *rate, int n)
{
    const uint32_t trial = 256;
    cudaEvent_t e[SR_CUDA_PEAKS + 1] = {};
    float       ms = 0;
    double      work = any(s, d, int8, 1);
    cudaError_t rc = n > SR_CUDA_PEAKS ? cudaErrorInvalidValue : cudaGetLastError();
    for (int i = 0; i <= n && rc == cudaSuccess; i++)
        rc = cudaEventCreate(&e[i]);
    if (rc == cudaSuccess) {
        (void)cudaEventRecord(e[0], s);
        (void)any(s, d, int8, trial);
        (void)cudaEventRecord(e[1], s);
        rc = cudaEventSynchronize(e[1]);
        rc = rc == cudaSuccess ? cudaEventElapsedTime(&ms, e[0], e[1]) : rc;
    }
    const uint32_t rounds = (uint32_t)((float)(trial * PIECE_MS) / (ms > 0.01f ? ms : 0.01f)) + 1;
    for (int i = 0; i <= n && rc == cudaSuccess; i++) {
        rc = cudaEventRecord(e[i], s);
        if (i < n)
            (void)any(s, d, int8, rounds);
    }
    rc = rc == cudaSuccess ? cudaEventSynchronize(e[n]) : rc;
    for (int i = 0; i < n && rc == cudaSuccess; i++) {
        rc      = cudaEventElapsedTime(&ms, e[i], e[i + 1]);
        rate[i] = work * rounds / (ms * 1e-3);
    }
    for (int i = 0; i <= n && i <= SR_CUDA_PEAKS; i++)
        if (e[i])
            (void)cudaEventDestroy(e[i]);
    return rc;
}
