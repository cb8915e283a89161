#include "text/template_text.h"
#include "text/template_case_table.h"
#include "base/mem.h"

#include <string.h>
#include <utf8proc.h>

/* ---- UTF-8 ---- */

uint32_t sr_tpl_cp(const char *p, size_t n, size_t *bytes)
{
    const unsigned char *s = (const unsigned char *)p;
    if (s[0] < 0x80 || n < 2) {
        *bytes = 1;
        return s[0];
    }
    if (s[0] < 0xe0 || n < 3) {
        *bytes = 2;
        return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
    }
    if (s[0] < 0xf0 || n < 4) {
        *bytes = 3;
        return (s[0] & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    }
    *bytes = 4;
    return (s[0] & 7u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
}

size_t sr_tpl_put_cp(char *d, uint32_t cp)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)d);
}

size_t sr_tpl_utf8_bad(const char *p, size_t n)
{
    size_t at = 0;
    while (at < n) {
        if ((unsigned char)p[at] < 0x80) {
            at++;
            continue;
        }
        utf8proc_int32_t cp;
        utf8proc_ssize_t k =
            utf8proc_iterate((const utf8proc_uint8_t *)p + at, (utf8proc_ssize_t)(n - at), &cp);
        if (k <= 0)
            return at;
        at += (size_t)k;
    }
    return n;
}

size_t sr_tpl_back(const char *p, size_t at)
{
    do
        at--;
    while (at && ((unsigned char)p[at] & 0xc0) == 0x80);
    return at;
}

size_t sr_tpl_count(const char *p, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)p[i] & 0xc0) != 0x80;
    return k;
}

/* ---- classes ---- */

static utf8proc_category_t category(uint32_t cp) { return utf8proc_category((utf8proc_int32_t)cp); }

static bool in_ranges(const uint32_t (*r)[2], size_t n, uint32_t cp)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > r[mid][1])
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && cp >= r[lo][0];
}

bool sr_tpl_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13) || (cp >= 0x1c && cp <= 0x1f);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 ||
           cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

bool sr_tpl_is_line(uint32_t cp)
{
    return (cp >= 10 && cp <= 13) || (cp >= 0x1c && cp <= 0x1e) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
}

