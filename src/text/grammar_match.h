/* grammar_match.h - which tokens may come next.
 *
 *     lexicon   the tokens of a vocabulary as a trie of their bytes, and masks that any grammar may share
 *     guide     one grammar on a lexicon: its states so far, a lazily built automaton over sets of (state, stack)
 *     matcher   one answer's place in it: a number; copying is O(1), so going back is keeping a copy
 *
 *     set of (state, stack) --byte--> set --byte--> ...        a set's mask = union over its pairs of
 *         tokens that stay inside the state's rule             (cached in the lexicon by what the rule says, for all grammars)
 *       + tokens that leave it, walked on from the caller      (few; and the whole is cached by set)
 *
 * Where a set reads all that lies below a node of the trie and stays what it is (the body of a string), the node is not walked.
 *
 * A token is allowed when some text of the grammar begins with what was accepted and the token's bytes, exactly.
 * Control tokens and tokens without bytes are never allowed, nor are tokens of more than 1024 bytes; ends of generation are the
 * caller's business: it allows them when sr_matcher_can_end().
 *
 * Owns:    a guide holds its lexicon, a matcher its guide: close matchers, then guides, then the lexicon.
 * Threads: one lexicon and all that stands on it: one thread at a time.
 * Errors:  accept: SR_INVALID = the token does not fit, the matcher has not moved.  mask, accept: SR_UNSUPPORTED = this
 *          grammar needs more work or memory for one step than is allowed (named); the matcher is as it was.  SR_NOMEM.
 * Limits:  work is bounded: 4 M steps of the automaton for one mask, nesting 256, 1024 pairs in a set,
 *          32768 sets and 32 MiB for a guide (then it begins anew with what its matchers stand on), 64 MiB of shared masks.
 *          Where the nesting is at its end, what would nest deeper is forbidden.
 * Source:  masks by context-independent part: XGrammar (Dong et al. 2024).  Lazy automaton: as in RE2.
 */
#ifndef SR_TEXT_GRAMMAR_MATCH_H
#define SR_TEXT_GRAMMAR_MATCH_H
#include "text/grammar.h"
#include "text/tokenizer.h"

typedef struct sr_lexicon sr_lexicon;
typedef struct sr_guide   sr_guide;
typedef struct sr_matcher sr_matcher;

/* n_vocab: bits of a mask; at least the tokenizer's.  The tokenizer may be closed afterwards. */
SR_MUSTUSE sr_status sr_lexicon_open(const sr_tokenizer *t, uint32_t n_vocab, sr_lexicon **out, sr_err *err);
void   sr_lexicon_close(sr_lexicon *l);
size_t sr_lexicon_words(const sr_lexicon *l);     /* uint32_t of a mask: (n_vocab + 31) / 32 */
size_t sr_lexicon_memory(const sr_lexicon *l);    /* bytes, shared masks included */

/* The same bytes give the same guide (counted); the last few that nobody holds are kept. */
SR_MUSTUSE sr_status sr_guide_open(sr_lexicon *l, const void *grammar, size_t n, sr_guide **out, sr_err *err);
void sr_guide_close(sr_guide *g);

SR_MUSTUSE sr_status sr_matcher_open(sr_guide *g, sr_matcher **out, sr_err *err); /* at the beginning */
void sr_matcher_close(sr_matcher *m);
void sr_matcher_copy(sr_matcher *to, const sr_matcher *from);                     /* of the same guide */
SR_MUSTUSE sr_status sr_matcher_accept(sr_matcher *m, int32_t token, sr_err *err);
SR_MUSTUSE sr_status sr_matcher_accept_bytes(sr_matcher *m, const char *p, size_t n, sr_err *err);
bool sr_matcher_can_end(const sr_matcher *m);     /* what was accepted is a whole text of the grammar */
bool sr_matcher_must_end(const sr_matcher *m);    /* and none is longer */
/* Writes sr_lexicon_words() words; *any: whether a bit is set. */
SR_MUSTUSE sr_status sr_matcher_mask(sr_matcher *m, uint32_t *mask, bool *any, sr_err *err);

typedef struct { uint64_t masks, hits, walks, shared_hits, steps, renewals; } sr_guidestats; /* since the lexicon was opened */
sr_guidestats sr_lexicon_stats(const sr_lexicon *l);
#endif
