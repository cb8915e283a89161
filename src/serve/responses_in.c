/* responses_in.c - POST /v1/responses as a chat request.  Nothing is stored: the input is the whole conversation. */
#include <stdio.h>
#include <string.h>

#include "serve/chat_in.h"

typedef struct {
    json_t    *messages;              /* OpenAI chat's */
    json_t    *thought;               /* of the assistant's message that comes next; borrowed */
    sr_apierr *e;
    char       at[64];                /* "input[3]" */
} ctx;

static bool bad(ctx *c, const char *what) { return sr_api_fail(c->e, 400, c->at, NULL, "'%s' %s.", c->at, what); }

static const char *string_of(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "";
}

/* "content" or "output": a string, or parts of text. */
static json_t *take_parts(ctx *c, const json_t *v)
{
    json_t *parts = json_is_array(v) ? json_array() : NULL;
    if (json_is_string(v))
        return json_incref((json_t *)v);
    if (!json_is_array(v)) {
        bad(c, "must have a content that is a string or an array of parts");
        return NULL;
    }
    for (size_t i = 0; parts && i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i);
        const char   *type = string_of(part, "type");
        bool refusal = !strcmp(type, "refusal"),
             text = !strcmp(type, "input_text") || !strcmp(type, "output_text") || !strcmp(type, "text");
        const json_t *s = json_object_get(part, refusal ? "refusal" : "text");
        if (!text && !refusal)
            bad(c, "holds a part that is not text; this model reads text only");
        else if (!json_is_string(s))
            bad(c, "holds a text part without a string 'text'");
        else if (sr_in_append(parts, json_pack("{s:s,s:O}", "type", "text", "text", s)))
            continue;
        else
            sr_in_nomem(c->e);
        json_decref(parts);
        return NULL;
    }
    if (!parts)
        sr_in_nomem(c->e);
    return parts;
}

static bool add_message(ctx *c, const json_t *item)
{
    json_t *content = take_parts(c, json_object_get(item, "content"));
    if (!content)
        return false;
    json_t *m = json_pack("{s:s,s:o}", "role", string_of(item, "role"), "content", content);
    bool assistant = !strcmp(string_of(item, "role"), "assistant");
    bool ok = m && (!assistant || !c->thought || !json_object_set_nocheck(m, "reasoning_content", c->thought));
    if (assistant)
        c->thought = NULL;
    ok = ok && !json_array_append(c->messages, m);
    json_decref(m);
    return ok ? true : sr_in_nomem(c->e);
}

/* Calls of one turn are items in a row; in chat they are one message. */
static bool add_call(ctx *c, const json_t *item)
{
    const json_t *name = json_object_get(item, "name"), *args = json_object_get(item, "arguments"),
                 *id = json_object_get(item, "call_id");
    json_t *last = json_array_get(c->messages, json_array_size(c->messages) - 1);
    if (!json_is_string(name) || !json_is_string(args) || !json_is_string(id))
        return bad(c, "must have the strings 'call_id', 'name' and 'arguments'");
    if (!last || strcmp(string_of(last, "role"), "assistant")) {
        last = json_pack("{s:s,s:n}", "role", "assistant", "content");
        if (!sr_in_append(c->messages, last) ||
            (c->thought && json_object_set_nocheck(last, "reasoning_content", c->thought)))
            return sr_in_nomem(c->e);
        c->thought = NULL;
    }
    json_t *calls = json_object_get(last, "tool_calls");
    if (!calls && !sr_in_set(last, "tool_calls", calls = json_array()))
        return sr_in_nomem(c->e);
    return sr_in_append(calls, json_pack("{s:O,s:s,s:{s:O,s:O}}", "id", id, "type", "function", "function", "name",
                                         name, "arguments", args))
               ? true
               : sr_in_nomem(c->e);
}

static bool add_output(ctx *c, const json_t *item)
{
    const json_t *id = json_object_get(item, "call_id");
    if (!json_is_string(id))
        return bad(c, "must have a string 'call_id'");
    json_t *text = take_parts(c, json_object_get(item, "output"));
    if (!text)
        return false;
    return sr_in_append(c->messages, json_pack("{s:s,s:O,s:o}", "role", "tool", "tool_call_id", id, "content", text))
               ? true
               : sr_in_nomem(c->e);
}

