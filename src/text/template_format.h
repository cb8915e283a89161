/* template_format.h - numbers as digits, for both of Python's formatting languages.
 *
 * Owns: nothing.   Threads: the render's.   Errors: sr_tpl_fail.
 */
#ifndef SR_TEXT_TEMPLATE_FORMAT_H
#define SR_TEXT_TEMPLATE_FORMAT_H
#include "text/template_value.h"

enum { SR_TPL_PRECISION = 10000 }; /* digits behind the point: glibc's cost grows faster than their number */

/* |f| as C's %e %f %g (upper case likewise) prints it; inf and nan without sign */
void sr_tpl_float_digits(sr_tbuf *b, double f, char type, int64_t precision, bool alt);
void sr_tpl_int_digits(sr_tbuf *b, int64_t i, int base, bool upper); /* |i| */
int64_t sr_tpl_float_to_int(sr_trun *R, double f);                   /* truncated; fails for NaN, infinity */
#endif
