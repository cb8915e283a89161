/* Methods of strings, lists, dicts and the other values.  What would change a list or dict is listed too, for
 * the immutable sandbox to hide: transformers renders in one. */
#include "text/template_eval.h"
#include "text/template_format.h"
#include "text/template_string.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

#define METHOD(name, expr)                                                                                   \
    static sr_tval name(sr_trun *R, sr_tval v, sr_tcall *c)                                                  \
    {                                                                                                        \
        (void)R, (void)v, (void)c;                                                                           \
        return expr;                                                                                         \
    }

static bool given(sr_tval v) { return v.kind != SR_T_MISSING; }
static sr_tval str(sr_trun *R, sr_tbuf *b, const sr_tstr *like)
{
    return sr_tpl_markup(R, sr_tbuf_str(b), like->markup);
}

/* A string argument; Markup escapes those that are not Markup. */
static const sr_tstr *text_arg(sr_trun *R, const sr_tstr *self, sr_tval v)
{
    const sr_tstr *s = sr_tpl_need_str(R, v, "argument");
    return self->markup && !s->markup ? sr_tpl_escape(R, v).s : s;
}

static int64_t int_or(sr_trun *R, sr_tval v, int64_t none) { return given(v) ? sr_tpl_need_int(R, v) : none; }

static sr_tval hidden(sr_trun *R, sr_tval self, sr_tcall *c)
{
    (void)c;
    sr_tpl_fail(R, SR_INVALID, "a method that changes a %s",
                sr_tpl_typename(self)); /* the sandbox stops before this */
}

static sr_tval absent(sr_trun *R, sr_tval self, sr_tcall *c)
{
    (void)c;
    sr_tpl_fail(R, SR_UNSUPPORTED, "this method of %s", sr_tpl_typename(self));
}

/* ---- str: case, space, padding ---- */

METHOD(s_upper, sr_tpl_case(R, v.s, SR_CASE_UPPER))
METHOD(s_lower, sr_tpl_case(R, v.s, SR_CASE_LOWER))
METHOD(s_title, sr_tpl_case(R, v.s, SR_CASE_TITLE))
METHOD(s_capitalize, sr_tpl_case(R, v.s, SR_CASE_CAPITAL))
METHOD(s_swapcase, sr_tpl_case(R, v.s, SR_CASE_SWAP))
static sr_tval s_casefold(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    return sr_tpl_markup(R, sr_tpl_case(R, v.s, SR_CASE_FOLD), false);
}

static sr_tval strip(sr_trun *R, sr_tval v, sr_tcall *c, char which)
{
    if (!given(c->a[0]) || c->a[0].kind == SR_T_NONE)
        return sr_tpl_strip(R, v.s, NULL, which);
    return sr_tpl_strip(R, v.s, text_arg(R, v.s, c->a[0]), which);
}
METHOD(s_strip, strip(R, v, c, 'b'))
METHOD(s_lstrip, strip(R, v, c, 'l'))
METHOD(s_rstrip, strip(R, v, c, 'r'))

static sr_tval justify(sr_trun *R, sr_tval v, sr_tcall *c, char which)
{
    int64_t width = sr_tpl_need_int(R, c->a[0]);
    return sr_tpl_justify(R, v.s, width, given(c->a[1]) ? text_arg(R, v.s, c->a[1]) : NULL, which);
}
METHOD(s_center, justify(R, v, c, 'c'))
METHOD(s_ljust, justify(R, v, c, 'l'))
METHOD(s_rjust, justify(R, v, c, 'r'))

static sr_tval s_zfill(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tbuf b   = {.R = R};
    int64_t pad = sr_tpl_need_int(R, c->a[0]) - (int64_t)sr_tpl_cps(R, v.s);
    size_t sign = v.s->n && (v.s->p[0] == '-' || v.s->p[0] == '+');
    if (pad <= 0)
        return v;
    sr_tbuf_add(&b, v.s->p, sign);
    sr_tbuf_pad(&b, "0", 1, (uint64_t)pad);
    sr_tbuf_add(&b, v.s->p + sign, v.s->n - sign);
    return str(R, &b, v.s);
}

