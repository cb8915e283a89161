/* chain_few: a chain's kernel for up to eight rows of x (chain.h)
 * Shapes   per product: m <= 8 rows of x, weights in tiles of 16 rows by 256 inputs.
 * Roofline bytes = weights; x of every product passes L2 once per multiprocessor, as f16.
 * Target   H200, 8B Q4_K_M, 8 rows: a layer's four products within 1.6 of reading their weights (measured 1.9: notes/0057).
 * Mapping  a block per multiprocessor, which has whole row tiles: 16 warps that multiply, and one that asks for weights.  A warp has 256 inputs, and all of
 *          the block's row tiles: x of its inputs are B operands of mma in 36 registers, which it loads from L2 by itself and waits for alone.  Where inputs are
 *          many a cluster of two blocks shares them; a warp then has its next 256 when its row tiles are through.  Sums meet in shared memory, a pair of
 *          row tiles a slot; what is done with them is done by two warps a row tile, in turn, since a warp alone takes long for little.
 * x        is written by the product before it, or by attention, in the form in which it is multiplied (chain_form.cuh).  What a norm divides by is a factor of the sums behind the
 *          products, its weights are in x; so nobody rounds x again.  Its words tell whether they are there: no product begins with a meeting of all blocks
 *          (but Q8_0's: tells()).
 * Archs    sm_90.                                                                               */
#ifndef SR_OPS_LINEAR_CHAIN_FEW_CUH
#define SR_OPS_LINEAR_CHAIN_FEW_CUH
#include "ops/linear/chain.cuh"
#include "ops/linear/chain_form.cuh"
#include "ops/linear/few_tile.cuh"

#if RING
/* ---- x ------------------------------------------------------------------------------------------------------ */

struct xregs { /* 256 inputs of column lane / 4, all with one factor */
    uint4 v[9];
    float factor[2]; /* of columns 2t, 2t + 1 */
    __device__ __forceinline__ uint4 get(int b, int) const { return v[b]; }
};

__device__ __forceinline__ uint2 half_times(uint32_t x, uint32_t y, uint32_t by)
{
    return make_uint2(sr_half2_bits(__hmul2(sr_half2_of(x), sr_half2_of(by))), sr_half2_bits(__hmul2(sr_half2_of(y), sr_half2_of(by))));
}

/* Sums of the lane's four groups of 16 inputs, in units of the 256 inputs' factor: two f16 numbers each, so that nothing is lost. */
__device__ __forceinline__ uint4 sums_of(float s0, float s1, float s2, float s3)
{
    const half2 a = __floats2half2_rn(s0, s1), b = __floats2half2_rn(s2, s3);
    const float2 u = __half22float2(a), v = __half22float2(b);
    return make_uint4(sr_half2_bits(a), sr_half2_bits(b), sr_pack(s0 - u.x, s1 - u.y), sr_pack(s2 - v.x, s3 - v.y));
}
__device__ __forceinline__ void factors_of(xregs &x, float factor)
{
#pragma unroll
    for (int i = 0; i < 2; i++)
        x.factor[i] = __shfl_sync(0xffffffff, factor, (threadIdx.x % 4 * 2 + i) * 4);
}

/* Words of x as they are now: eight bytes come as they were stored (form_store), and are all ones until then, which no number, sum or factor is. */
__device__ __forceinline__ uint4 look(const void *p)
{
    uint64_t a, b;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(p) : "memory");
    return make_uint4((uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, (uint32_t)(b >> 32));
}

/* Until the first column of 256 inputs has its sums: a look costs a line, and the rest will be there by then, or soon. */
__device__ __forceinline__ void x_wait(const uint8_t *form)
{
    uint64_t v;
    do
        asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(form + FORM_SUMS + threadIdx.x % 16 * 8) : "memory");
    while (__any_sync(0xffffffff, v == ~0ull));
}

