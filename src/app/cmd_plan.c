/* cmd_plan.c - where a model would lie on a machine and how fast it would be, before it is loaded, or the machine bought. */
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "app/machine.h"
#include "app/opt.h"
#include "app/paths.h"
#include "app/plan_emit.h"
#include "app/plan_print.h"
#include "base/mem.h"
#include "weights/profile_as.h"

enum { NO_FIT = 2, CTX_LEAST = 256 };

typedef struct {
    const char *profile, *kv_k, *kv_v, *offload, *ram_format, *transit, *emit, *activations;
    uint64_t    vram, ram;
    float       pcie_gbs, nvme_gbs;
    uint32_t    threads, ctx, parallel, depth;
    sr_optlist  batch;
    bool        cpu_only, no_disk, json;
} options;

static uint16_t kv_format(const char *word) { return strcmp(word, "q8_0") == 0 ? SR_Q8_0 : SR_F16; }

static sr_status get_profile(const options *o, const char *model, sr_profile *p, char *where, size_t cap, sr_err *err)
{
    bool fresh;
    const char *name = o->profile ? o->profile : o->emit ? "t4" : NULL; /* AI Core's GPU */
    if (name)
        return sr_profile_path(name, where, cap, err) ? err->status : sr_profile_read(where, p, err);
    const sr_machineask ask = {.disk_file = strncmp(model, "synth:", 6) == 0 ? NULL : model};
    return sr_machine_get(&ask, p, where, cap, &fresh, err);
}

/* The CPU's products as --cpu-activations asks for them. */
static sr_status make_products(const options *o, sr_profile *p, sr_outlookcfg *c, sr_err *err)
{
    c->f32 = strcmp(o->activations, "f32") == 0;
    if (c->f32 && c->stream)
        return sr_raise(err, SR_INVALID, "--cpu-activations f32 with --offload stream: the CPU multiplies no weights");
    if (c->f32 && !sr_profile_use_f32(p))
        return sr_raise(err, SR_INVALID, "--cpu-activations f32: %s has no figures of such products (host.cpu_gemv_f32_gbs); strata probe measures them", p->name);
    return SR_OK;
}

/* As the engine refuses it. */
static sr_status has_work(const sr_planview *v, sr_err *err)
{
    uint64_t cpu = v->o->hw.vram ? 0 : 1;
    for (uint32_t i = 0; i < v->units->n; i++)
        cpu += v->o->place[i].cpu_hidden;
    return cpu || !v->cfg->f32 ? SR_OK : sr_raise(err, SR_INVALID, "--cpu-activations f32: the CPU multiplies no weights here, %s all", v->cfg->profile->dev.name);
}

/* What lies in RAM beside a device, and whether the CPU takes part. */
static sr_status make_ram(const options *o, const sr_planmodel *m, sr_outlookcfg *c, sr_err *err)
{
    sr_dtype f     = 0;
    bool     coded = strcmp(o->transit, "coded") == 0;
    c->stream = strcmp(o->offload, "stream") == 0;
    if (o->ram_format && !sr_dtype_parse(o->ram_format, &f))
        return sr_raise(err, SR_INVALID, "--ram-format %s is no format", o->ram_format);
    c->ram_format = (uint16_t)f;
    if (coded && (sr_planmodel_code(m, SR_BF16, &c->code_bf16, err) || sr_planmodel_code(m, SR_F16, &c->code_f16, err)))
        return err->status;
    if (coded && c->code_bf16 <= 0 && c->code_f16 <= 0)
        return sr_raise(err, SR_INVALID, "--transit coded is for weights of BF16 and F16; %s has none", m->id);
    return SR_OK;
}

static sr_status make_cfg(const options *o, const sr_planmodel *m, const sr_profile *p, sr_outlookcfg *c, sr_err *err)
{
    *c = (sr_outlookcfg){.profile = p, .cpu_only = o->cpu_only, .no_disk = o->no_disk, .vram = o->vram, .ram = o->ram, .h2d = (double)o->pcie_gbs * 1e9,
                         .nvme = (double)o->nvme_gbs * 1e9, .threads = o->threads, .ctx = o->ctx, .parallel = o->parallel, .depth = o->depth,
                         .kv_k = kv_format(o->kv_k), .kv_v = kv_format(o->kv_v)};
    bool dev = p->dev.arch && !o->cpu_only;
    if (!dev && (o->vram || o->pcie_gbs > 0))
        return sr_raise(err, SR_INVALID, "%s was given, but %s", o->vram ? "--vram" : "--pcie-gbs",
                        o->cpu_only ? "--cpu-only plans without a device" : "the profile has no device");
    if (!dev && (o->ram_format || strcmp(o->transit, "raw") != 0 || strcmp(o->offload, "auto") != 0))
        return sr_raise(err, SR_INVALID, "%s is for weights beside a device, and there is none", o->ram_format ? "--ram-format" :
                        strcmp(o->transit, "raw") != 0 ? "--transit" : "--offload");
    if (make_ram(o, m, c, err))
        return err->status;
    if (o->batch.n > SR_OUTLOOK_ROWS)
        return sr_raise(err, SR_INVALID, "%u batch sizes; at most %d", o->batch.n, SR_OUTLOOK_ROWS);
    for (uint32_t i = 0; i < o->batch.n; i++)
        c->batch[c->n_batch++] = o->batch.v[i];
    return SR_OK;
}

