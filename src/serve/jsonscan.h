/* jsonscan.h - one JSON value, checked byte by byte as a model writes it.
 *
 * step() takes the next byte.  After each byte the scanner knows whether what came so far can be closed: turned into valid
 * JSON by writing what is open shut, without inventing a key or a value.
 *
 *     {"a":1,"b":"x       closable:  "}              {"a":1,       not yet: a key must follow
 *
 * Control characters inside strings are taken though JSON wants them escaped, for models write line feeds there; who
 * copies the text out escapes them (sr_jsonscan_in_string).
 *
 * Owns:    nothing; plain data, zero-initialised = before the value.   Threads: one at a time.
 * Errors:  SR_JSON_BAD, from then on.  Nesting deeper than 64 is bad.
 * Source:  RFC 8259.
 */
#ifndef SR_SERVE_JSONSCAN_H
#define SR_SERVE_JSONSCAN_H
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"

enum { SR_JSONSCAN_DEPTH = 64 };
typedef enum { SR_JSON_MORE, SR_JSON_DONE, SR_JSON_BAD } sr_jsonverdict;
typedef struct {
    uint8_t  state, depth, digits;    /* digits: of \uXXXX that are missing */
    bool     key, half;               /* in a key; a high surrogate waits for its low one */
    uint16_t unit;
    const char *word;                 /* rest of true, false or null */
    char     open[SR_JSONSCAN_DEPTH]; /* '{' or '[' */
} sr_jsonscan;

/* DONE: this byte was the value's last (objects, arrays, strings, words).  A number on its own has no last byte and never is. */
sr_jsonverdict sr_jsonscan_step(sr_jsonscan *s, char c);
bool sr_jsonscan_in_string(const sr_jsonscan *s); /* the next byte is inside a string, not after a backslash */
bool sr_jsonscan_key(const sr_jsonscan *s);       /* that string is a key */
bool sr_jsonscan_expects_value(const sr_jsonscan *s); /* the next byte that is not white space begins a value */
bool sr_jsonscan_closable(const sr_jsonscan *s);
/* A number is whole, and c is not part of it (0: the text ends here): closable before c, though not after it. */
bool sr_jsonscan_number_ends(const sr_jsonscan *s, char c);
/* What closes the value: in_string is sr_jsonscan_in_string() as of the last closable moment.  Between two closable
 * moments no bracket opens or closes, so the brackets are still those of then, whatever was bad since. */
void sr_jsonscan_close(const sr_jsonscan *s, bool in_string, sr_buf *out);
#endif
