/* seq.c - a sequence's life: begin, reserve, commit, trim, fork, end. */
#include <string.h>

#include "base/mem.h"
#include "kv/internal.h"

static uint32_t pages_for(const sr_kv *kv, size_t tokens)
{
    return (uint32_t)((tokens + kv->page_tokens - 1) / kv->page_tokens);
}

/* Room for `pages` entries in every table.  Doubles, and ended sequences are used again with their tables: after
 * the longest has been there once, nothing is allocated any more. */
static sr_status tables_grow(sr_kvseq *s, uint32_t pages, sr_err *err)
{
    if (pages <= s->cap)
        return SR_OK;
    uint32_t  cap = SR_MAX(pages, SR_MAX(16, s->cap < (1u << 30) ? 2 * s->cap : pages));
    size_t    n   = (size_t)cap * s->kv->n_groups;
    uint32_t *t   = sr_malloc(n * sizeof *t);
    if (!t)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for page tables of %u pages", n * sizeof *t, cap);
    uint32_t *old = s->table[0];
    for (uint32_t g = 0; g < s->kv->n_groups; g++) {
        if (s->pages)
            memcpy(t + (size_t)g * cap, s->table[g], s->pages * sizeof *t);
        s->table[g] = t + (size_t)g * cap;
    }
    s->cap = cap;
    sr_free(old);
    return SR_OK;
}

static sr_kvseq *seq_new(sr_kv *kv, uint32_t pages, sr_err *err)
{
    sr_kvseq *s = kv->idle;
    if (s) {
        kv->idle = s->next;
    } else {
        s = sr_calloc(1, sizeof *s);
        if (!s) {
            sr_raise(err, SR_NOMEM, "host: %zu bytes for a KV sequence", sizeof *s);
            return NULL;
        }
        s->kv = kv;
    }
    s->prev = NULL;
    s->next = kv->live;
    if (s->next)
        s->next->prev = s;
    kv->live = s;
    if (tables_grow(s, pages, err)) {
        sr_kv_end(s);
        return NULL;
    }
    return s;
}

void sr_kv_end(sr_kvseq *s)
{
    if (!s)
        return;
    sr_kv *kv = s->kv;
    for (uint32_t g = 0; g < kv->n_groups; g++)
        for (uint32_t k = s->pages; k > s->first[g]; k--) /* tail first: see internal.h */
            sr_kvpool_drop(kv, g, s->table[g][k - 1]);
    *(s->prev ? &s->prev->next : &kv->live) = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->length = s->reserved = 0;
    s->pages                = 0;
    memset(s->first, 0, sizeof s->first);
    s->next  = kv->idle;
    kv->idle = s;
}

/* The longest prefix of at most `limit` pages that every group can serve: all pages of a group without a window,
 * the last ones, as far as the window reaches, of the others.  Leaves what it saw in the tables. */
static uint32_t longest_prefix(sr_kvseq *s, uint64_t salt, const int32_t *tok, uint32_t limit)
{
    sr_kv   *kv = s->kv;
    uint32_t run[SR_KV_GROUPS] = {0}, best = 0, node = SR_KV_NONE; /* run: unbroken pages up to here */
    for (uint32_t k = 0; k < limit; k++) {
        bool good = true;
        node = sr_kvtree_find(kv, node, salt, tok + (size_t)k * kv->page_tokens);
        if (node == SR_KV_NONE)
            break;
        for (uint32_t g = 0; g < kv->n_groups; g++) {
            s->table[g][k] = kv->node[node].page[g];
            run[g] = s->table[g][k] == SR_KV_NONE ? 0 : run[g] + 1;
            good &= run[g] >= k + 1 - sr_kv_first_page(kv, g, (size_t)(k + 1) * kv->page_tokens);
        }
        if (good)
            best = k + 1;
    }
    return best;
}

