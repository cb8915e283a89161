/* Request bodies without a server: JSON limits, the table of parameters, messages and prompts. */
#include "serve/json_in.h"
#include "serve/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "format/gguf.h"

static sr_tokenizer *tok;
static sr_template  *tmpl;
static sr_specials  *specials;
static sr_prepenv    env;

static int open_model(void **state)
{
    (void)state;
    sr_err   err = {0};
    sr_gguf *g   = NULL;
    static const char src[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                              "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    if (sr_gguf_open("models/strata-demo-base-Q4_K_M.gguf", &g, &err) || sr_tokenizer_open(g, &tok, &err) ||
        sr_template_compile(src, sizeof src - 1, &tmpl, &err) || sr_specials_open(tok, &specials, &err)) {
        print_error("%s\n", err.msg);
        return -1;
    }
    sr_gguf_close(g);
    env = (sr_prepenv){.model = {.tok = tok, .chat = tmpl, .ctx = 4096}, .specials = specials, .model_id = "m", .family = sr_toolfamily_of(NULL),
                       .limits = {.json_depth = 64, .json_values = 1 << 20, .messages = 4096, .prompts = 256, .choices = 16,
                                  .stops = 16, .stop_bytes = 256, .bias = 1024}};
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    sr_specials_close(specials);
    sr_template_close(tmpl);
    sr_tokenizer_close(tok);
    return 0;
}

/* ---- JSON ------------------------------------------------------------------------------------------------ */

static sr_status json(const char *p, size_t n)
{
    json_t *j = NULL;
    sr_err err = {0};
    sr_status s = sr_json_read(p, n, 64, 1000, &j, &err);
    assert_int_equal(s == SR_OK, j != NULL);
    if (s)
        assert_true(err.msg[0]);
    json_decref(j);
    return s;
}

static void bad_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", " ", "{", "}", "[1,]", "{\"a\":}", "{\"a\" 1}", "{a:1}", "nul", "NaN", "[NaN]", "[Infinity]", "[-Infinity]", "[1e999]",
        "[01]", "[+1]", "[.5]", "[1.]", "[0x1]", "[99999999999999999999]", "{} x", "{}{}", "[1] ,", "\"\\ud800\"", "[\"\\ud800x\"]",
        "[\"\\udc00\"]", "[\"\\x41\"]", "[\"\xff\"]", "[\"\xc0\x80\"]", "[\"\xed\xa0\x80\"]", "[\"\xf5\x80\x80\x80\"]", "[\"a\nb\"]",
        "['a']", "// c\n{}", "{\"a\":1,\"a\":2}", "[\"\\u12\"]", "\xef\xbb\xbf{}", "{\"a\\u0000b\":1}", "[\"abc]", "[\"abc\\\"]",
    };
    for (size_t i = 0; i < SR_COUNT(bad); i++)
        if (json(bad[i], strlen(bad[i])) == SR_OK)
            fail_msg("taken: %s", bad[i]);
    assert_int_equal(json("{}\0", 3), SR_INVALID);
    assert_int_equal(json("[1\0]", 4), SR_INVALID);
    assert_int_equal(json("[1\0,2]", 6), SR_INVALID);
    assert_int_equal(json("[\"\\u0000\"]", 10), SR_OK); /* a NUL in a value is a character like others */
    assert_int_equal(json(" {\"a\":[1,2.5,-3e2,\"\\ud83d\\ude00\",null,true]} \n", 46), SR_OK);
}

static void *no_memory(size_t n)
{
    (void)n;
    return NULL;
}

static void a_parser_without_memory_does_not_blame_the_text(void **state)
{
    (void)state;
    json_set_alloc_funcs(no_memory, free);
    sr_status s = json("{}", 2);
    json_set_alloc_funcs(malloc, free);
    assert_int_equal(s, SR_NOMEM);
    sr_fault_arm(SR_FAULT_ALLOC, 1);
    s = json("{}", 2);
    sr_fault_arm(SR_FAULT_ALLOC, 0);
    assert_int_equal(s, SR_NOMEM);
    char out[40];
    sr_json_time(0, 5000, out);
    assert_string_equal(out, "1970-01-01T00:00:00.000005Z");
    sr_json_time(INT64_MAX, 0, out); /* of no calendar */
    assert_string_equal(out, ".000000Z");
}

static void depth_and_size_are_bounded_before_parsing(void **state)
{
    (void)state;
    sr_buf b = {0};
    for (int i = 0; i < 64; i++)
        sr_buf_char(&b, '[');
    for (int i = 0; i < 64; i++)
        sr_buf_char(&b, ']');
    assert_int_equal(json(b.p, b.n), SR_OK);
    b.n = 0;
    for (int i = 0; i < 65; i++)
        sr_buf_char(&b, '[');
    for (int i = 0; i < 65; i++)
        sr_buf_char(&b, ']');
    assert_int_equal(json(b.p, b.n), SR_INVALID);
    b.n = 0;
    for (int i = 0; i < 100000; i++)
        sr_buf_str(&b, i % 2 ? "[" : "{\"a\":");
    assert_int_equal(json(b.p, b.n), SR_INVALID);
    b.n = 0;
    sr_buf_char(&b, '[');
    for (int i = 0; i < 1000; i++)
        sr_buf_str(&b, i ? ",0" : "0");
    sr_buf_char(&b, ']');
    assert_int_equal(json(b.p, b.n), SR_INVALID); /* 1001 values */
    b.n = 0;
    sr_buf_str(&b, "[\"");
    for (int i = 0; i < 2000; i++)
        sr_buf_str(&b, ",[{\\\"");
    sr_buf_str(&b, "\"]");
    assert_int_equal(json(b.p, b.n), SR_OK); /* brackets in strings are text */
    sr_buf_end(&b);
}

/* ---- parameters ------------------------------------------------------------------------------------------ */

static int prepare(sr_api api, const char *body, sr_prep *p, sr_apierr *e)
{
    *e = (sr_apierr){0};
    sr_buf b = {0};
    for (const char *s = body; *s; s++)
        sr_buf_char(&b, *s == '\'' ? '"' : *s);
    bool ok = sr_prepare(&env, api, b.p, b.n, p, e);
    sr_buf_end(&b);
    assert_int_equal(ok, e->status == 0);
    return e->status;
}

