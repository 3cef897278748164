/* SPDX-License-Identifier: BSD-2-Clause */
/* Receiving on a tracked connection: life steps before, the call, the accounts after. */
#include <errno.h>

#include "readable.h"
#include "transfer_short.h"
#include "transfer_internal.h"

size_t transfer_iov_window(const struct iovec *in, size_t count, size_t skip, size_t limit, struct iovec *out,
			   size_t capacity)
{
	size_t used = 0;

	for (size_t i = 0; i < count && used < capacity && limit > 0; i++) {
		if (skip >= in[i].iov_len) {
			skip -= in[i].iov_len;
			continue;
		}
		size_t bytes = in[i].iov_len - skip;
		if (bytes > limit)
			bytes = limit;
		out[used].iov_base = (char *)in[i].iov_base + skip;
		out[used++].iov_len = bytes;
		limit -= bytes;
		skip = 0;
	}
	return used;
}

int transfer_name_nobody(int fd, socklen_t *length)
{
	bool is_negative = readable_bytes(length, sizeof(*length)) && (int)*length < 0;
	int error = is_negative ? EINVAL : writable_int(fd, length);

	if (error == 0)
		*length = 0;
	if (error != EFAULT && !is_negative)
		return 0;
	errno = error;
	return -1;
}

int transfer_clear_results(int fd, struct msghdr *message)
{
	if (writable_int(fd, &message->msg_flags) == EFAULT) {
		errno = EFAULT;
		return -1;
	}
	if (message->msg_name)
		message->msg_namelen = 0;
	message->msg_controllen = 0;
	message->msg_flags = 0;
	return 0;
}

static void account(struct conn *conn, int fd, struct ledger_cell *ledger, size_t bytes)
{
	if (!ledger)
		transfer_add(&conn->received, bytes);
	else if (window_look_is_due(ledger_consumed(conn, ledger, bytes), bytes))
		window_look(conn, fd);
	transfer_count_received(conn, bytes);
}

int transfer_step(struct held *held, bool may_join)
{
	int saved = errno;

	*held = held_begin(held->conn, held->fd, held->generation);
	lifecycle_step(held->conn, held->fd, may_join);
	int fd = held_settle(held);
	errno = saved;
	return fd;
}

/* Another thread has closed fd during the step before the call; `duplicate`: -1, or what the call was left. */
static ssize_t receive_by_duplicate(const struct held *held, int duplicate, const struct receive_call *call)
{
	struct receive_call here = *call;

	if (duplicate < 0) {
		errno = EBADF;
		return -1;
	}
	here.fd = duplicate;
	here.held = held;
	return transfer_receive_repaired(held->conn, &here, NULL);
}

/* The call's result, and the accounts. */
static ssize_t finish(struct conn *conn, const struct receive_call *call, struct ledger_cell *ledger,
		      uint32_t generation, ssize_t result)
{
	/* What a send took from the socket comes when there are no more bytes, as TCP has it. Not behind a FIN. */
	int owed = __builtin_expect(result == 0, 0) && atomic_load(&conn->generation) == generation &&
				   atomic_load(&conn->owed_error) != EPIPE
			   ? transfer_take_owed_error(conn)
			   : 0;

	if (owed) {
		errno = owed;
		result = -1;
	}
	/* Another generation: the application closed it meanwhile, these bytes are no longer of this connection. */
	if (result > 0 && !quiet_is_on() && !(call->flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)) &&
	    atomic_load_explicit(&conn->generation, memory_order_relaxed) == generation) {
		latency_received(conn, call->fd);
		account(conn, call->fd, ledger, (size_t)result);
	}
	return result;
}

ssize_t transfer_receive(struct conn *conn, const struct receive_call *call)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	struct held held = { .conn = conn, .generation = generation, .fd = call->fd };
	int fd = call->fd;

	if (__builtin_expect(lifecycle_due(conn), 0))
		fd = transfer_step(&held, true);

	uint32_t previous = transfer_enter(conn);
	struct ledger_cell *ledger = transfer_ledger(conn);
	ssize_t result = -1;
	int saved = errno;

	if (__builtin_expect(fd != call->fd, 0))
		result = receive_by_duplicate(&held, fd, call);
	else if (!transfer_fd_is(call->fd, conn, generation))
		errno = EBADF;                             /* closed by another thread in the meantime */
	else if (conn_is_joined(conn) && call->has_joined) /* by the step before, or another thread */
		*call->has_joined = true;
	else if (conn_is_joined(conn))
		result = transfer_receive_repaired(conn, call, ledger);
	else
		result = call->perform(call);

	result = finish(conn, call, ledger, generation, result);
	thread_leave(previous);
	if (__builtin_expect(fd != call->fd, 0))
		held_end(&held);
	if (result >= 0)
		errno = saved; /* some step of it may have failed */
	return result;
}

ssize_t transfer_short_receive_rest(struct conn *conn, const struct receive_call *call, struct transfer_short *way,
				    ssize_t result)
{
	result = transfer_repair(conn, call, way->ledger, way->cell, &way->wait, way->generation, result);
	result = finish(conn, call, way->ledger, way->generation, result);
	transfer_short_end(way);
	if (result >= 0 && way->cell)
		errno = way->saved_errno;
	return result;
}
