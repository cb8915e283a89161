/* session.h - a model that computes, opened for a command: file, device, engine and the engine's thread.
 *
 *     sr_sessioncfg cfg = {0};                    options of the command fill it (SR_O_MODEL ...)
 *     sr_session_open(&cfg, &s, &err)             says on a terminal how far it is
 *     sr_port_post(s->port, ...); sr_session_wait(s, ...)
 *     sr_session_close(s)
 *
 * The threads that are started block SIGINT and SIGTERM, so that the caller alone decides what these mean.
 *
 * The engine is a thread of ours, or with cfg.process a process that is replaced when it dies.
 *
 * Owns:    all it opened.   Threads: one; wait() is the port's only poller.
 * Errors:  the first cause, with what was being done.  An engine that died is SR_DEVLOST.
 */
#ifndef SR_APP_SESSION_H
#define SR_APP_SESSION_H
#include <stdbool.h>
#include <stdint.h>
#include "app/opt.h"
#include "engine/engine.h"
#include "engine/port.h"

typedef struct {
    const char *model;           /* NULL: the demo model (paths.h) */
    const char *device;          /* NULL: "auto" */
    const char *isa;             /* NULL: the best of those with equal bits */
    const char *cpu_activations; /* "int8", "f32"; NULL: int8 */
    const char *kv_k, *kv_v;     /* "f16", "q8_0"; NULL: f16 */
    const char *pooling;         /* of embeddings: "last", "mean", "cls"; NULL: as the file says, else last */
    uint32_t    ctx, threads;    /* 0: the engine's defaults */
    uint32_t    max_seqs, out_rows, max_step_tokens, kv_pages;
    bool        deterministic;   /* GPU: cuts of work that do not depend on the batch */
    bool        no_overlap;      /* no step is launched before the one before it was read */
    bool        warm;            /* the first steps are taken while loading, where a GPU has all weights */
    bool        warmup, no_warmup; /* always; never */
    uint64_t    vram;            /* most bytes of a GPU's memory; 0: what is free */
    uint64_t    ram;             /* most bytes of weights in RAM beside a GPU; 0: what there is */
    float       pcie_gbs;        /* a slower bus, rehearsed, GB/s; 0: the machine's own */
    float       skip_threshold, early_exit; /* blocks left out, steps that end early: engine/skip.h; 0: none */
    uint32_t    step_timeout;    /* seconds; of an engine in a process of its own on a GPU: watchdog.h.  0: none */
    uint32_t    exit_layer;      /* 0: two thirds of the layers */
    const char *skip_text;       /* file to measure blocks with; NULL: a text of the program's */
    const char *offload;         /* "auto", "none", "stream", "cpu", "zerocopy"; NULL: auto */
    const char *disk_io;         /* "threads", "uring"; NULL: threads */
    const char *ram_format;      /* "q8_0" ..; NULL: as in the file */
    const char *transit;         /* "raw", "coded"; NULL: raw */
    bool        quiet;           /* no progress on the terminal; SIGINT is the caller's business while loading, too */
    bool        profile;         /* time every op */
    bool        grammars;        /* the vocabulary is made ready for answers in a form before one is asked for */
    bool        process, gpu_process; /* the engine in a process of its own (worker.h), for servers: always; on a GPU */
    bool        pin;             /* CPU: worker threads to cores */
    uint32_t    spin_us;         /* CPU: how long idle workers spin; 0: the default */
    bool        verbose;         /* say what was loaded */
} sr_sessioncfg;

/* Options every command with a model has. */
#define SR_O_MODEL(c)   SR_O_STR("model", 'm', (c).model, "FILE", "GGUF file of the model; without it, the bundled demo model")
#define SR_O_DEVICE(c)  SR_O_STR("device", 0, (c).device, "DEVICE", "auto, cpu, cuda, gpu or cuda:N; auto takes a GPU if one can be used")
#define SR_O_VRAM(c)    SR_O_BYTES("vram", 0, (c).vram, "SIZE", "most of the GPU's memory to take, as 14G; without it, what is free", 1e6, 1e13)
#define SR_O_RAM(c)     SR_O_BYTES("ram", 0, (c).ram, "SIZE", "most RAM for weights that do not fit the GPU, as 40G, no more than is free; the rest is read from disk in " \
    "every step", 1e6, 1e14)
#define SR_O_PCIE(c)    SR_O_REAL("pcie-gbs", 0, (c).pcie_gbs, "GB/S", "rehearse a slower bus: weights come in no faster than this", 0.01, 1000)
#define SR_O_OFFLOAD(c) SR_O_CHOICE("offload", 0, (c).offload, "auto|none|stream|cpu|zerocopy", "weights that do not fit the GPU: streamed to it in every " \
    "step, or computed by the CPU, or read by the GPU where they lie in RAM; auto divides them so that both end together")
#define SR_O_RAM_FORMAT(c) SR_O_CHOICE("ram-format", 0, (c).ram_format, "q8_0|q6_k|q5_k|q4_k|q4_0", "weights in RAM beside a GPU that are larger than in this " \
    "format are encoded in it while loading; answers change")
#define SR_O_TRANSIT(c) SR_O_CHOICE("transit", 0, (c).transit, "raw|coded", "weights of BF16 and F16 in RAM beside a GPU: as they are, or coded " \
    "without loss, a third and a seventh smaller, and decoded by the GPU; the CPU then computes none of these")
