/* peers.h - how many connections each address holds: IPv4 whole, IPv6 by its /64 (what one subscriber gets).
 *
 * Owns:    its table.   Threads: one.   Errors: add() false: no memory, or the address is at its limit.
 */
#ifndef SR_SERVE_PEERS_H
#define SR_SERVE_PEERS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct { uint64_t hi, lo; } sr_peer;
typedef struct { sr_peer peer; uint32_t n; } sr_peerslot;    /* n == 0: free */
typedef struct {
    sr_peerslot *slot;
    uint32_t     cap, used;         /* cap: a power of two or 0 */
    uint64_t     key;               /* keyed hash: addresses are chosen by the other side */
} sr_peers;                         /* zero-initialised but for key = empty */

sr_peer sr_peer_of(const struct sockaddr *a);
bool sr_peers_add(sr_peers *t, sr_peer p, uint32_t limit, bool *full); /* *full: at its limit */
void sr_peers_sub(sr_peers *t, sr_peer p);
void sr_peers_end(sr_peers *t);
#endif
