/* cmd_probe.c - this machine in figures, for strata plan: measured in seconds, printed, kept. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "app/commands.h"
#include "app/machine.h"
#include "app/opt.h"
#include "app/paths.h"
#include "base/mem.h"
#include "ops/quant/quant.h"
#include "weights/profile_as.h"

#define GB 1e-9

typedef struct {
    const char *device, *out, *model;
    uint64_t    vram, ram;
    float       pcie_gbs, nvme_gbs;
    uint32_t    threads;
    bool        json, cached;
} options;

static void print_curve(const char *label, const char *format, const sr_curve *c, double scale)
{
    printf("  %-22s %-5s", label, format);
    for (uint32_t i = 0; i < c->n; i++)
        printf("  %u: %.4g", c->p[i].at, c->p[i].v * scale);
    putchar('\n');
}

static void print_curves(const char *label, const sr_curves *c, double scale)
{
    for (uint32_t i = 0; i < c->n; i++)
        print_curve(i ? "" : label, sr_dtype_name(c->c[i].format), &c->c[i], scale);
}

static void print_device(const sr_profile *p)
{
    if (!p->dev.arch) {
        puts("device: none that could be measured; strata devices says why");
        return;
    }
    printf("device: %s, %.1f GB\n", p->dev.name, (double)p->dev.vram * GB);
    printf("  %-22s %.1f GB/s read and written; from the host %.1f, to it %.1f\n", "copies", p->dev.copy * GB, p->dev.h2d * GB, p->dev.d2h * GB);
    if (p->dev.f16 > 0)
        printf("  %-22s f16 %.1f TFLOP/s, int8 %.1f TOP/s\n", "matrix units", p->dev.f16 * 1e-12, p->dev.int8 * 1e-12);
    printf("  %-22s %.2f us; a handshake with the host %.1f us\n", "shortest op", p->dev.op * 1e6, p->dev.sync * 1e6);
    print_curves("products, GB/s by rows", &p->dev.gemv, GB);
    print_curves("TFLOP/s by rows", &p->dev.gemm, 1e-12);
    if (p->dev.kv > 0)
        printf("  %-22s %.1f GB/s of K and V, %.1f TFLOP/s\n", "attention", p->dev.kv * GB, p->dev.attn * 1e-12);
    if (p->together.threads)
        printf("  %-22s copy %.1f GB/s while %u threads multiply at %.1f GB/s\n", "together", p->together.h2d * GB, p->together.threads,
               p->together.cpu * GB);
    if (p->together.by_cpu.n) {
        print_curve("  the copy, by threads", "", &p->together.by_h2d, GB);
        print_curve("  products beside it", "", &p->together.by_cpu, GB);
        print_curve("  plain reads beside it", "", &p->together.by_read, GB);
    }
}

static void print(const sr_profile *p)
{
    if (strcmp(p->source, "measured") != 0)
        printf("%s\n", p->source);
    printf("host: %s, %u cores, %s, %.1f GB\n", p->host.name, p->host.cores, *p->host.isa ? p->host.isa : "plain", (double)p->host.ram * GB);
    print_curve("memory, GB/s by threads", "", &p->host.dram, GB);
    print_curves("products, GB/s by threads", &p->host.gemv, GB);
    print_curves("and by rows", &p->host.rows, GB);
    print_curves("GFLOP/s by threads", &p->host.gemm, GB);
    print_curves("activations in f32", &p->host.gemv_f32, GB);
    print_curves("and by rows", &p->host.rows_f32, GB);
    print_curves("GFLOP/s, in f32", &p->host.gemm_f32, GB);
    printf("  %-22s %.2f us\n", "shortest op", p->host.op * 1e6);
    if (p->host.kv > 0)
        printf("  %-22s %.1f GB/s of K and V, %.0f GFLOP/s\n", "attention", p->host.kv * GB, p->host.attn * GB);
    if (p->host.nvme > 0)
        printf("  %-22s %.2f GB/s (%s)\n", "disk", p->host.nvme * GB, p->host.disk);
    else
        printf("  %-22s %s\n", "disk", p->host.disk);
    print_device(p);
}

static sr_status save(const sr_buf *text, const char *path, sr_err *err)
{
    FILE *f  = fopen(path, "we");
    bool  ok = f && fwrite(text->p, 1, text->n, f) == text->n;
    ok       = f && fclose(f) == 0 && ok;
    return ok ? SR_OK : sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
}

static sr_status probe(const options *o, sr_err *err)
{
    static sr_profile p; /* 30 KB */
    char              where[4200], model[4096];
    sr_buf            text = {0};
    sr_err            none = {0};
    bool              fresh, has = sr_model_path(o->model, model, sizeof model, &none) == SR_OK;
    const sr_machineask ask = {.device = o->device, .disk_file = has ? model : NULL, .again = !o->cached};
    if (sr_machine_get(&ask, &p, where, sizeof where, &fresh, err))
        return err->status;
    const sr_limits limits  = {.vram = o->vram, .ram = o->ram, .h2d = (double)o->pcie_gbs * 1e9, .nvme = (double)o->nvme_gbs * 1e9, .threads = o->threads};
    bool            limited = o->vram || o->ram || o->pcie_gbs > 0 || o->nvme_gbs > 0 || o->threads;
    if (sr_profile_limit(&p, &limits, err))
        return err->status;
    sr_profile_write(&p, &text);
    if (o->out && save(&text, o->out, err) == SR_OK && !o->json)
        fprintf(stderr, "written to %s\n", o->out);
    if (o->json)
        printf("%s", text.p ? text.p : "");
    else if (!err->status)
        print(&p);
    if (*where && !o->json)
        fprintf(stderr, fresh ? "kept%s in %s\n" : "measured before%s, from %s\n", limited ? " (without the limits)" : "", where);
    sr_buf_end(&text);
    return err->status;
}