static const char *base_of(sr_api api) { return api == SR_API_CHAT ? "'messages':[{'role':'user','content':'a'}]" : "'prompt':'a'"; }

static void expect_body(sr_api api, const char *body, int status, const char *param)
{
    sr_prep   p;
    sr_apierr e;
    int got = prepare(api, body, &p, &e);
    if (got != status || (status && param && strcmp(e.param, param)))
        fail_msg("%s: %d for '%s', expected %d for '%s': %s", body, got, e.param, status, param ? param : "", e.msg);
    if (!got)
        sr_prep_end(&p);
}

static void expect(sr_api api, const char *member, int status, const char *param)
{
    sr_buf b = {0};
    sr_buf_fmt(&b, "{%s,%s}", member, base_of(api));
    expect_body(api, b.p, status, param);
    sr_buf_end(&b);
}

static void every_number_has_its_range_and_type(void **state)
{
    (void)state;
    enum { C = SR_API_CHAT, T = SR_API_COMPLETION };
    static const struct { const char *name; int apis; bool whole; const char *lo, *hi, *below, *above; } f[] = {
        {"n", C | T, true, "1", "16", "0", "17"},
        {"max_tokens", C, true, "1", "2147483647", "0", "2147483648"},
        {"max_tokens", T, true, "0", "2147483647", "-1", "2147483648"},
        {"max_completion_tokens", C, true, "1", "2147483647", "0", "2147483648"},
        {"min_tokens", C, true, "0", "2147483647", "-1", "2147483648"},
        {"temperature", C | T, false, "0", "2", "-0.001", "2.001"},
        {"top_p", C | T, false, "0", "1", "-0.001", "1.001"},
        {"top_k", C | T, true, "-1", "2147483647", "-2", "2147483648"},
        {"min_p", C | T, false, "0", "1", "-1", "1.5"},
        {"typical_p", C | T, false, "0", "1", "-1", "1.5"},
        {"frequency_penalty", C | T, false, "-2", "2", "-2.1", "2.1"},
        {"presence_penalty", C | T, false, "-2", "2", "-2.1", "2.1"},
        {"repeat_penalty", C | T, false, "0.01", "100", "0", "100.1"},
        {"repetition_penalty", C | T, false, "0.01", "100", "-1", "101"},
        {"repeat_last_n", C | T, true, "-1", "2147483647", "-2", "2147483648"},
        {"seed", C | T, true, "-9223372036854775808", "9223372036854775807", "-1e300", "1e300"},
        {"top_logprobs", C, true, "0", "0", "-1", "21"},
        {"logprobs", T, true, "0", "5", "-1", "6"},
        {"timeout", C | T, false, "0.001", "86400", "0", "86400.1"},
        {"priority", C | T, true, "-2147483647", "2147483647", "-2147483648", "2147483648"},
    };
    static const char *const bad[] = {"true", "false", "'1'", "''", "[]", "[1]", "{}", "{'a':1}", "1e308", "-1e308"};
    for (size_t i = 0; i < SR_COUNT(f); i++)
        for (int api = C; api <= T; api <<= 1) {
            char m[100];
            if (!(f[i].apis & api))
                continue;
            for (size_t k = 0; k < SR_COUNT(bad) + 7; k++) {
                const char *rest[] = {f[i].below, f[i].above, f[i].whole ? "1.5" : "'x'", f[i].lo, f[i].hi, "null", "0"};
                const char *v = k < SR_COUNT(bad) ? bad[k] : rest[k - SR_COUNT(bad)];
                bool good = k >= SR_COUNT(bad) + 3;
                if (k == SR_COUNT(bad) + 6) /* the last: a fraction that is whole, for integers */
                    v = f[i].whole && strcmp(f[i].lo, "0") ? "1.0" : f[i].lo;
                snprintf(m, sizeof m, "'%s':%s", f[i].name, v);
                if (!strcmp(f[i].name, "min_tokens") && k == SR_COUNT(bad) + 4)
                    continue; /* larger than max_tokens */
                expect((sr_api)api, m, good ? 0 : 400, f[i].name);
            }
        }
}

static void every_switch_is_true_or_false(void **state)
{
    (void)state;
    static const char *const f[] = {"stream", "ignore_eos", "skip_special_tokens", "include_stop_str_in_output"};
    static const char *const bad[] = {"0", "1", "-1", "0.5", "1e300", "'true'", "''", "[]", "[true]", "{}", "{'a':true}", "99999"};
    char m[100];
    for (size_t i = 0; i < SR_COUNT(f); i++)
        for (size_t k = 0; k < SR_COUNT(bad) + 3; k++) {
            snprintf(m, sizeof m, "'%s':%s", f[i], k < SR_COUNT(bad) ? bad[k] : k == SR_COUNT(bad) ? "true" : k == SR_COUNT(bad) + 1 ? "false" : "null");
            expect(SR_API_CHAT, m, k < SR_COUNT(bad) ? 400 : 0, f[i]);
            expect(SR_API_COMPLETION, m, k < SR_COUNT(bad) ? 400 : 0, f[i]);
        }
    for (size_t k = 0; k < SR_COUNT(bad); k++) {
        snprintf(m, sizeof m, "'logprobs':%s", bad[k]);
        expect(SR_API_CHAT, m, 400, "logprobs");
        snprintf(m, sizeof m, "'echo':%s", bad[k]);
        expect(SR_API_COMPLETION, m, 400, "echo");
    }
}

