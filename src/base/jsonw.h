/* jsonw.h - JSON as it is being written: objects and arrays straight into a buffer.
 *
 *     sr_jsonw w = {.out = &buf};
 *     sr_json_obj(&w, NULL);
 *     sr_json_str(&w, "name", "a \"b\"");
 *     sr_json_arr(&w, "n");   sr_json_int(&w, NULL, 1);   sr_json_end(&w);
 *     sr_json_end(&w);                              ->  {"name":"a \"b\"","n":[1]}
 *
 * `key` names a member inside an object and is NULL inside an array and at the top.  What comes out is
 * always valid JSON in valid UTF-8: bytes that are not UTF-8 become U+FFFD, numbers that JSON does not
 * have (NaN, infinities) become null.
 *
 * Owns:    nothing; the buffer is the caller's.   Threads: one at a time.
 * Errors:  the buffer's `failed` (out of memory or past its limit).  Nesting deeper than 64, a key in an
 *          array or none in an object is a bug of the caller and ends the program.
 * Source:  RFC 8259.
 */
#ifndef SR_BASE_JSONW_H
#define SR_BASE_JSONW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

typedef struct {
    sr_buf  *out;
    uint64_t is_obj, has_item; /* bit d: container at depth d is an object; has a member */
    unsigned depth;
    unsigned indent; /* spaces per level; 0 = one line */
} sr_jsonw; /* zero-initialised but for `out` */

void sr_json_obj(sr_jsonw *w, const char *key);
void sr_json_arr(sr_jsonw *w, const char *key);
void sr_json_end(sr_jsonw *w); /* of the innermost object or array */

void sr_json_str(sr_jsonw *w, const char *key, const char *s); /* NULL writes null */
void sr_json_strn(sr_jsonw *w, const char *key, const char *s, size_t n);
void sr_json_int(sr_jsonw *w, const char *key, int64_t v);
void sr_json_uint(sr_jsonw *w, const char *key, uint64_t v);
void sr_json_num(sr_jsonw *w, const char *key, double v); /* fewest digits that read back the same */
void sr_json_f32(sr_jsonw *w, const char *key, float v);  /* likewise, as a float */
void sr_json_bool(sr_jsonw *w, const char *key, bool v);
void sr_json_null(sr_jsonw *w, const char *key);
void sr_json_raw(sr_jsonw *w, const char *key, const char *json, size_t n); /* n bytes that are valid JSON */

/* A string with quotes and escapes, as above, without a writer. */
void sr_json_quote(sr_buf *out, const char *s, size_t n);
#endif
