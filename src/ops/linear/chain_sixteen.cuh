/* chain_sixteen: a chain's kernel for 9 to 16 rows of x (chain.h)
 * Shapes   per product: m <= 16 rows of x, weights in tiles of 16 rows by 256 inputs, K-quants.
 * Roofline bytes = weights; half of x of every product passes L2 once per multiprocessor, as f16.
 * Target   H200, 8B Q4_K_M, 16 rows: a layer's four products within 2 of reading their weights.
 * Mapping  a block per multiprocessor; two of them, twins, have the same row tiles and half of the inputs each, of every product.  16 warps multiply, four
 *          warpgroups by wgmma: each has some of the block's 256-blocks of inputs (two neighbours of each eight) and all of its row tiles, four at a time, a
 *          quad, one a warp.  A further warp asks for weights, a stage of the ring for each quad, warpgroup and two of its 256-blocks.
 * x        as in chain_few.cuh: written by the product before it, or by attention, in the form (chain_form.cuh), and tells whether it is there.  Each
 *          warpgroup brings its own into shared memory, four columns a warp, with a factor for 256 inputs and column, as wgmma wants it (wgmma.cuh, deep):
 *          two 256-blocks, which stay for all quads, or where it has more of them go round.
 * Sums     of a quad lie in a slot as wgmma leaves them, eight partial ones of two warpgroups' four; each twin finishes eight columns, and what it has of
 *          the others goes to its twin by st.async, 16 bytes a lane.  An item, of a row tile (gated: of two) and eight columns, is finished by a warp.
 * Limits   no Q4_0 and Q8_0; x of the first product in the form alone.
 * Archs    sm_90a.                                                                              */
#ifndef SR_OPS_LINEAR_CHAIN_SIXTEEN_CUH
#define SR_OPS_LINEAR_CHAIN_SIXTEEN_CUH
#include "ops/linear/chain_few.cuh"
#include "ops/linear/decode_int.cuh"
#include "ops/wgmma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* Shared memory from 0 on: [warpgroup][2] 256 inputs of 16 columns; [warpgroup pair] their sums, 32 bytes a column and 256-block; [warpgroup][2][column]
 * factors; slots. */
enum { X16_BLOCK = 8192, X16_SUMS = 8 * X16_BLOCK, X16_FACTOR = X16_SUMS + 2 * 2048, X16_END = X16_FACTOR + 8 * 64 };
static_assert((int)X16_END == (int)SR_CHAIN_X16, "");

struct team { /* a warp's place */
    uint32_t group, at, tile; /* warpgroup; which of its warps; row tile of a quad: schedulers have as many warps with one where a quad has few */
};
__device__ __forceinline__ team team_of(void)
{
    const uint32_t warp = __shfl_sync(0xffffffff, threadIdx.x / 32, 0);
    return {warp / 4, warp % 4, (warp + warp / 4) % 4};
}
__device__ __forceinline__ void group_here(const team &w) { asm volatile("bar.sync %0, 128;" ::"r"(1 + w.group) : "memory"); }

/* ---- x ------------------------------------------------------------------------------------------------------ */

/* The lane, anew: what follows from it is worked out where it is wanted, not kept in registers that tiles need. */
__device__ __forceinline__ uint32_t lane_anew(void)
{
    uint32_t lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}

/* 256 inputs of the warp's four columns as they lie in the form, eight lanes a column: the lane has chunk lane % 8 of each 128 bytes that wgmma wants, and
 * in s block lane % 8's sums. */
