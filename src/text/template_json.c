/* JSON in (the variables) and out (tojson, as json.dumps). */
#include "text/template_eval.h"
#include "text/template_text.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- in: strings stay where jansson has them ---- */

sr_tval sr_tpl_from_json(sr_trun *R, const json_t *j)
{
    sr_tval v;
    const json_t *item;
    const char *key;
    size_t i, n;
    sr_tpl_charge(R, 1);
    sr_tpl_enter(R);
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        v          = sr_tpl_dict(R, json_object_size(j));
        void *iter = json_object_iter((json_t *)(uintptr_t)j); /* reads only; jansson keeps insertion order */
        for (; iter; iter = json_object_iter_next((json_t *)(uintptr_t)j, iter)) {
            key = json_object_iter_key(iter);
            n   = json_object_iter_key_len(iter);
            sr_tpl_dict_set(R, v.d, sr_tpl_str(R, key, n), sr_tpl_from_json(R, json_object_iter_value(iter)));
        }
        break;
    }
    case JSON_ARRAY:
        v = sr_tpl_seq(R, SR_T_LIST, json_array_size(j));
        json_array_foreach((json_t *)(uintptr_t)j, i, item) sr_tpl_push(R, v.l, sr_tpl_from_json(R, item));
        break;
    case JSON_STRING:
        v = sr_tpl_str(R, json_string_value(j), json_string_length(j));
        break;
    case JSON_INTEGER:
        v = sr_tint((int64_t)json_integer_value(j));
        break;
    case JSON_REAL:
        v = sr_tfloat(json_real_value(j));
        break;
    case JSON_TRUE:
        v = sr_tbool(true);
        break;
    case JSON_FALSE:
        v = sr_tbool(false);
        break;
    default:
        v = sr_tnone();
        break;
    }
    sr_tpl_leave(R);
    return v;
}

/* ---- out ---- */

typedef struct {
    sr_tbuf b;
    bool ascii, sort, pretty;
    sr_tval indent; /* pretty: the text of one level */
    const sr_tstr *item_sep, *key_sep;
    uint64_t level;
} writer;

static void put_json_str(sr_tbuf *b, const sr_tstr *s, bool ascii)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    size_t start = 0, k;
    char buf[16];
    sr_tpl_bytes(b->R, s->n * 4);
    sr_tbuf_char(b, '"');
    for (size_t i = 0; i < s->n; i += k) {
        unsigned char c = (unsigned char)s->p[i];
        k               = 1;
        if (c >= 0x20 && c != '"' && c != '\\' && (!ascii || c < 0x7f))
            continue;
        sr_tbuf_add(b, s->p + start, i - start);
        const char *m = c ? strchr(from, c) : NULL;
        uint32_t cp   = sr_tpl_cp(s->p + i, s->n - i, &k);
        if (m)
            snprintf(buf, sizeof buf, "\\%c", to[m - from]);
        else if (cp < 0x10000)
            snprintf(buf, sizeof buf, "\\u%04x", cp);
        else
            snprintf(buf, sizeof buf, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                     0xdc00 + ((cp - 0x10000) & 0x3ff));
        sr_tbuf_z(b, buf);
        start = i + k;
    }
    sr_tbuf_add(b, s->p + start, s->n - start);
    sr_tbuf_char(b, '"');
}

static void newline(writer *w)
{
    if (!w->pretty)
        return;
    sr_tbuf_char(&w->b, '\n');
    sr_tbuf_pad(&w->b, w->indent.s->p, w->indent.s->n, w->indent.s->n ? w->level : 0);
}

