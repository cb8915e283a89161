#include "serve/nvml.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* NVML's own types and numbers, as its ABI has them. */
typedef struct nvml_device *device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned gpu, memory; } utilization;
enum { SENSOR_GPU = 0, CLOCK_SM = 1, CLOCK_MEM = 2 };
enum { SLOW_SW_POWER = 0x4, SLOW_HW = 0x8, SLOW_SW_HEAT = 0x20, SLOW_HW_HEAT = 0x40, SLOW_HW_POWER = 0x80 };

typedef struct { /* in the order of `symbols`; NULL: a figure that this driver does not have, but for the first four */
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*why)(int);
    int (*by_uuid)(const char *, device *);
    int (*name)(device, char *, unsigned);
    int (*temperature)(device, int, unsigned *);
    int (*power)(device, unsigned *);             /* mW */
    int (*power_limit)(device, unsigned *);       /* mW */
    int (*energy)(device, unsigned long long *);  /* mJ since the driver was loaded */
    int (*clock)(device, int, unsigned *);        /* MHz */
    int (*memory)(device, memory *);
    int (*utilization)(device, utilization *);    /* % */
    int (*slow)(device, unsigned long long *);
} calls;
static const char *const symbols[] = {
    "nvmlInit_v2", "nvmlShutdown", "nvmlErrorString", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetName", "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetCurrentClocksThrottleReasons",
};
enum { NEEDED = 4 };
_Static_assert(sizeof(calls) == SR_COUNT(symbols) * sizeof(void *), "a name for each call");

struct sr_nvml {
    void           *lib;
    calls           f;
    bool            inited, running;
    device          dev;
    char            name[96], uuid[96];
    uint32_t        period_ms;
    pthread_t       thread;
    pthread_mutex_t lock;                  /* of what follows */
    pthread_cond_t  wake;
    bool            stop;
    sr_gpustat      last;
};

static double scaled(int rc, double v) { return rc ? NAN : v; }

#define ASK(what, ...) (g->f.what ? g->f.what(g->dev, __VA_ARGS__) : -1)

static sr_gpustat sample(const sr_nvml *g)
{
    unsigned           temp = 0, power = 0, limit = 0, sm = 0, mem_clock = 0;
    unsigned long long energy = 0, why = 0;
    memory             m = {0};
    utilization        u = {0};
    sr_gpustat         s = {0};
    int rc = ASK(temperature, SENSOR_GPU, &temp);
    s.temp_c = scaled(rc, temp);
    rc = ASK(power, &power);
    s.power_w = scaled(rc, power * 1e-3);
    rc = ASK(power_limit, &limit);
    s.power_limit_w = scaled(rc, limit * 1e-3);
    rc = ASK(energy, &energy);
    s.energy_j = scaled(rc, (double)energy * 1e-3);
    rc = ASK(clock, CLOCK_SM, &sm);
    s.sm_hz = scaled(rc, sm * 1e6);
    rc = ASK(clock, CLOCK_MEM, &mem_clock);
    s.mem_hz = scaled(rc, mem_clock * 1e6);
    rc = ASK(memory, &m);
    s.mem_used  = scaled(rc, (double)m.used);
    s.mem_total = scaled(rc, (double)m.total);
    rc = ASK(utilization, &u);
    s.busy     = scaled(rc, u.gpu * 1e-2);
    s.mem_busy = scaled(rc, u.memory * 1e-2);
    rc = ASK(slow, &why);
    s.slow_power = scaled(rc, (why & (SLOW_SW_POWER | SLOW_HW_POWER)) != 0);
    s.slow_heat  = scaled(rc, (why & (SLOW_SW_HEAT | SLOW_HW_HEAT)) != 0);
    s.slow_hw    = scaled(rc, (why & SLOW_HW) != 0);
    s.at_ns      = sr_now_ns();
    return s;
}

