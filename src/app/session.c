#include "app/session.h"
#include "app/machine.h"
#include "app/paths.h"
#ifdef SR_HAVE_TEXT
#include "app/skip_text.h"
#endif
#include "app/worker.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct sr_runner {
    pthread_t    thread;
    sr_engine   *engine;
    volatile int stop;
    int          ended; /* run() came back before it was told to */
    sr_err       err;
};

static void *work(void *arg)
{
    struct sr_runner *w = arg;
    if (sr_engine_run(w->engine, &w->stop, &w->err))
        __atomic_store_n(&w->ended, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* On a terminal, one line that is written over; a Ctrl-C that came meanwhile ends the program here. */
void sr_session_progress(void *arg, double share, const char *what)
{
    sigset_t pending, one;
    (void)arg;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, share < 1 ? "\r\033[K%s %.0f %%" : "\r\033[K", what, share * 100);
    sigemptyset(&one);
    sigaddset(&one, SIGINT);
    if (sigpending(&pending) == 0 && sigismember(&pending, SIGINT) == 1)
        pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}

/* More threads than cores wait for each other at every barrier. */
static uint32_t usable(uint32_t threads)
{
    uint32_t cores = sr_cpu_cores();
    if (threads <= cores)
        return threads;
    fprintf(stderr, "strata: %u threads asked; this process may use %u cores: %u threads\n", threads, cores, cores);
    return cores;
}

/* Of a word that the options allow. */
static uint16_t kv_format(const char *word) { return word && strcmp(word, "q8_0") == 0 ? SR_Q8_0 : SR_F16; }

static uint16_t pooling_of(const char *word)
{
    return !word || !*word ? SR_POOL_MODEL : strcmp(word, "mean") == 0 ? SR_POOL_MEAN : strcmp(word, "cls") == 0 ? SR_POOL_CLS : SR_POOL_LAST;
}

static sr_offloadmode offload_mode(const char *word)
{
    static const char *const words[] = {[SR_OFFLOAD_AUTO] = "auto", [SR_OFFLOAD_NONE] = "none", [SR_OFFLOAD_STREAM] = "stream", [SR_OFFLOAD_CPU] = "cpu", [SR_OFFLOAD_ZEROCOPY] = "zerocopy"};
    uint32_t m = 0;
    for (uint32_t i = 0; word && i < SR_COUNT(words); i++)
        m = strcmp(word, words[i]) == 0 ? i : m;
    return (sr_offloadmode)m;
}

static uint16_t ram_format(const char *word)
{
    static const struct { const char *word; uint16_t format; } known[] = {{"q8_0", SR_Q8_0}, {"q6_k", SR_Q6_K}, {"q5_k", SR_Q5_K}, {"q4_k", SR_Q4_K}, {"q4_0", SR_Q4_0}};
    for (size_t i = 0; word && i < SR_COUNT(known); i++)
        if (strcmp(word, known[i].word) == 0)
            return known[i].format;
    return 0;
}

sr_loadcfg sr_session_loadcfg(const sr_sessioncfg *cfg, const char *path)
{
    return (sr_loadcfg){.path = path, .ctx = cfg->ctx, .max_seqs = cfg->max_seqs, .out_rows = (uint16_t)cfg->out_rows, .kv_pages = cfg->kv_pages,
                        .dev = {.threads = usable(cfg->threads), .isa = cfg->isa, .f32_activations = cfg->cpu_activations && strcmp(cfg->cpu_activations, "f32") == 0, .profile = cfg->profile, .pin = cfg->pin, .spin_us = cfg->spin_us,
                                .deterministic = cfg->deterministic,
                                .mem_budget = cfg->vram},
                        .offload = offload_mode(cfg->offload), .ram_format = ram_format(cfg->ram_format), .disk_ring = cfg->disk_io && strcmp(cfg->disk_io, "uring") == 0, .transit = cfg->transit && strcmp(cfg->transit, "coded") == 0 ? SR_TRANSIT_CODED : SR_TRANSIT_RAW, .ram = cfg->ram, .bus = (double)cfg->pcie_gbs * 1e9,
                        .kv_format_k = kv_format(cfg->kv_k), .kv_format_v = kv_format(cfg->kv_v),
                        .pooling = pooling_of(cfg->pooling), .max_step_tokens = cfg->max_step_tokens, .progress = cfg->quiet ? NULL : sr_session_progress};
}

sr_status sr_session_load(const sr_sessioncfg *cfg, sr_loadcfg *load, sr_model **out, sr_err *err)
{
    sr_machinestart start = {load->be, load->device, cfg->verbose};
    if (load->be != &sr_backend_cpu)
        load->figures = (sr_figures){sr_machine_known, sr_machine_keep, &start};
    load->warmup = cfg->no_warmup ? SR_WARMUP_NONE : cfg->warmup ? SR_WARMUP_ALWAYS : cfg->warm && load->be != &sr_backend_cpu ? SR_WARMUP_RESIDENT : SR_WARMUP_NONE;
#ifdef SR_HAVE_TEXT
    sr_ids    ids = {0};
    sr_status s   = sr_skip_text(cfg, load->path, &ids, load, err);
    s             = s ? s : sr_model_load(load, out, err);
    sr_ids_end(&ids);
    return s;
#else
    return sr_model_load(load, out, err);
#endif
}

/* An option of weights beside a GPU that was given; NULL: none. */
static const char *gpu_option(const sr_sessioncfg *c)
{
    const struct { bool given; const char *name; } o[] = {
        {c->vram != 0, "--vram"}, {c->ram != 0, "--ram"}, {c->pcie_gbs > 0, "--pcie-gbs"}, {c->ram_format != NULL, "--ram-format"},
        {c->offload && strcmp(c->offload, "auto") != 0 && strcmp(c->offload, "none") != 0, "--offload"},
        {c->transit && strcmp(c->transit, "raw") != 0, "--transit"}, {c->disk_io && strcmp(c->disk_io, "threads") != 0, "--disk-io"}};
    for (size_t i = 0; i < SR_COUNT(o); i++)
        if (o[i].given)
            return o[i].name;
    return NULL;
}

static sr_status open_engine(sr_session *s, const sr_sessioncfg *cfg, sr_err *err)
{
    char             why[200], spec[16];
    const sr_backend *be;
    int              device;
    if (cfg->warmup && cfg->no_warmup)
        return sr_raise(err, SR_INVALID, "--warmup and --no-warmup were both given");
    if (sr_backend_pick(cfg->device, &be, &device, why, err))
        return err->status;
    const char *option = be == &sr_backend_cpu ? gpu_option(cfg) : NULL;
    if (option)
        return sr_raise(err, SR_INVALID, "%s was given, but the model would be computed on the CPU%s%s", option, *why ? ": " : "", why);
    snprintf(s->passed_over, sizeof s->passed_over, "%s", why);
    if (*why && cfg->quiet)
        sr_log(SR_LOG_WARN, "device auto: %s; the CPU computes", why);
    else if (*why)
        fprintf(stderr, "device auto: %s; the CPU computes\n", why);
    bool process = cfg->process || (cfg->gpu_process && be != &sr_backend_cpu);
    if (sr_port_open(&(sr_portcfg){.keep = process, .event_bytes = sr_engine_events(cfg->max_seqs, cfg->out_rows)}, &s->port, err))
        return err->status;
    if (process) { /* the same device in every life: one that has gone is not to become the CPU without a word */
        sr_sessioncfg same = *cfg;
        snprintf(spec, sizeof spec, be == &sr_backend_cpu ? "cpu" : "cuda:%d", device);
        same.device = spec;
        return sr_worker_open(&same, s->path, s->port, &s->info, &s->worker, err);
    }
    sr_loadcfg load = sr_session_loadcfg(cfg, s->path);
    load.be         = be;
    load.device     = device;
    if (sr_session_load(cfg, &load, &s->model, err) || sr_engine_open(s->model, &(sr_enginecfg){.grammars = cfg->grammars, .overlap = cfg->no_overlap ? SR_OVERLAP_NEVER : SR_OVERLAP_AUTO}, NULL, s->port, &s->engine, err))
        return err->status;
    s->info           = *sr_model_info(s->model);
    s->runner->engine = s->engine;
    if (pthread_create(&s->runner->thread, NULL, work, s->runner)) {
        s->runner->engine = NULL;
        return sr_raise(err, SR_IO, "cannot start the engine's thread");
    }
    return SR_OK;
}

uint64_t sr_session_memory(const sr_modelinfo *i, char *out, size_t cap)
{
    uint64_t all = 0;
    size_t   at  = 0;
    *out         = 0;
    for (uint32_t k = 0; k < i->n_memory; k++) {
        const sr_memline *l = &i->memory[k];
        if (l->kind != SR_MEM_DEVICE)
            continue;
        int n = snprintf(out + at, cap - at, "%s%s %.1f MiB", all ? ", " : "", l->tag, (double)l->taken / (1 << 20));
        at    = n > 0 ? SR_MIN(at + (size_t)n, cap - 1) : at;
        all += l->taken;
    }
    return all;
}

static void describe(const sr_session *s, uint64_t ns)
{
    char memory[512];
    const sr_modelinfo *i = &s->info;
    fprintf(stderr, "%s: %s, %.1f M parameters, %s, context %u, on %s (%s%s%u %s%s), loaded in %.2f s\n", s->id, i->arch,
            (double)i->n_params * 1e-6, i->ftype, i->ctx, i->device, i->isa, *i->isa ? ", " : "", i->threads,
            i->on_host ? "threads" : "multiprocessors", i->f32_activations ? ", activations of the CPU in f32" : "", (double)ns * 1e-9);
    sr_skipcount skipped = s->model ? sr_model_skipped(s->model) : (sr_skipcount){0};
    if (skipped.blocks)
        fprintf(stderr, "%u of %u attention and feed-forward blocks are left out\n", skipped.blocks, 2 * i->n_layer);
    if (i->bytes_device < i->bytes)
        fprintf(stderr, "%.2f of %.2f GB of weights on the device; the CPU computes %.0f %% of the feed-forwards of small steps; "
                "predicted: %.2f tokens/s\n", (double)i->bytes_device * 1e-9, (double)i->bytes * 1e-9, i->cpu_share * 100, 1 / i->predicted_s);
    if (sr_session_memory(i, memory, sizeof memory))
        fprintf(stderr, "device memory: %s\n", memory);
    if (i->warm_steps)
        fprintf(stderr, "first steps: %u in %.2f s\n", i->warm_steps, i->warm_s);
    if (*i->disk)
        fprintf(stderr, "weights on disk are read by %s\n", i->disk);
    if (i->bytes_ram)
        fprintf(stderr, "%.2f GB of weights in RAM are %s%s: %.2f GB\n", (double)i->bytes_before * 1e-9, i->ram_coded ? "coded" : "encoded anew in ",
                i->ram_coded ? "" : sr_dtype_name(i->ram_format), (double)i->bytes_ram * 1e-9);
}

sr_status sr_session_open(const sr_sessioncfg *cfg, sr_session **out, sr_err *err)
{
    sigset_t    ours, before;
    uint64_t    start = sr_now_ns();
    sr_session *s = sr_calloc(1, sizeof *s);
    if (!s || !(s->runner = sr_calloc(1, sizeof *s->runner))) {
        sr_free(s);
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a session", sizeof *s);
    }
    sigemptyset(&ours);
    sigaddset(&ours, SIGINT);
    sigaddset(&ours, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    sr_status st = sr_model_path(cfg->model, s->path, sizeof s->path, err);
    if (st == SR_OK) {
        sr_model_id(s->path, s->id, sizeof s->id);
        st = open_engine(s, cfg, err);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (st) {
        sr_session_close(s);
        return st;
    }
    if (cfg->verbose)
        describe(s, sr_now_ns() - start);
    *out = s;
    return SR_OK;
}

void sr_session_close(sr_session *s)
{
    if (!s)
        return;
    sr_worker_close(s->worker);
    if (s->runner->engine) {
        __atomic_store_n(&s->runner->stop, 1, __ATOMIC_RELEASE);
        sr_port_wake(s->port);
        pthread_join(s->runner->thread, NULL);
    }
    sr_engine_close(s->engine);
    sr_port_close(s->port);
    sr_model_close(s->model);
    sr_free(s->runner);
    sr_free(s);
}

sr_status sr_session_wait(sr_session *s, int signal_fd, sr_event *ev, size_t cap, size_t *n, sr_err *err)
{
    struct pollfd p[] = {{.fd = sr_port_fd(s->port), .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
    while ((*n = sr_port_poll(s->port, ev, cap)) == 0) {
        if (__atomic_load_n(&s->runner->ended, __ATOMIC_ACQUIRE))
            return sr_raise(err, s->runner->err.status, "%s < while the engine was running", s->runner->err.msg);
        int got = poll(p, 2, 250); /* the engine's end wakes nobody: look four times a second */
        if (got < 0 && errno != EINTR)
            return sr_raise(err, SR_IO, "poll: %s", strerror(errno));
        if (got > 0 && p[1].revents & POLLIN) {
            struct signalfd_siginfo info;
            if (read(signal_fd, &info, sizeof info) > 0)
                return SR_OK;
        }
    }
    return SR_OK;
}
