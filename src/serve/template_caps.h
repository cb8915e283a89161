/* template_caps.h - what a chat template can take, found out by trying.
 *
 * Templates differ in what they make of tools and calls, and break on what they do not expect: Qwen 3 wants content "" in a
 * message of nothing but calls, DeepSeek R1 null; one writes arguments that are an object, another adds strings up.
 * Their source does not say so in any way that could be read, so small conversations are rendered when the model is
 * loaded, and what shows the words that were put in is taken.
 *
 * Owns:    nothing; plain data, zero: it can everything.   Threads: any.
 * Errors:  none: a template that fails at something cannot do it.
 */
#ifndef SR_SERVE_TEMPLATE_CAPS_H
#define SR_SERVE_TEMPLATE_CAPS_H
#include "serve/prompt.h"

typedef struct {
    bool no_tools;       /* tools must be told in words */
    bool no_calls;       /* calls and their results must be told in words */
    bool no_system;      /* the system message must be told in the user's */
    bool null_content;   /* a message of nothing but calls has the content null, not "" */
    bool text_arguments; /* arguments of calls are the string as it came, not the object it spells */
} sr_tplcaps;

sr_tplcaps sr_tplcaps_of(const sr_template *t, const sr_tokenizer *tok);
#endif