struct xform {
    uint4 v[4], s;
};
__device__ __forceinline__ void x_ask(const uint8_t *form, const team &w, uint32_t m, xform &x)
{
    const uint32_t lane = lane_anew();
    const bool there    = w.at * 4 + lane / 8 < m;
    const uint4 none    = {0, 0, 0, 0};
    const uint8_t *from = form + w.at % 2 * 256 + lane / 8 * 64 + lane % 8 / 4 * 512 + lane % 4 * 16;
#pragma unroll
    for (int j = 0; j < 4; j++)
        x.v[j] = there ? look(from + j * 1024) : none;
    x.s = there ? look(form + FORM_SUMS + w.at % 2 * 512 + lane * 16) : none;
}
__device__ __forceinline__ bool x_lacks(const xform &x)
{
    uint32_t top = max(x.s.y, x.s.w);
#pragma unroll
    for (int j = 0; j < 4; j++)
        top = max(top, max(x.v[j].x, x.v[j].z));
    return __any_sync(0xffffffff, top == ~0u);
}
/* Until the first of the warp's columns has its sums (x_wait). */
__device__ __forceinline__ void x_come(const uint8_t *form, const team &w, uint32_t m)
{
    if (w.at * 4 < m)
        x_wait(form + w.at % 2 * 512);
}

struct xplace { /* addresses in shared memory, of a warpgroup's first buffer; the second's are beside */
    uint32_t x, sums, factor;
    __device__ __forceinline__ uint32_t block(uint32_t i) const { return x + i * X16_BLOCK; }
};
__device__ __forceinline__ xplace xplace_of(const uint8_t *smem, const team &w)
{
    const uint32_t p = sr_smem(smem);
    return {p + w.group * 2 * X16_BLOCK, p + X16_SUMS + w.group / 2 * 2048, p + X16_FACTOR + w.group * 128};
}
__device__ __forceinline__ void put4(uint32_t to, uint32_t v) { asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(v) : "memory"); }
__device__ __forceinline__ void put2(uint32_t to, uint32_t v)
{
    asm volatile("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %1;\nst.shared.b16 [%0], l;\n}" ::"r"(to), "r"(v) : "memory");
}
__device__ __forceinline__ void put16(uint32_t to, uint2 v, uint2 u)
{
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(u.x), "r"(u.y) : "memory");
}

/* x into buffer i, brought to one factor; the lane's part of the sum of squares of its column. */
__device__ __forceinline__ float x_put(const xform &x, const xplace &p, const team &w, uint32_t i)
{
    const uint32_t lane = lane_anew(), column = w.at * 4 + lane / 8;
    uint32_t most = max(x.s.y & 255, x.s.w & 255);
    most          = max(most, __shfl_xor_sync(0xffffffff, most, 1));
    most          = max(most, __shfl_xor_sync(0xffffffff, most, 2));
    most          = max(max(most, __shfl_xor_sync(0xffffffff, most, 4)), 12u);
    const float m0 = __uint_as_float((uint32_t)max((int)(x.s.y & 255) - (int)most + 127, 0) << 23),
                m1 = __uint_as_float((uint32_t)max((int)(x.s.w & 255) - (int)most + 127, 0) << 23);
    const uint32_t by = sr_pack(m0, m1), to = p.block(i) + column * 128 + ((lane ^ column) % 8 << 4);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const uint32_t u = __shfl_sync(0xffffffff, by, (lane & 24) + 2 * j + lane % 8 / 4), f = __byte_perm(u, 0, lane & 2 ? 0x3232 : 0x1010);
        put16(to + j * 2048, half_times(x.v[j].x, x.v[j].y, f), half_times(x.v[j].z, x.v[j].w, f));
    }
    const float sum     = __uint_as_float(x.s.x) * m0 + __uint_as_float(x.s.z) * m1;
    const uint32_t high = sr_pack(sum, 0), lack = sr_pack(sum - __half22float2(sr_half2_of(high)).x, 0);
    const uint32_t at   = (w.group % 2 * 2 + i) * 2, row = p.sums + column * 128 + lane % 8 * 2; /* a column's row has the sums of four buffers */
    put2(row + ((at ^ column % 8) << 4), high);
    put2(row + (((at + 1) ^ column % 8) << 4), lack);
    if (lane % 8 == 0)
        put4(p.factor + i * 64 + column * 4, __float_as_uint(sr_f16_back(most)));
    return __uint_as_float(x.s.y & ~255u) + __uint_as_float(x.s.w & ~255u);
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

