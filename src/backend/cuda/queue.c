/* queue.c - a queue is a stream; a point on it is a word in pinned memory that the stream writes when it gets there.
 *
 *     mark    ... kernels ... | write word := n          fence   | wait until *word >= v | kernels ...
 *
 * Both are memory operations of the driver, without a kernel, an event or a callback; words of other devices and of the
 * host are waited for in the same way.  Nobody is called back: the host looks at the word, after it has slept for most of the
 * time that the last waits took.
 */
#include <string.h>
#include <sched.h>

#include "backend/cuda/internal.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/fault.h"
#include "base/mem.h"
#include "ops/cuda_driver.h"

enum { WORD_STEP = 128, SPINS = 4000, WAITS = SR_COUNT(((sr_dev *)0)->waited) };
static const uint64_t YIELD_NS = 4000000, LOOK_NS = 200000; /* then sleep; ask the streams for failures */
/* A nap pays from the first on; awake so long before it is over; longer waits sleep anyway. */
static const uint64_t NAP_LEAST_NS = 100000, NAP_EARLY_NS = 150000, NAP_MOST_NS = 10000000;

static void find_memory_operations(sr_dev *d)
{
    CUresult (*attribute)(int *, CUdevice_attribute, CUdevice);
    void *p = sr_cuda_driver("cuDeviceGetAttribute"), *w = sr_cuda_driver("cuStreamWriteValue64"), *a = sr_cuda_driver("cuStreamWaitValue64");
    int   wide = 0;
    memcpy(&attribute, &p, sizeof p);
    if (!p || !w || !a || attribute(&wide, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, d->index) != CUDA_SUCCESS || !wide)
        return;
    memcpy(&d->write_value, &w, sizeof w);
    memcpy(&d->wait_value, &a, sizeof a);
}

sr_status sr_cudaqueues_open(sr_dev *d, sr_err *err)
{
    int least = 0, greatest = 0;
    find_memory_operations(d);
    if (CU(d, err, cudaHostAlloc(&d->words, SR_Q_COUNT * WORD_STEP, cudaHostAllocPortable | cudaHostAllocMapped)) ||
        CU(d, err, cudaDeviceGetStreamPriorityRange(&least, &greatest)))
        return err->status;
    memset(d->words, 0, SR_Q_COUNT * WORD_STEP);
    for (int i = 0; i < SR_Q_COUNT; i++) {
        sr_cudaqueue *q    = &d->queue[i];
        char         *word = (char *)d->words + i * WORD_STEP;
        void         *at   = NULL;
        if (CU(d, err, cudaHostGetDevicePointer(&at, word, 0)) ||
            CU(d, err, cudaStreamCreateWithPriority(&q->stream, cudaStreamNonBlocking, i == SR_Q_COMPUTE ? greatest : least)))
            return err->status;
        q->word = (volatile uint64_t *)(void *)word;
        q->at   = (CUdeviceptr)(uintptr_t)at;
    }
    return SR_OK;
}

void sr_cudaqueues_close(sr_dev *d)
{
    for (int i = 0; i < SR_Q_COUNT; i++)
        if (d->queue[i].stream)
            (void)cudaStreamDestroy(d->queue[i].stream);
    if (d->words)
        (void)cudaFreeHost(d->words);
}

/* ---- copies ------------------------------------------------------------------------------------------------- */

static sr_status copy(sr_dev *d, cudaStream_t stream, const sr_span *s, sr_err *err)
{
    if (!s->n || !s->bytes)
        return SR_OK;
    if (s->n == 1 || (s->dst_step == s->bytes && s->src_step == s->bytes))
        return CU(d, err, cudaMemcpyAsync(s->dst, s->src, s->bytes * s->n, cudaMemcpyDefault, stream));
    if (s->dst_step >= s->bytes && s->src_step >= s->bytes)
        return CU(d, err, cudaMemcpy2DAsync(s->dst, s->dst_step, s->src, s->src_step, s->bytes, s->n, cudaMemcpyDefault, stream));
    for (size_t i = 0; i < s->n; i++) { /* steps below the piece, 0 for instance: 2-D copies refuse them */
        sr_status rc = CU(d, err, cudaMemcpyAsync((char *)s->dst + i * s->dst_step, (const char *)s->src + i * s->src_step, s->bytes,
                                                  cudaMemcpyDefault, stream));
        if (rc)
            return rc;
    }
    return SR_OK;
}

/* Small pieces between memory of ours go in one kernel: each copy of its own costs a microsecond and more, and a copy engine's start. */
static bool small(sr_dev *d, const sr_span *s, uint32_t n, sr_cudapieces *p)
{
    if (n > SR_CUDA_PIECES)
        return false;
    *p = (sr_cudapieces){0};
    for (uint32_t i = 0; i < n; i++, s++) {
        size_t bytes = s->bytes * s->n;
        if (!bytes)
            continue;
        if (s->n != 1 || bytes % 4 || bytes / 4 > SR_CUDA_PIECE_WORDS || (uintptr_t)s->dst % 4 || (uintptr_t)s->src % 4 ||
            !sr_cuda_owns(d, s->dst, bytes) || !sr_cuda_owns(d, s->src, bytes))
            return false;
        p->piece[p->n].dst   = s->dst;
        p->piece[p->n].src   = s->src;
        p->piece[p->n++].words = (uint32_t)(bytes / 4);
    }
    return p->n != 0;
}

