/* cmd_serve.c - the server: listens at once, loads the model beside it, ends when it is told to.
 *
 *     main thread    sockets (serve.h); says 503 until the model is there
 *     loader thread  opens the model, hands it over, ends
 *     signal thread  SIGINT, SIGTERM: finish what runs, take nothing new; a second one: end at once.  SIGHUP: read the
 *                    certificate again
 *     engine thread  computes (session.h)
 *
 * With --null-engine nothing is computed: of the model's file only the vocabulary and the template are read, and every
 * answer is the same text.  That is for tests of clients and of what stands between them and us.
 */
#include "app/ask.h"
#include "app/commands.h"
#include "app/limits.h"
#include "app/notify.h"
#include "app/paths.h"
#include "app/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/keys.h"
#include "serve/null_engine.h"
#include "serve/serve.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NULL_WIDTH = 384, KEY_FILE_MAX = 65536 };

typedef struct {
    sr_sessioncfg cfg;
    sr_servecfg   serve;
    const char   *host, *api_key, *api_key_file, *model_name, *prefix, *cors, *cert, *cert_key, *limits;
    uint32_t      port, drain_s, timeout_s;
    const char   *engine, *null_text;
    float         null_rate, null_prompt_rate;
    bool          null_engine, null_endless;
    bool          guard_metrics, strict_model, no_ui, log_json, verbose;
} options;
typedef struct {
    options    *o;
    sr_serve   *serve;
    sr_session *session;
    sr_text     text;
    sr_port    *null_port;        /* --null-engine, in place of the session */
    sr_null    *null;
    sr_ids      null_ids;
    pthread_t   loader, signals;
    int         over;             /* run() has returned: the signal thread may go */
    char        gpu[48];          /* as NVIDIA's tools write its uuid; "": no GPU */
    bool        failed;
} server;

/* The file (serve/keys.h) must be its owner's alone. */
static sr_status read_keys(const char *path, sr_buf *text, sr_servekey *keys, uint32_t *n, sr_err *err)
{
    struct stat st;
    char        block[4096];
    size_t      got;
    uint32_t    before = *n;
    FILE       *f = fopen(path, "re");
    if (!f || fstat(fileno(f), &st)) {
        sr_raise(err, SR_IO, "%s: %s", path, strerror(errno));
    } else if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        sr_raise(err, SR_INVALID, "%s: others may read it (mode %04o); chmod 600", path, (unsigned)(st.st_mode & 07777));
    } else {
        text->limit = KEY_FILE_MAX;
        while ((got = fread(block, 1, sizeof block, f)) > 0 && sr_buf_add(text, block, got))
            ;
        if (!sr_buf_char(text, 0))
            sr_raise(err, SR_INVALID, "%s: larger than %d bytes", path, KEY_FILE_MAX - 1);
        else if (strlen(text->p) + 1 < text->n)
            sr_raise(err, SR_INVALID, "%s: a byte 0 in it: not a text", path);
    }
    if (f)
        fclose(f);
    if (err->status)
        return err->status;
    if (sr_keyfile_parse(text->p, keys, SR_KEYS_MAX, n, err))
        return sr_while(err, "reading %s", path);
    return *n == before ? sr_raise(err, SR_INVALID, "%s: no key in it", path) : SR_OK;
}

