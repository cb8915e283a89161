/* worker.h - the engine as a process of its own, watched and replaced when it dies.
 *
 *     server process                          worker process: strata engine (hidden)
 *     watcher thread  --order, descriptors-->  loads the model, runs the engine on the port
 *                     <--progress, ready-----
 *                     <--end of file---------  dead: sr_port_down(), the next one after a pause
 *
 * A sticky CUDA error, a step that does not come back (watchdog.h), a kill or a file that shrinks under its mapping ends the worker;
 * connections, queue and process of the server stay.  The worker ends itself when the server is gone.
 *
 * Owns:    the process, its watcher thread, their socket.  Borrows the port (opened with `keep`).
 * Threads: open, close: one thread.
 * Errors:  of the first start: the worker's own.  One that has made a token is replaced at once; one that has not after 0.1, 0.2, .. 10 s,
 *          ten times in a row at most; then the port is gone (stats.fault).
 */
#ifndef SR_APP_WORKER_H
#define SR_APP_WORKER_H
#include "app/session.h"

typedef struct sr_worker sr_worker;
SR_MUSTUSE sr_status sr_worker_open(const sr_sessioncfg *, const char *path, sr_port *, sr_modelinfo *info, sr_worker **, sr_err *);
void sr_worker_close(sr_worker *);
#endif
