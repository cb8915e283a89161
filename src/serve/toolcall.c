#include "serve/toolcall.h"

#include <string.h>

#include "base/jsonw.h"
#include "base/mem.h"

/* ---- families -------------------------------------------------------------------------------------------- */

enum { MARKS = 4 };
struct sr_toolfamily {
    const char *name;
    const char *sign[2];                           /* in the source of the template: any of them */
    bool        words;                             /* in a block a word is a function's name */
    bool        short_ids;
    sr_callform form;
    struct { const char *open, *close; bool known; } mark[MARKS]; /* known: only a tool of the request makes it a call */
};
static const char FUNCTION[] = "<function=", END_FUNCTION[] = "</function>";

static const sr_toolfamily families[] = {
    {"mistral", {"[TOOL_CALLS]", NULL}, true, true, {"[TOOL_CALLS]", "[", "]", "arguments", false}, {{"[TOOL_CALLS]", NULL, false}}},
    {"hermes", {"<tool_call>", NULL}, false, false, {NULL, "<tool_call>\n", "\n</tool_call>", "arguments", true},
     {{"<tool_call>", "</tool_call>", false}, {FUNCTION, NULL, true}}},
    {"llama3", {"<|python_tag|>", "Environment: ipython"}, false, false, {NULL, "", "", "parameters", false},
     {{"<|python_tag|>", NULL, false}, {FUNCTION, NULL, true}}},
    {"generic", {NULL, NULL}, false, false, {NULL, "<tool_call>\n", "\n</tool_call>", "arguments", true},
     {{"<tool_call>", "</tool_call>", false}, {"[TOOL_CALLS]", NULL, false}, {"```json", "```", true}, {FUNCTION, NULL, true}}},
};

const sr_toolfamily *sr_toolfamily_of(const char *src)
{
    size_t i = 0;
    for (; i + 1 < SR_COUNT(families); i++)
        for (int k = 0; src && k < 2 && families[i].sign[k]; k++)
            if (strstr(src, families[i].sign[k]))
                return &families[i];
    return &families[i];
}

const char *sr_toolfamily_name(const sr_toolfamily *f) { return f->name; }
sr_callform sr_toolfamily_form(const sr_toolfamily *f) { return f->form; }
bool sr_toolfamily_short_ids(const sr_toolfamily *f) { return f->short_ids; }

static bool is(const char *p, size_t n, const char *s) { return s && n == strlen(s) && !memcmp(p, s, n); }

bool sr_toolfamily_token(const sr_toolfamily *f, const char *p, size_t n)
{
    bool yes = f->words && (is(p, n, "[ARGS]") || is(p, n, "[CALL_ID]"));
    for (int i = 0; i < MARKS; i++)
        yes |= is(p, n, f->mark[i].open) || is(p, n, f->mark[i].close);
    return yes;
}

/* ---- reading --------------------------------------------------------------------------------------------- */

enum { TEXT, BLOCK, NAME, AFTER_NAME, CALL, ARGS, PARAMETERS, SKIP }; /* state */
enum { NOTHING, IS_NAME, IS_ARGS, IS_TEXT_ARGS, IS_OTHER };           /* role of the value being read in CALL */
typedef enum { NO, MAYBE, YES } match;

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c == '-' || c == '.';
}

static const char *rest(const sr_toolparse *t) { return t->in.p + t->at; }
static size_t left(const sr_toolparse *t) { return t->in.n - t->at; }

static match looking_at(const sr_toolparse *t, const char *mark)
{
    size_t m = strlen(mark), n = SR_MIN(left(t), m);
    if (n && memcmp(rest(t), mark, n))
        return NO;
    return n == m ? YES : t->last ? NO : MAYBE;
}

/* n bytes were read that are text again if this is no call. */
static void take(sr_toolparse *t, size_t n)
{
    sr_buf_add(&t->raw, rest(t), n);
    t->at += n;
}

