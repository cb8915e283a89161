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
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/ring.h"
#include "engine/port_journal.h"
#include "ops/op.h"

enum { GAUGE_WORDS = sizeof(sr_portstats) / sizeof(uint64_t), LIMIT_MIB = 1024 };

typedef struct {
    _Alignas(64) uint32_t asleep; /* the engine is in ppoll or about to be */
    uint32_t woken;               /* sr_port_wake() since the last sleep */
    _Alignas(64) uint32_t belled; /* event_fd was rung and not yet answered */
    uint32_t broken;              /* a side found records that cannot be */
    uint64_t posts_cap, commands_cap, events_cap;
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
    /* of ports that keep */
    sr_journal     *journal;
    pthread_mutex_t asker;  /* journal, down, renewed */
    pthread_cond_t  renewal;
    bool            down, gone;
    uint64_t        restarts;
    char            why[160];
};

/* What lies in the rings.  An event is followed by its usage (DONE), alternatives, vector and message, a POST
 * by the request's tokens, biases, stop tokens and grammar. */
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

static sr_port *blank_port(void)
{
    pthread_condattr_t a;
    sr_port           *p = sr_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->mem_fd = p->work_fd = p->event_fd = -1;
    pthread_mutex_init(&p->asker, NULL); /* plain ones cannot fail on Linux */
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&p->renewal, &a);
    pthread_condattr_destroy(&a);
    return p;
}

static sr_status port_create(sr_port *p, sr_err *err)
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
    return SR_OK;
}

static sr_status port_map(sr_port *p, sr_err *err)
{
    void *m = mmap(NULL, p->shm_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->mem_fd, 0);
    if (m == MAP_FAILED)
        return sr_raise(err, SR_NOMEM, "port: mapping %zu bytes: %s", p->shm_bytes, strerror(errno));
    p->shm = m;
    return SR_OK;
}

/* This side's view of the rings, from the sizes in the mapping. */
static sr_status port_lay_out(sr_port *p, sr_err *err)
{
    size_t cap = p->shm->commands_cap, events = p->shm->events_cap, at = sr_align_up(sizeof(shared), 64);
    p->posts_cap = p->shm->posts_cap;
    p->commands  = sr_ring_at((uint8_t *)p->shm + at, cap);
    p->events    = sr_ring_at((uint8_t *)p->shm + at + sr_ring_bytes(cap), events);
    p->taken     = sr_malloc(cap);
    p->polled    = sr_malloc(events);
    return p->taken && p->polled ? SR_OK : sr_raise(err, SR_NOMEM, "host: %zu bytes for a port's copies", cap + events);
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
    sr_port *p = blank_port();
    if (!p)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a port", sizeof *p);
    commands      = sr_align_up(commands, 64);
    events        = sr_align_up(events, 64);
    size_t    cap = commands + events; /* the reserve: see the top */
    sr_status s;
    p->shm_bytes = sr_align_up(sizeof(shared), 64) + sr_ring_bytes(cap) + sr_ring_bytes(events);
    if ((s = port_create(p, err)) || (s = port_map(p, err)) || (s = lock_init(&p->shm->posters, err)))
        goto fail;
    p->shm->posts_cap    = commands;
    p->shm->commands_cap = cap;
    p->shm->events_cap   = events;
    if ((s = port_lay_out(p, err)) || (cfg && cfg->keep && (s = sr_journal_open(&p->journal, err))))
        goto fail;
    *out = p;
    return SR_OK;
fail:
    sr_port_close(p);
    return s;
}

sr_portfds sr_port_fds(const sr_port *p) { return (sr_portfds){p->mem_fd, p->work_fd, p->event_fd}; }

