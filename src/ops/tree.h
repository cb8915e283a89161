/* tree.h - token trees: drafted tokens of several texts in one step, and which keys each of them sees.   [Miao et al. 2023 (SpecInfer); Cai et al. 2024 (Medusa)]
 *
 * The last rows of a sequence in a step may be drafted: guesses how its text goes on, as a tree, a parent in front of its children.  Each has a
 * word in batch.tree: bit b is the sequence's b-th drafted row of the step, set in the word of that row and in those of all that descend from it.
 *
 *     the - cat - sat          drafted row     0    1    2    3    4
 *       \-- dog - ran          token           the  cat  sat  dog  ran
 *                              word, binary    1    11   111  1001 11001
 *     41 positions before      place           41   42   43   44   45     in the sequence's table; dst names it
 *                              position        41   42   43   42   43     batch.pos
 *
 * Word     the highest bit is the row's own, so that a word says where its block of rows begins; the others are its parent's word, 0 if its parent
 *          is no drafted row (any number of rows may have no parent).  0: a row that is not drafted.
 * Place    rows lie in the table one behind the other, drafted or not: the last row of a step at place kv_len[s][1] - 1, where batch.dst has it written.
 * Position of a row that is not drafted is its place; of a drafted one the place of the first drafted row and the bits of its word, less one.
 * Sees     a drafted row sees what it would see if the text consisted of its path: position i of those before the block at place i, the k-th of its
 *          path at the place of the k-th bit of its word.  Windows and kv_len[s][0] count positions.  A chain (1, 11, 111 ..) is therefore the same as no words.
 * Limits   SR_TREE_MOST drafted rows a sequence; other sequences of the step may have words 0, or trees of their own.
 * Owns: nothing.   Threads: pure functions, on the device too.   Errors: sr_tree_check() only; kernels take words as right.
 */
#ifndef SR_OPS_TREE_H
#define SR_OPS_TREE_H
#include "base/err.h"
#include "ops/op.h"

enum { SR_TREE_MOST = 64 };

#ifdef __CUDACC__
#define SR_TREE_FN static __host__ __device__ __forceinline__
#else
#define SR_TREE_FN static inline
#endif

SR_TREE_FN uint32_t sr_tree_bits(uint64_t word)
{
#ifdef __CUDA_ARCH__
    return (uint32_t)__popcll((long long)word);
#else
    return (uint32_t)__builtin_popcountll(word);
#endif
}

/* Number of a drafted row in its block: of the highest bit.  The word is not 0. */
SR_TREE_FN uint32_t sr_tree_own(uint64_t word)
{
#ifdef __CUDA_ARCH__
    return 63 - (uint32_t)__clzll((long long)word);
#else
    return 63 - (uint32_t)__builtin_clzll(word);
#endif
}

/* Where position i of a row with this word lies; first: place of its block's first row. */
SR_TREE_FN uint32_t sr_tree_place(uint64_t word, uint32_t first, uint32_t i)
{
    if (i < first || !word)
        return i;
    for (uint32_t k = i - first; k && word & (word - 1); k--)
        word &= word - 1;
    return first + sr_tree_own(word & (~word + 1));
}

/* Whether a row sees drafted row `bit` of its block; window: positions, 0 for all. */
SR_TREE_FN bool sr_tree_sees(uint64_t word, uint32_t bit, uint32_t window)
{
    return bit < SR_TREE_MOST && word >> bit & 1 && (!window || sr_tree_bits(word >> bit) <= window);
}

#ifdef __cplusplus
extern "C" {
#endif
/* Whether words, positions and places (dst) of drafted rows agree, of all groups of the program; addresses are the host's.  SR_INVALID names the row. */
SR_MUSTUSE sr_status sr_tree_check(const sr_program *p, const sr_batch *b, const sr_shape *n, const sr_shape *max, sr_err *err);
#ifdef __cplusplus
}
#endif
#endif
