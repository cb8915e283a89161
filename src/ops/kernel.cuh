/* kernel.cuh - what the plain kernels of all families share on the device: true row counts, reductions, decoding of one number.
 *
 * Decoding follows sr_decode_row's arithmetic step by step, so files that include this are compiled with -fmad=false where
 * bits matter.   Threads: device code.   Source: ops/quant/quant.h (blocks), ops/linear/layout.h (tiles).
 */
#ifndef SR_OPS_KERNEL_CUH
#define SR_OPS_KERNEL_CUH
#include "ops/cuda.h"
#include "ops/linear/layout.h"
#include "ops/mathf.h"
#include <cuda_fp16.h>

/* How many rows a slot has, asked on the device: inside a graph the host's counts are the bucket's. */
typedef struct { const sr_shape *n; uint32_t kind, fixed; } sr_devrows;

static inline sr_devrows sr_rows_of(const sr_cudajob *j, uint16_t slot)
{
    const sr_slot *s = &j->prog->slot[slot];
    return {j->count, s->rows, s->fixed};
}

static __device__ inline uint32_t sr_dev_rows(sr_devrows r)
{
    switch (r.kind) {
    case SR_ROWS_TOK: return r.n->tok;
    case SR_ROWS_PAIR: return r.n->tok * r.fixed;
    case SR_ROWS_OUT: return r.n->out;
    case SR_ROWS_SEQ: return r.n->seq;
    default: return r.fixed;
    }
}

/* Overlap with the neighbours (sm_90's own code): the next kernel may be brought in from here on, and what earlier ones wrote, this
 * step's counts included, is there from here on.  First statement of a kernel that sr_launch() starts; before it only weights
 * may be read. */
static __device__ inline void sr_await_forerunner(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* kernel<<<grid, block, shared, j->stream>>>(..), allowed to start while its forerunner ends where the code in use can do that.
 * Errors are asked for by the backend. */
template <typename... PARAMS, typename... ARGS>
static inline void sr_launch(const sr_cudajob *j, void (*kernel)(PARAMS...), dim3 grid, dim3 block, size_t shared, ARGS... arg)
{
    cudaLaunchAttribute overlap = {};
    cudaLaunchConfig_t  c = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    c.gridDim          = grid;
    c.blockDim         = block;
    c.dynamicSmemBytes = shared;
    c.stream           = j->stream;
    c.attrs            = &overlap;
    c.numAttrs         = j->dev->pdl ? 1 : 0;
    cudaLaunchKernelEx(&c, kernel, PARAMS(arg)...);
}

static __device__ inline float sr_warp_sum(float v)
{
    for (int i = 16; i; i /= 2)
        v += __shfl_xor_sync(~0u, v, i);
    return v;
}

static __device__ inline float sr_warp_max(float v)
{
    for (int i = 16; i; i /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, i));
    return v;
}

static __device__ inline float sr_half_at(const uint8_t *p)
{
    return __half2float(__ushort_as_half((unsigned short)(p[0] | p[1] << 8)));
}

/* Scale and minimum j of the twelve packed bytes of a Q4_K or Q5_K block: see quant.c. */
static __device__ inline void sr_k4_scale(const uint8_t *p, uint32_t j, float *sc, float *m)
{
    if (j < 4) {
        *sc = (float)(p[j] & 63);
        *m  = (float)(p[j + 4] & 63);
    } else {
        *sc = (float)((p[j + 4] & 15) | (p[j - 4] >> 6) << 4);
        *m  = (float)(p[j + 4] >> 4 | (p[j] >> 6) << 4);
    }
}

