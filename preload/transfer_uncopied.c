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
#define PARTS_MAX (2 * TRANSFER_WINDOWS)

static ssize_t send_parts(const struct held *held, const struct send_call *call, struct ledger_cell *ledger)
{
	const struct signals_mark ran = signals_ran;
	size_t done = 0;
	int saved = errno;

	for (int i = 0; i < PARTS_MAX && done < call->bytes; i++) {
		struct transfer_part part = { .done = done, .bytes_max = FIRST_BYTES, .flags = call->flags };

		if (done)
			part.bytes_max = SIZE_MAX, part.flags = (call->flags & ~MSG_ZEROCOPY) | MSG_NOSIGNAL;
		if (done && (signals_interrupted(ran, true) || quiet_is_on()))
			break;
		held_calling(held, HELD_CALL_MAY_SLEEP);
		int fd = held_file(held);
		ssize_t result = done && fd < 0 ? 0 : transfer_send_part(held, fd, call, &part, ledger);
		held_calling(held, HELD_CALL_OVER);
		if (result < 0 && !done)
			return result;
		if (result < 0) { /* the next call's */
			transfer_take_reported_error(fd);
			transfer_owe_if_same(held->conn, held->generation, errno);
		}
		done += result > 0 ? (size_t)result : 0;
		if (result < 0 || (size_t)result < part.bytes || part.bytes == 0)
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
