/* template_parse.h - the parser's own state and the calls its two halves share: statements in
 * template_parse.c, expressions in template_expr.c.
 *
 * Owns:    nothing (nodes are the template's).   Threads: one compilation, one thread.
 * Errors:  all functions jump out through sr_tcomp.fail; none returns on a syntax error.
 */
#ifndef SR_TEXT_TEMPLATE_PARSE_H
#define SR_TEXT_TEMPLATE_PARSE_H
#include "text/template_ast.h"

typedef struct {
    sr_tcomp *c;
    sr_tlex lex;
    sr_ttok cur, ahead;
    bool has_ahead;
    unsigned depth; /* recursion of the parser, at most SR_TPL_DEPTH */
} sr_tparse;

/* What a tuple may be made of: any expressions; without "a if b"; or an assignment target, plain or with
 * ns.x. */
typedef enum { SR_TUPLE_EXPR, SR_TUPLE_NO_COND, SR_TUPLE_PLAIN, SR_TUPLE_NS, SR_TUPLE_PARENS } sr_ttuple;

sr_tnode *sr_tparse_node(sr_tparse *p, sr_tnode_kind kind, uint32_t line);
void sr_tparse_depth(sr_tparse *p, sr_tnode *n, const sr_tnode *child); /* n gets child below it */
void sr_tparse_next(sr_tparse *p);
const sr_ttok *sr_tparse_look(sr_tparse *p);
bool sr_tparse_is_op(const sr_tparse *p, int op);
bool sr_tparse_is(const sr_tparse *p, const char *name);
bool sr_tparse_is_one_of(const sr_tparse *p, const char *names); /* "endfor|else" */
bool sr_tparse_skip_op(sr_tparse *p, int op);
bool sr_tparse_skip(sr_tparse *p, const char *name);
void sr_tparse_expect_op(sr_tparse *p, int op);
sr_tstr *sr_tparse_expect_name(sr_tparse *p);
_Noreturn void sr_tparse_fail_got(sr_tparse *p, const char *want);
bool sr_tparse_is_constant(const sr_tstr *name); /* true, None .. */

sr_tnode *sr_tparse_expr(sr_tparse *p);
sr_tnode *sr_tparse_tuple(sr_tparse *p, sr_ttuple of);
sr_tnode *sr_tparse_target(sr_tparse *p, sr_ttuple of);
sr_tnode *sr_tparse_filters(sr_tparse *p, sr_tnode *a, bool inline_start); /* a|x|y; NULL a: a block's body */
void sr_tparse_ctx(sr_tparse *p, sr_tnode *target, uint8_t ctx);
#endif
