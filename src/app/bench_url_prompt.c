/* bench_url_prompt.c - see bench_url_prompt.h. */
#include "app/bench_url_prompt.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"
#include "base/philox.h"

enum { FILE_MAX_BYTES = 1 << 30, LINE_MAX_BYTES = 32 << 20 };

/* Short and common: " the" is one token wherever English was trained on. */
static const char *const words[64] = {
    "the", "and", "of", "to", "in", "was", "he", "that", "it", "his", "her", "with", "as", "had", "for", "she",
    "not", "at", "but", "be", "on", "they", "have", "him", "which", "said", "from", "all", "this", "we", "by", "one",
    "so", "there", "or", "no", "when", "if", "would", "what", "out", "up", "their", "who", "some", "time", "them", "more",
    "could", "into", "very", "then", "like", "man", "about", "now", "little", "over", "down", "day", "water", "house", "world", "long"};

static void put_words(sr_buf *b, uint32_t n, uint64_t seed, uint64_t index, uint32_t stream)
{
    for (uint32_t i = 0; i < n; i += 4) {
        sr_philox r = sr_philox4(seed, i, (uint32_t)index, (uint32_t)(index >> 32), stream);
        for (uint32_t j = 0; j < 4 && i + j < n; j++) {
            if (b->n)
                sr_buf_char(b, ' ');
            sr_buf_str(b, words[r.v[j] % SR_COUNT(words)]);
        }
    }
}

static void put_prompt(const sr_prompts *p, uint64_t index, sr_jsonw *w, sr_buf *text)
{
    const char *line = p->n_line ? p->line[index % p->n_line] : NULL;
    if (!line) {
        put_words(text, SR_MIN(p->prefix, p->words), p->seed, 0, 0);
        put_words(text, p->words - SR_MIN(p->prefix, p->words), p->seed, index, 1);
    }
    if (!p->chat) {
        if (line)
            sr_json_raw(w, "prompt", line, strlen(line));
        else
            sr_json_strn(w, "prompt", text->p ? text->p : "", text->n);
    } else if (line && *line == '[') {
        sr_json_raw(w, "messages", line, strlen(line));
    } else {
        sr_json_arr(w, "messages");
        sr_json_obj(w, NULL);
        sr_json_str(w, "role", "user");
        if (line)
            sr_json_raw(w, "content", line, strlen(line));
        else
            sr_json_strn(w, "content", text->p ? text->p : "", text->n);
        sr_json_end(w);
        sr_json_end(w);
    }
}

void sr_prompts_body(const sr_prompts *p, uint64_t index, sr_buf *out)
{
    sr_jsonw w    = {.out = out};
    sr_buf   text = {0};
    sr_json_obj(&w, NULL);
    sr_json_str(&w, "model", p->model);
    put_prompt(p, index, &w, &text);
    sr_json_uint(&w, "max_tokens", p->max_tokens);
    sr_json_f32(&w, "temperature", p->temperature);
    if (p->ignore_eos)
        sr_json_bool(&w, "ignore_eos", true);
    sr_json_bool(&w, "stream", true);
    if (p->usage) {
        sr_json_obj(&w, "stream_options");
        sr_json_bool(&w, "include_usage", true);
        sr_json_end(&w);
    }
    sr_json_end(&w);
    out->failed |= text.failed;
    sr_buf_end(&text);
}

/* ---- a file of prompts ----------------------------------------------------------------------------------- */

/* A line as the JSON value that goes into a request. */
static char *value_of(const sr_prompts *p, const char *line, size_t n, const char *path, uint32_t number, sr_err *err)
{
    sr_buf       out = {0};
    json_error_t why;
    if (*line != '{') {
        sr_json_quote(&out, line, n);
        if (out.failed)
            sr_raise(err, SR_NOMEM, "host: memory for the prompts of %s", path);
        return out.p;
    }
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES, &why), *v = json_object_get(j, "prompt");
    if (!j)
        sr_raise(err, SR_INVALID, "%s:%u: %s", path, number, why.text);
    else if (!v && !p->chat && json_object_get(j, "messages"))
        sr_raise(err, SR_INVALID, "%s:%u: messages are for --api chat", path, number);
    else if (!v && !json_is_array(v = json_object_get(j, "messages")))
        sr_raise(err, SR_INVALID, "%s:%u: neither \"prompt\" nor \"messages\"", path, number);
    else if (!json_is_string(v) && !json_is_array(v))
        sr_raise(err, SR_INVALID, "%s:%u: \"prompt\" is not a string", path, number);
    else if (json_is_array(v) && json_object_get(j, "prompt"))
        sr_raise(err, SR_INVALID, "%s:%u: \"prompt\" is not a string", path, number);
    char *dump = err->status ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    char *copy = dump ? sr_strdup(dump) : NULL; /* jansson's memory is not ours to free with sr_free() */
    if (!err->status && !copy)
        sr_raise(err, SR_NOMEM, "host: memory for the prompts of %s", path);
    if (dump) {
        json_malloc_t take;
        json_free_t   give;
        json_get_alloc_funcs(&take, &give);
        give(dump);
    }
    json_decref(j);
    return copy;
}

static sr_status add_line(sr_prompts *p, char *value, uint32_t *cap, sr_err *err)
{
    if (p->n_line == *cap) {
        uint32_t n    = *cap ? *cap * 2 : 256;
        char   **more = sr_realloc(p->line, n * sizeof *more);
        if (!more) {
            sr_free(value);
            return sr_raise(err, SR_NOMEM, "host: %u prompts", n);
        }
        p->line = more;
        *cap    = n;
    }
    p->line[p->n_line++] = value;
    return SR_OK;
}

static sr_status split(sr_prompts *p, const sr_buf *text, const char *path, sr_err *err)
{
    uint32_t number = 0, cap = 0;
    for (const char *at = text->p, *end = at + text->n; at && at < end && !err->status;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at)), *stop = lf ? lf : end;
        size_t      n  = (size_t)(stop - at);
        number++;
        n -= n && at[n - 1] == '\r';
        if (n > LINE_MAX_BYTES)
            return sr_raise(err, SR_INVALID, "%s:%u: a prompt of %zu bytes; at most %d", path, number, n, LINE_MAX_BYTES);
        char *value = n ? value_of(p, at, n, path, number, err) : NULL;
        if (value && add_line(p, value, &cap, err))
            return err->status;
        at = stop + 1;
    }
    if (!err->status && !p->n_line)
        sr_raise(err, SR_INVALID, "%s: no prompt in it", path);
    return err->status;
}

sr_status sr_prompts_read(sr_prompts *p, const char *path, sr_err *err)
{
    sr_buf text = {.limit = FILE_MAX_BYTES};
    char   block[65536];
    size_t n;
    FILE  *f = fopen(path, "re");
    if (!f)
        return sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    while ((n = fread(block, 1, sizeof block, f)) > 0 && sr_buf_add(&text, block, n))
        ;
    if (ferror(f))
        sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    else if (text.failed)
        sr_raise(err, SR_INVALID, "%s: larger than %d bytes, or than the memory", path, FILE_MAX_BYTES);
    else
        split(p, &text, path, err);
    fclose(f);
    sr_buf_end(&text);
    return err->status;
}

void sr_prompts_close(sr_prompts *p)
{
    for (uint32_t i = 0; i < p->n_line; i++)
        sr_free(p->line[i]);
    sr_free(p->line);
    p->line   = NULL;
    p->n_line = 0;
}
