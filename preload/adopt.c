/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that another process has passed on, by SCM_RIGHTS; or that were open when this program was executed, and in the sockhash.
 *
 * Such a one may be an end that its giver could only pin, with redirected bytes unread: facts 2, 4 and 5 hold for it, and it is tracked as
 * one that is joined. As soon as it is certain that it is in no sockhash, it is watched as any other, but for two things:
 *
 *	its accounts begin in the middle. What has gone before is asked of the kernel, once, while no thread of this process is in a
 *	call on it. Who did not accept the connection, but made it, counts the SYN by that, until the helper says so (CELL_SIDE_SYN)
 *
 *	its giver, and others, may have it still, and use it without any wrapper. So it joins only if the helper finds that this process's fd
 *	is the only one (WIRE_JOIN_ALONE). Until then its close is left to the kernel, as that of one given away
 */
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config.h"
#include "latency.h"
#include "lifecycle_internal.h"
#include "queue.h"
#include "quiet.h"
#include "real.h"
#include "threads.h"

#define INHERITED_MAX 65536
/* Numbers that one system call looks at. Where none of them is open there are no more, unless the table of fds is known to be larger. */
#define INHERITED_STEP 256
#define TURNS_UNCOUNTED 8u /* until the accounts are asked for again */

static void track_as_pinned(struct conn *conn, int fd)
{
	conn->cookie = endpoint_cookie(fd);
	atomic_fetch_or(&conn->options, CONN_TIMES_OUT | CONN_SENDS_TIME_OUT);
	conn_touch(conn);
	conn->retry_at_turn = 0; /* for a cell */
	conn_state_set(conn, CONN_PINNED, REASON_PASSED_FD);
}

/* Threads that receive on it take turns in the cell (reader.h), which nobody can who does not know the number yet. The helper says nothing
 * there, as in one that replace_cell() (lifecycle.c) has bound. */
static void bind_cell(struct conn *conn)
{
	struct session_memory *memory;

	if (quiet_is_on() || fork_in_vfork_child())
		return;
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();
	if (channel_session(&memory, channel_is_prompt() ? CHANNEL_WAIT_MS : 0) == CHANNEL_READY)
		(void)lifecycle_bind_cell(conn, memory);
	lifecycle_quiet_end(quiet);
}

/* Another number for what this process has, and may be in the sockhash: at its end the two are one holder. */
static bool is_duplicate(int fd)
{
	uint64_t cookie = endpoint_cookie(fd);
	uint32_t high = atomic_load(&conn_fd_high);

	for (int other = 0; other <= (int)high && other < (int)CONN_FD_MAX; other++) {
		struct conn *conn = other != fd ? conn_get(other) : NULL;

		if (conn && conn->cookie == cookie && lifecycle_may_be_redirected_to(conn) &&
		    endpoint_cookie(other) == cookie && conn_fd_copy(conn, other, fd)) /* not closed meanwhile */
			return true;
	}
	return false;
}

/* NULL: there is no room for it. */
static struct conn *adopt_new(int fd, bool may_be_joined, bool is_wanted)
{
	fork_notice();
	struct conn *conn = conn_open(fd, true);
	if (!conn)
		return NULL;
	atomic_store(&conn->adopted, CONN_ADOPTED);
	if (may_be_joined)
		track_as_pinned(conn, fd);
	lifecycle_open_door();
	if (may_be_joined && is_wanted)
		bind_cell(conn);
	latency_opened(conn);
	return conn;
}

/* is_wanted: this program has asked for it. Else its first receive binds the cell (lifecycle_step()). */
static void adopt(int fd, bool is_wanted)
{
	bool may_be_joined = queue_may_be_joined(fd);
	struct conn *conn = NULL;

	if (may_be_joined && is_duplicate(fd))
		conn = conn_get(fd);
	else if (may_be_joined || endpoint_is_connected(fd))
		conn = adopt_new(fd, may_be_joined, is_wanted);
	if (conn && fd == STDIN_FILENO) /* as one that is put there (intercept_close.c) */
		(void)lifecycle_make_plain(conn, fd, REASON_STDIO);
}

void lifecycle_adopt(int fd)
{
	adopt(fd, true);
}

/* Of a program that was executed by vfork(2) or posix_spawn(3) nobody has told the helper; others were pinned, with bytes unread. What comes as
 * standard input or output is for this program, and mostly for stdio: it leaves. More is often there by mistake (no FD_CLOEXEC) while
 * the other process goes on with it, so that it stays as it is, and does not leave either when this program executes the next; should it be
 * used all the same, its receives are repaired. */
static void adopt_inherited(int fd)
{
	if (!endpoint_is_tcp(fd) || !queue_may_be_joined(fd))
		return;
	adopt(fd, false);
	struct conn *conn = fd > STDIN_FILENO && fd <= STDERR_FILENO ? conn_get(fd) : NULL;
	if (conn && atomic_load(&conn->fds) == 1) /* else it has been asked for by its first number */
		(void)lifecycle_make_plain(conn, fd, REASON_EXEC);
}

void lifecycle_adopt_inherited(void)
{
	struct pollfd numbers[INHERITED_STEP];
	struct rlimit limit;
	int count = INHERITED_STEP, open = 1, size = (int)quiet_fd_table_size();

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INHERITED_STEP) {
		count = (int)limit.rlim_cur; /* of entries, not of numbers: poll(2) takes no more */
		size = 0;                    /* too many calls */
	}
	for (int first = 0; count > 0 && (open > 0 || first < size) && first < INHERITED_MAX; first += count) {
		for (int i = 0; i < count; i++)
			numbers[i] = (struct pollfd){ .fd = first + i };
		if (real_poll(numbers, (nfds_t)count, 0) < 0)
			return;
		open = 0;
		for (int i = 0; i < count; i++) {
			if (numbers[i].revents & POLLNVAL)
				continue;
			open++;
			adopt_inherited(first + i);
		}
	}
}

bool lifecycle_is_as_received(const struct conn *conn)
{
	return conn_state(conn) == CONN_PINNED && conn->reason == REASON_PASSED_FD;
}

void lifecycle_let_go(struct conn *conn)
{
	bool is_as_received = lifecycle_is_as_received(conn);

	atomic_store(&conn->touched, 0);
	conn->retry_at_turn = conn->turns + (config.eager ? 0 : config.admit_turns);
	conn_state_set(conn, is_as_received ? CONN_WATCHING : CONN_REFUSED,
		       is_as_received ? REASON_WATCHING : conn->reason);
}

void lifecycle_count_adopted(struct conn *conn, int fd)
{
	uint32_t generation = conn->generation;
	uint64_t sent, received;

	if (!lifecycle_joining_begin(conn, CONN_WATCHING))
		return;
	conn->retry_at_turn = conn->turns + TURNS_UNCOUNTED;
	if (!threads_others_inside(conn->index) && endpoint_sums(fd, &sent, &received)) {
		atomic_store(&conn->sent, sent);
		atomic_store(&conn->received, received);
		atomic_fetch_or(&conn->options, CONN_COUNTS_SYN);
		atomic_store(&conn->adopted, CONN_ADOPTED_COUNTED);
		conn->retry_at_turn = conn->turns;
	}
	lifecycle_joining_end(conn, generation, CONN_WATCHING, conn->reason);
}