/* 256 inputs that the product before writes, or attention before the launch has written; the lane's part of the sum of squares. */
enum { X_THERE, X_NEAR, X_AWAITED }; /* nobody writes it any more; it is looked at until it is there, from a line on if that will take a while */
template <bool TELLS> __device__ __forceinline__ float x_formed(const uint8_t *form, bool there, uint32_t when, xregs &x)
{
    const uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const uint4 none    = {0, 0, 0, 0};
    const void *sums    = form + FORM_SUMS + g * 128 + t * 32;
    uint4 s, r;
    uint32_t top;
    if (TELLS && when == X_AWAITED)
        x_wait(form);
    do {
#pragma unroll
        for (int b = 0; b < 8; b++)
            x.v[b] = there ? look(form + b * 512 + lane * 16) : none;
        s   = there ? look(sums) : none;
        r   = there ? look((const uint4 *)sums + 1) : none;
        top = max(max(s.y, s.w), max(r.y, r.w));
#pragma unroll
        for (int b = 0; b < 8; b++)
            top = max(top, max(x.v[b].x, x.v[b].z));
    } while (TELLS && when != X_THERE && __any_sync(0xffffffff, top == ~0u));
    const uint32_t word[4] = {s.y, s.w, r.y, r.w},
                   most    = max(quad_top(max(max(s.y & 255, s.w & 255), max(r.y & 255, r.w & 255))), 12u);
    float m[4], squares = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        m[i] = __uint_as_float((uint32_t)max((int)(word[i] & 255) - (int)most + 127, 0) << 23);
        squares += __uint_as_float(word[i] & ~255u);
    }
    const uint32_t by[2] = {sr_pack(m[0], m[1] * 0.0625f), sr_pack(m[2], m[3] * 0.0625f)}; /* step 1 is divided by 16 */
    x.v[8] = sums_of(__uint_as_float(s.x) * m[0], __uint_as_float(s.z) * m[1], __uint_as_float(r.x) * m[2], __uint_as_float(r.z) * m[3]);
    factors_of(x, sr_f16_back(most));
#pragma unroll
    for (int b = 0; b < 8; b++) {
        const uint32_t u = __shfl_sync(0xffffffff, by[b % 2], (lane & ~3u) + b / 2);
        const uint2 v = half_times(x.v[b].x, x.v[b].y, __byte_perm(u, 0, 0x1010)), w = half_times(x.v[b].z, x.v[b].w, __byte_perm(u, 0, 0x3232));
        x.v[b] = make_uint4(v.x, v.y, w.x, w.y);
    }
    return squares;
}

/* Of 2n numbers of two lanes that differ in `bit` the upper one gets the sums of the second half, the other those of the first. */
template <int N> __device__ __forceinline__ void halve(float *s, uint32_t bit)
{
    const bool upper = threadIdx.x & bit;
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float other = __shfl_xor_sync(0xffffffff, upper ? s[i] : s[i + N], bit);
        s[i]              = (upper ? s[i + N] : s[i]) + other;
    }
}