/* Row tiles of the quad that begins at row tile `row`: those of other formats begin one of their own, since a warpgroup's instructions are the same.  what:
 * of row tile `lane`. */
__device__ __forceinline__ uint32_t quad_at(uint32_t what, uint32_t row, uint32_t rows)
{
    const uint32_t same = __ballot_sync(0xffffffff, what == __shfl_sync(0xffffffff, what, row)) >> row;
    return min(min(4u, rows - row), (uint32_t)__ffs((int)~same) - 1);
}

/* A stage has a quad's tiles of one 256-block; these are the warpgroups' in turn. */
__device__ __forceinline__ void ask_sixteen(const sr_chain &c, const few &b)
{
    const uint32_t lane = threadIdx.x % 32;
    sr_ring f           = {0, 1};
    uint32_t asked      = 0;
#pragma unroll 1
    for (uint32_t i = 0; i < c.n; i++) {
        const sr_chainlink &a = c.link[i];
        const uint32_t rows = tiles_of(a), what = what_of(a), blocks = blocks_of(a);
#pragma unroll 1
        for (uint32_t row = 0, n; row < rows; row += n) {
            uint32_t tile;
            n                     = quad_at(what, row, rows);
            const sr_chainpart &w = part_of_row(a, tile_of(a) + min(row + lane, rows - 1), &tile);
            const uint32_t one    = SR_CHAIN_BYTES(__shfl_sync(0xffffffff, what, row));
            const uint8_t *from   = w.p + ((size_t)tile * a.row_k + first_of(a)) * one;
#pragma unroll 1
            for (uint32_t k = 0; k < blocks; k++, from += one, f.next(c.depth)) {
                if (asked++ == c.first) /* more would keep x from coming */
                    sr_bar_wait(b.begun, 0);
                sr_bar_wait(b.gone + f.at, f.parity);
                if (lane == 0)
                    sr_bar_expect(b.come + f.at, n * one);
                __syncwarp();
                if (lane < n)
                    sr_bulk_load(b.ring + f.at * c.stage + lane * (c.stage / 4), from, one, b.come + f.at);
            }
        }
    }
}

/* ---- products ----------------------------------------------------------------------------------------------- */

/* A warpgroup's tiles of a quad times 256 inputs: sums += codes' and minimums' sums times their factors (gemm90.cuh: stage90_int).  A warp without a
 * tile takes part with whatever lies there.  x, of_sums: sr_deep() of the buffer and its sums; gone: told when the tile has been read. */
template <int F>
__device__ __forceinline__ void tile_sixteen(const uint8_t *w, uint32_t x, uint32_t of_sums, uint32_t factors, uint32_t up, uint64_t *gone, float sums[8])
{
    const uint32_t lane = threadIdx.x % 32;
    whole<F> dec;
    uint32_t a[2][8], low[4];
    float t[8], u[8];
    dec.open(w, lane);
    dec.block(w, lane, 0, up, a[0]);
    if constexpr (F != SR_Q6_K)
        dec.minimums(lane, up, low);
#pragma unroll
    for (int b = 0; b < 8; b++) {
        sr_wg_fence();
        if (F != SR_Q6_K && b == 0)
            sr_wgmma_deep<16>(u, low, of_sums, 0);
#pragma unroll
        for (int j = 0; j < 2; j++)
            sr_wgmma_deep<16>(t, a[b % 2] + j * 4, x + (b / 2 * 2048 >> 4) + (b * 2 + j) % 4 * 2, b + j > 0);
        sr_wg_commit();
        sr_wg_wait<1>(); /* the products before these have read the other half of a */
        if (b < 7)
            dec.block(w, lane, b + 1, up, a[b % 2 ^ 1]);
    }
    sr_async_fence();
    sr_bar_arrive(gone);
    float2 factor[2];
#pragma unroll
    for (int i = 0; i < 2; i++)
        asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(factor[i].x), "=f"(factor[i].y) : "r"(factors + i * 32 + lane % 4 * 8) : "memory");
    sr_wg_wait<0>();
