#include "serve/keys.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define MINUTE_NS UINT64_C(60000000000)
enum { DIGEST = 32 };

typedef struct {
    unsigned char digest[DIGEST];
    sr_keystat    stat;
    uint64_t     *when; /* of the last per_minute requests, a ring; 0: not yet */
    uint32_t      at;   /* the oldest of them */
} entry;
struct sr_keys {
    entry      *key;
    uint32_t    n;
    EVP_MD     *md;
    EVP_MD_CTX *ctx;
};

/* ---- the file ---------------------------------------------------------------------------------------------- */

static bool name_ok(const char *s)
{
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n && n <= SR_KEY_NAME && !s[n];
}

static sr_status number(const char *word, size_t at, uint32_t most, uint32_t line, uint32_t *out, sr_err *err)
{
    const char *s = word + at;
    size_t   n = strspn(s, "0123456789");
    uint32_t v = 0;
    for (size_t i = 0; i < n && v <= most; i++)
        v = v * 10 + (uint32_t)(s[i] - '0');
    if (!n || s[n] || !v || v > most)
        return sr_raise(err, SR_INVALID, "line %u: %.*s must be a number from 1 to %u", line, (int)at - 1, word, most);
    if (*out)
        return sr_raise(err, SR_INVALID, "line %u: %.*s stands there twice", line, (int)at - 1, word);
    *out = v;
    return SR_OK;
}

static sr_status word_of(sr_servekey *k, char *w, uint32_t line, sr_err *err)
{
    if (!strncmp(w, "at-once=", 8))
        return number(w, 8, SR_KEY_AT_ONCE, line, &k->at_once, err);
    if (!strncmp(w, "per-minute=", 11))
        return number(w, 11, SR_KEY_PER_MINUTE, line, &k->per_minute, err);
    if (strncmp(w, "name=", 5)) /* it could be a part of a key: it is not shown */
        return sr_raise(err, SR_INVALID, "line %u: behind the key come name=NAME, at-once=N and per-minute=N, nothing else", line);
    if (k->name)
        return sr_raise(err, SR_INVALID, "line %u: name stands there twice", line);
    if (!name_ok(w + 5))
        return sr_raise(err, SR_INVALID, "line %u: a name is 1 to %d letters, digits, '.', '_', '-'", line, SR_KEY_NAME);
    k->name = w + 5;
    return SR_OK;
}

sr_status sr_keyfile_parse(char *text, sr_servekey *out, uint32_t cap, uint32_t *n, sr_err *err)
{
    static const char blank[] = " \t\r";
    uint32_t line = 0;
    for (char *next = text; next && !err->status;) {
        char *s = next, *save = NULL;
        line++;
        next = strchr(s, '\n');
        if (next)
            *next++ = 0;
        char *w = strtok_r(s, blank, &save);
        if (!w || *w == '#')
            continue;
        if (*n == cap)
            return sr_raise(err, SR_INVALID, "line %u: more than %u keys", line, cap);
        sr_servekey k = {.key = w};
        while (!err->status && (w = strtok_r(NULL, blank, &save)))
            (void)!word_of(&k, w, line, err);
        out[(*n)++] = k;
    }
    return err->status;
}

/* ---- the table --------------------------------------------------------------------------------------------- */

static bool digest(sr_keys *t, const char *p, size_t n, unsigned char out[DIGEST])
{
    return EVP_DigestInit_ex2(t->ctx, t->md, NULL) && EVP_DigestUpdate(t->ctx, p, n) && EVP_DigestFinal_ex(t->ctx, out, NULL);
}

