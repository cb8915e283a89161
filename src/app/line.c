#include "app/line.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <utf8proc.h>

enum { HISTORY_MAX = 500, LINE_BYTES_MAX = 4 << 20, ESCAPE_WAIT_MS = 50 };

/* Keys that are no character; those are returned as their code point. */
enum {
    KEY_END = -1, KEY_LEFT = -2, KEY_RIGHT = -3, KEY_UP = -4, KEY_DOWN = -5, KEY_HOME = -6, KEY_FINISH = -7, KEY_DELETE = -8,
    KEY_WORD_LEFT = -9, KEY_WORD_RIGHT = -10, KEY_BREAK = -11, KEY_PASTE = -12, KEY_NONE = -13
};

struct sr_line {
    int            in, out;
    bool           tty;
    char          *history[HISTORY_MAX];
    size_t         n_history;
    unsigned char  input[4096]; /* read and not yet used */
    size_t         at, have;
    /* while a line is edited */
    const char    *prompt;
    sr_buf        *text;
    size_t         cursor;      /* byte in text */
    size_t         seen;        /* history entry shown; n_history: the new line */
    sr_buf         kept;        /* the new line, while history is shown */
    int            row;         /* where the cursor stands, rows below the prompt's first */
};

sr_status sr_line_open(int in, int out, sr_line **ret, sr_err *err)
{
    sr_line *l = sr_calloc(1, sizeof *l);
    if (!l)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a line editor", sizeof *l);
    l->in  = in;
    l->out = out;
    l->tty = isatty(in) && isatty(out);
    *ret   = l;
    return SR_OK;
}

void sr_line_close(sr_line *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n_history; i++)
        sr_free(l->history[i]);
    sr_buf_end(&l->kept);
    sr_free(l);
}

/* ---- input: bytes to keys ------------------------------------------------------------------------------------- */

/* The next byte; -1: none (end of input, or not within wait_ms; -1 waits for ever). */
static int next_byte(sr_line *l, int wait_ms)
{
    while (l->at == l->have) {
        struct pollfd p = {.fd = l->in, .events = POLLIN};
        int           r = poll(&p, 1, wait_ms);
        if (r == 0)
            return -1;
        ssize_t n = r < 0 ? -1 : read(l->in, l->input, sizeof l->input);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        l->at   = 0;
        l->have = (size_t)n;
    }
    return l->input[l->at++];
}

static int key_of_sequence(char final, int number, bool modified)
{
    switch (final) {
    case 'A': return KEY_UP;
    case 'B': return KEY_DOWN;
    case 'C': return modified ? KEY_WORD_RIGHT : KEY_RIGHT;
    case 'D': return modified ? KEY_WORD_LEFT : KEY_LEFT;
    case 'H': return KEY_HOME;
    case 'F': return KEY_FINISH;
    case '~': break;
    default: return KEY_NONE;
    }
    switch (number) {
    case 1: case 7: return KEY_HOME;
    case 4: case 8: return KEY_FINISH;
    case 3: return KEY_DELETE;
    case 200: return KEY_PASTE;
    default: return KEY_NONE;
    }
}

/* After ESC: "[", parameters, a final byte; "O" and one byte; or a key pressed together with Alt. */
static int escape_key(sr_line *l)
{
    int c = next_byte(l, ESCAPE_WAIT_MS), number = 0;
    bool modified = false;
    if (c == '\r' || c == '\n')
        return KEY_BREAK;
    if (c == 'b' || c == 'f')
        return c == 'b' ? KEY_WORD_LEFT : KEY_WORD_RIGHT;
    if (c != '[' && c != 'O')
        return KEY_NONE;
    while ((c = next_byte(l, ESCAPE_WAIT_MS)) >= 0x20 && c < 0x40) {
        if (c >= '0' && c <= '9' && number < 1000 && !modified)
            number = number * 10 + (c - '0');
        modified = modified || c == ';';
    }
    return c < 0 ? KEY_NONE : key_of_sequence((char)c, number, modified);
}

/* A whole code point whose first byte is c; U+FFFD for what is no UTF-8. */
static int code_point(sr_line *l, int c)
{
    unsigned char       b[4] = {(unsigned char)c};
    int                 n    = c < 0xc0 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    utf8proc_int32_t    cp;
    for (int i = 1; i < n; i++) {
        int d = next_byte(l, ESCAPE_WAIT_MS);
        if (d < 0 || (d & 0xc0) != 0x80) {
            l->at -= d >= 0; /* the byte begins something else: it is read again */
            return 0xfffd;
        }
        b[i] = (unsigned char)d;
    }
    return utf8proc_iterate(b, n, &cp) == n ? cp : 0xfffd;
}

static int next_key(sr_line *l)
{
    int c = next_byte(l, -1);
    if (c < 0)
        return KEY_END;
    return c == 27 ? escape_key(l) : code_point(l, c);
}

/* ---- the picture ---------------------------------------------------------------------------------------------- */

static void put(sr_line *l, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = write(l->out, p, n);
        if (k < 0 && errno != EINTR)
            return; /* the terminal is gone: the next read says so */
        p += k > 0 ? k : 0;
        n -= k > 0 ? (size_t)k : 0;
    }
}

