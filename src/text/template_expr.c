/* Expressions, from the loosest binding to the tightest:
 *
 *     a if t else b | or | and | not | == != < <= > >= in, not in | + - | ~ | * / // % | ** | - + | x.y x[y]
 * x() |filter is
 *
 * Filters and tests bind tighter than any operator: -1|abs is abs(-1), but 1 + x|abs is 1 + abs(x). */
#include "text/template_parse.h"

#include <string.h>

static sr_tnode *parse_or(sr_tparse *p);
static sr_tnode *parse_unary(sr_tparse *p, bool with_filter);

static sr_tnode *node1(sr_tparse *p, sr_tnode_kind kind, uint32_t line, sr_tnode *a)
{
    sr_tnode *n = sr_tparse_node(p, kind, line);
    n->u.x.a    = a;
    sr_tparse_depth(p, n, a);
    return n;
}

static sr_tnode *node2(sr_tparse *p, sr_tnode_kind kind, uint32_t line, sr_tnode *a, sr_tnode *b)
{
    sr_tnode *n = node1(p, kind, line, a);
    n->u.x.b    = b;
    sr_tparse_depth(p, n, b);
    return n;
}

static void deeper(sr_tparse *p)
{
    if (++p->depth > SR_TPL_DEPTH)
        sr_tpl_cfail(p->c, SR_INVALID, p->cur.line, "expression nested deeper than %d", SR_TPL_DEPTH);
}

bool sr_tparse_is_one_of(const sr_tparse *p, const char *names)
{
    while (p->cur.kind == SR_TK_NAME && *names) {
        size_t n = strcspn(names, "|");
        if (p->cur.s->n == n && !memcmp(p->cur.s->p, names, n))
            return true;
        names += n + (names[n] == '|');
    }
    return false;
}

bool sr_tparse_is_constant(const sr_tstr *s)
{
    return sr_tpl_streq(s, "true") || sr_tpl_streq(s, "false") || sr_tpl_streq(s, "none") ||
           sr_tpl_streq(s, "True") || sr_tpl_streq(s, "False") || sr_tpl_streq(s, "None");
}

/* ---- primaries ---- */

static sr_tnode *parse_name(sr_tparse *p, bool with_ns)
{
    uint32_t line = p->cur.line;
    sr_tstr *s    = sr_tparse_expect_name(p);
    sr_tnode *n;
    if (with_ns && sr_tparse_is_op(p, '.')) {
        sr_tparse_next(p);
        n            = sr_tparse_node(p, SR_N_NSREF, line);
        n->u.ns.id   = s;
        n->u.ns.attr = sr_tparse_expect_name(p);
        return n;
    }
    if (!sr_tparse_is_constant(s)) {
        n            = sr_tparse_node(p, SR_N_NAME, line);
        n->u.name.id = s;
        return n;
    }
    n          = sr_tparse_node(p, SR_N_CONST, line);
    n->u.konst = (s->p[0] | 0x20) == 'n' ? sr_tnone() : sr_tbool((s->p[0] | 0x20) == 't');
    return n;
}

static sr_tnode *parse_string(sr_tparse *p)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_CONST, p->cur.line);
    sr_tstr *s  = p->cur.s;
    sr_tparse_next(p);
    if (p->cur.kind == SR_TK_STRING) { /* "a" "b" is "ab" */
        size_t cap = 0, at = 0;
        char *d = NULL;
        for (bool first = true; first || p->cur.kind == SR_TK_STRING; first = false) {
            const sr_tstr *t = first ? s : p->cur.s;
            if (at + t->n > cap) {
                char *q = sr_tpl_calloc(p->c, cap = 2 * (at + t->n), 1);
                if (at)
                    memcpy(q, d, at);
                d = q;
            }
            if (t->n)
                memcpy(d + at, t->p, t->n);
            at += t->n;
            if (!first)
                sr_tparse_next(p);
        }
        s = sr_tpl_atom(p->c, d ? d : "", at);
    }
    n->u.konst = (sr_tval){.kind = SR_T_STR, .s = s};
    return n;
}