#pragma unroll
    for (int j = 0; j < 8; j++) {
        float v = t[j] * dec.d[j / 2 % 2];
        if constexpr (F != SR_Q6_K)
            v = fmaf(u[j], dec.dm[j / 2 % 2], v);
        sums[j] = fmaf(v, j % 2 ? factor[j / 4].y : factor[j / 4].x, sums[j]);
    }
}
template <uint32_t FORMATS>
__device__ __forceinline__ void any_sixteen(uint32_t format, const uint8_t *w, uint32_t x, uint32_t of_sums, uint32_t factors, uint32_t up,
                                            uint64_t *gone, float sums[8])
{
#define CASE(F) IF_FORMAT(F, tile_sixteen<F>(w, x, of_sums, factors, up, gone, sums);)
    CASE(SR_Q4_K)
    CASE(SR_Q6_K)
    CASE(SR_Q5_K)
#undef CASE
}

/* ---- sums --------------------------------------------------------------------------------------------------- */

/* A slot: [twin][warpgroup][row tile of the quad][lane] of 16 bytes, rows g and g + 8 of columns 2t and 2t + 1 of the block's eight. */
enum { QUAD_TILE = 512, QUAD_GROUP = 4 * QUAD_TILE, QUAD_SLOT = 8 * QUAD_GROUP };
static_assert((int)QUAD_SLOT == (int)SR_CHAIN_SLOT, "");

struct twin16 { /* of a pair of blocks: which one this is; from here to the other's shared memory */
    uint32_t rank, away;
};
__device__ __forceinline__ void quad_out(const few &b, const twin16 &two, const team &w, uint32_t slot, const float s[8])
{
    const uint32_t to = sr_smem(b.sums) + slot * QUAD_SLOT + (two.rank * 4 + w.group) * QUAD_GROUP + w.tile * QUAD_TILE + threadIdx.x % 32 * 16;
    float own[4], its[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        own[i] = two.rank ? s[4 + i] : s[i];
        its[i] = two.rank ? s[i] : s[4 + i];
    }
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(to + two.away), "f"(its[0]),
                 "f"(its[1]), "f"(its[2]), "f"(its[3]), "r"(sr_smem(b.full + slot) + two.away)
                 : "memory");
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(own[0]), "f"(own[1]), "f"(own[2]), "f"(own[3]) : "memory");
}

/* Two columns of two rows of two lanes become one column of four rows: lane (g, t) has column 2t + g % 2, rows lo of g / 2 * 2 on and hi eight behind. */
struct rows4 {
    float2 lo, hi;
};
__device__ __forceinline__ rows4 quad_in(const uint8_t *sums)
{
    const bool odd = threadIdx.x & 4;
    float4 v       = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float4 u = *(const float4 *)(sums + i * QUAD_GROUP + threadIdx.x % 32 * 16);
        v.x += u.x, v.y += u.y, v.z += u.z, v.w += u.w;
    }
    const float p = __shfl_xor_sync(0xffffffff, odd ? v.x : v.y, 4), q = __shfl_xor_sync(0xffffffff, odd ? v.z : v.w, 4);
    return odd ? rows4{{p, v.y}, {q, v.w}} : rows4{{v.x, p}, {v.z, q}};
}
template <class V, class OP> __device__ __forceinline__ V of_four(V v, const OP &op) /* of the lanes of a column */
{
    v = op(v, __shfl_xor_sync(0xffffffff, v, 8));
    return op(v, __shfl_xor_sync(0xffffffff, v, 16));
}
__device__ __forceinline__ float sum_of_four(float v)
{
    return of_four(v, [](float p, float q) { return p + q; });
}
__device__ __forceinline__ float2 times(float2 v, float f) { return make_float2(v.x * f, v.y * f); }
__device__ __forceinline__ float2 times(float2 v, float2 f) { return make_float2(v.x * f.x, v.y * f.y); }
__device__ __forceinline__ float2 plus(float2 v, float2 u) { return make_float2(v.x + u.x, v.y + u.y); }
__device__ __forceinline__ float squares_of(float2 v) { return v.x * v.x + v.y * v.y; }

