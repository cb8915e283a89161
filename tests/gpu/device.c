/* device.c - the device as a place: copies, points, memory that comes back, failures that are told. */
#include "gpu.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/mem.h"
#include "engine/internal.h"

static const sr_backend *const be = &sr_backend_cuda;
void gpu_trap(void *stream); /* trap.cu */
#define DRAFT_Q8 "models/strata-demo-draft-Q8_0.gguf"

static void a_device_says_what_it_is(void)
{
    sr_err err   = {0};
    sr_devinfo d = {.size = sizeof d};
    if (CHECK(be->info(0, gpu_device(), &d, &err) == SR_OK, "%s", err.msg))
        gpu_say("%s, sm_%u, %u multiprocessors, %.1f of %.1f GB free, L2 %.0f MB, %zu bytes of shared "
                "memory, node %d",
                d.name, d.arch, d.units, (double)d.mem_free * 1e-9, (double)d.mem_total * 1e-9,
                (double)d.l2 * 1e-6, (size_t)d.smem, (int)d.numa);
    CHECK(d.arch >= 75 && d.units && d.mem_total > d.mem_free && !d.why[0], "arch %u, %u units, why \"%s\"",
          d.arch, d.units, d.why);
    CHECK(be->info(99, NULL, &d, &err) == SR_INVALID && strstr(err.msg, "99"), "device 99: %s", err.msg);
}

static void copies_follow_their_steps_and_points_their_order(void)
{
    sr_err err = {0};
    sr_dev *d  = gpu_device();
    void *dev = NULL, *host = NULL, *word = NULL;
    enum { N = 1 << 16 };
    if (!CHECK(be->alloc(d, SR_MEM_DEVICE, N, "test", &dev, &err) == SR_OK &&
                   be->alloc(d, SR_MEM_PINNED, 2 * N, "test", &host, &err) == SR_OK &&
                   be->alloc(d, SR_MEM_PINNED, 64, "test", &word, &err) == SR_OK,
               "%s", err.msg))
        return;
    CHECK((uintptr_t)dev % 4096 == 0 && (uintptr_t)host % 4096 == 0, "%p %p", dev, host);
    uint8_t *h = host;
    for (uint32_t i = 0; i < N; i++)
        h[i] = (uint8_t)(i * 7);
    sr_span in        = {.dst = dev, .src = h, .bytes = N, .n = 1},
            out       = {.dst = h + N, .src = dev, .bytes = 64, .n = 128, .dst_step = 100, .src_step = 256};
    *(uint64_t *)word = 0;
    memset(h + N, 0, N);
    be->fence(d, SR_Q_IN, (sr_point){word, 3});
    CHECK(be->copyv(d, SR_Q_IN, &in, 1, &err) == SR_OK, "%s", err.msg);
    sr_point copied = be->mark(d, SR_Q_IN);
    be->fence(d, SR_Q_OUT, copied);
    CHECK(be->copyv(d, SR_Q_OUT, &out, 1, &err) == SR_OK, "%s", err.msg);
    sr_point done = be->mark(d, SR_Q_OUT);
    CHECK(be->wait(d, done, 20000000, &err) == SR_AGAIN && !sr_reached(copied), "a queue ran past its fence");
    __atomic_store_n((uint64_t *)word, 3, __ATOMIC_RELEASE);
    uint64_t t = sr_now_ns();
    CHECK(be->wait(d, done, 10000000000u, &err) == SR_OK, "%s", err.msg);
    gpu_say("host to stream to stream to host %.1f us", (double)(sr_now_ns() - t) / 1000);
    for (uint32_t k = 0; k < 128; k++)
        if (!CHECK(memcmp(h + N + k * 100, h + k * 256, 64) == 0 && h[N + k * 100 + 64] == 0, "piece %u", k))
            break;
    t = sr_now_ns();
    for (int i = 0; i < 200; i++)
        CHECK(be->wait(d, be->mark(d, SR_Q_COMPUTE), 10000000000u, &err) == SR_OK, "%s", err.msg);
    gpu_say(", mark and wait %.1f us", (double)(sr_now_ns() - t) / 200e3);
    be->free(d, dev);
    be->free(d, host);
    be->free(d, word);
}

