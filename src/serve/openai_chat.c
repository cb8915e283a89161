/* openai_chat.c - the messages of a chat request: checked, put in the form templates expect, tokenised. */
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "serve/json_in.h"
#include "serve/request.h"
#include "serve/tool_prompt.h"

typedef struct {
    const sr_prepenv *env;
    sr_apierr *e;
    size_t     i;         /* which message */
    size_t     called;    /* 1 + the last one with a function_call */
} ctx;

static bool bad(ctx *c, const char *member, const char *what)
{
    char param[64];
    snprintf(param, sizeof param, "messages[%zu]%s%s", c->i, member ? "." : "", member ? member : "");
    return sr_api_fail(c->e, 400, param, NULL, "'%s' %s.", param, what);
}

static bool nomem(ctx *c) { return sr_api_fail(c->e, 503, "messages", "out_of_memory", "No memory for the messages."); }

/* The text parts of a content array, joined by line feeds as other servers do. */
static json_t *join_parts(ctx *c, const json_t *parts)
{
    sr_buf  s = {0};
    json_t *out = NULL;
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *text = json_object_get(part, "text");
        const char   *type = json_string_value(json_object_get(part, "type"));
        if (!type) {
            bad(c, "content", "must hold objects with a string 'type'");
        } else if (!strcmp(type, "refusal")) {
            text = json_object_get(part, "refusal");
        } else if (strcmp(type, "text")) {
            bool media = strstr(type, "image") || strstr(type, "audio") || strstr(type, "video") || !strcmp(type, "file");
            bad(c, "content", media ? "holds a part that is not text; this model reads text only" : "holds a part of unknown type");
        }
        if (!c->e->status && !json_is_string(text))
            bad(c, "content", "holds a text part without a string 'text'");
        if (c->e->status)
            goto end;
        if (i)
            sr_buf_char(&s, '\n');
        sr_buf_add(&s, json_string_value(text), json_string_length(text));
    }
    out = s.failed ? NULL : json_stringn_nocheck(s.p ? s.p : "", s.n);
    if (!out)
        nomem(c);
end:
    sr_buf_end(&s);
    return out;
}

static bool set(ctx *c, json_t *m, const char *key, json_t *owned)
{
    if (!owned || json_object_set_new_nocheck(m, key, owned))
        return c->e->status ? false : nomem(c);
    return true;
}

static bool take_content(ctx *c, const json_t *in, const char *role, json_t *m)
{
    const json_t *v = json_object_get(in, "content");
    bool assistant = !strcmp(role, "assistant");
    bool calls     = assistant && (json_array_size(json_object_get(in, "tool_calls")) || json_is_object(json_object_get(in, "function_call")));
    if (calls && (!v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)))) /* nothing but calls */
        return set(c, m, "content", c->env->caps.null_content ? json_null() : json_string(""));
    if (json_is_string(v))
        return set(c, m, "content", json_incref((json_t *)v));
    if (json_is_array(v))
        return set(c, m, "content", join_parts(c, v));
    if (v && !json_is_null(v))
        return bad(c, "content", "must be a string or an array of parts");
    const json_t *refusal = json_object_get(in, "refusal");
    if (assistant && json_is_string(refusal)) /* answers come back as clients were given them */
        return set(c, m, "content", json_incref((json_t *)refusal));
    size_t thought = json_string_length(json_object_get(in, "reasoning_content")) + json_string_length(json_object_get(in, "reasoning"));
    if (assistant && thought)
        return set(c, m, "content", json_string("")); /* cut off while it thought */
    return bad(c, "content", "is missing");
}

/* Optional member `from` that must be a string, as `to`. */
static bool take_string(ctx *c, const json_t *in, const char *from, const char *to, json_t *m)
{
    const json_t *v = json_object_get(in, from);
    if (!v || json_is_null(v))
        return true;
    return json_is_string(v) ? set(c, m, to, json_incref((json_t *)v)) : bad(c, from, "must be a string");
}

