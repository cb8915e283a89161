/* template_text.h - characters as Python sees them: UTF-8 in and out, classes, case.
 *
 * Threads: any; pure functions over utf8proc's tables.   Errors: none; input is valid UTF-8 (sr_tpl_utf8_bad
 *          is what checks it).   Owns: nothing.
 * Source:  CPython 3.11 unicodeobject.c / unicodectype.c (behaviour), Unicode 14 data through utf8proc and
 *          template_case_table.h.
 */
#ifndef SR_TEXT_TEMPLATE_TEXT_H
#define SR_TEXT_TEMPLATE_TEXT_H
#include "text/template_value.h"

size_t sr_tpl_utf8_bad(const char *p, size_t n);            /* offset of the first bad byte, or n */
uint32_t sr_tpl_cp(const char *p, size_t n, size_t *bytes); /* the code point at p */
size_t sr_tpl_put_cp(char *d, uint32_t cp);                 /* writes 1-4 bytes */
size_t sr_tpl_back(const char *p, size_t at);               /* start of the code point that ends at `at` */
size_t sr_tpl_count(const char *p, size_t n);               /* code points in n bytes */

bool sr_tpl_is_space(uint32_t cp);
bool sr_tpl_is_line(uint32_t cp);              /* ends a line for splitlines() */
bool sr_tpl_is_word(uint32_t cp);              /* part of a name for the lexer */
bool sr_tpl_is_ident(uint32_t cp, bool first); /* str.isidentifier() */
bool sr_tpl_is_alpha(uint32_t cp);
bool sr_tpl_is_decimal(uint32_t cp);
bool sr_tpl_is_digit(uint32_t cp);
bool sr_tpl_is_numeric(uint32_t cp);
bool sr_tpl_is_alnum(uint32_t cp);
bool sr_tpl_is_lower(uint32_t cp);
bool sr_tpl_is_upper(uint32_t cp);
bool sr_tpl_is_titled(uint32_t cp);
bool sr_tpl_is_printable(uint32_t cp);
int sr_tpl_digit_value(uint32_t cp);                 /* of a decimal digit in any script, else -1 */
size_t sr_tpl_rstrip_space(const char *p, size_t n); /* what is left of n */
size_t sr_tpl_lstrip_space(const char *p, size_t n); /* how much goes */

typedef enum {
    SR_CASE_UPPER,
    SR_CASE_LOWER,
    SR_CASE_TITLE,
    SR_CASE_CAPITAL,
    SR_CASE_SWAP,
    SR_CASE_FOLD
} sr_tcase;
void sr_tpl_put_case(sr_tbuf *b, const char *p, size_t n, sr_tcase to);
#endif
