#include "text/template_filters.h"
#include "text/template_format.h"
#include "text/template_string.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METHOD(name, expr)                                                                                   \
    static sr_tval name(sr_trun *R, sr_tval v, sr_tcall *c)                                                  \
    {                                                                                                        \
        (void)R, (void)v, (void)c;                                                                           \
        return expr;                                                                                         \
    }

static bool given(sr_tval v) { return v.kind != SR_T_MISSING; }
static bool truth(sr_trun *R, sr_tval v, bool none) { return given(v) ? sr_tpl_true(R, v) : none; }

/* ---- text ---- */

METHOD(f_upper, sr_tpl_case(R, sr_tpl_soft_str(R, v).s, SR_CASE_UPPER))
METHOD(f_lower, sr_tpl_case(R, sr_tpl_soft_str(R, v).s, SR_CASE_LOWER))
METHOD(f_capitalize, sr_tpl_case(R, sr_tpl_soft_str(R, v).s, SR_CASE_CAPITAL))
METHOD(f_string, sr_tpl_soft_str(R, v))
METHOD(f_escape, sr_tpl_escape(R, v))

static sr_tval f_forceescape(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    return sr_tpl_escape(R, sr_tpl_to_str(R, v));
}

static sr_tval f_safe(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    return sr_tpl_markup(R, sr_tpl_soft_str(R, v), true);
}

static bool begins_word(uint32_t cp)
{
    return sr_tpl_is_space(cp) || (cp < 0x80 && cp && strchr("-({[<", (int)cp));
}

/* Words begin after white space and -({[<, not after an apostrophe: unlike str.title(). */
static sr_tval f_title(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *s = sr_tpl_soft_str(R, v).s;
    sr_tbuf b        = {.R = R};
    size_t k, at = 0;
    (void)c;
    while (at < s->n) {
        uint32_t cp = sr_tpl_cp(s->p + at, s->n - at, &k);
        if (begins_word(cp)) {
            sr_tbuf_add(&b, s->p + at, k);
            at += k;
            continue;
        }
        size_t end = at + k, j;
        while (end < s->n && !begins_word(sr_tpl_cp(s->p + end, s->n - end, &j)))
            end += j;
        sr_tpl_put_case(&b, s->p + at, k, SR_CASE_UPPER);
        sr_tpl_put_case(&b, s->p + at + k, end - at - k, SR_CASE_LOWER);
        at = end;
    }
    sr_tpl_charge(R, s->n >> 5);
    return sr_tbuf_str(&b);
}

static sr_tval f_trim(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *s = sr_tpl_soft_str(R, v).s;
    if (!given(c->a[0]) || c->a[0].kind == SR_T_NONE)
        return sr_tpl_strip(R, s, NULL, 'b');
    return sr_tpl_strip(R, s, sr_tpl_need_str(R, c->a[0], "strip arg"), 'b');
}

static sr_tval f_center(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return sr_tpl_justify(R, sr_tpl_soft_str(R, v).s, given(c->a[0]) ? sr_tpl_need_int(R, c->a[0]) : 80, NULL,
                          'c');
}

static sr_tval f_replace(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval s = sr_tpl_to_str(R, v), old = sr_tpl_to_str(R, c->a[0]), to = sr_tpl_to_str(R, c->a[1]);
    int64_t max = given(c->a[2]) && c->a[2].kind != SR_T_NONE ? sr_tpl_need_int(R, c->a[2]) : -1;
    return sr_tpl_replace(R, s.s, old.s, to.s, max);
}

static sr_tval f_indent(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval by = given(c->a[0]) ? c->a[0] : sr_tint(4);
    bool first = truth(R, c->a[1], false), blank = truth(R, c->a[2], false);
    sr_tbuf b = {.R = R};
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (v.kind != SR_T_STR)
        sr_tpl_fail(R, SR_INVALID, "indent wants a str, not %s", sr_tpl_typename(v));
    if (by.kind != SR_T_STR)
        by = sr_tpl_repeat(R, sr_tpl_strz(R, " "), sr_tpl_need_int(R, by));
    sr_tval lines = sr_tpl_splitlines(R, sr_tpl_append(R, v.s, "\n", 1).s, false);
    for (size_t i = 0; i < lines.l->n; i++) {
        const sr_tstr *line = lines.l->p[i].s;
        if (i)
            sr_tbuf_char(&b, '\n');
        if (i ? line->n || blank : first)
            sr_tbuf_add(&b, by.s->p, by.s->n);
        sr_tbuf_add(&b, line->p, line->n);
    }
    return sr_tpl_markup(R, sr_tbuf_str(&b), v.s->markup);
}

