/* plan.c - every prefix of two fixed orders priced, the fastest that fits taken. */
#include "weights/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { SLOTS = 2, SPLIT = 256, CHUNK = 2048, STEP_MOST = 8192 };
#define LEAST_LEFT 0.1 /* of the memory, to a CPU beside a bus that could take all of it */

typedef struct {
    const sr_hw    *hw;
    const sr_needs *need;
    const sr_unit  *u;
    uint32_t        n;
} task;
typedef struct { uint32_t cpu_hidden; double s; } price;

static uint64_t fixed_bytes(const sr_needs *w) { return w->kv + w->scratch + w->draft + w->reserve; }
static double   tokens_of(const sr_needs *w) { return w->tokens ? w->tokens : 1; }
static double   own(double unit, double machine) { return unit > 0 ? unit : machine; }
static double   bus_of(const sr_hw *h) { return SR_MAX(h->h2d, h->zero_copy); }
static double   over(double x, double rate) { return rate > 0 ? x / rate : 0; } /* a rate that is not known costs nothing */

/* What a step of m tokens reads of a unit: rows of an embedding, all of anything else. */
static double read_of(const sr_unit *u, double m) { return (double)u->read * (u->kind == SR_UNIT_EMBED ? m : 1); }
/* What of that is read of RAM, when it lies there. */
static double moved_of(const sr_unit *u, double m) { return read_of(u, m) * (u->outside ? (double)u->outside / (double)u->bytes : 1); }
static double flops_of(const sr_unit *u, double m) { return 2.0 * (double)u->params * m; }
static double op_seconds(const sr_hw *h, const sr_unit *u, double m)
{
    return !h->vram ? u->ops * h->cpu_op : u->launches * h->dev_op + u->ends + over(m * u->passed, h->dev_copy);
}

static double on_device(const sr_hw *h, const sr_unit *u, double m)
{
    return h->vram ? SR_MAX(read_of(u, m) / own(u->dev_read, h->dev_read), over(flops_of(u, m), own(u->dev_flops, h->dev_flops))) : 0;
}
static double by_cpu(const sr_hw *h, const sr_unit *u, double m) /* all of it */
{
    return SR_MAX((h->vram ? moved_of(u, m) : read_of(u, m)) / own(u->cpu_read, h->cpu_read), over(flops_of(u, m), own(u->cpu_flops, h->cpu_flops)));
}
static double by_bus(const sr_hw *h, const sr_unit *u, double m)
{
    return h->vram ? SR_MAX(moved_of(u, m) / bus_of(h), over(flops_of(u, m), own(u->dev_flops, h->dev_flops))) : 0;
}

/* The same while the other side reads, too; not measured: the CPU has what a copy leaves of the memory.  A CPU that computes longer than
 * it reads does not mind. */
static double by_cpu_beside(const sr_hw *h, const sr_unit *u, double m)
{
    double left = h->cpu_beside > 0 ? h->cpu_beside : SR_MAX(h->dram_read - bus_of(h), h->dram_read * LEAST_LEFT);
    return SR_MAX(by_cpu(h, u, m), moved_of(u, m) / (u->cpu_beside > 0 ? SR_MIN(u->cpu_beside, left) : left));
}
static double by_bus_beside(const sr_hw *h, const sr_unit *u, double m)
{
    return h->h2d_beside > 0 ? SR_MAX(by_bus(h, u, m), moved_of(u, m) / h->h2d_beside) : by_bus(h, u, m);
}

/* Both at once, then what is left over on its own. */
static double at_once(const sr_hw *h, const sr_unit *u, double m, double share)
{
    double c = by_cpu_beside(h, u, m), b = by_bus_beside(h, u, m), tc = c * share, tb = b * (1 - share);
    return tc <= tb ? tc + (tb - tc) / b * by_bus(h, u, m) : tb + (tc - tb) / c * by_cpu(h, u, m);
}

/* `cpu` of `hidden` parts by the CPU, the rest over the bus. */
static double outside(const sr_hw *h, const sr_unit *u, double m, uint32_t cpu, uint32_t hidden)
{
    double share = hidden ? (double)cpu / hidden : 0;
    double t     = SR_MAX(by_cpu(h, u, m) * share, moved_of(u, m) / h->dram_read);
    if (h->vram)
        t = SR_MAX(t, by_bus(h, u, m) * (1 - share));
    if (h->vram && cpu && h->cpu_beside > 0 && h->h2d_beside > 0)
        t = SR_MAX(t, at_once(h, u, m, share));
    return t + (h->vram && cpu ? h->sync : 0);
}

