/* tool_prompt.h - tools for chat templates that know none: told in the system message, calls and results as text.
 *
 *     tools        -> system: "... You may call functions ... <tools>\n{...}\n</tools> ..."
 *     tool_calls   -> assistant: "<tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>"
 *     role tool    -> user: "<tool_response>\n...\n</tool_response>", neighbours in one message
 *
 * The words are those that Hermes and Qwen were trained on; other models understand them well enough, and the parser
 * (toolcall.h, generic) understands the answer.
 *
 * Owns:    nothing; messages is changed in place.   Threads: any.   Errors: false: no memory.
 * Source:  NousResearch Hermes function calling; Qwen 2.5's chat template.
 */
#ifndef SR_SERVE_TOOL_PROMPT_H
#define SR_SERVE_TOOL_PROMPT_H
#include <jansson.h>
#include <stdbool.h>

bool sr_tools_into_system(json_t *messages, const json_t *tools);
bool sr_calls_into_text(json_t *messages);
#endif
