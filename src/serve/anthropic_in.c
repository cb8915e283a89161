/* anthropic_in.c - POST /v1/messages and /v1/messages/count_tokens as chat requests. */
#include <stdio.h>
#include <string.h>

#include "serve/chat_in.h"

typedef struct {
    json_t    *messages;              /* OpenAI's */
    sr_apierr *e;
    char       at[64];                /* "messages[3]" */
} ctx;

static bool bad(ctx *c, const char *what) { return sr_api_fail(c->e, 400, c->at, NULL, "'%s' %s.", c->at, what); }

static const char *type_of(const json_t *v)
{
    const char *s = json_string_value(json_object_get(v, "type"));
    return s ? s : "";
}

/* A block that holds text, appended to the parts of a message. */
static bool add_text(ctx *c, const json_t *block, json_t *parts)
{
    const json_t *text = json_object_get(block, "text");
    if (!json_is_string(text))
        return bad(c, "holds a text block without a string 'text'");
    return sr_in_append(parts, json_pack("{s:s,s:O}", "type", "text", "text", text)) ? true : sr_in_nomem(c->e);
}

static bool add_tool_use(ctx *c, const json_t *block, json_t *calls)
{
    const json_t *name = json_object_get(block, "name"), *input = json_object_get(block, "input"),
                 *id = json_object_get(block, "id");
    if (!json_is_string(name) || (input && !json_is_object(input)) || (id && !json_is_string(id)))
        return bad(c, "holds a tool_use block without 'id', 'name' and 'input'");
    json_t *call = json_pack("{s:s,s:{s:O,s:o}}", "type", "function", "function", "name", name, "arguments",
                             input ? json_incref((json_t *)input) : json_object());
    bool ok = call && (!id || !json_object_set_nocheck(call, "id", (json_t *)id)) && !json_array_append(calls, call);
    json_decref(call);
    return ok ? true : sr_in_nomem(c->e);
}

/* The result of a tool is a message of its own, before the words of the same turn. */
static bool add_tool_result(ctx *c, const json_t *block)
{
    const json_t *id = json_object_get(block, "tool_use_id"), *content = json_object_get(block, "content");
    json_t *parts = NULL;
    if (!json_is_string(id))
        return bad(c, "holds a tool_result block without a string 'tool_use_id'");
    if (json_is_array(content)) {
        parts = json_array();
        for (size_t i = 0; parts && i < json_array_size(content); i++) {
            const json_t *part = json_array_get(content, i);
            bool ok = strcmp(type_of(part), "text")
                          ? bad(c, "holds a tool_result that is not text; this model reads text only")
                          : add_text(c, part, parts);
            if (!ok) {
                json_decref(parts);
                return false;
            }
        }
    } else if (!content || json_is_null(content)) {
        parts = json_string("");
    } else if (json_is_string(content)) {
        parts = json_incref((json_t *)content);
    } else {
        return bad(c, "holds a tool_result whose 'content' is neither a string nor an array");
    }
    if (!parts)
        return sr_in_nomem(c->e);
    return sr_in_append(c->messages, json_pack("{s:s,s:O,s:o}", "role", "tool", "tool_call_id", id, "content", parts))
               ? true
               : sr_in_nomem(c->e);
}

typedef struct { json_t *parts, *calls; const json_t *thought; } turn;

static bool add_block(ctx *c, const json_t *block, bool assistant, turn *t)
{
    const char *type = type_of(block);
    if (!strcmp(type, "text"))
        return add_text(c, block, t->parts);
    if (assistant && !strcmp(type, "tool_use"))
        return add_tool_use(c, block, t->calls);
    if (!assistant && !strcmp(type, "tool_result"))
        return add_tool_result(c, block);
    if (assistant && !strcmp(type, "thinking")) {
        t->thought = json_object_get(block, "thinking");
        return !t->thought || json_is_string(t->thought)
                   ? true
                   : bad(c, "holds a thinking block without a string 'thinking'");
    }
    if (assistant && !strcmp(type, "redacted_thinking"))
        return true;
    bool media = !strcmp(type, "image") || !strcmp(type, "document");
    return bad(c, media ? "holds a block that is not text; this model reads text only"
                        : "holds a block of a type that is not known here");
}

