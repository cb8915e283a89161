#include "weights/profile_as.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "ops/quant/quant.h"

#define GB 1e-9

static sr_status above(const char *what, double asked, double has, sr_err *err)
{
    return sr_raise(err, SR_INVALID, "%s of %g: the machine has %g, and a limit is below that", what, asked, has);
}

static sr_status check(const sr_profile *p, const sr_limits *l, sr_err *err)
{
    if (!p->dev.arch && (l->vram || l->h2d > 0))
        return sr_raise(err, SR_INVALID, "a limit of %s, and the profile has no device", l->vram ? "VRAM" : "the bus");
    if (l->vram > p->dev.vram)
        return above("GB of VRAM", (double)l->vram * GB, (double)p->dev.vram * GB, err);
    if (l->h2d > p->dev.h2d)
        return above("a bus in GB/s", l->h2d * GB, p->dev.h2d * GB, err);
    if (l->ram > p->host.ram)
        return above("GB of RAM", (double)l->ram * GB, (double)p->host.ram * GB, err);
    if (p->host.nvme > 0 && l->nvme > p->host.nvme)
        return above("a disk in GB/s", l->nvme * GB, p->host.nvme * GB, err);
    if (l->threads > p->host.cores)
        return above("threads", l->threads, p->host.cores, err);
    return SR_OK;
}

/* No points beyond `most`; the last one is there.  flat: what lies before the first point is as that, not in proportion. */
static void cut(sr_curve *c, uint32_t most, bool flat)
{
    if (!c->n || c->p[c->n - 1].at <= most)
        return;
    double v = sr_curve_threads(c, flat ? SR_MAX(most, c->p[0].at) : most);
    while (c->n && c->p[c->n - 1].at >= most)
        c->n--;
    sr_curve_put(c, most, v);
}

/* Figures of all threads become those of fewer, as the nearest curve over threads has them. */
static void fewer_rows(sr_curves *rows, const sr_curves *gemv, uint32_t all, uint32_t now)
{
    for (uint32_t i = 0; i < rows->n; i++) {
        const sr_curve *of = &gemv->c[0];
        for (uint32_t k = 0; k < gemv->n; k++)
            of = gemv->c[k].format == rows->c[i].format ? &gemv->c[k] : of;
        double keeps = gemv->n ? sr_curve_threads(of, now) / sr_curve_threads(of, all) : (double)now / all;
        for (uint32_t k = 0; k < rows->c[i].n; k++)
            rows->c[i].p[k].v *= keeps;
    }
}

static void fewer_threads(sr_profile *p, uint32_t now)
{
    uint32_t   all     = p->host.cores;
    sr_curves *over[]  = {&p->host.gemv, &p->host.gemm, &p->host.gemv_f32, &p->host.gemm_f32};
    sr_curve  *beside[] = {&p->together.by_cpu, &p->together.by_read, &p->together.by_alone};
    fewer_rows(&p->host.rows, &p->host.gemv, all, now);
    fewer_rows(&p->host.rows_f32, &p->host.gemv_f32, all, now);
    fewer_rows(&p->together.rows, &p->host.gemv, all, now);
    p->host.kv *= sr_curve_threads(&p->host.dram, now) / sr_curve_threads(&p->host.dram, all);
    p->host.attn *= (double)now / all;
    p->host.cores = now;
    cut(&p->host.dram, now, false);
    for (size_t i = 0; i < SR_COUNT(over); i++)
        for (uint32_t k = 0; k < over[i]->n; k++)
            cut(&over[i]->c[k], now, false);
    for (size_t i = 0; i < SR_COUNT(beside); i++)
        cut(beside[i], now, false);
    cut(&p->together.by_h2d, now, true);
    if (now >= p->together.threads)
        return;
    p->together.cpu     = p->together.by_cpu.n ? sr_curve_threads(&p->together.by_cpu, now) : p->together.cpu * now / p->together.threads;
    p->together.h2d     = p->together.by_h2d.n ? sr_curve_threads(&p->together.by_h2d, SR_MAX(now, p->together.by_h2d.p[0].at)) : p->together.h2d;
    p->together.threads = now;
}

