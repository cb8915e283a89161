/* line.h - one line from a person at a terminal: editing, history, pasted text with its line breaks.
 *
 * Keys: arrows, Home/End, Ctrl-A/E/B/F, Ctrl-arrows (words), Backspace, Delete, Ctrl-W/U/K, Ctrl-L (clear the screen),
 * Up/Down (history), Alt-Enter (line break).  A paste arrives as one piece (bracketed paste), line breaks included, and
 * is shown with a return sign for each.  Ctrl-C clears the line; Ctrl-D on an empty line
 * ends the input.
 * Where input is no terminal, a line is what ends in "\n", without editing and without a prompt.
 *
 * Owns:    its history, until close().  The terminal is changed only inside read().
 * Threads: one.   Errors: SR_IO; SR_NOMEM.   Not there: search in the history, completion.
 * Source:  ECMA-48 control sequences; xterm's bracketed paste (mode 2004).
 */
#ifndef SR_APP_LINE_H
#define SR_APP_LINE_H
#include <stdbool.h>
#include "base/buf.h"
#include "base/err.h"

typedef struct sr_line sr_line;

SR_MUSTUSE sr_status sr_line_open(int in, int out, sr_line **, sr_err *);
void sr_line_close(sr_line *);
/* The next line into `text` (replaced; valid UTF-8 at a terminal); *end: there is none, input is over.
 * Lines that are not empty go to the history. */
SR_MUSTUSE sr_status sr_line_read(sr_line *, const char *prompt, sr_buf *text, bool *end, sr_err *);
#endif
