#include "base/jsonw.h"
#include "base/err.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void newline(sr_jsonw *w)
{
    if (!w->indent)
        return;
    sr_buf_char(w->out, '\n');
    for (unsigned i = 0; i < w->depth * w->indent; i++)
        sr_buf_char(w->out, ' ');
}

/* Comma, line and key before a value. */
static void lead(sr_jsonw *w, const char *key)
{
    if (w->depth) {
        uint64_t bit = 1ull << (w->depth - 1);
        SR_ASSERT(!(w->is_obj & bit) == !key, "JSON member %s", key ? key : "without a key");
        if (w->has_item & bit)
            sr_buf_char(w->out, ',');
        w->has_item |= bit;
        newline(w);
    }
    if (key) {
        sr_json_quote(w->out, key, strlen(key));
        sr_buf_str(w->out, w->indent ? ": " : ":");
    }
}

static void open_container(sr_jsonw *w, const char *key, bool obj)
{
    lead(w, key);
    SR_ASSERT(w->depth < 64, "JSON nested deeper than 64");
    uint64_t bit = 1ull << w->depth++;
    w->has_item &= ~bit;
    w->is_obj = obj ? w->is_obj | bit : w->is_obj & ~bit;
    sr_buf_char(w->out, obj ? '{' : '[');
}

void sr_json_obj(sr_jsonw *w, const char *key) { open_container(w, key, true); }

void sr_json_arr(sr_jsonw *w, const char *key) { open_container(w, key, false); }

void sr_json_end(sr_jsonw *w)
{
    SR_ASSERT(w->depth > 0, "JSON end without a begin");
    uint64_t bit = 1ull << --w->depth;
    if (w->has_item & bit)
        newline(w);
    sr_buf_char(w->out, w->is_obj & bit ? '}' : ']');
}

/* Length of the UTF-8 sequence at p (n bytes are there), 0 if it is not valid: overlong forms, surrogates
 * and numbers above U+10FFFF are not. */
static size_t utf8_len(const unsigned char *p, size_t n)
{
    unsigned char c = p[0], lo = 0x80, hi = 0xbf;
    size_t        len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (len > n)
        return 0;
    lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : lo;
    hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : hi;
    for (size_t i = 1; i < len; i++, lo = 0x80, hi = 0xbf)
        if (p[i] < lo || p[i] > hi)
            return 0;
    return len;
}

void sr_json_quote(sr_buf *out, const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t               done = 0, i = 0; /* [done, i) is plain and waits to be copied */
    sr_buf_char(out, '"');
    while (i < n) {
        size_t len = utf8_len(p + i, n - i);
        if (len > 0 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
            i += len;
            continue;
        }
        sr_buf_add(out, s + done, i - done);
        if (len == 0)
            sr_buf_str(out, "\xef\xbf\xbd");
        else if (p[i] == '\n' || p[i] == '\r' || p[i] == '\t' || p[i] == '"' || p[i] == '\\')
            sr_buf_add(out, (char[]){'\\', p[i] == '\n' ? 'n' : p[i] == '\r' ? 'r' : p[i] == '\t' ? 't' : (char)p[i]}, 2);
        else
            sr_buf_fmt(out, "\\u%04x", p[i]);
        done = ++i;
    }
    if (i > done)
        sr_buf_add(out, s + done, i - done);
    sr_buf_char(out, '"');
}

void sr_json_strn(sr_jsonw *w, const char *key, const char *s, size_t n)
{
    lead(w, key);
    sr_json_quote(w->out, s, n);
}

void sr_json_str(sr_jsonw *w, const char *key, const char *s)
{
    if (s)
        sr_json_strn(w, key, s, strlen(s));
    else
        sr_json_null(w, key);
}

void sr_json_int(sr_jsonw *w, const char *key, int64_t v)
{
    lead(w, key);
    sr_buf_fmt(w->out, "%lld", (long long)v);
}

void sr_json_uint(sr_jsonw *w, const char *key, uint64_t v)
{
    lead(w, key);
    sr_buf_fmt(w->out, "%llu", (unsigned long long)v);
}

/* The locale is the C locale throughout (nobody calls setlocale), so the point is a point. */
void sr_json_num(sr_jsonw *w, const char *key, double v)
{
    char s[40];
    if (!isfinite(v)) {
        sr_json_null(w, key);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, v);
        if (strtod(s, NULL) == v)
            break;
    }
    lead(w, key);
    sr_buf_str(w->out, s);
}

void sr_json_f32(sr_jsonw *w, const char *key, float v)
{
    char s[40];
    if (!isfinite(v)) {
        sr_json_null(w, key);
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, (double)v);
        if (strtof(s, NULL) == v)
            break;
    }
    lead(w, key);
    sr_buf_str(w->out, s);
}

void sr_json_bool(sr_jsonw *w, const char *key, bool v)
{
    lead(w, key);
    sr_buf_str(w->out, v ? "true" : "false");
}

void sr_json_null(sr_jsonw *w, const char *key)
{
    lead(w, key);
    sr_buf_str(w->out, "null");
}

void sr_json_raw(sr_jsonw *w, const char *key, const char *json, size_t n)
{
    lead(w, key);
    sr_buf_add(w->out, json, n);
}
