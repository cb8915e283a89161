/* attn_decode: attention of few rows over many positions, split over blocks; limited by what memory gives
 * Shapes   attn.h; head sizes 64, 80, 96, 128, 256; pages of F16 or Q8_0; sequences with up to split_rows rows.
 * Roofline bytes = visible positions * kv_heads * (K + V rows).
 * Target   0.8 of the read limit from 4 k positions on, either format (notes/0012).
 * Mapping  a block takes the rows of a kv head, 8 * NT of them at a time, and a split of the positions; its warps take runs of 16 in turn.
 *          The products are turned: scores are [position][row] = K . q, outputs [dimension][row] = V^T . p, so that 8 rows
 *          cost 8, not 16.  Dimensions may be summed in any order, so lane (g, t) reads 16 consecutive bytes of key rows
 *          g and g + 8 as its A operand; output rows may lie in any order, so it reads 16 bytes of four value rows and pairs
 *          them by byte permutes.  Weights turn from result to operand by movmatrix.
 *          BULK (sm_90): a warp's runs come by bulk copies (a page's head is contiguous) into its own ring in shared memory, the first
 *          ones before the previous kernel has ended: only this step's positions are its neighbours' work.  Looking up where they lie
 *          takes two waits for memory: lengths, then the table, by a lane for each run.
 *          Else: F16 straight from memory into fragments; Q8_0, whose blocks of 34 bytes are not aligned, by way of shared memory.
 *          A sequence is cut by its true length into as many splits as make every block busy (attn_mma.cu); the last block of
 *          (sequence, kv head) to arrive joins them in their order.
 *          With a turn (a token a sequence: rotation, KV write and attention are one launch) q, k and v are as the product left them.  A block turns
 *          its queries; the one whose split has the newest position turns and codes K, codes V, stores both in the page and
 *          puts them over that position's place in its run.  The others look at older positions only, so that no block waits for another,
 *          and all copies can begin before the previous kernel has ended.
 *          Much of its time is instructions that are gone through once: it divides by nothing (divided()), and addresses of what the previous kernel
 *          writes are there before that has ended (notes/0064).
 * Output   f32, or where a chain of several rows comes next its first x (linear/chain_form.cuh), by the lanes that would write f32.
 * Numbers  q, k, v and the weights p in f16, sums in f32, online softmax over runs of 16, base 2.
 * Variants BULK or not; NT 1 for up to 8 rows, 2 for more; eight warps a block, one block a multiprocessor, for few sequences (half as
 *          many splits to join, two runs a warp under way); else four warps, of one or two sequences beside the blocks of a chain, whose end they wait for with
 *          their first runs there; alone: many short sequences, a warp for all positions of a kv head.
 * Archs    sm_75+.                                                                           */
#ifndef SR_OPS_ATTN_DECODE_CUH
#define SR_OPS_ATTN_DECODE_CUH
#include "ops/attn/attn_join.cuh"
#include "ops/attn/attn_numbers.cuh"
#include "ops/attn/attn_part.cuh"

/* Sizes of a kernel: warps of a block, runs of a warp's ring. */
template <int HD, int F, int NT, int WARPS, int RINGS, bool BULK> struct decode_plan {
    static constexpr int rows = 8 * NT, warps = WARPS, rings = RINGS, threads = WARPS * 32;
    static constexpr int row  = F == SR_F16 ? HD * 2 : HD / 32 * 34; /* bytes */
    static constexpr int half = RUN * row;                            /* of K, of V of a run */
    static constexpr bool staged = BULK || F == SR_Q8_0;
    static constexpr bool trees  = WARPS < 8; /* steps with words (ops/tree.h) go to the others: registers are few here */
    static constexpr bool ahead  = WARPS >= 8 && NT == 1 && HD <= 128 && RINGS > 1; /* registers hold a run's values besides */
    static constexpr bool clears = BULK && (WARPS >= 8 || RINGS > 1); /* what nobody sees where it lies; of others in registers, where clearing so spills some */
    static constexpr int ring    = staged ? WARPS * RINGS * 2 * half : 0;
    static constexpr int parts   = WARPS * warp_sums<HD, rows>::size * 4; /* after the loop, in the ring's place */
    static constexpr int smem    = (ring > parts ? ring : parts) + 128;
};

/* How a lane reads rows.  Q8_0 with whole 128s: keys a block of 32 at a time (nine words for 32 numbers), values 16 numbers; else
 * keys 8 numbers of each 32, values 8 of each 64: 16 bytes of F16. */
template <int HD, int F> __device__ constexpr bool by_blocks(void) { return F == SR_Q8_0 && HD % 128 == 0; }

/* Values 16 numbers at a time: Q8_0 by blocks; F16 so that odd lanes can ask for their halves in the other order. */
template <int HD, int F> __device__ constexpr bool wide_values(void) { return HD % 128 == 0; }

