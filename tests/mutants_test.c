/* mutants_test [N] [SEED]: N damaged copies of a model (default 400); each one that is accepted answers two requests of one token
 * and scores a prompt.
 *
 *     where       scalars and names of the metadata, the list of tensors, the vocabulary, weights (also NaN and infinite scales)
 *     outcome     refused: one printable line   |   a token   |   an error event with its message, and the engine goes on
 *
 * A child of its own computes the mutants, so that a signal is counted and named by its mutant; one that takes longer than
 * LIMIT_S seconds is a failure as well. */
#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/philox.h"
#include "engine/engine.h"
#include "format/gguf.h"

#define MODEL "models/strata-demo-draft-Q8_0.gguf"
enum { LIMIT_S = 30, MOST_EDITS = 8, EDIT_BYTES = 8 };

typedef struct { uint64_t at; uint8_t n, was[EDIT_BYTES]; } edit;
typedef struct { uint64_t now, refused, tokens, errors, wrong; char why[700]; } tally; /* shared with the child */

static tally   *T;
static uint8_t *original;
static size_t   size, n_region;
static struct { uint64_t from, to; } region[256]; /* of metadata that are no vocabulary, and of the list of tensors */
static uint64_t data_at, seed;
static uint32_t drawn;
static int      file;
static char     path[40];

static void die(const char *what)
{
    fprintf(stderr, "mutants_test: %s\n", what);
    exit(1);
}

/* Each mutant has a stream of draws of its own: it can be made again alone. */
static uint64_t draw(uint64_t below)
{
    sr_philox r = sr_philox4(seed, (uint32_t)T->now, drawn++, 0, 0);
    return (((uint64_t)r.v[0] << 32) | r.v[1]) % below;
}

/* ---- what is damaged --------------------------------------------------------------------------------------- */

static uint64_t find(const void *what, size_t n, uint64_t from)
{
    const uint8_t *p = memmem(original + from, size - from, what, n);
    return p ? (uint64_t)(p - original) : size;
}

/* A key with its type and value, a tensor's name with its dimensions: about 48 bytes from each name on. */
static void make_regions(void)
{
    sr_err   err = {0};
    sr_gguf *g   = NULL;
    if (sr_gguf_open(MODEL, &g, &err))
        die(err.msg);
    data_at = size;
    for (size_t i = 0; i < sr_gguf_n_kv(g) && n_region < SR_COUNT(region); i++) {
        const sr_gguf_kv *kv = sr_gguf_kv_at(g, i);
        uint64_t          at = find(kv->key, strlen(kv->key), 0);
        region[n_region].from = at - 8;
        region[n_region++].to = SR_MIN(at + strlen(kv->key) + 24, size);
    }
    for (size_t i = 0; i < sr_gguf_n_tensors(g) && n_region < SR_COUNT(region); i++) {
        const sr_tensor *t  = sr_gguf_tensor_at(g, i);
        uint64_t         at = find(t->name, strlen(t->name), 0);
        region[n_region].from = at - 8;
        region[n_region++].to = SR_MIN(at + strlen(t->name) + 32, size);
        data_at = SR_MIN(data_at, t->offset);
    }
    sr_gguf_close(g);
}

static void put(edit *e, uint64_t at, const void *p, size_t n)
{
    *e = (edit){.at = SR_MIN(at, size - n), .n = (uint8_t)n};
    memcpy(e->was, original + e->at, n);
    if (pwrite(file, p, n, (off_t)e->at) != (ssize_t)n)
        die("cannot write the copy");
}

/* One damage at `at`: a byte, a bit, or a number that programs count wrong with. */
static void damage(edit *e, uint64_t at)
{
    static const uint64_t nasty[] = {0, 1, 2, 3, 7, 255, 256, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                     0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0x7fc00000, 0x7f800000, 0xff800000};
    uint64_t v = nasty[draw(SR_COUNT(nasty))];
    uint8_t  b = (uint8_t)draw(256);
    at = SR_MIN(at, size - 8);
    switch (draw(4)) {
    case 0: put(e, at, &b, 1); return;
    case 1: b = original[at] ^ (uint8_t)(1u << draw(8)); put(e, at, &b, 1); return;
    case 2: put(e, at, &v, 4); return;
    default: put(e, at, &v, 8); return;
    }
}

static uint32_t mutate(edit *e)
{
    static const uint16_t halves[] = {0x7e00, 0x7c00, 0xfc00, 0x7bff, 0xfbff, 0x0001}; /* NaN, infinities, largest, smallest */
    uint32_t n = 0, kind = (uint32_t)draw(10);
    uint64_t edits = 1 + draw(kind < 8 ? 3 : MOST_EDITS);
    for (; n < edits; n++) {
        if (kind < 6) {
            size_t r = (size_t)draw(n_region);
            damage(&e[n], region[r].from + draw(region[r].to - region[r].from));
        } else if (kind < 7) {
            damage(&e[n], draw(data_at));
        } else if (kind < 8) {
            damage(&e[n], data_at + draw(size - data_at));
        } else { /* a scale of a Q8_0 block: 34 bytes, the scale first */
            uint16_t h = halves[draw(SR_COUNT(halves))];
            put(&e[n], data_at + draw((size - data_at) / 34) * 34, &h, 2);
        }
    }
    return n;
}

static void undo(const edit *e, uint32_t n)
{
    while (n--)
        if (pwrite(file, e[n].was, e[n].n, (off_t)e[n].at) != e[n].n)
            die("cannot write the copy");
}

