/* attn_cuda.h - the variants of ATTN on CUDA, in the order in which they are tried (attn_cuda.cu). */
#ifndef SR_OPS_ATTN_CUDA_H
#define SR_OPS_ATTN_CUDA_H
#include "ops/cuda.h"

/* attn_mma.cu: tensor cores; head sizes 64, 80, 96, 128, 256, pages of F16 or Q8_0, any multiple of 16 tokens. */
bool   sr_attn_mma_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op);
size_t sr_attn_mma_scratch(const sr_cudainfo *d, const sr_program *p, const sr_op *op, const sr_shape *max);
void   sr_attn_mma_launch(const sr_cudajob *j);

void sr_attn_plain_launch(const sr_cudajob *j);                                                /* attn_plain.cu: everything, slowly */
bool sr_attn_plain_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op);
#endif