static void a_budget_is_kept(void)
{
    sr_err err = {0};
    sr_dev *d  = NULL;
    void *a = NULL, *b = NULL;
    sr_devcfg cfg = {.mem_budget = 64 << 20};
    sr_devinfo i  = {.size = sizeof i};
    if (!CHECK(be->open(0, &cfg, &d, &err) == SR_OK, "%s", err.msg))
        return;
    CHECK(be->alloc(d, SR_MEM_DEVICE, 40 << 20, "first", &a, &err) == SR_OK, "%s", err.msg);
    CHECK(be->alloc(d, SR_MEM_DEVICE, 40 << 20, "second", &b, &err) == SR_NOMEM &&
              strstr(err.msg, "second") && strstr(err.msg, "24"),
          "%s", err.msg);
    err = (sr_err){0};
    CHECK(be->info(0, d, &i, &err) == SR_OK && i.mem_free == 24 << 20, "%llu free",
          (unsigned long long)i.mem_free);
    be->free(d, a);
    CHECK(be->alloc(d, SR_MEM_DEVICE, 40 << 20, "second", &b, &err) == SR_OK, "%s", err.msg);
    be->close(d);
}

static sr_status load_once(sr_err *err)
{
    sr_model *m  = NULL;
    sr_loadcfg c = {
        .path = DRAFT_Q8, .be = be, .ctx = 256, .max_seqs = 2, .max_step_tokens = 64, .kv_pages = 64};
    sr_status s = sr_model_load(&c, &m, err);
    sr_model_close(m);
    return s;
}

static uint64_t mem_free(void)
{
    sr_err err   = {0};
    sr_devinfo d = {.size = sizeof d};
    CHECK(be->info(0, NULL, &d, &err) == SR_OK, "%s", err.msg);
    return d.mem_free;
}

static void memory_comes_back_when_a_model_is_closed(void)
{
    sr_err err     = {0};
    uint64_t start = 0, t = sr_now_ns();
    enum { TIMES = 50 };
    for (int i = 0; i < TIMES; i++) {
        if (!CHECK(load_once(&err) == SR_OK, "%s", err.msg))
            return;
        start = i == 1 ? mem_free() : start; /* the first time loads code, which stays */
    }
    uint64_t end = mem_free();
    CHECK(end + (2 << 20) >= start, "%llu bytes fewer are free", (unsigned long long)(start - end));
    gpu_say("%d loads, %.0f ms each, free memory changed by %lld bytes", TIMES,
            (double)(sr_now_ns() - t) / 1e6 / TIMES, (long long)(end - start));
}

static void a_load_that_fails_anywhere_leaves_nothing(void)
{
    static const sr_faultkind kinds[] = {SR_FAULT_DEVALLOC, SR_FAULT_ALLOC, SR_FAULT_COPY};
    uint64_t start                    = mem_free();
    uint32_t fired                    = 0;
    for (size_t k = 0; k < SR_COUNT(kinds); k++)
        for (uint64_t nth = 1, step = kinds[k] == SR_FAULT_ALLOC ? 3 : 2;; nth += step) {
            sr_err err = {0};
            sr_fault_arm(kinds[k], nth);
            sr_status s = load_once(&err);
            bool f      = sr_fault_fired(kinds[k]);
            sr_fault_arm(kinds[k], 0);
            if (!CHECK(f ? s != SR_OK && err.msg[0] : s == SR_OK, "fault %d, the %llu-th: status %d \"%s\"",
                       (int)kinds[k], (unsigned long long)nth, s, err.msg))
                break;
            fired += f;
            if (!f)
                break;
        }
    uint64_t end = mem_free();
    CHECK(end + (4 << 20) >= start, "%llu bytes fewer are free", (unsigned long long)(start - end));
    gpu_say("%u faults", fired);
}

/* In a process of its own (`strata-test-gpu --lose`): what a fault leaves behind cannot be cleaned up, not
 * even by a reset of the device.  Exit status 7: the loss was told as it should be. */
int gpu_lose_device(void)
{
    sr_err err = {0}, again = {0};
    sr_dev *d      = NULL;
    uint64_t limit = sr_now_ns() + 5000000000u; /* the fault is another stream's: marks may pass before it */
    if (be->open(0, NULL, &d, &err))
        return 1;
    gpu_trap(NULL);
    while (be->wait(d, be->mark(d, SR_Q_COMPUTE), 5000000000u, &err) == SR_OK && sr_now_ns() < limit)
        ;
    bool told = err.status == SR_DEVLOST && err.msg[0] &&
                be->wait(d, be->mark(d, SR_Q_IN), 5000000000u, &again) == SR_DEVLOST;
    be->close(d);
    return told ? 7 : 2;
}

