/* grammar_build.h - expressions while a front end puts them together, and the compiled form.
 *
 * An expression is a number: an index into the builder's nodes.  0 is a failure: every function given a 0 or
 * running into a limit returns 0, the first cause is in the builder's err, and a front end looks once, at the end.
 *
 * Owns:    the builder owns all expressions until sr_gb_end().
 * Threads: one at a time.
 */
#ifndef SR_TEXT_GRAMMAR_BUILD_H
#define SR_TEXT_GRAMMAR_BUILD_H
#include <jansson.h>

#include "base/arena.h"
#include "text/grammar.h"

/* ---- building ------------------------------------------------------------------------------------------------- */

typedef uint32_t sr_gx;
typedef struct { uint32_t lo, hi; } sr_cprange;
typedef struct { sr_cprange *p; uint32_t n, cap; bool failed; } sr_cpset; /* a class on its way; freed by sr_cpset_end */

#define SR_G_NOMAX 0xffffffffu
#ifdef SR_FUZZ /* a fuzzer meets the same limits sooner: an input that fills them took a tenth of a second */
enum { SR_G_MAX_STATES = 2048, SR_G_MAX_EDGES = 8192 };
#else
enum { SR_G_MAX_STATES = 65536, SR_G_MAX_EDGES = 262144 };
#endif
enum { SR_G_MAX_TEXT = 65536, SR_G_MAX_NEST = 64, SR_G_MAX_REP = 65535, SR_G_MAX_CP = 0x10ffff };

typedef struct sr_gnode sr_gnode;
typedef struct { const char *name; size_t n_name; sr_gx body; uint32_t next; } sr_grule; /* body 0: not defined */
typedef struct {
    sr_arena  mem;
    sr_gnode *node;   uint32_t n_node, cap_node;
    sr_grule *rule;   uint32_t n_rule, cap_rule;
    uint32_t  bucket[256];       /* rules by name, +1 */
    uint32_t  json_rule[8];      /* of grammar_json.c, +1 */
    sr_err   *err;
} sr_gbuild;

void  sr_gb_begin(sr_gbuild *b, sr_err *err);
void  sr_gb_end(sr_gbuild *b);
sr_gx sr_gb_nomem(sr_gbuild *b);                                  /* 0, and says why */
sr_gx sr_gb_empty(sr_gbuild *b);
sr_gx sr_gb_lit(sr_gbuild *b, const char *bytes, size_t n);
sr_gx sr_gb_str(sr_gbuild *b, const char *s);
sr_gx sr_gb_class(sr_gbuild *b, const sr_cprange *r, uint32_t n); /* of sorted, separate ranges; none: matches nothing */
sr_gx sr_gb_seq(sr_gbuild *b, const sr_gx *x, uint32_t n);
sr_gx sr_gb_alt(sr_gbuild *b, const sr_gx *x, uint32_t n);        /* n >= 1 */
sr_gx sr_gb_rep(sr_gbuild *b, sr_gx x, uint32_t min, uint32_t max);
sr_gx sr_gb_ref(sr_gbuild *b, uint32_t rule);
uint32_t sr_gb_rule(sr_gbuild *b, const char *name, size_t n);    /* made when new; UINT32_MAX: failure */
bool  sr_gb_define(sr_gbuild *b, uint32_t rule, sr_gx x);         /* false: failure, or defined before (no message then) */
#define SR_GB_SEQ(b, ...) sr_gb_seq((b), (sr_gx[]){__VA_ARGS__}, (uint32_t)(sizeof((sr_gx[]){__VA_ARGS__}) / sizeof(sr_gx)))
#define SR_GB_ALT(b, ...) sr_gb_alt((b), (sr_gx[]){__VA_ARGS__}, (uint32_t)(sizeof((sr_gx[]){__VA_ARGS__}) / sizeof(sr_gx)))

void sr_cpset_add(sr_cpset *s, uint32_t lo, uint32_t hi);
void sr_cpset_tidy(sr_cpset *s);    /* sorted, joined, no surrogates */
void sr_cpset_invert(sr_cpset *s);  /* tidies first */
void sr_cpset_end(sr_cpset *s);