/* First of the two dimensions that lanes g of tile k hold of an output. */
template <int HD, int F> __device__ __forceinline__ uint32_t decode_dim(int k, uint32_t g)
{
    constexpr int full = HD / 64 * 4, rest = HD % 64 / 16; /* tiles of whole 64s; of the rest */
    return wide_values<HD, F>() ? k / 8 * 128 + g * 16 + k % 8 * 2
           : k < full         ? k / 4 * 64 + g * 8 + k % 4 * 2
                              : full * 16 + g * 2 * rest + (k - full) * 2;
}

/* Position of a run's first eight that result row g of K . q is (of its second: 8 more).  In this order four rows of values that eight
 * lanes read together meet a bank half as often in rows of 136 bytes (Q8_0) as in the order of positions. */
__device__ __forceinline__ uint32_t place(uint32_t g) { return g >> 1 ^ (g & 2) << 1 ^ (g & 1) << 2; }

template <int HD, int NT> struct decode_state {
    float o[NT][HD / 16][4], m[NT][2], l[NT][2]; /* rows 2t, 2t + 1 of each eight */
    uint32_t q[NT][HD / 16][2];
    uint32_t begin[NT][2], end[NT][2];
};

/* The token that row 2t + i of each eight is of. */
__device__ __forceinline__ uint32_t decode_token(const sr_attnmma &a, const part_of &w, int n, int i)
{
    return divided(min(n * 8 + threadIdx.x % 4 * 2 + i, w.n_row - 1) + w.row0, a.over.group);
}

/* Which positions this lane's rows see. */
template <int HD, int NT> __device__ __forceinline__ void decode_see(const sr_attnmma &a, const part_of &w, decode_state<HD, NT> &st)
{
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t tok = decode_token(a, w, n, i);
            visible_of(w.from, w.to, a.window, w.n_tok, tok, st.begin[n][i], st.end[n][i]);
            if (w.tree)
                visible_by(w.tree[w.tok0 + tok], w.from, a.window, st.begin[n][i], st.end[n][i]);
        }
}

/* What drafted rows do not see of their block. */
template <int HD, int NT>
__device__ __forceinline__ void decode_hide(const sr_attnmma &a, const part_of &w, const decode_state<HD, NT> &st, uint32_t p0, int n, float s[4])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint64_t word = within(w.tree[w.tok0 + decode_token(a, w, n, i)], a.window);
        const uint32_t at = p0 + place(threadIdx.x % 32 / 4), first = word ? st.end[n][i] - 1 - sr_tree_own(word) : ~0u;
#pragma unroll
        for (int h = 0; h < 2; h++)
            if (hidden_by(word, first, at + h * 8))
                s[2 * h + i] = -INFINITY;
    }
}

/* The queries in the order of dimensions that keys come in: t * 8 .. of each 32, t * 4 .. of a last 16; or t * 32 .. of each 128. */
template <int HD, int F, int NT>
__device__ __forceinline__ void decode_load_q(const part_of &w, const decode_now<HD, F, NT> &now, decode_state<HD, NT> &st)
{
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < NT; n++) {
        const half *x = now.q[min(n * 8 + g, w.n_row - 1)];
        if constexpr (by_blocks<HD, F>())
#pragma unroll
            for (int i = 0; i < HD / 16; i++) {
                const uint2 u = *(const uint2 *)(x + i / 8 * 128 + t * 32 + i % 8 * 4);
                st.q[n][i][0] = u.x;
                st.q[n][i][1] = u.y;
            }
        else
#pragma unroll
            for (int j = 0; j < HD / 32; j++) {
                const uint4 u         = *(const uint4 *)(x + j * 32 + t * 8);
                st.q[n][2 * j][0]     = u.x;
                st.q[n][2 * j][1]     = u.y;
                st.q[n][2 * j + 1][0] = u.z;
                st.q[n][2 * j + 1][1] = u.w;
            }
        if constexpr (HD % 32) {
            const uint2 u           = *(const uint2 *)(x + HD / 32 * 32 + t * 4);
            st.q[n][HD / 16 - 1][0] = u.x;
            st.q[n][HD / 16 - 1][1] = u.y;
        }
    }
}

template <bool FOUR> struct decode_word { using type = uint16_t; };
template <> struct decode_word<true> { using type = uint32_t; };

/* Puts the newest position's rows over what a run in shared memory has of it. */
template <class P> __device__ __forceinline__ void decode_patch(uint8_t *run, uint32_t position, const uint8_t (*kv)[P::row])
{
    using word = typename decode_word<P::row % 4 == 0>::type;
    constexpr int words = P::row / sizeof(word);
    for (uint32_t i = threadIdx.x % 32; i < 2 * words; i += 32)
        *(word *)(run + i / words * P::half + position % RUN * P::row + i % words * sizeof(word)) = *(const word *)(kv[i / words] + i % words * sizeof(word));
    __syncwarp();
}