/* The best split of a unit in RAM; what comes from disk goes through to the device.  Before the crossing point and
 * behind it the time is linear in the share: the optimum lies there or at an end. */
static price best(const sr_hw *h, const sr_needs *w, const sr_unit *u, bool disk)
{
    double m = tokens_of(w);
    if (!h->vram)
        return (price){u->hidden, outside(h, u, m, 1, 1)};
    price p = {0, outside(h, u, m, 0, 1)};
    if (disk || u->kind != SR_UNIT_FFN || !u->hidden || u->hidden % SPLIT || (w->few && m > w->few))
        return p;
    double   bus = by_bus_beside(h, u, m), cpu = by_cpu_beside(h, u, m);
    uint32_t parts = u->hidden / SPLIT, cross = (uint32_t)(bus / (bus + cpu) * parts);
    uint32_t at[]  = {cross, SR_MIN(cross + 1, parts), parts};
    for (size_t i = 0; i < SR_COUNT(at); i++) {
        double s = outside(h, u, m, at[i] * SPLIT, u->hidden);
        if (s < p.s)
            p = (price){at[i] * SPLIT, s};
    }
    return p;
}

static double kv_seconds(const sr_hw *h, const sr_needs *w)
{
    return (double)w->kv_read / (h->vram ? own(h->dev_kv, h->dev_read) : own(h->cpu_kv, SR_MIN(h->cpu_read, h->dram_read)));
}

/* One chunk of a prompt.  The head sees one row of it. */
static double chunk_seconds(const sr_hw *h, const sr_unit *u, const sr_place *o, uint32_t n, double tokens, double attn_s)
{
    double moved = 0, nvme = 0, work = attn_s, ops = 0, first = 0;
    for (uint32_t i = 0; i < n; i++) {
        double f = flops_of(&u[i], u[i].kind == SR_UNIT_HEAD ? 1 : tokens);
        moved += o[i].tier == SR_WT_DEVICE ? 0 : o[i].tier == SR_WT_NVME ? read_of(&u[i], tokens) : moved_of(&u[i], tokens);
        first = o[i].tier == SR_WT_DEVICE || u[i].kind == SR_UNIT_EMBED ? first : SR_MAX(first, (double)(u[i].slot ? u[i].slot : u[i].bytes));
        nvme += o[i].tier == SR_WT_NVME ? read_of(&u[i], tokens) : 0;
        work += over(f, h->vram ? own(u[i].dev_flops, h->dev_flops) : own(u[i].cpu_flops, h->cpu_flops));
        ops += op_seconds(h, &u[i], u[i].kind == SR_UNIT_HEAD ? 1 : tokens);
    }
    double bus = h->vram ? SR_MIN(h->h2d, h->dram_read) : SR_MIN(h->cpu_read, h->dram_read);
    if (h->vram) /* the first that comes in is waited for; what has come is read and written once more, as tiles */
        work += first / bus + over(2 * moved, h->dev_copy);
    return SR_MAX(SR_MAX(moved / bus, work + ops), over(nvme, h->nvme_read));
}

/* 0, 4, 2, 6, 1, ..: every beginning of it is spread over the whole. */
static uint32_t spread(uint32_t i, uint32_t bits)
{
    uint32_t r = 0;
    for (uint32_t b = 0; b < bits; b++)
        r |= (i >> b & 1) << (bits - 1 - b);
    return r;
}

/* Units of a kind in that order: while the device computes a layer that it has, the bus brings one that it has not. */
static void rank_kind(const task *t, uint32_t kind, uint32_t *order, uint32_t *at)
{
    uint32_t n = 0, bits = 0, *unit = order + t->n;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->u[i].kind == kind)
            unit[n++] = i;
    while (1u << bits < n)
        bits++;
    for (uint32_t x = 0; x < 1u << bits; x++)
        if (n && spread(x, bits) < n)
            order[(*at)++] = unit[spread(x, bits)];
}

