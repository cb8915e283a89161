#include "weights/reader_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"

static size_t span_of(const sr_readpart *p)
{
    uint64_t from = p->offset / SR_READ_ALIGN * SR_READ_ALIGN;
    return sr_align_up((size_t)(p->offset + p->bytes - from), SR_READ_ALIGN);
}

size_t sr_reader_room(const sr_readunit *unit, uint32_t n_unit, const sr_readpart *part)
{
    size_t most = 0;
    for (uint32_t u = 0; u < n_unit; u++) {
        size_t n = 0;
        for (uint32_t i = 0; i < unit[u].n; i++)
            n += span_of(&part[unit[u].first + i]);
        most = SR_MAX(most, n);
    }
    return most;
}

static const sr_readunit *unit_of(const sr_reader *r, uint64_t k)
{
    return &r->cfg.unit[(r->base_unit + (k - r->base)) % r->cfg.n_unit];
}

/* Where part i of a unit begins in its buffer, blocks before its first byte included. */
static char *place(const sr_reader *r, uint64_t k, uint32_t i)
{
    const sr_readunit *u  = unit_of(r, k);
    char              *at = r->cfg.staging[k % SR_READ_BUFFERS];
    for (uint32_t j = 0; j < i; j++)
        at += span_of(&r->cfg.part[u->first + j]);
    return at;
}

static void fail(sr_reader *r, const sr_readpart *p, uint64_t offset, ssize_t got, int code)
{
    if (r->fail.status)
        return;
    if (got < 0)
        sr_raise(&r->fail, SR_IO, "%s: reading at byte %llu: %s", r->path[p->file], (unsigned long long)offset, strerror(code));
    else
        sr_raise(&r->fail, SR_IO, "%s ends at byte %llu; weights were expected up to %llu", r->path[p->file],
                 (unsigned long long)(offset + (uint64_t)got), (unsigned long long)(p->offset + p->bytes));
}

bool sr_reader_got(sr_reader *r, sr_readpiece *p, ssize_t got, int code)
{
    if (got < 0 && (code == EINTR || code == EAGAIN))
        return false;
    if (got < 0 && !p->again) /* once more: a disk's next try may be the one that works */
        return !(p->again = true);
    if (got <= 0 || (p->done + (size_t)got < p->need && got % SR_READ_ALIGN && r->direct)) {
        fail(r, &p->part, p->offset + p->done, got, code);
        return true;
    }
    p->done += (size_t)got;
    return p->done >= p->need;
}

static void read_piece(sr_reader *r, sr_readpiece *p)
{
    bool over = false;
    p->deny   = sr_fault(SR_FAULT_READ);
    while (!over) {
        bool    deny = p->deny || sr_fault(SR_FAULT_READ_ONCE);
        ssize_t got = deny ? -1 : pread(r->fd[p->part.file], p->to + p->done, p->n - p->done, (off_t)(p->offset + p->done));
        int     code = deny ? EIO : errno;
        pthread_mutex_lock(&r->lock);
        over = sr_reader_got(r, p, got, code);
        pthread_mutex_unlock(&r->lock);
    }
}

/* Whether the next read may begin: its buffer is free.  Locked. */
static bool free_to_begin(const sr_reader *r)
{
    if (r->begun >= r->taken + (r->settling ? 0 : SR_READ_BUFFERS) || r->pieces || r->begun != r->finished)
        return false;
    if (r->begun < SR_READ_BUFFERS)
        return true;
    uint64_t before = r->begun - SR_READ_BUFFERS; /* who had the buffer */
    return r->given > before && sr_reached(r->copied[before % (r->cfg.n_unit + SR_READ_AHEAD)]);
}

bool sr_reader_take(sr_reader *r, sr_readpiece *p)
{
    if (r->begun == r->finished) {
        if (!free_to_begin(r))
            return false;
        r->begun++;
        r->part  = 0;
        r->at    = 0;
        r->since = sr_now_ns();
    }
    uint64_t           k = r->begun - 1;
    const sr_readunit *u = unit_of(r, k);
    if (r->part == u->n)
        return false; /* its last pieces are being read */
    const sr_readpart *part = &r->cfg.part[u->first + r->part];
    uint64_t           from = part->offset / SR_READ_ALIGN * SR_READ_ALIGN, end = part->offset + part->bytes;
    size_t             all  = span_of(part), n = SR_MIN(r->chunk, all - (size_t)r->at);
    *p      = (sr_readpiece){.part = *part, .offset = from + r->at, .n = n, .to = place(r, k, r->part) + r->at};
    p->need = (size_t)(SR_MIN(p->offset + n, end) - p->offset);
    r->at += n;
    if (r->at == all) {
        r->part++;
        r->at = 0;
    }
    r->pieces++;
    return true;
}

