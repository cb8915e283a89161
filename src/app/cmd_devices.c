/* cmd_devices.c - what this program could compute on, and why not on the rest. */
#include "app/commands.h"
#include "app/opt.h"
#include "backend/backend.h"
#include "base/bench.h"
#include "base/cpu.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "engine/probe.h"

#include <stdio.h>
#include <string.h>

enum { BACKENDS_MAX = 8 };

typedef struct { const char *device; bool json, measure; } options;

static const char *isa_names(uint32_t flags, char *out, size_t cap)
{
    static const struct { uint32_t bit; const char *name; } known[] = {
        {SR_CPU_AVX2, "avx2"}, {SR_CPU_AVX_VNNI, "avx-vnni"}, {SR_CPU_AVX512, "avx512"},
        {SR_CPU_AVX512_VNNI, "avx512-vnni"}, {SR_CPU_AVX512_BF16, "avx512-bf16"}, {SR_CPU_AMX_INT8, "amx-int8"},
        {SR_CPU_AMX_BF16, "amx-bf16"}, {SR_CPU_NEON, "neon"}, {SR_CPU_NEON_DOT, "neon-dot"},
    };
    size_t at = 0;
    out[0]    = 0;
    for (size_t i = 0; i < SR_COUNT(known); i++)
        if (flags & known[i].bit && at < cap)
            at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? " " : "", known[i].name);
    return out;
}

/* One device of a usable backend; rate < 0: not measured. */
static void show(const options *o, sr_jsonw *w, const sr_backend *be, int index, const sr_devinfo *d, double rate, const sr_rates *rates)
{
    char isa[160], spec[40], arch[32] = "";
    bool host = d->flags & SR_DEV_HOST;
    snprintf(spec, sizeof spec, host ? "%s" : "%s:%d", be->name, index);
    isa_names(host ? sr_cpu_features() : 0, isa, sizeof isa);
    if (o->json) {
        sr_json_obj(w, NULL);
        sr_json_str(w, "device", spec);
        sr_json_bool(w, "usable", d->why[0] == 0);
        sr_json_str(w, "name", d->name);
        sr_json_str(w, "why", d->why[0] ? d->why : NULL);
        sr_json_uint(w, "units", d->units);
        if (d->arch)
            sr_json_uint(w, "arch", d->arch);
        sr_json_uint(w, "memory_total", d->mem_total);
        sr_json_uint(w, "memory_free", d->mem_free);
        sr_json_str(w, "isa", host ? isa : NULL);
        if (rate >= 0)
            sr_json_num(w, "read_bytes_per_s", rate);
        if (rates->copy > 0) {
            sr_json_num(w, "copy_bytes_per_s", rates->copy);
            sr_json_num(w, "host_to_device_bytes_per_s", rates->up);
            sr_json_num(w, "device_to_host_bytes_per_s", rates->down);
        }
        if (rates->peak.f16 > 0) {
            sr_json_num(w, "f16_flop_per_s", rates->peak.f16);
            sr_json_num(w, "int8_op_per_s", rates->peak.int8);
        }
        sr_json_end(w);
        return;
    }
    if (d->arch)
        snprintf(arch, sizeof arch, " (sm_%u)", d->arch);
    printf("%-8s %-4s %s%s%s%s: %u %s, %.1f of %.1f GB memory free%s%s\n", spec, d->why[0] ? "no" : "yes", d->name, arch,
           d->why[0] ? ", " : "", d->why, d->units, host ? "threads" : "multiprocessors", (double)d->mem_free * 1e-9,
           (double)d->mem_total * 1e-9, host && *isa ? ", " : "", isa);
    if (rate >= 0)
        printf("%-8s      reads memory at %.1f GB/s on %u threads\n", "", rate * 1e-9, d->units);
    if (rates->copy > 0)
        printf("%-8s      copies memory at %.1f GB/s (read and written), from the host at %.1f, to it at %.1f\n", "", rates->copy * 1e-9,
               rates->up * 1e-9, rates->down * 1e-9);
    if (rates->peak.f16 > 0)
        printf("%-8s      multiplies matrices of f16 at %.1f TFLOP/s (sums in f32), of int8 at %.1f TOP/s\n", "", rates->peak.f16 * 1e-12,
               rates->peak.int8 * 1e-12);
}

static void show_absent(const options *o, sr_jsonw *w, const char *name, const char *why)
{
    if (!o->json) {
        printf("%-8s %-4s %s\n", name, "no", why);
        return;
    }
    sr_json_obj(w, NULL);
    sr_json_str(w, "device", name);
    sr_json_bool(w, "usable", false);
    sr_json_str(w, "why", why);
    sr_json_end(w);
}

static sr_status list(const options *o, sr_jsonw *w, const sr_backend *only, int only_index, sr_err *err)
{
    sr_candidate c[BACKENDS_MAX];
    size_t       n = sr_backend_list(c, SR_COUNT(c));
    for (size_t i = 0; i < n; i++) {
        int devices = 0;
        if (only && c[i].be != only)
            continue;
        if (!c[i].be || c[i].be->count(&devices, err)) {
            show_absent(o, w, c[i].name, c[i].be ? err->msg : c[i].why);
            *err = (sr_err){0};
            continue;
        }
        for (int k = only ? only_index : 0; k < (only ? only_index + 1 : devices); k++) {
            sr_devinfo d    = {.size = sizeof d};
            double     rate = -1;
            sr_rates   rates = {0};
            if (c[i].be->info(k, NULL, &d, err) ||
                (o->measure && d.flags & SR_DEV_HOST && sr_bench_read(d.units, 0, &rate, err)) ||
                (o->measure && !(d.flags & SR_DEV_HOST) && !d.why[0] && sr_probe_rates(c[i].be, k, &rates, err)))
                return sr_while(err, "asking %s device %d", c[i].name, k);
            show(o, w, c[i].be, k, &d, rate, &rates);
        }
    }
    return SR_OK;
}

static int run(const options *o)
{
    sr_err            err   = {0};
    sr_buf            text  = {0};
    sr_jsonw          w     = {.out = &text, .indent = 2};
    const sr_backend *be    = NULL;
    int               index = 0;
    char              why[200];
    if (o->device && sr_backend_pick(o->device, &be, &index, why, &err)) {
        fprintf(stderr, "strata devices: %s\n", err.msg);
        return 1;
    }
    if (o->device && *why)
        fprintf(stderr, "device %s: %s\n", o->device, why);
    if (o->json)
        sr_json_arr(&w, NULL);
    sr_status st = list(o, &w, be, index, &err);
    if (o->json && st == SR_OK) {
        sr_json_end(&w);
        printf("%s\n", text.p ? text.p : "");
    }
    sr_buf_end(&text);
    if (st)
        fprintf(stderr, "strata devices: %s\n", err.msg);
    return st ? 1 : 0;
}

int sr_cmd_devices(int argc, char **argv)
{
    options      o     = {0};
    const sr_opt opt[] = {
        SR_O_STR("device", 0, o.device, "DEVICE", "only what auto, cpu, cuda, gpu or cuda:N would take; exit status 1 and the "
                                                  "reason when it cannot be had"),
        SR_O_FLAG("measure", 0, o.measure, "measure how fast memory is, the way to it, and matrix units (a second or two)"),
        SR_O_FLAG("json", 0, o.json, "as JSON"),
    };
    const sr_optspec spec = {"devices", NULL, "List what models can be computed on, and why not on the rest.", opt,
                             SR_COUNT(opt), .max_operands = 0};
    int rc = sr_opt_parse(&spec, &argc, argv);
    return rc >= 0 ? rc : run(&o);
}
