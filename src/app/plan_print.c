#include "app/plan_print.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define GB 1e-9

static const char *const tiers[] = {[SR_WT_DEVICE] = "VRAM", [SR_WT_PINNED] = "RAM, page-locked", [SR_WT_MAPPED] = "RAM, as mapped", [SR_WT_NVME] = "disk"};
static const char *const tier_keys[] = {[SR_WT_DEVICE] = "vram", [SR_WT_PINNED] = "ram_pinned", [SR_WT_MAPPED] = "ram_mapped", [SR_WT_NVME] = "nvme"};
static const char *const kinds[] = {[SR_UNIT_ATTN] = "attention", [SR_UNIT_HEAD] = "head", [SR_UNIT_FFN] = "feed-forward", [SR_UNIT_EMBED] = "embedding"};
static const char *const kind_keys[] = {[SR_UNIT_ATTN] = "attention", [SR_UNIT_HEAD] = "head", [SR_UNIT_FFN] = "feed_forward", [SR_UNIT_EMBED] = "embedding"};

static uint32_t count(const sr_planview *v, uint32_t tier, uint32_t kind)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->units->n; i++)
        n += v->o->place[i].tier == tier && v->units->u[i].kind == kind && v->units->u[i].bytes;
    return n;
}

/* Of the feed-forwards that lie in RAM, what the CPU computes in small steps. */
static double cpu_share(const sr_planview *v)
{
    uint64_t all = 0, cpu = 0;
    for (uint32_t i = 0; i < v->units->n; i++)
        if (v->o->place[i].tier == SR_WT_PINNED && v->units->u[i].hidden) {
            all += v->units->u[i].hidden;
            cpu += v->o->place[i].cpu_hidden;
        }
    return all ? (double)cpu / (double)all : 0;
}

const sr_change *sr_plan_best(const sr_planview *v)
{
    const sr_change *best = NULL;
    double           now  = v->shortage || !v->o->n_row ? 0 : v->o->row[0].tok_s;
    for (uint32_t i = 0; i < v->n_change; i++)
        if (v->change[i].tok_s > now * 1.01 && (!best || v->change[i].tok_s > best->tok_s))
            best = &v->change[i];
    return best;
}

/* ---- for people ------------------------------------------------------------------------------------------------- */

/* Formats without figures of their own, once each. */
static void print_borrowed(const sr_planview *v, bool device)
{
    uint64_t told = 0;
    for (uint32_t i = 0; i < v->units->n * SR_UNIT_FORMATS; i++) {
        const sr_unitpart *part = &v->units->part[i / SR_UNIT_FORMATS][i % SR_UNIT_FORMATS];
        uint32_t           as   = part->bytes ? sr_profile_borrowed(v->cfg->profile, device, part->format) : part->format;
        if (as != part->format && part->format < 64 && !(told >> part->format & 1)) {
            printf("  no figures of this %s for %s: those of %s are taken\n", device ? "device" : "CPU", sr_dtype_name(part->format), sr_dtype_name(as));
            told |= 1ull << part->format;
        }
    }
}

static void print_head(const sr_planview *v)
{
    const sr_profile *p = v->cfg->profile;
    const sr_outlook *o = v->o;
    const sr_hparams *h = &v->model->code->hp;
    printf("%s: %s, %u layers of %u, %.2f GB of weights\n", v->model->id, h->arch->name, h->n_layer, h->n_embd, (double)v->model->bytes * GB);
    printf("%s (%s, %s): ", p->name, p->source, p->date);
    if (o->hw.vram)
        printf("%s with %.1f GB, bus %.1f GB/s; ", p->dev.name, (double)o->hw.vram * GB, o->hw.h2d * GB);
    printf("%u CPU threads%s, %.1f GB of RAM at %.1f GB/s\n", o->threads, v->cfg->f32 ? " (activations in f32)" : "", (double)o->hw.ram * GB,
           o->hw.dram_read * GB);
    if (o->hw.vram)
        print_borrowed(v, true);
    if (!o->hw.vram || o->sum.bytes[SR_WT_DEVICE] < o->weights)
        print_borrowed(v, false);
    putchar('\n');
}