static sr_tval f_truncate(sr_trun *R, sr_tval v, sr_tcall *c)
{
    int64_t length = given(c->a[0]) ? sr_tpl_need_int(R, c->a[0]) : 255, leeway = 5;
    sr_tval end  = given(c->a[2]) ? c->a[2] : sr_tpl_strz(R, "...");
    int64_t tail = (int64_t)sr_tpl_length(R, end);
    if (given(c->a[3]) && c->a[3].kind != SR_T_NONE)
        leeway = sr_tpl_need_int(R, c->a[3]);
    if (length < tail || leeway < 0)
        sr_tpl_fail(R, SR_INVALID, "truncate: expected length >= %lld and leeway >= 0", (long long)tail);
    if (length > INT64_MAX - leeway || (int64_t)sr_tpl_length(R, v) <= length + leeway)
        return v;
    sr_tval cut = sr_tpl_slice(R, v, sr_tnone(), sr_tint(length - tail), sr_tnone());
    sr_tpl_need_str(R, cut, "what truncate shortens");
    if (!truth(R, c->a[1], false))
        cut = sr_tpl_rsplit(R, cut.s, sr_tpl_strz(R, " ").s, 1).l->p[0];
    return sr_tpl_binary(R, '+', cut, end);
}

static sr_tval f_wordwrap(sr_trun *R, sr_tval v, sr_tcall *c)
{
    int64_t width = given(c->a[0]) ? sr_tpl_need_int(R, c->a[0]) : 79;
    sr_tval wrap  = given(c->a[2]) && c->a[2].kind != SR_T_NONE ? c->a[2] : sr_tpl_strz(R, "\n");
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    return sr_tpl_wordwrap(R, sr_tpl_need_str(R, v, "what wordwrap wraps"), width, truth(R, c->a[1], true),
                           sr_tpl_need_str(R, wrap, "wrapstring"), truth(R, c->a[3], true));
}

static sr_tval f_wordcount(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *s = sr_tpl_soft_str(R, v).s;
    int64_t n        = 0;
    bool in          = false;
    size_t k;
    (void)c;
    sr_tpl_charge(R, s->n >> 6);
    for (size_t i = 0; i < s->n; i += k) {
        uint32_t cp = sr_tpl_cp(s->p + i, s->n - i, &k);
        bool w      = cp == '_' || sr_tpl_is_alnum(cp);
        n += w && !in;
        in = w;
    }
    return sr_tint(n);
}

METHOD(f_striptags, sr_tpl_striptags(R, sr_tpl_to_str(R, v).s))

static sr_tval f_format(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval args = sr_tpl_seq(R, SR_T_TUPLE, c->n);
    if (c->n && c->n_kw)
        sr_tpl_fail(R, SR_INVALID, "can't handle positional and keyword arguments at the same time");
    for (size_t i = 0; i < c->n; i++)
        sr_tpl_push(R, args.l, c->pos[i]);
    if (c->n_kw)
        args = sr_tpl_dict(R, c->n_kw);
    for (size_t i = 0; i < c->n_kw; i++)
        sr_tpl_dict_set(R, args.d, sr_tpl_str(R, c->kw[i]->p, c->kw[i]->n), c->kwv[i]);
    return sr_tpl_percent(R, sr_tpl_soft_str(R, v), args);
}

/* ---- URLs and XML ---- */

static void put_quoted(sr_tbuf *b, sr_tval v, bool query)
{
    sr_tval s = sr_tpl_to_str(b->R, v);
    char hex[4];
    sr_tpl_charge(b->R, s.s->n >> 5);
    for (size_t i = 0; i < s.s->n; i++) {
        unsigned char c = (unsigned char)s.s->p[i];
        if ((c < 0x80 && sr_tpl_is_alnum(c)) || (c && strchr("_.-~", c)) || (c == '/' && !query)) {
            sr_tbuf_char(b, (char)c);
        } else if (c == ' ' && query) {
            sr_tbuf_char(b, '+');
        } else {
            snprintf(hex, sizeof hex, "%%%02X", c);
            sr_tbuf_add(b, hex, 3);
        }
    }
}

