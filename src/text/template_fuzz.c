/* A template and its variables from one input: the source up to the first NUL, then JSON.  Small limits keep
 * one run short; what is looked for is a crash, a leak or a run past the limits. */
#include "text/template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char fallback[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi \\u00e9\", \"n\": [1, 2.5, null]},"
    "{\"role\": \"assistant\", \"content\": null}], \"s\": \" a b \", \"d\": {\"k\": true}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut   = size ? memchr(data, 0, size) : NULL;
    size_t n             = cut ? (size_t)(cut - data) : size;
    json_t *vars         = cut ? json_loadb((const char *)cut + 1, size - n - 1, JSON_ALLOW_NUL, NULL) : NULL;
    sr_template *t       = NULL;
    sr_err err           = {0};
    sr_buf out           = {0};
    sr_template_limits l = {.steps = 20000, .output = 1 << 16, .depth = 30};
    if (!json_is_object(vars)) {
        json_decref(vars);
        vars = json_loads(fallback, 0, NULL);
    }
    if (!sr_template_compile((const char *)data, n, &t, &err)) {
        if (!sr_template_render(t, vars, 1783168496, &l, &out, &err) && out.n > l.output)
            abort();
        if (err.status && !err.msg[0])
            abort();
    }
    sr_template_close(t);
    sr_buf_end(&out);
    json_decref(vars);
    return 0;
}
