/* WordPiece, as BERT has it: normalise, cut at white space and punctuation, then the longest token
 * that fits, again and again; a word that does not come out even is the unknown token. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <utf8proc.h>

/* BERT's idea of a Chinese character: each is a word.  (2B820..2B91F is left out there too.) */
static bool is_chinese(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) || (cp >= 0x20000 && cp <= 0x2A6DF) ||
           (cp >= 0x2A700 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) || (cp >= 0xF900 && cp <= 0xFAFF) ||
           (cp >= 0x2F800 && cp <= 0x2FA1F);
}

/* The base character of a composed one.  Only the first code point of the decomposition is kept, as
 * llama.cpp does: right for accents, and Hangul syllables become their leading consonant. */
static uint32_t base_of(uint32_t cp)
{
    utf8proc_int32_t out[8];
    int              boundary = 0;
    if (cp < 0xC0)
        return cp;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, out, 8, UTF8PROC_DECOMPOSE, &boundary);
    return n > 0 ? (uint32_t)out[0] : cp;
}

/* The word in e->escaped: longest tokens first, all or nothing. */
static bool end_word(sr_encoding *e)
{
    const sr_tokenizer *t    = e->t;
    size_t              mark = e->out->n, n = e->escaped.n;
    if (n == 3) /* nothing but the mark of a word's beginning */
        return true;
    for (size_t at = 0, len; at < n; at += len) {
        int32_t id = SR_TOK_NOSYM;
        for (len = SR_MIN(n - at, t->max_key); len; len--)
            if ((id = sr_tok_find_key(t, e->escaped.p + at, len)) >= 0 && !sr_tok_barred(t, id))
                break;
        if (len == 0) {
            e->out->n = mark;
            break;
        }
        if (!sr_encode_id(e, id))
            return false;
    }
    e->escaped.n = 3;
    return e->out->n > mark || t->unk < 0 || sr_encode_id(e, t->unk);
}

static bool add_char(sr_encoding *e, uint32_t cp)
{
    char     utf8[4];
    unsigned n = sr_cp_put(utf8, e->t->lowercase ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp) : cp);
    if (sr_buf_add(&e->escaped, utf8, n))
        return true;
    sr_raise(e->err, SR_NOMEM, "host: memory for a word to tokenise");
    return false;
}

bool sr_encode_wpm(sr_encoding *e, const char *text, size_t n)
{
    const sr_tokenizer *t = e->t;
    e->escaped.n          = 0;
    if (!sr_buf_add(&e->escaped, "\xE2\x96\x81", 3)) {
        sr_raise(e->err, SR_NOMEM, "host: memory for a word to tokenise");
        return false;
    }
    unsigned len;
    bool     ok = true;
    for (size_t i = 0; ok && i < n; i += len) {
        uint32_t cp = sr_cp_next(text + i, n - i, &len);
        if (t->strip_accents)
            cp = base_of(cp);
        uint8_t is = sr_cpmap_get(&t->classes, cp);
        if (is == SR_CP_SPACE)
            ok = end_word(e);
        else if (cp == 0 || cp == SR_CP_BAD || is == SR_CP_CONTROL || (t->strip_accents && is == SR_CP_MARK))
            continue;
        else if (is == SR_CP_PUNCT || (cp < 0x7F && is == SR_CP_SYMBOL) || is_chinese(cp))
            ok = end_word(e) && add_char(e, cp) && end_word(e);
        else
            ok = add_char(e, cp);
    }
    return ok && end_word(e);
}
