/* attn_view.cuh - what rows of a (sequence, kv head) see and where it lies; shared by the tensor-core attention kernels.
 *
 * A row is a (token, query head of the group) pair, tokens slowest: row r of a kv head is token r / group, head r % group of its
 * group.  A run is 16 positions from a multiple of 16 on: always within one page, its K of a head contiguous, its V too.
 */
#ifndef SR_OPS_ATTN_VIEW_CUH
#define SR_OPS_ATTN_VIEW_CUH
#include "ops/attn/attn_mma.h"
#include "ops/mma.cuh"

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

/* The same of sequence s. */
__device__ __forceinline__ void visible(const sr_attnmma &a, uint32_t s, uint32_t n_tok, uint32_t tok,
                                        uint32_t &begin, uint32_t &end)
{
    visible_of(a.kv_len[2 * s], a.kv_len[2 * s + 1], a.window, n_tok, tok, begin, end);
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
__device__ __forceinline__ float capped(float s, float scale, float cap)
{
    return cap - __fdividef(2 * cap, power2(s * (2 * SR_LOG2E * scale / cap)) + 1);
}
#endif
