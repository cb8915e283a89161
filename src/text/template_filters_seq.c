/* Filters over sequences.  map, select, batch and their like are lazy: they give an iterator. */
#include "text/template_filters.h"
#include "text/template_string.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <string.h>

static bool given(sr_tval v) { return v.kind != SR_T_MISSING; }
static bool given_attr(sr_tval v) { return given(v) && v.kind != SR_T_NONE; }
static bool truth(sr_trun *R, sr_tval v, bool none) { return given(v) ? sr_tpl_true(R, v) : none; }

/* ---- "a.b.0" as a path of subscripts ---- */

typedef struct {
    sr_tval parts; /* a list; empty: the item itself */
    sr_tval none;  /* what undefined on the way becomes; MISSING: stays */
    bool fold;     /* strings lower-cased, for comparisons */
} getter;

static sr_tval path(sr_trun *R, sr_tval attr)
{
    sr_tval l = sr_tpl_seq(R, SR_T_LIST, 1);
    if (!given_attr(attr))
        return l;
    if (attr.kind != SR_T_STR) {
        sr_tpl_push(R, l.l, attr);
        return l;
    }
    l = sr_tpl_split(R, attr.s, sr_tpl_strz(R, ".").s, -1);
    for (size_t i = 0; i < l.l->n; i++) {
        const sr_tstr *s = l.l->p[i].s;
        int64_t v;
        bool number = s->n > 0;
        for (size_t j = 0; j < s->n; j++)
            number = number && s->p[j] >= '0' && s->p[j] <= '9';
        if (number && sr_tpl_parse_int(s->p, s->n, 10, &v) == 1)
            l.l->p[i] = sr_tint(v);
    }
    return l;
}

static sr_tval fold(sr_trun *R, sr_tval v, bool on)
{
    return on && v.kind == SR_T_STR ? sr_tpl_case(R, v.s, SR_CASE_LOWER) : v;
}

static sr_tval get(sr_trun *R, const getter *g, sr_tval item)
{
    for (size_t i = 0; i < g->parts.l->n; i++) {
        item = sr_tpl_getitem(R, item, g->parts.l->p[i]);
        if (given(g->none) && item.kind == SR_T_UNDEF)
            item = g->none;
    }
    return fold(R, item, g->fold);
}

static getter make_getter(sr_trun *R, sr_tval attr, sr_tval none, bool folds)
{
    return (getter){path(R, attr), given_attr(none) ? none : sr_tmissing(), folds};
}

/* ---- simple ones ---- */

sr_tval sr_tf_attr(sr_trun *R, sr_tval v, sr_tcall *c) { return sr_tpl_attr_only(R, v, c->a[0]); }
sr_tval sr_tf_length(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    return sr_tint((int64_t)sr_tpl_length(R, v));
}
sr_tval sr_tf_list(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    return sr_tpl_list(R, v);
}

sr_tval sr_tf_first(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval item;
    (void)c;
    return sr_tpl_next(R, sr_tpl_iter(R, v), &item) ? item
                                                    : sr_tpl_undef(R, "No first item, sequence was empty.");
}

sr_tval sr_tf_last(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval r = sr_tpl_reversed(R, v), item;
    (void)c;
    if (!given(r))
        sr_tpl_fail(R, SR_INVALID, "'%s' object is not reversible", sr_tpl_typename(v));
    return sr_tpl_next(R, r.it, &item) ? item : sr_tpl_undef(R, "No last item, sequence was empty.");
}

sr_tval sr_tf_reverse(sr_trun *R, sr_tval v, sr_tcall *c)
{
    (void)c;
    if (v.kind == SR_T_STR)
        return sr_tpl_slice(R, v, sr_tnone(), sr_tnone(), sr_tint(-1));
    sr_tval r = sr_tpl_reversed(R, v);
    if (given(r))
        return r;
    r = sr_tpl_list(R, v);
    for (size_t i = 0, n = r.l->n; i < n / 2; i++) {
        sr_tval t         = r.l->p[i];
        r.l->p[i]         = r.l->p[n - 1 - i];
        r.l->p[n - 1 - i] = t;
    }
    return r;
}

