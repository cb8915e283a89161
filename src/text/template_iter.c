#include "text/template_iter.h"
#include "text/template_text.h"

static bool next_none(sr_trun *R, sr_titer *it, sr_tval *out)
{
    (void)R, (void)it, (void)out;
    return false;
}

static bool next_seq(sr_trun *R, sr_titer *it, sr_tval *out)
{
    (void)R;
    const sr_tseq *l = it->src.l;
    if (it->i >= l->n)
        return false;
    *out = l->p[it->reversed ? l->n - 1 - it->i : it->i];
    it->i++;
    return true;
}

static bool next_str(sr_trun *R, sr_titer *it, sr_tval *out)
{
    const sr_tstr *s = it->src.s;
    size_t n;
    if (it->i >= s->n)
        return false;
    if (it->reversed) {
        size_t at = sr_tpl_back(s->p, s->n - it->i);
        n         = s->n - it->i - at;
        *out      = sr_tpl_substr(R, s, at, n);
    } else {
        sr_tpl_cp(s->p + it->i, s->n - it->i, &n);
        *out = sr_tpl_substr(R, s, it->i, n);
    }
    out->s->markup = false; /* iterating a Markup gives plain characters */
    it->i += n;
    return true;
}

static bool next_dict(sr_trun *R, sr_titer *it, sr_tval *out)
{
    const sr_tdict *d = it->src.d;
    if (it->i >= d->n)
        return false;
    const sr_tentry *e = &d->e[it->reversed ? d->n - 1 - it->i : it->i];
    it->i++;
    uint32_t what = it->src.kind == SR_T_DICT ? SR_TVIEW_KEYS : it->src.sub;
    *out = what == SR_TVIEW_KEYS ? e->key : what == SR_TVIEW_VALUES ? e->val : sr_tpl_pair(R, e->key, e->val);
    return true;
}

static bool next_range(sr_trun *R, sr_titer *it, sr_tval *out)
{
    (void)R;
    const sr_trange *r = it->src.r;
    if ((int64_t)it->i >= r->n)
        return false;
    int64_t i = it->reversed ? r->n - 1 - (int64_t)it->i : (int64_t)it->i;
    *out      = sr_tint(r->start + i * r->step);
    it->i++;
    return true;
}

static sr_titer *new_iter(sr_trun *R, sr_tval src, bool (*next)(sr_trun *, sr_titer *, sr_tval *))
{
    sr_titer *it = sr_tpl_alloc(R, sizeof *it);
    *it          = (sr_titer){.next = next, .src = src};
    return it;
}

bool sr_tpl_iterable(sr_tval v)
{
    switch (v.kind) {
    case SR_T_UNDEF:
    case SR_T_LIST:
    case SR_T_TUPLE:
    case SR_T_STR:
    case SR_T_DICT:
    case SR_T_VIEW:
    case SR_T_RANGE:
    case SR_T_ITER:
        return true;
    default:
        return false;
    }
}

sr_titer *sr_tpl_iter(sr_trun *R, sr_tval v)
{
    switch (v.kind) {
    case SR_T_UNDEF:
        return new_iter(R, v, next_none);
    case SR_T_LIST:
    case SR_T_TUPLE:
        return new_iter(R, v, next_seq);
    case SR_T_STR:
        return new_iter(R, v, next_str);
    case SR_T_DICT:
    case SR_T_VIEW:
        return new_iter(R, v, next_dict);
    case SR_T_RANGE:
        return new_iter(R, v, next_range);
    case SR_T_ITER:
        return v.it;
    case SR_T_LOOP:
        sr_tpl_fail(R, SR_UNSUPPORTED, "iterating over the loop variable");
    default:
        sr_tpl_fail(R, SR_INVALID, "'%s' object is not iterable", sr_tpl_typename(v));
    }
}

bool sr_tpl_next(sr_trun *R, sr_titer *it, sr_tval *out)
{
    if (it->done)
        return false;
    sr_tpl_charge(R, 1);
    sr_tpl_enter(R); /* a lazy filter over a lazy filter over .. */
    it->done = !it->next(R, it, out);
    sr_tpl_leave(R);
    return !it->done;
}

sr_tval sr_tpl_list(sr_trun *R, sr_tval v)
{
    sr_titer *it = sr_tpl_iter(R, v);
    sr_tval l    = sr_tpl_seq(R, SR_T_LIST, v.kind == SR_T_LIST || v.kind == SR_T_TUPLE ? v.l->n : 0), item;
    while (sr_tpl_next(R, it, &item))
        sr_tpl_push(R, l.l, item);
    return l;
}

sr_tval sr_tpl_lazy(sr_trun *R, sr_tval src, bool (*next)(sr_trun *, sr_titer *, sr_tval *), void *state)
{
    sr_titer *it  = new_iter(R, src, next);
    it->state     = state;
    it->generator = true;
    return (sr_tval){.kind = SR_T_ITER, .it = it};
}

sr_tval sr_tpl_reversed(sr_trun *R, sr_tval v)
{
    if (v.kind == SR_T_ITER || !sr_tpl_iterable(v))
        return sr_tmissing();
    sr_titer *it = sr_tpl_iter(R, v);
    it->reversed = true;
    return (sr_tval){.kind = SR_T_ITER, .it = it};
}