/* Text leaves without the white space at its end, which waits for what follows. */
static void say(sr_toolparse *t, const char *p, size_t n, sr_pieces *out)
{
    while (t->behind && n && is_space(*p))
        p++, n--;
    size_t keep = n;
    while (keep && is_space(p[keep - 1]))
        keep--;
    if (keep) {
        t->behind = false;
        sr_pieces_add(out, SR_P_TEXT, 0, t->space.p, t->space.n);
        t->space.n = 0;
        sr_pieces_add(out, SR_P_TEXT, 0, p, keep);
        t->fresh = false;
    }
    sr_buf_add(&t->space, p + keep, n - keep);
}

static void reset_call(sr_toolparse *t)
{
    t->scan  = (sr_jsonscan){0};
    t->role  = NOTHING;
    t->level = 1;
    t->open = t->xml = false;
    t->key.n = t->value.n = t->name.n = 0;
    sr_callargs_end(&t->args);
}

static void to_text(sr_toolparse *t)
{
    reset_call(t);
    t->state  = TEXT;
    t->raw.n  = 0;
    t->fresh  = false;
    t->behind = t->began;
}

/* It was no call. */
static void give_back(sr_toolparse *t, sr_pieces *out)
{
    if (t->raw.n)
        say(t, t->raw.p, t->raw.n, out);
    to_text(t);
}

static void begin_block(sr_toolparse *t, const char *close, bool marked)
{
    reset_call(t);
    t->state   = BLOCK;
    t->close   = close;
    t->marked  = marked;
    t->in_list = t->began = false;
}

/* ---- calls ----------------------------------------------------------------------------------------------- */

static const json_t *tool_named(const sr_toolparse *t, const char *name)
{
    for (size_t i = 0; i < json_array_size(t->tools); i++) {
        const json_t *f = json_object_get(json_array_get(t->tools, i), "function");
        const char   *s = json_string_value(json_object_get(f, "name"));
        if (s && !strcmp(s, name))
            return f;
    }
    return NULL;
}

static void send_args(sr_toolparse *t, sr_pieces *out)
{
    sr_pieces_add(out, SR_P_ARGS, t->n_call - 1, t->out.p, t->out.n);
    out->bytes.failed |= t->out.failed;
    t->out.n = 0;
}

/* t->name is the function's name.  False: there is no such call. */
static bool begin_call(sr_toolparse *t, sr_pieces *out)
{
    const char *name = t->name.n ? t->name.p : "";
    if (!*name || t->name.n > 256 || (!t->marked && !tool_named(t, name)))
        return false;
    sr_pieces_add(out, SR_P_CALL, t->n_call++, name, t->name.n);
    t->open  = t->began = true;
    t->fresh = false;
    t->raw.n = t->space.n = 0;
    return true;
}

static void end_call(sr_toolparse *t, bool cut, sr_pieces *out)
{
    if (t->xml)
        sr_buf_str(&t->out, cut ? "" : t->value.n ? "}" : "{}"); /* value: some parameter has been written */
    else
        sr_callargs_finish(&t->args, cut, &t->out);
    send_args(t, out);
    reset_call(t);
    t->raw.n = 0;
    t->state = BLOCK;
    if (t->max_calls && t->n_call >= t->max_calls) {
        t->full  = true;
        t->close = NULL;
        t->state = SKIP;
    }
}

/* The model went astray inside a call that has left already: the call ends here, and the block is not read any further. */
static void end_spoilt(sr_toolparse *t, sr_pieces *out)
{
    t->args.over = true; /* what waits there is no number that ends here */
    end_call(t, false, out);
    t->state = SKIP;
}

/* ---- a call that is an object: {"name": .., "arguments": {..}} ------------------------------------------- */

static int role_of(const sr_toolparse *t, char c)
{
    const char *k = t->key.p;
    size_t      n = t->key.n;
    if (is(k, n, "name") || is(k, n, "tool_name") || (is(k, n, "function") && c == '"'))
        return c == '"' ? IS_NAME : IS_OTHER;
    if (is(k, n, "arguments") || is(k, n, "parameters") || is(k, n, "args"))
        return c == '{' ? IS_ARGS : c == '"' ? IS_TEXT_ARGS : IS_OTHER;
    return IS_OTHER;
}