/* s[n] = K . q: positions place(g), and 8 more, by rows 2t, 2t + 1. */
template <int HD, int F, int NT>
__device__ __forceinline__ void decode_scores(const uint8_t *k, const decode_state<HD, NT> &st, float s[NT][4])
{
    constexpr size_t row = F == SR_F16 ? HD * 2 : HD / 32 * 34;
    const uint32_t g = place(threadIdx.x % 32 / 4), t = threadIdx.x % 4;
    const uint8_t *k0 = k + g * row, *k1 = k0 + 8 * row;
    float odd[NT][4];
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[n][i] = odd[n][i] = 0;
    if constexpr (by_blocks<HD, F>()) {
#pragma unroll
        for (int j = 0; j < HD / 128; j++) {
            uint32_t x[8], y[8];
            const half2 dx = block_bytes(k0 + (j * 4 + t) * 34, x), dy = block_bytes(k1 + (j * 4 + t) * 34, y);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const uint2 u = four_bytes(x[i], dx), v = four_bytes(y[i], dy);
#pragma unroll
                for (int n = 0; n < NT; n++)
                    sr_mma(i % 2 ? odd[n] : s[n], {{u.x, v.x, u.y, v.y}}, st.q[n][j * 8 + i][0], st.q[n][j * 8 + i][1]);
            }
        }
    } else if constexpr (F == SR_F16 && HD % 64 == 0) {
        const bool other = g >> 2; /* every other row: place() has turned the lowest bit into this one; no two then meet a bank */
#pragma unroll
        for (int j = 0; j < HD / 64; j++) {
            const uint32_t d0 = j * 64 + (other ? 32 : 0) + t * 8, d1 = j * 64 + (other ? 0 : 32) + t * 8;
            const uint4 u0 = *(const uint4 *)(k0 + d0 * 2), u1 = *(const uint4 *)(k0 + d1 * 2);
            const uint4 v0 = *(const uint4 *)(k1 + d0 * 2), v1 = *(const uint4 *)(k1 + d1 * 2);
            const uint4 x0 = other ? u1 : u0, x1 = other ? u0 : u1, y0 = other ? v1 : v0, y1 = other ? v0 : v1;
#pragma unroll
            for (int n = 0; n < NT; n++) {
                sr_mma(s[n], {{x0.x, y0.x, x0.y, y0.y}}, st.q[n][4 * j][0], st.q[n][4 * j][1]);
                sr_mma(odd[n], {{x0.z, y0.z, x0.w, y0.w}}, st.q[n][4 * j + 1][0], st.q[n][4 * j + 1][1]);
                sr_mma(s[n], {{x1.x, y1.x, x1.y, y1.y}}, st.q[n][4 * j + 2][0], st.q[n][4 * j + 2][1]);
                sr_mma(odd[n], {{x1.z, y1.z, x1.w, y1.w}}, st.q[n][4 * j + 3][0], st.q[n][4 * j + 3][1]);
            }
        }
    } else
#pragma unroll
        for (int j = 0; j < HD / 32; j++) {
            uint32_t x[4], y[4];
            numbers<F, 4>(k0, j * 32 + t * 8, x);
            numbers<F, 4>(k1, j * 32 + t * 8, y);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                sr_mma(s[n], {{x[0], y[0], x[1], y[1]}}, st.q[n][2 * j][0], st.q[n][2 * j][1]);
                sr_mma(odd[n], {{x[2], y[2], x[3], y[3]}}, st.q[n][2 * j + 1][0], st.q[n][2 * j + 1][1]);
            }
        }
    if constexpr (HD % 32) {
        uint32_t x[2], y[2];
        numbers<F, 2>(k0, HD / 32 * 32 + t * 4, x);
        numbers<F, 2>(k1, HD / 32 * 32 + t * 4, y);
#pragma unroll
        for (int n = 0; n < NT; n++)
            sr_mma(s[n], {{x[0], y[0], x[1], y[1]}}, st.q[n][HD / 16 - 1][0], st.q[n][HD / 16 - 1][1]);
    }
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[n][i] += odd[n][i];
}

