/* Names to slots.  For every scope Jinja2 decides, before it runs anything, where each name comes from:
 *
 *     parameter   a macro argument, a loop target, a `with` name
 *     alias       also set in an outer scope: starts as a copy of that variable, changes stay here
 *     missing     set here, never seen outside: undefined until set
 *     resolve     only read: looked up in the context when the scope is entered
 *
 * A set inside one branch of an `if` must not hide the context's variable when the branch is not taken; hence
 * the merge of branches below.  The order of things (analyse the scope's own statements, stop at inner
 * scopes, then generate code and enter the inner ones) is idtracking.py's and compiler.py's, because it can
 * be seen from templates: {{ x }} before {% set x %} reads the context, after it does not.
 *
 * An `sr_ns` is Jinja2's Symbols.  The copy it makes for each branch is here an overlay: empty, reading
 * through to the scope it covers. */
#include "text/template_ast.h"

#include <string.h>

typedef struct scope scope;

typedef struct fn { /* one Python function of Jinja2: owns slots */
    struct fn *up;
    uint32_t n_slots, cap;
    struct {
        uint32_t level;
        sr_tstr *name;
    } * slots;
} fn;

typedef struct {
    sr_tstr *name;
    sr_tload_kind load;
    scope *src; /* ALIAS: the scope that owns the source */
    bool stored;
} symbol;

struct scope {
    scope *parent; /* the enclosing scope */
    scope *base;   /* overlay: what it covers */
    fn *f;
    uint32_t level, n, cap;
    symbol *sym;
    bool soft; /* generating code inside an `if`: unknown filters are an error only when reached */
};

typedef struct {
    sr_tcomp *c;
    sr_tstr *loop, *caller, *kwargs, *varargs, *self;
} names;

/* ---- symbols of one scope ---- */

static symbol *own(sr_tcomp *c, scope *s, const sr_tstr *name)
{
    sr_tpl_work(c, s->n + 1, 0);
    for (uint32_t i = 0; i < s->n; i++)
        if (s->sym[i].name == name)
            return &s->sym[i];
    return NULL;
}

static symbol *find(sr_tcomp *c, scope *s, const sr_tstr *name) /* in s itself, overlays included */
{
    for (; s; s = s->base) {
        symbol *y = own(c, s, name);
        if (y)
            return y;
    }
    return NULL;
}

static scope *find_ref(sr_tcomp *c, scope *s, const sr_tstr *name) /* the scope that owns the name, or NULL */
{
    for (; s; s = s->parent)
        if (find(c, s, name))
            return s;
    return NULL;
}

static symbol *define(sr_tcomp *c, scope *s, sr_tstr *name, sr_tload_kind load, scope *src, bool stored)
{
    symbol *y = own(c, s, name);
    if (!y) {
        if (s->n == s->cap) {
            uint32_t cap = s->cap ? s->cap * 2 : 8;
            symbol *p    = sr_tpl_calloc(c, cap, sizeof *p);
            if (s->n)
                memcpy(p, s->sym, s->n * sizeof *p);
            s->sym = p;
            s->cap = cap;
        }
        y  = &s->sym[s->n++];
        *y = (symbol){.name = name};
    }
    y->load = load;
    y->src  = src;
    y->stored |= stored;
    return y;
}

static void store(sr_tcomp *c, scope *s, sr_tstr *name)
{
    symbol *y = find(c, s, name);
    if (y) { /* seen: keeps its load; the mark goes to the overlay being built */
        define(c, s, name, y->load, y->src, true);
        return;
    }
    scope *outer = find_ref(c, s->parent, name);
    define(c, s, name, outer ? SR_LOAD_ALIAS : SR_LOAD_MISSING, outer, true);
}

static void load(sr_tcomp *c, scope *s, sr_tstr *name)
{
    if (!find_ref(c, s, name))
        define(c, s, name, SR_LOAD_RESOLVE, NULL, false);
}

static bool is_stored(sr_tcomp *c, scope *s, const sr_tstr *name)
{
    for (; s; s = s->base) {
        symbol *y = own(c, s, name);
        if (y && y->stored)
            return true;
    }
    return false;
}

