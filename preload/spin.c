/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting awake: see spin.h. */
#include "spin.h"

#include <poll.h>
#include <time.h>

#include "transfer_internal.h"

/* A sender that copies 256 KiB, or a reader that takes as much, needs about that long. */
#define SPIN_NS 40000
#define PAUSES 16 /* between looks: some 0.3 microseconds */
#define MISSES_MAX 6

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void pause_briefly(void)
{
	for (int i = 0; i < PAUSES; i++) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#elif defined(__aarch64__)
		__asm__ volatile("yield");
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
	}
}

/* Threads that share the connection may miscount each other's: it is only about how often. */
static bool may_spin(struct conn *conn)
{
	if (conn->spin_skip == 0)
		return true;
	conn->spin_skip--;
	return false;
}

static bool spun(struct conn *conn, bool success)
{
	if (success) {
		conn->spin_misses = 0;
	} else {
		if (conn->spin_misses < MISSES_MAX)
			conn->spin_misses++;
		conn->spin_skip = (uint8_t)(1u << conn->spin_misses);
	}
	return success;
}

bool spin_for_announced(struct conn *conn, struct ledger_cell *ledger, int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	int64_t end;

	if (!ledger_cpu_is_other(&ledger_peer(conn, ledger)->send_cpu) || !may_spin(conn))
		return false;
	if (poll(&poller, 1, 0) == 1)
		return true;
	if (transfer_fd_nonblocking(fd))
		return false;
	end = now_ns() + SPIN_NS;
	while (ledger_is_owed(conn, ledger)) {
		pause_briefly();
		if (poll(&poller, 1, 0) == 1)
			return spun(conn, true);
		if (now_ns() > end)
			return spun(conn, false);
	}
	return false; /* the send came to nothing */
}

bool spin_for_room(struct conn *conn, struct ledger_cell *ledger, size_t bytes)
{
	int64_t end;

	if (!ledger_cpu_is_other(&ledger_peer(conn, ledger)->read_cpu) || !may_spin(conn))
		return false;
	end = now_ns() + SPIN_NS;
	do {
		pause_briefly();
		if (!ledger_should_pace(conn, ledger, bytes))
			return spun(conn, true);
	} while (now_ns() < end);
	return spun(conn, false);
}
