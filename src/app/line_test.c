/* line_test.c - the line editor at a pseudo-terminal: keys in, a line out, and what the screen was told. */
#include "app/line.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct {
    int       master, slave;
    sr_line  *line;
    pthread_t reader;
    char      screen[65536];
    size_t    n_screen;
} terminal;

/* Takes what the editor draws, so that it never blocks. */
static void *take_screen(void *arg)
{
    terminal *t = arg;
    char      b[4096];
    ssize_t   n;
    while ((n = read(t->master, b, sizeof b)) > 0)
        if (t->n_screen + (size_t)n < sizeof t->screen) {
            memcpy(t->screen + t->n_screen, b, (size_t)n);
            __atomic_fetch_add(&t->n_screen, (size_t)n, __ATOMIC_RELEASE);
        }
    return NULL;
}

static int open_terminal(void **state)
{
    terminal      *t = calloc(1, sizeof *t);
    struct winsize w = {.ws_row = 24, .ws_col = 20};
    sr_err         e = {0};
    struct termios raw;
    *state = t;
    if (!t)
        return -1;
    if (openpty(&t->master, &t->slave, NULL, NULL, &w)) { /* a bare chroot has no /dev/pts */
        print_message("no pseudo-terminal here: %s\n", strerror(errno));
        free(t);
        *state = NULL;
        return 0;
    }
    if (sr_line_open(t->slave, t->slave, &t->line, &e))
        return -1;
    /* Keys are written before the editor has changed the terminal: the line discipline must leave them alone. */
    tcgetattr(t->slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(t->slave, TCSANOW, &raw);
    return pthread_create(&t->reader, NULL, take_screen, t);
}

static int close_terminal(void **state)
{
    terminal *t = *state;
    if (!t)
        return 0;
    sr_line_close(t->line);
    close(t->slave);
    pthread_join(t->reader, NULL); /* its read fails when the last slave is closed */
    close(t->master);
    free(t);
    return 0;
}

static terminal *at_terminal(void **state)
{
    if (!*state)
        skip();
    return *state;
}

/* What the line is after these keys; NULL: the input ended. */
static const char *after(terminal *t, const char *keys)
{
    static char text[1 << 16];
    sr_buf      b = {0};
    sr_err      e = {0};
    bool        end;
    assert_int_equal(write(t->master, keys, strlen(keys)), (ssize_t)strlen(keys));
    assert_int_equal(sr_line_read(t->line, "> ", &b, &end, &e), SR_OK);
    assert_true(b.n < sizeof text);
    memcpy(text, b.p, b.n + 1);
    sr_buf_end(&b);
    return end ? NULL : text;
}

static void keys_edit_the_line(void **state)
{
    terminal *t = at_terminal(state);
    assert_string_equal(after(t, "hello\r"), "hello");
    assert_string_equal(after(t, "helo\033[Dl\r"), "hello");             /* left, insert */
    assert_string_equal(after(t, "ello\033[Hh\033[F!\r"), "hello!");     /* home, end */
    assert_string_equal(after(t, "ello\001h\005!\r"), "hello!");         /* Ctrl-A, Ctrl-E */
    assert_string_equal(after(t, "hellx\177o\r"), "hello");              /* backspace */
    assert_string_equal(after(t, "hxello\033[H\033[C\033[3~\r"), "hello"); /* right, delete */
    assert_string_equal(after(t, "one two three\027\027x\r"), "one x");  /* Ctrl-W */
    assert_string_equal(after(t, "one two\033[1;5D\013\r"), "one ");     /* word left, Ctrl-K */
    assert_string_equal(after(t, "junk\025new\r"), "new");               /* Ctrl-U */
    assert_string_equal(after(t, "junk\003new\r"), "new");               /* Ctrl-C clears */
    assert_string_equal(after(t, "a\033\rb\r"), "a\nb");                 /* Alt-Enter */
    assert_string_equal(after(t, "a\033[99~\033[5;2xb\r"), "ab");        /* unknown sequences do nothing */
    assert_string_equal(after(t, "\r"), "");
}

static void code_points_are_edited_whole_and_broken_bytes_replaced(void **state)
{
    terminal *t = at_terminal(state);
    assert_string_equal(after(t, "na\xc3\xafve\033[D\033[D\177i\r"), "naive");
    assert_string_equal(after(t, "\xf0\x9f\x8c\x8a\xe6\xb5\xb7\177\r"), "\xf0\x9f\x8c\x8a");
    assert_string_equal(after(t, "a\xff" "b\x80\r"), "a\xef\xbf\xbd" "b\xef\xbf\xbd");
}

static void history_is_walked_and_the_new_line_is_kept(void **state)
{
    terminal *t = at_terminal(state);
    after(t, "first\r");
    after(t, "second\r");
    after(t, "second\r"); /* not twice */
    assert_string_equal(after(t, "\033[A\033[A\r"), "first");
    assert_string_equal(after(t, "\033[A\033[A\033[A\033[A\033[A\r"), "first");
    assert_string_equal(after(t, "draft\033[A\033[A\033[B\033[B\033[B!\r"), "draft!");
}

static void a_paste_is_one_text_with_its_lines(void **state)
{
    terminal *t = at_terminal(state);
    assert_string_equal(after(t, "say: \033[200~line 1\rline 2\r\x03\ttab\033[201~!\r"), "say: line 1\nline 2\n\ttab!");
}

static void ctrl_d_ends_only_an_empty_line(void **state)
{
    terminal *t = at_terminal(state);
    assert_string_equal(after(t, "ab\001\004\r"), "b"); /* deletes forward */
    assert_null(after(t, "\004"));
}

static void a_long_line_wraps_and_the_cursor_returns_to_its_row(void **state)
{
    terminal *t = at_terminal(state); /* 20 columns: "> " and 45 letters are three rows */
    assert_string_equal(after(t, "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeee\033[Hx\r"),
                        "xaaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeee");
    const char *back = "\033[2A\r\033[2C"; /* from the third row to the first, behind the prompt */
    void       *seen = NULL;
    for (int i = 0; i < 200 && !seen; i++, usleep(10000)) /* the screen is read by another thread */
        seen = memmem(t->screen, __atomic_load_n(&t->n_screen, __ATOMIC_ACQUIRE), back, strlen(back));
    assert_non_null(seen);
}

static void input_that_is_no_terminal_is_read_by_lines(void **state)
{
    (void)state;
    int      p[2];
    sr_line *l = NULL;
    sr_err   e = {0};
    sr_buf   b = {0};
    bool     end;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(write(p[1], "one\n\ntwo\033[D", 11), 11);
    close(p[1]);
    assert_int_equal(sr_line_open(p[0], 1, &l, &e), SR_OK);
    const char *want[] = {"one", "", "two\033[D"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sr_line_read(l, "> ", &b, &end, &e), SR_OK);
        assert_false(end);
        assert_int_equal(b.n, strlen(want[i]));
        assert_memory_equal(b.n ? b.p : "", want[i], b.n);
    }
    assert_int_equal(sr_line_read(l, "> ", &b, &end, &e), SR_OK);
    assert_true(end);
    sr_buf_end(&b);
    sr_line_close(l);
    close(p[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_edit_the_line, open_terminal, close_terminal),
        cmocka_unit_test_setup_teardown(code_points_are_edited_whole_and_broken_bytes_replaced, open_terminal, close_terminal),
        cmocka_unit_test_setup_teardown(history_is_walked_and_the_new_line_is_kept, open_terminal, close_terminal),
        cmocka_unit_test_setup_teardown(a_paste_is_one_text_with_its_lines, open_terminal, close_terminal),
        cmocka_unit_test_setup_teardown(ctrl_d_ends_only_an_empty_line, open_terminal, close_terminal),
        cmocka_unit_test_setup_teardown(a_long_line_wraps_and_the_cursor_returns_to_its_row, open_terminal, close_terminal),
        cmocka_unit_test(input_that_is_no_terminal_is_read_by_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
