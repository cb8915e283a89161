/* plan.c - every prefix of two fixed orders priced, the fastest that fits taken. */
#include "weights/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { SLOTS = 2, SPLIT = 256, CHUNK = 2048, STEP_MOST = 8192 };

typedef struct {
    const sr_hw    *hw;
    const sr_needs *need;
    const sr_unit  *u;
    uint32_t        n;
} task;
typedef struct { uint32_t cpu_hidden; double s; } price;

static uint64_t fixed_bytes(const sr_needs *w) { return w->kv + w->scratch + w->draft + w->reserve; }

/* `cpu` of `hidden` parts by the CPU, the rest over the bus. */
static double outside(const sr_hw *h, double bytes, uint32_t cpu, uint32_t hidden)
{
    double share = hidden ? (double)cpu / hidden : 0, bus = SR_MAX(h->h2d, h->zero_copy);
    double t     = SR_MAX(bytes * share / h->cpu_read, bytes / h->dram_read);
    if (h->vram)
        t = SR_MAX(t, bytes * (1 - share) / bus);
    return t + (h->vram && cpu ? h->sync : 0);
}

/* The best split of a unit in RAM.  The time is convex in the share: the optimum lies beside the crossing point. */
static price best(const sr_hw *h, const sr_unit *u)
{
    double bytes = (double)u->read, bus = SR_MAX(h->h2d, h->zero_copy);
    if (!h->vram)
        return (price){u->hidden, outside(h, bytes, 1, 1)};
    price p = {0, outside(h, bytes, 0, 1)};
    if (u->kind != SR_UNIT_FFN || !u->hidden || u->hidden % SPLIT)
        return p;
    uint32_t parts = u->hidden / SPLIT, cross = (uint32_t)(h->cpu_read / (h->cpu_read + bus) * parts);
    uint32_t at[]  = {cross, SR_MIN(cross + 1, parts), parts};
    for (size_t i = 0; i < SR_COUNT(at); i++) {
        double s = outside(h, bytes, at[i] * SPLIT, u->hidden);
        if (s < p.s)
            p = (price){at[i] * SPLIT, s};
    }
    return p;
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
        for (uint32_t i = 0; i < t->n; i++)
            if (t->u[i].kind == kinds[which][k])
                order[at++] = i;
}

