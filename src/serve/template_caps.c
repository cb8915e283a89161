#include "serve/template_caps.h"

#include <string.h>

/* Words that no template has by itself, and that stay what they are in JSON. */
#define FUNCTION "zq_function"
#define KEY      "zq_key"
#define VALUE    "zq_value"
#define RESULT   "zq_result"
#define SYSTEM   "zq_system"

/* The conversation renders, and its words are seen.  Takes both. */
static bool shows(const sr_promptenv *env, json_t *messages, json_t *kwargs, const char *const *words, size_t n)
{
    sr_buf text = {0};
    sr_err err  = {0};
    sr_chatinput in = {.messages = messages, .kwargs = kwargs, .add_generation_prompt = true};
    bool ok = messages && !sr_prompt_text(env, &in, &text, &err) && text.p;
    for (size_t i = 0; ok && i < n; i++)
        ok = memmem(text.p, text.n, words[i], strlen(words[i])) != NULL;
    sr_buf_end(&text);
    json_decref(messages);
    json_decref(kwargs);
    return ok;
}

static bool shows_tools(const sr_promptenv *env)
{
    json_t *tools = json_pack("{s:[{s:s,s:{s:s,s:s,s:{s:s,s:{s:{s:s,s:s}},s:[s]}}}]}", "tools", "type", "function", "function", "name", FUNCTION,
                              "description", "d", "parameters", "type", "object", "properties", KEY, "type", "string", "description", "d",
                              "required", KEY);
    return tools && shows(env, json_pack("[{s:s,s:s}]", "role", "user", "content", "hi"), tools, (const char *const[]){FUNCTION, KEY}, 2);
}

static bool shows_calls(const sr_promptenv *env, bool null_content, bool text_arguments)
{
    json_t *args = text_arguments ? json_string("{\"" KEY "\": \"" VALUE "\"}") : json_pack("{s:s}", KEY, VALUE);
    json_t *messages = json_pack("[{s:s,s:s},{s:s,s:o,s:[{s:s,s:s,s:{s:s,s:o}}]},{s:s,s:s,s:s,s:s}]", "role", "user", "content", "hi", "role",
                                 "assistant", "content", null_content ? json_null() : json_string(""), "tool_calls", "id", "abcdef123", "type",
                                 "function", "function", "name", FUNCTION, "arguments", args, "role", "tool", "tool_call_id", "abcdef123", "name",
                                 FUNCTION, "content", RESULT);
    return shows(env, messages, NULL, (const char *const[]){FUNCTION, KEY, VALUE, RESULT}, 4);
}

static bool shows_system(const sr_promptenv *env)
{
    json_t *messages = json_pack("[{s:s,s:s},{s:s,s:s}]", "role", "system", "content", SYSTEM, "role", "user", "content", "hi");
    return shows(env, messages, NULL, (const char *const[]){SYSTEM}, 1);
}

sr_tplcaps sr_tplcaps_of(const sr_template *t, const sr_tokenizer *tok)
{
    sr_promptenv env  = {.tok = tok, .chat = t};
    sr_tplcaps   caps = {.no_calls = true};
    for (int i = 0; caps.no_calls && i < 4; i++)
        if (shows_calls(&env, i & 1, i & 2))
            caps = (sr_tplcaps){.null_content = i & 1, .text_arguments = i & 2};
    caps.no_tools  = !shows_tools(&env);
    caps.no_system = !shows_system(&env);
    return caps;
}
