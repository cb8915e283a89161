/* buf.h - growable bytes.
 *
 * Errors:  an append that cannot grow sets `failed` and changes nothing else; a writer may append
 *          many times and ask once.  With `limit` set, growing past it fails likewise.
 * Owns:    its bytes; sr_buf_end() frees.  Always NUL-terminated once anything was appended.
 * Threads: one at a time.
 */
#ifndef SR_BASE_BUF_H
#define SR_BASE_BUF_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char  *p;
    size_t n, cap, limit; /* limit 0 = none */
    bool   failed;
} sr_buf; /* zero-initialised = empty */

bool sr_buf_reserve(sr_buf *b, size_t more);
bool sr_buf_add(sr_buf *b, const void *bytes, size_t n);
bool sr_buf_str(sr_buf *b, const char *s);
bool sr_buf_char(sr_buf *b, char c);
bool sr_buf_fmt(sr_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sr_buf_drop(sr_buf *b, size_t n); /* removes the first n bytes */
void sr_buf_end(sr_buf *b);
#endif