static bool fits(const sr_planview *v, const sr_units *u, const sr_outlookcfg *cfg)
{
    sr_outlookcfg quick = *cfg;
    sr_outlook    o;
    sr_err        ignored = {0};
    quick.quick = true;
    bool ok     = sr_outlook_make(v->model->code, u, &quick, &o, &ignored) == SR_OK;
    sr_outlook_close(&o);
    return ok;
}

/* What would fit this machine: less context, a smaller format, or the same with that much more memory. */
static void find_remedies(sr_planview *v)
{
    sr_outlookcfg less = *v->cfg;
    const sr_mix *mix, *best = NULL;
    uint64_t      most = 0;
    for (less.ctx = v->o->ctx / 2; less.ctx >= CTX_LEAST && !fits(v, v->units, &less); less.ctx /= 2)
        ;
    if (less.ctx >= CTX_LEAST)
        snprintf(v->remedy[v->n_remedy++], sizeof v->remedy[0], "--ctx %u --parallel %u", less.ctx, v->o->parallel);
    for (unsigned i = 0; (mix = sr_mix_at(i)) != NULL; i++) {
        sr_units u;
        sr_err   ignored = {0};
        if (sr_outlook_units(v->model->code, mix, v->cfg, &u, &ignored))
            continue;
        if (u.bytes > most && u.bytes < v->units->bytes && fits(v, &u, v->cfg)) {
            most = u.bytes;
            best = mix;
        }
        sr_units_close(&u);
    }
    if (best)
        snprintf(v->remedy[v->n_remedy++], sizeof v->remedy[0], "weights as %s, %.2f GB", best->name, (double)most * 1e-9);
    uint64_t lack = v->o->sum.vram_short + v->o->sum.ram_short;
    less = *v->cfg;
    less.ram = v->o->hw.ram + lack + lack / 8;
    if (fits(v, v->units, &less))
        snprintf(v->remedy[v->n_remedy++], sizeof v->remedy[0], "%.1f GB more RAM", (double)(less.ram - v->o->hw.ram) * 1e-9);
}

static void show(const options *o, const sr_planview *v)
{
    if (!o->json) {
        sr_plan_print(v);
        return;
    }
    sr_buf   text = {0};
    sr_jsonw w    = {.out = &text, .indent = 2};
    sr_plan_json(v, &w);
    printf("%s\n", text.p ? text.p : "{}");
    sr_buf_end(&text);
}

static sr_status emit(const options *o, const sr_planmodel *m, const char *spec, const sr_units *u, const sr_outlookcfg *cfg, int *rc, sr_err *err)
{
    const sr_emitwords words = {o->offload, o->ram_format, o->transit, o->kv_k, o->kv_v, o->activations};
    bool fits = false;
    if (o->json)
        return sr_raise(err, SR_INVALID, "--json and --emit exclude each other");
    if (!cfg->cpu_only && !cfg->profile->dev.arch)
        return sr_raise(err, SR_INVALID, "--emit %s: the profile has no device; --cpu-only plans without one", o->emit);
    sr_status s = sr_plan_emit_aicore(m, spec, u, cfg, &words, &fits, err);
    *rc = fits ? 0 : NO_FIT;
    return s;
}

static sr_status plan(const options *o, const char *spec, int *rc, sr_err *err)
{
    static sr_profile profile; /* 30 KB */
    sr_planmodel      model = {0};
    sr_units          units = {0};
    sr_outlookcfg     cfg;
    sr_outlook        out = {0};
    char              where[4200] = "", why[480];
    sr_planview       v = {.model = &model, .units = &units, .cfg = &cfg, .o = &out, .profile_file = where};
    sr_err            no = {0};
    if (sr_planmodel_open(spec, &model, err) || get_profile(o, spec, &profile, where, sizeof where, err) || make_cfg(o, &model, &profile, &cfg, err) ||
        make_products(o, &profile, &cfg, err) || sr_outlook_units(model.code, NULL, &cfg, &units, err))
        goto done;
    if (o->emit) {
        (void)!emit(o, &model, spec, &units, &cfg, rc, err);
        goto done;
    }
    if (sr_outlook_make(model.code, &units, &cfg, &out, &no) == SR_NOMEM && out.sum.vram_short + out.sum.ram_short) {
        snprintf(why, sizeof why, "does not fit: %.3f GB too little, with %.3f GB of VRAM and %.3f GB of RAM",
                 (double)(out.sum.vram_short + out.sum.ram_short) * 1e-9, (double)out.hw.vram * 1e-9, (double)out.hw.ram * 1e-9);
        v.shortage = why;
        find_remedies(&v);
        *rc = NO_FIT;
    } else if (no.status) {
        sr_raise(err, no.status, "%s", no.msg);
        goto done;
    } else if (has_work(&v, err)) {
        goto done;
    }
    if (sr_outlook_changes(model.code, &units, &cfg, v.change, &v.n_change, err) == SR_OK)
        show(o, &v);
done:
    sr_outlook_close(&out);
    sr_units_close(&units);
    sr_planmodel_close(&model);
    return err->status;
}

