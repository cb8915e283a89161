/* From a word to ids: a dictionary hit, else merges, always the best pair first (lowest rank or
 * highest score), the leftmost of equals.
 *
 * Most words are one token.  But a word that is a token need not come out as it: merges may take
 * another way.  Whether they do depends on the word alone, so it is found once, on first sight, and
 * remembered in t->whole.  That write is the only one after open(); it is one byte, atomic, and
 * every thread would write the same value.
 *
 * Short words keep their pairs in arrays and look for the best by scanning: at these lengths that
 * beats any queue.  Longer ones use a heap: O(n log n), so that a megabyte of one letter is no
 * weapon.  A heap entry is an offer to join two neighbours; when one of them has changed since, the
 * offer is void and skipped. */
#include "base/mem.h"
#include "text/tokenizer_internal.h"

#include <string.h>

enum {
    SHORT_WORD = 40, /* symbols; scanning and heap take equal time at about 60 on the 2-core test machine */
    JOIN_BITS  = 20  /* of the pair set: 128 KiB; gemma's 262 k tokens fill a tenth */
};

struct sr_node { /* a symbol of a long word: word[from..to) */
    uint32_t from, to, prev, next;
    int32_t  sym;
};
struct sr_offer { /* order: priority, then position */
    uint32_t prio, left, right, to;
    int32_t  sym;
};

/* ---- output --------------------------------------------------------------------------------- */

static bool no_memory(sr_encoding *e, size_t bytes)
{
    e->failed = true;
    sr_raise(e->err, SR_NOMEM, "host: %zu bytes to tokenise a text", bytes);
    return false;
}

bool sr_encode_id(sr_encoding *e, int32_t id)
{
    sr_ids *out = e->out;
    if (out->n == out->cap) {
        size_t   cap = out->cap ? 2 * out->cap : 64;
        int32_t *p   = sr_realloc(out->p, cap * sizeof *p);
        if (!p)
            return no_memory(e, cap * sizeof *p);
        out->p   = p;
        out->cap = cap;
    }
    out->p[out->n++] = id;
    return true;
}

static inline bool is_token(const sr_tokenizer *t, int32_t sym) { return sym >= 0 && (uint32_t)sym < t->n_vocab; }

/* A symbol that is no token comes out byte by byte.  Byte-level vocabularies that lack the token of a
 * byte lose it, as in llama.cpp (there only ASCII is looked up again); many lack the 13 bytes that UTF-8
 * never has, and for these there is U+FFFD. */
static bool emit(sr_encoding *e, int32_t sym, const char *p, size_t n)
{
    const sr_tokenizer *t = e->t;
    if (sym == SR_TOK_NOSYM && !t->byte_level)
        sym = sr_tok_find_key(t, p, n);
    if (is_token(t, sym))
        return sr_encode_id(e, sym);
    for (size_t i = 0; i < n; i++) {
        unsigned char b  = (unsigned char)p[i];
        int32_t       id = t->byte_level && (b <= 0x20 || b >= 0x7F) ? SR_TOK_NOSYM : t->byte_sym[b];
        if (!is_token(t, id) && t->model == SR_TOKMODEL_SPM && !sr_tok_barred(t, t->unk))
            id = t->unk;
        if (is_token(t, id) && !sr_encode_id(e, id))
            return false;
        for (size_t k = 0; k < t->bad_byte.n && sr_tok_never_utf8(b) && sym == SR_TOK_NOSYM; k++)
            if (!sr_encode_id(e, t->bad_byte.p[k]))
                return false;
    }
    return true;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

static inline uint32_t merge_slot(int32_t left, int32_t right, uint32_t mask)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32) & mask;
}

bool sr_merge_put(sr_tokenizer *t, int32_t left, int32_t right, int32_t sym, uint32_t rank)
{
    uint32_t i = merge_slot(left, right, t->merge_mask);
    for (; t->merge[i].left >= 0; i = (i + 1) & t->merge_mask)
        if (t->merge[i].left == left && t->merge[i].right == right)
            return false;
    t->merge[i] = (sr_merge){left, right, sym, rank};
    return true;
}