static sr_tval f_urlencode(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tbuf b = {.R = R};
    sr_tval item;
    (void)c;
    if (v.kind == SR_T_STR || !sr_tpl_iterable(v)) {
        put_quoted(&b, v, false);
        return sr_tbuf_str(&b);
    }
    if (v.kind == SR_T_DICT)
        v = (sr_tval){.kind = SR_T_VIEW, .sub = SR_TVIEW_ITEMS, .d = v.d};
    sr_titer *it = sr_tpl_iter(R, v);
    for (bool first = true; sr_tpl_next(R, it, &item); first = false) {
        sr_tval pair = sr_tpl_list(R, item);
        if (pair.l->n != 2)
            sr_tpl_fail(R, SR_INVALID, "urlencode wants pairs, not %zu values", pair.l->n);
        if (!first)
            sr_tbuf_char(&b, '&');
        put_quoted(&b, pair.l->p[0], true);
        sr_tbuf_char(&b, '=');
        put_quoted(&b, pair.l->p[1], true);
    }
    return sr_tbuf_str(&b);
}

static sr_tval f_xmlattr(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tbuf b = {.R = R};
    if (v.kind != SR_T_DICT)
        sr_tpl_fail(R, SR_INVALID, "xmlattr wants a dict, not %s", sr_tpl_typename(v));
    for (size_t i = 0; i < v.d->n; i++) {
        sr_tval key = v.d->e[i].key, val = v.d->e[i].val;
        if (val.kind == SR_T_NONE || val.kind == SR_T_UNDEF)
            continue;
        const sr_tstr *k = sr_tpl_need_str(R, key, "an attribute name of xmlattr");
        for (size_t j = 0; j < k->n; j++)
            if (strchr(" \t\n\r\f\v/>=", k->p[j]) && k->p[j])
                sr_tpl_fail(R, SR_INVALID, "invalid character in attribute name");
        if (b.n || truth(R, c->a[0], true))
            sr_tbuf_char(&b, ' ');
        sr_tpl_put_str(&b, sr_tpl_escape(R, key));
        sr_tbuf_z(&b, "=\"");
        sr_tpl_put_str(&b, sr_tpl_escape(R, val));
        sr_tbuf_char(&b, '"');
    }
    return sr_tbuf_str(&b);
}

/* ---- numbers ---- */

static sr_tval f_abs(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    if (!sr_tis_num(v))
        sr_tpl_fail(R, SR_INVALID, "bad operand type for abs(): '%s'", sr_tpl_typename(v));
    if (v.kind == SR_T_FLOAT)
        return sr_tfloat(fabs(v.f));
    return sr_tas_int(v) < 0 ? sr_tpl_negate(R, v, true) : sr_tint(sr_tas_int(v));
}

static sr_tval f_int(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval none = given(c->a[0]) ? c->a[0] : sr_tint(0);
    int64_t base = 10, i;
    double f;
    int r = 0;
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (sr_tis_int(v))
        return sr_tint(sr_tas_int(v));
    if (v.kind == SR_T_FLOAT)
        return isnan(v.f) ? none : sr_tint(sr_tpl_float_to_int(R, v.f));
    if (v.kind != SR_T_STR)
        return none;
    if (given(c->a[1]))
        base = sr_tis_int(c->a[1]) ? sr_tas_int(c->a[1]) : -1;
    if (base == 0 || (base >= 2 && base <= 36))
        r = sr_tpl_parse_int(v.s->p, v.s->n, base, &i);
    if (r < 0)
        sr_tpl_fail_overflow(R);
    if (r)
        return sr_tint(i);
    if (!sr_tpl_parse_float(v.s->p, v.s->n, &f) || isnan(f))
        return none;
    return sr_tint(sr_tpl_float_to_int(R, f));
}

static sr_tval f_float(sr_trun *R, sr_tval v, sr_tcall *c)
{
    double f;
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (sr_tis_num(v))
        return sr_tfloat(sr_tas_double(v));
    if (v.kind == SR_T_STR && sr_tpl_parse_float(v.s->p, v.s->n, &f))
        return sr_tfloat(f);
    return given(c->a[0]) ? c->a[0] : sr_tfloat(0);
}

