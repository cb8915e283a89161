/* kv_testbed.h - a device and a toy engine for kv's tests.
 *
 * The device is host memory whose addresses carry bit 62, so that whoever reads it as a host pointer faults.
 * The toy engine writes into the K and V row of every layer and head a stamp that follows from the salt and from
 * *all* tokens up to the position, as real K and V do: a page that got into the wrong table, a missing copy or a
 * page reused too early reads back as a wrong stamp.
 */
#ifndef SR_KV_TESTBED_H
#define SR_KV_TESTBED_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/mem.h"
#include "kv/internal.h"

#define DEVICE_BIT (1ull << 62)
enum { BED_DEVS = 3, BED_TOKENS = 4096 };

struct sr_dev {
    uint64_t word;
    uint64_t copies, waits;
    bool     full; /* the next copy finds the queue full */
};

static inline uint8_t *host(const void *p) { return (uint8_t *)((uintptr_t)p & ~DEVICE_BIT); }

static inline sr_status bed_alloc(sr_dev *d, sr_memkind k, size_t n, const char *tag, void **out, sr_err *err)
{
    (void)d;
    assert_int_equal(k, SR_MEM_DEVICE);
    void *p = sr_fault(SR_FAULT_DEVALLOC) ? NULL : sr_aligned(4096, n);
    if (!p)
        return sr_raise(err, SR_NOMEM, "test device: %zu bytes for %s", n, tag);
    memset(p, 0x5a, n);
    *out = (void *)((uintptr_t)p | DEVICE_BIT);
    return SR_OK;
}

static inline void bed_free(sr_dev *d, void *p)
{
    (void)d;
    sr_free(host(p));
}

static inline sr_status bed_copyv(sr_dev *d, sr_queue q, const sr_span *s, uint32_t n, sr_err *err)
{
    assert_int_equal(q, SR_Q_COMPUTE);
    if (d->full)
        return SR_AGAIN;
    if (sr_fault(SR_FAULT_COPY))
        return sr_raise(err, SR_DEVLOST, "test device: copy failed");
    for (uint32_t i = 0; i < n; i++)
        for (size_t k = 0; k < s[i].n; k++)
            memcpy(host(s[i].dst) + k * s[i].dst_step, host(s[i].src) + k * s[i].src_step, s[i].bytes);
    d->copies++;
    return SR_OK;
}

static inline sr_point bed_mark(sr_dev *d, sr_queue q)
{
    (void)q;
    return (sr_point){&d->word, 0};
}

static inline sr_status bed_wait(sr_dev *d, sr_point p, uint64_t timeout_ns, sr_err *err)
{
    (void)p;
    (void)timeout_ns;
    (void)err;
    d->waits++;
    d->full = false;
    return SR_OK;
}

static const sr_backend bed_backend = {.abi = SR_BACKEND_ABI, .size = sizeof(sr_backend), .name = "test",
                                       .alloc = bed_alloc, .free = bed_free, .copyv = bed_copyv, .mark = bed_mark,
                                       .wait = bed_wait};

typedef struct {
    sr_dev     dev[BED_DEVS];
    sr_dev    *devs[BED_DEVS];
    sr_kvgroup group[SR_KV_GROUPS];
    bool       turned;
    sr_kvcfg   cfg;
    sr_kv     *kv;
} bed;

/* A group of two layers and two heads; K and V rows of 8 and 16 bytes. */
static inline sr_kvgroup bed_group(uint32_t pages, uint32_t window)
{
    return (sr_kvgroup){.shape = {.n_layers = 2, .kv_heads = 2, .dim_k = 4, .dim_v = 8, .window = window,
                                  .format_k = SR_F16, .format_v = SR_F16},
                        .pages = {pages}};
}

static inline sr_status bed_try_open(bed *b, uint32_t n_groups, uint32_t page_tokens, sr_err *err)
{
    for (int i = 0; i < BED_DEVS; i++) {
        b->dev[i]  = (sr_dev){0};
        b->devs[i] = &b->dev[i];
    }
    b->cfg = (sr_kvcfg){.be = &bed_backend, .devs = b->devs, .n_devs = BED_DEVS, .groups = b->group,
                        .n_groups = n_groups, .page_tokens = page_tokens, .turned = b->turned, .hash_key = {0x1234, 0x5678}};
    return sr_kv_open(&b->cfg, &b->kv, err);
}

static inline void bed_open(bed *b, uint32_t n_groups, uint32_t page_tokens)
{
    sr_err err = {0};
    if (bed_try_open(b, n_groups, page_tokens, &err))
        fail_msg("%s", err.msg);
}

static inline void bed_check(const bed *b)
{
    sr_err err = {0};
    if (!sr_kv_check(b->kv, &err))
        fail_msg("%s", err.msg);
}

/* Nobody holds a page any more. */
static inline void bed_close(bed *b)
{
    bed_check(b);
    for (uint32_t g = 0; g < b->cfg.n_groups; g++) {
        sr_kvtier t[SR_TIER_COUNT];
        sr_kv_stats(b->kv, g, t);
        assert_int_equal(t[SR_TIER_DEVICE].in_use, 0);
        assert_int_equal(t[SR_TIER_DEVICE].free + t[SR_TIER_DEVICE].cached, t[SR_TIER_DEVICE].total);
    }
    sr_kv_close(b->kv);
    b->kv = NULL;
}

static inline sr_kvtier bed_stats(const bed *b, uint32_t g)
{
    sr_kvtier t[SR_TIER_COUNT];
    sr_kv_stats(b->kv, g, t);
    return t[SR_TIER_DEVICE];
}

