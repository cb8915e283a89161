/* profile_read.c - a profile from JSON.  Strict: a field that is misspelt would otherwise silently be a default. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ops/quant/quant.h"
#include "weights/profile_fields.h"

typedef struct { const char *section, *dot, *field; sr_err *err; } place; /* for messages */

static sr_status wrong(const place *at, const char *what)
{
    return sr_raise(at->err, SR_INVALID, "%s%s%s %s", at->section, at->dot, at->field, what);
}

static sr_status number(const place *at, const json_t *v, double lo, double hi, double *out)
{
    char why[120];
    if (!json_is_number(v))
        return wrong(at, "is no number");
    *out = json_number_value(v);
    if (*out >= lo && *out <= hi)
        return SR_OK;
    snprintf(why, sizeof why, "is %g; %g to %g expected", *out, lo, hi);
    return wrong(at, why);
}

static sr_status whole(const place *at, const json_t *v, const sr_pfield *f, uint64_t *out)
{
    double d;
    if (!json_is_integer(v))
        return wrong(at, "is no whole number");
    if (number(at, v, f->lo, f->hi, &d))
        return SR_INVALID;
    *out = (uint64_t)json_integer_value(v);
    return SR_OK;
}

static sr_status text(const place *at, const json_t *v, char *out, size_t cap)
{
    char why[64];
    if (!json_is_string(v))
        return wrong(at, "is no string");
    size_t n = json_string_length(v);
    if (n == 0) /* a profile is written without texts that are empty */
        return wrong(at, "is empty");
    if (n >= cap) {
        snprintf(why, sizeof why, "has %zu bytes; at most %zu expected", n, cap - 1);
        return wrong(at, why);
    }
    for (size_t i = 0; i < n; i++) /* it will be printed */
        if ((unsigned char)json_string_value(v)[i] < 32 || json_string_value(v)[i] == 127)
            return wrong(at, "holds a control character");
    memcpy(out, json_string_value(v), n + 1);
    return SR_OK;
}

static sr_status curve(const place *at, json_t *v, const sr_pfield *f, sr_curve *out)
{
    const char *key;
    json_t     *item;
    char        label[160], shown[40], *end;
    if (!json_is_object(v) || !json_object_size(v) || json_object_size(v) > SR_CURVE_POINTS) {
        snprintf(label, sizeof label, "is no object of 1 to %d numbers by threads or rows", SR_CURVE_POINTS);
        return wrong(at, label);
    }
    json_object_foreach(v, key, item) {
        place         here = {at->section, at->dot, label, at->err};
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

static sr_status curves(const place *at, json_t *v, const sr_pfield *f, sr_curves *out)
{
    const char *key;
    json_t     *item;
    char        label[96], shown[24];
    if (!json_is_object(v) || !json_object_size(v))
        return wrong(at, "is no object of formats");
    json_object_foreach(v, key, item) {
        place    here = {at->section, at->dot, label, at->err};
        sr_dtype t;
        snprintf(label, sizeof label, "%s.%s", at->field, sr_escape(shown, sizeof shown, key, strlen(key)));
        if (!sr_dtype_parse(key, &t))
            return wrong(&here, "is for no number format that is known");
        for (uint32_t i = 0; i < out->n; i++)
            if (out->c[i].format == (uint32_t)t) /* "q4_k" beside "Q4_K" */
                return wrong(&here, "is given twice");
        sr_curve *c = sr_curves_add(out, t);
        if (!c)
            return wrong(&here, "is one format too many");
        if (curve(&here, item, f, c))
            return SR_INVALID;
    }
    return SR_OK;
}

static sr_status take(const place *at, json_t *v, const sr_pfield *f, sr_profile *p)
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
        return curve(at, v, f, to);
    case SR_PF_CURVES:
        return curves(at, v, f, to);
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

static sr_status section(const sr_psection *s, json_t *o, sr_profile *p, sr_err *err)
{
    const char *key, *dot = *s->name ? "." : "";
    json_t     *item;
    char        shown[64];
    if (!json_is_object(o))
        return sr_raise(err, SR_INVALID, "%s is no object", *s->name ? s->name : "the profile");
    json_object_foreach(o, key, item) {
        const sr_pfield *f = find(s, key);
        if (!f && !*s->name && is_section(key))
            continue;
        place at = {s->name, dot, f ? f->name : sr_escape(shown, sizeof shown, key, strlen(key)), err};
        if (!f)
            return wrong(&at, "is no field of a profile");
        if (take(&at, item, f, p))
            return SR_INVALID;
    }
    for (size_t i = 0; i < s->n; i++)
        if (s->field[i].needed && !json_object_get(o, s->field[i].name))
            return sr_raise(err, SR_INVALID, "%s%s%s is missing", s->name, dot, s->field[i].name);
    return SR_OK;
}

static sr_status all(json_t *root, sr_profile *p, sr_err *err)
{
    const json_t *v = json_object_get(root, "profile");
    if (!json_is_object(root))
        return sr_raise(err, SR_INVALID, "no JSON object");
    if (!json_is_integer(v) || json_integer_value(v) != SR_PROFILE_VERSION)
        return sr_raise(err, SR_INVALID, "profile is not %d: no machine profile, or of another version", SR_PROFILE_VERSION);
    for (int i = 0; i < SR_PSECTIONS; i++) {
        const sr_psection *s = &sr_profile_section[i];
        json_t            *o = *s->name ? json_object_get(root, s->name) : root;
        if (!o && s->needed)
            return sr_raise(err, SR_INVALID, "%s is missing", s->name);
        if (o && section(s, o, p, err))
            return SR_INVALID;
    }
    return sr_profile_check(p, err);
}

sr_status sr_profile_parse(const char *bytes, size_t n, sr_profile *out, sr_err *err)
{
    json_error_t e;
    char         why[120];
    *out = (sr_profile){0};
    if (n > SR_PROFILE_BYTES)
        return sr_raise(err, SR_INVALID, "%zu bytes; a profile has at most %d", n, SR_PROFILE_BYTES);
    json_t *root = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &e);
    if (!root)
        return sr_raise(err, SR_INVALID, "invalid JSON: %s (line %d, column %d)", sr_escape(why, sizeof why, e.text, strlen(e.text)), e.line, e.column);
    sr_status s = all(root, out, err);
    json_decref(root);
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