static bool key_allowed(const sr_toolparse *t)
{
    static const char *const keys[] = {"name", "tool_name", "function", "arguments", "parameters", "args", "id", "type", "call_id"};
    bool yes = false;
    for (size_t i = 0; i < SR_COUNT(keys); i++)
        yes |= is(t->key.p ? t->key.p : "", t->key.n, keys[i]);
    return yes;
}

/* The string in t->value, quotes and escapes included, as text in out. */
static bool unquote(const sr_buf *quoted, sr_buf *out)
{
    json_t *s = json_loadb(quoted->p, quoted->n, JSON_DECODE_ANY, NULL);
    out->n = 0;
    if (s)
        sr_buf_add(out, json_string_value(s), json_string_length(s));
    bool ok = s && !out->failed;
    json_decref(s);
    return ok;
}

static bool value_ended(sr_toolparse *t, sr_pieces *out)
{
    int role = t->role;
    t->role  = NOTHING;
    if (role == IS_NAME && !t->open)
        return unquote(&t->value, &t->name) && begin_call(t, out);
    if (role == IS_TEXT_ARGS) { /* arguments as a string that spells them */
        sr_buf text = {0};
        if (unquote(&t->value, &text))
            for (size_t i = 0; i < text.n; i++)
                sr_callargs_feed(&t->args, text.p[i]);
        sr_buf_end(&text);
    }
    return true;
}

static void value_begins(sr_toolparse *t, char c)
{
    t->value.n = 0;
    t->role    = (uint8_t)role_of(t, c);
    if (is(t->key.p ? t->key.p : "", t->key.n, "function") && c == '{' && t->level == 1)
        t->level = 2; /* {"type":"function","function":{"name":..}} */
}

/* One byte of the object.  False: it is no call. */
static bool call_byte(sr_toolparse *t, char c, sr_pieces *out)
{
    bool    at_level = t->scan.depth == t->level, in_key = at_level && sr_jsonscan_key(&t->scan);
    bool    begins = at_level && t->scan.open[t->level - 1] == '{' && sr_jsonscan_expects_value(&t->scan) && !is_space(c);
    bool    ends_before = at_level && t->role && sr_jsonscan_number_ends(&t->scan, c);
    uint8_t level = t->level;
    sr_jsonverdict v = sr_jsonscan_step(&t->scan, c);
    if (v == SR_JSON_BAD)
        return false;
    if (begins)
        value_begins(t, c);
    if (at_level && !in_key && sr_jsonscan_key(&t->scan))
        t->key.n = 0; /* the opening quote */
    else if (in_key && sr_jsonscan_key(&t->scan))
        sr_buf_char(&t->key, c);
    else if (in_key && !t->marked && !key_allowed(t))
        return false;
    if ((t->role == IS_NAME || t->role == IS_TEXT_ARGS) && (unsigned char)c < ' ')
        sr_buf_fmt(&t->value, "\\u%04x", (unsigned char)c);
    else if (t->role == IS_NAME || t->role == IS_TEXT_ARGS)
        sr_buf_char(&t->value, c);
    else if (t->role == IS_ARGS)
        sr_callargs_feed(&t->args, c);
    bool closed = t->scan.depth == level && !sr_jsonscan_in_string(&t->scan) && sr_jsonscan_closable(&t->scan);
    if (t->role && (ends_before || closed) && level == t->level && !value_ended(t, out))
        return false;
    return v != SR_JSON_DONE || t->open; /* an object without a name is none */
}

static bool read_call(sr_toolparse *t, sr_pieces *out)
{
    while (t->at < t->in.n) {
        char c = *rest(t);
        bool spoilt = t->open;
        if (t->open)
            t->at++;
        else
            take(t, 1);
        if (!call_byte(t, c, out)) {
            if (spoilt)
                end_spoilt(t, out);
            else
                give_back(t, out);
            return true;
        }
        if (t->scan.depth == 0) {
            end_call(t, false, out);
            return true;
        }
    }
    if (t->open) {
        sr_callargs_leave(&t->args, &t->out);
        send_args(t, out);
    }
    return false;
}