/* Arguments travel as a string; most templates want the object that it spells. */
static json_t *arguments(ctx *c, const json_t *v)
{
    sr_err  err = {0};
    json_t *out = NULL;
    const sr_servelimits *l = &c->env->limits;
    if (c->env->caps.text_arguments && json_is_object(v)) {
        sr_buf text = {0};
        if (sr_json_dump(v, &text))
            out = json_stringn_nocheck(text.p, text.n);
        sr_buf_end(&text);
        return out;
    }
    if (json_is_object(v) || c->env->caps.text_arguments)
        return json_incref((json_t *)v);
    if (sr_json_read(json_string_value(v), json_string_length(v), l->json_depth, l->json_values, &out, &err) || !json_is_object(out)) {
        json_decref(out);
        return json_incref((json_t *)v);
    }
    return out;
}

static bool add_call(ctx *c, const json_t *f, json_t *id, json_t *list) /* takes id; NULL: none */
{
    json_t *call = json_object(), *fn = json_object();
    bool ok = call && fn && set(c, fn, "name", json_incref(json_object_get(f, "name"))) &&
              set(c, fn, "arguments", arguments(c, json_object_get(f, "arguments"))) && set(c, call, "type", json_string("function")) &&
              (!id || set(c, call, "id", json_incref(id))) && set(c, call, "function", json_incref(fn)) && !json_array_append(list, call);
    json_decref(call);
    json_decref(fn);
    json_decref(id);
    return ok ? true : c->e->status ? false : nomem(c);
}

static bool is_call(const json_t *f)
{
    const json_t *args = json_object_get(f, "arguments");
    return json_is_string(json_object_get(f, "name")) && (json_is_string(args) || json_is_object(args));
}

static bool take_tool_call(ctx *c, const json_t *in, json_t *list)
{
    const json_t *f = json_object_get(in, "function"), *id = json_object_get(in, "id");
    if (!is_call(f))
        return bad(c, "tool_calls", "must hold objects with 'function' {name, arguments}");
    if (id && !json_is_null(id) && !json_is_string(id))
        return bad(c, "tool_calls", "holds an 'id' that is not a string");
    return add_call(c, f, json_is_string(id) ? json_incref((json_t *)id) : NULL, list);
}

/* The form of 2023 has no ids: a call is answered by the next message of role "function".  Nine letters and digits suit every template. */
static json_t *old_id(size_t message) { return json_sprintf("call%05zu", message % 100000); }

static bool take_function_call(ctx *c, const json_t *in, json_t *m)
{
    const json_t *f = json_object_get(in, "function_call");
    if (!f || json_is_null(f))
        return true;
    if (!is_call(f))
        return bad(c, "function_call", "must be an object with 'name' and 'arguments'");
    if (json_object_get(m, "tool_calls"))
        return bad(c, "function_call", "and 'tool_calls' exclude each other");
    json_t *list = json_array(), *id = old_id(c->i);
    bool    ok   = list && id && add_call(c, f, json_incref(id), list);
    json_decref(id);
    c->called = c->i + 1;
    return ok ? set(c, m, "tool_calls", list) : (json_decref(list), c->e->status ? false : nomem(c));
}

static bool take_tool_calls(ctx *c, const json_t *in, json_t *m)
{
    const json_t *v = json_object_get(in, "tool_calls");
    if (!v || json_is_null(v) || (json_is_array(v) && !json_array_size(v)))
        return true;
    json_t *list = json_array();
    bool ok = json_is_array(v) ? list != NULL : bad(c, "tool_calls", "must be an array");
    for (size_t i = 0; ok && i < json_array_size(v); i++)
        ok = take_tool_call(c, json_array_get(v, i), list);
    return ok ? set(c, m, "tool_calls", list) : (json_decref(list), c->e->status ? false : nomem(c));
}