bool sr_tpl_is_alpha(uint32_t cp)
{
    if (cp < 0x80)
        return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool sr_tpl_is_decimal(uint32_t cp)
{
    return cp < 0x80 ? cp >= '0' && cp <= '9' : category(cp) == UTF8PROC_CATEGORY_ND;
}

bool sr_tpl_is_digit(uint32_t cp)
{
    return sr_tpl_is_decimal(cp) || (cp > 0x7f && in_ranges(digit_not_nd, SR_COUNT(digit_not_nd), cp));
}

bool sr_tpl_is_numeric(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= '0' && cp <= '9';
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO ||
           in_ranges(numeric_letters, SR_COUNT(numeric_letters), cp);
}

bool sr_tpl_is_alnum(uint32_t cp) { return sr_tpl_is_alpha(cp) || sr_tpl_is_numeric(cp); }

bool sr_tpl_is_lower(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'a' && cp <= 'z';
    return category(cp) == UTF8PROC_CATEGORY_LL || in_ranges(other_lower, SR_COUNT(other_lower), cp);
}

bool sr_tpl_is_upper(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= 'A' && cp <= 'Z';
    return category(cp) == UTF8PROC_CATEGORY_LU || in_ranges(other_upper, SR_COUNT(other_upper), cp);
}

bool sr_tpl_is_titled(uint32_t cp) { return cp > 0x7f && category(cp) == UTF8PROC_CATEGORY_LT; }

bool sr_tpl_is_printable(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= ' ' && cp < 0x7f;
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

bool sr_tpl_is_ident(uint32_t cp, bool first)
{
    if (cp < 0x80)
        return sr_tpl_is_alpha(cp) || cp == '_' || (!first && cp >= '0' && cp <= '9');
    utf8proc_category_t c = category(cp);
    if ((c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) || c == UTF8PROC_CATEGORY_NL)
        return true;
    return !first && (c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ND ||
                      c == UTF8PROC_CATEGORY_PC || cp == 0xb7);
}

bool sr_tpl_is_word(uint32_t cp)
{
    return sr_tpl_is_ident(cp, false) || (cp > 0x7f && sr_tpl_is_numeric(cp));
}

/* Decimal digits lie in runs of ten (the mathematical ones in five runs): the value is the distance to the
 * run's first, modulo ten. */
int sr_tpl_digit_value(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= '0' && cp <= '9' ? (int)(cp - '0') : -1;
    if (!sr_tpl_is_decimal(cp))
        return -1;
    uint32_t first = cp;
    while (first && cp - first < 50 && sr_tpl_is_decimal(first - 1))
        first--;
    return (int)((cp - first) % 10);
}

size_t sr_tpl_rstrip_space(const char *p, size_t n)
{
    while (n) {
        size_t at = sr_tpl_back(p, n), k;
        if (!sr_tpl_is_space(sr_tpl_cp(p + at, n - at, &k)))
            break;
        n = at;
    }
    return n;
}

size_t sr_tpl_lstrip_space(const char *p, size_t n)
{
    size_t at = 0, k;
    while (at < n && sr_tpl_is_space(sr_tpl_cp(p + at, n - at, &k)))
        at += k;
    return at;
}

/* ---- case ---- */

static bool is_cased(uint32_t cp)
{
    return sr_tpl_is_lower(cp) || sr_tpl_is_upper(cp) || sr_tpl_is_titled(cp);
}

static bool is_case_ignorable(uint32_t cp)
{
    static const uint32_t marks[] = {0x27,   0x2e,   0x3a,   0x5e,   0x60,   0xa8,   0xad,   0xaf,
                                     0xb4,   0xb7,   0xb8,   0x387,  0x55f,  0x5f4,  0x2018, 0x2019,
                                     0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};
    for (size_t i = 0; i < SR_COUNT(marks); i++)
        if (cp == marks[i])
            return true;
    switch (category(cp)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return false;
    }
}

/* A capital sigma is a final one when a cased letter is before it and none after it. */
static bool final_sigma(const char *p, size_t n, size_t at)
{
    size_t i = at, k, next = at + 2; /* sigma is two bytes */
    bool before = false;
    while (i) {
        i           = sr_tpl_back(p, i);
        uint32_t cp = sr_tpl_cp(p + i, n - i, &k);
        if (!is_case_ignorable(cp)) {
            before = is_cased(cp);
            break;
        }
    }
    for (; before && next < n; next += k) {
        uint32_t cp = sr_tpl_cp(p + next, n - next, &k);
        if (!is_case_ignorable(cp))
            return !is_cased(cp);
    }
    return before;
}

static void put_upper(sr_tbuf *b, uint32_t cp, bool title)
{
    for (size_t i = 0; i < SR_COUNT(case_special); i++)
        if (case_special[i].c == cp) {
            const uint32_t *to = title ? case_special[i].title : case_special[i].upper;
            for (int j = 0; j < 3 && to[j]; j++)
                sr_tbuf_cp(b, to[j]);
            return;
        }
    utf8proc_int32_t c = (utf8proc_int32_t)cp;
    sr_tbuf_cp(b, (uint32_t)(title ? utf8proc_totitle(c) : utf8proc_toupper(c)));
}

static void put_lower(sr_tbuf *b, const char *p, size_t n, size_t at, uint32_t cp)
{
    if (cp == 0x3a3) {
        sr_tbuf_cp(b, final_sigma(p, n, at) ? 0x3c2 : 0x3c3);
    } else if (cp == 0x130) {
        sr_tbuf_cp(b, 'i');
        sr_tbuf_cp(b, 0x307);
    } else {
        sr_tbuf_cp(b, (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
    }
}

static void put_fold(sr_tbuf *b, uint32_t cp)
{
    utf8proc_int32_t d[8];
    int boundary       = 0;
    utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)cp, d, 8, UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < k && i < 8; i++)
        sr_tbuf_cp(b, (uint32_t)d[i]);
}

void sr_tpl_put_case(sr_tbuf *b, const char *p, size_t n, sr_tcase to)
{
    bool in_word = false;
    size_t k;
    sr_tpl_charge(b->R, n >> 4); /* a table look-up per character, not a copy */
    for (size_t at = 0; at < n; at += k) {
        uint32_t cp = sr_tpl_cp(p + at, n - at, &k);
        bool upper  = to == SR_CASE_UPPER || (to == SR_CASE_SWAP && sr_tpl_is_lower(cp));
        bool title  = (to == SR_CASE_TITLE && !in_word) || (to == SR_CASE_CAPITAL && at == 0);
        in_word     = to == SR_CASE_TITLE && is_cased(cp);
        if (to == SR_CASE_SWAP && !upper && !sr_tpl_is_upper(cp))
            sr_tbuf_cp(b, cp);
        else if (to == SR_CASE_FOLD && cp > 0x7f)
            put_fold(b, cp);
        else if (cp < 0x80)
            sr_tbuf_char(b, (char)(upper || title ? (cp >= 'a' && cp <= 'z' ? cp - 32 : cp)
                                                  : (cp >= 'A' && cp <= 'Z' ? cp + 32 : cp)));
        else if (upper || title)
            put_upper(b, cp, title);
        else
            put_lower(b, p, n, at, cp);
    }
}
