#include "weights/profile_fields.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "ops/quant/quant.h"

#define AT(m) offsetof(sr_profile, m)
#define STR(name, need, m) {name, SR_PF_STR, need, AT(m), sizeof ((sr_profile *)0)->m, 1, 0, 0}
#define U32(name, need, m, lo, hi) {name, SR_PF_U32, need, AT(m), 0, 1, lo, hi}
#define U64(name, need, m, lo, hi) {name, SR_PF_U64, need, AT(m), 0, 1, lo, hi}
#define NUM(name, need, m, unit, lo, hi) {name, SR_PF_NUM, need, AT(m), 0, unit, lo, hi}
#define GBS(name, need, m) NUM(name, need, m, 1e9, 1e-3, 1e5)
#define CURVE_OF(name, need, m, unit) {name, SR_PF_CURVE, need, AT(m), 0, unit, 1e-3, 1e5}
#define CURVE(name, need, m) CURVE_OF(name, need, m, 1e9)
#define CURVES(name, need, m, unit) {name, SR_PF_CURVES, need, AT(m), 0, unit, 1e-6, 1e6}

static const sr_pfield top[] = {
    STR("name", true, name), STR("source", true, source), STR("date", true, date), STR("reference", false, reference),
};
static const sr_pfield device[] = {
    STR("name", true, dev.name), STR("driver", false, dev.driver), U32("arch", true, dev.arch, 1, 9999), U32("units", false, dev.units, 1, 65536),
    U64("vram_bytes", true, dev.vram, 1e6, 1e14), GBS("dev_read_gbs", true, dev.read), GBS("copy_gbs", false, dev.copy),
    NUM("f16_tflops", false, dev.f16, 1e12, 1e-3, 1e6), NUM("int8_tops", false, dev.int8, 1e12, 1e-3, 1e6),
    GBS("h2d_gbs", true, dev.h2d), GBS("d2h_gbs", false, dev.d2h), GBS("zero_copy_gbs", false, dev.zero_copy), GBS("kv_read_gbs", false, dev.kv),
    NUM("attn_tflops", false, dev.attn, 1e12, 1e-5, 1e6),
    NUM("op_us", false, dev.op, 1e-6, 0, 1e5), NUM("sync_us", false, dev.sync, 1e-6, 0, 1e5), CURVES("gemv_gbs", false, dev.gemv, 1e9),
    CURVES("gemm_tflops", true, dev.gemm, 1e12), CURVE_OF("gemm_2048_tflops", false, dev.by_size[0], 1e12), CURVE_OF("gemm_4096_tflops", false, dev.by_size[1], 1e12),
    CURVE_OF("gemm_8192_tflops", false, dev.by_size[2], 1e12), CURVE_OF("attn_by_tokens_tflops", false, dev.by_tokens, 1e12),
    CURVE("gemv_4096_gbs", false, dev.small),
};
static const sr_pfield together[] = {
    GBS("h2d_gbs", true, together.h2d), GBS("cpu_gbs", true, together.cpu), U32("threads", true, together.threads, 1, 4096),
    CURVE("h2d_by_threads_gbs", false, together.by_h2d), CURVE("cpu_by_threads_gbs", false, together.by_cpu),
    CURVE("read_by_threads_gbs", false, together.by_read), CURVE("alone_by_threads_gbs", false, together.by_alone),
    CURVES("cpu_rows_gbs", false, together.rows, 1e9),
};
static const sr_pfield host[] = {
    STR("cpu", true, host.name), STR("isa", false, host.isa), U32("cores", true, host.cores, 1, 4096), U64("ram_bytes", true, host.ram, 1e6, 1e15),
    CURVE("dram_read_gbs", true, host.dram), CURVES("cpu_gemv_gbs", true, host.gemv, 1e9), CURVES("cpu_rows_gbs", false, host.rows, 1e9),
    CURVES("cpu_gemm_gflops", true, host.gemm, 1e9), CURVES("cpu_gemv_f32_gbs", false, host.gemv_f32, 1e9), CURVES("cpu_rows_f32_gbs", false, host.rows_f32, 1e9),
    CURVES("cpu_gemm_f32_gflops", false, host.gemm_f32, 1e9), GBS("cpu_kv_read_gbs", false, host.kv),
    NUM("cpu_attn_gflops", false, host.attn, 1e9, 1e-3, 1e6), NUM("cpu_op_us", false, host.op, 1e-6, 0, 1e5),
    GBS("nvme_read_gbs", false, host.nvme), STR("disk", false, host.disk),
};
const sr_psection sr_profile_section[SR_PSECTIONS] = {
    {"", top, SR_COUNT(top), true}, {"device", device, SR_COUNT(device), false}, {"together", together, SR_COUNT(together), false},
    {"host", host, SR_COUNT(host), true},
};

