/* specials.c - the texts of all control tokens in one trie, so that a scan costs the same however many there are. */
#include "serve/prompt.h"

#include <string.h>

#include "base/mem.h"

typedef struct { uint32_t child, sibling; int32_t id; uint8_t byte; } node; /* child, sibling: 0 = none */
struct sr_specials {
    node    *node;
    uint32_t n, cap;
    size_t   longest;     /* token of any kind, bytes */
    uint32_t first[256];  /* roots by first byte; 0: no control token starts with it */
};

static uint32_t add_node(sr_specials *s, uint8_t byte)
{
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 256;
        node    *p   = cap > s->cap ? sr_realloc(s->node, cap * sizeof *p) : NULL;
        if (!p)
            return 0;
        s->node = p;
        s->cap  = cap;
    }
    s->node[s->n] = (node){0, 0, -1, byte};
    return s->n++;
}

static uint32_t child_of(const sr_specials *s, uint32_t at, uint8_t byte)
{
    uint32_t c = s->node[at].child;
    while (c && s->node[c].byte != byte)
        c = s->node[c].sibling;
    return c;
}

static bool insert(sr_specials *s, const uint8_t *p, size_t n, int32_t id)
{
    uint32_t at = s->first[p[0]];
    if (!at && !(at = s->first[p[0]] = add_node(s, p[0])))
        return false;
    for (size_t i = 1; i < n; i++) {
        uint32_t c = child_of(s, at, p[i]);
        if (!c) {
            if (!(c = add_node(s, p[i])))
                return false;
            s->node[c].sibling = s->node[at].child;
            s->node[at].child  = c;
        }
        at = c;
    }
    if (s->node[at].id < 0)
        s->node[at].id = id;
    return true;
}

sr_status sr_specials_open(const sr_tokenizer *tok, sr_specials **out, sr_err *err)
{
    sr_specials *s = sr_calloc(1, sizeof *s);
    bool ok = s && !add_node(s, 0) && s->n == 1; /* node 0 stands for "none" */
    for (int32_t id = 0; ok && id < (int32_t)sr_tokenizer_n_vocab(tok); id++) {
        int    type = sr_tokenizer_type(tok, id);
        size_t n = 0;
        const char *p = sr_tokenizer_piece(tok, id, true, &n);
        s->longest = SR_MAX(SR_MAX(s->longest, n), (size_t)1);
        if (type != SR_TOK_CONTROL && type != SR_TOK_UNKNOWN)
            continue;
        ok = !n || insert(s, (const uint8_t *)p, n, id);
    }
    if (ok) {
        *out = s;
        return SR_OK;
    }
    sr_specials_close(s);
    return sr_raise(err, SR_NOMEM, "host: table of control tokens");
}

void sr_specials_close(sr_specials *s)
{
    if (s)
        sr_free(s->node);
    sr_free(s);
}

size_t sr_specials_longest(const sr_specials *s) { return s->longest; }

size_t sr_specials_find(const sr_specials *s, const char *p, size_t n, size_t from, size_t *len, int32_t *id)
{
    const uint8_t *b = (const uint8_t *)p;
    for (size_t i = from; i < n; i++) {
        uint32_t at   = s->first[b[i]];
        size_t   best = 0;
        for (size_t k = i + 1; at; at = k < n ? child_of(s, at, b[k]) : 0, k++) {
            if (s->node[at].id >= 0) {
                best = k - i;
                *id  = s->node[at].id;
            }
        }
        if (best) {
            *len = best;
            return i;
        }
    }
    *len = 0;
    return n;
}
