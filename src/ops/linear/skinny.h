/* skinny.h - a matrix times few columns, host side: how the work is cut up, and what the kernel is told.
 *
 *     y [m][rows] = x [m][cols] . W^T     W in 16-row tiles (layout.h), m <= 64 columns a launch
 *
 * One slice (few columns): the warps of a block share its (row tile, 256 inputs) pairs, each taking one run of
 * them, so that all have the same number but for one, whatever the shape; their sums are added in order:
 *
 *     row tile 0   | w0 w0 w0 w0 w0 w1 w1 w1 |      one barrier per round of rows_round row tiles
 *     row tile 1   | w1 w1 w2 w2 w2 w2 w2 w3 | ...
 *
 * Several slices (x as f16 does not fit into shared memory): each slice of whole 256-blocks has blocks of its
 * own, a warp takes whole row tiles, the last warp to arrive at a row tile adds its slices in their order.
 * Up to 4 columns a block takes half a multiprocessor, so that the next kernel's weights can be under way.
 *
 * Owns:    nothing.   Threads: pure functions.   Errors: none.
 */
#ifndef SR_OPS_LINEAR_SKINNY_H
#define SR_OPS_LINEAR_SKINNY_H
#include <cuda_runtime.h>
#include "ops/linear/layout.h"

enum { SR_SKINNY_COLS = 64, SR_SKINNY_PARTS = 4, SR_SKINNY_DEPTH = 8 };

typedef struct { /* one weight of the op */
    const uint8_t *p;
    uint32_t tile0;      /* first row tile, in the op's count */
    uint32_t tiles_k;    /* tiles along the inputs */
    uint16_t bytes, per; /* of a tile; tiles to a 256-block */
    uint32_t format, y0; /* y0: column of y of its row 0 */
    const float *bias;   /* of its row 0, or NULL */
} sr_skinnypart;

typedef struct sr_skinny {              /* what a block needs first lies first */
    uint32_t rows_block, rows_extra;    /* row tiles of a block; one more for the first rows_extra */
    uint32_t slices, slice_k, blocks_k; /* 256-blocks of a slice, of all inputs (the last one may be short) */
    uint32_t rows_round, warps_log, n_part; /* row tiles of a round; log2 of a block's warps */
    uint32_t depth, stage,
        chunk;                /* ring of each warp: stages, bytes and most tiles of one; depth 0: no ring */
    uint32_t at_bar, at_ring; /* offsets in shared memory; x lies at 0 */
    sr_skinnypart part[SR_SKINNY_PARTS];
    const float *x, *z; /* x: first input column, rows x_stride apart; z or NULL: as y */
    float *y;
    const uint32_t *count; /* device: rows of this step, or NULL: all */
    float *partial;        /* [slice][m][16 * row_tiles], if slices > 1 */
    uint32_t *arrived;     /* [row_tiles], zero between launches; if slices > 1 */
    uint32_t row0, m;      /* first row of x of this launch, rows */
    uint32_t x_stride, width, cols, row_tiles;
    uint32_t at_scale, at_red, smem, grid; /* grid: blocks of a slice */
    uint32_t alike;        /* not 0: a column's sums are added in the same order whatever m */
} sr_skinny;

typedef struct {
    int arch, sms, smem;
    uint32_t warps, depth;
} sr_skinnydev; /* smem: of a block; warps, depth: at most, 0 = as many as fit */

/* Cuts the work up: sets everything from `slices` on.  plan_m: columns the cut is made for (64: the same
 * cut whatever m). */
void sr_skinny_plan(sr_skinny *s, const sr_skinnydev *d, uint32_t plan_m);
size_t sr_skinny_scratch(const sr_skinny *s); /* bytes: counters, then partial sums */
void sr_skinny_launch(const sr_skinny *s, bool pdl, cudaStream_t stream);

/* The instances, one file each: 8, 16, 32, 64 columns; format SR_DTYPE_NONE: the parts differ. */
cudaError_t sr_skinny_start1(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format);
cudaError_t sr_skinny_start2(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format);
cudaError_t sr_skinny_start4(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format);
cudaError_t sr_skinny_start8(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format);
#endif
