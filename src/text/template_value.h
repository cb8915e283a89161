/* template_value.h - the values that templates compute with, and the budget they are made from.
 *
 * A value is 16 bytes, passed by copy; what it points to lives in the arena of the render (or, for
 * constants, of the compiled template; for strings of the variables, in the caller's JSON) and is never
 * changed once made, except namespaces, cyclers, joiners, loops and iterators.  Values behave as Python's:
 * 1 == 1.0 == True, str() of None is "None", undefined prints as nothing.
 *
 * Failing:  a function that cannot go on calls sr_tpl_fail(), which writes the error and jumps out of the
 *           render (setjmp in template.c).  Nothing needs unwinding: all memory is the arena's.
 * Budget:   every evaluated node costs a step, every 256 bytes touched cost one more; the arena has a limit;
 *           each recursion of ours is counted by enter/leave.  So no template can hang, crash or exhaust us.
 * Threads:  one render is one thread's.  Constants are complete when compiled (length, hash), so that
 *           several renders may read one template.
 * Source:   Python 3.11 data model; Jinja2 3.1 runtime.
 */
#ifndef SR_TEXT_TEMPLATE_VALUE_H
#define SR_TEXT_TEMPLATE_VALUE_H
#include <jansson.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/err.h"
#include "text/template.h"

enum { SR_TPL_NEST = 2000 }; /* recursion of the evaluator, in C calls: under 1 MB of stack */

typedef enum {
    SR_T_MISSING, /* no value: an argument not given, a variable not set.  Never seen by a template. */
    SR_T_UNDEF,
    SR_T_NONE,
    SR_T_BOOL,
    SR_T_INT,
    SR_T_FLOAT,
    SR_T_STR,
    SR_T_LIST,
    SR_T_TUPLE,
    SR_T_DICT,
    SR_T_RANGE,
    SR_T_VIEW, /* dict.keys(), values(), items(): `sub` says which */
    SR_T_ITER, /* what Python's generators and iterators are: read once */
    SR_T_NS,
    SR_T_MACRO,
    SR_T_FUNC,
    SR_T_METHOD,
    SR_T_LOOP,
    SR_T_CYCLER,
    SR_T_JOINER
} sr_tkind;
enum { SR_TVIEW_KEYS, SR_TVIEW_VALUES, SR_TVIEW_ITEMS };

typedef struct sr_trun sr_trun;
typedef struct sr_tval sr_tval;
typedef struct sr_tblob sr_tblob;
typedef struct sr_titer sr_titer;
typedef struct sr_tact sr_tact;
typedef struct sr_tnode sr_tnode;
typedef struct sr_tbuiltin sr_tbuiltin;
typedef struct sr_tundef sr_tundef;
typedef struct sr_tloop sr_tloop;
typedef struct sr_tmacro sr_tmacro;
typedef struct sr_tmethod sr_tmethod;
typedef struct sr_tdict sr_tdict;
typedef struct sr_tseq sr_tseq;
typedef struct sr_tcycler sr_tcycler;
typedef struct sr_tjoiner sr_tjoiner;
typedef struct {
    int64_t start, stop, step, n;
} sr_trange;

typedef struct {
    const char *p;
    size_t n;       /* bytes, valid UTF-8 */
    size_t len;     /* code points; SIZE_MAX = not counted yet */
    uint64_t hash;  /* 0 = not computed yet */
    sr_tblob *tail; /* the growing block this string ends in, so that s ~ x need not copy s */
    bool markup;    /* markupsafe's Markup: what |safe and |escape give */
} sr_tstr;

struct sr_tval {
    sr_tkind kind;
    uint32_t sub;
    union {
        bool b;
        int64_t i;
        double f;
        sr_tstr *s;
        sr_tseq *l;
        sr_tdict *d; /* DICT, NS, VIEW */
        sr_trange *r;
        sr_titer *it;
        const sr_tundef *u; /* NULL: nothing to tell */
        sr_tmacro *m;
        const sr_tbuiltin *fn;
        sr_tmethod *me;
        sr_tloop *lp;
        sr_tcycler *cy;
        sr_tjoiner *jo;
    };
};