static sr_tnode *parse_list(sr_tparse *p)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_LIST, p->cur.line);
    sr_tparse_next(p);
    while (!sr_tparse_is_op(p, ']')) {
        if (n->u.list.n)
            sr_tparse_expect_op(p, ',');
        if (sr_tparse_is_op(p, ']'))
            break;
        sr_tnode *e = sr_tparse_expr(p);
        sr_tpl_nodes_push(p->c, &n->u.list, e);
        sr_tparse_depth(p, n, e);
    }
    sr_tparse_next(p);
    return n;
}

static sr_tnode *parse_dict(sr_tparse *p)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_DICT, p->cur.line);
    sr_tparse_next(p);
    while (!sr_tparse_is_op(p, '}')) {
        if (n->u.list.n)
            sr_tparse_expect_op(p, ',');
        if (sr_tparse_is_op(p, '}'))
            break;
        for (int i = 0; i < 2; i++) {
            sr_tnode *e = sr_tparse_expr(p);
            sr_tpl_nodes_push(p->c, &n->u.list, e);
            sr_tparse_depth(p, n, e);
            if (!i)
                sr_tparse_expect_op(p, ':');
        }
    }
    sr_tparse_next(p);
    return n;
}

static sr_tnode *parse_primary(sr_tparse *p, bool with_ns)
{
    sr_tnode *n;
    switch (p->cur.kind) {
    case SR_TK_NAME:
        return parse_name(p, with_ns);
    case SR_TK_STRING:
        return parse_string(p);
    case SR_TK_INT:
    case SR_TK_FLOAT:
        n          = sr_tparse_node(p, SR_N_CONST, p->cur.line);
        n->u.konst = p->cur.kind == SR_TK_INT ? sr_tint(p->cur.i) : sr_tfloat(p->cur.f);
        sr_tparse_next(p);
        return n;
    case SR_TK_OP:
        if (p->cur.op == '(') {
            sr_tparse_next(p);
            deeper(p);
            n = sr_tparse_tuple(p, SR_TUPLE_PARENS);
            p->depth--;
            sr_tparse_expect_op(p, ')');
            return n;
        }
        if (p->cur.op == '[')
            return parse_list(p);
        if (p->cur.op == '{')
            return parse_dict(p);
        break;
    default:
        break;
    }
    sr_tparse_fail_got(p, "an expression");
}

static bool tuple_end(const sr_tparse *p)
{
    return p->cur.kind == SR_TK_VAR_END || p->cur.kind == SR_TK_BLOCK_END || sr_tparse_is_op(p, ')');
}

/* One expression, or several with commas between: a tuple.  (Jinja2 means to end one at the `in` of a for,
 * but its check never matches: "for a, in x" is an error there and here.) */
sr_tnode *sr_tparse_tuple(sr_tparse *p, sr_ttuple of)
{
    sr_tnode *n = NULL, *first = NULL;
    uint32_t line = p->cur.line;
    for (;;) {
        if (first && !n) { /* a comma follows: it is a tuple */
            n = sr_tparse_node(p, SR_N_TUPLE, line);
            sr_tpl_nodes_push(p->c, &n->u.list, first);
            sr_tparse_depth(p, n, first);
        }
        if (first)
            sr_tparse_expect_op(p, ',');
        if (tuple_end(p))
            break;
        sr_tnode *e = of == SR_TUPLE_PLAIN || of == SR_TUPLE_NS ? parse_primary(p, of == SR_TUPLE_NS)
                      : of == SR_TUPLE_NO_COND                  ? parse_or(p)
                                                                : sr_tparse_expr(p);
        if (n) {
            sr_tpl_nodes_push(p->c, &n->u.list, e);
            sr_tparse_depth(p, n, e);
        } else {
            first = e;
        }
        if (!sr_tparse_is_op(p, ','))
            break;
    }
    if (n)
        return n;
    if (!first && of == SR_TUPLE_PARENS)
        return sr_tparse_node(p, SR_N_TUPLE, line);
    if (!first)
        sr_tparse_fail_got(p, "an expression");
    return first;
}

void sr_tparse_ctx(sr_tparse *p, sr_tnode *t, uint8_t ctx)
{
    if (t->kind == SR_N_TUPLE) {
        for (uint32_t i = 0; i < t->u.list.n; i++)
            sr_tparse_ctx(p, t->u.list.p[i], ctx);
    } else if (t->kind == SR_N_NAME) {
        t->u.name.ctx = ctx;
    } else if (t->kind != SR_N_NSREF) {
        sr_tpl_cfail(p->c, SR_INVALID, t->line, "can't assign to an expression");
    }
}

