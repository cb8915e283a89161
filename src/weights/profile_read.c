/* profile_read.c - a profile from JSON.  Strict: a field that is misspelt would otherwise silently be a default. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/quant/quant.h"
#include "weights/jsontree.h"
#include "weights/profile_fields.h"

typedef struct { const char *section, *dot, *field; sr_err *err; } place; /* for messages */

static sr_status wrong(const place *at, const char *what)
{
    return sr_raise(at->err, SR_INVALID, "%s%s%s %s", at->section, at->dot, at->field, what);
}

static sr_status number(const place *at, const sr_jsonnode *v, double lo, double hi, double *out)
{
    char why[120];
    if (!sr_json_is_number(v))
        return wrong(at, "is no number");
    *out = v->number;
    if (*out >= lo && *out <= hi)
        return SR_OK;
    snprintf(why, sizeof why, "is %g; %g to %g expected", *out, lo, hi);
    return wrong(at, why);
}

static sr_status whole(const place *at, const sr_jsonnode *v, const sr_pfield *f, uint64_t *out)
{
    double d;
    if (v->kind != SR_JSON_WHOLE)
        return wrong(at, "is no whole number");
    if (number(at, v, f->lo, f->hi, &d))
        return SR_INVALID;
    *out = (uint64_t)v->whole;
    return SR_OK;
}

static sr_status text(const place *at, const sr_jsonnode *v, char *out, size_t cap)
{
    char why[64];
    if (v->kind != SR_JSON_STRING)
        return wrong(at, "is no string");
    if (v->n_text == 0) /* a profile is written without texts that are empty */
        return wrong(at, "is empty");
    if (v->n_text >= cap) {
        snprintf(why, sizeof why, "has %zu bytes; at most %zu expected", v->n_text, cap - 1);
        return wrong(at, why);
    }
    for (size_t i = 0; i < v->n_text; i++) /* it will be printed */
        if ((unsigned char)v->text[i] < 32 || v->text[i] == 127)
            return wrong(at, "holds a control character");
    memcpy(out, v->text, v->n_text + 1);
    return SR_OK;
}

static uint32_t members(const sr_jsontree *t, const sr_jsonnode *o)
{
    uint32_t n = 0;
    for (const sr_jsonnode *m = o->kind == SR_JSON_OBJECT ? sr_json_first(t, o) : NULL; m; m = sr_json_next(t, m))
        n++;
    return n;
}

static sr_status curve(const place *at, const sr_jsontree *t, const sr_jsonnode *v, const sr_pfield *f, sr_curve *out)
{
    char label[160], shown[40], *end;
    if (!members(t, v) || members(t, v) > SR_CURVE_POINTS) {
        snprintf(label, sizeof label, "is no object of 1 to %d numbers by threads or rows", SR_CURVE_POINTS);
        return wrong(at, label);
    }
    for (const sr_jsonnode *item = sr_json_first(t, v); item; item = sr_json_next(t, item)) {
        place         here = {at->section, at->dot, label, at->err};
        const char   *key  = item->key;
        unsigned long n    = strtoul(key, &end, 10);
        double        d;
        snprintf(label, sizeof label, "%s.%s", at->field, sr_escape(shown, sizeof shown, key, strlen(key)));
        if (*key < '1' || *key > '9' || *end || n > 65536)
            return wrong(&here, "is not for a number of threads or rows, 1 to 65536");
        if (number(&here, item, f->lo, f->hi, &d))
            return SR_INVALID;
        sr_curve_put(out, (uint32_t)n, d * f->scale);
    }
    return SR_OK;
}

static sr_status curves(const place *at, const sr_jsontree *tree, const sr_jsonnode *v, const sr_pfield *f, sr_curves *out)
{
    char label[96], shown[24];
    if (!members(tree, v))
        return wrong(at, "is no object of formats");
    for (const sr_jsonnode *item = sr_json_first(tree, v); item; item = sr_json_next(tree, item)) {
        place       here = {at->section, at->dot, label, at->err};
        const char *key  = item->key;
        sr_dtype    t;
        snprintf(label, sizeof label, "%s.%s", at->field, sr_escape(shown, sizeof shown, key, strlen(key)));
        if (!sr_dtype_parse(key, &t))
            return wrong(&here, "is for no number format that is known");
        for (uint32_t i = 0; i < out->n; i++)
            if (out->c[i].format == (uint32_t)t) /* "q4_k" beside "Q4_K" */
                return wrong(&here, "is given twice");
        sr_curve *c = sr_curves_add(out, t);
        if (!c)
            return wrong(&here, "is one format too many");
        if (curve(&here, tree, item, f, c))
            return SR_INVALID;
    }
    return SR_OK;
}