struct sr_tseq {
    sr_tval *p;
    size_t n, cap;
    bool group; /* a pair made by groupby: .grouper and .list */
};
typedef struct {
    sr_tval key, val;
    uint64_t hash;
} sr_tentry;
struct sr_tdict {
    sr_tentry *e; /* in insertion order */
    size_t n, cap;
    uint32_t *index; /* open addressing over e, 0 = free; NULL while small */
    size_t mask;
};
struct sr_tundef {
    const char *hint; /* the whole message, or NULL */
    sr_tval obj;      /* MISSING: a plain name */
    sr_tval name;
    bool unsafe; /* the sandbox hid an attribute */
};
struct sr_tmethod {
    sr_tval self;
    const sr_tbuiltin *fn;
};
struct sr_tcycler {
    sr_tval items; /* a tuple */
    size_t pos;
};
struct sr_tjoiner {
    sr_tval sep;
    bool used;
};

/* The arguments of one call.  A builtin with named parameters finds them bound in a[], MISSING if not given.
 */
enum { SR_TPL_PARAMS = 6 };
typedef struct {
    sr_tval *pos;
    size_t n;
    const sr_tstr **kw;
    sr_tval *kwv;
    size_t n_kw;
    sr_tval a[SR_TPL_PARAMS];
} sr_tcall;
typedef sr_tval sr_tfn(sr_trun *R, sr_tval self, sr_tcall *c);
struct sr_tbuiltin {
    const char *name;
    sr_tfn *fn;
    const char *params; /* "a,b,c" in order; "/a,b": by position only; NULL: unbound, fn reads pos and kw */
    uint8_t n_min;
    bool mutates;           /* the immutable sandbox hides it */
    const char *class_name; /* a class, printed <class '..'> */
};

/* Text under construction.  Growth leaves the old block to the arena: at most twice the size is used. */
typedef struct {
    sr_trun *R;
    char *p;
    size_t n, cap;
} sr_tbuf;

struct sr_trun {
    const sr_template *tpl;
    const json_t *vars;
    int64_t now;
    sr_arena arena;
    jmp_buf fail;
    sr_err *err;
    uint64_t steps, max_steps;
    uint64_t max_out;
    uint32_t line, nest, calls, max_calls;
    sr_tbuf *out;   /* what a macro or block captures; NULL: output goes to the result */
    sr_buf *result; /* the caller's, which held `kept` bytes before */
    size_t kept;
    sr_tdict *cache; /* variables already converted from JSON */
};

