/* synth.h - models of true shape with random weights: for speed, load and correctness tests without a download, and for plans.
 *
 *   shape  ("8b": 32 layers of 4096 ...)  +  mixture ("Q4_K_M")  +  seed   ->   plan: every tensor with its
 *   format, size and distribution        ->   fill: any range of any tensor, straight as quantised blocks
 *
 * fill() is a pure function of (seed, tensor, chunk): ranges may be made in any order and by any number of
 * threads, into a file or into memory, and come out the same.  Two ways to the numbers:
 *   direct   random codes under sensible scales: no float is quantised, > 1 GB/s per thread
 *   encoded  random floats, encoded as `strata quantize` would: slow, but the same weights in every format
 *
 * The distributions keep activations finite and logits spread (std about 2.5) at any depth: matrices have
 * std 1/sqrt(inputs), what is added to the residual stream is divided by sqrt(2 layers), norms are near 1.
 *
 * Owns:    the plan, until sr_synth_free().   Threads: after planning read-only, any thread.
 * Errors:  SR_INVALID for impossible shapes, naming the numbers.
 */
#ifndef SR_FORMAT_SYNTH_H
#define SR_FORMAT_SYNTH_H
#include "format/gguf_write.h"
#include "format/mix.h"

typedef struct {
    const char *name; /* "8b" */
    const char *arch; /* general.architecture: llama, qwen2 (q,k,v biases), qwen3 (q and k norms) */
    uint32_t    n_layer, dim, n_head, n_head_kv, head_dim, n_ff, n_vocab, n_ctx;
    float       rope_theta, norm_eps;
    const char *rope_scaling; /* NULL, "linear", "yarn", or "llama3" (a rope_freqs.weight tensor) */
    float       rope_factor;
    uint32_t    rope_orig_ctx; /* context before scaling */
    bool        tied;
    bool        spm; /* made-up vocabulary as SentencePiece, else byte-level BPE */
} sr_synthshape;

typedef enum { SR_SYNTH_MATRIX, SR_SYNTH_NORM, SR_SYNTH_BIAS, SR_SYNTH_ROPE } sr_synthkind;

typedef struct {
    char         name[48];
    sr_synthkind kind;
    uint32_t     dtype, n_dims;
    uint64_t     ne[4], n, bytes; /* n: numbers in all */
    float        std;
} sr_synthtensor;

typedef struct {
    sr_synthshape   shape;
    const sr_mix   *mix;
    uint64_t        seed;
    bool            encoded;
    sr_synthtensor *t;
    size_t          n_t;
    uint64_t        bytes; /* of all tensors */
} sr_synth;

const sr_synthshape *sr_synth_shape(const char *name); /* NULL: unknown */
const sr_synthshape *sr_synth_shape_at(unsigned i);    /* i-th, then NULL */

SR_MUSTUSE sr_status sr_synth_plan(const sr_synthshape *shape, const sr_mix *mix, uint64_t seed, bool encoded,
                                   sr_synth **out, sr_err *err);
void sr_synth_free(sr_synth *s);

/* Chunks of 256 numbers (the last of a tensor may be shorter): [first, first + n) of tensor i to dst. */
uint64_t sr_synth_chunks(const sr_synthtensor *t);
size_t   sr_synth_chunk_bytes(const sr_synthtensor *t);
void     sr_synth_fill(const sr_synth *s, size_t i, uint64_t first, uint64_t n, void *dst);

/* Keys, then tensors [first, first + n); the vocabulary is made up, left out, or copied from another file. */
void                 sr_synth_put_keys(const sr_synth *s, sr_gguf_writer *w);
void                 sr_synth_put_tensors(const sr_synth *s, size_t first, size_t n, sr_gguf_writer *w);
SR_MUSTUSE sr_status sr_synth_vocab(const sr_synthshape *shape, sr_gguf_writer *w, sr_err *err);
void                 sr_synth_no_vocab(const sr_synthshape *shape, sr_gguf_writer *w);
SR_MUSTUSE sr_status sr_synth_vocab_size(const sr_gguf *from, uint32_t *n, sr_err *err);
void                 sr_synth_copy_vocab(const sr_gguf *from, sr_gguf_writer *w);

/* Models that are named instead of lying in a file: "synth:SHAPE:FORMAT". */
bool                 sr_synth_named(const char *path);
SR_MUSTUSE sr_status sr_synth_parse(const char *path, sr_synth **out, sr_err *err); /* a named one's plan */
/* A file as sr_gguf_open() opens it, or a named model made in memory; data false: its tensors stay zero and take no memory. */
SR_MUSTUSE sr_status sr_synth_open(const char *path, bool data, sr_gguf **out, sr_err *err);
#endif