static bool add_blocks(ctx *c, const json_t *blocks, bool assistant)
{
    turn    t = {json_array(), json_array(), NULL};
    json_t *m = json_pack("{s:s}", "role", assistant ? "assistant" : "user");
    bool    ok = t.parts && t.calls && m ? true : sr_in_nomem(c->e), results = false;
    for (size_t i = 0; ok && i < json_array_size(blocks); i++) {
        results |= !strcmp(type_of(json_array_get(blocks, i)), "tool_result");
        ok = add_block(c, json_array_get(blocks, i), assistant, &t);
    }
    bool empty = !json_array_size(t.parts), calls = json_array_size(t.calls) > 0;
    if (ok && !(empty && results)) { /* nothing but results: they are there already */
        ok = (!json_object_set_nocheck(m, "content", empty && calls ? json_null() : t.parts)) &&
             (!calls || !json_object_set_nocheck(m, "tool_calls", t.calls)) &&
             (!t.thought || !json_object_set_nocheck(m, "reasoning_content", (json_t *)t.thought)) &&
             !json_array_append(c->messages, m);
        ok = ok ? true : sr_in_nomem(c->e);
    }
    json_decref(t.parts);
    json_decref(t.calls);
    json_decref(m);
    return ok;
}

static bool add_message(ctx *c, const json_t *m)
{
    const char   *role = json_string_value(json_object_get(m, "role"));
    const json_t *content = json_object_get(m, "content");
    bool assistant = role && !strcmp(role, "assistant");
    if (!json_is_object(m) || !role || (!assistant && strcmp(role, "user") && strcmp(role, "system")))
        return bad(c, "must be an object with the role user or assistant");
    if (json_is_array(content) && strcmp(role, "system"))
        return add_blocks(c, content, assistant);
    if (!json_is_string(content) && !json_is_array(content))
        return bad(c, "must have a 'content' that is a string or an array of blocks");
    return sr_in_append(c->messages, json_pack("{s:s,s:O}", "role", role, "content", content)) ? true
                                                                                               : sr_in_nomem(c->e);
}

/* A string, or blocks of text: their cache_control asks for what happens anyway. */
static bool add_system(ctx *c, const json_t *v)
{
    json_t *parts = json_is_array(v) ? json_array() : json_incref((json_t *)v);
    bool    ok    = parts ? true : sr_in_nomem(c->e);
    snprintf(c->at, sizeof c->at, "system");
    if (!json_is_array(v) && !json_is_string(v))
        ok = bad(c, "must be a string or an array of text blocks");
    for (size_t i = 0; ok && i < json_array_size(v); i++)
        ok = strcmp(type_of(json_array_get(v, i)), "text") ? bad(c, "must hold text blocks only")
                                                           : add_text(c, json_array_get(v, i), parts);
    if (ok && (json_is_string(v) ? json_string_length(v) : json_array_size(v)))
        ok = sr_in_append(c->messages, json_pack("{s:s,s:O}", "role", "system", "content", parts))
                 ? true
                 : sr_in_nomem(c->e);
    json_decref(parts);
    return ok;
}

static bool put_tools(ctx *c, const json_t *tools, json_t *out)
{
    json_t *list = json_array();
    bool    ok   = list ? true : sr_in_nomem(c->e);
    if (!json_is_array(tools))
        ok = sr_api_fail(c->e, 400, "tools", NULL, "'tools' must be an array.");
    for (size_t i = 0; ok && i < json_array_size(tools); i++) {
        const json_t *t = json_array_get(tools, i);
        snprintf(c->at, sizeof c->at, "tools[%zu]", i);
        if (!json_is_object(t) || (*type_of(t) && strcmp(type_of(t), "custom"))) {
            ok = bad(c, "must be a tool of the client's own (type custom); tools that a server runs are not available");
            break;
        }
        json_t *f = json_object();
        ok = f && sr_in_copy(t, "name", f, "name") && sr_in_copy(t, "description", f, "description") &&
             sr_in_copy(t, "input_schema", f, "parameters");
        ok = ok && sr_in_append(list, json_pack("{s:s,s:O}", "type", "function", "function", f));
        json_decref(f);
        ok = ok ? true : sr_in_nomem(c->e);
    }
    ok = ok && !json_object_set_nocheck(out, "tools", list);
    json_decref(list);
    return ok;
}

static bool put_tool_choice(ctx *c, const json_t *v, json_t *out)
{
    const char *type = type_of(v);
    json_t     *to   = NULL;
    if (!strcmp(type, "auto") || !strcmp(type, "none"))
        to = json_string(type);
    else if (!strcmp(type, "any"))
        to = json_string("required");
    else if (!strcmp(type, "tool") && json_is_string(json_object_get(v, "name")))
        to = json_pack("{s:s,s:{s:O}}", "type", "function", "function", "name", json_object_get(v, "name"));
    else
        return sr_api_fail(c->e, 400, "tool_choice", NULL,
                           "'tool_choice' must be {\"type\": \"auto\", \"any\", \"tool\" or \"none\"}.");
    bool single = json_is_true(json_object_get(v, "disable_parallel_tool_use"));
    return sr_in_set(out, "tool_choice", to) && (!single || sr_in_set(out, "parallel_tool_calls", json_false()))
               ? true
               : sr_in_nomem(c->e);
}

