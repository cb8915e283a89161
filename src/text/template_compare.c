/* Hash, equality, order, truth, length and membership of values, as Python defines them. */
#include "text/template_iter.h"
#include "text/template_value.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

/* ---- hash, equality, order ---- */

uint64_t sr_tpl_hash_bytes(const char *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
    return (h ^ h >> 29) | 1; /* never 0, which means "not computed" */
}

static uint64_t hash_int(int64_t i) { return ((uint64_t)i * 0x9e3779b97f4a7c15u) | 1; }

uint64_t sr_tpl_hash(sr_trun *R, sr_tval v)
{
    uint64_t h = 1;
    switch (v.kind) {
    case SR_T_STR:
        if (!v.s->hash) {
            v.s->hash = sr_tpl_hash_bytes(v.s->p, v.s->n);
            sr_tpl_charge(R, v.s->n >> 6);
        }
        return v.s->hash;
    case SR_T_BOOL:
    case SR_T_INT:
        return hash_int(sr_tas_int(v));
    case SR_T_FLOAT:
        if (v.f >= -9.2e18 && v.f <= 9.2e18 && (double)(int64_t)v.f == v.f)
            return hash_int((int64_t)v.f); /* 1.0 is the same key as 1 */
        memcpy(&h, &v.f, sizeof h);
        return h * 0x9e3779b97f4a7c15u | 1;
    case SR_T_TUPLE:
        sr_tpl_enter(R);
        sr_tpl_charge(R, v.l->n);
        for (size_t i = 0; i < v.l->n; i++)
            h = (h ^ sr_tpl_hash(R, v.l->p[i])) * 0x100000001b3u;
        sr_tpl_leave(R);
        return h | 1;
    case SR_T_LIST:
    case SR_T_DICT:
    case SR_T_VIEW:
        sr_tpl_fail(R, SR_INVALID, "unhashable type: '%s'", sr_tpl_typename(v));
    case SR_T_UNDEF:
    case SR_T_NONE:
        return (uint64_t)v.kind;
    case SR_T_RANGE:
        return hash_int(v.r->n);
    default:
        return hash_int((int64_t)(intptr_t)v.m);
    }
}

/* Exact, as Python compares: the double's integer part against the int, then its fraction. */
static int cmp_int_float(int64_t i, double f)
{
    if (f >= 9223372036854775808.0)
        return -1;
    if (f < -9223372036854775808.0)
        return 1;
    int64_t t = (int64_t)f;
    if (i != t)
        return i < t ? -1 : 1;
    double frac = f - (double)t;
    return (frac < 0) - (frac > 0);
}

/* -1, 0, 1; 2 when unordered (NaN) */
static int cmp_num(sr_tval a, sr_tval b)
{
    bool fa = a.kind == SR_T_FLOAT, fb = b.kind == SR_T_FLOAT;
    if ((fa && isnan(a.f)) || (fb && isnan(b.f)))
        return 2;
    if (fa && fb)
        return (a.f > b.f) - (a.f < b.f);
    if (fa)
        return -cmp_int_float(sr_tas_int(b), a.f);
    if (fb)
        return cmp_int_float(sr_tas_int(a), b.f);
    return (sr_tas_int(a) > sr_tas_int(b)) - (sr_tas_int(a) < sr_tas_int(b));
}

static bool eq_dict(sr_trun *R, const sr_tdict *a, const sr_tdict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const sr_tval *v = sr_tpl_dict_get(R, b, a->e[i].key);
        if (!v || !sr_tpl_eq(R, a->e[i].val, *v))
            return false;
    }
    return true;
}

