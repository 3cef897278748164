/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path outlives its helper: pins are taken over by the next one, armed pairs run on without any, and no
 * capability is needed once it is open. */
#define _GNU_SOURCE
#include "kernel_pair.h"

#include <bpf/bpf.h>
#include <limits.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SLOTS 4

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };

	require(syscall(SYS_capset, &header, none) == 0);
}

/* The first helper, a child: arms a pair of ours and dies without a farewell. */
static void run_first_helper(const struct datapath_options *options, int ends[2])
{
	struct datapath *datapath;
	struct sm_slot *slot;
	struct sm_look look;

	require(datapath_open(&datapath, options) == 0 && !datapath_took_over(datapath));
	require(datapath_commit(datapath) == 0);
	slot = datapath_slots(datapath, NULL);
	slot->generation = 7;
	for (uint32_t side = 0; side < 2; side++) {
		const struct sm_endref ref = { .slot = 0, .side = side, .generation = 7 };
		uint64_t cookie = loopback_cookie(ends[side]);

		require(datapath_look(datapath, ends[side], &look) == 0 && look.is_tcp);
		require(datapath_insert(datapath, ends[side], cookie, &ref) == 0);
		slot->end[side].cookie = cookie;
		slot->end[side].sk = look.facts.sk;
	}
	slot->state = SM_SLOT_ARMED;
	_exit(0);
}

/* A helper with other maps: until it commits, the pins are those of `old`. */
static void try_another_size(struct datapath_options *options, struct pair *old)
{
	struct datapath *datapath;

	options->slot_count = SLOTS * 2;
	require(datapath_open(&datapath, options) == 0);
	check(!datapath_took_over(datapath), "takeover", "another-size-starts-afresh", "-");
	datapath_close(datapath);
	options->slot_count = SLOTS;
	require(datapath_open(&datapath, options) == 0);
	check(datapath_took_over(datapath) && datapath_commit(datapath) == 0, "takeover",
	      "and-leaves-the-pins-until-it-commits", "-");
	old->slot = datapath_slots(datapath, NULL);
	check(one_message(old) == 1, "takeover", "which-are-used-on", "-");
	datapath_close(datapath);
	options->slot_count = SLOTS * 2;
	for (int i = 0; i < 2; i++) {
		require(datapath_open(&datapath, options) == 0 && datapath_commit(datapath) == 0);
		check(datapath_took_over(datapath) == (i == 1), "takeover",
		      i ? "and-is-found-again" : "then-another-size-is-pinned", "-");
		datapath_close(datapath);
	}
}

static void test_takeover(bool force_probe_read)
{
	struct datapath_options options = { .pin_dir = pin_dir,
					    .slot_count = SLOTS,
					    .force_probe_read = force_probe_read };
	struct datapath *datapath;
	struct pair old, fresh;
	uint64_t generation, before;
	int status = -1;
	pid_t child;

	require(loopback_pair_open(old.ends) == 0);
	child = fork();
	require(child >= 0);
	if (!child)
		run_first_helper(&options, old.ends);
	require(waitpid(child, &status, 0) == child);
	require(status == 0);
	require(datapath_open(&datapath, &options) == 0);
	check(datapath_took_over(datapath), "takeover", "finds-the-pins", "-");
	generation = datapath_switches(datapath)->helper_generation;
	check(generation == 2, "takeover", "raises-the-generation", "%llu", (unsigned long long)generation);
	old.slot = datapath_slots(datapath, NULL);
	check(one_message(&old) == 1, "takeover", "an-armed-pair-runs-on", "-");
	pair_arm(datapath, &fresh, 1);
	check(one_message(&fresh) == 1, "takeover", "new-inserts-get-the-program", "-");
	datapath_switches(datapath)->off = 1;
	check(one_message(&old) == 0 && one_message(&fresh) == 0, "takeover", "one-kill-switch-for-both", "-");
	datapath_switches(datapath)->off = 0;
	before = redirected(&old, 0);
	datapath_close(datapath); /* the slots are unmapped with it */
	check(sent(old.ends[0], "alone") && received(old.ends[1], "alone"), "takeover", "goes-on-with-no-helper", "-");
	require(datapath_open(&datapath, &options) == 0);
	old.slot = datapath_slots(datapath, NULL);
	check(redirected(&old, 0) == before + 1, "takeover", "and-redirected-all-the-while", "-");
	datapath_close(datapath);

	try_another_size(&options, &old);
	check(sent(old.ends[0], "alone") && received(old.ends[1], "alone"), "takeover", "and-the-old-pair-runs-on",
	      "-");
	loopback_pair_close(old.ends);
	loopback_pair_close(fresh.ends);
	pins_remove();
}

/* Maps that a helper has made and pinned, or taken over. */
static struct datapath *helper_of_size(uint32_t slot_count)
{
	const struct datapath_options options = { .pin_dir = pin_dir, .slot_count = slot_count };
	struct datapath *datapath;

	require(datapath_open(&datapath, &options) == 0 && datapath_commit(datapath) == 0);
	return datapath;
}

static int pinned(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", pin_dir, name);
	return bpf_obj_get(path);
}

static void pin_as_old(int switches)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/switches_old", pin_dir);
	require(bpf_obj_pin(switches, path) == 0);
}

/* A start that is killed while new maps take the names of old ones has pinned the switches of these apart. */
static void test_killed_start(void)
{
	struct datapath *first = helper_of_size(SLOTS), *second;
	int switches = pinned("switches");

	require(switches >= 0);
	pin_as_old(switches); /* and was killed at once */
	datapath_close(helper_of_size(SLOTS));
	check(!datapath_switches(first)->off && pinned("switches_old") < 0, "takeover",
	      "killed-before-the-names-changes-nothing", "off %u", datapath_switches(first)->off);
	second = helper_of_size(SLOTS * 2);
	check(datapath_switches(first)->off && !datapath_switches(second)->off && pinned("switches_old") < 0,
	      "takeover", "old-maps-are-retired", "off %u, %u", datapath_switches(first)->off,
	      datapath_switches(second)->off);
	datapath_switches(first)->off = 0;
	pin_as_old(switches); /* and was killed before it had retired them */
	datapath_close(helper_of_size(SLOTS * 2));
	check(datapath_switches(first)->off && !datapath_switches(second)->off && pinned("switches_old") < 0,
	      "takeover", "killed-after-the-names-the-next-retires", "off %u, %u", datapath_switches(first)->off,
	      datapath_switches(second)->off);
	close(switches);
	datapath_close(first);
	datapath_close(second);
	pins_remove();
}

static void test_without_capabilities(void)
{
	const struct datapath_options options = { .pin_dir = pin_dir, .slot_count = SLOTS };
	struct datapath *datapath;
	struct sm_facts facts;
	struct pair pair;
	int status = -1;
	pid_t child = fork();

	require(child >= 0);
	if (!child) {
		require(datapath_open(&datapath, &options) == 0 && datapath_commit(datapath) == 0);
		drop_capabilities();
		pair_arm(datapath, &pair, 0);
		_exit(one_message(&pair) != 1 || datapath_inspect(datapath, pair.slot->end[0].sk, 0, &facts) ||
		      !facts.found || datapath_remove(datapath, pair.cookie[0]));
	}
	require(waitpid(child, &status, 0) == child);
	check(status == 0, "datapath", "needs-no-capability-once-open", "status %#x", status);
	pins_remove();
}

int main(void)
{
	alarm(50);
	pins_name();
	for (int probe_read = 0; probe_read < ways_to_read(); probe_read++)
		test_takeover(probe_read);
	test_without_capabilities();
	test_killed_start();
	return kernel_test_finish();
}