static sr_status take(const place *at, const sr_jsontree *t, const sr_jsonnode *v, const sr_pfield *f, sr_profile *p)
{
    void    *to = (char *)p + f->at;
    uint64_t u  = 0;
    double   d  = 0;
    switch (f->kind) {
    case SR_PF_STR:
        return text(at, v, to, f->cap);
    case SR_PF_U32:
    case SR_PF_U64:
        if (whole(at, v, f, &u))
            return SR_INVALID;
        if (f->kind == SR_PF_U32)
            *(uint32_t *)to = (uint32_t)u;
        else
            *(uint64_t *)to = u;
        return SR_OK;
    case SR_PF_NUM:
        if (number(at, v, f->lo, f->hi, &d))
            return SR_INVALID;
        *(double *)to = d * f->scale;
        return SR_OK;
    case SR_PF_CURVE:
        return curve(at, t, v, f, to);
    case SR_PF_CURVES:
        return curves(at, t, v, f, to);
    }
    return SR_OK;
}

static const sr_pfield *find(const sr_psection *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->field[i].name, name) == 0)
            return &s->field[i];
    return NULL;
}

static bool is_section(const char *name)
{
    for (int i = 1; i < SR_PSECTIONS; i++)
        if (strcmp(sr_profile_section[i].name, name) == 0)
            return true;
    return strcmp(name, "profile") == 0;
}

static sr_status section(const sr_psection *s, const sr_jsontree *t, const sr_jsonnode *o, sr_profile *p, sr_err *err)
{
    const char *dot = *s->name ? "." : "";
    char        shown[64];
    if (o->kind != SR_JSON_OBJECT)
        return sr_raise(err, SR_INVALID, "%s is no object", *s->name ? s->name : "the profile");
    for (const sr_jsonnode *item = sr_json_first(t, o); item; item = sr_json_next(t, item)) {
        const char      *key = item->key;
        const sr_pfield *f   = find(s, key);
        if (!f && !*s->name && is_section(key))
            continue;
        place at = {s->name, dot, f ? f->name : sr_escape(shown, sizeof shown, key, strlen(key)), err};
        if (!f)
            return wrong(&at, "is no field of a profile");
        if (take(&at, t, item, f, p))
            return SR_INVALID;
    }
    for (size_t i = 0; i < s->n; i++)
        if (s->field[i].needed && !sr_json_member(t, o, s->field[i].name))
            return sr_raise(err, SR_INVALID, "%s%s%s is missing", s->name, dot, s->field[i].name);
    return SR_OK;
}

static sr_status all(const sr_jsontree *t, sr_profile *p, sr_err *err)
{
    const sr_jsonnode *root = t->node, *v = sr_json_member(t, root, "profile");
    if (root->kind != SR_JSON_OBJECT)
        return sr_raise(err, SR_INVALID, "no JSON object");
    if (!v || v->kind != SR_JSON_WHOLE || v->whole != SR_PROFILE_VERSION)
        return sr_raise(err, SR_INVALID, "profile is not %d: no machine profile, or of another version", SR_PROFILE_VERSION);
    for (int i = 0; i < SR_PSECTIONS; i++) {
        const sr_psection *s = &sr_profile_section[i];
        const sr_jsonnode *o = *s->name ? sr_json_member(t, root, s->name) : root;
        if (!o && s->needed)
            return sr_raise(err, SR_INVALID, "%s is missing", s->name);
        if (o && section(s, t, o, p, err))
            return SR_INVALID;
    }
    return sr_profile_check(p, err);
}

sr_status sr_profile_parse(const char *bytes, size_t n, sr_profile *out, sr_err *err)
{
    sr_jsontree t;
    *out = (sr_profile){0};
    if (n > SR_PROFILE_BYTES)
        return sr_raise(err, SR_INVALID, "%zu bytes; a profile has at most %d", n, SR_PROFILE_BYTES);
    sr_status s = sr_jsontree_parse(bytes, n, &t, err);
    if (s)
        return s;
    s = all(&t, out, err);
    sr_jsontree_end(&t);
    return s;
}

sr_status sr_profile_read(const char *path, sr_profile *out, sr_err *err)
{
    char      shown[200];
    FILE     *f   = fopen(path, "re");
    char     *buf = f ? sr_malloc(SR_PROFILE_BYTES + 1) : NULL;
    size_t    n   = 0;
    sr_status s   = SR_OK;
    sr_escape(shown, sizeof shown, path, strlen(path));
    if (!f)
        return sr_raise(err, SR_IO, "%s: %s", shown, strerror(errno));
    if (!buf)
        s = sr_raise(err, SR_NOMEM, "host: %d bytes for a profile", SR_PROFILE_BYTES);
    else if ((n = fread(buf, 1, SR_PROFILE_BYTES + 1, f)) == 0 && ferror(f))
        s = sr_raise(err, SR_IO, "%s: %s", shown, strerror(errno));
    else if ((s = sr_profile_parse(buf, n, out, err)) != SR_OK)
        s = sr_while(err, "reading the profile %s", shown);
    sr_free(buf);
    fclose(f);
    return s;
}
