/* Statements: output, assignment, loops, macros. */
#include "text/template_eval.h"
#include "base/mem.h"

#include <string.h>

static sr_tflow exec_list(sr_trun *R, sr_tact *a, sr_tnodes l);

static sr_tact *activation(sr_trun *R, sr_tact *up, uint32_t n_slots)
{
    sr_tact *a = sr_tpl_alloc(R, sizeof *a + n_slots * sizeof *a->slot);
    a->up      = up;
    memset(a->slot, 0, n_slots * sizeof *a->slot); /* all MISSING */
    return a;
}

/* A name of the context: the caller's variables, then Jinja2's globals. */
static sr_tval resolve(sr_trun *R, sr_tstr *name)
{
    sr_tval key         = {.kind = SR_T_STR, .s = name};
    const sr_tval *seen = sr_tpl_dict_get(R, R->cache, key);
    if (seen)
        return *seen;
    sr_tval v            = sr_tmissing();
    const json_t *j      = json_object_getn(R->vars, name->p, name->n);
    const sr_tbuiltin *g = j ? NULL : sr_tpl_global(name);
    if (j)
        v = sr_tpl_from_json(R, j);
    else if (g)
        v = (sr_tval){.kind = SR_T_FUNC, .fn = g};
    sr_tpl_dict_set(R, R->cache, key, v);
    return v;
}

static void enter(sr_trun *R, sr_tact *a, const sr_tframe *f)
{
    for (uint32_t i = 0; i < f->n; i++) {
        const sr_tload *l = &f->p[i];
        switch (l->kind) {
        case SR_LOAD_PARAM:
            break;
        case SR_LOAD_RESOLVE:
            a->slot[l->slot] = resolve(R, l->name);
            break;
        case SR_LOAD_ALIAS:
            a->slot[l->slot] = *sr_tpl_slot(a, l->src);
            break;
        case SR_LOAD_MISSING:
            a->slot[l->slot] = sr_tmissing();
            break;
        }
    }
    sr_tpl_charge(R, f->n);
}

static void leave(sr_tact *a, const sr_tframe *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        a->slot[f->p[i].slot] = sr_tmissing();
}

/* ---- captured output ---- */

static sr_tbuf *capture(sr_trun *R, sr_tbuf *b)
{
    sr_tbuf *was = R->out;
    *b           = (sr_tbuf){.R = R};
    R->out       = b;
    return was;
}

static sr_tval captured(sr_trun *R, sr_tbuf *b, sr_tbuf *was)
{
    R->out = was;
    return sr_tbuf_str(b);
}

static void output_value(sr_trun *R, sr_tval v)
{
    if (v.kind == SR_T_STR) {
        sr_tpl_out(R, v.s->p, v.s->n);
        return;
    }
    sr_tbuf b = {.R = R};
    sr_tpl_put_str(&b, v);
    sr_tpl_out(R, b.p, b.n);
}

/* ---- assignment ---- */

static void assign(sr_trun *R, sr_tact *a, const sr_tnode *t, sr_tval v);

static void unpack(sr_trun *R, sr_tact *a, const sr_tnode *t, sr_tval v)
{
    uint32_t n = t->u.list.n;
    sr_tval few[4], *got = few, extra;
    if (!sr_tpl_iterable(v))
        sr_tpl_fail(R, SR_INVALID, "cannot unpack non-iterable %s object", sr_tpl_typename(v));
    if (n > SR_COUNT(few))
        got = sr_tpl_alloc(R, n * sizeof *got);
    sr_titer *it = sr_tpl_iter(R, v);
    for (uint32_t i = 0; i < n; i++)
        if (!sr_tpl_next(R, it, &got[i]))
            sr_tpl_fail(R, SR_INVALID, "not enough values to unpack (expected %u, got %u)", n, i);
    if (sr_tpl_next(R, it, &extra))
        sr_tpl_fail(R, SR_INVALID, "too many values to unpack (expected %u)", n);
    for (uint32_t i = 0; i < n; i++)
        assign(R, a, t->u.list.p[i], got[i]);
}

static void assign(sr_trun *R, sr_tact *a, const sr_tnode *t, sr_tval v)
{
    if (t->kind == SR_N_NAME) {
        *sr_tpl_slot(a, t->u.name.ref) = v;
    } else if (t->kind == SR_N_TUPLE) {
        unpack(R, a, t, v);
    } else {
        sr_tval ns = *sr_tpl_slot(a, t->u.ns.ref);
        sr_tpl_dict_set(R, ns.d, (sr_tval){.kind = SR_T_STR, .s = t->u.ns.attr}, v);
    }
}

