/* notify.h - tells the service manager how the server is, where one has asked for it (systemd's Type=notify).
 *
 *     sr_notify(sr_app_env("NOTIFY_SOCKET"), "READY=1")
 *
 * One datagram to the socket of that name; a name that begins with '@' is in the abstract namespace.  libsystemd does the
 * same with more code than this and is not needed for it.
 *
 * Threads: any.   Errors: SR_IO; SR_INVALID for a name that is no socket's.  A name that is NULL or empty: nobody asked, SR_OK.
 * Source:  sd_notify(3), "Notes": the protocol is covered by the interface promise.
 */
#ifndef SR_APP_NOTIFY_H
#define SR_APP_NOTIFY_H
#include "base/err.h"
SR_MUSTUSE sr_status sr_notify(const char *socket_name, const char *state, sr_err *err);
#endif
