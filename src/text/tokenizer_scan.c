#include "text/tokenizer_scan.h"

#include <stdbool.h>

enum { LETTER = SR_F_LETTER, NUMBER = SR_F_NUMBER, SPACE = SR_F_SPACE, MARK = SR_F_MARK, HAN = SR_F_HAN };

/* First position from `at` whose flags have none of `mask`. */
static inline size_t run_of(const uint8_t *f, const uint8_t *c, size_t at, size_t end, unsigned mask)
{
    while (at < end && f[c[at]] & mask)
        at++;
    return at;
}

/* First position from `at` whose flags have some of `mask`. */
static inline size_t run_without(const uint8_t *f, const uint8_t *c, size_t at, size_t end, unsigned mask)
{
    while (at < end && !(f[c[at]] & mask))
        at++;
    return at;
}

static inline bool newline(uint8_t c) { return c == '\r' || c == '\n'; }

static inline size_t run_of_newlines(const uint8_t *c, size_t at, size_t end)
{
    while (at < end && newline(c[at]))
        at++;
    return at;
}

/* 's 't 're 've 'm 'll 'd at c[at] == '\'': the length, or 0.  `fold` is 0x20 to ignore case, else 0:
 * no code point outside ASCII lower-cases to one of these letters, so that folding bytes is exact. */
static inline size_t contraction(const uint8_t *c, size_t at, size_t end, uint8_t fold)
{
    if (at + 1 >= end)
        return 0;
    uint8_t a = c[at + 1] | fold;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if (at + 2 >= end)
        return 0;
    uint8_t b = c[at + 2] | fold;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s+(?!\S)|\s+ for the run [at, to) of white space. */
static inline size_t space_word(size_t at, size_t to, size_t end) { return to < end && to - at > 1 ? to - 1 : to; }

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
size_t sr_scan_gpt2(const uint8_t f[256], const uint8_t *c, size_t at, size_t end)
{
    size_t k;
    if (c[at] == '\'' && (k = contraction(c, at, end, 0)))
        return at + k;
    size_t first = at + (c[at] == ' '); /* the space a word may carry in front */
    if (first < end) {
        unsigned is = f[c[first]];
        if (is & LETTER)
            return run_of(f, c, first, end, LETTER);
        if (is & NUMBER)
            return run_of(f, c, first, end, NUMBER);
        if (!(is & SPACE))
            return run_without(f, c, first, end, SPACE | LETTER | NUMBER);
    }
    return space_word(at, run_of(f, c, at, end, SPACE), end);
}

/* The family (?i:'s|'t|..)|[^\r\n\p{L}\p{N}]?LETTERS+|\p{N}{1,DIGITS}| ?[^\s LETTERS \p{N}]+[\r\n]*|
 * \s*[\r\n]+|\s+(?!\S)|\s+, LETTERS being \p{L} or [\p{L}\p{M}]. */
static inline size_t scan_family(const uint8_t *f, const uint8_t *c, size_t at, size_t end, unsigned letters,
                                 size_t digits)
{
    size_t k;
    if (c[at] == '\'' && (k = contraction(c, at, end, 0x20)))
        return at + k;
    unsigned is = f[c[at]];
    if (is & letters)
        return run_of(f, c, at + 1, end, letters);
    if (is & NUMBER)
        return run_of(f, c, at + 1, end - at > digits ? at + digits : end, NUMBER);
    if (!newline(c[at]) && at + 1 < end && f[c[at + 1]] & letters)
        return run_of(f, c, at + 1, end, letters);
    size_t first = at + (c[at] == ' ');
    if (first < end && !(f[c[first]] & (SPACE | letters | NUMBER)))
        return run_of_newlines(c, run_without(f, c, first, end, SPACE | letters | NUMBER), end);
    size_t to = run_of(f, c, at, end, SPACE);
    for (size_t i = to; i > at; i--) /* \s*[\r\n]+: to the last newline of the run */
        if (newline(c[i - 1]))
            return i;
    return space_word(at, to, end);
}

size_t sr_scan_llama3(const uint8_t f[256], const uint8_t *c, size_t at, size_t end)
{
    return scan_family(f, c, at, end, LETTER, 3);
}

size_t sr_scan_qwen2(const uint8_t f[256], const uint8_t *c, size_t at, size_t end)
{
    return scan_family(f, c, at, end, LETTER, 1);
}

size_t sr_scan_qwen35(const uint8_t f[256], const uint8_t *c, size_t at, size_t end)
{
    return scan_family(f, c, at, end, LETTER | MARK, 1);
}

static inline bool plain_letter(unsigned is) { return (is & (LETTER | HAN)) == LETTER; }

/* Han runs by themselves; other letters with one leading character and a contraction behind; then as
 * the family.  Case does not matter: the upper and lower classes of the expression overlap in llama.cpp. */
size_t sr_scan_kimi(const uint8_t f[256], const uint8_t *c, size_t at, size_t end)
{
    unsigned is = f[c[at]];
    if (is & HAN)
        return run_of(f, c, at + 1, end, HAN);
    bool lead = !newline(c[at]) && !(is & (LETTER | NUMBER)) && at + 1 < end && plain_letter(f[c[at + 1]]);
    if (lead || plain_letter(is)) {
        size_t to = at + 1;
        while (to < end && plain_letter(f[c[to]]))
            to++;
        return to + (to < end && c[to] == '\'' ? contraction(c, to, end, 0x20) : 0);
    }
    if (is & NUMBER)
        return run_of(f, c, at + 1, end - at > 3 ? at + 3 : end, NUMBER);
    size_t first = at + (c[at] == ' ');
    if (first < end && !(f[c[first]] & (SPACE | LETTER | NUMBER)))
        return run_of_newlines(c, run_without(f, c, first, end, SPACE | LETTER | NUMBER), end);
    size_t to = run_of(f, c, at, end, SPACE);
    for (size_t i = to; i > at; i--)
        if (newline(c[i - 1]))
            return i;
    return space_word(at, to, end);
}

size_t sr_scan_newlines(const uint8_t f[256], const uint8_t *c, size_t at, size_t end)
{
    (void)f;
    bool is = c[at] == '\n';
    while (++at < end && (c[at] == '\n') == is)
        ;
    return at;
}
