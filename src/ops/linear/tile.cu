/* tile: blocks as they are in the file, n rows one after the other, into tiles (layout.h): what pack() does, on the device.
 * Shapes   src [n][row bytes], dst n/16 x cols/depth tiles; both in device memory, src on 2 bytes, dst on 16.
 * Roofline the bytes once each way: 265 MB of Q4_K 0.12 ms at 4.3 TB/s, while 4.8 ms pass on a PCIe 5 bus.
 * Mapping  a block per four tiles of 16 rows: their pieces of rows through shared memory with the widest loads that their
 *          addresses allow, then 16 bytes of a tile a thread (tile.h).  Rows lie 16 bytes beyond a multiple of 128 apart there, so that
 *          the lanes of a warp, four bytes each of eight rows, meet no bank twice.
 * Variants v1 a thread per row and eight codes, byte by byte, the tile joined in shared memory: 310 GB/s of Q4_K on an H200.
 * Archs    sm_75+, nothing arch-specific.                                                                                  */
#include "ops/cuda.h"
#include "ops/linear/tile.h"

enum { THREADS = 256, TILES = 4, WARPS = THREADS / 32 };

template <uint32_t FORMAT, typename V>
static __global__ void __launch_bounds__(THREADS) make_tiles(const uint8_t *src, size_t row_bytes, uint32_t tiles_k, uint8_t *dst)
{
    constexpr uint32_t TILE   = FORMAT == SR_F16 ? 2048 : FORMAT == SR_Q8_0 ? 4352 : FORMAT == SR_Q6_K ? 3360 : FORMAT == SR_Q5_K ? 2816 : 2304;
    constexpr uint32_t PIECE  = TILE / 16, STRIDE = (TILES * PIECE + 127) / 128 * 128 + 16;
    __shared__ __align__(16) uint8_t rows[16 * STRIDE];
    uint32_t       first = blockIdx.x * TILES, n = min((uint32_t)TILES, tiles_k - first), per = n * PIECE / (uint32_t)sizeof(V);
    const uint8_t *from  = src + (size_t)blockIdx.y * 16 * row_bytes + (size_t)first * PIECE;
    for (uint32_t r = threadIdx.x / 32; r < 16; r += WARPS)
        for (uint32_t i = threadIdx.x % 32; i < per; i += 32)
            ((V *)(rows + r * STRIDE))[i] = ((const V *)(from + r * row_bytes))[i];
    __syncthreads();
    uint8_t *to = dst + ((size_t)blockIdx.y * tiles_k + first) * TILE;
    for (uint32_t i = threadIdx.x; i < n * SR_TILE_ITEMS; i += THREADS)
        sr_tile_item(FORMAT, rows + i / SR_TILE_ITEMS * PIECE, STRIDE, to + i / SR_TILE_ITEMS * TILE, i % SR_TILE_ITEMS);
}

typedef struct { const uint8_t *src; uint8_t *dst; size_t row_bytes; uint32_t tiles_k, rows; } tilejob;

template <uint32_t FORMAT, typename V> static void launch(cudaStream_t stream, const tilejob &j)
{
    make_tiles<FORMAT, V><<<dim3((j.tiles_k + TILES - 1) / TILES, j.rows / 16), THREADS, 0, stream>>>(j.src, j.row_bytes, j.tiles_k, j.dst);
}

/* Loads of 16 bytes, 4 or 2: what divides a row, a tile's piece of it (in pairs: 420 bytes of Q6_K) and its address. */
template <uint32_t FORMAT> static void widest(cudaStream_t stream, const tilejob &j)
{
    uint32_t  piece = (uint32_t)(j.row_bytes / j.tiles_k);
    uintptr_t all   = (uintptr_t)j.src | j.row_bytes;
    if ((all | piece) % 16 == 0)
        launch<FORMAT, uint4>(stream, j);
    else if ((all | (j.tiles_k % 2 ? piece : 2 * piece)) % 4 == 0)
        launch<FORMAT, uint32_t>(stream, j);
    else
        launch<FORMAT, uint16_t>(stream, j);
}

static void make(cudaStream_t stream, uint16_t format, const tilejob &j)
{
    switch (format) {
    case SR_Q4_K: widest<SR_Q4_K>(stream, j); break;
    case SR_Q5_K: widest<SR_Q5_K>(stream, j); break;
    case SR_Q6_K: widest<SR_Q6_K>(stream, j); break;
    case SR_Q4_0: widest<SR_Q4_0>(stream, j); break;
    case SR_Q8_0: widest<SR_Q8_0>(stream, j); break;
    default: widest<SR_F16>(stream, j); break; /* BF16 too: halves are moved, not read */
    }
}

/* Whatever comes behind on the stream may read tiles before it waits for its forerunner, so this kernel lets nothing overlap it. */
extern "C" bool sr_linear_cuda_tile(cudaStream_t stream, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst)
{
    uint32_t depth = sr_tile_cols(format), most = 65535 * 16;
    if (!depth || !n || n % 16 || cols % depth)
        return false;
    tilejob j = {(const uint8_t *)src, (uint8_t *)dst, sr_row_bytes(format, cols), cols / depth, 0};
    for (uint32_t r = 0; r < n; r += j.rows, j.src += j.rows * j.row_bytes, j.dst += j.rows * j.row_bytes) {
        j.rows = n - r < most ? n - r : most;
        make(stream, format, j);
    }
    return true;
}
