/* log_test.c - what arrives in the sink, byte for byte. */
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static int  out[2];
static char got[1 << 16];

static int open_pipe(void **state)
{
    (void)state;
    return pipe(out);
}

static int close_pipe(void **state)
{
    (void)state;
    sr_log_setup(&(sr_logcfg){.level = SR_LOG_WARN});
    close(out[0]);
    close(out[1]);
    return 0;
}

static void to_pipe(sr_loglevel level, bool json)
{
    sr_log_setup(&(sr_logcfg){.fd = out[1], .level = level, .json = json});
}

static const char *received(void)
{
    ssize_t n;
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    n                  = read(out[0], got, sizeof got - 1);
    got[n > 0 ? n : 0] = 0;
    return got;
}

static void text_line_has_time_level_message_and_fields(void **state)
{
    (void)state;
    to_pipe(SR_LOG_INFO, false);
    sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FSTR("id", "r 1"), SR_FINT("n", -3), SR_FNUM("ms", 12.5)), "%s \"done\"", "it is");
    const char *s = received();
    assert_int_equal(s[2], ':');
    assert_int_equal(s[8], '.');
    assert_string_equal(s + 12, " info  it is \"done\" id=\"r 1\" n=-3 ms=12.5\n");
}

static void json_line_is_one_object_with_typed_fields(void **state)
{
    (void)state;
    to_pipe(SR_LOG_INFO, true);
    sr_logf(SR_LOG_WARN, SR_FIELDS(SR_FSTR("who", NULL), SR_FINT("n", 7), SR_FNUM("rate", 1e300 * 1e300)), "a \"b\" \\");
    const char *s = strchr(received(), ',');
    assert_memory_equal(got, "{\"time\":\"20", 11);
    assert_string_equal(s, ",\"level\":\"warn\",\"msg\":\"a \\\"b\\\" \\\\\",\"who\":null,\"n\":7,\"rate\":null}\n");
}

static void lines_above_the_level_are_not_written_and_arguments_not_evaluated(void **state)
{
    (void)state;
    int n = 0;
    to_pipe(SR_LOG_WARN, false);
    sr_log(SR_LOG_INFO, "%d", ++n);
    assert_int_equal(n, 0);
    assert_string_equal(received(), "");
}

static void hostile_text_cannot_forge_a_line_or_drive_a_terminal(void **state)
{
    (void)state;
    to_pipe(SR_LOG_INFO, false);
    sr_log(SR_LOG_INFO, "%s", "a\n12:00 error forged\x1b[2J\r\xc2\x9b" "31m\xe2\x80\xae z\xff\xc3\xa9");
    const char *s = received();
    assert_string_equal(s + 12, " info  a\\x0a12:00 error forged\\x1b[2J\\x0d\\xc2\\x9b31m\\xe2\\x80\\xae z\\xff\xc3\xa9\n");
    to_pipe(SR_LOG_INFO, true);
    sr_log(SR_LOG_INFO, "%s", "\n\x1b\xff\xed\xa0\x80");
    assert_non_null(strstr(received(), "\"msg\":\"\\u000a\\u001b\\u00ff\\u00ed\\u00a0\\u0080\"}\n"));
}

static void a_long_line_is_cut_and_still_one_json_object(void **state)
{
    (void)state;
    static char huge[20000];
    memset(huge, 'x', sizeof huge - 1);
    to_pipe(SR_LOG_INFO, true);
    sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FINT("n", 1), SR_FSTR("big", huge), SR_FINT("m", 2)), "%s", huge);
    size_t n = strlen(received());
    assert_true(n <= 4096);
    assert_string_equal(got + n - 13, "x...\",\"n\":1}\n");
    memset(huge, '\n', sizeof huge - 1);
    sr_log(SR_LOG_INFO, "%s", huge);
    n = strlen(received());
    assert_true(n <= 4096);
    assert_string_equal(got + n - 12, "\\u000a...\"}\n");
}

static void *many_lines(void *arg)
{
    for (int i = 0; i < 200; i++)
        sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FSTR("thread", arg)), "0123456789012345678901234567890123456789");
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    pthread_t t[3];
    enum { LINE = 12 + 7 + 40 + 11 + 1 }; /* time, level, message, field, newline */
    to_pipe(SR_LOG_INFO, false);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many_lines, "abc"), 0);
    for (int n = 0; n < 600; n++) { /* read while they write: the pipe holds 64 KiB */
        assert_int_equal(read(out[0], got, LINE), LINE);
        assert_memory_equal(got + 12, " info  0123456789012345678901234567890123456789 thread=abc\n", LINE - 12);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_line_has_time_level_message_and_fields, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(json_line_is_one_object_with_typed_fields, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(lines_above_the_level_are_not_written_and_arguments_not_evaluated, open_pipe,
                                        close_pipe),
        cmocka_unit_test_setup_teardown(hostile_text_cannot_forge_a_line_or_drive_a_terminal, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(a_long_line_is_cut_and_still_one_json_object, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(lines_of_several_threads_do_not_mix, open_pipe, close_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
