/* placement.c - wherever the weights lie, the answers are those of the CPU alone: 64 greedy tokens after every prompt of the reference
 * file, on cards that hold a third, a half and most of the demo model, streamed, shared with the CPU, computed by it. */
#include "gpu.h"

#include <stdlib.h>

#include "base/mem.h"
#include "engine/offload.h"

#define BASE_Q4 "models/strata-demo-base-Q4_K_M.gguf"
#define CLOSE 4e-2f /* of the two best logits: rounding may decide */
enum { PROMPTS = 8, LONGEST = 64, MADE = 64, FEW = 4, MB = 1000000 };

typedef struct { int32_t tok[LONGEST + MADE]; uint32_t n; } answer; /* the prompt, then what was made */

static const sr_hw machine = {.dev_read = 1e12, .h2d = 2e9, .cpu_read = 4e9, .dram_read = 6e9, .dev_flops = 1e13, .sync = 1e-6};

static sr_model *load(const sr_backend *be, uint64_t budget, sr_offloadmode mode)
{
    sr_err     err = {0};
    sr_model  *m   = NULL;
    sr_loadcfg c   = {.path = BASE_Q4, .be = be, .ctx = 256, .max_seqs = 4, .max_step_tokens = 64, .out_rows = FEW, .kv_pages = 16,
                      .dev = {.mem_budget = budget}, .offload = mode, .hw = &machine};
    CHECK(sr_model_load(&c, &m, &err) == SR_OK, "%s", err.msg);
    return m;
}

/* The prompts of the base model: its section ends where the draft model's begins. */
static uint32_t read_prompts(answer *a)
{
    enum { MOST = 1 << 20 };
    FILE    *f    = fopen("tests/data/reference.json", "rb");
    char    *text = sr_calloc(1, MOST);
    uint32_t n    = 0;
    if (CHECK(f && text && fread(text, 1, MOST - 1, f) > 0, "the reference cannot be read")) {
        char *end = strstr(text, "\"draft\":");
        if (end)
            *end = 0;
        for (char *p = text; n < PROMPTS && (p = strstr(p, "\"ids\":[")) != NULL; n++) {
            p = strchr(p, '[');
            for (a[n].n = 0; *p != ']' && a[n].n < LONGEST; a[n].n++)
                a[n].tok[a[n].n] = (int32_t)strtol(p + 1, &p, 10);
        }
    }
    if (f)
        fclose(f);
    sr_free(text);
    return n;
}

static bool take(sr_port *port, sr_engine *engine, answer *a)
{
    sr_err   err = {0};
    sr_event ev[64];
    uint32_t from = a->n;
    for (bool open = true; open;) {
        sr_step   step;
        sr_status s = sr_engine_step(engine, &step, &err);
        if (!CHECK(s == SR_OK || s == SR_AGAIN, "%s", err.msg))
            return false;
        for (size_t i = 0, got = sr_port_poll(port, ev, 64); i < got; i++) {
            if (ev[i].kind == SR_EV_TOKEN && a->n < from + MADE)
                a->tok[a->n++] = ev[i].token;
            open = open && ev[i].kind != SR_EV_DONE && ev[i].kind != SR_EV_ERROR;
            CHECK(ev[i].kind != SR_EV_ERROR, "%s", ev[i].msg);
        }
    }
    return CHECK(a->n == from + MADE, "%u tokens of %d", a->n - from, MADE);
}

static bool continue_all(sr_model *m, const answer *prompt, uint32_t n, answer *out)
{
    sr_err     err    = {0};
    sr_port   *port   = NULL;
    sr_engine *engine = NULL;
    bool ok = CHECK(sr_port_open(&(sr_portcfg){0}, &port, &err) == SR_OK && sr_engine_open(m, &(sr_enginecfg){0}, NULL, port, &engine, &err) == SR_OK, "%s", err.msg);
    for (uint32_t i = 0; i < n && ok; i++) {
        sr_request r = {.id = i + 1, .tok = prompt[i].tok, .n_tok = prompt[i].n, .max_new = MADE, .ignore_eos = true,
                        .sampling = {.top_p = 1, .typical_p = 1, .rep_penalty = 1}};
        out[i] = prompt[i];
        ok     = CHECK(sr_port_post(port, &r, &err) == SR_OK, "%s", err.msg) && take(port, engine, &out[i]);
    }
    sr_engine_close(engine);
    sr_port_close(port);
    return ok;
}

typedef struct { uint32_t vocab; float gap; } judge;

static bool two_best(void *arg, uint32_t pos, const float *row)
{
    judge *j = arg;
    float  a = row[0], b = -1e30f;
    (void)pos;
    for (uint32_t i = 1; i < j->vocab; i++) {
        b = row[i] > a ? a : row[i] > b ? row[i] : b;
        a = row[i] > a ? row[i] : a;
    }
    j->gap = a - b;
    return true;
}

/* Tokens before the two part; where they do, the CPU must have been undecided. */
static uint32_t compare(sr_model *cpu, const answer *want, const answer *got, uint32_t prompt, const char *what)
{
    uint32_t k = prompt;
    sr_err   err = {0};
    judge    j   = {.vocab = cpu->info.n_vocab};
    while (k < want->n && want->tok[k] == got->tok[k])
        k++;
    if (k == want->n)
        return MADE;
    CHECK(sr_model_eval(cpu, want->tok, k, k - 1, two_best, &j, &err) == SR_OK, "%s", err.msg);
    CHECK(j.gap < CLOSE, "%s: token %u is %d, the CPU's %d by %g", what, k - prompt, got->tok[k], want->tok[k], (double)j.gap);
    return k - prompt;
}

static void every_placement_answers_as_the_cpu_does(void)
{
    static answer               prompt[PROMPTS], want[PROMPTS], got[PROMPTS];
    static const char *const    name[] = {"streamed", "shared", "by the CPU"};
    static const sr_offloadmode mode[] = {SR_OFFLOAD_STREAM, SR_OFFLOAD_AUTO, SR_OFFLOAD_CPU};
    uint32_t  n = read_prompts(prompt), alike = 0, all = 0;
    sr_model *cpu = load(&sr_backend_cpu, 0, SR_OFFLOAD_NONE), *whole = load(&sr_backend_cuda, 0, SR_OFFLOAD_NONE);
    uint64_t  fixed = whole ? whole->info.scratch_bytes + sr_block_bytes(whole, &whole->max) + whole->info.kv_bytes + MB / 2 : 0;
    sr_model_close(whole);
    bool ok = CHECK(n == PROMPTS, "%u prompts", n) && cpu && fixed && continue_all(cpu, prompt, n, want);
    for (uint32_t k = 0; ok && k < 9; k++) {
        static const uint64_t budget[] = {8, 14, 20};
        char                  what[64];
        sr_model             *m = load(&sr_backend_cuda, fixed + budget[k % 3] * MB, mode[k / 3]);
        snprintf(what, sizeof what, "%s, %u MB", name[k / 3], (unsigned)budget[k % 3]);
        ok = m && CHECK(m->off, "%s: everything fitted", what) && continue_all(m, prompt, n, got);
        for (uint32_t i = 0; ok && i < n; i++, all++)
            alike += compare(cpu, &want[i], &got[i], prompt[i].n, what) == MADE;
        sr_model_close(m);
    }
    gpu_say("%u of %u answers are the CPU's to the last of %d tokens, the others part where it was undecided", alike, all, MADE);
    sr_model_close(cpu);
}

const gpu_test gpu_placement_tests[] = {
    {"every_placement_answers_as_the_cpu_does", every_placement_answers_as_the_cpu_does},
    {NULL, NULL},
};
