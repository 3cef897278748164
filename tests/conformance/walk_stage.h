/* SPDX-License-Identifier: BSD-2-Clause */
/* walk.c's calls of two ends at the same time: one sleeps in its call, the other's call wakes it. Told apart by what is known of
 * the sleeper, not by the clock: on a busy machine it may be a long way from its call when any time one cares to wait is over.
 *
 *	the waker    waits until the sleeper's thread sleeps in its call, or has come back from it: an edge-triggered epoll may have
 *	             had something to tell already
 *	the sleeper  whose wait is over goes on with it until the waker is done
 *	the sleeper  that waits in an edge-triggered epoll for the other end's end tells what there is when the other is done. An end
 *	             wakes more than once: sk_state_change() and sk_error_report() in tcp_reset(), sk_state_change() and
 *	             sk_data_ready() for a FIN. What comes after the first is an event of its own for who was quick to take that
 */
#ifndef SMACCEL_CONFORMANCE_WALK_STAGE_H
#define SMACCEL_CONFORMANCE_WALK_STAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../support/loopback.h"

#define STAGE_LOOKS 2000 /* of 1 ms */
#define ASLEEP_LOOKS 3   /* one after the other: a wait of the shim's own, in a join, is shorter */

enum role { ALONE, SLEEPER, WAKER };

/* In memory of both processes. */
struct stage {
	_Atomic uint64_t sent[2]; /* by TCP, by either end */
	_Atomic bool closed[2];
	_Atomic int sleeper; /* its pid, from when it is about to call */
	_Atomic bool is_back, is_woken;
};
static struct stage *stage;

static inline void stage_init(void)
{
	stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (stage == MAP_FAILED)
		die("mmap");
}

static inline void stage_begin(void)
{
	for (int end = 0; end < 2; end++) {
		atomic_store(&stage->sent[end], 0);
		atomic_store(&stage->closed[end], false);
	}
}

static inline void stage_clear(void)
{
	atomic_store(&stage->sleeper, 0);
	atomic_store(&stage->is_back, false);
	atomic_store(&stage->is_woken, false);
}

static inline bool is_asleep(int pid)
{
	char name[32], line[256] = { 0 };
	const char *state;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	FILE *file = fopen(name, "r");
	if (!file || !fgets(line, sizeof(line), file))
		die(name);
	fclose(file);
	state = strrchr(line, ')');
	return state && state[1] == ' ' && state[2] == 'S';
}

static inline void stage_await_sleeper(void)
{
	int asleep = 0;

	for (int i = 0; i < STAGE_LOOKS && asleep < ASLEEP_LOOKS && !atomic_load(&stage->is_back); i++) {
		int pid = atomic_load(&stage->sleeper);

		asleep = pid && is_asleep(pid) ? asleep + 1 : 0;
		pause_us(1000);
	}
}

static inline void stage_await_waker(void)
{
	for (int i = 0; i < STAGE_LOOKS && !atomic_load(&stage->is_woken); i++)
		pause_us(1000);
}

#endif
