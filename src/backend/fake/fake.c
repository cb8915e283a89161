#include "backend/fake/fake.h"

#include <stdio.h>
#include <string.h>

#include "backend/cpu/internal.h"
#include "backend/ledger.h"
#include "base/fault.h"
#include "base/mem.h"
#include "ops/expcode/expcode.h"

#define TAG ((uintptr_t)1 << 62)

enum { DECODES = 4096 }; /* no queue holds more commands */

typedef struct { const void *src; uint16_t *dst; uint64_t n; } coded;

/* Not sr_dev itself: the CPU's device inside has that type, and its own functions. */
typedef struct {
    sr_dev         *cpu;
    int             index;
    sr_fakecfg      cfg;
    sr_ledger       ledger;
    coded           decode[DECODES];
    uint32_t        decodes;
} fakedev;

typedef struct { sr_plan *cpu; fakedev *dev; void *scratch; } fakeplan;

static sr_fakecfg config;
static int        harm; /* atomic: an sr_fakeharm for the next submit */

void sr_fake_harm(sr_fakeharm next) { __atomic_store_n(&harm, (int)next, __ATOMIC_SEQ_CST); }

void sr_fake_configure(const sr_fakecfg *cfg) { config = *cfg; }

static fakedev *fake(sr_dev *d) { return (fakedev *)(void *)d; }
static fakeplan *plan_of(sr_plan *p) { return (fakeplan *)(void *)p; }

static void *hide(void *p) { return (void *)((uintptr_t)p | TAG); }
static void *real(const void *p) { return (void *)((uintptr_t)p & ~TAG); }

static sr_status fake_count(int *n, sr_err *err)
{
    (void)err;
    *n = 4;
    return SR_OK;
}

static void fake_close(sr_dev *dev)
{
    fakedev *f = fake(dev);
    if (!f)
        return;
    sr_backend_cpu.close(f->cpu);
    for (sr_ledgerentry *e; (e = sr_ledger_remove(&f->ledger, NULL));) {
        sr_free(e->p);
        sr_ledger_cancel(&f->ledger, e);
    }
    sr_ledger_close(&f->ledger);
    sr_free(f);
}

static sr_status fake_open(int i, const sr_devcfg *cfg, sr_dev **out, sr_err *err)
{
    fakedev *f = sr_calloc(1, sizeof *f);
    if (!f)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a device", sizeof *f);
    char name[24];
    f->index      = i;
    f->cfg        = config;
    f->cfg.memory = f->cfg.memory ? f->cfg.memory : 1u << 30;
    if (cfg && cfg->mem_budget && cfg->mem_budget < f->cfg.memory)
        f->cfg.memory = cfg->mem_budget;
    snprintf(name, sizeof name, "fake device %d", i);
    sr_ledger_open(&f->ledger, name, f->cfg.memory, f->cfg.granule ? f->cfg.granule : 1);
    sr_status s   = sr_backend_cpu.open(i, cfg, &f->cpu, err);
    if (s) {
        fake_close((sr_dev *)(void *)f);
        return s;
    }
    for (int q = 0; q < SR_Q_COUNT; q++)
        sr_cpuqueue_pace(f->cpu->queue[q], q == SR_Q_COMPUTE ? 0 : f->cfg.bytes_per_s, f->cfg.ns_per_command);
    *out = (sr_dev *)(void *)f;
    return SR_OK;
}

static sr_status fake_info(int i, sr_dev *dev, sr_devinfo *out, sr_err *err)
{
    (void)err;
    fakedev *f = fake(dev);
    *out = (sr_devinfo){.size = out->size, .units = 1, .numa = ~0u, .mem_total = f ? f->cfg.memory : config.memory, .mem_granule = f ? f->cfg.granule : config.granule};
    out->mem_free = f ? sr_ledger_left(&f->ledger) : out->mem_total;
    snprintf(out->name, sizeof out->name, "fake device %d", i);
    return SR_OK;
}

static sr_status fake_alloc(sr_dev *dev, sr_memkind kind, size_t bytes, const char *tag, void **out, sr_err *err)
{
    fakedev        *f = fake(dev);
    sr_ledgerentry *e = NULL;
    void           *p = NULL;
    sr_status       s = sr_ledger_reserve(&f->ledger, kind, bytes, tag, &e, err);
    if (s)
        return s;
    if ((s = sr_backend_cpu.alloc(f->cpu, kind, bytes, tag, &p, err)) != SR_OK) {
        sr_ledger_cancel(&f->ledger, e);
        return s;
    }
    memset(p, 0xff, bytes); /* NaN in every float format: what nobody wrote must not look like a number */
    *out = kind == SR_MEM_DEVICE ? hide(p) : p;
    sr_ledger_enter(&f->ledger, e, p);
    return SR_OK;
}

