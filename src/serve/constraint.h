/* constraint.h - what a request says an answer must look like, as a grammar (text/grammar.h).
 *
 *     response_format, json_schema, grammar, guided_*, structured_outputs      --> a grammar of the whole answer
 *     tool_choice required or a function, with the tools and the model's family --> a grammar of one or more calls
 *
 * Calls are written in the form the family's parser reads (toolcall.h).  Where the mark of a call is a control token, which
 * no grammar can make, it goes to the end of the prompt, and the parser is told of it.
 *
 * Owns:    *out is the caller's (sr_grammar_close).   Threads: any.
 * Errors:  SR_INVALID, SR_UNSUPPORTED: the schema or expression, named by a pointer or a place; SR_NOMEM.
 */
#ifndef SR_SERVE_CONSTRAINT_H
#define SR_SERVE_CONSTRAINT_H
#include <jansson.h>
#include "serve/toolcall.h"
#include "text/grammar.h"

SR_MUSTUSE sr_status sr_constraint_schema(const json_t *schema, sr_grammar **out, sr_err *err);
/* only: the function that must be called; NULL: any of the tools.  several: more than one call may come. */
SR_MUSTUSE sr_status sr_constraint_calls(const sr_toolfamily *f, const json_t *tools, const char *only, bool several, sr_grammar **out,
                                         sr_err *err);
/* A call of one of the tools, or an answer that keeps to the schema: both are JSON, and the parser knows calls without marks. */
SR_MUSTUSE sr_status sr_constraint_call_or(const sr_toolfamily *f, const json_t *tools, const json_t *schema, sr_grammar **out,
                                           sr_err *err);
#endif