/* ---- writing ------------------------------------------------------------------------------------------------- */

static void write_curve(sr_jsonw *w, const char *key, const sr_curve *c, double scale)
{
    char at[16];
    sr_json_obj(w, key);
    for (uint32_t i = 0; i < c->n; i++) {
        snprintf(at, sizeof at, "%u", c->p[i].at);
        sr_json_f32(w, at, (float)(c->p[i].v / scale));
    }
    sr_json_end(w);
}

static void write_curves(sr_jsonw *w, const char *key, const sr_curves *c, double scale)
{
    if (!c->n)
        return;
    sr_json_obj(w, key);
    for (uint32_t i = 0; i < c->n; i++)
        write_curve(w, sr_dtype_name(c->c[i].format), &c->c[i], scale);
    sr_json_end(w);
}

/* Absent fields are those that hold nothing. */
static void write_field(sr_jsonw *w, const sr_profile *p, const sr_pfield *f)
{
    const void *at = (const char *)p + f->at;
    uint64_t    u  = f->kind == SR_PF_U32 ? *(const uint32_t *)at : f->kind == SR_PF_U64 ? *(const uint64_t *)at : 0;
    switch (f->kind) {
    case SR_PF_STR:
        if (*(const char *)at)
            sr_json_str(w, f->name, at);
        return;
    case SR_PF_U32:
    case SR_PF_U64:
        if (u)
            sr_json_uint(w, f->name, u);
        return;
    case SR_PF_NUM:
        if (*(const double *)at > 0)
            sr_json_f32(w, f->name, (float)(*(const double *)at / f->scale));
        return;
    case SR_PF_CURVE:
        if (f->needed || ((const sr_curve *)at)->n)
            write_curve(w, f->name, at, f->scale);
        return;
    case SR_PF_CURVES:
        write_curves(w, f->name, at, f->scale);
        return;
    }
}

void sr_profile_write(const sr_profile *p, sr_buf *out)
{
    sr_jsonw w = {.out = out, .indent = 2};
    sr_json_obj(&w, NULL);
    sr_json_uint(&w, "profile", SR_PROFILE_VERSION);
    for (int s = 0; s < SR_PSECTIONS; s++) {
        const sr_psection *k = &sr_profile_section[s];
        if ((k->field == device && !p->dev.arch) || (k->field == together && !p->together.threads))
            continue;
        if (*k->name)
            sr_json_obj(&w, k->name);
        for (size_t i = 0; i < k->n; i++)
            write_field(&w, p, &k->field[i]);
        if (*k->name)
            sr_json_end(&w);
    }
    sr_json_end(&w);
    sr_buf_char(out, '\n');
}

sr_status sr_profile_check(const sr_profile *p, sr_err *err)
{
    char shown[64];
    if (strncmp(p->source, "measured", 8) != 0 && strncmp(p->source, "estimated", 9) != 0)
        return sr_raise(err, SR_INVALID, "source is \"%s\"; it must begin with measured or estimated",
                        sr_escape(shown, sizeof shown, p->source, strlen(p->source)));
    if (p->source[0] == 'e' && !*p->reference)
        return sr_raise(err, SR_INVALID, "reference is missing; estimated figures say where they come from");
    if (p->together.threads && !p->dev.arch)
        return sr_raise(err, SR_INVALID, "together is given without a device");
    return SR_OK;
}

/* ---- curves -------------------------------------------------------------------------------------------------- */

void sr_curve_put(sr_curve *c, uint32_t at, double v)
{
    uint32_t i = c->n;
    if (c->n >= SR_CURVE_POINTS)
        return;
    for (; i > 0 && c->p[i - 1].at > at; i--)
        c->p[i] = c->p[i - 1];
    c->p[i] = (sr_curvepoint){at, v};
    c->n++;
}

sr_curve *sr_curves_add(sr_curves *c, uint32_t format)
{
    if (c->n >= SR_CURVES)
        return NULL;
    c->c[c->n] = (sr_curve){.format = format};
    return &c->c[c->n++];
}

/* The points around `x` and the share of the second one. */
static double between(const sr_curve *c, double x, uint32_t *i)
{
    for (*i = 0; *i + 1 < c->n && c->p[*i + 1].at < x; ++*i)
        ;
    if (*i + 1 >= c->n || x <= c->p[*i].at)
        return 0;
    return (x - c->p[*i].at) / ((double)c->p[*i + 1].at - c->p[*i].at);
}