static void *run(void *arg)
{
    sr_nvml *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->stop) {
        pthread_mutex_unlock(&g->lock);
        sr_gpustat s = sample(g);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t ns = (uint64_t)until.tv_nsec + (uint64_t)g->period_ms * 1000000;
        until.tv_sec += (time_t)(ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        pthread_mutex_lock(&g->lock);
        g->last = s;
        while (!g->stop && pthread_cond_timedwait(&g->wake, &g->lock, &until) != ETIMEDOUT)
            ;
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static sr_status load(sr_nvml *g, const char *library, sr_err *err)
{
    void *p[SR_COUNT(symbols)];
    if (!(g->lib = dlopen(library, RTLD_NOW | RTLD_LOCAL))) {
        const char *why = dlerror();
        return sr_raise(err, SR_UNSUPPORTED, "%s", why ? why : library);
    }
    for (size_t i = 0; i < SR_COUNT(symbols); i++)
        if (!(p[i] = dlsym(g->lib, symbols[i])) && i < NEEDED)
            return sr_raise(err, SR_UNSUPPORTED, "%s has no %s", library, symbols[i]);
    if (!p[SR_COUNT(symbols) - 1])
        p[SR_COUNT(symbols) - 1] = dlsym(g->lib, "nvmlDeviceGetCurrentClocksEventReasons"); /* its newer name */
    memcpy(&g->f, p, sizeof g->f);
    return SR_OK;
}

static sr_status begin(sr_nvml *g, sr_err *err)
{
    int rc = g->f.init();
    if (rc)
        return sr_raise(err, SR_UNSUPPORTED, "nvmlInit: %s", g->f.why(rc));
    g->inited = true;
    rc = g->f.by_uuid(g->uuid, &g->dev);
    if (rc)
        return sr_raise(err, SR_UNSUPPORTED, "%s: %s", g->uuid, g->f.why(rc));
    if (ASK(name, g->name, sizeof g->name))
        snprintf(g->name, sizeof g->name, "unknown");
    for (char *c = g->name; *c; c++) /* it becomes a label */
        *c = *c < ' ' || *c > '~' || *c == '"' || *c == '\\' ? '_' : *c;
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&g->wake, &a);
    pthread_condattr_destroy(&a);
    pthread_mutex_init(&g->lock, NULL);
    if (pthread_create(&g->thread, NULL, run, g)) {
        pthread_mutex_destroy(&g->lock);
        pthread_cond_destroy(&g->wake);
        return sr_raise(err, SR_IO, "cannot start the thread that asks the driver");
    }
    g->running = true;
    return SR_OK;
}

sr_status sr_nvml_open(const char *library, const char *uuid, uint32_t period_ms, sr_nvml **out, sr_err *err)
{
    *out = NULL;
    sr_nvml *g = sr_calloc(1, sizeof *g);
    if (!g)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a GPU's figures", sizeof *g);
    g->period_ms = period_ms ? period_ms : 1000;
    snprintf(g->uuid, sizeof g->uuid, "%s", uuid);
    if (load(g, library ? library : "libnvidia-ml.so.1", err) || begin(g, err)) {
        sr_nvml_close(g);
        return err->status;
    }
    *out = g;
    return SR_OK;
}

void sr_nvml_read(sr_nvml *g, sr_gpustat *out)
{
    pthread_mutex_lock(&g->lock);
    *out = g->last;
    pthread_mutex_unlock(&g->lock);
}

const char *sr_nvml_name(const sr_nvml *g) { return g->name; }
const char *sr_nvml_uuid(const sr_nvml *g) { return g->uuid; }

void sr_nvml_close(sr_nvml *g)
{
    if (!g)
        return;
    if (g->running) {
        struct timespec until;
        pthread_mutex_lock(&g->lock);
        g->stop = true;
        pthread_cond_signal(&g->wake);
        pthread_mutex_unlock(&g->lock);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 2;
        if (pthread_timedjoin_np(g->thread, NULL, &until)) { /* what it uses must stay */
            sr_log(SR_LOG_WARN, "the driver has not answered for two seconds: its library stays loaded");
            return;
        }
        pthread_mutex_destroy(&g->lock);
        pthread_cond_destroy(&g->wake);
    }
    if (g->inited)
        (void)g->f.shutdown();
    if (g->lib)
        dlclose(g->lib);
    sr_free(g);
}
