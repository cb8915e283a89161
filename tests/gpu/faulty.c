/* faulty.c - the CUDA plugin with a fault in it: what tests/gpu/recover.py puts in the plugin's place.
 *
 * It loads the true plugin, ../libstrata-cuda13.so, and gives its table out as its own but for two functions.  After SIGUSR1 a
 * kernel that writes where no memory is goes into the compute queue before the next submit, after SIGUSR2 one that never ends.
 *
 * Both plugins have CUDA's runtime inside; they share the device's context, and streams of one are the other's. */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda/internal.h"

void gpu_trap(void *stream); /* trap.cu */
void gpu_spin(void *stream);

static const sr_backend     *whole;
static sr_backend            table;
static sr_dev               *device; /* the last one opened: a server's engine has one */
static volatile sig_atomic_t wanted;

static void on_signal(int sig) { wanted = sig; }

static sr_status open_device(int i, const sr_devcfg *cfg, sr_dev **out, sr_err *err)
{
    sr_status s = whole->open(i, cfg, out, err);
    device      = s == SR_OK ? *out : device;
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, on_signal);
    return s;
}

static sr_status submit(sr_plan *pl, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    int sig = wanted;
    if (sig && cudaSetDevice(device->index) == cudaSuccess) {
        wanted = 0;
        (sig == SIGUSR1 ? gpu_trap : gpu_spin)(device->queue[SR_Q_COMPUTE].stream);
    }
    return whole->submit(pl, op, n, shape, err);
}

__attribute__((visibility("default"))) const sr_backend *sr_backend_entry(void)
{
    char        path[4096];
    const char *slash;
    Dl_info     here;
    const sr_backend *(*entry)(void);
    if (whole)
        return &table;
    if (!dladdr(&table, &here) || !(slash = strrchr(here.dli_fname, '/')))
        return NULL;
    snprintf(path, sizeof path, "%.*s/../%s", (int)(slash - here.dli_fname), here.dli_fname, slash + 1);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL), *p = handle ? dlsym(handle, "sr_backend_entry") : NULL;
    memcpy(&entry, &p, sizeof p);
    whole = p ? entry() : NULL;
    if (!whole) {
        fprintf(stderr, "faulty plugin: %s\n", handle ? path : dlerror());
        return NULL;
    }
    table        = *whole;
    table.open   = open_device;
    table.submit = submit;
    return &table;
}
