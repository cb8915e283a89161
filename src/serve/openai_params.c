/* openai_params.c - every parameter the API knows, in one table.
 *
 * A row says name, type, range and where the value goes.  null is the same as absent; a wrong type or a value
 * out of range is a 400 naming the parameter; names that are not here are ignored (clients send what other
 * servers know).  Parameters with a meaning that is not served are rows too: their neutral values pass, any
 * other is a 400, because an answer that silently ignores "tools" is a wrong answer.
 */
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/siphash.h"
#include "serve/constraint.h"
#include "serve/request.h"

typedef struct {
    const sr_prepenv *env;
    sr_api     api;
    sr_arena  *arena;
    sr_params *p;
    sr_apierr *e;
    const char *must_call, *only; /* the parameter that forces a call; the function, or NULL */
    const char *form;             /* the parameter that gave the answer's form */
    json_t     *schema;           /* that form, where it is a schema; borrowed from the request */
    bool        any_object;       /* that form is any JSON object */
} ctx;

typedef enum { BOOL, INT, NUM, SPECIAL, NOT_SERVED } kind;
enum { CHAT = SR_API_CHAT, COMP = SR_API_COMPLETION, BOTH = CHAT | COMP };
typedef struct {
    const char *name;
    uint8_t     kind, apis;
    double      lo, hi;                               /* both allowed; NOT_SERVED: the numbers that mean "off" */
    size_t      at;                                   /* into sr_params */
    bool      (*take)(ctx *c, const char *name, const json_t *v); /* SPECIAL */
} row;

static bool nomem(ctx *c, const char *name)
{
    return sr_api_fail(c->e, 503, name, "out_of_memory", "No memory for '%s'.", name);
}

/* The integer v stands for: 16 and 16.0 both do. */
static bool whole(const json_t *v, int64_t *out)
{
    if (json_is_integer(v)) {
        *out = json_integer_value(v);
        return true;
    }
    double d = json_is_real(v) ? json_real_value(v) : 0.5;
    if (d != floor(d) || fabs(d) > 9007199254740992.0)
        return false;
    *out = (int64_t)d;
    return true;
}

/* Decimal digits with an optional sign, all of s. */
static bool whole_text(const char *s, int64_t *out)
{
    bool neg = *s == '-';
    s += neg;
    int64_t v = 0;
    size_t  n = strspn(s, "0123456789");
    if (!n || n > 18 || s[n])
        return false;
    for (size_t i = 0; i < n; i++)
        v = v * 10 + (s[i] - '0');
    *out = neg ? -v : v;
    return true;
}

static const char *type_name(const json_t *v)
{
    static const char *const names[] = {"an object", "an array", "a string", "an integer", "a number", "true", "false", "null"};
    return names[json_typeof(v)];
}

/* ---- parameters that are more than one number ----------------------------------------------------------- */

static bool add_stop(ctx *c, const char *name, const json_t *v)
{
    const sr_servelimits *l = &c->env->limits;
    size_t n = json_string_length(v);
    if (!json_is_string(v))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be a string or an array of strings, not %s.", name, type_name(v));
    if (n > l->stop_bytes)
        return sr_api_fail(c->e, 400, name, NULL, "A string of '%s' is %zu bytes long; the limit is %u.", name, n, l->stop_bytes);
    if (!n) /* stops nothing: some clients send "" for "none" */
        return true;
    char *s = sr_arena_strndup(c->arena, json_string_value(v), n);
    if (!s)
        return nomem(c, name);
    c->p->stop[c->p->n_stop++] = (sr_stopstr){s, n};
    return true;
}

static bool take_stop(ctx *c, const char *name, const json_t *v)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > c->env->limits.stops)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' holds %zu strings; the limit is %u.", name, n, c->env->limits.stops);
    c->p->n_stop = 0;
    if (!(c->p->stop = sr_arena_zalloc(c->arena, n ? n : 1, sizeof *c->p->stop)))
        return nomem(c, name);
    if (!json_is_array(v))
        return add_stop(c, name, v);
    for (size_t i = 0; i < n; i++)
        if (!add_stop(c, name, json_array_get(v, i)))
            return false;
    return true;
}

