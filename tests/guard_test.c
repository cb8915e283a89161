/* The program as a server that somebody wants to misuse: what it tells, whom it calls, and what signals do to it.
 *
 *     what is secret     words planted in prompts, keys, paths and folders are in no log line, metric or error
 *     whom it calls      nobody: the system kills it at connect(), and a socket that requests name hears nothing
 *     SIGHUP, SIGTERM    a new certificate; a hundred streams, through TLS, that end whole
 */
#include "serve/test_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

#define CHAT  "/v1/chat/completions"
#define MODEL "models/strata-demo-base-Q4_K_M.gguf"
static char dir[64]; /* of this run: /tmp/strata-guard-.../CANARY-folder/ holds the files */

typedef struct {
    pid_t     pid;
    tc_server at; /* only its port is used: tc_ask() and the like work */
    char      out[96], err[96];
} program;

static void slurp(const char *path, sr_buf *b)
{
    char    block[65536];
    ssize_t n;
    int     fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    b->n = 0;
    while ((n = read(fd, block, sizeof block)) > 0)
        sr_buf_add(b, block, (size_t)n);
    sr_buf_add(b, "", 0);
    close(fd);
}

/* ---- a process that may not call anybody ------------------------------------------------------------------- */

#define STOP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))

/* connect() and sending to an address end the process; so does io_uring, which could do both. */
static bool forbid_calling(void)
{
    struct sock_filter f[] = {
        LOAD(nr),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_connect, 0, 1), STOP,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_sendmmsg, 0, 1), STOP,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1), STOP,
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_sendto, 0, 5),
        LOAD(args[4]), /* the address, low and high half */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[4]) + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), STOP,
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog p = {SR_COUNT(f), f};
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p);
}

enum { MAY_NOT_CALL = 9 };

/* What ends a process that is not to call anybody: 0: a listening socket, 1: connect(), 2: sendto() with an address. */
static int fate_of(int what)
{
    int   status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, what == 2 ? SOCK_DGRAM : SOCK_STREAM, 0);
        if (!forbid_calling())
            _exit(MAY_NOT_CALL);
        if (what == 0)
            _exit(listen(fd, 1) ? 1 : 0);
        _exit(what == 1 ? connect(fd, (struct sockaddr *)&a, sizeof a) == 5 : sendto(fd, "", 0, 0, (struct sockaddr *)&a, sizeof a) == 5);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void who_calls_is_ended(void **state)
{
    (void)state;
    if (fate_of(0) == MAY_NOT_CALL)
        skip(); /* the system has no seccomp filters */
    assert_int_equal(fate_of(0), 0);
    assert_int_equal(fate_of(1), 1000 + SIGSYS);
    assert_int_equal(fate_of(2), 1000 + SIGSYS);
}

/* options: ends with NULL. */
static void begin(program *p, bool may_call, const char *const *options)
{
    static int count;
    const char *argv[40] = {SR_STRATA, "serve", "--port", "0"};
    int n = 4;
    while (*options)
        argv[n++] = *options++;
    *p = (program){.at = {.stopped = true}};
    snprintf(p->out, sizeof p->out, "%s/out%d", dir, ++count);
    snprintf(p->err, sizeof p->err, "%s/err%d", dir, count);
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (!p->pid) {
        int in = open("/dev/null", O_RDONLY), o = open(p->out, O_WRONLY | O_CREAT, 0600), e = open(p->err, O_WRONLY | O_CREAT, 0600);
        dup2(in, 0), dup2(o, 1), dup2(e, 2);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        unsetenv("NOTIFY_SOCKET");
        if (!may_call && !forbid_calling())
            _exit(MAY_NOT_CALL);
        execv(argv[0], (char **)(uintptr_t)argv);
        _exit(127);
    }
    sr_buf b = {0};
    for (int i = 0; i < 3000 && !(b.n && strstr(b.p, "ready: ")); i++, usleep(10000)) {
        int status;
        if (!access(p->out, R_OK))
            slurp(p->out, &b);
        if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
            slurp(p->err, &b);
            if (WIFEXITED(status) && WEXITSTATUS(status) == MAY_NOT_CALL) {
                print_message("not here: the system has no seccomp filters\n");
                sr_buf_end(&b);
                skip();
            }
            fail_msg("the server has ended (%d): %s", status, b.p);
        }
    }
    const char *port = b.n ? strstr(b.p, "127.0.0.1:") : NULL;
    assert_non_null(port);
    p->at.at = (uint16_t)strtoul(port + 10, NULL, 10);
    sr_buf_end(&b);
}