static void lists_and_objects_have_their_limits(void **state)
{
    (void)state;
    static const struct { const char *m; int status; const char *param; } t[] = {
        {"'stop':'x'", 0, NULL}, {"'stop':['a','b']", 0, NULL}, {"'stop':[]", 0, NULL}, {"'stop':''", 0, NULL}, {"'stop':null", 0, NULL},
        {"'stop':1", 400, "stop"}, {"'stop':[1]", 400, "stop"}, {"'stop':{}", 400, "stop"}, {"'stop':true", 400, "stop"},
        {"'stop':[['a']]", 400, "stop"}, {"'stop':['a',null]", 400, "stop"},
        {"'stop':['','','','','','','','','','','','','','','','','']", 400, "stop"},
        {"'stop_token_ids':[0,1]", 0, NULL}, {"'stop_token_ids':[-1]", 400, "stop_token_ids"}, {"'stop_token_ids':[1e9]", 400, "stop_token_ids"},
        {"'stop_token_ids':['a']", 400, "stop_token_ids"}, {"'stop_token_ids':1", 400, "stop_token_ids"},
        {"'logit_bias':{'1':-100,'2':5.5}", 0, NULL}, {"'logit_bias':[[1,-100],[2,false]]", 0, NULL}, {"'logit_bias':{}", 0, NULL},
        {"'logit_bias':{'a':1}", 400, "logit_bias"}, {"'logit_bias':{'1':101}", 400, "logit_bias"}, {"'logit_bias':{'1':'1'}", 400, "logit_bias"},
        {"'logit_bias':{'-1':1}", 400, "logit_bias"}, {"'logit_bias':{'999999999':1}", 400, "logit_bias"}, {"'logit_bias':{'1.5':1}", 400, "logit_bias"},
        {"'logit_bias':1", 400, "logit_bias"}, {"'logit_bias':[1]", 400, "logit_bias"}, {"'logit_bias':[[1]]", 400, "logit_bias"},
        {"'logit_bias':[['a',1]]", 400, "logit_bias"}, {"'logit_bias':{'1':null}", 400, "logit_bias"}, {"'logit_bias':{' 1':1}", 400, "logit_bias"},
        {"'stream_options':{'include_usage':true}", 0, NULL}, {"'stream_options':{}", 0, NULL}, {"'stream_options':null", 0, NULL},
        {"'stream_options':{'include_usage':1}", 400, "stream_options.include_usage"}, {"'stream_options':{'continuous_usage_stats':1}", 400, "stream_options.continuous_usage_stats"}, {"'stream_options':true", 400, "stream_options"},
        {"'cache_salt':'s'", 0, NULL}, {"'cache_salt':''", 400, "cache_salt"}, {"'cache_salt':5", 400, "cache_salt"},
        {"'model':'any'", 0, NULL}, {"'model':5", 400, "model"}, {"'model':null", 0, NULL},
        {"'max_tokens':5,'min_tokens':6", 400, "min_tokens"},
    };
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        expect(SR_API_CHAT, t[i].m, t[i].status, t[i].param);
        expect(SR_API_COMPLETION, t[i].m, t[i].status, t[i].param);
    }
    char m[400] = "'stop':'";
    memset(m + 8, 'x', 257);
    memcpy(m + 265, "'", 2);
    expect(SR_API_CHAT, m, 400, "stop");
    memcpy(m + 264, "'", 2);
    expect(SR_API_CHAT, m, 0, NULL);
    sr_buf b = {0};
    sr_buf_str(&b, "'logit_bias':{");
    for (int i = 0; i < 1025; i++)
        sr_buf_fmt(&b, "%s'%d':1", i ? "," : "", i);
    sr_buf_str(&b, "}");
    expect(SR_API_CHAT, b.p, 400, "logit_bias");
    sr_buf_end(&b);
}

static void what_is_not_served_is_refused_unless_it_asks_for_nothing(void **state)
{
    (void)state;
    static const struct { const char *m; int status; const char *param; } both[] = {
        {"'tools':[]", 0, NULL}, {"'tools':null", 0, NULL},
        {"'functions':[]", 0, NULL}, {"'functions':null,'function_call':'auto'", 0, NULL}, {"'tool_choice':'none'", 0, NULL}, {"'tool_choice':'auto'", 0, NULL},
        {"'tool_choice':'required'", 400, "tool_choice"}, {"'tool_choice':{'type':'function'}", 400, "tool_choice"},
        {"'response_format':{'type':'text'}", 0, NULL}, {"'response_format':{'type':'other'}", 400, "response_format"},
        {"'response_format':'json'", 400, "response_format"}, {"'response_format':{}", 400, "response_format"},
        {"'best_of':1", 0, NULL}, {"'best_of':3", 400, "best_of"}, {"'best_of':2,'n':2", 0, NULL}, {"'best_of':'x'", 400, "best_of"},
        {"'grammar':''", 0, NULL},
        {"'mirostat':2", 400, "mirostat"}, {"'mirostat':0", 0, NULL}, {"'xtc_probability':0.5", 400, "xtc_probability"},
        {"'dry_multiplier':0.8", 400, "dry_multiplier"}, {"'dry_multiplier':0", 0, NULL}, {"'top_n_sigma':-1", 0, NULL},
        {"'top_n_sigma':1.5", 400, "top_n_sigma"}, {"'prompt_logprobs':0", 400, "prompt_logprobs"}, {"'use_beam_search':true", 400, "use_beam_search"},
        {"'use_beam_search':false", 0, NULL}, {"'length_penalty':1.0", 0, NULL}, {"'truncate_prompt_tokens':5", 400, "truncate_prompt_tokens"},
        {"'samplers':['top_k']", 400, "samplers"}, {"'samplers':[]", 0, NULL}, {"'thinking_token_budget':0", 400, "thinking_token_budget"},
        {"'thinking_token_budget':-1,'reasoning_budget_tokens':-1", 0, NULL}, {"'reasoning_budget_tokens':9", 400, "reasoning_budget_tokens"},
        {"'repetition_detection':{'max_pattern_size':5}", 400, "repetition_detection"}, {"'t_max_predict_ms':100", 400, "t_max_predict_ms"},
        {"'t_max_predict_ms':-1", 0, NULL}, {"'n_probs':3", 400, "n_probs"}, {"'n_probs':0", 0, NULL}, {"'return_tokens':true", 400, "return_tokens"},
        {"'return_token_ids':true", 400, "return_token_ids"}, {"'return_tokens_as_token_ids':true", 400, "return_tokens_as_token_ids"},
        {"'return_tokens_as_token_ids':false", 0, NULL}, {"'logprob_token_ids':[1]", 400, "logprob_token_ids"}, {"'response_fields':['a']", 400, "response_fields"},
        {"'logits_processors':['a']", 400, "logits_processors"}, {"'kv_transfer_params':{'a':1}", 400, "kv_transfer_params"}, {"'kv_transfer_params':{}", 0, NULL},
        {"'adaptive_target':0.5", 400, "adaptive_target"}, {"'adaptive_target':-1", 0, NULL}, {"'add_special_tokens':5", 400, "add_special_tokens"},
        /* Accepted and ignored, whatever they hold. */
        {"'user':5,'metadata':[],'store':'x','service_tier':{},'safety_identifier':1,'prompt_cache_key':2,'verbosity':3,"
         "'prediction':4,'modalities':['audio'],'audio':{},'unknown_thing':{'a':[1]}", 0, NULL},
    };
    for (size_t i = 0; i < SR_COUNT(both); i++) {
        expect(SR_API_CHAT, both[i].m, both[i].status, both[i].param);
        expect(SR_API_COMPLETION, both[i].m, both[i].status, both[i].param);
    }
    expect(SR_API_COMPLETION, "'tools':[{'type':'function'}]", 400, "tools");
    expect(SR_API_COMPLETION, "'functions':[{'name':'f'}]", 400, "functions");
    expect(SR_API_CHAT, "'reasoning_format':'none'", 0, NULL);
    expect(SR_API_CHAT, "'reasoning_format':'other'", 400, "reasoning_format");
    expect(SR_API_COMPLETION, "'suffix':'x'", 400, "suffix");
    expect(SR_API_COMPLETION, "'suffix':''", 0, NULL);
    expect(SR_API_COMPLETION, "'add_special_tokens':false", 0, NULL);
    expect(SR_API_CHAT, "'add_special_tokens':false", 0, NULL);
    expect(SR_API_CHAT, "'add_special_tokens':true", 400, "add_special_tokens");
    expect(SR_API_CHAT, "'chat_template':'{{x}}'", 400, "chat_template");
    expect(SR_API_CHAT, "'top_logprobs':2", 400, "top_logprobs");
    expect(SR_API_CHAT, "'top_logprobs':2,'logprobs':true", 0, NULL);
    expect(SR_API_COMPLETION, "'n':2,'max_tokens':0", 400, "n");
}

