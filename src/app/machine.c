#include "app/machine.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/paths.h"
#include "backend/backend.h"
#include "base/cpu.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "engine/machine.h"
#include "weights/jsontree.h"

enum { START_BYTES = 4096 }; /* a file of an engine's start has some hundred */

static void progress(void *unused, double share, const char *what)
{
    (void)unused;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kmeasuring this machine: %3.0f %%, %s", share * 100, what);
}

/* "probe-nvidia-h200-580-intel-xeon-2.json": letters, digits and dashes. */
static void file_name(const char *what, const sr_backend *be, const sr_devinfo *di, char *out, size_t cap)
{
    char   all[400];
    size_t at = 6, n = (size_t)snprintf(all, sizeof all, "%s-%s-%s-%u", be ? di->name : "no-device", be && be->build ? be->build : "", sr_cpu_name(),
                                        sr_cpu_cores());
    snprintf(out, cap, "%.5s-", what);
    for (size_t i = 0; i < SR_MIN(n, sizeof all - 1) && at + 6 < cap; i++)
        if (isalnum((unsigned char)all[i]))
            out[at++] = (char)tolower((unsigned char)all[i]);
        else if (out[at - 1] != '-')
            out[at++] = '-';
    snprintf(out + at, cap - at, ".json");
}

static sr_status write_file(const sr_buf *text, const char *path, sr_err *err)
{
    char part[4300];
    snprintf(part, sizeof part, "%s.part", path);
    FILE *f  = fopen(part, "we");
    bool  ok = f && !text->failed && fwrite(text->p, 1, text->n, f) == text->n;
    ok       = f && fclose(f) == 0 && ok && rename(part, path) == 0;
    return ok ? SR_OK : sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
}

static sr_status keep(const sr_profile *p, const char *path, sr_err *err)
{
    sr_buf text = {0};
    sr_profile_write(p, &text);
    sr_status s = write_file(&text, path, err);
    sr_buf_end(&text);
    return s;
}

static sr_status measure(const sr_machineask *ask, const sr_backend *be, int device, sr_profile *p, sr_err *err)
{
    const sr_machinecfg cfg = {.be = be, .device = device, .disk_file = ask->disk_file, .progress = progress};
    time_t              now = time(NULL);
    struct tm           tm;
    sr_status           s = sr_machine_measure(&cfg, p, err);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    snprintf(p->name, sizeof p->name, "this machine");
    if (gmtime_r(&now, &tm))
        strftime(p->date, sizeof p->date, "%Y-%m-%d", &tm);
    return s;
}

sr_status sr_machine_get(const sr_machineask *ask, sr_profile *p, char *where, size_t cap, bool *fresh, sr_err *err)
{
    const sr_backend *be    = NULL;
    int               index = 0;
    char              why[200], name[256];
    sr_devinfo        di = {.size = sizeof di};
    sr_err            no = {0};
    *where = 0;
    *fresh = false;
    if (sr_backend_pick(ask->device ? ask->device : "auto", &be, &index, why, err))
        return err->status;
    be = be == &sr_backend_cpu ? NULL : be;
    if (be && be->info(index, NULL, &di, err))
        return err->status;
    file_name("probe", be, &di, name, sizeof name);
    if (sr_cache_path(name, where, cap, &no))
        *where = 0;
    sr_err unread = {0};
    if (!ask->again && *where && access(where, R_OK) == 0 && sr_profile_read(where, p, &unread) == SR_OK)
        return SR_OK;
    if (unread.status)
        fprintf(stderr, "measuring again: %s\n", unread.msg);
    *fresh = true;
    if (measure(ask, be, index, p, err))
        return err->status;
    if (no.status || keep(p, where, &no)) {
        fprintf(stderr, "what was measured is not kept: %s\n", no.msg);
        *where = 0;
    }
    return SR_OK;
}

/* ---- an engine's start -------------------------------------------------------------------------------------------------------- */

/* The fields of a file of an earlier start; in GB/s. */
static const struct { const char *name; size_t at; } start_field[] = {
    {"h2d_gbs", offsetof(sr_hw, h2d)}, {"dev_read_gbs", offsetof(sr_hw, dev_read)}, {"cpu_read_gbs", offsetof(sr_hw, cpu_read)},
    {"cpu_beside_gbs", offsetof(sr_hw, cpu_beside)}, {"h2d_beside_gbs", offsetof(sr_hw, h2d_beside)}};

static double *figure(sr_hw *h, size_t i) { return (double *)(void *)((char *)h + start_field[i].at); }