/* It must still be there, and ends well. */
static void end(program *p)
{
    int status;
    assert_int_equal(waitpid(p->pid, &status, WNOHANG), 0);
    kill(p->pid, SIGTERM);
    assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int ask(program *p, const char *method, const char *path, const char *headers, const char *body, sr_buf *errors)
{
    tc_reply r = {0};
    tc_ask(&p->at, method, path, headers, body, &r);
    int status = r.status;
    if (status >= 400 && errors) {
        sr_buf_add(errors, r.head.p, r.head.n);
        sr_buf_add(errors, r.body.p, r.body.n);
        sr_buf_char(errors, '\n');
    }
    tc_reply_end(&r);
    return status;
}

static int post(program *p, const char *path, const char *headers, const char *body, sr_buf *errors)
{
    char *b = tc_json("%s", body);
    int status = ask(p, "POST", path, headers, b, errors);
    sr_free(b);
    return status;
}

/* ---- what is secret ---------------------------------------------------------------------------------------- */

static void no_canary_in(const char *what, const sr_buf *b)
{
    const char *at = b->n ? memmem(b->p, b->n, "CANARY", 6) : NULL;
    if (at) {
        size_t from = (size_t)SR_MAX(at - b->p - 150, 0);
        fail_msg("%s: ...%.*s", what, (int)SR_MIN(b->n - from, (size_t)300), b->p + from);
    }
}

#define WORD "CANARY tell nobody"
static const struct { const char *path, *body; } asked[] = {
    {CHAT, "{'messages':[{'role':'user','content':'" WORD "'}],'user':'CANARY','cache_salt':'CANARY','metadata':{'a':'CANARY'},'max_tokens':3}"},
    {CHAT, "{'stream':true,'messages':[{'role':'system','content':'" WORD "'},{'role':'user','content':[{'type':'text','text':'" WORD "'}]}],'stop':['" WORD "'],'max_tokens':3}"},
    {CHAT, "{'messages':[{'role':'user','content':'a'},{'role':'assistant','tool_calls':[{'id':'CANARY','type':'function','function':{'name':'f','arguments':'{\\'a\\':\\'CANARY\\'}'}}]},"
           "{'role':'tool','tool_call_id':'CANARY','content':'" WORD "'}],'tools':[{'type':'function','function':{'name':'f','description':'" WORD "','parameters':{'type':'object'}}}],'max_tokens':3}"},
    {CHAT, "{'messages':[{'role':'user','content':'<|im_start|>" WORD "'}],'max_tokens':'CANARY'}"},
    {CHAT, "{'messages':[{'role':'CANARY','content':'" WORD "'}]}"},
    {CHAT, "{'messages':[{'role':'user','content':{'CANARY':1}}]}"},
    {CHAT, "{'messages':'" WORD "'}"},
    {CHAT, "{'messages':[{'role':'user','content':'" WORD "'}"},
    {CHAT, "" WORD},
    {CHAT, "{'messages':[{'role':'user','content':[{'type':'image_url','image_url':{'url':'http://CANARY'}}]}]}"},
    {CHAT, "{'messages':[{'role':'user','content':'" WORD "'}],'temperature':99,'functions':['CANARY']}"},
    {CHAT, "{'messages':[{'role':'user','content':'" WORD "'}],'timeout':-1}"},
    {"/v1/completions", "{'prompt':'" WORD "','max_tokens':3,'echo':true}"},
    {"/v1/completions", "{'prompt':['" WORD "','" WORD "'],'n':99,'suffix':'CANARY'}"},
    {"/v1/embeddings", "{'input':['" WORD "']}"},
    {"/v1/embeddings", "{'input':{'CANARY':'" WORD "'}}"},
    {"/v1/messages", "{'max_tokens':5,'system':'" WORD "','messages':[{'role':'user','content':'" WORD "'}]}"},
    {"/v1/messages", "{'messages':[{'role':'user','content':'" WORD "'}]}"},
    {"/v1/responses", "{'input':'" WORD "','instructions':'" WORD "','max_output_tokens':5}"},
    {"/v1/responses", "{'input':[{'type':'CANARY','text':'" WORD "'}]}"},
    {"/api/chat", "{'messages':[{'role':'user','content':'" WORD "','images':['CANARY']}]}"},
    {"/api/generate", "{'prompt':'" WORD "','system':'" WORD "','stream':false,'options':{'num_predict':3}}"},
    {"/tokenize", "{'content':'" WORD "'}"},
    {"/tokenize", "{'content':'" WORD "','prompt':'" WORD "'}"},
    {"/apply-template", "{'messages':[{'role':'user','content':7}],'x':'CANARY'}"},
    {"/v1/CANARY/" WORD, "{'prompt':'" WORD "'}"},
};

static void ask_all(program *p, const char *key, sr_buf *errors)
{
    char headers[200], path[300];
    snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\nCookie: CANARY\r\nReferer: http://CANARY/\r\nUser-Agent: CANARY\r\n", key);
    for (size_t i = 0; i < SR_COUNT(asked); i++) {
        size_t n = 0;
        for (const char *s = asked[i].path; *s; s++) /* a target has no blanks */
            n += (size_t)snprintf(path + n, sizeof path - n, *s == ' ' ? "%%20" : "%c", *s);
        snprintf(path + n, sizeof path - n, "?token=CANARY");
        assert_true(post(p, path, headers, asked[i].body, errors) > 0);
        post(p, path, "X-Api-Key: CANARY-wrong\r\n", asked[i].body, errors);
    }
    static const char *const heads[] = {
        "GET /CANARY HTTP/9.9\r\nHost: t\r\n\r\n", "GET /health HTTP/1.1\r\nCANARY : x\r\n\r\n", "GET /health HTTP/1.1\r\nHost: t\r\nContent-Length: CANARY\r\n\r\n",
        "CANARY /CANARY HTTP/1.1\r\nHost: t\r\n\r\n", "POST /tokenize HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: CANARY\r\n\r\n", "GET http://CANARY/ HTTP/1.1\r\nHost: CANARY\r\n\r\n",
        "POST /tokenize HTTP/1.1\r\nHost: t\r\nExpect: CANARY\r\n\r\n", "OPTIONS /CANARY HTTP/1.1\r\nHost: t\r\nOrigin: http://CANARY\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: t\r\nX-Request-Id: CANARY CANARY\r\nTraceparent: CANARY\r\nX-Request-Timeout: CANARY\r\nConnection: close\r\n\r\n",
    };
    for (size_t i = 0; i < SR_COUNT(heads); i++) {
        tc_conn c;
        tc_open(&c, p->at.at);
        tc_say(&c, heads[i]);
        tc_until(&c, "\r\n\r\n", 5000);
        tc_more(&c, 100);
        sr_buf_add(errors, c.in.p, c.in.n);
        tc_close(&c);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_true(f && !chmod(path, 0600) && fputs(text, f) >= 0 && !fclose(f));
}

static void words_planted_come_out_nowhere(void **state)
{
    (void)state;
    char   keys[100], model[100];
    program p;
    sr_buf errors = {0}, b = {0};
    snprintf(keys, sizeof keys, "%s/keys", dir);
    snprintf(model, sizeof model, "%s/model.gguf", dir);
    write_file(keys, "# CANARY\nCANARY-key-1 name=one at-once=100\nCANARY-key-2 name=two per-minute=1\n");
    char *real = realpath(MODEL, NULL);
    assert_non_null(real);
    assert_int_equal(symlink(real, model), 0);
    free(real);
    const char *const null[] = {"-m", model, "--api-key-file", keys, "--null-engine", "--strict-model", "--verbose", NULL};
    const char *const json[] = {"-m", model, "--api-key-file", keys, "--device", "cpu", "--engine", "thread", "--threads", "1", "--log-json", "--verbose", NULL};
    for (int i = 0; i < 2; i++) { /* with the null engine, logs as text; with the model, logs as JSON */
        begin(&p, true, i ? json : null);
        ask_all(&p, "CANARY-key-1", &errors);
        ask_all(&p, "CANARY-key-2", &errors); /* most of it over its limit */
        assert_non_null(strstr(errors.p, "rate_limit_exceeded"));
        no_canary_in("errors", &errors);
        tc_reply r = {0};
        tc_ask(&p.at, "GET", "/metrics", NULL, NULL, &r);
        assert_int_equal(r.status, 200);
        assert_non_null(strstr(r.body.p, "key=\"one\""));
        no_canary_in("metrics", &r.body);
        tc_reply_end(&r);
        tc_ask(&p.at, "GET", "/props", "Authorization: Bearer CANARY-key-1\r\n", NULL, &r);
        assert_int_equal(r.status, 200);
        no_canary_in("props", &r.body);
        tc_reply_end(&r);
        end(&p);
        slurp(p.err, &b);
        assert_non_null(strstr(b.p, "request"));
        assert_non_null(strstr(b.p, "one"));
        no_canary_in("log", &b);
        slurp(p.out, &b);
        no_canary_in("stdout", &b);
        errors.n = 0;
    }
    unlink(keys), unlink(model);
    sr_buf_end(&errors);
    sr_buf_end(&b);
}

/* ---- whom it calls ----------------------------------------------------------------------------------------- */

static int trap(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && !bind(fd, (struct sockaddr *)&a, n) && !listen(fd, 8) && !getsockname(fd, (struct sockaddr *)&a, &n));
    *port = ntohs(a.sin_port);
    return fd;
}

static void tempt(program *p, uint16_t port)
{
    char body[1000], url[64], head[300];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/x", port);
    static const char *const forms[][2] = {
        {CHAT, "{'messages':[{'role':'user','content':[{'type':'image_url','image_url':{'url':'%s'}}]}]}"},
        {CHAT, "{'messages':[{'role':'user','content':[{'type':'input_audio','input_audio':{'data':'%s','format':'wav'}}]}]}"},
        {CHAT, "{'messages':[{'role':'user','content':[{'type':'file','file':{'file_url':'%s'}}]}]}"},
        {CHAT, "{'messages':[{'role':'user','content':'hi'}],'max_tokens':3,'model':'%s','webhook':'%s','callback_url':'%s'}"},
        {CHAT, "{'messages':[{'role':'user','content':'hi'}],'max_tokens':3,'tools':[{'type':'mcp','server_url':'%s'}]}"},
        {CHAT, "{'messages':[{'role':'user','content':'hi'}],'response_format':{'type':'json_schema','json_schema':{'name':'a','schema':{'$ref':'%s'}}}}"},
        {"/v1/completions", "{'prompt':'%s','max_tokens':3,'lora':'%s'}"},
        {"/v1/embeddings", "{'input':'%s'}"},
        {"/v1/responses", "{'input':[{'role':'user','content':[{'type':'input_image','image_url':'%s'}]}]}"},
        {"/v1/responses", "{'input':'hi','max_output_tokens':3,'prompt':{'id':'%s'}}"},
        {"/v1/messages", "{'max_tokens':3,'messages':[{'role':'user','content':[{'type':'image','source':{'type':'url','url':'%s'}}]}]}"},
        {"/api/chat", "{'model':'%s','stream':false,'options':{'num_predict':3},'messages':[{'role':'user','content':'hi','images':['%s']}]}"},
        {"/api/pull", "{'model':'%s'}"}, {"/api/create", "{'from':'%s'}"}, {"/v1/files", "{'url':'%s'}"}, {"/models/load", "{'model':'%s'}"},
    };
    for (size_t i = 0; i < SR_COUNT(forms); i++) {
        size_t n = 0;
        for (const char *s = forms[i][1]; *s; s++)
            if (s[0] == '%' && s[1] == 's')
                n += (size_t)snprintf(body + n, sizeof body - n, "%s", url), s++;
            else
                body[n++] = *s;
        body[n] = 0;
        snprintf(head, sizeof head, "Forwarded: for=127.0.0.1:%u\r\nX-Forwarded-Host: 127.0.0.1:%u\r\nReferer: %s\r\n", port, port, url);
        if (!post(p, forms[i][0], head, body, NULL))
            fail_msg("no answer to %s", body);
    }
    tc_conn c; /* as a proxy */
    tc_open(&c, p->at.at);
    snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\nCONNECT 127.0.0.1:%u HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", url, port, port, port);
    tc_say(&c, head);
    tc_until(&c, "\r\n\r\n", 5000);
    tc_close(&c);
}

static void whatever_is_asked_nobody_is_called(void **state)
{
    (void)state;
    uint16_t port;
    int      fd = trap(&port);
    const char *const null[] = {"-m", MODEL, "--null-engine", NULL};
    const char *const real[] = {"-m", MODEL, "--device", "cpu", "--engine", "thread", "--threads", "1", NULL};
    const char *const child[] = {"-m", MODEL, "--device", "cpu", "--engine", "process", "--threads", "1", NULL};
    const char *const *const how[] = {null, real, child};
    for (int i = 0; i < 3; i++) {
        program p;
        begin(&p, false, how[i]);
        tempt(&p, port);
        assert_int_equal(post(&p, CHAT, NULL, "{'messages':[{'role':'user','content':'hi'}],'max_tokens':3}", NULL), 200);
        end(&p);
    }
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 100), 0);
    close(fd);
}

