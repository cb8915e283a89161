#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <string.h>

sr_status sr_tokenizer_open(const sr_gguf *g, sr_tokenizer **out, sr_err *err)
{
    sr_tokenizer *t = sr_calloc(1, sizeof *t);
    *out            = NULL;
    if (!t)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a tokenizer", sizeof *t);
    t->bos = t->eos = t->unk = t->sep = -1;
    sr_status s = sr_tok_load(t, g, err);
    if (s) {
        sr_tokenizer_close(t);
        return s;
    }
    *out = t;
    return SR_OK;
}

void sr_tokenizer_close(sr_tokenizer *t)
{
    if (!t)
        return;
    sr_splitter_close(t->splitter);
    sr_buf_end(&t->blob);
    sr_dict_end(&t->by_text);
    sr_dict_end(&t->by_key);
    sr_cpmap_end(&t->classes);
    sr_ids_end(&t->bad_byte);
    void *owned[] = {t->text,  t->piece, t->key,     t->attr,         t->prio, t->whole,
                     t->merge, t->joins, t->special, t->special_pair, t->ends, t->chat_template};
    for (size_t i = 0; i < SR_COUNT(owned); i++)
        sr_free(owned[i]);
    sr_free(t);
}

void sr_ids_end(sr_ids *ids)
{
    if (ids) {
        sr_free(ids->p);
        *ids = (sr_ids){0};
    }
}

/* ---- encode --------------------------------------------------------------------------------- */

/* One stretch of plain text.  `first`: nothing or a special token is before it. */
static sr_status encode_plain(sr_encoding *e, const char *text, size_t n, bool first)
{
    const sr_tokenizer *t = e->t;
    if (t->escape_spaces) {
        if (!sr_encode_escape(e, text, n, t->space_prefix && first))
            return SR_NOMEM;
        text = e->escaped.p;
        n    = e->escaped.n;
    }
    if (t->model == SR_TOKMODEL_WPM)
        return sr_encode_wpm(e, text, n) ? SR_OK : SR_NOMEM;
    if (t->model == SR_TOKMODEL_SPM)
        return sr_encode_pieces(e, text, n) ? SR_OK : SR_NOMEM;
    sr_status s = sr_split(t->splitter, text, n, t->byte_level ? sr_encode_word : sr_encode_pieces, e, e->err);
    return s ? s : e->failed ? SR_NOMEM : SR_OK;
}

static sr_status encode_segments(sr_encoding *e, const char *text, const sr_segments *list)
{
    bool first = true;
    for (size_t i = 0; i < list->n; i++) {
        const sr_segment *s = &list->p[i];
        if (s->id >= 0) {
            if (!sr_encode_id(e, s->id))
                return SR_NOMEM;
        } else {
            sr_status st = encode_plain(e, text + s->at, s->n, first);
            if (st)
                return st;
        }
        first = s->id >= 0;
    }
    return SR_OK;
}

static sr_status add_special(sr_encoding *e, bool wanted, int32_t id, const char *what)
{
    if (!wanted)
        return SR_OK;
    if (id < 0)
        return sr_raise(e->err, SR_INVALID, "the model asks for a %s token around a text, but names none", what);
    return sr_encode_id(e, id) ? SR_OK : SR_NOMEM;
}

sr_status sr_tokenizer_encode(const sr_tokenizer *t, const char *text, size_t n, unsigned flags, sr_ids *out,
                              sr_err *err)
{
    sr_encoding e    = {.t = t, .out = out, .err = err};
    sr_segments list = {0};
    bool        wpm = t->model == SR_TOKMODEL_WPM, special = flags & SR_TOK_ADD_SPECIAL;
    sr_status   s;
    if (n > SR_TOK_MAX_TEXT)
        return sr_raise(err, SR_INVALID, "a text of %zu bytes to tokenise, the limit is %d", n, SR_TOK_MAX_TEXT);
    if (!(s = add_special(&e, special && (t->add_bos || wpm), t->bos, "BOS")) &&
        !(s = sr_special_cut(t, text, n, flags & SR_TOK_PARSE_SPECIAL, &list, err)) &&
        !(s = encode_segments(&e, text, &list)))
        s = wpm ? add_special(&e, special, t->sep, "SEP") : add_special(&e, special && t->add_eos, t->eos, "EOS");
    sr_free(list.p);
    sr_encoding_end(&e);
    return s;
}

/* ---- decode --------------------------------------------------------------------------------- */

const char *sr_tokenizer_piece(const sr_tokenizer *t, int32_t id, bool special, size_t *n)
{
    *n = 0;
    if (id < 0 || (uint32_t)id >= t->n_vocab || (!special && t->attr[id] & (SR_ATTR_CONTROL | SR_ATTR_UNKNOWN)))
        return "";
    *n = t->piece[id].n;
    return sr_tok_at(t, t->piece[id]);
}

sr_status sr_tokenizer_decode(const sr_tokenizer *t, const int32_t *ids, size_t n, bool special, sr_buf *out,
                              sr_err *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        if (ids[i] < 0 || (uint32_t)ids[i] >= t->n_vocab)
            return sr_raise(err, SR_INVALID, "token id %d at position %zu, the vocabulary has 0 to %u", ids[i], i,
                            t->n_vocab - 1);
        const char *p    = sr_tokenizer_piece(t, ids[i], special, &len);
        bool        trim = i == 0 && t->model == SR_TOKMODEL_SPM && t->space_prefix && len && *p == ' ';
        if (!sr_buf_add(out, p + trim, len - trim))
            return sr_raise(err, SR_NOMEM, "host: memory for the text of %zu tokens", n);
    }
    return SR_OK;
}

/* ---- what it is ------------------------------------------------------------------------------ */

uint32_t    sr_tokenizer_n_vocab(const sr_tokenizer *t) { return t->n_vocab; }
int32_t     sr_tokenizer_bos(const sr_tokenizer *t) { return t->bos; }
int32_t     sr_tokenizer_eos(const sr_tokenizer *t) { return t->eos; }
bool        sr_tokenizer_adds_bos(const sr_tokenizer *t) { return t->add_bos; }
const char *sr_tokenizer_template(const sr_tokenizer *t) { return t->chat_template; }

bool sr_tokenizer_is_end(const sr_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n_vocab && t->attr[id] & SR_ATTR_END;
}

const int32_t *sr_tokenizer_ends(const sr_tokenizer *t, size_t *n)
{
    *n = t->n_ends;
    return t->ends;
}

int sr_tokenizer_type(const sr_tokenizer *t, int32_t id)
{
    static const struct { uint16_t attr; int type; } order[] = {
        {SR_ATTR_CONTROL, SR_TOK_CONTROL}, {SR_ATTR_USER, SR_TOK_USER}, {SR_ATTR_UNKNOWN, SR_TOK_UNKNOWN},
        {SR_ATTR_BYTE, SR_TOK_BYTE},       {SR_ATTR_UNUSED, SR_TOK_UNUSED}, {SR_ATTR_NORMAL, SR_TOK_NORMAL}};
    for (size_t i = 0; id >= 0 && (uint32_t)id < t->n_vocab && i < SR_COUNT(order); i++)
        if (t->attr[id] & order[i].attr)
            return order[i].type;
    return 0;
}

int32_t sr_tokenizer_find(const sr_tokenizer *t, const char *text, size_t n)
{
    if (t->byte_level)
        return sr_dict_find(&t->by_text, t->blob.p, t->text, text, n);
    int32_t sym = sr_tok_find_key(t, text, n);
    return sym < (int32_t)t->n_vocab ? sym : -1;
}
