/* dev.c - CUDA devices: what they are, their memory and its ledger, and how a failure becomes a status. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backend/cuda/internal.h"
#include "ops/expcode/expcode_cuda.h"
#include "base/bench.h"
#include "base/fault.h"
#include "base/mem.h"
#include "ops/cuda_driver.h"
#include "ops/linear/layout.h"

enum { ALIGN = 4096, MIB = 1 << 20, USUAL_GRANULE = 2 * MIB };
/* Left to the driver, to graphs and to kernels' local memory when no budget is given. */
static const uint64_t MARGIN = 512ull * MIB;

/* ---- errors ------------------------------------------------------------------------------------------------- */

/* After one of these every later call on the context fails: only a reset helps. */
static bool sticky(cudaError_t rc)
{
    switch (rc) {
    case cudaErrorIllegalAddress: case cudaErrorLaunchFailure: case cudaErrorLaunchTimeout: case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction: case cudaErrorMisalignedAddress: case cudaErrorInvalidAddressSpace: case cudaErrorInvalidPc:
    case cudaErrorAssert: case cudaErrorECCUncorrectable: case cudaErrorNvlinkUncorrectable: case cudaErrorContextIsDestroyed:
    case cudaErrorExternalDevice: case cudaErrorUnknown: return true;
    default: return false;
    }
}

sr_status sr_cuda_check(sr_dev *d, sr_err *err, const char *call, cudaError_t rc)
{
    if (rc == cudaSuccess)
        return SR_OK;
    sr_status s = sticky(rc) ? SR_DEVLOST : rc == cudaErrorMemoryAllocation ? SR_NOMEM : SR_INVALID;
    (void)cudaGetLastError(); /* what is not sticky must not be found again by somebody else */
    if (d && s == SR_DEVLOST)
        d->lost = true;
    int name = (int)strcspn(call, "(");
    sr_raise(err, s, "cuda:%d: %.*s: %s (%s)", d ? d->index : 0, name, call, cudaGetErrorString(rc), cudaGetErrorName(rc));
    return s;
}

void sr_cuda_fail(sr_dev *d, const sr_err *e)
{
    pthread_mutex_lock(&d->lock);
    if (!d->failed) {
        d->fail = *e;
        __atomic_store_n(&d->failed, 1, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&d->lock);
}

/* The runtime keeps the current device for each thread; setting it again costs some tens of nanoseconds. */
sr_status sr_cuda_enter(sr_dev *d, sr_err *err) { return CU(d, err, cudaSetDevice(d->index)); }

/* ---- what there is ------------------------------------------------------------------------------------------ */

static sr_status cuda_count(int *n, sr_err *err)
{
    *n = 0;
    return CU(NULL, err, cudaGetDeviceCount(n));
}

static uint32_t numa_node(const struct cudaDeviceProp *p)
{
    char path[96];
    int  node = -1;
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%04x:%02x:%02x.0/numa_node", (unsigned)p->pciDomainID, (unsigned)p->pciBusID,
             (unsigned)p->pciDeviceID);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%d", &node) != 1)
        node = -1;
    if (f)
        fclose(f);
    return node < 0 ? ~0u : (uint32_t)node;
}

static sr_status properties(int i, struct cudaDeviceProp *p, sr_err *err)
{
    int       n = 0;
    sr_status s = cuda_count(&n, err);
    if (s)
        return s;
    if (i < 0 || i >= n)
        return sr_raise(err, SR_INVALID, "cuda: no device %d; there are %d", i, n);
    return CU(NULL, err, cudaGetDeviceProperties(p, i));
}

/* A build of few architectures meets a card that none of them fits; CUDA's words for it name neither. */
static sr_status code_arch(sr_dev *d, int i, const struct cudaDeviceProp *p, int *arch, sr_err *err)
{
    cudaError_t rc = sr_cuda_code_arch(arch);
    if (rc != cudaErrorNoKernelImageForDevice && rc != cudaErrorInvalidDeviceFunction)
        return sr_cuda_check(d, err, "cudaFuncGetAttributes", rc);
    (void)cudaGetLastError();
    return sr_raise(err, SR_UNSUPPORTED, "cuda:%d (%.40s): this build has no code for compute capability %d.%d (STRATA_CUDA_ARCHS)", i, p->name, p->major, p->minor);
}

