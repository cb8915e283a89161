/* constrain.c - requests with a grammar.
 *
 * What grammars need of the vocabulary takes a quarter of a second for 128 k tokens, so it is made in a thread of its own, with the first
 * request that has a grammar or before there is one (sr_enginecfg.grammars).  Until it is there such requests stand in `forming`,
 * where nobody waits behind them.  A grammar is bytes until its request is admitted: a guide is larger by far.
 *
 *     post --- not made yet ---> FORMING ---- made ---> WAITING --- admitted, with a guide ---> RUNNING
 *        \---- made already ------------------------>
 */
#include "engine/internal.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "text/grammar_match.h"

struct sr_lexmaker {
    pthread_t   thread;
    const sr_gguf *gguf;
    uint32_t    n_vocab;
    sr_port    *port;
    int         done;     /* atomic: what follows is there */
    sr_lexicon *lexicon;
    sr_err      err;
};

static void *make(void *arg)
{
    struct sr_lexmaker *m = arg;
    sr_tokenizer       *t = NULL;
    if (sr_tokenizer_open(m->gguf, &t, &m->err))
        sr_while(&m->err, "reading the vocabulary for a grammar");
    else if (sr_lexicon_open(t, m->n_vocab, &m->lexicon, &m->err))
        sr_while(&m->err, "making the vocabulary ready for a grammar");
    sr_tokenizer_close(t);
    __atomic_store_n(&m->done, 1, __ATOMIC_RELEASE);
    sr_port_wake(m->port);
    return NULL;
}

sr_status sr_constrain_prepare(sr_engine *e, sr_err *err)
{
    if (e->lexicon || e->lexmaker)
        return SR_OK;
    struct sr_lexmaker *m = sr_calloc(1, sizeof *m);
    if (!m)
        return sr_raise(err, SR_NOMEM, "host: %zu bytes for a vocabulary of grammars", sizeof *m);
    m->gguf    = e->m->gguf;
    m->n_vocab = e->m->info.n_vocab;
    m->port    = e->port;
    int fail   = pthread_create(&m->thread, NULL, make, m);
    if (fail) {
        sr_free(m);
        return sr_raise(err, SR_NOMEM, "a thread for the vocabulary of grammars: %s", strerror(fail));
    }
    e->lexmaker = m;
    return SR_OK;
}

/* A failure ends the first of those who wait for it; for the next one it begins again. */
sr_status sr_constrain_ready(sr_engine *e, sr_err *err)
{
    struct sr_lexmaker *m = e->lexmaker;
    if (e->lexicon)
        return SR_OK;
    if (!m || !__atomic_load_n(&m->done, __ATOMIC_ACQUIRE)) {
        sr_status s = sr_constrain_prepare(e, err);
        return s ? s : SR_AGAIN;
    }
    pthread_join(m->thread, NULL);
    e->lexmaker = NULL;
    e->lexicon  = m->lexicon;
    sr_status s = e->lexicon ? SR_OK : sr_raise(err, m->err.status, "%s", m->err.msg);
    sr_free(m);
    return s;
}

sr_status sr_constrain_begin(sr_engine *e, sr_job *j, sr_err *err)
{
    sr_status s = sr_guide_open(e->lexicon, j->grammar, j->n_grammar, &j->guide, err);
    if (s)
        return s;
    for (uint32_t i = 0; i < j->n; i++)
        if ((s = sr_matcher_open(j->guide, &j->choice[i].matcher, err))) {
            sr_constrain_end(j);
            return s;
        }
    sr_free((void *)(uintptr_t)j->grammar);
    j->grammar = NULL;
    return SR_OK;
}

void sr_constrain_end(sr_job *j)
{
    for (uint32_t i = 0; j->guide && i < j->n; i++) {
        sr_matcher_close(j->choice[i].matcher);
        j->choice[i].matcher = NULL;
    }
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
    if (e->lexmaker) {
        pthread_join(e->lexmaker->thread, NULL);
        sr_lexicon_close(e->lexmaker->lexicon);
        sr_free(e->lexmaker);
    }
    sr_lexicon_close(e->lexicon);
    e->lexmaker = NULL;
    e->lexicon  = NULL;
}
