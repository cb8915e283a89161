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
#include "ops/linear/layout.h"

enum { ALIGN = 4096, MIB = 1 << 20 };
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
        pthread_mutex_lock(&dev->lock);
        d.mem_free = SR_MIN(d.mem_free, dev->budget - dev->used);
        pthread_mutex_unlock(&dev->lock);
    }
    *out = d;
    return SR_OK;
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
    while (d->blocks) {
        sr_cudablock *b = d->blocks;
        d->blocks       = b->next;
        (void)(b->device ? cudaFree(b->base) : cudaFreeHost(b->base));
        sr_free(b);
    }
    sr_cudaqueues_close(d);
    (void)cudaGetLastError();
    if (d->chains)
        atomic_flag_clear(&chains_taken);
    pthread_mutex_destroy(&d->lock);
    sr_free(d);
}

static sr_status budget(sr_dev *d, sr_err *err)
{
    size_t mem_free = 0, mem_total = 0;
    if (CU(d, err, cudaMemGetInfo(&mem_free, &mem_total)))
        return err ? err->status : SR_INVALID;
    d->budget = d->cfg.mem_budget ? d->cfg.mem_budget : mem_free > MARGIN ? mem_free - MARGIN : 0;
    if (d->budget > mem_free)
        return sr_raise(err, SR_NOMEM, "cuda:%d: a budget of %llu MiB was asked for, %llu of %llu MiB are free", d->index,
                        (unsigned long long)(d->budget / MIB), (unsigned long long)mem_free / MIB, (unsigned long long)mem_total / MIB);
    return SR_OK;
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
    d->info.pdl = d->info.arch >= 90;
    if (budget(d, err) || sr_cudaqueues_open(d, err))
        goto fail;
    /* Where waits are kernels of their own, one of them could hold a place that a chain needs. */
    d->chains      = d->info.arch == 90 && d->wait_value && !atomic_flag_test_and_set(&chains_taken);
    d->info.chains = d->chains;
    *out = d;
    return SR_OK;
fail:
    cuda_close(d);
    return err->status;
}

/* ---- memory ------------------------------------------------------------------------------------------------- */

static cudaError_t take_raw(sr_cudablock *b, size_t bytes)
{
    return b->device ? cudaMalloc(&b->base, bytes) : cudaHostAlloc(&b->base, bytes, cudaHostAllocPortable | cudaHostAllocMapped);
}

static void give_raw(sr_cudablock *b)
{
    (void)(b->device ? cudaFree(b->base) : cudaFreeHost(b->base)); /* a failure here is an older one's echo */
}

/* Large pieces of CUDA's lie on pages of 2 MiB, small ones on 512 bytes; the contract says 4096. */
static cudaError_t take(sr_cudablock *b, size_t bytes)
{
    cudaError_t rc = take_raw(b, bytes ? bytes : 1);
    if (rc == cudaSuccess && (uintptr_t)b->base % ALIGN) {
        give_raw(b);
        rc = take_raw(b, bytes + ALIGN);
    }
    b->p = (void *)sr_align_up((uintptr_t)b->base, ALIGN);
    return rc;
}

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
    sr_status s = sr_cuda_enter(d, err);
    if (s)
        return s;
    sr_cudablock *b    = sr_calloc(1, sizeof *b);
    bool          deny = sr_fault(SR_FAULT_DEVALLOC);
    if (!b)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a ledger entry", sizeof *b);
    b->device = kind == SR_MEM_DEVICE;
    b->bytes  = bytes;
    snprintf(b->tag, sizeof b->tag, "%s", tag);
    pthread_mutex_lock(&d->lock);
    uint64_t left = d->budget - d->used;
    bool     fits = !b->device || bytes <= left;
    if (fits && b->device)
        d->used += bytes;
    pthread_mutex_unlock(&d->lock);
    cudaError_t rc = fits && !deny ? take(b, bytes) : cudaErrorMemoryAllocation;
    if (rc == cudaSuccess) {
        pthread_mutex_lock(&d->lock);
        b->next   = d->blocks;
        d->blocks = b;
        pthread_mutex_unlock(&d->lock);
        *out = b->p;
        return SR_OK;
    }
    if (fits && b->device) {
        pthread_mutex_lock(&d->lock);
        d->used -= bytes;
        pthread_mutex_unlock(&d->lock);
    }
    sr_free(b);
    (void)cudaGetLastError();
    if (rc != cudaErrorMemoryAllocation)
        return sr_cuda_check(d, err, "allocation", rc);
    return kind == SR_MEM_DEVICE ? sr_raise(err, SR_NOMEM, "cuda:%d: %zu bytes of device memory for %s; %llu of the budget of %llu MiB are left", d->index, bytes, tag,
                               (unsigned long long)(left / MIB), (unsigned long long)(d->budget / MIB))
                    : refused_lock(d, bytes, tag, err);
}

static void cuda_free(sr_dev *d, void *p)
{
    sr_err ignored = {0};
    if (!p || sr_cuda_enter(d, &ignored))
        return;
    pthread_mutex_lock(&d->lock);
    sr_cudablock **at = &d->blocks;
    while (*at && (*at)->p != p)
        at = &(*at)->next;
    sr_cudablock *b = *at;
    SR_ASSERT(b, "freed %p was never allocated here", p);
    *at = b->next;
    d->used -= b->device ? b->bytes : 0;
    pthread_mutex_unlock(&d->lock);
    give_raw(b);
    sr_free(b);
}

bool sr_cuda_owns(sr_dev *d, const void *p, size_t bytes)
{
    pthread_mutex_lock(&d->lock);
    const sr_cudablock *b = d->blocks;
    while (b && ((const char *)p < (const char *)b->p || (const char *)p + bytes > (const char *)b->p + b->bytes))
        b = b->next;
    pthread_mutex_unlock(&d->lock);
    return b != NULL;
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

/* The last pieces: an H200 takes 75 ms to slow down to what its power allows, and less when it is warm (notes/0051). */
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
    .alloc = cuda_alloc, .free = cuda_free, .pin = cuda_pin, .pack = sr_linear_cuda_pack, .tile = cuda_tile, .decode = cuda_decode,
    .copyv = sr_cuda_copyv, .mark = sr_cuda_mark, .fence = sr_cuda_fence, .wait = sr_cuda_wait, .group = NULL,
    .supports = sr_cuda_supports, .scratch = sr_cuda_scratch, .prepare = sr_cuda_prepare, .slot = sr_cuda_slot,
    .bind = sr_cuda_bind, .submit = sr_cuda_submit, .discard = sr_cuda_discard, .profile = sr_cuda_profile,
    .peaks = cuda_peaks,
};
