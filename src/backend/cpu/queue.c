#include "backend/cpu/queue.h"

#include <pthread.h>
#include <string.h>
#include "base/clock.h"
#include "base/cpu.h"
#include "base/fault.h"
#include "base/futex.h"
#include "base/mem.h"

enum { COMMANDS = 4096, SPANS = 16384 };

enum kind { COPY, CALL, MARK, FENCE, QUIT };
struct command {
    enum kind kind;
    union {
        struct { uint32_t first, n; } copy; /* in the span ring */
        struct { sr_cpucall fn; void *arg; uint32_t op, n; sr_shape shape; } call;
        uint64_t mark;
        sr_point fence;
    };
};

struct sr_cpuqueue {
    _Alignas(64) uint64_t word;          /* marks reached; low half is the waiters' futex */
    _Alignas(64) uint32_t head;          /* pushed; the thread's futex */
    uint32_t asleep;
    _Alignas(64) uint32_t tail;          /* executed */
    uint32_t span_tail;
    _Alignas(64) uint32_t span_head;
    uint64_t  marks;
    uint64_t  bytes_per_s, ns_per_command, spin_ns;
    uint32_t  failed;                    /* release store after `fail` is written */
    sr_err    fail;
    uint32_t  pin_first;                 /* of so many threads; 0: not pinned */
    bool      started;
    char      name[16];
    pthread_t thread;
    struct command command[COMMANDS];
    sr_span        span[SPANS];
};

/* Waiters of marks: few and short-lived, so one word for all queues: who sleeps on some point.  A waker that
 * sees zero skips the system call. */
static uint32_t point_sleepers;

static uint32_t *low_half(volatile uint64_t *w)
{
    return (uint32_t *)(uintptr_t)w + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 1 : 0);
}

sr_status sr_cpupoint_wait(sr_point p, uint64_t timeout_ns)
{
    uint64_t start = 0;
    for (uint32_t i = 0; !sr_reached(p); i++) {
        if (i < 64) {
            sr_cpu_pause();
            continue;
        }
        uint64_t now = sr_now_ns();
        start        = start ? start : now;
        if (timeout_ns != UINT64_MAX && now - start >= timeout_ns)
            return SR_AGAIN;
        /* Points that the host or a foreign device stores to wake nobody: look again every 100 us. */
        uint64_t left = timeout_ns == UINT64_MAX ? 100000 : SR_MIN(timeout_ns - (now - start), 100000u);
        __atomic_fetch_add(&point_sleepers, 1, __ATOMIC_SEQ_CST);
        uint32_t seen = __atomic_load_n(low_half(p.word), __ATOMIC_SEQ_CST);
        if (!sr_reached(p))
            sr_futex_wait(low_half(p.word), seen, left ? left : 1, false);
        __atomic_fetch_sub(&point_sleepers, 1, __ATOMIC_SEQ_CST);
    }
    return SR_OK;
}

static void fail(sr_cpuqueue *q, const sr_err *e)
{
    if (!q->failed) {
        q->fail = *e;
        __atomic_store_n(&q->failed, 1, __ATOMIC_RELEASE);
    }
}

static void copy_spans(sr_cpuqueue *q, uint32_t first, uint32_t n)
{
    uint64_t bytes = 0, start = sr_now_ns();
    for (uint32_t i = 0; i < n; i++) {
        const sr_span *s = &q->span[(first + i) % SPANS];
        for (size_t k = 0; k < s->n; k++)
            memcpy((char *)s->dst + k * s->dst_step, (const char *)s->src + k * s->src_step, s->bytes);
        bytes += s->bytes * s->n;
    }
    if (q->bytes_per_s) {
        uint64_t due = start + (uint64_t)((double)bytes * 1e9 / (double)q->bytes_per_s);
        while (sr_now_ns() < due)
            sched_yield();
    }
}

static void execute(sr_cpuqueue *q, const struct command *c)
{
    sr_err err = {0};
    if (q->ns_per_command) {
        struct timespec ts = {0, (long)q->ns_per_command};
        nanosleep(&ts, NULL);
    }
    switch (c->kind) {
    case COPY:
        if (sr_fault(SR_FAULT_COPY))
            sr_raise(&err, SR_DEVLOST, "injected failure of a copy on queue %s", q->name);
        else if (!q->failed)
            copy_spans(q, c->copy.first, c->copy.n);
        __atomic_fetch_add(&q->span_tail, c->copy.n, __ATOMIC_RELEASE);
        break;
    case CALL:
        if (sr_fault(SR_FAULT_SUBMIT))
            sr_raise(&err, SR_DEVLOST, "injected failure of a submit on queue %s", q->name);
        else if (!q->failed)
            c->call.fn(c->call.arg, c->call.op, c->call.n, &c->call.shape, &err);
        break;
    case MARK:
        __atomic_store_n(&q->word, c->mark, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&point_sleepers, __ATOMIC_SEQ_CST))
            sr_futex_wake(low_half(&q->word), false);
        break;
    case FENCE: /* another device's points wake nobody: be there when it comes */
        for (uint64_t start = sr_now_ns(); !sr_reached(c->fence) && sr_now_ns() - start < q->spin_ns;)
            sr_cpu_pause();
        sr_cpupoint_wait(c->fence, UINT64_MAX);
        break;
    case QUIT:
        break;
    }
    if (err.status)
        fail(q, &err);
}

