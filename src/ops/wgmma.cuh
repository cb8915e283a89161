/* wgmma.cuh - the warpgroup products of sm_90a that attention is made of, and their operands.
 *
 * D[64][N] (+)= A[64][16] . B[16][N], f16 in, f32 sums.  A comes from registers (the fragment of four m16n8k16, one a warp: mma.cuh) or
 * from shared memory; B from shared memory.  Everything in shared memory lies in blocks of 128-byte rows under the
 * 128-byte swizzle (16-byte chunk c of row r at c ^ r % 8), 1024-byte aligned:
 *     deep    rows are rows of A or columns of B, 64 depths wide: one block per 64 depths; eight rows after eight rows `eight` bytes
 *             apart, 1024 where they follow each other
 *     wide    rows are depths, 64 columns wide: block after block `block` bytes apart
 * D: lane (g, t) of warp w holds rows 16 w + g and + 8: d[4 i + 0, 1] columns 8 i + 2 t, + 1 of the first, d[4 i + 2, 3] of the second.
 * Between products a caller fences (registers), commits and waits.
 * Source:  PTX ISA 9.0: wgmma, matrix descriptors.
 */
#ifndef SR_OPS_WGMMA_CUH
#define SR_OPS_WGMMA_CUH
#include "ops/mma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
__device__ __forceinline__ uint64_t sr_operand_deep(const void *p, uint32_t eight)
{
    return (uint64_t)(sr_smem(p) >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(eight >> 4) << 32 | (uint64_t)1 << 62;
}
__device__ __forceinline__ uint64_t sr_operand_wide(const void *p, uint32_t block)
{
    return (uint64_t)(sr_smem(p) >> 4 & 0x3fff) | (uint64_t)(block >> 4) << 16 | (uint64_t)64 << 32 | (uint64_t)1 << 62;
}

__device__ __forceinline__ void sr_wg_fence(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void sr_wg_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void sr_wg_wait(void) /* at most N groups are still under way */
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* Registers of D are listed by eights: R8(d, 0), R8(d, 8) ...; L0 .. L15 are their numbers. */
#define R8(d, i)                                                                                             \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),              \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define R32(d, i) R8(d, i), R8(d, i + 8), R8(d, i + 16), R8(d, i + 24)
#define L0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define L1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define L2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define L3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define L4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define L5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define L6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define L7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define L8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define L9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define L10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define L11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define L12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define L13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define L14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define L15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define C ", "
#define L32 L0 C L1 C L2 C L3
#define L64 L32 C L4 C L5 C L6 C L7
#define L128 L64 C L8 C L9 C L10 C L11 C L12 C L13 C L14 C L15

/* FORM_RS: a in registers, B deep (TURN 0) or wide (1).  FORM_SS: both deep.  P .. are the operands' numbers after D's. */
#define FORM_RS(n, list, p, a0, a1, a2, a3, b, turn)                                                         \
    "{\n.reg .pred p;\nsetp.ne.b32 p, %" #p ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n                     \
    "k16.f32.f16.f16 {" list "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b ", p, 1, 1, " #turn ";\n}"
#define FORM_SS(n, list, p, a, b)                                                                            \
    "{\n.reg .pred p;\nsetp.ne.b32 p, %" #p ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n                     \
    "k16.f32.f16.f16 {" list "}, %" #a ", %" #b ", p, 1, 1, 0, 0;\n}"
/* The same with B's descriptor as its lower half, which alone differs between the steps of a deep operand of 1024-byte eights. */
#define FORM_RD(n, list, p, a0, a1, a2, a3, b)                                                               \
    "{\n.reg .pred p;\n.reg .b64 b;\nmov.b64 b, {%" #b ", 0x40000040};\nsetp.ne.b32 p, %" #p                \
    ", 0;\nwgmma.mma_async.sync.aligned.m64n" #n "k16.f32.f16.f16 {" list "}, {%" #a0 ", %" #a1 ", %" #a2     \
    ", %" #a3 "}, b, p, 1, 1, 0;\n}"
#define IN_RD "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(add)
#define IN_RS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add)

/* d = a . b, or with add, d += a . b.  b: sr_deep() of 1024-byte aligned blocks, plus 2 for each step of 16 depths in a block. */
__device__ __forceinline__ uint32_t sr_deep(uint32_t smem) { return (smem >> 4 & 0x3fff) | 1u << 16; }

template <int N> __device__ __forceinline__ void sr_wgmma_deep(float *d, const uint32_t *a, uint32_t b, int add)
{
    if constexpr (N == 8)
        asm volatile(FORM_RD(8, "%0, %1, %2, %3", 9, 4, 5, 6, 7, 8) : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : IN_RD);
    else if constexpr (N == 16)
        asm volatile(FORM_RD(16, L0, 13, 8, 9, 10, 11, 12) : R8(d, 0) : IN_RD);
    else if constexpr (N == 32)
        asm volatile(FORM_RD(32, L0 C L1, 21, 16, 17, 18, 19, 20) : R8(d, 0), R8(d, 8) : IN_RD);
    else if constexpr (N == 64)
        asm volatile(FORM_RD(64, L32, 37, 32, 33, 34, 35, 36) : R32(d, 0) : IN_RD);
    else if constexpr (N == 128)
        asm volatile(FORM_RD(128, L64, 69, 64, 65, 66, 67, 68) : R32(d, 0), R32(d, 32) : IN_RD);
    else if constexpr (N == 256)
        asm volatile(FORM_RD(256, L128, 133, 128, 129, 130, 131, 132) : R32(d, 0), R32(d, 32), R32(d, 64), R32(d, 96) : IN_RD);
    else
        static_assert(N == 0, "no such product");
}

/* The same with a whole descriptor.  TURN: B is wide. */
template <int N, int TURN>
__device__ __forceinline__ void sr_wgmma(float *d, const uint32_t *a, uint64_t b, int add)
{
    if constexpr (N == 32 && TURN == 0)
        asm volatile(FORM_RS(32, L0 C L1, 21, 16, 17, 18, 19, 20, 0) : R8(d, 0), R8(d, 8) : IN_RS);
    else if constexpr (N == 64 && TURN == 0)
        asm volatile(FORM_RS(64, L32, 37, 32, 33, 34, 35, 36, 0) : R32(d, 0) : IN_RS);
    else if constexpr (N == 128 && TURN == 0)
        asm volatile(FORM_RS(128, L64, 69, 64, 65, 66, 67, 68, 0) : R32(d, 0), R32(d, 32) : IN_RS);
    else if constexpr (N == 64 && TURN == 1)
        asm volatile(FORM_RS(64, L32, 37, 32, 33, 34, 35, 36, 1) : R32(d, 0) : IN_RS);
    else if constexpr (N == 80 && TURN == 1)
        asm volatile(FORM_RS(80, L32 C L4, 45, 40, 41, 42, 43, 44, 1) : R32(d, 0), R8(d, 32) : IN_RS);
    else if constexpr (N == 96 && TURN == 1)
        asm volatile(FORM_RS(96, L32 C L4 C L5, 53, 48, 49, 50, 51, 52, 1) : R32(d, 0), R8(d, 32), R8(d, 40) : IN_RS);
    else if constexpr (N == 128 && TURN == 1)
        asm volatile(FORM_RS(128, L64, 69, 64, 65, 66, 67, 68, 1) : R32(d, 0), R32(d, 32) : IN_RS);
    else if constexpr (N == 256 && TURN == 1)
        asm volatile(FORM_RS(256, L128, 133, 128, 129, 130, 131, 132, 1) : R32(d, 0), R32(d, 32), R32(d, 64), R32(d, 96) : IN_RS);
    else
        static_assert(N == 0, "no such product");
}

/* The same with A in shared memory, both deep. */
template <int N> __device__ __forceinline__ void sr_wgmma_ss(float *d, uint64_t a, uint64_t b, int add)
{
    if constexpr (N == 64)
        asm volatile(FORM_SS(64, L32, 34, 32, 33) : R32(d, 0) : "l"(a), "l"(b), "r"(add));
    else if constexpr (N == 128)
        asm volatile(FORM_SS(128, L64, 66, 64, 65) : R32(d, 0), R32(d, 32) : "l"(a), "l"(b), "r"(add));
    else
        static_assert(N == 0, "no such product");
}

#undef L0
#undef L1
#undef L2
#undef L3
#undef L4
#undef L5
#undef L6
#undef L7
#undef L8
#undef L9
#undef L10
#undef L11
#undef L12
#undef L13
#undef L14
#undef L15
#undef L32
#undef L64
#undef L128
#undef C
#undef R8
#undef R32
#undef FORM_RD
#undef IN_RD
#undef FORM_RS
#undef FORM_SS
#undef IN_RS
#endif
#endif
