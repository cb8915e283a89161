#include "serve/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "base/mem.h"

sr_peer sr_peer_of(const struct sockaddr *a)
{
    sr_peer p = {0, 0};
    if (a->sa_family == AF_INET) {
        p.lo = ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) | 0xffff00000000u;
    } else if (a->sa_family == AF_INET6) {
        const uint8_t *b = ((const struct sockaddr_in6 *)a)->sin6_addr.s6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)a)->sin6_addr))
            p.lo = 0xffff00000000u | (uint64_t)b[12] << 24 | (uint64_t)b[13] << 16 | (uint64_t)b[14] << 8 | b[15];
        else
            memcpy(&p.hi, b, 8);
    }
    return p;
}

static uint32_t home(const sr_peers *t, sr_peer p)
{
    uint64_t h = (p.hi ^ t->key) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32 ^ p.lo) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 32) & (t->cap - 1);
}

/* The slot of p, or the free slot where it would go. */
static sr_peerslot *find(const sr_peers *t, sr_peer p)
{
    uint32_t i = home(t, p);
    while (t->slot[i].n && (t->slot[i].peer.hi != p.hi || t->slot[i].peer.lo != p.lo))
        i = (i + 1) & (t->cap - 1);
    return &t->slot[i];
}

static bool grow(sr_peers *t)
{
    sr_peers bigger = {.cap = t->cap ? t->cap * 2 : 64, .used = t->used, .key = t->key};
    bigger.slot = sr_calloc(bigger.cap, sizeof *bigger.slot);
    if (!bigger.slot)
        return false;
    for (uint32_t i = 0; i < t->cap; i++)
        if (t->slot[i].n)
            *find(&bigger, t->slot[i].peer) = t->slot[i];
    sr_free(t->slot);
    *t = bigger;
    return true;
}

bool sr_peers_add(sr_peers *t, sr_peer p, uint32_t limit, bool *full)
{
    *full = false;
    if (t->used * 2 >= t->cap && !grow(t))
        return false;
    sr_peerslot *s = find(t, p);
    if (s->n >= limit) {
        *full = true;
        return false;
    }
    if (!s->n++) {
        s->peer = p;
        t->used++;
    }
    return true;
}

void sr_peers_sub(sr_peers *t, sr_peer p)
{
    sr_peerslot *s = t->cap ? find(t, p) : NULL;
    if (!s || !s->n || --s->n)
        return;
    t->used--;
    /* Close the hole: entries behind it that probed past it move up. */
    uint32_t hole = (uint32_t)(s - t->slot), i = hole;
    for (;;) {
        i = (i + 1) & (t->cap - 1);
        if (!t->slot[i].n)
            break;
        uint32_t want = home(t, t->slot[i].peer);
        if (((i - want) & (t->cap - 1)) >= ((i - hole) & (t->cap - 1))) {
            t->slot[hole] = t->slot[i];
            hole = i;
        }
    }
    t->slot[hole].n = 0;
}

void sr_peers_end(sr_peers *t)
{
    sr_free(t->slot);
    *t = (sr_peers){.key = t->key};
}
