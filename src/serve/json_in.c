#include "serve/json_in.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

/* Depth and an upper bound of the number of values (one per comma and per bracket). */
static sr_status scan(const char *p, size_t n, uint32_t max_depth, uint32_t max_values, sr_err *err)
{
    uint32_t depth = 0, values = 1;
    for (size_t i = 0; i < n; i++) {
        switch (p[i]) {
        case '"': /* to the closing quote: escapes are two bytes here, whatever they mean */
            for (i++; i < n && p[i] != '"'; i++)
                i += p[i] == '\\';
            break;
        case '[':
        case '{':
            if (++depth > max_depth)
                return sr_raise(err, SR_INVALID, "JSON nested deeper than %u", max_depth);
            values++;
            break;
        case ']':
        case '}':
            depth -= depth > 0;
            break;
        case ',':
            values++;
            break;
        default:
            break;
        }
        if (values > max_values)
            return sr_raise(err, SR_INVALID, "JSON with more than %u values", max_values);
    }
    return SR_OK;
}

sr_status sr_json_read(const char *text, size_t n, uint32_t max_depth, uint32_t max_values, json_t **out, sr_err *err)
{
    *out = NULL;
    if (!n)
        return sr_raise(err, SR_INVALID, "the body is empty; a JSON object is expected");
    if (memchr(text, 0, n)) /* jansson overlooks one behind a number */
        return sr_raise(err, SR_INVALID, "invalid JSON: a zero byte");
    sr_status s = scan(text, n, max_depth, max_values, err);
    if (s)
        return s;
    /* jansson 2.14 writes behind its buffer when that cannot grow: there must be memory for the longest string there can be. */
    void *room = n <= SIZE_MAX / 2 - 64 ? sr_malloc(2 * n + 64) : NULL;
    sr_free(room);
    if (!room)
        return sr_raise(err, SR_NOMEM, "host: memory for %zu bytes of JSON", n);
    json_error_t e;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (*out)
        return SR_OK;
    char why[120];
    if (json_error_code(&e) == json_error_out_of_memory || e.line < 0) /* no place in the text: it was not the text */
        return sr_raise(err, SR_NOMEM, "host: memory for %zu bytes of JSON", n);
    char *quote = strstr(e.text, " near '"); /* a piece of the text: messages of errors are logged by clients, prompts are not ours to spread */
    if (quote)
        *quote = 0;
    return sr_raise(err, SR_INVALID, "invalid JSON: %s (line %d, column %d)",
                    sr_escape(why, sizeof why, e.text, strlen(e.text)), e.line, e.column);
}

static int append(const char *p, size_t n, void *out) { return sr_buf_add(out, p, n) ? 0 : -1; }

bool sr_json_dump(const json_t *v, sr_buf *out)
{
    if (json_is_null(v))
        return sr_buf_str(out, "null");
    return !json_dump_callback(v, append, out, JSON_ENCODE_ANY);
}

void sr_json_time(int64_t seconds, long ns, char out[40])
{
    time_t    t = (time_t)seconds;
    struct tm tm;
    char      day[24];
    if (!gmtime_r(&t, &tm) || !strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm))
        day[0] = 0;
    snprintf(out, 40, "%s.%06uZ", day, (unsigned)(ns / 1000) % 1000000u);
}
