/* registry.c - which backends there are, and why not.
 *
 * A plugin is looked for beside the installed program only (<exe>/../lib/strata, or <exe> in a build folder), or where
 * sr_backend_folder() says; never along LD_LIBRARY_PATH.  Before it is used the driver is asked by itself, because the
 * plugin's own words cannot tell a missing driver from an old one.  A GPU that was asked for by name and cannot be used is an
 * error with the reason: only "auto" falls back, and tells. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/mem.h"

enum { CUDA_CAPABILITY = 75 };
/* Plugins may stand side by side, one for each CUDA: the newest that the driver knows is taken. */
static const struct { int major; const char *driver; } known[] = {{13, "R580"}, {12, "R525"}};

/* Looked for once per process and never unloaded: the driver's threads may outlive any device. */
static struct {
    const sr_backend *be;
    bool              looked;
    char              why[200];
} cuda;
static const char *folder;

void sr_backend_folder(const char *path) { folder = path; }

#ifdef SR_CUDA_STATIC
extern const sr_backend sr_backend_cuda;
#else
static bool exe_folder(char *out, size_t cap)
{
    ssize_t n = readlink("/proc/self/exe", out, cap - 1);
    out[n > 0 ? n : 0] = 0;
    char *slash = strrchr(out, '/');
    if (slash)
        *slash = 0;
    return slash != NULL;
}

/* A plugin of another build would read our structs wrongly: all three must be equal. */
static const sr_backend *entry_of(void *handle, const char *path, char *why, size_t cap)
{
    const sr_backend *(*entry)(void);
    void             *p = dlsym(handle, "sr_backend_entry");
    memcpy(&entry, &p, sizeof p);
    const sr_backend *be = p ? entry() : NULL;
    if (!be)
        snprintf(why, cap, "%.120s has no sr_backend_entry", path);
    else if (be->abi != SR_BACKEND_ABI || be->size != sizeof(sr_backend) || strcmp(be->build, SR_VERSION) != 0)
        snprintf(why, cap, "%.80s is of another build: interface %u (%u bytes), version %.20s; wanted %u (%zu), %s", path, be->abi, be->size,
                 be->abi == SR_BACKEND_ABI ? be->build : "unknown", SR_BACKEND_ABI, sizeof(sr_backend), SR_VERSION);
    else
        return be;
    return NULL;
}

/* there: a file of that name was found, whatever became of it. */
static const sr_backend *load_plugin(int major, bool *there, char *why, size_t cap)
{
    char exe[2048], path[2304];
    if (!exe_folder(exe, sizeof exe))
        snprintf(exe, sizeof exe, ".");
    const char *const place[] = {"../lib/strata/", ""};
    for (size_t i = 0; i < (folder ? 1 : SR_COUNT(place)); i++) {
        if (folder)
            snprintf(path, sizeof path, "%.2047s/libstrata-cuda%d.so", folder, major);
        else
            snprintf(path, sizeof path, "%s/%slibstrata-cuda%d.so", exe, place[i], major);
        if (access(path, F_OK) != 0)
            continue;
        *there       = true;
        void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!handle) {
            const char *said = dlerror();
            snprintf(why, cap, "%.199s", said ? said : path);
            return NULL;
        }
        return entry_of(handle, path, why, cap);
    }
    *there = false;
    if (folder)
        snprintf(why, cap, "there is no %.160s", path);
    else
        snprintf(why, cap, "this build has no CUDA backend (no libstrata-cuda%d.so beside the program)", major);
    return NULL;
}
#endif

/* Of device i by the driver's own word, which needs no context: a server must not hold one beside its engine's process. */
static int capability(int (*attribute)(int *, int, int), int i)
{
    int major = 0, minor = 0;
    return attribute(&major, 75, i) == 0 && attribute(&minor, 76, i) == 0 ? major * 10 + minor : 0;
}

static void *driver_function(void *driver, const char *name) { return driver ? dlsym(driver, name) : NULL; }