static void tools_are_checked_one_by_one(void **state)
{
    (void)state;
    static const struct { const char *m; int status; const char *param; } cases[] = {
        {"'tools':[{'type':'function','function':{'name':'f'}}]", 0, NULL},
        {"'tools':[{'function':{'name':'a-b.c_1','description':'x','parameters':{'type':'object'},'strict':true}}]", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':'none'", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':'auto','parallel_tool_calls':false", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':'required'", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':{'type':'function','function':{'name':'f'}}", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':{'type':'function','function':{'name':'g'}}", 400, "tool_choice"},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':{'type':'function'}", 400, "tool_choice"},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':'sometimes'", 400, "tool_choice"},
        {"'tool_choice':'required'", 400, "tool_choice"}, {"'tool_choice':'required','tools':[]", 400, "tool_choice"},
        {"'tools':[{'type':'function','function':{'name':'f','parameters':{'type':'object','properties':{'a':{'type':'frog'}}}}}],'tool_choice':'required'", 400, "tool_choice"},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'response_format':{'type':'json_object'}", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'tool_choice':'none','response_format':{'type':'json_object'}", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'json_schema':{'type':'object','properties':{'a':{'$ref':'#/$defs/b'}},'$defs':{'b':{'type':'null'}}}", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'json_schema':{'type':'null'},'tool_choice':'required'", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'guided_regex':'a'", 400, "guided_regex"},
        {"'tools':{'a':1}", 400, "tools"}, {"'tools':'x'", 400, "tools"}, {"'tools':[5]", 400, "tools[0]"}, {"'tools':[{}]", 400, "tools[0]"},
        {"'tools':[{'type':'web_search'}]", 400, "tools[0]"}, {"'tools':[{'function':{'name':'f'}},{'function':{}}]", 400, "tools[1]"},
        {"'tools':[{'function':{'name':''}}]", 400, "tools[0]"}, {"'tools':[{'function':{'name':'a b'}}]", 400, "tools[0]"},
        {"'tools':[{'function':{'name':5}}]", 400, "tools[0]"}, {"'tools':[{'function':{'name':'f','parameters':[]}}]", 400, "tools[0]"},
        {"'tools':[{'function':{'name':'f','description':5}}]", 400, "tools[0]"}, {"'parallel_tool_calls':'y'", 400, "parallel_tool_calls"},
        {"'tools':[{'function':{'name':'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg'}}]", 400, "tools[0]"}};
    for (size_t i = 0; i < SR_COUNT(cases); i++)
        expect(SR_API_CHAT, cases[i].m, cases[i].status, cases[i].param);
}

static void functions_are_tools_of_an_older_name(void **state)
{
    (void)state;
    static const struct { const char *m; int status; const char *param; } cases[] = {
        {"'functions':[{'name':'f'}]", 0, NULL}, {"'functions':[{'name':'f','description':'x','parameters':{'type':'object'}}],'function_call':'auto'", 0, NULL},
        {"'functions':[{'name':'f'}],'function_call':'none'", 0, NULL}, {"'functions':[{'name':'f'}],'function_call':{'name':'f'}", 0, NULL},
        {"'functions':[{'name':'f'}],'function_call':{'name':'g'}", 400, "function_call"}, {"'functions':[{'name':'f'}],'function_call':'required'", 400, "function_call"},
        {"'functions':[{'name':'f'}],'function_call':{}", 400, "function_call"}, {"'function_call':{'name':'f'}", 400, "function_call"},
        {"'functions':[{'name':'f'}],'tools':[{'type':'function','function':{'name':'f'}}]", 400, "functions"}, {"'functions':[{'name':'f'}],'tools':[]", 0, NULL},
        {"'tools':[{'type':'function','function':{'name':'f'}}],'function_call':{'name':'f'}", 400, "function_call"},
        {"'functions':[{}]", 400, "functions[0]"}, {"'functions':[{'name':'f'},5]", 400, "functions[1]"}, {"'functions':{'name':'f'}", 400, "functions"},
        {"'functions':[{'name':'a b'}]", 400, "functions[0]"}, {"'functions':[{'name':'f','parameters':[]}]", 400, "functions[0]"}};
    static const struct { const char *m; int status; const char *param; } said[] = {
        {"{'role':'assistant','content':null,'function_call':{'name':'f','arguments':'{}'}},{'role':'function','name':'f','content':'1'}", 0, NULL},
        {"{'role':'function','name':'f','content':'1'}", 0, NULL}, {"{'role':'assistant','content':'x','function_call':null}", 0, NULL},
        {"{'role':'assistant','content':null,'function_call':{'name':'f'}}", 400, "messages[1].function_call"},
        {"{'role':'assistant','content':null,'function_call':'f'}", 400, "messages[1].content"},
        {"{'role':'assistant','content':'x','function_call':'f'}", 400, "messages[1].function_call"},
        {"{'role':'assistant','content':'x','function_call':{'name':'f','arguments':'{}'},'tool_calls':[{'function':{'name':'f','arguments':'{}'}}]}", 400,
         "messages[1].function_call"},
        {"{'role':'function','name':5,'content':'1'}", 400, "messages[1].name"}};
    for (size_t i = 0; i < SR_COUNT(cases); i++)
        expect(SR_API_CHAT, cases[i].m, cases[i].status, cases[i].param);
    for (size_t i = 0; i < SR_COUNT(said); i++) {
        char body[600];
        snprintf(body, sizeof body, "{'messages':[{'role':'user','content':'hi'},%s]}", said[i].m);
        expect_body(SR_API_CHAT, body, said[i].status, said[i].param);
    }
}

