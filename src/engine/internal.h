/* internal.h - what the files of the engine share: the loaded model, the batch, requests and choices.
 *
 *     load.c    file -> program -> device -> ready          batch.c   one step's inputs, host block and device block
 *     constrain.c  requests with a grammar: which tokens may come next
 *     vector.c   requests that want a vector
 *     sched.c   requests, admission, preemption, budgets    engine.c  the step, and what comes out of it
 *     place.c   weights onto the device                     offload.c those that do not fit it
 *     skip.c    blocks left out, early exit             flight.c  steps under way, the next one behind the present one
 *     warm.c    first steps, at load
 */
#ifndef SR_ENGINE_INTERNAL_H
#define SR_ENGINE_INTERNAL_H
#include "engine/engine.h"
#include "kv/kv.h"
#include "model/model.h"

typedef struct {              /* a step's inputs: the host block is written, then copied to the device in one go */
    sr_shape  max;
    size_t    bytes, sampling_bytes;
    char     *host, *dev;     /* same layout */
    sr_shape *n;
    int32_t  *tok, *pos;
    uint64_t *tree;           /* NULL: without cfg.trees */
    uint32_t *dst, *seq, *table, *kv_len, *out;
    char     *sampling;
    size_t    sampling_used;  /* bytes */
    uint32_t  drawn, vectors; /* wanted rows that want a token, or its probability; a hidden state */
    sr_shape  now;
} sr_block;

typedef struct sr_offload sr_offload;
typedef struct sr_skip    sr_skip;
typedef struct sr_tap     sr_tap;

struct sr_model {
    sr_loadcfg        cfg;
    sr_shape          max;        /* of a step */
    sr_modelinfo      info;
    sr_gguf          *gguf;
    sr_compiled      *code;
    const sr_backend *be;
    sr_dev           *dev;
    sr_plan          *plan, *ran; /* the whole program's; the last step's */
    sr_offload       *off;        /* NULL: every weight lies on the device */
    sr_skip          *skip;       /* NULL: the whole program is computed */
    const sr_tap     *tap;        /* NULL, but while values between ops are measured */
    sr_kv            *kv;
    sr_wref          *weight;
    void             *weights;    /* on the device, one behind the other; NULL where the mapping itself is used */
    void             *scratch;
    sr_block          block;
    sr_sampled       *sampled, *spare; /* pinned: a step's results [max.out]; those of the step behind it */
    const void       *sampled_dev;
    float            *hidden;     /* pinned: final-norm states of a step's wanted rows [max.out][n_embd], where vectors are wanted */
    uint32_t          kv_pages;
    bool              timed;      /* ops or steps are: sr_model_profile() */
};

/* batch.c */
SR_MUSTUSE sr_status sr_block_open(sr_model *m, const sr_shape *max, sr_err *err);
void     sr_block_close(sr_model *m);
uint32_t sr_block_adjust(const sr_model *m);                   /* entries of bias and penalty lists: room for every sequence's at once */
size_t   sr_block_mask(const sr_model *m);                      /* bytes of a mask of tokens */
size_t   sr_block_bytes(const sr_model *m, const sr_shape *max);
void     sr_block_address(const sr_model *m, sr_batch *out);   /* the device addresses to bind */
void     sr_block_begin(sr_block *b);
uint32_t sr_block_spans(const sr_block *b, uint32_t groups, sr_span *out, uint32_t cap);

/* Rows for tokens [first, first + n) of a sequence whose room is reserved: ids, positions, pages, a new sequence in the block. */
void     sr_block_add(sr_model *m, const sr_kvseq *seq, const int32_t *tok, uint32_t first, uint32_t n);
/* The last n rows of the sequence added last are drafted, in the order of ops/tree.h: parent[i] < i of the i-th, -1: the row in front of them all.
 * What they hold lies at reserved offsets in the order of rows: `from` of sr_kv_commit().  SR_INVALID: no tree, or too large; the block is as it was. */
SR_MUSTUSE sr_status sr_block_draft(sr_model *m, const int16_t *parent, uint32_t n, sr_err *err);
/* Inputs over, program through, results of now.out rows in m->sampled; returns when they are here. */
SR_MUSTUSE sr_status sr_model_compute(sr_model *m, sr_err *err);
/* The same without waiting, where all is computed by one program (sr_model_flies()) and no vector is wanted: the block may be written
 * again when `taken` is reached, results are in `to` when `done` is. */
typedef struct { sr_point taken, done; } sr_launched;
bool     sr_model_flies(const sr_model *m);
SR_MUSTUSE sr_status sr_model_launch(sr_model *m, sr_sampled *to, sr_launched *out, sr_err *err);