sr_tnode *sr_tparse_target(sr_tparse *p, sr_ttuple of)
{
    sr_tnode *t = sr_tparse_tuple(p, of);
    sr_tparse_ctx(p, t, SR_CTX_STORE);
    return t;
}

/* ---- calls, subscripts, filters, tests ---- */

static void check_keyword(sr_tparse *p, const sr_targs *a, const sr_tstr *name, uint32_t line)
{
    for (uint32_t i = 0; i < a->kwv.n; i++)
        if (a->kw[i] == name)
            sr_tpl_cfail(p->c, SR_INVALID, line, "keyword argument repeated");
}

static void keyword(sr_tparse *p, sr_targs *a)
{
    check_keyword(p, a, p->cur.s, p->cur.line);
    if (a->kwv.n >= 255)
        sr_tpl_cfail(p->c, SR_INVALID, p->cur.line, "more than 255 keyword arguments");
    if (!(a->kwv.n & (a->kwv.n - 1))) { /* full at 0, 1, 2, 4 .. */
        const sr_tstr **kw = sr_tpl_calloc(p->c, a->kwv.n ? a->kwv.n * 2 : 1, sizeof *kw);
        if (a->kwv.n)
            memcpy(kw, a->kw, a->kwv.n * sizeof *kw);
        a->kw = kw;
    }
    a->kw[a->kwv.n] = p->cur.s;
    sr_tparse_next(p);
    sr_tparse_next(p);
    sr_tpl_nodes_push(p->c, &a->kwv, sr_tparse_expr(p));
}

static sr_targs *call_args(sr_tparse *p, sr_tnode *n)
{
    sr_targs *a   = sr_tpl_calloc(p->c, 1, sizeof *a);
    uint32_t line = p->cur.line;
    sr_tnode *e;
    bool ok = true;
    sr_tparse_expect_op(p, '(');
    for (bool comma = false; !sr_tparse_is_op(p, ')'); comma = true) {
        if (comma)
            sr_tparse_expect_op(p, ',');
        if (comma && sr_tparse_is_op(p, ')'))
            break;
        if (sr_tparse_skip_op(p, '*')) {
            ok         = !a->dyn_pos && !a->dyn_kw;
            a->dyn_pos = e = sr_tparse_expr(p);
        } else if (sr_tparse_skip_op(p, SR_TK2('*', '*'))) {
            ok        = !a->dyn_kw;
            a->dyn_kw = e = sr_tparse_expr(p);
        } else if (p->cur.kind == SR_TK_NAME && sr_tparse_look(p)->kind == SR_TK_OP && p->ahead.op == '=') {
            ok = !a->dyn_kw;
            keyword(p, a);
            e = a->kwv.p[a->kwv.n - 1];
        } else {
            ok = !a->dyn_pos && !a->dyn_kw && !a->kwv.n;
            e  = sr_tparse_expr(p);
            sr_tpl_nodes_push(p->c, &a->pos, e);
        }
        if (!ok)
            sr_tpl_cfail(p->c, SR_INVALID, line, "invalid syntax for function call expression");
        sr_tparse_depth(p, n, e);
    }
    sr_tparse_next(p);
    return a;
}

static sr_tnode *parse_call(sr_tparse *p, sr_tnode *callee)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_CALL, p->cur.line);
    n->u.call.a = callee;
    sr_tparse_depth(p, n, callee);
    n->u.call.args = call_args(p, n);
    return n;
}

static sr_tnode *parse_slice(sr_tparse *p)
{
    uint32_t line     = p->cur.line;
    sr_tnode *part[3] = {0}, *n;
    if (!sr_tparse_is_op(p, ':')) {
        part[0] = sr_tparse_expr(p);
        if (!sr_tparse_is_op(p, ':'))
            return part[0];
    }
    sr_tparse_next(p);
    if (!sr_tparse_is_op(p, ':') && !sr_tparse_is_op(p, ']') && !sr_tparse_is_op(p, ','))
        part[1] = sr_tparse_expr(p);
    if (sr_tparse_skip_op(p, ':') && !sr_tparse_is_op(p, ']') && !sr_tparse_is_op(p, ','))
        part[2] = sr_tparse_expr(p);
    n        = node2(p, SR_N_SLICE, line, part[0], part[1]);
    n->u.x.c = part[2];
    sr_tparse_depth(p, n, part[2]);
    return n;
}

