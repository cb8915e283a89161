/* linear_cuda.h - the variants of LINEAR on CUDA, in the order in which they are tried (linear_cuda.cu). */
#ifndef SR_OPS_LINEAR_CUDA_H
#define SR_OPS_LINEAR_CUDA_H
#include "ops/cuda.h"
void sr_linear_plain_launch(const sr_cudajob *j); /* linear_plain.cu: everything, slowly */
#endif
