/* port.c - two rings, two copies of the gauges and two sleepers in one shared mapping.
 *
 *     mapping  [doorbells, gauges, lock][command ring: command_bytes + reserve][event ring: event_bytes]
 *
 * Sleeping.  The engine sleeps in ppoll() on `work_fd`; before it does it says so in `asleep`, then looks at
 * the ring once more.  An asker publishes first and rings only when `asleep` was set.  Both orders are
 * sequentially consistent, so one of the two sees the other: a command is found or a bell rings.  With work
 * there, neither side makes a system call.
 *     The poller sleeps wherever it likes (libevent) on `event_fd`.  `belled` is 1 from the flush that rings
 * until the poll that answers; flushes meanwhile stay silent.  poll() empties the descriptor, then clears
 * `belled`, then looks at the ring, in this order: an event published after the look finds `belled` 0.
 *
 * Room.  Posts may fill only command_bytes of the command ring; ends and acks may use the reserve, too.  The
 * engine takes all commands at every step, so that what can gather is one ack for each event it has emitted;
 * the reserve is as large as the event ring for that.
 */
#include "engine/port.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/ring.h"
#include "ops/op.h"

enum { GAUGE_WORDS = sizeof(sr_portstats) / sizeof(uint64_t), LIMIT_MIB = 1024 };

typedef struct {
    _Alignas(64) uint32_t asleep; /* the engine is in ppoll or about to be */
    uint32_t woken;               /* sr_port_wake() since the last sleep */
    _Alignas(64) uint32_t belled; /* event_fd was rung and not yet answered */
    uint32_t broken;              /* a side found records that cannot be */
    _Alignas(64) uint64_t version; /* of the gauges shown: they are in gauges[version % 2] */
    uint64_t        gauges[2][GAUGE_WORDS];
    pthread_mutex_t posters; /* process-shared, robust: a poster that dies inside has published nothing */
} shared;

struct sr_port {
    shared      *shm;
    size_t       shm_bytes;
    int          mem_fd, work_fd, event_fd;
    size_t       posts_cap; /* bytes of the command ring that posts may fill */
    sr_ring      commands, events;
    sr_portstats gauges;    /* the engine's own; published by flush and sleep */
    uint8_t     *taken;     /* the last command, by value [commands.cap] */
    uint8_t     *polled;    /* the last poll's events [events.cap] */
};

/* What lies in the rings.  An event is followed by its usage (DONE), alternatives, vector and message, a POST
 * by the request's tokens, biases and stop tokens. */
typedef struct { uint64_t id; uint32_t kind, choice, pos, reason; } wire_command;
typedef struct { wire_command head; sr_request request; } wire_post; /* its pointers are NULL */
typedef struct {
    uint64_t id;
    uint32_t choice, pos;
    int32_t  token;
    float    logprob;
    uint8_t  kind, reason, status, n_alt;
    uint16_t n_vec, n_msg; /* n_msg: with its NUL; 0: none */
} wire_event;
typedef char usage_keeps_alternatives_aligned[sizeof(((sr_event *)0)->usage) % 8 == 0 ? 1 : -1];
enum {
    MAX_MSG = sizeof(((sr_err *)0)->msg),
    MAX_EVENT = SR_PORT_EVENT_MAX - 8 /* less the ring's length */
};

/* ---- open and close ------------------------------------------------------------------------------------ */

static sr_status lock_init(pthread_mutex_t *m, sr_err *err)
{
    pthread_mutexattr_t a;
    int                 e = pthread_mutexattr_init(&a);
    if (e == 0) {
        pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
        e = pthread_mutex_init(m, &a);
        pthread_mutexattr_destroy(&a);
    }
    return e ? sr_raise(err, SR_NOMEM, "port: a shared lock: %s", strerror(e)) : SR_OK;
}

