/* mma.cuh - the few machine instructions our kernels are made of, one function each.
 *
 * Fragments of mma m16n8k16 (lane l = 4g + t):  A a0 (row g, k 2t..) a1 (row g+8, k 2t..) a2 (row g, k
 * 2t+8..) a3 (row g+8, k 2t+8..)
 *                                               B b0 (k 2t.., col g) b1 (k 2t+8.., col g)
 *                                               C c0 c1 (row g, cols 2t, 2t+1) c2 c3 (row g+8)
 * Turing has m16n8k8 only: two of them do the same, on the same registers.  Of int8 m16n8k32 the fragments are these with four
 * k in place of two (k 4t.., 4t+16..); Turing has m8n8k16 only, four of them do the same.
 * Source:  PTX ISA 9.0: mma, mbarrier, cp.async.bulk, griddepcontrol.
 */
#ifndef SR_OPS_MMA_CUH
#define SR_OPS_MMA_CUH
#include <cuda_fp16.h>
#include <stdint.h>

typedef struct {
    uint32_t r[4];
} sr_frag_a;

__device__ __forceinline__ void sr_mma(float c[4], const sr_frag_a &a, uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b0), "r"(b1));
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.r[2]), "r"(a.r[3]), "r"(b1));
#endif
}

/* m16n8k32 of bytes, A without signs and B with: c += a . b, exact.  A: registers (row g, k 4t..), (g+8, 4t..), (g, 16+4t..), (g+8, 16+4t..);
 * B: (k 4t.., col g), (k 16+4t.., col g); C as above.  Turing's m8n8k16 needs four of them, on the same registers. */
__device__ __forceinline__ void sr_mma_int(int c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint32_t b = i / 2 ? b1 : b0;
        int *d           = c + i % 2 * 2;
        asm("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(d[0]), "+r"(d[1]) : "r"(a[i]), "r"(b));
    }
#endif
}

/* d = a . b */
__device__ __forceinline__ void sr_mma0(float d[4], const sr_frag_a &a, uint32_t b0, uint32_t b1)
{
    d[0] = d[1] = d[2] = d[3] = 0;
    sr_mma(d, a, b0, b1);
}

/* c += a . b over 8 inputs: registers 0 and 1 of A. */
__device__ __forceinline__ void sr_mma8(float c[4], uint32_t a0, uint32_t a1, uint32_t b)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
}

/* d = c + a . b in whole numbers, 16 inputs: registers 0 and 1 of A, or 2 and 3; every number of c is the same. */
__device__ __forceinline__ void sr_mma_s8_16(int d[4], uint32_t a0, uint32_t a1, uint32_t b, int c)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%7,%7,%7,%7};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a0), "r"(a1), "r"(b), "r"(c));
#else
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%4,%4};" : "=r"(d[0]), "=r"(d[1]) : "r"(a0), "r"(b), "r"(c));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%4,%4};" : "=r"(d[2]), "=r"(d[3]) : "r"(a1), "r"(b), "r"(c));
#endif
}

/* The same of 32 inputs. */
__device__ __forceinline__ void sr_mma_s8(int d[4], const uint32_t a[4], uint32_t b0, uint32_t b1, int c)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c));
#else
    sr_mma_s8_16(d, a[0], a[1], b0, c);
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(d[0]), "+r"(d[1]) : "r"(a[2]), "r"(b1));
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};" : "+r"(d[2]), "+r"(d[3]) : "r"(a[3]), "r"(b1));
#endif
}

/* ---- copies of 16 bytes into shared memory that nobody waits for until he asks (sm_80) */

#if __CUDA_ARCH__ >= 800
__device__ __forceinline__ void sr_copy16(uint32_t smem, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem), "l"(from) : "memory");
}
__device__ __forceinline__ void sr_copy_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void sr_copy_wait(void) /* at most N groups are still under way */
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
#endif

__device__ __forceinline__ uint32_t sr_half2_bits(half2 h) { return *(uint32_t *)&h; }
__device__ __forceinline__ half2 sr_half2_of(uint32_t u) { return *(half2 *)&u; }
__device__ __forceinline__ uint32_t sr_pack(float lo, float hi)
{
    return sr_half2_bits(__floats2half2_rn(lo, hi));
}

/* A power of two for numbers that become f16, of their largest magnitude's bits: its exponent, |x| < 2^(e - 126); what makes the largest
 * 2^10 .. 2^11, and what takes that back. */
