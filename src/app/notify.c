#include "app/notify.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

sr_status sr_notify(const char *socket_name, const char *state, sr_err *err)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t             n  = socket_name ? strlen(socket_name) : 0;
    if (n == 0)
        return SR_OK;
    if ((socket_name[0] != '/' && socket_name[0] != '@') || n < 2 || n >= sizeof to.sun_path)
        return sr_raise(err, SR_INVALID, "NOTIFY_SOCKET: neither a path nor an abstract name of at most %zu bytes", sizeof to.sun_path - 1);
    memcpy(to.sun_path, socket_name, n);
    if (to.sun_path[0] == '@')
        to.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return sr_raise(err, SR_IO, "NOTIFY_SOCKET: %s", strerror(errno));
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        sr_raise(err, SR_IO, "NOTIFY_SOCKET: %s", strerror(errno));
    close(fd);
    return err->status;
}
