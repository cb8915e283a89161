/* tiny_vocab.h - small made-up vocabularies as GGUF bytes, for tests and fuzzing only.
 *
 * They are made by a fixed generator: the golden ids in tests/data/tokenizer/tiny.txt belong to exactly
 * these bytes.  Change a kind and its golden lines must be made anew (see the README there).
 *
 * Kinds: "bpe:PRE"   byte-level BPE with that pre-tokeniser; some bytes are no tokens, some merges make
 *                    strings that are no tokens, some tokens no merge makes; special tokens that overlap
 *        "gemma4"    BPE over UTF-8 characters
 *        "spm", "spm-noprefix", "spm-phi3" (special tokens take the white space behind them)
 *        "bert"
 */
#ifndef SR_TEXT_TINY_VOCAB_H
#define SR_TEXT_TINY_VOCAB_H
#include "base/buf.h"
#include "text/tokenizer.h"

typedef struct {
    sr_buf   kv; /* the entries */
    uint64_t n;
} tiny_gguf;
void tiny_str(tiny_gguf *g, const char *key, const char *value);
void tiny_u32(tiny_gguf *g, const char *key, uint32_t value);
void tiny_bool(tiny_gguf *g, const char *key, bool value);
void tiny_numbers(tiny_gguf *g, const char *key, sr_gguf_type item, const void *v, size_t n); /* of 4 bytes each */
/* list: each string, a newline-free separator byte 0xFF after it (no vocabulary string has that byte). */
void tiny_strings(tiny_gguf *g, const char *key, const sr_buf *list);
void tiny_item(sr_buf *list, const char *p, size_t n);
void tiny_end(tiny_gguf *g, sr_buf *out); /* the whole file; frees g */

void tiny_vocab(const char *kind, sr_buf *out);
/* Its tokenizer; the caller closes. */
SR_MUSTUSE sr_status tiny_tokenizer(const char *kind, sr_tokenizer **out, sr_err *err);
SR_MUSTUSE sr_status tiny_open(tiny_gguf *g, sr_tokenizer **out, sr_err *err); /* ends g */
#endif
