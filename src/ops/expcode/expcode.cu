/* expcode: coded BF16 or F16 (expcode.h) as rows, or as the tiles that products read (linear/layout.h).
 * Shapes   src a text of rows x cols numbers, on 16 bytes; dst rows x cols halves, on 16 bytes; both in device memory.
 * Roofline the text in, the numbers out: 235 MB of BF16 (155 coded) 0.09 ms at 4.3 TB/s, while 2.8 ms pass on a PCIe 5 bus.  What binds
 *          is the chain of a number (look, shift, look), 1024 of them one after the other.
 * Target   far above bus / 0.66, 84 GB/s of numbers: it hides behind the next unit's copy.  On an H200 430 to 500 GB/s as rows, 260 to
 *          410 as tiles, 150 of a small matrix (notes/0034).
 * Mapping  a thread per block of 1024 numbers; table and codes in shared memory, lower parts 16 a load and a round ahead.  16 numbers are
 *          written at once: rows 2 x 16 bytes, tiles 8 words, whose other halves the thread of row + 8 writes.
 * Variants v1 blocks of 4096, codes from global memory through registers, prefetched: 160 GB/s.  Lanes want words at different times, and
 *          each load stalls the whole warp when any lane touches its register.  v2 is this.  Codes too long for shared memory (no
 *          weights have such) are read where they are.
 * Archs    sm_75+, nothing arch-specific.                                                                                          */
#include "ops/expcode/expcode_cuda.h"
#include "ops/linear/tile.h"

/* Threads of a block of each format, so that the codes of all fit: 3.25 and 6.5 bits a number. */
enum { THREADS_BF16 = 64, THREADS_F16 = 32, GROUP = 16, ROOM = 26 << 10 };

/* Two entries of the table, symbol << 4 | length: 32 bits from *at on hold two codes. */
static __device__ __forceinline__ void look(const uint32_t *code, uint32_t *at, const uint16_t *table, uint32_t *a, uint32_t *b)
{
    const uint32_t *w = code + *at / 32;
    uint32_t        x = __funnelshift_l(w[1], w[0], *at % 32);
    *a  = table[x >> (32 - SR_EXPCODE_BITS)];
    *b  = table[(x << (*a & 15u)) >> (32 - SR_EXPCODE_BITS)];
    *at += (*a & 15u) + (*b & 15u);
}

template <bool BF16> static __device__ __forceinline__ uint32_t number(uint32_t t, uint32_t raw)
{
    return BF16 ? (raw & 128u) << 8 | (t >> 4) << 7 | (raw & 127u) : (t >> 4) << 8 | raw;
}

/* Two numbers a word, the first below. */
template <bool BF16> static __device__ __forceinline__ void group(const uint32_t *code, uint32_t *at, const uint16_t *table, uint4 raw, uint32_t *v)
{
    const uint32_t part[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < GROUP / 2; i++) {
        uint32_t two = part[i / 2] >> i % 2 * 16, a, b;
        look(code, at, table, &a, &b);
        v[i] = number<BF16>(a, two & 255u) | number<BF16>(b, two >> 8 & 255u) << 16;
    }
}

/* Sixteen inputs of a row are one step s of a 32-block: four lanes' words of both registers. */
static __device__ __forceinline__ void put_tiles(uint8_t *dst, uint32_t row, uint32_t col, uint32_t cols, const uint32_t *v)
{
    uint8_t *tile = dst + ((size_t)(row / 16) * (cols / 64) + col / 64) * 2048;
    uint32_t b = col % 64 / 32, s = col % 32 / 16, r = row % 16;
#pragma unroll
    for (int i = 0; i < GROUP / 2; i++) {
        uint32_t lane = r % 8 * 4 + i / 2;
        *(uint32_t *)(tile + ((b * 2 + s) * 32 + lane) * 16 + i % 2 * 8 + r / 8 * 4) = v[i];
    }
}