static bool token_id(ctx *c, const char *name, int64_t id, int32_t *out)
{
    uint32_t n = sr_tokenizer_n_vocab(c->env->model.tok);
    if (id < 0 || id >= (int64_t)n)
        return sr_api_fail(c->e, 400, name, NULL, "'%s': token id %lld is not in the vocabulary (0..%u).", name,
                           (long long)id, n ? n - 1 : 0);
    *out = (int32_t)id;
    return true;
}

enum { STOP_TOKENS = 128 };

static bool take_stop_tokens(ctx *c, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an array of token ids, not %s.", name, type_name(v));
    if (n > STOP_TOKENS)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' holds %zu ids; the limit is %d.", name, n, STOP_TOKENS);
    if (!(c->p->stop_tok = sr_arena_zalloc(c->arena, n ? n : 1, sizeof *c->p->stop_tok)))
        return nomem(c, name);
    for (size_t i = 0; i < n; i++) {
        int64_t id;
        if (!whole(json_array_get(v, i), &id))
            return sr_api_fail(c->e, 400, name, NULL, "'%s' must hold integers only.", name);
        if (!token_id(c, name, id, &c->p->stop_tok[i]))
            return false;
    }
    c->p->n_stop_tok = (uint32_t)n;
    return true;
}

static bool add_bias(ctx *c, const char *name, int64_t id, const json_t *v)
{
    sr_bias *b = &c->p->bias[c->p->n_bias];
    double   d = json_is_false(v) ? -100 : json_number_value(v);
    if (!json_is_number(v) && !json_is_false(v))
        return sr_api_fail(c->e, 400, name, NULL, "A bias in '%s' must be a number, not %s.", name, type_name(v));
    if (!(d >= -100 && d <= 100))
        return sr_api_fail(c->e, 400, name, NULL, "A bias in '%s' must be between -100 and 100.", name);
    if (!token_id(c, name, id, &b->tok))
        return false;
    b->bias = d <= -100 ? -INFINITY : (float)d; /* -100 bans the token, as OpenAI documents it */
    c->p->n_bias++;
    return true;
}

/* {"1734": -100, ...}, or llama.cpp's [[1734, -100], [42, false], ...] */
static bool take_bias(ctx *c, const char *name, const json_t *v)
{
    size_t n = json_is_object(v) ? json_object_size(v) : json_array_size(v);
    if (!json_is_object(v) && !json_is_array(v))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an object of token ids and biases, not %s.", name, type_name(v));
    if (n > c->env->limits.bias)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' holds %zu biases; the limit is %u.", name, n, c->env->limits.bias);
    if (!(c->p->bias = sr_arena_zalloc(c->arena, n ? n : 1, sizeof *c->p->bias)))
        return nomem(c, name);
    int64_t id;
    if (json_is_object(v)) {
        for (void *it = json_object_iter((json_t *)v); it; it = json_object_iter_next((json_t *)v, it)) {
            if (!whole_text(json_object_iter_key(it), &id))
                return sr_api_fail(c->e, 400, name, NULL, "The keys of '%s' must be token ids in decimal.", name);
            if (!add_bias(c, name, id, json_object_iter_value(it)))
                return false;
        }
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(v, i);
        if (json_array_size(pair) != 2 || !whole(json_array_get(pair, 0), &id))
            return sr_api_fail(c->e, 400, name, NULL, "Entry %zu of '%s' must be [token id, bias].", i, name);
        if (!add_bias(c, name, id, json_array_get(pair, 1)))
            return false;
    }
    return true;
}

static bool take_stream_options(ctx *c, const char *name, const json_t *v)
{
    static const char *const keys[] = {"include_usage", "continuous_usage_stats"};
    bool *const to[] = {&c->p->include_usage, &c->p->usage_always};
    if (!json_is_object(v))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an object, not %s.", name, type_name(v));
    for (size_t i = 0; i < SR_COUNT(keys); i++) {
        const json_t *u = json_object_get(v, keys[i]);
        char at[48];
        snprintf(at, sizeof at, "stream_options.%s", keys[i]);
        if (u && !json_is_null(u) && !json_is_boolean(u))
            return sr_api_fail(c->e, 400, at, NULL, "'%s' must be true or false, not %s.", at, type_name(u));
        *to[i] = json_is_true(u);
    }
    c->p->usage_always &= c->p->include_usage;
    return true;
}

