/* toolcall.h - tool calls in the text of a model, found as the text comes.
 *
 *     hermes   text <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>          also Qwen 2.5, Qwen 3
 *     coder    text <tool_call><function=f><parameter=a>1</parameter></function></tool_call>       Qwen 3 Coder
 *     llama3   {"name": "f", "parameters": {"a": 1}}   or behind <|python_tag|>, several with ';' between
 *     mistral  text [TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}]   or [TOOL_CALLS]f[ARGS]{"a": 1}
 *     generic  any of the marks above
 *     all      {"name": "f", "arguments": {"a": 1}} at the start of the answer, for models forget their marks
 *
 * A mark opens a block, a block holds calls, a call has a name and arguments:
 *
 *     TEXT --mark--> BLOCK --{--> CALL --name known, arguments--> BLOCK --closing mark--> TEXT
 *                      |  --f[ARGS]{ or function=f>--> ARGS ---------^
 *                      +--anything else, no name, no such tool--> TEXT: what was read is text after all
 *
 * As soon as its name is known a call leaves as a piece, its arguments follow as they come (callargs.h: joined they are
 * valid JSON).  Without a mark a call counts only if the request has a tool of that name.  White space between text and a
 * call belongs to neither.  Text is pushed in whole code points.
 *
 * Owns:    what it holds back, until end().  Borrows the tools.   Threads: one at a time.
 * Errors:  the `failed` of the pieces.
 * Source:  the chat templates of the models named; llama.cpp and vLLM for what models make of them.
 */
#ifndef SR_SERVE_TOOLCALL_H
#define SR_SERVE_TOOLCALL_H
#include <jansson.h>
#include "serve/callargs.h"
#include "serve/pieces.h"

typedef struct sr_toolfamily sr_toolfamily;
const sr_toolfamily *sr_toolfamily_of(const char *template_source); /* never NULL; a NULL source is generic */
const char *sr_toolfamily_name(const sr_toolfamily *f);
bool sr_toolfamily_short_ids(const sr_toolfamily *f);               /* its template takes ids of nine letters and digits alone */
/* How a call is to be written where it is forced: open {"name": "f", "<arguments>": {..}} close.  prompt: goes to the end of the
 * prompt, because no text can make it; NULL: nothing. */
typedef struct { const char *prompt, *open, *close, *arguments; bool several; } sr_callform;
sr_callform sr_toolfamily_form(const sr_toolfamily *f);
/* A control token with this text is part of a call: it must be seen in the answer's text. */
bool sr_toolfamily_token(const sr_toolfamily *f, const char *p, size_t n);

typedef struct {
    const sr_toolfamily *family;
    const json_t *tools;              /* [{"type":"function","function":{"name",..,"parameters"}}] */
    uint32_t max_calls;               /* 0: any number; after the last nothing is read any more */
    uint32_t n_call;                  /* calls that have begun */
    bool     full;                    /* max_calls are complete */
    /* Its own. */
    uint8_t  state, role, level;
    bool     fresh, marked, in_list, began, behind, xml, open, last, cut; /* fresh: nothing but white space yet; began: the
                                          block held a call; behind: no text since it; open: a call's arguments are coming */
    const char *close;                /* of the block; NULL: it ends with the answer */
    sr_buf   in; size_t at;           /* not read yet */
    sr_buf   raw, space;              /* read, and text again if it turns out to be no call; white space held back */
    sr_jsonscan scan;                 /* of the object a call is */
    sr_buf   key, value, name, out;
    sr_callargs args;
} sr_toolparse;                       /* begun by sr_toolparse_begin() */

void sr_toolparse_begin(sr_toolparse *t, const sr_toolfamily *f, const json_t *tools, uint32_t max_calls);
void sr_toolparse_push(sr_toolparse *t, const char *p, size_t n, sr_pieces *out);
/* No more comes; cut: the answer was stopped in the middle (length), so arguments that are not whole stay so. */
void sr_toolparse_finish(sr_toolparse *t, bool cut, sr_pieces *out);
void sr_toolparse_end(sr_toolparse *t);
#endif