/* Thoughts are off unless asked for; templates that can switch call it enable_thinking. */
static bool put_thinking(ctx *c, const json_t *v, json_t *out)
{
    const char *type = type_of(v);
    bool on = !strcmp(type, "enabled") || !strcmp(type, "adaptive");
    if (v && !json_is_null(v) && !on && strcmp(type, "disabled"))
        return sr_api_fail(c->e, 400, "thinking", NULL,
                           "'thinking' must be {\"type\": \"enabled\", \"adaptive\" or \"disabled\"}.");
    return sr_in_set(out, "chat_template_kwargs", json_pack("{s:b}", "enable_thinking", on)) ? true : sr_in_nomem(c->e);
}

/* output_config.format, or output_format as it was called first: {"type":"json_schema","schema":{..}}. */
static bool put_form(ctx *c, const json_t *root, json_t *out)
{
    const json_t *config = json_object_get(root, "output_config"), *v = json_object_get(config, "format");
    const char   *name   = "output_config.format";
    if (!v || json_is_null(v)) {
        v    = json_object_get(root, "output_format");
        name = "output_format";
    }
    if (!v || json_is_null(v))
        return true;
    if (strcmp(type_of(v), "json_schema") != 0 || !json_is_object(json_object_get(v, "schema")))
        return sr_api_fail(c->e, 400, name, NULL, "'%s' must be {\"type\": \"json_schema\", \"schema\": {..}}.", name);
    return sr_in_set(out, "response_format", json_pack("{s:s,s:{s:O}}", "type", "json_schema", "json_schema", "schema", json_object_get(v, "schema")))
               ? true
               : sr_in_nomem(c->e);
}

/* What asks for a part of the server's own that is not here. */
static bool check_available(const json_t *root, sr_apierr *e)
{
    static const char *const not_here[] = {"mcp_servers", "container"};
    for (size_t i = 0; i < sizeof not_here / sizeof *not_here; i++) {
        const json_t *v = json_object_get(root, not_here[i]);
        if (v && !json_is_null(v) && (!json_is_array(v) || json_array_size(v)))
            return sr_api_fail(e, 400, not_here[i], "unsupported_parameter", "'%s' is not available: this server runs no tools.", not_here[i]);
    }
    return true;
}

static bool put_numbers(ctx *c, const json_t *root, json_t *out)
{
    static const char *const same[] = {"max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stream",
                                       "priority", "cache_salt", "timeout"};
    bool ok = sr_in_copy(root, "stop_sequences", out, "stop");
    for (size_t i = 0; ok && i < sizeof same / sizeof *same; i++)
        ok = sr_in_copy(root, same[i], out, same[i]);
    return ok ? true : sr_in_nomem(c->e);
}

static bool put_messages(ctx *c, const json_t *root, json_t *out)
{
    const json_t *list = json_object_get(root, "messages"), *last = json_array_get(list, json_array_size(list) - 1);
    if (!json_is_array(list) || !json_array_size(list))
        return sr_api_fail(c->e, 400, "messages", NULL, "'messages' must be an array with at least one message.");
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(c->at, sizeof c->at, "messages[%zu]", i);
        if (!add_message(c, json_array_get(list, i)))
            return false;
    }
    const char *role = json_string_value(json_object_get(last, "role"));
    bool goes_on = role && !strcmp(role, "assistant"); /* the answer continues what the assistant has begun */
    return !json_object_set_nocheck(out, "messages", c->messages) &&
                   (!goes_on || sr_in_set(out, "continue_final_message", json_true()))
               ? true
               : sr_in_nomem(c->e);
}

bool sr_anthropic_in(const json_t *root, bool count_only, json_t **out, sr_apierr *e)
{
    ctx c = {json_array(), e, ""};
    *out  = json_object();
    bool ok = c.messages && *out ? true : sr_in_nomem(e);
    if (ok && !count_only && !sr_in_given(root, "max_tokens"))
        ok = sr_api_fail(e, 400, "max_tokens", NULL, "'max_tokens' is missing.");
    ok = ok && check_available(root, e) && (!sr_in_given(root, "system") || add_system(&c, json_object_get(root, "system"))) &&
         put_messages(&c, root, *out) && put_numbers(&c, root, *out) && put_form(&c, root, *out) &&
         (!sr_in_given(root, "tools") || put_tools(&c, json_object_get(root, "tools"), *out)) &&
         (!sr_in_given(root, "tool_choice") || put_tool_choice(&c, json_object_get(root, "tool_choice"), *out)) &&
         put_thinking(&c, json_object_get(root, "thinking"), *out);
    json_decref(c.messages);
    if (!ok) {
        json_decref(*out);
        *out = NULL;
        if (!e->status)
            sr_in_nomem(e);
    }
    return ok;
}
