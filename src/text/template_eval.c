#include "text/template_eval.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

sr_tval *sr_tpl_slot(sr_tact *a, sr_tref r)
{
    for (uint32_t i = 0; i < r.hops; i++)
        a = a->up;
    return &a->slot[r.slot];
}

static sr_tval name(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval v = *sr_tpl_slot(a, n->u.name.ref);
    if (v.kind == SR_T_MISSING)
        return sr_tpl_undef_name(R, v, (sr_tval){.kind = SR_T_STR, .s = n->u.name.id});
    return v;
}

static sr_tval sequence(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval l = sr_tpl_seq(R, n->kind == SR_N_LIST ? SR_T_LIST : SR_T_TUPLE, n->u.list.n);
    for (uint32_t i = 0; i < n->u.list.n; i++)
        sr_tpl_push(R, l.l, sr_tpl_eval(R, a, n->u.list.p[i]));
    return l;
}

static sr_tval dict(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval d = sr_tpl_dict(R, n->u.list.n / 2);
    for (uint32_t i = 0; i < n->u.list.n; i += 2) {
        sr_tval k = sr_tpl_eval(R, a, n->u.list.p[i]);
        sr_tpl_dict_set(R, d.d, k, sr_tpl_eval(R, a, n->u.list.p[i + 1]));
    }
    return d;
}

/* a < b < c is a < b and b < c, with b evaluated once and c only if needed */
static sr_tval compare(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval left = sr_tpl_eval(R, a, n->u.cmp.a);
    for (uint32_t i = 0; i < n->u.cmp.rest.n; i++) {
        sr_tval right = sr_tpl_eval(R, a, n->u.cmp.rest.p[i]);
        bool r        = false;
        R->line       = n->line;
        switch (n->u.cmp.ops[i]) {
        case SR_OP_EQ:
            r = sr_tpl_eq(R, left, right);
            break;
        case SR_OP_NE:
            r = !sr_tpl_eq(R, left, right);
            break;
        case SR_OP_LT:
            r = sr_tpl_order(R, SR_TLT, left, right);
            break;
        case SR_OP_LE:
            r = sr_tpl_order(R, SR_TLE, left, right);
            break;
        case SR_OP_GT:
            r = sr_tpl_order(R, SR_TGT, left, right);
            break;
        case SR_OP_GE:
            r = sr_tpl_order(R, SR_TGE, left, right);
            break;
        case SR_OP_IN:
            r = sr_tpl_in(R, left, right);
            break;
        case SR_OP_NOTIN:
            r = !sr_tpl_in(R, left, right);
            break;
        }
        if (!r)
            return sr_tbool(false);
        left = right;
    }
    return sr_tbool(true);
}

static sr_tval concat(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval few[8], *v = few;
    uint32_t k = n->u.list.n;
    if (k > SR_COUNT(few))
        v = sr_tpl_alloc(R, k * sizeof *v);
    for (uint32_t i = 0; i < k; i++)
        v[i] = sr_tpl_eval(R, a, n->u.list.p[i]);
    return sr_tpl_concat(R, v, k);
}

static sr_tval conditional(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    if (sr_tpl_true(R, sr_tpl_eval(R, a, n->u.x.a)))
        return sr_tpl_eval(R, a, n->u.x.b);
    if (n->u.x.c)
        return sr_tpl_eval(R, a, n->u.x.c);
    return sr_tpl_undef(R, "the inline if-expression evaluated to false and no else section was defined");
}

static sr_tval subscript(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval obj       = sr_tpl_eval(R, a, n->u.x.a);
    const sr_tnode *k = n->u.x.b;
    if (k->kind != SR_N_SLICE)
        return sr_tpl_getitem(R, obj, sr_tpl_eval(R, a, k));
    sr_tval start = k->u.x.a ? sr_tpl_eval(R, a, k->u.x.a) : sr_tnone();
    sr_tval stop  = k->u.x.b ? sr_tpl_eval(R, a, k->u.x.b) : sr_tnone();
    sr_tval step  = k->u.x.c ? sr_tpl_eval(R, a, k->u.x.c) : sr_tnone();
    return sr_tpl_slice(R, obj, start, stop, step);
}

/* ---- calls ---- */

static void add_keyword(sr_trun *R, sr_tcall *c, const sr_tstr *kw, sr_tval v)
{
    for (size_t i = 0; i < c->n_kw; i++)
        if (c->kw[i]->n == kw->n && !memcmp(c->kw[i]->p, kw->p, kw->n))
            sr_tpl_fail(R, SR_INVALID, "got multiple values for keyword argument '%.*s'",
                        (int)SR_MIN(kw->n, 80u), kw->p);
    sr_tpl_charge(R, c->n_kw);
    c->kw[c->n_kw]    = kw;
    c->kwv[c->n_kw++] = v;
}

