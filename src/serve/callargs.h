/* callargs.h - the arguments of a tool call on their way out: whatever a model writes, what leaves joins to valid JSON.
 *
 *     feed  {"city": "Ulm", "n": 1,}      leaves  {"city": "Ulm", "n": 1   and at the end  }
 *     feed  {"text": "two<LF>lines"}      leaves  {"text": "two\nlines"}
 *     feed  {"a": 1, b: 2}                leaves  {"a": 1   and at the end  }
 *
 * Only what can be closed leaves (jsonscan.h), so a comma waits for the member behind it.  From the first byte that
 * JSON does not allow on, nothing is taken any more.
 *
 * Owns:    what waits, until end().   Threads: one at a time.   Errors: the buffers' `failed`.
 */
#ifndef SR_SERVE_CALLARGS_H
#define SR_SERVE_CALLARGS_H
#include "serve/jsonscan.h"

typedef struct {
    sr_jsonscan scan;
    sr_buf   wait;                     /* taken, not left yet */
    size_t   safe;                     /* of wait: bytes that may leave */
    bool     safe_in_string, begun, over; /* over: whole, or spoilt */
    bool     whole;
} sr_callargs;                         /* zero-initialised = before the first byte */

void sr_callargs_feed(sr_callargs *a, char c);
/* Appends to out what may leave, and forgets it. */
void sr_callargs_leave(sr_callargs *a, sr_buf *out);
/* No more comes: the rest is made valid.  cut: the model was stopped in the middle, so the rest leaves as it is and nobody
 * takes half an argument for a whole one.  Arguments that never began are {}. */
void sr_callargs_finish(sr_callargs *a, bool cut, sr_buf *out);
void sr_callargs_end(sr_callargs *a); /* frees; zero again */
#endif