sr_tval sr_tf_join(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval sep = given(c->a[0]) ? sr_tpl_to_str(R, c->a[0]) : sr_tpl_strz(R, ""), item;
    if (given_attr(c->a[1])) {
        getter g     = make_getter(R, c->a[1], sr_tmissing(), false);
        sr_tval list = sr_tpl_seq(R, SR_T_LIST, 0);
        sr_titer *it = sr_tpl_iter(R, v);
        while (sr_tpl_next(R, it, &item))
            sr_tpl_push(R, list.l, get(R, &g, item));
        v = list;
    }
    return sr_tpl_join(R, sep.s, v, true);
}

sr_tval sr_tf_sum(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval total = given(c->a[1]) ? c->a[1] : sr_tint(0), item;
    getter g      = make_getter(R, c->a[0], sr_tmissing(), false);
    sr_titer *it  = sr_tpl_iter(R, v);
    if (total.kind == SR_T_STR)
        sr_tpl_fail(R, SR_INVALID, "sum() can't sum strings");
    while (sr_tpl_next(R, it, &item))
        total = sr_tpl_binary(R, '+', total, get(R, &g, item));
    return total;
}

/* ---- order ---- */

typedef struct {
    sr_tval key, item;
} keyed;

/* A key that is a list compares as Python's lists do: equal parts are skipped before anything is ordered. */
static bool less(sr_trun *R, sr_tval a, sr_tval b) { return sr_tpl_order(R, SR_TLT, a, b); }

/* Stable; `reverse` keeps equal items in order, as Python's does. */
static void merge_sort(sr_trun *R, keyed *e, keyed *tmp, size_t n, bool reverse)
{
    if (n < 2)
        return;
    size_t m = n / 2, i = 0, j = m, k = 0;
    merge_sort(R, e, tmp, m, reverse);
    merge_sort(R, e + m, tmp, n - m, reverse);
    while (i < m && j < n) {
        bool second = reverse ? less(R, e[i].key, e[j].key) : less(R, e[j].key, e[i].key);
        tmp[k++]    = second ? e[j++] : e[i++];
    }
    while (i < m)
        tmp[k++] = e[i++];
    memcpy(e, tmp, k * sizeof *e);
}

static sr_tval sorted(sr_trun *R, const keyed *from, size_t n, bool reverse)
{
    keyed *e  = sr_tpl_alloc(R, (2 * n + 1) * sizeof *e);
    sr_tval l = sr_tpl_seq(R, SR_T_LIST, n);
    if (n)
        memcpy(e, from, n * sizeof *e);
    merge_sort(R, e, e + n, n, reverse);
    for (size_t i = 0; i < n; i++)
        sr_tpl_push(R, l.l, e[i].item);
    return l;
}

sr_tval sr_tf_sort(sr_trun *R, sr_tval v, sr_tcall *c)
{
    sr_tval items = sr_tpl_list(R, v), attrs = sr_tpl_seq(R, SR_T_LIST, 1);
    bool folds = !truth(R, c->a[1], false);
    size_t n   = items.l->n;
    if (given(c->a[2]) && c->a[2].kind == SR_T_STR)
        attrs = sr_tpl_split(R, c->a[2].s, sr_tpl_strz(R, ",").s, -1);
    else
        sr_tpl_push(R, attrs.l, c->a[2]);
    getter *g = sr_tpl_alloc(R, attrs.l->n * sizeof *g);
    for (size_t i = 0; i < attrs.l->n; i++)
        g[i] = make_getter(R, attrs.l->p[i], sr_tmissing(), folds);
    keyed *e = sr_tpl_alloc(R, n * sizeof *e);
    for (size_t i = 0; i < n; i++) {
        e[i] = (keyed){sr_tpl_seq(R, SR_T_LIST, attrs.l->n), items.l->p[i]};
        for (size_t j = 0; j < attrs.l->n; j++)
            sr_tpl_push(R, e[i].key.l, get(R, &g[j], items.l->p[i]));
    }
    return sorted(R, e, n, truth(R, c->a[0], false));
}