static sr_status cuda_info(int i, sr_dev *dev, sr_devinfo *out, sr_err *err)
{
    struct cudaDeviceProp p;
    size_t                mem_free = 0, mem_total = 0;
    if (properties(i, &p, err) || CU(dev, err, cudaSetDevice(i)))
        return err ? err->status : SR_INVALID;
    sr_devinfo d = {.size = out->size, .arch = (uint32_t)(p.major * 10 + p.minor), .units = (uint32_t)p.multiProcessorCount,
                    .numa = numa_node(&p), .l2 = (uint64_t)p.l2CacheSize, .smem = p.sharedMemPerBlockOptin, .mem_total = p.totalGlobalMem};
    snprintf(d.name, sizeof d.name, "%.63s", p.name);
    memcpy(d.uuid, &p.uuid, sizeof d.uuid);
    if (p.major * 10 + p.minor < 75)
        snprintf(d.why, sizeof d.why, "compute capability %d.%d; 7.5 or newer is needed", p.major, p.minor);
    sr_err        e  = {0};
    int           arch = 0;
    if (CU(dev, &e, cudaMemGetInfo(&mem_free, &mem_total)) || (!d.why[0] && code_arch(dev, i, &p, &arch, &e)))
        snprintf(d.why, sizeof d.why, "%.159s", e.msg);
    d.mem_free = mem_free;
    if (dev) {
        d.mem_granule = dev->ledger.granule;
        d.mem_free    = SR_MIN(d.mem_free / d.mem_granule * d.mem_granule, sr_ledger_left(&dev->ledger));
    }
    *out = d;
    return SR_OK;
}

/* ---- pieces of memory ---------------------------------------------------------------------------------------- */

static void give_raw(const sr_ledgerentry *e)
{
    (void)(e->kind == SR_MEM_DEVICE ? cudaFree(e->base) : cudaFreeHost(e->base)); /* a failure here is an older one's echo */
}

static void give(sr_dev *d, sr_ledgerentry *e)
{
    give_raw(e);
    sr_ledger_cancel(&d->ledger, e);
}

static cudaError_t take_raw(sr_ledgerentry *e, size_t bytes)
{
    return e->kind == SR_MEM_DEVICE ? cudaMalloc(&e->base, bytes) : cudaHostAlloc(&e->base, bytes ? bytes : 1, cudaHostAllocPortable | cudaHostAllocMapped);
}

/* Whole granules of device memory lie on one; small pieces of page-locked memory on 512 bytes, and the contract says 4096. */
static cudaError_t take(sr_ledgerentry *e, void **p)
{
    cudaError_t rc = take_raw(e, e->taken);
    if (rc == cudaSuccess && (uintptr_t)e->base % ALIGN) {
        give_raw(e);
        rc = take_raw(e, e->taken + ALIGN);
    }
    *p = (void *)sr_align_up((uintptr_t)e->base, ALIGN);
    return rc;
}

/* ---- open and close ----------------------------------------------------------------------------------------- */

/* Kernels whose blocks wait for each other want all multiprocessors.  Two such in one process, half of each resident, would wait
 * for ever: whoever opens first has the right to them until it closes. */
static atomic_flag chains_taken = ATOMIC_FLAG_INIT;

static void cuda_close(sr_dev *d)
{
    sr_err ignored = {0};
    if (!d)
        return;
    if (sr_cuda_enter(d, &ignored) == SR_OK && !d->lost)
        (void)cudaDeviceSynchronize();
    for (sr_ledgerentry *e; (e = sr_ledger_remove(&d->ledger, NULL));)
        give(d, e);
    sr_cudaqueues_close(d);
    (void)cudaGetLastError();
    if (d->chains)
        atomic_flag_clear(&chains_taken);
    sr_ledger_close(&d->ledger);
    pthread_mutex_destroy(&d->lock);
    sr_free(d);
}