static bool eq_range(const sr_trange *a, const sr_trange *b)
{
    return a->n == b->n && (!a->n || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

bool sr_tpl_eq(sr_trun *R, sr_tval a, sr_tval b)
{
    bool r = false;
    sr_tpl_charge(R, 1);
    if (sr_tis_num(a) && sr_tis_num(b))
        return cmp_num(a, b) == 0;
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case SR_T_UNDEF:
    case SR_T_NONE:
        return true;
    case SR_T_STR:
        if (a.s->n == b.s->n)
            sr_tpl_bytes(R, a.s->n);
        return a.s->n == b.s->n && !memcmp(a.s->p, b.s->p, a.s->n);
    case SR_T_LIST:
    case SR_T_TUPLE:
        if (a.l->n != b.l->n)
            return false;
        sr_tpl_enter(R);
        r = true;
        for (size_t i = 0; r && i < a.l->n; i++)
            r = sr_tpl_eq(R, a.l->p[i], b.l->p[i]);
        sr_tpl_leave(R);
        return r;
    case SR_T_DICT:
        sr_tpl_enter(R);
        r = eq_dict(R, a.d, b.d);
        sr_tpl_leave(R);
        return r;
    case SR_T_RANGE:
        return eq_range(a.r, b.r);
    case SR_T_VIEW:
        if (a.sub != SR_TVIEW_VALUES && b.sub == a.sub && a.d != b.d)
            sr_tpl_fail(R, SR_UNSUPPORTED, "comparing the keys or items of two dicts");
        return a.d == b.d && a.sub == b.sub && a.sub != SR_TVIEW_VALUES;
    case SR_T_METHOD:
        return a.me->fn == b.me->fn && sr_tpl_same(a.me->self, b.me->self);
    default:
        return a.m == b.m;
    }
}

bool sr_tpl_same(sr_tval a, sr_tval b)
{
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case SR_T_NONE:
        return true;
    case SR_T_BOOL:
        return a.b == b.b;
    case SR_T_INT:
        return a.i == b.i;
    case SR_T_FLOAT:
        return a.f == b.f;
    case SR_T_STR: /* CPython shares constants and single characters; equal text is the closest to that */
        return a.s == b.s || (a.s->n == b.s->n && !memcmp(a.s->p, b.s->p, a.s->n));
    case SR_T_TUPLE:
        return a.l == b.l || (!a.l->n && !b.l->n);
    default:
        return a.m == b.m;
    }
}

static bool decide(sr_torder op, int c)
{
    if (c == 2)
        return false;
    return op == SR_TLT ? c < 0 : op == SR_TLE ? c <= 0 : op == SR_TGT ? c > 0 : c >= 0;
}

bool sr_tpl_order(sr_trun *R, sr_torder op, sr_tval a, sr_tval b)
{
    static const char *const sign[] = {"<", "<=", ">", ">="};
    sr_tpl_charge(R, 1);
    if (sr_tis_num(a) && sr_tis_num(b))
        return decide(op, cmp_num(a, b));
    if (a.kind == SR_T_STR && b.kind == SR_T_STR) {
        sr_tpl_bytes(R, SR_MIN(a.s->n, b.s->n));
        return decide(op, sr_tpl_cmp_str(a.s, b.s));
    }
    if (a.kind == b.kind && (a.kind == SR_T_LIST || a.kind == SR_T_TUPLE)) {
        size_t i = 0, n = SR_MIN(a.l->n, b.l->n);
        sr_tpl_enter(R);
        while (i < n && sr_tpl_eq(R, a.l->p[i], b.l->p[i]))
            i++;
        bool r = i < n ? sr_tpl_order(R, op, a.l->p[i], b.l->p[i])
                       : decide(op, (a.l->n > b.l->n) - (a.l->n < b.l->n));
        sr_tpl_leave(R);
        return r;
    }
    if (a.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, a);
    if (b.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, b);
    if (a.kind == SR_T_VIEW && b.kind == SR_T_VIEW)
        sr_tpl_fail(R, SR_UNSUPPORTED, "ordering the keys or items of two dicts");
    sr_tpl_fail(R, SR_INVALID, "'%s' not supported between instances of '%s' and '%s'", sign[op],
                sr_tpl_typename(a), sr_tpl_typename(b));
}

/* ---- length, truth, membership ---- */

