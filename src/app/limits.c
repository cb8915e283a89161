#include "app/limits.h"

#include <string.h>

#include "app/opt.h"
#include "base/mem.h"

enum { ITEMS = 32 };

/* The values as options have them; zero: not given. */
typedef struct {
    uint64_t header, url, body, bodies;
    uint32_t requests, depth, values, messages, prompts, choices, inputs, numbers, stops, stop_bytes, bias;
    uint32_t head_s, silence_s, body_s, idle_s, write_s, ping_s;
} given;

/* Where the rest of the program has bounds of its own, the range ends there: 2,048 biases a request are what a step has room for, and
 * jansson nests to 2,048. */
static sr_status read_items(given *g, int *argc, char **argv, sr_err *err)
{
    const sr_opt opt[] = {
        SR_O_BYTES("header_bytes", 0, g->header, "SIZE", "a request's head", 1024, 1 << 20),
        SR_O_BYTES("url_bytes", 0, g->url, "SIZE", "its target", 256, 1 << 16),
        SR_O_BYTES("body_bytes", 0, g->body, "SIZE", "its body", 1024, 1 << 30),
        SR_O_BYTES("bodies_bytes", 0, g->bodies, "SIZE", "all bodies being received", 1024, 1e12),
        SR_O_UINT("requests", 0, g->requests, "N", "generations in flight", 1, 65536),
        SR_O_UINT("json_depth", 0, g->depth, "N", "levels of JSON", 8, 1024),
        SR_O_UINT("json_values", 0, g->values, "N", "values of JSON", 64, 1 << 28),
        SR_O_UINT("messages", 0, g->messages, "N", "messages of a conversation", 1, 1 << 20),
        SR_O_UINT("prompts", 0, g->prompts, "N", "prompts times n", 1, 4096),
        SR_O_UINT("choices", 0, g->choices, "N", "n", 1, 256),
        SR_O_UINT("inputs", 0, g->inputs, "N", "texts to embed", 1, 1 << 16),
        SR_O_UINT("numbers", 0, g->numbers, "N", "numbers of all their vectors", 1, 1 << 30),
        SR_O_UINT("stop_strings", 0, g->stops, "N", "stop strings", 1, 256),
        SR_O_UINT("stop_bytes", 0, g->stop_bytes, "N", "bytes of each", 1, 4096),
        SR_O_UINT("logit_bias", 0, g->bias, "N", "biases", 1, 2048),
        SR_O_UINT("head_seconds", 0, g->head_s, "N", "for a whole head", 1, 86400),
        SR_O_UINT("silence_seconds", 0, g->silence_s, "N", "within a body", 1, 86400),
        SR_O_UINT("body_seconds", 0, g->body_s, "N", "for a whole body", 1, 86400),
        SR_O_UINT("idle_seconds", 0, g->idle_s, "N", "between requests of a connection", 1, 86400),
        SR_O_UINT("write_seconds", 0, g->write_s, "N", "a reader may take nothing", 1, 86400),
        SR_O_UINT("ping_seconds", 0, g->ping_s, "N", "of silence of a stream until a comment is sent", 1, 86400),
    };
    const sr_optspec spec = {.name = "serve", .opt = opt, .n_opt = SR_COUNT(opt)};
    return sr_opt_read(&spec, argc, argv, err);
}

static void put(const given *g, sr_servelimits *l, sr_servetimes *t)
{
    struct { size_t *to; uint64_t v; } bytes[] = {
        {&l->header_bytes, g->header}, {&l->url_bytes, g->url}, {&l->body_bytes, g->body}, {&l->bodies_bytes, g->bodies}};
    struct { uint32_t *to, v, unit; } numbers[] = {
        {&l->requests, g->requests, 1}, {&l->json_depth, g->depth, 1}, {&l->json_values, g->values, 1}, {&l->messages, g->messages, 1},
        {&l->prompts, g->prompts, 1}, {&l->choices, g->choices, 1}, {&l->inputs, g->inputs, 1}, {&l->numbers, g->numbers, 1},
        {&l->stops, g->stops, 1}, {&l->stop_bytes, g->stop_bytes, 1}, {&l->bias, g->bias, 1}, {&t->head, g->head_s, 1000},
        {&t->body, g->silence_s, 1000}, {&t->request, g->body_s, 1000}, {&t->idle, g->idle_s, 1000}, {&t->write, g->write_s, 1000},
        {&t->ping, g->ping_s, 1000}};
    for (size_t i = 0; i < SR_COUNT(bytes); i++)
        if (bytes[i].v)
            *bytes[i].to = (size_t)bytes[i].v;
    for (size_t i = 0; i < SR_COUNT(numbers); i++)
        if (numbers[i].v)
            *numbers[i].to = numbers[i].v * numbers[i].unit;
}

/* An option's error without its dashes and without its advice, which are none of a limit's. */
static sr_status explain(const char *msg, sr_err *err)
{
    static const char unknown[] = "unknown option --";
    const char       *name      = msg + sizeof unknown - 1;
    if (strncmp(msg, unknown, sizeof unknown - 1))
        return sr_raise(err, SR_INVALID, "--limits: %s", !strncmp(msg, "--", 2) ? msg + 2 : msg);
    return sr_raise(err, SR_INVALID, "--limits: \"%.*s\" is not the name of a limit", (int)strcspn(name, ";"), name);
}

/* Each item is read as an option of its name. */
sr_status sr_limits_read(const char *list, sr_servelimits *limits, sr_servetimes *times, sr_err *err)
{
    char  *argv[ITEMS + 2] = {(char *)"limits"}, *text = sr_malloc(strlen(list) * 3 + 3), *at = text;
    int    argc = 1;
    given  g = {0};
    sr_err why = {0};
    if (!text)
        return sr_raise(err, SR_NOMEM, "host: memory for the limits");
    for (const char *p = list; argc <= ITEMS; p++) {
        size_t n = strcspn(p, ",");
        if (n) {
            argv[argc++] = at;
            memcpy(at, "--", 2);
            memcpy(at + 2, p, n);
            at += n + 2;
            *at++ = 0;
        }
        p += n;
        if (!*p)
            break;
    }
    sr_status s = argc > ITEMS ? sr_raise(&why, SR_INVALID, "more than %d items", ITEMS - 1) : read_items(&g, &argc, argv, &why);
    if (s == SR_OK && argc > 1)
        s = sr_raise(&why, SR_INVALID, "\"%.40s\" is not NAME=VALUE", argv[1]);
    if (s == SR_OK)
        put(&g, limits, times);
    else
        s = explain(s == SR_AGAIN ? "\"help\" is not the name of a limit" : why.msg, err);
    sr_free(text);
    return s;
}
