/* tls.h - the server's certificate, and TLS sessions over sockets that do not block.
 *
 *     sr_tls      certificate and key, from two PEM files; reload() swaps them for the sessions that begin afterwards
 *     sr_tlsio    one session: shake() until SR_TLS_OK, then read(), write(), bye()
 *
 * Sessions read and write their socket themselves: no buffer stands between a connection and its socket but the record
 * that is being made, so what a slow reader may leave unread is bounded as it is in the clear, and an idle session keeps no buffers.
 * TLS 1.2 and 1.3; of 1.2 only ciphers with forward secrecy; no renegotiation, no compression; resumption by tickets.
 *
 * Owns:    what it read of the files; not the socket.
 * Threads: open, close: one.  reload: any.  A session: one at a time; many sessions of one certificate: any.
 * Errors:  open, reload: SR_IO naming the file, SR_INVALID (not PEM, a key with a passphrase, a key of another certificate), SR_NOMEM.
 *          reload that fails changes nothing.  What the other side does wrong is SR_TLS_BROKEN, and it has been sent the alert.
 * Source:  RFC 8446, RFC 5246, RFC 7301; OpenSSL 3.0.
 */
#ifndef SR_SERVE_TLS_H
#define SR_SERVE_TLS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef struct sr_tls   sr_tls;
typedef struct sr_tlsio sr_tlsio;
typedef enum {
    SR_TLS_OK,
    SR_TLS_READ, SR_TLS_WRITE, /* not now: call again when the socket can be read, written */
    SR_TLS_EOF,                /* the other side has ended its half, with or without saying so */
    SR_TLS_PLAIN,              /* shake: these are letters, as of an HTTP request; nothing was taken from the socket */
    SR_TLS_BROKEN
} sr_tlsverdict;

SR_MUSTUSE sr_status sr_tls_open(const char *cert_file, const char *key_file, sr_tls **out, sr_err *err);
SR_MUSTUSE sr_status sr_tls_reload(sr_tls *t, sr_err *err);
int64_t sr_tls_expires(sr_tls *t);     /* the certificate's last second, Unix time */
void    sr_tls_close(sr_tls *t);       /* its sessions have ended; NULL is fine */

sr_tlsio *sr_tlsio_open(sr_tls *t, int fd); /* NULL: no memory */
void      sr_tlsio_close(sr_tlsio *io);     /* says nothing to the other side */
sr_tlsverdict sr_tlsio_shake(sr_tlsio *io);
/* SR_TLS_OK: *n bytes, at least one.  A write that could not be made is repeated with the same bytes (more may follow them). */
sr_tlsverdict sr_tlsio_read(sr_tlsio *io, char *p, size_t cap, size_t *n);
sr_tlsverdict sr_tlsio_write(sr_tlsio *io, const char *p, size_t len, size_t *n);
size_t        sr_tlsio_pending(const sr_tlsio *io); /* decrypted bytes that read() has not given yet */
sr_tlsverdict sr_tlsio_bye(sr_tlsio *io);   /* tells the other side that nothing follows */
#endif