/* Scores become weights p[n] (the B operand: positions by rows), sums are scaled to the new maximum. */
template <int HD, int NT>
__device__ __forceinline__ void decode_soften(const sr_attnmma &a, const part_of &w, decode_state<HD, NT> &st, uint32_t p0, float s[NT][4],
                                              uint32_t p[NT][2])
{
    const uint32_t g   = threadIdx.x % 32 / 4;
    const float c      = a.scale * SR_LOG2E;
    const bool masked  = p0 < w.all_lo || p0 + RUN > w.all_hi;
#pragma unroll
    for (int n = 0; n < NT; n++) {
        float keep[2];
        if (__builtin_expect(a.soft > 0, 0))
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[n][i] = soft_capped(s[n][i], a.soft, a.cap) * SR_LOG2E;
        else
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[n][i] *= c;
        if (masked)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t at = p0 + place(g) + i / 2 * 8;
                if (at < st.begin[n][i % 2] || at >= st.end[n][i % 2])
                    s[n][i] = -INFINITY;
            }
        if (masked && w.tree)
            decode_hide<HD, NT>(a, w, st, p0, n, s[n]);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float top = fmaxf(s[n][i], s[n][2 + i]);
#pragma unroll
            for (int x = 4; x < 32; x *= 2)
                top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, x));
            top        = fmaxf(top, st.m[n][i]);
            keep[i]    = power2(st.m[n][i] - top);
            st.m[n][i] = top;
            s[n][i]     = power2(s[n][i] - top);
            s[n][2 + i] = power2(s[n][2 + i] - top);
            st.l[n][i]  = fmaf(st.l[n][i], keep[i], s[n][i] + s[n][2 + i]); /* of this lane's positions */
        }
#pragma unroll
        for (int h = 0; h < 2; h++)
            asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(p[n][h]) : "r"(sr_pack(s[n][2 * h], s[n][2 * h + 1])));
        if (!__all_sync(0xffffffff, keep[0] == 1 && keep[1] == 1)) /* most runs bring no new maximum */
#pragma unroll
            for (int i = 0; i < HD / 16; i++) {
                st.o[n][i][0] *= keep[0];
                st.o[n][i][1] *= keep[1];
                st.o[n][i][2] *= keep[0];
                st.o[n][i][3] *= keep[1];
            }
    }
}

/* What nobody sees of a run's values may be anything, NaN too: cleared in shared memory. */
template <int HD, int F> __device__ __forceinline__ void decode_clear_unseen(const part_of &w, uint8_t *v, uint32_t p0)
{
    constexpr uint32_t row = F == SR_F16 ? HD * 2 : HD / 32 * 34, word = row % 16 == 0 ? 16 : row % 4 == 0 ? 4 : 2; /* two lanes a row */
    const uint32_t lane = threadIdx.x % 32, p = p0 + lane / 2;
    if (p < w.lo || p >= w.hi)
        for (uint32_t i = lane % 2; i < row / word; i += 2)
            if constexpr (word == 16)
                *(uint4 *)(v + lane / 2 * row + i * word) = make_uint4(0, 0, 0, 0);
            else if constexpr (word == 4)
                *(uint32_t *)(v + lane / 2 * row + i * word) = 0;
            else
                *(uint16_t *)(v + lane / 2 * row + i * word) = 0;
    __syncwarp();
}

/* Values of four positions, `2 * WORDS` dimensions from d0 + g * 2 * WORDS on.  CLEAR: what nobody sees becomes 0. */
template <int HD, int F, int WORDS, bool CLEAR>
__device__ __forceinline__ void decode_fetch(const part_of &w, const uint8_t *v, uint32_t p0, uint32_t d0, uint32_t x[4][WORDS])
{
    constexpr size_t row = F == SR_F16 ? HD * 2 : HD / 32 * 34;
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; i++)
        if constexpr (F == SR_F16 && WORDS == 8) { /* rows of 256 bytes: lanes of a row's four meet a bank two by two, not all */
            const uint8_t *b = v + (place(t * 2 + i % 2) + i / 2 * 8) * row + (d0 + g * 16) * 2;
            const bool odd   = t % 2;
            const uint4 u = *(const uint4 *)(b + (odd ? 16 : 0)), y = *(const uint4 *)(b + (odd ? 0 : 16));
            x[i][0] = odd ? y.x : u.x, x[i][1] = odd ? y.y : u.y, x[i][2] = odd ? y.z : u.z, x[i][3] = odd ? y.w : u.w;
            x[i][4] = odd ? u.x : y.x, x[i][5] = odd ? u.y : y.y, x[i][6] = odd ? u.z : y.z, x[i][7] = odd ? u.w : y.w;
        } else
            numbers<F, WORDS>(v + (place(t * 2 + i % 2) + i / 2 * 8) * row, d0 + g * 2 * WORDS, x[i]);
    if (CLEAR && (p0 < w.lo || p0 + RUN > w.hi))
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t p = p0 + place(t * 2 + i % 2) + i / 2 * 8;
#pragma unroll
            for (int k = 0; k < WORDS; k++)
                x[i][k] = p < w.lo || p >= w.hi ? 0 : x[i][k];
        }
}

