/* tool_prompt.h - for chat templates that know no tools, or no system message: they are told in words.
 *
 *     tools        -> system: "... You may call functions ... <tools>\n{...}\n</tools> ..."
 *     tool_calls   -> assistant: "<tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>"
 *     role tool    -> user: "<tool_response>\n...\n</tool_response>", neighbours in one message
 *     role system  -> the beginning of the user's message that follows
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
bool sr_system_into_user(json_t *messages);
#endif
