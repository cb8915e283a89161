/* template_string.h - string operations that methods, filters and operators share.
 *
 * Lengths and positions that templates see are code points; these functions turn them into bytes.
 *
 * Owns: nothing (the render's arena).   Threads: the render's.   Errors: sr_tpl_fail.
 * Source: CPython 3.11 unicodeobject.c, Objects/stringlib; Lib/textwrap.py; markupsafe 2.1 (behaviour).
 */
#ifndef SR_TEXT_TEMPLATE_STRING_H
#define SR_TEXT_TEMPLATE_STRING_H
#include "text/template_value.h"

size_t sr_tpl_offset(sr_trun *R, sr_tstr *s,
                     size_t cp); /* byte offset of the cp-th character (cp <= length) */
sr_tval sr_tpl_case(sr_trun *R, const sr_tstr *s, int to); /* sr_tcase */
/* which: 'l', 'r' or 'b'oth; chars NULL: white space */
sr_tval sr_tpl_strip(sr_trun *R, const sr_tstr *s, const sr_tstr *chars, char which);
sr_tval sr_tpl_split(sr_trun *R, const sr_tstr *s, const sr_tstr *sep,
                     int64_t max); /* sep NULL: white space; max < 0: all */
sr_tval sr_tpl_rsplit(sr_trun *R, const sr_tstr *s, const sr_tstr *sep, int64_t max);
sr_tval sr_tpl_splitlines(sr_trun *R, const sr_tstr *s, bool keep);
sr_tval sr_tpl_replace(sr_trun *R, const sr_tstr *s, const sr_tstr *old, const sr_tstr *new_, int64_t max);
sr_tval sr_tpl_join(sr_trun *R, const sr_tstr *sep, sr_tval items,
                    bool to_str); /* to_str: items of any type */
/* which: 'c'enter, 'l'just, 'r'just */
sr_tval sr_tpl_justify(sr_trun *R, sr_tstr *s, int64_t width, const sr_tstr *fill, char which);
sr_tval sr_tpl_escape(sr_trun *R, sr_tval v);                 /* markupsafe.escape: a Markup */
sr_tval sr_tpl_unescape(sr_trun *R, const char *p, size_t n); /* html.unescape, the entities we know */
sr_tval sr_tpl_striptags(sr_trun *R, const sr_tstr *s);
sr_tval sr_tpl_wordwrap(sr_trun *R, const sr_tstr *s, int64_t width, bool break_long, const sr_tstr *wrap,
                        bool hyphens);

/* numbers as text */
bool sr_tpl_parse_float(const char *p, size_t n, double *out); /* Python's float(str) */
/* Python's int(str, base): 1 done, 0 not a number, -1 past 64 bits */
int sr_tpl_parse_int(const char *p, size_t n, int64_t base, int64_t *out);

/* formatting (template_format.c, template_strformat.c) */
sr_tval sr_tpl_percent(sr_trun *R, sr_tval fmt, sr_tval args);               /* fmt % args */
sr_tval sr_tpl_strformat(sr_trun *R, const sr_tstr *fmt, const sr_tcall *c); /* fmt.format(..) */
sr_tval sr_tpl_strftime(sr_trun *R, const sr_tstr *fmt);
#endif
