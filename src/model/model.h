/* model.h - from a GGUF file to a program: hyperparameters, weights with roles, a flat array of ops.
 *
 * hparams reads and checks the numbers; compile turns (architecture table, hyperparameters) into an sr_program
 * and says for each weight id which tensor it is.  Nothing here reads tensor data except the small rope_freqs,
 * allocates device memory or knows where a weight will lie.
 *
 * Owns:    sr_compiled owns the program's arrays and the derived constants; tensors are borrowed from the GGUF.
 * Threads: pure; results read-only.
 * Errors:  SR_INVALID naming the key or tensor, what it is and what it should be; SR_UNSUPPORTED naming the
 *          architecture, rope scaling or feature.
 * Source:  GGUF metadata keys (ggml/docs/gguf.md); rope scaling: YaRN (Peng et al. 2023), Llama 3.1's factors.
 */
#ifndef SR_MODEL_H
#define SR_MODEL_H
#include "base/buf.h"
#include "base/err.h"
#include "format/gguf.h"
#include "model/arch.h"
#include "ops/op.h"

enum { SR_MAX_HEAD_DIM = 4096 };
#define SR_POOLING_ABSENT UINT32_MAX

typedef struct {
    const sr_arch *arch;
    uint32_t n_layer, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab, ctx_train;
    uint32_t window;          /* sliding window, 0: none */
    uint32_t pooling;         /* how a text becomes a vector, GGUF's numbers: 0 none, 1 mean, 2 first, 3 last token ..; SR_POOLING_ABSENT */
    float    eps;
    struct {
        uint32_t dims;        /* rotated dims of a head */
        float    base, factor;/* factor: 1 = unscaled; positions are divided by it (linear) */
        bool     yarn;
        uint32_t ctx_orig;
        float    attn_factor, beta_fast, beta_slow;
    } rope;
} sr_hparams;

SR_MUSTUSE sr_status sr_hparams_read(const sr_gguf *g, sr_hparams *out, sr_err *err);

typedef struct {
    uint32_t page_tokens;              /* of KV */
    uint16_t kv_format_k, kv_format_v; /* SR_F16 or SR_Q8_0 */
    const uint8_t *shared;             /* [n_layer] or NULL; 1: another device computes a part of this feed-forward, and an op ADD
                                          joins its partial sum */
} sr_compilecfg;

typedef struct {
    sr_program        prog;
    sr_hparams        hp;
    const sr_tensor **tensor;          /* by weight id; NULL: see derived */
    const float     **derived;         /* by weight id: constants computed here (rope frequencies) */
    uint32_t          n_unit;          /* units of weights: embedding, per layer attention, gate+up, down; head */
    uint32_t          head;            /* the head's LINEAR: the ops before it make the final hidden states (prog.hidden) */
    bool              tied;            /* the head reads the embedding's tensor */
    uint16_t          partial[2];      /* slots of the other device's partial sum, by token and by wanted row; SR_NONE: nothing is shared */
    void             *owned;
} sr_compiled;

SR_MUSTUSE sr_status sr_compile(const sr_gguf *g, const sr_compilecfg *cfg, sr_compiled **out, sr_err *err);
void sr_compiled_close(sr_compiled *c);

/* inv_freq[0 .. dims/2) and the magnitude factor for ROPETABLE.  factors: rope_freqs.weight or NULL. */
float sr_rope_frequencies(const sr_hparams *hp, const float *factors, float *inv_freq);

/* The program as text, a line an op: for people and for diffs. */
void sr_program_print(const sr_program *p, sr_buf *out);
#endif
