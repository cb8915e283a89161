/* reasoning.h - the thoughts in front of an answer, told apart from the answer.
 *
 *     "<think>\nHm, 2 and 2 ...\n</think>\n\nIt is 4."   ->   thought "Hm, 2 and 2 ..."   rest "It is 4."
 *
 * Thoughts are what stands between the marks at the very beginning; later marks are text.  Templates that write the
 * opening mark into the prompt themselves begin the answer inside the thoughts.  White space around the marks belongs to
 * neither side.
 *
 * Owns:    what it holds back, until end().   Threads: one at a time.   Errors: the `failed` of the buffers.
 * Source:  the chat templates of Qwen 3, DeepSeek R1, Magistral.
 */
#ifndef SR_SERVE_REASONING_H
#define SR_SERVE_REASONING_H
#include "serve/pieces.h"

typedef struct { const char *open, *close; } sr_thinkmarks;
/* The marks that a template knows; NULL: its model does not think. */
const sr_thinkmarks *sr_thinkmarks_of(const char *template_source);

typedef struct {
    const sr_thinkmarks *marks;
    bool    inside;                   /* thoughts are being read; true from the start: the prompt ended with the opening mark */
    bool    over;                     /* all that comes is the answer's */
    bool    said;                     /* some of the thoughts left already */
    sr_buf  held;
} sr_thinker;                         /* zero-initialised but for marks and inside */

/* Thoughts go to `out`, what is none is appended to `rest`. */
void sr_thinker_push(sr_thinker *t, const char *p, size_t n, sr_pieces *out, sr_buf *rest);
void sr_thinker_finish(sr_thinker *t, sr_pieces *out, sr_buf *rest); /* no more comes */
void sr_thinker_end(sr_thinker *t);
#endif
