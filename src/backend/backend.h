/* backend.h - the contract between the engine and a device.  Read by C17 and by nvcc.
 *
 * A backend is one table, found through the single symbol `sr_backend_entry` of libstrata-<name>.so, or
 * in the static list (cpu).  It knows memory, queues and ops; it has never heard of models, sequences,
 * HTTP or tokens.
 *
 * Owns:    whatever alloc() gave, until free(); nothing else crosses the fence.
 * Threads: submit() has one owner thread per sr_dev; the streamer thread may use copyv/mark/fence on
 *          SR_Q_IN and SR_Q_OUT.  Only wait() blocks.
 * Time:    a queue is a timeline; mark() names a point on it that every device and the host can wait
 *          for (a growing word in pinned memory); fence() makes a queue wait for one.
 * Steady state: addresses are bound once (bind), contents and counts change per step; submit()
 *          allocates nothing, never syncs and never computes on the caller's thread, the CPU backend
 *          included.
 * Errors:  SR_NOMEM names kind, bytes asked and free; SR_UNSUPPORTED names the op; SR_DEVLOST: close the
 *          device, nothing else works.  A queue's failure is kept and reported by the next wait().
 */
#ifndef SR_BACKEND_H
#define SR_BACKEND_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "ops/op.h"

#define SR_BACKEND_ABI 5u
typedef enum { SR_MEM_DEVICE, SR_MEM_PINNED, SR_MEM_MANAGED } sr_memkind;
typedef enum { SR_Q_COMPUTE, SR_Q_IN, SR_Q_OUT, SR_Q_COUNT } sr_queue;

/* A point in time that every device and thread can wait for: reached when *word >= value.
 * word lies in pinned host memory and only grows; the host may also signal by storing to it. */
typedef struct { volatile uint64_t *word; uint64_t value; } sr_point;
typedef struct { void *dst; const void *src; size_t bytes, n, dst_step, src_step; } sr_span; /* n pieces of `bytes` */

typedef struct sr_dev  sr_dev;
typedef struct sr_plan sr_plan;
typedef struct {
    uint32_t size;                 /* of this struct, set by the caller */
    char     name[64], why[160];   /* why it cannot be used, or empty */
    uint8_t  uuid[16];
    uint32_t arch, units, numa, flags;          /* 75, 90 .. (0: a CPU); SMs or threads; node or ~0u; SR_DEV_* */
    uint64_t mem_total, mem_free, l2, smem;     /* mem_free is read anew at each call */
    uint64_t mem_granule;                       /* device memory is taken in pieces of so many bytes; 0: of any */
    char     isa[16];                           /* CPU: the widest kernels in use, "avx512"; else empty */
} sr_devinfo;
enum { SR_DEV_HOST = 1 };          /* devinfo.flags: device memory is host memory: weights may be used where they are mapped */

typedef struct {                   /* how to open a device; zero = defaults */
    uint64_t mem_budget;           /* most bytes of device memory, in whole granules; 0: what is free, less a margin */
    uint32_t threads;              /* CPU: 0 = all usable cores */
    uint32_t spin_us;              /* CPU: how long an idle worker spins before it sleeps; 0 = the measured default */
    bool     pin;                  /* CPU: workers to cores */
    bool     profile;              /* ops and steps can be timed (see profile()) */
    bool     deterministic;        /* GPU: an output depends on its inputs alone, not on who else is in the step (the CPU always does that); a drafted
                                      token's also on its tree (ops/tree.h), unless that is a chain */
    bool     no_graphs;            /* GPU: launch op by op, for debuggers and comparisons */
    const char *isa;               /* CPU: "ref", "avx2", "avx512", "amx", "amx-bf16", "neon", "neon-dot"; NULL = the best there is with the reference's bits */
    bool        f32_activations;   /* CPU: what weights in blocks are multiplied by stays f32; else it is rounded to int8, as ggml does (ops/linear/linear.h) */
} sr_devcfg;

typedef struct { char tag[32]; sr_memkind kind; uint32_t pieces; uint64_t bytes, taken; } sr_memline; /* of a ledger; taken: with what the granules add */

/* Ops [op, op + n_op) that run as one: bytes and flops that they must move and do at least, what lies between them left out (sr_group_cost());
 * cycles: of the host's nominal clock; 0: not known. */
typedef struct { uint32_t op, n_op; uint64_t ns, calls, cycles; double bytes, flops; } sr_opstat;
typedef enum {                     /* what a plan times; of steps that are not looked into, their parts may overlap */
    SR_TIME_OPS, SR_TIME_STEPS, SR_TIME_NOTHING
} sr_timing;
typedef struct {                   /* what was timed since the last profile() */
    sr_opstat *op; size_t cap, n;  /* op: the caller's, room for cap */
    uint64_t   steps, ns;          /* begun with op 0; TIME_STEPS: what those took from there to their last op */
} sr_timed;
typedef struct { double f16, int8; } sr_peaks; /* operations/s of the matrix units: f16 with f32 sums, int8 with int32 sums */

