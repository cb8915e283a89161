/* pool.c - the pages of one group: memory, the free and the LRU list, copies.
 *
 * Both lists run through the pages themselves, doubly linked, so that any page leaves its list in one step.
 * [vLLM's FreeKVCacheBlockQueue]  The free list is last in, first out: that page is still in the caches.
 */
#include <string.h>

#include "base/mem.h"
#include "kv/internal.h"

static uint32_t free_list(const sr_kvpool *p) { return p->n_pages; }
static uint32_t lru_list(const sr_kvpool *p) { return p->n_pages + 1; }

static void list_put(sr_kvpool *p, uint32_t before, uint32_t x)
{
    sr_kvpage *q = p->page;
    q[x].next          = before;
    q[x].prev          = q[before].prev;
    q[q[x].prev].next  = x;
    q[before].prev     = x;
}

static void list_remove(sr_kvpool *p, uint32_t x)
{
    sr_kvpage *q = p->page;
    q[q[x].prev].next = q[x].next;
    q[q[x].next].prev = q[x].prev;
}

/* ---- memory -------------------------------------------------------------------------------------------- */

size_t sr_kv_page_bytes(const sr_kvshape *s, uint32_t page_tokens)
{
    const sr_dtypeinfo *k = sr_dtype_info(s->format_k), *v = sr_dtype_info(s->format_v);
    if (!k || !v || !s->dim_k || !s->dim_v || s->dim_k % k->block || s->dim_v % v->block)
        return 0;
    size_t row = SR_MAX(sr_row_bytes(s->format_k, s->dim_k), sr_row_bytes(s->format_v, s->dim_v)), n = row;
    if (!sr_mul_size(n, page_tokens, &n) || !sr_mul_size(n, s->kv_heads, &n) || !sr_mul_size(n, 2, &n) ||
        !sr_mul_size(n, s->n_layers, &n) || n > SIZE_MAX / 2)
        return 0;
    return sr_align_up(n, 64); /* a page starts on a cache line */
}

/* K and V have the same strides (kernels know only one of each), so rows of unequal size are padded to the larger
 * and all rows of a token lie `head` bytes apart, through K, V and all layers: see copy_token. */
static sr_kvstride strides(const sr_kvshape *s, uint32_t page_tokens)
{
    sr_kvstride st;
    st.tok   = SR_MAX(sr_row_bytes(s->format_k, s->dim_k), sr_row_bytes(s->format_v, s->dim_v));
    st.head  = st.tok * page_tokens;
    st.kv    = st.head * s->kv_heads;
    st.layer = st.kv * 2;
    st.page  = sr_kv_page_bytes(s, page_tokens);
    return st;
}

/* A full queue is waited for once: a copy given up half-way has to be taken back. */
static sr_status copy(sr_kv *kv, uint32_t dev, const sr_span *span, sr_err *err)
{
    sr_dev   *d = kv->devs[dev];
    sr_status s = kv->be->copyv(d, SR_Q_COMPUTE, span, 1, err);
    if (s == SR_AGAIN)
        s = kv->be->wait(d, kv->be->mark(d, SR_Q_COMPUTE), SR_KV_PATIENCE_NS, err);
    else
        return s;
    return s ? s : kv->be->copyv(d, SR_Q_COMPUTE, span, 1, err);
}

/* Poison is best effort: a device that cannot copy says so in the next step. */
static void poison(sr_kv *kv, uint32_t g, uint32_t x)
{
    sr_kvpool *p = &kv->pool[g];
    for (uint32_t r = 0; kv->poison && r < p->cfg.n_ranks; r++) {
        sr_span span = {.dst = p->base[r] + x * p->stride.page, .src = kv->poison, .n = 1,
                        .bytes = p->stride.page};
        sr_err  err  = {0};
        (void)!copy(kv, p->cfg.dev + r, &span, &err);
    }
}