/* ---- what the answer must look like --------------------------------------------------------------------- */

static bool text_of(ctx *c, const char *name, const json_t *v)
{
    return json_is_string(v) ? true : sr_api_fail(c->e, 400, name, NULL, "'%s' must be a string, not %s.", name, type_name(v));
}

/* s and err are those of the call that made it (and that is an argument, too: hence the pointer). */
static bool set_grammar(ctx *c, const char *name, sr_status s, const sr_err *err, sr_grammar **made)
{
    sr_grammar *g = *made;
    if (s)
        return sr_api_fail_err(c->e, s, err->msg, name);
    if (c->p->grammar) {
        sr_grammar_close(g);
        return sr_api_fail(c->e, 400, name, NULL, "'%s': the request says already what the answer must look like.", name);
    }
    c->p->grammar = g;
    c->form       = name;
    return true;
}

static bool take_schema(ctx *c, const char *name, const json_t *v)
{
    sr_err err = {0};
    sr_grammar *g = NULL;
    sr_status s;
    if (json_is_string(v)) /* the schema's text */
        s = sr_grammar_schema(json_string_value(v), json_string_length(v), &g, &err);
    else if (json_is_object(v) || json_is_boolean(v))
        s = sr_constraint_schema(v, &g, &err);
    else
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be a JSON schema, not %s.", name, type_name(v));
    if (!set_grammar(c, name, s, &err, &g))
        return false;
    c->schema = json_is_object(v) ? (json_t *)v : NULL;
    return true;
}

static bool take_gbnf(ctx *c, const char *name, const json_t *v)
{
    sr_err err = {0};
    sr_grammar *g = NULL;
    if (!text_of(c, name, v))
        return false;
    if (!json_string_length(v))
        return true; /* some clients send "" for none */
    return set_grammar(c, name, sr_grammar_gbnf(json_string_value(v), json_string_length(v), &g, &err), &err, &g);
}

static bool take_regex(ctx *c, const char *name, const json_t *v)
{
    sr_err err = {0};
    sr_grammar *g = NULL;
    if (!text_of(c, name, v))
        return false;
    return set_grammar(c, name, sr_grammar_regex(json_string_value(v), json_string_length(v), &g, &err), &err, &g);
}

static bool take_choice(ctx *c, const char *name, const json_t *v)
{
    sr_err err = {0};
    sr_grammar *g = NULL;
    size_t n = json_array_size(v);
    sr_gtext *text = n ? sr_arena_alloc(c->arena, n * sizeof *text) : NULL;
    if (!json_is_array(v) || !n)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an array with at least one string.", name);
    if (!text)
        return nomem(c, name);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(v, i);
        if (!json_is_string(s))
            return sr_api_fail(c->e, 400, name, NULL, "'%s' must hold strings only.", name);
        text[i] = (sr_gtext){json_string_value(s), json_string_length(s)};
    }
    return set_grammar(c, name, sr_grammar_choice(text, n, &g, &err), &err, &g);
}

static bool take_any_object(ctx *c, const char *name)
{
    sr_err err = {0};
    sr_grammar *g = NULL;
    c->any_object = set_grammar(c, name, sr_grammar_json_object(&g, &err), &err, &g);
    return c->any_object;
}

/* {"type":"json_schema","json_schema":{"name","schema","strict"}} */
static bool take_response_format(ctx *c, const char *name, const json_t *v)
{
    const char   *type = json_string_value(json_object_get(v, "type"));
    const json_t *body = json_object_get(v, "json_schema"), *schema = json_object_get(body, "schema");
    if (!json_is_object(v) || !type)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an object with a string 'type'.", name);
    if (!strcmp(type, "text"))
        return true;
    const json_t *beside = json_object_get(v, "schema"); /* llama.cpp: of a json_object, too */
    if (!strcmp(type, "json_object"))
        return beside && !json_is_null(beside) ? take_schema(c, name, beside) : take_any_object(c, name);
    if (strcmp(type, "json_schema"))
        return sr_api_fail(c->e, 400, name, "unsupported_value", "'%s': the type must be \"text\", \"json_object\" or \"json_schema\".", name);
    if (!json_is_object(body) || !schema)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must hold a 'json_schema' with a 'schema'.", name);
    return take_schema(c, name, schema);
}