/* Orders of placement: what the CPU cannot share first; the same with the head before all, whose slots would be the largest; and
 * feed-forward first, for a model that nearly fits, where what is left over should be small because slots must hold it. */
enum { ORDERS = 3 };
static void ranks(const task *t, uint32_t which, uint32_t *order)
{
    static const uint8_t kinds[ORDERS][4] = {{SR_UNIT_ATTN, SR_UNIT_HEAD, SR_UNIT_FFN, SR_UNIT_EMBED},
                                             {SR_UNIT_HEAD, SR_UNIT_ATTN, SR_UNIT_FFN, SR_UNIT_EMBED},
                                             {SR_UNIT_FFN, SR_UNIT_HEAD, SR_UNIT_ATTN, SR_UNIT_EMBED}};
    uint32_t at = 0;
    for (uint32_t k = 0; k < 4; k++)
        rank_kind(t, kinds[which][k], order, &at);
}

/* A unit outside the device.  Rows of an embedding are read in place: it wants no slot. */
static void put_outside(const task *t, const sr_unit *u, sr_place *o, sr_placement *p)
{
    const sr_hw *h    = t->hw;
    double       m    = tokens_of(t->need), ops = op_seconds(h, u, m);
    uint64_t     ram  = u->outside ? u->outside : u->bytes;
    bool         fits = ram <= h->ram && p->ram_used <= h->ram - ram;
    sr_unit      disk = *u;
    disk.outside      = 0;
    u                 = fits ? u : &disk;
    price        c    = best(h, t->need, u, !fits);
    *o = (sr_place){(uint16_t)(!fits ? SR_WT_NVME : h->vram ? SR_WT_PINNED : SR_WT_MAPPED), c.cpu_hidden, 0, c.s + ops};
    p->ram_used += fits ? ram : 0;
    uint64_t slot = fits && u->slot_ram ? u->slot_ram : u->slot ? u->slot : u->bytes;
    p->slot_bytes = u->kind == SR_UNIT_EMBED || !h->vram ? p->slot_bytes : SR_MAX(p->slot_bytes, slot);
    p->stream_s += outside(h, u, m, h->vram ? 0 : 1, 1) + ops;
    p->cpu_s += outside(h, u, m, 1, 1) + ops;
}

/* The first k of the order on the device.  False: does not fit; *p says by how many bytes. */
static bool try_prefix(const task *t, const uint32_t *order, uint32_t k, sr_place *out, sr_placement *p)
{
    const sr_hw *h    = t->hw;
    double       nvme = 0, work = 0, m = tokens_of(t->need);
    *p = (sr_placement){.vram_used = h->vram ? fixed_bytes(t->need) : 0, .ram_used = h->vram ? 0 : fixed_bytes(t->need)};
    for (uint32_t r = 0; r < t->n; r++) {
        const sr_unit *u = &t->u[order[r]];
        sr_place      *o = &out[order[r]];
        work += flops_of(u, 1);
        if (r < k) {
            *o = (sr_place){SR_WT_DEVICE, 0, ~0u, on_device(h, u, m) + op_seconds(h, u, m)};
            p->vram_used += u->bytes;
            p->stream_s += o->seconds;
            p->cpu_s += o->seconds;
        } else {
            put_outside(t, u, o, p);
            nvme += o->tier == SR_WT_NVME ? read_of(u, m) : 0;
        }
        p->token_s += o->seconds;
        p->bytes[o->tier] += u->bytes;
    }
    p->n_slots = !p->slot_bytes ? 0 : t->need->slots ? t->need->slots : SLOTS;
    p->vram_used += p->n_slots * p->slot_bytes;
    p->vram_short = h->vram && p->vram_used > h->vram ? p->vram_used - h->vram : 0;
    p->ram_short  = (nvme > 0 && h->nvme_read <= 0 ? p->bytes[SR_WT_NVME] : 0) + (p->ram_used > h->ram ? p->ram_used - h->ram : 0);
    if (p->vram_short || p->ram_short)
        return false;
    double kv = kv_seconds(h, t->need), disk = over(nvme, h->nvme_read), flops = h->vram ? h->dev_flops : h->cpu_flops;
    p->token_s     = SR_MAX(p->token_s + kv, disk);
    p->stream_s    = SR_MAX(p->stream_s + kv, disk);
    p->cpu_s       = SR_MAX(p->cpu_s + kv, disk);
    p->chunk_s     = chunk_seconds(h, t->u, out, t->n, t->need->chunk ? t->need->chunk : CHUNK, 0);
    double most    = work > 0 ? p->token_s * flops / work : 1;
    p->step_tokens = most < 1 ? 1 : most > STEP_MOST ? STEP_MOST : (uint32_t)most;
    return true;
}