static inline uint64_t bed_copies(const bed *b) { return b->dev[0].copies + b->dev[1].copies + b->dev[2].copies; }

/* ---- the toy engine ------------------------------------------------------------------------------------ */

typedef struct {
    sr_kvseq *s;
    uint64_t  salt;
    int32_t   tok[BED_TOKENS]; /* what the sequence holds */
    size_t    n, reserved;
} toy;

static inline uint64_t mix(uint64_t h, uint64_t x)
{
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static inline uint64_t *row_at(const bed *b, const toy *t, uint32_t g, uint32_t rank, size_t pos, uint32_t row)
{
    sr_kvbind      bind;
    size_t         first, n;
    const sr_page *table = sr_kv_table(t->s, g, &first, &n);
    sr_kv_layout(b->kv, g, rank, &bind);
    size_t k = pos / bind.page_tokens;
    assert_in_range(k, first, n - 1);
    uint32_t head = row % bind.kv_heads, kv = row / bind.kv_heads % 2, layer = row / bind.kv_heads / 2;
    return (uint64_t *)(void *)(host(bind.base) + table[k] * bind.stride.page + layer * bind.stride.layer +
                                kv * bind.stride.kv + head * bind.stride.head +
                                pos % bind.page_tokens * bind.stride.tok);
}

typedef void (*row_fn)(uint64_t *row, uint64_t stamp, const toy *t, size_t pos);

static inline void row_write(uint64_t *row, uint64_t stamp, const toy *t, size_t pos)
{
    (void)t;
    (void)pos;
    *row = stamp;
}

static inline void row_verify(uint64_t *row, uint64_t stamp, const toy *t, size_t pos)
{
    if (*row != stamp)
        fail_msg("position %zu of %zu (salt %llu) reads %llx instead of %llx", pos, t->n, (unsigned long long)t->salt,
                 (unsigned long long)*row, (unsigned long long)stamp);
}

/* Every row of a position in every group and rank. */
static inline void rows(const bed *b, const toy *t, size_t pos, uint64_t prefix, bool visible_only, row_fn fn)
{
    for (uint32_t g = 0; g < b->cfg.n_groups; g++) {
        const sr_kvshape *s = &b->group[g].shape;
        if (visible_only && s->window && pos + s->window < t->n + 1)
            continue;
        for (uint32_t r = 0; r < SR_MAX(b->group[g].n_ranks, 1); r++)
            for (uint32_t i = 0; i < s->n_layers * 2 * s->kv_heads; i++)
                fn(row_at(b, t, g, r, pos, i), mix(prefix, g * 1000 + r * 100 + i + 1), t, pos);
    }
}

/* Every position the sequence may look at reads back its own stamp. */
static inline void toy_verify(const bed *b, const toy *t)
{
    uint64_t h = mix(77, t->salt);
    assert_int_equal(sr_kv_length(t->s), t->n);
    for (size_t i = 0; i < t->n; i++)
        rows(b, t, i, h = mix(h, (uint32_t)t->tok[i] + 1u), true, row_verify);
}

static inline size_t toy_begin(bed *b, toy *t, uint64_t salt, const int32_t *tok, size_t n, size_t reuse_max)
{
    sr_err err = {0};
    size_t cached = 0;
    *t = (toy){.salt = salt};
    assert_int_equal(sr_kv_begin(b->kv, salt, tok, n, reuse_max, &t->s, &cached, &err), SR_OK);
    memcpy(t->tok, tok, cached * sizeof *tok);
    t->n = cached;
    toy_verify(b, t);
    return cached;
}

static inline sr_status toy_reserve(toy *t, size_t n, sr_err *err)
{
    sr_status s = sr_kv_reserve(t->s, n, err);
    if (s == SR_OK)
        t->reserved = SR_MAX(n, t->reserved);
    return s;
}

/* Computes n tokens into reserved room, the i-th at offset from[i], with junk in between, and commits them. */
static inline sr_status toy_commit(bed *b, toy *t, const int32_t *tok, const uint32_t *from, size_t n, sr_err *err)
{
    uint64_t h = mix(77, t->salt);
    for (size_t i = 0; i < t->n; i++)
        h = mix(h, (uint32_t)t->tok[i] + 1u);
    for (size_t i = 0; i < t->reserved; i++)
        rows(b, t, t->n + i, 0xdead, false, row_write);
    for (size_t i = 0; i < n; i++)
        rows(b, t, t->n + (from ? from[i] : i), h = mix(h, (uint32_t)tok[i] + 1u), false, row_write);
    sr_status s = sr_kv_commit(t->s, tok, from, n, err);
    if (s)
        return s;
    memcpy(t->tok + t->n, tok, n * sizeof *tok);
    t->n += n;
    t->reserved -= n;
    return SR_OK;
}

/* Reserve and commit, which must succeed. */
static inline void toy_add(bed *b, toy *t, const int32_t *tok, size_t n)
{
    sr_err err = {0};
    if (toy_reserve(t, n, &err) || toy_commit(b, t, tok, NULL, n, &err))
        fail_msg("adding %zu tokens: %s", n, err.msg);
    toy_verify(b, t);
    bed_check(b);
}

static inline sr_status toy_fork(const toy *t, toy *out, sr_err *err)
{
    *out          = *t;
    out->reserved = 0;
    return sr_kv_fork(t->s, &out->s, err);
}

static inline void toy_end(toy *t)
{
    sr_kv_end(t->s);
    t->s = NULL;
}
#endif
