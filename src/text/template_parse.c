/* Tokens to statements.  Expressions are in template_expr.c.  The grammar is Jinja2's parser.py, method for
 * function; what Jinja2 refuses is refused, what it accepts but needs other templates for (include, import,
 * extends, block) is SR_UNSUPPORTED. */
#include "text/template_parse.h"

#include <string.h>

void sr_tpl_nodes_push(sr_tcomp *c, sr_tnodes *l, sr_tnode *n)
{
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? l->cap * 2 : 4;
        sr_tnode **p = sr_tpl_calloc(c, cap, sizeof *p);
        if (l->n)
            memcpy(p, l->p, l->n * sizeof *p);
        l->p   = p;
        l->cap = cap;
    }
    l->p[l->n++] = n;
}

sr_tnode *sr_tparse_node(sr_tparse *p, sr_tnode_kind kind, uint32_t line)
{
    sr_tnode *n = sr_tpl_calloc(p->c, 1, sizeof *n);
    n->kind     = (uint8_t)kind;
    n->line     = line;
    n->depth    = 1;
    return n;
}

void sr_tparse_depth(sr_tparse *p, sr_tnode *n, const sr_tnode *child)
{
    if (child && child->depth >= n->depth) {
        if (child->depth >= SR_TPL_DEPTH)
            sr_tpl_cfail(p->c, SR_INVALID, n->line, "expression nested deeper than %d", SR_TPL_DEPTH);
        n->depth = (uint16_t)(child->depth + 1);
    }
}

void sr_tparse_next(sr_tparse *p)
{
    if (p->has_ahead) {
        p->cur       = p->ahead;
        p->has_ahead = false;
    } else if (p->cur.kind != SR_TK_EOF) {
        p->cur = sr_tpl_lex(&p->lex);
    }
}

const sr_ttok *sr_tparse_look(sr_tparse *p)
{
    if (!p->has_ahead) {
        p->ahead     = p->cur.kind == SR_TK_EOF ? p->cur : sr_tpl_lex(&p->lex);
        p->has_ahead = true;
    }
    return &p->ahead;
}

bool sr_tparse_is_op(const sr_tparse *p, int op) { return p->cur.kind == SR_TK_OP && p->cur.op == op; }

bool sr_tparse_is(const sr_tparse *p, const char *name)
{
    return p->cur.kind == SR_TK_NAME && sr_tpl_streq(p->cur.s, name);
}

bool sr_tparse_skip_op(sr_tparse *p, int op)
{
    bool is = sr_tparse_is_op(p, op);
    if (is)
        sr_tparse_next(p);
    return is;
}

bool sr_tparse_skip(sr_tparse *p, const char *name)
{
    bool is = sr_tparse_is(p, name);
    if (is)
        sr_tparse_next(p);
    return is;
}

static const char *describe(const sr_ttok *t, char *buf, size_t cap)
{
    static const char *const names[] = {"end of template",
                                        "template data",
                                        "begin of print statement",
                                        "end of print statement",
                                        "begin of statement",
                                        "end of statement block",
                                        "name",
                                        "string",
                                        "integer",
                                        "float"};
    if (t->kind == SR_TK_NAME)
        return sr_escape(buf, cap, t->s->p, t->s->n);
    if (t->kind != SR_TK_OP)
        return names[t->kind];
    size_t n = 0;
    if (t->op >> 8)
        buf[n++] = (char)(t->op >> 8);
    buf[n++] = (char)t->op;
    buf[n]   = 0;
    return buf;
}

void sr_tparse_fail_got(sr_tparse *p, const char *want)
{
    char buf[64];
    if (p->cur.kind == SR_TK_EOF)
        sr_tpl_cfail(p->c, SR_INVALID, p->cur.line, "unexpected end of template, expected %s", want);
    sr_tpl_cfail(p->c, SR_INVALID, p->cur.line, "expected %s, got '%s'", want,
                 describe(&p->cur, buf, sizeof buf));
}

void sr_tparse_expect_op(sr_tparse *p, int op)
{
    char buf[8];
    sr_ttok t = {.kind = SR_TK_OP, .op = op};
    if (!sr_tparse_skip_op(p, op))
        sr_tparse_fail_got(p, describe(&t, buf, sizeof buf));
}