/* Size and time of writing of the files that a unit came from, once a unit.  Locked. */
static void look_at_files(sr_reader *r, const sr_readunit *u)
{
    for (uint32_t i = 0; i < u->n && !r->fail.status; i++) {
        uint32_t           f = r->cfg.part[u->first + i].file;
        const struct stat *a = &r->was[f];
        struct stat        b;
        if ((i && f == r->cfg.part[u->first + i - 1].file) || fstat(r->fd[f], &b))
            continue;
        if (a->st_size != b.st_size || a->st_mtim.tv_sec != b.st_mtim.tv_sec || a->st_mtim.tv_nsec != b.st_mtim.tv_nsec)
            sr_raise(&r->fail, SR_IO, "%s was written to while its weights are read: %lld bytes before, %lld now", r->path[f], (long long)a->st_size,
                     (long long)b.st_size);
    }
}

void sr_reader_over(sr_reader *r, const sr_readpiece *p)
{
    r->bytes += p->n;
    if (--r->pieces || r->part != unit_of(r, r->begun - 1)->n)
        return;
    look_at_files(r, unit_of(r, r->begun - 1));
    r->finished = r->begun;
    r->ns += sr_now_ns() - r->since;
    __atomic_store_n(r->cfg.word, r->finished, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&r->idle);
    pthread_cond_broadcast(&r->work);
}

/* A device's points wake nobody: look again soon while one is waited for. */
void sr_reader_rest(sr_reader *r)
{
    struct timespec t;
    bool waits = r->begun == r->finished && r->begun < r->taken + SR_READ_BUFFERS;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 100000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    if (waits)
        pthread_cond_timedwait(&r->work, &r->lock, &t);
    else
        pthread_cond_wait(&r->work, &r->lock);
}

