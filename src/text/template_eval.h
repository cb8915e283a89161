/* template_eval.h - running a compiled template: activations, calls, operators, attribute access.
 *
 * Owns:    nothing (the render's arena).   Threads: the render's.
 * Errors:  sr_tpl_fail; a break or continue travels back as an sr_tflow.
 */
#ifndef SR_TEXT_TEMPLATE_EVAL_H
#define SR_TEXT_TEMPLATE_EVAL_H
#include "text/template_ast.h"
#include "text/template_iter.h"

/* One call of one of Jinja2's Python functions: its locals, and the call it is nested in. */
struct sr_tact {
    sr_tact *up;
    sr_tval slot[];
};
struct sr_tmacro {
    const sr_tmacrodef *def;
    sr_tact *up;
};
struct sr_tloop {
    sr_tval iterable;
    sr_titer *it;
    int64_t index0, length;                  /* length -1: not asked for yet */
    sr_tval before, current, after, changed; /* MISSING when not known */
    int64_t depth0;
    const sr_tnode *recurse; /* a recursive loop: its FOR node */
    sr_tact *up;             /* where that loop is defined */
};
typedef enum { SR_FLOW_ON, SR_FLOW_BREAK, SR_FLOW_CONTINUE } sr_tflow;

/* statements (template_exec.c) */
void sr_tpl_run(sr_trun *R); /* the whole template */
sr_tval sr_tpl_call_macro(sr_trun *R, const sr_tmacro *m, sr_tcall *c);
sr_tval sr_tpl_call_loop(sr_trun *R, sr_tloop *l, sr_tcall *c);
bool sr_tloop_attr(sr_trun *R, sr_tloop *l, const sr_tstr *name, sr_tval *out);

/* expressions (template_eval.c) */
sr_tval sr_tpl_eval(sr_trun *R, sr_tact *a, const sr_tnode *n);
sr_tval sr_tpl_apply_filter(sr_trun *R, sr_tact *a, const sr_tnode *n, sr_tval v); /* FILTER node on v */
void sr_tpl_eval_args(sr_trun *R, sr_tact *a, const sr_targs *args, sr_tcall *c, const sr_tval *caller);
sr_tval sr_tpl_call(sr_trun *R, sr_tval f, sr_tcall *c);
sr_tval sr_tpl_call_builtin(sr_trun *R, const sr_tbuiltin *f, sr_tval self, sr_tcall *c);
sr_tval *sr_tpl_slot(sr_tact *a, sr_tref r);

/* operators (template_ops.c) */
sr_tval sr_tpl_binary(sr_trun *R, char op, sr_tval a, sr_tval b); /* op as in SR_N_BIN nodes */
sr_tval sr_tpl_negate(sr_trun *R, sr_tval v, bool minus);
sr_tval sr_tpl_slice(sr_trun *R, sr_tval v, sr_tval start, sr_tval stop, sr_tval step);
sr_tval sr_tpl_concat(sr_trun *R, sr_tval *v, size_t n); /* makes v strings */
sr_tval sr_tpl_repeat(sr_trun *R, sr_tval v, int64_t times);

/* attributes and items, with the sandbox's rules (template_attr.c) */
sr_tval sr_tpl_getattr(sr_trun *R, sr_tval obj, sr_tval name);   /* obj.name */
sr_tval sr_tpl_getitem(sr_trun *R, sr_tval obj, sr_tval key);    /* obj[key] */
sr_tval sr_tpl_attr_only(sr_trun *R, sr_tval obj, sr_tval name); /* |attr */
sr_tval sr_tpl_index(sr_trun *R, sr_tval seq, int64_t i);        /* MISSING when out of range */

/* names known everywhere (template_globals.c); NULL: no such */
const sr_tbuiltin *sr_tpl_global(const sr_tstr *name);
const sr_tbuiltin *sr_tpl_method(sr_tkind kind, const sr_tstr *name); /* template_methods.c */
const sr_tbuiltin *sr_tpl_markup_method(const sr_tstr *name);
bool sr_tpl_all_case(sr_trun *R, const sr_tstr *s, bool upper); /* str.isupper(), islower() */
/* The integer an argument must be (bool and int), as Python's index protocol. */
int64_t sr_tpl_need_int(sr_trun *R, sr_tval v);
sr_tstr *sr_tpl_need_str(sr_trun *R, sr_tval v, const char *what);
_Noreturn void sr_tpl_fail_overflow(sr_trun *R);
#endif
