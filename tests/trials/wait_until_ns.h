/* SPDX-License-Identifier: BSD-2-Clause */
/* A wait that ends at a moment, and not some time after it: asleep for most of it, awake for the rest.
 *
 * By CLOCK_MONOTONIC. A loop over CLOCK_THREAD_CPUTIME_ID would add whatever another process takes of the CPU to the wait, and so
 * to the latency; up to a deadline of the wall clock, what is taken meanwhile is part of the wait. And only a wait that sleeps
 * leaves the CPU to others: the last part alone is spun, long enough to hide the waking of an idle CPU. */
#ifndef SMACCEL_TEST_WAIT_UNTIL_NS_H
#define SMACCEL_TEST_WAIT_UNTIL_NS_H

#include "../bench/bench.h"

#define AWAKE_NS 120000u

static inline void wait_until_ns(uint64_t deadline_ns)
{
	uint64_t asleep_ns = deadline_ns - AWAKE_NS;
	struct timespec until = { .tv_sec = (time_t)(asleep_ns / 1000000000u),
				  .tv_nsec = (long)(asleep_ns % 1000000000u) };

	/* Not for a moment that is past: even that waits for a timer's interrupt, 25 us on a virtual machine. */
	if (now_ns() < asleep_ns)
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	while (now_ns() < deadline_ns)
		;
}

#endif