static void forms_of_answers_are_compiled_or_named(void **state)
{
    (void)state;
    static const struct { const char *m; int status; const char *param; } both[] = {
        {"'response_format':{'type':'json_object'}", 0, NULL},
        {"'response_format':{'type':'json_schema','json_schema':{'name':'x','strict':true,'schema':{'type':'object','properties':{'a':{'type':'integer'}},'required':['a']}}}", 0, NULL},
        {"'response_format':{'type':'json_schema','json_schema':{'name':'x'}}", 400, "response_format"},
        {"'response_format':{'type':'json_schema'}", 400, "response_format"},
        {"'response_format':{'type':'json_schema','json_schema':{'schema':{'type':'frog'}}}", 400, "response_format"},
        {"'response_format':{'type':'json_schema','json_schema':{'schema':5}}", 400, "response_format"},
        {"'json_schema':{'type':'string'}", 0, NULL}, {"'json_schema':5", 400, "json_schema"},
        {"'grammar':'root ::= [a-z]+'", 0, NULL}, {"'grammar_lazy':true", 400, "grammar_lazy"},
        {"'structured_outputs':{'json':{},'disable_any_whitespace':true}", 400, "structured_outputs"}, {"'structured_outputs':{'jsonn':{}}", 400, "structured_outputs"},
        {"'structured_outputs':{'regex':'a','structural_tag':null,'disable_fallback':false}", 0, NULL},
        {"'response_format':{'type':'json_object','schema':{'type':'object','minProperties':1}}", 400, "response_format"}, {"'grammar':'root ::= ('", 400, "grammar"}, {"'grammar':5", 400, "grammar"},
        {"'guided_json':{'type':'boolean'}", 0, NULL}, {"'guided_regex':'[0-9]{3}'", 0, NULL}, {"'guided_regex':'('", 400, "guided_regex"},
        {"'guided_choice':['a','b']", 0, NULL}, {"'guided_choice':[]", 400, "guided_choice"}, {"'guided_choice':[5]", 400, "guided_choice"},
        {"'guided_grammar':'root ::= \\u0022x\\u0022'", 0, NULL},
        {"'structured_outputs':{'json':{'type':'integer'}}", 0, NULL}, {"'structured_outputs':{'regex':'a|b'}", 0, NULL},
        {"'structured_outputs':{'choice':['x']}", 0, NULL}, {"'structured_outputs':{'json_object':true}", 0, NULL},
        {"'structured_outputs':{'structural_tag':{}}", 400, "structured_outputs"}, {"'structured_outputs':5", 400, "structured_outputs"},
        {"'guided_regex':'a','guided_choice':['a']", 400, "guided_choice"}, {"'response_format':{'type':'json_object'},'grammar':'root ::= [a]'", 400, "grammar"}};
    for (size_t i = 0; i < SR_COUNT(both); i++) {
        expect(SR_API_CHAT, both[i].m, both[i].status, both[i].param);
        expect(SR_API_COMPLETION, both[i].m, both[i].status, both[i].param);
    }
}

static void values_arrive_where_they_belong(void **state)
{
    (void)state;
    sr_prep   p;
    sr_apierr e;
    assert_int_equal(prepare(SR_API_CHAT, "{'messages':[{'role':'user','content':'a'}],'n':2,'temperature':0.5,'top_p':0.25,'top_k':7,"
        "'min_p':0.125,'typical_p':0.75,'frequency_penalty':-1,'presence_penalty':1.5,'repetition_penalty':1.25,'repeat_last_n':9,"
        "'seed':42,'stop':['x','yz'],'stop_token_ids':[5],'logit_bias':{'3':-100,'4':2},'logprobs':true,'top_logprobs':4,'max_tokens':11,"
        "'min_tokens':3,'priority':-2,'stream':true,'stream_options':{'include_usage':true},'ignore_eos':true}", &p, &e), 0);
    const sr_params *q = &p.params;
    assert_true(q->n == 2 && q->temperature == 0.5 && q->top_p == 0.25 && q->top_k == 7 && q->min_p == 0.125 && q->typical_p == 0.75);
    assert_true(q->freq_penalty == -1 && q->pres_penalty == 1.5 && q->rep_penalty == 1.25 && q->rep_last_n == 9 && q->seed == 42);
    assert_true(q->n_stop == 2 && q->stop[1].n == 2 && !memcmp(q->stop[1].p, "yz", 2) && q->n_stop_tok == 1 && q->stop_tok[0] == 5);
    assert_true(q->n_bias == 2 && q->bias[0].tok == 3 && q->bias[0].bias < -1e30f && q->bias[1].bias == 2.0f);
    assert_true(q->want_logprobs && q->top_logprobs == 4 && q->max_tokens == 11 && q->min_tokens == 3 && q->priority == -2);
    assert_true(q->stream && q->include_usage && q->ignore_eos && q->skip_special && !q->echo);
    sr_prep_end(&p);
    assert_int_equal(prepare(SR_API_COMPLETION, "{'prompt':'a'}", &p, &e), 0);
    assert_true(p.params.max_tokens == 16 && p.params.temperature == 1 && p.params.top_p == 1 && p.params.seed == -1 && p.params.n == 1);
    sr_prep_end(&p);
}

