#include "app/bench_ops.h"
#include "base/mem.h"

#include <stdio.h>

enum { LINES = 256 };

static void text_line(const sr_opline *l, double all_ns, double read_bw)
{
    double calls = (double)SR_MAX(l->stat.calls, (uint64_t)1), ns = (double)SR_MAX(l->stat.ns, (uint64_t)1);
    double rate  = l->stat.bytes / ns; /* GB/s */
    char   share[16] = "", kcycles[16] = "";
    if (read_bw > 0)
        snprintf(share, sizeof share, "%.2f", rate / (read_bw * 1e-9));
    if (l->stat.cycles)
        snprintf(kcycles, sizeof kcycles, "%.1f", (double)l->stat.cycles / calls * 1e-3);
    printf("  %-10s %-24.24s %-11.11s %3u %5.1f%% %10.2f %9s %9.3f %7.1f %5s %8.1f\n", l->op, l->weights, l->format, l->n_op,
           100 * ns / all_ns, ns / calls * 1e-3, kcycles, l->stat.bytes / calls * 1e-6, rate, share, l->stat.flops / ns);
}

static void json_line(const sr_opline *l, double all_ns, double read_bw, sr_jsonw *w)
{
    double calls = (double)SR_MAX(l->stat.calls, (uint64_t)1), ns = (double)SR_MAX(l->stat.ns, (uint64_t)1);
    sr_json_obj(w, NULL);
    sr_json_str(w, "op", l->op);
    sr_json_str(w, "weights", l->weights);
    sr_json_str(w, "format", l->format);
    sr_json_uint(w, "ops", l->n_op);
    sr_json_uint(w, "calls", l->stat.calls);
    sr_json_num(w, "share", ns / all_ns);
    sr_json_num(w, "us", ns / calls * 1e-3);
    if (l->stat.cycles)
        sr_json_num(w, "reference_cycles", (double)l->stat.cycles / calls);
    sr_json_num(w, "bytes", l->stat.bytes / calls);
    sr_json_num(w, "gb_s", l->stat.bytes / ns);
    if (read_bw > 0)
        sr_json_num(w, "of_read", l->stat.bytes / ns / (read_bw * 1e-9));
    sr_json_num(w, "gflop_s", l->stat.flops / ns);
    sr_json_end(w);
}

sr_status sr_bench_ops_reset(sr_model *m, sr_err *err)
{
    sr_opline line[LINES];
    size_t    n;
    return sr_model_profile(m, line, LINES, &n, true, err);
}

sr_status sr_bench_ops(sr_model *m, double read_bw, sr_jsonw *json, sr_err *err)
{
    sr_opline line[LINES];
    size_t    n;
    double    all = 0;
    if (sr_model_profile(m, line, LINES, &n, true, err))
        return err->status;
    for (size_t i = 0; i < n; i++)
        all += (double)line[i].stat.ns;
    all = SR_MAX(all, 1.0);
    if (json)
        sr_json_arr(json, "ops");
    else
        printf("  %-10s %-24s %-11s %3s %6s %10s %9s %9s %7s %5s %8s\n", "op", "weights", "format", "n", "time", "us/call", "kcycles",
               "MB/call", "GB/s", "read", "GFLOP/s");
    for (size_t i = 0; i < n; i++)
        if (json)
            json_line(&line[i], all, read_bw, json);
        else
            text_line(&line[i], all, read_bw);
    if (json)
        sr_json_end(json);
    else
        fflush(stdout);
    return SR_OK;
}
