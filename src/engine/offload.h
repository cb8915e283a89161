/* offload.h - a model larger than its device: which weights stay outside, how they come in, what the CPU computes itself.
 *
 *     offload.c         decides (weights/plan), keeps page-locked memory, makes the stream, runs a step
 *     offload_share.c   the CPU's part of feed-forwards
 *     offload_hold.c    page-locked memory and the disk's reader
 *     offload_ram.c     weights that lie in RAM as something else than in the file: coded, in a smaller format, in tiles
 *     balance.c         how large that part is, corrected by what both sides were seen to do
 *
 * Two routes through the program share the slots of one stream.  Route 0 brings every unit that lies outside to the device:
 * prompts and large batches, where arithmetic is the device's.  Route 1 is for a few tokens: of each feed-forward outside, the
 * device computes hidden units [0, device) and the CPU the rest, at the same time:
 *
 *     device   .. norm | h down | gate, up, glu, down of [0, device) | partial up | add | next layer ..
 *     bus        .. weights of [0, device), ahead of time ..
 *     CPU                       | gate, up, glu, down of the rest    |
 *
 * Owns:    slots, page-locked memory, the CPU's device and both extra programs, until close.
 * Threads: the engine's.   Errors: SR_NOMEM: does not fit, with what lacks; those of the devices.
 */
#ifndef SR_ENGINE_OFFLOAD_H
#define SR_ENGINE_OFFLOAD_H
#include "engine/balance.h"
#include "engine/internal.h"
#include "engine/units.h"
#include "weights/plan.h"
#include "weights/stream.h"

typedef enum { STOP_GIVE, STOP_SKIP, STOP_AWAIT, STOP_RELEASE, STOP_TAKE } sr_stopkind;
typedef struct { uint32_t op; uint16_t kind; uint32_t arg; } sr_stop; /* before op: unit of the route; op skipped to; layer */

typedef struct {
    sr_compiled *code;              /* route 0: the model's */
    sr_plan     *plan;
    sr_wref     *weight;
    void        *scratch;           /* route 0: the model's */
    sr_shape     max;
    sr_stop     *stop; uint32_t n_stop;
    uint8_t     *left_out;          /* by op; NULL: none */
    sr_streamunit *unit; uint32_t n_unit;
    sr_streampart *part; uint32_t n_part;
    void        *sampled;           /* the program's results on the device */
} sr_offroute;

typedef struct {                    /* the CPU beside the device */
    sr_dev     *dev;
    sr_plan    *plan;
    sr_program  prog;               /* route 1's, with a down that adds nothing and ends in the partial sum's slot */
    sr_op      *op;
    void       *scratch;            /* page-locked: the device reads and writes its slots */
    void       *words;              /* the page of the CPU's point, page-locked */
    sr_point    done;
} sr_share;

struct sr_offload {
    sr_hw        hw;
    sr_placement sum;
    uint8_t     *outside;           /* by the program's unit: 0 on the device, 1 in RAM, 2 on disk */
    uint32_t    *device;            /* by layer: hidden units that the device computes in route 1 */
    uint32_t     few;               /* most tokens of a step on route 1; 0: there is none */
    void        *slot[SR_STREAM_SLOTS], *tiles; /* in one piece of memory, the first slot's */
    uint32_t     n_slot;
    size_t       slot_bytes;
    struct { char *p; size_t n; } *pin; uint32_t n_pin; /* ranges of the mapping */
    void        *copy, **copied;    /* where it cannot be page-locked, or is coded: a copy of what lies outside; by weight id */
    size_t      *coded;             /* bytes of its code, by weight id; 0: not coded.  NULL: nothing is */
    uint16_t    *layout;            /* of tiles it lies in; 0: rows.  NULL: nothing does */
    uint64_t     read_here;         /* bytes of a step on route 1 that the device reads in place; so far */
    uint64_t     read_all;
    void        *embedding;         /* page-locked rows, read over the bus; NULL: on the device */
    sr_reader   *reader;            /* of what lies on disk; NULL: nothing does */
    void        *staging;           /* page-locked: its word, its buffers */
    sr_pace     *pace;              /* of a rehearsed bus; NULL: none */
    void        *pace_word;
    sr_readunit *runit; uint32_t n_runit;
    sr_readpart *rpart; uint32_t n_rpart;
    sr_stream   *stream;
    uint64_t     bytes_before;      /* of streams that were there before it */
    sr_offroute     route[SR_STREAM_ROUTES];
    sr_share     share;
    sr_balance   balance;
};