/* Priority of joining word[from..to), made of the symbols left and right; *sym: the result. */
static inline uint32_t join(const sr_tokenizer *t, int32_t left, int32_t right, const char *word, size_t n,
                            int32_t *sym)
{
    if (t->merge) {
        if (left < 0 || right < 0)
            return SR_TOK_NO_JOIN;
        uint32_t i = merge_slot(left, right, t->merge_mask);
        for (; t->merge[i].left >= 0; i = (i + 1) & t->merge_mask)
            if (t->merge[i].left == left && t->merge[i].right == right) {
                *sym = t->merge[i].sym;
                return t->merge[i].rank;
            }
        return SR_TOK_NO_JOIN;
    }
    if (n > t->max_key || (*sym = sr_tok_find_key(t, word, n)) < 0)
        return SR_TOK_NO_JOIN;
    return t->prio[*sym];
}

/* SentencePiece text is cut by lead bytes alone, whatever follows (as llama.cpp does), but for one thing: a
 * broken sequence does not swallow a part of the space mark behind it, which would lose the space.  Other
 * text is cut by whole code points. */
static inline size_t char_len(const sr_tokenizer *t, const char *p, size_t left)
{
    static const uint8_t by_lead[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    unsigned             len;
    if (t->byte_level)
        return 1;
    if (t->model != SR_TOKMODEL_SPM) {
        sr_cp_next(p, left, &len);
        return len;
    }
    size_t n = SR_MIN(by_lead[(unsigned char)*p >> 4], left);
    for (size_t i = 1; i < n; i++)
        if (p[i] == '\xE2' && left - i >= 3 && memcmp(p + i, "\xE2\x96\x81", 3) == 0)
            return i;
    return n;
}

static inline int32_t first_symbol(const sr_tokenizer *t, const char *p, size_t n)
{
    if (t->byte_level)
        return t->byte_sym[(unsigned char)*p];
    return t->merge ? sr_tok_find_key(t, p, n) : SR_TOK_NOSYM; /* pairs of text need no symbols */
}

/* ---- short words ---------------------------------------------------------------------------- */

typedef struct {
    uint32_t n, at[SHORT_WORD + 1]; /* symbol i is word[at[i]..at[i + 1]) */
    uint32_t prio[SHORT_WORD];      /* of joining i and i + 1 */
    int32_t  sym[SHORT_WORD], joined[SHORT_WORD];
} shortword;

static inline void offer_short(const sr_tokenizer *t, shortword *s, const char *word, uint32_t i)
{
    s->prio[i] = join(t, s->sym[i], s->sym[i + 1], word + s->at[i], s->at[i + 2] - s->at[i], &s->joined[i]);
}

static void merge_short(const sr_tokenizer *t, shortword *s, const char *word)
{
    for (uint32_t i = 0; i + 1 < s->n; i++)
        offer_short(t, s, word, i);
    while (s->n > 1) {
        uint32_t best = 0, tail;
        for (uint32_t i = 1; i + 1 < s->n; i++)
            if (s->prio[i] < s->prio[best])
                best = i;
        if (s->prio[best] == SR_TOK_NO_JOIN)
            return;
        s->sym[best] = s->joined[best];
        tail         = s->n - best - 2; /* symbols after the pair */
        memmove(&s->at[best + 1], &s->at[best + 2], (tail + 1) * sizeof *s->at);
        memmove(&s->sym[best + 1], &s->sym[best + 2], tail * sizeof *s->sym);
        memmove(&s->prio[best], &s->prio[best + 1], tail * sizeof *s->prio);
        memmove(&s->joined[best], &s->joined[best + 1], tail * sizeof *s->joined);
        s->n--;
        if (best > 0)
            offer_short(t, s, word, best - 1);
        if (best + 1 < s->n)
            offer_short(t, s, word, best);
    }
}

/* Fills s; false when the word has too many symbols. */
static bool take_short(const sr_tokenizer *t, shortword *s, const char *word, size_t n)
{
    s->n = 0;
    for (size_t i = 0; i < n;) {
        if (s->n == SHORT_WORD)
            return false;
        size_t len   = char_len(t, word + i, n - i);
        s->at[s->n]  = (uint32_t)i;
        s->sym[s->n] = first_symbol(t, word + i, len);
        s->n++;
        i += len;
    }
    s->at[s->n] = (uint32_t)n;
    return true;
}

/* ---- long words ----------------------------------------------------------------------------- */

static inline bool before(const sr_offer *a, const sr_offer *b)
{
    return a->prio < b->prio || (a->prio == b->prio && a->left < b->left);
}

static void sift_down(sr_offer *h, size_t n, size_t i)
{
    sr_offer x = h[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && before(&h[child + 1], &h[child]);
        if (!before(&h[child], &x))
            break;
        h[i] = h[child];
    }
    h[i] = x;
}

static void sift_up(sr_offer *h, size_t i)
{
    sr_offer x = h[i];
    for (size_t up; i && before(&x, &h[up = (i - 1) / 2]); i = up)
        h[i] = h[up];
    h[i] = x;
}

/* The offer to join node `left` with the one after it; false if there is none to make. */
static bool make_offer(const sr_encoding *e, const char *word, uint32_t left, sr_offer *o)
{
    const sr_node *a = &e->node[left];
    if (a->next == UINT32_MAX)
        return false;
    const sr_node *b = &e->node[a->next];
    *o               = (sr_offer){.left = left, .right = a->next, .to = b->to};
    o->prio          = join(e->t, a->sym, b->sym, word + a->from, b->to - a->from, &o->sym);
    return o->prio != SR_TOK_NO_JOIN;
}

/* Room for n nodes and 2 n offers: each merge takes at least one offer and adds at most two. */
static bool long_room(sr_encoding *e, size_t n)
{
    if (n > e->cap_node) {
        sr_node *node = sr_realloc(e->node, n * sizeof *node);
        if (!node)
            return no_memory(e, n * sizeof *node);
        e->node     = node;
        e->cap_node = n;
    }
    if (2 * n > e->cap_heap) {
        sr_offer *heap = sr_realloc(e->heap, 2 * n * sizeof *heap);
        if (!heap)
            return no_memory(e, 2 * n * sizeof *heap);
        e->heap     = heap;
        e->cap_heap = 2 * n;
    }
    return true;
}

static bool take_long(sr_encoding *e, const char *word, size_t n)
{
    uint32_t count = 0, k = 0;
    for (size_t i = 0; i < n; i += char_len(e->t, word + i, n - i))
        count++;
    if (!long_room(e, count))
        return false;
    for (size_t i = 0, len; i < n; i += len, k++) {
        len        = char_len(e->t, word + i, n - i);
        e->node[k] = (sr_node){.from = (uint32_t)i, .to = (uint32_t)(i + len), .prev = k - 1, .next = k + 1};
        e->node[k].sym = first_symbol(e->t, word + i, len);
    }
    e->node[count - 1].next = UINT32_MAX;
    return true;
}

/* Leaves the result as the list that begins at node 0. */
static bool merge_long(sr_encoding *e, const char *word, size_t n)
{
    if (!take_long(e, word, n))
        return false;
    sr_offer *h = e->heap, o;
    size_t    k = 0;
    for (uint32_t i = 0; i != UINT32_MAX; i = e->node[i].next)
        k += make_offer(e, word, i, &h[k]);
    for (size_t i = k / 2; i-- > 0;)
        sift_down(h, k, i);
    while (k) {
        o    = h[0];
        h[0] = h[--k];
        sift_down(h, k, 0);
        sr_node *a = &e->node[o.left], *b = &e->node[o.right];
        if (a->next != o.right || b->to != o.to || a->from == a->to) /* void: a dead left node keeps its `next` */
            continue;
        a->to   = b->to;
        a->sym  = o.sym;
        a->next = b->next;
        b->to   = b->from; /* dead */
        if (a->next != UINT32_MAX)
            e->node[a->next].prev = o.left;
        if (make_offer(e, word, o.left, &h[k]))
            sift_up(h, k++);
        if (o.left && make_offer(e, word, a->prev, &h[k]))
            sift_up(h, k++);
    }
    return true;
}

/* ---- words ---------------------------------------------------------------------------------- */

static bool all_newlines(const char *p, size_t n)
{
    while (n && p[n - 1] == '\n')
        n--;
    return n == 0;
}

static void remember(const sr_tokenizer *t, int32_t sym, bool whole)
{
    if (is_token(t, sym))
        __atomic_store_n(&t->whole[sym], whole ? SR_TOK_WHOLE : SR_TOK_NOT_WHOLE, __ATOMIC_RELAXED);
}

bool sr_encode_word(void *encoding, const char *word, size_t n)
{
    sr_encoding        *e   = encoding;
    const sr_tokenizer *t   = e->t;
    int32_t             sym = n <= t->max_key ? sr_tok_find_key(t, word, n) : SR_TOK_NOSYM;
    shortword           s;
    if (is_token(t, sym)) {
        uint8_t whole = __atomic_load_n(&t->whole[sym], __ATOMIC_RELAXED);
        if (whole == SR_TOK_WHOLE || (t->ignore_merges && whole != SR_TOK_BARRED))
            return sr_encode_id(e, sym);
        if (whole != SR_TOK_UNTRIED)
            sym = SR_TOK_NOSYM; /* nothing left to find out */
    }
    if (take_short(t, &s, word, n)) {
        merge_short(t, &s, word);
        remember(t, sym, s.n == 1);
        for (uint32_t i = 0; i < s.n; i++)
            if (!emit(e, s.sym[i], word + s.at[i], s.at[i + 1] - s.at[i]))
                return false;
        return true;
    }
    if (!merge_long(e, word, n))
        return false;
    remember(t, sym, e->node[0].next == UINT32_MAX);
    for (uint32_t i = 0; i != UINT32_MAX; i = e->node[i].next)
        if (!emit(e, e->node[i].sym, word + e->node[i].from, e->node[i].to - e->node[i].from))
            return false;
    return true;
}

/* ---- safe cuts ------------------------------------------------------------------------------ */

static inline uint32_t char_code(const char *p, size_t len) /* some number for a character's bytes */
{
    uint32_t c = 0;
    for (size_t i = 0; i < len; i++)
        c = c << 8 | (unsigned char)p[i];
    return c;
}

static inline uint32_t join_bit(uint32_t a, uint32_t b)
{
    return (a * 0x9E3779B1u ^ (b * 0x85EBCA77u + (a >> 7))) >> (32 - JOIN_BITS);
}

bool sr_joins_begin(sr_tokenizer *t)
{
    t->joins = sr_calloc((1u << JOIN_BITS) / 64, sizeof *t->joins);
    return t->joins != NULL;
}

void sr_joins_add(sr_tokenizer *t, const char *text, size_t n, size_t at)
{
    uint32_t last = 0;
    for (size_t i = 0, len; i < n; i += len) {
        len          = char_len(t, text + i, n - i);
        uint32_t c   = char_code(text + i, len);
        uint32_t bit = join_bit(last, c);
        if (i && (at == 0 || at == i))
            t->joins[bit / 64] |= 1ull << bit % 64;
        last = c;
    }
}

bool sr_encode_pieces(void *encoding, const char *text, size_t n)
{
    sr_encoding        *e    = encoding;
    const sr_tokenizer *t    = e->t;
    size_t              from = 0;
    if (t->newline_tokens && n && all_newlines(text, n)) {
        int32_t sym = sr_tok_find_key(t, text, n);
        if (is_token(t, sym) && !sr_tok_barred(t, sym))
            return sr_encode_id(e, sym);
    }
    uint32_t last = 0;
    for (size_t i = 0, len; i < n; i += len) {
        len          = char_len(t, text + i, n - i);
        uint32_t c   = char_code(text + i, len);
        uint32_t bit = join_bit(last, c);
        if (i && !(t->joins[bit / 64] >> bit % 64 & 1)) {
            if (!sr_encode_word(e, text + from, i - from))
                return false;
            from = i;
        }
        last = c;
    }
    return from == n || sr_encode_word(e, text + from, n - from);
}

bool sr_encode_escape(sr_encoding *e, const char *text, size_t n, bool prefix)
{
    static const char mark[] = "\xE2\x96\x81";
    sr_buf           *b      = &e->escaped;
    size_t            spaces = prefix;
    for (size_t i = 0; i < n; i++)
        spaces += text[i] == ' ';
    b->n = 0;
    if (!sr_buf_reserve(b, n + 3 * spaces))
        return no_memory(e, n + 3 * spaces);
    char *o = b->p;
    if (prefix) {
        memcpy(o, mark, 3);
        o += 3;
    }
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ' ') {
            memcpy(o, mark, 3);
            o += 3;
        } else {
            *o++ = text[i];
        }
    }
    b->n = (size_t)(o - b->p);
    return true;
}

void sr_encoding_end(sr_encoding *e)
{
    sr_buf_end(&e->escaped);
    sr_free(e->node);
    sr_free(e->heap);
}
