#include "serve/prompt.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/jsonw.h"
#include "base/mem.h"

/* ---- opaque copies --------------------------------------------------------------------------------------- */

enum { KEY_DIGITS = 20, INDEX_DIGITS = 7, MARK_DIGITS = KEY_DIGITS + INDEX_DIGITS, MARKS = 1000000 };

typedef struct {
    const sr_specials *specials;
    char   key[KEY_DIGITS + 1];    /* random digits: case changes and trimming leave them alone, and nobody can guess them */
    struct { const char *p; size_t n; bool json; } *mark; /* the text each number stands for; json: inside a JSON string */
    size_t n, cap;
    bool   has_special;            /* some user string contains a control token's text */
    sr_err *err;
} opaque;

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool is_word(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || ((p[i] | 32) >= 'a' && (p[i] | 32) <= 'z') || p[i] == '_' || p[i] == '-'))
            return false;
    return n <= 64;
}

static bool contains_special(const sr_specials *s, const char *p, size_t n)
{
    size_t  len;
    int32_t id;
    return sr_specials_find(s, p, n, 0, &len, &id) < n;
}

/* Digits for p[0..n), remembered.  buf holds MARK_DIGITS. */
static bool new_mark(opaque *o, const char *p, size_t n, bool json, char *buf)
{
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        void  *m = sr_realloc(o->mark, cap * sizeof *o->mark);
        if (!m)
            return sr_raise(o->err, SR_NOMEM, "host: marks of a chat prompt"), false;
        o->mark = m;
        o->cap  = cap;
    }
    if (o->n == MARKS)
        return sr_raise(o->err, SR_INVALID, "messages with more than %d strings", MARKS), false;
    o->mark[o->n].p    = p;
    o->mark[o->n].n    = n;
    o->mark[o->n].json = json;
    memcpy(buf, o->key, KEY_DIGITS);
    size_t v = o->n++;
    for (int i = MARK_DIGITS - 1; i >= KEY_DIGITS; i--, v /= 10)
        buf[i] = (char)('0' + v % 10);
    return true;
}

/* The string as the opaque render sees it: white space, number, white space. */
static json_t *opaque_string(opaque *o, const char *p, size_t n, bool word_may_stay, bool json)
{
    size_t a = 0, b = n;
    bool   special = contains_special(o->specials, p, n);
    o->has_special |= special;
    while (a < b && is_space(p[a]))
        a++;
    while (b > a && is_space(p[b - 1]))
        b--;
    if (a == b || (word_may_stay && !special && is_word(p, n)))
        return json_stringn_nocheck(p, n);
    sr_buf s = {0};
    char   digits[MARK_DIGITS];
    json_t *v = NULL;
    if (new_mark(o, p + a, b - a, json, digits)) {
        sr_buf_add(&s, p, a);
        sr_buf_add(&s, digits, MARK_DIGITS);
        sr_buf_add(&s, p + b, n - b);
        v = s.failed ? NULL : json_stringn_nocheck(s.p, s.n);
    }
    sr_buf_end(&s);
    if (!v)
        sr_raise(o->err, SR_NOMEM, "host: a string of a chat prompt");
    return v;
}

/* Whose keys and words are whose: in a message the keys, the role and the types are ours (checked against a
 * list); in keyword values and in the arguments of tool calls everything is the user's, but a plain word may
 * stay what it is, for templates compare them. */
typedef enum { IN_MESSAGE, IN_CONTENT, IN_KWARGS, IN_ARGUMENTS } place;

static json_t *opaque_value(opaque *o, const json_t *v, place where);

static bool opaque_member(opaque *o, json_t *out, const char *key, const json_t *v, place where)
{
    bool ours = where == IN_MESSAGE || where == IN_CONTENT;
    if (ours && (!strcmp(key, "role") || !strcmp(key, "type")))
        return !json_object_set_nocheck(out, key, (json_t *)v);
    if (where == IN_KWARGS && !strcmp(key, "tools"))
        where = IN_ARGUMENTS; /* templates show tools as JSON */
    if (ours)
        where = !strcmp(key, "content") || !strcmp(key, "text") ? IN_CONTENT : !strcmp(key, "arguments") ? IN_ARGUMENTS : IN_MESSAGE;
    json_t *name = ours ? json_string_nocheck(key) : opaque_string(o, key, strlen(key), true, where == IN_ARGUMENTS);
    json_t *copy = name ? opaque_value(o, v, where) : NULL;
    bool    ok   = copy && !json_object_set_new_nocheck(out, json_string_value(name), copy);
    json_decref(name);
    return ok;
}