/* Joins the three branches of an `if` (body, elifs, else) into s: a name set in all keeps what the last of
 * them says; one set in some starts as what it is without them. */
static void merge(sr_tcomp *c, scope *s, scope *branch)
{
    scope found = {.parent = s->parent, .base = s, .level = s->level, .f = s->f};
    for (int b = 0; b < 3; b++)
        for (uint32_t i = 0; i < branch[b].n; i++) {
            symbol *y = &branch[b].sym[i];
            define(c, &found, y->name, y->load, y->src, false);
        }
    for (uint32_t i = 0; i < found.n; i++) {
        symbol *y  = &found.sym[i];
        int count  = 0;
        bool known = is_stored(c, s, y->name);
        for (int b = 0; b < 3; b++) {
            symbol *z = own(c, &branch[b], y->name);
            count += z && z->stored;
        }
        if (count && !known && count < 3) {
            scope *outer = find_ref(c, s->parent, y->name);
            y->load      = outer ? SR_LOAD_ALIAS : SR_LOAD_RESOLVE;
            y->src       = outer;
        }
        define(c, s, y->name, y->load, y->src, count > 0);
    }
}

/* ---- what a scope's own statements read and set (Jinja2's FrameSymbolVisitor) ---- */

typedef struct {
    names *k;
    scope *s;
} analysis;

static bool analyse(void *arg, sr_tnode *n);

static void analyse_list(analysis *a, sr_tnodes l)
{
    for (uint32_t i = 0; i < l.n; i++)
        analyse(a, l.p[i]);
}

static void analyse_if(analysis *a, sr_tnode *n, uint32_t first)
{
    sr_tbranch *br = &n->u.cond.branch[first];
    scope over[3];
    analyse(a, br->test);
    for (int b = 0; b < 3; b++) {
        over[b]    = (scope){.parent = a->s->parent, .base = a->s, .f = a->s->f, .level = a->s->level};
        analysis x = {a->k, &over[b]};
        if (b == 0)
            analyse_list(&x, br->body);
        else if (b == 1 && first == 0) /* each elif is an `if` of its own, one after the other */
            for (uint32_t i = 1; i < n->u.cond.n; i++)
                analyse_if(&x, n, i);
        else if (b == 2 && first == 0)
            analyse_list(&x, n->u.cond.else_);
    }
    merge(a->k->c, a->s, over);
}

static void analyse_target(analysis *a, sr_tnode *t, bool as_param)
{
    sr_tcomp *c = a->k->c;
    if (t->kind == SR_N_TUPLE)
        for (uint32_t i = 0; i < t->u.list.n; i++)
            analyse_target(a, t->u.list.p[i], as_param);
    else if (t->kind == SR_N_NSREF)
        load(c, a->s, t->u.ns.id);
    else if (as_param || t->u.name.ctx == SR_CTX_PARAM)
        define(c, a->s, t->u.name.id, SR_LOAD_PARAM, NULL, true);
    else
        store(c, a->s, t->u.name.id);
}

static bool analyse(void *arg, sr_tnode *n)
{
    analysis *a = arg;
    sr_tpl_work(a->k->c, 1, n->line);
    switch (n->kind) {
    case SR_N_NAME:
        if (n->u.name.ctx == SR_CTX_LOAD)
            load(a->k->c, a->s, n->u.name.id);
        else
            analyse_target(a, n, false);
        return true;
    case SR_N_NSREF:
        load(a->k->c, a->s, n->u.ns.id);
        return true;
    case SR_N_IF:
        analyse_if(a, n, 0);
        return true;
    case SR_N_MACRO:
        store(a->k->c, a->s, n->u.macro->name);
        return true;
    case SR_N_SET:
        analyse(a, n->u.set.value);
        analyse_target(a, n->u.set.target, false);
        return true;
    case SR_N_SETBLOCK:
        analyse_target(a, n->u.set.target, false);
        return true;
    case SR_N_FOR:
        analyse(a, n->u.loop->iter);
        return true;
    case SR_N_CALLBLOCK:
        if (n->u.macro->call)
            analyse(a, n->u.macro->call);
        return true;
    case SR_N_FILTERBLOCK:
        analyse(a, n->u.set.value);
        return true;
    case SR_N_WITH:
        analyse_list(a, n->u.with.values);
        return true;
    case SR_N_SCOPE:
        return true;
    default:
        return sr_tpl_children(n, analyse, a);
    }
}