/* GPU-00112233-4455-6677-8899-aabbccddeeff */
static void name_gpu(server *v)
{
    static const uint8_t none[16];
    const uint8_t *u = v->session->info.uuid;
    char *at = v->gpu;
    if (v->session->info.on_host || !memcmp(u, none, sizeof none))
        return;
    at += snprintf(at, sizeof v->gpu, "GPU");
    for (int i = 0; i < 16; i++)
        at += snprintf(at, sizeof v->gpu - (size_t)(at - v->gpu), "%s%02x", i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

static sr_status hand_over(server *v, sr_err *err)
{
    const sr_modelinfo *i = &v->session->info;
    name_gpu(v);
    const sr_servemodel m = {.port = v->session->port, .tok = v->text.tok, .chat = v->text.chat, .ctx = i->ctx, .arch = i->arch,
                             .ftype = i->ftype, .device = i->device, .gpu_uuid = v->gpu[0] ? v->gpu : NULL, .n_params = i->n_params, .bytes = i->bytes,
                             .ram = i->ram_coded ? "coded" : i->ram_format ? sr_dtype_name(i->ram_format) : NULL,
                             .ctx_train = i->ctx_train, .n_embd = i->n_embd, .fallback = v->session->passed_over[0] != 0};
    return sr_serve_ready(v->serve, &m, err);
}

static void say_loaded(const server *v, double seconds)
{
    const sr_modelinfo *i = &v->session->info;
    char                memory[512];
    uint64_t            device_bytes = sr_session_memory(i, memory, sizeof memory);
    sr_logf(SR_LOG_INFO,
            SR_FIELDS(SR_FSTR("model", v->session->id), SR_FSTR("arch", i->arch), SR_FSTR("format", i->ftype),
                      SR_FINT("weight_bytes", i->bytes), SR_FINT("kv_bytes", i->kv_bytes), SR_FINT("scratch_bytes", i->scratch_bytes), SR_FINT("ctx", i->ctx),
                      SR_FSTR("device", i->device), SR_FSTR("isa", i->isa), SR_FINT("threads", i->threads),
                      SR_FSTR("cpu_activations", i->f32_activations ? "f32" : "int8"),
                      SR_FINT("device_bytes", device_bytes), SR_FINT("warmup_steps", i->warm_steps), SR_FNUM("warmup_seconds", i->warm_s),
                      SR_FNUM("seconds", seconds)),
            "model loaded");
    if (device_bytes)
        sr_log(SR_LOG_INFO, "device memory: %s", memory);
    if (i->bytes_device < i->bytes)
        sr_logf(SR_LOG_INFO, SR_FIELDS(SR_FINT("bytes_device", i->bytes_device), SR_FINT("bytes_outside", i->bytes - i->bytes_device),
                                       SR_FNUM("cpu_share", i->cpu_share), SR_FNUM("predicted_ms", i->predicted_s * 1e3)),
                "weights outside the device come in every step");
    if (i->bytes_ram)
        sr_log(SR_LOG_INFO, "%.2f GB of weights in RAM are %s%s: %.2f GB", (double)i->bytes_before * 1e-9, i->ram_coded ? "coded" : "encoded anew in ",
               i->ram_coded ? "" : sr_dtype_name(i->ram_format), (double)i->bytes_ram * 1e-9);
    if (*i->disk)
        sr_log(SR_LOG_INFO, "weights on disk are read by %s", i->disk);
    if (!v->text.chat)
        sr_log(SR_LOG_WARN, "chat completions are refused: %s", v->text.chat_why);
}

/* A service manager that does not listen is no reason to end. */
static void notify(const char *state)
{
    sr_err err = {0};
    if (sr_notify(sr_app_env("NOTIFY_SOCKET"), state, &err))
        sr_log(SR_LOG_WARN, "%s", err.msg);
}

static sr_status open_null(server *v, sr_err *err)
{
    const options *o   = v->o;
    const char    *say = o->null_text ? o->null_text : "This is the null engine: it says the same to everybody.";
    if (sr_text_open(o->cfg.model, &v->text, err) || sr_port_open(NULL, &v->null_port, err) ||
        sr_tokenizer_encode(v->text.tok, say, strlen(say), SR_TOK_PARSE_SPECIAL, &v->null_ids, err))
        return err->status;
    const sr_nullcfg    cfg = {.tok = v->null_ids.p, .n_tok = (uint32_t)v->null_ids.n, .endless = o->null_endless, .rate = (double)o->null_rate,
                               .prompt_rate = (double)o->null_prompt_rate, .max_seqs = o->cfg.max_seqs, .ctx = o->cfg.ctx, .width = NULL_WIDTH};
    const sr_servemodel m   = {.port = v->null_port, .tok = v->text.tok, .chat = v->text.chat, .ctx = o->cfg.ctx ? o->cfg.ctx : 8192,
                               .arch = "null", .device = "none", .n_embd = NULL_WIDTH};
    if (sr_null_open(v->null_port, &cfg, &v->null, err))
        return err->status;
    return sr_serve_ready(v->serve, &m, err);
}

static const char *scheme(const options *o) { return o->cert ? "https" : "http"; }

static void say_ready(const server *v, const char *id)
{
    printf("ready: %s://%s:%u/v1 (%s)\n", scheme(v->o), v->o->host, sr_serve_port(v->serve), id);
    fflush(stdout);
    notify("READY=1");
}

static void *load(void *arg)
{
    server  *v     = arg;
    sr_err   err   = {0};
    uint64_t since = sr_now_ns();
    if (v->o->null_engine) {
        if (open_null(v, &err) == SR_OK) {
            sr_log(SR_LOG_WARN, "null engine: every answer is the same text");
            say_ready(v, v->o->serve.model_id);
            return NULL;
        }
    } else if (sr_session_open(&v->o->cfg, &v->session, &err) == SR_OK && sr_text_open(v->session->path, &v->text, &err) == SR_OK &&
        hand_over(v, &err) == SR_OK) {
        say_loaded(v, (double)(sr_now_ns() - since) * 1e-9);
        say_ready(v, v->session->id);
        return NULL;
    }
    sr_log(SR_LOG_ERROR, "%s", err.msg);
    v->failed = true;
    sr_serve_stop(v->serve);
    sr_serve_stop(v->serve); /* nothing runs: at once */
    return NULL;
}

/* What was read from files is read again; what is wrong with them now is no reason to end. */
static void reload(server *v)
{
    sr_err err = {0};
    if (!v->o->cert)
        sr_log(SR_LOG_INFO, "SIGHUP: there is nothing to read again");
    else if (sr_serve_reload(v->serve, &err))
        sr_log(SR_LOG_ERROR, "SIGHUP: the certificate stays the old one: %s", err.msg);
    else
        sr_log(SR_LOG_INFO, "SIGHUP: new connections get the certificate that was read now");
}

/* SIGINT, SIGTERM, SIGHUP.  Without files to read again, at a terminal, the last still means that the terminal is gone. */
static sigset_t our_signals(const options *o)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    if (o->cert || !isatty(STDIN_FILENO))
        sigaddset(&set, SIGHUP);
    return set;
}

static void *wait_for_signals(void *arg)
{
    server  *v   = arg;
    sigset_t set = our_signals(v->o);
    for (int n = 0;; n++) {
        int sig = 0;
        while (sigwait(&set, &sig) || sig == SIGHUP)
            if (sig == SIGHUP)
                reload(v);
        if (__atomic_load_n(&v->over, __ATOMIC_ACQUIRE))
            return NULL;
        if (n)
            sr_log(SR_LOG_INFO, "asked again: ending at once");
        else
            notify("STOPPING=1");
        sr_serve_stop(v->serve);
    }
}

static sr_status start(server *v, sr_err *err)
{
    sigset_t ours = our_signals(v->o);
    pthread_sigmask(SIG_BLOCK, &ours, NULL); /* the signal thread alone takes them */
    if (sr_serve_open(&v->o->serve, &v->serve, err))
        return err->status;
    if (pthread_create(&v->signals, NULL, wait_for_signals, v))
        return sr_raise(err, SR_IO, "cannot start the signal thread");
    if (pthread_create(&v->loader, NULL, load, v)) {
        sr_raise(err, SR_IO, "cannot start the loader thread");
    } else {
        sr_log(SR_LOG_INFO, "listening on %s://%s:%u, loading the model", scheme(v->o), v->o->host, sr_serve_port(v->serve));
        if (sr_serve_run(v->serve, err) == SR_OK)
            sr_log(SR_LOG_INFO, "ended");
        pthread_join(v->loader, NULL);
    }
    __atomic_store_n(&v->over, 1, __ATOMIC_RELEASE);
    pthread_kill(v->signals, SIGTERM); /* wakes it */
    pthread_join(v->signals, NULL);
    return err->status;
}

/* Each connection is a descriptor, and the usual soft limit of 1,024 is a tenth of what the server may hold. */
static void raise_descriptors(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur >= l.rlim_max)
        return;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l))
        sr_log(SR_LOG_WARN, "the limit of open files stays as it is: %s", strerror(errno));
}