static void print_tiers(const sr_planview *v)
{
    const sr_outlook *o = v->o;
    for (uint32_t t = 0; t < 4; t++) {
        const char *comma = "";
        if (!o->sum.bytes[t])
            continue;
        printf("  %-18s %8.2f GB  ", tiers[t], (double)o->sum.bytes[t] * GB);
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t n = count(v, t, k);
            if (n == 1)
                printf("%s%s", comma, kinds[k]);
            else if (n)
                printf("%s%u x %s", comma, n, kinds[k]);
            comma = n ? ", " : comma;
        }
        putchar('\n');
    }
    if (o->ram_now)
        printf("    %-16s %8.2f GB  %s, of what takes %.2f in the file\n", "as it lies there", (double)o->ram_now * GB,
               v->cfg->ram_format ? sr_dtype_name(v->cfg->ram_format) : "coded", (double)o->ram_before * GB);
    printf("  %-18s %8.2f GB  %u x %u tokens, %.1f kB each (K %s, V %s)\n", "KV", (double)o->kv * GB, o->parallel, o->ctx, (double)o->kv_token * 1e-3,
           sr_dtype_name(v->cfg->kv_k), sr_dtype_name(v->cfg->kv_v));
    printf("  %-18s %8.2f GB  steps of up to %u tokens\n", "activations", (double)(o->scratch + o->vectors) * GB, o->chunk);
    if (o->sum.n_slots)
        printf("  %-18s %8.2f GB  %u of %.2f GB, for weights that come in\n", "slots", (double)(o->sum.n_slots * o->sum.slot_bytes) * GB, o->sum.n_slots,
               (double)o->sum.slot_bytes * GB);
    if (o->reserve)
        printf("  %-18s %8.2f GB\n", "left to the driver", (double)o->reserve * GB);
    if (o->hw.vram)
        printf("  %-18s %8.2f GB  of %.2f\n", "VRAM used", (double)o->sum.vram_used * GB, (double)o->hw.vram * GB);
    printf("  %-18s %8.2f GB  of %.2f\n\n", "RAM used", (double)o->sum.ram_used * GB, (double)o->hw.ram * GB);
}

static void print_rows(const sr_planview *v)
{
    const sr_outlook *o     = v->o;
    double            share = cpu_share(v);
    printf("decode with %u tokens of context each:\n  %6s %10s %10s %10s\n", v->cfg->depth, "batch", "tok/s", "each", "step ms");
    for (uint32_t i = 0; i < o->n_row; i++) {
        const sr_outrow *r = &o->row[i];
        if (!r->fits)
            printf("  %6u %10s  its K and V do not fit\n", r->batch, "-");
        else
            printf("  %6u %10.1f %10.2f %10.2f%s\n", r->batch, r->tok_s, r->tok_s / r->batch, r->cost.s * 1e3,
                   r->moved ? "  with more weights outside, for its K and V" : "");
    }
    if (share > 0)
        printf("  the CPU computes %.0f %% of the feed-forwards in RAM, in steps of up to 8 tokens\n", share * 100);
    for (uint32_t i = 0; i < SR_OUTLOOK_PROMPTS; i++)
        printf("prompt of %4u tokens: first token after %.*f s, %.0f tok/s\n", o->prompt[i].tokens, o->prompt[i].first_s < 1 ? 3 : 1, o->prompt[i].first_s,
               o->prompt[i].tok_s);
    printf("\nfits as the weights lie: %u sequences of %u tokens, or %u of %u tokens", o->parallel_most, o->ctx, o->parallel, o->ctx_most);
    if (o->parallel_edge > o->parallel_most || o->ctx_edge > o->ctx_most)
        printf("; with fewer weights there: %u%s, or %u tokens", o->parallel_edge, o->parallel_edge >= 4096 ? " and more" : "", o->ctx_edge);
    printf("\nlimit: %s\n       %s\n", o->limit, o->sum.why);
}