/* Pieces of device memory that a model is: weights, activations, inputs, KV pages; slots of a stream, activations of few tokens. */
enum { SR_DEVICE_PIECES = 6 };

/* place.c: where every weight lies.  On a device with memory of its own they are copied, packed into its kernels' tiles, into one piece of memory. */
enum { SR_WEIGHT_ALIGN = 256 };
/* Where weights begin in that piece, by id, SIZE_MAX: not in it (at: NULL, or [n_weight]).  Returns its bytes. */
size_t sr_place_offsets(const sr_model *m, size_t *at);
SR_MUSTUSE sr_status sr_place_weights(sr_model *m, bool on_host, sr_err *err);
/* Layout of the tiles that the device's kernels have for rows of blocks at src; 0: they read them as in the file. */
uint16_t sr_tile_layout(const sr_model *m, uint16_t format, uint32_t rows, uint32_t cols, const char *src, size_t row_bytes);

/* warm.c: steps that leave nothing behind but code that is loaded and steps that are captured; the model is ready otherwise. */
SR_MUSTUSE sr_status sr_model_warm(sr_model *m, sr_err *err);

/* sched.c */
typedef struct sr_job    sr_job;
typedef struct sr_choice sr_choice;

/* BLOCKED: choices 1.. until the prompt is computed; FORMING: until the vocabulary is ready for grammars (constrain.c) */
typedef enum { SR_CH_WAITING, SR_CH_RUNNING, SR_CH_BLOCKED, SR_CH_FORMING } sr_chstate;

struct sr_choice {            /* one answer of a request */
    sr_job    *job;
    uint32_t   index;
    sr_chstate state;
    bool       live;
    sr_choice *prev, *next;   /* in the list of its state */
    sr_kvseq  *seq;           /* NULL unless running */
    uint32_t   computed;      /* tokens whose K and V are in seq */
    uint32_t   n_tok;         /* prompt and answer so far */
    uint32_t   made, acked;
    uint64_t   paused_at;     /* out of credit since; 0: it is not */
    uint32_t   exited;        /* of those made, in steps that ended early */
    uint64_t   blocks_skipped;
    int32_t   *tok;           /* [job->n_prompt + max_new] */
    uint32_t   scored;        /* prompt positions whose logprob has been sent */
    /* this step */
    uint64_t   flight;        /* its number; 0: none */
    uint32_t   row, rows, out, outs, given; /* token rows and wanted rows given to it; the first `given` are prompt scores */
    struct sr_matcher *matcher; /* its place in the request's grammar; NULL: none */
    sr_endreason gone;        /* asked to end before its prompt was computed for the others */
    sr_status  fail;          /* why it must end, with */
    char       why[160];      /* its message */
};

struct sr_job {               /* one request */
    uint64_t   id, salt, arrival, order;
    sr_what    what;
    uint32_t   n_prompt, max_new, min_new, n, live;
    uint32_t   n_logprobs, n_prompt_logprobs, window, cached;
    int32_t    priority;
    uint64_t   queue_deadline, deadline, ns_queue, ns_prompt;
    bool       started, forked, ignore_eos;
    sr_sampling sampling;     /* bias points into this allocation; no grammar here: */
    struct sr_guide *guide;   /* NULL: anything goes, or not yet: */
    const void *grammar; uint32_t n_grammar; /* until it is admitted */
    uint32_t   pool, pool_at; /* EMBED: SR_POOL_*; first position whose state is missing, n_prompt: none */
    double    *pool_sum;      /* [n_embd] */
    const int32_t *stop_tok;
    uint32_t   n_stop_tok;
    sr_job    *hash_next;
    sr_choice *choice;        /* [n] */
};

typedef struct { sr_choice *head, *tail; uint32_t n; } sr_list;

enum { SR_JOB_BUCKETS = 1024 };

typedef struct { uint64_t id, order; uint32_t choice, out; } sr_rider; /* who has rows in a step; he may be gone when it is over */
typedef struct {              /* a step on the device */
    bool        on;
    uint64_t    number, since, over; /* since: launched, or the one before it over; over: seen to be */
    uint32_t    n, seqs, tokens;
    bool        single;       /* a row a sequence */
    sr_rider   *rider;        /* [max_seqs] */
    sr_launched at;
} sr_flight;