/* o += V^T . p: result rows g and g + 8 of tile i are dimensions d0 + g * 2 * WORDS + 2 i, + 1. */
template <int HD, int NT, int WORDS>
__device__ __forceinline__ void decode_values(const uint32_t x[4][WORDS], int tile, decode_state<HD, NT> &st, const uint32_t p[NT][2])
{
#pragma unroll
    for (int k = 0; k < WORDS; k++) {
        sr_frag_a f = {{__byte_perm(x[0][k], x[1][k], 0x5410), __byte_perm(x[0][k], x[1][k], 0x7632),
                        __byte_perm(x[2][k], x[3][k], 0x5410), __byte_perm(x[2][k], x[3][k], 0x7632)}};
#pragma unroll
        for (int n = 0; n < NT; n++)
            sr_mma(st.o[n][tile + k], f, p[n][0], p[n][1]);
    }
}

/* One run.  AHEAD: its values are on their way to registers during the softmax.  CLEARS: what nobody sees of them where they lie. */
template <int HD, int F, int NT, bool AHEAD, bool CLEARS>
__device__ __forceinline__ void decode_run(const sr_attnmma &a, const part_of &w, decode_state<HD, NT> &st, uint32_t p0, const uint8_t *k,
                                           const uint8_t *v)
{
    constexpr int words = wide_values<HD, F>() ? 8 : 4, parts = HD / (words * 16), rest = HD % 64 / 16;
    float s[NT][4];
    uint32_t p[NT][2], x[AHEAD ? parts : 1][4][words], y[4][rest ? rest : 1];
    if (CLEARS && (p0 < w.lo || p0 + RUN > w.hi))
        decode_clear_unseen<HD, F>(w, (uint8_t *)v, p0);
    decode_scores<HD, F, NT>(k, st, s);
    if constexpr (AHEAD)
#pragma unroll
        for (int c = 0; c < parts; c++)
            decode_fetch<HD, F, words, !CLEARS>(w, v, p0, c * words * 16, x[c]);
    if constexpr (AHEAD && rest)
        decode_fetch<HD, F, rest, !CLEARS>(w, v, p0, HD / 64 * 64, y);
    decode_soften<HD, NT>(a, w, st, p0, s, p);
#pragma unroll
    for (int c = 0; c < parts; c++) {
        if constexpr (!AHEAD)
            decode_fetch<HD, F, words, !CLEARS>(w, v, p0, c * words * 16, x[0]);
        decode_values<HD, NT, words>(x[AHEAD ? c : 0], c * words, st, p);
    }
    if constexpr (rest) {
        if constexpr (!AHEAD)
            decode_fetch<HD, F, rest, !CLEARS>(w, v, p0, HD / 64 * 64, y);
        decode_values<HD, NT, rest>(y, HD / 64 * 4, st, p);
    }
}

/* K of a run; its V is a.kv.stride.kv further. */
__device__ __forceinline__ const uint8_t *run_at(const sr_attnmma &a, const part_of &w, uint32_t p0)
{
    const uint32_t run = p0 / RUN, i = divided(run, a.over.page_runs), in_page = run - i * a.page_runs;
    const uint32_t page = a.table[(size_t)w.seq * a.max_pages + i] & 0x3fffffffu;
    return (const uint8_t *)a.kv.base + page * a.kv.stride.page + a.layer * a.kv.stride.layer + w.head * a.kv.stride.head +
           (size_t)in_page * RUN * a.kv.stride.tok;
}

/* ---- runs by bulk copies
 * -------------------------------------------------------------------------------------------- */

/* Runs of this warp (ALONE: all of the part's), the first ones under way before `ready`: waits for the previous kernel, has q; true: the part's newest position
 * is in `kv`, not in its page (by the time a copy reads it).  Lane i looks up where the i-th of each 32 of them lies and brings it: in the loop nobody waits for the
 * table. */