sr_status sr_kvpool_open(sr_kv *kv, uint32_t g, sr_err *err)
{
    sr_kvpool *p = &kv->pool[g];
    size_t     bytes;
    p->n_pages = p->cfg.pages[SR_TIER_DEVICE];
    p->stride  = strides(&p->cfg.shape, kv->page_tokens);
    p->turned  = kv->turned && p->cfg.shape.format_k == SR_F16;
    if (!sr_mul_size(p->stride.page, p->n_pages, &bytes))
        return sr_raise(err, SR_INVALID, "KV group %u: %u pages of %zu bytes", g, p->n_pages, p->stride.page);
    p->page = sr_calloc((size_t)p->n_pages + 2, sizeof *p->page);
    if (!p->page)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a table of %u KV pages",
                        ((size_t)p->n_pages + 2) * sizeof *p->page, p->n_pages);
    for (uint32_t r = 0; r < p->cfg.n_ranks; r++) {
        void     *base = NULL;
        sr_status s    = kv->be->alloc(kv->devs[p->cfg.dev + r], SR_MEM_DEVICE, bytes, "kv pages", &base, err);
        if (s) {
            sr_while(err, "allocating %u KV pages of %zu bytes (group %u, rank %u)", p->n_pages, p->stride.page, g,
                     r);
            return s;
        }
        p->base[r] = base;
    }
    for (uint32_t l = free_list(p); l <= lru_list(p); l++)
        p->page[l].prev = p->page[l].next = l;
    for (uint32_t x = 0; x < p->n_pages; x++) {
        p->page[x].node = SR_KV_NONE;
        list_put(p, free_list(p), x);
        poison(kv, g, x);
    }
    p->n_free = p->n_pages;
    return SR_OK;
}

void sr_kvpool_close(sr_kv *kv, uint32_t g)
{
    sr_kvpool *p = &kv->pool[g];
    for (uint32_t r = 0; r < p->cfg.n_ranks; r++)
        if (p->base[r])
            kv->be->free(kv->devs[p->cfg.dev + r], p->base[r]);
    sr_free(p->page);
}

/* ---- a page's life ------------------------------------------------------------------------------------- */

static void make_free(sr_kv *kv, uint32_t g, uint32_t x)
{
    sr_kvpool *p = &kv->pool[g];
    list_put(p, p->page[free_list(p)].next, x);
    p->n_free++;
    poison(kv, g, x);
}

uint32_t sr_kvpool_take(sr_kv *kv, uint32_t g)
{
    sr_kvpool *p = &kv->pool[g];
    if (p->n_free == 0) {
        SR_ASSERT(p->n_cached > 0, "group %u: no page to take", g);
        sr_kvtree_evict(kv, g, p->page[lru_list(p)].next);
    }
    uint32_t x = p->page[free_list(p)].next;
    list_remove(p, x);
    p->n_free--;
    p->page[x].refs = 1;
    return x;
}

void sr_kvpool_hold(sr_kv *kv, uint32_t g, uint32_t x)
{
    sr_kvpool *p = &kv->pool[g];
    if (p->page[x].refs++ == 0) {
        list_remove(p, x);
        p->n_cached--;
    }
}

void sr_kvpool_drop(sr_kv *kv, uint32_t g, uint32_t x)
{
    sr_kvpool *p = &kv->pool[g];
    SR_ASSERT(p->page[x].refs > 0, "group %u page %u", g, x);
    if (--p->page[x].refs)
        return;
    if (p->page[x].node == SR_KV_NONE) {
        make_free(kv, g, x);
    } else {
        list_put(p, lru_list(p), x);
        p->n_cached++;
    }
}

void sr_kvpool_uncache(sr_kv *kv, uint32_t g, uint32_t x)
{
    sr_kvpool *p = &kv->pool[g];
    SR_ASSERT(p->page[x].refs == 0, "group %u page %u has %u references", g, x, p->page[x].refs);
    list_remove(p, x);
    p->n_cached--;
    p->page[x].node = SR_KV_NONE;
    make_free(kv, g, x);
}

