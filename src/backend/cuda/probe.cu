/* probe.cu - the little that needs device code: which code of this build runs, small copies, points in time where the driver has
 * no memory operations for them. */
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

/* A step's inputs are some ten pieces of a few hundred bytes: one kernel that reads them over the bus takes as long as one copy. */
static __global__ void copy_words(sr_cudapieces p)
{
    const uint32_t *src = (const uint32_t *)p.piece[blockIdx.x].src;
    uint32_t       *dst = (uint32_t *)p.piece[blockIdx.x].dst;
    for (uint32_t i = blockIdx.y * blockDim.x + threadIdx.x; i < p.piece[blockIdx.x].words; i += blockDim.x * gridDim.y)
        dst[i] = src[i];
}

extern "C" cudaError_t sr_cuda_copy_words(cudaStream_t s, const sr_cudapieces *p)
{
    copy_words<<<dim3(p->n, 4), 256, 0, s>>>(*p);
    return cudaGetLastError();
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
