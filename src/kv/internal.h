/* kv/internal.h - what kv's files share: pools of pages, the tree of shared pages, sequences.
 *
 *     kv.c     open, close, layout, figures      pool.c   a page's life        seq.c    a sequence's life
 *     index.c  the tree of full pages            check.c  the invariants
 *
 * A page is in one of three states, and changes them only in pool.c:
 *
 *            take                    drop, not in the tree
 *     FREE ---------> HELD (refs > 0) ------------------> FREE
 *       ^              |  ^
 *       |  drop, in    |  | hold
 *       |  the tree    v  |
 *       +----------- CACHED (refs == 0, on the LRU list)
 *           evict
 *
 * The tree.  A *node* is a full page of the first group without a window, the spine: its tokens, its parent node
 * (the page before it; none: the sequence starts here) and, for each other group, the page of the same
 * positions, if there is one.  Equal positions of equal tokens are one node, so a node is its whole prefix.
 *     A sequence holds the nodes from the root down to where it is, and lets go of them tail first.  Hence on
 * the LRU list a child always lies before its parent and is evicted before it: what is in the tree can be
 * reached, and two nodes with equal parent and tokens cannot exist.
 */
#ifndef SR_KV_INTERNAL_H
#define SR_KV_INTERNAL_H
#include "kv/kv.h"

enum { SR_KV_RANKS = 16 };
#define SR_KV_PATIENCE_NS 10000000000ull /* for a device to finish what it was given; then it counts as hung */
#define SR_KV_NONE (~0u) /* no page, no node */

typedef struct {
    uint32_t prev, next; /* on the free or the LRU list */
    uint32_t refs;       /* tables that name it */
    uint32_t node;       /* the node it belongs to, or none */
} sr_kvpage;

typedef struct {
    sr_kvgroup  cfg;
    sr_kvstride stride;
    bool        turned;            /* sr_kvbind.turned */
    char       *base[SR_KV_RANKS]; /* device memory: never read here */
    sr_kvpage  *page;              /* [n_pages + 2]: behind the pages the heads of both lists */
    uint32_t    n_pages, n_free, n_cached;
} sr_kvpool;

typedef struct {                 /* of a spine page in the tree; its number is the page's */
    uint64_t hash[2], salt;      /* hash: of the parent's hash, salt and tokens */
    uint32_t parent, children;
    uint32_t chain;              /* next in the bucket */
    uint32_t page[SR_KV_GROUPS]; /* page[spine]: itself */
} sr_kvnode;

struct sr_kv {
    const sr_backend *be;
    sr_dev          **devs;        /* [n_devs] */
    uint32_t          n_devs;
    sr_kvpool         pool[SR_KV_GROUPS];
    uint32_t          n_groups, page_tokens;
    bool              turned;
    uint32_t          spine;     /* SR_KV_NONE: every group has a window, there is no tree */
    sr_kvnode        *node;      /* [pages of the spine] */
    int32_t          *tok;       /* [pages of the spine][page_tokens], of partial pages as well */
    uint32_t         *bucket;    /* [bucket_mask + 1] */
    uint32_t          bucket_mask;
    uint64_t          hash_key[2];
    uint64_t          hash_mask; /* ~0; a test narrows it to make hashes collide */
    uint64_t          hits, misses;
    sr_kvseq         *live, *idle; /* idle: ended, kept with their tables for the next begin or fork */
    uint8_t          *poison;      /* a page of NaNs (SR_DEBUG) */
};

struct sr_kvseq {
    sr_kv    *kv;
    sr_kvseq *prev, *next;
    uint64_t  salt;
    size_t    length, reserved;     /* tokens */
    uint32_t *table[SR_KV_GROUPS];  /* [cap]; entries below first are SR_KV_NONE */
    uint32_t  first[SR_KV_GROUPS];
    uint32_t  pages, cap;           /* pages cover length + reserved */
};

/* pool.c */
SR_MUSTUSE sr_status sr_kvpool_open(sr_kv *kv, uint32_t g, sr_err *err);
void     sr_kvpool_close(sr_kv *kv, uint32_t g);
uint32_t sr_kvpool_take(sr_kv *kv, uint32_t g);            /* a page with one reference; free + cached > 0 */
void     sr_kvpool_hold(sr_kv *kv, uint32_t g, uint32_t p);
void     sr_kvpool_drop(sr_kv *kv, uint32_t g, uint32_t p);
void     sr_kvpool_uncache(sr_kv *kv, uint32_t g, uint32_t p); /* a cached page that left the tree becomes free */
SR_MUSTUSE sr_status sr_kvpool_copy_page(sr_kv *kv, uint32_t g, uint32_t to, uint32_t from, sr_err *err);
SR_MUSTUSE sr_status sr_kvpool_copy_token(sr_kvseq *s, uint32_t g, size_t to_pos, size_t from_pos, sr_err *err);
uint32_t sr_kv_first_page(const sr_kv *kv, uint32_t g, size_t length); /* that the token at position `length` sees */

/* index.c */
uint32_t sr_kvtree_find(const sr_kv *kv, uint32_t parent, uint64_t salt, const int32_t *tok); /* [page_tokens] */
void     sr_kvtree_share(sr_kvseq *s, uint32_t k); /* page k is full: into the tree with it, or take the one there */
void     sr_kvtree_evict(sr_kv *kv, uint32_t g, uint32_t p); /* p becomes free; the spine's takes its node along */
void     sr_kvtree_hash(const sr_kv *kv, uint32_t parent, uint64_t salt, const int32_t *tok, uint64_t out[2]);
#endif
