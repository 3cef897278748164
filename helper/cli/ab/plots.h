/* SPDX-License-Identifier: BSD-2-Clause */
/* The plots of the page. Each returns false if there is nothing to draw, and then has written nothing. */
#ifndef SMACCEL_CLI_AB_PLOTS_H
#define SMACCEL_CLI_AB_PLOTS_H

#include "analysis.h"

/* Every metric's ratio with its interval, and the margin. */
bool ab_plot_ratios(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis);
/* One metric, run by run over the time of the trial. */
bool ab_plot_runs(FILE *out, const struct ab_trial *trial, const struct ab_result *result);
/* A family's quantiles, both arms. */
bool ab_plot_quantiles(FILE *out, const struct ab_trial *trial, const struct ab_analysis *analysis, const char *family);

/* How the latencies that the shim saw are distributed, both arms. */
bool ab_plot_distribution(FILE *out, const struct ab_trial *trial, enum ab_role role);

#endif