sr_status sr_kv_begin(sr_kv *kv, uint64_t salt, const int32_t *tok, size_t n, size_t reuse_max, sr_kvseq **out,
                      size_t *cached, sr_err *err)
{
    *out    = NULL;
    *cached = 0;
    size_t most = SR_MIN(n, reuse_max) / kv->page_tokens;
    if (kv->spine == SR_KV_NONE)
        most = 0;
    else
        most = SR_MIN(most, kv->pool[kv->spine].n_pages); /* more are never there */
    sr_kvseq *s = seq_new(kv, (uint32_t)most, err);
    if (!s)
        return SR_NOMEM;
    s->salt = salt;
    uint32_t pages = longest_prefix(s, salt, tok, (uint32_t)most);
    s->length      = (size_t)pages * kv->page_tokens;
    s->pages       = pages;
    for (uint32_t g = 0; g < kv->n_groups; g++) {
        s->first[g] = sr_kv_first_page(kv, g, s->length);
        for (uint32_t k = 0; k < pages; k++)
            if (k < s->first[g])
                s->table[g][k] = SR_KV_NONE;
            else
                sr_kvpool_hold(kv, g, s->table[g][k]);
    }
    if (reuse_max) {
        kv->hits += s->length;
        kv->misses += n - s->length;
    }
    *cached = s->length;
    *out    = s;
    return SR_OK;
}

/* Pages that group g must find; one more to copy a partial page that is shared. */
static uint32_t pages_wanted(const sr_kvseq *s, uint32_t g, uint32_t end, bool *shared)
{
    const sr_kv *kv  = s->kv;
    size_t       per = kv->page_tokens;
    *shared = s->length % per && kv->pool[g].page[s->table[g][s->length / per]].refs > 1;
    return end - s->pages + *shared;
}

/* The partial page is ours alone afterwards.  On failure nothing has changed. */
static sr_status unshare(sr_kvseq *s, sr_err *err)
{
    sr_kv    *kv = s->kv;
    uint32_t  k = (uint32_t)(s->length / kv->page_tokens), fresh[SR_KV_GROUPS], n = 0;
    sr_status st = SR_OK;
    while (n < kv->n_groups && st == SR_OK) {
        fresh[n] = sr_kvpool_take(kv, n);
        st       = sr_kvpool_copy_page(kv, n, fresh[n], s->table[n][k], err);
        n++;
    }
    if (st) {
        while (n-- > 0)
            sr_kvpool_drop(kv, n, fresh[n]);
        return st;
    }
    if (kv->spine != SR_KV_NONE) {
        size_t per = kv->page_tokens;
        memcpy(kv->tok + fresh[kv->spine] * per, kv->tok + s->table[kv->spine][k] * per,
               s->length % per * sizeof *kv->tok);
    }
    for (uint32_t g = 0; g < kv->n_groups; g++) {
        sr_kvpool_drop(kv, g, s->table[g][k]);
        s->table[g][k] = fresh[g];
    }
    return SR_OK;
}

sr_status sr_kv_reserve(sr_kvseq *s, size_t n, sr_err *err)
{
    sr_kv *kv = s->kv;
    bool   shared = false;
    if (n <= s->reserved)
        return SR_OK;
    if (n > (size_t)INT32_MAX - s->length) /* a position is an int32 for the kernels */
        return sr_raise(err, SR_INVALID, "KV: %zu tokens more than %zu", n, s->length);
    uint32_t end = pages_for(kv, s->length + n);
    for (uint32_t g = 0; g < kv->n_groups; g++) {
        const sr_kvpool *p = &kv->pool[g];
        if (end - s->first[g] > p->n_pages)
            return sr_raise(err, SR_NOMEM, "KV: %zu tokens take %u pages of group %u, there are %u", s->length + n,
                            end - s->first[g], g, p->n_pages);
        if (pages_wanted(s, g, end, &shared) > p->n_free + p->n_cached)
            return SR_AGAIN;
    }
    sr_status st = tables_grow(s, end, err);
    if (st == SR_OK && shared)
        st = unshare(s, err);
    if (st)
        return st;
    for (uint32_t g = 0; g < kv->n_groups; g++)
        for (uint32_t k = s->pages; k < end; k++)
            s->table[g][k] = sr_kvpool_take(kv, g);
    s->pages    = end;
    s->reserved = n;
    return SR_OK;
}

/* Moves the K/V of accepted tokens of a tree together.  One copy a token: they run in order, and a token's new
 * place may be the old place of one before it. */
