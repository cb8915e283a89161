/* json_in.h - JSON from outside, within limits, as a jansson tree.
 *
 * Before jansson sees the text it is scanned once, without recursion: nesting and the number of values are
 * bounded, because a tree costs up to 100 times its text and jansson's parser recurses.  Refused as well:
 * numbers JSON cannot hold (NaN, 1e999, integers beyond 64 bits), duplicate keys, lone surrogates, invalid
 * UTF-8, anything after the value.
 *
 * Owns:    *out is the caller's (json_decref).   Threads: any.
 * Errors:  SR_INVALID: what, and where (line and column).
 */
#ifndef SR_SERVE_JSON_IN_H
#define SR_SERVE_JSON_IN_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

SR_MUSTUSE sr_status sr_json_read(const char *text, size_t n, uint32_t max_depth, uint32_t max_values, json_t **out,
                                  sr_err *err);
/* Appends v as one line of JSON, in UTF-8, with ", " and ": " between.  False: no memory. */
bool sr_json_dump(const json_t *v, sr_buf *out);
void sr_json_time(int64_t seconds, long ns, char out[40]); /* 2026-01-02T03:04:05.678901Z */
#endif