/* Jinja2 looks whether the target is a namespace before it evaluates the value. */
static void check_target(sr_trun *R, sr_tact *a, const sr_tnode *t)
{
    if (t->kind == SR_N_TUPLE)
        for (uint32_t i = 0; i < t->u.list.n; i++)
            check_target(R, a, t->u.list.p[i]);
    else if (t->kind == SR_N_NSREF && sr_tpl_slot(a, t->u.ns.ref)->kind != SR_T_NS)
        sr_tpl_fail(R, SR_INVALID, "cannot assign attribute on non-namespace object");
}

/* ---- loops ---- */

typedef struct {
    const sr_tfor *f;
    sr_tact *up;
    sr_tact *a; /* the filter function's own locals, once started */
} filtered;

static sr_tval target_value(sr_trun *R, sr_tact *a, const sr_tnode *t)
{
    if (t->kind == SR_N_NAME)
        return *sr_tpl_slot(a, t->u.name.ref);
    sr_tval l = sr_tpl_seq(R, SR_T_TUPLE, t->u.list.n);
    for (uint32_t i = 0; i < t->u.list.n; i++)
        sr_tpl_push(R, l.l, target_value(R, a, t->u.list.p[i]));
    return l;
}

/* for .. in .. if test: a generator, asked one item at a time */
static bool next_filtered(sr_trun *R, sr_titer *it, sr_tval *out)
{
    filtered *s      = it->state;
    const sr_tfor *f = s->f;
    if (!it->started) {
        it->started = true;
        s->a        = activation(R, s->up, f->test_n_slots);
        enter(R, s->a, &f->test_frame);
        it->inner = sr_tpl_iter(R, it->src);
    }
    while (sr_tpl_next(R, it->inner, out)) {
        assign(R, s->a, f->test_target, *out);
        if (sr_tpl_true(R, sr_tpl_eval(R, s->a, f->test))) {
            *out = target_value(R, s->a, f->test_target);
            return true;
        }
    }
    return false;
}

static bool loop_next(sr_trun *R, sr_tloop *l, sr_tval *out)
{
    if (l->after.kind != SR_T_MISSING) {
        *out     = l->after;
        l->after = sr_tmissing();
    } else if (!sr_tpl_next(R, l->it, out)) {
        return false;
    }
    l->index0++;
    l->before  = l->current;
    l->current = *out;
    return true;
}

/* Runs the loop's body over items in `a`.  Returns what its else part did (a break there is the outer
 * loop's). */
static sr_tflow run_loop(sr_trun *R, sr_tact *a, const sr_tnode *n, sr_tval items, int64_t depth0)
{
    const sr_tfor *f = n->u.loop;
    bool none        = true;
    sr_tval item;
    sr_tloop *l  = NULL;
    sr_tact *def = f->recursive ? a->up : a; /* where the loop statement stands */
    if (f->test) {
        filtered *s = sr_tpl_alloc(R, sizeof *s);
        *s          = (filtered){f, def, NULL};
        items       = sr_tpl_lazy(R, items, next_filtered, s);
    }
    sr_titer *it = sr_tpl_iter(R, items);
    if (f->extended) {
        l  = sr_tpl_alloc(R, sizeof *l);
        *l = (sr_tloop){.iterable = items,
                        .it       = it,
                        .index0   = -1,
                        .length   = -1,
                        .depth0   = depth0,
                        .recurse  = f->recursive ? n : NULL,
                        .up       = def};
    }
    while (l ? loop_next(R, l, &item) : sr_tpl_next(R, it, &item)) {
        assign(R, a, f->target, item);
        if (l)
            *sr_tpl_slot(a, f->loop) = (sr_tval){.kind = SR_T_LOOP, .lp = l};
        enter(R, a, &f->body_frame);
        sr_tflow flow = exec_list(R, a, f->body);
        if (flow == SR_FLOW_ON)
            none =
                false; /* as in Jinja2, at the end of the body: a loop of breaks and continues has its else */
        if (flow == SR_FLOW_BREAK)
            break;
    }
    leave(a, &f->body_frame);
    if (!none || !f->else_.n)
        return SR_FLOW_ON;
    enter(R, a, &f->else_frame);
    sr_tflow flow = exec_list(R, a, f->else_);
    leave(a, &f->else_frame);
    return flow;
}

