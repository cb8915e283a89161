/* tile: blocks as they are in the file, n rows one after the other, into tiles (layout.h): what pack() does, on the device.
 * Shapes   src [n][row bytes], dst n/16 x cols/depth tiles; both in device memory, src on 2 bytes, dst on 16.
 * Roofline the bytes once each way: 265 MB of Q4_K 0.12 ms at 4.3 TB/s, while 4.8 ms pass on a PCIe 5 bus.
 * Mapping  a block per tile: rows through shared memory, a thread per (row, eight codes).
 * Archs    sm_75+, nothing arch-specific.                                                                                  */
#include "ops/cuda.h"
#include "ops/linear/tile.h"

enum { THREADS = 256, MAX_TILE = 4352 };

static __global__ void __launch_bounds__(THREADS) make_tiles(uint32_t format, const uint8_t *src, size_t row_bytes, uint32_t piece, uint32_t tiles_k,
                                                             uint32_t tile_bytes, uint8_t *dst)
{
    __shared__ __align__(16) uint8_t rows[MAX_TILE], tile[MAX_TILE];
    size_t         at = (size_t)blockIdx.y * tiles_k + blockIdx.x;
    const uint8_t *from = src + (size_t)blockIdx.y * 16 * row_bytes + (size_t)blockIdx.x * piece;
    for (uint32_t i = threadIdx.x; i < 8 * piece; i += THREADS) { /* halves: blocks of Q6_K and Q8_0 lie on even addresses only */
        uint32_t r = i / (piece / 2), w = i % (piece / 2);
        ((uint16_t *)rows)[i] = ((const uint16_t *)(from + r * row_bytes))[w];
    }
    for (uint32_t i = threadIdx.x; i < tile_bytes / 4; i += THREADS)
        ((uint32_t *)tile)[i] = 0;
    __syncthreads();
    if (format == SR_F16 || format == SR_BF16) {
        for (uint32_t i = threadIdx.x; i < 16 * 8; i += THREADS)
            sr_tile_halves(rows + i / 8 * piece, tile, i / 8, i % 8);
    } else {
        for (uint32_t i = threadIdx.x; i < 16 * 32; i += THREADS)
            sr_tile_octet(format, rows + i / 32 * piece, tile, i / 32, i % 32);
        for (uint32_t i = threadIdx.x; i < 16 * 8; i += THREADS) {
            sr_tilescale s = sr_tile_scale(format, i / 8, i % 8);
            for (uint32_t b = 0; b < s.n; b++)
                tile[s.to + b] = rows[i / 8 * piece + s.from + b];
        }
    }
    __syncthreads();
    uint4 *to = (uint4 *)(dst + at * tile_bytes);
    for (uint32_t i = threadIdx.x; i < tile_bytes / 16; i += THREADS)
        to[i] = ((const uint4 *)tile)[i];
}

/* Whatever comes behind on the stream may read tiles before it waits for its forerunner, so this kernel lets nothing overlap it. */
extern "C" bool sr_linear_cuda_tile(cudaStream_t stream, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst)
{
    uint32_t depth = sr_tile_cols(format), most = 65535 * 16;
    if (!depth || !n || n % 16 || cols % depth)
        return false;
    size_t row_bytes = sr_row_bytes(format, cols);
    for (uint32_t r = 0; r < n; r += most) {
        uint32_t rows = n - r < most ? n - r : most;
        make_tiles<<<dim3(cols / depth, rows / 16), THREADS, 0, stream>>>(format, (const uint8_t *)src + r * row_bytes, row_bytes,
                                                                         (uint32_t)sr_row_bytes(format, depth), cols / depth,
                                                                         sr_tile_bytes(format), (uint8_t *)dst + r * row_bytes);
    }
    return true;
}