/* 256 inputs from a slot; norm: weights, or NULL. */
__device__ __forceinline__ float x_from_slot(const float *from, const float *norm, bool there, xregs &x)
{
    const uint32_t t = threadIdx.x % 4;
    const float4 zero = {0, 0, 0, 0};
    float4 v[16];
    float squares = 0, s[16];
    uint32_t top  = 0;
#pragma unroll
    for (int i = 0; i < 16; i++)
        v[i] = there ? __ldcg((const float4 *)(from + i * 16 + t * 4)) : zero;
    if (norm) {
#pragma unroll
        for (int i = 0; i < 16; i++) {
            const float4 w = __ldg((const float4 *)(norm + i * 16 + t * 4));
            squares += v[i].x * v[i].x + v[i].y * v[i].y + v[i].z * v[i].z + v[i].w * v[i].w;
            v[i] = make_float4(v[i].x * w.x, v[i].y * w.y, v[i].z * w.z, v[i].w * w.w);
        }
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
        top = max(top, top_of(v[i]));
    const uint32_t e = sr_f16_exponent(quad_top(top));
    const float f    = sr_f16_power(e);
    factors_of(x, sr_f16_back(e));
#pragma unroll
    for (int b = 0; b < 8; b++) {
        const uint2 h0 = halves_of(v[2 * b], f), h1 = halves_of(v[2 * b + 1], f * 0.0625f);
        s[2 * b]     = sum_of_halves(h0);
        s[2 * b + 1] = sum_of_halves(h1) * 16;
        x.v[b]       = make_uint4(h0.x, h0.y, h1.x, h1.y);
    }
    /* Sixteen sums of four lanes each; lane t wants 4t .. 4t + 3. */
    halve<8>(s, 2);
    halve<4>(s, 1);
    x.v[8] = sums_of(s[0], s[1], s[2], s[3]);
    return squares;
}

/* An item of sums to be finished is four columns of a row tile: eight lanes have a column, two rows each. */
__device__ __forceinline__ uint32_t column_of(uint32_t item) { return item % 2 * 4 + threadIdx.x % 16 / 4; }
__device__ __forceinline__ uint32_t row_of(void) { return threadIdx.x % 4 * 4 + threadIdx.x % 32 / 16 * 2; }

/* What op makes of eight lanes' values. */
template <class V, class OP> __device__ __forceinline__ V of_column(V v, const OP &op)
{
    v = op(v, __shfl_xor_sync(0xffffffff, v, 1));
    v = op(v, __shfl_xor_sync(0xffffffff, v, 2));
    return op(v, __shfl_xor_sync(0xffffffff, v, 16));
}
__device__ __forceinline__ float sum_of_column(float v)
{
    return of_column(v, [](float p, float q) { return p + q; });
}

/* Outputs row_of() and the next of a row tile and `column` become x of the next product, whose inputs they are, 16 of them from `input` on.  w: the norm's
 * weights. */
__device__ __forceinline__ void form_out(uint8_t *forms, uint32_t input, uint32_t column, float2 y, float2 w, bool there)
{
    uint8_t *to        = form_of(forms, input, column, false);
    const float2 v     = make_float2(y.x * w.x, y.y * w.y);
    const uint32_t top = max(__float_as_uint(v.x) & 0x7fffffff, __float_as_uint(v.y) & 0x7fffffff),
                   e   = sr_f16_exponent(of_column(top, [](uint32_t p, uint32_t q) { return max(p, q); }));
    const float f      = sr_f16_power(e);
    const uint32_t h   = sr_pack(v.x * f, v.y * f);
    const float2 u     = __half22float2(sr_half2_of(h));
    const float sum = sum_of_column(u.x + u.y), squares = sum_of_column(y.x * y.x + y.y * y.y);
    const uint32_t next = __shfl_xor_sync(0xffffffff, h, 16); /* eight bytes go together */
    if (there && threadIdx.x % 32 < 16)
        form_store(form_four(to, input + row_of(), column), make_uint2(h, next));
    if (there && row_of() == 0)
        form_sums(to, input, column, sum, squares, e);
}

/* ---- weights ------------------------------------------------------------------------------------------------ */

/* The block's row tiles; 256-blocks of its inputs. */
__device__ __forceinline__ uint32_t set_of(const sr_chainlink &a) { return blockIdx.x >> a.halved; }
__device__ __forceinline__ uint32_t tile_of(const sr_chainlink &a) { return (set_of(a) * a.rows_block + min(set_of(a), a.rows_extra)) << a.glu; }
__device__ __forceinline__ uint32_t tiles_of(const sr_chainlink &a) { return (a.rows_block + (set_of(a) < a.rows_extra)) << a.glu; }
__device__ __forceinline__ uint32_t first_of(const sr_chainlink &a) { return a.k_at[blockIdx.x & a.halved]; }
__device__ __forceinline__ uint32_t blocks_of(const sr_chainlink &a) { return a.k_at[(blockIdx.x & a.halved) + 1] - first_of(a); }
__device__ __forceinline__ uint32_t groups_of(const sr_chainlink &a) { return 1u << a.groups_log; }

/* Of row tile `lane` of the block's: SR_CHAIN_WHAT. */
__device__ __forceinline__ uint32_t what_of(const sr_chainlink &a)
{
    uint32_t tile;
    return part_of_row(a, tile_of(a) + min(threadIdx.x % 32, max(tiles_of(a), 1u) - 1), &tile).what;
}

struct few { /* a block's shared memory; there: what the twin has sent */
    uint8_t *sums, *ring;
    float *there, *squares;
    uint64_t *full, *empty, *twin, *come, *gone, *begun; /* of slots; of pairs that the twin sends; of stages; the first product's x is there */
    uint64_t *ended, *met; /* [i]: product i is finished in this block; product i - 1 in all of them, [0]: x may be written */
};

/* Asks for the tiles of all products in the order in which they are multiplied: by 256-blocks as many as there are groups of warps, of all row tiles.
 * A stage has a row tile's, which lie side by side, or those of two where half of the warps have each. */
__device__ __forceinline__ void ask_all(const sr_chain &c, const few &b)
{
    const uint32_t lane = threadIdx.x % 32;
    sr_ring f           = {0, 1};
    uint32_t asked      = 0;
#pragma unroll 1
    for (uint32_t i = 0; i < c.n; i++) {
        const sr_chainlink &a = c.link[i];
        const uint32_t rows = tiles_of(a), first = tile_of(a), step = CHAIN_WARPS >> a.groups_log;
#pragma unroll 1
        for (uint32_t k = 0; k < blocks_of(a); k += groups_of(a))
#pragma unroll 1
            for (uint32_t row = 0; row < rows; row += step, f.next(c.depth)) {
                uint32_t tile;
                const sr_chainpart &w = part_of_row(a, first + min(row + lane, rows - 1), &tile);
                const uint32_t bytes = SR_CHAIN_BYTES(w.what) * min(groups_of(a), blocks_of(a) - k), both = bytes + __shfl_down_sync(0xffffffff, bytes, 1),
                               n = min(step, rows - row);
                if (asked++ == c.first) /* more would keep x from coming */
                    sr_bar_wait(b.begun, 0);
                sr_bar_wait(b.gone + f.at, f.parity);
                if (lane == 0)
                    sr_bar_expect(b.come + f.at, n == 2 ? both : bytes);
                __syncwarp();
                if (lane < n)
                    sr_bulk_load(b.ring + f.at * c.stage + lane * (c.stage / 2), w.p + ((size_t)tile * a.row_k + first_of(a) + k) * SR_CHAIN_BYTES(w.what),
                                 bytes, b.come + f.at);
            }
    }
}

/* ---- sums --------------------------------------------------------------------------------------------------- */

/* Slots of sums, each of a pair of row tiles: [row tile][group of warps][128].  Of 16 rows by 8 columns two columns are 32 numbers, in four
 * eights (column, upper rows), which are exchanged so that an mma's lanes write, and eight lanes that read four rows each, meet no bank twice. */
enum { SUMS_GROUP = 512, SUMS_ROW = SUMS_GROUP << WARPS_LOG, SUMS_SLOT = 2 * SUMS_ROW };
static_assert((int)SUMS_SLOT == (int)SR_CHAIN_SLOT, "");

/* Every lane says that it has read or written: racecheck follows this, and not a lane that says it for its warp behind a __syncwarp(); it costs nothing. */
enum { EACH = 32 };
__device__ __forceinline__ void arrive(uint64_t *bar, uint32_t times)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(sr_smem(bar)), "r"(times) : "memory");
}