double sr_curve_threads(const sr_curve *c, uint32_t threads)
{
    uint32_t i;
    double   share = between(c, threads, &i);
    if (!c->n)
        return 0;
    if (threads < c->p[0].at)
        return c->p[0].v * threads / c->p[0].at;
    return share > 0 ? c->p[i].v * (1 - share) + c->p[i + 1].v * share : c->p[i].v;
}

double sr_curve_rows(const sr_curve *c, uint32_t rows)
{
    uint32_t i;
    double   share = between(c, rows, &i);
    if (!c->n)
        return 0;
    return share > 0 ? 1 / ((1 - share) / c->p[i].v + share / c->p[i + 1].v) : c->p[i].v;
}

static double bits(uint32_t format)
{
    const sr_dtypeinfo *t = sr_dtype_info(format);
    return t ? 8.0 * t->bytes / t->block : 16;
}

static const sr_curve *nearest(const sr_curves *c, uint32_t format)
{
    const sr_curve *best = NULL;
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->c[i].format == format)
            return &c->c[i];
        if (!best || fabs(bits(c->c[i].format) - bits(format)) < fabs(bits(best->format) - bits(format)))
            best = &c->c[i];
    }
    return best;
}

uint32_t sr_profile_borrowed(const sr_profile *p, bool dev, uint32_t format)
{
    const sr_curve *c = nearest(!dev ? &p->host.gemv : p->dev.gemv.n ? &p->dev.gemv : &p->dev.gemm, format);
    return c ? c->format : format;
}

/* ---- for the plan -------------------------------------------------------------------------------------------- */

static uint32_t threads_of(const sr_profile *p, uint32_t threads) { return threads ? threads : p->host.cores; }

/* What whole passes over a model's weights leave of the rate of the fastest pieces: the memory of a host with neighbours is not always as fast. */
static double going_on(const sr_profile *p, uint32_t threads)
{
    const sr_curve *c = nearest(&p->host.gemv, SR_Q4_K);
    return p->together.by_alone.n && c ? SR_MIN(sr_curve_threads(&p->together.by_alone, threads) / sr_curve_threads(c, threads), 1) : 1;
}

/* sm_90's kernels do: chained or, of more rows, fed (ops/linear/chain.h). */
bool sr_profile_joins(const sr_profile *p) { return p->dev.arch == 90; }

/* Numbers of a weight that the device's curves over few rows are of: in every format, and the smaller one in Q4_K. */
static const double LARGE = 4096.0 * 14336, SMALL = 4096.0 * 4096;

bool sr_profile_ends(const sr_profile *p, uint32_t tokens, double *s)
{
    const double    bytes = SMALL / 256 * 144, times = LARGE / SMALL;
    const sr_curve *large = nearest(&p->dev.gemv, SR_Q4_K), *many = nearest(&p->dev.gemm, SR_Q4_K);
    *s = 0;
    if (!p->dev.small.n || !large || large->format != SR_Q4_K || (many && tokens >= many->p[0].at))
        return false;
    double one = bytes / sr_curve_rows(&p->dev.small, tokens), more = times * bytes / sr_curve_rows(large, tokens);
    *s         = SR_MIN(SR_MAX((times * one - more) / (times - 1), 0), one);
    return true;
}

/* Without a product's ends; these are no more than half of it. */
static double read_alone(const sr_profile *p, const sr_curve *c, uint32_t tokens)
{
    double bytes = LARGE * bits(c->format) / 8, s = bytes / sr_curve_rows(c, tokens), ends;
    (void)sr_profile_ends(p, tokens, &ends);
    return bytes / SR_MAX(s - ends, s / 2);
}

/* What the CPU reads in a step of so many rows.  Over threads the rate of several rows is taken to fall as that of one. */
static double cpu_read(const sr_profile *p, uint32_t threads, uint32_t format, uint32_t tokens)
{
    const sr_curve *one = nearest(&p->host.gemv, format), *rows = nearest(&p->host.rows, format);
    if (!one)
        return 0;
    double most = sr_curve_threads(one, threads) * going_on(p, threads); /* of memory; what is bound by arithmetic does not mind */
    if (tokens < 2 || !rows)
        return most;
    return SR_MIN(most, sr_curve_rows(rows, tokens) * sr_curve_threads(one, threads) / sr_curve_threads(one, p->host.cores));
}

/* The same while a copy goes on, and goes on: what was seen of the nearest format and number of rows, against the fastest pieces of it alone.  One
 * row is bound by the memory, which a plan divides itself. */