/* Thoughts come back to be shown to the model with the message they led to. */
static bool add_reasoning(ctx *c, const json_t *item)
{
    const json_t *part = json_array_get(json_object_get(item, "content"), 0), *text = json_object_get(part, "text");
    c->thought = json_is_string(text) ? (json_t *)text : NULL;
    return true;
}

static bool add_item(ctx *c, const json_t *item)
{
    const char *type = string_of(item, "type");
    if (!strcmp(type, "message") || (!*type && *string_of(item, "role")))
        return add_message(c, item);
    if (!strcmp(type, "function_call"))
        return add_call(c, item);
    if (!strcmp(type, "function_call_output"))
        return add_output(c, item);
    if (!strcmp(type, "reasoning"))
        return add_reasoning(c, item);
    if (!strcmp(type, "item_reference"))
        return bad(c, "refers to an item; nothing is stored here, send the items themselves");
    return bad(c, "is an item of a type that is not available here");
}

static bool put_messages(ctx *c, const json_t *root, json_t *out)
{
    const json_t *in = json_object_get(root, "input"), *say = json_object_get(root, "instructions");
    if (sr_in_given(root, "instructions") && !json_is_string(say))
        return sr_api_fail(c->e, 400, "instructions", NULL, "'instructions' must be a string.");
    if (json_string_length(say) && !sr_in_append(c->messages, json_pack("{s:s,s:O}", "role", "system", "content", say)))
        return sr_in_nomem(c->e);
    if (json_is_string(in)) {
        if (!sr_in_append(c->messages, json_pack("{s:s,s:O}", "role", "user", "content", in)))
            return sr_in_nomem(c->e);
    } else if (!json_is_array(in) || !json_array_size(in)) {
        return sr_api_fail(c->e, 400, "input", NULL, "'input' must be a string or an array with at least one item.");
    }
    for (size_t i = 0; i < json_array_size(in); i++) {
        snprintf(c->at, sizeof c->at, "input[%zu]", i);
        if (!add_item(c, json_array_get(in, i)))
            return false;
    }
    return !json_object_set_nocheck(out, "messages", c->messages) ? true : sr_in_nomem(c->e);
}

/* Functions.  What a server runs itself (web_search and its like, which Codex always offers) the model is not told of: it may be left
 * unused anyway, and the answer's own `tools` says what was offered.  Nobody can be made to use it: `tool_choice` finds no such tool. */
static bool put_tools(ctx *c, const json_t *tools, json_t *out, json_t *echo)
{
    if (!json_is_array(tools))
        return sr_api_fail(c->e, 400, "tools", NULL, "'tools' must be an array.");
    json_t *list = json_array(), *offered = json_array();
    bool    ok   = list && offered;
    for (size_t i = 0; ok && i < json_array_size(tools); i++) {
        json_t *t = json_array_get(tools, i);
        snprintf(c->at, sizeof c->at, "tools[%zu]", i);
        if (!*string_of(t, "type")) {
            json_decref(list);
            json_decref(offered);
            return bad(c, "must be an object with a 'type'");
        }
        if (strcmp(string_of(t, "type"), "function") != 0)
            continue;
        json_t *f = json_object();
        ok = f && !json_array_append(offered, t) && sr_in_copy(t, "name", f, "name") && sr_in_copy(t, "description", f, "description") &&
             sr_in_copy(t, "parameters", f, "parameters") && sr_in_copy(t, "strict", f, "strict") &&
             sr_in_append(list, json_pack("{s:s,s:O}", "type", "function", "function", f));
        json_decref(f);
    }
    ok = ok && (!json_array_size(list) || !json_object_set_nocheck(out, "tools", list)) && !json_object_set_nocheck(echo, "tools", offered);
    json_decref(list);
    json_decref(offered);
    return ok ? true : sr_in_nomem(c->e);
}

static bool put_tool_choice(ctx *c, const json_t *v, json_t *out)
{
    const json_t *name = json_object_get(v, "name");
    json_t *to = json_is_object(v) && name ? json_pack("{s:s,s:{s:O}}", "type", "function", "function", "name", name)
                                           : json_incref((json_t *)v);
    return sr_in_set(out, "tool_choice", to) ? true : sr_in_nomem(c->e);
}

