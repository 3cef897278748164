/* SPDX-License-Identifier: BSD-2-Clause */
/* The self-test itself: everything it looks at must hold or be worked around here, and it leaves nothing behind. */
#define _GNU_SOURCE
#include "kernel_test.h"

#include "datapath.h"
#include "selftest.h"

static unsigned open_fds(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += !(write(fd, "", 0) < 0 && errno == EBADF) || lseek(fd, 0, SEEK_CUR) >= 0;
	return count;
}

/* With maps that are given: as a helper's are that starts afresh. */
static void test_given_maps(void)
{
	static const struct sm_slot unused;
	const struct datapath_options options = { .slot_count = 1 };
	struct selftest_result results[SELFTEST_RESULTS_MAX];
	struct datapath *datapath;
	uint32_t features, features_alone;
	int count;

	require(selftest_run(NULL, results, SELFTEST_RESULTS_MAX, &features_alone) > 0);
	require(datapath_open(&datapath, &options) == 0);
	for (int i = 0; i < 2; i++) {
		count = selftest_run(datapath, results, SELFTEST_RESULTS_MAX, &features);
		check(count > 0 && results[count - 1].outcome != SELFTEST_REFUSED, "selftest",
		      i ? "given-maps-again" : "given-maps", "%d results, of which the last: %s", count,
		      count > 0 ? results[count - 1].detail : "");
		check(features == features_alone, "selftest", "given-maps-give-the-same", "%#x, %#x", features,
		      features_alone);
		check(!memcmp(datapath_slots(datapath, NULL), &unused, sizeof(unused)), "selftest",
		      "given-maps-are-as-new", "-");
	}
	datapath_close(datapath);
}

int main(void)
{
	struct selftest_result results[SELFTEST_RESULTS_MAX];
	unsigned before = open_fds();
	uint64_t start = now_ns();
	uint32_t features;
	int count = selftest_run(NULL, results, SELFTEST_RESULTS_MAX, &features);

	check(count > 0, "selftest", "runs", "%d", count);
	for (int i = 0; i < count; i++)
		check(results[i].outcome != SELFTEST_REFUSED, results[i].fact, results[i].name, "%s: %s",
		      selftest_outcome_name(results[i].outcome), results[i].detail);
	for (int i = 0; i < count; i++)
		printf("# %-16s %-14s %s\n", results[i].name, selftest_outcome_name(results[i].outcome),
		       results[i].detail);
	printf("# features %#x, %llu ms\n", features, (unsigned long long)(now_ns() - start) / 1000000);
	test_given_maps();
	check(open_fds() == before, "selftest", "leaves-no-fd-open", "%u, was %u", open_fds(), before);
	return kernel_test_finish();
}