/* Numbers [first, first + n), whose codes begin at bit `at` of `code`. */
template <bool BF16, bool TILES>
static __device__ __forceinline__ void block(const uint32_t *code, uint32_t at, const uint16_t *table, const uint8_t *raw, size_t first, uint32_t n,
                                             uint32_t cols, uint8_t *dst)
{
    uint32_t v[GROUP / 2], i = 0, row = (uint32_t)(first / cols), col = (uint32_t)(first % cols);
    uint4    next = n >= GROUP ? __ldg((const uint4 *)raw) : make_uint4(0, 0, 0, 0);
    for (; i + GROUP <= n; i += GROUP) {
        uint4 now = next;
        if (i + 2 * GROUP <= n)
            next = __ldg((const uint4 *)(raw + i + GROUP));
        group<BF16>(code, &at, table, now, v);
        if (TILES) {
            put_tiles(dst, row, col, cols, v);
            col += GROUP;
            row += col == cols;
            col = col == cols ? 0 : col;
        } else {
            uint4 *to = (uint4 *)(dst + 2 * (first + i));
            to[0]     = make_uint4(v[0], v[1], v[2], v[3]);
            to[1]     = make_uint4(v[4], v[5], v[6], v[7]);
        }
    }
    for (; i < n; i++) { /* of tiles: never, their numbers are a multiple of 1024 */
        uint32_t x = __funnelshift_l(code[at / 32 + 1], code[at / 32], at % 32), a = table[x >> (32 - SR_EXPCODE_BITS)];
        ((uint16_t *)dst)[first + i] = (uint16_t)number<BF16>(a, raw[i]);
        at += a & 15u;
    }
}

template <bool BF16, bool TILES>
static __global__ void __launch_bounds__(BF16 ? THREADS_BF16 : THREADS_F16)
    expand(const uint8_t *src, uint32_t n, uint32_t blocks, uint32_t cols, uint8_t *dst)
{
    __shared__ __align__(16) uint16_t table[SR_EXPCODE_TABLE];
    __shared__ __align__(16) uint32_t near[ROOM / 4 + 8];
    const uint32_t *ends  = (const uint32_t *)(src + sr_expcode_ends()), *code = (const uint32_t *)(src + sr_expcode_codes(blocks, n));
    uint32_t        threads = blockDim.x, b0 = blockIdx.x * threads, b1 = b0 + threads < blocks ? b0 + threads : blocks, b = b0 + threadIdx.x;
    uint32_t        from = (b0 ? ends[b0 - 1] : 0) / 4 * 4, words = ends[b1 - 1] - from;
    bool            fits = words <= ROOM / 4;
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < SR_EXPCODE_TABLE / 8; i += threads)
        ((uint4 *)table)[i] = __ldg((const uint4 *)(src + SR_EXPCODE_HEAD) + i);
    if (fits) { /* and what a last look may see behind them */
#pragma unroll 8
        for (uint32_t i = threadIdx.x; i < words / 4 + 2; i += threads)
            ((uint4 *)near)[i] = __ldg((const uint4 *)(code + from) + i);
    }
    __syncthreads();
    if (b >= blocks)
        return;
    size_t         first = (size_t)b * SR_EXPCODE_BLOCK;
    uint32_t       mine  = b ? ends[b - 1] : 0, count = n - first < SR_EXPCODE_BLOCK ? (uint32_t)(n - first) : SR_EXPCODE_BLOCK;
    const uint8_t *raw   = src + sr_expcode_raw(blocks) + first;
    if (fits)
        block<BF16, TILES>(near, (mine - from) * 32, table, raw, first, count, cols, dst);
    else
        block<BF16, TILES>(code + mine, 0, table, raw, first, count, cols, dst);
}

/* As sr_linear_cuda_tile: nothing behind it may overlap it. */
extern "C" bool sr_expcode_cuda(cudaStream_t stream, uint16_t format, uint32_t rows, uint32_t cols, const void *src, void *dst, bool tiles)
{
    uint64_t n = (uint64_t)rows * cols;
    if (!n || n > UINT32_MAX || !sr_expcode_knows(format) || (tiles && (rows % 16 || cols % 64)))
        return false;
    uint32_t       blocks = (uint32_t)((n + SR_EXPCODE_BLOCK - 1) / SR_EXPCODE_BLOCK), threads = format == SR_BF16 ? THREADS_BF16 : THREADS_F16, grid = (blocks + threads - 1) / threads;
    const uint8_t *from = (const uint8_t *)src;
    uint8_t       *to   = (uint8_t *)dst;
    if (format == SR_BF16 && tiles)
        expand<true, true><<<grid, threads, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    else if (format == SR_BF16)
        expand<true, false><<<grid, threads, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    else if (tiles)
        expand<false, true><<<grid, threads, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    else
        expand<false, false><<<grid, threads, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    return true;
}
