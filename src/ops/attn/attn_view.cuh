/* attn_view.cuh - what rows of a (sequence, kv head) see and where it lies; shared by the tensor-core attention kernels.
 *
 * A row is a (token, query head of the group) pair, tokens slowest: row r of a kv head is token r / group, head r % group of its
 * group.  A run is 16 positions from a multiple of 16 on: always within one page, its K of a head contiguous, its V too.
 * Positions here are places (ops/tree.h): a drafted token sees, of those from its block's first on, the ones that its word has.  Only where a step has
 * words (a.tree), and there only in tiles that not all rows see, are they looked at.
 */
#ifndef SR_OPS_ATTN_VIEW_CUH
#define SR_OPS_ATTN_VIEW_CUH
#include "ops/attn/attn_mma.h"
#include "ops/mma.cuh"
#include "ops/tree.h"

enum { RUN = 16 };
#define SR_LOG2E 1.44269504f
#define SR_NOTHING (-1e30f) /* the largest of no scores; finite: a row that has seen nothing yet is no NaN */

/* Token `tok` of a sequence that has n_tok in this step and, with them, positions from .. to - 1, sees [begin, end). */
__device__ __forceinline__ void visible_of(uint32_t from, uint32_t to, uint32_t window, uint32_t n_tok, uint32_t tok, uint32_t &begin, uint32_t &end)
{
    begin = from;
    end   = to - (n_tok - 1 - tok);
    if (window && end > window && end - window > begin)
        begin = end - window;
}

/* What visible_of() said, of a token with a word: a window begins by positions, and not behind the block's first. */
__device__ __forceinline__ void visible_by(uint64_t word, uint32_t from, uint32_t window, uint32_t &begin, uint32_t end)
{
    if (!word)
        return;
    const uint32_t first = end - 1 - sr_tree_own(word), seen = first + sr_tree_bits(word);
    begin = window && seen > window && seen - window > from ? min(seen - window, first) : from;
}

/* What a word has within the window. */
__device__ __forceinline__ uint64_t within(uint64_t word, uint32_t window)
{
    for (uint32_t n = window ? sr_tree_bits(word) : 0; n > window; n--)
        word &= word - 1;
    return word;
}

/* Whether place `at` in front of the row's end is of another branch, or in front of the window; word: as within() left it. */
__device__ __forceinline__ bool hidden_by(uint64_t word, uint32_t first, uint32_t at) { return at >= first && !(word >> (at - first) % 64 & 1); }

/* Token `tok` of sequence s; words: of its tokens, NULL: none is drafted. */
__device__ __forceinline__ void visible(const sr_attnmma &a, uint32_t s, uint32_t n_tok, const uint64_t *words, uint32_t tok, uint32_t &begin, uint32_t &end)
{
    const uint32_t from = a.kv_len[2 * s];
    visible_of(from, a.kv_len[2 * s + 1], a.window, n_tok, tok, begin, end);
    if (words)
        visible_by(words[tok], from, a.window, begin, end);
}

/* Of tokens t0 .. t1 none sees anything outside of [lo, hi), all see [all_lo, all_hi).  With drafted ones, of which deeper ones may come first,
 * these are bounds: the range that all see may be longer. */
__device__ __forceinline__ void visible_to(uint32_t from, uint32_t to, uint32_t window, uint32_t n_tok, const uint64_t *words, uint32_t t0, uint32_t t1,
                                           uint32_t &lo, uint32_t &hi, uint32_t &all_lo, uint32_t &all_hi)
{
    visible_of(from, to, window, n_tok, t0, lo, all_hi);
    visible_of(from, to, window, n_tok, t1, all_lo, hi);
    const uint64_t word = words ? words[t0] : 0;
    if (word) {
        const uint32_t end = all_hi - sr_tree_own(word); /* of the block's first token, which is no deeper than any */
        all_hi             = end - 1;
        lo                 = window && end > window && end - window > from ? end - window : from;
    }
}

/* Page that holds run `run` of sequence s. */
__device__ __forceinline__ uint32_t page_of(const sr_attnmma &a, uint32_t s, uint32_t run, uint32_t &in_page)
{
    uint32_t page = run / a.page_runs;
    in_page       = run - page * a.page_runs;
    return a.table[(size_t)s * a.max_pages + page] & 0x3fffffffu;
}

/* 2^x, tiny results 0: exp2f() spends four instructions on keeping them. */
__device__ __forceinline__ float power2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Soft-capped score: cap * tanh(s * scale / cap).  tanh x = 1 - 2 / (e^2x + 1): off by 2^-22 at most. */
__device__ __forceinline__ float soft_capped(float s, float soft, float cap) { return cap - __fdividef(2 * cap, power2(s * soft) + 1); }
__device__ __forceinline__ float capped(float s, float scale, float cap) { return soft_capped(s, 2 * SR_LOG2E * scale / cap, cap); }

/* x / d for x * d < 2^32; over: 2^32 / d + 1, rounded down; 0 for d = 1.  A division takes 25 instructions, and others wait for it. */
__device__ __forceinline__ uint32_t divided(uint32_t x, uint32_t over) { return over ? __umulhi(x, over) : x; }
#endif