/* form_out() of these rows of a row tile, whose first output is `input`; form: of the block's eight columns. */
__device__ __forceinline__ void form_sixteen(uint8_t *form, uint32_t input, uint32_t column, const rows4 &y, const rows4 &w, bool there)
{
    const uint32_t row = threadIdx.x / 4 % 8 & 6;
    const bool upper   = threadIdx.x & 16;
    const rows4 v      = {times(y.lo, w.lo), times(y.hi, w.hi)};
    const uint32_t top = top_of(make_float4(v.lo.x, v.lo.y, v.hi.x, v.hi.y)), e = sr_f16_exponent(of_four(top, [](uint32_t p, uint32_t q) { return max(p, q); }));
    const uint2 h      = halves_of(make_float4(v.lo.x, v.lo.y, v.hi.x, v.hi.y), sr_f16_power(e));
    const float sum = sum_of_four(sum_of_halves(h)), squares = sum_of_four(squares_of(y.lo) + squares_of(y.hi));
    const uint32_t other = __shfl_xor_sync(0xffffffff, upper ? h.x : h.y, 16); /* four rows go together */
    if (!there)
        return;
    form_store(form_eight(form, input, column, row / 2 % 2, upper), upper ? make_uint2(other, h.y) : make_uint2(h.x, other));
    if (row == 0)
        form_sums(form, input, column, sum, squares, e);
}

/* Items of a quad of n row tiles, and how much of the quad's four each counts when it has been read. */
__device__ __forceinline__ uint32_t quad_items(const sr_chainlink &a, uint32_t n) { return n >> a.glu; }
__device__ __forceinline__ uint32_t item_weight(uint32_t item, uint32_t n) { return 4 * (item + 1) / n - 4 * item / n; }

/* What is added to an item's outputs, and the weights of the norm behind them: asked for while products run. */
struct beside16 {
    rows4 z, norm;
};
/* The lane's column of the block's eight, and the first of its rows (rows4). */
__device__ __forceinline__ uint32_t lane_column(uint32_t lane) { return lane % 4 * 2 + lane / 4 % 2; }
__device__ __forceinline__ uint32_t lane_row(uint32_t lane) { return lane / 4 & 6; }
__device__ __forceinline__ beside16 beside_of(const sr_chainlink &a, const few &b, uint32_t rank, uint32_t row, uint32_t m)
{
    const uint32_t lane = lane_anew(), column = rank * 8 + lane_column(lane);
    uint32_t tile;
    const sr_chainpart &w = part_of_row(a, tile_of(a) + row, &tile);
    const uint32_t input  = (a.glu ? tile * 16 : w.y0 + tile * 16) + lane_row(lane);
    beside16 t            = {{}, {{1, 1}, {1, 1}}};
    if (a.z_behind)
        sr_bar_wait(b.met + a.z_behind, 0);
    if (a.z && column < m) {
        const float *from = a.z + (size_t)column * a.width + input;
        t.z               = {__ldcg((const float2 *)from), __ldcg((const float2 *)(from + 8))};
    }
    if (!a.glu && w.bias) {
        const float *from = w.bias + tile * 16 + lane_row(lane);
        t.z = {plus(t.z.lo, make_float2(__ldg(from), __ldg(from + 1))), plus(t.z.hi, make_float2(__ldg(from + 8), __ldg(from + 9)))};
    }
    if (a.norm_next) {
        const float *from = a.norm_next + input;
        t.norm            = {__ldg((const float2 *)from), __ldg((const float2 *)(from + 8))};
    }
    return t;
}

