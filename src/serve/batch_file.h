/* batch_file.h - many requests from a file, their answers into a file: the server's work without sockets.
 *
 *     {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {..}}            a line of the input
 *     {"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 200, "request_id": "..", "body": {..}}, "error": null}
 *
 * Requests are understood, computed and answered by the code that serves them over HTTP; `in_flight` of them are with the
 * engine at any time, so that its steps stay full.  Answers are written in the order in which they are ready, each at once.
 *
 * What is wrong with one request is its line's result: a refusal is a response with the status the server would give; a line that
 * is no request has "response": null and an "error".  Lines whose results are in the output already are left out, but for
 * statuses of 500 and more, which are tried again: the last line of a custom_id counts.  A last line without its end, from a
 * program that was killed, is cut off.
 *
 * Owns:    both files while it runs.   Threads: one; it is the port's only poller meanwhile.
 * Errors:  SR_IO naming the file; SR_DEVLOST: the engine has died, what was written stays.  Never because of a request.
 * Source:  OpenAI API reference, batch API: input and output files.
 */
#ifndef SR_SERVE_BATCH_FILE_H
#define SR_SERVE_BATCH_FILE_H
#include "serve/request.h"

typedef struct {
    uint64_t lines, skipped;             /* of the input that are not empty; of these, done before */
    uint64_t answered, refused, invalid; /* written in this run: status 200, another, no request at all */
    uint64_t prompt, cached, made;       /* tokens of those answered */
    uint64_t ns;                         /* from the first request to the last answer */
} sr_batchsum;
typedef struct {
    sr_servemodel  model;
    const char    *model_id;
    const char    *input, *output;       /* input "-": stdin; output: a regular file, made if it is not there */
    uint32_t       in_flight;            /* 0: 16 */
    sr_servelimits limits;               /* zeros: the server's */
    void (*progress)(void *arg, const sr_batchsum *so_far); void *arg; /* after each answer; NULL: nobody asks */
} sr_batchcfg;
SR_MUSTUSE sr_status sr_batch_run(const sr_batchcfg *, sr_batchsum *, sr_err *);

/* One line, understood.  False: code (a constant) and why; custom_id may be there all the same. */
typedef struct {
    json_t     *root;                    /* owns the others; sr_batch_line_end() */
    const char *custom_id; size_t n_id;  /* NULL: none that can be used */
    const json_t *body;
    sr_api      api;
    const char *code;
    char        why[240];
} sr_batchline;
bool sr_batch_line(const char *p, size_t n, const sr_servelimits *limits, sr_batchline *out);
void sr_batch_line_end(sr_batchline *);
#endif