static sr_status add(sr_keys *t, const sr_servekey *k, sr_err *err)
{
    entry   *e   = &t->key[t->n];
    uint32_t pos = t->n + 1;
    size_t   n   = strlen(k->key);
    if (!n || n > SR_KEY_BYTES)
        return sr_raise(err, SR_INVALID, "API key %u has %zu bytes; 1 to %d are possible", pos, n, SR_KEY_BYTES);
    if (k->name && !name_ok(k->name))
        return sr_raise(err, SR_INVALID, "API key %u: a name is 1 to %d letters, digits, '.', '_', '-'", pos, SR_KEY_NAME);
    if (k->name)
        snprintf(e->stat.name, sizeof e->stat.name, "%s", k->name);
    else
        snprintf(e->stat.name, sizeof e->stat.name, "key-%u", pos);
    e->stat.at_once    = k->at_once;
    e->stat.per_minute = k->per_minute;
    if (!digest(t, k->key, n, e->digest))
        return sr_raise(err, SR_NOMEM, "host: a digest of an API key");
    for (uint32_t i = 0; i < t->n; i++)
        if (!strcmp(t->key[i].stat.name, e->stat.name) || !memcmp(t->key[i].digest, e->digest, DIGEST))
            return sr_raise(err, SR_INVALID, "API keys %u and %u have the same %s", i + 1, pos,
                            memcmp(t->key[i].digest, e->digest, DIGEST) ? "name" : "key");
    t->n++; /* from here on close() has its ring */
    if (k->per_minute && !(e->when = sr_calloc(k->per_minute, sizeof *e->when)))
        return sr_raise(err, SR_NOMEM, "host: times of %u requests", k->per_minute);
    return SR_OK;
}

sr_status sr_keys_open(const sr_servekey *key, uint32_t n, sr_keys **out, sr_err *err)
{
    *out = NULL;
    sr_keys *t = sr_calloc(1, sizeof *t);
    if (t) {
        t->key = sr_calloc(n ? n : 1, sizeof *t->key);
        t->md  = EVP_MD_fetch(NULL, "SHA256", NULL);
        t->ctx = EVP_MD_CTX_new();
    }
    if (!t || !t->key || !t->md || !t->ctx) {
        ERR_clear_error();
        sr_raise(err, SR_NOMEM, "host: %u API keys", n);
    }
    for (uint32_t i = 0; i < n && !err->status; i++)
        (void)!add(t, &key[i], err);
    if (err->status)
        sr_keys_close(t);
    else
        *out = t;
    return err->status;
}

void sr_keys_close(sr_keys *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        sr_free(t->key[i].when);
    EVP_MD_CTX_free(t->ctx);
    EVP_MD_free(t->md);
    sr_free(t->key);
    sr_free(t);
}

/* Of two keys that differ the digests differ everywhere: how long a comparison of them took would say nothing about the
 * key even if it stopped early, and it does not. */
uint32_t sr_keys_find(sr_keys *t, const char *given, size_t n)
{
    unsigned char d[DIGEST];
    uint32_t found = 0;
    if (!n || n > SR_KEY_BYTES || !digest(t, given, n, d))
        return 0;
    for (uint32_t i = 0; i < t->n; i++)
        found |= (i + 1) & (0u - (uint32_t)!CRYPTO_memcmp(d, t->key[i].digest, DIGEST));
    return found;
}

sr_keyverdict sr_keys_take(sr_keys *t, uint32_t key, uint64_t now_ns, uint32_t *retry_s)
{
    entry      *e = &t->key[key - 1];
    sr_keystat *s = &e->stat;
    *retry_s = 1;
    if (s->at_once && s->running >= s->at_once) {
        s->refused[0]++;
        return SR_KEY_BUSY;
    }
    if (s->per_minute) {
        uint64_t oldest = e->when[e->at];
        if (oldest && now_ns < oldest + MINUTE_NS) {
            *retry_s = (uint32_t)((oldest + MINUTE_NS - now_ns + 999999999) / 1000000000);
            s->refused[1]++;
            return SR_KEY_FAST;
        }
        e->when[e->at] = now_ns ? now_ns : 1;
        e->at = (e->at + 1) % s->per_minute;
    }
    s->running++;
    s->requests++;
    return SR_KEY_OK;
}

void sr_keys_release(sr_keys *t, uint32_t key, uint64_t prompt, uint64_t made)
{
    sr_keystat *s = &t->key[key - 1].stat;
    s->running--;
    s->prompt += prompt;
    s->made += made;
}

const sr_keystat *sr_keys_stat(const sr_keys *t, uint32_t key) { return &t->key[key - 1].stat; }
uint32_t sr_keys_count(const sr_keys *t) { return t ? t->n : 0; }