/* ---- copies, ordered with the steps on the compute queue ------------------------------------------------ */

sr_status sr_kvpool_copy_page(sr_kv *kv, uint32_t g, uint32_t to, uint32_t from, sr_err *err)
{
    sr_kvpool *p = &kv->pool[g];
    for (uint32_t r = 0; r < p->cfg.n_ranks; r++) {
        sr_span   span = {.dst = p->base[r] + to * p->stride.page, .src = p->base[r] + from * p->stride.page,
                          .bytes = p->stride.page, .n = 1};
        sr_status s    = copy(kv, p->cfg.dev + r, &span, err);
        if (s)
            return s;
    }
    return SR_OK;
}

/* Where the keys of sixteen positions are turned, a position's numbers lie SR_KV_TURN apart; its values lie in a row. */
static sr_status copy_turned(sr_kvseq *s, uint32_t g, size_t to, size_t from, sr_err *err)
{
    sr_kv            *kv = s->kv;
    sr_kvpool        *p  = &kv->pool[g];
    const sr_kvshape *h = &p->cfg.shape;
    size_t at[2] = {to % kv->page_tokens, from % kv->page_tokens}, key[2], value[2];
    for (int i = 0; i < 2; i++) {
        size_t page = s->table[g][(i ? from : to) / kv->page_tokens] * p->stride.page;
        key[i]      = page + at[i] / SR_KV_TURN * SR_KV_TURN * p->stride.tok + at[i] % SR_KV_TURN * 2;
        value[i]    = page + p->stride.kv + at[i] * p->stride.tok;
    }
    for (uint32_t r = 0; r < p->cfg.n_ranks; r++)
        for (size_t i = 0; i < (size_t)h->n_layers * h->kv_heads; i++) {
            char   *base = p->base[r] + i / h->kv_heads * p->stride.layer + i % h->kv_heads * p->stride.head;
            sr_span k = {.dst = base + key[0], .src = base + key[1], .bytes = 2, .n = h->dim_k,
                         .dst_step = SR_KV_TURN * 2, .src_step = SR_KV_TURN * 2};
            sr_span v = {.dst = base + value[0], .src = base + value[1], .bytes = p->stride.tok, .n = 1};
            if (copy(kv, p->cfg.dev + r, &k, err) || copy(kv, p->cfg.dev + r, &v, err))
                return err->status;
        }
    return SR_OK;
}

sr_status sr_kvpool_copy_token(sr_kvseq *s, uint32_t g, size_t to, size_t from, sr_err *err)
{
    sr_kv     *kv = s->kv;
    sr_kvpool *p  = &kv->pool[g];
    size_t     per = kv->page_tokens;
    size_t dst = s->table[g][to / per] * p->stride.page + to % per * p->stride.tok;
    size_t src = s->table[g][from / per] * p->stride.page + from % per * p->stride.tok;
    if (p->turned)
        return copy_turned(s, g, to, from, err);
    for (uint32_t r = 0; r < p->cfg.n_ranks; r++) {
        sr_span   span = {.dst = p->base[r] + dst, .src = p->base[r] + src, .bytes = p->stride.tok,
                          .n = (size_t)p->cfg.shape.n_layers * 2 * p->cfg.shape.kv_heads,
                          .dst_step = p->stride.head, .src_step = p->stride.head};
        sr_status st   = copy(kv, p->cfg.dev + r, &span, err);
        if (st)
            return st;
    }
    return SR_OK;
}

uint32_t sr_kv_first_page(const sr_kv *kv, uint32_t g, size_t length)
{
    size_t window = kv->pool[g].cfg.shape.window; /* a token sees itself and window - 1 before it */
    return window && length + 1 > window ? (uint32_t)((length + 1 - window) / kv->page_tokens) : 0;
}
