/* gemm90.h - a matrix times more than a few columns on sm_90a: weights become f16 in registers and are multiplied by wgmma, up to 8 columns by mma.
 *
 *     y [m][rows] = x [m][cols] . W^T        W in tiles (layout.h), up to four weights side by side
 *
 * A unit of work is `tiles` row tiles by N columns and all inputs.  Warps have a row tile each, so a unit has up to 16 row tiles (four
 * warpgroups; beyond 32 columns 8 and two), as many as make the units about as many as the multiprocessors.  Where these are too few row tiles
 * for the warpgroups, `split` of them share a row tile's inputs, a tile each at a time; where the units are too few, `cluster` blocks share
 * a unit's inputs, a range each.  Sums meet in (distributed) shared memory, in the order of the inputs: nothing is joined through memory, and
 * no block waits for one that may not be there.
 *
 * Up to 8 columns each warp multiplies alone, since wgmma takes as long for 8 columns as for 32: `split` is then of warps, up to 16 of them, and
 * one ring has stages of tiles and of x for them.
 *
 * x is made f16 by a launch of its own (that of the norm or gated unit before the product,
 * if it can be; products that write the next one's x are slower: notes/0058), with a factor per row, as the image that shared memory is to hold (wgmma.cuh, deep): for each 64
 * inputs N rows of 128 bytes.  Of 16 inputs, input 4t + 2h + e lies at 2t + e + 8h, as tiles have them.  Up to 64 columns each 256 inputs
 * are followed by another N rows, whose first numbers are the sums of x over 32 inputs: eight f16, and eight that are what those lack; every eighth
 * row goes on with what takes eight columns' factors back.  Products in whole numbers (sr_gemm90_exact) go by these, and where an op has no others,
 * each 256 inputs of a row have a factor of their own (`pieces`): no block then waits for a whole row.
 * Up to 8 columns: B operands of mma and sums over 16 inputs (skinny_tile.cuh), with a factor per 256 inputs and row.
 *
 * Pairs     a row of x may be two columns: its f16 numbers, and as f16 what those lack, 22 bits together.  A thread of wgmma's result has both
 * and adds them up before anything else.  Weights are the whole numbers that they are (K-quants; F16 and BF16 are numbers of f16 anyway), so that a
 * row's numbers are the same, but for the order of f32 sums, whatever the rows beside it (notes/0056).  Twice the columns, by 64 at most: for products
 * that take no longer than their launch, or little longer (between.h).  None of Q4_0 and Q8_0, whose factors of 32 weights are rounded with them.
 *
 * Owns:    nothing.   Threads: one owner per device.   Errors: cudaGetLastError().
 */
#ifndef SR_OPS_LINEAR_GEMM90_H
#define SR_OPS_LINEAR_GEMM90_H
#include <cuda_runtime.h>
#include "ops/cuda.h"
#include "ops/linear/skinny.h"

enum { SR_GEMM90_COLS = 256, SR_GEMM90_DEPTH = 16, SR_GEMM90_BARS = 4 * 8 * SR_GEMM90_DEPTH }; /* columns of a tile, and stages of a ring, at most; bytes of
                                                                                                * barriers */
enum { SR_GEMM90_LEAST = 3 }; /* rows of x from which on decoding the weights once is cheaper than skinny's way (notes/0040, 0053) */
/* Formats as bits; parts of these share a launch, any other mixture has launches of its own. */
enum { SR_GEMM90_MIX4 = 1u << SR_Q4_K | 1u << SR_Q6_K, SR_GEMM90_MIX5 = 1u << SR_Q5_K | 1u << SR_Q6_K, SR_GEMM90_K = SR_GEMM90_MIX4 | SR_GEMM90_MIX5 };
#define SR_GEMM90_PAIRS (1u << 31) /* beside formats: in pairs */

typedef struct {
    const uint8_t *p;
    const float *bias;                            /* of its row 0, or NULL */
    uint32_t group0, row_tiles, tiles_k, y0;      /* group0: its first `tiles` row tiles, in the op's count */
    uint32_t format, bytes;                       /* bytes of a tile */
} sr_gemm90part;

typedef struct sr_gemm90 {
    sr_gemm90part part[SR_SKINNY_PARTS];
    uint32_t n_part, blocks_k;                 /* 256-blocks of the inputs */
    uint32_t tiles, split_log, cluster_log;    /* how the work is cut: above */
    uint32_t steps, x_pieces;                  /* of `split` tiles along the inputs; pieces of x of a column tile */
    uint32_t col_tiles, units, grid;
    uint32_t x_depth, w_depth, w_stage, x_stage, at_w, at_bar, smem; /* rings: stages; bytes of a stage; offsets in shared memory */
    uint32_t twice_1024;   /* 1024 twice, as f16: a constant would be folded into instructions that have no room for it */
    const uint8_t *image;
    const float *scale;    /* [m] what a row of x was multiplied by, inverted, but for products in whole numbers; up to 8 columns [blocks_k][N] */
    const float *z;        /* as y, or NULL */
    float *y;
    const uint32_t *count; /* device: rows of this step, or NULL: m */
    uint32_t m, width;
    uint32_t pairs;        /* 1: in pairs */
    uint32_t alike;        /* 1: cut so that a row's numbers do not depend on how many there are (alike.h): no inputs are shared */
} sr_gemm90;

