#include "format/gguf_internal.h"
#include "base/fault.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHUNK = 1 << 18 }; /* bytes of header read at a time: a multiple of any page size */

/* Messages are short: of a long path the end is what tells files apart. */
void sr_gguf_show_path(char *out, size_t cap, const char *path)
{
    size_t n = strlen(path), keep = 120;
    if (n <= keep) {
        sr_escape(out, cap, path, n);
    } else {
        memcpy(out, "...", 3);
        sr_escape(out + 3, cap - 3, path + n - keep, keep);
    }
}

static const char *kind_name(mode_t m)
{
    return S_ISDIR(m)    ? "a directory"
           : S_ISFIFO(m) ? "a FIFO"
           : S_ISCHR(m) || S_ISBLK(m) ? "a device"
           : S_ISSOCK(m) ? "a socket"
                         : "not a regular file";
}

sr_status sr_gguf_bytes_open(sr_gguf_bytes *f, const char *path, sr_err *err)
{
    f->fd = -1;
    sr_gguf_show_path(f->show, sizeof f->show, path);
    f->path = sr_strdup(path);
    if (!f->path)
        return sr_raise(err, SR_NOMEM, "%s: host memory for the path", f->show);
    /* O_NONBLOCK: opening a FIFO or a device must not wait for its other side. */
    f->fd = sr_fault(SR_FAULT_OPEN) ? (errno = EMFILE, -1) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0 || fstat(f->fd, &f->st) < 0)
        return sr_raise(err, SR_IO, "%s: %s", f->show, strerror(errno));
    if (!S_ISREG(f->st.st_mode))
        return sr_raise(err, SR_INVALID, "%s: is %s, not a GGUF file", f->show, kind_name(f->st.st_mode));
    if (f->st.st_size < 24)
        return sr_raise(err, SR_INVALID, "%s: not a GGUF file: %lld bytes, a header alone has 24", f->show,
                        (long long)f->st.st_size);
    f->size = (uint64_t)f->st.st_size;
    if (f->size > SIZE_MAX)
        return sr_raise(err, SR_UNSUPPORTED, "%s: %llu bytes cannot be mapped on this machine", f->show,
                        (unsigned long long)f->size);
    void *p = sr_fault(SR_FAULT_OPEN) ? (errno = ENOMEM, MAP_FAILED)
                                      : mmap(NULL, (size_t)f->size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, f->fd, 0);
    if (p == MAP_FAILED)
        return sr_raise(err, SR_IO, "%s: cannot map %llu bytes: %s", f->show, (unsigned long long)f->size,
                        strerror(errno));
    f->base   = p;
    f->mapped = true;
    f->guard  = sr_guard_open(p, (size_t)f->size);
    return f->guard ? SR_OK : sr_raise(err, SR_NOMEM, "%s: more than %d files are mapped", f->show, SR_GUARDS);
}

sr_status sr_gguf_bytes_read(const sr_gguf_bytes *f, void *p, uint64_t n, uint64_t at, sr_err *err)
{
    for (uint64_t got = 0; got < n;) {
        ssize_t k = sr_fault(SR_FAULT_READ) ? (errno = EIO, -1)
                                            : pread(f->fd, (uint8_t *)p + got, (size_t)(n - got), (off_t)(at + got));
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return sr_raise(err, SR_IO, "%s: reading at %llu: %s", f->show, (unsigned long long)(at + got), strerror(errno));
        if (k == 0)
            return sr_raise(err, SR_IO, "%s: shrank while being read: had %llu bytes, now ends at %llu", f->show,
                            (unsigned long long)f->size, (unsigned long long)(at + got));
        got += (uint64_t)k;
    }
    return SR_OK;
}

sr_status sr_gguf_bytes_own(sr_gguf_bytes *f, uint64_t upto, sr_err *err)
{
    while (f->owned < upto) {
        uint64_t at = f->owned, n = SR_MIN((uint64_t)CHUNK, f->size - at);
        void    *p = sr_fault(SR_FAULT_OPEN) ? (errno = ENOMEM, MAP_FAILED)
                                             : mmap((void *)(uintptr_t)(f->base + at), (size_t)n, PROT_READ | PROT_WRITE,
                                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (p == MAP_FAILED)
            return sr_raise(err, SR_NOMEM, "%s: host: %llu bytes for the header", f->show, (unsigned long long)n);
        sr_status s = sr_gguf_bytes_read(f, p, n, at, err);
        if (s)
            return s;
        f->owned += n;
    }
    return SR_OK;
}

sr_status sr_gguf_bytes_seal(sr_gguf_bytes *f, sr_err *err)
{
    if (!f->mapped)
        return SR_OK;
    sr_status s = sr_gguf_bytes_recheck(f, err);
    if (s)
        return s;
    if (f->owned && mprotect((void *)(uintptr_t)f->base, (size_t)f->owned, PROT_READ) < 0)
        return sr_raise(err, SR_IO, "%s: mprotect: %s", f->show, strerror(errno));
    close(f->fd);
    f->fd = -1;
    return SR_OK;
}

sr_status sr_gguf_bytes_recheck(const sr_gguf_bytes *f, sr_err *err)
{
    struct stat now;
    if (!f->mapped)
        return SR_OK;
    if (sr_guard_hit(f->guard))
        return sr_raise(err, SR_IO, "%s: cut short or unreadable while in use: it had %llu bytes", f->show, (unsigned long long)f->size);
    if ((f->fd >= 0 ? fstat(f->fd, &now) : stat(f->path, &now)) < 0)
        return sr_raise(err, SR_IO, "%s: %s", f->show, strerror(errno));
    if (now.st_size != f->st.st_size)
        return sr_raise(err, SR_IO, "%s: changed since it was opened: had %lld bytes, now %lld", f->show,
                        (long long)f->st.st_size, (long long)now.st_size);
    if (now.st_ino != f->st.st_ino || now.st_dev != f->st.st_dev)
        return sr_raise(err, SR_IO, "%s: replaced by another file since it was opened", f->show);
    if (now.st_mtim.tv_sec != f->st.st_mtim.tv_sec || now.st_mtim.tv_nsec != f->st.st_mtim.tv_nsec)
        return sr_raise(err, SR_IO, "%s: written to since it was opened", f->show);
    return SR_OK;
}

void sr_gguf_bytes_close(sr_gguf_bytes *f)
{
    sr_guard_close(f->guard);
    if (f->mapped || f->ours)
        munmap((void *)(uintptr_t)f->base, (size_t)f->size);
    if (f->fd >= 0)
        close(f->fd);
    sr_free(f->path);
    *f = (sr_gguf_bytes){.fd = -1};
}
