/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon as a whole: what its modules share. One instance, owned by main.c, used by the loop's thread alone. */
#ifndef SMACCEL_HELPER_HELPER_H
#define SMACCEL_HELPER_HELPER_H

#include <stdint.h>

#include "../bpf/shared.h"
#include "options.h"
#include "wire/reason.h"

struct datapath;
struct datapath_stops;
struct evictions;
struct groups;
struct ledgers;
struct listener;
struct loop;
struct pairing;
struct policy;
struct reaper;
struct registry;
struct replies;
struct sessions;
struct shares;
struct slots;
struct stats;
struct trials;
struct wakes;

struct helper {
	struct options options;
	struct loop *loop;
	struct datapath *datapath;
	struct datapath_stops *stops; /* NULL: cannot be noted here */
	struct sm_switches *switches; /* mapped; written by the helper only */
	struct policy *policy;
	struct registry *registry;
	struct reaper *reaper;
	struct replies *replies;
	struct shares *shares;
	struct evictions *evictions;
	struct ledgers *ledgers;
	uint32_t files_max; /* how many may be open */
	struct groups *groups;
	struct sessions *sessions;
	struct slots *slots;
	struct pairing *pairing;
	struct listener *listener;
	struct stats *stats;
	struct trials *trials;
	struct wakes *wakes;
	int pins_lock_fd;  /* -1: none */
	uint32_t features; /* enum wire_feature */
	uint64_t started_ns;
	uint64_t refusals[REASON_COUNT];
};

#endif
