/* notify_test.c - what a service manager receives. */
#include "app/notify.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

/* A socket of that name ('@': abstract) with something to read in it after sr_notify(). */
static void arrives(const char *name)
{
    char               got[64] = "";
    sr_err             err     = {0};
    struct sockaddr_un at      = {.sun_family = AF_UNIX};
    int                fd      = socket(AF_UNIX, SOCK_DGRAM, 0);
    memcpy(at.sun_path, name, strlen(name));
    if (name[0] == '@')
        at.sun_path[0] = 0;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
    assert_int_equal(sr_notify(name, "READY=1", &err), SR_OK);
    assert_int_equal(recv(fd, got, sizeof got - 1, MSG_DONTWAIT), 7);
    assert_string_equal(got, "READY=1");
    close(fd);
}

static void a_state_arrives_at_a_path_and_at_an_abstract_name(void **state)
{
    (void)state;
    char folder[] = "/tmp/sr-notify-XXXXXX", name[80];
    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof name, "%s/socket", folder);
    arrives(name);
    assert_int_equal(unlink(name), 0);
    assert_int_equal(rmdir(folder), 0);
    snprintf(name, sizeof name, "@sr-notify-%d", (int)getpid());
    arrives(name);
}

static void nothing_is_sent_where_nobody_asked(void **state)
{
    (void)state;
    sr_err err = {0};
    assert_int_equal(sr_notify(NULL, "READY=1", &err), SR_OK);
    assert_int_equal(sr_notify("", "READY=1", &err), SR_OK);
}

static void a_name_that_is_no_sockets_is_refused_and_a_dead_one_said(void **state)
{
    (void)state;
    char long_name[200];
    memset(long_name, '/', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    for (const char *const *name = (const char *const[]){"vsock:2:1", "@", long_name, NULL}; *name; name++) {
        sr_err err = {0};
        assert_int_equal(sr_notify(*name, "READY=1", &err), SR_INVALID);
        assert_non_null(strstr(err.msg, "NOTIFY_SOCKET"));
    }
    sr_err err = {0};
    assert_int_equal(sr_notify("/nonexistent/socket", "READY=1", &err), SR_IO);
    assert_string_equal(err.msg, "NOTIFY_SOCKET: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_arrives_at_a_path_and_at_an_abstract_name),
        cmocka_unit_test(nothing_is_sent_where_nobody_asked),
        cmocka_unit_test(a_name_that_is_no_sockets_is_refused_and_a_dead_one_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
