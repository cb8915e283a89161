/* template_ast.h - a parsed template: nodes, scopes resolved to slots, and the state of a compilation.
 *
 *     source --lex--> tokens --parse--> nodes --scope--> nodes whose names are (hops, slot)
 *
 * Jinja2 turns a template into Python functions: one for the root, one per macro, call block, recursive
 * loop and loop filter; a template variable becomes a local `l_<level>_<name>` of one of them.  We keep
 * exactly that shape: an sr_tact (template_eval.h) is one call of such a function, a slot is one such local,
 * a reference is "so many functions out, that slot".  What Jinja2 writes at the head of a scope ("l_1_x =
 * l_0_x", "= resolve('x')", "= missing") is our sr_tframe.  That is what makes its scoping rules come out
 * the same, odd ones included.
 *
 * Owns:    nothing: nodes live in the arena of the sr_template, read-only once compiled.
 * Errors:  compilation jumps out through sr_tcomp.fail; the message names the line.
 * Source:  Jinja2 3.1 lexer.py, parser.py, idtracking.py, compiler.py (behaviour).
 */
#ifndef SR_TEXT_TEMPLATE_AST_H
#define SR_TEXT_TEMPLATE_AST_H
#include "text/template_value.h"

enum {
    SR_TPL_SOURCE = 1 << 20, /* bytes of source */
    SR_TPL_DEPTH = 200, /* nesting of brackets, statements and operators; Python's compiler stops there too */
    SR_TPL_WORK  = 50000000, /* name look-ups and node visits while resolving scopes: 0.2 s */
    SR_TPL_MEMORY = 64 << 20 /* bytes of nodes */
};

