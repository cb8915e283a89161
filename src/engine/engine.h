/* engine.h - one model on its devices, many requests, one step at a time.
 *
 * There is no prefill phase and no decode phase.  A request has `computed` tokens and `wanted` tokens
 * (prompt + accepted + drafted); each step hands out a budget so that computed catches up with wanted.
 * Chunked prefill, prefix reuse and speculation are that one rule.  [vLLM v1 scheduler; Sarathi-Serve 2024]
 *
 * A step:  take commands > admit > propose > schedule > reserve KV > submit > sample/verify > commit > emit.
 * Where it can, the next step is launched before this one's results are read: its rows take their tokens from the device.
 * Owns:    requests (copied in), sequences, the batch.  Borrows the model and the port.
 * Threads: step() and run() from one thread; everybody else talks through the port (port.h).
 * Errors:  one request's fault ends that request with SR_EV_ERROR and its message.  step() itself fails
 *          only with SR_DEVLOST.
 * Repeatable: a draw is philox(seed, token, choice, position), no state: same seed, same tokens, through
 *          preemption, speculation, retry, CPU or GPU.  Sampling happens on the device (op SAMPLE).
 */
#ifndef SR_ENGINE_H
#define SR_ENGINE_H
#include "backend/backend.h"
#include "engine/port.h"
#include "weights/plan.h"

enum { SR_ENGINE_SEQS = 8, SR_ENGINE_MEAN_ROWS = 256, SR_ENGINE_MEMLINES = 24 }; /* defaults of max_seqs; of out_rows where vectors are means */
typedef struct sr_engine sr_engine;
typedef struct sr_model  sr_model;

