/* tokenizer_pre.h - pre-tokenisers: how a name (tokenizer.ggml.pre) cuts text into words.
 *
 * A pre-tokeniser is a row of data: a list of steps, each cutting every piece of the step before.
 * A step is a regular expression or a scanner written by hand.  Both see the text as one *class byte*
 * per code point: ASCII as it is, anything else as 0x80 | (UTF-8 length - 1) << 5 | class.  So \p{L}
 * is a plain byte class, invalid UTF-8 is just another class, and PCRE2 runs in byte mode (no UTF
 * checks, JIT).  llama.cpp matches over a "collapsed" text of this kind too: its categories and our
 * words agree by construction, not by two regex engines' ideas of Unicode.
 *
 * Notation in a row's expressions (PCRE2 otherwise):
 *   \p{L} \p{N} \p{P} \p{S} \p{M}   general categories       \s \S   Unicode white space
 *   \p{U} letters but a-z           \p{W} letters but A-Z
 *   \p{1} .. \p{4}                  the row's own sets; only in SETS steps, where the letters above are not known
 * An expression must not match the empty string and must need no deep backtracking: words of many MB
 * are legal input.
 *
 * Owns:    a splitter owns its compiled expressions and maps, until close().
 * Threads: a splitter is read-only: any number of sr_split() at once.
 * Errors:  SR_UNSUPPORTED for a name not in the table, SR_NOMEM.
 * Source:  the tokenizer.json "pre_tokenizer" of each model, as adapted by llama.cpp's llama-vocab.cpp.
 */
#ifndef SR_TEXT_TOKENIZER_PRE_H
#define SR_TEXT_TOKENIZER_PRE_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

typedef enum {
    SR_STEP_END,
    SR_STEP_REGEX,    /* over categories */
    SR_STEP_SETS,     /* over the row's own sets */
    SR_STEP_GPT2,     /* the four scanners llama.cpp has by hand too; their expressions stand at the scanners */
    SR_STEP_LLAMA3,
    SR_STEP_QWEN2,
    SR_STEP_QWEN35,
    SR_STEP_KIMI,
    SR_STEP_DIGITS,   /* groups of three digits, counted from the right, the first with the text before it */
    SR_STEP_DIGITS_ASCII, /* (?=(\d{3})+(?!\d)): cuts before every group of three, counted from the right */
    SR_STEP_NEWLINES, /* [^\n]+|[\n]+ */
    SR_STEP_TAIL      /* \s+$ */
} sr_stepkind;

typedef struct { sr_stepkind kind; const char *regex; } sr_prestep;

enum {
    SR_PRE_IGNORE_MERGES = 1, /* a word that is a token is that token, merges or not */
    SR_PRE_ADD_BOS       = 2, /* unless the metadata says otherwise */
    SR_PRE_NO_BOS        = 4, /* no default BOS id */
    SR_PRE_RAW           = 8, /* merges run over UTF-8 characters, not over GPT-2's byte alphabet */
    SR_PRE_SPACE_ESCAPE  = 16, /* " " is U+2581 in the vocabulary */
    SR_PRE_NEWLINE_TOKENS = 32, /* a run of newlines that is a token is that token */
    SR_PRE_FORCE_BOS     = 64  /* BOS even if the metadata says no */
};

enum { SR_PRE_STEPS = 7, SR_PRE_SETS = 4 };
typedef struct {
    const char *names; /* all that mean this row, separated by one space */
    unsigned    flags;
    sr_prestep  step[SR_PRE_STEPS]; /* ends with SR_STEP_END */
    const char *set[SR_PRE_SETS];   /* code points in hex: "B5 C0-D6" */
} sr_pretok;

const sr_pretok *sr_pretok_find(const char *name, size_t n); /* NULL: not known */

typedef struct sr_splitter sr_splitter;
SR_MUSTUSE sr_status sr_splitter_open(const sr_pretok *pre, sr_splitter **out, sr_err *err);
void sr_splitter_close(sr_splitter *s);

/* Calls word() for each word of text[0..n), in order; together they are the whole text.  word()
 * returns false to stop, which is no error. */
typedef bool (*sr_word_fn)(void *arg, const char *word, size_t n);
SR_MUSTUSE sr_status sr_split(const sr_splitter *s, const char *text, size_t n, sr_word_fn word, void *arg,
                              sr_err *err);
#endif
