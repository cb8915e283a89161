/* cuda_bench.h - what the CUDA test and bench programs of ops/ share: a device, a made-up program of one
 * op, times of graphs.
 *
 * Owns:    bench_alloc()'s memory lives until the program ends.
 * Errors:  a CUDA error ends the program with the call's text.
 */
#ifndef SR_OPS_CUDA_BENCH_H
#define SR_OPS_CUDA_BENCH_H
#include "ops/cuda.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CU(call)                                                                                             \
    do {                                                                                                     \
        cudaError_t e_ = (call);                                                                             \
        if (e_ != cudaSuccess) {                                                                             \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e_));           \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static __global__ void bench_nothing(void) {}

/* The device, and the architecture that this program's code was compiled for; of code that the driver compiled from PTX, the PTX's. */
static inline sr_cudainfo bench_device(void)
{
    cudaFuncAttributes a;
    cudaDeviceProp p;
    sr_cudainfo d = {};
    int clock = 0, driver = 0;
    CU(cudaGetDeviceProperties(&p, 0));
    CU(cudaFuncGetAttributes(&a, bench_nothing));
    CU(cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, 0));
    CU(cudaDriverGetVersion(&driver));
    d.arch       = a.ptxVersion;
    d.sms        = p.multiProcessorCount;
    d.smem_block = (int)p.sharedMemPerBlockOptin;
    d.l2         = (size_t)p.l2CacheSize;
    d.pdl        = d.arch >= 90;
    printf("# %s, %d multiprocessors, %d MHz at most, L2 %zu MB, driver for CUDA %d.%d, code for sm_%d\n",
           p.name, d.sms, clock / 1000, d.l2 >> 20, driver / 1000, driver % 1000 / 10, d.arch);
    return d;
}

static inline void *bench_alloc(size_t bytes)
{
    void *p;
    CU(cudaMalloc(&p, bytes ? bytes : 1));
    return p;
}

static inline uint64_t bench_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static inline float bench_normal(uint64_t *s)
{
    float v = 0;
    for (int i = 0; i < 4; i++)
        v += (float)(int32_t)(bench_random(s) >> 32) * 0x1p-31f;
    return v * 0.866f;
}

static int bench_by_value(const void *a, const void *b)
{
    return *(const float *)a < *(const float *)b ? -1 : *(const float *)a > *(const float *)b;
}

/* Median of `times` replays of what `record` launches, in microseconds. */
template <class F> static float bench_graph(cudaStream_t s, int times, F record)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t a, b;
    float t[64], ms;
    CU(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    record();
    CU(cudaGetLastError());
    CU(cudaStreamEndCapture(s, &graph));
    CU(cudaGraphInstantiate(&exec, graph, 0));
    CU(cudaEventCreate(&a));
    CU(cudaEventCreate(&b));
    CU(cudaGraphLaunch(exec, s));
    CU(cudaStreamSynchronize(s));
    for (int i = 0; i < times; i++) {
        CU(cudaEventRecord(a, s));
        CU(cudaGraphLaunch(exec, s));
        CU(cudaEventRecord(b, s));
        CU(cudaEventSynchronize(b));
        CU(cudaEventElapsedTime(&ms, a, b));
        t[i] = ms * 1000;
    }
    qsort(t, (size_t)times, sizeof *t, bench_by_value);
    CU(cudaGraphExecDestroy(exec));
    CU(cudaGraphDestroy(graph));
    CU(cudaEventDestroy(a));
    CU(cudaEventDestroy(b));
    return t[times / 2];
}
#endif
