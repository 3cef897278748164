/* SPDX-License-Identifier: BSD-2-Clause */
/* What the runs say: one result a metric. Pure. */
#ifndef SMACCEL_CLI_AB_ANALYSIS_H
#define SMACCEL_CLI_AB_ANALYSIS_H

#include "ab.h"

struct ab_result {
	size_t metric;                    /* index into the trial's metrics */
	unsigned blocks;                  /* rounds that have a ratio */
	double median[ARMS];              /* of the runs in good rounds; NAN: no value */
	struct statistics_interval ratio; /* B/A; low, high NAN if there is none */
	struct statistics_interval log_ratio;
	double p;          /* rank test, corrected for the number of metrics unless this is the one that decides */
	double resolution; /* smallest step between its values, as a part of the median; 0: not known, no two differ */
	bool is_coarse;    /* equal, but that step is larger than the margin, or not known */
	enum statistics_verdict verdict;
	unsigned missing; /* rounds, about; STATISTICS_BLOCKS_MAX: cannot be told or too many */
};

struct ab_analysis {
	struct ab_result results[AB_METRICS_MAX];
	size_t count;
	size_t primary; /* index into results; AB_METRICS_MAX: there is none */
	unsigned rounds_good;
	size_t runs_good;
	/* Proof over the runs in good rounds. */
	struct {
		uint64_t runs, redirected_bytes, redirected_msgs, passed_bytes, passed_msgs, least_bytes;
		bool known;
	} proof[ARMS];
};

void ab_analyze(const struct ab_trial *trial, struct ab_analysis *analysis);

/* True if the run belongs to a complete round of good runs. */
bool ab_run_counts(const struct ab_trial *trial, const struct ab_run *run);

#endif