static sr_status compact(sr_kvseq *s, const uint32_t *from, size_t n, sr_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (from[i] >= s->reserved || (i && from[i] <= from[i - 1]))
            return sr_raise(err, SR_INVALID, "KV: token %zu of %zu was at offset %u of %zu reserved", i, n, from[i],
                            s->reserved);
    for (size_t i = 0; i < n; i++)
        for (uint32_t g = 0; from[i] != i && g < s->kv->n_groups; g++) {
            sr_status st = sr_kvpool_copy_token(s, g, s->length + i, s->length + from[i], err);
            if (st)
                return st;
        }
    return SR_OK;
}

static void forget_behind_window(sr_kvseq *s)
{
    for (uint32_t g = 0; g < s->kv->n_groups; g++)
        for (uint32_t end = sr_kv_first_page(s->kv, g, s->length); s->first[g] < end; s->first[g]++) {
            sr_kvpool_drop(s->kv, g, s->table[g][s->first[g]]);
            s->table[g][s->first[g]] = SR_KV_NONE;
        }
}

sr_status sr_kv_commit(sr_kvseq *s, const int32_t *tok, const uint32_t *from, size_t n, sr_err *err)
{
    sr_kv *kv  = s->kv;
    size_t per = kv->page_tokens;
    if (n > s->reserved)
        return sr_raise(err, SR_INVALID, "KV: %zu tokens to commit, %zu reserved", n, s->reserved);
    if (from) {
        sr_status st = compact(s, from, n, err);
        if (st)
            return st;
    }
    for (size_t done = 0; done < n;) {
        uint32_t k    = (uint32_t)(s->length / per);
        size_t   at   = s->length % per, part = SR_MIN(n - done, per - at);
        if (kv->spine != SR_KV_NONE)
            memcpy(kv->tok + s->table[kv->spine][k] * per + at, tok + done, part * sizeof *tok);
        s->length += part;
        s->reserved -= part;
        done += part;
        if (at + part == per)
            sr_kvtree_share(s, k);
    }
    forget_behind_window(s);
    return SR_OK;
}

void sr_kv_trim(sr_kvseq *s)
{
    uint32_t keep = pages_for(s->kv, s->length);
    for (; s->pages > keep; s->pages--)
        for (uint32_t g = 0; g < s->kv->n_groups; g++)
            sr_kvpool_drop(s->kv, g, s->table[g][s->pages - 1]);
    s->reserved = 0;
}

sr_status sr_kv_fork(const sr_kvseq *s, sr_kvseq **out, sr_err *err)
{
    *out = NULL;
    if (s->reserved)
        return sr_raise(err, SR_INVALID, "KV: fork with %zu tokens reserved: commit or trim first", s->reserved);
    sr_kvseq *t = seq_new(s->kv, s->pages, err);
    if (!t)
        return SR_NOMEM;
    t->salt   = s->salt;
    t->length = s->length;
    t->pages  = s->pages;
    for (uint32_t g = 0; g < s->kv->n_groups; g++) {
        t->first[g] = s->first[g];
        if (s->pages)
            memcpy(t->table[g], s->table[g], s->pages * sizeof *t->table[g]);
        for (uint32_t k = s->first[g]; k < s->pages; k++)
            sr_kvpool_hold(s->kv, g, t->table[g][k]);
    }
    *out = t;
    return SR_OK;
}

size_t sr_kv_length(const sr_kvseq *s) { return s->length; }

const sr_page *sr_kv_table(const sr_kvseq *s, uint32_t group, size_t *first, size_t *n)
{
    *first = s->first[group];
    *n     = s->pages;
    return s->table[group];
}

/* Every page is on the device: nothing moves. */
sr_status sr_kv_move(sr_kvseq *s, size_t page, size_t n, sr_tier to, sr_err *err)
{
    if (page > s->pages || n > s->pages - page)
        return sr_raise(err, SR_INVALID, "KV: pages %zu to %zu of a sequence of %u", page, page + n, s->pages);
    if (to != SR_TIER_DEVICE)
        return sr_raise(err, SR_UNSUPPORTED, "KV: pages on the %s", to == SR_TIER_HOST ? "host" : "disk");
    return SR_OK;
}
