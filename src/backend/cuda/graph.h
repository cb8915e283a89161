/* graph.h - steps captured once and launched again: a launch of the whole program costs what a single kernel does.
 *
 * A graph belongs to a range of ops and a bucket: counts rounded up, by which its grids are sized; kernels read the true counts
 * from the batch.  Only steps of one token a sequence are captured: others are long enough to hide their launches.
 *
 *     seen 0 times   run op by op: loads the kernels' code, which a capture must not do
 *     seen once      captured, kept, launched
 *     afterwards     launched
 *
 * Owns:    the graphs, until close or drop.   Threads: those of submit.
 * Errors:  those of the capture; the caller runs op by op instead when bucket() says no.
 */
#ifndef SR_BACKEND_CUDA_GRAPH_H
#define SR_BACKEND_CUDA_GRAPH_H
#include "backend/cuda/internal.h"

enum { SR_GRAPH_SETS = 128, SR_GRAPH_WAYS = 16 }; /* kept, by first op; in each set the one not used for longest makes room */

typedef struct {
    uint32_t        op, n;
    sr_shape        shape;  /* the bucket */
    uint64_t        used;   /* when last; 0: free */
    cudaGraphExec_t exec;   /* NULL: seen once */
} sr_cudagraph;

typedef struct {
    sr_cudagraph graph[SR_GRAPH_SETS][SR_GRAPH_WAYS];
    uint64_t     clock, made; /* made: steps that were on their way to a graph */
} sr_cudagraphs;

typedef sr_status (*sr_cudalaunch)(sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err);

/* The bucket of a step; false: it is not worth a graph. */
bool sr_cuda_bucket(const sr_shape *n, const sr_shape *max, sr_shape *out);
/* Runs ops [op, op+n) for a bucket by its graph, or by `launch` with the true counts while there is none. */
SR_MUSTUSE sr_status sr_cuda_replay(sr_cudagraphs *g, sr_dev *d, sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *bucket,
                                    const sr_shape *shape, sr_cudalaunch launch, sr_err *err);
void sr_cuda_drop_graphs(sr_cudagraphs *g); /* addresses have changed, or the end */
#endif