static bool take_message(ctx *c, const json_t *in, json_t *out)
{
    static const struct { const char *given, *rendered; } roles[] = {
        {"system", "system"}, {"developer", "system"}, {"user", "user"}, {"assistant", "assistant"}, {"tool", "tool"}, {"function", "tool"}};
    const char *given = json_string_value(json_object_get(in, "role")), *role = NULL;
    if (!json_is_object(in))
        return bad(c, NULL, "must be an object");
    for (size_t i = 0; given && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(given, roles[i].given))
            role = roles[i].rendered;
    if (!role)
        return bad(c, "role", "must be one of system, developer, user, assistant, tool, function");
    json_t *m = json_object();
    const char *thought = json_is_string(json_object_get(in, "reasoning_content")) ? "reasoning_content" : "reasoning";
    bool assistant = !strcmp(role, "assistant");
    bool ok = m && set(c, m, "role", json_string(role)) && take_content(c, in, role, m) && take_string(c, in, "name", "name", m) &&
              (!assistant || (take_string(c, in, thought, "reasoning_content", m) && take_tool_calls(c, in, m) && take_function_call(c, in, m))) &&
              (strcmp(given, "tool") || take_string(c, in, "tool_call_id", "tool_call_id", m)) &&
              (strcmp(given, "function") || !c->called || set(c, m, "tool_call_id", old_id(c->called - 1))) && !json_array_append(out, m);
    json_decref(m);
    return ok ? true : c->e->status ? false : nomem(c);
}

static json_t *take_messages(ctx *c, const json_t *root)
{
    const json_t *in = json_object_get(root, "messages");
    size_t n = json_array_size(in);
    if (!json_is_array(in) || !n)
        sr_api_fail(c->e, 400, "messages", NULL, "'messages' must be an array with at least one message.");
    else if (n > c->env->limits.messages)
        sr_api_fail(c->e, 400, "messages", NULL, "'messages' holds %zu messages; the limit is %u.", n, c->env->limits.messages);
    if (c->e->status)
        return NULL;
    json_t *out = json_array();
    for (c->i = 0; out && c->i < n; c->i++)
        if (!take_message(c, json_array_get(in, c->i), out)) {
            json_decref(out);
            return NULL;
        }
    if (!out)
        nomem(c);
    return out;
}

/* chat_template_kwargs, and reasoning_effort as the variable some templates read. */
static json_t *take_kwargs(ctx *c, const json_t *root)
{
    const json_t *v = json_object_get(root, "chat_template_kwargs"), *effort = json_object_get(root, "reasoning_effort");
    json_t *out = json_object();
    if (v && !json_is_null(v) && !json_is_object(v))
        sr_api_fail(c->e, 400, "chat_template_kwargs", NULL, "'chat_template_kwargs' must be an object.");
    else if (effort && !json_is_null(effort) && !json_is_string(effort))
        sr_api_fail(c->e, 400, "reasoning_effort", NULL, "'reasoning_effort' must be a string.");
    else if (!out || (json_is_string(effort) && json_object_set_nocheck(out, "reasoning_effort", (json_t *)effort)) ||
             (json_is_object(v) && json_object_update(out, (json_t *)v)))
        nomem(c);
    if (!c->e->status)
        return out;
    json_decref(out);
    return NULL;
}

/* What both ways into the template have in common: checked messages and variables.  False: *c->e says why. */
static bool read_chat(ctx *c, const json_t *root, const sr_params *p, json_t **messages, json_t **kwargs)
{
    const sr_prepenv *env = c->env;
    if (!env->model.chat)
        return sr_api_fail(c->e, 400, "messages", "no_chat_template",
                           "The model has no chat template: use /v1/completions, or start the server with one.");
    *messages = take_messages(c, root);
    *kwargs   = *messages ? take_kwargs(c, root) : NULL;
    if (!*kwargs)
        return false;
    bool ok = !env->caps.no_calls || sr_calls_into_text(*messages);
    if (ok && p->tools)
        ok = env->caps.no_tools ? sr_tools_into_system(*messages, p->tools) : !json_object_set_nocheck(*kwargs, "tools", p->tools);
    ok = ok && (!env->caps.no_system || sr_system_into_user(*messages));
    return ok ? true : nomem(c);
}