/* Asks the driver whether there is anything for the plugin to do; false: why. */
static bool driver_is_good(int major, const char *needs, char *why, size_t cap)
{
    int (*init)(unsigned), (*version)(int *), (*count)(int *), (*attribute)(int *, int, int);
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    void *f[4]   = {driver_function(driver, "cuInit"), driver_function(driver, "cuDriverGetVersion"), driver_function(driver, "cuDeviceGetCount"),
                    driver_function(driver, "cuDeviceGetAttribute")};
    int   v = 0, n = 0, best = 0, rc;
    memcpy(&init, &f[0], sizeof f[0]);
    memcpy(&version, &f[1], sizeof f[1]);
    memcpy(&count, &f[2], sizeof f[2]);
    memcpy(&attribute, &f[3], sizeof f[3]);
    if (!driver || !f[0] || !f[1] || !f[2] || !f[3])
        snprintf(why, cap, "there is no NVIDIA driver (libcuda.so.1 cannot be loaded)");
    else if (version(&v) == 0 && v < major * 1000)
        snprintf(why, cap, "the NVIDIA driver is too old: it knows CUDA %d.%d, this build needs %d.0 (driver %s or newer)", v / 1000,
                 v % 1000 / 10, major, needs);
    else if ((rc = init(0)) == 100)
        snprintf(why, cap, "the NVIDIA driver finds no GPU");
    else if (rc != 0)
        snprintf(why, cap, "the NVIDIA driver does not start (error %d%s)", rc, rc == 803 ? ": its library is of another version" : "");
    else if (count(&n) != 0 || n == 0)
        snprintf(why, cap, "the NVIDIA driver finds no GPU");
    else {
        for (int i = 0; i < n; i++)
            best = SR_MAX(best, capability(attribute, i));
        if (best >= CUDA_CAPABILITY)
            return true;
        snprintf(why, cap, "the GPU is too old: compute capability %d.%d; 7.5 or newer is needed", best / 10, best % 10);
    }
    return false;
}

/* The first reason counts, that of a plugin that is there before that of one that is not. */
static void look_for_cuda(void)
{
    bool told = false;
    if (cuda.looked)
        return;
    cuda.looked = true;
    for (size_t i = 0; i < SR_COUNT(known) && !cuda.be; i++) {
        char why[200] = "";
        bool there;
#ifdef SR_CUDA_STATIC
        const sr_backend *be = known[i].major == SR_CUDA_STATIC ? &sr_backend_cuda : NULL;
        there                = be != NULL;
#else
        const sr_backend *be = load_plugin(known[i].major, &there, why, sizeof why);
#endif
        if (be && driver_is_good(known[i].major, known[i].driver, why, sizeof why))
            cuda.be = be;
        else if (i == 0 || (there && !told))
            memcpy(cuda.why, why, sizeof why);
        told |= there;
    }
}

size_t sr_backend_list(sr_candidate *out, size_t cap)
{
    size_t n = 0;
    if (n < cap)
        out[n++] = (sr_candidate){.be = &sr_backend_cpu, .name = "cpu"};
    if (n < cap) {
        look_for_cuda();
        out[n] = (sr_candidate){.be = cuda.be, .name = "cuda"};
        snprintf(out[n].why, sizeof out[n].why, "%s", cuda.why);
        n++;
    }
    return n;
}

/* "cuda:N" and the like; false: nobody knows it. */
static bool parse(const char *want, bool *any, int *device)
{
    *any = strcmp(want, "auto") == 0;
    if (*any || strcmp(want, "gpu") == 0 || strcmp(want, "cuda") == 0)
        return true;
    char *end = NULL;
    long  i   = strncmp(want, "cuda:", 5) == 0 ? strtol(want + 5, &end, 10) : -1;
    if (i < 0 || i > 255 || !end || *end || end == want + 5)
        return false;
    *device = (int)i;
    return true;
}

sr_status sr_backend_pick(const char *spec, const sr_backend **be, int *device, char why[200], sr_err *err)
{
    const char *want = spec ? spec : "auto";
    bool        any;
    why[0]  = 0;
    *device = 0;
    *be     = &sr_backend_cpu;
    if (strcmp(want, "cpu") == 0)
        return SR_OK;
    if (!parse(want, &any, device))
        return sr_raise(err, SR_INVALID, "unknown device \"%.40s\"; known: auto, cpu, gpu, cuda, cuda:N", want);
    look_for_cuda();
    if (cuda.be) {
        sr_err e = {0};
        int    n = 0;
        if (cuda.be->count(&n, &e) == SR_OK && *device < n) {
            *be = cuda.be;
            return SR_OK;
        }
        if (e.status)
            snprintf(why, 200, "%.199s", e.msg);
        else
            snprintf(why, 200, "there %s %d CUDA device%s", n == 1 ? "is" : "are", n, n == 1 ? "" : "s");
    } else {
        snprintf(why, 200, "%s", cuda.why);
    }
    return any ? SR_OK : sr_raise(err, SR_UNSUPPORTED, "device \"%s\" was asked for, but %s", want, why);
}