/* vLLM's: {"json"|"regex"|"choice"|"grammar"|"json_object": ..} */
static bool take_structured(ctx *c, const char *name, const json_t *v)
{
    static const struct { const char *key; bool (*take)(ctx *c, const char *name, const json_t *v); } kinds[] = {
        {"json", take_schema}, {"regex", take_regex}, {"choice", take_choice}, {"grammar", take_gbnf}};
    if (!json_is_object(v))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an object, not %s.", name, type_name(v));
    for (size_t i = 0; i < SR_COUNT(kinds); i++) {
        const json_t *x = json_object_get(v, kinds[i].key);
        if (x && !json_is_null(x) && !kinds[i].take(c, name, x))
            return false;
    }
    if (json_is_true(json_object_get(v, "json_object")) && !take_any_object(c, name))
        return false;
    for (void *it = json_object_iter((json_t *)v); it; it = json_object_iter_next((json_t *)v, it)) {
        const char   *key = json_object_iter_key(it);
        const json_t *x   = json_object_iter_value(it);
        bool known = !strcmp(key, "json_object");
        for (size_t i = 0; i < SR_COUNT(kinds); i++)
            known |= !strcmp(key, kinds[i].key);
        if (!known && !json_is_null(x) && !json_is_false(x)) /* structural_tag, disable_any_whitespace ..: not to be passed over */
            return sr_api_fail(c->e, 400, name, "unsupported_value", "'%s': '%.40s' is not available.", name, key);
    }
    return true;
}

/* ---- tools ---------------------------------------------------------------------------------------------- */

enum { TOOLS = 256, TOOL_NAME = 64 };

/* One of "tools": {"type":"function","function":{"name","description","parameters","strict"}}; of "functions" (old): its function alone. */
static bool check_tool(ctx *c, const char *list, bool old, size_t i, const json_t *v)
{
    char name[64];
    const json_t *f = old ? v : json_object_get(v, "function"), *id = json_object_get(f, "name"), *desc = json_object_get(f, "description");
    const json_t *schema = json_object_get(f, "parameters");
    const char   *type = old ? NULL : json_string_value(json_object_get(v, "type"));
    snprintf(name, sizeof name, "%s[%zu]", list, i);
    if (type && strcmp(type, "function"))
        return sr_api_fail(c->e, 400, name, "unsupported_value", "'%s': tools of type \"%.40s\" are not available; functions are.", name, type);
    if (!json_is_object(f))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be %s.", name, old ? "{\"name\",...}" : "{\"type\":\"function\",\"function\":{...}}");
    const char *s = json_string_value(id);
    size_t      n = s ? strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") : 0;
    if (!s || !n || n != json_string_length(id) || n > TOOL_NAME)
        return sr_api_fail(c->e, 400, name, NULL, "The name of '%s' must be 1 to %d letters, digits, '_', '-' or '.'.", name, TOOL_NAME);
    if ((desc && !json_is_null(desc) && !json_is_string(desc)) || (schema && !json_is_null(schema) && !json_is_object(schema)))
        return sr_api_fail(c->e, 400, name, NULL, "'%s': 'description' must be a string, 'parameters' an object.", name);
    return true;
}

static bool check_tools(ctx *c, const char *name, bool old, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!json_is_array(v))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an array, not %s.", name, type_name(v));
    if (n > TOOLS)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' holds %zu tools; the limit is %d.", name, n, TOOLS);
    for (size_t i = 0; i < n; i++)
        if (!check_tool(c, name, old, i, json_array_get(v, i)))
            return false;
    return true;
}

static bool take_tools(ctx *c, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!check_tools(c, name, false, v))
        return false;
    json_decref(c->p->tools);
    c->p->tools = n ? json_incref((json_t *)v) : NULL;
    return true;
}