static bool start_path(const sr_machinestart *s, const sr_devinfo *di, uint16_t format, uint32_t threads, char *out, size_t cap)
{
    char   name[300];
    sr_err ignored = {0};
    file_name("start", s->be, di, name, sizeof name - 44);
    char *end = name + strlen(name) - 5; /* .json */
    snprintf(end, 44, "-%.16s-%u.json", sr_dtype_name(format), threads);
    return sr_cache_path(name, out, cap, &ignored) == SR_OK;
}

static bool probed(const sr_machinestart *s, const sr_devinfo *di, uint16_t format, uint32_t threads, sr_hw *out)
{
    char       name[256], where[4200];
    sr_err     err = {0};
    sr_profile *p  = sr_calloc(1, sizeof *p); /* 30 KB */
    file_name("probe", s->be, di, name, sizeof name);
    bool ok = p && sr_cache_path(name, where, sizeof where, &err) == SR_OK && access(where, R_OK) == 0;
    if (ok && sr_profile_read(where, p, &err)) {
        fprintf(stderr, "not used: %s\n", err.msg);
        ok = false;
    }
    ok = ok && strcmp(p->dev.name, di->name) == 0 && strcmp(p->host.name, sr_cpu_name()) == 0 && p->host.cores == sr_cpu_cores();
    if (ok) {
        sr_formatrates r = sr_profile_rates(p, threads, format, 1);
        sr_profile_hw(p, threads, out);
        out->dev_read  = r.dev_read > 0 ? r.dev_read : out->dev_read;
        out->cpu_read  = r.cpu_read > 0 ? r.cpu_read : out->cpu_read;
        out->dram_read = SR_MAX(out->dram_read, out->cpu_read);
        out->vram = out->ram = 0; /* what is free now */
        out->nvme_read = 0;       /* of the disk that the model lies on */
        if (s->verbose)
            fprintf(stderr, "figures of this machine: of strata probe, %s, from %s\n", p->date, where);
    }
    sr_free(p);
    return ok;
}

/* False: no such file, or none of ours. */
static bool read_figures(const char *where, sr_hw *out)
{
    char        text[START_BYTES];
    sr_jsontree t;
    sr_err      ignored = {0};
    FILE       *f  = fopen(where, "re");
    size_t      n  = f ? fread(text, 1, sizeof text, f) : 0;
    bool        ok = n < sizeof text && sr_jsontree_parse(text, n, &t, &ignored) == SR_OK;
    if (f)
        fclose(f);
    if (!ok)
        return false;
    for (size_t i = 0; ok && i < SR_COUNT(start_field); i++) {
        const sr_jsonnode *v = sr_json_member(&t, t.node, start_field[i].name);
        ok                   = sr_json_is_number(v) && v->number >= 1e-3 && v->number <= 1e5;
        *figure(out, i)      = ok ? v->number * 1e9 : 0;
    }
    sr_jsontree_end(&t);
    return ok;
}

static bool started(const sr_machinestart *s, const char *where, sr_hw *out)
{
    bool ok = read_figures(where, out);
    if (!ok)
        *out = (sr_hw){0};
    else if (s->verbose)
        fprintf(stderr, "figures of this machine: of an earlier start, from %s\n", where);
    return ok;
}

bool sr_machine_known(void *start, uint16_t format, uint32_t threads, sr_hw *out)
{
    const sr_machinestart *s = start;
    sr_devinfo             di = {.size = sizeof di};
    sr_err                 ignored = {0};
    char                   where[4200];
    *out = (sr_hw){0};
    if (s->be->info(s->device, NULL, &di, &ignored))
        return false;
    if (probed(s, &di, format, threads, out) || (start_path(s, &di, format, threads, where, sizeof where) && started(s, where, out)))
        return true;
    if (s->verbose)
        fputs("figures of this machine: measured now (strata probe measures more of them)\n", stderr);
    return false;
}

void sr_machine_keep(void *start, uint16_t format, uint32_t threads, const sr_hw *now)
{
    const sr_machinestart *s = start;
    sr_devinfo             di = {.size = sizeof di};
    sr_hw                  hw = *now;
    sr_err                 err = {0};
    sr_buf                 text = {0};
    sr_jsonw               w = {.out = &text, .indent = 2};
    char                   where[4200];
    if (s->be->info(s->device, NULL, &di, &err) || !start_path(s, &di, format, threads, where, sizeof where))
        return;
    sr_json_obj(&w, NULL);
    for (size_t i = 0; i < SR_COUNT(start_field); i++)
        sr_json_num(&w, start_field[i].name, *figure(&hw, i) * 1e-9);
    sr_json_end(&w);
    if (write_file(&text, where, &err) && s->verbose)
        fprintf(stderr, "what was measured is not kept: %s\n", err.msg);
    sr_buf_end(&text);
}