/* ---- compilation state ---- */
typedef struct {
    sr_arena *arena;
    sr_err *err;
    jmp_buf fail;
    uint64_t work;
    sr_tstr **atoms; /* every name and string, once: names compare by pointer */
    size_t n_atoms, cap_atoms;
} sr_tcomp;
_Noreturn void sr_tpl_cfail(sr_tcomp *c, sr_status s, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void *sr_tpl_calloc(sr_tcomp *c, size_t n, size_t size);
sr_tstr *sr_tpl_atom(sr_tcomp *c, const char *p, size_t n); /* keeps p: static, or of the arena */
static inline void sr_tpl_work(sr_tcomp *c, uint64_t n, uint32_t line)
{
    if ((c->work += n) > SR_TPL_WORK)
        sr_tpl_cfail(c, SR_INVALID, line, "template too complex: more than %d look-ups to resolve its names",
                     SR_TPL_WORK);
}

/* ---- tokens ---- */
typedef enum {
    SR_TK_EOF,
    SR_TK_DATA,
    SR_TK_VAR_BEGIN,
    SR_TK_VAR_END,
    SR_TK_BLOCK_BEGIN,
    SR_TK_BLOCK_END,
    SR_TK_NAME,
    SR_TK_STRING,
    SR_TK_INT,
    SR_TK_FLOAT,
    SR_TK_OP /* `op` holds the characters: '+', '=' , or a pair as below */
} sr_ttok_kind;
#define SR_TK2(a, b) ((a) << 8 | (b)) /* "**" "//" "==" "!=" "<=" ">=" */
typedef struct {
    sr_ttok_kind kind;
    int op;
    uint32_t line;
    sr_tstr *s; /* DATA, NAME, STRING */
    int64_t i;
    double f;
} sr_ttok;
typedef struct {
    sr_tcomp *c;
    const char *src; /* newlines are \n, one trailing newline is gone */
    size_t n, pos;
    uint32_t line;
    enum { SR_TLEX_ROOT, SR_TLEX_BLOCK, SR_TLEX_VAR } state;
    bool line_starting;         /* the last match ended a line */
    char balance[SR_TPL_DEPTH]; /* closing brackets awaited */
    size_t n_balance;
    sr_ttok held; /* a begin token that follows the data already given */
    bool has_held;
} sr_tlex;
void sr_tpl_lex_open(sr_tlex *x, sr_tcomp *c, const char *src, size_t n);
sr_ttok sr_tpl_lex(sr_tlex *x);

/* ---- nodes ---- */
typedef enum {
    /* expressions */
    SR_N_CONST,
    SR_N_NAME,
    SR_N_TUPLE,
    SR_N_LIST,
    SR_N_DICT,
    SR_N_NEG,
    SR_N_POS,
    SR_N_NOT,
    SR_N_AND,
    SR_N_OR,
    SR_N_BIN,
    SR_N_COMPARE,
    SR_N_CONCAT,
    SR_N_COND,
    SR_N_GETATTR,
    SR_N_GETITEM,
    SR_N_SLICE,
    SR_N_CALL,
    SR_N_FILTER,
    SR_N_TEST,
    SR_N_NSREF,
    /* statements */
    SR_N_OUTPUT,
    SR_N_DATA,
    SR_N_FOR,
    SR_N_IF,
    SR_N_MACRO,
    SR_N_CALLBLOCK,
    SR_N_FILTERBLOCK,
    SR_N_SET,
    SR_N_SETBLOCK,
    SR_N_WITH,
    SR_N_SCOPE,
    SR_N_BREAK,
    SR_N_CONTINUE
} sr_tnode_kind;
enum { SR_CTX_LOAD, SR_CTX_STORE, SR_CTX_PARAM };
/* BIN: op is '+' '-' '*' '/' '%', 'F' for //, 'P' for **, 'p' for ** behind a folded constant
 * (template_expr.c) */
enum { SR_OP_EQ, SR_OP_NE, SR_OP_LT, SR_OP_LE, SR_OP_GT, SR_OP_GE, SR_OP_IN, SR_OP_NOTIN }; /* COMPARE */

typedef struct {
    sr_tnode **p;
    uint32_t n, cap;
} sr_tnodes;
typedef struct {
    uint32_t hops, slot;
} sr_tref;
typedef struct {
    sr_tnodes pos;
    const sr_tstr **kw;
    sr_tnodes kwv;
    sr_tnode *dyn_pos, *dyn_kw; /* *args, **kwargs */
} sr_targs;

typedef enum { SR_LOAD_PARAM, SR_LOAD_RESOLVE, SR_LOAD_ALIAS, SR_LOAD_MISSING } sr_tload_kind;
typedef struct {
    sr_tload_kind kind;
    uint32_t slot;
    sr_tref src;   /* ALIAS */
    sr_tstr *name; /* RESOLVE */
} sr_tload;
typedef struct {
    sr_tload *p;
    uint32_t n;
} sr_tframe;

typedef struct {
    sr_tnode *target, *iter, *test;
    sr_tnodes body, else_;
    bool recursive, extended; /* extended: the body says `loop` */
    sr_tframe body_frame, else_frame, test_frame;
    sr_tnode *test_target; /* the target once more, as a local of the filter function */
    sr_tref loop;
    uint32_t n_slots;      /* recursive: locals of the loop function */
    uint32_t test_n_slots; /* locals of the filter function */
} sr_tfor;

typedef struct {        /* a macro, or the body of a call block */
    sr_tstr *name;      /* NULL: call block */
    sr_tnodes args;     /* NAME nodes */
    sr_tnodes defaults; /* of the last args */
    sr_tnodes body;
    sr_tframe frame;
    sr_tref ref; /* where the macro is stored */
    uint32_t n_slots;
    bool takes_caller, takes_kwargs, takes_varargs, explicit_caller;
    uint32_t caller_slot, kwargs_slot, varargs_slot;
    sr_tnode *call; /* call block: the call; NULL for {% generation %} */
} sr_tmacrodef;

typedef struct {
    sr_tnode *test;
    sr_tnodes body;
} sr_tbranch;

struct sr_tnode {
    uint8_t kind, op;
    uint16_t depth; /* of the tree below, bounded by SR_TPL_DEPTH */
    uint32_t line;
    union {
        sr_tval konst; /* CONST; DATA */
        struct {
            sr_tstr *id;
            uint8_t ctx;
            sr_tref ref;
        } name; /* NAME */
        struct {
            sr_tstr *id, *attr;
            sr_tref ref;
        } ns;           /* NSREF */
        sr_tnodes list; /* TUPLE LIST CONCAT OUTPUT; DICT: key, value, key .. */
        struct {
            sr_tnode *a, *b, *c;
        } x; /* NEG POS NOT: a; AND OR BIN: a b; COND: test a else; GETITEM: a b; SLICE: start stop step */
        struct {
            sr_tnode *a;
            sr_tstr *attr;
        } attr; /* GETATTR */
        struct {
            sr_tnode *a;
            uint8_t *ops;
            sr_tnodes rest;
        } cmp; /* COMPARE */
        struct {
            sr_tnode *a; /* the callee; the filtered value, NULL in a filter block */
            sr_tstr *name;
            const sr_tbuiltin *fn; /* filter or test, NULL: no such, an error when reached */
            sr_targs *args;
        } call; /* CALL FILTER TEST */
        sr_tfor *loop;
        sr_tmacrodef *macro; /* MACRO CALLBLOCK */
        struct {
            sr_tbranch *branch;
            uint32_t n;
            sr_tnodes else_;
        } cond; /* IF */
        struct {
            sr_tnode *target, *value; /* SET: value; SETBLOCK: value is the filter chain or NULL */
            sr_tnodes body;
            sr_tframe frame;
        } set; /* SET SETBLOCK; FILTERBLOCK (value, body, frame); SCOPE (body, frame) */
        struct {
            sr_tnodes targets, values, body;
            sr_tframe frame;
        } with;
    } u;
};

struct sr_template {
    sr_arena arena;
    sr_tnodes body;
    sr_tframe frame;
    uint32_t n_slots;
    sr_tstr *caller; /* "caller", what a call block passes its body as */
};

void sr_tpl_nodes_push(sr_tcomp *c, sr_tnodes *l, sr_tnode *n);
/* Calls fn for each child in Jinja2's field order, until it returns false. */
typedef bool sr_tvisit(void *arg, sr_tnode *n);
bool sr_tpl_children(const sr_tnode *n, sr_tvisit *fn, void *arg);

sr_tnodes sr_tpl_parse(sr_tcomp *c, const char *src, size_t n);
void sr_tpl_scope(sr_tcomp *c, sr_template *t); /* t->body is parsed; gives slots and frames */

const sr_tbuiltin *sr_tpl_filter(const char *name, size_t n); /* NULL: no such */
const sr_tbuiltin *sr_tpl_test(const char *name, size_t n);
#endif