static int columns(const sr_line *l)
{
    struct winsize w;
    return ioctl(l->out, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col : 80;
}

typedef struct { int row, col, width; } pen;

/* Where the pen stands after a cell of w columns: a wide character does not straddle the edge. */
static void move_pen(pen *p, int w)
{
    if (p->col + w > p->width) {
        p->row++;
        p->col = 0;
    }
    p->col += w;
}

/* Draws text[0..n), or only measures when out is NULL.  What cannot be shown is shown as something that can. */
static void draw(pen *p, const char *text, size_t n, sr_buf *out)
{
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t cp;
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &cp);
        bool             bad = k <= 0, control = !bad && (cp < 0x20 || (cp >= 0x7f && cp < 0xa0));
        const char      *sign = cp == '\n' ? "\xe2\x86\xb5" : cp == '\t' ? " " : "\xef\xbf\xbd";
        int              w    = bad || control ? 1 : utf8proc_charwidth(cp);
        move_pen(p, w);
        if (out && (bad || control))
            sr_buf_str(out, bad ? "\xef\xbf\xbd" : sign);
        else if (out)
            sr_buf_add(out, text + i, (size_t)k);
        i += bad ? 1 : (size_t)k;
    }
}

/* Draws prompt and text anew over what stands there, and puts the cursor where it belongs. */
static void redraw(sr_line *l)
{
    sr_buf b   = {0};
    pen    end = {.width = columns(l)}, cur = end;
    if (l->row > 0)
        sr_buf_fmt(&b, "\033[%dA", l->row);
    sr_buf_str(&b, "\r\033[J");
    draw(&end, l->prompt, strlen(l->prompt), &b);
    cur = end;
    draw(&cur, l->text->p ? l->text->p : "", l->cursor, NULL);
    draw(&end, l->text->p ? l->text->p : "", l->text->n, &b);
    if (end.col == end.width) { /* the terminal waits with the wrap; do it now, so that rows are what we think */
        sr_buf_str(&b, "\r\n");
        end.row++;
        end.col = 0;
    }
    if (cur.col == cur.width) {
        cur.row++;
        cur.col = 0;
    }
    if (end.row > cur.row)
        sr_buf_fmt(&b, "\033[%dA", end.row - cur.row);
    sr_buf_str(&b, "\r");
    if (cur.col > 0)
        sr_buf_fmt(&b, "\033[%dC", cur.col);
    l->row = cur.row;
    if (!b.failed)
        put(l, b.p, b.n);
    sr_buf_end(&b);
}

/* ---- editing -------------------------------------------------------------------------------------------------- */

static bool inside(const sr_buf *t, size_t at) { return at < t->n && ((unsigned char)t->p[at] & 0xc0) == 0x80; }

static size_t left_of(const sr_line *l, size_t at)
{
    do
        at -= at > 0;
    while (at > 0 && inside(l->text, at));
    return at;
}

static size_t right_of(const sr_line *l, size_t at)
{
    do
        at += at < l->text->n;
    while (inside(l->text, at));
    return at;
}

static bool blank(const sr_line *l, size_t at) { return strchr(" \t\n", l->text->p[at]) != NULL; }

static size_t word_left(const sr_line *l)
{
    size_t at = l->cursor;
    while (at > 0 && blank(l, at - 1))
        at--;
    while (at > 0 && !blank(l, at - 1))
        at--;
    return at;
}

static size_t word_right(const sr_line *l)
{
    size_t at = l->cursor;
    while (at < l->text->n && blank(l, at))
        at++;
    while (at < l->text->n && !blank(l, at))
        at++;
    return at;
}

static void erase(sr_line *l, size_t from, size_t to)
{
    if (from == to)
        return;
    memmove(l->text->p + from, l->text->p + to, l->text->n - to);
    l->text->n -= to - from;
    l->text->p[l->text->n] = 0;
    l->cursor              = from;
}

static void insert(sr_line *l, const char *p, size_t n)
{
    if (l->text->n + n > LINE_BYTES_MAX || !sr_buf_reserve(l->text, n))
        return; /* more than any model reads at once: not taken */
    memmove(l->text->p + l->cursor + n, l->text->p + l->cursor, l->text->n - l->cursor);
    memcpy(l->text->p + l->cursor, p, n);
    l->text->n += n;
    l->text->p[l->text->n] = 0;
    l->cursor += n;
}

static void insert_cp(sr_line *l, int cp)
{
    utf8proc_uint8_t b[4];
    insert(l, (const char *)b, (size_t)utf8proc_encode_char(cp, b));
}

/* Everything up to ESC [ 201 ~ is text. */
static void take_paste(sr_line *l)
{
    for (int c; (c = next_byte(l, -1)) >= 0;) {
        if (c == 27) {
            const char *rest = "[201~";
            while (*rest && (c = next_byte(l, ESCAPE_WAIT_MS)) == *rest)
                rest++;
            if (!*rest)
                return;
            continue; /* some other sequence: its first bytes are dropped, control sequences are not text */
        }
        int cp = code_point(l, c);
        if (cp == '\r')
            cp = '\n';
        if (cp >= 0x20 || cp == '\n' || cp == '\t')
            insert_cp(l, cp);
    }
}

