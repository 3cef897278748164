/* SPDX-License-Identifier: BSD-2-Clause */
/* A duplicate and its note change together, and no fork comes in between: see held_change.h. */
#include "held_change.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#include "held.h"
#include "quiet.h"
#include "raw_syscall.h"

#define STEP_NS 100000
#define CHANGE_STEPS 100
#define FORK_STEPS 10000 /* that of a large process takes its time */

static _Atomic uint32_t forks;   /* under way */
static _Atomic uint32_t changes; /* likewise */

void held_pause_briefly(void)
{
	const struct timespec step = { .tv_nsec = STEP_NS };

	raw_syscall(SYS_nanosleep, &step, NULL);
}

void held_change_begin(void)
{
	int i;

	atomic_fetch_add(&changes, 1);
	for (i = 0; atomic_load(&forks) && i < FORK_STEPS && !quiet_is_on(); i++) {
		atomic_fetch_sub(&changes, 1);
		held_pause_briefly();
		atomic_fetch_add(&changes, 1);
	}
	/* A handler may have left one by siglongjmp, and nobody ends it: one such wait is enough for all. */
	if (i == FORK_STEPS)
		atomic_store(&forks, 0);
}

void held_change_end(void)
{
	atomic_fetch_sub(&changes, 1);
}

void held_before_fork(void)
{
	atomic_fetch_add(&forks, 1);
	for (int i = 0; atomic_load(&changes) && i < CHANGE_STEPS && !quiet_is_on(); i++)
		held_pause_briefly();
}

void held_after_fork(void)
{
	uint32_t under_way = atomic_load(&forks);

	while (under_way && !atomic_compare_exchange_weak(&forks, &under_way, under_way - 1))
		;
}

void held_changes_forked(void)
{
	atomic_store(&forks, 0);
	atomic_store(&changes, 0);
}
