/* SPDX-License-Identifier: BSD-2-Clause */
/* For the tests of the data path as it is built: an armed loopback pair, and pins of one's own. Header-only. */
#ifndef SMACCEL_KERNEL_PAIR_H
#define SMACCEL_KERNEL_PAIR_H

#include "kernel_test.h"

#include "datapath.h"
#include "datapath_internal.h"
#include "loopback.h"

struct pair {
	int ends[2];
	uint64_t cookie[2];
	struct sm_slot *slot;
};

/* A pin directory that no other test has. */
static char pin_dir[64];

static inline void pins_remove(void)
{
	static const char *const names[] = { "switches", "slots", "storage", "sockhash" };
	char path[96];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", pin_dir, names[i]);
		unlink(path);
	}
	rmdir(pin_dir);
}

/* Names it; it goes with the process. */
static inline void pins_name(void)
{
	snprintf(pin_dir, sizeof(pin_dir), "/sys/fs/bpf/smaccel-test-%d", (int)getpid());
	atexit(pins_remove);
}

/* How many ways the gate has of reading the peer here: where the kernel has only the slower one, forcing it changes nothing. */
static inline int ways_to_read(void)
{
	return datapath_probe_rdonly_cast() ? 2 : 1;
}

/* Joins and arms a fresh loopback pair in `slot`, without the helper's proofs: the pair is our own. */
static inline void pair_arm(struct datapath *datapath, struct pair *pair, uint32_t slot)
{
	struct sm_look look;

	require(loopback_pair_open(pair->ends) == 0);
	pair->slot = datapath_slots(datapath, NULL) + slot;
	memset(pair->slot->direction, 0, sizeof(pair->slot->direction));
	pair->slot->pins = 0;
	pair->slot->generation++;
	for (uint32_t side = 0; side < 2; side++) {
		const struct sm_endref ref = { .slot = slot, .side = side, .generation = pair->slot->generation };

		pair->cookie[side] = loopback_cookie(pair->ends[side]);
		require(datapath_look(datapath, pair->ends[side], &look) == 0 && look.is_tcp);
		require(datapath_insert(datapath, pair->ends[side], pair->cookie[side], &ref) == 0);
		pair->slot->end[side].cookie = pair->cookie[side];
		pair->slot->end[side].sk = look.facts.sk;
	}
	__atomic_store_n(&pair->slot->state, SM_SLOT_ARMED, __ATOMIC_RELEASE);
}

static inline void pair_close(struct pair *pair)
{
	pair->slot->state = SM_SLOT_FREE;
	loopback_pair_close(pair->ends);
}

static inline uint64_t redirected(const struct pair *pair, int side)
{
	return __atomic_load_n(&pair->slot->direction[side].redirected_msgs, __ATOMIC_RELAXED);
}

static inline uint64_t passed(const struct pair *pair, int side)
{
	return __atomic_load_n(&pair->slot->direction[side].passed_msgs, __ATOMIC_RELAXED);
}

/* Sends a little from side 0: was it redirected (1) or passed (0)? The receiver reads it. -1: anything else. */
static inline int one_message(const struct pair *pair)
{
	uint64_t redirected_before = redirected(pair, 0), passed_before = passed(pair, 0);

	if (!sent(pair->ends[0], "hello") || !received(pair->ends[1], "hello"))
		return -1;
	if (redirected(pair, 0) == redirected_before + 1 && passed(pair, 0) == passed_before)
		return 1;
	if (redirected(pair, 0) == redirected_before && passed(pair, 0) == passed_before + 1)
		return 0;
	return -1;
}

#endif