static void fake_free(sr_dev *dev, void *p)
{
    fakedev *f = fake(dev);
    if (!p)
        return;
    sr_ledgerentry *e = sr_ledger_remove(&f->ledger, real(p));
    SR_ASSERT(e, "freed %p was never allocated here", p);
    memset(e->p, 0xff, e->bytes);
    sr_free(e->p);
    sr_ledger_cancel(&f->ledger, e);
}

static size_t fake_ledger(sr_dev *dev, sr_memline *out, size_t cap) { return sr_ledger_lines(&fake(dev)->ledger, out, cap); }

static sr_status fake_pin(sr_dev *dev, void *p, size_t n, bool on, sr_err *err)
{
    (void)dev, (void)p, (void)n, (void)on, (void)err;
    return SR_OK;
}

static sr_status fake_copyv(sr_dev *dev, sr_queue q, const sr_span *s, uint32_t n, sr_err *err)
{
    sr_span piece[64];
    for (uint32_t i = 0; i < n; i += SR_COUNT(piece)) {
        uint32_t k = SR_MIN(n - i, (uint32_t)SR_COUNT(piece));
        for (uint32_t c = 0; c < k; c++) {
            piece[c]     = s[i + c];
            piece[c].dst = real(s[i + c].dst);
            piece[c].src = real(s[i + c].src);
        }
        sr_status rc;
        while ((rc = sr_backend_cpu.copyv(fake(dev)->cpu, q, piece, k, err)) == SR_AGAIN && i)
            ; /* half of a copy cannot be taken back: wait for room */
        if (rc)
            return rc;
    }
    return SR_OK;
}

static sr_status decode_now(void *arg, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    (void)op, (void)n, (void)shape;
    const coded *c = arg;
    sr_expcode   x;
    if (sr_expcode_open(c->src, SIZE_MAX / 2, &x, err))
        return err->status;
    SR_ASSERT(x.n == c->n, "%u coded numbers came, %llu were expected", x.n, (unsigned long long)c->n);
    for (uint32_t b = 0; b < x.n_block; b++)
        if (sr_expcode_block(&x, b, c->dst + (size_t)b * x.block, err))
            return err->status;
    return SR_OK;
}

/* Its products read rows: there are no tiles. */
static sr_status fake_decode(sr_dev *dev, sr_queue q, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst, uint16_t layout, sr_err *err)
{
    fakedev *f = fake(dev);
    if (layout || !sr_expcode_knows(format))
        return sr_raise(err, SR_INVALID, "fake device %d: %u rows of %u numbers in %s come in no code", f->index, n, cols, sr_dtype_name(format));
    coded    *c = &f->decode[f->decodes % DECODES];
    sr_status s;
    *c = (coded){real(src), real(dst), (uint64_t)n * cols};
    s  = sr_cpuqueue_call(f->cpu->queue[q], decode_now, c, 0, 0, &(sr_shape){0}, err);
    f->decodes += s == SR_OK;
    return s;
}

static sr_point fake_mark(sr_dev *dev, sr_queue q) { return sr_backend_cpu.mark(fake(dev)->cpu, q); }
static void fake_fence(sr_dev *dev, sr_queue q, sr_point on) { sr_backend_cpu.fence(fake(dev)->cpu, q, on); }

static sr_status fake_wait(sr_dev *dev, sr_point p, uint64_t timeout_ns, sr_err *err)
{
    return sr_backend_cpu.wait(fake(dev)->cpu, p, timeout_ns, err);
}

static bool fake_supports(sr_dev *dev, const sr_program *p, uint32_t op) { return sr_backend_cpu.supports(fake(dev)->cpu, p, op); }

static size_t fake_scratch(sr_dev *dev, const sr_program *p, const sr_shape *max)
{
    return sr_backend_cpu.scratch(fake(dev)->cpu, p, max);
}

