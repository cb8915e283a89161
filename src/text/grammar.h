/* grammar.h - what an answer may look like, compiled: GBNF, JSON schema, regular expression, choice.
 *
 * Four front ends build one form: rules over bytes, each a small automaton whose edges are ranges of bytes or
 * calls of other rules.  A grammar is one block of plain bytes without pointers, so that it can travel to an
 * engine in another process; grammar_match.h walks it.
 *
 *     schema, GBNF, regex, choices --front end--> expression --compile--> rules --sr_grammar_bytes--> engine
 *
 * Characters are code points; classes become automata over their UTF-8 bytes, so an answer is always valid UTF-8.
 *
 * JSON     one policy for white space: after { [ , and before } ] nothing, one space, or a line end and up to 20
 *          spaces or tabs; after : nothing or one space.  Nothing else, so that no model can spin on it.
 *          Strings never hold a lone surrogate.  Members come in the order the schema lists them.
 * Schema   type (also a list), properties, required, additionalProperties (false, true, schema; absent: false), items,
 *          prefixItems, minItems, maxItems, enum, const, anyOf, oneOf (as anyOf), allOf of one, $ref into the document
 *          (recursive too), $defs, definitions, minLength, maxLength, pattern, format (date, time, date-time, uuid), minimum, maximum,
 *          exclusiveMinimum, exclusiveMaximum (of integers), nullable; true and {} are any value.  Annotations
 *          (title, description, default, examples, $schema, $id, $comment, deprecated, readOnly, writeOnly) say nothing about
 *          the text and are passed over.  Any other keyword is SR_UNSUPPORTED, named by its JSON pointer.
 * Regex    matches the whole text: alternation, groups (also (?:..)), classes, . \d \w \s \D \W \S, escapes, \xHH \uHHHH \u{H..},
 *          * + ? {m,n} and their lazy forms (the same texts); ^ and $ at the ends.  Look-around, back references, \b: refused.
 *          As `pattern` of a schema it is searched for in the string, as JSON Schema says, unless anchored.
 * GBNF     llama.cpp's: rules `name ::= ...` with root, literals, classes, ., groups, | * + ? {m,n}, # comments.
 *          Left recursion is refused and named.
 *
 * Owns:    open functions make a grammar, close() frees it (NULL is fine).
 * Threads: a grammar is immutable.
 * Errors:  SR_INVALID: the text is wrong (line and column, or JSON pointer); SR_UNSUPPORTED: a correct schema or expression
 *          outside the subset (named); SR_NOMEM.  Out is NULL then.
 * Limits:  text 64 KiB (choices 1 MiB together), nesting 64, 65536 states, 262144 edges, repetition counts 65535.
 */
#ifndef SR_TEXT_GRAMMAR_H
#define SR_TEXT_GRAMMAR_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef struct sr_grammar sr_grammar;
typedef struct { const char *p; size_t n; } sr_gtext;

SR_MUSTUSE sr_status sr_grammar_gbnf(const char *text, size_t n, sr_grammar **out, sr_err *err);
SR_MUSTUSE sr_status sr_grammar_regex(const char *text, size_t n, sr_grammar **out, sr_err *err);
SR_MUSTUSE sr_status sr_grammar_choice(const sr_gtext *choice, size_t n, sr_grammar **out, sr_err *err);
SR_MUSTUSE sr_status sr_grammar_schema(const char *json, size_t n, sr_grammar **out, sr_err *err);
SR_MUSTUSE sr_status sr_grammar_json_object(sr_grammar **out, sr_err *err); /* any object, nested at will */

/* Parts one after the other, all of it `min` to `max` times (0, 0: once): the frame of a tool call round the schema of its arguments.
 *     {LITERAL "<call>"} {SCHEMA "{..}"} {LITERAL "</call>"} */
typedef enum { SR_GPART_LITERAL, SR_GPART_SCHEMA, SR_GPART_REGEX } sr_gpartkind;
typedef struct { sr_gpartkind kind; sr_gtext text; } sr_gpart;
SR_MUSTUSE sr_status sr_grammar_parts(const sr_gpart *part, size_t n, uint32_t min, uint32_t max, sr_grammar **out, sr_err *err);

void sr_grammar_close(sr_grammar *g);

/* The block that travels, borrowed; and a grammar from such a block, which is copied and checked: whatever it holds, walking
 * it is safe. */
const void *sr_grammar_bytes(const sr_grammar *g, size_t *n);
SR_MUSTUSE sr_status sr_grammar_open_bytes(const void *bytes, size_t n, sr_grammar **out, sr_err *err);
#endif
