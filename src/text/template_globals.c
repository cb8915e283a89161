/* The functions that every template can call: Jinja2's globals and those transformers adds. */
#include "text/template_eval.h"
#include "text/template_string.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_RANGE = 100000 }; /* the sandbox's own bound */

static sr_tval g_range(sr_trun *R, sr_tval self, sr_tcall *c)
{
    int64_t a = sr_tpl_need_int(R, c->a[0]), start = 0, stop = a, step = 1;
    (void)self;
    if (c->a[1].kind != SR_T_MISSING) {
        start = a;
        stop  = sr_tpl_need_int(R, c->a[1]);
    }
    if (c->a[2].kind != SR_T_MISSING && !(step = sr_tpl_need_int(R, c->a[2])))
        sr_tpl_fail(R, SR_INVALID, "range() arg 3 must not be zero");
    uint64_t by   = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t span = step > 0 ? (uint64_t)stop - (uint64_t)start : (uint64_t)start - (uint64_t)stop;
    uint64_t n    = (step > 0 ? stop > start : start > stop) ? (span - 1) / by + 1 : 0;
    if (n > MAX_RANGE)
        sr_tpl_fail(R, SR_INVALID, "range too big: the sandbox blocks ranges larger than %d", MAX_RANGE);
    sr_trange *r = sr_tpl_alloc(R, sizeof *r);
    *r           = (sr_trange){start, stop, step, (int64_t)n};
    return (sr_tval){.kind = SR_T_RANGE, .r = r};
}

/* dict(mapping or pairs, **kwargs) */
static sr_tval g_dict(sr_trun *R, sr_tval self, sr_tcall *c)
{
    sr_tval d = sr_tpl_dict(R, 0), item;
    (void)self;
    if (c->n > 1)
        sr_tpl_fail(R, SR_INVALID, "dict expected at most 1 argument, got %zu", c->n);
    if (c->n && (c->pos[0].kind == SR_T_DICT)) {
        for (size_t i = 0; i < c->pos[0].d->n; i++)
            sr_tpl_dict_set(R, d.d, c->pos[0].d->e[i].key, c->pos[0].d->e[i].val);
        sr_tpl_charge(R, c->pos[0].d->n);
    } else if (c->n && c->pos[0].kind == SR_T_UNDEF) {
        sr_tpl_fail_undef(R, c->pos[0]); /* Python asks it for keys() */
    } else if (c->n) {
        sr_titer *it = sr_tpl_iter(R, c->pos[0]);
        while (sr_tpl_next(R, it, &item)) {
            sr_tval pair = sr_tpl_list(R, item);
            if (pair.l->n != 2)
                sr_tpl_fail(R, SR_INVALID, "dictionary update sequence element has length %zu; 2 is required",
                            pair.l->n);
            sr_tpl_dict_set(R, d.d, pair.l->p[0], pair.l->p[1]);
        }
    }
    for (size_t i = 0; i < c->n_kw; i++)
        sr_tpl_dict_set(R, d.d, sr_tpl_str(R, c->kw[i]->p, c->kw[i]->n), c->kwv[i]);
    return d;
}

static sr_tval g_namespace(sr_trun *R, sr_tval self, sr_tcall *c)
{
    sr_tval d = g_dict(R, self, c);
    d.kind    = SR_T_NS;
    return d;
}

static sr_tval g_cycler(sr_trun *R, sr_tval self, sr_tcall *c)
{
    sr_tval t = sr_tpl_seq(R, SR_T_TUPLE, c->n);
    (void)self;
    if (!c->n || c->n_kw)
        sr_tpl_fail(R, SR_INVALID, "cycler: at least one item has to be provided");
    for (size_t i = 0; i < c->n; i++)
        sr_tpl_push(R, t.l, c->pos[i]);
    sr_tcycler *y = sr_tpl_alloc(R, sizeof *y);
    *y            = (sr_tcycler){t, 0};
    return (sr_tval){.kind = SR_T_CYCLER, .cy = y};
}

static sr_tval g_joiner(sr_trun *R, sr_tval self, sr_tcall *c)
{
    sr_tjoiner *j = sr_tpl_alloc(R, sizeof *j);
    (void)self;
    *j = (sr_tjoiner){c->a[0].kind == SR_T_MISSING ? sr_tpl_strz(R, ", ") : c->a[0], false};
    return (sr_tval){.kind = SR_T_JOINER, .jo = j};
}