/* at: rows g, g + 8 of columns 2t, 2t + 1, to those of its warp's group. */
__device__ __forceinline__ void sums_out(uint8_t *sums, const float at[4], const xregs &x, bool add)
{
    const uint32_t lane = threadIdx.x % 32, t = lane % 4, own = sr_smem(sums) + t * 160 + lane / 4 * 4;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint32_t to = own ^ (i % 2 * 2 + i / 2) * 32;
        float v           = at[i] * x.factor[i % 2];
        if (add) {
            float was;
            asm volatile("ld.shared.f32 %0, [%1];" : "=f"(was) : "r"(to) : "memory");
            v += was;
        }
        asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(v) : "memory");
    }
}

/* Rows row_of() and the next of a column, of all groups: the lane brings four rows of every second group, and gives two of them to the lane that has the
 * others. */
__device__ __forceinline__ float2 sums_in(const uint8_t *sums, uint32_t column, uint32_t groups)
{
    const uint32_t q = threadIdx.x % 4;
    const bool upper = threadIdx.x & 16;
    const uint8_t *p = sums + column / 2 * 128 + ((column % 2 * 2 + q / 2) ^ column / 2) * 32 + q % 2 * 16 + upper * SUMS_GROUP;
    float4 v         = {0, 0, 0, 0};
    auto add         = [&](const float4 &u) { v.x += u.x, v.y += u.y, v.z += u.z, v.w += u.w; };
    if (groups == CHAIN_WARPS)
#pragma unroll
        for (int i = 0; i < CHAIN_WARPS; i += 2)
            add(*(const float4 *)(p + i * SUMS_GROUP));
    else
#pragma unroll 1
        for (uint32_t i = upper; i < groups; i += 2, p += 2 * SUMS_GROUP)
            add(*(const float4 *)p);
    __syncwarp();
    const float x = __shfl_xor_sync(0xffffffff, upper ? v.x : v.z, 16), y = __shfl_xor_sync(0xffffffff, upper ? v.y : v.w, 16);
    return make_float2((upper ? v.z : v.x) + x, (upper ? v.w : v.y) + y);
}

