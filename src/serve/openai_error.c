#include "serve/openai_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/jsonw.h"
#include "base/log.h"

bool sr_api_fail(sr_apierr *e, int status, const char *param, const char *code, const char *fmt, ...)
{
    if (e->status)
        return false;
    e->status  = status;
    e->code    = code;
    e->retry_s = status == 429 || status == 503 ? 1 : 0;
    e->final   = status == 504;
    snprintf(e->param, sizeof e->param, "%s", param ? param : "");
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return false;
}

bool sr_api_fail_err(sr_apierr *e, sr_status s, const char *msg, const char *param)
{
    if (!msg || !*msg)
        msg = sr_status_name(s);
    if (s == SR_INVALID || s == SR_UNSUPPORTED)
        return sr_api_fail(e, 400, param, NULL, "%s", msg);
    if (s == SR_AGAIN)
        return sr_api_fail(e, 429, NULL, "queue_full", "The server is busy: its queue is full.");
    if (s != SR_NOMEM && (s == SR_IO || strchr(msg, '/'))) { /* it names a file of the server's, or an engine that died of one does */
        sr_log(SR_LOG_ERROR, "%s", msg);
        msg = "A file of the model could not be read; the server's log says which.";
    }
    sr_api_fail(e, s == SR_NOMEM ? 503 : 500, NULL, s == SR_NOMEM ? "out_of_memory" : "internal_error", "%s", msg);
    e->final = e->status == 500 && s == SR_IO; /* a file, or what was computed from it: not a device that comes back */
    return false;
}

void sr_api_rename(sr_apierr *e, const char *from, const char *to)
{
    char        quoted[64];
    sr_apierr   old = *e;
    size_t      n   = (size_t)snprintf(quoted, sizeof quoted, "'%s'", from);
    const char *at  = strstr(old.msg, quoted);
    if (strcmp(e->param, from))
        return;
    snprintf(e->param, sizeof e->param, "%s", to);
    if (at)
        snprintf(e->msg, sizeof e->msg, "%.*s'%s'%s", (int)(at - old.msg), old.msg, to, at + n);
}

static const char *type_of(const sr_apierr *e)
{
    bool anthropic = e->form == SR_ERR_ANTHROPIC;
    switch (e->status) {
    case 401: return "authentication_error";
    case 429: return "rate_limit_error";
    case 404: return anthropic ? "not_found_error" : "invalid_request_error";
    case 413: return anthropic ? "request_too_large" : "invalid_request_error";
    case 504: return anthropic ? "timeout_error" : "server_error";
    case 503: return anthropic ? "overloaded_error" : "server_error";
    default:  return e->status < 500 ? "invalid_request_error" : anthropic ? "api_error" : "server_error";
    }
}

static void openai(const sr_apierr *e, sr_jsonw *w)
{
    sr_json_obj(w, "error");
    sr_json_str(w, "message", e->msg);
    sr_json_str(w, "type", type_of(e));
    sr_json_str(w, "param", e->param[0] ? e->param : NULL);
    sr_json_str(w, "code", e->code);
    if (e->n_ctx) {
        sr_json_uint(w, "n_prompt_tokens", e->n_prompt);
        sr_json_uint(w, "n_ctx", e->n_ctx);
    }
    sr_json_end(w);
}

void sr_api_error_json(const sr_apierr *e, sr_buf *out)
{
    sr_jsonw w = {.out = out};
    sr_json_obj(&w, NULL);
    if (e->form == SR_ERR_OLLAMA) {
        sr_json_str(&w, "error", e->msg);
    } else if (e->form == SR_ERR_ANTHROPIC) {
        sr_json_str(&w, "type", "error");
        sr_json_obj(&w, "error");
        sr_json_str(&w, "type", type_of(e));
        sr_json_str(&w, "message", e->msg);
        sr_json_end(&w);
    } else {
        openai(e, &w);
    }
    sr_json_end(&w);
}