struct sr_engine {
    sr_model    *m;
    sr_port     *port;
    sr_enginecfg cfg;
    sr_list      waiting, running;  /* by priority, then order of arrival */
    sr_list      forming;           /* the same, until there is a lexicon */
    sr_job      *bucket[SR_JOB_BUCKETS];
    uint32_t     jobs;
    uint64_t     order;
    uint32_t    *count;             /* [vocab] occurrences, zero between uses */
    int32_t     *touched;           /* [vocab] */
    sr_choice  **turn;              /* [max_seqs] who may compute in this step, in order */
    uint32_t     n_turn;
    sr_flight    now, next;         /* next: behind it on the queue */
    uint64_t     flights;           /* so far */
    uint64_t     ns_single[4];      /* what the last steps of a row a sequence took */
    double       ns_step, ns_per_token; /* measured: a step of few tokens; what each further token adds.  They size chunks while others decode */
    size_t       vector_room;       /* bytes of the event ring that vectors of this step may take */
    uint64_t     deadline_scan;
    uint64_t     busy_since;        /* when the present step went to the device; 0: none has.  Atomic: a watchdog reads it */
    struct sr_lexicon *lexicon;     /* the vocabulary, ready for grammars; NULL: not yet */
    struct sr_lexmaker *lexmaker;   /* its thread */
    bool         lost;
};

void      sr_list_add(sr_list *l, sr_choice *c);     /* in order */
void      sr_list_del(sr_list *l, sr_choice *c);
sr_job   *sr_job_find(sr_engine *e, uint64_t id);
SR_MUSTUSE sr_status sr_job_take(sr_engine *e, const sr_request *r, sr_err *err);
void      sr_job_free(sr_engine *e, sr_job *j);
void      sr_choice_stop(sr_engine *e, sr_choice *c); /* leaves its list, gives its pages back */
void      sr_sched_admit(sr_engine *e);
/* Fills the block with what this step computes; false: nothing can run. */
bool      sr_sched_build(sr_engine *e, sr_step *step);

/* The parameters of a row whose token will be number `pos` of the choice's. */
sr_sampdev sr_sched_sampling(const sr_choice *c, uint32_t pos);

/* flight.c */
SR_MUSTUSE sr_status sr_flight_open(sr_engine *e, sr_err *err);
void       sr_flight_close(sr_engine *e);
SR_MUSTUSE sr_status sr_flight_begin(sr_engine *e, sr_err *err); /* what sr_sched_build() has built is e->now; on the device, if it flies */
void       sr_flight_doze(const sr_engine *e);                   /* until e->now is nearly over */
SR_MUSTUSE sr_status sr_flight_follow(sr_engine *e, sr_err *err); /* launches e->next, if all who run can go on without the host */
SR_MUSTUSE sr_status sr_flight_wait(sr_engine *e, sr_err *err);   /* for e->now; its results are m->sampled's */
sr_choice *sr_flight_rider(sr_engine *e, const sr_flight *f, uint32_t i); /* NULL: he has gone */
SR_MUSTUSE sr_status sr_flight_end(sr_engine *e, sr_err *err);    /* its results were used: e->next, if any, is e->now */

/* constrain.c */
SR_MUSTUSE sr_status sr_constrain_prepare(sr_engine *e, sr_err *err); /* begins to make the vocabulary ready, unless that has begun */
SR_MUSTUSE sr_status sr_constrain_ready(sr_engine *e, sr_err *err);   /* SR_AGAIN: being made, also by this call */
SR_MUSTUSE sr_status sr_constrain_begin(sr_engine *e, sr_job *j, sr_err *err); /* j->grammar, of all choices; the vocabulary is ready */
void      sr_constrain_end(sr_job *j);
/* Writes sr_block_mask() bytes.  SR_UNSUPPORTED: too ambiguous, or the vocabulary has no token that goes on. */
SR_MUSTUSE sr_status sr_constrain_mask(sr_engine *e, sr_choice *c, uint32_t *mask, sr_err *err);
SR_MUSTUSE sr_status sr_constrain_accept(sr_choice *c, int32_t tok, bool *whole, sr_err *err); /* *whole: nothing can follow */
void      sr_constrain_close(sr_engine *e);

/* vector.c */
SR_MUSTUSE sr_status sr_vector_check(const sr_model *m, const sr_request *r, sr_err *err);
void      sr_vector_begin(const sr_model *m, const sr_request *r, sr_job *j, double *sum); /* sum: [n_embd], zero */
/* How many of the choice's next n rows are wanted; *first: the first of them.  They follow each other. */
uint32_t  sr_vector_rows(const sr_choice *c, uint32_t n, uint32_t *first);
uint32_t  sr_vector_events(const sr_model *m);              /* of one vector */
void      sr_vector_add(const sr_model *m, sr_choice *c);   /* the step's rows */
bool      sr_vector_finish(const sr_model *m, sr_job *j);   /* length 1; false: the states are not numbers */
const char *sr_pooling_name(uint32_t pooling);

/* engine.c */
void sr_emit_done(sr_engine *e, sr_choice *c, sr_endreason reason);
void sr_emit_error(sr_engine *e, sr_choice *c, sr_status s, const char *msg);
void sr_emit_start(sr_engine *e, sr_job *j);
#endif