static void one_more_call(sr_trun *R)
{
    if (++R->calls > R->max_calls)
        sr_tpl_fail(R, SR_INVALID, "calls nested deeper than %u", R->max_calls);
}

/* A recursive loop is a function of its own, which gives its output as a string. */
static sr_tval loop_function(sr_trun *R, const sr_tnode *n, sr_tact *up, sr_tval items, int64_t depth0)
{
    sr_tbuf b, *was = capture(R, &b);
    sr_tpl_enter(R);
    one_more_call(R);
    run_loop(R, activation(R, up, n->u.loop->n_slots), n, items, depth0);
    R->calls--;
    sr_tpl_leave(R);
    return captured(R, &b, was);
}

sr_tval sr_tpl_call_loop(sr_trun *R, sr_tloop *l, sr_tcall *c)
{
    if (c->n != 1 || c->n_kw)
        sr_tpl_fail(R, SR_INVALID, "loop() takes exactly one argument, the items");
    if (!l->recurse)
        sr_tpl_fail(R, SR_INVALID, "the loop must have the 'recursive' marker to be called recursively");
    return loop_function(R, l->recurse, l->up, c->pos[0], l->depth0 + 1);
}

int64_t sr_tloop_length(sr_trun *R, sr_tloop *l)
{
    if (l->length < 0 && sr_tpl_has_len(l->iterable)) {
        l->length = (int64_t)sr_tpl_length(R, l->iterable);
    } else if (l->length < 0) { /* an iterator: read it to its end */
        sr_tval rest = sr_tpl_list(R, (sr_tval){.kind = SR_T_ITER, .it = l->it});
        l->it        = sr_tpl_iter(R, rest);
        l->length    = (int64_t)rest.l->n + l->index0 + 1 + (l->after.kind != SR_T_MISSING);
    }
    return l->length;
}

static bool peek(sr_trun *R, sr_tloop *l)
{
    if (l->after.kind == SR_T_MISSING && !sr_tpl_next(R, l->it, &l->after))
        l->after = sr_tmissing();
    return l->after.kind != SR_T_MISSING;
}

bool sr_tloop_attr(sr_trun *R, sr_tloop *l, const sr_tstr *name, sr_tval *out)
{
    static const char *const names[] = {"index",  "index0", "revindex", "revindex0", "first",   "last",
                                        "length", "depth",  "depth0",   "previtem",  "nextitem"};
    size_t i                         = 0;
    while (i < SR_COUNT(names) && !sr_tpl_streq(name, names[i]))
        i++;
    switch (i) {
    case 0:
        *out = sr_tint(l->index0 + 1);
        break;
    case 1:
        *out = sr_tint(l->index0);
        break;
    case 2:
        *out = sr_tint(sr_tloop_length(R, l) - l->index0);
        break;
    case 3:
        *out = sr_tint(sr_tloop_length(R, l) - l->index0 - 1);
        break;
    case 4:
        *out = sr_tbool(l->index0 == 0);
        break;
    case 5:
        *out = sr_tbool(!peek(R, l));
        break;
    case 6:
        *out = sr_tint(sr_tloop_length(R, l));
        break;
    case 7:
        *out = sr_tint(l->depth0 + 1);
        break;
    case 8:
        *out = sr_tint(l->depth0);
        break;
    case 9:
        *out = l->index0 == 0 ? sr_tpl_undef(R, "there is no previous item") : l->before;
        break;
    case 10:
        *out = peek(R, l) ? l->after : sr_tpl_undef(R, "there is no next item");
        break;
    default:
        return false;
    }
    return true;
}

static sr_tflow exec_for(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval items = sr_tpl_eval(R, a, n->u.loop->iter);
    if (!n->u.loop->recursive)
        return run_loop(R, a, n, items, 0);
    output_value(R, loop_function(R, n, a, items, 0));
    return SR_FLOW_ON;
}

/* ---- macros ---- */

static sr_tval take_keyword(sr_tcall *c, const sr_tstr *name)
{
    for (size_t i = 0; i < c->n_kw; i++)
        if (c->kw[i] && c->kw[i]->n == name->n && !memcmp(c->kw[i]->p, name->p, name->n)) {
            c->kw[i] = NULL;
            return c->kwv[i];
        }
    return sr_tmissing();
}