static sr_tval g_lipsum(sr_trun *R, sr_tval self, sr_tcall *c)
{
    (void)self, (void)c;
    sr_tpl_fail(R, SR_UNSUPPORTED, "lipsum: random text");
}

static sr_tval g_raise_exception(sr_trun *R, sr_tval self, sr_tcall *c)
{
    (void)self;
    sr_tval s = sr_tpl_to_str(R, c->a[0]);
    sr_tpl_fail_raised(R, s.s->p, s.s->n);
}

static sr_tval g_strftime_now(sr_trun *R, sr_tval self, sr_tcall *c)
{
    (void)self;
    return sr_tpl_strftime(R, sr_tpl_need_str(R, c->a[0], "format"));
}

/* One directive "%..c" of a strftime format. */
static void put_directive(sr_tbuf *b, const char *spec, const struct tm *tm)
{
    sr_trun *R = b->R;
    size_t n   = strlen(spec);
    long width = 0;
    char c     = spec[n - 1], buf[1100];
    if (n == 2 && (c == 'z' || c == 'Z'))
        return;
    if (n == 2 && c == 'f') {
        sr_tbuf_z(b, "000000");
        return;
    }
    if (c == 's') { /* glibc would compute it in the machine's zone */
        snprintf(buf, sizeof buf, "%lld", (long long)R->now);
        sr_tbuf_z(b, buf);
        return;
    }
    for (const char *p = spec; *p; p++)
        if (*p >= '0' && *p <= '9')
            width = SR_MIN(width * 10 + (*p - '0'), 10000);
    if (width > 1000)
        sr_tpl_fail(R, SR_UNSUPPORTED, "strftime_now: a width of more than 1000");
    sr_tbuf_add(b, buf, strftime(buf, sizeof buf, spec, tm));
}

/* datetime.strftime of a naive datetime: %z and %Z are empty, %f is the microseconds, the rest is the C
 * library's in the C locale. */
sr_tval sr_tpl_strftime(sr_trun *R, const sr_tstr *fmt)
{
    sr_tbuf b = {.R = R};
    struct tm tm;
    time_t t = (time_t)R->now;
    if (!gmtime_r(&t, &tm) || tm.tm_year + 1900 < 1 || tm.tm_year + 1900 > 9999)
        sr_tpl_fail(R, SR_INVALID, "a time outside of the years 1 to 9999");
    for (size_t i = 0; i < fmt->n;) {
        char spec[16];
        size_t end = i + 1; /* glibc's flags and width, then E or O, then the letter */
        while (fmt->p[i] == '%' && end < fmt->n && fmt->p[end] && strchr("_-0^#+123456789EO:", fmt->p[end]))
            end++;
        sr_tpl_charge(R, 1);
        if (fmt->p[i] != '%' || end >= fmt->n || end - i + 2 > sizeof spec ||
            (unsigned char)fmt->p[end] >= 0x80) {
            sr_tbuf_char(&b, fmt->p[i++]);
            continue;
        }
        memcpy(spec, fmt->p + i, end + 1 - i);
        spec[end + 1 - i] = 0;
        put_directive(&b, spec, &tm);
        i = end + 1;
    }
    return sr_tbuf_str(&b);
}

static const sr_tbuiltin globals[] = {
    {"range", g_range, "/start,stop,step", 1, 0, NULL},
    {"dict", g_dict, NULL, 0, 0, "dict"},
    {"namespace", g_namespace, NULL, 0, 0, "jinja2.utils.Namespace"},
    {"cycler", g_cycler, NULL, 0, 0, "jinja2.utils.Cycler"},
    {"joiner", g_joiner, "sep", 0, 0, "jinja2.utils.Joiner"},
    {"lipsum", g_lipsum, NULL, 0, 0, NULL},
    {"raise_exception", g_raise_exception, "message", 1, 0, NULL},
    {"strftime_now", g_strftime_now, "format", 1, 0, NULL},
};

const sr_tbuiltin *sr_tpl_global(const sr_tstr *name)
{
    for (size_t i = 0; i < SR_COUNT(globals); i++)
        if (sr_tpl_streq(name, globals[i].name))
            return &globals[i];
    return NULL;
}