template <class P, bool ALONE, int HD, int F, int NT, class READY>
__device__ __forceinline__ void decode_bulk(const sr_attnmma &a, const part_of &w, decode_state<HD, NT> &st, uint8_t *ring, uint64_t *full, bool newest,
                                            const uint8_t (*kv)[P::row], READY ready)
{
#if __CUDA_ARCH__ >= 900
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, step = ALONE ? RUN : P::warps * RUN, p0 = w.begin + (ALONE ? 0 : warp * RUN);
    const uint32_t n_run = p0 < w.stop ? (w.stop - p0 + step - 1) / step : 0;
    const uint8_t *mine  = lane < n_run ? run_at(a, w, p0 + lane * step) : NULL;
    ring += warp * P::rings * 2 * P::half;
    full += warp * P::rings;
    auto bring = [&](uint32_t slot) {
        uint8_t *at = ring + slot * 2 * P::half;
        sr_bar_expect(full + slot, 2 * P::half);
        sr_bulk_load(at, mine, P::half, full + slot);
        sr_bulk_load(at + P::half, mine + a.kv.stride.kv, P::half, full + slot);
    };
    const bool first = lane < P::rings && lane < n_run, old = a.turn.cs || p0 + lane * step + RUN <= w.old;
    if (lane < P::rings)
        sr_bar_init(full + lane, 1);
    sr_bar_fence();
    __syncwarp();
    if (first && old)
        bring(lane);
    ready();
    if (first && !old)
        bring(lane);
    uint32_t slot = 0, parity = 0;
    for (uint32_t i = 0; i < n_run; i++) {
        uint8_t *k          = ring + slot * 2 * P::half;
        const uint32_t next = i + P::rings;
        if (next < n_run && next % 32 == 0)
            mine = next + lane < n_run ? run_at(a, w, p0 + (next + lane) * step) : NULL;
        sr_bar_wait(full + slot, parity);
        if (newest && p0 + i * step + RUN > w.old)
            decode_patch<P>(k, w.old, kv);
        decode_run<HD, F, NT, P::ahead, P::clears>(a, w, st, p0 + i * step, k, k + P::half);
        if (next < n_run) {
            sr_async_fence();
            __syncwarp();
            if (lane == next % 32)
                bring(slot);
        }
        slot++;
        if (slot == P::rings) {
            slot = 0;
            parity ^= 1;
        }
    }
#endif
}

/* ---- runs by plain loads
 * -------------------------------------------------------------------------------------------- */

template <class P, int HD, int F, int NT>
__device__ __forceinline__ void decode_plain(const sr_attnmma &a, const part_of &w, decode_state<HD, NT> &st, uint8_t *ring)
{
    const uint32_t warp = threadIdx.x / 32, step = P::warps * RUN, lane = threadIdx.x % 32;
    uint32_t p = w.begin + warp * RUN;
    if constexpr (!P::staged) {
        const uint8_t *k = p < w.stop ? run_at(a, w, p) : NULL;
        for (; p < w.stop; p += step) {
            const uint8_t *next = p + step < w.stop ? run_at(a, w, p + step) : k;
            decode_run<HD, F, NT, false, false>(a, w, st, p, k, k + a.kv.stride.kv);
            k = next;
        }
    } else {
        constexpr int words = P::half / 16, mine = (2 * words + 31) / 32; /* 16-byte words of K, of a lane */
        uint4 w16[mine];
        ring += warp * 2 * P::half;
        auto fetch = [&](uint32_t at) {
            const uint8_t *k = run_at(a, w, at);
#pragma unroll
            for (int i = 0; i < mine; i++) {
                int x = i * 32 + (int)lane;
                if (x < 2 * words)
                    w16[i] = *(const uint4 *)(x < words ? k + x * 16 : k + a.kv.stride.kv + (x - words) * 16);
            }
        };
        if (p < w.stop)
            fetch(p);
        for (; p < w.stop; p += step) {
#pragma unroll
            for (int i = 0; i < mine; i++)
                if (i * 32 + (int)lane < 2 * words)
                    *(uint4 *)(ring + (i * 32 + lane) * 16) = w16[i];
            __syncwarp();
            if (p + step < w.stop)
                fetch(p + step);
            decode_run<HD, F, NT, false, false>(a, w, st, p, ring, ring + P::half);
            __syncwarp();
        }
    }
}

/* ---- the kernel
 * ----------------------------------------------------------------------------------------------------- */

template <class P, int HD, int F, int NT> __device__ __forceinline__ void decode_store(const decode_state<HD, NT> &st, const part_of &w, float *mine)
{
    using S = warp_sums<HD, P::rows>;
    constexpr int full = HD / 64 * 4, rest = HD % 64 / 16;
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < NT; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const uint32_t r = n * 8 + t * 2 + i;
            float l          = st.l[n][i];
#pragma unroll
            for (int x = 4; x < 32; x *= 2)
                l += __shfl_xor_sync(0xffffffff, l, x);
            if (r >= w.n_row)
                continue;
            if (g == 0) {
                mine[S::m + r] = st.m[n][i];
                mine[S::l + r] = l;
            }
#pragma unroll
            for (int k = 0; k < HD / 16; k++) {
                const int side = wide_values<HD, F>() ? k % 8 : k < full ? k % 4 : (k - full) % (rest ? rest : 1); /* among tiles that lie side by side */
                *(float2 *)(mine + S::at(r, decode_dim<HD, F>(k - side, g)) + side * 2) = make_float2(st.o[n][k][i], st.o[n][k][2 + i]);
            }
        }
}