sr_tval sr_tf_dictsort(sr_trun *R, sr_tval v, sr_tcall *c)
{
    bool folds = !truth(R, c->a[0], false), by_value = false;
    const sr_tstr *by = given(c->a[1]) ? sr_tpl_soft_str(R, c->a[1]).s : NULL;
    if (by && !(by_value = sr_tpl_streq(by, "value")) && !sr_tpl_streq(by, "key"))
        sr_tpl_fail(R, SR_INVALID, "you can only sort by either \"key\" or \"value\"");
    if (v.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, v);
    if (v.kind != SR_T_DICT)
        sr_tpl_fail(R, SR_INVALID, "dictsort wants a dict, not %s", sr_tpl_typename(v));
    keyed *e = sr_tpl_alloc(R, v.d->n * sizeof *e);
    for (size_t i = 0; i < v.d->n; i++) {
        sr_tval k = v.d->e[i].key, x = v.d->e[i].val;
        e[i] = (keyed){fold(R, by_value ? x : k, folds), sr_tpl_pair(R, k, x)};
    }
    return sorted(R, e, v.d->n, truth(R, c->a[2], false));
}

static sr_tval extreme(sr_trun *R, sr_tval v, sr_tcall *c, sr_torder op)
{
    getter g     = make_getter(R, c->a[1], sr_tmissing(), !truth(R, c->a[0], false));
    sr_titer *it = sr_tpl_iter(R, v);
    sr_tval best, item;
    if (!sr_tpl_next(R, it, &best))
        return sr_tpl_undef(R, "No aggregated item, sequence was empty.");
    sr_tval key = get(R, &g, best);
    while (sr_tpl_next(R, it, &item)) {
        sr_tval k = get(R, &g, item);
        if (sr_tpl_order(R, op, k, key)) {
            best = item;
            key  = k;
        }
    }
    return best;
}
sr_tval sr_tf_min(sr_trun *R, sr_tval v, sr_tcall *c) { return extreme(R, v, c, SR_TLT); }
sr_tval sr_tf_max(sr_trun *R, sr_tval v, sr_tcall *c) { return extreme(R, v, c, SR_TGT); }

sr_tval sr_tf_groupby(sr_trun *R, sr_tval v, sr_tcall *c)
{
    bool folds = !truth(R, c->a[2], false);
    getter g = make_getter(R, c->a[0], c->a[1], folds), real = make_getter(R, c->a[0], c->a[1], false);
    sr_tval items = sr_tpl_list(R, v), out = sr_tpl_seq(R, SR_T_LIST, 0), key = {0}, group = {0};
    keyed *e = sr_tpl_alloc(R, items.l->n * sizeof *e);
    for (size_t i = 0; i < items.l->n; i++)
        e[i] = (keyed){get(R, &g, items.l->p[i]), items.l->p[i]};
    items = sorted(R, e, items.l->n, false);
    for (size_t i = 0; i < items.l->n; i++) {
        sr_tval k = get(R, &g, items.l->p[i]);
        if (!i || !sr_tpl_eq(R, key, k)) {
            group         = sr_tpl_seq(R, SR_T_LIST, 0);
            sr_tval pair  = sr_tpl_pair(R, get(R, &real, items.l->p[i]), group);
            pair.l->group = true;
            sr_tpl_push(R, out.l, pair);
        }
        key = k;
        sr_tpl_push(R, group.l, items.l->p[i]);
    }
    return out;
}

/* ---- lazy ones ---- */

typedef struct {
    getter g;
    const sr_tbuiltin *fn; /* filter or test; NULL: the value itself (map), its truth (select) */
    sr_tcall call;
    bool want;    /* select: keep where the test says so */
    bool attr;    /* the first argument names an attribute */
    int64_t size; /* batch, slice */
    sr_tval fill, list;
    int64_t n, offset;
    sr_tdict *seen;
} lazy;

static sr_tval start_lazy(sr_trun *R, sr_tval v, sr_tcall *c, const lazy *from,
                          bool (*next)(sr_trun *, sr_titer *, sr_tval *))
{
    lazy *z = sr_tpl_alloc(R, sizeof *z);
    *z      = *from;
    z->call = *c;
    return sr_tpl_lazy(R, v, next, z);
}