typedef enum {                             /* weights that do not fit the device's memory */
    SR_OFFLOAD_AUTO,                       /* as the plan says: streamed, and feed-forwards shared with the CPU where that is faster */
    SR_OFFLOAD_NONE,                       /* an error */
    SR_OFFLOAD_STREAM,                     /* all of them come over the bus, in every step */
    SR_OFFLOAD_CPU,                        /* steps of a few tokens: the CPU computes every feed-forward that is not on the device */
    SR_OFFLOAD_ZEROCOPY                    /* steps of a few tokens: the device's products read weights in RAM over the bus; larger ones stream */
} sr_offloadmode;
typedef enum { SR_TRANSIT_RAW, SR_TRANSIT_CODED } sr_transit; /* weights in RAM beside a device: as in the file; BF16 and F16 coded without loss */
typedef enum {                             /* first steps taken while loading, so that the first request finds code loaded and steps captured */
    SR_WARMUP_NONE,
    SR_WARMUP_RESIDENT,                    /* where every weight lies on the device: a step that has to bring them in takes longer than what it would save */
    SR_WARMUP_ALWAYS
} sr_warmup;
typedef struct {                           /* what this machine does, as measured before: asked where the plan needs it; zero: nothing is known */
    bool (*known)(void *arg, uint16_t format, uint32_t threads, sr_hw *out); /* products of weights in this format on so many CPU threads; what is left 0 is measured */
    void (*measured)(void *arg, uint16_t format, uint32_t threads, const sr_hw *now); /* for the next time; NULL: nobody keeps it */
    void *arg;
} sr_figures;
typedef struct {                           /* what to load, and how much room it may take; zero = defaults */
    const char       *path;                /* GGUF */
    const sr_backend *be; int device;
    sr_devcfg         dev;
    uint32_t ctx;                          /* longest sequence; 0: the model's own, at most 8192 unless memory is ample */
    uint32_t max_seqs;                     /* rows of a step that may sample at once; 0: 8 */
    uint32_t max_step_tokens;              /* 0: 512, on a GPU 2048 */
    uint32_t page_tokens;                  /* 0: 16 */
    uint32_t kv_pages;                     /* 0: enough for max_seqs sequences of min(ctx, 4096) */
    uint16_t kv_format_k, kv_format_v;     /* SR_F32 (zero): SR_F16 */
    uint16_t out_rows;                     /* 0: max_seqs, 256 where vectors are means; more for perplexity */
    bool     trees;                        /* steps may have drafted tokens (ops/tree.h) */
    uint16_t pooling;                      /* SR_POOL_MEAN, CLS, LAST; 0: the file's, else LAST */
    sr_offloadmode offload;
    bool     disk_ring;                    /* weights on disk are read by io_uring, where there is one; else by threads */
    uint16_t ram_format;                   /* weights in RAM beside a device that are larger are encoded anew in it, with loss; 0: none are */
    sr_transit transit;                    /* CODED: such feed-forwards are not shared with the CPU */
    double   bus;                          /* bytes/s of a slower bus, rehearsed: weights come in no faster than that; 0: the machine's own */
    uint64_t ram;                          /* most bytes of weights in RAM; 0: what the machine has */
    const int32_t *skip_text; uint32_t n_skip_text; /* what each block changes is measured with it (512 tokens at most); 0: nothing is */
    float    skip_threshold;               /* blocks whose input and output have a higher cosine are left out; 0: none.  See skip.h */
    float    early_exit; uint32_t exit_layer; /* probability at which a step ends after so many layers; 0: never; layer 0: two thirds of them */
    sr_warmup warmup;
    const sr_hw *hw;                       /* what the machine does; figures that are 0 are measured when the plan needs them; NULL: */
    sr_figures figures;                    /* these are asked first */
    void (*progress)(void *arg, double share, const char *what); void *arg;
} sr_loadcfg;
typedef struct {
    char     arch[32], name[128], ftype[16];
    uint64_t n_params, bytes;              /* of the weights */
    uint32_t ctx_train, ctx, n_embd, n_layer, n_head, n_head_kv, n_ff, n_vocab, page_tokens;
    uint32_t pooling;                      /* of embeddings, SR_POOL_* */
    uint64_t kv_bytes, scratch_bytes;
    uint32_t threads;                      /* of a CPU; multiprocessors of a GPU */
    bool     on_host;                      /* the device is a CPU: its memory is the host's */
    char     device[64], isa[16];
    bool     f32_activations;              /* the CPU multiplies weights in blocks by activations as they are */
    uint8_t  uuid[16];                     /* of a GPU; zeros: it has none */
    uint64_t bytes_device;                 /* of the weights; less than `bytes`: the rest comes in every step */
    uint64_t bytes_ram, bytes_before;      /* of weights that lie in RAM coded, or in another format; before that */
    uint16_t ram_format; bool ram_coded;
    char     disk[120];                    /* how weights on disk are read; empty: none are */
    uint32_t warm_steps; double warm_s;    /* taken while loading, and how long they took; cfg.warmup */
    sr_memline memory[SR_ENGINE_MEMLINES]; uint32_t n_memory; /* of the device, when the model was ready: a tag for every byte; none on a CPU */
    double   cpu_share, predicted_s;       /* of all feed-forwards, computed by the CPU in steps of few tokens; a step of one token */
} sr_modelinfo;
SR_MUSTUSE sr_status sr_model_load(const sr_loadcfg *, sr_model **, sr_err *);
void sr_model_close(sr_model *);
const sr_modelinfo *sr_model_info(const sr_model *);

/* Blocks of the program, left out or not: [2 * layers], attention and feed-forward of each; NULL: nothing was measured at load. */
typedef struct { float cosine; bool left_out; } sr_blockinfo;
typedef struct { uint32_t blocks; uint64_t tested, exited; } sr_skipcount; /* left out of every step; steps tested for, and ended by, early exit */
const sr_blockinfo *sr_model_blocks(const sr_model *);
sr_skipcount        sr_model_skipped(const sr_model *);
/* Other settings; no request may be running, and none may have run with other ones.  certain 1: nothing is certain enough; logits are
 * computed token by token all the same, to compare with. */
SR_MUSTUSE sr_status sr_model_skip(sr_model *, float threshold, sr_err *err);
SR_MUSTUSE sr_status sr_model_early_exit(sr_model *, float certain, uint32_t layer, sr_err *err);