static sr_tval s_expandtabs(sr_trun *R, sr_tval v, sr_tcall *c)
{
    int64_t size = int_or(R, c->a[0], 8), column = 0;
    sr_tbuf b = {.R = R};
    size_t k;
    for (size_t i = 0; i < v.s->n; i += k) {
        uint32_t cp = sr_tpl_cp(v.s->p + i, v.s->n - i, &k);
        if (cp == '\t') {
            int64_t n = size > 0 ? size - column % size : 0;
            sr_tbuf_pad(&b, " ", 1, (uint64_t)n);
            column += n;
        } else {
            column = cp == '\n' || cp == '\r' ? 0 : column + 1;
            sr_tbuf_add(&b, v.s->p + i, k);
        }
    }
    sr_tpl_bytes(R, v.s->n * 4);
    return str(R, &b, v.s);
}

/* ---- str: cutting and joining ---- */

static const sr_tstr *separator(sr_trun *R, sr_tval v)
{
    return given(v) && v.kind != SR_T_NONE ? sr_tpl_need_str(R, v, "separator") : NULL;
}
static sr_tval s_split(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return sr_tpl_split(R, v.s, separator(R, c->a[0]), int_or(R, c->a[1], -1));
}
static sr_tval s_rsplit(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return sr_tpl_rsplit(R, v.s, separator(R, c->a[0]), int_or(R, c->a[1], -1));
}
static sr_tval s_splitlines(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return sr_tpl_splitlines(R, v.s, given(c->a[0]) && sr_tpl_true(R, c->a[0]));
}

static sr_tval partition(sr_trun *R, sr_tval v, sr_tcall *c, bool last)
{
    const sr_tstr *sep = v.s->markup ? sr_tpl_escape(R, c->a[0]).s : text_arg(R, v.s, c->a[0]);
    sr_tval list       = last ? sr_tpl_rsplit(R, v.s, sep, 1) : sr_tpl_split(R, v.s, sep, 1);
    sr_tval t = sr_tpl_seq(R, SR_T_TUPLE, 3), none = sr_tpl_markup(R, sr_tpl_strz(R, ""), v.s->markup);
    bool hit    = list.l->n == 2;
    sr_tval mid = v.s->markup ? sr_tpl_markup(R, sr_tpl_substr(R, sep, 0, sep->n), true) : c->a[0];
    sr_tpl_push(R, t.l, hit || !last ? list.l->p[0] : none);
    sr_tpl_push(R, t.l, hit ? mid : none);
    sr_tpl_push(R, t.l, hit ? list.l->p[1] : last ? list.l->p[0] : none);
    return t;
}
METHOD(s_partition, partition(R, v, c, false))
METHOD(s_rpartition, partition(R, v, c, true))

METHOD(s_join, sr_tpl_join(R, v.s, c->a[0], false))

static sr_tval s_replace(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *old = text_arg(R, v.s, c->a[0]), *to = text_arg(R, v.s, c->a[1]);
    return sr_tpl_replace(R, v.s, old, to, int_or(R, c->a[2], -1));
}

static sr_tval s_removeprefix(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *x = sr_tpl_need_str(R, c->a[0], "prefix");
    bool hit         = v.s->n >= x->n && !memcmp(v.s->p, x->p, x->n);
    sr_tval r        = sr_tpl_substr(R, v.s, hit ? x->n : 0, v.s->n - (hit ? x->n : 0));
    return sr_tpl_markup(R, r, false);
}
static sr_tval s_removesuffix(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *x = sr_tpl_need_str(R, c->a[0], "suffix");
    bool hit         = v.s->n >= x->n && !memcmp(v.s->p + v.s->n - x->n, x->p, x->n);
    return sr_tpl_markup(R, sr_tpl_substr(R, v.s, 0, v.s->n - (hit ? x->n : 0)), false);
}

/* ---- str: searching ---- */

/* [start, end) of the arguments a[from], a[from + 1] in bytes; false: an empty range past the end */
static bool window(sr_trun *R, sr_tstr *s, const sr_tval *a, size_t *from, size_t *to)
{
    int64_t n = (int64_t)sr_tpl_cps(R, s);
    int64_t i = given(a[0]) && a[0].kind != SR_T_NONE ? sr_tpl_need_int(R, a[0]) : 0;
    int64_t j = given(a[1]) && a[1].kind != SR_T_NONE ? sr_tpl_need_int(R, a[1]) : n;
    i         = i < 0 ? SR_MAX(i + n, 0) : i;
    j         = j < 0 ? SR_MAX(j + n, 0) : SR_MIN(j, n);
    if (i > j)
        return false;
    *from = sr_tpl_offset(R, s, (size_t)i);
    *to   = sr_tpl_offset(R, s, (size_t)j);
    return true;
}