static int run(options *o)
{
    sr_err      err = {0};
    sr_buf      key_text = {0};
    const char *from_env = sr_app_env("STRATA_API_KEY");
    sr_servekey keys[SR_KEYS_MAX];
    uint32_t    n_keys = 0;
    char        path[4096], id[256];
    server      v = {.o = o};
    sr_log_setup(&(sr_logcfg){.level = o->verbose ? SR_LOG_DEBUG : SR_LOG_INFO, .json = o->log_json});
    raise_descriptors();
    if (o->api_key || (from_env && *from_env))
        keys[n_keys++] = (sr_servekey){.key = o->api_key ? o->api_key : from_env};
    if ((o->limits && sr_limits_read(o->limits, &o->serve.limits, &o->serve.times, &err)) ||
        (o->api_key_file && read_keys(o->api_key_file, &key_text, keys, &n_keys, &err)) ||
        sr_model_path(o->cfg.model, path, sizeof path, &err))
        goto end;
    sr_model_id(path, id, sizeof id);
    o->cfg.process         = strcmp(o->engine, "process") == 0;
    o->cfg.gpu_process     = strcmp(o->engine, "auto") == 0;
    o->cfg.model           = path;
    o->cfg.grammars        = true;
    o->serve.host          = o->host;
    o->serve.port          = (uint16_t)o->port;
    o->serve.prefix        = o->prefix;
    o->serve.cors          = o->cors;
    o->serve.tls_cert      = o->cert;
    o->serve.tls_key       = o->cert_key;
    o->serve.keys          = keys;
    o->serve.n_keys        = n_keys;
    o->serve.guard_metrics = o->guard_metrics;
    o->serve.strict_model  = o->strict_model;
    o->serve.no_ui         = o->no_ui;
    o->serve.model_id      = o->model_name ? o->model_name : id;
    o->serve.times.drain   = o->drain_s * 1000;
    o->serve.times.answer  = o->timeout_s * 1000;
    start(&v, &err);
end:
    sr_serve_close(v.serve);
    sr_null_close(v.null);
    sr_port_close(v.null_port);
    sr_ids_end(&v.null_ids);
    sr_text_close(&v.text);
    sr_session_close(v.session);
    if (key_text.p)
        explicit_bzero(key_text.p, key_text.n);
    sr_buf_end(&key_text);
    if (err.status)
        fprintf(stderr, "strata serve: %s\n", err.msg);
    return err.status || v.failed ? 1 : 0;
}