/* ---- messages and prompts -------------------------------------------------------------------------------- */

static void messages_are_checked_one_by_one(void **state)
{
    (void)state;
    static const struct { const char *body; int status; const char *param; } t[] = {
        {"{}", 400, "messages"}, {"{'messages':[]}", 400, "messages"}, {"{'messages':'x'}", 400, "messages"},
        {"{'messages':[1]}", 400, "messages[0]"}, {"{'messages':[{}]}", 400, "messages[0].role"},
        {"{'messages':[{'role':'user','content':'a'},{'role':'king','content':'a'}]}", 400, "messages[1].role"},
        {"{'messages':[{'role':'<|im_end|>','content':'a'}]}", 400, "messages[0].role"},
        {"{'messages':[{'role':5,'content':'a'}]}", 400, "messages[0].role"},
        {"{'messages':[{'role':'user'}]}", 400, "messages[0].content"}, {"{'messages':[{'role':'user','content':null}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':5}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':{'text':'a'}}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':[{'type':'image_url','image_url':{'url':'http://x'}}]}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':[{'type':'input_audio'}]}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':[{'type':'strange'}]}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':[{'text':'a'}]}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':[{'type':'text'}]}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':['a']}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]}]}", 0, NULL},
        {"{'messages':[{'role':'developer','content':'a'},{'role':'user','content':'','name':'bob'}]}", 0, NULL},
        {"{'messages':[{'role':'user','content':'a','name':5}]}", 400, "messages[0].name"},
        {"{'messages':[{'role':'assistant','content':null}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'user','content':null,'reasoning_content':'a'}]}", 400, "messages[0].content"},
        {"{'messages':[{'role':'assistant','content':null,'reasoning_content':'hm'},{'role':'assistant','reasoning':'hm'}]}", 0, NULL},
        {"{'messages':[{'role':'assistant','content':null,'refusal':'no'}]}", 0, NULL},
        {"{'messages':[{'role':'assistant','content':null,'tool_calls':[{'id':'c','type':'function','function':{'name':'f','arguments':'{}'}}]},"
         "{'role':'tool','tool_call_id':'c','content':'4'}]}", 0, NULL},
        {"{'messages':[{'role':'assistant','tool_calls':5,'content':'a'}]}", 400, "messages[0].tool_calls"},
        {"{'messages':[{'role':'assistant','content':'a','tool_calls':[{}]}]}", 400, "messages[0].tool_calls"},
        {"{'messages':[{'role':'assistant','content':'a','tool_calls':[{'function':{'name':'f','arguments':5}}]}]}", 400, "messages[0].tool_calls"},
        {"{'messages':[{'role':'user','content':'a'}],'chat_template_kwargs':5}", 400, "chat_template_kwargs"},
        {"{'messages':[{'role':'user','content':'a'}],'chat_template_kwargs':{'enable_thinking':false}}", 0, NULL},
        {"{'messages':[{'role':'user','content':'a'}],'reasoning_effort':5}", 400, "reasoning_effort"},
        {"[]", 400, ""}, {"5", 400, ""}, {"'x'", 400, ""},
    };
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        sr_prep   p;
        sr_apierr e;
        int got = prepare(SR_API_CHAT, t[i].body, &p, &e);
        if (got != t[i].status || (got && strcmp(e.param, t[i].param)))
            fail_msg("%s: %d for '%s': %s", t[i].body, got, e.param, e.msg);
        if (!got)
            sr_prep_end(&p);
    }
}

/* Other dialects' requests are read as chat; what is wrong is told under their own names. */
static void parameters_are_named_as_their_dialect_does(void **state)
{
    (void)state;
    static const struct { sr_api api; const char *body, *param; } t[] = {
        {SR_API_RESPONSES, "{'input':'a','max_output_tokens':0}", "max_output_tokens"}, {SR_API_RESPONSES, "{'input':'a','reasoning':{'effort':5}}", "reasoning.effort"},
        {SR_API_RESPONSES, "{'input':'a','temperature':3}", "temperature"},
        {SR_API_MESSAGES, "{'max_tokens':1,'messages':[{'role':'user','content':'a'}],'stop_sequences':5}", "stop_sequences"},
        {SR_API_OLLAMA_CHAT, "{'messages':[{'role':'user','content':'a'}],'options':{'num_predict':'x'}}", "num_predict"},
        {SR_API_OLLAMA_GENERATE, "{'prompt':'a','options':{'num_predict':1.5}}", "num_predict"}};
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        sr_prep   p;
        sr_apierr e;
        char      quoted[64];
        snprintf(quoted, sizeof quoted, "'%s'", t[i].param);
        assert_int_equal(prepare(t[i].api, t[i].body, &p, &e), 400);
        if (strcmp(e.param, t[i].param) || !strstr(e.msg, quoted))
            fail_msg("%s: '%s', %s", t[i].body, e.param, e.msg);
    }
}

static void prompts_come_in_four_forms(void **state)
{
    (void)state;
    static const struct { const char *body; int status; uint32_t n; } t[] = {
        {"{'prompt':'a'}", 0, 1}, {"{'prompt':['a','b']}", 0, 2}, {"{'prompt':[1,2]}", 0, 1}, {"{'prompt':[[1],[2,3]]}", 0, 2},
        {"{}", 400, 0}, {"{'prompt':null}", 400, 0}, {"{'prompt':[]}", 400, 0}, {"{'prompt':[[]]}", 400, 0}, {"{'prompt':5}", 400, 0},
        {"{'prompt':{}}", 400, 0}, {"{'prompt':['a',1]}", 400, 0}, {"{'prompt':[1,'a']}", 400, 0}, {"{'prompt':[[1],'a']}", 400, 0},
        {"{'prompt':[-1]}", 400, 0}, {"{'prompt':[999999999]}", 400, 0}, {"{'prompt':[1.5]}", 400, 0}, {"{'prompt':[[1,null]]}", 400, 0},
        {"{'prompt':true}", 400, 0}, {"{'prompt':[{}]}", 400, 0}, {"{'prompt':[99999999999999999]}", 400, 0},
    };
    for (size_t i = 0; i < SR_COUNT(t); i++) {
        sr_prep   p;
        sr_apierr e;
        int got = prepare(SR_API_COMPLETION, t[i].body, &p, &e);
        if (got != t[i].status || (!got && p.n_prompt != t[i].n) || (got && strcmp(e.param, "prompt")))
            fail_msg("%s: %d for '%s': %s", t[i].body, got, e.param, e.msg);
        if (!got)
            sr_prep_end(&p);
    }
}