/* Does the prompt end with the mark that begins thoughts? */
static bool ends_in_thoughts(const sr_prepenv *env, const sr_thinkmarks *marks, const sr_ids *ids)
{
    sr_buf text = {0};
    sr_err err  = {0};
    size_t n = SR_MIN(ids->n, (size_t)16), m = marks ? strlen(marks->open) : 0;
    bool   yes = marks && !sr_tokenizer_decode(env->model.tok, ids->p + ids->n - n, n, true, &text, &err);
    while (yes && text.n && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\n'))
        text.n--;
    yes = yes && text.n >= m && !memcmp(text.p + text.n - m, marks->open, m);
    sr_buf_end(&text);
    return yes;
}

/* An answer of a fixed form has no room for thoughts: those that the template began are ended.  Then what the form begins with. */
static bool add_prefill(ctx *c, sr_prep *out)
{
    const sr_params *p = &out->params;
    sr_buf text = {0};
    sr_err err  = {0};
    if (p->grammar && out->thinking) {
        sr_buf_fmt(&text, "\n%s\n\n", p->think->close);
        out->thinking = false;
    }
    if (p->prefill)
        sr_buf_str(&text, p->prefill);
    sr_status s = text.failed ? SR_NOMEM : text.n ? sr_tokenizer_encode(c->env->model.tok, text.p, text.n, SR_TOK_PARSE_SPECIAL, &out->prompt[0].ids, &err) : SR_OK;
    sr_buf_end(&text);
    return s ? sr_api_fail_err(c->e, s, err.msg, "messages") : true;
}

static sr_promptenv prompt_env(const sr_prepenv *env)
{
    return (sr_promptenv){env->model.tok, env->model.chat, env->specials, (int64_t)time(NULL), sr_max_prompt_bytes(env)};
}

static sr_chatinput chat_input(const sr_params *p, const json_t *messages, const json_t *kwargs)
{
    return (sr_chatinput){messages, kwargs, p->add_generation_prompt && !p->continue_final, p->continue_final};
}

static bool encode(ctx *c, sr_prep *out, const json_t *messages, const json_t *kwargs)
{
    const sr_prepenv *env = c->env;
    sr_promptenv pe   = prompt_env(env);
    sr_chatinput in   = chat_input(&out->params, messages, kwargs);
    sr_err       err  = {0};
    sr_chatinfo  info = {0};
    out->prompt = sr_arena_zalloc(&out->arena, 1, sizeof *out->prompt);
    if (!out->prompt)
        return nomem(c);
    out->n_prompt = 1;
    sr_status s = sr_prompt_chat(&pe, &in, &out->prompt[0].ids, &info, &err);
    if (s)
        return sr_api_fail_err(c->e, s, err.msg, "messages");
    if (info.over_bytes)
        return sr_prompt_too_long(env, SR_API_CHAT, info.over_bytes / sr_specials_longest(env->specials), true, c->e);
    if (!out->prompt[0].ids.n)
        return sr_api_fail(c->e, 400, "messages", NULL, "The chat template made an empty prompt of the messages.");
    out->thinking = ends_in_thoughts(env, out->params.think, &out->prompt[0].ids);
    return add_prefill(c, out);
}

bool sr_chat_prompt(const sr_prepenv *env, const json_t *root, sr_prep *out, sr_apierr *e)
{
    ctx     c = {env, e, 0, 0};
    json_t *messages = NULL, *kwargs = NULL;
    bool ok = read_chat(&c, root, &out->params, &messages, &kwargs) && encode(&c, out, messages, kwargs);
    json_decref(messages);
    json_decref(kwargs);
    return ok;
}

bool sr_chat_text(const sr_prepenv *env, const json_t *root, sr_prep *prep, sr_buf *text, sr_apierr *e)
{
    ctx     c = {env, e, 0, 0};
    sr_err  err = {0};
    json_t *messages = NULL, *kwargs = NULL;
    bool ok = read_chat(&c, root, &prep->params, &messages, &kwargs);
    if (ok) {
        sr_promptenv pe = prompt_env(env);
        sr_chatinput in = chat_input(&prep->params, messages, kwargs);
        sr_status    s  = sr_prompt_text(&pe, &in, text, &err);
        ok = s ? sr_api_fail_err(e, s, err.msg, "messages") : true;
    }
    json_decref(messages);
    json_decref(kwargs);
    return ok;
}
