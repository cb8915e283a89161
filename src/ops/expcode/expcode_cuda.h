/* expcode_cuda.h - the launch of the device's decoder (expcode.cu); included by .cu files and by backend/cuda only. */
#ifndef SR_OPS_EXPCODE_CUDA_H
#define SR_OPS_EXPCODE_CUDA_H
#include "ops/cuda.h"
#include "ops/expcode/expcode.h"
#ifdef __cplusplus
extern "C" {
#endif
/* A text of rows x cols numbers to rows or tiles (see sr_backend.decode); false: no such code, or no such tiles.  Launch errors are asked
 * for by the backend. */
bool sr_expcode_cuda(cudaStream_t stream, uint16_t format, uint32_t rows, uint32_t cols, const void *src, void *dst, bool tiles);
#ifdef __cplusplus
}
#endif
#endif
