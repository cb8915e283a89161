/* tokenizer_internal.h - the tables of one vocabulary, and the steps from text to ids.
 *
 *   encode: text -> segments (special tokens, plain text)          tokenizer_special.c
 *                -> words (pre-tokeniser; or safe cuts, below)     tokenizer_split.c, tokenizer_merge.c
 *                -> ids (dictionary hit, else merges)              tokenizer_merge.c
 *
 * A *symbol* is a byte string that merges can work with: symbols 0..n_vocab-1 are the tokens, later
 * ones are strings that only occur in merges.  A symbol's *key* is its bytes as they occur in the
 * text given to the merge loop: for byte-level BPE the bytes behind GPT-2's alphabet (so text needs
 * no re-coding), else the token's text as it stands.
 *
 * Control tokens of more than one character are barred: no word, pair or merge gives one, so plain
 * text cannot become a control token, whatever the merges say.
 *
 * Safe cuts: where no merge can ever join the characters on both sides of a place, the text can be
 * cut there without changing an id.  SentencePiece-style vocabularies have no words of their own;
 * this gives them some ("e|_t" is nearly always a cut), and with them the dictionary short cut.
 */
#ifndef SR_TEXT_TOKENIZER_INTERNAL_H
#define SR_TEXT_TOKENIZER_INTERNAL_H
#include "text/cpmap.h"
#include "text/tokenizer.h"
#include "text/tokenizer_pre.h"

enum {
    SR_TOK_MAX_VOCAB  = 1 << 21, /* tokens; the largest vocabularies today have 2^18 */
    SR_TOK_MAX_MERGES = 1 << 22,
    SR_TOK_MAX_BYTES  = 1 << 27, /* of all token texts, and of all merges: slices have 32 bits */
    SR_TOK_MAX_TEXT   = 1 << 30, /* of one text to encode */
    SR_TOK_NOSYM      = -1
};
#define SR_TOK_NO_JOIN UINT32_MAX /* priority of a pair that does not join */

/* Does a token's key, met as a word, come out as the token? */
enum { SR_TOK_UNTRIED, SR_TOK_WHOLE, SR_TOK_NOT_WHOLE, SR_TOK_BARRED };

enum { /* token attributes, as llama.cpp derives them; several may hold */
    SR_ATTR_UNKNOWN = 1, SR_ATTR_UNUSED = 2, SR_ATTR_NORMAL = 4, SR_ATTR_CONTROL = 8,
    SR_ATTR_USER = 16, SR_ATTR_BYTE = 32,
    SR_ATTR_LSTRIP = 64, SR_ATTR_RSTRIP = 128, /* white space beside it belongs to it */
    SR_ATTR_GUARD  = 256, /* shown like a user token, but text becomes it only with PARSE_SPECIAL */
    SR_ATTR_END    = 512  /* ends a generation */
};

typedef enum { SR_TOKMODEL_BPE, SR_TOKMODEL_SPM, SR_TOKMODEL_WPM } sr_tokmodel;

typedef struct { uint32_t off, n; } sr_tokslice; /* into blob */

/* Hash table of slices: open addressing, a power of two at least twice full. */
typedef struct { uint32_t hash; int32_t sym; } sr_dictslot;
typedef struct { sr_dictslot *slot; uint32_t mask, n; } sr_dict;

typedef struct { int32_t left, right, sym; uint32_t rank; } sr_merge; /* left -1: empty */
typedef struct { const char *p; uint32_t n; int32_t id; } sr_special;

struct sr_tokenizer {
    sr_tokmodel      model;
    const sr_pretok *pre; /* BPE */
    sr_splitter     *splitter;
    bool             byte_level, escape_spaces, space_prefix, add_bos, add_eos, ignore_merges, newline_tokens;
    int32_t          bos, eos, unk, sep;

    sr_buf       blob; /* all bytes that slices point into */
    uint32_t     n_vocab, n_sym, cap_sym, max_key;
    sr_tokslice *text, *piece; /* [n_vocab] */
    sr_tokslice *key;          /* [n_sym]; n 0: cannot come out of text */
    uint16_t    *attr;         /* [n_vocab] */
    uint32_t    *prio;         /* [n_vocab] SPM: the score as an integer, smaller goes first */
    uint8_t     *whole;        /* [n_vocab] SR_TOK_UNTRIED ..; filled as words are met, see tokenizer_merge.c */
    sr_dict      by_key, by_text; /* by_text: byte-level only, elsewhere key and text are the same */

    sr_merge *merge; /* BPE: hash table of pairs */
    uint32_t  merge_mask;
    int32_t   byte_sym[256]; /* byte-level: the symbol of a byte; else the token for a byte that fits nothing */
    sr_ids    bad_byte;      /* byte-level: for a byte that is in no UTF-8 and has no symbol: U+FFFD's ids */
    uint64_t *joins;         /* bit set of character pairs that some merge can join; NULL: byte-level */