static const sr_tbuiltin *named(sr_trun *R, sr_tval name, bool filter)
{
    const sr_tbuiltin *f = NULL;
    if (name.kind == SR_T_STR)
        f = filter ? sr_tpl_filter(name.s->p, name.s->n) : sr_tpl_test(name.s->p, name.s->n);
    if (!f && name.kind == SR_T_UNDEF)
        sr_tpl_fail_undef(R, name);
    if (!f)
        sr_tpl_fail(R, SR_INVALID, "no %s named '%.*s'", filter ? "filter" : "test",
                    name.kind == SR_T_STR ? (int)SR_MIN(name.s->n, 80u) : 1,
                    name.kind == SR_T_STR ? name.s->p : "?");
    return f;
}

static void drop_positions(sr_tcall *c, size_t n)
{
    c->pos += n;
    c->n -= n;
}

static const sr_tval *keyword(const sr_tcall *c, const char *name)
{
    for (size_t i = 0; i < c->n_kw; i++)
        if (sr_tpl_streq(c->kw[i], name))
            return &c->kwv[i];
    return NULL;
}

static void start_map(sr_trun *R, lazy *z)
{
    sr_tcall *c         = &z->call;
    const sr_tval *attr = keyword(c, "attribute"), *none = keyword(c, "default");
    if (!c->n && attr) {
        if (c->n_kw > 1u + (none != NULL))
            sr_tpl_fail(R, SR_INVALID, "map: unexpected keyword argument");
        z->g = make_getter(R, *attr, none ? *none : sr_tmissing(), false);
        return;
    }
    if (!c->n)
        sr_tpl_fail(R, SR_INVALID, "map requires a filter argument");
    z->fn = named(R, c->pos[0], true);
    drop_positions(c, 1);
}

static bool started(sr_trun *R, sr_titer *it, void (*start)(sr_trun *, lazy *))
{
    if (!it->started) {
        it->started = true;
        if (!sr_tpl_true(R, it->src)) /* Jinja2 asks first, so that undefined maps to nothing */
            return false;
        start(R, it->state);
        it->inner = sr_tpl_iter(R, it->src);
    }
    return it->inner != NULL;
}

static bool next_map(sr_trun *R, sr_titer *it, sr_tval *out)
{
    lazy *z = it->state;
    if (!started(R, it, start_map) || !sr_tpl_next(R, it->inner, out))
        return false;
    *out = z->fn ? sr_tpl_call_builtin(R, z->fn, *out, &z->call) : get(R, &z->g, *out);
    return true;
}
sr_tval sr_tf_map(sr_trun *R, sr_tval v, sr_tcall *c) { return start_lazy(R, v, c, &(lazy){0}, next_map); }

static void start_select(sr_trun *R, lazy *z)
{
    sr_tcall *c = &z->call;
    z->g        = make_getter(R, sr_tmissing(), sr_tmissing(), false);
    if (z->attr) {
        if (!c->n)
            sr_tpl_fail(R, SR_INVALID, "missing parameter for attribute name");
        z->g = make_getter(R, c->pos[0], sr_tmissing(), false);
        drop_positions(c, 1);
    }
    if (c->n) {
        z->fn = named(R, c->pos[0], false);
        drop_positions(c, 1);
    }
}

static bool next_select(sr_trun *R, sr_titer *it, sr_tval *out)
{
    lazy *z = it->state;
    if (!started(R, it, start_select))
        return false;
    while (sr_tpl_next(R, it->inner, out)) {
        sr_tval v = get(R, &z->g, *out);
        if (z->fn)
            v = sr_tpl_call_builtin(R, z->fn, v, &z->call);
        if (sr_tpl_true(R, v) == z->want)
            return true;
    }
    return false;
}
sr_tval sr_tf_select(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){.want = true}, next_select);
}
sr_tval sr_tf_reject(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){0}, next_select);
}
sr_tval sr_tf_selectattr(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){.want = true, .attr = true}, next_select);
}
sr_tval sr_tf_rejectattr(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){.attr = true}, next_select);
}

