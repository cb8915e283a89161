/* jsontree.h - a small JSON text as a tree: objects of numbers, strings and objects, as files of figures are.
 *
 *     sr_jsontree t;
 *     if (sr_jsontree_parse(text, n, &t, err) == SR_OK)
 *         for (const sr_jsonnode *m = sr_json_first(&t, t.node); m; m = sr_json_next(&t, m))
 *             .. m->key, m->kind, m->number or m->text ..
 *     sr_jsontree_end(&t);
 *
 * Nodes are in the order of the text.  Arrays are taken, and say of themselves no more than that they are none of the others, like
 * true, false and null.  Builds without the server's libraries read with it, too.
 *
 * Owns:    nodes and texts, until end.   Threads: one at a time.
 * Errors:  SR_INVALID with line and column: no JSON, a key twice in one object, a NUL in a string, deeper than 16, more than 4096 values.  SR_NOMEM.
 * Source:  RFC 8259.
 */
#ifndef SR_WEIGHTS_JSONTREE_H
#define SR_WEIGHTS_JSONTREE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef enum { SR_JSON_OTHER, SR_JSON_OBJECT, SR_JSON_STRING, SR_JSON_WHOLE, SR_JSON_REAL } sr_jsonkind; /* WHOLE: without point and exponent, within 63 bits */

typedef struct {
    sr_jsonkind kind;
    uint32_t    first, next;   /* member of an object, the one after this; 0: none */
    const char *key, *text;    /* NULL: has none */
    size_t      n_text;
    double      number;
    int64_t     whole;
} sr_jsonnode;

typedef struct { sr_jsonnode *node; uint32_t n; char *text; } sr_jsontree; /* node[0]: the top */

SR_MUSTUSE sr_status sr_jsontree_parse(const char *text, size_t n, sr_jsontree *, sr_err *);
void sr_jsontree_end(sr_jsontree *);

static inline bool sr_json_is_number(const sr_jsonnode *n) { return n && (n->kind == SR_JSON_WHOLE || n->kind == SR_JSON_REAL); }
static inline const sr_jsonnode *sr_json_first(const sr_jsontree *t, const sr_jsonnode *o) { return o && o->first ? &t->node[o->first] : NULL; }
static inline const sr_jsonnode *sr_json_next(const sr_jsontree *t, const sr_jsonnode *m) { return m->next ? &t->node[m->next] : NULL; }
const sr_jsonnode *sr_json_member(const sr_jsontree *, const sr_jsonnode *object, const char *key); /* NULL: has none, or no object */
#endif