static int64_t find(sr_trun *R, sr_tval v, sr_tcall *c, bool last)
{
    const sr_tstr *x = sr_tpl_need_str(R, c->a[0], "argument");
    size_t from, to;
    const char *hit = NULL;
    if (!window(R, v.s, c->a + 1, &from, &to))
        return -1;
    sr_tpl_bytes(R, (to - from) * (last ? x->n + 1 : 1));
    if (!last)
        hit = x->n ? memmem(v.s->p + from, to - from, x->p, x->n) : v.s->p + from;
    else
        for (size_t i = to - from >= x->n ? to - x->n + 1 : from; !hit && i-- > from;)
            if (!memcmp(v.s->p + i, x->p, x->n) && (i == v.s->n || ((unsigned char)v.s->p[i] & 0xc0) != 0x80))
                hit = v.s->p + i;
    return hit ? (int64_t)sr_tpl_count(v.s->p, (size_t)(hit - v.s->p)) : -1;
}
METHOD(s_find, sr_tint(find(R, v, c, false)))
METHOD(s_rfind, sr_tint(find(R, v, c, true)))

static sr_tval found(sr_trun *R, int64_t i)
{
    if (i < 0)
        sr_tpl_fail(R, SR_INVALID, "substring not found");
    return sr_tint(i);
}
METHOD(s_index, found(R, find(R, v, c, false)))
METHOD(s_rindex, found(R, find(R, v, c, true)))

static sr_tval s_count(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tstr *x = sr_tpl_need_str(R, c->a[0], "argument");
    size_t from, to;
    int64_t n = 0;
    const char *hit;
    if (!window(R, v.s, c->a + 1, &from, &to))
        return sr_tint(0);
    if (!x->n)
        return sr_tint((int64_t)sr_tpl_count(v.s->p + from, to - from) + 1);
    sr_tpl_bytes(R, to - from);
    for (; (hit = memmem(v.s->p + from, to - from, x->p, x->n)); n++) {
        from = (size_t)(hit - v.s->p) + x->n;
        if (!(n & 7))
            sr_tpl_charge(R, 1);
    }
    return sr_tint(n);
}

static bool affix(sr_trun *R, sr_tval v, sr_tval x, size_t from, size_t to, bool end)
{
    if (x.kind == SR_T_TUPLE) {
        for (size_t i = 0; i < x.l->n; i++)
            if (x.l->p[i].kind != SR_T_STR)
                sr_tpl_fail(R, SR_INVALID, "tuple for startswith or endswith must only contain str, not %s",
                            sr_tpl_typename(x.l->p[i]));
            else if (affix(R, v, x.l->p[i], from, to, end))
                return true;
        return false;
    }
    const sr_tstr *s = sr_tpl_need_str(R, x, "startswith or endswith argument");
    sr_tpl_charge(R, 1);
    return to - from >= s->n && !memcmp(v.s->p + (end ? to - s->n : from), s->p, s->n);
}
static sr_tval starts(sr_trun *R, sr_tval v, sr_tcall *c, bool end)
{
    size_t from = 0, to = v.s->n;
    bool in = (!given(c->a[1]) && !given(c->a[2])) || window(R, v.s, c->a + 1, &from, &to);
    if (!in)
        to = from;
    return sr_tbool(affix(R, v, c->a[0], from, to, end) && in);
}
METHOD(s_startswith, starts(R, v, c, false))
METHOD(s_endswith, starts(R, v, c, true))

/* ---- str: what it is made of ---- */

