/* outlook.h - what a machine will make of a model, before anything is loaded: where it lies, how fast it answers, what limits.
 *
 * From a profile (a machine in figures), the units of a model and what is wanted of it: the placement that the engine would
 * take (weights/plan), then steps of several batch sizes, prompts, the most that fits, and what a change would bring.
 * It assumes what the engine does: pages of 16, prompts in steps of 2048 tokens on a GPU and 512 on a CPU, the CPU sharing steps of
 * at most 8 tokens, three slots for weights that come in.
 *
 * Owns:    an outlook owns its places.   Threads: pure.
 * Errors:  SR_INVALID: figures that make no plan.  SR_NOMEM: it does not fit; `sum` says by how much.
 */
#ifndef SR_ENGINE_OUTLOOK_H
#define SR_ENGINE_OUTLOOK_H
#include "engine/units.h"

enum { SR_OUTLOOK_ROWS = 16, SR_OUTLOOK_PROMPTS = 2, SR_OUTLOOK_CHANGES = 6 };

typedef struct {                      /* the machine, and what is wanted; 0: the profile's, or the default */
    const sr_profile *profile;
    bool     cpu_only, no_disk, quick; /* as if there were no device; nothing stays on disk; without the edges, which cost a dozen plans */
    uint64_t vram, ram;               /* budgets; vram 0: all but what a driver takes */
    double   h2d, nvme, cpu;          /* bytes/s; cpu: times as fast, 0: 1 */
    uint32_t threads;                 /* 0: all cores, beside a device sr_plan_threads() */
    uint16_t ram_format;              /* what lies in RAM is no larger than in this format; 0: as in the file */
    double   code_bf16, code_f16;     /* or coded, to these shares of its bytes; 0: as it is */
    bool     stream;                  /* the CPU takes no part */
    bool     f32;                     /* the profile's products of the CPU are those of activations in f32 (weights/profile_as.h); told, not used */
    uint32_t ctx, parallel, depth;    /* tokens of a sequence, 0: as the engine; sequences at full length, 0: 1; context of predicted steps */
    uint16_t kv_k, kv_v;
    uint32_t batch[SR_OUTLOOK_ROWS], n_batch;
} sr_outlookcfg;

typedef struct { uint32_t batch; bool fits, moved; double tok_s; sr_stepcost cost; } sr_outrow; /* moved: more KV pushed weights out */
typedef struct { uint32_t tokens; double first_s, tok_s; } sr_outprompt;

typedef struct {
    sr_placement sum;
    sr_place    *place;
    sr_hw        hw;
    uint32_t     threads, ctx, parallel, chunk;
    uint64_t     kv, kv_token, scratch, vectors, reserve, weights; /* kv_token: of one token of one sequence */
    uint64_t     ram_before, ram_now; /* of what lies in RAM otherwise than in the file: its bytes there, and in RAM */
    sr_outrow    row[SR_OUTLOOK_ROWS]; uint32_t n_row;
    sr_outprompt prompt[SR_OUTLOOK_PROMPTS];
    uint32_t     parallel_most, ctx_most;       /* that fit beside these weights as they lie, the other as given */
    uint32_t     parallel_edge, ctx_edge;       /* that fit at all; quick: 0 */
    char         limit[120];                    /* of the first row */
} sr_outlook;

/* Units as they would lie in RAM with cfg's options; as: see sr_units_open().  SR_INVALID: options that exclude each other, or would change nothing of the file. */
SR_MUSTUSE sr_status sr_outlook_units(const sr_compiled *, const sr_mix *as, const sr_outlookcfg *, sr_units *, sr_err *);
SR_MUSTUSE sr_status sr_outlook_make(const sr_compiled *, const sr_units *, const sr_outlookcfg *, sr_outlook *, sr_err *);
void sr_outlook_close(sr_outlook *);

/* One change at a time, planned anew.  tok_s of the first batch size; 0: does not fit even so. */
typedef struct { char what[80]; double tok_s; } sr_change;
SR_MUSTUSE sr_status sr_outlook_changes(const sr_compiled *, const sr_units *, const sr_outlookcfg *, sr_change out[SR_OUTLOOK_CHANGES],
                                        uint32_t *n, sr_err *);
#endif