    sr_special *special;     /* by text */
    uint32_t    n_special, special_from[257]; /* first index of each leading byte */
    uint8_t    *special_pair; /* bit per two leading bytes */
    bool        special_strips;

    int32_t *ends;
    size_t   n_ends;
    char    *chat_template;

    bool     lowercase, strip_accents; /* WPM */
    sr_cpmap classes;
};

/* ---- tokenizer_dict.c ---- */
uint32_t sr_tok_hash(const char *p, size_t n);
bool     sr_dict_begin(sr_dict *d, uint32_t max_n);
/* The symbol whose slice has these bytes, or -1. */
int32_t  sr_dict_find(const sr_dict *d, const char *blob, const sr_tokslice *slices, const char *p, size_t n);
/* Adds; if already there, gives the symbol that is and adds nothing.  -1: out of memory. */
int32_t  sr_dict_add(sr_dict *d, const char *blob, const sr_tokslice *slices, int32_t sym);
void     sr_dict_end(sr_dict *d);
/* UTF-8 of GPT-2's byte alphabet to bytes; false: a character that is not in it.  out: n bytes. */
bool     sr_gpt2_decode(const char *p, size_t n, char *out, size_t *n_out);
unsigned sr_gpt2_encode(unsigned char byte, char out[4]);

/* ---- tokenizer_load.c, tokenizer_attr.c ---- */
sr_status sr_tok_load(sr_tokenizer *t, const sr_gguf *g, sr_err *err);
/* Which tokens are control, which end a generation: by name, where the file does not say. */
sr_status sr_tok_attributes(sr_tokenizer *t, const sr_gguf *g, sr_err *err);
/* The token id that a key holds; absent: *id stays. */
sr_status sr_tok_id_of(const sr_tokenizer *t, const sr_gguf *g, const char *key, int32_t *id, sr_err *err);
static inline const char *sr_tok_at(const sr_tokenizer *t, sr_tokslice s) { return t->blob.p + s.off; }
static inline int32_t sr_tok_find_key(const sr_tokenizer *t, const char *p, size_t n)
{
    return sr_dict_find(&t->by_key, t->blob.p, t->key, p, n);
}
static inline bool sr_tok_never_utf8(unsigned char b) { return b == 0xC0 || b == 0xC1 || b > 0xF4; }
static inline bool sr_tok_barred(const sr_tokenizer *t, int32_t sym)
{
    return sym >= 0 && (uint32_t)sym < t->n_vocab &&
           __atomic_load_n(&t->whole[sym], __ATOMIC_RELAXED) == SR_TOK_BARRED;
}

/* ---- tokenizer_special.c ---- */
typedef struct { size_t at, n; int32_t id; } sr_segment; /* id -1: plain text */
typedef struct { sr_segment *p; size_t n, cap; } sr_segments;
sr_status sr_special_build(sr_tokenizer *t, sr_err *err);
/* Cuts text into plain text and special tokens; appends to out. */
sr_status sr_special_cut(const sr_tokenizer *t, const char *text, size_t n, bool parse_special, sr_segments *out,
                         sr_err *err);

/* ---- tokenizer_merge.c ---- */
typedef struct sr_node sr_node;
typedef struct sr_offer sr_offer;
typedef struct { /* one encode(): where ids go, and scratch that grows to the longest word */
    const sr_tokenizer *t;
    sr_ids             *out;
    sr_err             *err;
    sr_buf              escaped; /* text with U+2581 for spaces */
    sr_node            *node;
    sr_offer           *heap;
    size_t              cap_node, cap_heap;
    bool                failed; /* memory ran out inside a word */
} sr_encoding;
/* These are false when memory ran out, which they have raised. */
bool sr_encode_id(sr_encoding *e, int32_t id);
bool sr_encode_word(void *encoding, const char *word, size_t n);   /* a sr_word_fn */
bool sr_encode_pieces(void *encoding, const char *text, size_t n); /* likewise: cuts at safe places, then words */
bool sr_encode_escape(sr_encoding *e, const char *text, size_t n, bool prefix); /* into e->escaped */
void sr_encoding_end(sr_encoding *e);
/* Adds a merge; false if the pair has one already (the first counts). */
bool      sr_merge_put(sr_tokenizer *t, int32_t left, int32_t right, int32_t sym, uint32_t rank);
bool      sr_joins_begin(sr_tokenizer *t);
/* Marks the pair of characters around text[at]; at 0: all pairs. */
void      sr_joins_add(sr_tokenizer *t, const char *text, size_t n, size_t at);

/* ---- tokenizer_wpm.c ---- */
bool sr_encode_wpm(sr_encoding *e, const char *text, size_t n);
#endif
