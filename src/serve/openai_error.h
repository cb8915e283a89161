/* openai_error.h - a refusal in the form its client expects.
 *
 *     {"error":{"message":"...","type":"invalid_request_error","param":"top_p","code":null}}          OpenAI
 *     {"type":"error","error":{"type":"invalid_request_error","message":"..."}}                       Anthropic
 *     {"error":"..."}                                                                                ollama
 *
 * Owns:    nothing; plain data.   Threads: any.   Errors: of two, the first stays.
 */
#ifndef SR_SERVE_OPENAI_ERROR_H
#define SR_SERVE_OPENAI_ERROR_H
#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

typedef enum { SR_ERR_OPENAI, SR_ERR_ANTHROPIC, SR_ERR_OLLAMA } sr_errform;
typedef struct {
    int         status;            /* HTTP status; 0: no error */
    const char *code;              /* a constant, or NULL */
    char        param[96];         /* "" -> null */
    char        msg[560];
    uint32_t    n_prompt, n_ctx;   /* context_length_exceeded: both also as members */
    uint32_t    retry_s;           /* Retry-After; 0: none */
    sr_errform  form;              /* of the JSON */
    const char *allow;             /* 405: the methods there are; a constant */
    bool        final;             /* trying again would end the same: clients that try on their own are told */
} sr_apierr;                       /* zero-initialised = none */

/* Always false, so that a check reads `return x ? true : sr_api_fail(...)`.  param, code: may be NULL. */
bool sr_api_fail(sr_apierr *e, int status, const char *param, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* What went wrong below, as an answer: SR_INVALID and SR_UNSUPPORTED 400, SR_AGAIN 429, SR_NOMEM 503, others 500. */
bool sr_api_fail_err(sr_apierr *e, sr_status s, const char *msg, const char *param);
void sr_api_rename(sr_apierr *e, const char *from, const char *to); /* the parameter as another dialect calls it, in param and message */
void sr_api_error_json(const sr_apierr *e, sr_buf *out);
#endif
