/* fake_nvml.c - for tests: a library with NVML's names, one GPU, and a hand on what it says. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
enum { NOT_SUPPORTED = 3, NOT_FOUND = 6, LOST = 15 };
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned gpu, memory; } utilization;

typedef struct { int init_fails, no_power, lost, stuck, calls, open; unsigned temp; } fake_nvml; /* stuck: no call comes back */
API extern fake_nvml fake;
API fake_nvml fake = {.temp = 61};

API int nvmlInit_v2(void);
API int nvmlShutdown(void);
API const char *nvmlErrorString(int rc);
API int nvmlDeviceGetHandleByUUID(const char *uuid, void **dev);
API int nvmlDeviceGetName(void *dev, char *out, unsigned cap);
API int nvmlDeviceGetTemperature(void *dev, int sensor, unsigned *v);
API int nvmlDeviceGetPowerUsage(void *dev, unsigned *v);
API int nvmlDeviceGetEnforcedPowerLimit(void *dev, unsigned *v);
API int nvmlDeviceGetTotalEnergyConsumption(void *dev, unsigned long long *v);
API int nvmlDeviceGetClockInfo(void *dev, int type, unsigned *v);
API int nvmlDeviceGetMemoryInfo(void *dev, memory *m);
API int nvmlDeviceGetUtilizationRates(void *dev, utilization *u);
API int nvmlDeviceGetCurrentClocksThrottleReasons(void *dev, unsigned long long *v);

static int gpu;

static int answer(const void *dev)
{
    __atomic_fetch_add(&fake.calls, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&fake.stuck, __ATOMIC_RELAXED))
        usleep(1000);
    return dev != &gpu ? NOT_FOUND : __atomic_load_n(&fake.lost, __ATOMIC_RELAXED) ? LOST : 0;
}

int nvmlInit_v2(void) { return fake.init_fails ? 9 : (fake.open++, 0); }
int nvmlShutdown(void) { return fake.open--, 0; }
const char *nvmlErrorString(int rc) { return rc == 9 ? "Driver Not Loaded" : rc == NOT_FOUND ? "Not Found" : "Some Error"; }

int nvmlDeviceGetHandleByUUID(const char *uuid, void **dev)
{
    *dev = &gpu;
    return strcmp(uuid, "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f") ? NOT_FOUND : 0;
}

int nvmlDeviceGetName(void *dev, char *out, unsigned cap)
{
    snprintf(out, cap, "NVIDIA Test 1000");
    return answer(dev);
}

int nvmlDeviceGetTemperature(void *dev, int sensor, unsigned *v) { return *v = __atomic_load_n(&fake.temp, __ATOMIC_RELAXED), sensor ? NOT_SUPPORTED : answer(dev); }
int nvmlDeviceGetPowerUsage(void *dev, unsigned *v) { return *v = 123456, fake.no_power ? NOT_SUPPORTED : answer(dev); }
int nvmlDeviceGetEnforcedPowerLimit(void *dev, unsigned *v) { return *v = 700000, answer(dev); }
int nvmlDeviceGetTotalEnergyConsumption(void *dev, unsigned long long *v) { return *v = 5000000000500, answer(dev); }
int nvmlDeviceGetClockInfo(void *dev, int type, unsigned *v) { return *v = type == 1 ? 1980 : type == 2 ? 3201 : 0, answer(dev); }
int nvmlDeviceGetMemoryInfo(void *dev, memory *m) { return *m = (memory){150000000000, 110000000000, 40000000000}, answer(dev); }
int nvmlDeviceGetUtilizationRates(void *dev, utilization *u) { return *u = (utilization){87, 42}, answer(dev); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *dev, unsigned long long *v) { return *v = 0x80 | 0x8, answer(dev); }
