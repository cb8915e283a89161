/* kv.h - the paged key/value store: who holds which page, on which tier.
 *
 * A page is page_tokens positions of the K and V of all layers of one *group* (layers of equal shape,
 * formats, window and device; Llama has one group, Gemma two, a layer split one per GPU), contiguous:
 * [layer][K|V][kv_head][token][dim].  A sequence is a table of pages per group; full pages are immutable,
 * reference-counted and indexed by a chain hash of (salt, tokens) so that equal prefixes share them; the
 * last, partial page has one owner (copied on write at fork).  [PagedAttention, Kwon et al. 2023]
 *
 *     seq A   [p3][p7][p2.]        p3, p7 full, in the index;  p2 partial, A's own
 *     seq B   [p3][p9.]            p3 shared: refs 2
 *     cached  p7 after A ended: refs 0, still in the index, on the LRU list: found again or reused
 *
 * Full pages form a tree, and equal ones are one: a commit may exchange a page just filled for the equal one that
 * is there already, so tables are read anew after it.  (Steps under way may go on reading the old page: whoever
 * gets it next writes it later on the same queue.)  Without any full group nothing is shared by prefix.
 *
 * Owns:    every page of every tier, and sr_kvseq until sr_kv_end().
 * Threads: the engine thread only.  Tier moves run on device queues in the background; a moving page is
 *          pinned and no one else can see it.
 * Errors:  SR_AGAIN = no page free now (the scheduler preempts, or waits).  Reserve is all or nothing: on
 *          any failure the sequence is unchanged.  SR_NOMEM: host memory, or more than the whole pool has.
 *          Tiers other than the device: SR_UNSUPPORTED as yet.
 * Invariant (sr_kv_check): free + cached + in_use + moving == total, per tier, and the reference counts
 *          equal the number of tables naming the page.
 */
#ifndef SR_KV_H
#define SR_KV_H
#include "backend/backend.h"

typedef enum { SR_TIER_DEVICE, SR_TIER_HOST, SR_TIER_DISK, SR_TIER_COUNT } sr_tier;
typedef struct sr_kv    sr_kv;
typedef struct sr_kvseq sr_kvseq;
typedef struct sr_codec sr_codec;
typedef uint32_t sr_page;                  /* tier << 30 | index in the group's pool of that tier */

typedef struct {                           /* layers whose pages live and die together */
    sr_kvshape shape;                      /* layers, kv heads and dims per rank, window (0 = full), formats */
    uint32_t   dev, n_ranks;               /* devs[dev .. dev+n_ranks): same page index on each (tensor parallel); 0 ranks = 1 */
    uint32_t   pages[SR_TIER_COUNT];
} sr_kvgroup;
typedef struct {
    const sr_backend *be; sr_dev *const *devs; uint32_t n_devs;
    const sr_kvgroup *groups; uint32_t n_groups;
    uint32_t page_tokens;
    bool     turned;                       /* sr_kvbind.turned, for groups whose keys are F16; page_tokens is a multiple of 16 then */
    uint64_t fingerprint[2];               /* weights + formats + rope: disk pages of another model are refused */
    uint64_t hash_key[2];                  /* secret of this process: prefix hashes cannot be aimed at */
    const char *disk_path;
    const sr_codec *codec[SR_TIER_COUNT];
} sr_kvcfg;
typedef struct { uint32_t total, free, cached, in_use, moving; uint64_t hits, misses; } sr_kvtier; /* hits, misses: tokens asked at begin */

SR_MUSTUSE sr_status sr_kv_open(const sr_kvcfg *, sr_kv **, sr_err *);
void sr_kv_close(sr_kv *);
size_t sr_kv_page_bytes(const sr_kvshape *, uint32_t page_tokens); /* one rank's; 0: formats or sizes that cannot be */
/* Starts a sequence and gives it the longest cached prefix of tok[0..n), whole pages, at most reuse_max tokens
 * (0: do not use the cache).  *cached: how many tokens are already computed. */
SR_MUSTUSE sr_status sr_kv_begin(sr_kv *, uint64_t salt, const int32_t *tok, size_t n, size_t reuse_max,
                                 sr_kvseq **, size_t *cached, sr_err *);
/* Makes room for n_tokens more than are committed (never less than before); copies a shared partial page first. */
SR_MUSTUSE sr_status sr_kv_reserve(sr_kvseq *, size_t n_tokens, sr_err *);
/* n reserved positions now hold tok[0..n): full pages become shareable.  from (or NULL = in order): the reserved
 * offset where the i-th accepted token's K/V lies, increasing; compaction is a copy inside the last pages.  If it
 * fails nothing is committed and what was reserved is lost: trim. */
SR_MUSTUSE sr_status sr_kv_commit(sr_kvseq *, const int32_t *tok, const uint32_t *from, size_t n, sr_err *);
void sr_kv_trim(sr_kvseq *);               /* gives back what is reserved and not committed */
SR_MUSTUSE sr_status sr_kv_fork(const sr_kvseq *, sr_kvseq **, sr_err *); /* nothing may be reserved */
void sr_kv_end(sr_kvseq *);                /* full pages stay cached until their room is needed */
size_t sr_kv_length(const sr_kvseq *);     /* committed tokens */
SR_MUSTUSE sr_status sr_kv_move(sr_kvseq *, size_t page, size_t n, sr_tier to, sr_err *);
void sr_kv_tick(sr_kv *, size_t bytes);    /* finish and start background moves, at most so many bytes */
/* t[i] holds positions i*page_tokens and on, for *first <= i < *n; *first > 0: pages behind the window are given back. */
const sr_page *sr_kv_table(const sr_kvseq *, uint32_t group, size_t *first, size_t *n);
void sr_kv_layout(const sr_kv *, uint32_t group, uint32_t rank, sr_kvbind *out);
void sr_kv_stats(const sr_kv *, uint32_t group, sr_kvtier out[SR_TIER_COUNT]);
bool sr_kv_check(const sr_kv *, sr_err *);
#endif