/* Item `item` of the quad in `slot` whose first row tile is `row` of the block's: y, and x of the next product.  n: the quad's items. */
__device__ __forceinline__ void finish_sixteen(const sr_chainlink &a, const few &b, const twin16 &two, uint32_t i, uint32_t row, uint32_t item, uint32_t n,
                                               const sr_ring &slot, const beside16 &t, uint32_t m)
{
    const uint32_t lane = lane_anew(), r = lane_row(lane), in8 = lane_column(lane), column = two.rank * 8 + in8;
    const bool there    = column < m;
    uint32_t tile;
    const sr_chainpart &w = part_of_row(a, tile_of(a) + row + (item << a.glu), &tile);
    const uint32_t input  = a.glu ? tile * 16 : w.y0 + tile * 16;
    float f = 1;
    if (a.norm) { /* what the norm divides by, inverted */
        sr_bar_wait(b.twin + i, 0);
        const float4 p = *(const float4 *)(b.squares + i * 64 + in8 * 8), q = *(const float4 *)(b.squares + i * 64 + in8 * 8 + 4);
        f = rsqrtf(__fdividef(((p.x + p.y) + (p.z + p.w)) + ((q.x + q.y) + (q.z + q.w)), (float)a.cols) + a.eps);
    }
    sr_bar_wait(b.full + slot.at, slot.parity);
    const uint8_t *sums = b.sums + slot.at * QUAD_SLOT + (item << a.glu) * QUAD_TILE;
    rows4 v             = quad_in(sums), gated = {};
    if (a.glu)
        gated = quad_in(sums + QUAD_TILE);
    sr_async_fence(); /* the twin's stores come by the same way */
    __syncwarp();
    if (lane == 0) {    /* both slots of this number may be written when both have been read; no .release.cluster: that waits for all of the lane's stores */
        const uint32_t bar = sr_smem(b.empty + slot.at), count = item_weight(item, n);
        arrive(b.empty + slot.at, count);
        asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0], %1;" ::"r"(bar + two.away), "r"(count) : "memory");
    }
    v = {times(v.lo, f), times(v.hi, f)};
    if (a.glu) {
        const rows4 u = {times(gated.lo, f), times(gated.hi, f)};
        const auto act = [&](float p) { return a.glu_gelu ? sr_gelu(p) : sr_silu(p); };
        v = {{act(v.lo.x) * u.lo.x, act(v.lo.y) * u.lo.y}, {act(v.hi.x) * u.hi.x, act(v.hi.y) * u.hi.y}};
    } else
        v = {plus(v.lo, t.z.lo), plus(v.hi, t.z.hi)};
    if (a.y && there) {
        float *to            = a.y + (size_t)column * a.width + input + r;
        *(float2 *)to        = v.lo;
        *(float2 *)(to + 8)  = v.hi;
    }
    if (a.to)
        form_sixteen(form_of(a.to, input, column, true), input, in8, v, t.norm, there);
}

/* ---- the chain ---------------------------------------------------------------------------------------------- */

/* The warp's columns in the form of the warpgroup's n-th 256-block. */
__device__ __forceinline__ const uint8_t *form_at(const sr_chainlink &a, const team &w, uint32_t n)
{
    return a.from + (size_t)((first_of(a) + n * 4 + w.group) * 2 + w.at / 2) * SR_CHAIN_FORM;
}

/* Waits for the first 256 inputs of a product, and puts them into buffer 0.  early: nobody writes them any more. */
__device__ __forceinline__ float x_first(const uint8_t *form, bool early, const team &w, const xplace &p, uint32_t m)
{
    xform x;
    if (!early)
        x_come(form, w, m);
    do
        x_ask(form, w, m, x);
    while (!early && x_lacks(x));
    group_here(w); /* what was in the buffers has been multiplied */
    const float squares = x_put(x, p, w, 0);
    sr_async_fence();
    group_here(w);
    return squares;
}