static void put_json_float(sr_tbuf *b, double f)
{
    if (isnan(f) || isinf(f))
        sr_tbuf_z(b, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
    else
        sr_tpl_put_float(b, f);
}

static void put_json(writer *w, sr_tval v);

static void put_key(writer *w, sr_tval k)
{
    sr_tbuf text = {.R = w->b.R};
    switch (k.kind) {
    case SR_T_STR:
        put_json_str(&w->b, k.s, w->ascii);
        return;
    case SR_T_NONE:
        sr_tbuf_z(&text, "null");
        break;
    case SR_T_BOOL:
        sr_tbuf_z(&text, k.b ? "true" : "false");
        break;
    case SR_T_INT:
        sr_tpl_put_repr(&text, k);
        break;
    case SR_T_FLOAT:
        put_json_float(&text, k.f);
        break;
    default:
        sr_tpl_fail(w->b.R, SR_INVALID, "keys must be str, int, float, bool or None, not %s",
                    sr_tpl_typename(k));
    }
    put_json_str(&w->b, sr_tbuf_str(&text).s, w->ascii);
}

static void sort_entries(sr_trun *R, sr_tentry *e, sr_tentry *tmp, size_t n)
{
    if (n < 2)
        return;
    size_t m = n / 2, i = 0, j = m, k = 0;
    sort_entries(R, e, tmp, m);
    sort_entries(R, e + m, tmp, n - m);
    while (i < m && j < n)
        tmp[k++] = sr_tpl_order(R, SR_TLT, e[j].key, e[i].key) ? e[j++] : e[i++];
    while (i < m)
        tmp[k++] = e[i++];
    memcpy(e, tmp, k * sizeof *e);
}

static void put_object(writer *w, const sr_tdict *d)
{
    sr_trun *R         = w->b.R;
    const sr_tentry *e = d->e;
    if (!d->n) {
        sr_tbuf_z(&w->b, "{}");
        return;
    }
    if (w->sort) {
        sr_tentry *sorted = sr_tpl_alloc(R, 2 * d->n * sizeof *sorted);
        memcpy(sorted, d->e, d->n * sizeof *sorted);
        sort_entries(R, sorted, sorted + d->n, d->n);
        e = sorted;
    }
    sr_tbuf_char(&w->b, '{');
    w->level++;
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            sr_tbuf_add(&w->b, w->item_sep->p, w->item_sep->n);
        newline(w);
        put_key(w, e[i].key);
        sr_tbuf_add(&w->b, w->key_sep->p, w->key_sep->n);
        put_json(w, e[i].val);
    }
    w->level--;
    newline(w);
    sr_tbuf_char(&w->b, '}');
}

static void put_array(writer *w, const sr_tseq *l)
{
    if (!l->n) {
        sr_tbuf_z(&w->b, "[]");
        return;
    }
    sr_tbuf_char(&w->b, '[');
    w->level++;
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            sr_tbuf_add(&w->b, w->item_sep->p, w->item_sep->n);
        newline(w);
        put_json(w, l->p[i]);
    }
    w->level--;
    newline(w);
    sr_tbuf_char(&w->b, ']');
}

static void put_json(writer *w, sr_tval v)
{
    sr_trun *R = w->b.R;
    sr_tpl_charge(R, 1);
    sr_tpl_enter(R);
    switch (v.kind) {
    case SR_T_NONE:
        sr_tbuf_z(&w->b, "null");
        break;
    case SR_T_BOOL:
        sr_tbuf_z(&w->b, v.b ? "true" : "false");
        break;
    case SR_T_INT:
        sr_tpl_put_repr(&w->b, v);
        break;
    case SR_T_FLOAT:
        put_json_float(&w->b, v.f);
        break;
    case SR_T_STR:
        put_json_str(&w->b, v.s, w->ascii);
        break;
    case SR_T_LIST:
    case SR_T_TUPLE:
        put_array(w, v.l);
        break;
    case SR_T_DICT:
        put_object(w, v.d);
        break;
    default:
        sr_tpl_fail(R, SR_INVALID, "object of type %s is not JSON serializable", sr_tpl_typename(v));
    }
    sr_tpl_leave(R);
}

static void read_indent(sr_trun *R, writer *w, sr_tval v)
{
    w->pretty = v.kind != SR_T_MISSING && v.kind != SR_T_NONE;
    if (w->pretty && v.kind == SR_T_STR)
        w->indent = v;
    else if (w->pretty)
        w->indent = sr_tpl_repeat(R, sr_tpl_strz(R, " "), sr_tpl_need_int(R, v));
}

static void read_separators(sr_trun *R, writer *w, sr_tval v, bool used)
{
    static const sr_tstr comma_space = {.p = ", ", .n = 2, .len = 2}, comma = {.p = ",", .n = 1, .len = 1},
                         colon = {.p = ": ", .n = 2, .len = 2};
    w->item_sep                = w->pretty ? &comma : &comma_space;
    w->key_sep                 = &colon;
    if (v.kind == SR_T_MISSING || v.kind == SR_T_NONE)
        return;
    sr_tval pair = sr_tpl_list(R, v);
    if (pair.l->n != 2)
        sr_tpl_fail(R, SR_INVALID, "separators must be two strings, not %zu values", pair.l->n);
    w->item_sep = used ? sr_tpl_need_str(R, pair.l->p[0], "item separator") : &comma;
    w->key_sep  = used ? sr_tpl_need_str(R, pair.l->p[1], "key separator") : &colon;
}

/* tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False): transformers' own, not Jinja2's,
 * which escapes for HTML. */
sr_tval sr_tpl_tojson(sr_trun *R, sr_tval v, sr_tcall *c)
{
    writer w = {.b = {.R = R}};
    w.ascii  = sr_tpl_true(R, c->a[0]);
    w.sort   = sr_tpl_true(R, c->a[3]);
    if (v.kind != SR_T_STR) /* json.dumps of a string looks at neither */
        read_indent(R, &w, c->a[1]);
    read_separators(R, &w, c->a[2], v.kind != SR_T_STR);
    put_json(&w, v);
    return sr_tbuf_str(&w.b);
}