/* round(x, n) of Python: to the decimal nearest to the double's exact value, ties to even. */
static double round_float(double x, int64_t n)
{
    char buf[700];
    if (!isfinite(x) || x == 0 || n > 323)
        return x;
    if (n < -308)
        return copysign(0.0, x);
    if (n >= 0) {
        snprintf(buf, sizeof buf, "%.*f", (int)n, x);
        return strtod(buf, NULL);
    }
    snprintf(buf, sizeof buf, "%.20e", x);
    int64_t exp = strtol(strchr(buf, 'e') + 1, NULL, 10), digits = exp + 1 + n;
    if (digits < 0)
        return copysign(0.0, x);
    if (digits == 0) { /* 0 or one unit: which is nearer */
        double unit = pow(10.0, (double)-n);
        return copysign(fabs(x) > unit / 2 ? unit : 0.0, x);
    }
    snprintf(buf, sizeof buf, "%.*e", (int)digits - 1, x);
    return strtod(buf, NULL);
}

static sr_tval round_int(sr_trun *R, int64_t i, int64_t n)
{
    uint64_t unit = 1, v = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    if (n >= 0)
        return sr_tint(i);
    if (n < -19)
        return sr_tint(0);
    for (; n < 0; n++)
        unit *= 10;
    uint64_t q = v / unit, rest = v % unit;
    q += rest > unit - rest || (rest == unit - rest && q % 2);
    if (__builtin_mul_overflow(q, unit, &v) || v > INT64_MAX)
        sr_tpl_fail_overflow(R);
    return sr_tint(i < 0 ? -(int64_t)v : (int64_t)v);
}

static sr_tval f_round(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *how = given(c->a[1]) ? sr_tpl_soft_str(R, c->a[1]).s : NULL;
    sr_tval digits     = given(c->a[0]) ? c->a[0] : sr_tint(0);
    bool up = how && sr_tpl_streq(how, "ceil"), down = how && sr_tpl_streq(how, "floor");
    if (how && !up && !down && !sr_tpl_streq(how, "common"))
        sr_tpl_fail(R, SR_INVALID, "method must be common, ceil or floor");
    if (!sr_tis_num(v))
        sr_tpl_fail(R, SR_INVALID, "round wants a number, not %s", sr_tpl_typename(v));
    if (!up && !down) {
        if (digits.kind == SR_T_NONE) /* round(x, None) gives an int */
            return v.kind == SR_T_FLOAT ? sr_tint(sr_tpl_float_to_int(R, rint(v.f))) : sr_tint(sr_tas_int(v));
        int64_t n = sr_tpl_need_int(R, digits);
        return v.kind == SR_T_FLOAT ? sr_tfloat(round_float(v.f, n)) : round_int(R, sr_tas_int(v), n);
    }
    sr_tval scale = sr_tpl_binary(R, 'P', sr_tint(10), digits), x = sr_tpl_binary(R, '*', v, scale);
    if (x.kind == SR_T_FLOAT) {
        if (!isfinite(x.f))
            sr_tpl_fail(R, SR_INVALID, "cannot convert float infinity or NaN to integer");
        x = sr_tfloat(up ? ceil(x.f) : floor(x.f));
        x.f += 0.0; /* Python's ceil gives an int, which knows no -0 */
    }
    return sr_tpl_binary(R, '/', x, scale);
}

static sr_tval f_filesizeformat(sr_trun *R, sr_tval v, sr_tcall *c)
{
    static const char *const decimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char *const binary[]  = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    bool bin                           = truth(R, c->a[0], false);
    double base = bin ? 1024 : 1000, unit = base, f = 0;
    char buf[400];
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (sr_tis_num(v))
        f = sr_tas_double(v);
    else if (v.kind != SR_T_STR || !sr_tpl_parse_float(v.s->p, v.s->n, &f))
        sr_tpl_fail(R, SR_INVALID, "filesizeformat wants a number");
    if (f == 1)
        return sr_tpl_strz(R, "1 Byte");
    if (f < base) {
        sr_tpl_float_to_int(R, f); /* fails as Python's int() does */
        snprintf(buf, sizeof buf, "%lld Bytes", (long long)f);
    } else {
        int i = 0;
        for (;; i++) {
            unit *= base;
            if (f < unit || i == 7)
                break;
        }
        snprintf(buf, sizeof buf, "%.1f %s", base * f / unit, bin ? binary[i] : decimal[i]);
        if (isnan(f) || isinf(f))
            snprintf(buf, sizeof buf, "%s %s", isnan(f) ? "nan" : "inf", bin ? "YiB" : "YB");
    }
    sr_tbuf b = {.R = R};
    sr_tbuf_z(&b, buf);
    return sr_tbuf_str(&b);
}

