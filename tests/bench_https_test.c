/* `strata bench --url https://..`: measured through TLS when the certificate is good, and otherwise not a byte of the request is sent.
 * Whom the program trusts is OpenSSL's matter: SSL_CERT_FILE names a file of ours. */
#include "serve/test_client.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/mem.h"

static char dir[64], cert[96], key[96], other[96], other_key[96], said[96], told[96];

static int make_files(void **state)
{
    (void)state;
    static const struct { char *path; const char *name; } file[] = {{cert, "cert"}, {key, "key"}, {other, "other"}, {other_key, "other-key"},
                                                                    {said, "said"}, {told, "told"}};
    snprintf(dir, sizeof dir, "%s/strata-https-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < SR_COUNT(file); i++)
        snprintf(file[i].path, sizeof cert, "%s/%s", dir, file[i].name);
    tc_certificate(cert, key, "good,DNS:localhost", 10); /* one more name; subjects differ, or OpenSSL takes the first of them for an issuer */
    tc_certificate(other, other_key, "elsewhere.example", 10);
    tc_use_tls();
    tc_trust(cert);
    tc_trust(other);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(cert), unlink(key), unlink(other), unlink(other_key), unlink(said), unlink(told);
    return rmdir(dir);
}

static char *slurp(const char *path)
{
    static char text[65536];
    FILE       *f = fopen(path, "re");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

/* Runs the program against scheme://host:port with `trust` as the only trusted certificate; its exit status.  What it prints: said, told. */
static int bench(const char *scheme, const char *host, uint16_t port, const char *trust, const char *option)
{
    char  url[96];
    int   status;
    pid_t pid;
    snprintf(url, sizeof url, "%s://%s:%u", scheme, host, port);
    assert_true((pid = fork()) >= 0);
    if (pid == 0) {
        int   out = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600), err = open(told, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        char *args[] = {"strata", "bench", "--url", url, "--concurrency", "2", "--requests", "6", "--max-tokens", "8", "--json", (char *)option, NULL};
        setenv("SSL_CERT_FILE", trust, 1);
        setenv("SSL_CERT_DIR", "/nonexistent", 1);
        if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
            _exit(126);
        execv(SR_STRATA, args);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static double asked(tc_server *s) { return tc_metric(s, "strata_http_finished_length_total") + tc_metric(s, "strata_http_finished_stop_total"); }

static void measured(tc_server *s, const char *scheme, const char *host, const char *trust, const char *option)
{
    double was = asked(s);
    if (bench(scheme, host, s->at, trust, option))
        fail_msg("%s", slurp(told));
    json_t *j = json_loads(slurp(said), 0, NULL);
    assert_non_null(j);
    assert_int_equal(json_integer_value(tc_at(j, "rows.0.answers")), 6);
    assert_int_equal(json_object_size(tc_at(j, "rows.0.errors")), 0);
    json_decref(j);
    assert_true(asked(s) == was + 7); /* one to warm up */
}

static void refused(tc_server *s, const char *scheme, const char *host, const char *trust, const char *why)
{
    double was = asked(s);
    assert_int_equal(bench(scheme, host, s->at, trust, NULL), 1);
    if (!strstr(slurp(told), why))
        fail_msg("not \"%s\" in: %s", why, slurp(told));
    assert_string_equal(slurp(said), "");
    assert_true(asked(s) == was);
}

static void a_trusted_certificate_is_measured_through(void **state)
{
    (void)state;
    tc_server s = {.cfg.tls_cert = cert, .cfg.tls_key = key};
    tc_start(&s);
    measured(&s, "https", "localhost", cert, NULL);
    measured(&s, "https", "127.0.0.1", cert, NULL);
    tc_stop(&s);
}

static void a_certificate_nobody_vouches_for_is_refused_unless_any_will_do(void **state)
{
    (void)state;
    tc_server s = {.cfg.tls_cert = cert, .cfg.tls_key = key};
    tc_start(&s);
    refused(&s, "https", "localhost", other, "certificate: self-signed certificate (--insecure takes any)");
    measured(&s, "https", "localhost", other, "--insecure");
    tc_stop(&s);
}

static void a_certificate_of_another_host_is_refused(void **state)
{
    (void)state;
    tc_server s = {.cfg.tls_cert = other, .cfg.tls_key = other_key};
    tc_start(&s);
    refused(&s, "https", "localhost", other, "certificate: hostname mismatch");
    measured(&s, "https", "127.0.0.1", other, NULL); /* that address is in it */
    measured(&s, "https", "localhost", other, "--insecure");
    tc_stop(&s);
}

static void a_certificate_that_is_past_its_time_is_refused(void **state)
{
    (void)state;
    char      old[96], old_key[96];
    sr_err    err = {0};
    snprintf(old, sizeof old, "%s/old", dir);
    snprintf(old_key, sizeof old_key, "%s/old-key", dir);
    tc_certificate(old, old_key, "old,DNS:localhost", 10);
    tc_server s = {.cfg.tls_cert = old, .cfg.tls_key = old_key};
    tc_trust(old);
    tc_start(&s);
    double was = asked(&s);
    tc_certificate(old, old_key, "old,DNS:localhost", -1);
    assert_int_equal(sr_serve_reload(s.serve, &err), SR_OK);
    assert_int_equal(bench("https", "localhost", s.at, old, NULL), 1);
    assert_non_null(strstr(slurp(told), "certificate: certificate has expired"));
    tc_certificate(old, old_key, "new,DNS:localhost", 10);
    assert_int_equal(sr_serve_reload(s.serve, &err), SR_OK);
    tc_trust(old);
    assert_true(asked(&s) == was);
    measured(&s, "https", "localhost", old, NULL);
    unlink(old), unlink(old_key);
    tc_stop(&s);
}

static void the_wrong_protocol_is_said_to_be_that(void **state)
{
    (void)state;
    tc_server s = {.cfg.tls_cert = cert, .cfg.tls_key = key};
    tc_start(&s);
    int         fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t   n = sizeof a;
    refused(&s, "http", "127.0.0.1", cert, "this port speaks TLS: the address begins with https://");
    tc_stop(&s);
    /* And somebody who speaks anything but TLS. */
    assert_true(fd >= 0 && !bind(fd, (struct sockaddr *)&a, n) && !listen(fd, 4) && !getsockname(fd, (struct sockaddr *)&a, &n));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        while ((peer = accept(fd, NULL, NULL)) >= 0) {
            char    hello[512];
            ssize_t got = read(peer, hello, sizeof hello);
            _exit(got > 0 && write(peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28) == 28 ? 0 : 1);
        }
        _exit(2);
    }
    assert_int_equal(bench("https", "127.0.0.1", ntohs(a.sin_port), cert, NULL), 1);
    assert_non_null(strstr(slurp(told), "does not speak TLS: is it http?"));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(a_trusted_certificate_is_measured_through),
        cmocka_unit_test(a_certificate_nobody_vouches_for_is_refused_unless_any_will_do),
        cmocka_unit_test(a_certificate_of_another_host_is_refused),
        cmocka_unit_test(a_certificate_that_is_past_its_time_is_refused),
        cmocka_unit_test(the_wrong_protocol_is_said_to_be_that),
    };
    return cmocka_run_group_tests(t, make_files, remove_files);
}
