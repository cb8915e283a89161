/* metrics_gpu.c - the figures of nvml.h as Prometheus text. */
#include <math.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/mem.h"
#include "serve/metrics.h"

typedef struct { const char *name, *type, *help, *label; size_t at; } row;
#define AT(field) offsetof(sr_gpustat, field)
static const row rows[] = {
    {"temperature_celsius", "gauge", "Temperature of the GPU.", "", AT(temp_c)},
    {"power_watts", "gauge", "Power that the GPU draws.", "", AT(power_w)},
    {"power_limit_watts", "gauge", "Power that the GPU may draw.", "", AT(power_limit_w)},
    {"energy_joules_total", "counter", "Energy the GPU has used since its driver was loaded.", "", AT(energy_j)},
    {"sm_clock_hertz", "gauge", "Clock of the GPU's multiprocessors.", "", AT(sm_hz)},
    {"memory_clock_hertz", "gauge", "Clock of the GPU's memory.", "", AT(mem_hz)},
    {"memory_used_bytes", "gauge", "Memory of the GPU in use, by everybody.", "", AT(mem_used)},
    {"memory_total_bytes", "gauge", "Memory of the GPU.", "", AT(mem_total)},
    {"busy_ratio", "gauge", "Share of the driver's last period in which a kernel ran.", "", AT(busy)},
    {"memory_busy_ratio", "gauge", "Share of the driver's last period in which memory was read or written.", "", AT(mem_busy)},
    {"slowed", "gauge", "1 when the clocks are held down, by reason.", ",reason=\"power\"", AT(slow_power)},
    {"slowed", NULL, NULL, ",reason=\"heat\"", AT(slow_heat)},
    {"slowed", NULL, NULL, ",reason=\"hardware\"", AT(slow_hw)},
};

void sr_metrics_gpu(sr_nvml *g, sr_buf *o)
{
    sr_gpustat s;
    sr_nvml_read(g, &s);
    if (!s.at_ns) /* the first sample is being taken */
        return;
    for (size_t i = 0; i < SR_COUNT(rows); i++) {
        double v = *(const double *)((const char *)&s + rows[i].at);
        if (isnan(v)) /* this GPU does not say */
            continue;
        if (rows[i].type)
            sr_buf_fmt(o, "# HELP strata_gpu_%s %s\n# TYPE strata_gpu_%s %s\n", rows[i].name, rows[i].help, rows[i].name, rows[i].type);
        sr_buf_fmt(o, "strata_gpu_%s{uuid=\"%s\",name=\"%s\"%s} %.12g\n", rows[i].name, sr_nvml_uuid(g), sr_nvml_name(g), rows[i].label, v);
    }
    sr_buf_fmt(o, "# HELP strata_gpu_sample_age_seconds How old the figures of the GPU are; more than a few: the driver does not answer.\n"
                  "# TYPE strata_gpu_sample_age_seconds gauge\nstrata_gpu_sample_age_seconds{uuid=\"%s\",name=\"%s\"} %.3f\n",
               sr_nvml_uuid(g), sr_nvml_name(g), (double)(sr_now_ns() - s.at_ns) * 1e-9);
}
