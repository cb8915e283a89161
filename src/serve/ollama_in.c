/* ollama_in.c - POST /api/chat and /api/generate as chat or completion requests. */
#include <stdio.h>
#include <string.h>

#include "serve/chat_in.h"

/* options {num_predict, temperature, ..}: ollama's names, where they are not OpenAI's. */
static bool put_options(const json_t *root, json_t *out, sr_apierr *e)
{
    static const struct { const char *theirs, *ours; } names[] = {
        {"num_predict", "n_predict"}, {"temperature", "temperature"}, {"top_k", "top_k"}, {"top_p", "top_p"},
        {"min_p", "min_p"}, {"typical_p", "typical_p"}, {"seed", "seed"}, {"stop", "stop"},
        {"repeat_penalty", "repeat_penalty"}, {"repeat_last_n", "repeat_last_n"},
        {"presence_penalty", "presence_penalty"}, {"frequency_penalty", "frequency_penalty"},
        {"mirostat", "mirostat"}}; /* not served: chat says so */
    const json_t *o = json_object_get(root, "options");
    if (sr_in_given(root, "options") && !json_is_object(o))
        return sr_api_fail(e, 400, "options", NULL, "'options' must be an object.");
    bool ok = sr_in_set(out, "n_predict", json_integer(-1)); /* to the context's end, unless num_predict says else */
    for (size_t i = 0; ok && i < sizeof names / sizeof *names; i++)
        ok = sr_in_copy(o, names[i].theirs, out, names[i].ours);
    const json_t *n = json_object_get(out, "n_predict");
    if (ok && json_is_integer(n) && json_integer_value(n) == -2) /* "fill the context" */
        ok = sr_in_set(out, "n_predict", json_integer(-1));
    return ok ? true : sr_in_nomem(e);
}

/* stream is on unless it is turned off; think switches templates that can. */
static bool put_common(const json_t *root, json_t *out, sr_apierr *e)
{
    const json_t *format = json_object_get(root, "format"), *think = json_object_get(root, "think");
    if (json_is_true(json_object_get(root, "logprobs")))
        return sr_api_fail(e, 400, "logprobs", "unsupported_parameter", "'logprobs' are not available here; /v1/chat/completions has them.");
    bool ok = put_options(root, out, e) && sr_in_set(out, "stream", json_true()) &&
              sr_in_copy(root, "stream", out, "stream");
    if (ok && json_is_boolean(think))
        ok = sr_in_set(out, "chat_template_kwargs", json_pack("{s:O}", "enable_thinking", think));
    else if (ok && json_is_string(think))
        ok = !json_object_set_nocheck(out, "reasoning_effort", (json_t *)think);
    if (ok && json_is_object(format))
        ok = sr_in_set(
            out, "response_format",
            json_pack("{s:s,s:{s:s,s:O}}", "type", "json_schema", "json_schema", "name", "format", "schema", format));
    else if (ok && json_string_length(format))
        ok = sr_in_set(
            out, "response_format",
            json_pack("{s:s}", "type", strcmp(json_string_value(format), "json") ? "unknown" : "json_object"));
    return ok || e->status ? ok : sr_in_nomem(e);
}

static bool refuse_images(const json_t *at, sr_apierr *e)
{
    return !json_array_size(json_object_get(at, "images"))
               ? true
               : sr_api_fail(e, 400, "images", NULL, "'images' are not available: this model reads text only.");
}

/* {role, content, thinking, tool_calls: [{function: {name, arguments: {..}}}], tool_name}: nearly OpenAI's. */
static bool add_message(const json_t *m, size_t i, json_t *messages, sr_apierr *e)
{
    char at[40];
    snprintf(at, sizeof at, "messages[%zu]", i);
    if (!json_is_object(m))
        return sr_api_fail(e, 400, at, NULL, "'%s' must be an object.", at);
    if (!refuse_images(m, e))
        return false;
    json_t *to = json_object();
    bool ok = to && sr_in_copy(m, "role", to, "role") && sr_in_copy(m, "content", to, "content") &&
              sr_in_copy(m, "thinking", to, "reasoning_content") && sr_in_copy(m, "tool_calls", to, "tool_calls") &&
              sr_in_copy(m, "tool_call_id", to, "tool_call_id") && sr_in_copy(m, "tool_name", to, "name") &&
              !json_array_append(messages, to);
    json_decref(to);
    return ok ? true : sr_in_nomem(e);
}

bool sr_ollama_chat_in(const json_t *root, json_t **out, sr_apierr *e)
{
    const json_t *list = json_object_get(root, "messages");
    json_t *messages = json_array();
    *out = json_object();
    bool ok = messages && *out ? true : sr_in_nomem(e);
    if (ok && sr_in_given(root, "messages") && !json_is_array(list))
        ok = sr_api_fail(e, 400, "messages", NULL, "'messages' must be an array.");
    for (size_t i = 0; ok && i < json_array_size(list); i++)
        ok = add_message(json_array_get(list, i), i, messages, e);
    ok = ok && put_common(root, *out, e);
    if (ok && (json_object_set_nocheck(*out, "messages", messages) || !sr_in_copy(root, "tools", *out, "tools")))
        ok = sr_in_nomem(e);
    json_decref(messages);
    if (!ok) {
        json_decref(*out);
        *out = NULL;
    }
    return ok;
}

static bool put_prompt(const json_t *root, bool raw, json_t *out, sr_apierr *e)
{
    const json_t *prompt = json_object_get(root, "prompt"), *system = json_object_get(root, "system");
    if ((prompt && !json_is_null(prompt) && !json_is_string(prompt)) ||
        (sr_in_given(root, "system") && !json_is_string(system)))
        return sr_api_fail(e, 400, "prompt", NULL, "'prompt' and 'system' must be strings.");
    if (raw)
        return sr_in_copy(root, "prompt", out, "prompt") ? true : sr_in_nomem(e);
    json_t *messages = json_array();
    bool ok = messages &&
              (!json_string_length(system) ||
               sr_in_append(messages, json_pack("{s:s,s:O}", "role", "system", "content", system))) &&
              (!json_string_length(prompt) ||
               sr_in_append(messages, json_pack("{s:s,s:O}", "role", "user", "content", prompt))) &&
              !json_object_set_nocheck(out, "messages", messages);
    json_decref(messages);
    return ok ? true : sr_in_nomem(e);
}

bool sr_ollama_generate_in(const json_t *root, json_t **out, bool *raw, sr_apierr *e)
{
    static const char *const not_here[] = {"suffix", "template"};
    *raw = json_is_true(json_object_get(root, "raw"));
    *out = json_object();
    bool ok = *out ? refuse_images(root, e) : sr_in_nomem(e);
    for (size_t i = 0; ok && i < sizeof not_here / sizeof *not_here; i++)
        if (json_string_length(json_object_get(root, not_here[i])))
            ok = sr_api_fail(e, 400, not_here[i], "unsupported_parameter", "'%s' is not available on this server.",
                             not_here[i]);
    if (ok && json_array_size(json_object_get(root, "context")))
        ok = sr_api_fail(e, 400, "context", "unsupported_parameter",
                         "'context' is not available: use /api/chat for conversations.");
    ok = ok && put_common(root, *out, e) && put_prompt(root, *raw, *out, e);
    if (!ok) {
        json_decref(*out);
        *out = NULL;
    }
    return ok;
}