/* What the norm divides by, inverted, of a column; and the sums' unit. */
__device__ __forceinline__ float factor_of(const sr_chainlink &a, const float *squares, uint32_t column, uint32_t groups)
{
    if (!a.norm)
        return 0x1p24f;
    const uint32_t i = row_of() / 2;
    const float v    = sum_of_column((i < groups ? squares[i * 8 + column] : 0) + (i + 8 < groups ? squares[(i + 8) * 8 + column] : 0));
    return rsqrtf(__fdividef(v, (float)a.cols) + a.eps) * 0x1p24f; /* as divisor_of */
}

/* Where outputs row_of() and the next of a row tile go, and what is added to them; the weights of the norm behind them. */
struct target {
    uint32_t input;
    float2 z, w;
};
__device__ __forceinline__ target target_of(const sr_chainlink &a, uint32_t row, uint32_t column, bool there)
{
    uint32_t tile;
    const sr_chainpart &w = part_of_row(a, row, &tile);
    const uint32_t r      = row_of();
    target t              = {a.glu ? tile * 16 : w.y0 + tile * 16, {0, 0}, {1, 1}};
    if (a.z && there)
        t.z = __ldcg((const float2 *)(a.z + (size_t)column * a.width + t.input + r));
    if (!a.glu && w.bias)
        t.z = make_float2(t.z.x + __ldg(w.bias + tile * 16 + r), t.z.y + __ldg(w.bias + tile * 16 + r + 1));
    if (a.norm_next)
        t.w = __ldg((const float2 *)(a.norm_next + t.input + r));
    return t;
}
__device__ __forceinline__ void finish(const sr_chainlink &a, const target &t, uint32_t column, float2 v, bool there)
{
    if (!a.glu)
        v = make_float2(v.x + t.z.x, v.y + t.z.y);
    if (a.y && there)
        *(float2 *)(a.y + (size_t)column * a.width + t.input + row_of()) = v;
    if (a.to)
        form_out(a.to, t.input, column, v, t.w, there);
}

/* What is done with a pair's sums is cut in items of four columns, of both row tiles (one number comes of them: gated units, halved inputs) or of one;
 * so many of them to a pair, which the warps take in turn. */
__device__ __forceinline__ uint32_t items_of(const sr_chainlink &a) { return a.glu | a.halved ? 2 : 4; }

/* The sums of an item, in `slot`, become y, and x of the next product. */
__device__ __forceinline__ void finish_item(const sr_chainlink &a, const few &b, const float *squares, uint32_t pair, uint32_t item, uint32_t slot,
                                            const target &t, uint32_t m, uint32_t parity)
{
    const uint32_t column = column_of(item), groups = min(groups_of(a), blocks_of(a)), rank = blockIdx.x % 2, both = a.glu | a.halved,
                   two = 2 * pair + 1 < tiles_of(a);
    const uint8_t *sums = b.sums + slot * SUMS_SLOT;
    const float f       = factor_of(a, squares, column, groups);
    float2 v            = sums_in(sums + item / 2 * SUMS_ROW, column, groups), w = {0, 0};
    if (both && two)
        w = sums_in(sums + SUMS_ROW, column, groups);
    sr_async_fence(); /* other warps' stores here, in the same way */
    arrive(b.empty + slot, both || !two ? 2 : 1);
    if (a.halved) { /* each of a pair of row tiles is finished by one of the two blocks */
        float2 *there = (float2 *)(b.there + pair * 128 + column * 16 + row_of());
        if (two || rank) {
            const uint32_t away = sr_cluster_offset(b.there, rank ^ 1);
            const float2 its    = rank ? v : w;
            sr_store_there(sr_smem(there) + away, make_uint2(__float_as_uint(its.x), __float_as_uint(its.y)), sr_smem(b.twin + pair) + away);
        }
        if (!two && rank)
            return;
        sr_bar_wait(b.twin + pair, parity);
        const float2 own = rank ? w : v;
        v                = make_float2(there->x + own.x, there->y + own.y);
    }
    v = make_float2(v.x * f, v.y * f);
    if (a.glu) {
        w = make_float2(w.x * f, w.y * f);
        v = a.glu_gelu ? make_float2(sr_gelu(v.x) * w.x, sr_gelu(v.y) * w.y) : make_float2(sr_silu(v.x) * w.x, sr_silu(v.y) * w.y);
    }
    finish(a, t, column, v, column < m);
}

