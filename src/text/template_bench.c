/* What a template costs per request: compile and render, with a conversation of N messages.
 *
 *     strata-bench-template [TEMPLATE [MESSAGES]]     default: tests/data/template/tools.jinja, 20
 *
 * Prints median and p10-p90 of the passes in CPU time of the thread (other processes do not count), and the
 * number of allocations of one render. */
#include "base/bench.h"
#include "base/mem.h"
#include "text/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PASSES = 301 };

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static json_t *conversation(long n)
{
    json_t *list = json_array();
    char text[600];
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 7; i < sizeof text - 1; i += 7)
        text[i] = ' ';
    text[sizeof text - 1] = 0;
    json_array_append_new(
        list, json_pack("{s:s, s:s}", "role", "system", "content", "You are a helpful assistant."));
    for (long i = 1; i < n; i++)
        json_array_append_new(
            list, i % 4 == 0 ? json_pack("{s:s, s:s}", "role", "tool", "content", text)
                  : i % 4 == 3
                      ? json_pack("{s:s, s:n, s:[{s:s, s:{s:s, s:{s:s, s:i}}}]}", "role", "assistant",
                                  "content", "tool_calls", "id", "call_1", "function", "name", "get_weather",
                                  "arguments", "location", "Oslo", "days", 3)
                      : json_pack("{s:s, s:s}", "role", i % 2 ? "user" : "assistant", "content", text));
    json_t *tools = json_loads(
        "[{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"description\": \"Weather\","
        " \"parameters\": {\"type\": \"object\", \"properties\": {\"location\": {\"type\": \"string\","
        " \"description\": \"A city\"}, \"days\": {\"type\": \"integer\"}}, \"required\": [\"location\"]}}}]",
        0, NULL);
    return json_pack("{s:o, s:o, s:b, s:s, s:s}", "messages", list, "tools", tools, "add_generation_prompt",
                     1, "bos_token", "<s>", "eos_token", "</s>");
}

static char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "r");
    char *p = f ? sr_malloc(1 << 20) : NULL;
    *n      = p ? fread(p, 1, 1 << 20, f) : 0;
    if (f)
        fclose(f);
    return p;
}

static void report(const char *what, double *us, size_t n)
{
    sr_spread s = sr_bench_spread(us, n);
    printf("%-8s median %8.1f us   p10-p90 %8.1f - %8.1f us\n", what, s.median, s.p10, s.p90);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "tests/data/template/tools.jinja";
    long n           = argc > 2 ? strtol(argv[2], NULL, 10) : 20;
    size_t bytes, allocs = 0;
    char *src    = read_all(path, &bytes);
    json_t *vars = conversation(n);
    double compile[PASSES], render[PASSES];
    sr_buf out = {0};
    sr_err err = {0};
    if (!src) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    for (int i = 0; i < PASSES; i++) {
        sr_template *t = NULL;
        uint64_t t0    = cpu_ns();
        sr_status s    = sr_template_compile(src, bytes, &t, &err);
        uint64_t t1 = cpu_ns(), a = sr_alloc_count();
        sr_buf_drop(&out, out.n);
        if (!s)
            s = sr_template_render(t, vars, 0, NULL, &out, &err);
        compile[i] = (double)(t1 - t0) / 1e3;
        render[i]  = (double)(cpu_ns() - t1) / 1e3;
        allocs     = sr_alloc_count() - a;
        sr_template_close(t);
        if (s) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
    }
    printf("%s: %zu bytes, %ld messages -> %zu bytes, %zu allocations per render\n", path, bytes, n, out.n,
           allocs);
    report("compile", compile, PASSES);
    report("render", render, PASSES);
    sr_buf_end(&out);
    json_decref(vars);
    sr_free(src);
    return 0;
}