/* The first k of the order on the device.  False: does not fit; *lack says how many bytes of which memory. */
static bool try_prefix(const task *t, const uint32_t *order, uint32_t k, sr_place *out, sr_placement *p, uint64_t lack[2])
{
    const sr_hw *h    = t->hw;
    uint64_t     slot = 0;
    double       nvme = 0, moved = 0, work = 0;
    *p = (sr_placement){.vram_used = h->vram ? fixed_bytes(t->need) : 0, .ram_used = h->vram ? 0 : fixed_bytes(t->need)};
    for (uint32_t r = 0; r < t->n; r++) {
        const sr_unit *u  = &t->u[order[r]];
        sr_place      *o  = &out[order[r]];
        double         in = h->vram ? (double)u->read / h->dev_read : 0;
        work += 2.0 * (double)u->params;
        if (r < k) {
            *o = (sr_place){SR_WT_DEVICE, 0, ~0u, in};
            p->vram_used += u->bytes;
            p->stream_s += in;
            p->cpu_s += in;
        } else {
            price c = best(h, u);
            bool  fits = u->bytes <= h->ram && p->ram_used <= h->ram - u->bytes;
            *o = (sr_place){(uint16_t)(!fits ? SR_WT_NVME : h->vram ? SR_WT_PINNED : SR_WT_MAPPED), c.cpu_hidden, 0, c.s};
            p->ram_used += fits ? u->bytes : 0;
            nvme += fits ? 0 : (double)u->read;
            moved += (double)u->read;
            slot = u->kind == SR_UNIT_EMBED ? slot : SR_MAX(slot, u->slot ? u->slot : u->bytes); /* rows of an embedding are read in place */
            p->stream_s += outside(h, (double)u->read, h->vram ? 0 : 1, 1);
            p->cpu_s += outside(h, (double)u->read, 1, 1);
        }
        p->token_s += o->seconds;
        p->bytes[o->tier] += u->bytes;
    }
    if (h->vram && slot) {
        p->n_slots    = t->need->slots ? t->need->slots : SLOTS;
        p->slot_bytes = slot;
        p->vram_used += p->n_slots * slot;
    }
    lack[0] = h->vram && p->vram_used > h->vram ? p->vram_used - h->vram : 0;
    lack[1] = nvme > 0 && h->nvme_read <= 0 ? p->bytes[SR_WT_NVME] : p->ram_used > h->ram ? p->ram_used - h->ram : 0;
    if (lack[0] || lack[1])
        return false;
    double kv    = (double)t->need->kv_read / (h->vram ? h->dev_read : SR_MIN(h->cpu_read, h->dram_read));
    double disk  = nvme > 0 ? nvme / h->nvme_read : 0, flops = h->vram ? h->dev_flops : h->cpu_flops;
    double bus   = h->vram ? SR_MIN(h->h2d, h->dram_read) : SR_MIN(h->cpu_read, h->dram_read);
    uint32_t chunk = t->need->chunk ? t->need->chunk : CHUNK;
    p->token_s     = SR_MAX(p->token_s + kv, disk);
    p->stream_s    = SR_MAX(p->stream_s + kv, disk);
    p->cpu_s       = SR_MAX(p->cpu_s + kv, disk);
    p->chunk_s     = SR_MAX(SR_MAX(moved / bus, work * chunk / flops), disk);
    double m       = work > 0 ? p->token_s * flops / work : 1;
    p->step_tokens = m < 1 ? 1 : m > STEP_MOST ? STEP_MOST : (uint32_t)m;
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
    return SR_OK;
}

sr_status sr_plan_place(const sr_hw *hw, const sr_needs *need, const sr_unit *u, uint32_t n, sr_place *out, sr_placement *sum, sr_err *err)
{
    task         t = {hw, need, u, n};
    sr_placement p;
    uint32_t     found = UINT32_MAX, by = 0;
    uint64_t     lack[2] = {0, 0}, least[2] = {UINT64_MAX, UINT64_MAX};
    if (check(hw, err))
        return err->status;
    uint32_t *order = sr_calloc(n + 1u, sizeof *order);
    if (!order)
        return sr_raise(err, SR_NOMEM, "host: memory for a plan of %u units", n);
    for (uint32_t which = 0; which < ORDERS; which++) {
        ranks(&t, which, order);
        for (uint32_t k = 0; k <= (hw->vram ? n : 0); k++) {
            if (!try_prefix(&t, order, k, out, &p, lack)) {
                if (lack[0] / 2 + lack[1] / 2 < least[0] / 2 + least[1] / 2)
                    memcpy(least, lack, sizeof least);
            } else if (found == UINT32_MAX || p.token_s < sum->token_s) {
                found = k;
                by    = which;
                *sum  = p;
            }
        }
    }
    if (found != UINT32_MAX) {
        ranks(&t, by, order);
        (void)try_prefix(&t, order, found, out, sum, lack);
        uint32_t at = 0; /* fetched in the order of the program, which is that of the units */
        for (uint32_t i = 0; i < n; i++)
            out[i].order = out[i].tier == SR_WT_DEVICE ? ~0u : at++;
        explain(&t, order, found, sum);
    }
    sr_free(order);
    if (found == UINT32_MAX)
        return sr_raise(err, SR_NOMEM, "does not fit: %.3f GB of VRAM and %.3f GB of RAM too little", (double)least[0] * 1e-9,
                        (double)least[1] * 1e-9);
    return SR_OK;
}