/* ---- a call by name and arguments ------------------------------------------------------------------------ */

static bool read_name(sr_toolparse *t, sr_pieces *out)
{
    while (left(t)) {
        char c = *rest(t);
        if (is_word(c) && t->name.n < 256) {
            sr_buf_char(&t->name, c);
            take(t, 1);
        } else if (t->xml && c == '>') {
            take(t, 1);
            if (!begin_call(t, out))
                give_back(t, out);
            else
                t->state = PARAMETERS;
            return true;
        } else if (!t->xml && (c == '[' || c == '{' || is_space(c))) {
            t->state = AFTER_NAME;
            return true;
        } else {
            give_back(t, out);
            return true;
        }
    }
    return false;
}

/* Between a name and the brace of its arguments: nothing, [ARGS], or [CALL_ID]abc[ARGS]. */
static bool is_between(const char *p, size_t n)
{
    static const char id[] = "[CALL_ID]", args[] = "[ARGS]";
    size_t i = 0;
    if (n >= sizeof id - 1 && !memcmp(p, id, sizeof id - 1))
        for (i = sizeof id - 1; i < n && is_word(p[i]); i++)
            ;
    if (n - i >= sizeof args - 1 && !memcmp(p + i, args, sizeof args - 1))
        i += sizeof args - 1;
    while (i < n && is_space(p[i]))
        i++;
    return i == n;
}

static bool read_after_name(sr_toolparse *t, sr_pieces *out)
{
    size_t n = 0;
    while (n < left(t) && rest(t)[n] != '{')
        n++;
    if (n > 64 || (n == left(t) && t->last)) {
        give_back(t, out);
        return true;
    }
    if (n == left(t))
        return false;
    bool ok = is_between(rest(t), n);
    take(t, n);
    if (!ok || !begin_call(t, out))
        give_back(t, out);
    else
        t->state = ARGS;
    return true;
}

static bool read_args(sr_toolparse *t, sr_pieces *out)
{
    while (left(t) && !t->args.over)
        sr_callargs_feed(&t->args, t->in.p[t->at++]);
    if (t->args.over) {
        if (t->args.whole)
            end_call(t, false, out);
        else
            end_spoilt(t, out);
        return true;
    }
    sr_callargs_leave(&t->args, &t->out);
    send_args(t, out);
    return false;
}

/* ---- <parameter=a>value</parameter> ---------------------------------------------------------------------- */

static bool wants_text(const sr_toolparse *t, const char *key)
{
    const json_t *f = tool_named(t, t->name.p ? t->name.p : "");
    const json_t *type = json_object_get(json_object_get(json_object_get(json_object_get(f, "parameters"), "properties"), key), "type");
    return json_is_string(type) && !strcmp(json_string_value(type), "string");
}

