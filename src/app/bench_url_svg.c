/* bench_url_svg.c - the rows of a load test as a picture: throughput against the time of a token, and the three times.
 *
 *     +---------------------+ +---------------------+
 *     | tok/s -> ms a token | | first text by row   |
 *     +---------------------+ +---------------------+
 *     | between texts       | | whole answer        |
 *     +---------------------+ +---------------------+
 *
 * Lines are p50, p90 and p99; axes begin at 0 and end at a round number.  No script, no font, no colour that paper loses.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app/bench_url_report.h"
#include "base/mem.h"

enum { WIDTH = 960, PANEL_W = 440, PANEL_H = 250, LEFT = 62, TOP = 34, RIGHT = 16, BOTTOM = 44, LINES = 3, ROWS = 32 };
static const double      at[LINES]   = {.5, .9, .99};
static const char *const name[LINES] = {"p50", "p90", "p99"};
static const char *const look[LINES] = {"#1a5fb4", "#26a269", "#c01c28"};

typedef struct {
    const char *title, *x_name, *y_name;
    double      x[ROWS], y[LINES][ROWS];
    char        tag[ROWS][24]; /* of points, or below the axis where x is only a place */
    uint32_t    n;
    bool        places;                    /* x is the row's number */
} panel;

static void quote(sr_buf *o, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '<' || c == '&' || c == '>' || c == '"')
            sr_buf_fmt(o, "&#%u;", c);
        else if (c >= ' ')
            sr_buf_char(o, (char)c);
    }
}

/* The least of 1, 2, 5 x 10^k in which `most` has at most five steps. */
static double step_of(double most)
{
    if (!(most > 0))
        return 1;
    double s = pow(10, floor(log10(most / 5)));
    return most / s <= 5 ? s : most / (2 * s) <= 5 ? 2 * s : most / (5 * s) <= 5 ? 5 * s : 10 * s;
}

static double most_of(const double *v, uint32_t n, double m)
{
    for (uint32_t i = 0; i < n; i++)
        m = SR_MAX(m, v[i]);
    return m;
}

typedef struct { double x0, y0, w, h, x_max, y_max; } frame;
static double px(const frame *f, double x) { return f->x0 + f->w * x / f->x_max; }
static double py(const frame *f, double y) { return f->y0 + f->h - f->h * y / f->y_max; }