static void a_lost_device_says_so_and_serves_the_next_process(void)
{
    enum { TIMES = 3 };
    uint64_t t = sr_now_ns();
    for (int i = 0; i < TIMES; i++) {
        char *const argv[] = {"strata-test-gpu", "--lose", NULL};
        pid_t pid;
        int status = 0;
        sr_err err = {0};
        if (!CHECK(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) == 0 &&
                       waitpid(pid, &status, 0) == pid,
                   "no process"))
            return;
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "wait status %x", (unsigned)status);
        CHECK(load_once(&err) == SR_OK, "%s", err.msg); /* this process and its contexts are none the worse */
    }
    gpu_say("%d losses, %.0f ms each with the load after it", TIMES, (double)(sr_now_ns() - t) / 1e6 / TIMES);
}

/* A model's pieces are few, and the card lacks what they say: nothing is rounded up in secret. */
static void the_ledger_says_what_the_card_lacks(void)
{
    static const char *const path[] = {DRAFT_Q8, "synth:1.1b:q4_k_m"};
    for (size_t i = 0; i < SR_COUNT(path); i++)
        for (int twice = 0; twice < 2; twice++) { /* the first time loads code, which stays */
            sr_err err   = {0};
            sr_model *m  = NULL;
            sr_loadcfg c = {.path = path[i], .be = be, .ctx = 1024, .max_seqs = 1, .kv_pages = 256, .warmup = SR_WARMUP_RESIDENT};
            gpu_device_close();
            uint64_t before = mem_free(), bytes = 0, taken = 0;
            uint32_t pieces = 0;
            if (!CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg))
                return;
            uint64_t lacks = before - mem_free();
            for (uint32_t k = 0; k < m->info.n_memory; k++) {
                const sr_memline *l = &m->info.memory[k];
                if (l->kind != SR_MEM_DEVICE || !l->pieces)
                    continue;
                pieces += l->pieces;
                bytes += l->bytes;
                taken += l->taken;
            }
            uint64_t least = m->info.bytes + m->info.kv_bytes + m->info.scratch_bytes;
            CHECK(pieces == 4 && bytes >= least && taken < bytes + pieces * (2 << 20), "%u pieces, %llu bytes of %llu take %llu", pieces,
                  (unsigned long long)bytes, (unsigned long long)least, (unsigned long long)taken);
            if (twice) {
                CHECK(lacks + (1 << 20) >= taken && lacks <= taken + (8 << 20), "%llu bytes are taken, the card lacks %llu",
                      (unsigned long long)taken, (unsigned long long)lacks);
                CHECK(i == 0 || (double)lacks <= 1.02 * (double)least, "%.4f of weights, KV and scratch", (double)lacks / (double)least);
                gpu_say("%s%.2f MB of weights, KV and scratch take %.2f, and %.2f with captured steps", i ? "; " : "", (double)least * 1e-6, (double)taken * 1e-6, (double)lacks * 1e-6);
            }
            sr_model_close(m);
        }
}

/* ---- first steps -------------------------------------------------------------------------------------------------- */

enum { FIRST = 12 };

/* In a process of its own (`strata-test-gpu --first` or `--first-cold`), where no code is loaded yet: the times of the first steps that
 * anybody asks for, a prompt's and then one row each, and by how much less memory is free after the first and after all. */