/* This thread's own time: other work of the machine is not in it. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void many_messages_are_refused_quickly(void **state)
{
    (void)state;
    sr_buf b = {0};
    sr_prep   p;
    sr_apierr e = {0};
    sr_buf_str(&b, "{\"messages\":[");
    for (int i = 0; i < 100000; i++)
        sr_buf_str(&b, i ? ",{\"role\":\"user\",\"content\":\"hi\"}" : "{\"role\":\"user\",\"content\":\"hi\"}");
    sr_buf_str(&b, "]}");
    uint64_t t = cpu_ns();
    assert_false(sr_prepare(&env, SR_API_CHAT, b.p, b.n, &p, &e));
    t = cpu_ns() - t;
    assert_int_equal(e.status, 400);
    assert_string_equal(e.param, "messages");
    print_message("100,000 messages refused in %.0f ms\n", (double)t * 1e-6);
    assert_true(t < 5000000000u);
    sr_buf_end(&b);
}

/* A chat of `words` words that does not fit the context is refused; the time of that. */
static uint64_t refused_in(size_t words, size_t *bytes)
{
    sr_buf    b = {0};
    sr_prep   p;
    sr_apierr e = {0};
    sr_buf_str(&b, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (size_t i = 0; i < words; i++)
        sr_buf_str(&b, "some words ");
    sr_buf_str(&b, "\"}]}");
    *bytes     = b.n;
    uint64_t t = cpu_ns();
    assert_false(sr_prepare(&env, SR_API_CHAT, b.p, b.n, &p, &e));
    t = cpu_ns() - t;
    assert_string_equal(e.code, "context_length_exceeded");
    sr_buf_end(&b);
    return t;
}

/* Four times the text: 4 times the time if it is linear, 16 if it is quadratic.  A cold cache can spoil a pair of
 * measurements, quadratic code spoils all of them. */
static void a_long_prompt_costs_linear_time(void **state)
{
    (void)state;
    double least = 1e9;
    for (int i = 0; i < 5 && least > 5; i++) {
        size_t   n, n4;
        uint64_t one = refused_in(100000, &n), four = refused_in(400000, &n4);
        least = SR_MIN(least, (double)four / (double)one);
        print_message("%.1f MB refused in %.1f ms per MB\n", (double)n4 * 1e-6, (double)four * 1e-6 / ((double)n4 * 1e-6));
    }
    if (least > 8)
        fail_msg("four times the text takes %.1f times the time", least);
}

static void memory_that_runs_out_is_an_answer(void **state)
{
    (void)state;
    const char *body = "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a <|im_end|> b\"}]},{\"role\":\"assistant\","
                       "\"content\":\"x\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"k\\\":1}\"}}]}],"
                       "\"stop\":[\"a\",\"b\"],\"logit_bias\":{\"1\":1},\"stop_token_ids\":[3]}";
    int n = 1;
    for (bool fired = true; fired && n < 2000; n++) {
        sr_prep   p;
        sr_apierr e = {0};
        sr_fault_arm(SR_FAULT_ALLOC, (uint64_t)n);
        bool ok = sr_prepare(&env, SR_API_CHAT, body, strlen(body), &p, &e);
        fired = sr_fault_fired(SR_FAULT_ALLOC);
        sr_fault_arm(SR_FAULT_ALLOC, 0);
        if (ok)
            sr_prep_end(&p);
        else
            assert_int_equal(e.status, 503);
        assert_true(ok || fired);
    }
    assert_true(n > 10 && n < 2000);
}

#define SCHEMA "{'type':'object','properties':{'a':{'type':'string'}}}"
#define TOOL "{'type':'function','function':{'name':'f','description':'d','parameters':" SCHEMA ",'strict':true}}"

/* Every request form with most of what it may hold. */
static const struct { sr_api api; const char *body; } full[] = {
    {SR_API_CHAT, "{'messages':[{'role':'system','content':'s'},{'role':'user','name':'u','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]},"
                  "{'role':'assistant','content':null,'reasoning_content':'r','tool_calls':[{'id':'c','type':'function','function':{'name':'f','arguments':'{\\'a\\':1}'}},"
                  "{'function':{'name':'g','arguments':{'b':2}}}]},{'role':'tool','tool_call_id':'c','content':'4'},{'role':'assistant','content':[{'type':'refusal','refusal':'no'}]},"
                  "{'role':'user','content':'go'}],'tools':[" TOOL "],'tool_choice':{'type':'function','function':{'name':'f'}},'reasoning_effort':'low',"
                  "'chat_template_kwargs':{'x':1},'logit_bias':{'5':1},'stop':['x'],'stop_token_ids':[7],'stream':true,'stream_options':{'include_usage':true}}"},
    {SR_API_CHAT, "{'messages':[{'role':'user','content':'a'}],'response_format':{'type':'json_schema','json_schema':{'name':'n','schema':" SCHEMA "}}}"},
    {SR_API_COMPLETION, "{'prompt':['a',' b <|im_end|>'],'echo':true,'logprobs':2,'n':2,'logit_bias':[[1,false],[2,1.5]],'guided_choice':['x','y']}"},
    {SR_API_MESSAGES, "{'max_tokens':5,'system':[{'type':'text','text':'s'}],'messages':[{'role':'user','content':[{'type':'text','text':'q'}]},"
                      "{'role':'assistant','content':[{'type':'thinking','thinking':'t','signature':'x'},{'type':'text','text':'a'},{'type':'tool_use','id':'i','name':'f','input':{'a':1}}]},"
                      "{'role':'user','content':[{'type':'tool_result','tool_use_id':'i','content':[{'type':'text','text':'r'}]},{'type':'text','text':'next'}]},"
                      "{'role':'assistant','content':'so'}],"
                      "'tools':[{'name':'f','description':'d','input_schema':" SCHEMA "}],'tool_choice':{'type':'auto','disable_parallel_tool_use':true},"
                      "'thinking':{'type':'enabled','budget_tokens':1024},'stop_sequences':['x'],'metadata':{'user_id':'u'},'temperature':0.5,'top_k':4,'stream':true}"},
    {SR_API_COUNT, "{'system':'s','messages':[{'role':'user','content':'q'}],'tools':[{'name':'f'}]}"},
    {SR_API_RESPONSES, "{'instructions':'i','input':[{'role':'user','content':[{'type':'input_text','text':'q'}]},{'type':'reasoning','summary':[{'type':'summary_text','text':'t'}],"
                       "'content':[{'type':'reasoning_text','text':'t'}]},{'type':'function_call','call_id':'c','name':'f','arguments':'{}'},"
                       "{'type':'function_call_output','call_id':'c','output':'o'},{'type':'message','role':'assistant','content':[{'type':'output_text','text':'a'}]},{'role':'user','content':'x'}],"
                       "'tools':[{'type':'function','name':'f','description':'d','parameters':" SCHEMA ",'strict':false}],'tool_choice':{'type':'function','name':'f'},"
                       "'reasoning':{'effort':'low'},'max_output_tokens':9,'metadata':{'k':'v'},'temperature':1,'top_p':0.5}"},
    {SR_API_RESPONSES, "{'input':'q','text':{'format':{'type':'json_schema','name':'n','schema':" SCHEMA ",'strict':true}}}"},
    {SR_API_OLLAMA_CHAT, "{'messages':[{'role':'user','content':'q'},{'role':'assistant','content':'','thinking':'t','tool_calls':[{'function':{'name':'f','arguments':{'a':1}}}]},"
                         "{'role':'tool','tool_name':'f','content':'4'}],'tools':[" TOOL "],'format':" SCHEMA ",'options':{'temperature':0,'num_predict':-2,'stop':['x'],'seed':1},'think':true,'stream':false}"},
    {SR_API_OLLAMA_CHAT, "{'messages':[{'role':'user','content':'q'}],'format':'json','options':{'num_predict':7}}"},
    {SR_API_OLLAMA_GENERATE, "{'prompt':'p','system':'s','options':{'num_ctx':100}}"},
    {SR_API_OLLAMA_GENERATE, "{'prompt':'p','raw':true}"},
    {SR_API_TOKENIZE, "{'content':'a b','add_special':true,'with_pieces':true}"},
    {SR_API_DETOKENIZE, "{'tokens':[1,2]}"},
    {SR_API_TEMPLATE, "{'messages':[{'role':'user','content':'q'}],'tools':[" TOOL "]}"},
};

/* jansson 2.14 writes behind its buffer when that cannot grow while it parses: only what it takes otherwise may fail. */
json_t *__real_json_loadb(const char *p, size_t n, size_t flags, json_error_t *e);
json_t *__wrap_json_loadb(const char *p, size_t n, size_t flags, json_error_t *e);
static bool parsing;

json_t *__wrap_json_loadb(const char *p, size_t n, size_t flags, json_error_t *e)
{
    parsing   = true;
    json_t *j = __real_json_loadb(p, n, flags, e);
    parsing   = false;
    return j;
}

static void *jansson_malloc(size_t n) { return parsing ? malloc(n) : sr_malloc(n); }

/* The same in every form, and what jansson takes may fail as well. */
static void memory_of_the_tree_may_run_out_in_any_form(void **state)
{
    (void)state;
    size_t points = 0;
    json_set_alloc_funcs(jansson_malloc, free);
    for (size_t i = 0; i < SR_COUNT(full); i++) {
        sr_buf b = {0};
        sr_err err = {0};
        json_t *root = NULL;
        for (const char *s = full[i].body; *s; s++)
            sr_buf_char(&b, *s == '\'' ? '"' : *s);
        if (sr_json_read(b.p, b.n, 64, 10000, &root, &err))
            fail_msg("%s: %s", b.p, err.msg);
        int n = 1;
        for (bool fired = true; fired; n++) {
            sr_prep   p;
            sr_apierr e = {0};
            sr_fault_arm(SR_FAULT_ALLOC, (uint64_t)n);
            bool ok = sr_prepare_tree(&env, full[i].api, root, &p, &e);
            fired = sr_fault_fired(SR_FAULT_ALLOC);
            sr_fault_arm(SR_FAULT_ALLOC, 0);
            if (ok)
                sr_prep_end(&p);
            if (ok != !fired && !(ok && fired)) /* what is not needed may be done without */
                fail_msg("%s: %d %s", b.p, e.status, e.msg);
            if (!ok && e.status != 503)
                fail_msg("%s, allocation %d: %d %s", b.p, n, e.status, e.msg);
        }
        points += (size_t)n - 2;
        json_decref(root);
        sr_buf_end(&b);
    }
    json_set_alloc_funcs(malloc, free);
    print_message("%zu failing allocations\n", points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_json_is_refused),
        cmocka_unit_test(a_parser_without_memory_does_not_blame_the_text),
        cmocka_unit_test(depth_and_size_are_bounded_before_parsing),
        cmocka_unit_test(every_number_has_its_range_and_type),
        cmocka_unit_test(every_switch_is_true_or_false),
        cmocka_unit_test(lists_and_objects_have_their_limits),
        cmocka_unit_test(what_is_not_served_is_refused_unless_it_asks_for_nothing),
        cmocka_unit_test(tools_are_checked_one_by_one),
        cmocka_unit_test(functions_are_tools_of_an_older_name),
        cmocka_unit_test(forms_of_answers_are_compiled_or_named),
        cmocka_unit_test(values_arrive_where_they_belong),
        cmocka_unit_test(messages_are_checked_one_by_one),
        cmocka_unit_test(parameters_are_named_as_their_dialect_does),
        cmocka_unit_test(prompts_come_in_four_forms),
        cmocka_unit_test(many_messages_are_refused_quickly),
        cmocka_unit_test(a_long_prompt_costs_linear_time),
        cmocka_unit_test(memory_that_runs_out_is_an_answer),
        cmocka_unit_test(memory_of_the_tree_may_run_out_in_any_form),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
