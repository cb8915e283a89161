/* page.c - the page at "/" and its files, answered from memory.
 *
 * The policy lets the page load its own files and ask this server, nothing else: no inline script, no foreign image, and
 * (trusted-types) no text that becomes HTML.  A text of a model that slipped through the page's renderer would find
 * nothing to run with.
 */
#include <string.h>

#include "serve/internal.h"
#include "ui/ui.h"

static const char HEADERS[] =
    "Cache-Control: no-cache\r\n" /* keep it, but ask: a new program shows its new page at once */
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";

/* name: what stands behind /ui/; NULL: the page itself. */
static const sr_uifile *file_of(const char *name)
{
    for (const sr_uifile *f = sr_ui_files; f->name; f++)
        if (!name || !strcmp(name, f->name))
            return f;
    return NULL;
}

bool sr_page_has(const sr_serve *s, const char *name) { return !s->cfg.no_ui && file_of(name); }

/* If-None-Match is "*" or a list of tags; ours are quoted and all of one length, so none is a part of another. */
static bool still_good(const sr_httphead *h, const char *etag)
{
    sr_str tags = sr_http_header(h, "if-none-match");
    return tags.n && (sr_str_is(tags, "*") || memmem(tags.p, tags.n, etag, strlen(etag)));
}

void sr_page_answer(sr_conn *c, const char *name, const sr_httphead *h)
{
    const sr_uifile *f = file_of(name);
    sr_buf headers = {0};
    sr_buf_fmt(&headers, "ETag: %s\r\n%s", f->etag, HEADERS);
    if (headers.failed) /* never without the policy */
        sr_http_drop(c);
    else if (still_good(h, f->etag))
        sr_http_reply(c, 304, NULL, headers.p, NULL, 0);
    else
        sr_http_reply(c, 200, f->type, headers.p, (const char *)f->p, f->n);
    sr_buf_end(&headers);
}