/* Logits of positions [from, n) of a text on its own (no requests may be running): perplexity, KL, calibration, tests.
 * Row by row through `row`, which returns false to stop.  logits: [n_vocab], valid during the call. */
typedef bool (*sr_logitsfn)(void *arg, uint32_t pos, const float *logits);
SR_MUSTUSE sr_status sr_model_eval(sr_model *, const int32_t *tok, uint32_t n, uint32_t from, sr_logitsfn row, void *arg, sr_err *);

/* What launches took, by kind, or steps, since the last call, and what is timed from now on; needs cfg.dev.profile, and no request may be
 * running.  Launches that do the same in other layers are added up; in the program's order.  SR_INVALID: more than cap lines. */
typedef struct {
    char      op[32], weights[128], format[24]; /* "norm+linear", from four ops on "chain of 7"; "ffn_gate,ffn_up", "Q4_K,F16": of its products, where it has some */
    uint32_t  n_op, launches;                   /* ops that one of these computes; how many of them were seen in the program */
    sr_opstat stat;
} sr_opline;
typedef struct { sr_opline *line; size_t cap, n; uint64_t steps, ns; } sr_optable; /* as sr_timed */
SR_MUSTUSE sr_status sr_model_profile(sr_model *, sr_timing next, sr_optable *out, sr_err *); /* out NULL: only what is timed from now on */
/* Operations of a step's products and attention, without blocks left out; kv_tokens: positions visible at its end, summed over sequences. */
double sr_model_flops(const sr_model *, const sr_shape *, uint32_t kv_tokens);

typedef struct {
    uint32_t seqs, tokens, drafted, accepted, preempted;
    uint64_t ns_host, ns_wait, ns_stall, ns_predicted, bytes_weights, bytes_kv, bytes_streamed, flops;
} sr_step;
typedef struct { uint64_t id; uint32_t choice; const int32_t *ctx; uint32_t n; uint32_t hidden_row, cap;
                 int32_t *tok; int16_t *parent; uint32_t n_out; } sr_draft;
typedef struct {
    const char *name; uint32_t max_draft; bool wants_hidden;
    sr_status (*propose)(void *self, sr_draft *, uint32_t n, const void *hidden_dev, sr_err *); /* whole batch */
    void      (*observe)(void *self, uint64_t id, uint32_t choice, uint32_t drafted, uint32_t accepted);
    void      (*forget)(void *self, uint64_t id, uint32_t choice);
    void      (*close)(void *self); void *self;
} sr_proposer;

typedef enum {                             /* whether the next step is launched before this one's results are read (flight.c) */
    SR_OVERLAP_AUTO,                       /* on devices that are not the host */
    SR_OVERLAP_NEVER,
    SR_OVERLAP_ALWAYS
} sr_overlap;
typedef struct {
    uint32_t queue;                        /* most requests waiting; 0: 1024 */
    bool     deterministic;
    bool     replaced;                     /* when the device is lost another engine takes the port: requests that have not begun are left to it */
    bool     grammars;                     /* make the vocabulary ready for grammars at once, beside the steps; else with the first request that has one */
    sr_overlap overlap;
} sr_enginecfg;
/* Bytes of events of a port for it: twice what a step of so many sequences and wanted rows may say (0: the model's defaults). */
size_t sr_engine_events(uint32_t max_seqs, uint32_t out_rows);
SR_MUSTUSE sr_status sr_engine_open(sr_model *, const sr_enginecfg *, const sr_proposer *, sr_port *, sr_engine **, sr_err *);
void sr_engine_close(sr_engine *);
/* One step; SR_AGAIN: nothing to do. */
SR_MUSTUSE sr_status sr_engine_step(sr_engine *, sr_step *, sr_err *);
/* Steps until *stop is set, sleeping on the port when there is nothing to do. */
SR_MUSTUSE sr_status sr_engine_run(sr_engine *, const volatile int *stop, sr_err *);
/* How long the device has been busy with the present step, ns; 0: it is not.  Any thread. */
uint64_t sr_engine_busy(const sr_engine *);
bool sr_engine_check(const sr_engine *, sr_err *); /* invariants of scheduler and KV; no live request holds nothing */
#endif
