/* The wordwrap filter: Python's textwrap.wrap with replace_whitespace and expand_tabs off, line by line.
 *
 * textwrap cuts a line into chunks with one regular expression (words, runs of blanks, hyphenated halves,
 * em-dashes), then fills lines with them.  The cutting is written out here. */
#include "text/template_string.h"
#include "text/template_text.h"

#include <string.h>

typedef struct {
    const char *p;
    size_t n;
} text;

static bool is_blank(char c) { return c == ' ' || (c >= 9 && c <= 13); }

static uint32_t at(text t, size_t i, size_t *k)
{
    *k = 1;
    return i < t.n ? sr_tpl_cp(t.p + i, t.n - i, k) : 0;
}

static uint32_t before(text t, size_t i, size_t *start)
{
    size_t k;
    if (!i)
        return 0;
    *start = sr_tpl_back(t.p, i);
    return sr_tpl_cp(t.p + *start, t.n - *start, &k);
}

static bool is_letter(uint32_t cp)
{
    return cp == '_' || (sr_tpl_is_alnum(cp) && !sr_tpl_is_decimal(cp));
} /* [^\d\W] */
static bool is_w(uint32_t cp) { return cp == '_' || sr_tpl_is_alnum(cp); }

static size_t dashes(text t, size_t i)
{
    size_t n = 0;
    while (i + n < t.n && t.p[i + n] == '-')
        n++;
    return n;
}

/* (?<=[\w!"'&.,?]) -{2,} (?=\w): length of an em-dash between words at i, or 0 */
static size_t em_dash(text t, size_t i)
{
    size_t start = 0, k, n = dashes(t, i);
    uint32_t b = before(t, i, &start);
    if (n < 2 || !b || !(is_w(b) || (b < 0x80 && strchr("!\"'&.,?", (int)b))))
        return 0;
    return i + n < t.n && is_w(at(t, i + n, &k)) ? n : 0;
}

/* a hyphen at i that may end a chunk: two letters, or letter-letter, before it, and letter or letter-letter
 * after */
static bool soft_hyphen(text t, size_t i)
{
    size_t s1 = 0, s2 = 0, s3 = 0, k;
    uint32_t a = before(t, i, &s1);
    if (t.p[i] != '-' || !is_letter(a))
        return false;
    uint32_t b = before(t, s1, &s2);
    if (!is_letter(b) && !(b == '-' && s2 && is_letter(before(t, s2, &s3))))
        return false;
    size_t j = i + 1;
    if (j >= t.n || !is_letter(at(t, j, &k)))
        return false;
    j += k;
    if (j < t.n && t.p[j] == '-')
        j++;
    return j < t.n && is_letter(at(t, j, &k));
}

static size_t chunk_end(text t, size_t i, bool hyphens)
{
    size_t j = i, k, n;
    if (is_blank(t.p[i])) {
        while (j < t.n && is_blank(t.p[j]))
            j++;
        return j;
    }
    if (hyphens && (n = em_dash(t, i)))
        return i + n;
    for (at(t, j, &k), j += k; j < t.n && !is_blank(t.p[j]); j += k) {
        if (hyphens && t.p[j] == '-' && soft_hyphen(t, j))
            return j + 1;
        if (hyphens && em_dash(t, j))
            return j;
        at(t, j, &k);
    }
    return j;
}

static bool all_blank(const sr_tstr *s) { return sr_tpl_lstrip_space(s->p, s->n) == s->n; }

/* Where to cut a word that is longer than a line: `room` characters, or behind a hyphen before that. */
static size_t break_word(sr_trun *R, sr_tstr *word, size_t room, bool hyphens)
{
    size_t end = sr_tpl_offset(R, word, room), k;
    if (hyphens && sr_tpl_cps(R, word) > room)
        for (size_t i = end; i > 0; i--)
            if (word->p[i - 1] == '-') {
                for (k = 0; k < i - 1 && word->p[k] == '-'; k++)
                    ;
                return k < i - 1 ? i : end; /* not when only hyphens stand before it */
            }
    return end;
}

static void wrap_line(sr_trun *R, sr_tval lines, const sr_tstr *line, size_t width, bool break_long,
                      bool hyphens)
{
    text t         = {line->p, line->n};
    sr_tval chunks = sr_tpl_seq(R, SR_T_LIST, 0);
    for (size_t i = 0, e; i < t.n; i = e) {
        e = chunk_end(t, i, hyphens);
        sr_tpl_charge(R, 1);
        sr_tpl_push(R, chunks.l, sr_tpl_substr(R, line, i, e - i));
    }
    sr_tval *c = chunks.l->p;
    size_t n = chunks.l->n, i = 0;
    while (i < n) {
        sr_tbuf b  = {.R = R};
        size_t len = 0, last = 0;
        sr_tpl_charge(R, 1);
        if (all_blank(c[i].s) && lines.l->n)
            if (++i == n)
                break;
        for (; i < n && len + sr_tpl_cps(R, c[i].s) <= width; i++) {
            last = b.n;
            len += sr_tpl_cps(R, c[i].s);
            sr_tbuf_add(&b, c[i].s->p, c[i].s->n);
        }
        if (i < n && sr_tpl_cps(R, c[i].s) > width) { /* a word that no line holds */
            size_t room = width < 1 ? 1 : width - len, cut = c[i].s->n;
            if (break_long)
                cut = break_word(R, c[i].s, room, hyphens);
            if (break_long || !b.n) {
                last = b.n;
                sr_tbuf_add(&b, c[i].s->p, cut);
                c[i] = sr_tpl_substr(R, c[i].s, cut, c[i].s->n - cut);
                i += !c[i].s->n && !break_long;
            }
        }
        sr_tstr tail = {.p = b.p + last, .n = b.n - last};
        if (b.n && all_blank(&tail)) /* blanks at the end of a line go */
            b.n = last;
        if (b.n)
            sr_tpl_push(R, lines.l, sr_tbuf_str(&b));
    }
}

sr_tval sr_tpl_wordwrap(sr_trun *R, const sr_tstr *s, int64_t width, bool break_long, const sr_tstr *wrap,
                        bool hyphens)
{
    sr_tval paragraphs = sr_tpl_splitlines(R, s, false), out = sr_tpl_seq(R, SR_T_LIST, 0);
    if (width <= 0 && paragraphs.l->n)
        sr_tpl_fail(R, SR_INVALID, "invalid width %lld (must be > 0)", (long long)width);
    sr_tpl_charge(R, s->n >> 3);
    for (size_t i = 0; i < paragraphs.l->n; i++) {
        sr_tval lines = sr_tpl_seq(R, SR_T_LIST, 0);
        wrap_line(R, lines, paragraphs.l->p[i].s, (size_t)width, break_long, hyphens);
        sr_tpl_push(R, out.l, sr_tpl_join(R, wrap, lines, false));
    }
    return sr_tpl_join(R, wrap, out, false);
}
