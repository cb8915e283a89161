/* attn_cuda.h - the variants of ATTN on CUDA, in the order in which they are tried (attn_cuda.cu). */
#ifndef SR_OPS_ATTN_CUDA_H
#define SR_OPS_ATTN_CUDA_H
#include "ops/cuda.h"
void sr_attn_plain_launch(const sr_cudajob *j);                                                /* attn_plain.cu: everything, slowly */
bool sr_attn_plain_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op);
#endif