/* ---- questions about whole subtrees ---- */

typedef struct {
    names *k;
    sr_tstr **want; /* NULL once declared: later uses are not ours */
    bool *found;
    int n;
} undeclared;

/* Is the name read before anything declares it?  Unlike analyse(), this looks into inner scopes. */
static bool visit_undeclared(void *arg, sr_tnode *n)
{
    undeclared *u = arg;
    sr_tpl_work(u->k->c, 1, n->line);
    if (n->kind == SR_N_NAME)
        for (int i = 0; i < u->n; i++)
            if (u->want[i] && n->u.name.id == u->want[i]) {
                if (n->u.name.ctx == SR_CTX_LOAD)
                    u->found[i] = true;
                else
                    u->want[i] = NULL;
            }
    return sr_tpl_children(n, visit_undeclared, u);
}

static void find_undeclared(names *k, sr_tnodes body, sr_tstr **want, bool *found, int n)
{
    undeclared u = {k, want, found, n};
    for (uint32_t i = 0; i < body.n; i++)
        visit_undeclared(&u, body.p[i]);
}

static bool refuse_loop_store(void *arg, sr_tnode *n)
{
    names *k = arg;
    sr_tpl_work(k->c, 1, n->line);
    if (n->kind == SR_N_NAME && n->u.name.ctx == SR_CTX_STORE && n->u.name.id == k->loop)
        sr_tpl_cfail(k->c, SR_INVALID, n->line, "can't assign to special loop variable in for-loop target");
    return sr_tpl_children(n, refuse_loop_store, k);
}

/* ---- slots and frames ---- */

static uint32_t slot(sr_tcomp *c, fn *f, uint32_t level, sr_tstr *name)
{
    sr_tpl_work(c, f->n_slots + 1, 0);
    for (uint32_t i = 0; i < f->n_slots; i++)
        if (f->slots[i].name == name && f->slots[i].level == level)
            return i;
    if (f->n_slots == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 16;
        void *p      = sr_tpl_calloc(c, cap, sizeof *f->slots);
        if (f->n_slots)
            memcpy(p, f->slots, f->n_slots * sizeof *f->slots);
        f->slots = p;
        f->cap   = cap;
    }
    f->slots[f->n_slots].level = level;
    f->slots[f->n_slots].name  = name;
    return f->n_slots++;
}

static sr_tref reference(sr_tcomp *c, scope *s, scope *owner, sr_tstr *name)
{
    sr_tref r = {.hops = 0};
    for (fn *f = s->f; f != owner->f; f = f->up)
        r.hops++;
    r.slot = slot(c, owner->f, owner->level, name);
    return r;
}

static sr_tref ref(sr_tcomp *c, scope *s, sr_tstr *name, uint32_t line)
{
    scope *owner = find_ref(c, s, name);
    if (!owner) /* Jinja2 trips over the same: names in the filters of a {% set x|f(name) %} block */
        sr_tpl_cfail(c, SR_INVALID, line, "name '%.*s' is unknown to the scope",
                     (int)(name->n < 80 ? name->n : 80), name->p);
    return reference(c, s, owner, name);
}

static scope inner(scope *outer, fn *f)
{
    return (scope){.parent = outer, .f = f, .level = outer ? outer->level + 1 : 0};
}

static sr_tframe frame(sr_tcomp *c, scope *s)
{
    sr_tframe fr = {.p = sr_tpl_calloc(c, s->n, sizeof *fr.p), .n = s->n};
    for (uint32_t i = 0; i < s->n; i++) {
        symbol *y   = &s->sym[i];
        sr_tload *l = &fr.p[i];
        *l          = (sr_tload){.kind = y->load, .slot = slot(c, s->f, s->level, y->name), .name = y->name};
        if (y->load == SR_LOAD_ALIAS)
            l->src = reference(c, s, y->src, y->name);
    }
    return fr;
}

/* ---- code generation order: give every name its slot, enter inner scopes ---- */

typedef struct {
    names *k;
    scope *s;
    bool in_loop; /* break and continue have a loop of the same function around them */
} gen;