/* ---- the rest ---- */

static sr_tval f_default(sr_trun *R, sr_tval v, sr_tcall *c)
{
    if (v.kind == SR_T_UNDEF || (truth(R, c->a[1], false) && !sr_tpl_true(R, v)))
        return given(c->a[0]) ? c->a[0] : sr_tpl_strz(R, "");
    return v;
}

/* pprint's order of keys: as they compare; kinds that do not compare, by the name of their type. */
static bool sorts_before(sr_trun *R, sr_tval a, sr_tval b)
{
    sr_tpl_charge(R, 1);
    if (a.kind == SR_T_UNDEF || b.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, a.kind == SR_T_UNDEF ? a : b);
    if ((sr_tis_num(a) && sr_tis_num(b)) ||
        (a.kind == b.kind && (a.kind == SR_T_STR || a.kind == SR_T_TUPLE)))
        return sr_tpl_order(R, SR_TLT, a, b);
    return strcmp(sr_tpl_typename(a), sr_tpl_typename(b)) < 0;
}

static void put_sorted(sr_tbuf *b, sr_tval v);

static void put_sorted_dict(sr_tbuf *b, const sr_tdict *d)
{
    sr_trun *R   = b->R;
    sr_tval keys = sr_tpl_seq(R, SR_T_LIST, d->n);
    for (size_t i = 0; i < d->n; i++) { /* by insertion: what is pretty-printed is small */
        size_t j = keys.l->n;
        sr_tpl_push(R, keys.l, d->e[i].key);
        for (; j && sorts_before(R, d->e[i].key, keys.l->p[j - 1]); j--)
            keys.l->p[j] = keys.l->p[j - 1];
        keys.l->p[j] = d->e[i].key;
    }
    sr_tbuf_char(b, '{');
    for (size_t i = 0; i < keys.l->n; i++) {
        sr_tbuf_z(b, i ? ", " : "");
        put_sorted(b, keys.l->p[i]);
        sr_tbuf_z(b, ": ");
        put_sorted(b, *sr_tpl_dict_get(R, d, keys.l->p[i]));
    }
    sr_tbuf_char(b, '}');
}

static void put_sorted(sr_tbuf *b, sr_tval v)
{
    bool list = v.kind == SR_T_LIST;
    sr_tpl_enter(b->R);
    if (v.kind == SR_T_DICT) {
        put_sorted_dict(b, v.d);
    } else if ((list || v.kind == SR_T_TUPLE) && !v.l->group) { /* groupby's pairs have a repr of their own */
        sr_tbuf_char(b, list ? '[' : '(');
        for (size_t i = 0; i < v.l->n; i++) {
            sr_tbuf_z(b, i ? ", " : "");
            put_sorted(b, v.l->p[i]);
        }
        sr_tbuf_z(b, list ? "]" : v.l->n == 1 ? ",)" : ")");
    } else {
        sr_tpl_put_repr(b, v);
    }
    sr_tpl_leave(b->R);
}

static sr_tval f_pprint(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tbuf b = {.R = R};
    (void)c;
    put_sorted(&b, v);
    sr_tval s = sr_tbuf_str(&b);
    if (sr_tpl_cps(R, s.s) > 80 &&
        (v.kind == SR_T_DICT || v.kind == SR_T_LIST || v.kind == SR_T_TUPLE || v.kind == SR_T_STR))
        sr_tpl_fail(R, SR_UNSUPPORTED, "pprint of more than one line");
    return s;
}

static sr_tval f_absent(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)v, (void)c;
    sr_tpl_fail(R, SR_UNSUPPORTED, "the filters random and urlize");
}