static void *serve(void *arg)
{
    sr_reader *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->quit) {
        sr_readpiece p;
        if (!sr_reader_take(r, &p)) {
            sr_reader_rest(r);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        read_piece(r, &p);
        pthread_mutex_lock(&r->lock);
        sr_reader_over(r, &p);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static sr_status open_files(sr_reader *r, sr_err *err)
{
    r->direct = true;
    for (uint32_t i = 0; i < r->cfg.n_file; i++) {
        r->fd[i] = sr_fault(SR_FAULT_OPEN) ? (errno = EMFILE, -1) : open(r->path[i], O_RDONLY | O_CLOEXEC | O_DIRECT);
        if (r->fd[i] < 0 && errno == EINVAL) {
            r->direct = false;
            r->fd[i]  = open(r->path[i], O_RDONLY | O_CLOEXEC);
        }
        if (r->fd[i] < 0 || fstat(r->fd[i], &r->was[i]))
            return sr_raise(err, SR_IO, "%s: %s", r->path[i], strerror(errno));
    }
    return SR_OK;
}

/* One thread with a ring where it was asked for and there is one, else several that wait. */
static sr_status start(sr_reader *r, sr_err *err)
{
    char why[80] = "";
    bool ring    = r->cfg.how == SR_READ_RING && sr_ring_open(r, why, sizeof why);
    r->chunk     = ring ? SR_READ_RING_CHUNK : SR_READ_CHUNK;
    if (ring)
        snprintf(r->how, sizeof r->how, "io_uring, %d reads at once%s", SR_READ_DEPTH, r->direct ? "" : ", through the page cache");
    else
        snprintf(r->how, sizeof r->how, "%d threads%s%s%s%s", SR_READ_THREADS, *why ? " (" : "", why, *why ? ")" : "", r->direct ? "" : ", through the page cache");
    for (; r->started < (ring ? 1 : SR_READ_THREADS); r->started++)
        if (pthread_create(&r->thread[r->started], NULL, ring ? sr_ring_serve : serve, r))
            return sr_raise(err, SR_IO, "cannot start a thread that reads weights");
    return SR_OK;
}

sr_status sr_reader_open(const sr_readcfg *cfg, sr_reader **out, sr_err *err)
{
    sr_reader *r = sr_calloc(1, sizeof *r);
    if (!r)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a reader", sizeof *r);
    r->cfg            = *cfg;
    sr_readunit *unit = sr_calloc(cfg->n_unit + 1u, sizeof *unit);
    sr_readpart *part = sr_calloc(cfg->n_part + 1u, sizeof *part);
    r->cfg.unit = unit;
    r->cfg.part = part;
    r->fd       = sr_malloc(cfg->n_file * sizeof *r->fd);
    r->was      = sr_calloc(cfg->n_file, sizeof *r->was);
    r->path     = sr_malloc(cfg->n_file * sizeof *r->path);
    r->copied   = sr_calloc(cfg->n_unit + SR_READ_AHEAD, sizeof *r->copied);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->idle, NULL);
    for (uint32_t i = 0; r->fd && i < cfg->n_file; i++)
        r->fd[i] = -1;
    if (!unit || !part || !r->fd || !r->was || !r->path || !r->copied) {
        sr_reader_close(r);
        return sr_raise(err, SR_NOMEM, "host: memory for a reader of %u units", cfg->n_unit);
    }
    memcpy(unit, cfg->unit, cfg->n_unit * sizeof *unit);
    memcpy(part, cfg->part, cfg->n_part * sizeof *part);
    memcpy(r->path, cfg->path, cfg->n_file * sizeof *r->path);
    sr_status s = open_files(r, err);
    s           = s ? s : start(r, err);
    if (s) {
        sr_reader_close(r);
        return s;
    }
    *out = r;
    return SR_OK;
}

void sr_reader_close(sr_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->quit = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    for (uint32_t i = 0; i < r->started; i++)
        pthread_join(r->thread[i], NULL);
    sr_ring_close(r);
    for (uint32_t i = 0; r->fd && i < r->cfg.n_file; i++)
        if (r->fd[i] >= 0)
            close(r->fd[i]);
    pthread_cond_destroy(&r->idle);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    sr_free((void *)(uintptr_t)r->cfg.unit);
    sr_free((void *)(uintptr_t)r->cfg.part);
    sr_free(r->fd);
    sr_free(r->was);
    sr_free(r->path);
    sr_free(r->copied);
    sr_free(r);
}

/* Forgets what was read ahead; the next read is unit u.  Numbers go on, so that the word only grows.  Locked. */
static void restart(sr_reader *r, uint32_t u)
{
    r->settling = true; /* the device waits for all that was handed out */
    while (r->finished < r->taken || r->begun != r->finished)
        pthread_cond_wait(&r->idle, &r->lock);
    r->settling = false;
    for (uint64_t k = r->taken; k < r->begun; k++) /* nobody copies out of these */
        r->copied[k % (r->cfg.n_unit + SR_READ_AHEAD)] = (sr_point){r->cfg.word, 0};
    r->taken = r->given = r->base = r->begun;
    r->base_unit = u;
}

void sr_reader_next(sr_reader *r, uint32_t u, sr_point *ready, const void **at)
{
    pthread_mutex_lock(&r->lock);
    if ((uint32_t)(unit_of(r, r->taken) - r->cfg.unit) != u)
        restart(r, u);
    uint64_t           k = r->taken++;
    const sr_readunit *x = unit_of(r, k);
    for (uint32_t i = 0; i < x->n; i++)
        at[i] = place(r, k, i) + r->cfg.part[x->first + i].offset % SR_READ_ALIGN;
    *ready = (sr_point){r->cfg.word, k + 1};
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
}

void sr_reader_done(sr_reader *r, sr_point copied)
{
    pthread_mutex_lock(&r->lock);
    r->copied[r->given++ % (r->cfg.n_unit + SR_READ_AHEAD)] = copied;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
}

bool sr_reader_direct(const sr_reader *r) { return r->direct; }

const char *sr_reader_how(const sr_reader *r) { return r->how; }

sr_status sr_reader_failed(sr_reader *r, sr_err *err)
{
    pthread_mutex_lock(&r->lock);
    sr_err e = r->fail;
    pthread_mutex_unlock(&r->lock);
    return e.status ? sr_raise(err, e.status, "%s", e.msg) : SR_OK;
}

uint64_t sr_reader_bytes(const sr_reader *r, uint64_t *ns)
{
    sr_reader *w = (sr_reader *)(uintptr_t)r;
    pthread_mutex_lock(&w->lock);
    uint64_t n = w->bytes;
    *ns        = w->ns;
    pthread_mutex_unlock(&w->lock);
    return n;
}

/* Stretch after stretch: what was read a moment ago may lie in a cache of the disk, or of the host of a virtual one. */
sr_status sr_reader_measure(const char *path, sr_readhow how, uint64_t bytes, void *staging, double *bytes_per_s, sr_err *err)
{
    enum { TIMES = 3, STRETCHES = 16 };
    struct stat st;
    sr_readunit unit[STRETCHES];
    sr_readpart part[STRETCHES];
    uint64_t    word = 0, ns = 0;
    sr_reader  *r    = NULL;
    if (stat(path, &st))
        return sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    uint32_t n = (uint32_t)SR_MIN(SR_MAX((uint64_t)st.st_size / SR_MAX(bytes, 1u), 1u), (uint64_t)STRETCHES);
    for (uint32_t i = 0; i < n; i++) {
        unit[i] = (sr_readunit){i, 1};
        part[i] = (sr_readpart){0, i * bytes, bytes};
    }
    sr_readcfg cfg = {.path = &path, .n_file = 1, .unit = unit, .n_unit = n, .part = part, .n_part = n, .staging = {staging, staging}, .word = &word, .how = how};
    if (sr_reader_open(&cfg, &r, err))
        return err->status;
    for (uint32_t i = 0; i < SR_MAX(n, (uint32_t)TIMES); i++) {
        sr_point    ready;
        const void *at;
        sr_reader_next(r, i % n, &ready, &at);
        while (!sr_reached(ready))
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        sr_reader_done(r, ready);
    }
    sr_status s   = sr_reader_failed(r, err);
    uint64_t  all = sr_reader_bytes(r, &ns);
    *bytes_per_s = (double)all * 1e9 / (double)SR_MAX(ns, 1u);
    sr_reader_close(r);
    return s;
}