static json_t *opaque_value(opaque *o, const json_t *v, place where)
{
    if (json_is_string(v)) /* arguments that are not JSON are a string by themselves, and shown as they are */
        return opaque_string(o, json_string_value(v), json_string_length(v), where != IN_CONTENT, where == IN_ARGUMENTS);
    if (!json_is_object(v) && !json_is_array(v))
        return json_incref((json_t *)v);
    json_t *out = json_is_object(v) ? json_object() : json_array();
    bool    ok  = out != NULL;
    for (size_t i = 0; ok && json_is_array(v) && i < json_array_size(v); i++) {
        json_t *item = opaque_value(o, json_array_get(v, i), where);
        ok = item && !json_array_append_new(out, item);
    }
    if (ok && json_is_object(v))
        for (void *it = json_object_iter((json_t *)v); ok && it; it = json_object_iter_next((json_t *)v, it))
            ok = opaque_member(o, out, json_object_iter_key(it), json_object_iter_value(it), where);
    if (ok)
        return out;
    json_decref(out);
    sr_raise(o->err, SR_NOMEM, "host: an opaque copy of the messages");
    return NULL;
}

static sr_status opaque_begin(opaque *o)
{
    uint64_t r;
    if (getrandom(&r, sizeof r, 0) != (ssize_t)sizeof r)
        return sr_raise(o->err, SR_IO, "getrandom: %s", strerror(errno));
    for (int i = KEY_DIGITS - 1; i >= 0; i--, r /= 10)
        o->key[i] = (char)('0' + r % 10);
    return SR_OK;
}

/* ---- rendering ------------------------------------------------------------------------------------------- */

static bool set_token(json_t *vars, const char *name, const sr_tokenizer *tok, int32_t id)
{
    size_t n = 0;
    const char *p = id < 0 ? "" : sr_tokenizer_piece(tok, id, true, &n);
    return !json_object_set_new_nocheck(vars, name, json_stringn_nocheck(p, n));
}

static sr_status render(const sr_promptenv *env, const sr_chatinput *in, const json_t *messages, const json_t *kwargs,
                        sr_buf *out, sr_err *err)
{
    json_t *vars = json_object();
    bool ok = vars && (!kwargs || !json_object_update(vars, (json_t *)kwargs)) &&
              !json_object_set_nocheck(vars, "messages", (json_t *)messages) &&
              !json_object_set_new_nocheck(vars, "add_generation_prompt", json_boolean(in->add_generation_prompt)) &&
              set_token(vars, "bos_token", env->tok, sr_tokenizer_bos(env->tok)) &&
              set_token(vars, "eos_token", env->tok, sr_tokenizer_eos(env->tok));
    sr_status s = ok ? sr_template_render(env->chat, vars, env->now, NULL, out, err)
                     : sr_raise(err, SR_NOMEM, "host: the variables of a chat template");
    json_decref(vars);
    return s ? sr_while(err, "rendering the chat template") : SR_OK;
}

/* Last place of needle, or n. */
static size_t find_last(const char *p, size_t n, const char *needle, size_t m)
{
    for (size_t i = n >= m && m ? n - m + 1 : 0; i-- > 0;)
        if (p[i] == needle[0] && !memcmp(p + i, needle, m))
            return i;
    return n;
}

/* The prompt is to end where the last message's content ends. */
static sr_status cut_after_final(sr_buf *text, const json_t *messages, sr_err *err)
{
    const json_t *c = json_object_get(json_array_get(messages, json_array_size(messages) - 1), "content");
    const char   *p = json_is_string(c) ? json_string_value(c) : "";
    size_t        n = json_is_string(c) ? json_string_length(c) : 0;
    while (n && is_space(p[n - 1]))
        n--;
    while (n && is_space(*p))
        p++, n--;
    size_t at = find_last(text->p, text->n, p, n);
    if (!n || at == text->n)
        return sr_raise(err, SR_INVALID, "continue_final_message: the template does not show the last message's content");
    text->n = at + n;
    return SR_OK;
}

sr_status sr_prompt_text(const sr_promptenv *env, const sr_chatinput *in, sr_buf *out, sr_err *err)
{
    sr_status s = render(env, in, in->messages, in->kwargs, out, err);
    return !s && in->continue_final ? cut_after_final(out, in->messages, err) : s;
}

/* ---- tokenising ------------------------------------------------------------------------------------------ */

static bool is_control(const sr_tokenizer *tok, int32_t id)
{
    int t = sr_tokenizer_type(tok, id);
    return t == SR_TOK_CONTROL || t == SR_TOK_UNKNOWN;
}

