/* SPDX-License-Identifier: BSD-2-Clause */
/* Sends with MSG_ZEROCOPY on an end that could not leave the sockhash, and is pinned.
 *
 * TCP puts one completion into the error queue for each call. tcp_bpf_push() hands each range of pages to TCP by itself, and each has
 * a completion of its own (fact 15), by which the application would take later buffers for free. So the first byte alone asks for one,
 * and the rest is sent as usual: that has been copied when the call returns, and so has the byte, as always on this host.
 *
 * The error queue makes poll(2) say POLLERR, so that no room is waited for here: as many bytes as one vector has are one system call.
 */
#include <errno.h>

#include "endpoint.h"
#include "transfer_internal.h"

#define FIRST_BYTES 1
#define WINDOW_IOVECS 64
#define PARTS_MAX 32 /* IOV_MAX of them, twice */

static ssize_t perform_part(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags);
}

static ssize_t perform_part_quietly(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags | MSG_NOSIGNAL);
}

/* What comes after `done` bytes. *bytes_out: how much that is. */
static ssize_t send_part(const struct held *held, int fd, const struct send_call *call, size_t done,
			 struct ledger_cell *ledger, size_t *bytes_out)
{
	struct iovec window[WINDOW_IOVECS];
	size_t bytes = 0, count = transfer_iov_window(call->message->msg_iov, call->message->msg_iovlen, done,
						      done ? SIZE_MAX : FIRST_BYTES, window, WINDOW_IOVECS);
	struct msghdr message = { .msg_iov = window, .msg_iovlen = count };

	for (size_t i = 0; i < count; i++)
		bytes += window[i].iov_len;
	*bytes_out = bytes;
	return transfer_send_held(held, fd,
				  &(struct send_call){ .fd = call->fd,
						       .flags = done ? (call->flags & ~MSG_ZEROCOPY) | MSG_NOSIGNAL
								     : call->flags,
						       .bytes = bytes,
						       .message = &message,
						       .perform = perform_part,
						       .perform_quietly = perform_part_quietly },
				  ledger);
}

static ssize_t send_parts(const struct held *held, const struct send_call *call, struct ledger_cell *ledger)
{
	const struct signals_mark ran = signals_ran;
	size_t done = 0;
	int saved = errno;

	for (int i = 0; i < PARTS_MAX && done < call->bytes; i++) {
		size_t bytes = 0;

		if (done && (signals_interrupted(ran, true) || quiet_is_on()))
			break;
		held_calling(held, HELD_CALL_MAY_SLEEP);
		int fd = held_file(held);
		ssize_t result = done && fd < 0 ? 0 : send_part(held, fd, call, done, ledger, &bytes);
		held_calling(held, HELD_CALL_OVER);
		if (result < 0 && !done)
			return result;
		if (result < 0) { /* the next call's */
			transfer_take_reported_error(fd);
			transfer_owe_if_same(held->conn, held->generation, errno);
		}
		done += result > 0 ? (size_t)result : 0;
		if (result < 0 || (size_t)result < bytes || bytes == 0)
			break;
	}
	errno = saved;
	return (ssize_t)done;
}

bool transfer_copies_nothing(int fd)
{
	return endpoint_has_option(fd, SOL_SOCKET, SO_ZEROCOPY);
}

bool transfer_send_uncopied(struct conn *conn, const struct send_call *call, struct ledger_cell *ledger,
			    uint32_t generation, ssize_t *result_out)
{
	if (!conn_is_joined(conn) || !call->message || call->bytes <= FIRST_BYTES ||
	    (conn_state(conn) != CONN_PINNED && !lifecycle_is_lent(conn)) || !transfer_copies_nothing(call->fd))
		return false;
	/* Its result, or its control data, is the kernel's. */
	if (call->is_one_of_many || call->message->msg_controllen) {
		errno = ENOBUFS;
		*result_out = -1;
		return true;
	}
	struct held held = held_begin(conn, call->fd, generation);
	*result_out = send_parts(&held, call, ledger);
	held_end(&held);
	return true;
}