sr_status sr_port_attach(sr_portfds fds, sr_port **out, sr_err *err)
{
    struct stat st;
    sr_status   s;
    sr_port    *p = blank_port();
    *out          = NULL;
    if (!p) {
        close(fds.memory), close(fds.work), close(fds.event);
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a port", sizeof *p);
    }
    p->mem_fd   = fds.memory;
    p->work_fd  = fds.work;
    p->event_fd = fds.event;
    if (fstat(p->mem_fd, &st) || st.st_size < (off_t)sizeof(shared)) {
        s = sr_raise(err, SR_INVALID, "port: descriptor %d is not a port's memory", p->mem_fd);
        goto fail;
    }
    p->shm_bytes = (size_t)st.st_size;
    if ((s = port_map(p, err)))
        goto fail;
    uint64_t cap = p->shm->commands_cap, events = p->shm->events_cap;
    if (p->shm->posts_cap > cap || (cap | events) > (uint64_t)2 * LIMIT_MIB << 20 || cap % 64 || events % 64 ||
        sr_align_up(sizeof(shared), 64) + sr_ring_bytes(cap) + sr_ring_bytes(events) != p->shm_bytes) {
        s = sr_raise(err, SR_INVALID, "port: %zu bytes of shared memory are not a port of this version", p->shm_bytes);
        goto fail;
    }
    if ((s = port_lay_out(p, err)))
        goto fail;
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
    sr_journal_close(p->journal);
    pthread_cond_destroy(&p->renewal);
    pthread_mutex_destroy(&p->asker);
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
    if (q->sampling.n_grammar && !q->sampling.grammar)
        return sr_raise(err, SR_INVALID, "request %llu: a grammar of %u bytes, but none", (unsigned long long)q->id, q->sampling.n_grammar);
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
    w.request.sampling.grammar         = NULL;
    sr_piece piece[] = {{&w, sizeof w},
                        {q->tok, q->n_tok * sizeof *q->tok}, /* 2^32 of 8 bytes fit a size_t: four sums do, too */
                        {q->sampling.bias, q->sampling.n_bias * sizeof *q->sampling.bias},
                        {q->stop_tok, q->n_stop_tok * sizeof *q->stop_tok},
                        {q->sampling.grammar, q->sampling.n_grammar}};
    size_t bytes = sr_ring_record(piece[0].n + piece[1].n + piece[2].n + piece[3].n + piece[4].n);
    if (bytes > p->posts_cap)
        return sr_raise(err, SR_INVALID,
                        "request %llu: %zu bytes (%u tokens, %u biases, %u stop tokens, a grammar of %u), the ring holds %zu",
                        (unsigned long long)q->id, bytes, q->n_tok, q->sampling.n_bias, q->n_stop_tok,
                        q->sampling.n_grammar, p->posts_cap);
    size_t reserve = p->commands.cap - p->posts_cap;
    if (!p->journal)
        return command_put(p, piece, SR_COUNT(piece), bytes, reserve) ? SR_OK : SR_AGAIN;

    /* Behind requests that wait for a new engine, and while there is none, it is only written down. */
    size_t left;
    pthread_mutex_lock(&p->asker);
    bool later = p->down || sr_journal_unsent(p->journal, &left);
    bool ok    = later ? sr_journal_bytes(p->journal) + bytes <= 4 * p->posts_cap : sr_ring_room(&p->commands) >= bytes + reserve;
    if (ok && !sr_journal_add(p->journal, q->id, q->n ? q->n : 1, piece, SR_COUNT(piece), !later))
        s = sr_raise(err, SR_NOMEM, "host: %zu bytes to remember request %llu", bytes, (unsigned long long)q->id);
    else if (!ok || (!later && !command_put(p, piece, SR_COUNT(piece), bytes, reserve)))
        s = SR_AGAIN;
    if (ok && s == SR_AGAIN)
        sr_journal_saw(p->journal, &(sr_event){.id = q->id, .choice = UINT32_MAX, .kind = SR_EV_ERROR});
    pthread_mutex_unlock(&p->asker);
    return s;
}

