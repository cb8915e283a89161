/* job.h - a LINEAR op unfolded: what every kernel of this folder needs to know, found once per call.
 *
 *   op ---- part 0 (q) ---- part 1 (k) ---- part 2 (v)      weights of the run, each with its format
 *             rows [0,n)      ...                           y column y0 + i is row i of the part
 *
 * Scratch  [activations, K kind][activations, 0 kind][activations, two BF16][one work area per thread].  A kernel may lay the
 *          activations out as it likes inside its areas; both phases of a call must agree.
 * Shares   Many rows of x: pieces (part, first row, rows) are drawn from the job's counter, so that a thread which
 *          is late or has the dearer format does less.
 *          Few rows of x: memory is the limit, and a core reads fastest along several runs that lie far apart (one
 *          run 28 GB/s, four 44 GB/s on two cores of a Sapphire Rapids).  So a thread's share of a part is cut into
 *          `lanes` runs, and a group is the next row of each; who is done draws groups of another's share.
 *
 *              share of thread 0                 share of thread 1
 *              |lane 0 ....|lane 1 ....|..       |lane 0 ....|..
 *              group 0: ^           ^            group i: row i of every lane
 *
 * Threads: pure functions of the job, but for sr_linear_take and sr_linear_walk.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_JOB_H
#define SR_OPS_LINEAR_JOB_H
#include "ops/linear/linear.h"

enum {
    SR_LIN_TILE   = 16,         /* rows of x are padded to this in scratch */
    SR_LIN_XK     = 320,        /* scratch bytes of 256 quantised activations, with sums and scale */
    SR_LIN_X0     = 40,         /* ... of 32 */
    SR_LIN_XH     = 4,          /* ... of one, as two BF16, for weights of 16-bit floats */
    SR_LIN_WORKER = 1 << 20,    /* scratch bytes of each thread */
    SR_LIN_ALONE  = 32768       /* most columns of a single row that each thread quantises for itself */
};

typedef enum { SR_LIN_FLOAT, SR_LIN_KIND0, SR_LIN_KINDK } sr_linkind; /* how x is given to a format */

typedef struct {
    const float   *x;         /* [rows][cols] */
    float         *y;         /* [rows][width] */
    const float   *z;         /* [rows][width] or NULL */
    uint32_t       rows, cols, width, n_w;
    unsigned char *xk, *x0, *xh; /* scratch, 64-byte aligned; NULL: no weight of the op wants it */
    unsigned char *work;      /* this thread's */
} sr_linop;

typedef struct {
    const unsigned char *p;   /* row 0 of what this device holds */
    const float         *bias; /* of that row, or NULL */
    size_t               row_bytes;
    uint32_t             format, n_row, col0, n_col, y0;
    sr_linkind           kind;
} sr_linpart;

typedef struct { sr_linpart part; uint32_t row, n; } sr_linpiece;
typedef struct { uint32_t row, apart, n; } sr_linrows; /* rows row + i * apart of a part, i < n */

typedef struct {               /* one thread's way through the groups of an op */
    const sr_cpujob *job;
    uint32_t lanes, most;      /* runs of a share; groups drawn at a time */
    uint32_t owner, owners;    /* whose share, how many are left to visit */
    uint32_t at, end;          /* groups drawn and not yet given */
    uint32_t first, last;      /* groups of `part` in the owner's share */
    uint32_t row, stop, apart; /* its rows [row, stop), a run's rows */
    sr_linpart part;
} sr_linwalk;

static inline sr_linkind sr_linear_kind(uint32_t format)
{
    return format == SR_Q4_0 || format == SR_Q8_0                         ? SR_LIN_KIND0
           : format == SR_Q4_K || format == SR_Q5_K || format == SR_Q6_K ? SR_LIN_KINDK
                                                                          : SR_LIN_FLOAT;
}

/* Bytes of a block of a quantised format; a constant where the format is one. */
static inline size_t sr_linear_block(uint32_t format)
{
    return format == SR_Q4_K   ? sizeof(sr_q4_K)
           : format == SR_Q5_K ? sizeof(sr_q5_K)
           : format == SR_Q6_K ? sizeof(sr_q6_K)
           : format == SR_Q8_0 ? sizeof(sr_q8_0)
                               : sizeof(sr_q4_0);
}

void       sr_linear_unfold(const sr_cpujob *j, sr_linop *o);
bool       sr_linear_part(const sr_cpujob *j, uint32_t k, sr_linpart *part); /* false: no rows of it here */

/* The next piece of the op: about `bytes` of weights in whole `grain`s of rows; false: none left. */
bool sr_linear_take(const sr_cpujob *j, uint32_t grain, size_t bytes, sr_linpiece *piece);
size_t sr_linear_bytes(const sr_cpujob *j); /* weights of the op held here */

/* Phase 0 quantises the activations.  It is left out where no weight wants that, and for a single row of x, which each
 * thread quantises for itself into its work area: cheaper than a barrier.  sr_cpukernel.skip of every kernel. */
uint32_t sr_linear_skip(const sr_cpujob *j);

void sr_linear_walk(const sr_cpujob *j, uint32_t lanes, sr_linwalk *k);
bool sr_linear_step(sr_linwalk *k, sr_linrows *rows); /* the next group, of k->part; false: none left */
#endif
