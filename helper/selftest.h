/* SPDX-License-Identifier: BSD-2-Clause */
/* The self-test: what this kernel does with a joined socket, shown on a loopback connection of our own. */
#ifndef SMACCEL_SELFTEST_H
#define SMACCEL_SELFTEST_H

#include <stddef.h>
#include <stdint.h>

#define SELFTEST_RESULTS_MAX 16
#define SELFTEST_DETAIL_BYTES 112

enum selftest_outcome {
	SELFTEST_HOLDS = 0,         /* as the design wants it */
	SELFTEST_WORKED_AROUND = 1, /* different here; slower or with a repair, but right */
	SELFTEST_REFUSED = 2,       /* without it nothing may be accelerated */
	SELFTEST_NOT_TRIED = 3,     /* no thread, fd or memory to try with: says nothing of the kernel */
	SELFTEST_OUTCOME_COUNT
};

struct selftest_result {
	const char *name; /* static */
	const char *fact; /* row of KERNEL-FACTS, e.g. "12"; static */
	enum selftest_outcome outcome;
	int error; /* -errno where it was not tried, else 0 */
	char detail[SELFTEST_DETAIL_BYTES];
};

/* "holds", "worked around", "refused", "not tried"; never NULL. */
const char *selftest_outcome_name(enum selftest_outcome outcome);

/* What a person can do about the error of one that was not tried, or of selftest_run(); never NULL. */
const char *selftest_advice(int error);

struct datapath;

/* Runs every check (about 0.3 s; needs the capabilities of datapath_open and an interface lo that is up) with slot 0 of `datapath`, whose
 * maps must be new: it leaves them so. NULL: over private, unpinned maps. Fills at most `capacity` results and *features (enum
 * wire_feature). Returns the number of results, or -errno when not even a loopback connection could be had. A check that says
 * SELFTEST_REFUSED or SELFTEST_NOT_TRIED ends the list. */
int selftest_run(struct datapath *datapath, struct selftest_result *results, size_t capacity, uint32_t *features);

#endif