int gpu_first_steps(bool warmup)
{
    sr_err err    = {0};
    sr_model *m   = NULL;
    sr_port *port = NULL;
    sr_engine *e  = NULL;
    sr_loadcfg c  = {.path = DRAFT_Q8, .be = be, .ctx = 512, .max_seqs = 4, .warmup = warmup ? SR_WARMUP_RESIDENT : SR_WARMUP_NONE};
    int32_t tok[20];
    if (sr_model_load(&c, &m, &err) || sr_port_open(NULL, &port, &err) || sr_engine_open(m, NULL, NULL, port, &e, &err)) {
        printf("%s\n", err.msg);
        return 1;
    }
    for (int i = 0; i < 20; i++)
        tok[i] = 100 + i * 29;
    sr_request r    = {.id = 1, .tok = tok, .n_tok = 20, .max_new = FIRST, .ignore_eos = true, .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
    uint64_t before = mem_free();
    if (sr_port_post(port, &r, &err))
        return 1;
    printf("%u %.6f", m->info.warm_steps, m->info.warm_s);
    for (int i = 0; i < FIRST; i++) {
        sr_step step;
        uint64_t t = sr_now_ns();
        if (sr_engine_step(e, &step, &err))
            return 1;
        printf(" %llu", (unsigned long long)(sr_now_ns() - t));
        if (i == 0)
            printf(" %lld", (long long)(before - mem_free()));
    }
    printf(" %lld\n", (long long)(before - mem_free()));
    sr_engine_close(e);
    sr_port_close(port);
    sr_model_close(m);
    return 0;
}

typedef struct { unsigned steps; double warm_s; unsigned long long ns[FIRST]; long long taken_first, taken; } first_steps;

static bool run_first(const char *option, first_steps *f)
{
    char *const argv[] = {"strata-test-gpu", (char *)(uintptr_t)option, NULL};
    int pipes[2], status = 0;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (!CHECK(pipe(pipes) == 0, "no pipe"))
        return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 1);
    bool ok = CHECK(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) == 0, "no process");
    posix_spawn_file_actions_destroy(&actions);
    close(pipes[1]);
    FILE *in = fdopen(pipes[0], "r");
    ok       = ok && in && CHECK(fscanf(in, "%u %lf %llu %lld", &f->steps, &f->warm_s, &f->ns[0], &f->taken_first) == 4, "%s said no times", option);
    for (int i = 1; i < FIRST && ok; i++)
        ok = CHECK(fscanf(in, "%llu", &f->ns[i]) == 1, "no time of step %d", i);
    ok = ok && CHECK(fscanf(in, "%lld", &f->taken) == 1, "nothing about memory");
    if (in)
        fclose(in);
    return CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: wait status %x", option, (unsigned)status) && ok;
}

static double longest_ms(const first_steps *f, int from)
{
    unsigned long long most = 0;
    for (int i = from; i < FIRST; i++)
        most = SR_MAX(most, f->ns[i]);
    return (double)most * 1e-6;
}

static void first_steps_find_code_loaded_and_steps_captured(void)
{
    first_steps cold = {0}, warmed = {0};
    if (!run_first("--first-cold", &cold) || !run_first("--first", &warmed))
        return;
    CHECK(cold.steps == 0 && warmed.steps > 8, "%u and %u steps at load", cold.steps, warmed.steps);
    CHECK(warmed.taken_first == 0 && warmed.taken == 0, "first steps took %lld, then %lld bytes of the card", warmed.taken_first, warmed.taken);
    CHECK(warmed.ns[0] * 3 < cold.ns[0], "the first step: %.2f ms, and %.2f without", (double)warmed.ns[0] * 1e-6, (double)cold.ns[0] * 1e-6);
    gpu_say("the first step %.2f ms, of the others the longest %.2f; without: %.2f and %.2f, and %.1f MiB of the card; %u steps in %.0f ms at load",
            (double)warmed.ns[0] * 1e-6, longest_ms(&warmed, 1), (double)cold.ns[0] * 1e-6, longest_ms(&cold, 1), (double)cold.taken / (1 << 20),
            warmed.steps, warmed.warm_s * 1e3);
}

const gpu_test gpu_device_tests[] = {
    {"a_device_says_what_it_is", a_device_says_what_it_is},
    {"copies_follow_their_steps_and_points_their_order", copies_follow_their_steps_and_points_their_order},
    {"a_budget_is_kept", a_budget_is_kept},
    {"memory_comes_back_when_a_model_is_closed", memory_comes_back_when_a_model_is_closed},
    {"a_load_that_fails_anywhere_leaves_nothing", a_load_that_fails_anywhere_leaves_nothing},
    {"the_ledger_says_what_the_card_lacks", the_ledger_says_what_the_card_lacks},
    {"first_steps_find_code_loaded_and_steps_captured", first_steps_find_code_loaded_and_steps_captured},
    {"a_lost_device_says_so_and_serves_the_next_process", a_lost_device_says_so_and_serves_the_next_process},
    {NULL, NULL},
};