/* Macro.__call__ of Jinja2: positions, then keywords, then caller, **kwargs and *varargs where the body asks.
 */
static void bind_macro(sr_trun *R, const sr_tmacrodef *d, sr_tact *a, sr_tcall *c)
{
    const char *name  = d->name ? d->name->p : "caller";
    int width         = d->name ? (int)SR_MIN(d->name->n, 80u) : 6;
    bool caller_given = d->explicit_caller;
    sr_tpl_charge(R, d->args.n * (1 + c->n_kw));
    for (uint32_t i = 0; i < d->args.n; i++) {
        const sr_tnode *arg           = d->args.p[i];
        a->slot[arg->u.name.ref.slot] = i < c->n ? c->pos[i] : take_keyword(c, arg->u.name.id);
    }
    if (d->takes_caller && !caller_given) {
        sr_tval v = take_keyword(c, R->tpl->caller);
        if (v.kind == SR_T_MISSING || v.kind == SR_T_NONE)
            v = sr_tpl_undef(R, "No caller defined");
        a->slot[d->caller_slot] = v;
    }
    sr_tval rest = sr_tpl_dict(R, 0);
    for (size_t i = 0; i < c->n_kw; i++)
        if (c->kw[i] && d->takes_kwargs)
            sr_tpl_dict_set(R, rest.d, sr_tpl_str(R, c->kw[i]->p, c->kw[i]->n), c->kwv[i]);
        else if (c->kw[i])
            sr_tpl_fail(R, SR_INVALID, "macro '%.*s' takes no keyword argument '%.*s'", width, name,
                        (int)SR_MIN(c->kw[i]->n, 80u), c->kw[i]->p);
    if (d->takes_kwargs)
        a->slot[d->kwargs_slot] = rest;
    if (!d->takes_varargs && c->n > d->args.n)
        sr_tpl_fail(R, SR_INVALID, "macro '%.*s' takes not more than %u argument(s)", width, name, d->args.n);
    if (d->takes_varargs) {
        sr_tval t = sr_tpl_seq(R, SR_T_TUPLE, c->n > d->args.n ? c->n - d->args.n : 0);
        for (size_t i = d->args.n; i < c->n; i++)
            sr_tpl_push(R, t.l, c->pos[i]);
        a->slot[d->varargs_slot] = t;
    }
}

static void default_arguments(sr_trun *R, const sr_tmacrodef *d, sr_tact *a)
{
    for (uint32_t i = 0; i < d->args.n; i++) {
        sr_tval *v = &a->slot[d->args.p[i]->u.name.ref.slot];
        if (v->kind != SR_T_MISSING)
            continue;
        uint32_t without = d->args.n - d->defaults.n;
        if (i >= without)
            *v = sr_tpl_eval(R, a, d->defaults.p[i - without]);
        else
            *v = sr_tpl_undef(R, "a macro's parameter was not provided");
    }
}

sr_tval sr_tpl_call_macro(sr_trun *R, const sr_tmacro *m, sr_tcall *c)
{
    const sr_tmacrodef *d = m->def;
    sr_tact *a            = activation(R, m->up, d->n_slots);
    sr_tbuf b, *was;
    sr_tpl_enter(R);
    one_more_call(R);
    bind_macro(R, d, a, c);
    was = capture(R, &b);
    enter(R, a, &d->frame);
    default_arguments(R, d, a);
    exec_list(R, a, d->body);
    R->calls--;
    sr_tpl_leave(R);
    return captured(R, &b, was);
}

static sr_tval new_macro(sr_trun *R, sr_tact *a, const sr_tmacrodef *d)
{
    sr_tmacro *m = sr_tpl_alloc(R, sizeof *m);
    *m           = (sr_tmacro){d, a};
    return (sr_tval){.kind = SR_T_MACRO, .m = m};
}

static void exec_call_block(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    sr_tval caller       = new_macro(R, a, n->u.macro), v;
    const sr_tnode *call = n->u.macro->call;
    sr_tcall c           = {0};
    if (call) {
        sr_tval f = sr_tpl_eval(R, a, call->u.call.a);
        sr_tpl_eval_args(R, a, call->u.call.args, &c, &caller);
        R->line = n->line;
        v       = sr_tpl_call(R, f, &c);
    } else { /* {% generation %} */
        v = sr_tpl_call_macro(R, caller.m, &c);
    }
    output_value(R, v);
}

