#include "serve/logprobs.h"

#include <math.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"

typedef struct { uint64_t start; size_t end[4]; } mark;

/* JSON has no infinities; this is what OpenAI shows for "impossible". */
static double shown(float lp) { return isfinite(lp) ? (double)lp : -9999.0; }

bool sr_whole_chars(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    for (size_t i = 0; i < n;) {
        unsigned char c = p[i];
        size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        if (!len || len > n - i)
            return false;
        for (size_t k = 1; k < len; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        if ((c == 0xe0 && p[i + 1] < 0xa0) || (c == 0xed && p[i + 1] > 0x9f) || (c == 0xf0 && p[i + 1] < 0x90) ||
            (c == 0xf4 && p[i + 1] > 0x8f))
            return false;
        i += len;
    }
    return true;
}

static void token_text(sr_buf *out, const char *p, size_t n, const char *prefix)
{
    if (sr_whole_chars(p, n)) {
        sr_json_quote(out, p, n);
        return;
    }
    sr_buf s = {0};
    sr_buf_str(&s, prefix);
    for (size_t i = 0; i < n; i++)
        sr_buf_fmt(&s, "\\x%02x", (unsigned char)p[i]);
    if (s.failed)
        out->failed = true;
    else
        sr_json_quote(out, s.p, s.n);
    sr_buf_end(&s);
}

/* {"token":..,"logprob":..,"bytes":[..] without the closing brace */
static void chat_item(sr_buf *o, const sr_tokenizer *t, int32_t tok, float lp)
{
    size_t n = 0;
    const char *p = sr_tokenizer_piece(t, tok, true, &n);
    sr_buf_str(o, "{\"token\":");
    token_text(o, p, n, "");
    sr_buf_fmt(o, ",\"logprob\":%.7g,\"bytes\":[", shown(lp));
    for (size_t i = 0; i < n; i++)
        sr_buf_fmt(o, i ? ",%u" : "%u", (unsigned char)p[i]);
    sr_buf_char(o, ']');
}

static void add_chat(sr_logprobs *l, const sr_tokenizer *t, const sr_scored *s)
{
    sr_buf *o = &l->list[0];
    chat_item(o, t, s->tok, s->logprob);
    sr_buf_str(o, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < s->n_alt && i < l->top; i++) {
        if (i)
            sr_buf_char(o, ',');
        chat_item(o, t, s->alt[i].tok, s->alt[i].logprob);
        sr_buf_char(o, '}');
    }
    sr_buf_str(o, "]}");
}

/* An object by token text: of two tokens with one text the likelier stays, and the token itself is always there. */
static void top_object(sr_buf *o, const sr_tokenizer *t, const sr_scored *s, uint32_t top)
{
    uint32_t n = SR_MIN(s->n_alt, top);
    const char *piece[32];
    size_t      len[32];
    int         k = 0;
    sr_buf_char(o, '{');
    for (uint32_t i = 0; i <= n && k < 32; i++) {
        bool own = i == n;
        size_t m = 0;
        const char *p = sr_tokenizer_piece(t, own ? s->tok : s->alt[i].tok, true, &m);
        bool dup = false;
        for (int j = 0; j < k; j++)
            dup |= len[j] == m && !memcmp(piece[j], p, m);
        if (dup)
            continue;
        if (k)
            sr_buf_char(o, ',');
        token_text(o, p, m, "bytes:");
        sr_buf_fmt(o, ":%.7g", shown(own ? s->logprob : s->alt[i].logprob));
        piece[k] = p;
        len[k++] = m;
    }
    sr_buf_char(o, '}');
}

static void add_completion(sr_logprobs *l, const sr_tokenizer *t, const sr_scored *s)
{
    size_t n = 0;
    const char *p = sr_tokenizer_piece(t, s->tok, true, &n);
    token_text(&l->list[0], p, n, "bytes:");
    if (s->known)
        sr_buf_fmt(&l->list[1], "%.7g", shown(s->logprob));
    else
        sr_buf_str(&l->list[1], "null");
    if (s->known && l->top)
        top_object(&l->list[2], t, s, l->top);
    else
        sr_buf_str(&l->list[2], "null");
    sr_buf_fmt(&l->list[3], "%llu", (unsigned long long)l->chars);
}

void sr_logprobs_add(sr_logprobs *l, const sr_tokenizer *t, const sr_scored *s)
{
    mark   m = {.start = l->bytes};
    size_t n = 0;
    const char *p = sr_tokenizer_piece(t, s->tok, false, &n);
    for (int i = 0; l->n && i < (l->chat ? 1 : 4); i++)
        sr_buf_char(&l->list[i], ',');
    if (l->chat)
        add_chat(l, t, s);
    else
        add_completion(l, t, s);
    l->bytes += n;
    for (size_t i = 0; i < n; i++)
        l->chars += ((unsigned char)p[i] & 0xc0) != 0x80;
    l->n++;
    for (int i = 0; i < 4; i++)
        m.end[i] = l->list[i].n;
    sr_buf_add(&l->marks, &m, sizeof m);
}

void sr_logprobs_cut(sr_logprobs *l, uint64_t bytes)
{
    mark m;
    while (l->n && !l->marks.failed) {
        memcpy(&m, l->marks.p + (l->n - 1) * sizeof m, sizeof m);
        if (m.start < bytes)
            return;
        l->n--;
        l->marks.n -= sizeof m;
        mark before = {0};
        if (l->n)
            memcpy(&before, l->marks.p + (l->n - 1) * sizeof before, sizeof before);
        for (int i = 0; i < 4; i++)
            l->list[i].n = before.end[i];
    }
}

void sr_logprobs_write(const sr_logprobs *l, sr_buf *out)
{
    static const char *const names[] = {"{\"tokens\":[", "],\"token_logprobs\":[", "],\"top_logprobs\":[", "],\"text_offset\":["};
    for (int i = 0; i < (l->chat ? 1 : 4); i++) {
        sr_buf_str(out, l->chat ? "{\"content\":[" : names[i]);
        sr_buf_add(out, l->list[i].p, l->list[i].n);
    }
    sr_buf_str(out, l->chat ? "],\"refusal\":null}" : "]}");
}

void sr_logprobs_clear(sr_logprobs *l)
{
    l->n = 0;
    l->marks.n = 0;
    for (int i = 0; i < 4; i++)
        l->list[i].n = 0;
}

bool sr_logprobs_failed(const sr_logprobs *l)
{
    return l->marks.failed || l->list[0].failed || l->list[1].failed || l->list[2].failed || l->list[3].failed;
}

void sr_logprobs_end(sr_logprobs *l)
{
    for (int i = 0; i < 4; i++)
        sr_buf_end(&l->list[i]);
    sr_buf_end(&l->marks);
}
