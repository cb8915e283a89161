/* kv.c - open, close, layout, figures.  The files and the structures: internal.h. */
#include "kv/kv.h"

#include <string.h>

#include "base/mem.h"
#include "kv/internal.h"

enum { MOST_PAGE_TOKENS = 1024, MOST_PAGES = 1 << 30 }; /* the two top bits of a page number are its tier */

static sr_status group_check(const sr_kvcfg *c, uint32_t g, sr_err *err)
{
    const sr_kvgroup *q = &c->groups[g];
    const sr_kvshape *s = &q->shape;
    uint32_t          ranks = q->n_ranks ? q->n_ranks : 1;
    if (q->pages[SR_TIER_HOST] || q->pages[SR_TIER_DISK])
        return sr_raise(err, SR_UNSUPPORTED, "KV group %u: %u pages on the host, %u on disk: only the device has any",
                        g, q->pages[SR_TIER_HOST], q->pages[SR_TIER_DISK]);
    if (q->pages[SR_TIER_DEVICE] == 0 || q->pages[SR_TIER_DEVICE] >= MOST_PAGES)
        return sr_raise(err, SR_INVALID, "KV group %u: %u pages, must be 1 to %d", g, q->pages[SR_TIER_DEVICE],
                        MOST_PAGES - 1);
    if (ranks > SR_KV_RANKS)
        return sr_raise(err, SR_UNSUPPORTED, "KV group %u: %u ranks, at most %d", g, ranks, SR_KV_RANKS);
    if (q->dev >= c->n_devs || ranks > c->n_devs - q->dev)
        return sr_raise(err, SR_INVALID, "KV group %u: devices %u to %u of %u", g, q->dev, q->dev + ranks - 1,
                        c->n_devs);
    if (sr_kv_page_bytes(s, c->page_tokens) == 0)
        return sr_raise(err, SR_INVALID,
                        "KV group %u: %u layers of %u heads, K %u of type %u, V %u of type %u, %u tokens a page", g,
                        s->n_layers, s->kv_heads, s->dim_k, s->format_k, s->dim_v, s->format_v, c->page_tokens);
    return SR_OK;
}

static sr_status config_check(const sr_kvcfg *c, sr_err *err)
{
    if (c->page_tokens == 0 || c->page_tokens > MOST_PAGE_TOKENS)
        return sr_raise(err, SR_INVALID, "KV: %u tokens a page, must be 1 to %d", c->page_tokens, MOST_PAGE_TOKENS);
    if (c->turned && c->page_tokens % SR_KV_TURN)
        return sr_raise(err, SR_INVALID, "KV: turned keys need pages of a multiple of %d tokens, not %u", SR_KV_TURN, c->page_tokens);
    if (c->n_groups == 0 || c->n_groups > SR_KV_GROUPS)
        return sr_raise(err, SR_INVALID, "KV: %u groups, must be 1 to %d", c->n_groups, SR_KV_GROUPS);
    if (c->disk_path)
        return sr_raise(err, SR_UNSUPPORTED, "KV: pages on disk");
    for (int t = 0; t < SR_TIER_COUNT; t++)
        if (c->codec[t])
            return sr_raise(err, SR_UNSUPPORTED, "KV: codecs");
    for (uint32_t g = 0; g < c->n_groups; g++) {
        sr_status s = group_check(c, g, err);
        if (s)
            return s;
    }
    return SR_OK;
}

static sr_status tree_open(sr_kv *kv, sr_err *err)
{
    if (kv->spine == SR_KV_NONE)
        return SR_OK;
    size_t n = kv->pool[kv->spine].cfg.pages[SR_TIER_DEVICE], buckets = 16;
    while (buckets < 2 * n)
        buckets *= 2;
    kv->bucket_mask = (uint32_t)(buckets - 1);
    kv->node        = sr_calloc(n, sizeof *kv->node);
    kv->tok         = sr_calloc(n, kv->page_tokens * sizeof *kv->tok);
    kv->bucket      = sr_malloc(buckets * sizeof *kv->bucket);
    if (!kv->node || !kv->tok || !kv->bucket)
        return sr_raise(err, SR_NOMEM, "host: the prefix index of %zu KV pages of %u tokens", n, kv->page_tokens);
    memset(kv->bucket, 0xff, buckets * sizeof *kv->bucket);
    return SR_OK;
}