static sr_tnode *parse_subscript(sr_tparse *p, sr_tnode *a)
{
    uint32_t line = p->cur.line;
    if (sr_tparse_skip_op(p, '.')) {
        sr_tnode *n;
        if (p->cur.kind == SR_TK_NAME) {
            n              = node1(p, SR_N_GETATTR, line, a);
            n->u.attr.attr = sr_tparse_expect_name(p);
            return n;
        }
        if (p->cur.kind != SR_TK_INT)
            sr_tparse_fail_got(p, "name or number");
        return node2(p, SR_N_GETITEM, line, a, parse_primary(p, false));
    }
    sr_tparse_next(p); /* "[" */
    sr_tnode *first = NULL, *tuple = NULL;
    while (!sr_tparse_is_op(p, ']')) {
        if (first)
            sr_tparse_expect_op(p, ',');
        sr_tnode *e = parse_slice(p);
        if (first && !tuple) {
            tuple = sr_tparse_node(p, SR_N_TUPLE, line);
            sr_tpl_nodes_push(p->c, &tuple->u.list, first);
            sr_tparse_depth(p, tuple, first);
        }
        if (tuple) {
            sr_tpl_nodes_push(p->c, &tuple->u.list, e);
            sr_tparse_depth(p, tuple, e);
        }
        first = first ? first : e;
        if ((tuple || !sr_tparse_is_op(p, ']')) && (first->kind == SR_N_SLICE || e->kind == SR_N_SLICE))
            sr_tpl_cfail(p->c, SR_INVALID, line, "a slice inside a tuple index");
    }
    sr_tparse_next(p);
    if (!first) /* x[] */
        first = sr_tparse_node(p, SR_N_TUPLE, line);
    return node2(p, SR_N_GETITEM, line, a, tuple ? tuple : first);
}

static sr_tnode *parse_postfix(sr_tparse *p, sr_tnode *n)
{
    for (;;) {
        if (sr_tparse_is_op(p, '.') || sr_tparse_is_op(p, '['))
            n = parse_subscript(p, n);
        else if (sr_tparse_is_op(p, '('))
            n = parse_call(p, n);
        else
            return n;
    }
}

/* The dotted name of a filter or test. */
static sr_tstr *dotted(sr_tparse *p)
{
    sr_tstr *s = sr_tparse_expect_name(p);
    while (sr_tparse_skip_op(p, '.')) {
        sr_tstr *t = sr_tparse_expect_name(p);
        char *d    = sr_tpl_calloc(p->c, s->n + t->n + 1, 1);
        memcpy(d, s->p, s->n);
        d[s->n] = '.';
        memcpy(d + s->n + 1, t->p, t->n);
        s = sr_tpl_atom(p->c, d, s->n + t->n + 1);
    }
    return s;
}

sr_tnode *sr_tparse_filters(sr_tparse *p, sr_tnode *a, bool inline_start)
{
    while (inline_start || sr_tparse_is_op(p, '|')) {
        if (!inline_start)
            sr_tparse_next(p);
        sr_tnode *n    = sr_tparse_node(p, SR_N_FILTER, p->cur.line);
        n->u.call.a    = a;
        n->u.call.name = dotted(p);
        n->u.call.fn   = sr_tpl_filter(n->u.call.name->p, n->u.call.name->n);
        sr_tparse_depth(p, n, a);
        n->u.call.args = sr_tparse_is_op(p, '(') ? call_args(p, n) : sr_tpl_calloc(p->c, 1, sizeof(sr_targs));
        a              = n;
        inline_start   = false;
    }
    return a;
}