/* ---- what becomes of it ------------------------------------------------------------------------------------ */

static void wrong(const char *what, const char *msg)
{
    if (!T->wrong++)
        snprintf(T->why, sizeof T->why, "mutant %llu: %s: %s", (unsigned long long)T->now, what, msg);
}

static bool printable_line(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s < 32 || *s == 127)
            return false;
    return true;
}

/* One token, or an error with a message; both leave the engine alive. */
static void ask(sr_engine *e, sr_port *port, uint64_t id)
{
    static const int32_t prompt[] = {1, 2, 3, 4};
    sr_request r    = {.id = id, .tok = prompt, .n_tok = SR_COUNT(prompt), .max_new = 1, .n = 1, .ignore_eos = true,
                       .sampling = {.temp = id & 1 ? 0.0f : 0.8f, .top_p = 1, .typical_p = 1, .rep_penalty = 1}};
    sr_err     err  = {0};
    bool       over = false;
    uint32_t   made = 0;
    if (id == 3) { /* no token: what the prompt's own tokens weigh */
        r.what              = SR_SCORE;
        r.max_new           = 0;
        r.n_prompt_logprobs = 2;
    }
    if (sr_port_post(port, &r, &err)) {
        wrong("post", err.msg);
        return;
    }
    for (int steps = 0; !over && steps < 100; steps++) {
        sr_event ev[8];
        sr_step  st;
        size_t   n;
        sr_status s = sr_engine_step(e, &st, &err);
        if (s && s != SR_AGAIN) {
            wrong("the engine ended", err.msg);
            return;
        }
        while ((n = sr_port_poll(port, ev, 8)))
            for (size_t i = 0; i < n; i++) {
                made += ev[i].kind == SR_EV_TOKEN;
                over |= ev[i].kind == SR_EV_DONE || ev[i].kind == SR_EV_ERROR;
                if ((ev[i].kind == SR_EV_TOKEN || ev[i].kind == SR_EV_PROMPT) && (ev[i].token < 0 || !isfinite(ev[i].logprob)))
                    wrong("a token that is none, or its probability", "");
                if (ev[i].kind == SR_EV_ERROR && ev[i].status != SR_IO)
                    wrong("an error that blames the client", ev[i].msg);
                if (ev[i].kind == SR_EV_ERROR && !printable_line(ev[i].msg))
                    wrong("an error that is not a line", ev[i].msg);
                T->errors += ev[i].kind == SR_EV_ERROR;
            }
    }
    T->tokens += made;
    if (!over)
        wrong("no end of the request", "");
    if (!sr_engine_check(e, &err))
        wrong("invariants", err.msg);
}

static void compute(void)
{
    sr_err     err  = {0};
    sr_model  *m    = NULL;
    sr_port   *port = NULL;
    sr_engine *e    = NULL;
    sr_loadcfg load = {.path = path, .ctx = 64, .max_seqs = 2, .max_step_tokens = 32, .dev = {.threads = 1}};
    if (sr_model_load(&load, &m, &err)) {
        T->refused++;
        if (!printable_line(err.msg))
            wrong("refused without a line", err.msg);
        sr_model_close(m);
        return;
    }
    if (sr_port_open(NULL, &port, &err) || sr_engine_open(m, NULL, NULL, port, &e, &err)) {
        T->refused++;
        if (!printable_line(err.msg))
            wrong("refused without a line", err.msg);
    } else {
        ask(e, port, 1);
        ask(e, port, 2);
        ask(e, port, 3);
    }
    sr_engine_close(e);
    sr_port_close(port);
    sr_model_close(m);
}

static void child(uint64_t until)
{
    for (; T->now < until; T->now++) {
        edit     e[MOST_EDITS];
        drawn      = 0;
        uint32_t n = mutate(e);
        alarm(LIMIT_S);
        compute();
        alarm(0);
        undo(e, n);
    }
    exit(0);
}

static void restore(void)
{
    for (size_t at = 0; at < size;) {
        ssize_t k = pwrite(file, original + at, size - at, (off_t)at);
        if (k <= 0)
            die("cannot write the copy");
        at += (size_t)k;
    }
}

static void copy_model(void)
{
    struct stat st;
    int         fd = open(MODEL, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st))
        die("cannot read " MODEL);
    size     = (size_t)st.st_size;
    original = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    file     = memfd_create("mutant", 0);
    if (original == MAP_FAILED || file < 0)
        die("cannot copy " MODEL);
    close(fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    restore();
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 400, signals = 0;
    seed       = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    T          = mmap(NULL, sizeof *T, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (T == MAP_FAILED)
        die("no memory");
    copy_model();
    make_regions();
    while (T->now < n) {
        int   status = 0;
        pid_t pid = fork();
        if (pid == 0)
            child(n);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            die("cannot run the mutants");
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        signals++;
        fprintf(stderr, "mutant %llu of seed %llu: %s %d\n", (unsigned long long)T->now, (unsigned long long)seed,
                WIFSIGNALED(status) ? "signal" : "exit status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        restore();
        T->now++;
    }
    printf("%llu mutants: %llu refused, %llu tokens, %llu errors of requests, %llu signals or time-outs, %llu wrong\n", (unsigned long long)n,
           (unsigned long long)T->refused, (unsigned long long)T->tokens, (unsigned long long)T->errors, (unsigned long long)signals,
           (unsigned long long)T->wrong);
    if (T->wrong)
        fprintf(stderr, "%s\n", T->why);
    return signals || T->wrong || (n >= 400 && (!T->refused || !T->tokens || !T->errors));
}
