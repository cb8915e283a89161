/* check.c - every invariant of the store, for tests and for an engine that suspects something. */
#include <string.h>

#include "base/mem.h"
#include "kv/internal.h"

#define WRONG(...) (sr_raise(err, SR_INVALID, __VA_ARGS__), false)

/* Walks one list; its pages must be in its state.  Marks them in seen. */
static bool list_check(const sr_kvpool *p, uint32_t g, bool cached, uint8_t *seen, sr_err *err)
{
    uint32_t head = p->n_pages + cached, count = cached ? p->n_cached : p->n_free, n = 0, before = head;
    const char *name = cached ? "LRU" : "free";
    for (uint32_t x = p->page[head].next; x != head; before = x, x = p->page[x].next, n++) {
        if (x >= p->n_pages || seen[x] || p->page[x].prev != before)
            return WRONG("group %u: page %u is linked wrongly", g, x);
        if (p->page[x].refs || (p->page[x].node != SR_KV_NONE) != cached)
            return WRONG("group %u: page %u on the %s list has %u references and node %u", g, x, name,
                         p->page[x].refs, p->page[x].node);
        seen[x] = 1;
    }
    if (p->page[head].prev != before)
        return WRONG("group %u: page %u is not the last of the %s list", g, p->page[head].prev, name);
    if (n != count)
        return WRONG("group %u: %u pages on the %s list, counted %u", g, n, name, count);
    return true;
}

/* One sequence's table; counts its references. */
static bool table_check(const sr_kvseq *s, uint32_t g, uint32_t *refs, sr_err *err)
{
    const sr_kv     *kv   = s->kv;
    const sr_kvpool *p    = &kv->pool[g];
    uint32_t         full = (uint32_t)(s->length / kv->page_tokens);
    if (s->pages > s->cap || s->first[g] != sr_kv_first_page(kv, g, s->length) ||
        s->length + s->reserved > (size_t)s->pages * kv->page_tokens)
        return WRONG("a sequence of %zu + %zu tokens with pages %u to %u of %u", s->length, s->reserved, s->first[g],
                     s->pages, s->cap);
    for (uint32_t k = 0; k < s->pages; k++) {
        uint32_t x = s->table[g][k];
        if (k < s->first[g]) {
            if (x != SR_KV_NONE)
                return WRONG("group %u: page %u is behind the window and held", g, x);
            continue;
        }
        if (x >= p->n_pages)
            return WRONG("group %u: a table names page %u of %u", g, x, p->n_pages);
        refs[x]++;
        uint32_t node   = p->page[x].node;
        bool     shared = kv->spine != SR_KV_NONE && k < full;
        if (shared ? node != s->table[kv->spine][k] : node != SR_KV_NONE)
            return WRONG("group %u: page %u at place %u (%u are full) belongs to node %u", g, x, k, full, node);
        if (k >= full && p->page[x].refs > 1 && s->reserved)
            return WRONG("group %u: page %u is to be written and has %u references", g, x, p->page[x].refs);
    }
    return true;
}

static bool node_check(const sr_kv *kv, uint32_t x, uint32_t *children, sr_err *err)
{
    const sr_kvnode *n = &kv->node[x];
    uint64_t         hash[2];
    sr_kvtree_hash(kv, n->parent, n->salt, kv->tok + (size_t)x * kv->page_tokens, hash);
    uint32_t at = kv->bucket[hash[0] & kv->bucket_mask];
    while (at != SR_KV_NONE && at != x)
        at = kv->node[at].chain;
    if (at != x || memcmp(hash, n->hash, sizeof hash) != 0)
        return WRONG("node %u is not where its tokens say", x);
    if (sr_kvtree_find(kv, n->parent, n->salt, kv->tok + (size_t)x * kv->page_tokens) != x)
        return WRONG("node %u has a double", x);
    if (n->parent != SR_KV_NONE) {
        if (kv->pool[kv->spine].page[n->parent].node != n->parent)
            return WRONG("node %u has lost its parent %u", x, n->parent);
        if (kv->node[n->parent].salt != n->salt)
            return WRONG("node %u and its parent %u differ in salt", x, n->parent);
        children[n->parent]++;
    }
    for (uint32_t g = 0; g < kv->n_groups; g++)
        if (n->page[g] != SR_KV_NONE && kv->pool[g].page[n->page[g]].node != x)
            return WRONG("node %u names page %u of group %u, which belongs to %u", x, n->page[g], g,
                         kv->pool[g].page[n->page[g]].node);
    return true;
}

static bool tree_check(const sr_kv *kv, uint32_t *children, sr_err *err)
{
    for (uint32_t g = 0; g < kv->n_groups; g++)
        for (uint32_t x = 0; x < kv->pool[g].n_pages; x++) {
            uint32_t node = kv->pool[g].page[x].node;
            if (node != SR_KV_NONE && (kv->spine == SR_KV_NONE || kv->node[node].page[g] != x))
                return WRONG("group %u: page %u is not its node's", g, x);
        }
    if (kv->spine == SR_KV_NONE)
        return true;
    const sr_kvpool *p = &kv->pool[kv->spine];
    uint32_t nodes = 0, listed = 0;
    for (uint32_t x = 0; x < p->n_pages; x++)
        if (p->page[x].node != SR_KV_NONE) {
            nodes++;
            if (!node_check(kv, x, children, err))
                return false;
        }
    for (uint32_t b = 0; b <= kv->bucket_mask; b++)
        for (uint32_t x = kv->bucket[b]; x != SR_KV_NONE && listed <= nodes; x = kv->node[x].chain)
            listed++;
    if (listed != nodes)
        return WRONG("%u nodes in the buckets, %u pages are full", listed, nodes);
    for (uint32_t x = 0; x < p->n_pages; x++)
        if (p->page[x].node != SR_KV_NONE && kv->node[x].children != children[x])
            return WRONG("node %u has %u children, counted %u", x, children[x], kv->node[x].children);
    return true;
}

static bool pool_check(const sr_kv *kv, uint32_t g, uint32_t *refs, uint8_t *seen, sr_err *err)
{
    const sr_kvpool *p = &kv->pool[g];
    for (const sr_kvseq *s = kv->live; s; s = s->next)
        if (!table_check(s, g, refs, err))
            return false;
    if (!list_check(p, g, false, seen, err) || !list_check(p, g, true, seen, err))
        return false;
    for (uint32_t x = 0; x < p->n_pages; x++) {
        if (p->page[x].refs != refs[x])
            return WRONG("group %u: page %u has %u references, %u tables name it", g, x, p->page[x].refs,
                         refs[x]);
        if (!seen[x] && refs[x] == 0)
            return WRONG("group %u: page %u is lost", g, x);
    }
    return true;
}

bool sr_kv_check(const sr_kv *kv, sr_err *err)
{
    size_t most = 0;
    for (uint32_t g = 0; g < kv->n_groups; g++)
        most = SR_MAX(most, kv->pool[g].n_pages);
    uint32_t *count = sr_malloc(most * sizeof *count);
    uint8_t  *seen  = sr_malloc(most);
    bool      ok    = count && seen;
    if (!ok)
        sr_raise(err, SR_NOMEM, "host: %zu bytes to check KV pages", most * (sizeof *count + 1));
    for (uint32_t g = 0; g < kv->n_groups && ok; g++) {
        memset(count, 0, most * sizeof *count);
        memset(seen, 0, most);
        ok = pool_check(kv, g, count, seen, err);
    }
    if (ok) {
        memset(count, 0, most * sizeof *count);
        ok = tree_check(kv, count, err);
    }
    sr_free(count);
    sr_free(seen);
    return ok;
}