/* The item of a pair that is this warp's, or none: 8 and more.  Its target. */
__device__ __forceinline__ uint32_t item_in(const sr_chainlink &a, uint32_t pair, uint32_t warp)
{
    const uint32_t item = (warp - items_of(a) * pair) % CHAIN_WARPS;
    return item < items_of(a) && 2 * pair + (a.glu | a.halved ? 0 : item / 2) < tiles_of(a) ? item : 8;
}
__device__ __forceinline__ target target_in(const sr_chainlink &a, uint32_t pair, uint32_t item, uint32_t m)
{
    const uint32_t column = column_of(item),
                   row    = 2 * pair + (a.glu ? 0 : a.halved ? blockIdx.x % 2 & 2 * pair + 1 < tiles_of(a) : item / 2);
    return target_of(a, tile_of(a) + row, column, column < m);
}

/* ---- meetings ----------------------------------------------------------------------------------------------- */

/* Whether x tells when it is there.  Tiles of Q8_0 leave no registers for the looking: 75.5 us a layer of 8B instead of 73.0; there all blocks meet behind
 * each product (54.7 instead of 57.0 of Q4_K with Q6_K: notes/0057). */
__host__ __device__ constexpr bool tells(uint32_t formats) { return !(formats & ONLY(SR_Q8_0)); }

__device__ __forceinline__ void all_here(void) { asm volatile("bar.sync 1, %0;" ::"r"(32 * CHAIN_WARPS) : "memory"); }

/* meet(), of the warps that multiply. */
__device__ __forceinline__ void meet_few(uint32_t *counter, uint32_t blocks)
{
    all_here();
    if (threadIdx.x == 0)
        meet_blocks(counter, blocks);
    all_here();
}

/* Where x tells, a warp waits for its own inputs and not for all blocks.  A warp that does not multiply sees to that: before anything is written to x's places,
 * in each launch anew, it fills them with ones, and meets those of all blocks; they meet again behind products whose y is added to by a later one. */
__device__ __forceinline__ void keep_x(const sr_chain &c, const few &b)
{
    const uint32_t lane = threadIdx.x % 32;
    sr_pdl_wait();
#pragma unroll 1
    for (uint32_t i = blockIdx.x * 32 + lane; i < c.form_bytes / 16; i += c.blocks * 32)
        asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %1};" ::"l"(c.forms + (size_t)i * 16), "l"(~0ull) : "memory");
#pragma unroll 1
    for (uint32_t i = 0; i < c.n; i++) {
        if (i && !c.link[i - 1].again)
            continue;
        if (i)
            sr_bar_wait(b.ended + i - 1, 0);
        __syncwarp();
        if (lane == 0) {
            meet_blocks(c.meet, c.blocks);
            sr_bar_arrive(b.met + i);
        }
    }
}

/* ---- products ----------------------------------------------------------------------------------------------- */

template <uint32_t FORMATS> __device__ __forceinline__ void few_tile(uint32_t format, const uint8_t *w, const xregs &x, uint32_t up, float at[1][4])
{
    const uint32_t lane = threadIdx.x % 32;
#define CASE(F)                                                                                              \
    IF_FORMAT(                                                                                               \
        F, if constexpr (F == SR_Q4_K || F == SR_Q5_K) few_k45<F, 1>(w, x, lane, up, at);                    \
        else tile_multiply<F, 1>(w, x, lane, 0, at);)
    CASE(SR_Q4_K)
    CASE(SR_Q5_K)
    CASE(SR_Q6_K)
    CASE(SR_Q4_0)
    CASE(SR_Q8_0)
#undef CASE
}