/* text.format {type, name, schema, strict} is chat's response_format {type, json_schema: {name, schema, strict}}. */
static bool put_format(ctx *c, const json_t *root, json_t *out)
{
    const json_t *f = json_object_get(json_object_get(root, "text"), "format");
    json_t *to = NULL;
    if (!f || json_is_null(f))
        return true;
    if (!strcmp(string_of(f, "type"), "json_schema")) {
        json_t *schema = json_object();
        bool ok = schema && sr_in_copy(f, "name", schema, "name") && sr_in_copy(f, "schema", schema, "schema") &&
                  sr_in_copy(f, "strict", schema, "strict");
        to = ok ? json_pack("{s:s,s:O}", "type", "json_schema", "json_schema", schema) : NULL;
        json_decref(schema);
    } else {
        to = json_incref((json_t *)f);
    }
    return sr_in_set(out, "response_format", to) ? true : sr_in_nomem(c->e);
}

/* What asks for a memory that this server does not have, and what only chat has. */
static bool check_available(const json_t *root, sr_apierr *e)
{
    static const char *const stored[] = {"previous_response_id", "conversation", "prompt"};
    for (size_t i = 0; i < sizeof stored / sizeof *stored; i++)
        if (sr_in_given(root, stored[i]))
            return sr_api_fail(e, 400, stored[i], "unsupported_parameter",
                               "'%s' is not available: nothing is stored here, send the whole conversation.",
                               stored[i]);
    if (json_number_value(json_object_get(root, "top_logprobs")) > 0)
        return sr_api_fail(e, 400, "top_logprobs", "unsupported_parameter",
                           "'top_logprobs' is not available in responses; chat completions have it.");
    const json_t *include = json_object_get(root, "include");
    for (size_t i = 0; i < json_array_size(include); i++) {
        const char *s = json_string_value(json_array_get(include, i));
        if (s && !strcmp(s, "message.output_text.logprobs"))
            return sr_api_fail(e, 400, "include", "unsupported_value", "'include': '%s' is not available in responses; chat completions have 'logprobs'.", s);
    }
    if (json_is_true(json_object_get(root, "background")))
        return sr_api_fail(e, 400, "background", "unsupported_parameter",
                           "'background' is not available: nothing is stored here.");
    return true;
}

static bool put_numbers(ctx *c, const json_t *root, json_t *out)
{
    static const char *const same[] = {"temperature", "top_p", "top_k", "min_p", "seed", "stop", "stream",
                                       "parallel_tool_calls", "priority", "cache_salt", "timeout", "chat_template_kwargs",
                                       "reasoning_format"};
    bool ok = sr_in_copy(root, "max_output_tokens", out, "max_tokens") &&
              sr_in_copy(json_object_get(root, "reasoning"), "effort", out, "reasoning_effort");
    for (size_t i = 0; ok && i < sizeof same / sizeof *same; i++)
        ok = sr_in_copy(root, same[i], out, same[i]);
    return ok ? true : sr_in_nomem(c->e);
}

/* What the answer repeats. */
static json_t *echo_of(const json_t *root)
{
    static const char *const keys[] = {"instructions", "max_output_tokens", "metadata", "parallel_tool_calls",
                                       "reasoning", "temperature", "text", "tool_choice", "tools", "top_p",
                                       "truncation", "user"};
    json_t *echo = json_object();
    for (size_t i = 0; echo && i < sizeof keys / sizeof *keys; i++)
        if (!sr_in_copy(root, keys[i], echo, keys[i])) {
            json_decref(echo);
            return NULL;
        }
    return echo;
}

bool sr_responses_in(const json_t *root, json_t **out, json_t **echo, sr_apierr *e)
{
    ctx c = {json_array(), NULL, e, ""};
    *out  = json_object();
    *echo = echo_of(root);
    bool ok = c.messages && *out && *echo ? true : sr_in_nomem(e);
    ok = ok && check_available(root, e) && put_messages(&c, root, *out) && put_numbers(&c, root, *out) &&
         (!sr_in_given(root, "tools") || put_tools(&c, json_object_get(root, "tools"), *out, *echo)) &&
         (!sr_in_given(root, "tool_choice") || put_tool_choice(&c, json_object_get(root, "tool_choice"), *out)) &&
         put_format(&c, root, *out);
    json_decref(c.messages);
    if (!ok) {
        json_decref(*out);
        json_decref(*echo);
        *out = *echo = NULL;
    }
    return ok;
}