/* After "tools": the form of 2023, {"name","description","parameters"} each.  One call an answer is all that its form has room for. */
static bool take_functions(ctx *c, const char *name, const json_t *v)
{
    size_t n = json_array_size(v);
    if (!check_tools(c, name, true, v))
        return false;
    if (n && c->p->tools)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' and 'tools' exclude each other: they are the older and the newer name of the same.", name);
    if (!n)
        return true;
    c->p->functions = true;
    c->p->parallel  = false;
    c->p->tools     = json_array();
    for (size_t i = 0; i < n; i++) /* jansson takes NULL for an error */
        if (json_array_append_new(c->p->tools, json_pack("{s:s, s:O}", "type", "function", "function", json_array_get(v, i))))
            return sr_api_fail(c->e, 503, name, "out_of_memory", "No memory for '%s'.", name);
    return true;
}

static void forget_tools(ctx *c)
{
    json_decref(c->p->tools);
    c->p->tools = NULL;
}

/* After "functions".  "none": the model is not told of them. */
static bool take_function_call(ctx *c, const char *name, const json_t *v)
{
    const char   *s    = json_string_value(v);
    const json_t *only = json_object_get(v, "name");
    if (s && !strcmp(s, "none") && c->p->functions)
        forget_tools(c);
    if (s && (!strcmp(s, "none") || !strcmp(s, "auto")))
        return true; /* without "functions" it asks for nothing */
    if (!json_is_string(only))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be \"none\", \"auto\" or {\"name\"}.", name);
    if (!c->p->functions)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' needs 'functions'.", name);
    c->must_call = name;
    c->only      = json_string_value(only);
    return true;
}

/* After "tools".  "none": the model is not told of them. */
static bool take_tool_choice(ctx *c, const char *name, const json_t *v)
{
    const char *s = json_string_value(v);
    if (s && !strcmp(s, "none")) {
        forget_tools(c);
        return true;
    }
    if (s && !strcmp(s, "auto"))
        return true;
    const json_t *only = json_object_get(json_object_get(v, "function"), "name");
    if ((!s || strcmp(s, "required")) && !json_is_string(only))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be \"none\", \"auto\", \"required\" or {\"type\":\"function\",\"function\":{\"name\"}}.", name);
    c->must_call = name;
    c->only      = json_string_value(only);
    return true;
}

/* When all rows have been read: calls that must come, or may come in place of an answer of a given form. */
static bool form_with_tools(ctx *c)
{
    sr_err err = {0};
    sr_grammar *g = NULL;
    sr_params  *p = c->p;
    const char *name = c->must_call ? c->must_call : c->form;
    if (c->must_call && !p->tools)
        return sr_api_fail(c->e, 400, c->must_call, NULL, "'%s' needs 'tools'.", c->must_call);
    if (!p->tools || !name)
        return true;
    if (p->grammar && !c->schema && !c->any_object)
        return sr_api_fail(c->e, 400, c->form, NULL, "'%s' is not available with tools that may be called: a schema is, or 'tool_choice' \"none\".", c->form);
    sr_grammar_close(p->grammar); /* a call comes first; where it need not, both are in the new one */
    p->grammar = NULL;
    if (!c->must_call) {
        json_t *form = c->schema ? json_incref(c->schema) : json_pack("{s:s}", "type", "object");
        bool ok = set_grammar(c, name, sr_constraint_call_or(c->env->family, p->tools, form, &g, &err), &err, &g);
        json_decref(form);
        return ok;
    }
    bool several = p->parallel && !c->only;
    p->prefill = sr_toolfamily_form(c->env->family).prompt;
    return set_grammar(c, name, sr_constraint_calls(c->env->family, p->tools, c->only, several, &g, &err), &err, &g);
}

/* "none" leaves thoughts in the text. */
static bool take_reasoning_format(ctx *c, const char *name, const json_t *v)
{
    const char *s = json_string_value(v);
    if (s && !strcmp(s, "none"))
        c->p->think = NULL;
    else if (!s || (strcmp(s, "auto") && strcmp(s, "deepseek")))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be \"auto\", \"deepseek\" or \"none\".", name);
    return true;
}

static bool take_best_of(ctx *c, const char *name, const json_t *v)
{
    int64_t n;
    if (!whole(v, &n))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an integer, not %s.", name, type_name(v));
    if (n != c->p->n) /* rows stand in order: n was read before */
        return sr_api_fail(c->e, 400, name, "unsupported_value",
                           "'%s' other than 'n' is not available: all choices made are returned.", name);
    return true;
}