static void explain(const task *t, const uint32_t *order, uint32_t k, sr_placement *p)
{
    static const char *const name[] = {"attention", "head", "feed-forward", "embedding"};
    uint64_t left = 0;
    if (!t->hw->vram) {
        snprintf(p->why, sizeof p->why, "there is no device: the CPU reads every weight");
        return;
    }
    for (uint32_t r = k; r < t->n; r++)
        left += t->u[order[r]].kind == SR_UNIT_EMBED ? 0 : t->u[order[r]].bytes;
    uint64_t room = t->hw->vram - (p->vram_used - p->n_slots * p->slot_bytes);
    if (!left) {
        snprintf(p->why, sizeof p->why, "every weight that is read whole lies on the device: its memory is the limit");
        return;
    }
    const sr_unit *u    = &t->u[order[k]];
    uint64_t       next = p->vram_used + u->bytes > t->hw->vram ? p->vram_used + u->bytes - t->hw->vram : 0;
    snprintf(p->why, sizeof p->why, "needs %.2f GB more VRAM for the %s of layer %u, %.2f GB for all", (double)next * 1e-9,
             name[u->kind], u->layer, left > room ? (double)(left - room) * 1e-9 : 0.0);
}

void sr_plan_bus(sr_hw *h, double h2d)
{
    double faster = h->h2d > 0 ? h2d / h->h2d : 1, both = h->cpu_beside + h->h2d_beside;
    h->h2d = h2d;
    h->zero_copy *= faster;
    if (h->cpu_beside <= 0 || h->h2d_beside <= 0)
        return;
    h->h2d_beside *= faster;
    h->cpu_beside = SR_MAX(SR_MIN(SR_MAX(both, h->dram_read) - h->h2d_beside, h->cpu_read), h->dram_read * LEAST_LEFT);
}

static sr_status check(const sr_hw *h, sr_err *err)
{
    const struct { const char *name; double v; bool want; } f[] = {
        {"CPU read rate", h->cpu_read, true}, {"DRAM read rate", h->dram_read, true}, {"CPU flops", h->cpu_flops, h->vram == 0},
        {"device read rate", h->dev_read, h->vram > 0}, {"host to device rate", h->h2d, h->vram > 0}, {"device flops", h->dev_flops, h->vram > 0},
    };
    for (size_t i = 0; i < SR_COUNT(f); i++)
        if (f[i].want && !(f[i].v > 0 && f[i].v < 1e18))
            return sr_raise(err, SR_INVALID, "%s is %g; a positive number expected", f[i].name, f[i].v);
    if (!(h->zero_copy >= 0 && h->zero_copy < 1e18) || !(h->nvme_read >= 0 && h->nvme_read < 1e18) || !(h->sync >= 0 && h->sync < 1))
        return sr_raise(err, SR_INVALID, "zero-copy rate %g, NVMe rate %g, handshake %g s: out of range", h->zero_copy, h->nvme_read, h->sync);
    if (!(h->cpu_beside >= 0 && h->cpu_beside < 1e18) || !(h->h2d_beside >= 0 && h->h2d_beside < 1e18))
        return sr_raise(err, SR_INVALID, "CPU %g and bus %g bytes/s at once: out of range", h->cpu_beside, h->h2d_beside);
    if (!(h->dev_op >= 0 && h->dev_op < 1) || !(h->cpu_op >= 0 && h->cpu_op < 1) || !(h->dev_kv >= 0) || !(h->cpu_kv >= 0))
        return sr_raise(err, SR_INVALID, "%g and %g s an op, attention at %g and %g bytes/s: out of range", h->dev_op, h->cpu_op, h->dev_kv, h->cpu_kv);
    return SR_OK;
}

