/* skip.h - parts of the program left out: blocks that hardly change their input, and what follows a prediction that is certain.
 *
 *     layer   0     1     2     3     4     5     6     7    head
 *             A F   A F   A .   . F   . .   A F   A F   A F   H        skip: blocks (A attention, F feed-forward) chosen once, for all steps
 *             A F   A F   A F   A F   H?  k     k     k     k          exit: certain after layer 4, later layers get keys and values only
 *
 * Skip.  A text is computed once; a block whose input and output have a mean cosine above the threshold is left out of every later step, of
 * prompts and answers alike.  So a sequence is consistent: the keys and values of an attention that is left out are neither written nor
 * read.  Its weights stay where they are; those that would come over a bus do not come.
 *
 * Exit.  In steps in which every row is a sequence's next token, the head is computed after `exit_layer` layers.  When the token it draws for every
 * row has at least the given probability, these are the step's tokens.  Later tokens look at this one in all layers: keys and values of
 * the layers left are made of the hidden state as it is then (norm, q k v, rope, write; no attention, no feed-forward).  When one row is
 * uncertain the step goes on where it stopped, and what the test cost is lost.
 *
 * Owns:    its lists, until close.   Threads: the engine's.
 * Errors:  SR_INVALID: a text too short, a layer that is not there; SR_UNSUPPORTED: early exit with weights that come in every step, blocks
 *          left out whose weights are on disk; those of the device.
 * Source:  ShortGPT (Men et al. 2024) for the cosine; CALM (Schuster et al. 2022) for confidence and the state that is handed down.
 */
#ifndef SR_ENGINE_SKIP_H
#define SR_ENGINE_SKIP_H
#include "engine/internal.h"

struct sr_skip {
    sr_blockinfo *block;          /* [2 * layers] */
    uint32_t      n_out;          /* blocks left out */
    uint8_t      *op;             /* of the model's program: 1 is left out */
    uint32_t      exit_layer;     /* 0: no early exit */
    float         certain;        /* ln of the probability; 0: nothing is tested */
    uint32_t      exit_op, gather, head; /* first op after the layers; x to wanted rows; of the head */
    uint64_t      salt;           /* of texts evaluated: pages of other settings are not shared */
    uint32_t      step_blocks;    /* left out of the last step */
    bool          step_exited;
    uint64_t      tested, exited; /* steps */
};
struct sr_tap {                   /* sees values between two ops */
    const uint8_t *mark;          /* by op: called before it is submitted */
    sr_status    (*fn)(void *arg, uint32_t op, sr_err *err);
    void          *arg;
};

SR_MUSTUSE sr_status sr_skip_open(sr_model *m, sr_err *err);      /* as the configuration says, once the model is ready */
void sr_skip_close(sr_model *m);
SR_MUSTUSE sr_status sr_skip_ops(const sr_model *m, const sr_program *p, uint8_t **out, sr_err *err); /* by op of p; NULL: nothing is left out */
/* Ops [from, to) without those left out (NULL: none). */
SR_MUSTUSE sr_status sr_ops_submit(sr_model *m, sr_plan *plan, const uint8_t *out, uint32_t from, uint32_t to, sr_err *err);
/* The step in the block, ops [0, to), results of its wanted rows in m->sampled; *rest: submitted, results not copied yet. */
SR_MUSTUSE sr_status sr_skip_step(sr_model *m, uint32_t to, bool *rest, sr_err *err);
static inline uint64_t sr_skip_salt(const sr_model *m) { return m->skip ? m->skip->salt : 0; }
static inline bool sr_left_out(const sr_model *m, uint32_t op) { return m->skip && m->skip->op && m->skip->op[op]; }
static inline bool sr_exit_on(const sr_model *m) { return m->skip && m->skip->exit_layer; }
#endif