sr_tstr *sr_tparse_expect_name(sr_tparse *p)
{
    sr_tstr *s = p->cur.s;
    if (p->cur.kind != SR_TK_NAME)
        sr_tparse_fail_got(p, "a name");
    sr_tparse_next(p);
    return s;
}

static void expect(sr_tparse *p, sr_ttok_kind kind, const char *what)
{
    if (p->cur.kind != kind)
        sr_tparse_fail_got(p, what);
    sr_tparse_next(p);
}

static void expect_word(sr_tparse *p, const char *word)
{
    if (!sr_tparse_skip(p, word))
        sr_tparse_fail_got(p, word);
}

/* ---- bodies ---- */

static void statement(sr_tparse *p, sr_tnodes *body);

/* Parses until one of the "|"-separated end tags is the current token; NULL: until the end of the source. */
static sr_tnodes subparse(sr_tparse *p, const char *ends)
{
    sr_tnodes body   = {0};
    sr_tnode *output = NULL;
    uint32_t line    = p->cur.line;
    if (++p->depth > SR_TPL_DEPTH)
        sr_tpl_cfail(p->c, SR_INVALID, line, "statements nested deeper than %d", SR_TPL_DEPTH);
    while (p->cur.kind != SR_TK_EOF) {
        if (p->cur.kind == SR_TK_BLOCK_BEGIN) {
            output = NULL;
            sr_tparse_next(p);
            if (ends && sr_tparse_is_one_of(p, ends)) {
                p->depth--;
                return body;
            }
            statement(p, &body);
            expect(p, SR_TK_BLOCK_END, "end of statement block");
            continue;
        }
        if (!output)
            sr_tpl_nodes_push(p->c, &body, output = sr_tparse_node(p, SR_N_OUTPUT, p->cur.line));
        if (p->cur.kind == SR_TK_DATA) {
            sr_tnode *n = sr_tparse_node(p, SR_N_DATA, p->cur.line);
            n->u.konst  = (sr_tval){.kind = SR_T_STR, .s = p->cur.s};
            sr_tpl_nodes_push(p->c, &output->u.list, n);
            sr_tparse_next(p);
        } else {
            sr_tparse_next(p); /* "{{" */
            sr_tpl_nodes_push(p->c, &output->u.list, sr_tparse_tuple(p, SR_TUPLE_EXPR));
            expect(p, SR_TK_VAR_END, "end of print statement");
        }
    }
    if (ends)
        sr_tpl_cfail(p->c, SR_INVALID, p->cur.line,
                     "unexpected end of template, expected %s (open since line %u)", ends, line);
    p->depth--;
    return body;
}

static sr_tnodes statements(sr_tparse *p, const char *ends)
{
    sr_tparse_skip_op(p, ':');
    expect(p, SR_TK_BLOCK_END, "end of statement block");
    return subparse(p, ends);
}

static sr_tnodes statements_drop(sr_tparse *p, const char *end)
{
    sr_tnodes body = statements(p, end);
    sr_tparse_next(p);
    return body;
}

/* ---- statements ---- */

static sr_tnode *parse_for(sr_tparse *p, uint32_t line)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_FOR, line);
    sr_tfor *f = n->u.loop = sr_tpl_calloc(p->c, 1, sizeof *f);
    f->target              = sr_tparse_target(p, SR_TUPLE_PLAIN);
    expect_word(p, "in");
    f->iter = sr_tparse_tuple(p, SR_TUPLE_NO_COND);
    if (sr_tparse_skip(p, "if"))
        f->test = sr_tparse_expr(p);
    f->recursive = sr_tparse_skip(p, "recursive");
    f->body      = statements(p, "endfor|else");
    bool ended   = sr_tparse_is(p, "endfor");
    sr_tparse_next(p);
    if (!ended)
        f->else_ = statements_drop(p, "endfor");
    return n;
}