typedef struct sr_backend {
    uint32_t    abi, size;
    const char *name, *build;
    sr_status (*count)(int *n, sr_err *);
    sr_status (*open)(int i, const sr_devcfg *, sr_dev **, sr_err *);
    void      (*close)(sr_dev *);
    sr_status (*info)(int i, sr_dev *, sr_devinfo *, sr_err *);            /* dev may be NULL */
    sr_status (*alloc)(sr_dev *, sr_memkind, size_t, const char *tag, void **, sr_err *); /* 4096-byte aligned */
    void      (*free)(sr_dev *, void *);
    /* What alloc() has given and is not freed, a line for each tag; a last one, without pieces, for device memory that went elsewhere since
     * open(): kernels' code, captured steps.  Returns how many of at most cap lines.  NULL: device memory is the host's. */
    size_t    (*ledger)(sr_dev *, sr_memline *out, size_t cap);
    sr_status (*pin)(sr_dev *, void *, size_t, bool on, sr_err *);         /* register host pages, e.g. a mapping */
    /* Pure, any thread: n rows of file blocks, in the order given (gate/up or rope pairs interleaved),
     * into the kernels' tiles.  Same bytes out as in.  0: this format or shape stays as in the file. */
    size_t    (*pack)(uint16_t format, uint32_t n, uint32_t cols, const void *const *row, void *dst, uint16_t *layout);
    /* The same on the device, in the order of a queue: n rows of blocks, one after the other at src, into tiles at dst.
     * Formats, shapes and layout are pack()'s.  NULL: the kernels read blocks as they are. */
    sr_status (*tile)(sr_dev *, sr_queue, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst, sr_err *);
    /* The same of numbers that came coded (a text of ops/expcode, n * cols of them, 16-byte aligned): to tiles where layout is pack()'s,
     * to rows where it is 0.  SR_AGAIN: the queue is full.  NULL: weights come as they are. */
    sr_status (*decode)(sr_dev *, sr_queue, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst, uint16_t layout, sr_err *);
    sr_status (*copyv)(sr_dev *, sr_queue, const sr_span *, uint32_t n, sr_err *);
    sr_point  (*mark)(sr_dev *, sr_queue);
    void      (*fence)(sr_dev *, sr_queue waiter, sr_point on);            /* any device's or the host's point */
    sr_status (*wait)(sr_dev *, sr_point, uint64_t timeout_ns, sr_err *);  /* SR_AGAIN: not yet; SR_DEVLOST */
    sr_status (*group)(sr_dev **, uint32_t n, sr_err *);                   /* peers for ALLREDUCE and COPY ops; NULL: absent */
    bool      (*supports)(sr_dev *, const sr_program *, uint32_t op);
    size_t    (*scratch)(sr_dev *, const sr_program *, const sr_shape *max); /* what prepare() wants */
    sr_status (*prepare)(sr_dev *, const sr_program *, const sr_shape *max, void *scratch, size_t, sr_plan **, sr_err *);
    sr_status (*slot)(sr_plan *, uint16_t slot, void **, size_t *bytes);   /* bisect, logits, hidden, hybrid join */
    /* The batch's addresses (NULL: unchanged) and weights w .. w+n-1. */
    sr_status (*bind)(sr_plan *, const sr_batch *, uint32_t w, uint32_t n, const sr_wref *, sr_err *);
    sr_status (*submit)(sr_plan *, uint32_t op, uint32_t n, const sr_shape *, sr_err *);
    void      (*discard)(sr_plan *);
    /* With cfg.profile (else SR_UNSUPPORTED): what was timed, which is then forgotten (out NULL: only that), and what is timed from now on;
     * a new plan times ops.  SR_INVALID: more than out->cap. */
    sr_status (*profile)(sr_plan *, sr_timing next, sr_timed *out, sr_err *);
    /* Measures for some tenths of a second what products give that do not wait for memory, on operands that are not zero; nothing else may
     * use the device.  NULL: nobody knows. */
    sr_status (*peaks)(sr_dev *, sr_peaks *out, sr_err *);
} sr_backend;

#ifdef __cplusplus
extern "C"
#endif
const sr_backend *sr_backend_entry(void);
static inline bool sr_reached(sr_point p) { return __atomic_load_n(p.word, __ATOMIC_ACQUIRE) >= p.value; }

/* registry.c: which backends there are, and why not. */
typedef struct { const sr_backend *be; const char *name; char why[200]; } sr_candidate; /* be NULL: cannot be used, see why */
size_t    sr_backend_list(sr_candidate *out, size_t cap);
/* spec: "auto", "cpu", "cuda", "gpu", "cuda:N".  auto takes the best and says in `why` what it passed over ("" if nothing). */
SR_MUSTUSE sr_status sr_backend_pick(const char *spec, const sr_backend **be, int *device, char why[200], sr_err *err);
void      sr_backend_folder(const char *path); /* where plugins are, before the first list or pick; NULL: beside the program */
extern const sr_backend sr_backend_cpu;
#endif
