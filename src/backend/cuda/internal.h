/* internal.h - what the files of the CUDA backend share.
 *
 *     dev.c    devices, memory and its ledger        queue.c   streams, copies, points in time
 *     run.c    plans: variants, slots, submit        graph.c   captured steps; timing.c what launches take
 *     probe.cu the little that needs device code    peak.cu   what the matrix units give
 *
 * The host part is C against the runtime's C interface; libcuda itself is only reached through entry points that the
 * runtime looks up, so that nothing here needs a driver to be loaded.
 */
#ifndef SR_BACKEND_CUDA_INTERNAL_H
#define SR_BACKEND_CUDA_INTERNAL_H
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <pthread.h>
#include "backend/backend.h"
#include "backend/ledger.h"
#include "ops/cuda.h"

extern const sr_backend sr_backend_cuda;

typedef struct {
    cudaStream_t       stream;
    volatile uint64_t *word;   /* pinned: marks reached */
    CUdeviceptr        at;     /* the same, for the device */
    uint64_t           marks;
} sr_cudaqueue;

enum { SR_CUDA_PIECES = 24, SR_CUDA_PIECE_WORDS = 4096 };
typedef struct { /* small copies done by one kernel */
    uint32_t n;
    struct { void *dst; const void *src; uint32_t words; } piece[SR_CUDA_PIECES];
} sr_cudapieces;

struct sr_dev {
    sr_devcfg       cfg;
    int             index;
    sr_cudainfo     info;
    sr_cudaqueue    queue[SR_Q_COUNT];
    void           *words;                 /* the queues' words, 128 bytes apart */
    CUresult (*write_value)(CUstream, CUdeviceptr, cuuint64_t, unsigned); /* NULL: by kernels (probe.cu) */
    CUresult (*wait_value)(CUstream, CUdeviceptr, cuuint64_t, unsigned);
    sr_ledger       ledger;
    uint64_t        free_at_open, taken_at_open; /* of the card, with a context and queues */
    pthread_mutex_t lock;                  /* of the failure */
    sr_err          fail;                  /* the first failure that no call could return; told by every later wait() */
    uint32_t        failed;                /* release store after `fail` is written */
    uint64_t        waited[8];             /* ns: how long the last waits took; atomic, advice only (queue.c) */
    uint32_t        waits;
    bool            lost;                  /* the context is dead, and with it CUDA in this process: a reset does not help */
    bool            chains;                /* holds the process's right to kernels whose blocks wait for each other */
};

/* dev.c */
SR_MUSTUSE sr_status sr_cuda_enter(sr_dev *d, sr_err *err); /* the calling thread speaks to this device from now on */
/* SR_OK, or a raised error naming the call; a sticky one is SR_DEVLOST and is remembered. */
SR_MUSTUSE sr_status sr_cuda_check(sr_dev *d, sr_err *err, const char *call, cudaError_t rc);
#define CU(d, err, call) sr_cuda_check((d), (err), #call, (call))
void sr_cuda_fail(sr_dev *d, const sr_err *e); /* kept for the next wait() */
bool sr_cuda_owns(sr_dev *d, const void *p, size_t bytes); /* within one piece of device or page-locked memory given by alloc() */

/* queue.c */
SR_MUSTUSE sr_status sr_cudaqueues_open(sr_dev *d, sr_err *err);
void      sr_cudaqueues_close(sr_dev *d);
SR_MUSTUSE sr_status sr_cuda_copyv(sr_dev *d, sr_queue q, const sr_span *s, uint32_t n, sr_err *err);
sr_point  sr_cuda_mark(sr_dev *d, sr_queue q);
void      sr_cuda_fence(sr_dev *d, sr_queue q, sr_point on);
SR_MUSTUSE sr_status sr_cuda_wait(sr_dev *d, sr_point p, uint64_t timeout_ns, sr_err *err);

/* run.c */
bool      sr_cuda_supports(sr_dev *, const sr_program *, uint32_t op);
size_t    sr_cuda_scratch(sr_dev *, const sr_program *, const sr_shape *max);
sr_status sr_cuda_prepare(sr_dev *, const sr_program *, const sr_shape *max, void *scratch, size_t, sr_plan **, sr_err *);
sr_status sr_cuda_slot(sr_plan *, uint16_t slot, void **, size_t *bytes);
sr_status sr_cuda_bind(sr_plan *, const sr_batch *, uint32_t w, uint32_t n, const sr_wref *, sr_err *);
sr_status sr_cuda_submit(sr_plan *, uint32_t op, uint32_t n, const sr_shape *, sr_err *);
void      sr_cuda_discard(sr_plan *);
sr_status sr_cuda_profile(sr_plan *, sr_timing next, sr_timed *out, sr_err *);

enum { SR_CUDA_PEAKS = 512 }; /* pieces of sr_cuda_peak() at most */

/* probe.cu, peak.cu */
#ifdef __cplusplus
extern "C" {
#endif
cudaError_t sr_cuda_code_arch(int *arch); /* what the kernels of this build that fit the current device were compiled for */
cudaError_t sr_cuda_copy_words(cudaStream_t s, const sr_cudapieces *p);
cudaError_t sr_cuda_signal(cudaStream_t s, CUdeviceptr word, uint64_t value);
cudaError_t sr_cuda_await(cudaStream_t s, CUdeviceptr word, uint64_t value);
/* Operations per second of the matrix units in n pieces of some 5 ms, one after the other; int8, or f16 with f32 sums. */
cudaError_t sr_cuda_peak(cudaStream_t s, const sr_cudainfo *d, bool int8, double *rate, int n);
#ifdef __cplusplus
}
#endif
#endif
