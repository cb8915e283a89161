/* cuda.h - how a kernel of an op family is launched on CUDA.  Included by .cu files and by backend/cuda only.
 *
 * A family has one table sr_<family>_cuda[] of variants, best first, closed by a NULL launch.  The backend takes, for each
 * op, once in prepare(), the first variant whose arch range fits and whose supports() says yes, and calls launch() on each
 * step, or once while a graph is captured for a bucket of counts.
 *
 * Counts   job->n are the host's counts: grids are sized by them.  Inside a graph they are the bucket's, which may be larger
 *          than the step's: a kernel reads the true counts from job->count (device) and leaves the rest of its rows alone.
 * Rules    Launches on job->stream only.  No allocation, synchronisation, host callback, printf, or read of device memory on the
 *          host.  Working memory is job->scratch, sized by the variant's scratch() at the maximum shape.  What two launches hand each other
 *          through scratch is counters in its first SR_CUDA_COUNTERS bytes: zero at prepare(), left zero by every launch.  Behind
 *          them scratch holds anything; all ops may share one.  The last three have owners of their own.
 * Order    With cfg.deterministic an output's value depends on neither counts nor splits chosen from them: fixed split sizes.
 * Arch     arch is 75, 80, 86, 89, 90: what the code in use was compiled for (a compute_75 PTX build says 75 on any card).
 * Threads: one owner per device.   Errors: cudaGetLastError() after launch(); the backend asks.
 */
#ifndef SR_OPS_CUDA_H
#define SR_OPS_CUDA_H
#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <cuda_runtime_api.h>
#endif
#include "ops/op.h"

enum { SR_CUDA_COUNTERS = 1 << 16 };
enum { SR_CUDA_PAIRS = 2 << 20 }; /* up to here products take little longer in pairs, if at all (notes/0056) */
enum { SR_CUDA_BESIDE = 38 << 10 }; /* shared memory that a chain (linear/chain.h) leaves to a block of attention's (attn/) beside it */
enum { /* the last counters, by number, are kept for */
    SR_CUDA_TICKETS = SR_CUDA_COUNTERS / 4 - 3, /* attn/: items taken, blocks that found none */
    SR_CUDA_MEET    = SR_CUDA_COUNTERS / 4 - 1  /* linear/chain.h: blocks that wait for each other; its top bit stays as it is left */
};

enum { SR_PRODUCTS_TABLE, SR_PRODUCTS_SKINNY, SR_PRODUCTS_S8, SR_PRODUCTS_F16 }; /* what is fastest; one kind wherever it has the format */

typedef struct {
    int      arch;            /* of the code that runs */
    int      sms, smem_block; /* multiprocessors; shared memory a block may opt into */
    size_t   l2;
    bool     deterministic;
    bool     pdl;             /* programmatic dependent launch may be used */
    bool     chains;          /* kernels whose blocks wait for each other may be used (linear/chain.h) */
    uint32_t pairs;           /* most weights of a product that takes x in 22 bits (linear/gemm90.h); SR_CUDA_PAIRS, others for benches */
    int      products;        /* SR_PRODUCTS_*: of many rows below sm_90a, for benches */
} sr_cudainfo;

typedef struct {
    const sr_cudainfo *dev;
    const sr_program  *prog;
    const sr_op       *op;
    const sr_shape    *n, *max;   /* host: counts of this step or bucket; of the plan */
    const sr_shape    *count;     /* device: the step's true counts (batch->n) */
    void *const       *slot;      /* device address of each slot */
    const sr_wref     *weight;    /* host array by weight id, device addresses */
    const sr_batch    *batch;     /* host struct of device addresses */
    const sr_sampled  *previous;  /* device: what the previous step sampled */
    void              *scratch;   /* device */
    cudaStream_t       stream;
    uint32_t          *formed;    /* host, of all launches of a submit: the op whose x lies in scratch as a chain takes it (linear/chain.h), or 0; NULL: never so */
    bool               alike;     /* what a step computes of a row must not depend on those beside it: sr_alike() (linear/alike.h), asked once a submit */
} sr_cudajob;

typedef struct {
    const char *variant;          /* "mma_f16", "split_kv": shown by strata bench --ops */
    int         arch_min, arch_max; /* 0: any */
    bool   (*supports)(const sr_cudainfo *d, const sr_program *p, const sr_op *op);                  /* NULL: all */
    size_t (*scratch)(const sr_cudainfo *d, const sr_program *p, const sr_op *op, const sr_shape *max); /* NULL: none */
    void   (*launch)(const sr_cudajob *j);
} sr_cudakernel;

#ifdef __cplusplus
extern "C" {
#endif
extern const sr_cudakernel sr_embed_cuda[], sr_norm_cuda[], sr_linear_cuda[], sr_rope_cuda[], sr_ropetable_cuda[], sr_kvwrite_cuda[],
    sr_attn_cuda[], sr_glu_cuda[], sr_add_cuda[], sr_gather_cuda[], sr_sample_cuda[];

/* Launches that do several ops, none of whose results in between anybody else reads: how many from number `op` on, none of them
 * from `end` on; 0: none, and nothing was launched.  job->op is not looked at. */
uint32_t sr_chain_cuda(const sr_cudajob *j, uint32_t op, uint32_t end);        /* linear/chain.h */
bool     sr_chain_beside_cuda(const sr_cudajob *j, uint32_t op, uint32_t end); /* one begins at `op` and leaves SR_CUDA_BESIDE; launches nothing */
/* One begins at `op` and takes the slot in its form, if job->formed says that it lies there, behind the counters of scratch; launches nothing. */
bool     sr_chain_takes_form_cuda(const sr_cudajob *j, uint32_t op, uint32_t end, uint16_t slot);
uint32_t sr_fed_linear_cuda(const sr_cudajob *j, uint32_t op, uint32_t end);   /* linear/: a norm or gated unit, and a product of many rows */
uint32_t sr_rope_kvwrite_attn_cuda(const sr_cudajob *j, uint32_t op, uint32_t end); /* attn/: in steps of a token a sequence */
uint32_t sr_rope_kvwrite_cuda(const sr_cudajob *j, uint32_t op, uint32_t end); /* kvio/ */

/* linear/: file blocks <-> the kernels' tiles, same bytes (see sr_backend.pack); layout numbers are linear/layout.h's. */
size_t sr_linear_cuda_pack(uint16_t format, uint32_t n, uint32_t cols, const void *const *row, void *dst, uint16_t *layout);
/* The same on the device (see sr_backend.tile); false: the format or shape has no tiles.  Launch errors are asked for by the backend. */
bool sr_linear_cuda_tile(cudaStream_t stream, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst);
#ifdef __cplusplus
}
#endif
#endif