/* ---- signals ----------------------------------------------------------------------------------------------- */

static void await_line(const program *p, const char *text)
{
    sr_buf b = {0};
    for (int i = 0; i < 500 && !(b.n && strstr(b.p, text)); i++, usleep(10000))
        slurp(p->err, &b);
    if (!strstr(b.p, text))
        fail_msg("no \"%s\" in: %s", text, b.p);
    sr_buf_end(&b);
}

static void expect_name(const program *p, const char *name)
{
    tc_conn c;
    char    got[64] = "";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    tc_dial(&c, p->at.at);
    c.ssl = SSL_new(ctx);
    SSL_set_fd(c.ssl, c.fd);
    assert_int_equal(SSL_connect(c.ssl), 1);
    X509 *x = SSL_get1_peer_certificate(c.ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, got, sizeof got);
    X509_free(x);
    SSL_CTX_free(ctx);
    tc_close(&c);
    assert_string_equal(got, name);
}

static void sighup_reads_the_certificate_again_and_keeps_the_old_one_if_it_is_wrong(void **state)
{
    (void)state;
    char cert[100], key[100];
    program p;
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    tc_certificate(cert, key, "first", 10);
    const char *const o[] = {"-m", MODEL, "--null-engine", "--ssl-cert-file", cert, "--ssl-key-file", key, NULL};
    begin(&p, true, o);
    sr_buf b = {0};
    slurp(p.out, &b);
    assert_non_null(strstr(b.p, "ready: https://127.0.0.1:"));
    sr_buf_end(&b);
    expect_name(&p, "first");
    write_file(cert, "nonsense");
    kill(p.pid, SIGHUP);
    await_line(&p, "the certificate stays the old one");
    expect_name(&p, "first");
    tc_certificate(cert, key, "second", 10);
    kill(p.pid, SIGHUP);
    await_line(&p, "new connections get the certificate that was read now");
    expect_name(&p, "second");
    end(&p);
    unlink(cert), unlink(key);
    const char *const plain[] = {"-m", MODEL, "--null-engine", NULL};
    begin(&p, true, plain);
    kill(p.pid, SIGHUP);
    await_line(&p, "there is nothing to read again");
    end(&p);
}