template <int HD, int NT> __device__ __forceinline__ void decode_clear(decode_state<HD, NT> &st)
{
#pragma unroll
    for (int n = 0; n < NT; n++) {
#pragma unroll
        for (int i = 0; i < HD / 16; i++)
            st.o[n][i][0] = st.o[n][i][1] = st.o[n][i][2] = st.o[n][i][3] = 0;
        st.m[n][0] = st.m[n][1] = SR_NOTHING;
        st.l[n][0] = st.l[n][1] = 0;
    }
}

template <int HD, int F, int NT, int WARPS, int RINGS, bool BULK, int BLOCKS>
__global__ void __launch_bounds__(WARPS * 32, BLOCKS) decode_kernel(const __grid_constant__ sr_attnmma a)
{
    using P = decode_plan<HD, F, NT, WARPS, RINGS, BULK>;
    extern __shared__ __align__(128) uint8_t ring[]; /* then, in its place, each warp's [o rows x HD, m, l] */
    __shared__ uint64_t full[BULK ? WARPS * RINGS : 1];
    __shared__ decode_now<HD, F, NT> now;
    __shared__ uint32_t n_split;
    part_of w;
    decode_state<HD, NT> st;
    decode_clear<HD, NT>(st);
    if (!decode_part(a, P::trees ? a.tree : NULL, P::rows, blockIdx, w)) { /* table and lengths were there before the step began */
        decode_idle();
        return;
    }
    const bool newest = a.turn.cs && w.stop == w.hi;
    auto ready        = [&] { /* what can be looked up before the previous kernel ends is */
        if (threadIdx.x == 0)
            n_split = a.splits > 1 ? w.split + (w.hi - w.begin + w.size - 1) / w.size : 1;
        decode_see<HD, NT>(a, w, st);
        decode_take<HD, F, NT, WARPS>(a, w, newest, now);
        decode_load_q<HD, F, NT>(w, now, st);
    };
    if constexpr (BULK)
        decode_bulk<P, false, HD, F, NT>(a, w, st, ring, full, newest, now.kv, ready);
    else { /* the newest position is in its page: this block has put it there */
        ready();
        decode_plain<P, HD, F, NT>(a, w, st, ring);
    }
    __syncthreads();
    float *parts = (float *)ring;
    decode_store<P, HD, F, NT>(st, w, parts + threadIdx.x / 32 * warp_sums<HD, P::rows>::size);
    __syncthreads();
    const join_part j = {w.seq, w.tok0, w.head, w.row0, w.n_row, w.split, n_split};
    join_block<WARPS, HD, P::rows>(a, j, parts);
}

/* Many short sequences: a warp takes all positions of (sequence, kv head, up to 8 rows), so that nothing is joined and nobody waits. */
template <int HD, int F, int WARPS, int RINGS, int BLOCKS>
__global__ void __launch_bounds__(WARPS * 32, BLOCKS) decode_alone(const __grid_constant__ sr_attnmma a)
{
    using P = decode_plan<HD, F, 1, WARPS, RINGS, true>;
    extern __shared__ __align__(128) uint8_t ring[];
    __shared__ uint64_t full[WARPS * RINGS];
    __shared__ decode_now<HD, F, 1> all[WARPS];
    decode_now<HD, F, 1> &now = all[threadIdx.x / 32];
    const uint32_t per = a.kv_heads * a.chunks, item = blockIdx.x * WARPS + threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const uint32_t seq = divided(item, a.over.parts);
    part_of w;
    decode_state<HD, 1> st;
    decode_clear<HD, 1>(st);
    if (item >= a.items || !decode_part(a, NULL, P::rows, make_uint3(0, item - seq * per, seq), w)) {
        sr_pdl_wait();
        return;
    }
    const bool newest = a.turn.cs != NULL;
    decode_bulk<P, true, HD, F, 1>(a, w, st, ring, full, newest, now.kv, [&] {
        decode_see<HD, 1>(a, w, st);
        decode_take<HD, F, 1, 1>(a, w, newest, now);
        decode_load_q<HD, F, 1>(w, now, st);
    });
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t r = t * 2 + i, row = w.row0 + r, tok = divided(row, a.over.group);
        float l          = st.l[0][i];
#pragma unroll
        for (int x = 4; x < 32; x *= 2)
            l += __shfl_xor_sync(0xffffffff, l, x);
        if (r >= w.n_row)
            continue;
        const float inv = __fdividef(1, l);
        float *y = a.out + ((size_t)(w.tok0 + tok) * a.group * a.kv_heads + w.head * a.group + row - tok * a.group) * HD;
#pragma unroll
        for (int k = 0; k < HD / 16; k++)
            *(float2 *)(y + decode_dim<HD, F>(k, g)) = make_float2(st.o[0][k][i] * inv, st.o[0][k][2 + i] * inv);
    }
}

