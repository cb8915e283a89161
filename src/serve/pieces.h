/* pieces.h - an answer as it is being understood: content, thoughts and tool calls, in the order the model made them.
 *
 *     "Let me see.<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>"
 *         -> TEXT "Let me see."   CALL 0 "f"   ARGS 0 "{"   ARGS 0 "\"a\":1}"
 *
 * A queue: a parser appends, a dialect takes and writes it in its own words.  Neighbours of one kind (and call) are one
 * piece, so what gathers while a client does not read stays small, and a whole answer is as short a list as can be.
 *
 * Owns:    its bytes, until end().   Threads: one at a time.   Errors: sr_pieces_failed() after any number of adds.
 */
#ifndef SR_SERVE_PIECES_H
#define SR_SERVE_PIECES_H
#include <stdint.h>
#include "base/buf.h"

typedef enum { SR_P_TEXT, SR_P_THOUGHT, SR_P_CALL, SR_P_ARGS } sr_piecekind; /* CALL: a tool call begins; its bytes are the name */
typedef struct {
    sr_piecekind kind;
    uint32_t     call;                 /* CALL, ARGS: which, from 0 */
    size_t       at, n;                /* its bytes in sr_pieces.bytes */
} sr_piece;
typedef struct {
    sr_buf   bytes, list;
    uint32_t n;
} sr_pieces;                           /* zero-initialised = empty */

void sr_pieces_add(sr_pieces *q, sr_piecekind kind, uint32_t call, const char *p, size_t n);
sr_piece sr_pieces_at(const sr_pieces *q, uint32_t i);
const char *sr_pieces_text(const sr_pieces *q, const sr_piece *x); /* not terminated */
/* All content in one, all thoughts in one; true: there are tool calls, too. */
bool sr_pieces_join(const sr_pieces *q, sr_buf *content, sr_buf *thoughts);
void sr_pieces_clear(sr_pieces *q);    /* all were taken; keeps the memory */
bool sr_pieces_failed(const sr_pieces *q);
void sr_pieces_end(sr_pieces *q);
#endif