int sr_cmd_plan(int argc, char **argv)
{
    options      o     = {.kv_k = "f16", .kv_v = "f16", .offload = "auto", .transit = "raw", .activations = "int8", .parallel = 1, .depth = 512, .batch = {{1, 8, 32}, 3}};
    const sr_opt opt[] = {
        SR_O_STR("profile", 'P', o.profile, "NAME", "machine to plan for: t4, rtx3060, rtx3090, h200 or a file of strata probe; without it, this one"),
        SR_O_BYTES("vram", 0, o.vram, "SIZE", "device memory to use, as 14G; without it, all but what a driver takes", 1e6, 1e14),
        SR_O_BYTES("ram", 0, o.ram, "SIZE", "memory of the host to use, as 40G; without it, all but 2 GB, or an eighth", 1e6, 1e15),
        SR_O_REAL("pcie-gbs", 0, o.pcie_gbs, "X", "copies to the device, GB/s, instead of the profile's", 0, 10000),
        SR_O_REAL("nvme-gbs", 0, o.nvme_gbs, "X", "reads of the disk, GB/s, instead of the profile's", 0, 10000),
        SR_O_FLAG("no-disk", 0, o.no_disk, "no weights may stay on the disk"),
        SR_O_CHOICE("offload", 0, o.offload, "auto|stream", "weights that do not fit the device: divided between bus and CPU, or streamed to it in every step"),
        SR_O_CHOICE("ram-format", 0, o.ram_format, "q8_0|q6_k|q5_k|q4_k|q4_0", "weights in RAM beside a device are no larger than in this format"),
        SR_O_CHOICE("transit", 0, o.transit, "raw|coded", "weights of BF16 and F16 in RAM beside a device: as they are, or coded without loss"),
        SR_O_UINT("cpu-threads", 't', o.threads, "N", "CPU threads; without it, all; beside a device of fewer than 8 one less", 1, 1024),
        SR_O_CHOICE("cpu-activations", 0, o.activations, "int8|f32", "what the CPU multiplies quantised weights by; f32 needs a profile of strata probe"),
        SR_O_FLAG("cpu-only", 0, o.cpu_only, "as if there were no device"),
        SR_O_UINT("ctx", 'c', o.ctx, "N", "longest sequence in tokens; without it, what the model was trained for, at most 8192", 16, 1 << 24),
        SR_O_UINT("parallel", 0, o.parallel, "N", "sequences of that length at once", 1, 4096),
        SR_O_LIST("batch", 'b', o.batch, "N,N", "sequences in a step, to predict decoding for", 1, 4096),
        SR_O_UINT("depth", 'd', o.depth, "N", "tokens of context that each of them has", 0, 1 << 24),
        SR_O_CHOICE("cache-type-k", 0, o.kv_k, "f16|q8_0", "format of the keys in the KV cache"),
        SR_O_CHOICE("cache-type-v", 0, o.kv_v, "f16|q8_0", "format of the values in the KV cache"),
        SR_O_FLAG("json", 0, o.json, "as JSON"),
        SR_O_CHOICE("emit", 0, o.emit, "aicore", "as a ServingTemplate for SAP AI Core, for the smallest of its resource plans that holds the model; profile t4, unless --profile says else"),
    };
    const sr_optspec spec = {"plan", "MODEL",
                             "Predict where a model's weights would lie on a machine, how fast it would answer and what limits it. MODEL is a GGUF "
                             "file, or synth:SHAPE:FORMAT for one that is not there.",
                             opt, SR_COUNT(opt), .min_operands = 1, .max_operands = 1,
                             .more = "Exit status 2: it does not fit; what would is printed.\n\n"
                                     "examples:\n  strata plan model.gguf\n  strata plan synth:70b:Q4_K_M --profile t4 --vram 14G --batch 1,8\n"
                                     "  strata plan synth:8b:Q8_0 --profile rtx3060 --ctx 16384 --json\n"
                                     "  strata plan model.gguf --parallel 8 --emit aicore > serving-template.yaml\n"};
    sr_err err = {0};
    int    rc  = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    rc = 0;
    if (plan(&o, argv[1], &rc, &err) == SR_OK)
        return rc;
    fprintf(stderr, "strata plan: %s\n", err.msg);
    return 1;
}
