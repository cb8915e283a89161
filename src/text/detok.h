/* detok.h - from a stream of tokens to pieces of text that may be sent: whole code points, stop strings held back.
 *
 * push() takes the next token and appends to `out` the bytes that are now certain: complete UTF-8
 * sequences, and nothing that could still become the beginning of a stop string.  Bytes that can never
 * become valid UTF-8 come out as U+FFFD, so that output is always valid.  flush() at the end gives what
 * was held back.  When a stop string completes, the text before it is out, the stop string is not
 * (unless include_stop), and push() says so, then and ever after; what comes later is swallowed.
 * The first to complete wins, of two that complete at the same byte the longer.
 *
 * Owns:    its state; copies the stop strings; the tokenizer must outlive it.   Threads: one per object.
 * Errors:  SR_INVALID for a stop string that is empty or not UTF-8 (its number named), SR_NOMEM.
 */
#ifndef SR_TEXT_DETOK_H
#define SR_TEXT_DETOK_H
#include "text/tokenizer.h"

typedef struct sr_detok sr_detok;
typedef struct { const char *p; size_t n; } sr_stopstr;

SR_MUSTUSE sr_status sr_detok_open(const sr_tokenizer *t, const sr_stopstr *stop, size_t n_stop, bool include_stop,
                                   bool special, sr_detok **out, sr_err *err);
void sr_detok_close(sr_detok *d);
/* *stopped: 1 + index of the stop string that completed, else 0. */
SR_MUSTUSE sr_status sr_detok_push(sr_detok *d, int32_t id, sr_buf *out, size_t *stopped, sr_err *err);
SR_MUSTUSE sr_status sr_detok_flush(sr_detok *d, sr_buf *out, sr_err *err);
#endif
