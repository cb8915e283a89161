/* gemm.h - a matrix times many columns: weights become f16 slab by slab and are multiplied by wgmma (sm_90).
 *
 * Slab and activations lie in scratch as the images that shared memory is to hold: tiles of 128 rows x 64
 * inputs, 16 KB, rows of 128 bytes, 16-byte piece c of row r at c ^ (r % 8).  So a stage is two bulk copies
 * and no tensor map is needed.
 *
 * Owns: nothing.   Threads: one owner per device.   Errors: cudaGetLastError().
 */
#ifndef SR_OPS_LINEAR_GEMM_H
#define SR_OPS_LINEAR_GEMM_H
#include <cuda_runtime.h>
#include "ops/linear/skinny.h"

enum {
    SR_GEMM_TILE = 128,
    SR_GEMM_SLAB = 128 << 20
}; /* bytes of a slab at most: larger ones leave fewer half-empty waves */

typedef struct {
    const float *x, *z, *bias; /* z as y, bias by row; or NULL */
    float *y, *scale;          /* scale: [rows of x] what a row of x was multiplied by, inverted */
    uint8_t *xs, *ws;          /* tiles of x, of the slab */
    const uint8_t *w;          /* packed tiles of the slab's first row */
    const uint32_t *count;     /* device: rows of x this step, or NULL: m */
    uint32_t m, x_stride, width, cols, y0, rows, format, tiles_k; /* rows: of the slab */
} sr_gemm;

size_t sr_gemm_scratch(uint32_t m, uint32_t cols); /* scale, tiles of x, slab */
void sr_gemm_place(sr_gemm *g, void *scratch);     /* by m and cols */
uint32_t sr_gemm_slab_rows(uint32_t cols);
void sr_gemm_convert(const sr_gemm *g, cudaStream_t stream);  /* x to f16 tiles */
void sr_gemm_multiply(const sr_gemm *g, cudaStream_t stream); /* one slab */
#endif
