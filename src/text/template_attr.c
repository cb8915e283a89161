/* obj.name and obj[key] as Jinja2's sandbox resolves them: an attribute of the Python object first (so that a
 * dict's own "items" key is reached only by d["items"]), then an item; what the immutable sandbox hides
 * (names with a leading underscore, methods that change a list or dict) is an undefined that says so when
 * used. */
#include "text/template_eval.h"
#include "text/template_text.h"
#include "text/template_string.h"
#include "base/mem.h"

#include <string.h>

/* Attributes that every Python object has. */
static bool is_object_dunder(const sr_tstr *s)
{
    static const char *const names[] = {"__class__",     "__doc__",          "__init__",
                                        "__new__",       "__repr__",         "__str__",
                                        "__hash__",      "__eq__",           "__ne__",
                                        "__lt__",        "__le__",           "__gt__",
                                        "__ge__",        "__getattribute__", "__setattr__",
                                        "__delattr__",   "__dir__",          "__reduce__",
                                        "__reduce_ex__", "__subclasshook__", "__init_subclass__",
                                        "__sizeof__",    "__format__",       "__getstate__"};
    if (s->n < 6 || s->p[0] != '_' || s->p[1] != '_')
        return false;
    for (size_t i = 0; i < SR_COUNT(names); i++)
        if (sr_tpl_streq(s, names[i]))
            return true;
    return false;
}

static sr_tval unsafe(sr_trun *R, sr_tval obj, sr_tval name)
{
    sr_tundef *u = sr_tpl_alloc(R, sizeof *u);
    *u           = (sr_tundef){.obj = obj, .name = name, .unsafe = true};
    return (sr_tval){.kind = SR_T_UNDEF, .u = u};
}

static bool macro_attr(sr_trun *R, const sr_tmacro *m, const sr_tstr *name, sr_tval *out)
{
    const sr_tmacrodef *d = m->def;
    if (sr_tpl_streq(name, "name")) {
        *out = d->name ? (sr_tval){.kind = SR_T_STR, .s = d->name} : sr_tnone();
    } else if (sr_tpl_streq(name, "arguments")) {
        *out = sr_tpl_seq(R, SR_T_TUPLE, d->args.n);
        for (uint32_t i = 0; i < d->args.n; i++)
            sr_tpl_push(R, out->l, (sr_tval){.kind = SR_T_STR, .s = d->args.p[i]->u.name.id});
    } else if (sr_tpl_streq(name, "caller")) {
        *out = sr_tbool(d->takes_caller);
    } else if (sr_tpl_streq(name, "catch_kwargs")) {
        *out = sr_tbool(d->takes_kwargs);
    } else if (sr_tpl_streq(name, "catch_varargs")) {
        *out = sr_tbool(d->takes_varargs);
    } else if (sr_tpl_streq(name, "explicit_caller")) {
        *out = sr_tbool(d->explicit_caller);
    } else {
        return false;
    }
    return true;
}

static bool number_attr(sr_tval v, const sr_tstr *name, sr_tval *out)
{
    bool real = sr_tpl_streq(name, "real"), imag = sr_tpl_streq(name, "imag");
    if (v.kind == SR_T_FLOAT) {
        *out = real ? v : sr_tfloat(0);
        return real || imag;
    }
    bool num = sr_tpl_streq(name, "numerator"), den = sr_tpl_streq(name, "denominator");
    *out = sr_tint(real || num ? sr_tas_int(v) : den);
    return real || imag || num || den;
}

/* Attributes that are values, not methods. */
static bool plain_attr(sr_trun *R, sr_tval v, const sr_tstr *name, sr_tval *out)
{
    switch (v.kind) {
    case SR_T_BOOL:
    case SR_T_INT:
    case SR_T_FLOAT:
        return number_attr(v, name, out);
    case SR_T_TUPLE:
        if (!v.l->group || (!sr_tpl_streq(name, "grouper") && !sr_tpl_streq(name, "list")))
            return false;
        *out = v.l->p[name->p[0] == 'l'];
        return true;
    case SR_T_RANGE:
        *out = sr_tint(sr_tpl_streq(name, "start")  ? v.r->start
                       : sr_tpl_streq(name, "stop") ? v.r->stop
                                                    : v.r->step);
        return sr_tpl_streq(name, "start") || sr_tpl_streq(name, "stop") || sr_tpl_streq(name, "step");
    case SR_T_MACRO:
        return macro_attr(R, v.m, name, out);
    case SR_T_LOOP:
        return sr_tloop_attr(R, v.lp, name, out);
    case SR_T_CYCLER:
        *out = sr_tpl_streq(name, "pos")     ? sr_tint((int64_t)v.cy->pos)
               : sr_tpl_streq(name, "items") ? v.cy->items
                                             : v.cy->items.l->p[v.cy->pos];
        return sr_tpl_streq(name, "pos") || sr_tpl_streq(name, "items") || sr_tpl_streq(name, "current");
    case SR_T_JOINER:
        *out = sr_tpl_streq(name, "sep") ? v.jo->sep : sr_tbool(v.jo->used);
        return sr_tpl_streq(name, "sep") || sr_tpl_streq(name, "used");
    case SR_T_VIEW:
        if (sr_tpl_streq(name, "mapping"))
            sr_tpl_fail(R, SR_UNSUPPORTED, "attribute 'mapping' of a dict view");
        return false;
    case SR_T_ITER:
        if (v.it->generator && (sr_tpl_streq(name, "send") || sr_tpl_streq(name, "throw") ||
                                sr_tpl_streq(name, "close") || !strncmp(name->p, "gi_", SR_MIN(name->n, 3u))))
            sr_tpl_fail(R, SR_UNSUPPORTED, "attribute '%.*s' of a generator", (int)SR_MIN(name->n, 40u),
                        name->p);
        return false;
    default:
        return false;
    }
}