static double cpu_beside(const sr_profile *p, uint32_t format, uint32_t tokens, double alone)
{
    const sr_curve *both = nearest(&p->together.rows, format), *rows = both ? nearest(&p->host.rows, both->format) : NULL;
    if (tokens < 2 || !rows || rows->format != both->format)
        return 0;
    double keeps = SR_MIN(sr_curve_rows(both, tokens) / sr_curve_rows(rows, SR_MAX(both->p[0].at, SR_MIN(tokens, both->p[both->n - 1].at))), 1);
    return alone * keeps;
}

sr_formatrates sr_profile_rates(const sr_profile *p, uint32_t threads, uint32_t format, uint32_t tokens)
{
    sr_formatrates  r = {0};
    uint32_t        t = threads_of(p, threads);
    const sr_curve *c;
    if (p->dev.arch && (c = nearest(&p->dev.gemv, format)) != NULL)
        r.dev_read = read_alone(p, c, tokens);
    if (p->dev.arch && (c = nearest(&p->dev.gemm, format)) != NULL && (tokens >= c->p[0].at || r.dev_read <= 0)) /* below, gemv says it all */
        r.dev_flops = sr_curve_rows(c, tokens);
    r.cpu_read   = cpu_read(p, t, format, tokens);
    r.cpu_beside = cpu_beside(p, format, tokens, r.cpu_read);
    if ((c = nearest(&p->host.gemm, format)) != NULL)
        r.cpu_flops = sr_curve_threads(c, t);
    return r;
}

/* In time a product, over the logarithm of its size. */
double sr_profile_size(const sr_profile *p, double params, uint32_t rows)
{
    static const double at[] = {2048.0 * 2048, 4096.0 * 4096, 4096.0 * 14336, 8192.0 * 28672};
    const sr_curve     *mid  = nearest(&p->dev.gemm, SR_Q4_K), *c[] = {&p->dev.by_size[0], &p->dev.by_size[1], mid, &p->dev.by_size[2]};
    double              before = 0, left = 0;
    if (!mid)
        return 1;
    for (size_t i = 0; i < SR_COUNT(at); i++) {
        if (!c[i]->n)
            continue;
        double v = sr_curve_rows(c[i], rows) / sr_curve_rows(mid, rows);
        if (params <= at[i]) {
            double x = before > 0 ? log(params / before) / log(at[i] / before) : 1;
            return before > 0 ? 1 / ((1 - x) / left + x / v) : v;
        }
        before = at[i];
        left   = v;
    }
    return left;
}

double sr_profile_attn(const sr_profile *p, uint32_t tokens) { return p->dev.by_tokens.n ? sr_curve_rows(&p->dev.by_tokens, tokens) : p->dev.attn; }

static double fastest(const sr_curves *c, double (*of)(const sr_curve *, uint32_t), uint32_t at)
{
    double v = 0;
    for (uint32_t i = 0; i < c->n; i++)
        v = SR_MAX(v, of(&c->c[i], at));
    return v;
}

/* Both at a time, as measured over threads.  Where that was not measured, 0: the plan divides the memory itself. */
static void beside(const sr_profile *p, uint32_t t, sr_hw *h)
{
    if (!p->together.by_cpu.n || !p->together.by_h2d.n)
        return;
    h->cpu_beside = sr_curve_threads(&p->together.by_cpu, t);
    h->h2d_beside = sr_curve_threads(&p->together.by_h2d, SR_MAX(t, p->together.by_h2d.p[0].at)); /* fewer threads than measured slow no copy down */
}

void sr_profile_hw(const sr_profile *p, uint32_t threads, sr_hw *h)
{
    uint32_t t = threads_of(p, threads);
    *h = (sr_hw){.vram = p->dev.arch ? p->dev.vram : 0, .ram = p->host.ram, .dev_read = p->dev.read, .h2d = p->dev.h2d, .zero_copy = p->dev.zero_copy,
                 .cpu_read = fastest(&p->host.gemv, sr_curve_threads, t), .cpu_flops = fastest(&p->host.gemm, sr_curve_threads, t),
                 .dev_flops = fastest(&p->dev.gemm, sr_curve_rows, 2048), .nvme_read = p->host.nvme, .sync = p->dev.sync, .dev_op = p->dev.op,
                 .cpu_op = p->host.op, .dev_kv = p->dev.kv, .cpu_kv = p->host.kv, .dev_copy = p->dev.copy};
    h->cpu_read *= going_on(p, t);
    beside(p, t, h);
    /* All readers of host memory together: what all threads read, or what CPU and copy were seen to read at the same time. */
    h->dram_read = SR_MAX(sr_curve_threads(&p->host.dram, p->host.cores), p->together.h2d + p->together.cpu);
    h->dram_read = SR_MAX(h->dram_read, h->cpu_read);
}