static bool emit(void *arg, sr_tnode *n);

static void emit_list(gen *g, sr_tnodes l)
{
    for (uint32_t i = 0; i < l.n; i++)
        emit(g, l.p[i]);
}

static sr_tnode *clone_target(sr_tcomp *c, const sr_tnode *t)
{
    sr_tnode *n = sr_tpl_calloc(c, 1, sizeof *n);
    *n          = *t;
    if (t->kind == SR_N_TUPLE) {
        n->u.list = (sr_tnodes){0};
        for (uint32_t i = 0; i < t->u.list.n; i++)
            sr_tpl_nodes_push(c, &n->u.list, clone_target(c, t->u.list.p[i]));
    }
    return n;
}

static void emit_loop_test(gen *g, sr_tfor *f)
{
    sr_tcomp *c    = g->k->c;
    fn ff          = {.up = g->s->f};
    scope s        = inner(g->s, &ff);
    analysis a     = {g->k, &s};
    gen in         = {g->k, &s, false};
    f->test_target = clone_target(c, f->target);
    analyse_target(&a, f->test_target, true);
    analyse(&a, f->test);
    emit(&in, f->test_target);
    emit(&in, f->test);
    f->test_frame   = frame(c, &s);
    f->test_n_slots = ff.n_slots;
}

static void emit_for(gen *g, sr_tnode *n)
{
    sr_tfor *f  = n->u.loop;
    sr_tcomp *c = g->k->c;
    fn lf       = {.up = g->s->f};
    fn *ff      = f->recursive ? &lf : g->s->f;
    scope body = inner(g->s, ff), other = inner(g->s, ff);
    analysis ab = {g->k, &body}, ao = {g->k, &other};
    sr_tstr *want = g->k->loop;
    find_undeclared(g->k, f->body, &want, &f->extended, 1);
    f->extended |= f->recursive;
    if (f->extended)
        define(c, &body, g->k->loop, SR_LOAD_PARAM, NULL, true);
    analyse_target(&ab, f->target, true);
    analyse_list(&ab, f->body);
    analyse_list(&ao, f->else_);
    if (f->test)
        emit_loop_test(g, f);
    if (f->extended)
        f->loop = ref(c, &body, g->k->loop, n->line);
    refuse_loop_store(g->k, n);
    gen gb = {g->k, &body, true}, go = {g->k, &other, f->recursive ? false : g->in_loop};
    emit(&gb, f->target);
    emit(g, f->iter);
    emit_list(&gb, f->body);
    emit_list(&go, f->else_);
    f->body_frame = frame(c, &body);
    f->else_frame = frame(c, &other);
    f->n_slots    = lf.n_slots;
}

static void emit_macro(gen *g, sr_tnode *n)
{
    sr_tmacrodef *m  = n->u.macro;
    sr_tcomp *c      = g->k->c;
    fn ff            = {.up = g->s->f};
    scope s          = inner(g->s, &ff);
    analysis a       = {g->k, &s};
    gen in           = {g->k, &s, false};
    sr_tstr *want[3] = {g->k->caller, g->k->kwargs, g->k->varargs};
    bool used[3] = {0}, named[3] = {0};
    find_undeclared(g->k, m->body, want, used, 3);
    for (uint32_t i = 0; i < m->args.n; i++) {
        sr_tstr *id = m->args.p[i]->u.name.id;
        named[0] |= id == g->k->caller;
        named[1] |= id == g->k->kwargs;
        named[2] |= id == g->k->varargs;
        if (used[0] && id == g->k->caller && i + m->defaults.n < m->args.n)
            sr_tpl_cfail(c, SR_INVALID, n->line,
                         "the special \"caller\" argument must be omitted or be given a default");
    }
    /* the arguments and what they default to first: a parameter keeps its kind whatever the body does */
    analyse_list(&a, m->args);
    analyse_list(&a, m->defaults);
    analyse_list(&a, m->body);
    m->takes_caller     = used[0];
    m->explicit_caller  = named[0];
    m->takes_kwargs     = used[1] && !named[1];
    m->takes_varargs    = used[2] && !named[2];
    sr_tstr *special[3] = {g->k->caller, g->k->kwargs, g->k->varargs};
    bool takes[3]       = {m->takes_caller && !named[0], m->takes_kwargs, m->takes_varargs};
    uint32_t *to[3]     = {&m->caller_slot, &m->kwargs_slot, &m->varargs_slot};
    for (int i = 0; i < 3; i++)
        if (takes[i]) {
            define(c, &s, special[i], SR_LOAD_PARAM, NULL, true);
            *to[i] = slot(c, &ff, s.level, special[i]);
        }
    emit_list(&in, m->args);
    emit_list(&in, m->defaults);
    emit_list(&in, m->body);
    m->frame   = frame(c, &s);
    m->n_slots = ff.n_slots;
    if (n->kind == SR_N_MACRO)
        m->ref = ref(c, g->s, m->name, n->line);
    else if (m->call)
        emit(g, m->call);
}