static sr_tval all(sr_trun *R, sr_tval v, bool (*is)(uint32_t), bool empty)
{
    size_t k;
    sr_tpl_charge(R, v.s->n >> 6);
    for (size_t i = 0; i < v.s->n; i += k)
        if (!is(sr_tpl_cp(v.s->p + i, v.s->n - i, &k)))
            return sr_tbool(false);
    return sr_tbool(v.s->n ? true : empty);
}
static bool is_ascii(uint32_t cp) { return cp < 0x80; }
METHOD(s_isalpha, all(R, v, sr_tpl_is_alpha, false))
METHOD(s_isdigit, all(R, v, sr_tpl_is_digit, false))
METHOD(s_isdecimal, all(R, v, sr_tpl_is_decimal, false))
METHOD(s_isnumeric, all(R, v, sr_tpl_is_numeric, false))
METHOD(s_isalnum, all(R, v, sr_tpl_is_alnum, false))
METHOD(s_isspace, all(R, v, sr_tpl_is_space, false))
METHOD(s_isprintable, all(R, v, sr_tpl_is_printable, true))
METHOD(s_isascii, all(R, v, is_ascii, true))

static sr_tval s_isidentifier(sr_trun *R, sr_tval v, sr_tcall *c)
{
    size_t k;
    (void)c;
    sr_tpl_charge(R, v.s->n >> 6);
    for (size_t i = 0; i < v.s->n; i += k)
        if (!sr_tpl_is_ident(sr_tpl_cp(v.s->p + i, v.s->n - i, &k), i == 0))
            return sr_tbool(false);
    return sr_tbool(v.s->n != 0);
}

/* lower or upper: a cased character, and none of the other case */
bool sr_tpl_all_case(sr_trun *R, const sr_tstr *s, bool upper)
{
    bool any = false;
    size_t k;
    sr_tpl_charge(R, s->n >> 6);
    for (size_t i = 0; i < s->n; i += k) {
        uint32_t cp = sr_tpl_cp(s->p + i, s->n - i, &k);
        if ((upper ? sr_tpl_is_lower(cp) : sr_tpl_is_upper(cp)) || sr_tpl_is_titled(cp))
            return false;
        any = any || (upper ? sr_tpl_is_upper(cp) : sr_tpl_is_lower(cp));
    }
    return any;
}
METHOD(s_islower, sr_tbool(sr_tpl_all_case(R, v.s, false)))
METHOD(s_isupper, sr_tbool(sr_tpl_all_case(R, v.s, true)))

static sr_tval s_istitle(sr_trun *R, sr_tval v, sr_tcall *c)
{
    bool in_word = false, any = false;
    size_t k;
    (void)c;
    sr_tpl_charge(R, v.s->n >> 6);
    for (size_t i = 0; i < v.s->n; i += k) {
        uint32_t cp = sr_tpl_cp(v.s->p + i, v.s->n - i, &k);
        bool upper = sr_tpl_is_upper(cp) || sr_tpl_is_titled(cp), lower = sr_tpl_is_lower(cp);
        if ((upper && in_word) || (lower && !in_word))
            return sr_tbool(false);
        in_word = upper || lower;
        any     = any || in_word;
    }
    return sr_tbool(any);
}

/* ---- str: the rest ---- */

METHOD(s_format, sr_tpl_strformat(R, v.s, c))

static sr_tval s_format_map(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tcall f = {0};
    if (c->a[0].kind != SR_T_DICT)
        sr_tpl_fail(R, SR_INVALID, "format_map wants a dict, not %s", sr_tpl_typename(c->a[0]));
    const sr_tdict *d = c->a[0].d;
    f.kw              = sr_tpl_alloc(R, d->n * sizeof *f.kw);
    f.kwv             = sr_tpl_alloc(R, d->n * sizeof *f.kwv);
    for (size_t i = 0; i < d->n; i++)
        if (d->e[i].key.kind == SR_T_STR) {
            f.kw[f.n_kw]    = d->e[i].key.s;
            f.kwv[f.n_kw++] = d->e[i].val;
        }
    return sr_tpl_strformat(R, v.s, &f);
}

METHOD(s_unescape, sr_tpl_unescape(R, v.s->p, v.s->n))
METHOD(s_striptags, sr_tpl_striptags(R, v.s))