/* What both have while the other reads, by the plan's own rule. */
static void slower_bus(sr_profile *p, double h2d)
{
    double   faster = h2d / p->dev.h2d;
    sr_hw    h;
    sr_curve cpu = p->together.by_cpu, *dram = &p->host.dram;
    if (dram->n && p->together.threads) /* all that was read at once is the memory's; with the slower bus both sides may get less of it */
        dram->p[dram->n - 1].v = SR_MAX(dram->p[dram->n - 1].v, p->together.h2d + p->together.cpu);
    for (uint32_t i = 0; i < cpu.n && p->together.by_h2d.n; i++) {
        sr_profile_hw(p, cpu.p[i].at, &h);
        sr_plan_bus(&h, h2d);
        cpu.p[i].v = h.cpu_beside;
    }
    if (p->together.threads) {
        sr_profile_hw(p, p->together.threads, &h);
        h.cpu_beside = p->together.cpu;
        h.h2d_beside = p->together.h2d;
        sr_plan_bus(&h, h2d);
        p->together.cpu = h.cpu_beside;
        p->together.h2d = h.h2d_beside;
    }
    p->together.by_cpu = cpu;
    for (uint32_t i = 0; i < p->together.by_h2d.n; i++)
        p->together.by_h2d.p[i].v *= faster;
    p->dev.h2d = h2d;
    p->dev.d2h *= faster;
    p->dev.zero_copy *= faster;
}

/* "measured, limited to 14 GB VRAM, bus 6.5 GB/s": whoever reads the profile or a plan of it sees what it is. */
static void note(sr_profile *p, const sr_limits *l)
{
    char        one[5][40] = {{0}}, say[sizeof p->source];
    const char *comma = " ";
    size_t      n     = (size_t)snprintf(say, sizeof say, "%.9s, limited to", p->source);
    if (l->vram)
        snprintf(one[0], sizeof one[0], "%.3g GB VRAM", (double)l->vram * GB);
    if (l->ram)
        snprintf(one[1], sizeof one[1], "%.3g GB RAM", (double)l->ram * GB);
    if (l->h2d > 0)
        snprintf(one[2], sizeof one[2], "bus %.3g GB/s", l->h2d * GB);
    if (l->nvme > 0)
        snprintf(one[3], sizeof one[3], "disk %.3g GB/s", l->nvme * GB);
    if (l->threads)
        snprintf(one[4], sizeof one[4], "%u threads", l->threads);
    for (size_t i = 0; i < SR_COUNT(one) && n < sizeof say; i++)
        if (*one[i]) {
            n += (size_t)snprintf(say + n, sizeof say - n, "%s%s", comma, one[i]);
            comma = ", ";
        }
    snprintf(p->source, sizeof p->source, "%s", say);
}

sr_status sr_profile_limit(sr_profile *p, const sr_limits *l, sr_err *err)
{
    if (check(p, l, err))
        return err->status;
    if (!l->vram && !l->ram && l->h2d <= 0 && l->nvme <= 0 && !l->threads)
        return SR_OK;
    p->dev.vram  = l->vram ? l->vram : p->dev.vram;
    p->host.ram  = l->ram ? l->ram : p->host.ram;
    p->host.nvme = l->nvme > 0 ? l->nvme : p->host.nvme;
    if (l->threads && l->threads < p->host.cores)
        fewer_threads(p, l->threads);
    if (l->h2d > 0)
        slower_bus(p, l->h2d);
    note(p, l);
    return SR_OK;
}

/* ---- activations in f32 -------------------------------------------------------------------------------------------------------- */

/* Weights that are no blocks are multiplied by activations as they are in any case. */
static void put_plain(sr_curves *to, const sr_curves *from)
{
    for (uint32_t i = 0; i < from->n; i++) {
        const sr_dtypeinfo *t = sr_dtype_info(from->c[i].format);
        sr_curve           *c = t && t->block == 1 ? sr_curves_add(to, from->c[i].format) : NULL;
        if (c)
            *c = from->c[i];
    }
}

bool sr_profile_use_f32(sr_profile *p)
{
    if (!p->host.gemv_f32.n || !p->host.gemm_f32.n)
        return false;
    put_plain(&p->host.gemv_f32, &p->host.gemv);
    put_plain(&p->host.gemm_f32, &p->host.gemm);
    put_plain(&p->host.rows_f32, &p->host.rows);
    p->host.gemv       = p->host.gemv_f32;
    p->host.gemm       = p->host.gemm_f32;
    p->host.rows       = p->host.rows_f32;
    p->together.rows.n = 0; /* of int8 products; these are bound by arithmetic, and the memory beside a copy bounds them as one row */
    p->host.gemv_f32.n = p->host.gemm_f32.n = p->host.rows_f32.n = 0;
    return true;
}
