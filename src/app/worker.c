#include "app/worker.h"
#include "app/commands.h"
#include "app/watchdog.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOCKET = 3, TRIES = 10, PAUSE_MS = 100, PAUSE_MAX_MS = 10000, CLOSE_MS = 5000, SETTLED_S = 10 }; /* settled: has made a token or lived so long */

/* What goes over the socket.  Both ends are the same program, which the size and the version make sure of. */
typedef struct {
    uint32_t size;
    char     version[16], path[4096], device[64], isa[16], kv_k[8], kv_v[8], offload[12], disk_io[8], ram_format[8], transit[8], pooling[8], activations[8];
    uint32_t ctx, threads, max_seqs, out_rows, max_step_tokens, kv_pages, spin_us;
    uint64_t vram, ram;
    float    pcie_gbs, skip_threshold, early_exit;
    uint32_t exit_layer, step_timeout;
    char     skip_text[4096];
    bool     pin, deterministic, no_overlap, warm, warmup, no_warmup, verbose;
} order;
typedef enum { WORD_PROGRESS, WORD_READY, WORD_FAILED } wordkind;
typedef struct {
    wordkind     kind;
    sr_status    status;
    double       share;
    char         text[512];
    sr_modelinfo info;
} word;

struct sr_worker {
    order           o;
    sr_port        *port;
    bool            show;       /* progress of the first start */
    pthread_t       watcher;
    pthread_mutex_t lock;       /* of what follows */
    pthread_cond_t  changed;
    int             socket;     /* to the living worker; -1 */
    pid_t           pid;        /* not reaped yet; 0 */
    bool            stop, told; /* told: the first start's outcome is in word */
    bool            over;       /* the watcher has ended */
    word            word;
};

/* ---- worker process ------------------------------------------------------------------------------------- */

typedef struct { volatile int stop; int over; sr_port *port; } child; /* over: the engine has ended, the socket with it */