static sr_status port_map(sr_port *p, sr_err *err)
{
    p->mem_fd   = memfd_create("strata-port", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    p->work_fd  = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->mem_fd < 0 || p->work_fd < 0 || p->event_fd < 0)
        return sr_raise(err, SR_IO, "port: memfd and two eventfds: %s", strerror(errno));
    /* Taken now, and sealed: shared memory that runs out, or shrinks, later is a SIGBUS. */
    int e = posix_fallocate(p->mem_fd, 0, (off_t)p->shm_bytes);
    if (e)
        return sr_raise(err, SR_NOMEM, "port: %zu bytes of shared memory: %s", p->shm_bytes, strerror(e));
    if (fcntl(p->mem_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        return sr_raise(err, SR_IO, "port: sealing the shared memory: %s", strerror(errno));
    void *m = mmap(NULL, p->shm_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->mem_fd, 0);
    if (m == MAP_FAILED)
        return sr_raise(err, SR_NOMEM, "port: mapping %zu bytes: %s", p->shm_bytes, strerror(errno));
    p->shm = m;
    return lock_init(&p->shm->posters, err);
}

sr_status sr_port_open(const sr_portcfg *cfg, sr_port **out, sr_err *err)
{
    size_t commands = cfg && cfg->command_bytes ? cfg->command_bytes : (size_t)4 << 20;
    size_t events   = cfg && cfg->event_bytes ? cfg->event_bytes : (size_t)1 << 20;
    *out            = NULL;
    if (commands < 1024 || events < 4 * SR_PORT_EVENT_MAX || (commands | events) > (size_t)LIMIT_MIB << 20)
        return sr_raise(err, SR_INVALID,
                        "port: %zu bytes of commands, %zu of events: at least 1024 and %d, at most %d MiB each",
                        commands, events, 4 * SR_PORT_EVENT_MAX, LIMIT_MIB);
    sr_port *p = sr_calloc(1, sizeof *p);
    if (!p)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a port", sizeof *p);
    p->mem_fd = p->work_fd = p->event_fd = -1;

    commands      = sr_align_up(commands, 64);
    events        = sr_align_up(events, 64);
    p->posts_cap  = commands;
    size_t cap    = commands + events; /* the reserve: see the top */
    size_t at_cmd = sr_align_up(sizeof(shared), 64), at_ev = at_cmd + sr_ring_bytes(cap);
    p->shm_bytes  = at_ev + sr_ring_bytes(events);
    sr_status s  = port_map(p, err);
    if (s)
        goto fail;
    p->commands = sr_ring_at((uint8_t *)p->shm + at_cmd, cap);
    p->events   = sr_ring_at((uint8_t *)p->shm + at_ev, events);
    p->taken    = sr_malloc(cap);
    p->polled   = sr_malloc(events);
    if (!p->taken || !p->polled) {
        s = sr_raise(err, SR_NOMEM, "host: %zu bytes for a port's copies", cap + events);
        goto fail;
    }
    *out = p;
    return SR_OK;
fail:
    sr_port_close(p);
    return s;
}

void sr_port_close(sr_port *p)
{
    if (!p)
        return;
    if (p->shm)
        munmap(p->shm, p->shm_bytes); /* the lock is not destroyed: the other process may still have it */
    if (p->mem_fd >= 0)
        close(p->mem_fd);
    if (p->work_fd >= 0)
        close(p->work_fd);
    if (p->event_fd >= 0)
        close(p->event_fd);
    sr_free(p->taken);
    sr_free(p->polled);
    sr_free(p);
}

/* ---- bells --------------------------------------------------------------------------------------------- */

/* An eventfd counts to 2^64 and is only ever behind by the number of rings: neither call can block or fail. */
static void bell_ring(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void bell_empty(int fd)
{
    uint64_t n;
    while (read(fd, &n, sizeof n) < 0 && errno == EINTR) {
    }
}

static void wake_engine(sr_port *p)
{
    if (__atomic_load_n(&p->shm->asleep, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&p->shm->asleep, 0, __ATOMIC_SEQ_CST)) /* of several wakers one rings */
        bell_ring(p->work_fd);
}

static void wake_poller(sr_port *p)
{
    if (!__atomic_exchange_n(&p->shm->belled, 1, __ATOMIC_SEQ_CST))
        bell_ring(p->event_fd);
}

static bool work_waits(const sr_port *p)
{
    size_t n = sr_ring_next(&p->commands);
    return (n != 0 && n != SR_RING_BROKEN) || __atomic_load_n(&p->shm->woken, __ATOMIC_SEQ_CST);
}

/* ---- asker --------------------------------------------------------------------------------------------- */

/* Puts one command unless that would leave less than `keep` bytes of room. */
static bool command_put(sr_port *p, const sr_piece *piece, size_t n, size_t bytes, size_t keep)
{
    /* EOWNERDEAD: a process died while it held the lock.  It had put its record wholly or not at all (the
     * ring moves its position last), so there is nothing to repair. */
    if (pthread_mutex_lock(&p->shm->posters) == EOWNERDEAD)
        pthread_mutex_consistent(&p->shm->posters);
    size_t room = sr_ring_room(&p->commands);
    bool   ok   = room >= keep && room - keep >= bytes && sr_ring_put(&p->commands, piece, n);
    if (ok)
        sr_ring_publish(&p->commands);
    pthread_mutex_unlock(&p->shm->posters);
    if (ok)
        wake_engine(p);
    return ok;
}

static sr_status post_check(const sr_request *q, sr_err *err)
{
    if (q->n_tok == 0 || !q->tok)
        return sr_raise(err, SR_INVALID, "request %llu: no tokens", (unsigned long long)q->id);
    if ((q->n_stop_tok && !q->stop_tok) || (q->sampling.n_bias && !q->sampling.bias))
        return sr_raise(err, SR_INVALID, "request %llu: %u stop tokens and %u biases, but no list",
                        (unsigned long long)q->id, q->n_stop_tok, q->sampling.n_bias);
    if (q->sampling.grammar)
        return sr_raise(err, SR_UNSUPPORTED, "request %llu: grammars are not there yet",
                        (unsigned long long)q->id);
    if (q->sampling.ext)
        return sr_raise(err, SR_UNSUPPORTED, "request %llu: extended samplers are not there yet",
                        (unsigned long long)q->id);
    return SR_OK;
}

sr_status sr_port_post(sr_port *p, const sr_request *q, sr_err *err)
{
    sr_status s = post_check(q, err);
    if (s)
        return s;
    wire_post w = {.head = {.id = q->id, .kind = SR_CMD_POST}, .request = *q};
    w.request.tok = w.request.stop_tok = NULL;
    w.request.sampling.bias            = NULL;
    sr_piece piece[] = {{&w, sizeof w},
                        {q->tok, q->n_tok * sizeof *q->tok}, /* 2^32 of 8 bytes fit a size_t: three sums do, too */
                        {q->sampling.bias, q->sampling.n_bias * sizeof *q->sampling.bias},
                        {q->stop_tok, q->n_stop_tok * sizeof *q->stop_tok}};
    size_t bytes = sr_ring_record(piece[0].n + piece[1].n + piece[2].n + piece[3].n);
    if (bytes > p->posts_cap)
        return sr_raise(err, SR_INVALID,
                        "request %llu: %zu bytes (%u tokens, %u biases, %u stop tokens), the ring holds %zu",
                        (unsigned long long)q->id, bytes, q->n_tok, q->sampling.n_bias, q->n_stop_tok,
                        p->posts_cap);
    size_t reserve = p->commands.cap - p->posts_cap;
    return command_put(p, piece, SR_COUNT(piece), bytes, reserve) ? SR_OK : SR_AGAIN;
}

bool sr_port_end(sr_port *p, uint64_t id, uint32_t choice, sr_endreason reason)
{
    wire_command w = {.id = id, .kind = SR_CMD_END, .choice = choice, .reason = reason};
    return command_put(p, &(sr_piece){&w, sizeof w}, 1, sr_ring_record(sizeof w), 0);
}

bool sr_port_ack(sr_port *p, uint64_t id, uint32_t choice, uint32_t pos)
{
    wire_command w = {.id = id, .kind = SR_CMD_ACK, .choice = choice, .pos = pos};
    return command_put(p, &(sr_piece){&w, sizeof w}, 1, sr_ring_record(sizeof w), 0);
}

/* Reads the event of n bytes at b; its pointers stay in b.  False: the parts do not add up to n. */
static bool event_read(const uint8_t *b, size_t n, sr_event *e)
{
    const wire_event *w = (const wire_event *)b;
    if (n < sizeof *w)
        return false;
    size_t usage = w->kind == SR_EV_DONE ? sizeof e->usage : 0;
    size_t alt = sizeof *w + usage, vec = alt + w->n_alt * sizeof *e->alt;
    size_t msg = vec + w->n_vec * sizeof *e->vec;
    if (msg + w->n_msg != n || (w->n_msg && b[n - 1] != 0))
        return false;
    *e = (sr_event){.id = w->id, .choice = w->choice, .pos = w->pos, .kind = w->kind, .token = w->token,
                    .logprob = w->logprob, .n_alt = w->n_alt, .n_vec = w->n_vec, .reason = w->reason,
                    .status = w->status};
    memcpy(&e->usage, b + sizeof *w, usage);
    if (w->n_alt)
        e->alt = (const sr_alt *)(b + alt);
    if (w->n_vec)
        e->vec = (const float *)(b + vec);
    if (w->n_msg)
        e->msg = (const char *)(b + msg);
    return true;
}

size_t sr_port_poll(sr_port *p, sr_event *out, size_t cap)
{
    size_t got = 0, at = 0, n;
    bell_empty(p->event_fd);
    __atomic_exchange_n(&p->shm->belled, 0, __ATOMIC_SEQ_CST);
    while ((n = sr_ring_next(&p->events)) != 0 && n != SR_RING_BROKEN) {
        if (got == cap || n > p->events.cap - at) {
            wake_poller(p); /* there is more: the descriptor must say so */
            return got;
        }
        sr_ring_get(&p->events, p->polled + at, n);
        if (!event_read(p->polled + at, n, &out[got])) {
            n = SR_RING_BROKEN;
            break;
        }
        got++;
        at += sr_align_up(n, 8);
    }
    if (n == SR_RING_BROKEN)
        __atomic_store_n(&p->shm->broken, 1, __ATOMIC_RELAXED);
    return got;
}

int sr_port_fd(const sr_port *p) { return p->event_fd; }

/* What was read is whole unless a flush ended meanwhile: only then may the engine write into this copy.  So an
 * engine that is preempted or killed while it writes disturbs nobody.  The words are released and acquired one
 * by one instead of using fences (which TSan does not see): who has read a word of the next round sees the
 * version that came before it. */
void sr_port_stats(const sr_port *p, sr_portstats *out)
{
    uint64_t words[GAUGE_WORDS];
    uint64_t version, tries = 0;
    do { /* a flush takes far longer than this copy; the bound is for a peer that writes nonsense */
        version = __atomic_load_n(&p->shm->version, __ATOMIC_ACQUIRE);
        for (size_t i = 0; i < GAUGE_WORDS; i++)
            words[i] = __atomic_load_n(&p->shm->gauges[version % 2][i], __ATOMIC_ACQUIRE);
    } while (__atomic_load_n(&p->shm->version, __ATOMIC_RELAXED) != version && ++tries < 1000);
    memcpy(out, words, sizeof *out);
    if (__atomic_load_n(&p->shm->broken, __ATOMIC_RELAXED))
        out->fault = 1;
}

/* ---- engine -------------------------------------------------------------------------------------------- */

/* The pieces of a POST of n bytes; false: they do not add up. */
static bool post_read(const uint8_t *b, size_t n, sr_request *q)
{
    *q = ((const wire_post *)b)->request;
    size_t tok = sizeof(wire_post), bias = tok + q->n_tok * sizeof *q->tok;
    size_t stop = bias + q->sampling.n_bias * sizeof *q->sampling.bias;
    if (stop + q->n_stop_tok * sizeof *q->stop_tok != n)
        return false;
    q->tok = (const int32_t *)(b + tok);
    if (q->sampling.n_bias)
        q->sampling.bias = (const sr_bias *)(b + bias);
    if (q->n_stop_tok)
        q->stop_tok = (const int32_t *)(b + stop);
    return true;
}

bool sr_port_take(sr_port *p, sr_command *out)
{
    size_t n = sr_ring_next(&p->commands);
    if (n == 0)
        return false;
    if (n == SR_RING_BROKEN || n < sizeof(wire_command))
        goto broken;
    sr_ring_get(&p->commands, p->taken, n);
    const wire_command *w = (const wire_command *)p->taken;
    *out = (sr_command){.kind = w->kind, .id = w->id, .choice = w->choice, .pos = w->pos, .reason = w->reason};
    if (w->kind == SR_CMD_POST && (n < sizeof(wire_post) || !post_read(p->taken, n, &out->request)))
        goto broken;
    return true;
broken: /* the askers' process has written outside its memory; nothing it says can be trusted */
    __atomic_store_n(&p->shm->broken, 1, __ATOMIC_RELAXED);
    return false;
}

static void gauges_publish(sr_port *p)
{
    shared  *s = p->shm;
    uint64_t words[GAUGE_WORDS];
    memcpy(words, &p->gauges, sizeof words);
    uint64_t v = __atomic_load_n(&s->version, __ATOMIC_RELAXED) + 1;
    for (size_t i = 0; i < GAUGE_WORDS; i++)
        __atomic_store_n(&s->gauges[v % 2][i], words[i], __ATOMIC_RELEASE);
    __atomic_store_n(&s->version, v, __ATOMIC_RELEASE);
}

void sr_port_sleep(sr_port *p, uint64_t timeout_ns)
{
    if (!work_waits(p)) {
        gauges_publish(p);
        uint64_t start = sr_now_ns(), spent = 0;
        while (spent < timeout_ns) {
            __atomic_store_n(&p->shm->asleep, 1, __ATOMIC_SEQ_CST);
            if (work_waits(p))
                break;
            uint64_t        left = timeout_ns - spent;
            struct timespec ts   = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
            struct pollfd   fd   = {.fd = p->work_fd, .events = POLLIN};
            int r = ppoll(&fd, 1, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
            if (r < 0)
                break; /* a signal: whoever runs the engine may want to look */
            if (r > 0)
                bell_empty(p->work_fd);
            if (work_waits(p))
                break; /* else a late ring for work long taken */
            spent = sr_now_ns() - start;
        }
        __atomic_store_n(&p->shm->asleep, 0, __ATOMIC_SEQ_CST);
    }
    __atomic_exchange_n(&p->shm->woken, 0, __ATOMIC_SEQ_CST); /* what was written before the wake is now seen */
}

void sr_port_wake(sr_port *p)
{
    __atomic_store_n(&p->shm->woken, 1, __ATOMIC_SEQ_CST);
    wake_engine(p);
}

size_t sr_port_event_room(const sr_port *p) { return sr_ring_room(&p->events); }

bool sr_port_emit(sr_port *p, const sr_event *e)
{
    size_t msg   = e->msg ? strnlen(e->msg, MAX_MSG - 1) : 0;
    size_t usage = e->kind == SR_EV_DONE ? sizeof e->usage : 0;
    size_t lists = e->n_alt * sizeof *e->alt + e->n_vec * sizeof *e->vec;
    size_t bytes = sizeof(wire_event) + usage + lists + (e->msg ? msg + 1 : 0);
    SR_ASSERT(e->n_alt <= SR_MAX_ALT && e->n_vec < MAX_EVENT && bytes <= MAX_EVENT,
              "event %d of request %llu: %u alternatives, %u numbers, %zu bytes of %d", (int)e->kind,
              (unsigned long long)e->id, e->n_alt, e->n_vec, bytes, (int)MAX_EVENT);
    wire_event w = {.id = e->id, .choice = e->choice, .pos = e->pos, .token = e->token, .logprob = e->logprob,
                    .kind = (uint8_t)e->kind, .reason = (uint8_t)e->reason, .status = (uint8_t)e->status,
                    .n_alt = (uint8_t)e->n_alt, .n_vec = (uint16_t)e->n_vec,
                    .n_msg = (uint16_t)(e->msg ? msg + 1 : 0)};
    sr_piece piece[] = {{&w, sizeof w}, {&e->usage, usage}, {e->alt, e->n_alt * sizeof *e->alt},
                        {e->vec, e->n_vec * sizeof *e->vec}, {e->msg, msg}, {"", e->msg ? 1 : 0}};
    return sr_ring_put(&p->events, piece, SR_COUNT(piece));
}

void sr_port_flush(sr_port *p)
{
    gauges_publish(p);
    if (sr_ring_publish(&p->events))
        wake_poller(p);
}

sr_portstats *sr_port_gauges(sr_port *p) { return &p->gauges; }
