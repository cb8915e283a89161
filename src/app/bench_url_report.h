/* bench_url_report.h - the rows of a load test, written: a table, JSON, CSV, a picture.
 *
 * Owns:    nothing.   Threads: one.   Errors: the buffer's `failed`.
 */
#ifndef SR_APP_BENCH_URL_REPORT_H
#define SR_APP_BENCH_URL_REPORT_H
#include "app/bench_url_stat.h"
#include "base/buf.h"

typedef struct {
    const char *url, *model, *api, *prompts;    /* prompts: in words, "128 words, 64 of them shared" */
    uint32_t    max_tokens, idle;
    const sr_loadstat *row; uint32_t n_row;
} sr_loadreport;

void sr_load_head(const sr_loadreport *, sr_buf *out);               /* what was asked, and the table's head */
void sr_load_line(const sr_loadstat *, sr_buf *out);                 /* a row, and lines about what went wrong in it */
void sr_load_foot(const sr_loadreport *, sr_buf *out);               /* how tokens were counted */
void sr_load_json(const sr_loadreport *, sr_buf *out);
void sr_load_csv(const sr_loadreport *, sr_buf *out);
void sr_load_svg(const sr_loadreport *, sr_buf *out);                /* bench_url_svg.c */
#endif
