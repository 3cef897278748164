/* SPDX-License-Identifier: BSD-2-Clause */
/* The deadline of a workload: a thread (no signal: that would disturb what is measured) that dumps and ends the process. */
#ifndef SMACCEL_TEST_WATCHDOG_H
#define SMACCEL_TEST_WATCHDOG_H

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "loopback.h"
#include "random.h"

struct watchdog {
	uint64_t at_us;
	void (*dump)(void);
};

static inline void *watchdog_main(void *argument)
{
	struct watchdog *watchdog = argument;

	while (now_us() < watchdog->at_us)
		pause_us(50000);
	fprintf(stderr, "deadline: something hangs\n");
	if (watchdog->dump)
		watchdog->dump();
	fflush(NULL);
	_exit(EXIT_DEADLINE);
	return NULL;
}

/* May be called again after a fork: threads do not survive it. */
static inline void watchdog_start(unsigned seconds, void (*dump)(void))
{
	static struct watchdog watchdog;
	pthread_t thread;

	watchdog.at_us = now_us() + seconds * 1000000ull;
	watchdog.dump = dump;
	if (pthread_create(&thread, NULL, watchdog_main, &watchdog))
		die("pthread_create");
	pthread_detach(thread);
}

#endif
