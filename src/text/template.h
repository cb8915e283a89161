/* template.h - chat templates: a Jinja2 subset, rendered as Hugging Face's apply_chat_template does.
 *
 * compile() parses the source once; render() evaluates it over a JSON object of variables.  Environment:
 * trim_blocks, lstrip_blocks, no trailing newline kept, loop controls, {% generation %}, tojson without
 * HTML escaping, raise_exception, strftime_now in UTC.  There is no access to anything but the
 * variables: no files, no environment, no host objects.
 *
 * Owns:    the compiled template, until close(); everything a render makes dies with the render.
 * Threads: a compiled template is read-only: render from any thread at once.
 * Errors:  SR_INVALID "line L: cause" for syntax, undefined use, wrong types and raise_exception (its
 *          message verbatim); SR_UNSUPPORTED "line L: ..." for Jinja features outside the subset;
 *          limits (1 MiB source, 1e6 steps, 8 MiB output, depth) are SR_INVALID naming the limit.
 * Source:  Jinja2 3.1 template designer documentation; transformers' chat template environment.
 */
#ifndef SR_TEXT_TEMPLATE_H
#define SR_TEXT_TEMPLATE_H
#include <jansson.h>
#include "base/buf.h"
#include "base/err.h"

typedef struct sr_template sr_template;
typedef struct {
    uint64_t steps, output, depth; /* 0 = the default: 1,000,000 steps, 8 MiB, 200 */
} sr_template_limits;

SR_MUSTUSE sr_status sr_template_compile(const char *src, size_t n, sr_template **out, sr_err *err);
void sr_template_close(sr_template *t);
/* vars: a JSON object, borrowed.  now: seconds since the epoch for strftime_now. */
SR_MUSTUSE sr_status sr_template_render(const sr_template *t, const json_t *vars, int64_t now,
                                        const sr_template_limits *limits, sr_buf *out, sr_err *err);
#endif