static sr_tnode *parse_if(sr_tparse *p, uint32_t line)
{
    sr_tnode *n  = sr_tparse_node(p, SR_N_IF, line);
    uint32_t cap = 0;
    for (;;) {
        sr_tbranch b = {.test = sr_tparse_tuple(p, SR_TUPLE_NO_COND)};
        b.body       = statements(p, "elif|else|endif");
        if (n->u.cond.n == cap) {
            sr_tbranch *q = sr_tpl_calloc(p->c, cap = cap ? cap * 2 : 2, sizeof *q);
            if (n->u.cond.n)
                memcpy(q, n->u.cond.branch, n->u.cond.n * sizeof *q);
            n->u.cond.branch = q;
        }
        n->u.cond.branch[n->u.cond.n++] = b;
        bool elif = sr_tparse_is(p, "elif"), other = sr_tparse_is(p, "else");
        sr_tparse_next(p);
        if (other)
            n->u.cond.else_ = statements_drop(p, "endif");
        if (!elif)
            return n;
    }
}

static sr_tnode *parse_set(sr_tparse *p, uint32_t line)
{
    sr_tnode *target = sr_tparse_target(p, SR_TUPLE_NS);
    sr_tnode *n      = sr_tparse_node(p, sr_tparse_is_op(p, '=') ? SR_N_SET : SR_N_SETBLOCK, line);
    n->u.set.target  = target;
    if (sr_tparse_skip_op(p, '=')) {
        n->u.set.value = sr_tparse_tuple(p, SR_TUPLE_EXPR);
    } else {
        n->u.set.value = sr_tparse_filters(p, NULL, false);
        n->u.set.body  = statements_drop(p, "endset");
    }
    return n;
}

static sr_tnode *parse_with(sr_tparse *p, uint32_t line)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_WITH, line);
    while (p->cur.kind != SR_TK_BLOCK_END) {
        if (n->u.with.targets.n)
            sr_tparse_expect_op(p, ',');
        sr_tnode *t = sr_tparse_target(p, SR_TUPLE_PLAIN);
        sr_tparse_ctx(p, t, SR_CTX_PARAM);
        sr_tpl_nodes_push(p->c, &n->u.with.targets, t);
        sr_tparse_expect_op(p, '=');
        sr_tpl_nodes_push(p->c, &n->u.with.values, sr_tparse_expr(p));
    }
    n->u.with.body = statements_drop(p, "endwith");
    return n;
}

static void signature(sr_tparse *p, sr_tmacrodef *m)
{
    sr_tparse_expect_op(p, '(');
    while (!sr_tparse_is_op(p, ')')) {
        if (m->args.n)
            sr_tparse_expect_op(p, ',');
        sr_tnode *a   = sr_tparse_node(p, SR_N_NAME, p->cur.line);
        a->u.name.id  = sr_tparse_expect_name(p);
        a->u.name.ctx = SR_CTX_PARAM;
        if (sr_tparse_is_constant(a->u.name.id))
            sr_tpl_cfail(p->c, SR_INVALID, a->line, "can't assign to '%s'", a->u.name.id->p);
        for (uint32_t i = 0; i < m->args.n; i++)
            if (m->args.p[i]->u.name.id == a->u.name.id)
                sr_tpl_cfail(p->c, SR_INVALID, a->line, "duplicate argument in a signature");
        if (m->args.n >= 255)
            sr_tpl_cfail(p->c, SR_INVALID, a->line, "more than 255 arguments in a signature");
        if (sr_tparse_skip_op(p, '='))
            sr_tpl_nodes_push(p->c, &m->defaults, sr_tparse_expr(p));
        else if (m->defaults.n)
            sr_tpl_cfail(p->c, SR_INVALID, a->line, "non-default argument follows default argument");
        sr_tpl_nodes_push(p->c, &m->args, a);
    }
    sr_tparse_next(p);
}

static sr_tnode *parse_macro(sr_tparse *p, uint32_t line)
{
    sr_tnode *n     = sr_tparse_node(p, SR_N_MACRO, line);
    sr_tmacrodef *m = n->u.macro = sr_tpl_calloc(p->c, 1, sizeof *m);
    m->name                      = sr_tparse_expect_name(p);
    if (sr_tparse_is_constant(m->name))
        sr_tpl_cfail(p->c, SR_INVALID, line, "can't assign to a constant");
    signature(p, m);
    m->body = statements_drop(p, "endmacro");
    return n;
}