static void print_changes(const sr_planview *v)
{
    const sr_change *best = sr_plan_best(v);
    double           now  = v->shortage || !v->o->n_row ? 0 : v->o->row[0].tok_s;
    printf(v->shortage ? "with one change:\n" : "batch %u with one change:\n", v->cfg->batch[0]);
    for (uint32_t i = 0; i < v->n_change; i++) {
        const sr_change *c = &v->change[i];
        if (c->tok_s <= 0)
            printf("  %10s  %s\n", "no fit", c->what);
        else if (now > 0)
            printf("  %10.1f  %+6.1f %%  %s%s\n", c->tok_s, 100 * (c->tok_s / now - 1), c->what, c == best ? "  <- helps most" : "");
        else
            printf("  %10.1f  %s%s\n", c->tok_s, c->what, c == best ? "  <- helps most" : "");
    }
    if (!best)
        puts(v->shortage ? "  none of them alone makes it fit" : "  none of them helps by more than 1 %");
}

void sr_plan_print(const sr_planview *v)
{
    print_head(v);
    if (!v->shortage) {
        print_tiers(v);
        print_rows(v);
    } else {
        printf("%s\n", v->shortage);
        printf("  weights %.2f GB, KV %.2f GB (%u x %u tokens), activations %.2f GB\n", (double)v->o->weights * GB, (double)v->o->kv * GB, v->o->parallel,
               v->o->ctx, (double)(v->o->scratch + v->o->vectors) * GB);
        for (uint32_t i = 0; i < v->n_remedy; i++)
            printf("would fit: %s\n", v->remedy[i]);
    }
    if (v->n_change)
        print_changes(v);
}

/* ---- for programs ------------------------------------------------------------------------------------------------ */

static void json_tiers(const sr_planview *v, sr_jsonw *w)
{
    sr_json_arr(w, "tiers");
    for (uint32_t t = 0; t < 4; t++) {
        if (!v->o->sum.bytes[t])
            continue;
        sr_json_obj(w, NULL);
        sr_json_str(w, "tier", tier_keys[t]);
        sr_json_uint(w, "bytes", v->o->sum.bytes[t]);
        for (uint32_t k = 0; k < 4; k++)
            sr_json_uint(w, kind_keys[k], count(v, t, k));
        sr_json_end(w);
    }
    sr_json_end(w);
}

static void json_rows(const sr_planview *v, sr_jsonw *w)
{
    const sr_outlook *o = v->o;
    sr_json_arr(w, "decode");
    for (uint32_t i = 0; i < o->n_row; i++) {
        const sr_outrow *r = &o->row[i];
        sr_json_obj(w, NULL);
        sr_json_uint(w, "batch", r->batch);
        sr_json_uint(w, "depth", v->cfg->depth);
        sr_json_bool(w, "fits", r->fits);
        if (r->fits) {
            sr_json_num(w, "tok_s", r->tok_s);
            sr_json_num(w, "step_s", r->cost.s);
            sr_json_bool(w, "weights_moved", r->moved);
            const struct { const char *name; double s; } part[] = {{"device_s", r->cost.device}, {"bus_s", r->cost.bus}, {"cpu_s", r->cost.cpu},
                {"dram_s", r->cost.dram}, {"disk_s", r->cost.disk}, {"kv_s", r->cost.kv}, {"ops_s", r->cost.ops}};
            for (size_t k = 0; k < SR_COUNT(part); k++)
                sr_json_num(w, part[k].name, part[k].s);
        }
        sr_json_end(w);
    }
    sr_json_end(w);
    sr_json_arr(w, "prompts");
    for (uint32_t i = 0; i < SR_OUTLOOK_PROMPTS; i++) {
        sr_json_obj(w, NULL);
        sr_json_uint(w, "tokens", o->prompt[i].tokens);
        sr_json_num(w, "first_token_s", o->prompt[i].first_s);
        sr_json_num(w, "tok_s", o->prompt[i].tok_s);
        sr_json_end(w);
    }
    sr_json_end(w);
}

