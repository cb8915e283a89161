/* probe.cu - which code of this build runs on a device, and points in time by kernels where the driver has no memory operations. */
#include "backend/cuda/internal.h"

static __global__ void signal(volatile uint64_t *word, uint64_t value)
{
    __threadfence_system();
    *word = value;
}

/* One thread polls: at worst a foreign device is late, and this stream has nothing else to do. */
static __global__ void await(const volatile uint64_t *word, uint64_t value)
{
    while (*word < value)
        ;
    __threadfence_system();
}

extern "C" cudaError_t sr_cuda_code_arch(int *arch)
{
    cudaFuncAttributes a;
    cudaError_t        rc = cudaFuncGetAttributes(&a, signal);
    /* Of code compiled from PTX by the driver, binaryVersion is the card's and ptxVersion what we compiled for. */
    *arch = rc == cudaSuccess ? a.ptxVersion : 0;
    return rc;
}

extern "C" cudaError_t sr_cuda_signal(cudaStream_t s, CUdeviceptr word, uint64_t value)
{
    signal<<<1, 1, 0, s>>>((volatile uint64_t *)word, value);
    return cudaGetLastError();
}

extern "C" cudaError_t sr_cuda_await(cudaStream_t s, CUdeviceptr word, uint64_t value)
{
    await<<<1, 1, 0, s>>>((const volatile uint64_t *)word, value);
    return cudaGetLastError();
}
