#include "base/siphash.h"

static uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static uint64_t load_le(const uint8_t *p) /* compilers make one load of it */
{
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static void rounds(uint64_t v[4], int n)
{
    while (n-- > 0) {
        v[0] += v[1], v[1] = rotl(v[1], 13) ^ v[0], v[0] = rotl(v[0], 32);
        v[2] += v[3], v[3] = rotl(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotl(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotl(v[1], 17) ^ v[2], v[2] = rotl(v[2], 32);
    }
}

static void word(sr_siphash *h, uint64_t w)
{
    h->v[3] ^= w;
    rounds(h->v, 2);
    h->v[0] ^= w;
}

void sr_siphash_begin(sr_siphash *h, const uint64_t key[2])
{
    *h = (sr_siphash){.v = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,
                            key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u}};
}

void sr_siphash_add(sr_siphash *h, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    for (; n > 0 && h->total % 8 != 0; n--, p++) {
        h->tail |= (uint64_t)*p << (h->total % 8 * 8);
        if (++h->total % 8 == 0) {
            word(h, h->tail);
            h->tail = 0;
        }
    }
    for (; n >= 8; n -= 8, p += 8, h->total += 8)
        word(h, load_le(p));
    for (; n > 0; n--, p++, h->total++)
        h->tail |= (uint64_t)*p << (h->total % 8 * 8);
}

void sr_siphash_end(sr_siphash *h, uint64_t out[2])
{
    word(h, h->tail | h->total << 56);
    h->v[2] ^= 0xee;
    rounds(h->v, 4);
    out[0] = h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
    h->v[1] ^= 0xdd;
    rounds(h->v, 4);
    out[1] = h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
}