static void say(wordkind kind, sr_status status, double share, const char *text, const sr_modelinfo *info)
{
    word w = {.kind = kind, .status = status, .share = share};
    snprintf(w.text, sizeof w.text, "%s", text);
    if (info)
        w.info = *info;
    while (send(SOCKET, &w, sizeof w, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

static void say_progress(void *arg, double share, const char *what)
{
    (void)arg;
    say(WORD_PROGRESS, SR_OK, share, what, NULL);
}

/* The device of this process answers no more.  Nothing is closed: the driver could wait for it for ever, and the process's end gives all back. */
static _Noreturn void end_hung(void *arg, const char *why)
{
    (void)arg;
    say(WORD_FAILED, SR_DEVLOST, 0, why, NULL);
    _exit(1);
}

/* The server's word is to stop; its end is ours, whatever the engine is doing. */
static void *listen_to_server(void *arg)
{
    child *c = arg;
    char   b;
    for (;;) {
        ssize_t n = recv(SOCKET, &b, 1, 0);
        if (n > 0) {
            __atomic_store_n(&c->stop, 1, __ATOMIC_RELEASE);
            sr_port_wake(c->port);
        } else if (n == 0 || errno != EINTR) {
            if (__atomic_load_n(&c->over, __ATOMIC_ACQUIRE))
                return NULL;
            _exit(1);
        }
    }
}

static bool take_order(order *o, sr_portfds *fds)
{
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof *fds)]; } c = {.head = {0}};
    struct iovec  v = {.iov_base = o, .iov_len = sizeof *o};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
    ssize_t       n;
    while ((n = recvmsg(SOCKET, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    struct cmsghdr *h = n == (ssize_t)sizeof *o ? CMSG_FIRSTHDR(&m) : NULL;
    if (!h || h->cmsg_type != SCM_RIGHTS || h->cmsg_len != CMSG_LEN(sizeof *fds) || o->size != sizeof *o ||
        strncmp(o->version, SR_VERSION, sizeof o->version) != 0)
        return false;
    memcpy(fds, CMSG_DATA(h), sizeof *fds);
    return true;
}

/* Of an engine that is ready.  A lost device is told to the server at once, and what it held goes with the process. */
static sr_status run_watched(const order *o, sr_engine *engine, const sr_modelinfo *info, child *c, sr_err *err)
{
    sr_watchdog   *dog = NULL;
    const uint64_t limit = sr_watchdog_limit(o->step_timeout, info);
    sr_status      s = limit ? sr_watchdog_open(engine, limit, info->device, end_hung, NULL, &dog, err) : SR_OK;
    if (s) {
        say(WORD_FAILED, s, 0, err->msg, NULL);
        return s;
    }
    say(WORD_READY, SR_OK, 1, "ready", info);
    s = sr_engine_run(engine, &c->stop, err);
    sr_watchdog_close(dog);
    if (s)
        end_hung(NULL, err->msg);
    return s;
}

static sr_status serve_port(const order *o, child *c, sr_err *err)
{
    const sr_sessioncfg cfg = {.device = o->device, .isa = *o->isa ? o->isa : NULL, .kv_k = o->kv_k, .kv_v = o->kv_v, .ctx = o->ctx,
                               .threads = o->threads, .max_seqs = o->max_seqs, .out_rows = o->out_rows,
                               .max_step_tokens = o->max_step_tokens, .kv_pages = o->kv_pages, .pin = o->pin, .spin_us = o->spin_us, .vram = o->vram, .ram = o->ram, .pcie_gbs = o->pcie_gbs, .offload = o->offload, .disk_io = o->disk_io, .ram_format = *o->ram_format ? o->ram_format : NULL, .transit = o->transit, .pooling = o->pooling, .cpu_activations = o->activations,
                               .deterministic = o->deterministic, .skip_threshold = o->skip_threshold, .early_exit = o->early_exit,
                               .exit_layer = o->exit_layer, .warm = o->warm, .warmup = o->warmup, .no_warmup = o->no_warmup, .verbose = o->verbose, .skip_text = *o->skip_text ? o->skip_text : NULL};
    sr_model  *model  = NULL;
    sr_engine *engine = NULL;
    char       why[200];
    sr_loadcfg load   = sr_session_loadcfg(&cfg, o->path);
    load.progress     = say_progress;
    sr_status  s      = sr_backend_pick(cfg.device, &load.be, &load.device, why, err);
    if (s == SR_OK && (s = sr_session_load(&cfg, &load, &model, err)) == SR_OK &&
        (s = sr_engine_open(model, &(sr_enginecfg){.grammars = true, .replaced = true, .overlap = o->no_overlap ? SR_OVERLAP_NEVER : SR_OVERLAP_AUTO},
                            NULL, c->port, &engine, err)) == SR_OK) {
        s = run_watched(o, engine, sr_model_info(model), c, err);
    } else {
        say(WORD_FAILED, s, 0, err->msg, NULL);
    }
    sr_engine_close(engine);
    sr_model_close(model);
    return s;
}

int sr_cmd_engine(int argc, char **argv)
{
    order      o;
    sr_portfds fds;
    child      c   = {0};
    sr_err     err = {0};
    pthread_t  listener;
    (void)argv;
    if (argc != 1 || !take_order(&o, &fds)) {
        fputs("strata engine: started by strata serve alone\n", stderr);
        return 2;
    }
    signal(SIGINT, SIG_IGN); /* sent to all processes of a terminal or a service: the server's to act on, it tells us */
    signal(SIGTERM, SIG_IGN);
    if (sr_port_attach(fds, &c.port, &err)) {
        say(WORD_FAILED, err.status, 0, err.msg, NULL);
        return 1;
    }
    if (pthread_create(&listener, NULL, listen_to_server, &c)) {
        say(WORD_FAILED, SR_IO, 0, "cannot start the listening thread", NULL);
        return 1;
    }
    sr_status s = serve_port(&o, &c, &err);
    if (s && err.msg[0])
        fprintf(stderr, "strata engine: %s\n", err.msg);
    __atomic_store_n(&c.over, 1, __ATOMIC_RELEASE);
    shutdown(SOCKET, SHUT_RD); /* the listener comes back from recv() */
    pthread_join(listener, NULL);
    sr_port_close(c.port);
    return s ? 1 : 0;
}

/* ---- server's side -------------------------------------------------------------------------------------- */

static sr_status start_process(pid_t *pid, int *fd, sr_err *err)
{
    int                        pair[2];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t          attr;
    sigset_t                   none;
    char                      *argv[] = {(char[]){"strata"}, (char[]){"engine"}, NULL};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return sr_raise(err, SR_IO, "a socket to the engine's process: %s", strerror(errno));
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], SOCKET); /* which the exec does not close, even if it is that already */
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int e = posix_spawn(pid, "/proc/self/exe", &actions, &attr, argv, sr_app_environ());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close(pair[1]);
    if (e) {
        close(pair[0]);
        return sr_raise(err, SR_IO, "cannot start the engine's process: %s", strerror(e));
    }
    *fd = pair[0];
    return SR_OK;
}

static bool send_order(const sr_worker *w, int fd)
{
    const sr_portfds fds = sr_port_fds(w->port);
    order            o   = w->o;
    o.no_warmup |= w->told; /* a later life: somebody waits, and his steps load what all need */
    union { struct cmsghdr head; char room[CMSG_SPACE(sizeof fds)]; } c = {.head = {0}};
    struct iovec   v = {.iov_base = &o, .iov_len = sizeof o};
    struct msghdr  m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type  = SCM_RIGHTS;
    h->cmsg_len   = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(h), &fds, sizeof fds);
    return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)sizeof o;
}