static const sr_tbuiltin of_str[] = {
    {"capitalize", s_capitalize, "/", 0, 0, 0},
    {"casefold", s_casefold, "/", 0, 0, 0},
    {"center", s_center, "/width,fill", 1, 0, 0},
    {"count", s_count, "/sub,start,end", 1, 0, 0},
    {"encode", absent, NULL, 0, 0, 0},
    {"endswith", s_endswith, "/suffix,start,end", 1, 0, 0},
    {"expandtabs", s_expandtabs, "tabsize", 0, 0, 0},
    {"find", s_find, "/sub,start,end", 1, 0, 0},
    {"format", s_format, NULL, 0, 0, 0},
    {"format_map", s_format_map, "/mapping", 1, 0, 0},
    {"index", s_index, "/sub,start,end", 1, 0, 0},
    {"isalnum", s_isalnum, "/", 0, 0, 0},
    {"isalpha", s_isalpha, "/", 0, 0, 0},
    {"isascii", s_isascii, "/", 0, 0, 0},
    {"isdecimal", s_isdecimal, "/", 0, 0, 0},
    {"isdigit", s_isdigit, "/", 0, 0, 0},
    {"isidentifier", s_isidentifier, "/", 0, 0, 0},
    {"islower", s_islower, "/", 0, 0, 0},
    {"isnumeric", s_isnumeric, "/", 0, 0, 0},
    {"isprintable", s_isprintable, "/", 0, 0, 0},
    {"isspace", s_isspace, "/", 0, 0, 0},
    {"istitle", s_istitle, "/", 0, 0, 0},
    {"isupper", s_isupper, "/", 0, 0, 0},
    {"join", s_join, "/iterable", 1, 0, 0},
    {"ljust", s_ljust, "/width,fill", 1, 0, 0},
    {"lower", s_lower, "/", 0, 0, 0},
    {"lstrip", s_lstrip, "/chars", 0, 0, 0},
    {"maketrans", absent, NULL, 0, 0, 0},
    {"partition", s_partition, "/sep", 1, 0, 0},
    {"removeprefix", s_removeprefix, "/prefix", 1, 0, 0},
    {"removesuffix", s_removesuffix, "/suffix", 1, 0, 0},
    {"replace", s_replace, "/old,new,count", 2, 0, 0},
    {"rfind", s_rfind, "/sub,start,end", 1, 0, 0},
    {"rindex", s_rindex, "/sub,start,end", 1, 0, 0},
    {"rjust", s_rjust, "/width,fill", 1, 0, 0},
    {"rpartition", s_rpartition, "/sep", 1, 0, 0},
    {"rsplit", s_rsplit, "sep,maxsplit", 0, 0, 0},
    {"rstrip", s_rstrip, "/chars", 0, 0, 0},
    {"split", s_split, "sep,maxsplit", 0, 0, 0},
    {"splitlines", s_splitlines, "keepends", 0, 0, 0},
    {"startswith", s_startswith, "/prefix,start,end", 1, 0, 0},
    {"strip", s_strip, "/chars", 0, 0, 0},
    {"swapcase", s_swapcase, "/", 0, 0, 0},
    {"title", s_title, "/", 0, 0, 0},
    {"translate", absent, NULL, 0, 0, 0},
    {"upper", s_upper, "/", 0, 0, 0},
    {"zfill", s_zfill, "/width", 1, 0, 0},
};
static const sr_tbuiltin of_markup[] = {
    {"striptags", s_striptags, "/", 0, 0, 0},
    {"unescape", s_unescape, "/", 0, 0, 0},
    {"escape", absent, NULL, 0, 0, 0},
};

/* ---- list and tuple ---- */

static sr_tval l_index(sr_trun *R, sr_tval v, sr_tcall *c)
{
    int64_t n = (int64_t)v.l->n, i = int_or(R, c->a[1], 0), j = int_or(R, c->a[2], n);
    i = i < 0 ? SR_MAX(i + n, 0) : i;
    j = j < 0 ? j + n : SR_MIN(j, n);
    for (; i < j; i++)
        if (sr_tpl_eq(R, v.l->p[i], c->a[0]))
            return sr_tint(i);
    sr_tpl_fail(R, SR_INVALID, "value is not in %s", sr_tpl_typename(v));
}

static sr_tval l_count(sr_trun *R, sr_tval v, sr_tcall *c)
{
    int64_t n = 0;
    for (size_t i = 0; i < v.l->n; i++)
        n += sr_tpl_eq(R, v.l->p[i], c->a[0]);
    return sr_tint(n);
}