/* Where x comes from: a slot; or what an op before would have written there, which is computed on the way. */
enum { SR_GEMM90_SLOT, SR_GEMM90_NORM, SR_GEMM90_SILU, SR_GEMM90_GELU, SR_GEMM90_KEPT = 16384 }; /* KEPT: most columns of such an op */

typedef struct { /* x to image */
    const float *x;    /* the norm's input; gate and up, [m][2 cols] */
    const float *norm; /* weights of the norm */
    float eps;
    uint32_t from;
    uint8_t *image;
    float *scale;
    const uint32_t *count;
    uint32_t m, n, x_stride, cols, blocks_k; /* n: columns of a tile */
    uint32_t pairs;
    bool pieces; /* each 256 inputs of a row have a factor of their own: for products in whole numbers alone */
} sr_gemm90x;

/* What kernels and their host side both go by.  Whether warps multiply alone; bytes of the image for n columns and 256 inputs; warpgroups that
 * multiply; warps of a seat (what has row tiles of its own: gemm90.cuh), and seats; inputs of a tile of
 * weights and of a piece of x; whether codes times scales are multiplied as the whole numbers that they are (decode_int.cuh). */
#define BOTH static __host__ __device__ constexpr inline
BOTH bool sr_gemm90_few(uint32_t n) { return n <= 8; }
BOTH uint32_t sr_gemm90_block(uint32_t n) { return sr_gemm90_few(n) ? n * 576 : n <= 64 ? n * 640 : n * 512; }
BOTH uint32_t sr_gemm90_groups(uint32_t n) { return n <= 32 ? 4 : 2; }
BOTH uint32_t sr_gemm90_wide(uint32_t n) { return sr_gemm90_few(n) ? 1 : 4; }
BOTH uint32_t sr_gemm90_seats(uint32_t n) { return sr_gemm90_groups(n) * 4 / sr_gemm90_wide(n); }
BOTH uint32_t sr_gemm90_tile_k(uint32_t formats) { return formats & (1u << SR_F16 | 1u << SR_BF16) ? 64 : 256; }
BOTH uint32_t sr_gemm90_piece_k(uint32_t n, uint32_t formats) { return n == 256 ? 64 : n == 128 && sr_gemm90_tile_k(formats) == 256 ? 128 : sr_gemm90_tile_k(formats); }
BOTH uint32_t sr_gemm90_piece(uint32_t n, uint32_t formats) /* bytes */
{
    return sr_gemm90_piece_k(n, formats) == 256 ? sr_gemm90_block(n) : n * sr_gemm90_piece_k(n, formats) * 2;
}
BOTH bool sr_gemm90_exact(uint32_t n, uint32_t formats)
{
    return !sr_gemm90_few(n) && n <= 64 && !(formats & ~(SR_GEMM90_K | SR_GEMM90_PAIRS));
}
/* Where a piece of x has the factor of column c, of its 256 inputs; up to 64 columns. */
BOTH uint32_t sr_gemm90_factor(uint32_t n, uint32_t c) { return n * 512 + c / 8 * 1024 + 32 + c % 8 * 4; }
#undef BOTH
uint32_t sr_gemm90_cols(uint32_t m, uint32_t pairs); /* N for m rows of x: 8, 16, 32, 64, 128 or 256; in pairs 16, 32 or 64 */
/* How many of the first n parts one launch may take; *formats: as bits. */
uint32_t sr_gemm90_share(const sr_gemm90part *p, uint32_t n, uint32_t *formats);
/* Sets everything that follows from the parts, their formats, m, blocks_k and the device, for the cut that should take least. */
void sr_gemm90_plan(sr_gemm90 *g, uint32_t formats, const sr_cudainfo *d);
/* The same for the cut given; the clocks that it should take, or a negative number: it cannot be. */
double sr_gemm90_cut(sr_gemm90 *g, uint32_t formats, const sr_cudainfo *d, uint32_t tiles, uint32_t split_log, uint32_t cluster_log);
size_t sr_gemm90_scratch(uint32_t m, uint32_t cols, bool pairs); /* for m and fewer rows of x; pairs: in pairs or not */
void sr_gemm90_place(sr_gemm90 *g, sr_gemm90x *x, void *scratch);
void sr_gemm90_image(const sr_gemm90x *x, bool pdl, cudaStream_t stream);
void sr_gemm90_multiply(const sr_gemm90 *g, uint32_t formats, bool pdl, cudaStream_t stream);

/* The instances, one file each. */
cudaError_t sr_gemm90_start8(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats);
cudaError_t sr_gemm90_start16(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats);
cudaError_t sr_gemm90_start32(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats);
cudaError_t sr_gemm90_start64(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats);
cudaError_t sr_gemm90_start128(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats);
cudaError_t sr_gemm90_start256(const cudaLaunchConfig_t *c, const sr_gemm90 *g, uint32_t formats);
#endif
