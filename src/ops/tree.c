#include "ops/tree.h"

typedef struct { uint32_t seq, row, draft, first; } drafted; /* draft: its number in its block; first: the block's place */

static sr_status word(const sr_batch *b, const drafted *d, sr_err *err)
{
    uint64_t w = b->tree[d->row], own = d->draft < SR_TREE_MOST ? 1ull << d->draft : 0, rest = w & ~own;
    if (!own)
        return sr_raise(err, SR_INVALID, "token tree: sequence %u has more than %d drafted rows", d->seq, SR_TREE_MOST);
    if (!(w & own))
        return sr_raise(err, SR_INVALID, "token tree: row %u, drafted row %u of sequence %u, has word %#llx without its own bit", d->row, d->draft, d->seq,
                        (unsigned long long)w);
    if (w > own + (own - 1))
        return sr_raise(err, SR_INVALID, "token tree: row %u, drafted row %u of sequence %u, has word %#llx with bits behind its own", d->row, d->draft,
                        d->seq, (unsigned long long)w);
    uint64_t parent = rest ? b->tree[d->row - d->draft + sr_tree_own(rest)] : 0;
    if (rest != parent)
        return sr_raise(err, SR_INVALID, "token tree: row %u, drafted row %u of sequence %u, has ancestors %#llx; those of its parent, row %u, are %#llx", d->row,
                        d->draft, d->seq, (unsigned long long)rest, d->row - d->draft + sr_tree_own(rest), (unsigned long long)parent);
    if (b->pos[d->row] < 0 || (uint32_t)b->pos[d->row] != d->first + sr_tree_bits(rest))
        return sr_raise(err, SR_INVALID, "token tree: row %u, drafted row %u of sequence %u, is at position %d; %u in front of the tree and %u ancestors make it %u", d->row,
                        d->draft, d->seq, b->pos[d->row], d->first, sr_tree_bits(rest), d->first + sr_tree_bits(rest));
    return SR_OK;
}

static sr_status written(const sr_batch *b, uint32_t g, const sr_shape *max, const drafted *d, sr_err *err)
{
    const uint32_t *len = b->kv_len + ((size_t)g * max->seq + d->seq) * 2, *table = b->table + ((size_t)g * max->seq + d->seq) * max->pages;
    uint32_t per = b->kv[g].page_tokens, place = len[1] - (b->seq[d->seq + 1] - d->row);
    uint32_t want = (table[place / per] & 0x3fffffffu) * per + place % per, got = b->dst[(size_t)g * max->tok + d->row];
    if (place - d->draft != d->first)
        return sr_raise(err, SR_INVALID, "token tree: sequence %u ends at place %u in group %u, at %u in group 0", d->seq, len[1], g,
                        len[1] + d->first + d->draft - place);
    if (want != got)
        return sr_raise(err, SR_INVALID, "token tree: row %u of sequence %u is written to %u of group %u; its place, %u, is %u", d->row, d->seq, got, g, place, want);
    return SR_OK;
}

sr_status sr_tree_check(const sr_program *p, const sr_batch *b, const sr_shape *n, const sr_shape *max, sr_err *err)
{
    for (uint32_t s = 0; s < n->seq; s++) {
        drafted d = {.seq = s};
        for (uint32_t t = b->seq[s]; t < b->seq[s + 1]; t++) {
            if (!d.draft && !b->tree[t])
                continue;
            d.row = t;
            if (!d.draft)
                d.first = b->kv_len[2 * s + 1] - (b->seq[s + 1] - t);
            sr_status st = word(b, &d, err);
            for (uint32_t g = 0; g < p->n_kv && st == SR_OK; g++)
                st = written(b, g, max, &d, err);
            if (st)
                return st;
            d.draft++;
        }
    }
    return SR_OK;
}