/* budget and failure (template_value.c) */
_Noreturn void sr_tpl_fail(sr_trun *R, sr_status s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void sr_tpl_fail_raised(sr_trun *R, const char *p,
                                  size_t n); /* raise_exception: the message verbatim */
_Noreturn void sr_tpl_fail_limit(sr_trun *R);
void *sr_tpl_alloc(sr_trun *R, size_t bytes);
static inline void sr_tpl_charge(sr_trun *R, uint64_t steps)
{
    if ((R->steps += steps) > R->max_steps)
        sr_tpl_fail_limit(R);
}
static inline void sr_tpl_bytes(sr_trun *R, uint64_t bytes) { sr_tpl_charge(R, bytes >> 8); }
_Noreturn void sr_tpl_fail_nest(sr_trun *R);
static inline void sr_tpl_enter(sr_trun *R)
{
    if (++R->nest > SR_TPL_NEST)
        sr_tpl_fail_nest(R);
}
static inline void sr_tpl_leave(sr_trun *R) { R->nest--; }

/* constructors */
static inline sr_tval sr_tnone(void) { return (sr_tval){.kind = SR_T_NONE}; }
static inline sr_tval sr_tmissing(void) { return (sr_tval){.kind = SR_T_MISSING}; }
static inline sr_tval sr_tbool(bool b) { return (sr_tval){.kind = SR_T_BOOL, .b = b}; }
static inline sr_tval sr_tint(int64_t i) { return (sr_tval){.kind = SR_T_INT, .i = i}; }
static inline sr_tval sr_tfloat(double f) { return (sr_tval){.kind = SR_T_FLOAT, .f = f}; }
sr_tval sr_tpl_undef(sr_trun *R, const char *hint); /* hint: static or arena */
sr_tval sr_tpl_undef_name(sr_trun *R, sr_tval obj, sr_tval name);
_Noreturn void sr_tpl_fail_undef(sr_trun *R, sr_tval v);
sr_tval sr_tpl_str(sr_trun *R, const char *p, size_t n); /* borrows p, which must outlive the render */
sr_tval sr_tpl_strz(sr_trun *R, const char *lit);        /* a literal */
sr_tval sr_tpl_substr(sr_trun *R, const sr_tstr *s, size_t at, size_t n); /* bytes; keeps markup */
sr_tval sr_tpl_markup(sr_trun *R, sr_tval str, bool markup);
sr_tval sr_tpl_seq(sr_trun *R, sr_tkind kind, size_t cap);
void sr_tpl_push(sr_trun *R, sr_tseq *l, sr_tval v);
sr_tval sr_tpl_pair(sr_trun *R, sr_tval a, sr_tval b);
sr_tval sr_tpl_dict(sr_trun *R, size_t cap);
void sr_tpl_dict_set(sr_trun *R, sr_tdict *d, sr_tval key, sr_tval val);
const sr_tval *sr_tpl_dict_get(sr_trun *R, const sr_tdict *d, sr_tval key);
sr_tval sr_tpl_from_json(sr_trun *R, const json_t *j);

/* text under construction */
void sr_tbuf_add(sr_tbuf *b, const char *p, size_t n);
void sr_tbuf_z(sr_tbuf *b, const char *s);
void sr_tbuf_char(sr_tbuf *b, char c);
void sr_tbuf_cp(sr_tbuf *b, uint32_t cp);
void sr_tbuf_pad(sr_tbuf *b, const char *fill, size_t n_fill, uint64_t times);
sr_tval sr_tbuf_str(sr_tbuf *b);
void sr_tpl_out(sr_trun *R, const char *p, size_t n);

/* properties, comparison (template_compare.c) */
static inline bool sr_tis_num(sr_tval v) { return v.kind >= SR_T_BOOL && v.kind <= SR_T_FLOAT; }
static inline bool sr_tis_int(sr_tval v) { return v.kind == SR_T_BOOL || v.kind == SR_T_INT; }
static inline int64_t sr_tas_int(sr_tval v) { return v.kind == SR_T_BOOL ? v.b : v.i; }
static inline double sr_tas_double(sr_tval v) { return v.kind == SR_T_FLOAT ? v.f : (double)sr_tas_int(v); }
const char *sr_tpl_typename(sr_tval v);
size_t sr_tpl_cps(sr_trun *R, sr_tstr *s); /* code points */
static inline bool sr_tis_ascii(sr_trun *R, sr_tstr *s) { return sr_tpl_cps(R, s) == s->n; }
bool sr_tpl_has_len(sr_tval v);
size_t sr_tpl_length(sr_trun *R, sr_tval v); /* Python's len() */
bool sr_tpl_true(sr_trun *R, sr_tval v);
bool sr_tpl_eq(sr_trun *R, sr_tval a, sr_tval b);
bool sr_tpl_streq(const sr_tstr *s, const char *lit);
bool sr_tpl_same(sr_tval a, sr_tval b); /* Python's `is` */
typedef enum { SR_TLT, SR_TLE, SR_TGT, SR_TGE } sr_torder;
bool sr_tpl_order(sr_trun *R, sr_torder op, sr_tval a, sr_tval b);
bool sr_tpl_in(sr_trun *R, sr_tval item, sr_tval seq);
uint64_t sr_tpl_hash(sr_trun *R, sr_tval v);
uint64_t sr_tpl_hash_bytes(const char *p, size_t n);
sr_tval sr_tpl_append(sr_trun *R, const sr_tstr *a, const char *p, size_t n); /* a ~ bytes, plain */
sr_tval sr_tpl_extend(sr_trun *R, const sr_tstr *a, size_t n,
                      char **room);                     /* a ~ n bytes to be written at *room */
int sr_tpl_cmp_str(const sr_tstr *a, const sr_tstr *b); /* code point order */

/* Python's str(), repr(), json.dumps (template_repr.c, template_json.c) */
void sr_tpl_put_str(sr_tbuf *b, sr_tval v);
void sr_tpl_put_repr(sr_tbuf *b, sr_tval v);
void sr_tpl_put_ascii(sr_tbuf *b, sr_tval v); /* repr with non-ASCII escaped */
void sr_tpl_put_float(sr_tbuf *b, double f);
sr_tval sr_tpl_to_str(sr_trun *R, sr_tval v);   /* str(v): plain */
sr_tval sr_tpl_soft_str(sr_trun *R, sr_tval v); /* v itself when it is a string */
sr_tfn sr_tpl_tojson;
#endif
