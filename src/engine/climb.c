#include "engine/climb.h"

#include <math.h>

#include "base/mem.h"

enum { REST = 32 };
#define GAIN 0.995

void sr_climb_begin(sr_climb *c, uint32_t at, uint32_t last, double lean)
{
    double far = round(fabs(lean) * last / 4);
    *c         = (sr_climb){.kept = at, .last = last, .way = lean >= 0 ? 1 : -1, .step = (uint32_t)SR_MIN(SR_MAX(far, 1), SR_MAX(last / 4.0, 1))};
}

uint32_t sr_climb_back(sr_climb *c)
{
    c->trial = false;
    return c->kept;
}

/* The next setting that way, or the other way where the row ends. */
static uint32_t try_next(sr_climb *c)
{
    for (int ways = 0; ways < 2; ways++, c->way = -c->way) {
        int64_t  to = (int64_t)c->kept + c->way * (int64_t)c->step;
        uint32_t at = (uint32_t)SR_MIN(SR_MAX(to, (int64_t)0), (int64_t)c->last);
        c->trial    = at != c->kept;
        if (c->trial)
            return at;
    }
    return c->kept;
}

/* Neither way was faster by this step, or one of them is where it came from. */
static void smaller_step(sr_climb *c)
{
    c->failed = 0;
    c->gained = false;
    c->step /= 2;
    if (c->step)
        return;
    c->step = 1;
    c->rest = REST;
}

uint32_t sr_climb_next(sr_climb *c, double time)
{
    if (!c->trial) {
        c->best = time;
        if (!c->rest)
            return try_next(c);
        c->rest--;
        return c->kept;
    }
    if (time < c->best * GAIN) {
        int64_t to = (int64_t)c->kept + c->way * (int64_t)c->step; /* where it is now */
        c->kept    = (uint32_t)SR_MIN(SR_MAX(to, (int64_t)0), (int64_t)c->last);
        c->best    = time;
        c->failed  = 0;
        c->gained  = true;
        int way    = c->way;
        uint32_t at = try_next(c);
        if (c->way == way)
            return at;
        c->way = way; /* the row ends here, and behind it the times are known */
        smaller_step(c);
        return sr_climb_back(c);
    }
    c->way = -c->way;
    if (++c->failed == 2 || c->gained)
        smaller_step(c);
    return sr_climb_back(c);
}
