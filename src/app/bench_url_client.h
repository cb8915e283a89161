/* bench_url_client.h - many clients of one server, on one thread: each sends a request, reads its stream, sends the next.
 *
 *     closed loop   `concurrency` clients, each busy all the time                   rate == 0
 *     open loop     requests come at random times, `rate` a second (Poisson);       rate > 0
 *                   their times count from when they should have been sent
 *
 * The run ends after `requests`, or after `seconds`: then what still runs is cut off and counted as cut, not as an error.
 * Connections are kept open between requests as far as the server allows; a kept connection that turns out to be closed
 * when it is used again is replaced once, silently.  `idle` connections stand by and say nothing.
 *
 *     OFF --connect--> DIALING --> BUSY --answer read--> REST --next--> BUSY        (OFF: where the server closes)
 *                         `-- fails, times out, breaks: counted by kind --> OFF
 *
 * Owns:    nothing after return.   Threads: one; it runs its own event loop.
 * Errors:  SR_NOMEM, SR_IO (no event loop; the server cannot be reached at all).  What goes wrong with single requests
 *          is in the result.
 */
#ifndef SR_APP_BENCH_URL_CLIENT_H
#define SR_APP_BENCH_URL_CLIENT_H
#include "app/bench_url_net.h"
#include "app/bench_url_stat.h"
#include "base/buf.h"

typedef void sr_loadbody(void *arg, uint64_t index, sr_buf *out); /* the JSON of request `index` */
typedef struct {
    const sr_nettarget *target;
    const char  *path, *api_key;   /* path: behind target->base; api_key NULL: none */
    sr_loadbody *body; void *arg;
    uint64_t     first;            /* index of the first request */
    uint32_t     concurrency, idle;
    double       rate;
    uint64_t     requests;         /* 0: as many as the time allows */
    double       seconds;          /* 0: until all requests are done */
    uint32_t     timeout_ms;       /* silence of a server */
    bool         fresh;            /* a connection of its own for each request: none is ever sent a second time */
    uint64_t     seed;             /* of the arrival times */
    const int   *enough;           /* of another thread, which stores 1: nothing more is begun, what runs is finished; may be NULL */
    void       (*progress)(void *arg, const sr_loadstat *, double seconds); /* now and then; may be NULL */
} sr_loadplan;
SR_MUSTUSE sr_status sr_load_run(const sr_loadplan *, sr_loadstat *out, sr_err *);

/* One GET; *status is the answer's, `out` its body (cut at 1 MiB). */
SR_MUSTUSE sr_status sr_load_get(const sr_nettarget *, const char *path, const char *api_key, uint32_t timeout_ms, int *status, sr_buf *out,
                                 sr_err *);
#endif
