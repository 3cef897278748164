/* SPDX-License-Identifier: BSD-2-Clause */
/* A part of a send's bytes by a call of its own. */
#include "transfer_internal.h"

#define WINDOW_IOVECS 64

static ssize_t perform_part(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags);
}

static ssize_t perform_part_quietly(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags | MSG_NOSIGNAL);
}

ssize_t transfer_send_part(const struct held *held, int fd, const struct send_call *call, struct transfer_part *part,
			   struct ledger_cell *ledger)
{
	struct iovec window[WINDOW_IOVECS];
	size_t count = transfer_iov_window(call->message->msg_iov, call->message->msg_iovlen, part->done,
					   part->bytes_max, window, WINDOW_IOVECS);
	struct msghdr message = { .msg_iov = window, .msg_iovlen = count };

	part->bytes = 0;
	for (size_t i = 0; i < count; i++)
		part->bytes += window[i].iov_len;
	return transfer_send_held(held, fd,
				  &(struct send_call){ .fd = call->fd,
						       .flags = part->flags,
						       .waits = part->waits,
						       .bytes = part->bytes,
						       .message = &message,
						       .perform = perform_part,
						       .perform_quietly = perform_part_quietly },
				  ledger);
}
