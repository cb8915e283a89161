/* bench_url.h - strata bench --url: the load test of any server that speaks OpenAI's chat or completions.
 *
 * The option table of `strata bench` holds the options of both uses: those of a model here come first, those of a
 * server come last, those between belong to both.
 *
 * Owns: nothing.   Threads: one.   Errors: printed; the result is the exit status.
 */
#ifndef SR_APP_BENCH_URL_H
#define SR_APP_BENCH_URL_H
#include <stdbool.h>
#include "app/opt.h"

typedef struct {
    const char *url, *api, *api_key, *prompt_file, *rates, *svg, *csv;
    const char *model;             /* --model: the model's name there */
    sr_optlist  concurrency;
    uint32_t    requests, prompt, prefix, max_tokens, timeout_s, warmup, idle, seed;
    float       seconds, temperature;
    bool        ignore_eos, insecure, json;
} sr_urlcfg;
#define SR_URL_DEFAULTS {.api = "chat", .max_tokens = 128, .timeout_s = 60, .warmup = 1, .seed = 1}

#define SR_O_URL(c) \
    SR_O_STR("url", 0, (c).url, "URL", "measure the server there instead: http://HOST:PORT, with /v1 or another path where the API is elsewhere"), \
    SR_O_CHOICE("api", 0, (c).api, "chat|completions", "what is asked there"), \
    SR_O_STR("api-key", 0, (c).api_key, "KEY", "sent as Authorization: Bearer; better from STRATA_API_KEY, which ps does not show"), \
    SR_O_FLAG("insecure", 0, (c).insecure, "https: any certificate will do"), \
    SR_O_LIST("concurrency", 0, (c).concurrency, "N,N", "clients at once, each asking again when it is answered; a row each; without it, 1,2,4,8", 1, 20000), \
    SR_O_STR("request-rate", 0, (c).rates, "R,R", "instead of --concurrency: requests a second, at random times (Poisson); a row each"), \
    SR_O_UINT("requests", 0, (c).requests, "N", "requests of a row; without it, or a duration: 8 a client, 16 at least; 32 seconds of a rate", 1, 1000000000), \
    SR_O_REAL("duration", 0, (c).seconds, "S", "instead of --requests: seconds a row lasts; what runs then is cut off", 0.1, 1e6), \
    SR_O_UINT("prompt-tokens", 0, (c).prompt, "N", "words of a made-up prompt; a word is a token in most vocabularies; without it, 128", 1, 10000000), \
    SR_O_UINT("prefix-tokens", 0, (c).prefix, "N", "of them, at the beginning, the same in all prompts", 0, 10000000), \
    SR_O_STR("prompts", 0, (c).prompt_file, "FILE", "a prompt a line instead: text, or JSON with \"prompt\" or \"messages\""), \
    SR_O_UINT("max-tokens", 0, (c).max_tokens, "N", "most tokens of an answer", 1, 10000000), \
    SR_O_REAL("temperature", 0, (c).temperature, "T", "of sampling", 0, 100), \
    SR_O_FLAG("ignore-eos", 0, (c).ignore_eos, "answers go on to --max-tokens, where the server knows ignore_eos (strata, vLLM, llama.cpp)"), \
    SR_O_UINT("seed", 0, (c).seed, "N", "of made-up prompts and random times", 0, UINT32_MAX), \
    SR_O_UINT("warmup", 0, (c).warmup, "N", "requests beforehand that do not count, their answers 16 tokens at most", 0, 1000000), \
    SR_O_UINT("idle", 0, (c).idle, "N", "connections beside that are open and say nothing", 0, 60000), \
    SR_O_UINT("timeout", 0, (c).timeout_s, "S", "silence of the server that ends a request", 1, 86400), \
    SR_O_STR("csv", 0, (c).csv, "FILE", "the rows as CSV, too"), \
    SR_O_STR("svg", 0, (c).svg, "FILE", "and as a picture")

bool sr_bench_url_wanted(int argc, char **argv); /* is --url among the arguments? */
int  sr_bench_url(sr_urlcfg *);
#endif