static const sr_tbuiltin filters[] = {
    {"abs", f_abs, "/", 0, 0, 0},
    {"attr", sr_tf_attr, "name", 1, 0, 0},
    {"batch", sr_tf_batch, "linecount,fill_with", 1, 0, 0},
    {"capitalize", f_capitalize, "", 0, 0, 0},
    {"center", f_center, "width", 0, 0, 0},
    {"count", sr_tf_length, "/", 0, 0, 0},
    {"d", f_default, "default_value,boolean", 0, 0, 0},
    {"default", f_default, "default_value,boolean", 0, 0, 0},
    {"dictsort", sr_tf_dictsort, "case_sensitive,by,reverse", 0, 0, 0},
    {"e", f_escape, "/", 0, 0, 0},
    {"escape", f_escape, "/", 0, 0, 0},
    {"filesizeformat", f_filesizeformat, "binary", 0, 0, 0},
    {"first", sr_tf_first, "", 0, 0, 0},
    {"float", f_float, "default", 0, 0, 0},
    {"forceescape", f_forceescape, "", 0, 0, 0},
    {"format", f_format, NULL, 0, 0, 0},
    {"groupby", sr_tf_groupby, "attribute,default,case_sensitive", 1, 0, 0},
    {"indent", f_indent, "width,first,blank", 0, 0, 0},
    {"int", f_int, "default,base", 0, 0, 0},
    {"items", sr_tf_items, "", 0, 0, 0},
    {"join", sr_tf_join, "d,attribute", 0, 0, 0},
    {"last", sr_tf_last, "", 0, 0, 0},
    {"length", sr_tf_length, "/", 0, 0, 0},
    {"list", sr_tf_list, "", 0, 0, 0},
    {"lower", f_lower, "", 0, 0, 0},
    {"map", sr_tf_map, NULL, 0, 0, 0},
    {"max", sr_tf_max, "case_sensitive,attribute", 0, 0, 0},
    {"min", sr_tf_min, "case_sensitive,attribute", 0, 0, 0},
    {"pprint", f_pprint, "", 0, 0, 0},
    {"random", f_absent, NULL, 0, 0, 0},
    {"reject", sr_tf_reject, NULL, 0, 0, 0},
    {"rejectattr", sr_tf_rejectattr, NULL, 0, 0, 0},
    {"replace", f_replace, "old,new,count", 2, 0, 0},
    {"reverse", sr_tf_reverse, "", 0, 0, 0},
    {"round", f_round, "precision,method", 0, 0, 0},
    {"safe", f_safe, "", 0, 0, 0},
    {"select", sr_tf_select, NULL, 0, 0, 0},
    {"selectattr", sr_tf_selectattr, NULL, 0, 0, 0},
    {"slice", sr_tf_slice, "slices,fill_with", 1, 0, 0},
    {"sort", sr_tf_sort, "reverse,case_sensitive,attribute", 0, 0, 0},
    {"string", f_string, "/", 0, 0, 0},
    {"striptags", f_striptags, "", 0, 0, 0},
    {"sum", sr_tf_sum, "attribute,start", 0, 0, 0},
    {"title", f_title, "", 0, 0, 0},
    {"tojson", sr_tpl_tojson, "ensure_ascii,indent,separators,sort_keys", 0, 0, 0},
    {"trim", f_trim, "chars", 0, 0, 0},
    {"truncate", f_truncate, "length,killwords,end,leeway", 0, 0, 0},
    {"unique", sr_tf_unique, "case_sensitive,attribute", 0, 0, 0},
    {"upper", f_upper, "", 0, 0, 0},
    {"urlencode", f_urlencode, "", 0, 0, 0},
    {"urlize", f_absent, NULL, 0, 0, 0},
    {"wordcount", f_wordcount, "", 0, 0, 0},
    {"wordwrap", f_wordwrap, "width,break_long_words,wrapstring,break_on_hyphens", 0, 0, 0},
    {"xmlattr", f_xmlattr, "autospace", 0, 0, 0},
};

const sr_tbuiltin *sr_tpl_filter(const char *name, size_t n)
{
    for (size_t i = 0; i < SR_COUNT(filters); i++)
        if (strlen(filters[i].name) == n && !memcmp(filters[i].name, name, n))
            return &filters[i];
    return NULL;
}