/* The code point at *p, which moves on; UINT32_MAX: not UTF-8 (or the end).  And back: up to 4 bytes. */
uint32_t sr_g_decode(const char **p, const char *end);
size_t   sr_g_encode(uint32_t c, char out[4]);
/* "line 3, column 7" of a place in a text, for messages. */
const char *sr_g_place(char out[48], const char *text, const char *at);

/* All rules reachable from `root`, compiled. */
SR_MUSTUSE sr_status sr_gb_compile(sr_gbuild *b, sr_gx root, sr_grammar **out);

/* ---- front ends, as parts of a larger expression; 0: failure --------------------------------------------------- */

/* json: characters are written as in a JSON string (a quote as \", a line end as \n ...). */
sr_gx sr_gb_regex(sr_gbuild *b, const char *text, size_t n, bool json, bool search);
sr_gx sr_gb_schema_text(sr_gbuild *b, const char *text, size_t n);
sr_gx sr_gb_gbnf(sr_gbuild *b, const char *text, size_t n);

/* grammar_json.c: the pieces of JSON. */
sr_gx sr_gj_class(sr_gbuild *b, const sr_cprange *r, uint32_t n); /* characters as written inside a JSON string */
sr_gx sr_gj_char(sr_gbuild *b);                                   /* any character inside a JSON string */
sr_gx sr_gj_string(sr_gbuild *b, uint32_t min, uint32_t max);
sr_gx sr_gj_quoted(sr_gbuild *b, sr_gx inside);
sr_gx sr_gj_number(sr_gbuild *b);
sr_gx sr_gj_integer(sr_gbuild *b, const int64_t *min, const int64_t *max); /* NULL: no bound */
sr_gx sr_gj_value(sr_gbuild *b);                                  /* any value */
sr_gx sr_gj_object(sr_gbuild *b);                                 /* any object */
sr_gx sr_gj_array(sr_gbuild *b, sr_gx item, uint32_t min, uint32_t max);
sr_gx sr_gj_constant(sr_gbuild *b, json_t *v);
sr_gx sr_gj_format(sr_gbuild *b, const char *name);               /* with its quotes; 0 and no error: not known */
sr_gx sr_gj_space(sr_gbuild *b);                                  /* after { [ , and before } ] */
sr_gx sr_gj_colon(sr_gbuild *b);
sr_gx sr_gj_comma(sr_gbuild *b);

/* ---- the compiled form ----------------------------------------------------------------------------------------- */

#define SR_G_CALL   0x80000000u
#define SR_G_ACCEPT 0x80000000u
typedef struct { uint32_t to, what; } sr_gedge; /* what: lo << 8 | hi of a range of bytes, or SR_G_CALL | rule */
typedef struct {                    /* of the block */
    uint32_t magic, n_rule, n_state, n_edge;
    /* uint32_t start[n_rule]       first state of each rule; rule r's states are start[r] .. start[r + 1]; rule 0 is the root
     * uint32_t first[n_state + 1]  first edge, ranges before calls; SR_G_ACCEPT: the rule may end here
     * sr_gedge edge[n_edge] */
} sr_ghead;
struct sr_grammar {
    size_t           bytes;
    const sr_ghead  *head;          /* in the same allocation */
    const uint32_t  *start, *first;
    const sr_gedge  *edge;
};
static inline uint32_t sr_g_first(const sr_grammar *g, uint32_t s) { return g->first[s] & ~SR_G_ACCEPT; }
static inline bool     sr_g_accepts(const sr_grammar *g, uint32_t s) { return (g->first[s] & SR_G_ACCEPT) != 0; }

/* grammar.c: a block with room for that much, to be filled; and what both makers check.  *rule: the one at fault. */
sr_grammar *sr_grammar_alloc(uint32_t n_rule, uint32_t n_state, uint32_t n_edge);
/* Marks states from which the rule's end can be reached, by any path or (bytes false) without reading a byte. */
bool sr_grammar_reach(const sr_grammar *g, bool bytes, uint8_t *mark);
bool sr_grammar_left_recursion(const sr_grammar *g, const uint8_t *nullable, uint32_t *rule, bool *nomem);
#endif