static bool take_salt(ctx *c, const char *name, const json_t *v)
{
    if (!json_is_string(v) || !json_string_length(v))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be a non-empty string.", name);
    c->p->salt = sr_siphash64(c->env->secret, json_string_value(v), json_string_length(v));
    return true;
}

/* Completions: the number of alternatives; chat has its own boolean. */
static bool take_logprobs_count(ctx *c, const char *name, const json_t *v)
{
    int64_t n;
    if (!whole(v, &n) || n < 0 || n > 5)
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be an integer between 0 and 5.", name);
    c->p->want_logprobs = true;
    c->p->top_logprobs  = n;
    return true;
}

/* Present, but asking for nothing: empty, false, or one of two numbers. */
static bool neutral(const json_t *v, double off1, double off2)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:  return json_object_size(v) == 0;
    case JSON_ARRAY:   return json_array_size(v) == 0;
    case JSON_STRING:  return json_string_length(v) == 0;
    case JSON_INTEGER:
    case JSON_REAL:    return json_number_value(v) == off1 || json_number_value(v) == off2;
    case JSON_TRUE:    return false;
    default:           return true;
    }
}

/* ---- the table ------------------------------------------------------------------------------------------ */

#define AT(field) offsetof(sr_params, field)
#define MAX_I32   2147483647.0