static sr_tnode *parse_test(sr_tparse *p, sr_tnode *a)
{
    uint32_t line = p->cur.line;
    sr_tnode *n   = sr_tparse_node(p, SR_N_TEST, line), *e;
    n->u.call.a   = a;
    sr_tparse_next(p); /* "is" */
    bool negated   = sr_tparse_skip(p, "not");
    n->u.call.name = dotted(p);
    n->u.call.fn   = sr_tpl_test(n->u.call.name->p, n->u.call.name->n);
    sr_tparse_depth(p, n, a);
    sr_ttok_kind k = p->cur.kind;
    if (sr_tparse_is_op(p, '(')) {
        n->u.call.args = call_args(p, n);
    } else {
        n->u.call.args = sr_tpl_calloc(p->c, 1, sizeof(sr_targs));
        if ((k == SR_TK_NAME && !sr_tparse_is_one_of(p, "else|or|and")) || k == SR_TK_STRING ||
            k == SR_TK_INT || k == SR_TK_FLOAT || sr_tparse_is_op(p, '[') || sr_tparse_is_op(p, '{')) {
            if (sr_tparse_is(p, "is"))
                sr_tpl_cfail(p->c, SR_INVALID, line, "you cannot chain multiple tests with is");
            e = parse_postfix(p, parse_primary(p, false));
            sr_tpl_nodes_push(p->c, &n->u.call.args->pos, e);
            sr_tparse_depth(p, n, e);
        }
    }
    return negated ? node1(p, SR_N_NOT, line, n) : n;
}

static sr_tnode *parse_filter_expr(sr_tparse *p, sr_tnode *n)
{
    for (;;) {
        if (sr_tparse_is_op(p, '|'))
            n = sr_tparse_filters(p, n, false);
        else if (sr_tparse_is(p, "is"))
            n = parse_test(p, n);
        else if (sr_tparse_is_op(p, '('))
            n = parse_call(p, n);
        else
            return n;
    }
}

/* ---- operators ---- */

static sr_tnode *parse_unary(sr_tparse *p, bool with_filter)
{
    uint32_t line = p->cur.line;
    sr_tnode *n;
    if (sr_tparse_is_op(p, '-') || sr_tparse_is_op(p, '+')) {
        sr_tnode_kind kind = sr_tparse_is_op(p, '-') ? SR_N_NEG : SR_N_POS;
        sr_tparse_next(p);
        deeper(p);
        n = node1(p, kind, line, parse_unary(p, false));
        p->depth--;
    } else {
        n = parse_primary(p, false);
    }
    n = parse_postfix(p, n);
    return with_filter ? parse_filter_expr(p, n) : n;
}

/* a, or a op b where one of the operators follows */
static sr_tnode *binary_once(sr_tparse *p, sr_tnode *a, sr_tnode *(*operand)(sr_tparse *), const char *ops)
{
    uint32_t line = p->cur.line;
    int op = p->cur.kind == SR_TK_OP ? p->cur.op : 0, twice = op >> 8;
    /* "//" and "**" are coded as 'F' and 'P' */
    char code = twice == '/' ? 'F' : twice == '*' ? 'P' : twice ? 0 : (char)op;
    if (!code || !strchr(ops, code))
        return a;
    sr_tparse_next(p);
    a     = node2(p, SR_N_BIN, line, a, operand(p));
    a->op = (uint8_t)code;
    return a;
}

static sr_tnode *binary(sr_tparse *p, sr_tnode *a, sr_tnode *(*operand)(sr_tparse *), const char *ops)
{
    for (sr_tnode *b; (b = binary_once(p, a, operand, ops)) != a;)
        a = b;
    return a;
}

/* Would Jinja2 compute it when it compiles? */
static bool is_folded(void *arg, sr_tnode *n)
{
    static const char *const contextual[] = {"map", "select", "reject", "selectattr", "rejectattr", "random"};
    if (n->kind == SR_N_NAME || n->kind == SR_N_CALL)
        return false;
    if (n->kind == SR_N_FILTER && (!n->u.call.fn || !n->u.call.a))
        return false;
    for (size_t i = 0; n->kind == SR_N_FILTER && i < sizeof contextual / sizeof *contextual; i++)
        if (sr_tpl_streq(n->u.call.name, contextual[i]))
            return false;
    return sr_tpl_children(n, is_folded, arg);
}

static sr_tnode *pow_operand(sr_tparse *p) { return parse_unary(p, true); }

/* -2 ** 2 is (-2) ** 2, but -2 ** n is -(2 ** n): Jinja2 folds the -2 into the text of its Python, where **
 * binds tighter.  The operator 'p' is that second one. */
static sr_tnode *parse_pow(sr_tparse *p)
{
    sr_tnode *a = pow_operand(p), *b;
    while ((b = binary_once(p, a, pow_operand, "P")) != a) {
        if (is_folded(NULL, b->u.x.a) && !is_folded(NULL, b->u.x.b))
            b->op = 'p';
        a = b;
    }
    return a;
}
static sr_tnode *parse_math2(sr_tparse *p) { return binary(p, parse_pow(p), parse_pow, "*/F%"); }