/* Room for the arguments is made once: what is written in the call, *args, **kwargs and a call block's
 * caller. */
void sr_tpl_eval_args(sr_trun *R, sr_tact *a, const sr_targs *args, sr_tcall *c, const sr_tval *caller)
{
    sr_tval more = {0}, kws = {0};
    size_t n = args->pos.n, n_kw = args->kwv.n + (caller != NULL);
    *c = (sr_tcall){0};
    if (n)
        c->pos = sr_tpl_alloc(R, n * sizeof *c->pos);
    for (; c->n < n; c->n++)
        c->pos[c->n] = sr_tpl_eval(R, a, args->pos.p[c->n]);
    sr_tval *kwv = n_kw ? sr_tpl_alloc(R, n_kw * sizeof *kwv) : NULL;
    if (args->dyn_pos) { /* Python evaluates *args before the keywords, which stand before it here: no one can
                            tell */
        more         = sr_tpl_list(R, sr_tpl_eval(R, a, args->dyn_pos));
        sr_tval *pos = sr_tpl_alloc(R, (n + more.l->n) * sizeof *pos);
        if (n)
            memcpy(pos, c->pos, n * sizeof *pos);
        if (more.l->n)
            memcpy(pos + n, more.l->p, more.l->n * sizeof *pos);
        c->pos = pos;
        c->n   = n + more.l->n;
    }
    for (uint32_t i = 0; i < args->kwv.n; i++)
        kwv[i] = sr_tpl_eval(R, a, args->kwv.p[i]);
    if (args->dyn_kw) {
        kws = sr_tpl_eval(R, a, args->dyn_kw);
        if (kws.kind != SR_T_DICT)
            sr_tpl_fail(R, SR_INVALID, "argument after ** must be a mapping, not %s", sr_tpl_typename(kws));
        n_kw += kws.d->n;
    }
    if (n_kw) {
        c->kw  = sr_tpl_alloc(R, n_kw * sizeof *c->kw);
        c->kwv = sr_tpl_alloc(R, n_kw * sizeof *c->kwv);
    }
    for (uint32_t i = 0; i < args->kwv.n; i++)
        add_keyword(R, c, args->kw[i], kwv[i]);
    if (caller)
        add_keyword(R, c, R->tpl->caller, *caller);
    for (size_t i = 0; kws.d && i < kws.d->n; i++) {
        if (kws.d->e[i].key.kind != SR_T_STR)
            sr_tpl_fail(R, SR_INVALID, "keywords must be strings");
        add_keyword(R, c, kws.d->e[i].key.s, kws.d->e[i].val);
    }
}

/* Python's binding of arguments to "a,b,c" (or "/a,b": no keywords). */
static void bind(sr_trun *R, const sr_tbuiltin *f, sr_tcall *c)
{
    const char *p = f->params;
    bool by_name  = *p != '/';
    size_t used = 0, k = 0;
    p += !by_name;
    for (; *p && k < SR_TPL_PARAMS; k++) {
        size_t n = strcspn(p, ",");
        c->a[k]  = k < c->n ? c->pos[k] : sr_tmissing();
        for (size_t i = 0; by_name && i < c->n_kw; i++)
            if (c->kw[i]->n == n && !memcmp(c->kw[i]->p, p, n)) {
                if (k < c->n)
                    sr_tpl_fail(R, SR_INVALID, "%s() got multiple values for argument '%.*s'", f->name,
                                (int)n, p);
                c->a[k] = c->kwv[i];
                used++;
            }
        if (c->a[k].kind == SR_T_MISSING && k < f->n_min)
            sr_tpl_fail(R, SR_INVALID, "%s() missing required argument '%.*s'", f->name, (int)n, p);
        p += n + (p[n] == ',');
    }
    if (c->n > k)
        sr_tpl_fail(R, SR_INVALID, "%s() takes at most %zu arguments, %zu given", f->name, k, c->n);
    if (used < c->n_kw)
        sr_tpl_fail(R, SR_INVALID, "%s() got an unexpected keyword argument", f->name);
}

sr_tval sr_tpl_call_builtin(sr_trun *R, const sr_tbuiltin *f, sr_tval self, sr_tcall *c)
{
    if (f->params)
        bind(R, f, c);
    return f->fn(R, self, c);
}