/* Squares of the warp's columns to the twin that wants them, for the norm of product i. */
__device__ __forceinline__ void squares_out(const few &b, const twin16 &two, const team &w, uint32_t i, float squares)
{
    const uint32_t lane = lane_anew(), to = sr_smem(b.squares + i * 64 + (w.at % 2 * 4 + lane / 8) * 8 + two.rank * 4 + w.group);
    squares += __shfl_xor_sync(0xffffffff, squares, 1);
    squares += __shfl_xor_sync(0xffffffff, squares, 2);
    squares += __shfl_xor_sync(0xffffffff, squares, 4);
    if (w.at / 2 == two.rank) {
        if (lane % 8 == 0)
            put4(to, __float_as_uint(squares));
        sr_bar_arrive(b.twin + i);
    } else if (lane % 8 == 0)
        sr_store_there(to + two.away, __float_as_uint(squares), sr_smem(b.twin + i) + two.away);
}

__device__ __forceinline__ void advance(sr_ring &f, uint32_t n, uint32_t depth)
{
    for (f.at += n; f.at >= depth; f.at -= depth)
        f.parity ^= 1;
}

template <uint32_t FORMATS> __device__ __forceinline__ void multiply_sixteen(const sr_chain &c, const few &b, const uint8_t *smem)
{
    const uint32_t lane = threadIdx.x % 32, up = __shfl_sync(0xffffffff, c.twice_1024, 0), m = rows_here(c);
    const team w        = team_of();
    const twin16 two    = {blockIdx.x % 2, sr_cluster_offset(smem, blockIdx.x % 2 ^ 1)};
    const xplace p      = xplace_of(smem, w);
    sr_ring f = {0, 0}, put = {0, 0}, done = {0, 0};
    advance(f, w.group, c.depth);
#pragma unroll 1
    for (uint32_t i = 0; i < c.n; i++) {
        const sr_chainlink &a = c.link[i];
        const uint32_t rows = tiles_of(a), blocks = blocks_of(a), what = what_of(a), n = (blocks - w.group + 3) / 4,
                       warp = w.group * 4 + w.at, per = a.glu ? 2 : 4;
        uint32_t quads = 0;
        for (uint32_t row = 0; row < rows; row += quad_at(what, row, rows))
            quads++;
        const uint32_t behind = quads > c.slots ? 1 : quads, all = quads * n;
        if (i)
            sr_bar_wait(b.met, 0);
        if (a.norm && threadIdx.x == 0)
            sr_bar_expect(b.twin + i, 4 * 8 * 4);
        beside16 t = {};
        if (warp < quad_items(a, quad_at(what, 0, rows)))
            t = beside_of(a, b, two.rank, warp << a.glu, m);
        float squares = x_first(form_at(a, w, 0), i == 0, w, p, m);
        if (a.norm && n == 1)
            squares_out(b, two, w, i, squares);
        if (i == 0)
            sr_bar_arrive(b.begun);
        uint32_t row = 0, row_done = 0, at = 0; /* at: 256-blocks multiplied, of all quads */
#pragma unroll 1
        for (uint32_t q = 0; q < quads + behind; q++) {
            if (q < quads) {
                const uint32_t n_row = quad_at(what, row, rows), now = __shfl_sync(0xffffffff, what, row);
                const bool mine = w.tile < n_row;
                float sums[8]   = {};
#pragma unroll 1
                for (uint32_t nth = 0; nth < n; nth++, at++) {
                    const uint32_t buffer = n > 2 ? at % 2 : nth, next = nth + 1 < n ? nth + 1 : 0;
                    const bool more       = at + 1 < (n > 2 ? all : n); /* the next is not there yet */
                    xform x;
                    if (more)
                        x_ask(form_at(a, w, next), w, m, x);
                    sr_bar_wait(b.come + f.at, f.parity);
                    any_sixteen<FORMATS>(SR_CHAIN_FORMAT(now), b.ring + f.at * c.stage + w.tile * (c.stage / 4), sr_deep(p.block(buffer)),
                                         sr_deep(p.sums) + (w.group % 2 * 2 + buffer) * 2, p.factor + buffer * 64, up, b.gone + f.at, sums);
                    advance(f, next ? 4 : blocks - 4 * nth, c.depth);
                    if (more) {
                        while (i && x_lacks(x))
                            x_ask(form_at(a, w, next), w, m, x);
                        squares += x_put(x, p, w, buffer ^ 1);
                        sr_async_fence();
                        if (a.norm)
                            squares_out(b, two, w, i, squares);
                        group_here(w);
                    }
                }
                sr_bar_wait(b.empty + put.at, put.parity ^ 1);
                if (mine)
                    quad_out(b, two, w, put.at, sums);
                if (threadIdx.x == 0)
                    sr_bar_expect(b.full + put.at, n_row * 4 * QUAD_TILE);
                sr_bar_arrive(b.full + put.at);
                put.next(c.slots);
                row += n_row;
            }
            if (q >= behind) {
                const uint32_t n_row = quad_at(what, row_done, rows), item = (warp - per * (q - behind)) % CHAIN_WARPS, items = quad_items(a, n_row);
                if (i == 0)
                    sr_bar_wait(b.met, 0);
                if (item < items) {
                    if (q != behind) /* that of the first quad is there */
                        t = beside_of(a, b, two.rank, row_done + (item << a.glu), m);
                    finish_sixteen(a, b, two, i, row_done, item, items, done, t, m);
                }
                row_done += n_row;
                done.next(c.slots);
            }
        }
        if (a.again) {
            __syncwarp();
            if (lane == 0)
                sr_bar_arrive(b.ended + i);
        }
    }
    sr_cluster_arrive(); /* the twin may still say here what it has read */
    sr_cluster_wait();
}
#endif