int sr_cmd_probe(int argc, char **argv)
{
    options      o     = {.device = "auto"};
    const sr_opt opt[] = {
        SR_O_STR("device", 0, o.device, "DEVICE", "auto, cpu, cuda, gpu or cuda:N; auto measures a GPU if one can be used"),
        SR_O_STR("model", 'm', o.model, "FILE", "read the disk this file lies on, with O_DIRECT; without it, that of the demo model"),
        SR_O_STR("out", 'o', o.out, "FILE", "write the profile there, too"),
        SR_O_BYTES("vram", 0, o.vram, "SIZE", "rehearse a card with so much memory, as 14G", 1e6, 1e14),
        SR_O_BYTES("ram", 0, o.ram, "SIZE", "and a host with so much, as 40G", 1e6, 1e15),
        SR_O_REAL("pcie-gbs", 0, o.pcie_gbs, "X", "and a bus of so many GB/s; what it leaves of the host's memory the CPU gets", 0.001, 10000),
        SR_O_UINT("cpu-threads", 't', o.threads, "N", "and so many CPU threads", 1, 1024),
        SR_O_REAL("nvme-gbs", 0, o.nvme_gbs, "X", "and a disk of so many GB/s", 0.001, 10000),
        SR_O_FLAG("cached", 0, o.cached, "what was measured before, if there is something"),
        SR_O_FLAG("json", 0, o.json, "the profile as JSON on stdout"),
    };
    const sr_optspec spec = {"probe", NULL,
                             "Measure this machine for strata plan: memory, products of the CPU and of a GPU, the bus, the disk. It takes some seconds "
                             "and wants a machine that does nothing else.",
                             opt, SR_COUNT(opt), .max_operands = 0, .more = "A rehearsed machine is in what is printed and in --out; what is kept is the machine as it is.\n\n"
                                     "examples:\n  strata probe --out here.json && strata plan model.gguf --profile here.json\n"
                                     "  strata probe --cached --vram 14G --pcie-gbs 6.5 --cpu-threads 4 --ram 40G --out small.json\n"};
    sr_err err = {0};
    int    rc  = sr_opt_parse(&spec, &argc, argv);
    if (rc >= 0)
        return rc;
    if (probe(&o, &err) == SR_OK)
        return 0;
    fprintf(stderr, "strata probe: %s\n", err.msg);
    return 1;
}
