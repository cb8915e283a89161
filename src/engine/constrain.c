/* constrain.c - requests with a grammar.  The vocabulary is made ready with the first of them. */
#include "engine/internal.h"
#include "text/grammar_match.h"

static sr_status ready(sr_engine *e, sr_err *err)
{
    sr_tokenizer *t = NULL;
    if (e->lexicon)
        return SR_OK;
    if (sr_tokenizer_open(e->m->gguf, &t, err))
        return sr_while(err, "reading the vocabulary for a grammar");
    sr_status s = sr_lexicon_open(t, e->m->info.n_vocab, &e->lexicon, err);
    sr_tokenizer_close(t);
    return s;
}

sr_status sr_constrain_begin(sr_engine *e, sr_job *j, const void *grammar, size_t n, sr_err *err)
{
    if (ready(e, err) || sr_guide_open(e->lexicon, grammar, n, &j->guide, err))
        return err->status;
    for (uint32_t i = 0; i < j->n; i++)
        if (sr_matcher_open(j->guide, &j->choice[i].matcher, err)) {
            sr_constrain_end(j);
            return err->status;
        }
    return SR_OK;
}

void sr_constrain_end(sr_job *j)
{
    for (uint32_t i = 0; j->guide && i < j->n; i++)
        sr_matcher_close(j->choice[i].matcher);
    sr_guide_close(j->guide);
    j->guide = NULL;
}

/* Where the text may end, so may the choice: its end tokens are allowed, whatever their text. */
sr_status sr_constrain_mask(sr_engine *e, sr_choice *c, uint32_t *mask, sr_err *err)
{
    const sr_job *j = c->job;
    bool          any;
    if (sr_matcher_mask(c->matcher, mask, &any, err))
        return err->status;
    for (uint32_t i = 0; !j->ignore_eos && i < j->n_stop_tok && sr_matcher_can_end(c->matcher); i++) {
        uint32_t t = (uint32_t)j->stop_tok[i];
        if (t < e->m->info.n_vocab) {
            mask[t / 32] |= 1u << t % 32;
            any = true;
        }
    }
    return any ? SR_OK : sr_raise(err, SR_UNSUPPORTED, "no token of the vocabulary goes on with the grammar after %u tokens", c->made);
}

sr_status sr_constrain_accept(sr_choice *c, int32_t tok, bool *whole, sr_err *err)
{
    if (sr_matcher_accept(c->matcher, tok, err))
        return err->status;
    *whole = sr_matcher_must_end(c->matcher);
    return SR_OK;
}

void sr_constrain_close(sr_engine *e)
{
    sr_lexicon_close(e->lexicon);
    e->lexicon = NULL;
}