/* What a piece of device memory is rounded up to. */
static size_t granule(sr_dev *d)
{
    CUresult (*ask)(size_t *, const CUmemAllocationProp *, CUmemAllocationGranularity_flags);
    void               *p    = sr_cuda_driver("cuMemGetAllocationGranularity");
    size_t              n    = 0;
    CUmemAllocationProp prop = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = d->index}};
    memcpy(&ask, &p, sizeof p);
    return p && ask(&n, &prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM) == CUDA_SUCCESS && n ? n : USUAL_GRANULE;
}

static sr_status budget(sr_dev *d, sr_err *err)
{
    size_t mem_free = 0, mem_total = 0;
    if (CU(d, err, cudaMemGetInfo(&mem_free, &mem_total)))
        return err ? err->status : SR_INVALID;
    d->ledger.granule = granule(d);
    d->ledger.budget  = d->cfg.mem_budget ? d->cfg.mem_budget : mem_free > MARGIN ? mem_free - MARGIN : 0;
    if (d->ledger.budget > mem_free)
        return sr_raise(err, SR_NOMEM, "cuda:%d: a budget of %llu MiB was asked for, %llu of %llu MiB are free", d->index,
                        (unsigned long long)(d->ledger.budget / MIB), (unsigned long long)mem_free / MIB, (unsigned long long)mem_total / MIB);
    return SR_OK;
}

static uint64_t card_free(sr_dev *d)
{
    size_t mem_free = 0, mem_total = 0;
    sr_err ignored = {0};
    return CU(d, &ignored, cudaMemGetInfo(&mem_free, &mem_total)) ? 0 : mem_free;
}

static sr_status cuda_open(int i, const sr_devcfg *cfg, sr_dev **out, sr_err *err)
{
    struct cudaDeviceProp p;
    sr_err                local = {0};
    err                         = err ? err : &local;
    if (properties(i, &p, err))
        return err->status;
    if (p.major * 10 + p.minor < 75)
        return sr_raise(err, SR_UNSUPPORTED, "cuda:%d (%s): compute capability %d.%d; 7.5 or newer is needed", i, p.name, p.major, p.minor);
    sr_dev *d = sr_calloc(1, sizeof *d);
    if (!d)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a device", sizeof *d);
    char name[24];
    snprintf(name, sizeof name, "cuda:%d", i);
    sr_ledger_open(&d->ledger, name, 0, 1);
    pthread_mutex_init(&d->lock, NULL);
    d->cfg   = cfg ? *cfg : (sr_devcfg){0};
    d->index = i;
    if (sr_cuda_enter(d, err) || code_arch(d, i, &p, &d->info.arch, err))
        goto fail;
    d->info.deterministic = d->cfg.deterministic;
    d->info.sms        = p.multiProcessorCount;
    d->info.smem_block = (int)p.sharedMemPerBlockOptin;
    d->info.l2         = (size_t)p.l2CacheSize;
    /* Overlapping a kernel's start with its forerunner's end is in sm_90's own code only; PTX of older targets must not opt in. */
    d->info.pdl   = d->info.arch >= 90;
    d->info.pairs = SR_CUDA_PAIRS;
    if (budget(d, err) || sr_cudaqueues_open(d, err))
        goto fail;
    /* Where waits are kernels of their own, one of them could hold a place that a chain needs. */
    d->chains      = d->info.arch == 90 && d->wait_value && !atomic_flag_test_and_set(&chains_taken);
    d->info.chains = d->chains;
    d->free_at_open  = card_free(d);
    d->taken_at_open = d->free_at_open ? p.totalGlobalMem - SR_MIN(d->free_at_open, p.totalGlobalMem) : 0;
    *out = d;
    return SR_OK;
fail:
    cuda_close(d);
    return err->status;
}

/* ---- memory ------------------------------------------------------------------------------------------------- */

