/* SPDX-License-Identifier: BSD-2-Clause */
/* One receive at a time: see reader.h. */
#include "reader.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "raw_syscall.h"

void reader_wake(struct memory_cell *cell)
{
	int saved = errno;

	if (atomic_fetch_and(&cell->reader, READER_SEIZED) & READER_AWAITED)
		raw_syscall(SYS_futex, &cell->reader, FUTEX_WAKE, INT_MAX, NULL, NULL,
			    0); /* not PRIVATE: forked processes too */
	errno = saved;
}

static bool is_gone(uint32_t tid)
{
	return raw_syscall(SYS_tkill, tid, 0) != 0 && errno == ESRCH;
}

bool reader_await(struct memory_cell *cell)
{
	const struct timespec step = { .tv_nsec = 1000000 };
	uint32_t first = atomic_load(&cell->reader) & ~READER_MARKS;
	int saved = errno;
	bool done = false;

	for (int i = 0, patience = READER_PATIENCE_MS; i < patience && !done; i++) {
		uint32_t holder = atomic_load(&cell->reader);

		if (holder & READER_KEEPS)
			patience = READER_PATIENCE_KEPT_MS;
		if ((holder & ~READER_MARKS) != first || first == 0)
			done = true;
		else if (is_gone(first))
			done = atomic_compare_exchange_strong(&cell->reader, &holder, holder & READER_SEIZED);
		else if ((holder & READER_AWAITED) ||
			 atomic_compare_exchange_strong(&cell->reader, &holder, holder | READER_AWAITED))
			raw_syscall(SYS_futex, &cell->reader, FUTEX_WAIT, holder | READER_AWAITED, &step, NULL, 0);
	}
	errno = saved;
	return done || (atomic_load(&cell->reader) & ~READER_MARKS) != first;
}