/* Before the first product: whoever waits for this launch may come, the twin is there, and so is what the launch before has written.  Rows of x. */
__device__ __forceinline__ uint32_t rows_here(const sr_chain &c)
{
    if (c.twin)
        sr_cluster_arrive();
    sr_pdl_launch();
    if (c.twin)
        sr_cluster_wait();
    sr_pdl_wait();
    return min(__ldcg(c.count), c.m);
}

/* A warp's products. */
template <uint32_t FORMATS> __device__ __forceinline__ void multiply_all(const sr_chain &c, const few &b)
{
    constexpr bool TELLS = tells(FORMATS);
    const uint32_t lane = threadIdx.x % 32, warp = __shfl_sync(0xffffffff, threadIdx.x / 32, 0), up = __shfl_sync(0xffffffff, c.twice_1024, 0),
                   m = rows_here(c);
    sr_ring f = {0, 0}, put = {0, 0}, done = {0, 0};
    uint32_t halved = 0; /* links whose inputs were halved */
#pragma unroll 1
    for (uint32_t i = 0; i < c.n; i++) {
        const sr_chainlink &a = c.link[i];
        const uint32_t group = warp & (groups_of(a) - 1), own = warp >> a.groups_log, step = CHAIN_WARPS >> a.groups_log, rows = tiles_of(a),
                       n_pair = (rows + 1) / 2, behind = n_pair > c.slots ? 1 : n_pair;
        uint32_t first      = warp / items_of(a);
        const uint32_t what = what_of(a);
        float squares       = 0, *const all = b.squares + i * CHAIN_WARPS * 8; /* others may still finish the product before */
        if (i && !TELLS)
            meet_few(c.meet, c.blocks);
        if (i && TELLS)
            sr_bar_wait(b.met, 0);
        if (a.z_behind && TELLS)
            sr_bar_wait(b.met + a.z_behind, 0);
        if (a.halved && threadIdx.x < c.slots) /* the twin's sums of the row tile that is this block's, if there is one */
            sr_bar_expect(b.twin + threadIdx.x, 2 * threadIdx.x + blockIdx.x % 2 < rows ? 512 : 0);
        target t = {};
        if (item_in(a, first, warp) < 8) /* while the products run */
            t = target_in(a, first, item_in(a, first, warp), m);
#pragma unroll 1
        for (uint32_t k = 0; k < blocks_of(a); k += groups_of(a)) {
            const bool mine = k + group < blocks_of(a), last = k + groups_of(a) >= blocks_of(a);
            sr_ring to      = put;
            xregs x;
            if (mine) {
                const uint32_t at = first_of(a) + k + group;
                squares += a.from ? x_formed<TELLS>(a.from + (size_t)at * SR_CHAIN_FORM, lane / 4 < m, i == 0 || m == 0 ? X_THERE : k ? X_NEAR : X_AWAITED, x)
                                  : x_from_slot(a.x + (size_t)(lane / 4) * a.x_stride + at * 256, a.norm ? a.norm + at * 256 : NULL, lane / 4 < m, x);
            }
            if (i == 0 && k == 0) {
                __syncwarp();
                if (lane == 0)
                    sr_bar_arrive(b.begun);
            }
            if (last && a.norm && own == 0) {
                squares = quad_sum(squares);
                if (lane % 4 == 0)
                    all[group * 8 + lane / 4] = squares;
            }
            uint32_t pair = 0;
#pragma unroll 1
            for (uint32_t row = 0; row < rows || (last && pair < n_pair + behind);) {
                if (row < rows) {
                    const uint32_t slot_row = (row + own) % 2, now = __shfl_sync(0xffffffff, what, row + own);
                    if (k == 0 && row % 2 == 0)
                        sr_bar_wait(b.empty + to.at, to.parity ^ 1);
                    sr_bar_wait(b.come + f.at, f.parity);
                    if (mine && row + own < rows) {
                        float v[1][4] = {};
                        few_tile<FORMATS>(SR_CHAIN_FORMAT(now), b.ring + f.at * c.stage + own * (c.stage / 2) + group * SR_CHAIN_BYTES(now), x, up, v);
                        sums_out(b.sums + to.at * SUMS_SLOT + slot_row * SUMS_ROW + group * SUMS_GROUP, v[0], x, k > 0);
                    }
                    sr_async_fence();
                    sr_bar_arrive(b.gone + f.at);
                    f.next(c.depth);
                    row += step;
                    if (row % 2 && row < rows)
                        continue;
                    if (last) /* the end of a pair */
                        sr_bar_arrive(b.full + to.at);
                    to.next(c.slots);
                }
                if (last && pair++ >= behind) { /* what is a pair behind, or with few of them all of it, is finished */
                    const uint32_t p = pair - 1 - behind, item = item_in(a, p, warp);
                    if (item < 8) {
                        if (p != first)
                            t = target_in(a, p, item, m);
                        if (i == 0 && TELLS)
                            sr_bar_wait(b.met, 0);
                        sr_bar_wait(b.full + done.at, done.parity);
                        finish_item(a, b, all, p, item, done.at, t, m, halved & 1);
                    }
                    done.next(c.slots);
                }
            }
            if (last)
                put = to;
        }
        if (a.again && TELLS) {
            __syncwarp();
            if (lane == 0)
                sr_bar_arrive(b.ended + i);
        }
        halved += a.halved;
    }
}
#endif

