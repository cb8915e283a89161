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
#include "base/mem.h"
#include "engine/machine.h"

static void progress(void *unused, double share, const char *what)
{
    (void)unused;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[Kmeasuring this machine: %3.0f %%, %s", share * 100, what);
}

/* "probe-nvidia-h200-580-intel-xeon-2.json": letters, digits and dashes. */
static void file_name(const sr_backend *be, const sr_devinfo *di, char *out, size_t cap)
{
    char   all[400];
    size_t at = 6, n = (size_t)snprintf(all, sizeof all, "%s-%s-%s-%u", be ? di->name : "no-device", be && be->build ? be->build : "", sr_cpu_name(),
                                        sr_cpu_cores());
    snprintf(out, cap, "probe-");
    for (size_t i = 0; i < SR_MIN(n, sizeof all - 1) && at + 6 < cap; i++)
        if (isalnum((unsigned char)all[i]))
            out[at++] = (char)tolower((unsigned char)all[i]);
        else if (out[at - 1] != '-')
            out[at++] = '-';
    snprintf(out + at, cap - at, ".json");
}

static sr_status keep(const sr_profile *p, const char *path, sr_err *err)
{
    char   part[4300];
    sr_buf text = {0};
    sr_profile_write(p, &text);
    snprintf(part, sizeof part, "%s.part", path);
    FILE *f  = fopen(part, "we");
    bool  ok = f && !text.failed && fwrite(text.p, 1, text.n, f) == text.n;
    ok       = f && fclose(f) == 0 && ok && rename(part, path) == 0;
    sr_buf_end(&text);
    return ok ? SR_OK : sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
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
    file_name(be, &di, name, sizeof name);
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
