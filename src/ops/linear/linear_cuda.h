/* linear_cuda.h - the variants of LINEAR on CUDA, in the order in which they are tried (linear_cuda.cu). */
#ifndef SR_OPS_LINEAR_CUDA_H
#define SR_OPS_LINEAR_CUDA_H
#include "ops/cuda.h"

/* linear_mma.cu: weights in tiles, on tensor cores.  Weights that are not (too few rows for a tile, read in place) go to plain. */
bool   sr_linear_mma_supports(const sr_cudainfo *d, const sr_program *p, const sr_op *op);
size_t sr_linear_mma_scratch(const sr_cudainfo *d, const sr_program *p, const sr_op *op, const sr_shape *max);
void   sr_linear_mma_launch(const sr_cudajob *j);
/* The op's weights, x, y and z into s, which is zero; the cut is left.  False: some weight is not in tiles, or they hold
 * different input columns. */
struct sr_skinny;
bool   sr_skinny_gather(const sr_cudajob *j, struct sr_skinny *s);

void sr_linear_plain_launch(const sr_cudajob *j); /* linear_plain.cu: everything, slowly */
#endif
