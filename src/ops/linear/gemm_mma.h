/* gemm_mma.h - a matrix times more than a few columns below sm_90a: weights become int8 or f16 in registers and are multiplied by mma.sync.
 *
 *     y [m][rows] = x [m][cols] . W^T        W in tiles (layout.h), up to four weights of one format side by side
 *
 * A block has eight warps and N columns; a warp has its own one or two row tiles, whose bytes come straight from memory into its registers
 * 64 inputs ahead, and all N columns, so that a block decodes no weight twice.  Shared memory holds x alone, by stages of 1024 bytes for each
 * eight columns, as B fragments: 16 bytes a lane are what it needs of a cell, with no conflicts and no ldmatrix.
 *
 *     cell   512 bytes: eight rows of x by 64 inputs (int8) or 32 (f16).  Lane 4g + t has of row g the numbers 16 s + 4t .. + 3 of each
 *            32 inputs, s = 0, 1, and of int8 those of the next 32; int8 in the order 0, 2, 1, 3 of four, as tiles' words have them (layout.h)
 *     image  [eight rows][cell]; then, of int8, [eight rows][256 or 128 inputs] what belongs to them
 *
 * x is put into that form by a launch of its own, or by the norm or gated unit before the product (sr_gemm_mmax):
 *
 *     F16    f16 with a factor per row: the largest becomes 2^10 .. 2^11
 *     S8K    int8 with a factor per 256 inputs, and the sums of each 32 of them as f16 (beyond 2048 rounded to 2): 160 bytes for eight rows:
 *            [row][eight sums], [row] factor.  It is the Q8_K that a CPU multiplies K-quants by (linear.h), so are its products
 *     S8     int8 with a factor per 32: 128 bytes for eight rows and 128 inputs.  It is Q8_0, but for the factor, which stays f32
 *
 * Owns:    nothing.   Threads: pure functions and launches.   Errors: cudaGetLastError().
 */
#ifndef SR_OPS_LINEAR_GEMM_MMA_H
#define SR_OPS_LINEAR_GEMM_MMA_H
#include <cuda_runtime.h>
#include "ops/cuda.h"
#include "ops/linear/skinny.h"

enum { SR_GEMM_MMA_F16 = 1, SR_GEMM_MMA_S8K, SR_GEMM_MMA_S8 };           /* forms of x */
enum { SR_GEMM_MMA_WARPS = 8, SR_GEMM_MMA_COLS = 64 };                   /* COLS: most columns of a block */
enum { SR_GEMM_MMA_SLOT, SR_GEMM_MMA_NORM, SR_GEMM_MMA_SILU, SR_GEMM_MMA_GELU }; /* where x comes from */

typedef struct {
    const uint8_t *p;
    const float *bias;               /* of its row 0, or NULL */
    uint32_t group0, row_tiles, y0;  /* group0: the first of its blocks' row groups, in the launch's count */
} sr_gemm_mmapart;

typedef struct {
    sr_gemm_mmapart part[SR_SKINNY_PARTS];
    uint32_t n_part, format, form, tiles_k, cols;
    uint32_t row_tiles, n;           /* how it is cut: row tiles of a warp (1, 2), columns of a block */
    const uint8_t *image, *beside;
    const float *scale;              /* F16: [m] what a row of x was multiplied by, inverted */
    const float *z;                  /* as y, or NULL */
    float *y;
    const uint32_t *count;           /* device: rows of this step, or NULL: m */
    uint32_t m, width, arch;         /* arch: of the code */
} sr_gemm_mma;

typedef struct { /* x to image */
    const float *x;    /* the norm's input; gate and up, [m][2 cols] */
    const float *norm; /* weights of the norm */
    float eps;
    uint32_t from, form, m, x_stride, cols;
    uint8_t *image, *beside;
    float *scale;
    const uint32_t *count;
} sr_gemm_mmax;

/* Bytes that belong to eight rows, and to how many inputs. */
static __host__ __device__ constexpr inline uint32_t sr_gemm_mma_beside(uint32_t form) { return form == SR_GEMM_MMA_S8K ? 160 : form == SR_GEMM_MMA_S8 ? 128 : 0; }
static __host__ __device__ constexpr inline uint32_t sr_gemm_mma_beside_k(uint32_t form) { return form == SR_GEMM_MMA_S8K ? 256 : 128; }

/* How m rows are multiplied by a weight of this format by code for `arch`; form 0: by skinny. */
typedef struct {
    uint32_t form, row_tiles, n;
} sr_gemm_mmaway;
sr_gemm_mmaway sr_gemm_mma_way(const sr_cudainfo *d, uint32_t format, uint32_t m);
size_t sr_gemm_mma_scratch(uint32_t m, uint32_t cols); /* for m and fewer rows, whatever the form */
/* Where the image of x and what belongs to it lie; x->form, m, cols are set. */
void sr_gemm_mma_place(sr_gemm_mmax *x, void *scratch);
void sr_gemm_mma_image(const sr_gemm_mmax *x, cudaStream_t stream);
void sr_gemm_mma_multiply(sr_gemm_mma *g, cudaStream_t stream); /* sets group0 */

/* The instances, by form; grid in c. */
cudaError_t sr_gemm_mma_start_f16(const cudaLaunchConfig_t *c, const sr_gemm_mma *g);
cudaError_t sr_gemm_mma_start_s8k(const cudaLaunchConfig_t *c, const sr_gemm_mma *g);
cudaError_t sr_gemm_mma_start_s8(const cudaLaunchConfig_t *c, const sr_gemm_mma *g);
#endif
