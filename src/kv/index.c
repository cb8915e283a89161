/* index.c - the tree of full pages: found by hash, believed only after comparing.
 *
 * A bucket is chosen by SipHash-2-4-128 under the process's secret, so that nobody can aim prompts at one bucket.
 * The hash is a chain (it covers the parent's), which names a page outside this process, too: the disk tier will
 * look pages up by it.  Here it is only a shortcut: a node is the right one if parent, salt and tokens are equal,
 * and as the parent is compared as a node and not as a hash, equality holds for the whole prefix whatever collides.
 */
#include <string.h>

#include "base/mem.h"
#include "base/siphash.h"
#include "kv/internal.h"

void sr_kvtree_hash(const sr_kv *kv, uint32_t parent, uint64_t salt, const int32_t *tok, uint64_t out[2])
{
    static const uint64_t root[2];
    sr_siphash h;
    sr_siphash_begin(&h, kv->hash_key);
    sr_siphash_add(&h, parent == SR_KV_NONE ? root : kv->node[parent].hash, sizeof root);
    sr_siphash_add(&h, &salt, sizeof salt);
    sr_siphash_add(&h, tok, kv->page_tokens * sizeof *tok);
    sr_siphash_end(&h, out);
    out[0] &= kv->hash_mask;
    out[1] &= kv->hash_mask;
}

static uint32_t find(const sr_kv *kv, const uint64_t hash[2], uint32_t parent, uint64_t salt, const int32_t *tok)
{
    size_t   per = kv->page_tokens;
    uint32_t x   = kv->bucket[hash[0] & kv->bucket_mask];
    for (; x != SR_KV_NONE; x = kv->node[x].chain) {
        const sr_kvnode *n = &kv->node[x];
        if (n->hash[0] == hash[0] && n->hash[1] == hash[1] && n->parent == parent && n->salt == salt &&
            memcmp(kv->tok + x * per, tok, per * sizeof *tok) == 0)
            break;
    }
    return x;
}

uint32_t sr_kvtree_find(const sr_kv *kv, uint32_t parent, uint64_t salt, const int32_t *tok)
{
    uint64_t hash[2];
    sr_kvtree_hash(kv, parent, salt, tok, hash);
    return find(kv, hash, parent, salt, tok);
}

static void attach(sr_kv *kv, uint32_t node, uint32_t g, uint32_t p)
{
    kv->node[node].page[g]   = p;
    kv->pool[g].page[p].node = node;
}

static void insert(sr_kvseq *s, uint32_t k, uint32_t parent, const uint64_t hash[2])
{
    sr_kv    *kv  = s->kv;
    uint32_t  x   = s->table[kv->spine][k];
    uint32_t *b   = &kv->bucket[hash[0] & kv->bucket_mask];
    kv->node[x] = (sr_kvnode){.hash = {hash[0], hash[1]}, .salt = s->salt, .parent = parent, .chain = *b};
    *b          = x;
    if (parent != SR_KV_NONE)
        kv->node[parent].children++;
    for (uint32_t g = 0; g < kv->n_groups; g++)
        attach(kv, x, g, s->table[g][k]);
}

/* Another sequence computed the same positions before, or at the same time: its pages are taken and ours given
 * back, else a page could not be told from its double by parent and tokens.  A page the node had lost in the
 * meantime (each group evicts on its own) is ours now. */
static void adopt(sr_kvseq *s, uint32_t k, uint32_t node)
{
    sr_kv *kv = s->kv;
    for (uint32_t g = 0; g < kv->n_groups; g++) {
        uint32_t theirs = kv->node[node].page[g], ours = s->table[g][k];
        if (theirs == SR_KV_NONE) {
            attach(kv, node, g, ours);
        } else if (theirs != ours) {
            sr_kvpool_hold(kv, g, theirs);
            s->table[g][k] = theirs;
            sr_kvpool_drop(kv, g, ours);
        }
    }
}

void sr_kvtree_share(sr_kvseq *s, uint32_t k)
{
    sr_kv *kv = s->kv;
    if (kv->spine == SR_KV_NONE)
        return;
    const uint32_t *table  = s->table[kv->spine];
    const int32_t  *tok    = kv->tok + (size_t)table[k] * kv->page_tokens;
    uint32_t        parent = k ? table[k - 1] : SR_KV_NONE;
    uint64_t        hash[2];
    sr_kvtree_hash(kv, parent, s->salt, tok, hash);
    uint32_t node = find(kv, hash, parent, s->salt, tok);
    if (node == SR_KV_NONE)
        insert(s, k, parent, hash);
    else
        adopt(s, k, node);
}

void sr_kvtree_evict(sr_kv *kv, uint32_t g, uint32_t p)
{
    uint32_t   x = kv->pool[g].page[p].node;
    sr_kvnode *n = &kv->node[x];
    if (g != kv->spine) {
        n->page[g] = SR_KV_NONE;
        sr_kvpool_uncache(kv, g, p);
        return;
    }
    SR_ASSERT(n->children == 0, "page %u is evicted before its %u children", x, n->children);
    uint32_t *link = &kv->bucket[n->hash[0] & kv->bucket_mask];
    while (*link != x)
        link = &kv->node[*link].chain;
    *link = n->chain;
    if (n->parent != SR_KV_NONE)
        kv->node[n->parent].children--;
    for (uint32_t h = 0; h < kv->n_groups; h++)
        if (n->page[h] != SR_KV_NONE)
            sr_kvpool_uncache(kv, h, n->page[h]); /* nobody holds them: he would hold the spine's, too */
}
