#include "serve/chat_in.h"

bool sr_in_nomem(sr_apierr *e) { return sr_api_fail(e, 503, NULL, "out_of_memory", "No memory for the request."); }

bool sr_in_given(const json_t *root, const char *key)
{
    const json_t *v = json_object_get(root, key);
    return v && !json_is_null(v);
}

bool sr_in_set(json_t *o, const char *key, json_t *owned)
{
    return owned && !json_object_set_new_nocheck(o, key, owned);
}

bool sr_in_copy(const json_t *from, const char *key, json_t *to, const char *as)
{
    return !sr_in_given(from, key) || !json_object_set_nocheck(to, as, json_object_get(from, key));
}

bool sr_in_append(json_t *list, json_t *owned) { return owned && !json_array_append_new(list, owned); }