static void json_fit(const sr_planview *v, sr_jsonw *w)
{
    const sr_outlook *o = v->o;
    json_tiers(v, w);
    sr_json_uint(w, "slots", o->sum.n_slots);
    sr_json_uint(w, "slot_bytes", o->sum.slot_bytes);
    sr_json_uint(w, "vram_used_bytes", o->sum.vram_used);
    sr_json_uint(w, "ram_used_bytes", o->sum.ram_used);
    sr_json_num(w, "cpu_share", cpu_share(v));
    if (o->ram_now) {
        sr_json_str(w, "ram_as", v->cfg->ram_format ? sr_dtype_name(v->cfg->ram_format) : "coded");
        sr_json_uint(w, "ram_as_bytes", o->ram_now);
        sr_json_uint(w, "ram_as_before_bytes", o->ram_before);
    }
    json_rows(v, w);
    sr_json_uint(w, "parallel_most", o->parallel_most);
    sr_json_uint(w, "ctx_most", o->ctx_most);
    sr_json_uint(w, "parallel_edge", o->parallel_edge);
    sr_json_uint(w, "ctx_edge", o->ctx_edge);
    sr_json_str(w, "limit", o->limit);
    sr_json_str(w, "why", o->sum.why);
}

static void json_machine(const sr_planview *v, sr_jsonw *w)
{
    const sr_outlook *o = v->o;
    sr_json_obj(w, "machine");
    sr_json_str(w, "profile", v->cfg->profile->name);
    sr_json_str(w, "file", *v->profile_file ? v->profile_file : NULL);
    sr_json_str(w, "source", v->cfg->profile->source);
    sr_json_str(w, "device", o->hw.vram ? v->cfg->profile->dev.name : NULL);
    sr_json_uint(w, "vram_bytes", o->hw.vram);
    sr_json_uint(w, "ram_bytes", o->hw.ram);
    sr_json_uint(w, "threads", o->threads);
    sr_json_str(w, "cpu_activations", v->cfg->f32 ? "f32" : "int8");
    sr_json_num(w, "h2d_gbs", o->hw.h2d * GB);
    sr_json_num(w, "dram_read_gbs", o->hw.dram_read * GB);
    sr_json_num(w, "nvme_read_gbs", o->hw.nvme_read * GB);
    sr_json_end(w);
}

void sr_plan_json(const sr_planview *v, sr_jsonw *w)
{
    const sr_outlook *o    = v->o;
    const sr_change  *best = sr_plan_best(v);
    sr_json_obj(w, NULL);
    sr_json_str(w, "model", v->model->id);
    sr_json_uint(w, "tensor_bytes", v->model->bytes);
    json_machine(v, w);
    sr_json_bool(w, "fits", !v->shortage);
    sr_json_uint(w, "weight_bytes", o->weights);
    sr_json_uint(w, "vector_bytes", o->vectors);
    sr_json_uint(w, "kv_bytes", o->kv);
    sr_json_uint(w, "kv_token_bytes", o->kv_token);
    sr_json_uint(w, "scratch_bytes", o->scratch);
    sr_json_uint(w, "reserve_bytes", o->reserve);
    sr_json_uint(w, "ctx", o->ctx);
    sr_json_uint(w, "parallel", o->parallel);
    if (v->shortage) {
        sr_json_str(w, "why", v->shortage);
        sr_json_uint(w, "vram_short_bytes", o->sum.vram_short);
        sr_json_uint(w, "ram_short_bytes", o->sum.ram_short);
        sr_json_arr(w, "would_fit");
        for (uint32_t i = 0; i < v->n_remedy; i++)
            sr_json_str(w, NULL, v->remedy[i]);
        sr_json_end(w);
    } else {
        json_fit(v, w);
    }
    sr_json_arr(w, "changes");
    for (uint32_t i = 0; i < v->n_change; i++) {
        sr_json_obj(w, NULL);
        sr_json_str(w, "what", v->change[i].what);
        sr_json_bool(w, "fits", v->change[i].tok_s > 0);
        if (v->change[i].tok_s > 0)
            sr_json_num(w, "tok_s", v->change[i].tok_s);
        sr_json_end(w);
    }
    sr_json_end(w);
    sr_json_str(w, "helps_most", best ? best->what : NULL);
    sr_json_end(w);
}