static void show_history(sr_line *l, bool older)
{
    if (older ? l->seen == 0 : l->seen == l->n_history)
        return;
    if (l->seen == l->n_history) {
        sr_buf_drop(&l->kept, l->kept.n);
        sr_buf_add(&l->kept, l->text->p ? l->text->p : "", l->text->n);
    }
    l->seen += older ? (size_t)-1 : 1;
    const char *p = l->seen == l->n_history ? (l->kept.p ? l->kept.p : "") : l->history[l->seen];
    sr_buf_drop(l->text, l->text->n);
    l->cursor = 0;
    insert(l, p, strlen(p));
}

static void remember(sr_line *l)
{
    if (l->text->n == 0 || (l->n_history && strcmp(l->history[l->n_history - 1], l->text->p) == 0))
        return;
    char *copy = sr_strndup(l->text->p, l->text->n);
    if (!copy)
        return; /* a line that is not remembered is no failure */
    if (l->n_history == HISTORY_MAX) {
        sr_free(l->history[0]);
        memmove(l->history, l->history + 1, (HISTORY_MAX - 1) * sizeof *l->history);
        l->n_history--;
    }
    l->history[l->n_history++] = copy;
}

typedef enum { EDIT_ON, EDIT_DONE, EDIT_END } verdict;

static verdict edit(sr_line *l, int key)
{
    size_t n = l->text->n;
    switch (key) {
    case KEY_END: return n ? EDIT_DONE : EDIT_END;
    case '\r': case '\n': return EDIT_DONE;
    case 3: erase(l, 0, n); break; /* Ctrl-C */
    case 4: /* Ctrl-D */
        if (n == 0)
            return EDIT_END;
        erase(l, l->cursor, right_of(l, l->cursor));
        break;
    case KEY_LEFT: case 2: l->cursor = left_of(l, l->cursor); break;
    case KEY_RIGHT: case 6: l->cursor = right_of(l, l->cursor); break;
    case KEY_HOME: case 1: l->cursor = 0; break;
    case KEY_FINISH: case 5: l->cursor = n; break;
    case KEY_WORD_LEFT: l->cursor = word_left(l); break;
    case KEY_WORD_RIGHT: l->cursor = word_right(l); break;
    case 127: case 8: erase(l, left_of(l, l->cursor), l->cursor); break;
    case KEY_DELETE: erase(l, l->cursor, right_of(l, l->cursor)); break;
    case 23: erase(l, word_left(l), l->cursor); break; /* Ctrl-W */
    case 21: erase(l, 0, l->cursor); break;            /* Ctrl-U */
    case 11: erase(l, l->cursor, n); break;            /* Ctrl-K */
    case 12: put(l, "\033[H\033[2J", 7); l->row = 0; break;
    case KEY_UP: case 16: show_history(l, true); break;
    case KEY_DOWN: case 14: show_history(l, false); break;
    case KEY_BREAK: insert(l, "\n", 1); break;
    case KEY_PASTE: take_paste(l); break;
    default:
        if (key >= 0x20)
            insert_cp(l, key);
    }
    return EDIT_ON;
}

static verdict edit_line(sr_line *l)
{
    verdict v;
    do {
        redraw(l);
        v = edit(l, next_key(l));
    } while (v == EDIT_ON);
    l->cursor = l->text->n;
    redraw(l);
    put(l, "\r\n", 2);
    return v;
}

static sr_status read_plain(sr_line *l, sr_buf *text, bool *end, sr_err *err)
{
    int c;
    while ((c = next_byte(l, -1)) >= 0 && c != '\n')
        sr_buf_char(text, (char)c);
    *end = c < 0 && text->n == 0;
    return text->failed ? sr_raise(err, SR_NOMEM, "host: memory for a line of %zu bytes", text->n) : SR_OK;
}

sr_status sr_line_read(sr_line *l, const char *prompt, sr_buf *text, bool *end, sr_err *err)
{
    struct termios before, raw;
    *end = false;
    sr_buf_drop(text, text->n);
    if (!l->tty)
        return read_plain(l, text, end, err);
    if (tcgetattr(l->in, &before))
        return sr_raise(err, SR_IO, "terminal: %s", strerror(errno));
    raw = before;
    raw.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
    raw.c_cc[VMIN]  = 1;
    raw.c_cc[VTIME] = 0;
    l->prompt = prompt;
    l->text   = text;
    l->cursor = 0;
    l->row    = 0;
    l->seen   = l->n_history;
    if (!sr_buf_reserve(text, 256))
        return sr_raise(err, SR_NOMEM, "host: memory for a line");
    text->p[0] = 0;
    if (tcsetattr(l->in, TCSADRAIN, &raw))
        return sr_raise(err, SR_IO, "terminal: %s", strerror(errno));
    put(l, "\033[?2004h", 8);
    *end = edit_line(l) == EDIT_END;
    put(l, "\033[?2004l", 8);
    tcsetattr(l->in, TCSADRAIN, &before);
    remember(l);
    return SR_OK;
}