/* getattr(obj, name) in Python, then what the sandbox makes of it.  MISSING: AttributeError. */
static sr_tval attribute(sr_trun *R, sr_tval obj, sr_tval name)
{
    const sr_tbuiltin *m;
    const sr_tval *in_ns;
    sr_tval v;
    const sr_tstr *s = name.s;
    if (obj.kind == SR_T_NS) {
        in_ns = sr_tpl_dict_get(R, obj.d, name);
        if (!in_ns && !sr_tpl_streq(s, "__class__"))
            return sr_tmissing();
        return s->n && s->p[0] == '_' ? unsafe(R, obj, name) : *in_ns;
    }
    if (obj.kind == SR_T_UNDEF) {
        if (s->n >= 2 && s->p[0] == '_' && s->p[1] == '_')
            return is_object_dunder(s) ? unsafe(R, obj, name) : sr_tmissing();
        sr_tpl_fail_undef(R, obj);
    }
    if (is_object_dunder(s))
        return unsafe(R, obj, name);
    m = sr_tpl_method(obj.kind, s);
    if (!m && obj.kind == SR_T_STR && obj.s->markup)
        m = sr_tpl_markup_method(s);
    if (m) {
        if (m->mutates)
            return unsafe(R, obj, name);
        sr_tmethod *me = sr_tpl_alloc(R, sizeof *me);
        *me            = (sr_tmethod){obj, m};
        return (sr_tval){.kind = SR_T_METHOD, .me = me};
    }
    if (plain_attr(R, obj, s, &v))
        return v;
    return sr_tmissing();
}

sr_tval sr_tpl_index(sr_trun *R, sr_tval v, int64_t i)
{
    int64_t n = (int64_t)sr_tpl_length(R, v);
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return sr_tmissing();
    if (v.kind == SR_T_STR) {
        size_t at = sr_tpl_offset(R, v.s, (size_t)i), k;
        sr_tpl_cp(v.s->p + at, v.s->n - at, &k);
        return sr_tpl_substr(R, v.s, at, k);
    }
    return v.kind == SR_T_RANGE ? sr_tint(v.r->start + i * v.r->step) : v.l->p[i];
}

static bool hashable(sr_tval v)
{
    bool ok = v.kind != SR_T_LIST && v.kind != SR_T_DICT && v.kind != SR_T_VIEW;
    for (size_t i = 0; ok && v.kind == SR_T_TUPLE && i < v.l->n; i++)
        ok = v.l->p[i].kind != SR_T_TUPLE ? hashable(v.l->p[i]) : true;
    return ok;
}

/* obj[key] in Python; MISSING: TypeError or LookupError. */
static sr_tval item(sr_trun *R, sr_tval obj, sr_tval key)
{
    const sr_tval *v;
    switch (obj.kind) {
    case SR_T_DICT:
        v = hashable(key) ? sr_tpl_dict_get(R, obj.d, key) : NULL;
        return v ? *v : sr_tmissing();
    case SR_T_STR:
    case SR_T_LIST:
    case SR_T_TUPLE:
    case SR_T_RANGE:
        return sr_tis_int(key) ? sr_tpl_index(R, obj, sr_tas_int(key)) : sr_tmissing();
    case SR_T_UNDEF:
        sr_tpl_fail_undef(R, obj);
    default:
        return sr_tmissing();
    }
}

sr_tval sr_tpl_getattr(sr_trun *R, sr_tval obj, sr_tval name)
{
    sr_tval v = attribute(R, obj, name);
    if (v.kind == SR_T_MISSING)
        v = item(R, obj, name);
    return v.kind == SR_T_MISSING ? sr_tpl_undef_name(R, obj, name) : v;
}

sr_tval sr_tpl_getitem(sr_trun *R, sr_tval obj, sr_tval key)
{
    sr_tval v = item(R, obj, key);
    if (v.kind == SR_T_MISSING && key.kind == SR_T_STR)
        v = attribute(R, obj, key);
    return v.kind == SR_T_MISSING ? sr_tpl_undef_name(R, obj, key) : v;
}

sr_tval sr_tpl_attr_only(sr_trun *R, sr_tval obj, sr_tval name)
{
    sr_tpl_need_str(R, name, "attribute name");
    sr_tval v = attribute(R, obj, name);
    return v.kind == SR_T_MISSING ? sr_tpl_undef_name(R, obj, name) : v;
}
