/* cpu.c - the CPU as a device: its memory is host memory, its queues are threads (queue.c), its units a pool (pool.c). */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "backend/cpu/internal.h"
#include "base/cpu.h"
#include "base/fault.h"
#include "base/mem.h"

enum { MAX_DEVICES = 8, SPIN_US = 100 };

/* One machine is one device, but it may be opened several times: two pools stand for two devices (a model split, a
 * layer shared), which is how the joints are tested where there is no GPU. */
static sr_status cpu_count(int *n, sr_err *err)
{
    (void)err;
    *n = 1;
    return SR_OK;
}

static void cpu_close(sr_dev *dev)
{
    if (!dev)
        return;
    for (int q = 0; q < SR_Q_COUNT; q++)
        sr_cpuqueue_close(dev->queue[q]);
    sr_pool_close(dev->pool);
    sr_free(dev);
}

static sr_status cpu_open(int i, const sr_devcfg *cfg, sr_dev **out, sr_err *err)
{
    static const char *const names[SR_Q_COUNT] = {"strata-compute", "strata-in", "strata-out"};
    if (i < 0 || i >= MAX_DEVICES)
        return sr_raise(err, SR_INVALID, "cpu: no device %d", i);
    sr_dev *dev = sr_calloc(1, sizeof *dev);
    if (!dev)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a device", sizeof *dev);
    dev->cfg       = cfg ? *cfg : (sr_devcfg){0};
    dev->index     = i;
    uint32_t allow = ~(uint32_t)SR_CPU_ANY_ORDER;
    if (dev->cfg.isa && !sr_cpu_isa_features(dev->cfg.isa, &allow)) {
        sr_raise(err, SR_INVALID, "unknown instruction set \"%s\"; known: ref, avx2, avx512, amx, amx-bf16, neon, neon-dot", dev->cfg.isa);
        goto fail;
    }
    if (dev->cfg.deterministic && allow & SR_CPU_ANY_ORDER) {
        sr_raise(err, SR_INVALID, "\"%s\" gives a prompt's rows other bits than an answer's: not together with deterministic", dev->cfg.isa);
        goto fail;
    }
    if (dev->cfg.f32_activations && allow & SR_CPU_ANY_ORDER) {
        sr_raise(err, SR_INVALID, "\"%s\" rounds activations to two BF16: not together with activations in f32", dev->cfg.isa);
        goto fail;
    }
    dev->features = (sr_cpu_features() | SR_CPU_ANY_ORDER) & allow;
    if (dev->cfg.isa && strcmp(dev->cfg.isa, sr_cpu_isa_name(dev->features)) != 0) {
        sr_raise(err, SR_UNSUPPORTED, "this CPU (%s) does not have all that \"%s\" needs; without it: %s", sr_cpu_name(), dev->cfg.isa,
                 sr_cpu_isa_name(sr_cpu_features()));
        goto fail;
    }
    uint32_t threads = dev->cfg.threads ? dev->cfg.threads : sr_cpu_cores();
    uint32_t spin    = dev->cfg.spin_us ? dev->cfg.spin_us : SPIN_US;
    if (threads > 1024) {
        sr_raise(err, SR_INVALID, "%u threads asked, at most 1024", threads);
        goto fail;
    }
    /* Every worker reads every part of a weight sooner or later: with several nodes, spread memory over all of them. */
    dev->nodes = sr_cpu_interleave();
    if (sr_pool_open(threads, spin, dev->cfg.pin, &dev->pool, err))
        goto fail;
    for (int q = 0; q < SR_Q_COUNT; q++)
        if (sr_cpuqueue_open(names[q], q == SR_Q_COMPUTE ? spin : 0, q == SR_Q_COMPUTE && dev->cfg.pin ? threads : 0, &dev->queue[q], err))
            goto fail;
    *out = dev;
    return SR_OK;
fail:
    cpu_close(dev);
    return err ? err->status : SR_INVALID;
}

static uint64_t available_memory(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    char  line[128];
    unsigned long long kb = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb * 1024;
}

