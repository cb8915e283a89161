/* grammar_guide.h - what grammar_lexicon.c, grammar_guide.c and grammar_mask.c share. */
#ifndef SR_TEXT_GRAMMAR_GUIDE_H
#define SR_TEXT_GRAMMAR_GUIDE_H
#include "text/grammar_build.h"
#include "text/grammar_match.h"

enum { SR_GM_MAX_TOKEN = 1024, SR_GM_MAX_DEPTH = 256, SR_GM_MAX_PAIRS = 1024, SR_GM_MAX_SETS = 32768, SR_GM_WORK = 4 << 20,
       SR_GM_TODO = 4096, SR_GM_SEEN = 16384, SR_GM_BUCKETS = 8192 };

typedef struct {            /* a node of the trie, in preorder: children follow, `skip` is behind the last of them */
    uint32_t skip;
    int32_t  tok;           /* the token that ends here, -1: none; others with the same bytes: same[tok] .. */
    uint32_t first, sum;    /* its tokens and those below begin at order[first]; what lies below, 0: too little to be worth it */
    uint16_t depth;         /* bytes up to and with this one */
    uint8_t  byte;
} sr_tnode;

typedef struct {            /* all bytes below a node */
    uint64_t ascii[2];
    uint16_t depth;         /* of the longest way down */
    uint8_t  high, utf8;    /* SR_GH_ bits: what is not ASCII; all ways are UTF-8 (or the beginning of it), from here where a character ends, from this
                             * byte on where one begins */
} sr_tsum;

typedef struct sr_shared {  /* what may follow a state while its rule lasts */
    struct sr_shared *next;
    uint64_t  key[2], used; /* of the rule, by what it says */
    uint32_t  offset, high; /* of the state in the rule; frames that a token may need on top */
    uint32_t  n_tok, n_resume;
    size_t    bytes;
    uint32_t *tok;          /* n_tok token ids; or, when n_tok is UINT32_MAX, a mask */
    uint32_t *resume;       /* nodes at which the rule may end and which have children */
} sr_shared;

struct sr_lexicon {
    uint32_t   n_vocab, n_token, n_node, words;
    sr_tnode  *node;
    int32_t   *same;
    uint32_t  *order, n_order; /* tokens by their bytes */
    sr_tsum   *sum; uint32_t n_sum;
    uint32_t  *piece;       /* [n_token + 1] where each token's bytes begin */
    char      *bytes;
    uint64_t   key[2], tick; /* of the hash */
    sr_shared *table[SR_GM_BUCKETS];
    size_t     shared_bytes;
    sr_guide  *guides;      /* newest first, idle ones too */
    uint64_t   serial;
    sr_guidestats stats;
};

typedef struct { uint32_t state, frame; } sr_gpair;
typedef struct { uint32_t ret, up, depth, next, caller; } sr_gframe; /* ret: state to go on with; caller: its set, 0 = not asked yet */
typedef struct { uint32_t first, n, deep, mask, hash, next; } sr_gset;  /* pairs; deepest frame; cached mask, +1 */
/* Bytes that all lead to one set; high: characters beyond ASCII that all do, too.  Those that begin with E2 (U+2000 .. U+2FFF) stand
 * apart, because what excludes line ends, as . does, excludes two of them. */
enum { SR_GH_MOST = 1, SR_GH_E2 = 2, SR_GH_INSIDE = 4 };                 /* INSIDE: bytes behind the first of a character */
typedef struct { uint64_t ascii[2]; uint32_t next; bool known; uint8_t high; } sr_gloop;
static inline uint8_t sr_gh_of(uint8_t byte) { return byte < 0x80 ? 0 : byte == 0xe2 ? SR_GH_E2 : byte < 0xc0 ? SR_GH_INSIDE : SR_GH_MOST; }
enum { SR_GS_DONE = 1, SR_GS_MORE = 2 };                              /* of flag[]: may end; may go on.  0: dead */
enum { SR_GK_BYTES = 1, SR_GK_ACCEPT = 2, SR_GK_END = 4 };            /* of kind[]: END: accepts and does nothing else */
typedef enum { SR_GF_NONE, SR_GF_FULL, SR_GF_WORK, SR_GF_NOMEM } sr_gfail;

struct sr_guide {
    sr_lexicon *l;
    sr_guide   *next;
    uint32_t    refs, n_class;
    uint64_t    used, serial;
    sr_grammar *g;
    uint8_t    *kind;       /* [n_state] */
    uint32_t   *calls;      /* [n_state] first edge that is a call */
    uint64_t  (*rule_key)[2]; /* [n_rule]; 0, 0: not made yet */
    uint8_t     class_of[256], byte_of[256]; /* bytes no rule tells apart; one of each class */
    sr_gframe  *frame; uint32_t n_frame, cap_frame;  /* 0: the bottom */
    sr_gpair   *pair;  uint32_t n_pair, cap_pair;
    sr_gset    *set;   uint32_t n_set, cap_set, max_set; /* 0: not known, 1: dead */
    uint32_t   *trans;      /* [cap_set][n_class] */
    uint8_t    *flag;       /* [cap_set] */
    sr_gloop   *loop;       /* [cap_set] */
    uint32_t   *frame_bucket, *set_bucket;
    uint32_t   *masks; uint32_t n_mask, cap_mask;
    uint32_t    start;
    /* of one closure */
    sr_gpair   *todo; uint32_t n_todo;
    struct { uint32_t stamp, state, frame; } *seen; uint32_t stamp;
    uint64_t    work;
    sr_gfail    fail;
    uint32_t    path[SR_GM_MAX_TOKEN + 1];
    sr_matcher *matchers;
};

struct sr_matcher {
    sr_guide   *g;
    sr_matcher *prev, *next;
    uint32_t    set;
};

/* grammar_guide.c; 0: failed, guide->fail says why. */
uint32_t sr_guide_step(sr_guide *g, uint32_t set, uint8_t byte);
const sr_gloop *sr_guide_loop(sr_guide *g, uint32_t set);    /* NULL: failed */
uint32_t sr_guide_single(sr_guide *g, uint32_t state);      /* {(state, bottom)} */
uint32_t sr_guide_caller(sr_guide *g, uint32_t frame);      /* what goes on when the rule on top of it ends */
bool     sr_guide_renew(sr_guide *g);                       /* forgets all sets but those of the matchers */
sr_status sr_guide_raise(const sr_guide *g, sr_err *err);
sr_status sr_guide_new(sr_lexicon *l, const void *grammar, size_t n, sr_guide **out, sr_err *err);
void     sr_guide_free(sr_guide *g);
size_t   sr_guide_memory(const sr_guide *g);

/* grammar_lexicon.c */
sr_shared *sr_lexicon_find(sr_lexicon *l, const uint64_t key[2], uint32_t offset);
void       sr_lexicon_keep(sr_lexicon *l, sr_shared *s);    /* may drop others */
#endif