/* Of all prefixes the fastest that fits; UINT32_MAX: none does, and *sum is what came nearest. */
static uint32_t search(const task *t, uint32_t *order, sr_place *out, sr_placement *sum, uint32_t *by)
{
    uint32_t     found = UINT32_MAX;
    sr_placement p;
    *sum = (sr_placement){.vram_short = UINT64_MAX, .ram_short = UINT64_MAX};
    for (uint32_t which = 0; which < ORDERS; which++) {
        ranks(t, which, order);
        for (uint32_t k = 0; k <= (t->hw->vram ? t->n : 0); k++) {
            bool fits = try_prefix(t, order, k, out, &p);
            if (fits ? found == UINT32_MAX || p.token_s < sum->token_s
                     : found == UINT32_MAX && p.vram_short / 2 + p.ram_short / 2 < sum->vram_short / 2 + sum->ram_short / 2) {
                found = fits ? k : found;
                *by   = which;
                *sum  = p;
            }
        }
    }
    return found;
}

sr_status sr_plan_place(const sr_hw *hw, const sr_needs *need, const sr_unit *u, uint32_t n, sr_place *out, sr_placement *sum, sr_err *err)
{
    task     t  = {hw, need, u, n};
    uint32_t by = 0;
    *sum        = (sr_placement){0};
    if (check(hw, err))
        return err->status;
    uint32_t *order = sr_calloc(2 * (size_t)n + 1, sizeof *order); /* and room to make it */
    if (!order)
        return sr_raise(err, SR_NOMEM, "host: memory for a plan of %u units", n);
    uint32_t found = search(&t, order, out, sum, &by);
    if (found != UINT32_MAX) {
        ranks(&t, by, order);
        (void)try_prefix(&t, order, found, out, sum);
        uint32_t at = 0; /* fetched in the order of the program, which is that of the units */
        for (uint32_t i = 0; i < n; i++)
            out[i].order = out[i].tier == SR_WT_DEVICE ? ~0u : at++;
        explain(&t, order, found, sum);
    }
    sr_free(order);
    if (found == UINT32_MAX)
        return sr_raise(err, SR_NOMEM, "does not fit: %.1f MB of VRAM and %.1f MB of RAM too little", (double)sum->vram_short * 1e-6,
                        (double)sum->ram_short * 1e-6);
    return SR_OK;
}

sr_status sr_plan_step(const sr_hw *h, const sr_needs *need, const sr_unit *u, uint32_t n, const sr_place *place, sr_stepcost *out, sr_err *err)
{
    double m = tokens_of(need);
    *out     = (sr_stepcost){0};
    if (check(h, err))
        return err->status;
    out->kv = kv_seconds(h, need);
    for (uint32_t i = 0; i < n; i++) {
        double read = place[i].tier == SR_WT_NVME ? read_of(&u[i], m) : moved_of(&u[i], m);
        bool   disk = place[i].tier == SR_WT_NVME;
        out->ops += op_seconds(h, &u[i], m);
        if (place[i].tier == SR_WT_DEVICE) {
            out->s += on_device(h, &u[i], m);
            out->device += on_device(h, &u[i], m);
            continue;
        }
        price  c     = best(h, need, &u[i], disk);
        double share = !h->vram ? 1 : u[i].hidden ? (double)c.cpu_hidden / u[i].hidden : 0;
        out->s += c.s;
        out->cpu += share * by_cpu(h, &u[i], m);
        out->bus += (1 - share) * by_bus(h, &u[i], m);
        out->dram += read / h->dram_read;
        out->disk += disk ? over(read, h->nvme_read) : 0;
    }
    out->s = SR_MAX(out->s + out->kv + out->ops, out->disk);
    return SR_OK;
}

sr_status sr_plan_prompt(const sr_hw *h, const sr_needs *need, const sr_unit *u, uint32_t n, const sr_place *place, uint32_t tokens,
                         double attn_s, double *seconds, sr_err *err)
{
    uint32_t chunk = need->chunk ? need->chunk : CHUNK;
    *seconds       = 0;
    if (check(h, err))
        return err->status;
    for (uint32_t from = 0; from < tokens; from += chunk) {
        double part = SR_MIN(chunk, tokens - from);
        *seconds += chunk_seconds(h, u, place, n, part, attn_s * part / tokens);
    }
    return SR_OK;
}
