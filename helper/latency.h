/* SPDX-License-Identifier: BSD-2-Clause */
/* Latencies that processes recorded: taking them out of session memories, and keeping them by series. */
#ifndef SMACCEL_HELPER_LATENCY_H
#define SMACCEL_HELPER_LATENCY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "wire/histogram.h"

struct policy;
struct session;

#define LATENCY_SET_MAX 64u

/* Histograms by key (wire/latency.h), in memory charged to one user (POLICY_HISTOGRAMS), or a trial's. */
struct latency_set {
	struct policy *policy; /* NULL: a trial's */
	uint32_t uid;
	uint32_t count;
	uint64_t lost;       /* latencies that found no room here: of a trial, those of whole ports, both arms alike */
	uint64_t unrecorded; /* that found none in their process, which may be those of one arm */
	struct latency_entry {
		uint32_t key;
		struct histogram *histogram;
	} entries[LATENCY_SET_MAX];
	/* The quota is reached: gives some of it back if it can. NULL: nobody to ask. */
	bool (*make_room)(struct latency_set *set);
};

void latency_set_init(struct latency_set *set, struct policy *policy, uint32_t uid);
/* Of a trial: a key of an arm comes with the same of the other arm, or not at all. Charged to nobody: there is one trial at a time, and
 * LATENCY_SET_MAX bounds each of its sets (14 MiB at the very most). */
void latency_set_init_trial(struct latency_set *set);
void latency_set_clear(struct latency_set *set);
/* The histogram of that key, made if it is new. NULL: no room. */
struct histogram *latency_set_get(struct latency_set *set, uint32_t key);
/* What a reader of JSON takes, whatever a process claims. */
uint64_t latency_json_count(uint64_t count);
/* JSON as text, as there may be much: [[index, count], ...], and {"role", "port", "arm", "count", "sum_ns", "max_ns",
 * "buckets"} a series that is not empty, separated by commas (*first: none before it). */
void latency_write_buckets(const struct histogram *histogram, FILE *out);
void latency_set_write(const struct latency_set *set, bool *first, FILE *out);
const char *latency_arm_name(unsigned arm);

/* Where latencies go; any may be NULL. */
struct latency_sinks {
	struct latency_set *group; /* every series */
	struct latency_set *trial; /* those of an arm */
	struct latency_set *parts; /* the same by part, all ports together: what the trial's set has room for */
};
/* Moves what the process has recorded there. *budget: how many pages to look at; what is left is returned. False if it did not
 * suffice: more is there. */
bool latency_drain(struct session *session, const struct latency_sinks *sinks, uint32_t *budget);
#define LATENCY_BUDGET_PAGES 8192u /* of a request: some 10 ms at the worst */

/* A counter of the process's own, taken out. Capped: it may be anything. */
uint64_t latency_take(_Atomic uint64_t *counter);

#endif