static void *serve(void *arg)
{
    sr_cpuqueue *q = arg;
    pthread_setname_np(pthread_self(), q->name);
    if (q->pin_first)
        sr_cpu_pin(0, q->pin_first);
    for (uint32_t done = 0;; done++) {
        uint64_t start = 0;
        for (uint32_t i = 0; __atomic_load_n(&q->head, __ATOMIC_ACQUIRE) == done; i++) {
            sr_spin(i);
            if (i < 512 || i % 64)
                continue;
            uint64_t now = sr_now_ns();
            start        = start ? start : now;
            if (now - start < q->spin_ns)
                continue;
            __atomic_store_n(&q->asleep, 1, __ATOMIC_SEQ_CST);
            if (__atomic_load_n(&q->head, __ATOMIC_SEQ_CST) == done)
                sr_futex_wait(&q->head, done, 0, false);
            __atomic_store_n(&q->asleep, 0, __ATOMIC_SEQ_CST);
        }
        const struct command *c = &q->command[done % COMMANDS];
        if (c->kind == QUIT)
            return NULL;
        execute(q, c);
        __atomic_store_n(&q->tail, done + 1, __ATOMIC_RELEASE);
    }
}

sr_status sr_cpuqueue_open(const char *name, uint32_t spin_us, uint32_t pin_first, sr_cpuqueue **out, sr_err *err)
{
    sr_cpuqueue *q = sr_aligned(64, sizeof *q);
    if (!q)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for queue %s", sizeof *q, name);
    memset(q, 0, sizeof *q);
    memcpy(q->name, name, SR_MIN(strlen(name), sizeof q->name - 1));
    q->spin_ns   = (uint64_t)spin_us * 1000;
    q->pin_first = pin_first;
    int rc       = pthread_create(&q->thread, NULL, serve, q);
    if (rc) {
        sr_raise(err, SR_IO, "cannot start the thread of queue %s: %s", name, strerror(rc));
        sr_free(q);
        return SR_IO;
    }
    q->started = true;
    *out       = q;
    return SR_OK;
}

static bool has_room(const sr_cpuqueue *q)
{
    return q->head - __atomic_load_n(&q->tail, __ATOMIC_ACQUIRE) < COMMANDS - 1; /* one is kept for QUIT */
}

static void push(sr_cpuqueue *q, const struct command *c)
{
    q->command[q->head % COMMANDS] = *c;
    __atomic_store_n(&q->head, q->head + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&q->asleep, __ATOMIC_SEQ_CST))
        sr_futex_wake(&q->head, false);
}

/* Marks and fences must not fail: they wait for room, which a running queue always makes. */
static void push_wait(sr_cpuqueue *q, const struct command *c)
{
    for (uint32_t i = 0; !has_room(q); i++)
        sr_spin(i);
    push(q, c);
}

void sr_cpuqueue_close(sr_cpuqueue *q)
{
    if (!q)
        return;
    push_wait(q, &(struct command){.kind = QUIT});
    pthread_join(q->thread, NULL);
    sr_free(q);
}

sr_status sr_cpuqueue_copyv(sr_cpuqueue *q, const sr_span *s, uint32_t n, sr_err *err)
{
    (void)err; /* SR_AGAIN carries no message */
    if (n > SPANS || !has_room(q) || q->span_head + n - __atomic_load_n(&q->span_tail, __ATOMIC_ACQUIRE) > SPANS)
        return SR_AGAIN;
    for (uint32_t i = 0; i < n; i++)
        q->span[(q->span_head + i) % SPANS] = s[i];
    struct command c = {.kind = COPY, .copy = {q->span_head, n}};
    q->span_head += n;
    push(q, &c);
    return SR_OK;
}

sr_status sr_cpuqueue_call(sr_cpuqueue *q, sr_cpucall fn, void *arg, uint32_t op, uint32_t n, const sr_shape *shape, sr_err *err)
{
    (void)err;
    if (!has_room(q))
        return SR_AGAIN;
    push(q, &(struct command){.kind = CALL, .call = {fn, arg, op, n, *shape}});
    return SR_OK;
}

sr_point sr_cpuqueue_mark(sr_cpuqueue *q)
{
    push_wait(q, &(struct command){.kind = MARK, .mark = ++q->marks});
    return (sr_point){&q->word, q->marks};
}

void sr_cpuqueue_fence(sr_cpuqueue *q, sr_point on) { push_wait(q, &(struct command){.kind = FENCE, .fence = on}); }

sr_status sr_cpuqueue_failure(sr_cpuqueue *q, sr_err *err)
{
    if (!__atomic_load_n(&q->failed, __ATOMIC_ACQUIRE))
        return SR_OK;
    return sr_raise(err, q->fail.status, "%s", q->fail.msg);
}

void sr_cpuqueue_pace(sr_cpuqueue *q, uint64_t bytes_per_s, uint64_t ns_per_command)
{
    q->bytes_per_s    = bytes_per_s;
    q->ns_per_command = ns_per_command;
}