static const row rows[] = {
    {"n", INT, BOTH, 1, 0, AT(n), NULL}, /* hi: limits.choices */
    {"stream", BOOL, BOTH, 0, 0, AT(stream), NULL},
    {"return_progress", BOOL, BOTH, 0, 0, AT(progress), NULL},
    {"stream_options", SPECIAL, BOTH, 0, 0, 0, take_stream_options},
    {"n_predict", INT, BOTH, -1, MAX_I32, AT(max_tokens), NULL}, /* llama.cpp's; -1: up to the context's end */
    {"max_tokens", INT, CHAT, 1, MAX_I32, AT(max_tokens), NULL},
    {"max_completion_tokens", INT, CHAT, 1, MAX_I32, AT(max_tokens), NULL}, /* after max_tokens: the newer name wins */
    {"max_tokens", INT, COMP, 0, MAX_I32, AT(max_tokens), NULL},
    {"min_tokens", INT, BOTH, 0, MAX_I32, AT(min_tokens), NULL},
    {"temperature", NUM, BOTH, 0, 2, AT(temperature), NULL},
    {"top_p", NUM, BOTH, 0, 1, AT(top_p), NULL},
    {"top_k", INT, BOTH, -1, MAX_I32, AT(top_k), NULL},
    {"min_p", NUM, BOTH, 0, 1, AT(min_p), NULL},
    {"typical_p", NUM, BOTH, 0, 1, AT(typical_p), NULL},
    {"frequency_penalty", NUM, BOTH, -2, 2, AT(freq_penalty), NULL},
    {"presence_penalty", NUM, BOTH, -2, 2, AT(pres_penalty), NULL},
    {"repeat_penalty", NUM, BOTH, 0.01, 100, AT(rep_penalty), NULL},
    {"repetition_penalty", NUM, BOTH, 0.01, 100, AT(rep_penalty), NULL},
    {"repeat_last_n", INT, BOTH, -1, MAX_I32, AT(rep_last_n), NULL},
    {"seed", INT, BOTH, -INFINITY, INFINITY, AT(seed), NULL},
    {"stop", SPECIAL, BOTH, 0, 0, 0, take_stop},
    {"stop_token_ids", SPECIAL, BOTH, 0, 0, 0, take_stop_tokens},
    {"include_stop_str_in_output", BOOL, BOTH, 0, 0, AT(include_stop), NULL},
    {"skip_special_tokens", BOOL, BOTH, 0, 0, AT(skip_special), NULL},
    {"ignore_eos", BOOL, BOTH, 0, 0, AT(ignore_eos), NULL},
    {"logit_bias", SPECIAL, BOTH, 0, 0, 0, take_bias},
    {"logprobs", BOOL, CHAT, 0, 0, AT(want_logprobs), NULL},
    {"top_logprobs", INT, CHAT, 0, 20, AT(top_logprobs), NULL},
    {"logprobs", SPECIAL, COMP, 0, 0, 0, take_logprobs_count},
    {"echo", BOOL, COMP, 0, 0, AT(echo), NULL},
    {"priority", INT, BOTH, -MAX_I32, MAX_I32, AT(priority), NULL},
    {"timeout", NUM, BOTH, 0.001, 86400, AT(timeout_s), NULL},
    {"cache_salt", SPECIAL, BOTH, 0, 0, 0, take_salt},
    {"add_generation_prompt", BOOL, CHAT, 0, 0, AT(add_generation_prompt), NULL},
    {"continue_final_message", BOOL, CHAT, 0, 0, AT(continue_final), NULL},
    {"best_of", SPECIAL, BOTH, 0, 0, 0, take_best_of},
    {"response_format", SPECIAL, BOTH, 0, 0, 0, take_response_format},
    {"tools", SPECIAL, CHAT, 0, 0, 0, take_tools},
    {"parallel_tool_calls", BOOL, CHAT, 0, 0, AT(parallel), NULL},
    {"functions", SPECIAL, CHAT, 0, 0, 0, take_functions},
    {"tool_choice", SPECIAL, BOTH, 0, 0, 0, take_tool_choice},
    {"function_call", SPECIAL, BOTH, 0, 0, 0, take_function_call},
    {"reasoning_format", SPECIAL, CHAT, 0, 0, 0, take_reasoning_format},
    {"tools", NOT_SERVED, COMP, 0, 0, 0, NULL},
    {"functions", NOT_SERVED, COMP, 0, 0, 0, NULL},
    {"suffix", NOT_SERVED, COMP, 0, 0, 0, NULL},
    {"echo", NOT_SERVED, CHAT, 0, 0, 0, NULL},
    {"prompt_embeds", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"prompt_logprobs", NOT_SERVED, BOTH, -1, -1, 0, NULL}, /* 0 asks for something */
    {"use_beam_search", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"length_penalty", NOT_SERVED, BOTH, 1, 1, 0, NULL},
    {"json_schema", SPECIAL, BOTH, 0, 0, 0, take_schema},
    {"grammar", SPECIAL, BOTH, 0, 0, 0, take_gbnf},
    {"structured_outputs", SPECIAL, BOTH, 0, 0, 0, take_structured},
    {"guided_json", SPECIAL, BOTH, 0, 0, 0, take_schema},
    {"guided_regex", SPECIAL, BOTH, 0, 0, 0, take_regex},
    {"guided_choice", SPECIAL, BOTH, 0, 0, 0, take_choice},
    {"guided_grammar", SPECIAL, BOTH, 0, 0, 0, take_gbnf},
    {"grammar_lazy", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"guided_whitespace_pattern", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"structural_tag", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"bad_words", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"allowed_token_ids", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"truncate_prompt_tokens", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"chat_template", NOT_SERVED, CHAT, 0, 0, 0, NULL},
    {"documents", NOT_SERVED, CHAT, 0, 0, 0, NULL},
    {"xtc_probability", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"dry_multiplier", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"mirostat", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"dynatemp_range", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"top_n_sigma", NOT_SERVED, BOTH, -1, 0, 0, NULL},
    {"lora", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"adaptive_target", NOT_SERVED, BOTH, -1, -1, 0, NULL},
    {"samplers", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"thinking_token_budget", NOT_SERVED, BOTH, -1, -1, 0, NULL}, /* 0: no thoughts at all */
    {"reasoning_budget_tokens", NOT_SERVED, BOTH, -1, -1, 0, NULL},
    {"repetition_detection", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"t_max_predict_ms", NOT_SERVED, BOTH, 0, -1, 0, NULL},
    {"n_probs", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"return_tokens", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"return_token_ids", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"return_tokens_as_token_ids", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"logprob_token_ids", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"response_fields", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"logits_processors", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"kv_transfer_params", NOT_SERVED, BOTH, 0, 0, 0, NULL},
    {"add_special_tokens", NOT_SERVED, CHAT, 0, 0, 0, NULL}, /* the template makes them */
    {"add_special_tokens", BOOL, COMP, 0, 0, AT(add_special), NULL},
};

