/* skinny: y[m][rows] = x[m][cols] . W^T (+ bias) (+ z) for m <= 8 NT columns, each weight read once
 * Shapes   x, y, z f32; W in tiles (layout.h), up to four weights of any packed formats side by side.
 * Roofline bytes = weights + m*(cols + rows)*4; memory bound up to m ~ 32 on an H200.
 * Target   H200, 8B Q4_K_M: 0.75 of the read limit over a layer at m = 1, m = 16 within 1.15 of that time;
 *          notes/0011 says how far it is.
 * Mapping  persistent blocks, cut up as skinny.h says.  x is converted once per block to f16 in shared memory,
 *          with a power-of-two factor per 256 inputs and column, so that nothing can overflow.
 *          Weights, sm_90: each warp keeps a ring of stages full by bulk copies, begun before the previous
 *          kernel has ended; below sm_90: straight from global memory, a tile's loads together.
 * Variants an instance per format, and one for ops that mix formats: little code is little to wait for.
 * Archs    sm_75+; the ring is sm_90.                                                        */
#ifndef SR_OPS_LINEAR_SKINNY_CUH
#define SR_OPS_LINEAR_SKINNY_CUH
#include "ops/linear/skinny_part.cuh"

template <int NT, int C, uint32_t FORMATS>
__global__ void __launch_bounds__(NT <= 2 ? 512 : 256, 1) skinny_kernel(const __grid_constant__ sr_skinny a)
{
    extern __shared__ __align__(128) uint8_t smem[];
    constexpr int S     = spread_cols(C, FORMATS);
    const uint32_t lane = threadIdx.x % 32, extra = min(blockIdx.x, a.rows_extra);
    place b;
    b.warp  = threadIdx.x / 32;
    b.first = blockIdx.x * a.rows_block + extra;
    b.last  = b.first + a.rows_block + (blockIdx.x < a.rows_extra);
    b.k0    = blockIdx.y * a.slice_k;
    b.n_k   = min(a.slice_k, a.blocks_k - b.k0);
    b.inv_k = 1.0f / (float)b.n_k;
    feed f;
    const auto put = [&] {
        if (f.next.left || feed_find(a, b, f))
            feed_ask(a, f);
    };
#if RING
    f.bar  = (uint64_t *)(smem + a.at_bar) + b.warp * a.depth;
    f.ring = smem + a.at_ring + (size_t)b.warp * a.depth * a.stage;
    f.put = f.take = f.parity = 0;
    f.next.left               = 0;
    if (lane < a.depth)
        sr_bar_init(f.bar + lane, 1);
    sr_bar_fence();
    round_begin(a, b, f.w, b.first);
    __syncwarp();
#pragma unroll 1
    for (uint32_t i = 0; i < a.depth; i++)
        put();
#endif
    sr_pdl_launch();
    sr_pdl_wait();
    const uint32_t rows = a.count ? __ldcg(a.count) : a.row0 + a.m;
    float *scale = (float *)(smem + a.at_scale), *red = (float *)(smem + a.at_red);
    stage_x<NT, S>(a, b, smem, scale);
    const uint32_t m = rows > a.row0 ? min(rows - a.row0, a.m) : 0; /* columns to be written */
    __syncthreads();

    walk w;
    segment s;
    for (round_begin(a, b, w, b.first); w.rows; round_begin(a, b, w, w.row0 + w.rows)) {
        if (w.row0 > b.first)
            __syncthreads(); /* the sums of the round before have been read */
        while (segment_next(a, b, w, s)) {
            float acc[NT][4] = {};
            segment_multiply<NT, S, FORMATS>(a, s, f, smem, scale, acc, put);
            if (a.slices == 1) {
#pragma unroll
                for (int i = 0; i < NT * 4; i++)
                    red[(size_t)(b.warp + s.row) * NT * 128 + i * 32 + lane] = acc[i / 4][i % 4];
                continue;
            }
            slice_store<NT>(a, w.row0 + s.row, m, acc);
        }
        if (a.slices > 1)
            continue;
        __syncthreads();
        round_store<NT>(a, b, w, red, m);
    }
}

template <int NT, int C, uint32_t FORMATS> static cudaError_t skinny_start(const cudaLaunchConfig_t *c, const sr_skinny *s)
{
    cudaError_t e = cudaFuncSetAttribute(skinny_kernel<NT, C, FORMATS>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, (int)s->smem);
    if (!e) /* one split of the memory for all: changing it empties the multiprocessor */
        e = cudaFuncSetAttribute(skinny_kernel<NT, C, FORMATS>, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(c, skinny_kernel<NT, C, FORMATS>, *s);
}

/* C: as of skinny_part.cuh; the columns of the launch are then at most C. */
template <int NT, int C>
static cudaError_t skinny_start_format(const cudaLaunchConfig_t *c, const sr_skinny *s, uint32_t format)
{
    switch (format) {
    case SR_Q4_K:
        return skinny_start<NT, C, ONLY(SR_Q4_K)>(c, s);
    case SR_Q5_K:
        return skinny_start<NT, C, ONLY(SR_Q5_K)>(c, s);
    case SR_Q6_K:
        return skinny_start<NT, C, ONLY(SR_Q6_K)>(c, s);
    case SR_Q4_0:
        return skinny_start<NT, C, ONLY(SR_Q4_0)>(c, s);
    case SR_Q8_0:
        return skinny_start<NT, C, ONLY(SR_Q8_0)>(c, s);
    case SR_F16:
        return skinny_start<NT, C, ONLY(SR_F16)>(c, s);
    case SR_BF16:
        return skinny_start<NT, C, ONLY(SR_BF16)>(c, s);
    default:
        return skinny_start<NT, C, ANY>(c, s);
    }
}
#endif
