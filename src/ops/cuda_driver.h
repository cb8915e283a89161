/* cuda_driver.h - functions of the driver by name: linking libcuda would make the plugin unloadable without a driver.
 *
 * Threads: any.   Errors: NULL: the driver has none of that name.
 */
#ifndef SR_OPS_CUDA_DRIVER_H
#define SR_OPS_CUDA_DRIVER_H
#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <cuda_runtime_api.h>
#endif

static inline void *sr_cuda_driver(const char *name)
{
    void                                *f = NULL;
    enum cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION < 12050 /* before it could be asked for that of a version */
    cudaError_t failed = cudaGetDriverEntryPoint(name, &f, cudaEnableDefault, &found);
#else
    cudaError_t failed = cudaGetDriverEntryPointByVersion(name, &f, 12000, cudaEnableDefault, &found);
#endif
    if (!failed && found == cudaDriverEntryPointSuccess)
        return f;
    (void)cudaGetLastError();
    return NULL;
}

#endif