/* Last of all: from here on the client speaks TLS. */
static void a_hundred_streams_through_tls_end_whole_at_sigterm(void **state)
{
    (void)state;
    enum { N = 100 };
    static const char text[] = "The ferry left at noon, two hours late, with more bicycles than people on it, and nobody minded.";
    static tc_conn c[N];
    static json_t *ev[400];
    char     cert[100], key[100], q[300];
    program  p;
    tc_reply r = {0};
    int      status;
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    tc_certificate(cert, key, "guarded", 10);
    tc_use_tls();
    tc_trust(cert);
    const char *const o[] = {"-m", MODEL, "--null-engine", "--null-text", text, "--null-rate", "3", "--parallel", "128", "--ssl-cert-file", cert,
                             "--ssl-key-file", key, "--drain-timeout", "60", NULL};
    begin(&p, true, o);
    const char *body = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    snprintf(q, sizeof q, "POST " CHAT " HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    for (int i = 0; i < N; i++) {
        tc_open(&c[i], p.at.at);
        tc_say(&c[i], q);
    }
    for (int i = 0; i < N; i++)
        assert_true(tc_until(&c[i], "content", 60000)); /* they have all begun, and the last of them is not over */
    assert_true(tc_metric(&p.at, "strata_requests_running") >= 1);
    kill(p.pid, SIGTERM);
    for (int i = 0; i < N; i++) {
        char   got[400] = "";
        size_t at = 0;
        tc_reply_read(&c[i], &r);
        assert_int_equal(r.status, 200);
        size_t n = tc_events(&r, ev, 400);
        for (size_t k = 0; k < n; k++) {
            const json_t *piece = json_object_get(tc_at(ev[k], "choices.0.delta"), "content");
            if (piece)
                at += (size_t)snprintf(got + at, sizeof got - at, "%s", json_string_value(piece));
        }
        assert_string_equal(got, text);
        assert_string_equal(tc_str(ev[n - 1], "choices.0.finish_reason"), "stop");
        for (size_t k = 0; k < n; k++)
            json_decref(ev[k]);
        tc_reply_end(&r);
        tc_close(&c[i]);
    }
    assert_int_equal(waitpid(p.pid, &status, 0), p.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    unlink(cert), unlink(key);
}

static int make_dir(void **state)
{
    (void)state;
    char base[48];
    snprintf(base, sizeof base, "%s/strata-guard-XXXXXX", P_tmpdir);
    if (!mkdtemp(base))
        return -1;
    snprintf(dir, sizeof dir, "%s/CANARY", base);
    return mkdir(dir, 0700);
}

static int remove_dir(void **state)
{
    (void)state;
    char path[100];
    for (int i = 1; i < 20; i++) {
        snprintf(path, sizeof path, "%s/out%d", dir, i);
        unlink(path);
        snprintf(path, sizeof path, "%s/err%d", dir, i);
        unlink(path);
    }
    int rc = rmdir(dir);
    *strrchr(dir, '/') = 0;
    return rc | rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_planted_come_out_nowhere),
        cmocka_unit_test(who_calls_is_ended),
        cmocka_unit_test(whatever_is_asked_nobody_is_called),
        cmocka_unit_test(sighup_reads_the_certificate_again_and_keeps_the_old_one_if_it_is_wrong),
        cmocka_unit_test(a_hundred_streams_through_tls_end_whole_at_sigterm),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