#define SR_O_DISK_IO(c) SR_O_CHOICE("disk-io", 0, (c).disk_io, "threads|uring", "weights on disk are read by threads, or by io_uring, where the kernel allows it")
#define SR_O_NO_OVERLAP(c) SR_O_FLAG("no-overlap", 0, (c).no_overlap, "GPU: launch a step only when the one before it was read (a CPU always does)")
#define SR_O_WARMUP(c) \
    SR_O_FLAG("warmup", 0, (c).warmup, "take the first steps while loading, so that the first request does not wait for what is loaded once; a GPU with all weights does so without being asked"), \
    SR_O_FLAG("no-warmup", 0, (c).no_warmup, "ready sooner: the first steps are the first requests' own")
#define SR_O_DETERMINISTIC(c) SR_O_FLAG("deterministic", 0, (c).deterministic, "GPU: an answer's bits do not depend on who else is answered (a CPU's never do, but with --isa amx-bf16)")
#define SR_O_CTX(c)     SR_O_UINT("ctx", 'c', (c).ctx, "N", "longest sequence in tokens; without it, what the model was trained for, at most 8192", 16, 1 << 24)
#define SR_O_KV_K(c)    SR_O_CHOICE("cache-type-k", 0, (c).kv_k, "f16|q8_0", "format of the keys in the KV cache")
#define SR_O_KV_V(c)    SR_O_CHOICE("cache-type-v", 0, (c).kv_v, "f16|q8_0", "format of the values in the KV cache")
#define SR_O_PIN(c)     SR_O_FLAG("pin", 0, (c).pin, "tie each CPU thread to a core: for a machine that does nothing else")
#define SR_O_SPIN(c)    SR_O_UINT("spin", 0, (c).spin_us, "US", "microseconds an idle CPU thread spins before it sleeps; without it, 100", 1, 1000000)
#define SR_O_ISA(c)     SR_O_CHOICE("isa", 0, (c).isa, "ref|avx2|avx512|amx|amx-bf16|neon|neon-dot", "CPU kernels to use; without it, the best of those " \
    "with equal bits; amx-bf16: prompts of BF16 and F16 weights are read sooner, and the last digits differ")
#define SR_O_ACTIVATIONS(c) SR_O_CHOICE("cpu-activations", 0, (c).cpu_activations, "int8|f32", "what the CPU multiplies quantised weights by: activations " \
    "rounded to int8 block by block, or as they are, in f32: slower, and answers are those of the weights themselves")
/* Quality for speed; in builds with tokenizers. */
#define SR_O_SKIP(c) \
    SR_O_REAL("skip-threshold", 0, (c).skip_threshold, "COSINE", "leave out attention and feed-forward blocks whose input and output are more alike than this, " \
        "as 0.98; measured at start; answers change", 0.001, 1), \
    SR_O_STR("skip-text", 0, (c).skip_text, "FILE", "measure it with this text; without it, one of the program's"), \
    SR_O_REAL("early-exit", 0, (c).early_exit, "P", "end a step before the last layers when every row's token has this probability there; answers change", 0.001, 1), \
    SR_O_UINT("exit-layer", 0, (c).exit_layer, "N", "test after so many layers; without it, two thirds of them", 1, 1 << 16)
/* How it is computed, for commands that run for long. */
#define SR_O_COMPUTE(c) \
    SR_O_DEVICE(c), SR_O_VRAM(c), SR_O_RAM(c), SR_O_PCIE(c), SR_O_OFFLOAD(c), SR_O_TRANSIT(c), SR_O_RAM_FORMAT(c), SR_O_DISK_IO(c), SR_O_DETERMINISTIC(c), SR_O_NO_OVERLAP(c), SR_O_THREADS(c), SR_O_PIN(c), SR_O_SPIN(c), SR_O_ISA(c), SR_O_ACTIVATIONS(c), SR_O_KV_K(c), SR_O_KV_V(c)
#define SR_O_THREADS(c) SR_O_UINT("threads", 't', (c).threads, "N", "CPU threads; without it, all usable cores", 1, 1024)

typedef struct {
    char              path[4096], id[256];
    char              passed_over[200]; /* why "auto" took the CPU, as was said on stderr or, quiet, in the log; "": it took none */
    sr_modelinfo      info;
    sr_model         *model;     /* NULL when the engine is a process */
    sr_port          *port;
    sr_engine        *engine;
    struct sr_runner *runner;    /* the engine's thread */
    struct sr_worker *worker;    /* or its process */
    uint64_t          next_id;   /* of requests */
} sr_session;

/* Parts of open() that the engine's process needs, too.  progress is sr_session_progress unless quiet; be and device are not set. */
sr_loadcfg sr_session_loadcfg(const sr_sessioncfg *, const char *path);
void       sr_session_progress(void *unused, double share, const char *what);
SR_MUSTUSE sr_status sr_session_load(const sr_sessioncfg *, sr_loadcfg *load, sr_model **, sr_err *); /* with the text to measure blocks with, and first steps */
/* What lies in a device's memory, "weights 4690.1 MiB, kv pages 512.0 MiB ..": returns the bytes of all; 0: a CPU's. */
uint64_t   sr_session_memory(const sr_modelinfo *, char *out, size_t cap);

SR_MUSTUSE sr_status sr_session_open(const sr_sessioncfg *, sr_session **, sr_err *);
void sr_session_close(sr_session *);

/* Waits for events of the port; *n is 0 when SIGINT came instead (signal_fd: a signalfd for it, or -1).  Fails when the
 * engine has died. */
SR_MUSTUSE sr_status sr_session_wait(sr_session *, int signal_fd, sr_event *ev, size_t cap, size_t *n, sr_err *);
#endif
