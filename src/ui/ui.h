/* ui.h - the files of the page that the server shows at "/", as bytes in the program.
 *
 *     index.html, *.css, *.js  --embed.cmake, at build time-->  one C array a file  -->  sr_ui_files
 *
 * Plain files in, plain files out: nothing is bundled or made smaller, so what a browser shows is what stands
 * in this folder.  A tag changes when a byte of its file does.
 *
 * Owns: nothing; constants.   Threads: any.   Errors: none.
 */
#ifndef SR_UI_H
#define SR_UI_H
#include <stddef.h>

typedef struct {
    const char          *name, *type;      /* "app.js", "text/javascript; charset=utf-8" */
    const char          *etag;             /* as in the header, with its quotes */
    const unsigned char *p;
    size_t               n;
} sr_uifile;

extern const sr_uifile sr_ui_files[];      /* index.html first; ends with a NULL name */
#endif