/* The value as JSON: what the schema calls a string is one, else what is JSON is taken for what it is. */
static void write_parameter(sr_toolparse *t, const char *key, size_t n_key, const char *p, size_t n, sr_pieces *out)
{
    if (n && *p == '\n')
        p++, n--;
    if (n && p[n - 1] == '\n')
        n--;
    json_t *v = NULL;
    t->key.n = 0;
    sr_buf_add(&t->key, key, n_key);
    if (t->key.p && !wants_text(t, t->key.p) && !memchr(p, 0, n)) /* jansson overlooks a zero byte behind a number */
        v = json_loadb(p, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    sr_buf_char(&t->out, t->value.n ? ',' : '{');
    sr_json_quote(&t->out, key, n_key);
    sr_buf_char(&t->out, ':');
    if (v)
        sr_buf_add(&t->out, p, n);
    else
        sr_json_quote(&t->out, p, n);
    json_decref(v);
    sr_buf_char(&t->value, 'x');
    send_args(t, out);
}

static const char *find(const char *p, size_t n, const char *what) { return n ? memmem(p, n, what, strlen(what)) : NULL; }

static bool read_parameters(sr_toolparse *t, sr_pieces *out)
{
    static const char open[] = "<parameter=", close[] = "</parameter>";
    while (left(t) && is_space(*rest(t)))
        t->at++;
    if (!left(t))
        return false;
    if (*rest(t) == '{' && !t->value.n) { /* <function=f>{"a": 1}</function> */
        t->xml   = false;
        t->state = ARGS;
        return true;
    }
    match end = looking_at(t, END_FUNCTION), more = looking_at(t, open);
    if (end == YES) {
        t->at += strlen(END_FUNCTION);
        end_call(t, false, out);
        return true;
    }
    if (more != YES) {
        if (more == MAYBE || end == MAYBE)
            return false;
        end_spoilt(t, out);
        return true;
    }
    const char *p = rest(t) + strlen(open), *stop = t->in.p + t->in.n, *key_end = memchr(p, '>', (size_t)(stop - p));
    const char *v = key_end ? key_end + 1 : NULL, *v_end = v ? find(v, (size_t)(stop - v), close) : NULL;
    if (!v_end && t->last && v && !t->cut)
        v_end = stop;
    if (!v_end) {
        if (t->last)
            t->at = t->in.n;
        return false;
    }
    write_parameter(t, p, (size_t)(key_end - p), v, (size_t)(v_end - v), out);
    t->at = (size_t)(v_end - t->in.p) + (v_end == stop ? 0 : strlen(close));
    return true;
}

/* ---- between ---------------------------------------------------------------------------------------------- */

/* What may stand in a block beside calls: the opening marks again (one for each call), the end of a function. */
static match looking_at_mark(const sr_toolparse *t, size_t *len)
{
    match best = looking_at(t, END_FUNCTION);
    *len = strlen(END_FUNCTION);
    for (int i = 0; i < MARKS && t->family->mark[i].open && best != YES; i++) {
        const char *s = t->family->mark[i].open;
        match m = s == FUNCTION ? NO : looking_at(t, s);
        if (m > best)
            best = m, *len = strlen(s);
    }
    return best;
}

static bool read_block(sr_toolparse *t, sr_pieces *out)
{
    if (!left(t))
        return false;
    char   c = *rest(t);
    size_t len = 0;
    match  end = t->close ? looking_at(t, t->close) : NO, mark = looking_at_mark(t, &len), function = looking_at(t, FUNCTION);
    if (is_space(c) || c == ',' || c == ';' || (c == ']' && t->in_list)) {
        take(t, 1);
    } else if (c == '{') {
        t->state = CALL;
    } else if (end == YES) {
        take(t, strlen(t->close));
        if (t->began)
            to_text(t);
        else
            give_back(t, out);
    } else if (mark == YES) {
        take(t, len);
        t->in_list = false;
    } else if (function == YES) {
        take(t, strlen(FUNCTION));
        t->xml   = true;
        t->state = NAME;
    } else if (end == MAYBE || mark == MAYBE || function == MAYBE) {
        return false;
    } else if (c == '[' && !t->in_list && !t->began) {
        t->in_list = true;
        take(t, 1);
    } else if (t->family->words && is_word(c)) {
        t->state = NAME;
    } else if (t->began) {
        to_text(t);
    } else {
        give_back(t, out);
    }
    return true;
}

/* The first mark in p[0..n): its place, *which it is.  n: none; *keep bytes at the end may begin one. */
static size_t find_mark(const sr_toolparse *t, const char *p, size_t n, int *which, size_t *keep)
{
    size_t at = n;
    *keep = 0;
    for (int i = 0; i < MARKS && t->family->mark[i].open; i++) {
        const char *s = t->family->mark[i].open, *hit = find(p, n, s);
        if (hit && (size_t)(hit - p) < at) {
            at     = (size_t)(hit - p);
            *which = i;
        }
        size_t k = SR_MIN(n, strlen(s) - 1);
        while (k && memcmp(p + n - k, s, k))
            k--;
        *keep = SR_MAX(*keep, k);
    }
    return at;
}

static bool read_text(sr_toolparse *t, sr_pieces *out)
{
    int    which = 0;
    size_t keep, len, space = 0;
    while (t->fresh && space < left(t) && is_space(rest(t)[space]))
        space++;
    say(t, rest(t), space, out); /* it waits */
    t->at += space;
    if (!left(t))
        return false;
    if (t->fresh && (*rest(t) == '{' || *rest(t) == '[')) {
        match m = looking_at_mark(t, &len); /* [TOOL_CALLS] */
        if (m == MAYBE)
            return false;
        if (m == NO) {
            begin_block(t, NULL, false);
            return true;
        }
    }
    size_t at = find_mark(t, rest(t), left(t), &which, &keep);
    if (at == left(t)) {
        size_t n = at - (t->last ? 0 : keep);
        say(t, rest(t), n, out);
        t->at += n;
        return false;
    }
    say(t, rest(t), at, out);
    t->at += at;
    const char *open = t->family->mark[which].open;
    begin_block(t, t->family->mark[which].close, !t->family->mark[which].known);
    if (open == FUNCTION) /* BLOCK knows it */
        return true;
    take(t, strlen(open));
    return true;
}

static bool read_skip(sr_toolparse *t)
{
    const char *end = t->close ? find(rest(t), left(t), t->close) : NULL;
    if (end) {
        t->at = (size_t)(end - t->in.p) + strlen(t->close);
        to_text(t);
        return true;
    }
    size_t keep = t->close ? SR_MIN(left(t), strlen(t->close) - 1) : 0;
    t->at = t->in.n - keep;
    return false;
}

static bool advance(sr_toolparse *t, sr_pieces *out)
{
    switch (t->state) {
    case TEXT:       return left(t) && read_text(t, out);
    case BLOCK:      return read_block(t, out);
    case NAME:       return read_name(t, out);
    case AFTER_NAME: return read_after_name(t, out);
    case CALL:       return read_call(t, out);
    case ARGS:       return read_args(t, out);
    case PARAMETERS: return read_parameters(t, out);
    default:         return read_skip(t);
    }
}

/* ---- the interface --------------------------------------------------------------------------------------- */

void sr_toolparse_begin(sr_toolparse *t, const sr_toolfamily *f, const json_t *tools, uint32_t max_calls)
{
    *t = (sr_toolparse){.family = f, .tools = tools, .max_calls = max_calls, .fresh = true, .level = 1};
}

static void failed(const sr_toolparse *t, sr_pieces *out)
{
    out->bytes.failed |= t->in.failed || t->raw.failed || t->space.failed || t->key.failed || t->value.failed || t->name.failed ||
                         t->out.failed || t->args.wait.failed;
}

void sr_toolparse_push(sr_toolparse *t, const char *p, size_t n, sr_pieces *out)
{
    sr_buf_add(&t->in, p, n);
    while (advance(t, out))
        ;
    sr_buf_drop(&t->in, t->at);
    t->at = 0;
    failed(t, out);
}

void sr_toolparse_finish(sr_toolparse *t, bool cut, sr_pieces *out)
{
    t->last = true;
    t->cut  = cut;
    if (cut && t->state == BLOCK && t->began) /* what waits behind a call is the beginning of a mark */
        t->at = t->in.n;
    while (advance(t, out))
        ;
    if (t->open)
        end_call(t, cut, out);
    else if (t->state != TEXT && t->state != SKIP && !(t->state == BLOCK && t->began))
        give_back(t, out);
    if (!t->n_call) /* nothing follows that it could belong to */
        sr_pieces_add(out, SR_P_TEXT, 0, t->space.p, t->space.n);
    failed(t, out);
}

void sr_toolparse_end(sr_toolparse *t)
{
    sr_buf_end(&t->in);
    sr_buf_end(&t->raw);
    sr_buf_end(&t->space);
    sr_buf_end(&t->key);
    sr_buf_end(&t->value);
    sr_buf_end(&t->name);
    sr_buf_end(&t->out);
    sr_callargs_end(&t->args);
}