const char *sr_tpl_typename(sr_tval v)
{
    static const char *const names[] = {"missing",
                                        "Undefined",
                                        "NoneType",
                                        "bool",
                                        "int",
                                        "float",
                                        "str",
                                        "list",
                                        "tuple",
                                        "dict",
                                        "range",
                                        "view",
                                        "generator",
                                        "jinja2.utils.Namespace",
                                        "Macro",
                                        "function",
                                        "builtin_function_or_method",
                                        "jinja2.runtime.LoopContext",
                                        "jinja2.utils.Cycler",
                                        "jinja2.utils.Joiner"};
    static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
    return v.kind == SR_T_VIEW ? views[v.sub] : names[v.kind];
}

bool sr_tpl_has_len(sr_tval v)
{
    switch (v.kind) {
    case SR_T_STR:
    case SR_T_LIST:
    case SR_T_TUPLE:
    case SR_T_DICT:
    case SR_T_VIEW:
    case SR_T_RANGE:
    case SR_T_UNDEF:
    case SR_T_LOOP:
        return true;
    default:
        return false;
    }
}

size_t sr_tpl_length(sr_trun *R, sr_tval v)
{
    switch (v.kind) {
    case SR_T_STR:
        return sr_tpl_cps(R, v.s);
    case SR_T_LIST:
    case SR_T_TUPLE:
        return v.l->n;
    case SR_T_DICT:
    case SR_T_VIEW:
        return v.d->n;
    case SR_T_RANGE:
        return (size_t)v.r->n;
    case SR_T_UNDEF:
        return 0;
    case SR_T_LOOP:
        return (size_t)sr_tloop_length(R, v.lp);
    default:
        sr_tpl_fail(R, SR_INVALID, "object of type '%s' has no len()", sr_tpl_typename(v));
    }
}

bool sr_tpl_true(sr_trun *R, sr_tval v)
{
    switch (v.kind) {
    case SR_T_MISSING:
    case SR_T_UNDEF:
    case SR_T_NONE:
        return false;
    case SR_T_BOOL:
        return v.b;
    case SR_T_INT:
        return v.i != 0;
    case SR_T_FLOAT:
        return v.f != 0;
    case SR_T_STR:
        return v.s->n != 0;
    default:
        return sr_tpl_has_len(v) ? sr_tpl_length(R, v) != 0 : true;
    }
}

static bool in_range(sr_trun *R, sr_tval item, const sr_trange *r)
{
    for (int64_t i = 0; i < r->n; i++)
        if (sr_tpl_eq(R, sr_tint(r->start + i * r->step), item))
            return true;
    return false;
}

bool sr_tpl_in(sr_trun *R, sr_tval item, sr_tval seq)
{
    sr_tval v;
    switch (seq.kind) {
    case SR_T_STR:
        if (item.kind != SR_T_STR)
            sr_tpl_fail(R, SR_INVALID, "'in <string>' requires string as left operand, not %s",
                        sr_tpl_typename(item));
        sr_tpl_bytes(R, seq.s->n);
        return !item.s->n || memmem(seq.s->p, seq.s->n, item.s->p, item.s->n) != NULL;
    case SR_T_DICT:
        return sr_tpl_dict_get(R, seq.d, item) != NULL;
    case SR_T_VIEW:
        if (seq.sub == SR_TVIEW_KEYS)
            return sr_tpl_dict_get(R, seq.d, item) != NULL;
        break;
    case SR_T_RANGE:
        return in_range(R, item, seq.r);
    case SR_T_LIST:
    case SR_T_TUPLE:
        for (size_t i = 0; i < seq.l->n; i++)
            if (sr_tpl_eq(R, seq.l->p[i], item))
                return true;
        return false;
    case SR_T_UNDEF:
    case SR_T_ITER:
        break;
    default:
        sr_tpl_fail(R, SR_INVALID, "argument of type '%s' is not iterable", sr_tpl_typename(seq));
    }
    sr_titer *it = sr_tpl_iter(R, seq);
    while (sr_tpl_next(R, it, &v))
        if (sr_tpl_eq(R, v, item))
            return true;
    return false;
}