static bool next_items(sr_trun *R, sr_titer *it, sr_tval *out)
{
    if (!it->started) {
        it->started = true;
        if (it->src.kind == SR_T_UNDEF)
            return false;
        if (it->src.kind != SR_T_DICT)
            sr_tpl_fail(R, SR_INVALID, "can only get item pairs from a mapping");
        it->inner = sr_tpl_iter(R, (sr_tval){.kind = SR_T_VIEW, .sub = SR_TVIEW_ITEMS, .d = it->src.d});
    }
    return it->inner && sr_tpl_next(R, it->inner, out);
}
sr_tval sr_tf_items(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){0}, next_items);
}

static bool next_unique(sr_trun *R, sr_titer *it, sr_tval *out)
{
    lazy *z = it->state;
    if (!it->started) {
        it->started = true;
        z->g        = make_getter(R, z->call.a[1], sr_tmissing(), !truth(R, z->call.a[0], false));
        z->seen     = sr_tpl_dict(R, 0).d;
        it->inner   = sr_tpl_iter(R, it->src);
    }
    while (sr_tpl_next(R, it->inner, out)) {
        sr_tval key = get(R, &z->g, *out);
        if (sr_tpl_dict_get(R, z->seen, key))
            continue;
        sr_tpl_dict_set(R, z->seen, key, sr_tnone());
        return true;
    }
    return false;
}
sr_tval sr_tf_unique(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){0}, next_unique);
}

/* Rows of linecount items; the last one filled up. */
static bool next_batch(sr_trun *R, sr_titer *it, sr_tval *out)
{
    lazy *z = it->state;
    sr_tval item, size = z->call.a[0], fill = z->call.a[1];
    if (!it->started) {
        it->started = true;
        it->inner   = sr_tpl_iter(R, it->src);
        z->list     = sr_tpl_seq(R, SR_T_LIST, 0);
    }
    while (sr_tpl_next(R, it->inner, &item)) {
        bool full = sr_tpl_eq(R, sr_tint((int64_t)z->list.l->n), size);
        *out      = z->list;
        if (full)
            z->list = sr_tpl_seq(R, SR_T_LIST, 0);
        sr_tpl_push(R, z->list.l, item);
        if (full)
            return true;
    }
    if (!z->list.l->n)
        return false;
    *out = z->list;
    if (given_attr(fill) && sr_tpl_order(R, SR_TLT, sr_tint((int64_t)out->l->n), size)) {
        sr_tval one = sr_tpl_seq(R, SR_T_LIST, 1);
        sr_tpl_push(R, one.l, fill);
        *out =
            sr_tpl_binary(R, '+', *out, sr_tpl_repeat(R, one, sr_tpl_need_int(R, size) - (int64_t)out->l->n));
    }
    z->list = sr_tpl_seq(R, SR_T_LIST, 0);
    return true;
}
sr_tval sr_tf_batch(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){0}, next_batch);
}

/* `size` columns, the first ones longer by one where it does not come out even. */
static bool next_slice(sr_trun *R, sr_titer *it, sr_tval *out)
{
    lazy *z = it->state;
    if (!it->started) {
        it->started = true;
        z->list     = sr_tpl_list(R, it->src);
        z->size     = sr_tpl_need_int(R, z->call.a[0]);
        if (!z->size)
            sr_tpl_fail(R, SR_INVALID, "integer division or modulo by zero");
    }
    if (z->n >= z->size)
        return false;
    int64_t per = (int64_t)z->list.l->n / z->size, extra = (int64_t)z->list.l->n % z->size;
    int64_t start = z->offset + z->n * per, more = z->n < extra;
    z->offset += more;
    *out = sr_tpl_slice(R, z->list, sr_tint(start), sr_tint(z->offset + (z->n + 1) * per), sr_tnone());
    if (given_attr(z->call.a[1]) && !more)
        sr_tpl_push(R, out->l, z->call.a[1]);
    z->n++;
    return true;
}
sr_tval sr_tf_slice(sr_trun *R, sr_tval v, sr_tcall *c)
{
    return start_lazy(R, v, c, &(lazy){0}, next_slice);
}
