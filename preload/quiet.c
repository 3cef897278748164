/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking leave before a filter of system calls goes in: see quiet.h.
 *
 * Order:
 *	step                why here
 *	hot.quiet           nothing new is tracked, offered or joined from here on: a join looks at it after it has shown itself
 *	                    as CONN_JOINING, so that it either sees this or is seen below
 *	each connection     back to plain TCP; what is in flight to the helper is taken back
 *	the channel closed  a sandbox must not keep a way to a privileged process
 *	conn_shut           the wrappers find no connection any more
 *
 * Threads that are inside a call meanwhile come out of it without a further system call (quiet_is_on() in transfer_*.c): the
 * filter may be one for all threads.
 */
#include "quiet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "channel.h"
#include "clock.h"
#include "config.h"
#include "fork.h"
#include "ledger.h"
#include "lifecycle.h"
#include "log.h"
#include "raw_syscall.h"
#include "window.h"

/* For those that could not leave; and together with those that could, whose helper may be late each time, or this process throttled. */
#define QUIET_BUDGET_MS 500
#define QUIET_MOST_MS 3000
#define STATUS_PATH "/proc/self/status"
#define STATUS_BYTES 8192 /* "Seccomp:" is about 1 KiB in */
#define STATUS_READS 64
#define CAUGHT "\nSigCgt:"

/* The call that the dynamic linker of this libc opens libraries with. */
#if !defined(__GLIBC__) && defined(SYS_open)
#define OPEN_STATUS SYS_open, STATUS_PATH, O_RDONLY | O_CLOEXEC
#else
#define OPEN_STATUS SYS_openat, AT_FDCWD, STATUS_PATH, O_RDONLY | O_CLOEXEC
#endif

/* True when the socket is plain TCP for good. */
static bool take_leave(struct conn *conn, int fd, enum sm_reason reason, bool in_time)
{
	uint32_t state;

	if (in_time && lifecycle_make_plain(conn, fd, reason))
		return true;
	state = conn_state(conn);
	if (state != CONN_JOINED && state != CONN_ARMED && state != CONN_PINNED && state != CONN_LEAVING)
		return true;
	/* The peer must not rely on sums that are no longer kept. */
	ledger_inherit(conn);
	ledger_detach(conn);
	window_restore(conn, fd); /* the last occasion */
	return false;
}

void quiet_begin(enum sm_reason reason)
{
	int saved = errno;
	int64_t started_ms = clock_ms(), spent_ms = 0;
	uint32_t high = conn_table() ? atomic_load(&conn_fd_high) : 0;
	uint32_t stuck = 0;

	atomic_store(&hot.quiet, true);
	if (!conn_table())
		return;
	fork_notice();
	for (uint32_t fd = 0; fd <= high && fd < CONN_FD_MAX; fd++) {
		struct conn *conn = conn_get((int)fd);

		if (!conn)
			continue;
		int64_t begun_ms = clock_ms();
		bool in_time = spent_ms < QUIET_BUDGET_MS && begun_ms - started_ms < QUIET_MOST_MS;
		if (!take_leave(conn, (int)fd, reason, in_time)) {
			quiet_stuck_add(conn, (int)fd);
			spent_ms += clock_ms() - begun_ms;
			stuck++;
		}
	}
	log_info("%s is coming: plain TCP from here on, %u connections could not leave",
		 reason == REASON_SECCOMP    ? "a filter of system calls"
		 : reason == REASON_FD_TABLE ? "a thread's own table of fds"
					     : "a limit of no files",
		 stuck);
	channel_shut();
	conn_shut();
	config.spin_ns = 0; /* no looking before a poll */
	log_level = LOG_LEVEL_OFF;
	errno = saved;
}

static uint32_t fd_table_size;
static uint64_t signals_caught = UINT64_MAX;

/* The number in that line of /proc/PID/status; -1: there is none. */
static long number_in(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? strtol(line + strlen(name), NULL, 10) : -1;
}

enum quiet_inherited quiet_inherited(void)
{
	static char text[STATUS_BYTES]; /* the constructor's alone */
	size_t length = 0;
	long fd = raw_syscall(OPEN_STATUS);
	long bytes = fd < 0 ? -1 : 1;

	for (int i = 0; i < STATUS_READS && bytes > 0 && length < sizeof(text) - 1; i++) {
		bytes = raw_syscall(SYS_read, fd, text + length, sizeof(text) - 1 - length);
		length += bytes > 0 ? (size_t)bytes : 0;
	}
	if (fd >= 0)
		raw_syscall(SYS_close, fd);
	long size = number_in(text, "\nFDSize:");
	fd_table_size = size > 0 && size <= INT_MAX ? (uint32_t)size : 0;
	const char *caught = strstr(text, CAUGHT);
	if (caught)
		signals_caught = strtoull(caught + sizeof(CAUGHT) - 1, NULL, 16);
	if (fd < 0 || bytes < 0)
		return QUIET_NOT_KNOWN;
	/* Kernels without seccomp have no such line. */
	return number_in(text, "\nSeccomp:") > 0 ? QUIET_FILTER : QUIET_NO_FILTER;
}

uint32_t quiet_fd_table_size(void)
{
	return fd_table_size;
}

uint64_t quiet_signals_caught(void)
{
	return signals_caught;
}