static sr_tnode *parse_call(sr_tparse *p, uint32_t line)
{
    sr_tnode *n     = sr_tparse_node(p, SR_N_CALLBLOCK, line);
    sr_tmacrodef *m = n->u.macro = sr_tpl_calloc(p->c, 1, sizeof *m);
    if (sr_tparse_is_op(p, '('))
        signature(p, m);
    m->call = sr_tparse_expr(p);
    if (m->call->kind != SR_N_CALL)
        sr_tpl_cfail(p->c, SR_INVALID, line, "expected call");
    m->body = statements_drop(p, "endcall");
    return n;
}

/* {% generation %} marks what the assistant said (for training masks).  In Jinja2 it is a call block around
 * a function that returns caller(): a scope of its own, no other effect. */
static sr_tnode *parse_generation(sr_tparse *p, uint32_t line)
{
    sr_tnode *n      = sr_tparse_node(p, SR_N_CALLBLOCK, line);
    n->u.macro       = sr_tpl_calloc(p->c, 1, sizeof *n->u.macro);
    n->u.macro->body = statements_drop(p, "endgeneration");
    return n;
}

static sr_tnode *parse_filter_block(sr_tparse *p, uint32_t line)
{
    sr_tnode *n    = sr_tparse_node(p, SR_N_FILTERBLOCK, line);
    n->u.set.value = sr_tparse_filters(p, NULL, true);
    n->u.set.body  = statements_drop(p, "endfilter");
    return n;
}

static sr_tnode *parse_autoescape(sr_tparse *p, uint32_t line)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_SCOPE, line), *on = sr_tparse_expr(p);
    if (on->kind != SR_N_CONST || on->u.konst.kind != SR_T_BOOL || on->u.konst.b)
        sr_tpl_cfail(p->c, SR_UNSUPPORTED, line,
                     "autoescape is not supported, only {%% autoescape false %%}");
    n->u.set.body = statements_drop(p, "endautoescape");
    return n;
}

static sr_tnode *parse_print(sr_tparse *p, uint32_t line)
{
    sr_tnode *n = sr_tparse_node(p, SR_N_OUTPUT, line);
    while (p->cur.kind != SR_TK_BLOCK_END) {
        if (n->u.list.n)
            sr_tparse_expect_op(p, ',');
        sr_tpl_nodes_push(p->c, &n->u.list, sr_tparse_expr(p));
    }
    return n;
}

static sr_tnode *parse_break(sr_tparse *p, uint32_t line) { return sr_tparse_node(p, SR_N_BREAK, line); }
static sr_tnode *parse_continue(sr_tparse *p, uint32_t line)
{
    return sr_tparse_node(p, SR_N_CONTINUE, line);
}

static void statement(sr_tparse *p, sr_tnodes *body)
{
    static const struct {
        const char *tag;
        sr_tnode *(*parse)(sr_tparse *, uint32_t);
    } tags[] = {
        {"if", parse_if},
        {"set", parse_set},
        {"for", parse_for},
        {"macro", parse_macro},
        {"call", parse_call},
        {"filter", parse_filter_block},
        {"with", parse_with},
        {"print", parse_print},
        {"generation", parse_generation},
        {"break", parse_break},
        {"continue", parse_continue},
        {"autoescape", parse_autoescape},
        {"block", NULL},
        {"extends", NULL},
        {"include", NULL},
        {"import", NULL},
        {"from", NULL},
    };
    uint32_t line = p->cur.line;
    char buf[64];
    if (p->cur.kind != SR_TK_NAME)
        sr_tpl_cfail(p->c, SR_INVALID, line, "tag name expected");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (!sr_tparse_is(p, tags[i].tag))
            continue;
        if (!tags[i].parse)
            sr_tpl_cfail(p->c, SR_UNSUPPORTED, line,
                         "{%% %s %%} is not supported: a chat template has no other templates", tags[i].tag);
        sr_tparse_next(p);
        sr_tpl_nodes_push(p->c, body, tags[i].parse(p, line));
        return;
    }
    sr_tpl_cfail(p->c, SR_INVALID, line, "encountered unknown tag '%s'", describe(&p->cur, buf, sizeof buf));
}

sr_tnodes sr_tpl_parse(sr_tcomp *c, const char *src, size_t n)
{
    sr_tparse p = {.c = c};
    sr_tpl_lex_open(&p.lex, c, src, n);
    p.cur = sr_tpl_lex(&p.lex);
    return subparse(&p, NULL);
}
