#include "serve/jsonscan.h"

#include <string.h>

enum { VALUE, FIRST_VALUE, FIRST_KEY, KEY, COLON, AFTER, STRING, ESCAPE, UNICODE, WORD,
       MINUS, ZERO, INT, DOT, FRAC, EXP, SIGN, EXPINT, DONE, BAD }; /* FIRST_: the bracket may close at once */

static bool space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static sr_jsonverdict go(sr_jsonscan *s, int state)
{
    s->state = (uint8_t)state;
    return state == BAD ? SR_JSON_BAD : state == DONE ? SR_JSON_DONE : SR_JSON_MORE;
}

static sr_jsonverdict value_ended(sr_jsonscan *s) { return go(s, s->depth ? AFTER : DONE); }

static sr_jsonverdict open_bracket(sr_jsonscan *s, char c)
{
    if (s->depth == SR_JSONSCAN_DEPTH)
        return go(s, BAD);
    s->open[s->depth++] = c;
    return go(s, c == '{' ? FIRST_KEY : FIRST_VALUE);
}

static sr_jsonverdict close_bracket(sr_jsonscan *s, char c)
{
    if (!s->depth || s->open[s->depth - 1] != (c == '}' ? '{' : '['))
        return go(s, BAD);
    s->depth--;
    return value_ended(s);
}

static sr_jsonverdict begin_string(sr_jsonscan *s, bool key)
{
    s->key  = key;
    s->half = false;
    return go(s, STRING);
}

static sr_jsonverdict begin_value(sr_jsonscan *s, char c)
{
    switch (c) {
    case '{':
    case '[': return open_bracket(s, c);
    case '"': return begin_string(s, false);
    case '-': return go(s, MINUS);
    case '0': return go(s, ZERO);
    case 't': s->word = "rue"; return go(s, WORD);
    case 'f': s->word = "alse"; return go(s, WORD);
    case 'n': s->word = "ull"; return go(s, WORD);
    default:  return go(s, digit(c) ? INT : BAD);
    }
}

static sr_jsonverdict after_value(sr_jsonscan *s, char c)
{
    if (c == ',')
        return go(s, s->open[s->depth - 1] == '{' ? KEY : VALUE);
    return c == '}' || c == ']' ? close_bracket(s, c) : go(s, BAD);
}

/* A number ends where something else begins. */
static sr_jsonverdict number_ended(sr_jsonscan *s, char c)
{
    if (!s->depth)
        return go(s, BAD);
    s->state = AFTER;
    return space(c) ? SR_JSON_MORE : after_value(s, c);
}

static sr_jsonverdict number(sr_jsonscan *s, char c)
{
    bool d = digit(c), e = c == 'e' || c == 'E';
    switch (s->state) {
    case MINUS:  return go(s, c == '0' ? ZERO : d ? INT : BAD);
    case ZERO:   return c == '.' ? go(s, DOT) : e ? go(s, EXP) : d ? go(s, BAD) : number_ended(s, c);
    case INT:    return c == '.' ? go(s, DOT) : e ? go(s, EXP) : d ? SR_JSON_MORE : number_ended(s, c);
    case DOT:    return go(s, d ? FRAC : BAD);
    case FRAC:   return e ? go(s, EXP) : d ? SR_JSON_MORE : number_ended(s, c);
    case EXP:    return go(s, d ? EXPINT : c == '+' || c == '-' ? SIGN : BAD);
    case SIGN:   return go(s, d ? EXPINT : BAD);
    default:     return d ? SR_JSON_MORE : number_ended(s, c);
    }
}

static sr_jsonverdict in_string(sr_jsonscan *s, char c)
{
    if (s->half && c != '\\')
        return go(s, BAD); /* half a character: what copies it out could not be read */
    if (c == '\\')
        return go(s, ESCAPE);
    if (c != '"')
        return SR_JSON_MORE;
    return s->key ? go(s, COLON) : value_ended(s);
}

static sr_jsonverdict escaped(sr_jsonscan *s, char c)
{
    if (c == 'u') {
        s->digits = 4;
        s->unit   = 0;
        return go(s, UNICODE);
    }
    return go(s, !s->half && c && strchr("\"\\/bfnrt", c) ? STRING : BAD);
}

static sr_jsonverdict unicode(sr_jsonscan *s, char c)
{
    int v = digit(c) ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
    if (v < 0)
        return go(s, BAD);
    s->unit = (uint16_t)(s->unit << 4 | v);
    if (--s->digits)
        return SR_JSON_MORE;
    bool high = s->unit >= 0xD800 && s->unit < 0xDC00, low = s->unit >= 0xDC00 && s->unit < 0xE000;
    if (low != s->half)
        return go(s, BAD);
    s->half = high;
    return go(s, STRING);
}

sr_jsonverdict sr_jsonscan_step(sr_jsonscan *s, char c)
{
    if (s->state >= MINUS && s->state <= EXPINT)
        return number(s, c);
    if (s->state == STRING)
        return in_string(s, c);
    if (s->state == ESCAPE)
        return escaped(s, c);
    if (s->state == UNICODE)
        return unicode(s, c);
    if (s->state == WORD) {
        if (c != *s->word)
            return go(s, BAD);
        return *++s->word ? SR_JSON_MORE : value_ended(s);
    }
    if (s->state >= DONE)
        return go(s, BAD);
    if (space(c))
        return SR_JSON_MORE;
    switch (s->state) {
    case FIRST_VALUE: return c == ']' ? close_bracket(s, c) : begin_value(s, c);
    case VALUE:       return begin_value(s, c);
    case FIRST_KEY:   return c == '}' ? close_bracket(s, c) : c == '"' ? begin_string(s, true) : go(s, BAD);
    case KEY:         return c == '"' ? begin_string(s, true) : go(s, BAD);
    case COLON:       return go(s, c == ':' ? VALUE : BAD);
    default:          return after_value(s, c);
    }
}

bool sr_jsonscan_in_string(const sr_jsonscan *s) { return s->state == STRING; }
bool sr_jsonscan_key(const sr_jsonscan *s) { return s->key && s->state >= STRING && s->state <= UNICODE; }
bool sr_jsonscan_expects_value(const sr_jsonscan *s) { return s->state == VALUE || s->state == FIRST_VALUE; }

bool sr_jsonscan_closable(const sr_jsonscan *s)
{
    return s->state == FIRST_VALUE || s->state == FIRST_KEY || s->state == AFTER || s->state == DONE ||
           (s->state == STRING && !s->key && !s->half);
}

bool sr_jsonscan_number_ends(const sr_jsonscan *s, char c)
{
    bool whole = s->state == ZERO || s->state == INT || s->state == FRAC || s->state == EXPINT;
    return whole && (!c || space(c) || c == ',' || c == ']' || c == '}');
}

void sr_jsonscan_close(const sr_jsonscan *s, bool in_string, sr_buf *out)
{
    if (in_string)
        sr_buf_char(out, '"');
    for (uint32_t d = s->depth; d > 0; d--)
        sr_buf_char(out, s->open[d - 1] == '{' ? '}' : ']');
}