/* ---- the rest ---- */

static sr_tflow exec_if(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    for (uint32_t i = 0; i < n->u.cond.n; i++)
        if (sr_tpl_true(R, sr_tpl_eval(R, a, n->u.cond.branch[i].test)))
            return exec_list(R, a, n->u.cond.branch[i].body);
    return exec_list(R, a, n->u.cond.else_);
}

static sr_tval apply_filters(sr_trun *R, sr_tact *a, const sr_tnode *chain, sr_tval v)
{
    if (chain->u.call.a)
        v = apply_filters(R, a, chain->u.call.a, v);
    return sr_tpl_apply_filter(R, a, chain, v);
}

/* {% set x %}..{% endset %}, {% filter f %}..{% endfilter %}, a plain scope */
static sr_tflow exec_block(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    bool captures = n->kind != SR_N_SCOPE;
    sr_tbuf b, *was = captures ? capture(R, &b) : NULL;
    sr_tflow flow;
    enter(R, a, &n->u.set.frame);
    flow = exec_list(R, a, n->u.set.body);
    if (captures) {
        sr_tval v = captured(R, &b, was);
        if (flow != SR_FLOW_ON) /* a break drops what was captured */
            return flow;
        if (n->kind == SR_N_SETBLOCK)
            check_target(R, a, n->u.set.target);
        if (n->u.set.value)
            v = apply_filters(R, a, n->u.set.value, v);
        if (n->kind == SR_N_SETBLOCK)
            assign(R, a, n->u.set.target, v);
        else
            output_value(R, v);
    }
    if (flow == SR_FLOW_ON)
        leave(a, &n->u.set.frame);
    return flow;
}

static sr_tflow exec_with(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    enter(R, a, &n->u.with.frame);
    for (uint32_t i = 0; i < n->u.with.targets.n; i++)
        assign(R, a, n->u.with.targets.p[i], sr_tpl_eval(R, a, n->u.with.values.p[i]));
    sr_tflow flow = exec_list(R, a, n->u.with.body);
    if (flow == SR_FLOW_ON)
        leave(a, &n->u.with.frame);
    return flow;
}

static sr_tflow exec(sr_trun *R, sr_tact *a, const sr_tnode *n)
{
    R->line = n->line;
    switch (n->kind) {
    case SR_N_OUTPUT:
        for (uint32_t i = 0; i < n->u.list.n; i++) {
            const sr_tnode *e = n->u.list.p[i];
            if (e->kind == SR_N_DATA)
                sr_tpl_out(R, e->u.konst.s->p, e->u.konst.s->n);
            else
                output_value(R, sr_tpl_eval(R, a, e));
        }
        return SR_FLOW_ON;
    case SR_N_SET:
        check_target(R, a, n->u.set.target);
        assign(R, a, n->u.set.target, sr_tpl_eval(R, a, n->u.set.value));
        return SR_FLOW_ON;
    case SR_N_IF:
        return exec_if(R, a, n);
    case SR_N_FOR:
        return exec_for(R, a, n);
    case SR_N_MACRO:
        *sr_tpl_slot(a, n->u.macro->ref) = new_macro(R, a, n->u.macro);
        return SR_FLOW_ON;
    case SR_N_CALLBLOCK:
        exec_call_block(R, a, n);
        return SR_FLOW_ON;
    case SR_N_SETBLOCK:
    case SR_N_FILTERBLOCK:
    case SR_N_SCOPE:
        return exec_block(R, a, n);
    case SR_N_WITH:
        return exec_with(R, a, n);
    case SR_N_BREAK:
        return SR_FLOW_BREAK;
    default:
        return SR_FLOW_CONTINUE;
    }
}

static sr_tflow exec_list(sr_trun *R, sr_tact *a, sr_tnodes l)
{
    sr_tflow flow = SR_FLOW_ON;
    sr_tpl_enter(R);
    for (uint32_t i = 0; flow == SR_FLOW_ON && i < l.n; i++) {
        sr_tpl_charge(R, 1);
        flow = exec(R, a, l.p[i]);
    }
    sr_tpl_leave(R);
    return flow;
}

void sr_tpl_run(sr_trun *R)
{
    sr_tact *a = activation(R, NULL, R->tpl->n_slots);
    enter(R, a, &R->tpl->frame);
    exec_list(R, a, R->tpl->body);
}