/* The driver says only that it will not: the two limits there are. */
static sr_status refused_lock(const sr_dev *d, size_t bytes, const char *tag, sr_err *err)
{
    struct rlimit lim   = {0};
    char          locks[48] = "unlimited";
    if (getrlimit(RLIMIT_MEMLOCK, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY)
        snprintf(locks, sizeof locks, "%llu MiB", (unsigned long long)(lim.rlim_cur / MIB));
    return sr_raise(err, SR_NOMEM, "cuda:%d: %zu bytes of page-locked memory for %s were refused: %llu MiB of RAM are free, the limit of locked "
                    "memory (ulimit -l) is %s", d->index, bytes, tag, (unsigned long long)sysconf(_SC_AVPHYS_PAGES) * (unsigned long long)sysconf(_SC_PAGESIZE) / MIB, locks);
}

static sr_status cuda_alloc(sr_dev *d, sr_memkind kind, size_t bytes, const char *tag, void **out, sr_err *err)
{
    if (kind == SR_MEM_MANAGED)
        return sr_raise(err, SR_UNSUPPORTED, "cuda:%d: managed memory for %s", d->index, tag);
    sr_ledgerentry *e    = NULL;
    bool            deny = sr_fault(SR_FAULT_DEVALLOC);
    sr_status       s    = sr_cuda_enter(d, err);
    if (s || (s = sr_ledger_reserve(&d->ledger, kind, bytes, tag, &e, err)) != SR_OK)
        return s;
    void       *p  = NULL;
    cudaError_t rc = deny ? cudaErrorMemoryAllocation : take(e, &p);
    if (rc == cudaSuccess) {
        sr_ledger_enter(&d->ledger, e, p);
        *out = p;
        return SR_OK;
    }
    sr_ledger_cancel(&d->ledger, e);
    (void)cudaGetLastError();
    if (rc != cudaErrorMemoryAllocation)
        return sr_cuda_check(d, err, "allocation", rc);
    return kind == SR_MEM_DEVICE ? sr_ledger_refuse(&d->ledger, bytes, tag, err) : refused_lock(d, bytes, tag, err);
}

static void cuda_free(sr_dev *d, void *p)
{
    sr_err ignored = {0};
    if (!p || sr_cuda_enter(d, &ignored))
        return;
    sr_ledgerentry *e = sr_ledger_remove(&d->ledger, p);
    SR_ASSERT(e, "freed %p was never allocated here", p);
    give(d, e);
}

bool sr_cuda_owns(sr_dev *d, const void *p, size_t bytes) { return sr_ledger_holds(&d->ledger, p, bytes); }

static size_t line(sr_memline *out, size_t n, size_t cap, const char *tag, uint64_t bytes)
{
    if (n == cap || !bytes)
        return n;
    out[n] = (sr_memline){.kind = SR_MEM_DEVICE, .bytes = bytes, .taken = bytes};
    snprintf(out[n].tag, sizeof out[n].tag, "%s", tag);
    return n + 1;
}

/* What lacks on the card and went to nobody who asked: since it was opened kernels' code and their local memory, captured steps, and what
 * others took; before that the context, and what others held. */
static size_t cuda_ledger(sr_dev *d, sr_memline *out, size_t cap)
{
    sr_err   ignored = {0};
    size_t   n       = sr_ledger_lines(&d->ledger, out, cap);
    uint64_t now     = sr_cuda_enter(d, &ignored) ? 0 : card_free(d), ours = 0;
    for (size_t i = 0; i < n; i++)
        ours += out[i].kind == SR_MEM_DEVICE ? out[i].taken : 0;
    if (now && d->free_at_open > now + ours)
        n = line(out, n, cap, "code and captured steps", d->free_at_open - now - ours);
    return line(out, n, cap, "context and other programs", d->taken_at_open);
}

static sr_status cuda_tile(sr_dev *d, sr_queue q, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst, sr_err *err)
{
    sr_status s = sr_cuda_enter(d, err);
    if (s)
        return s;
    if (!sr_linear_cuda_tile(d->queue[q].stream, format, n, cols, src, dst))
        return sr_raise(err, SR_INVALID, "cuda:%d: %u rows of %u numbers in %s have no tiles", d->index, n, cols, sr_dtype_name(format));
    return CU(d, err, cudaGetLastError());
}

static sr_status cuda_decode(sr_dev *d, sr_queue q, uint16_t format, uint32_t n, uint32_t cols, const void *src, void *dst, uint16_t layout, sr_err *err)
{
    sr_status s = sr_cuda_enter(d, err);
    if (s)
        return s;
    if (!sr_expcode_cuda(d->queue[q].stream, format, n, cols, src, dst, layout != 0))
        return sr_raise(err, SR_INVALID, "cuda:%d: %u rows of %u numbers in %s come in no code", d->index, n, cols, sr_dtype_name(format));
    return CU(d, err, cudaGetLastError());
}

/* Pages of a file are page-locked for reading alone, where the device can do that. */
static sr_status cuda_pin(sr_dev *d, void *p, size_t n, bool on, sr_err *err)
{
    sr_status s = sr_cuda_enter(d, err);
    if (s)
        return s;
    if (!on)
        return CU(d, err, cudaHostUnregister(p));
    unsigned    flags = cudaHostRegisterPortable | cudaHostRegisterMapped;
    int         read_only = 0;
    cudaError_t rc = cudaHostRegister(p, n, flags);
    if (rc == cudaErrorHostMemoryAlreadyRegistered) /* two of ours on one page */
        rc = cudaSuccess;
    else if (rc != cudaSuccess && cudaDeviceGetAttribute(&read_only, cudaDevAttrHostRegisterReadOnlySupported, d->index) == cudaSuccess && read_only) {
        (void)cudaGetLastError();
        rc = cudaHostRegister(p, n, flags | cudaHostRegisterReadOnly);
    }
    if (rc == cudaSuccess)
        return SR_OK;
    (void)cudaGetLastError();
    return sr_raise(err, SR_NOMEM, "cuda:%d: %zu bytes cannot be page-locked: %s", d->index, n, cudaGetErrorString(rc));
}

/* The last pieces: an H200 takes 75 ms to slow down to what its power allows, and less when it is warm (notes/0052). */
static sr_status peak(sr_dev *d, bool int8, double *out, sr_err *err)
{
    enum { COLD = 20, WARM = 16, LAST = 4 };
    double    v[COLD];
    int       n = int8 ? WARM : COLD;
    sr_status s = CU(d, err, sr_cuda_peak(d->queue[SR_Q_COMPUTE].stream, &d->info, int8, v, n));
    *out        = s ? 0 : sr_bench_spread(v + n - LAST, LAST).median;
    return s;
}

static sr_status cuda_peaks(sr_dev *d, sr_peaks *out, sr_err *err)
{
    *out        = (sr_peaks){0};
    sr_status s = sr_cuda_enter(d, err);
    s           = s ? s : peak(d, false, &out->f16, err);
    return s ? s : peak(d, true, &out->int8, err);
}

const sr_backend sr_backend_cuda = {
    .abi = SR_BACKEND_ABI, .size = sizeof(sr_backend), .name = "cuda", .build = SR_VERSION,
    .count = cuda_count, .open = cuda_open, .close = cuda_close, .info = cuda_info,
    .alloc = cuda_alloc, .free = cuda_free, .ledger = cuda_ledger, .pin = cuda_pin, .pack = sr_linear_cuda_pack, .tile = cuda_tile, .decode = cuda_decode,
    .copyv = sr_cuda_copyv, .mark = sr_cuda_mark, .fence = sr_cuda_fence, .wait = sr_cuda_wait, .group = NULL,
    .supports = sr_cuda_supports, .scratch = sr_cuda_scratch, .prepare = sr_cuda_prepare, .slot = sr_cuda_slot,
    .bind = sr_cuda_bind, .submit = sr_cuda_submit, .discard = sr_cuda_discard, .profile = sr_cuda_profile,
    .peaks = cuda_peaks,
};
