/* expcode: coded BF16 or F16 (expcode.h) as rows, or as the tiles that products read (linear/layout.h).
 * Shapes   src a text of rows x cols numbers, on 16 bytes; dst rows x cols halves, on 16 bytes; both in device memory.
 * Roofline the text in, the numbers out: 235 MB of BF16 (155 coded) 0.09 ms at 4.3 TB/s, while 2.8 ms pass on a PCIe 5 bus.  What binds
 *          is the chain of a number (look, shift, look): some 60 cycles, 4096 of them one after the other.
 * Target   far above bus / 0.66, 84 GB/s of numbers: it hides behind the next unit's copy (figures: notes/0034).
 * Mapping  a thread per block of 4096 numbers, the table in shared memory; 16 lower parts and 4 words of codes a load, the words 4 to
 *          8 ahead.  16 numbers are written at once: rows 2 x 16 bytes, tiles 8 words, whose other halves the thread of row + 8 writes.
 * Archs    sm_75+, nothing arch-specific.                                                                                          */
#include "ops/expcode/expcode_cuda.h"
#include "ops/linear/tile.h"

enum { THREADS = 64, GROUP = 16 };

typedef struct { /* words of codes; hi holds the next bits, `used` of them are gone */
    const uint4 *next;
    uint4        now, then;
    uint32_t     hi, lo, used, left; /* left: words of `now` */
} reader;

static __device__ __forceinline__ uint32_t take(reader *r)
{
    uint32_t w = r->now.x;
    r->now.x   = r->now.y;
    r->now.y   = r->now.z;
    r->now.z   = r->now.w;
    if (--r->left == 0) {
        r->now  = r->then;
        r->then = __ldg(r->next++);
        r->left = 4;
    }
    return w;
}

static __device__ __forceinline__ reader begin(const uint8_t *codes, uint32_t word)
{
    reader r;
    r.next = (const uint4 *)codes + word / 4;
    r.now  = __ldg(r.next++);
    r.then = __ldg(r.next++);
    r.left = 4;
    r.used = 0;
    r.hi   = take(&r);
    r.lo   = take(&r);
    return r;
}

/* symbol << 4 | length */
static __device__ __forceinline__ uint32_t look(reader *r, const uint16_t *table)
{
    uint32_t t = table[__funnelshift_l(r->lo, r->hi, r->used) >> (32 - SR_EXPCODE_BITS)];
    r->used += t & 15u;
    if (r->used >= 32) {
        r->used -= 32;
        r->hi = r->lo;
        r->lo = take(r);
    }
    return t;
}

template <bool BF16> static __device__ __forceinline__ uint32_t number(uint32_t t, uint32_t raw)
{
    return BF16 ? (raw & 128u) << 8 | (t >> 4) << 7 | (raw & 127u) : (t >> 4) << 8 | raw;
}

/* Two numbers a word, the first below. */
template <bool BF16> static __device__ __forceinline__ void group(reader *r, const uint16_t *table, uint4 raw, uint32_t *v)
{
    const uint32_t part[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < GROUP / 2; i++) {
        uint32_t two = part[i / 2] >> i % 2 * 16, a = number<BF16>(look(r, table), two & 255u), b = number<BF16>(look(r, table), two >> 8 & 255u);
        v[i]         = a | b << 16;
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

template <bool BF16, bool TILES>
static __global__ void __launch_bounds__(THREADS) expand(const uint8_t *src, uint32_t n, uint32_t blocks, uint32_t cols, uint8_t *dst)
{
    __shared__ __align__(16) uint16_t table[SR_EXPCODE_TABLE];
    for (uint32_t i = threadIdx.x; i < SR_EXPCODE_TABLE / 8; i += THREADS)
        ((uint4 *)table)[i] = __ldg((const uint4 *)(src + SR_EXPCODE_HEAD) + i);
    __syncthreads();
    uint32_t b = blockIdx.x * THREADS + threadIdx.x;
    if (b >= blocks)
        return;
    const uint32_t *ends  = (const uint32_t *)(src + sr_expcode_ends());
    const uint8_t  *raw   = src + sr_expcode_raw(blocks) + (size_t)b * SR_EXPCODE_BLOCK;
    reader          r     = begin(src + sr_expcode_codes(blocks, n), b ? ends[b - 1] : 0);
    size_t          first = (size_t)b * SR_EXPCODE_BLOCK;
    uint32_t        count = n - first < SR_EXPCODE_BLOCK ? (uint32_t)(n - first) : SR_EXPCODE_BLOCK, v[GROUP / 2], i = 0;
    uint32_t        row = (uint32_t)(first / cols), col = (uint32_t)(first % cols);
    for (; i + GROUP <= count; i += GROUP) {
        group<BF16>(&r, table, __ldg((const uint4 *)(raw + i)), v);
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
    for (; i < count; i++) /* of tiles: never, their numbers are a multiple of 1024 */
        ((uint16_t *)dst)[first + i] = (uint16_t)number<BF16>(look(&r, table), raw[i]);
}

/* As sr_linear_cuda_tile: nothing behind it may overlap it. */
extern "C" bool sr_expcode_cuda(cudaStream_t stream, uint16_t format, uint32_t rows, uint32_t cols, const void *src, void *dst, bool tiles)
{
    uint64_t n = (uint64_t)rows * cols;
    if (!n || n > UINT32_MAX || !sr_expcode_knows(format) || (tiles && (rows % 16 || cols % 64)))
        return false;
    uint32_t       blocks = (uint32_t)((n + SR_EXPCODE_BLOCK - 1) / SR_EXPCODE_BLOCK), grid = (blocks + THREADS - 1) / THREADS;
    const uint8_t *from = (const uint8_t *)src;
    uint8_t       *to   = (uint8_t *)dst;
    if (format == SR_BF16 && tiles)
        expand<true, true><<<grid, THREADS, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    else if (format == SR_BF16)
        expand<true, false><<<grid, THREADS, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    else if (tiles)
        expand<false, true><<<grid, THREADS, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    else
        expand<false, false><<<grid, THREADS, 0, stream>>>(from, (uint32_t)n, blocks, cols, to);
    return true;
}