static sr_tnode *parse_concat(sr_tparse *p)
{
    uint32_t line = p->cur.line;
    sr_tnode *a = parse_math2(p), *n = NULL;
    while (sr_tparse_skip_op(p, '~')) {
        if (!n) {
            n = sr_tparse_node(p, SR_N_CONCAT, line);
            sr_tpl_nodes_push(p->c, &n->u.list, a);
            sr_tparse_depth(p, n, a);
        }
        sr_tnode *e = parse_math2(p);
        sr_tpl_nodes_push(p->c, &n->u.list, e);
        sr_tparse_depth(p, n, e);
    }
    return n ? n : a;
}

static sr_tnode *parse_math1(sr_tparse *p) { return binary(p, parse_concat(p), parse_concat, "+-"); }

static int compare_op(sr_tparse *p)
{
    static const struct {
        int tok, op;
    } ops[] = {{SR_TK2('=', '='), SR_OP_EQ},
               {SR_TK2('!', '='), SR_OP_NE},
               {'<', SR_OP_LT},
               {SR_TK2('<', '='), SR_OP_LE},
               {'>', SR_OP_GT},
               {SR_TK2('>', '='), SR_OP_GE}};
    for (size_t i = 0; i < 6; i++)
        if (sr_tparse_skip_op(p, ops[i].tok))
            return ops[i].op;
    if (sr_tparse_skip(p, "in"))
        return SR_OP_IN;
    if (sr_tparse_is(p, "not") && sr_tparse_look(p)->kind == SR_TK_NAME && sr_tpl_streq(p->ahead.s, "in")) {
        sr_tparse_next(p);
        sr_tparse_next(p);
        return SR_OP_NOTIN;
    }
    return -1;
}

static sr_tnode *parse_compare(sr_tparse *p)
{
    sr_tnode *a = parse_math1(p), *n = NULL;
    uint32_t line = p->cur.line;
    for (int op; (op = compare_op(p)) >= 0;) {
        if (!n) {
            n          = sr_tparse_node(p, SR_N_COMPARE, line);
            n->u.cmp.a = a;
            sr_tparse_depth(p, n, a);
        }
        uint32_t k = n->u.cmp.rest.n;
        if (!(k & (k - 1))) {
            uint8_t *ops = sr_tpl_calloc(p->c, k ? k * 2 : 1, 1);
            if (k)
                memcpy(ops, n->u.cmp.ops, k);
            n->u.cmp.ops = ops;
        }
        n->u.cmp.ops[k] = (uint8_t)op;
        sr_tnode *e     = parse_math1(p);
        sr_tpl_nodes_push(p->c, &n->u.cmp.rest, e);
        sr_tparse_depth(p, n, e);
    }
    return n ? n : a;
}

static sr_tnode *parse_not(sr_tparse *p)
{
    uint32_t line = p->cur.line;
    if (!sr_tparse_skip(p, "not"))
        return parse_compare(p);
    deeper(p);
    sr_tnode *n = node1(p, SR_N_NOT, line, parse_not(p));
    p->depth--;
    return n;
}

static sr_tnode *parse_and(sr_tparse *p)
{
    sr_tnode *a = parse_not(p);
    for (uint32_t line = p->cur.line; sr_tparse_skip(p, "and"); line = p->cur.line)
        a = node2(p, SR_N_AND, line, a, parse_not(p));
    return a;
}

static sr_tnode *parse_or(sr_tparse *p)
{
    sr_tnode *a = parse_and(p);
    for (uint32_t line = p->cur.line; sr_tparse_skip(p, "or"); line = p->cur.line)
        a = node2(p, SR_N_OR, line, a, parse_and(p));
    return a;
}

sr_tnode *sr_tparse_expr(sr_tparse *p)
{
    uint32_t line = p->cur.line;
    deeper(p);
    sr_tnode *a = parse_or(p);
    while (sr_tparse_skip(p, "if")) {
        sr_tnode *test = parse_or(p), *other = NULL;
        if (sr_tparse_skip(p, "else"))
            other = sr_tparse_expr(p);
        a        = node2(p, SR_N_COND, line, test, a);
        a->u.x.c = other;
        sr_tparse_depth(p, a, other);
    }
    p->depth--;
    return a;
}
