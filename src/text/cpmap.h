/* cpmap.h - code points: decoding UTF-8 that may be broken, and a small value per code point.
 *
 * A map is two levels: 4,352 pages of 256 values.  Pages 0..31 are uniform (page v holds v
 * everywhere), so that the large even ranges (CJK, Hangul, private use) cost nothing.
 *
 * The general categories come from a table of our own, not from libutf8proc: token ids must not
 * change with the library a host happens to have (libutf8proc 2.8 is Unicode 15.0 and differs from
 * the 15.1 that llama.cpp and the golden files use in 627 code points, all letters of CJK extension I
 * and symbols, which would cut words elsewhere).
 *
 * Owns:    its pages, until sr_cpmap_end().   Threads: read-only once built.
 * Errors:  sr_cpmap_set is false when memory ran out.
 */
#ifndef SR_TEXT_CPMAP_H
#define SR_TEXT_CPMAP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole of a category's letter is one class; white space (White_Space=yes) goes before category.
 * The two HAN classes are not in the table: tokenizer_split.c lays them over the Han ranges. */
typedef enum {
    SR_CP_NONE, /* unassigned */
    SR_CP_LETTER, SR_CP_NUMBER, SR_CP_PUNCT, SR_CP_SYMBOL, SR_CP_MARK, SR_CP_SPACE,
    SR_CP_SEPARATOR, /* Z, but not white space: none today */
    SR_CP_CONTROL,   /* all of C but unassigned: control, format, surrogate, private use */
    SR_CP_HAN_LETTER, SR_CP_HAN_OTHER
} sr_cpclass;

enum { SR_CP_MAX = 0x110000, SR_CP_BAD = 0xFFFD, SR_CPMAP_VALUES = 32 };

extern const uint32_t sr_unicode_runs[]; /* first << 4 | class; see unicode_runs.c */
extern const size_t   sr_n_unicode_runs;

typedef struct {
    uint16_t page[SR_CP_MAX / 256];
    uint8_t (*data)[256];
    uint32_t n, cap; /* pages in data */
} sr_cpmap;

bool sr_cpmap_begin(sr_cpmap *m);                                                  /* all values 0 */
bool sr_cpmap_set(sr_cpmap *m, uint32_t lo, uint32_t hi, uint8_t keep, uint8_t put); /* v = (v & keep) | put */
bool sr_cpmap_classes(sr_cpmap *m);                                                /* begin, then sr_cpclass */
void sr_cpmap_end(sr_cpmap *m);

static inline uint8_t sr_cpmap_get(const sr_cpmap *m, uint32_t cp) { return m->data[m->page[cp >> 8]][cp & 255]; }

/* The code point at s (left > 0 bytes), its length in *len.  Overlong forms, values past 10FFFF and
 * broken sequences are SR_CP_BAD of length 1; surrogates are taken as they stand, as llama.cpp does. */
static inline uint32_t sr_cp_next(const char *text, size_t left, unsigned *len)
{
    const unsigned char *s = (const unsigned char *)text;
    uint32_t             a = s[0];
    *len = 1;
    if (a < 0x80)
        return a;
    if (a < 0xC2 || a > 0xF4 || left < 2 || (s[1] & 0xC0) != 0x80)
        return SR_CP_BAD;
    if (a < 0xE0) {
        *len = 2;
        return (a & 31) << 6 | (s[1] & 63u);
    }
    if (left < 3 || (s[2] & 0xC0) != 0x80)
        return SR_CP_BAD;
    if (a < 0xF0) {
        uint32_t cp = (a & 15) << 12 | (s[1] & 63u) << 6 | (s[2] & 63u);
        if (cp < 0x800)
            return SR_CP_BAD;
        *len = 3;
        return cp;
    }
    uint32_t cp = (a & 7) << 18 | (s[1] & 63u) << 12 | (s[2] & 63u) << 6;
    if (left < 4 || (s[3] & 0xC0) != 0x80 || cp < 0x10000 || cp >= SR_CP_MAX)
        return SR_CP_BAD;
    *len = 4;
    return cp | (s[3] & 63u);
}

unsigned sr_cp_put(char out[4], uint32_t cp); /* UTF-8 of cp < SR_CP_MAX; its length */
#endif