void sr_cpu_describe(const char *cpu, int nodes, char *out, size_t cap)
{
    if (nodes > 0)
        snprintf(out, cap, "%.32s, %d nodes interleaved", cpu, nodes);
    else if (nodes < 0) /* slower, not wrong: all memory on the node of who touches it first */
        snprintf(out, cap, "%.26s, nodes not interleaved: error %d", cpu, -nodes);
    else
        snprintf(out, cap, "%s", cpu);
}

static sr_status cpu_info(int i, sr_dev *dev, sr_devinfo *out, sr_err *err)
{
    if (i < 0 || i >= MAX_DEVICES)
        return sr_raise(err, SR_INVALID, "cpu: no device %d", i);
    sr_devinfo d = {.size = out->size, .units = dev ? sr_pool_threads(dev->pool) : sr_cpu_cores(), .numa = ~0u, .flags = SR_DEV_HOST};
    sr_cpu_describe(sr_cpu_name(), dev ? dev->nodes : 0, d.name, sizeof d.name);
    snprintf(d.isa, sizeof d.isa, "%s", sr_cpu_isa_name(dev ? dev->features : sr_cpu_features()));
    d.mem_total = sr_cpu_memory();
    uint64_t avail = available_memory();
    d.mem_free     = avail < d.mem_total ? avail : d.mem_total;
    *out           = d;
    return SR_OK;
}

static sr_status cpu_alloc(sr_dev *dev, sr_memkind kind, size_t bytes, const char *tag, void **out, sr_err *err)
{
    (void)kind; /* host memory is device memory, and nothing needs to be page-locked */
    void *p = sr_fault(SR_FAULT_DEVALLOC) ? NULL : sr_aligned(4096, sr_align_up(bytes, 4096));
    if (!p)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for %s (%llu MB available)", bytes, tag,
                        (unsigned long long)(available_memory() >> 20));
    dev->allocated += bytes;
    *out = p;
    return SR_OK;
}

static void cpu_free(sr_dev *dev, void *p)
{
    (void)dev;
    sr_free(p);
}

static sr_status cpu_pin(sr_dev *dev, void *p, size_t n, bool on, sr_err *err)
{
    (void)dev, (void)p, (void)n, (void)on, (void)err;
    return SR_OK;
}

static size_t cpu_pack(uint16_t format, uint32_t n, uint32_t cols, const void *const *row, void *dst, uint16_t *layout)
{
    (void)format, (void)n, (void)cols, (void)row, (void)dst;
    *layout = 0;
    return 0;
}

static sr_status cpu_copyv(sr_dev *dev, sr_queue q, const sr_span *s, uint32_t n, sr_err *err)
{
    return sr_cpuqueue_copyv(dev->queue[q], s, n, err);
}

static sr_point cpu_mark(sr_dev *dev, sr_queue q) { return sr_cpuqueue_mark(dev->queue[q]); }

static void cpu_fence(sr_dev *dev, sr_queue q, sr_point on) { sr_cpuqueue_fence(dev->queue[q], on); }

static sr_status cpu_wait(sr_dev *dev, sr_point p, uint64_t timeout_ns, sr_err *err)
{
    sr_status s = sr_cpupoint_wait(p, timeout_ns);
    for (int q = 0; s == SR_OK && q < SR_Q_COUNT; q++)
        s = sr_cpuqueue_failure(dev->queue[q], err);
    return s;
}

const sr_backend sr_backend_cpu = {
    .abi = SR_BACKEND_ABI, .size = sizeof(sr_backend), .name = "cpu", .build = SR_VERSION,
    .count = cpu_count, .open = cpu_open, .close = cpu_close, .info = cpu_info,
    .alloc = cpu_alloc, .free = cpu_free, .pin = cpu_pin, .pack = cpu_pack,
    .copyv = cpu_copyv, .mark = cpu_mark, .fence = cpu_fence, .wait = cpu_wait, .group = NULL,
    .supports = sr_cpu_supports, .scratch = sr_cpu_scratch, .prepare = sr_cpu_prepare, .slot = sr_cpu_slot,
    .bind = sr_cpu_bind, .submit = sr_cpu_submit, .discard = sr_cpu_discard, .profile = sr_cpu_profile,
};
