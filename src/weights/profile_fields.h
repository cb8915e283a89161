/* profile_fields.h - the fields of a profile, once for reader and writer. */
#ifndef SR_WEIGHTS_PROFILE_FIELDS_H
#define SR_WEIGHTS_PROFILE_FIELDS_H
#include "weights/profile.h"

typedef enum { SR_PF_STR, SR_PF_U32, SR_PF_U64, SR_PF_NUM, SR_PF_CURVE, SR_PF_CURVES } sr_pfkind;
typedef struct {
    const char *name;
    sr_pfkind   kind;
    bool        needed;
    size_t      at, cap;    /* in sr_profile; bytes of a string */
    double      scale;      /* SI units in one of the file's */
    double      lo, hi;     /* in the file's unit */
} sr_pfield;
typedef struct { const char *name; const sr_pfield *field; size_t n; bool needed; } sr_psection;

enum { SR_PSECTIONS = 4 }; /* the top one first: its name is "" */
extern const sr_psection sr_profile_section[SR_PSECTIONS];
#endif
