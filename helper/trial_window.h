/* SPDX-License-Identifier: BSD-2-Clause */
/* The last so many seconds of a trial's latencies, for its guard: a service that goes bad after a good hour must not have to be bad
 * for another hour until it shows among all requests. No I/O and no clock of its own. */
#ifndef SMACCEL_HELPER_TRIAL_WINDOW_H
#define SMACCEL_HELPER_TRIAL_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "trial_guard.h"

#define WINDOW_THIRDS 3u
/* One each ninth of the window, or each second, whichever is more: enough to reach back over all of it, each third being up to a ninth
 * longer than it should be. */
#define TRIAL_SNAPSHOTS 14u

enum { WINDOW_ACCELERATED, WINDOW_PLAIN, WINDOW_ARMS };

/* All that was recorded up to a moment. */
struct trial_snapshot {
	uint64_t at_ns; /* 0: none */
	struct histogram parts[WINDOW_ARMS][LATENCY_PARTS];
};

struct trial_window {
	uint64_t length_ns;
	unsigned role;   /* whose latencies; a change makes all snapshots void */
	unsigned newest; /* index of the latest snapshot */
	struct trial_snapshot
		*snapshots; /* TRIAL_SNAPSHOTS of them, by mmap: only pages that are used exist; NULL: no window */
};

/* Begins anew. False: no memory, and no window. */
bool trial_window_open(struct trial_window *window, uint64_t length_ns);
void trial_window_close(struct trial_window *window);

/* `arms`: all that has been recorded so far, of one role. Kept if a snapshot is due. */
void trial_window_note(struct trial_window *window, uint64_t now_ns, unsigned role,
		       const struct guard_arm arms[WINDOW_ARMS]);

/* Whether the accelerated arm was worse (trial_guard.h) in each third of the window by itself. False until there is a whole window, and
 * if one of its thirds has too few requests to say. */
bool trial_window_is_worse(const struct trial_window *window, uint64_t now_ns, const struct guard_arm arms[WINDOW_ARMS],
			   double part, double percent);

#endif