static sr_status fake_prepare(sr_dev *dev, const sr_program *p, const sr_shape *max, void *scratch, size_t bytes, sr_plan **out,
                              sr_err *err)
{
    fakeplan *pl = sr_calloc(1, sizeof *pl);
    if (!pl)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a plan", sizeof *pl);
    pl->dev     = fake(dev);
    sr_status s = sr_backend_cpu.prepare(pl->dev->cpu, p, max, real(scratch), bytes, &pl->cpu, err);
    if (s)
        sr_free(pl);
    else
        *out = (sr_plan *)(void *)pl;
    return s;
}

static sr_status fake_slot(sr_plan *p, uint16_t slot, void **out, size_t *bytes)
{
    sr_status s = sr_backend_cpu.slot(plan_of(p)->cpu, slot, out, bytes);
    if (s == SR_OK)
        *out = hide(*out);
    return s;
}

static sr_status fake_bind(sr_plan *p, const sr_batch *b, uint32_t w, uint32_t n, const sr_wref *refs, sr_err *err)
{
    sr_batch    inner;
    const void *at[11];
    if (b) {
        SR_ASSERT(!b->tree || ((uintptr_t)b->tree & TAG), "the words of token trees are bound to host memory");
        inner = *b;
        const void **field[] = {(const void **)&inner.n, (const void **)&inner.tok, (const void **)&inner.pos,
                                (const void **)&inner.dst, (const void **)&inner.tree, (const void **)&inner.seq,
                                (const void **)&inner.table, (const void **)&inner.kv_len, (const void **)&inner.out,
                                (const void **)&inner.adapter, &inner.sampling};
        for (size_t i = 0; i < SR_COUNT(field); i++) {
            memcpy(&at[i], field[i], sizeof at[i]);
            at[i] = real(at[i]);
            memcpy(field[i], &at[i], sizeof at[i]);
        }
        for (int g = 0; g < SR_KV_GROUPS; g++)
            inner.kv[g].base = real(b->kv[g].base);
    }
    sr_status s = b ? sr_backend_cpu.bind(plan_of(p)->cpu, &inner, 0, 0, NULL, err) : SR_OK;
    for (uint32_t i = 0; i < n && s == SR_OK; i++) {
        sr_wref r = refs[i];
        SR_ASSERT(!r.p || (r.flags & SR_W_HOST) || ((uintptr_t)r.p & TAG), "weight %u is bound to host memory", w + i);
        r.p = real(r.p);
        s   = sr_backend_cpu.bind(plan_of(p)->cpu, NULL, w + i, 1, &r, err);
    }
    return s;
}

static sr_status fake_submit(sr_plan *p, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    static const uint64_t never;
    switch (__atomic_exchange_n(&harm, SR_FAKE_WELL, __ATOMIC_SEQ_CST)) {
    case SR_FAKE_LOST: sr_fault_arm(SR_FAULT_SUBMIT, 1); break;
    case SR_FAKE_HANGS: sr_backend_cpu.fence(plan_of(p)->dev->cpu, SR_Q_COMPUTE, (sr_point){(volatile uint64_t *)(uintptr_t)&never, 1}); break;
    default: break;
    }
    return sr_backend_cpu.submit(plan_of(p)->cpu, op, n, shape, err);
}

static void fake_discard(sr_plan *p)
{
    if (p)
        sr_backend_cpu.discard(plan_of(p)->cpu);
    sr_free(p);
}

static sr_status fake_profile(sr_plan *p, sr_timing next, sr_timed *out, sr_err *err)
{
    return sr_backend_cpu.profile(plan_of(p)->cpu, next, out, err);
}

static size_t fake_pack(uint16_t format, uint32_t n, uint32_t cols, const void *const *row, void *dst, uint16_t *layout)
{
    return sr_backend_cpu.pack(format, n, cols, row, dst, layout);
}

const sr_backend sr_backend_fake = {
    .abi = SR_BACKEND_ABI, .size = sizeof(sr_backend), .name = "fake", .build = SR_VERSION,
    .count = fake_count, .open = fake_open, .close = fake_close, .info = fake_info,
    .alloc = fake_alloc, .free = fake_free, .ledger = fake_ledger, .pin = fake_pin, .pack = fake_pack, .decode = fake_decode,
    .copyv = fake_copyv, .mark = fake_mark, .fence = fake_fence, .wait = fake_wait, .group = NULL,
    .supports = fake_supports, .scratch = fake_scratch, .prepare = fake_prepare, .slot = fake_slot,
    .bind = fake_bind, .submit = fake_submit, .discard = fake_discard, .profile = fake_profile,
};