static bool same_skeleton(const sr_tokenizer *tok, const sr_ids *a, const sr_ids *b)
{
    size_t i = 0, k = 0;
    for (;; i++, k++) {
        while (i < a->n && !is_control(tok, a->p[i]))
            i++;
        while (k < b->n && !is_control(tok, b->p[k]))
            k++;
        if (i == a->n || k == b->n)
            return i == a->n && k == b->n;
        if (a->p[i] != b->p[k])
            return false;
    }
}

static bool put_mark(const opaque *o, size_t v, sr_buf *out)
{
    size_t before = out->n;
    if (!o->mark[v].json)
        return sr_buf_add(out, o->mark[v].p, o->mark[v].n);
    sr_json_quote(out, o->mark[v].p, o->mark[v].n);
    if (!out->failed) { /* the template has put the quotes */
        out->n -= 1;
        memmove(out->p + before, out->p + before + 1, out->n - before - 1);
        out->n -= 1;
    }
    return !out->failed;
}

/* The numbers in p[0..n) turn back into what they stand for; text == false: into their index alone. */
static bool resolve(const opaque *o, const char *p, size_t n, bool text, sr_buf *out)
{
    size_t done = 0;
    for (size_t i = 0; n >= MARK_DIGITS && i <= n - MARK_DIGITS; i++) {
        if (p[i] != o->key[0] || memcmp(p + i, o->key, KEY_DIGITS))
            continue;
        size_t v = 0;
        for (int d = 0; d < INDEX_DIGITS; d++)
            v = v * 10 + (size_t)(p[i + KEY_DIGITS + (size_t)d] - '0');
        if (v >= o->n)
            continue;
        sr_buf_add(out, p + done, i - done);
        if (text)
            put_mark(o, v, out);
        else
            sr_buf_fmt(out, "\1%zu\1", v);
        i += MARK_DIGITS - 1;
        done = i + 1;
    }
    return sr_buf_add(out, p + done, n - done);
}

static sr_status push_id(sr_ids *out, int32_t id, sr_err *err)
{
    if (out->n == out->cap) {
        size_t   cap = out->cap ? out->cap * 2 : 64;
        int32_t *p   = sr_realloc(out->p, cap * sizeof *p);
        if (!p)
            return sr_raise(err, SR_NOMEM, "host: %zu token ids", cap);
        out->p   = p;
        out->cap = cap;
    }
    out->p[out->n++] = id;
    return SR_OK;
}

/* Step 2: control tokens as the opaque render has them, everything between as plain text. */
static sr_status assemble(const sr_promptenv *env, const opaque *o, const sr_buf *text, sr_ids *out, sr_err *err)
{
    sr_buf    plain = {0};
    sr_status s     = SR_OK;
    for (size_t at = 0; at < text->n && !s;) {
        size_t  len = 0;
        int32_t id  = -1;
        size_t  hit = sr_specials_find(env->specials, text->p, text->n, at, &len, &id);
        plain.n = 0;
        if (hit > at && !resolve(o, text->p + at, hit - at, true, &plain))
            s = sr_raise(err, SR_NOMEM, "host: %zu bytes of prompt", text->n);
        if (!s && plain.n)
            s = sr_tokenizer_encode(env->tok, plain.p, plain.n, 0, out, err);
        if (!s && hit < text->n)
            s = push_id(out, id, err);
        at = hit + len;
    }
    sr_buf_end(&plain);
    return s;
}

/* As llama.cpp: where the metadata asks for BOS and the template has not written it, it is put in front. */
static sr_status add_bos(const sr_tokenizer *tok, sr_ids *ids, sr_err *err)
{
    int32_t bos = sr_tokenizer_bos(tok);
    if (!sr_tokenizer_adds_bos(tok) || bos < 0 || (ids->n && ids->p[0] == bos))
        return SR_OK;
    sr_status s = push_id(ids, bos, err);
    if (!s) {
        memmove(ids->p + 1, ids->p, (ids->n - 1) * sizeof *ids->p);
        ids->p[0] = bos;
    }
    return s;
}

/* Bytes of what is said in the messages. */
static size_t said(const json_t *messages)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(messages); i++)
        n += json_string_length(json_object_get(json_array_get(messages, i), "content"));
    return n;
}

