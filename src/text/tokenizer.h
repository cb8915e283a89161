/* tokenizer.h - text to token ids and back, as the model file's vocabulary says.
 *
 * Kinds: BPE (tokenizer.ggml.model "gpt2", "gemma4": a pre-tokeniser, chosen by tokenizer.ggml.pre, cuts
 * text into words, merges join bytes or characters inside a word), SentencePiece-style BPE ("llama":
 * pieces joined by score, bytes as a fall-back) and WordPiece ("bert").  Ids equal llama.cpp's for the
 * same file and text, with these exceptions, all for the text's sake:
 *   - control tokens ("<|im_end|>") come out of text only where the caller asks (SR_TOK_PARSE_SPECIAL),
 *     whatever merges or names would allow: user content never becomes one;
 *   - bytes that are not UTF-8 are kept as they are (llama.cpp makes them U+FFFD), except in WordPiece,
 *     which has no bytes;
 *   - decoding does not tidy spaces before punctuation.
 * User-defined tokens are found in text always, as there.  A byte that the vocabulary has no token for is
 * left out, as there, or the unknown token (SentencePiece); one that is in no UTF-8 becomes U+FFFD.
 *
 * Owns:    its tables (copied from the GGUF, which may be closed afterwards), until close().
 * Threads: after open() read-only: encode and decode from any thread at once.
 * Errors:  SR_INVALID for a vocabulary that contradicts itself (named), SR_UNSUPPORTED for a model or
 *          pre-tokeniser name not known (named), SR_NOMEM.  encode() accepts any bytes up to 1 GiB;
 *          SR_INVALID there only when ADD_SPECIAL asks for a token that the file does not name.
 * Limits:  2^21 tokens, 2^22 merges, 128 MiB of strings of each.  Encoding takes O(n log n) time for any text.
 * Source:  GGUF tokenizer.ggml.* keys; Sennrich et al. 2016 (BPE); SentencePiece (Kudo 2018); categories
 *          of Unicode 15.1 (cpmap.h says why our own).
 */
#ifndef SR_TEXT_TOKENIZER_H
#define SR_TEXT_TOKENIZER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "format/gguf.h"

typedef struct sr_tokenizer sr_tokenizer;

enum { /* encode flags */
    SR_TOK_ADD_SPECIAL   = 1, /* BOS, EOS as the metadata asks */
    SR_TOK_PARSE_SPECIAL = 2  /* control tokens written in the text become control tokens */
};
enum { SR_TOK_NORMAL = 1, SR_TOK_UNKNOWN, SR_TOK_CONTROL, SR_TOK_USER, SR_TOK_UNUSED, SR_TOK_BYTE }; /* token_type */

typedef struct { int32_t *p; size_t n, cap; } sr_ids; /* growable; freed by sr_ids_end */
void sr_ids_end(sr_ids *ids);

SR_MUSTUSE sr_status sr_tokenizer_open(const sr_gguf *g, sr_tokenizer **out, sr_err *err);
void sr_tokenizer_close(sr_tokenizer *t);

/* Appends the ids of text[0..n) to out. */
SR_MUSTUSE sr_status sr_tokenizer_encode(const sr_tokenizer *t, const char *text, size_t n, unsigned flags, sr_ids *out,
                                         sr_err *err);
/* The bytes of one token, borrowed from the tokenizer; control tokens as their text when `special`,
 * else nothing.  May be part of a code point: see detok.h.  A leading SentencePiece space is kept. */
const char *sr_tokenizer_piece(const sr_tokenizer *t, int32_t id, bool special, size_t *n);
/* Appends the bytes of a whole sequence.  SentencePiece: a space that the first token begins with is taken
 * out where the model puts one in front (as llama.cpp does). */
SR_MUSTUSE sr_status sr_tokenizer_decode(const sr_tokenizer *t, const int32_t *ids, size_t n, bool special, sr_buf *out,
                                         sr_err *err);

uint32_t sr_tokenizer_n_vocab(const sr_tokenizer *t);
int32_t  sr_tokenizer_bos(const sr_tokenizer *t);          /* -1: none */
int32_t  sr_tokenizer_eos(const sr_tokenizer *t);
bool     sr_tokenizer_adds_bos(const sr_tokenizer *t);
/* True for ids that end a generation: EOS, EOT, EOM and the known end-of-turn tokens. */
bool     sr_tokenizer_is_end(const sr_tokenizer *t, int32_t id);
const int32_t *sr_tokenizer_ends(const sr_tokenizer *t, size_t *n); /* all of them */
int      sr_tokenizer_type(const sr_tokenizer *t, int32_t id);      /* SR_TOK_NORMAL .. SR_TOK_BYTE */
int32_t  sr_tokenizer_find(const sr_tokenizer *t, const char *text, size_t n); /* exact token text, or -1 */
const char *sr_tokenizer_template(const sr_tokenizer *t); /* tokenizer.chat_template, NULL if absent */
#endif
