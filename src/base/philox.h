/* philox.h - counter-based random numbers: the same on every machine and device, without state.
 *
 * Philox4x32-10.   Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011;
 * test vectors of Random123 in philox_test.c.   Threads: any.   Read by C and CUDA.
 */
#ifndef SR_BASE_PHILOX_H
#define SR_BASE_PHILOX_H
#include <stdint.h>
#ifndef SR_HD
#ifdef __CUDACC__
#define SR_HD __host__ __device__
#else
#define SR_HD
#endif
#endif

typedef struct { uint32_t v[4]; } sr_philox;

static inline SR_HD sr_philox sr_philox4(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    sr_philox r = {{c0, c1, c2, c3}};
    return r;
}

/* Uniform in (0, 1): never 0 or 1, so that its logarithm is finite. */
static inline SR_HD float sr_uniform(uint32_t bits) { return ((float)(bits >> 9) + 0.5f) * (1.0f / 8388608.0f); }
#endif