/* Renders and tokenises; a text that cannot fit is only measured, be it that it went past the template's own limits. */
static sr_status encode_render(const sr_promptenv *env, const sr_chatinput *in, const json_t *messages, const json_t *kwargs,
                               sr_buf *text, sr_ids *ids, sr_chatinfo *info, sr_err *err)
{
    sr_status s = render(env, in, messages, kwargs, text, err);
    size_t    n = s == SR_INVALID && env->max_bytes ? said(messages) : 0;
    if (n > env->max_bytes) {
        info->over_bytes = n;
        *err = (sr_err){0};
        return SR_OK;
    }
    if (!s && in->continue_final)
        s = cut_after_final(text, messages, err);
    if (!s && env->max_bytes && text->n > env->max_bytes)
        info->over_bytes = text->n;
    if (s || info->over_bytes)
        return s;
    return sr_tokenizer_encode(env->tok, text->p ? text->p : "", text->n, SR_TOK_PARSE_SPECIAL, ids, err);
}

typedef struct {
    opaque  o;
    json_t *messages, *kwargs;     /* the opaque copies */
    sr_buf  text;                  /* what the template makes of them */
} mask;

static void mask_end(mask *m)
{
    json_decref(m->messages);
    json_decref(m->kwargs);
    sr_free(m->o.mark);
    sr_buf_end(&m->text);
}

static sr_status mask_begin(const sr_promptenv *env, const sr_chatinput *in, mask *m, sr_err *err)
{
    m->o = (opaque){.specials = env->specials, .err = err};
    sr_status s = opaque_begin(&m->o);
    if (s)
        return s;
    m->messages = opaque_value(&m->o, in->messages, IN_MESSAGE);
    m->kwargs   = in->kwargs ? opaque_value(&m->o, in->kwargs, IN_KWARGS) : NULL;
    if (m->messages && (m->kwargs || !in->kwargs))
        return SR_OK;
    return err->status ? err->status : sr_raise(err, SR_NOMEM, "host: an opaque copy of the messages");
}

/* A template that cuts a number up, or turns it round, has shown text that is neither its own nor the user's.  With
 * other random numbers it shows other text: outside of whole numbers the two renders must be the same. */
static sr_status check_whole(const sr_promptenv *env, const sr_chatinput *in, const mask *m, sr_err *err)
{
    mask   other = {0};
    sr_ids ids   = {0};
    sr_buf a = {0}, b = {0};
    sr_chatinfo info = {0};
    sr_status s = mask_begin(env, in, &other, err);
    if (!s)
        s = encode_render(env, in, other.messages, other.kwargs, &other.text, &ids, &info, err);
    if (!s && (!resolve(&m->o, m->text.p ? m->text.p : "", m->text.n, false, &a) ||
               !resolve(&other.o, other.text.p ? other.text.p : "", other.text.n, false, &b)))
        s = sr_raise(err, SR_NOMEM, "host: %zu bytes of prompt", m->text.n);
    if (!s && (a.n != b.n || memcmp(a.p, b.p, a.n)))
        s = sr_raise(err, SR_INVALID, "the messages contain text that looks like control tokens of the model, and its chat template "
                                      "changes the text in a way that cannot be followed");
    sr_buf_end(&a);
    sr_buf_end(&b);
    sr_ids_end(&ids);
    mask_end(&other);
    return s;
}

static sr_status build(const sr_promptenv *env, const sr_chatinput *in, mask *m, sr_buf *real, sr_ids *skeleton, sr_ids *out,
                       sr_chatinfo *info, sr_err *err)
{
    sr_status s = encode_render(env, in, m->messages, m->kwargs, &m->text, skeleton, info, err);
    if (!s && !info->over_bytes)
        s = encode_render(env, in, in->messages, in->kwargs, real, out, info, err);
    if (s || info->over_bytes)
        return s;
    if (m->o.has_special || !same_skeleton(env->tok, out, skeleton)) {
        info->assembled = true;
        out->n = 0;
        if ((s = check_whole(env, in, m, err)) || (s = assemble(env, &m->o, &m->text, out, err)))
            return s;
        if (!same_skeleton(env->tok, out, skeleton))
            return sr_raise(err, SR_INVALID, "the messages contain text that would become control tokens of the model");
    }
    return add_bos(env->tok, out, err);
}

sr_status sr_prompt_chat(const sr_promptenv *env, const sr_chatinput *in, sr_ids *out, sr_chatinfo *info, sr_err *err)
{
    mask   m = {0};
    sr_buf real = {0};
    sr_ids skeleton = {0};
    *info = (sr_chatinfo){0};
    sr_status s = mask_begin(env, in, &m, err);
    if (!s)
        s = build(env, in, &m, &real, &skeleton, out, info, err);
    mask_end(&m);
    sr_buf_end(&real);
    sr_ids_end(&skeleton);
    return s;
}