bool sr_port_end(sr_port *p, uint64_t id, uint32_t choice, sr_endreason reason)
{
    wire_command w = {.id = id, .kind = SR_CMD_END, .choice = choice, .reason = reason};
    if (p->journal) {
        pthread_mutex_lock(&p->asker);
        sr_journal_end(p->journal, id, choice, reason);
        pthread_mutex_unlock(&p->asker);
    }
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

/* Events that lie in the ring; *more: some are left. */
static size_t poll_ring(sr_port *p, sr_event *out, size_t cap, bool *more)
{
    size_t got = 0, at = 0, n;
    *more      = false;
    while ((n = sr_ring_next(&p->events)) != 0 && n != SR_RING_BROKEN) {
        if (got == cap || n > p->events.cap - at) {
            *more = true;
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

/* Posts what was written down, as far as there is room. */
static void post_kept(sr_port *p)
{
    const uint8_t *b;
    size_t         n, reserve = p->commands.cap - p->posts_cap;
    while (!p->down && (b = sr_journal_unsent(p->journal, &n)) && command_put(p, &(sr_piece){b, n}, 1, sr_ring_record(n), reserve))
        sr_journal_sent(p->journal);
}

/* The dead engine's last words are read and everybody has been told: as new.  Askers are held off by both locks. */
static void renew(sr_port *p)
{
    if (pthread_mutex_lock(&p->shm->posters) == EOWNERDEAD)
        pthread_mutex_consistent(&p->shm->posters);
    memset(p->commands.mem, 0, sizeof *p->commands.mem);
    memset(p->events.mem, 0, sizeof *p->events.mem);
    __atomic_store_n(&p->shm->asleep, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&p->shm->woken, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&p->shm->broken, 0, __ATOMIC_RELAXED);
    gauges_publish(p); /* this side's own are zero */
    pthread_mutex_unlock(&p->shm->posters);
    p->down = false;
    p->restarts++;
    sr_journal_rewind(p->journal);
    post_kept(p);
    pthread_cond_broadcast(&p->renewal);
}

/* The journal's part of a poll: out[0, got) are new; adds what a death makes of requests. */
static size_t poll_journal(sr_port *p, sr_event *out, size_t got, size_t cap, bool *more)
{
    pthread_mutex_lock(&p->asker);
    for (size_t i = 0; i < got; i++)
        sr_journal_saw(p->journal, &out[i]);
    while (p->down && !*more && got < cap && sr_journal_casualty(p->journal, p->why, &out[got]))
        got++;
    if (p->down && !*more && got < cap)
        renew(p);
    *more |= p->down;
    post_kept(p);
    pthread_mutex_unlock(&p->asker);
    return got;
}

size_t sr_port_poll(sr_port *p, sr_event *out, size_t cap)
{
    bool more;
    bell_empty(p->event_fd);
    __atomic_exchange_n(&p->shm->belled, 0, __ATOMIC_SEQ_CST);
    size_t got = poll_ring(p, out, cap, &more);
    if (p->journal)
        got = poll_journal(p, out, got, cap, &more);
    if (more)
        wake_poller(p); /* the descriptor must say so */
    return got;
}

/* ---- watcher ------------------------------------------------------------------------------------------- */

void sr_port_down(sr_port *p, const char *why)
{
    pthread_mutex_lock(&p->asker);
    p->down = true;
    snprintf(p->why, sizeof p->why, "%s", why);
    pthread_mutex_unlock(&p->asker);
    wake_poller(p);
    bell_ring(p->event_fd); /* the dead engine may have set `belled` and not rung */
}

bool sr_port_await_renewal(sr_port *p, uint64_t timeout_ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t until = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec + timeout_ns;
    t              = (struct timespec){(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    pthread_mutex_lock(&p->asker);
    while (p->down && pthread_cond_timedwait(&p->renewal, &p->asker, &t) == 0) {
    }
    bool renewed = !p->down;
    pthread_mutex_unlock(&p->asker);
    return renewed;
}

void sr_port_gone(sr_port *p)
{
    pthread_mutex_lock(&p->asker);
    p->gone = true;
    pthread_mutex_unlock(&p->asker);
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
    if (!p->journal)
        return;
    pthread_mutex_t *lock = &((sr_port *)(uintptr_t)p)->asker;
    pthread_mutex_lock(lock);
    if (p->down || out->fault) { /* the watcher will replace it */
        *out         = (sr_portstats){.max_ctx = out->max_ctx, .page_tokens = out->page_tokens, .max_seqs = out->max_seqs};
        out->waiting = sr_journal_waiting(p->journal);
    }
    out->fault    = p->gone;
    out->restarts = p->restarts;
    pthread_mutex_unlock(lock);
}

/* ---- engine -------------------------------------------------------------------------------------------- */

/* The pieces of a POST of n bytes; false: they do not add up. */
static bool post_read(const uint8_t *b, size_t n, sr_request *q)
{
    *q = ((const wire_post *)b)->request;
    size_t tok = sizeof(wire_post), bias = tok + q->n_tok * sizeof *q->tok;
    size_t stop = bias + q->sampling.n_bias * sizeof *q->sampling.bias;
    size_t grammar = stop + q->n_stop_tok * sizeof *q->stop_tok;
    if (grammar + q->sampling.n_grammar != n)
        return false;
    q->tok = (const int32_t *)(b + tok);
    if (q->sampling.n_bias)
        q->sampling.bias = (const sr_bias *)(b + bias);
    if (q->n_stop_tok)
        q->stop_tok = (const int32_t *)(b + stop);
    if (q->sampling.n_grammar)
        q->sampling.grammar = b + grammar;
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

void sr_port_hurry(sr_port *p)
{
    if (sr_ring_publish(&p->events))
        wake_poller(p);
}

void sr_port_flush(sr_port *p)
{
    gauges_publish(p);
    sr_port_hurry(p);
}

sr_portstats *sr_port_gauges(sr_port *p) { return &p->gauges; }