static void axes(const panel *p, const frame *f, double x_step, double y_step, sr_buf *o)
{
    sr_buf_fmt(o, "<text class=\"t\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", f->x0, f->y0 - 14, p->title);
    for (double y = 0; y <= f->y_max * 1.0001; y += y_step)
        sr_buf_fmt(o, "<path class=\"g\" d=\"M%.1f %.1fh%.1f\"/><text class=\"e\" x=\"%.1f\" y=\"%.1f\">%g</text>\n", f->x0, py(f, y), f->w, f->x0 - 6,
                   py(f, y) + 4, y);
    for (double x = 0; !p->places && x <= f->x_max * 1.0001; x += x_step)
        sr_buf_fmt(o, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%g</text>\n", px(f, x), f->y0 + f->h + 16, x);
    for (uint32_t i = 0; p->places && i < p->n; i++)
        sr_buf_fmt(o, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", px(f, p->x[i]), f->y0 + f->h + 16, p->tag[i]);
    sr_buf_fmt(o, "<text class=\"m\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", f->x0 + f->w / 2, f->y0 + f->h + 34, p->x_name);
    sr_buf_fmt(o, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", f->x0 - 52, f->y0 - 14, p->y_name);
}

static void draw(const panel *p, double x0, double y0, sr_buf *o)
{
    double y_most = 0, x_most = p->places ? p->n : most_of(p->x, p->n, 0);
    for (int l = 0; l < LINES; l++)
        y_most = most_of(p->y[l], p->n, y_most);
    double xs = p->places ? 1 : step_of(x_most), ys = step_of(y_most);
    frame  f  = {x0 + LEFT, y0 + TOP, PANEL_W - LEFT - RIGHT, PANEL_H - TOP - BOTTOM, p->places ? p->n + 1.0 : xs * ceil(SR_MAX(x_most, xs) / xs),
                 ys * ceil(SR_MAX(y_most, ys) / ys)};
    axes(p, &f, xs, ys, o);
    for (int l = 0; l < LINES; l++) {
        sr_buf_fmt(o, "<path class=\"l\" stroke=\"%s\" d=\"", look[l]);
        for (uint32_t i = 0; i < p->n; i++)
            sr_buf_fmt(o, "%c%.1f %.1f", i ? 'L' : 'M', px(&f, p->x[i]), py(&f, p->y[l][i]));
        sr_buf_str(o, "\"/>\n");
        for (uint32_t i = 0; i < p->n; i++)
            sr_buf_fmt(o, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", px(&f, p->x[i]), py(&f, p->y[l][i]), look[l]);
        sr_buf_fmt(o, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n", f.x0 + f.w - 100 + 36 * l, f.y0 - 14, look[l], name[l]);
    }
    for (uint32_t i = 0; !p->places && i < p->n; i++)
        sr_buf_fmt(o, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", px(&f, p->x[i]) - 3, py(&f, p->y[0][i]) + 17, p->tag[i]);
}

static void fill(panel *p, const sr_loadreport *r, size_t offset)
{
    p->n = (uint32_t)SR_MIN((size_t)r->n_row, SR_COUNT(p->x));
    for (uint32_t i = 0; i < p->n; i++) {
        const sr_loadstat *s = &r->row[i];
        const sr_dist     *d = (const sr_dist *)(const void *)((const char *)s + offset);
        p->x[i] = p->places ? i + 1.0 : s->seconds > 0 ? (double)s->tokens / s->seconds : 0;
        for (int l = 0; l < LINES; l++)
            p->y[l][i] = sr_dist_at(d, at[l]) * 1e-6;
        if (s->concurrency)
            snprintf(p->tag[i], sizeof p->tag[i], "%u", s->concurrency);
        else
            snprintf(p->tag[i], sizeof p->tag[i], "%.4g/s", s->rate);
    }
}

void sr_load_svg(const sr_loadreport *r, sr_buf *o)
{
    static const struct { const char *title, *y_name; size_t offset; bool places; } what[] = {
        {"throughput against the time of a token", "ms", offsetof(sr_loadstat, tpot), false},
        {"time to the first text", "ms", offsetof(sr_loadstat, ttft), true},
        {"time between texts", "ms", offsetof(sr_loadstat, gap), true},
        {"time of the whole answer", "ms", offsetof(sr_loadstat, total), true},
    };
    const char *rows   = r->n_row && r->row->concurrency == 0 ? "requests a second" : "clients at once";
    double      height = 62 + 2 * (PANEL_H + 10);
    sr_buf_fmt(o, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\" font-family=\"sans-serif\" font-size=\"12\">\n", WIDTH,
               height, WIDTH, height);
    sr_buf_str(o, "<style>.t{font-weight:bold}.e{text-anchor:end}.m{text-anchor:middle}.g{stroke:#ccc;fill:none}.l{fill:none;stroke-width:1.6}</style>\n"
                  "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"20\" y=\"24\" font-size=\"15\" font-weight=\"bold\">");
    quote(o, r->model);
    sr_buf_str(o, "</text>\n<text x=\"20\" y=\"44\">");
    quote(o, r->url);
    sr_buf_str(o, ", ");
    quote(o, r->api);
    sr_buf_str(o, "; prompts: ");
    quote(o, r->prompts);
    sr_buf_fmt(o, "; answers of at most %u tokens</text>\n", r->max_tokens);
    for (size_t i = 0; i < SR_COUNT(what); i++) {
        panel p = {.title = what[i].title, .x_name = what[i].places ? rows : "tokens a second", .y_name = what[i].y_name, .places = what[i].places};
        fill(&p, r, what[i].offset);
        draw(&p, 20 + (double)(i % 2) * (PANEL_W + 30), 56 + (double)(i / 2) * (PANEL_H + 10), o);
    }
    sr_buf_str(o, "</svg>\n");
}
