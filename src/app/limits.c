#include "app/limits.h"

#include <stddef.h>
#include <string.h>

#include "app/opt.h"
#include "base/mem.h"

enum { ITEMS = 32 };

/* What may be named: where it lies and what one of it is there. */
typedef struct { sr_servelimits l; sr_servetimes t; } all;
typedef struct {
    const char *name;
    enum { BYTES, NUMBER, SECONDS } kind; /* size_t; uint32_t; uint32_t of milliseconds */
    size_t at;                            /* in `all` */
    double lo, hi;
} limit;

/* Where the rest of the program has bounds of its own, the range ends there: 2,048 biases a request are what a step has room for, and
 * jansson nests to 2,048. */
static const limit LIMITS[] = {
    {"header_bytes", BYTES, offsetof(all, l.header_bytes), 1024, 1 << 20},
    {"url_bytes", BYTES, offsetof(all, l.url_bytes), 256, 1 << 16},
    {"body_bytes", BYTES, offsetof(all, l.body_bytes), 1024, 1 << 30},
    {"bodies_bytes", BYTES, offsetof(all, l.bodies_bytes), 1024, 1e12}, /* of all being received */
    {"requests", NUMBER, offsetof(all, l.requests), 1, 65536},          /* generations in flight */
    {"json_depth", NUMBER, offsetof(all, l.json_depth), 8, 1024},
    {"json_values", NUMBER, offsetof(all, l.json_values), 64, 1 << 28},
    {"messages", NUMBER, offsetof(all, l.messages), 1, 1 << 20},
    {"prompts", NUMBER, offsetof(all, l.prompts), 1, 4096}, /* times n */
    {"choices", NUMBER, offsetof(all, l.choices), 1, 256},
    {"inputs", NUMBER, offsetof(all, l.inputs), 1, 1 << 16},   /* texts to embed */
    {"numbers", NUMBER, offsetof(all, l.numbers), 1, 1 << 30}, /* of all their vectors */
    {"stop_strings", NUMBER, offsetof(all, l.stops), 1, 256},
    {"stop_bytes", NUMBER, offsetof(all, l.stop_bytes), 1, 4096},
    {"logit_bias", NUMBER, offsetof(all, l.bias), 1, 2048},
    {"head_seconds", SECONDS, offsetof(all, t.head), 1, 86400},
    {"silence_seconds", SECONDS, offsetof(all, t.body), 1, 86400}, /* within a body */
    {"body_seconds", SECONDS, offsetof(all, t.request), 1, 86400}, /* for a whole body */
    {"idle_seconds", SECONDS, offsetof(all, t.idle), 1, 86400},
    {"write_seconds", SECONDS, offsetof(all, t.write), 1, 86400}, /* a reader may take nothing */
    {"ping_seconds", SECONDS, offsetof(all, t.ping), 1, 86400},   /* of a stream's silence until a comment is sent */
};

typedef union { uint64_t bytes; uint32_t number; } value; /* as an option has it; zero: not given */

static sr_status read_items(value *v, int *argc, char **argv, sr_err *err)
{
    sr_opt opt[SR_COUNT(LIMITS)];
    for (size_t i = 0; i < SR_COUNT(LIMITS); i++)
        opt[i] = (sr_opt){.name = LIMITS[i].name, .kind = LIMITS[i].kind == BYTES ? SR_OPT_BYTES : SR_OPT_UINT, .out = &v[i],
                          .arg = LIMITS[i].kind == BYTES ? "SIZE" : "N", .lo = LIMITS[i].lo, .hi = LIMITS[i].hi};
    const sr_optspec spec = {.name = "serve", .opt = opt, .n_opt = SR_COUNT(opt)};
    return sr_opt_read(&spec, argc, argv, err);
}

static void put(const value *v, sr_servelimits *limits, sr_servetimes *times)
{
    all a = {*limits, *times};
    for (size_t i = 0; i < SR_COUNT(LIMITS); i++) {
        void *to = (char *)&a + LIMITS[i].at;
        if (LIMITS[i].kind == BYTES && v[i].bytes)
            *(size_t *)to = (size_t)v[i].bytes;
        if (LIMITS[i].kind != BYTES && v[i].number)
            *(uint32_t *)to = v[i].number * (LIMITS[i].kind == SECONDS ? 1000 : 1);
    }
    *limits = a.l;
    *times  = a.t;
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
    value  v[SR_COUNT(LIMITS)] = {0};
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
    sr_status s = argc > ITEMS ? sr_raise(&why, SR_INVALID, "more than %d items", ITEMS - 1) : read_items(v, &argc, argv, &why);
    if (s == SR_OK && argc > 1)
        s = sr_raise(&why, SR_INVALID, "\"%.40s\" is not NAME=VALUE", argv[1]);
    if (s == SR_OK)
        put(v, limits, times);
    else
        s = explain(s == SR_AGAIN ? "\"help\" is not the name of a limit" : why.msg, err);
    sr_free(text);
    return s;
}