sr_tval sr_tpl_call(sr_trun *R, sr_tval f, sr_tcall *c)
{
    switch (f.kind) {
    case SR_T_MACRO:
        return sr_tpl_call_macro(R, f.m, c);
    case SR_T_FUNC:
        return sr_tpl_call_builtin(R, f.fn, sr_tmissing(), c);
    case SR_T_METHOD:
        return sr_tpl_call_builtin(R, f.me->fn, f.me->self, c);
    case SR_T_LOOP:
        return sr_tpl_call_loop(R, f.lp, c);
    case SR_T_JOINER:
        if (c->n || c->n_kw)
            sr_tpl_fail(R, SR_INVALID, "a joiner takes no arguments");
        if (f.jo->used)
            return f.jo->sep;
        f.jo->used = true;
        return sr_tpl_strz(R, "");
    case SR_T_UNDEF:
        sr_tpl_fail_undef(R, f);
    default:
        sr_tpl_fail(R, SR_INVALID, "'%s' object is not callable", sr_tpl_typename(f));
    }
}

sr_tval sr_tpl_apply_filter(sr_trun *R, sr_tact *a, const sr_tnode *n, sr_tval v)
{
    sr_tcall c;
    if (!n->u.call.fn)
        sr_tpl_fail(R, SR_INVALID, "no %s named '%.*s' found", n->kind == SR_N_FILTER ? "filter" : "test",
                    (int)SR_MIN(n->u.call.name->n, 80u), n->u.call.name->p);
    sr_tpl_eval_args(R, a, n->u.call.args, &c, NULL);
    R->line = n->line;
    return sr_tpl_call_builtin(R, n->u.call.fn, v, &c);
}

static sr_tval filter(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    return sr_tpl_apply_filter(R, a, n, sr_tpl_eval(R, a, n->u.call.a));
}

static sr_tval call(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tcall c;
    sr_tval f = sr_tpl_eval(R, a, n->u.call.a);
    sr_tpl_eval_args(R, a, n->u.call.args, &c, NULL);
    R->line = n->line;
    return sr_tpl_call(R, f, &c);
}

static sr_tval expression(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval v;
    switch (n->kind) {
    case SR_N_TUPLE:
    case SR_N_LIST:
        return sequence(R, a, n);
    case SR_N_DICT:
        return dict(R, a, n);
    case SR_N_NEG:
    case SR_N_POS:
        return sr_tpl_negate(R, sr_tpl_eval(R, a, n->u.x.a), n->kind == SR_N_NEG);
    case SR_N_NOT:
        return sr_tbool(!sr_tpl_true(R, sr_tpl_eval(R, a, n->u.x.a)));
    case SR_N_AND:
        v = sr_tpl_eval(R, a, n->u.x.a);
        return sr_tpl_true(R, v) ? sr_tpl_eval(R, a, n->u.x.b) : v;
    case SR_N_OR:
        v = sr_tpl_eval(R, a, n->u.x.a);
        return sr_tpl_true(R, v) ? v : sr_tpl_eval(R, a, n->u.x.b);
    case SR_N_BIN: {
        v         = sr_tpl_eval(R, a, n->u.x.a);
        sr_tval w = sr_tpl_eval(R, a, n->u.x.b);
        R->line   = n->line;
        if (n->op == 'p') {
            bool minus = sr_tis_num(v) && signbit(sr_tas_double(v));
            v          = sr_tpl_binary(R, 'P', minus ? sr_tpl_negate(R, v, true) : v, w);
            return minus ? sr_tpl_negate(R, v, true) : v;
        }
        return sr_tpl_binary(R, (char)n->op, v, w);
    }
    case SR_N_COMPARE:
        return compare(R, a, n);
    case SR_N_CONCAT:
        return concat(R, a, n);
    case SR_N_COND:
        return conditional(R, a, n);
    case SR_N_GETATTR:
        v = sr_tpl_eval(R, a, n->u.attr.a);
        return sr_tpl_getattr(R, v, (sr_tval){.kind = SR_T_STR, .s = n->u.attr.attr});
    case SR_N_GETITEM:
        return subscript(R, a, n);
    case SR_N_CALL:
        return call(R, a, n);
    case SR_N_FILTER:
    case SR_N_TEST:
        return filter(R, a, n);
    default:
        sr_tpl_fail(R, SR_UNSUPPORTED, "a slice outside of [ ]");
    }
}

sr_tval sr_tpl_eval(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tpl_charge(R, 1);
    if (n->kind == SR_N_CONST)
        return n->u.konst;
    R->line = n->line;
    if (n->kind == SR_N_NAME)
        return name(R, a, n);
    sr_tpl_enter(R);
    sr_tval v = expression(R, a, n);
    sr_tpl_leave(R);
    return v;
}