sr_status sr_cuda_copyv(sr_dev *d, sr_queue q, const sr_span *s, uint32_t n, sr_err *err)
{
    sr_status rc = sr_cuda_enter(d, err);
    if (sr_fault(SR_FAULT_COPY)) {
        sr_err e = {0};
        sr_raise(&e, SR_DEVLOST, "cuda:%d: injected failure of a copy", d->index);
        sr_cuda_fail(d, &e);
        return SR_OK; /* a device's copies fail later, not here */
    }
    sr_cudapieces pieces;
    if (rc == SR_OK && small(d, s, n, &pieces))
        return CU(d, err, sr_cuda_copy_words(d->queue[q].stream, &pieces));
    for (uint32_t i = 0; i < n && rc == SR_OK; i++)
        rc = copy(d, d->queue[q].stream, &s[i], err);
    return rc;
}

/* ---- points ------------------------------------------------------------------------------------------------- */

sr_point sr_cuda_mark(sr_dev *d, sr_queue q)
{
    sr_cudaqueue *s = &d->queue[q];
    sr_err        e = {0};
    uint64_t      n = ++s->marks;
    if (sr_cuda_enter(d, &e) == SR_OK) {
        if (!d->write_value)
            (void)!CU(d, &e, sr_cuda_signal(s->stream, s->at, n));
        else if (d->write_value(s->stream, s->at, n, 0) != CUDA_SUCCESS && CU(d, &e, cudaStreamQuery(s->stream)) == SR_OK)
            sr_raise(&e, SR_DEVLOST, "cuda:%d: a mark could not be set", d->index);
    }
    if (e.status)
        sr_cuda_fail(d, &e);
    return (sr_point){s->word, n};
}

/* The device's address of a word, which may be another device's or the host's; 0: it is not page-locked. */
static CUdeviceptr address_of(sr_dev *d, const volatile uint64_t *word)
{
    for (int i = 0; i < SR_Q_COUNT; i++)
        if (d->queue[i].word == word)
            return d->queue[i].at;
    struct cudaPointerAttributes a = {0};
    if (cudaPointerGetAttributes(&a, (const void *)(uintptr_t)word) != cudaSuccess)
        (void)cudaGetLastError();
    return (CUdeviceptr)(uintptr_t)a.devicePointer;
}

void sr_cuda_fence(sr_dev *d, sr_queue q, sr_point on)
{
    sr_err e = {0};
    if (sr_reached(on) || sr_cuda_enter(d, &e))
        return;
    CUdeviceptr at = address_of(d, on.word);
    if (!at)
        sr_raise(&e, SR_INVALID, "cuda:%d: a fence on a word that is not page-locked", d->index);
    else if (!d->wait_value)
        (void)!CU(d, &e, sr_cuda_await(d->queue[q].stream, at, on.value));
    else if (d->wait_value(d->queue[q].stream, at, on.value, CU_STREAM_WAIT_VALUE_GEQ) != CUDA_SUCCESS)
        sr_raise(&e, SR_DEVLOST, "cuda:%d: a fence could not be set", d->index);
    if (e.status)
        sr_cuda_fail(d, &e);
}

/* A failed stream never gets to its marks: ask it. */
static sr_status look(sr_dev *d, sr_err *err)
{
    for (int i = 0; i < SR_Q_COUNT; i++) {
        cudaError_t rc = cudaStreamQuery(d->queue[i].stream);
        if (rc == cudaErrorNotReady) {
            (void)cudaGetLastError();
            continue;
        }
        sr_err e = {0};
        if (sr_cuda_check(d, &e, "a queue", rc)) {
            e.status = SR_DEVLOST;
            sr_cuda_fail(d, &e);
        }
    }
    if (!__atomic_load_n(&d->failed, __ATOMIC_ACQUIRE))
        return SR_OK;
    return sr_raise(err, d->fail.status, "%s", d->fail.msg);
}

/* A step of the same requests takes about as long as the one before.  Three quarters of the shortest of the last waits, less what waking
 * up takes, are slept through: a core that spins for milliseconds in every step is one that others could use. */
static void nap(sr_dev *d, uint64_t timeout_ns)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < WAITS; i++)
        least = SR_MIN(least, __atomic_load_n(&d->waited[i], __ATOMIC_RELAXED));
    least = SR_MIN(least / 4 * 3, NAP_MOST_NS);
    if (least >= NAP_LEAST_NS + NAP_EARLY_NS && least <= timeout_ns)
        nanosleep(&(struct timespec){.tv_nsec = (long)(least - NAP_EARLY_NS)}, NULL);
}

static void remember(sr_dev *d, uint64_t ns)
{
    uint32_t i = __atomic_fetch_add(&d->waits, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&d->waited[i % WAITS], ns, __ATOMIC_RELAXED);
}

static sr_status wait_awake(sr_dev *d, sr_point p, uint64_t timeout_ns, sr_err *err)
{
    sr_status s = sr_cuda_enter(d, err);
    if (s)
        return s;
    uint64_t start = 0, looked = 0;
    for (uint32_t i = 0; !sr_reached(p); i++) {
        if (i < SPINS) {
            sr_cpu_pause();
            continue;
        }
        uint64_t now = sr_now_ns();
        start        = start ? start : now;
        if (now - looked > LOOK_NS) {
            if ((s = look(d, err)) != SR_OK)
                return s;
            looked = now;
        }
        if (timeout_ns != UINT64_MAX && now - start >= timeout_ns)
            return SR_AGAIN;
        if (now - start < YIELD_NS)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    if (!__atomic_load_n(&d->failed, __ATOMIC_ACQUIRE))
        return SR_OK;
    return sr_raise(err, d->fail.status, "%s", d->fail.msg);
}

sr_status sr_cuda_wait(sr_dev *d, sr_point p, uint64_t timeout_ns, sr_err *err)
{
    uint64_t start = sr_now_ns();
    if (!sr_reached(p))
        nap(d, timeout_ns);
    sr_status s = wait_awake(d, p, timeout_ns, err);
    if (s == SR_OK)
        remember(d, sr_now_ns() - start);
    return s;
}