/* A block has 640 x 96 registers: 512 threads with 112, 128 with 32. */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GIVE_REGISTERS() asm volatile("setmaxnreg.dec.sync.aligned.u32 32;")
#define TAKE_REGISTERS() asm volatile("setmaxnreg.inc.sync.aligned.u32 112;")
#else
#define GIVE_REGISTERS() (void)0
#define TAKE_REGISTERS() (void)0
#endif
template <uint32_t FORMATS> __global__ void __launch_bounds__(32 * (CHAIN_WARPS + SR_CHAIN_BESIDES), 1) chain_few_kernel(const __grid_constant__ sr_chain c)
{
#if RING
    extern __shared__ __align__(1024) uint8_t smem[];
    uint64_t *bars = (uint64_t *)(smem + c.at_bar);
    const few b    = {smem, smem + c.at_ring, (float *)(smem + c.at_there), (float *)(smem + c.at_squares), bars, bars + c.slots, bars + 2 * c.slots,
                      bars + 3 * c.slots, bars + 3 * c.slots + c.depth, bars + 3 * c.slots + 2 * c.depth, bars + 3 * c.slots + 2 * c.depth + 1,
                      bars + 3 * c.slots + 2 * c.depth + 1 + SR_CHAIN_PRODUCTS};
    if (threadIdx.x < c.slots) {
        sr_bar_init(b.full + threadIdx.x, CHAIN_WARPS * EACH);
        sr_bar_init(b.empty + threadIdx.x, 4 * EACH);
        sr_bar_init(b.twin + threadIdx.x, 1);
    }
    if (threadIdx.x < c.depth) {
        sr_bar_init(b.come + threadIdx.x, 1);
        sr_bar_init(b.gone + threadIdx.x, CHAIN_WARPS * EACH);
    }
    if (threadIdx.x < SR_CHAIN_PRODUCTS) {
        sr_bar_init(b.ended + threadIdx.x, CHAIN_WARPS);
        sr_bar_init(b.met + threadIdx.x, 1);
    }
    if (threadIdx.x == 0)
        sr_bar_init(b.begun, CHAIN_WARPS);
    sr_bar_fence();
    __syncthreads();
    if (threadIdx.x >= 32 * CHAIN_WARPS) {
        GIVE_REGISTERS();
        if (c.twin)
            sr_cluster_arrive();
        sr_pdl_launch();
        if (threadIdx.x < 32 * (CHAIN_WARPS + 1))
            ask_all(c, b);
        else if (tells(FORMATS) && threadIdx.x < 32 * (CHAIN_WARPS + 2))
            keep_x(c, b);
    } else {
        TAKE_REGISTERS();
        multiply_all<FORMATS>(c, b);
    }
#endif
}

template <void (*KERNEL)(sr_chain)> static cudaError_t chain_start_of(const cudaLaunchConfig_t *config, const sr_chain *c) { return chain_go(KERNEL, config, c); }

/* The start of an instance that knows `formats`, if FORMATS do. */
template <uint32_t FORMATS> static sr_chainstart chain_few_of(uint32_t formats) { return (formats & ~FORMATS) == 0 ? chain_start_of<chain_few_kernel<FORMATS>> : NULL; }
#endif
