/* constrain_none.c - a build without tokenisers cannot know what its tokens say. */
#include "engine/internal.h"

sr_status sr_constrain_prepare(sr_engine *e, sr_err *err)
{
    (void)e;
    return sr_raise(err, SR_UNSUPPORTED, "grammars: this program was built without tokenisers (STRATA_SERVER=OFF)");
}

sr_status sr_constrain_ready(sr_engine *e, sr_err *err) { return sr_constrain_prepare(e, err); }

sr_status sr_constrain_begin(sr_engine *e, sr_job *j, sr_err *err)
{
    (void)j;
    return sr_constrain_prepare(e, err);
}

void sr_constrain_end(sr_job *j) { (void)j; }
void sr_constrain_close(sr_engine *e) { (void)e; }

sr_status sr_constrain_mask(sr_engine *e, sr_choice *c, uint32_t *mask, sr_err *err)
{
    (void)e, (void)c, (void)mask;
    return sr_raise(err, SR_UNSUPPORTED, "grammars");
}

sr_status sr_constrain_accept(sr_choice *c, int32_t tok, bool *whole, sr_err *err)
{
    (void)c, (void)tok, (void)whole;
    return sr_raise(err, SR_UNSUPPORTED, "grammars");
}