static void set_process(sr_worker *w, pid_t pid, int fd)
{
    pthread_mutex_lock(&w->lock);
    w->pid    = pid;
    w->socket = fd;
    if (w->stop && fd >= 0)
        send(fd, "", 1, MSG_NOSIGNAL);
    pthread_mutex_unlock(&w->lock);
}

static void tell_first(sr_worker *w, const word *said)
{
    pthread_mutex_lock(&w->lock);
    if (!w->told)
        w->word = *said;
    w->told = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static bool stopping(sr_worker *w)
{
    pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    pthread_mutex_unlock(&w->lock);
    return stop;
}

/* From here on its number may be another's: nobody signals it any more. */
static void how_it_ended(sr_worker *w, pid_t pid, char *out, size_t cap)
{
    int       status = 0;
    siginfo_t unread;
    while (waitid(P_PID, (id_t)pid, &unread, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    set_process(w, 0, -1);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        snprintf(out, cap, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, cap, "exit status %d", WEXITSTATUS(status));
}

/* From start to end of one process.  True: it was ready; how: what became of it. */
static bool one_life(sr_worker *w, char *how, size_t cap)
{
    pid_t  pid;
    int    fd = -1;
    bool   ready = false;
    sr_err err = {0};
    word   said = {.kind = WORD_FAILED, .status = SR_IO};
    if (start_process(&pid, &fd, &err)) {
        snprintf(said.text, sizeof said.text, "%s", err.msg);
        snprintf(how, cap, "%.150s", err.msg);
        tell_first(w, &said);
        return false;
    }
    set_process(w, pid, fd);
    if (!send_order(w, fd))
        kill(pid, SIGKILL);
    for (word got; ; ) {
        ssize_t n = recv(fd, &got, sizeof got, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof got)
            break;
        if (got.kind == WORD_PROGRESS) {
            if (w->show && !w->told)
                sr_session_progress(NULL, got.share, got.text);
            continue;
        }
        ready |= got.kind == WORD_READY;
        said   = got;
        tell_first(w, &said);
    }
    set_process(w, pid, -1);
    how_it_ended(w, pid, how, cap);
    close(fd);
    if (said.kind == WORD_FAILED && said.text[0]) /* its own words say more than its status */
        snprintf(how, cap, "%.150s", said.text);
    else if (!ready)
        snprintf(said.text, sizeof said.text, "the engine's process ended while loading: %s", how);
    tell_first(w, &said); /* it may have died without a word */
    return ready;
}

static struct timespec in_ms(uint64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void pause_before(sr_worker *w, uint32_t tries)
{
    uint64_t        ms = tries ? SR_MIN((uint64_t)PAUSE_MS << SR_MIN(tries - 1, 10u), (uint64_t)PAUSE_MAX_MS) : 0;
    struct timespec t  = in_ms(ms);
    pthread_mutex_lock(&w->lock);
    while (ms && !w->stop && pthread_cond_timedwait(&w->changed, &w->lock, &t) == 0)
        ;
    pthread_mutex_unlock(&w->lock);
}

static void *watch(void *arg)
{
    sr_worker *w = arg;
    for (uint32_t tries = 0, lives = 0; !stopping(w); lives++) {
        char     how[160], why[200];
        uint64_t since = sr_now_ns();
        pause_before(w, tries);
        bool ready = !stopping(w) && one_life(w, how, sizeof how);
        if (stopping(w) || (!ready && lives == 0))
            break;
        sr_portstats st;
        sr_port_stats(w->port, &st);
        tries = ready && (st.tokens_made || sr_now_ns() - since > SETTLED_S * 1000000000ull) ? 0 : tries + 1;
        snprintf(why, sizeof why, "The engine's process ended (%.120s).", how);
        sr_log(SR_LOG_ERROR, "the engine's process ended: %s; %s", how, tries > TRIES ? "giving up" : "starting another");
        sr_port_down(w->port, why);
        while (!sr_port_await_renewal(w->port, 100000000) && !stopping(w))
            ;
        if (tries > TRIES) {
            sr_port_gone(w->port);
            break;
        }
    }
    pthread_mutex_lock(&w->lock);
    w->over = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void write_order(order *o, const sr_sessioncfg *c, const char *path)
{
    *o = (order){.size = sizeof *o, .ctx = c->ctx, .threads = c->threads, .max_seqs = c->max_seqs, .out_rows = c->out_rows,
                 .max_step_tokens = c->max_step_tokens, .kv_pages = c->kv_pages, .spin_us = c->spin_us, .vram = c->vram, .ram = c->ram, .pcie_gbs = c->pcie_gbs, .deterministic = c->deterministic, .no_overlap = c->no_overlap,
                 .warm = c->warm, .warmup = c->warmup, .no_warmup = c->no_warmup, .pin = c->pin, .skip_threshold = c->skip_threshold, .early_exit = c->early_exit, .exit_layer = c->exit_layer, .step_timeout = c->step_timeout, .verbose = c->verbose};
    snprintf(o->skip_text, sizeof o->skip_text, "%s", c->skip_text ? c->skip_text : "");
    snprintf(o->version, sizeof o->version, "%s", SR_VERSION);
    snprintf(o->path, sizeof o->path, "%s", path);
    snprintf(o->device, sizeof o->device, "%s", c->device ? c->device : "auto");
    snprintf(o->isa, sizeof o->isa, "%s", c->isa ? c->isa : "");
    snprintf(o->kv_k, sizeof o->kv_k, "%s", c->kv_k ? c->kv_k : "f16");
    snprintf(o->pooling, sizeof o->pooling, "%s", c->pooling ? c->pooling : "");
    snprintf(o->offload, sizeof o->offload, "%s", c->offload ? c->offload : "auto");
    snprintf(o->disk_io, sizeof o->disk_io, "%s", c->disk_io ? c->disk_io : "threads");
    snprintf(o->ram_format, sizeof o->ram_format, "%s", c->ram_format ? c->ram_format : "");
    snprintf(o->transit, sizeof o->transit, "%s", c->transit ? c->transit : "raw");
    snprintf(o->activations, sizeof o->activations, "%s", c->cpu_activations ? c->cpu_activations : "int8");
    snprintf(o->kv_v, sizeof o->kv_v, "%s", c->kv_v ? c->kv_v : "f16");
}

sr_status sr_worker_open(const sr_sessioncfg *cfg, const char *path, sr_port *port, sr_modelinfo *info, sr_worker **out, sr_err *err)
{
    sr_worker *w = sr_calloc(1, sizeof *w);
    *out         = NULL;
    if (!w)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for the engine's watcher", sizeof *w);
    write_order(&w->o, cfg, path);
    w->port   = port;
    w->socket = -1;
    w->show   = !cfg->quiet;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    if (pthread_create(&w->watcher, NULL, watch, w)) {
        sr_free(w);
        return sr_raise(err, SR_IO, "cannot start the engine's watcher");
    }
    pthread_mutex_lock(&w->lock);
    while (!w->told)
        pthread_cond_wait(&w->changed, &w->lock);
    word said = w->word;
    pthread_mutex_unlock(&w->lock);
    if (said.kind != WORD_READY) {
        sr_worker_close(w);
        return sr_raise(err, said.status, "%s", said.text);
    }
    *info = said.info;
    *out  = w;
    return SR_OK;
}

void sr_worker_close(sr_worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    if (w->socket >= 0)
        send(w->socket, "", 1, MSG_NOSIGNAL);
    pthread_cond_broadcast(&w->changed);
    struct timespec until = in_ms(CLOSE_MS);
    while (!w->over && pthread_cond_timedwait(&w->changed, &w->lock, &until) == 0)
        ;
    if (!w->over && w->pid > 0) { /* stopped, or in a driver that does not come back */
        sr_log(SR_LOG_WARN, "the engine's process did not end when it was told to: killed after %d ms", CLOSE_MS);
        kill(w->pid, SIGKILL);
    }
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->watcher, NULL);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    sr_free(w);
}