__device__ __forceinline__ uint32_t sr_f16_exponent(uint32_t top) { return max(top >> 23, 12u); }
__device__ __forceinline__ float sr_f16_power(uint32_t e) { return __uint_as_float((264 - e) << 23); }
__device__ __forceinline__ float sr_f16_back(uint32_t e) { return __uint_as_float((e - 10) << 23); }

__device__ __forceinline__ float sr_warp_top(float v) /* largest; v >= 0 */
{
#if __CUDA_ARCH__ >= 800
    return __uint_as_float(__reduce_max_sync(0xffffffff, __float_as_uint(v)));
#else
    for (int i = 16; i; i /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffff, v, i));
    return v;
#endif
}
/* One of four words; i is known to the compiler. */
__device__ __forceinline__ uint32_t sr_word(const uint4 &v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

/* Largest magnitude of eight numbers of each lane. */
__device__ __forceinline__ float sr_warp_top8(const float4 &u, const float4 &v)
{
    return sr_warp_top(fmaxf(fmaxf(fmaxf(fabsf(u.x), fabsf(u.y)), fmaxf(fabsf(u.z), fabsf(u.w))),
                             fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)))));
}

__device__ __forceinline__ uint32_t sr_smem(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* ---- programmatic dependent launch: everything the previous kernel wrote is visible after the wait
 * -------- */

__device__ __forceinline__ void sr_pdl_wait(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void sr_pdl_launch(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* ---- bulk copies into shared memory, counted by an mbarrier (sm_90)
 * ---------------------------------------- */

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void sr_bar_init(uint64_t *bar, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sr_smem(bar)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void sr_bar_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void sr_bar_expect(uint64_t *bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sr_smem(bar)), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void sr_bar_arrive(uint64_t *bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sr_smem(bar)) : "memory");
}
__device__ __forceinline__ void sr_bar_wait(uint64_t *bar, uint32_t parity)
{
    asm volatile("{\n.reg .pred p;\nW_%=:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra "
                 "D_%=;\nbra W_%=;\nD_%=:\n}" ::"r"(sr_smem(bar)),
                 "r"(parity)
                 : "memory");
}

/* A place in a ring of stages, and what its barrier is waited for by: the last bit of how often the ring has gone round. */
struct sr_ring {
    uint32_t at, parity;
    __device__ __forceinline__ void next(uint32_t depth)
    {
        if (++at == depth) {
            at = 0;
            parity ^= 1;
        }
    }
};

__device__ __forceinline__ void sr_bulk_load(void *dst, const void *src, uint32_t bytes, uint64_t *bar)
{
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
            sr_smem(dst)),
        "l"(src), "r"(bytes), "r"(sr_smem(bar))
        : "memory");
}
/* Between what a thread reads or writes in shared memory itself and the word or barrier behind which wgmma reads there, or a copy writes.  Of reads, too: one whose
 * number nobody has used yet may still stand in a queue, behind other warps' stores for instance, when the barrier is long complete and the copy's bytes come (notes/0065). */
__device__ __forceinline__ void sr_async_fence(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* Into another block's shared memory (a cluster's: its address from here is sr_smem's and the offset); its barrier `bar` counts the bytes. */
__device__ __forceinline__ void sr_store_there(uint32_t to, uint32_t v, uint32_t bar)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(to), "r"(v), "r"(bar) : "memory");
}
__device__ __forceinline__ void sr_store_there(uint32_t to, uint2 v, uint32_t bar)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.u32 [%0], {%1, %2}, [%3];" ::"r"(to), "r"(v.x), "r"(v.y),
                 "r"(bar)
                 : "memory");
}
__device__ __forceinline__ uint32_t sr_cluster_rank(void)
{
    uint32_t r;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}
__device__ __forceinline__ uint32_t sr_cluster_offset(const void *smem, uint32_t rank) /* from here to block `rank` */
{
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(sr_smem(smem)), "r"(rank));
    return there - sr_smem(smem);
}
/* A meeting of all threads of a cluster. */
__device__ __forceinline__ void sr_cluster_arrive(void) { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ __forceinline__ void sr_cluster_wait(void) { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
__device__ __forceinline__ void sr_cluster_meet(void)
{
    sr_cluster_arrive();
    sr_cluster_wait();
}
#endif
#endif