/* Number k of a row of blocks as in the file. */
static __device__ inline float sr_file_at(uint32_t format, const uint8_t *row, uint32_t k)
{
    switch (format) {
    case SR_F32: return ((const float *)row)[k];
    case SR_F16: return __half2float(((const __half *)row)[k]);
    case SR_BF16: return __uint_as_float((uint32_t)((const uint16_t *)row)[k] << 16);
    case SR_Q4_0: {
        const uint8_t *b = row + k / 32 * sizeof(sr_q4_0);
        uint32_t       i = k % 32;
        return (float)((int)(b[2 + i % 16] >> i / 16 * 4 & 15) - 8) * sr_half_at(b);
    }
    case SR_Q8_0: {
        const uint8_t *b = row + k / 32 * sizeof(sr_q8_0);
        return (float)(int8_t)b[2 + k % 32] * sr_half_at(b);
    }
    case SR_Q4_K:
    case SR_Q5_K: {
        uint32_t       i = k % 256, five = format == SR_Q5_K;
        const uint8_t *b = row + k / 256 * (five ? sizeof(sr_q5_K) : sizeof(sr_q4_K)), *qs = b + (five ? 48 : 16);
        uint32_t       q = qs[i / 64 * 32 + i % 32] >> i / 32 % 2 * 4 & 15;
        float          sc, m;
        if (five)
            q |= (b[16 + i % 32] >> i / 32 & 1) << 4;
        sr_k4_scale(b + 4, i / 32, &sc, &m);
        return sr_half_at(b) * sc * (float)q - sr_half_at(b + 2) * m;
    }
    case SR_Q6_K: {
        const uint8_t *b = row + k / 256 * sizeof(sr_q6_K);
        uint32_t       i = k % 256, n = i % 32, quarter = i / 32 % 4;
        int            q = (b[i / 128 * 64 + quarter % 2 * 32 + n] >> quarter / 2 * 4 & 15) |
                (b[128 + i / 128 * 32 + n] >> quarter * 2 & 3) << 4;
        return sr_half_at(b + 208) * (float)(int8_t)b[192 + i / 16] * (float)(q - 32);
    }
    default: return __uint_as_float(0x7fc00000u); /* supports() has refused it */
    }
}

/* Number (r, k) of a tile of 16 rows: layout.h says where its bits are. */
static __device__ inline float sr_tile_at(uint32_t format, const uint8_t *tile, uint32_t r, uint32_t k)
{
    uint32_t lane = r % 8 * 4 + k / 4 % 4, b = k / 32, row = r / 8, s = k / 16 % 2, h = k / 2 % 2, e = k % 2;
    if (format == SR_F16 || format == SR_BF16) {
        const uint8_t *p = tile + ((b * 2 + s) * 32 + lane) * 16 + h * 8 + row * 4 + e * 2;
        return format == SR_F16 ? sr_half_at(p) : __uint_as_float((uint32_t)(p[0] | p[1] << 8) << 16);
    }
    if (format == SR_Q8_0) {
        int q = tile[(b * 32 + lane) * 16 + s * 8 + row * 4 + e * 2 + h];
        return (float)(q - 128) * sr_half_at(tile + 4096 + r * 16 + b * 2);
    }
    uint32_t q = tile[(b / 2 * 32 + lane) * 16 + b % 2 * 8 + row * 4 + e * 2 + h] >> s * 4 & 15;
    if (format == SR_Q4_0)
        return (float)((int)q - 8) * sr_half_at(tile + 2048 + r * 16 + b * 2);
    if (format == SR_Q6_K) {
        const uint8_t *p = tile + 2304 + ((b / 2 * 32 + lane) * 2 + b % 2) * 4 + e * 2;
        uint32_t       shift = (h ? 8 : 0) + (row ? 2 : 0) + s * 4;
        q |= ((uint32_t)(p[0] | p[1] << 8) >> shift & 3) << 4;
        return sr_half_at(tile + 3328 + r * 2) * (float)(int8_t)tile[2048 + r * 16 + k / 16] * (float)((int)q - 32);
    }
    if (format == SR_Q5_K) {
        const uint8_t *p = tile + 2304 + (lane * 4 + b / 2) * 4 + e * 2;
        q |= ((uint32_t)(p[0] | p[1] << 8) >> (h * 8 + s * 4 + b % 2 * 2 + row) & 1) << 4;
    }
    const uint8_t *head = tile + 2048 + r * 16;
    float          sc, m;
    sr_k4_scale(head + 4, b, &sc, &m);
    return sr_half_at(head) * sc * (float)q - sr_half_at(head + 2) * m;
}

typedef struct { const uint8_t *p; uint32_t format, layout, cols; size_t row_bytes; } sr_devweight;

static inline sr_devweight sr_weight_on(const sr_wref *w)
{
    return {(const uint8_t *)w->p, w->format, w->layout, w->n_col, sr_row_bytes(w->format, w->n_col)};
}

/* Number (r, k) of a weight, r counted from its first row. */
static __device__ inline float sr_weight_at(const sr_devweight &w, uint32_t r, uint32_t k)
{
    if (w.layout == SR_LAYOUT_FILE)
        return sr_file_at(w.format, w.p + r * w.row_bytes, k);
    uint32_t depth = sr_tile_cols(w.format), tiles = w.cols / depth;
    return sr_tile_at(w.format, w.p + ((size_t)(r / 16) * tiles + k / depth) * sr_tile_bytes(w.format), r % 16, k % depth);
}
#endif