/* A set block, filter block or plain scope: the body in a scope of its own, same function. */
static void emit_block(gen *g, sr_tnode *n)
{
    scope s    = inner(g->s, g->s->f);
    analysis a = {g->k, &s};
    gen in     = {g->k, &s, g->in_loop};
    analyse_list(&a, n->u.set.body);
    if (n->kind == SR_N_FILTERBLOCK)
        analyse(&a, n->u.set.value);
    emit_list(&in, n->u.set.body);
    if (n->kind == SR_N_SETBLOCK)
        emit(g, n->u.set.target);
    if (n->u.set.value)
        emit(&in, n->u.set.value);
    n->u.set.frame = frame(g->k->c, &s);
}

static void emit_with(gen *g, sr_tnode *n)
{
    scope s    = inner(g->s, g->s->f);
    analysis a = {g->k, &s};
    gen in     = {g->k, &s, g->in_loop};
    analyse_list(&a, n->u.with.targets);
    analyse_list(&a, n->u.with.body);
    emit_list(&in, n->u.with.targets);
    emit_list(g, n->u.with.values);
    emit_list(&in, n->u.with.body);
    n->u.with.frame = frame(g->k->c, &s);
}

/* Inside an `if`, statement or expression, a filter that does not exist fails only when it is reached. */
static bool emit_soft(gen *g, sr_tnode *n)
{
    bool was   = g->s->soft;
    g->s->soft = true;
    sr_tpl_children(n, emit, g);
    g->s->soft = was;
    return true;
}

static bool emit(void *arg, sr_tnode *n)
{
    gen *g = arg;
    sr_tpl_work(g->k->c, 1, n->line);
    switch (n->kind) {
    case SR_N_NAME:
        n->u.name.ref = ref(g->k->c, g->s, n->u.name.id, n->line);
        return true;
    case SR_N_NSREF:
        n->u.ns.ref = ref(g->k->c, g->s, n->u.ns.id, n->line);
        return true;
    case SR_N_FOR:
        emit_for(g, n);
        return true;
    case SR_N_MACRO:
    case SR_N_CALLBLOCK:
        emit_macro(g, n);
        return true;
    case SR_N_SETBLOCK:
    case SR_N_FILTERBLOCK:
    case SR_N_SCOPE:
        emit_block(g, n);
        return true;
    case SR_N_WITH:
        emit_with(g, n);
        return true;
    case SR_N_IF:
    case SR_N_COND:
        return emit_soft(g, n);
    case SR_N_FILTER:
    case SR_N_TEST:
        if (!n->u.call.fn && !g->s->soft)
            sr_tpl_cfail(g->k->c, SR_INVALID, n->line, "no %s named '%.*s'",
                         n->kind == SR_N_FILTER ? "filter" : "test",
                         (int)(n->u.call.name->n < 80 ? n->u.call.name->n : 80), n->u.call.name->p);
        return sr_tpl_children(n, emit, g);
    case SR_N_BREAK:
    case SR_N_CONTINUE:
        if (!g->in_loop)
            sr_tpl_cfail(g->k->c, SR_INVALID, n->line, "'%s' outside loop",
                         n->kind == SR_N_BREAK ? "break" : "continue");
        return true;
    default:
        return sr_tpl_children(n, emit, g);
    }
}