/* SR_DEBUG: pages that nobody has written hold NaNs (0x7e7e as f16), so that reading them shows. */
static sr_status poison_open(sr_kv *kv, sr_err *err)
{
#ifdef SR_DEBUG
    size_t bytes = 0;
    for (uint32_t g = 0; g < kv->n_groups; g++)
        bytes = SR_MAX(bytes, sr_kv_page_bytes(&kv->pool[g].cfg.shape, kv->page_tokens));
    kv->poison = sr_malloc(bytes);
    if (!kv->poison)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes of poison for KV pages", bytes);
    memset(kv->poison, 0x7e, bytes);
#else
    (void)kv;
    (void)err;
#endif
    return SR_OK;
}

sr_status sr_kv_open(const sr_kvcfg *c, sr_kv **out, sr_err *err)
{
    *out        = NULL;
    sr_status s = config_check(c, err);
    if (s)
        return s;
    sr_kv *kv = sr_calloc(1, sizeof *kv);
    if (!kv)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a KV store", sizeof *kv);
    kv->be          = c->be;
    kv->n_groups    = c->n_groups;
    kv->page_tokens = c->page_tokens;
    kv->turned      = c->turned;
    kv->hash_mask   = ~0ull;
    kv->spine       = SR_KV_NONE;
    memcpy(kv->hash_key, c->hash_key, sizeof kv->hash_key);
    for (uint32_t g = c->n_groups; g-- > 0;) {
        kv->pool[g].cfg         = c->groups[g];
        kv->pool[g].cfg.n_ranks = c->groups[g].n_ranks ? c->groups[g].n_ranks : 1;
        if (c->groups[g].shape.window == 0)
            kv->spine = g;
    }
    kv->n_devs = c->n_devs;
    kv->devs   = sr_malloc(c->n_devs * sizeof *kv->devs);
    if (!kv->devs) {
        s = sr_raise(err, SR_NOMEM, "host: %zu bytes for a KV store", c->n_devs * sizeof *kv->devs);
        goto fail;
    }
    memcpy(kv->devs, c->devs, c->n_devs * sizeof *kv->devs);
    if ((s = tree_open(kv, err)) != SR_OK || (s = poison_open(kv, err)) != SR_OK)
        goto fail;
    for (uint32_t g = 0; g < kv->n_groups; g++)
        if ((s = sr_kvpool_open(kv, g, err)) != SR_OK)
            goto fail;
    *out = kv;
    return SR_OK;
fail:
    sr_kv_close(kv);
    return s;
}

static void seqs_free(sr_kvseq *s)
{
    while (s) {
        sr_kvseq *next = s->next;
        sr_free(s->table[0]);
        sr_free(s);
        s = next;
    }
}

void sr_kv_close(sr_kv *kv)
{
    if (!kv)
        return;
    for (uint32_t d = 0; kv->devs && d < kv->n_devs; d++) { /* copies may still be on their way */
        sr_err lost = {0};
        (void)!kv->be->wait(kv->devs[d], kv->be->mark(kv->devs[d], SR_Q_COMPUTE), SR_KV_PATIENCE_NS, &lost);
    }
    for (uint32_t g = 0; g < kv->n_groups; g++)
        sr_kvpool_close(kv, g);
    seqs_free(kv->live);
    seqs_free(kv->idle);
    sr_free(kv->node);
    sr_free(kv->tok);
    sr_free(kv->bucket);
    sr_free(kv->poison);
    sr_free(kv->devs);
    sr_free(kv);
}

void sr_kv_tick(sr_kv *kv, size_t bytes)
{
    (void)kv; /* no tier but the device: no move is ever under way */
    (void)bytes;
}

void sr_kv_layout(const sr_kv *kv, uint32_t group, uint32_t rank, sr_kvbind *out)
{
    const sr_kvpool  *p = &kv->pool[group];
    const sr_kvshape *s = &p->cfg.shape;
    *out = (sr_kvbind){.base = p->base[rank], .stride = p->stride, .page_tokens = kv->page_tokens,
                       .kv_heads = s->kv_heads, .dim_k = s->dim_k, .dim_v = s->dim_v,
                       .format_k = s->format_k, .format_v = s->format_v, .turned = p->turned};
}

void sr_kv_stats(const sr_kv *kv, uint32_t group, sr_kvtier out[SR_TIER_COUNT])
{
    const sr_kvpool *p = &kv->pool[group];
    memset(out, 0, SR_TIER_COUNT * sizeof *out);
    out[SR_TIER_DEVICE] = (sr_kvtier){.total = p->n_pages, .free = p->n_free, .cached = p->n_cached,
                                      .in_use = p->n_pages - p->n_free - p->n_cached,
                                      .hits = kv->hits, .misses = kv->misses};
}