METHOD(l_copy, sr_tpl_list(R, v))

static const sr_tbuiltin of_list[] = {
    {"count", l_count, "/value", 1, 0, 0}, {"index", l_index, "/value,start,stop", 1, 0, 0},
    {"copy", l_copy, "/", 0, 0, 0},        {"append", hidden, NULL, 0, true, 0},
    {"clear", hidden, NULL, 0, true, 0},   {"extend", hidden, NULL, 0, true, 0},
    {"insert", hidden, NULL, 0, true, 0},  {"pop", hidden, NULL, 0, true, 0},
    {"remove", hidden, NULL, 0, true, 0},  {"reverse", hidden, NULL, 0, true, 0},
    {"sort", hidden, NULL, 0, true, 0},
};

/* ---- dict ---- */

static sr_tval d_get(sr_trun *R, sr_tval v, sr_tcall *c)
{
    const sr_tval *r = sr_tpl_dict_get(R, v.d, c->a[0]);
    return r ? *r : given(c->a[1]) ? c->a[1] : sr_tnone();
}

static sr_tval view(sr_tval v, uint32_t what) { return (sr_tval){.kind = SR_T_VIEW, .sub = what, .d = v.d}; }
METHOD(d_keys, view(v, SR_TVIEW_KEYS))
METHOD(d_values, view(v, SR_TVIEW_VALUES))
METHOD(d_items, view(v, SR_TVIEW_ITEMS))

static sr_tval d_copy(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval d = sr_tpl_dict(R, v.d->n);
    (void)c;
    for (size_t i = 0; i < v.d->n; i++)
        sr_tpl_dict_set(R, d.d, v.d->e[i].key, v.d->e[i].val);
    sr_tpl_charge(R, v.d->n);
    return d;
}

static sr_tval d_fromkeys(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval d    = sr_tpl_dict(R, 0), key;
    sr_titer *it = sr_tpl_iter(R, c->a[0]);
    (void)v;
    while (sr_tpl_next(R, it, &key))
        sr_tpl_dict_set(R, d.d, key, given(c->a[1]) ? c->a[1] : sr_tnone());
    return d;
}

static const sr_tbuiltin of_dict[] = {
    {"get", d_get, "/key,default", 1, 0, 0}, {"keys", d_keys, "/", 0, 0, 0},
    {"values", d_values, "/", 0, 0, 0},      {"items", d_items, "/", 0, 0, 0},
    {"copy", d_copy, "/", 0, 0, 0},          {"fromkeys", d_fromkeys, "/iterable,value", 1, 0, 0},
    {"clear", hidden, NULL, 0, true, 0},     {"pop", hidden, NULL, 0, true, 0},
    {"popitem", hidden, NULL, 0, true, 0},   {"setdefault", hidden, NULL, 0, true, 0},
    {"update", hidden, NULL, 0, true, 0},
};

/* ---- numbers, ranges, helpers ---- */

static sr_tval n_bit_length(sr_trun *R, sr_tval v, sr_tcall *c)
{
    int64_t i = sr_tas_int(v);
    (void)R, (void)c;
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    return sr_tint(u ? 64 - __builtin_clzll(u) : 0);
}
static sr_tval n_bit_count(sr_trun *R, sr_tval v, sr_tcall *c)
{
    int64_t i = sr_tas_int(v);
    (void)R, (void)c;
    return sr_tint(__builtin_popcountll(i < 0 ? 0 - (uint64_t)i : (uint64_t)i));
}
static sr_tval n_conjugate(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)R, (void)c;
    return v.kind == SR_T_FLOAT ? v : sr_tint(sr_tas_int(v));
}
static sr_tval n_ratio(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    return sr_tpl_pair(R, sr_tint(sr_tas_int(v)), sr_tint(1));
}
static sr_tval f_is_integer(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)R, (void)c;
    return sr_tbool(isfinite(v.f) && floor(v.f) == v.f);
}