static inline bool sr_is_outside(const sr_model *m, uint32_t w)
{
    const sr_program *p = &m->code->prog;
    return m->off && m->code->tensor[w] && p->weight[w].rows > 1 && m->off->outside[p->weight[w].unit];
}

/* offload.c.  decide: after the device is open, before weights are placed; leaves m->off NULL when everything fits. */
SR_MUSTUSE sr_status sr_offload_decide(sr_model *m, const sr_devinfo *di, sr_err *err);
SR_MUSTUSE sr_status sr_offload_ready(sr_model *m, sr_err *err);   /* slots, memory, programs: before the KV pages are taken */
SR_MUSTUSE sr_status sr_offload_bind(sr_model *m, const sr_batch *batch, sr_err *err);
SR_MUSTUSE sr_status sr_offload_submit(sr_model *m, sr_err *err);  /* the whole program for the step in the block */
SR_MUSTUSE sr_status sr_offload_failed(sr_model *m, sr_err *err);  /* after it: what went wrong on the CPU or the disk */
static inline uint64_t sr_offload_bytes(const sr_model *m) { return m->off && m->off->stream ? m->off->bytes_before + m->off->read_all + sr_stream_bytes(m->off->stream) : 0; }
SR_MUSTUSE sr_status sr_offload_reroute(sr_model *m, sr_err *err); /* routes anew, where other blocks are left out: between two steps */
void sr_offload_close(sr_model *m);                                /* both devices idle */
const void *sr_offload_source(const sr_model *m, uint32_t w);      /* page-locked blocks of a weight outside, as sr_offload_coded() and sr_offload_layout() say */

static inline size_t sr_offload_coded(const sr_model *m, uint32_t w) { return m->off->coded ? m->off->coded[w] : 0; }
static inline uint16_t sr_offload_layout(const sr_model *m, uint32_t w) { return m->off->layout ? m->off->layout[w] : 0; }

/* offload_hold.c, once it is decided what lies where */
bool sr_hold_has(const sr_model *m, uint32_t w);                   /* the weight lies in page-locked memory and comes in */
SR_MUSTUSE sr_status sr_hold_weights(sr_model *m, sr_err *err);
SR_MUSTUSE sr_status sr_hold_embedding(sr_model *m, sr_err *err);
SR_MUSTUSE sr_status sr_hold_reader(sr_model *m, sr_err *err);
SR_MUSTUSE sr_status sr_hold_pace(sr_model *m, sr_err *err);

/* offload_ram.c.  What weights are in RAM, where options say so: cfg.transit, cfg.ram_format, SR_OFFLOAD_ZEROCOPY. */
static inline bool sr_ram_changes(const sr_model *m) { return m->cfg.transit == SR_TRANSIT_CODED || m->cfg.ram_format || m->cfg.offload == SR_OFFLOAD_ZEROCOPY; }
SR_MUSTUSE sr_status sr_ram_units(const sr_model *m, sr_units *s, sr_err *err); /* what units take outside the device, for the plan */
uint16_t sr_ram_format(const sr_model *m, uint32_t w);             /* of a weight that lies in RAM */
size_t   sr_ram_bytes(const sr_model *m, uint32_t w);              /* in that format */
void     sr_ram_apply(const sr_model *m, sr_compiled *code);       /* such weights of a program get it; not after prepare() */
SR_MUSTUSE sr_status sr_ram_hold(sr_model *m, const uint32_t *w, uint32_t n, sr_err *err); /* these, page-locked */

/* offload_share.c */
SR_MUSTUSE sr_status sr_share_open(sr_model *m, sr_err *err);
void sr_share_close(sr_model *m);
/* What the CPU reads of weights in such a format in a step of one token. */
SR_MUSTUSE sr_status sr_share_rate(const sr_model *m, uint16_t format, double *bytes_per_s, sr_err *err);
sr_devcfg sr_share_config(const sr_model *m);                      /* how the CPU beside the device is opened */
uint32_t sr_share_threads(const sr_model *m);
uint32_t sr_share_gate(const sr_program *p, uint32_t layer);       /* the op of gate and up; glu and down follow */
SR_MUSTUSE sr_status sr_share_give(sr_model *m, uint32_t layer, sr_err *err);
SR_MUSTUSE sr_status sr_share_take(sr_model *m, uint32_t layer, sr_err *err);
SR_MUSTUSE sr_status sr_share_rebind(sr_model *m, sr_err *err);    /* the CPU's part is another: between two steps */
SR_MUSTUSE sr_status sr_share_failed(sr_model *m, sr_err *err);    /* after the step: what went wrong on the CPU */
#endif