static bool take_number(ctx *c, const row *r, const json_t *v)
{
    double  lo = r->lo, hi = r->at == AT(n) ? c->env->limits.choices : r->hi, d;
    int64_t i = 0;
    bool    ok = r->kind == INT ? whole(v, &i) : json_is_number(v);
    if (!ok && !json_is_number(v))
        return sr_api_fail(c->e, 400, r->name, NULL, "'%s' must be %s, not %s.", r->name,
                           r->kind == INT ? "an integer" : "a number", type_name(v));
    if (!ok)
        return sr_api_fail(c->e, 400, r->name, NULL, "'%s' must be an integer, not %g.", r->name, json_number_value(v));
    d = r->kind == INT ? (double)i : json_number_value(v);
    if (!(d >= lo && d <= hi))
        return sr_api_fail(c->e, 400, r->name, NULL, "'%s' must be between %.15g and %.15g, not %.15g.", r->name, lo, hi, d);
    if (r->kind == INT)
        memcpy((char *)c->p + r->at, &i, sizeof i);
    else
        memcpy((char *)c->p + r->at, &d, sizeof d);
    return true;
}

static bool take_row(ctx *c, const row *r, const json_t *v)
{
    switch (r->kind) {
    case BOOL:
        if (!json_is_boolean(v))
            return sr_api_fail(c->e, 400, r->name, NULL, "'%s' must be true or false, not %s.", r->name, type_name(v));
        *(bool *)((char *)c->p + r->at) = json_is_true(v);
        return true;
    case INT:
    case NUM:
        return take_number(c, r, v);
    case SPECIAL:
        return r->take(c, r->name, v);
    default:
        if (neutral(v, r->lo, r->hi))
            return true;
        return sr_api_fail(c->e, 400, r->name, "unsupported_parameter", "'%s' is not available on this server.", r->name);
    }
}

void sr_params_default(sr_params *p, sr_api api)
{
    *p = (sr_params){.n = 1, .max_tokens = api == SR_API_CHAT ? -1 : 16, .seed = -1, .rep_last_n = -2, .temperature = 1,
                     .top_p = 1, .typical_p = 1, .rep_penalty = 1, .skip_special = true, .add_special = true, .add_generation_prompt = true, .parallel = true};
}

/* What one row alone cannot see. */
static bool check_together(ctx *c, const json_t *root)
{
    sr_params *p = c->p;
    if (c->api == SR_API_CHAT && !p->want_logprobs && p->top_logprobs > 0)
        return sr_api_fail(c->e, 400, "top_logprobs", NULL, "'top_logprobs' needs 'logprobs' to be true.");
    if (c->api == SR_API_CHAT && p->continue_final && json_is_true(json_object_get(root, "add_generation_prompt")))
        return sr_api_fail(c->e, 400, "continue_final_message", NULL,
                           "'continue_final_message' and 'add_generation_prompt' exclude each other.");
    if (p->grammar && p->echo && p->max_tokens == 0)
        return sr_api_fail(c->e, 400, "max_tokens", NULL, "'max_tokens' is 0: there is no answer that could have a form.");
    if (p->max_tokens == 0 && p->n > 1)
        return sr_api_fail(c->e, 400, "n", NULL, "'n' must be 1 when 'max_tokens' is 0: nothing is chosen.");
    if (p->max_tokens >= 0 && p->min_tokens > p->max_tokens)
        return sr_api_fail(c->e, 400, "min_tokens", NULL, "'min_tokens' (%lld) is larger than 'max_tokens' (%lld).",
                           (long long)p->min_tokens, (long long)p->max_tokens);
    return true;
}

bool sr_params_read(const sr_prepenv *env, sr_api api, const json_t *root, sr_arena *arena, sr_params *p, sr_apierr *e)
{
    ctx c = {env, api, arena, p, e, NULL, NULL, NULL, NULL, false};
    sr_params_default(p, api);
    p->think = api == SR_API_CHAT ? env->think : NULL;
    for (size_t i = 0; i < SR_COUNT(rows); i++) {
        const json_t *v = rows[i].apis & api ? json_object_get(root, rows[i].name) : NULL;
        if (v && !json_is_null(v) && !take_row(&c, &rows[i], v))
            return false;
    }
    if (p->top_p <= 0) /* OpenAI allows 0: nothing but the likeliest token */
        p->top_p = 1e-6;
    return form_with_tools(&c) && check_together(&c, root);
}
