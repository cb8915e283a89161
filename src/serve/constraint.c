#include "serve/constraint.h"

#include <string.h>

#include "base/mem.h"
#include "serve/json_in.h"

enum { CALLS = 16 }; /* at most, where several may come */

static sr_status nomem(sr_err *err) { return sr_raise(err, SR_NOMEM, "host: the grammar of an answer"); }

sr_status sr_constraint_schema(const json_t *schema, sr_grammar **out, sr_err *err)
{
    sr_buf    text = {0};
    sr_status s    = sr_json_dump(schema, &text) ? sr_grammar_schema(text.p, text.n, out, err) : nomem(err);
    sr_buf_end(&text);
    return s;
}

/* References into the document point somewhere else when the document becomes a part of another. */
static bool move_references(json_t *v, const char *to)
{
    bool ok = true;
    for (size_t i = 0; ok && json_is_array(v) && i < json_array_size(v); i++)
        ok = move_references(json_array_get(v, i), to);
    if (!json_is_object(v))
        return ok;
    for (void *it = json_object_iter(v); ok && it; it = json_object_iter_next(v, it)) {
        json_t     *x = json_object_iter_value(it);
        const char *s = json_string_value(x);
        if (strcmp(json_object_iter_key(it), "$ref") || !s || *s != '#')
            ok = move_references(x, to);
        else
            ok = !json_object_iter_set_new(v, it, json_sprintf("%s%s", to, s + 1));
    }
    return ok;
}

/* A copy of the tool's parameters that is an object's schema whatever was left out. */
static json_t *parameters_of(const json_t *function)
{
    const json_t *p = json_object_get(function, "parameters");
    if (!json_is_object(p) || !json_object_size(p))
        return json_pack("{s:s,s:{},s:b}", "type", "object", "properties", "additionalProperties", 0);
    static const char *const telling[] = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"};
    json_t *copy = json_deep_copy(p);
    bool    told = false;
    for (size_t i = 0; i < SR_COUNT(telling); i++)
        told |= json_object_get(p, telling[i]) != NULL;
    if (copy && !told && json_object_set_new_nocheck(copy, "type", json_string("object"))) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static bool is_wanted(const json_t *function, const char *only)
{
    return !only || !strcmp(json_string_value(json_object_get(function, "name")), only);
}

/* One tool: its name is fixed text, its parameters are the schema, so their references need not move. */
static sr_status one_tool(const sr_callform *form, const json_t *function, bool several, sr_grammar **out, sr_err *err)
{
    sr_buf  before = {0}, schema = {0}, behind = {0};
    json_t *p = parameters_of(function);
    sr_buf_fmt(&before, "%s{\"name\": \"%s\", \"%s\": ", form->open,
               json_string_value(json_object_get(function, "name")), form->arguments);
    sr_buf_fmt(&behind, "}%s", form->close);
    bool ok = p && sr_json_dump(p, &schema) && !before.failed && !behind.failed;
    const sr_gpart part[] = {{SR_GPART_LITERAL, {before.p, before.n}}, {SR_GPART_SCHEMA, {schema.p, schema.n}},
                             {SR_GPART_LITERAL, {behind.p, behind.n}}};
    sr_status s = ok ? sr_grammar_parts(part, 3, 1, several ? CALLS : 1, out, err) : nomem(err);
    json_decref(p);
    sr_buf_end(&before);
    sr_buf_end(&schema);
    sr_buf_end(&behind);
    return s;
}

/* {"anyOf":[{"type":"object","properties":{"name":{"const":"f"},"arguments":{..}},..}]} */
static json_t *any_tool(const sr_callform *form, const json_t *tools)
{
    json_t *list = json_array();
    bool    ok   = list != NULL;
    for (size_t i = 0; ok && i < json_array_size(tools); i++) {
        const json_t *f = json_object_get(json_array_get(tools, i), "function");
        json_t *p = parameters_of(f);
        char    at[96];
        snprintf(at, sizeof at, "#/anyOf/%zu/properties/%s", i, form->arguments);
        if (!p || !move_references(p, at)) {
            json_decref(p);
            ok = false;
            break;
        }
        json_t *one = json_pack("{s:s,s:{s:{s:O},s:o},s:[s,s],s:b}", "type", "object", "properties", "name", "const",
                                json_object_get(f, "name"), form->arguments, p, "required", "name", form->arguments,
                                "additionalProperties", 0);
        ok = one && !json_array_append_new(list, one);
    }
    json_t *schema = ok ? json_pack("{s:O}", "anyOf", list) : NULL;
    json_decref(list);
    return schema;
}

static sr_status some_tool(const sr_callform *form, const json_t *tools, bool several, sr_grammar **out, sr_err *err)
{
    json_t *schema = any_tool(form, tools);
    sr_buf  text   = {0};
    bool    ok     = schema && sr_json_dump(schema, &text);
    const sr_gpart part[] = {{SR_GPART_LITERAL, {form->open, strlen(form->open)}}, {SR_GPART_SCHEMA, {text.p, text.n}},
                             {SR_GPART_LITERAL, {form->close, strlen(form->close)}}};
    size_t skip = *form->open ? 0 : 1, n = (*form->close ? 3 : 2) - skip; /* an empty literal is no part */
    sr_status s = ok ? sr_grammar_parts(part + skip, n, 1, several ? CALLS : 1, out, err) : nomem(err);
    json_decref(schema);
    sr_buf_end(&text);
    return s;
}

sr_status sr_constraint_calls(const sr_toolfamily *f, const json_t *tools, const char *only, bool several,
                              sr_grammar **out, sr_err *err)
{
    const sr_callform form = sr_toolfamily_form(f);
    const json_t *one = NULL;
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *fn = json_object_get(json_array_get(tools, i), "function");
        if (is_wanted(fn, only)) {
            one = fn;
            n++;
        }
    }
    several = several && form.several;
    if (!n)
        return only ? sr_raise(err, SR_INVALID, "there is no tool \"%.64s\"", only)
                    : sr_raise(err, SR_INVALID, "there are no tools");
    return n == 1 || only ? one_tool(&form, one, several, out, err) : some_tool(&form, tools, several, out, err);
}

sr_status sr_constraint_call_or(const sr_toolfamily *f, const json_t *tools, const json_t *schema, sr_grammar **out, sr_err *err)
{
    const sr_callform form = sr_toolfamily_form(f);
    json_t *any = any_tool(&form, tools), *list = json_object_get(any, "anyOf"), *answer = json_deep_copy(schema);
    char    at[40];
    snprintf(at, sizeof at, "#/anyOf/%zu", json_array_size(list));
    bool ok = list && answer && move_references(answer, at) && !json_array_append(list, answer);
    sr_status s = ok ? sr_constraint_schema(any, out, err) : nomem(err);
    json_decref(any);
    json_decref(answer);
    return s;
}
