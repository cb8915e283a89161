/* plan_print.h - an outlook for people, and as JSON.   Threads: one.   Errors: none. */
#ifndef SR_APP_PLAN_PRINT_H
#define SR_APP_PLAN_PRINT_H
#include "app/plan_model.h"
#include "base/jsonw.h"
#include "engine/outlook.h"

typedef struct {
    const sr_planmodel  *model;
    const sr_units      *units;
    const sr_outlookcfg *cfg;
    const sr_outlook    *o;
    const char          *profile_file;
    sr_change            change[SR_OUTLOOK_CHANGES];
    uint32_t             n_change;
    const char          *shortage;      /* NULL: it fits */
    char                 remedy[3][120]; /* when it does not: what would */
    uint32_t             n_remedy;
} sr_planview;

void sr_plan_print(const sr_planview *);
void sr_plan_json(const sr_planview *, sr_jsonw *);
/* Of the changes the one that helps most; NULL: none by more than 1 %. */
const sr_change *sr_plan_best(const sr_planview *);
#endif
