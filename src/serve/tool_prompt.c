#include "serve/tool_prompt.h"

#include <string.h>

#include "base/buf.h"
#include "serve/json_in.h"

static const char before[] = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
                             "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";
static const char behind[] =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
    "<args-json-object>}\n</tool_call>";

static bool role_is(const json_t *m, const char *role)
{
    const char *s = json_string_value(json_object_get(m, "role"));
    return s && !strcmp(s, role);
}

static void add_content(const json_t *m, sr_buf *o)
{
    const json_t *c = json_object_get(m, "content");
    if (json_is_string(c))
        sr_buf_add(o, json_string_value(c), json_string_length(c));
}

static bool set_content(json_t *m, const sr_buf *text)
{
    return !text->failed &&
           !json_object_set_new_nocheck(m, "content", json_stringn_nocheck(text->p ? text->p : "", text->n));
}

static json_t *message(const char *role)
{
    json_t *m = json_object();
    if (m && json_object_set_new_nocheck(m, "role", json_string(role))) {
        json_decref(m);
        return NULL;
    }
    return m;
}

bool sr_tools_into_system(json_t *messages, const json_t *tools)
{
    sr_buf  text  = {0};
    json_t *first = json_array_get(messages, 0);
    bool    ok    = true;
    if (role_is(first, "system")) {
        add_content(first, &text);
        sr_buf_str(&text, "\n\n");
    } else {
        first = message("system");
        ok    = first && !json_array_insert_new(messages, 0, first);
    }
    sr_buf_str(&text, before);
    for (size_t i = 0; ok && i < json_array_size(tools); i++) {
        sr_buf_char(&text, '\n');
        ok = sr_json_dump(json_array_get(tools, i), &text);
    }
    sr_buf_str(&text, behind);
    ok = ok && set_content(first, &text);
    sr_buf_end(&text);
    return ok;
}

static bool calls_into_text(json_t *m)
{
    const json_t *calls = json_object_get(m, "tool_calls");
    sr_buf text = {0};
    bool   ok   = true;
    add_content(m, &text);
    for (size_t i = 0; ok && i < json_array_size(calls); i++) {
        const json_t *f = json_object_get(json_array_get(calls, i), "function");
        sr_buf_str(&text, text.n ? "\n<tool_call>\n{\"name\": " : "<tool_call>\n{\"name\": ");
        ok = sr_json_dump(json_object_get(f, "name"), &text);
        sr_buf_str(&text, ", \"arguments\": ");
        ok = ok && sr_json_dump(json_object_get(f, "arguments"), &text);
        sr_buf_str(&text, "}\n</tool_call>");
    }
    ok = ok && set_content(m, &text) && !json_object_del(m, "tool_calls");
    sr_buf_end(&text);
    return ok;
}

static bool result_into_text(const json_t *m, json_t *user)
{
    sr_buf text = {0};
    add_content(user, &text);
    sr_buf_str(&text, text.n ? "\n<tool_response>\n" : "<tool_response>\n");
    add_content(m, &text);
    sr_buf_str(&text, "\n</tool_response>");
    bool ok = set_content(user, &text);
    sr_buf_end(&text);
    return ok;
}

bool sr_calls_into_text(json_t *messages)
{
    json_t *user = NULL; /* the message of results that is being filled */
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *m = json_array_get(messages, i);
        if (json_array_size(json_object_get(m, "tool_calls")) && !calls_into_text(m))
            return false;
        if (!role_is(m, "tool")) {
            user = NULL;
            continue;
        }
        if (!user) {
            user = message("user");
            if (!user || json_array_insert_new(messages, i++, user))
                return false;
            m = json_array_get(messages, i);
        }
        if (!result_into_text(m, user) || json_array_remove(messages, i--))
            return false;
    }
    return true;
}

bool sr_system_into_user(json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *m = json_array_get(messages, i), *next = json_array_get(messages, i + 1);
        if (!role_is(m, "system"))
            continue;
        if (!role_is(next, "user") && !role_is(next, "system")) { /* nobody to tell it with: it is the user's */
            if (json_object_set_new_nocheck(m, "role", json_string("user")))
                return false;
            continue;
        }
        sr_buf text = {0};
        add_content(m, &text);
        sr_buf_str(&text, "\n\n");
        add_content(next, &text);
        bool ok = set_content(next, &text) && !json_array_remove(messages, i--);
        sr_buf_end(&text);
        if (!ok)
            return false;
    }
    return true;
}
