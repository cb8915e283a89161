/* trap.cu - kernels that do harm, for tests of losing a device: one faults, one never ends. */
#include <cuda_runtime_api.h>

static __global__ void trap(volatile int *p) { *p = 1; }
static __device__ int  never;
static __global__ void spin(void)
{
    while (*(volatile int *)&never == 0)
        __nanosleep(1000);
}

extern "C" void gpu_trap(void *stream) { trap<<<1, 1, 0, (cudaStream_t)stream>>>((volatile int *)16); }
extern "C" void gpu_spin(void *stream) { spin<<<1, 1, 0, (cudaStream_t)stream>>>(); }