template <int HD, int F, int WARPS, int RINGS, int BLOCKS> static cudaError_t decode_start_alone(const sr_attnmma *a, cudaLaunchConfig_t c)
{
    constexpr int smem = decode_plan<HD, F, 1, WARPS, RINGS, true>::ring;
    auto *kernel       = decode_alone<HD, F, WARPS, RINGS, BLOCKS>;
    sr_attnmma b       = *a;
    b.items            = c.gridDim.y * c.gridDim.z;
    c.gridDim          = dim3((b.items + WARPS - 1) / WARPS);
    c.blockDim         = dim3(WARPS * 32);
    c.dynamicSmemBytes = smem;
    cudaError_t e      = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, smem);
    return e ? e : cudaLaunchKernelEx(&c, kernel, b);
}

template <int HD, int F, int NT, int WARPS, int RINGS, bool BULK, int BLOCKS>
static cudaError_t decode_start(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind)
{
    using P            = decode_plan<HD, F, NT, WARPS, RINGS, BULK>;
    auto *kernel       = decode_kernel<HD, F, NT, WARPS, RINGS, BULK, BLOCKS>;
    c.blockDim         = dim3(P::threads);
    c.dynamicSmemBytes = P::smem;
    cudaError_t e      = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, P::smem);
    if (!e && kind & SR_ATTN_BESIDE) /* the split of a multiprocessor's memory that the chain beside it has */
        e = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
    return e ? e : cudaLaunchKernelEx(&c, kernel, *a);
}

/* Runs of a warp under way by blocks of a multiprocessor, four warps each: as measured on an H200 (notes/0012). */
template <int HD> static cudaError_t decode_choose(const sr_attnmma *a, cudaLaunchConfig_t c, uint32_t kind)
{
    constexpr int many = HD > 128 ? 2 : 4, few = HD > 128 ? 2 : 3; /* blocks of a multiprocessor */
    constexpr int wide = HD > 128 ? 2 : 4;                         /* warps whose results of 16 rows fit into the 64 KB of sm_75 */
    static_assert(decode_plan<HD, SR_F16, 2, wide, 1, false>::smem + sizeof(decode_now<HD, SR_F16, 2>) + 64 <= 65536, "more than a block of sm_75 has");
    if constexpr (HD == 128) /* the size it was measured for: 24 KB under way a warp, two blocks a multiprocessor */
        if (kind == (SR_ATTN_BULK | SR_ATTN_ALONE))
            return decode_start_alone<HD, SR_F16, 4, 3, 2>(a, c);
    static_assert(HD > 128 || decode_plan<HD, SR_F16, 1, 4, 1, true>::smem + sizeof(decode_now<HD, SR_F16, 1>) + 64 + 1024 <= SR_CUDA_BESIDE,
                  "no room beside a chain");
    switch (kind & ~(uint32_t)SR_ATTN_BESIDE) {
    case 0: return decode_start<HD, SR_F16, 1, 4, 1, false, 3>(a, c, kind);
    case SR_ATTN_WIDE: return decode_start<HD, SR_F16, 2, wide, 1, false, few>(a, c, kind);
    case SR_ATTN_BULK: return decode_start<HD, SR_F16, 1, 4, 1, true, many>(a, c, kind);
    case SR_ATTN_BULK | SR_ATTN_TWO: return decode_start<HD, SR_F16, 1, 4, (HD > 128 ? 1 : 2), true, few>(a, c, kind);
    case SR_ATTN_BULK | SR_ATTN_ONE: return decode_start<HD, SR_F16, 1, 8, (HD > 128 ? 1 : 2), true, 1>(a, c, kind);
    case SR_ATTN_BULK | SR_ATTN_ONE | SR_ATTN_TWO: return decode_start<HD, SR_F16, 1, 8, 1, true, (HD > 128 ? 1 : 2)>(a, c, kind);
    case SR_ATTN_BULK | SR_ATTN_WIDE: return decode_start<HD, SR_F16, 2, 4, 2, true, few>(a, c, kind);
    }
    if constexpr (HD % 32 == 0)
        switch (kind & ~SR_ATTN_Q8) {
        case 0: return decode_start<HD, SR_Q8_0, 1, 4, 1, false, 3>(a, c, kind);
        case SR_ATTN_WIDE: return decode_start<HD, SR_Q8_0, 2, wide, 1, false, few>(a, c, kind);
        case SR_ATTN_BULK: return decode_start<HD, SR_Q8_0, 1, 4, 2, true, many>(a, c, kind);
        case SR_ATTN_BULK | SR_ATTN_ONE: return decode_start<HD, SR_Q8_0, 1, 8, 2, true, (HD > 128 ? 1 : 2)>(a, c, kind);
        default: return decode_start<HD, SR_Q8_0, 2, 4, 2, true, few>(a, c, kind);
        }
    return cudaErrorInvalidValue;
}
#endif
