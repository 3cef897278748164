/* SPDX-License-Identifier: BSD-2-Clause */
/* recvmmsg and sendmmsg on a connection that has never been anything but TCP's: one system call for all messages, as the application made it. On
 * one that is, or was, joined each message is a call of its own (intercept_many.c), which costs ten times as much where they are small.
 */
#include "lifecycle.h"
#include "quiet.h"
#include "transfer_internal.h"

/* After transfer_enter(). */
static bool is_tcp_alone(struct conn *conn, int fd, uint32_t generation)
{
	return conn_state(conn) != CONN_JOINING && !conn_is_joined(conn) && !transfer_ledger(conn) &&
	       !atomic_load(&conn->owed_error) && !latency_is_on() && !quiet_is_on() &&
	       transfer_fd_is(fd, conn, generation);
}

/* Another thread may have closed it meanwhile. */
static bool is_same(const struct conn *conn, uint32_t generation)
{
	return !quiet_is_on() && atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation;
}

/* False: with other threads, which may close fd during the step, it is for the call of one message, which holds its file (held.h). */
static bool step_alone(struct conn *conn, int fd, bool may_join)
{
	if (!libc_single_threaded())
		return false;
	lifecycle_step(conn, fd, may_join);
	return true;
}

bool transfer_receive_batch(struct conn *conn, int fd, struct mmsghdr *messages, unsigned count, int flags, int *result)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);

	if (__builtin_expect(lifecycle_due(conn), 0) && !step_alone(conn, fd, true))
		return false;
	uint32_t previous = transfer_enter(conn);
	bool is_possible = is_tcp_alone(conn, fd, generation);
	if (is_possible) {
		*result = real_recvmmsg(fd, messages, count, flags, NULL);
		for (int i = 0; i < *result && is_same(conn, generation); i++) {
			transfer_add(&conn->received, messages[i].msg_len);
			transfer_count_received(conn, messages[i].msg_len);
		}
	}
	thread_leave(previous);
	return is_possible;
}

bool transfer_send_batch(struct conn *conn, int fd, struct mmsghdr *messages, unsigned count, int flags, int *result)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);

	if (__builtin_expect(lifecycle_due(conn), 0) && !step_alone(conn, fd, !conn->last_was_receive))
		return false;
	uint32_t previous = transfer_enter(conn);
	bool is_possible = is_tcp_alone(conn, fd, generation);
	if (is_possible) {
		*result = real_sendmmsg(fd, messages, count, flags);
		for (int i = 0; i < *result && is_same(conn, generation); i++) {
			transfer_add(&conn->sent, messages[i].msg_len);
			transfer_count_sent(conn, messages[i].msg_len);
		}
	}
	thread_leave(previous);
	return is_possible;
}