void sr_tpl_scope(sr_tcomp *c, sr_template *t)
{
    names k       = {c,
                     sr_tpl_atom(c, "loop", 4),
                     sr_tpl_atom(c, "caller", 6),
                     sr_tpl_atom(c, "kwargs", 6),
                     sr_tpl_atom(c, "varargs", 7),
                     sr_tpl_atom(c, "self", 4)};
    fn ff         = {0};
    scope s       = inner(NULL, &ff);
    analysis a    = {&k, &s};
    gen g         = {&k, &s, false};
    sr_tstr *want = k.self;
    bool self     = false;
    find_undeclared(&k, t->body, &want, &self, 1);
    if (self)
        sr_tpl_cfail(c, SR_UNSUPPORTED, 1, "the variable 'self' (blocks of a template) is not supported");
    analyse_list(&a, t->body);
    emit_list(&g, t->body);
    t->frame   = frame(c, &s);
    t->n_slots = ff.n_slots;
    t->caller  = k.caller;
}

/* ---- children in Jinja2's field order ---- */

static bool list(sr_tnodes l, sr_tvisit *v, void *arg)
{
    for (uint32_t i = 0; i < l.n; i++)
        if (!v(arg, l.p[i]))
            return false;
    return true;
}

static bool one(sr_tnode *n, sr_tvisit *v, void *arg) { return !n || v(arg, n); }

static bool call_children(const sr_tnode *n, sr_tvisit *v, void *arg)
{
    const sr_targs *a = n->u.call.args;
    return one(n->u.call.a, v, arg) && list(a->pos, v, arg) && list(a->kwv, v, arg) &&
           one(a->dyn_pos, v, arg) && one(a->dyn_kw, v, arg);
}

bool sr_tpl_children(const sr_tnode *n, sr_tvisit *v, void *arg)
{
    bool ok = true;
    switch (n->kind) {
    case SR_N_TUPLE:
    case SR_N_LIST:
    case SR_N_DICT:
    case SR_N_CONCAT:
    case SR_N_OUTPUT:
        return list(n->u.list, v, arg);
    case SR_N_NEG:
    case SR_N_POS:
    case SR_N_NOT:
    case SR_N_AND:
    case SR_N_OR:
    case SR_N_BIN:
    case SR_N_GETITEM:
    case SR_N_SLICE:
    case SR_N_COND:
        return one(n->u.x.a, v, arg) && one(n->u.x.b, v, arg) && one(n->u.x.c, v, arg);
    case SR_N_COMPARE:
        return one(n->u.cmp.a, v, arg) && list(n->u.cmp.rest, v, arg);
    case SR_N_GETATTR:
        return v(arg, n->u.attr.a);
    case SR_N_CALL:
    case SR_N_FILTER:
    case SR_N_TEST:
        return call_children(n, v, arg);
    case SR_N_FOR: {
        const sr_tfor *f = n->u.loop;
        return v(arg, f->target) && v(arg, f->iter) && list(f->body, v, arg) && list(f->else_, v, arg) &&
               one(f->test, v, arg);
    }
    case SR_N_IF:
        for (uint32_t i = 0; ok && i < n->u.cond.n; i++)
            ok = v(arg, n->u.cond.branch[i].test) && list(n->u.cond.branch[i].body, v, arg);
        return ok && list(n->u.cond.else_, v, arg);
    case SR_N_MACRO:
    case SR_N_CALLBLOCK:
        return one(n->u.macro->call, v, arg) && list(n->u.macro->args, v, arg) &&
               list(n->u.macro->defaults, v, arg) && list(n->u.macro->body, v, arg);
    case SR_N_SET:
        return v(arg, n->u.set.target) && v(arg, n->u.set.value);
    case SR_N_SETBLOCK:
        return v(arg, n->u.set.target) && one(n->u.set.value, v, arg) && list(n->u.set.body, v, arg);
    case SR_N_FILTERBLOCK:
        return list(n->u.set.body, v, arg) && v(arg, n->u.set.value);
    case SR_N_SCOPE:
        return list(n->u.set.body, v, arg);
    case SR_N_WITH:
        return list(n->u.with.targets, v, arg) && list(n->u.with.values, v, arg) &&
               list(n->u.with.body, v, arg);
    default:
        return true;
    }
}