template <uint32_t FORMATS> __global__ void __launch_bounds__(32 * (CHAIN_WARPS + SR_CHAIN_BESIDES), 1) chain_sixteen_kernel(const __grid_constant__ sr_chain c)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    extern __shared__ __align__(1024) uint8_t smem[];
    uint64_t *bars = (uint64_t *)(smem + c.at_bar), *slot = bars, *stage = bars + 2 * c.slots, *of = stage + 2 * c.depth; /* of: products */
    /* twin: of a product's sums of squares, both blocks'; full, empty: of slots of both */
    const few b    = {smem + X16_END, smem + c.at_ring, NULL, (float *)(smem + c.at_squares), slot, slot + c.slots, of, stage, stage + c.depth,
                      of + 3 * SR_CHAIN_PRODUCTS, of + SR_CHAIN_PRODUCTS, of + 2 * SR_CHAIN_PRODUCTS};
    if (threadIdx.x < c.slots) {
        sr_bar_init(b.full + threadIdx.x, CHAIN_WARPS * EACH + 1);
        sr_bar_init(b.empty + threadIdx.x, 2 * 4);
    }
    if (threadIdx.x < c.depth) {
        sr_bar_init(b.come + threadIdx.x, 1);
        sr_bar_init(b.gone + threadIdx.x, 4 * EACH);
    }
    if (threadIdx.x < SR_CHAIN_PRODUCTS) {
        sr_bar_init(b.twin + threadIdx.x, 8 * EACH + 1);
        sr_bar_init(b.ended + threadIdx.x, CHAIN_WARPS);
        sr_bar_init(b.met + threadIdx.x, 1);
    }
    if (threadIdx.x == 0)
        sr_bar_init(b.begun, CHAIN_WARPS * EACH);
    sr_bar_fence();
    __syncthreads();
    if (threadIdx.x >= 32 * CHAIN_WARPS) {
        GIVE_REGISTERS();
        sr_cluster_arrive();
        sr_pdl_launch();
        if (threadIdx.x < 32 * (CHAIN_WARPS + 1))
            ask_sixteen(c, b);
        else if (threadIdx.x < 32 * (CHAIN_WARPS + 2))
            keep_x(c, b);
    } else {
        TAKE_REGISTERS();
        multiply_sixteen<FORMATS>(c, b, smem);
    }
#endif
}
#endif