int sr_cmd_serve(int argc, char **argv)
{
    options      o     = {.cfg = {.device = "auto", .kv_k = "f16", .kv_v = "f16", .max_seqs = 8, .step_timeout = 60, .warm = true, .quiet = true}, .engine = "auto", .host = "127.0.0.1", .port = 8080, .drain_s = 30};
    const sr_opt opt[] = {
        SR_O_MODEL(o.cfg),
        SR_O_STR("host", 0, o.host, "ADDRESS", "address to listen on; 0.0.0.0 for all"),
        SR_O_UINT("port", 0, o.port, "P", "port to listen on; 0 takes a free one", 0, 65535),
        SR_O_STR("api-key", 0, o.api_key, "KEY", "clients must send it; better from STRATA_API_KEY or a file, which ps does not show"),
        SR_O_STR("api-key-file", 0, o.api_key_file, "FILE", "one key a line, behind it name=NAME, at-once=N, per-minute=N as wanted; mode 600"),
        SR_O_STR("ssl-cert-file", 0, o.cert, "FILE", "serve HTTPS with this certificate, PEM, with what leads to its root; SIGHUP reads it again"),
        SR_O_STR("ssl-key-file", 0, o.cert_key, "FILE", "the certificate's private key, PEM, without a passphrase"),
        SR_O_FLAG("guard-metrics", 0, o.guard_metrics, "/metrics asks for a key, too"),
        SR_O_STR("model-name", 0, o.model_name, "NAME", "what /v1/models lists; without it, the file's name"),
        SR_O_FLAG("strict-model", 0, o.strict_model, "refuse requests for another model name (else any name means this model)"),
        SR_O_UINT("parallel", 0, o.cfg.max_seqs, "N", "sequences computed at once; more wait", 1, 4096),
        SR_O_UINT("connections", 0, o.serve.limits.conns, "N", "connections at once; more are told 503; without it, 12288", 1, 1000000),
        SR_O_UINT("connections-per-address", 0, o.serve.limits.conns_per_ip, "N", "of one address; more are told 429; without it, 256", 1, 1000000),
        SR_O_STR("limits", 0, o.limits, "LIST", "of requests, as body_bytes=64MiB,messages=8192,head_seconds=20; docs/API.md has the names, /props what is in effect"),
        SR_O_CTX(o.cfg),
        SR_O_CHOICE("pooling", 0, o.cfg.pooling, "last|mean|cls", "embeddings: the state of the last token, the mean of all, or the first's; without it, what the file says, else last"),
        SR_O_COMPUTE(o.cfg),
        SR_O_WARMUP(o.cfg),
        SR_O_SKIP(o.cfg),
        SR_O_CHOICE("engine", 0, o.engine, "auto|thread|process", "where the model is computed; a process of its own is replaced when it dies; auto: a process on a GPU"),
        SR_O_UINT("step-timeout", 0, o.cfg.step_timeout, "SECONDS", "a GPU that has not finished a step by then hangs: its engine is replaced; 20 times what a step of one token takes where that is more; 0: wait", 0, 86400),
        SR_O_STR("api-prefix", 0, o.prefix, "PATH", "paths may also begin with it, as /openai"),
        SR_O_FLAG("no-ui", 0, o.no_ui, "no page at /, the API alone"),
        SR_O_STR("cors", 0, o.cors, "ORIGIN", "Access-Control-Allow-Origin; without it *, \"\" sends none"),
        SR_O_UINT("request-timeout", 0, o.timeout_s, "SECONDS", "longest a request may take, from its first byte to the end of its answer; a request may ask for less", 1, 86400),
        SR_O_UINT("drain-timeout", 0, o.drain_s, "SECONDS", "how long answers may go on after SIGTERM", 1, 86400),
        SR_O_FLAG("null-engine", 0, o.null_engine, "compute nothing: every answer is the same text; for tests of clients"),
        SR_O_STR("null-text", 0, o.null_text, "TEXT", "what the null engine says"),
        SR_O_FLAG("null-endless", 0, o.null_endless, "again and again, to the request's max_tokens"),
        SR_O_REAL("null-rate", 0, o.null_rate, "T", "its tokens a second for each answer; 0 as fast as they are read", 0, 1e6),
        SR_O_REAL("null-prompt-rate", 0, o.null_prompt_rate, "T", "tokens a second of a prompt before its answer begins; 0 at once", 0, 1e9),
        SR_O_FLAG("log-json", 0, o.log_json, "one JSON object a line on stderr, instead of text"),
        SR_O_FLAG("verbose", 'v', o.verbose, "more lines"),
    };
    const sr_optspec spec = {"serve", NULL,
                             "Serve a model to clients of OpenAI (/v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings), Anthropic "
                             "(/v1/messages) and ollama (/api/chat), with /v1/models, /health, /metrics; a page to chat at /. The port answers at once, 503 until the model is loaded; then one line on stdout says so. "
                             "SIGTERM finishes what runs.",
                             opt, SR_COUNT(opt), .max_operands = 0,
                             .more = "example:\n  strata serve -m model.gguf --port 8080 --parallel 16\n"};
    int rc = sr_opt_parse(&spec, &argc, argv);
    return rc >= 0 ? rc : run(&o);
}