static const sr_tbuiltin of_int[] = {
    {"bit_length", n_bit_length, "/", 0, 0, 0}, {"bit_count", n_bit_count, "/", 0, 0, 0},
    {"conjugate", n_conjugate, "/", 0, 0, 0},   {"as_integer_ratio", n_ratio, "/", 0, 0, 0},
    {"to_bytes", absent, NULL, 0, 0, 0},        {"from_bytes", absent, NULL, 0, 0, 0},
};
static const sr_tbuiltin of_float[] = {
    {"is_integer", f_is_integer, "/", 0, 0, 0},  {"conjugate", n_conjugate, "/", 0, 0, 0},
    {"as_integer_ratio", absent, NULL, 0, 0, 0}, {"hex", absent, NULL, 0, 0, 0},
    {"fromhex", absent, NULL, 0, 0, 0},
};

static sr_tval r_index(sr_trun *R, sr_tval v, sr_tcall *c)
{
    for (int64_t i = 0; i < v.r->n; i++)
        if (sr_tpl_eq(R, sr_tint(v.r->start + i * v.r->step), c->a[0]))
            return sr_tint(i);
    sr_tpl_fail(R, SR_INVALID, "value is not in range");
}
METHOD(r_count, sr_tint(sr_tpl_in(R, c->a[0], v)))

static const sr_tbuiltin of_range[] = {{"index", r_index, "/value", 1, 0, 0},
                                       {"count", r_count, "/value", 1, 0, 0}};
static const sr_tbuiltin of_view[]  = {{"isdisjoint", absent, NULL, 0, 0, 0}};

static sr_tval lp_cycle(sr_trun *R, sr_tval v, sr_tcall *c)
{
    if (!c->n || c->n_kw)
        sr_tpl_fail(R, SR_INVALID, "loop.cycle wants the values to cycle through");
    return c->pos[(size_t)v.lp->index0 % c->n];
}
static sr_tval lp_changed(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval t = sr_tpl_seq(R, SR_T_TUPLE, c->n);
    if (c->n_kw)
        sr_tpl_fail(R, SR_INVALID, "loop.changed takes no keyword arguments");
    for (size_t i = 0; i < c->n; i++)
        sr_tpl_push(R, t.l, c->pos[i]);
    if (v.lp->changed.kind == SR_T_TUPLE && sr_tpl_eq(R, v.lp->changed, t))
        return sr_tbool(false);
    v.lp->changed = t;
    return sr_tbool(true);
}
static const sr_tbuiltin of_loop[] = {{"cycle", lp_cycle, NULL, 0, 0, 0},
                                      {"changed", lp_changed, NULL, 0, 0, 0}};

static sr_tval cy_next(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tcycler *y = v.cy;
    (void)R, (void)c;
    sr_tval r = y->items.l->p[y->pos];
    y->pos    = (y->pos + 1) % y->items.l->n;
    return r;
}
static sr_tval cy_reset(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)R, (void)c;
    v.cy->pos = 0;
    return sr_tnone();
}
static const sr_tbuiltin of_cycler[] = {{"next", cy_next, "/", 0, 0, 0}, {"reset", cy_reset, "/", 0, 0, 0}};

/* ---- the table of tables ---- */

static const sr_tbuiltin *in(const sr_tbuiltin *t, size_t n, const sr_tstr *name)
{
    for (size_t i = 0; i < n; i++)
        if (t[i].name[0] == name->p[0] && sr_tpl_streq(name, t[i].name))
            return &t[i];
    return NULL;
}
#define IN(table) in(table, SR_COUNT(table), name)

const sr_tbuiltin *sr_tpl_method(sr_tkind kind, const sr_tstr *name)
{
    if (!name->n)
        return NULL;
    switch (kind) {
    case SR_T_STR:
        return IN(of_str);
    case SR_T_LIST:
        return IN(of_list);
    case SR_T_TUPLE:
        return in(of_list, 2, name); /* count and index */
    case SR_T_DICT:
        return IN(of_dict);
    case SR_T_BOOL:
    case SR_T_INT:
        return IN(of_int);
    case SR_T_FLOAT:
        return IN(of_float);
    case SR_T_RANGE:
        return IN(of_range);
    case SR_T_VIEW:
        return IN(of_view);
    case SR_T_LOOP:
        return IN(of_loop);
    case SR_T_CYCLER:
        return IN(of_cycler);
    default:
        return NULL;
    }
}

const sr_tbuiltin *sr_tpl_markup_method(const sr_tstr *name) { return name->n ? IN(of_markup) : NULL; }
