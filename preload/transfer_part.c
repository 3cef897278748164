/* SPDX-License-Identifier: BSD-2-Clause */
/* A part of a send's bytes by a call of its own. */
#include "transfer_internal.h"

static ssize_t perform_part(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags);
}

static ssize_t perform_part_quietly(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags | MSG_NOSIGNAL);
}

struct window {
	struct iovec iovecs[TRANSFER_WINDOW_IOVECS];
	struct msghdr message;
};

/* The call that sends the part; `window` must live as long as it. */
static struct send_call describe(const struct send_call *call, struct transfer_part *part, struct window *window)
{
	size_t count = transfer_iov_window(call->message->msg_iov, call->message->msg_iovlen, part->done,
					   part->bytes_max, window->iovecs, TRANSFER_WINDOW_IOVECS);

	window->message = (struct msghdr){ .msg_iov = window->iovecs, .msg_iovlen = count };
	part->bytes = 0;
	for (size_t i = 0; i < count; i++)
		part->bytes += window->iovecs[i].iov_len;
	return (struct send_call){ .fd = call->fd,
				   .flags = part->flags,
				   .waits = part->waits,
				   .bytes = part->bytes,
				   .message = &window->message,
				   .perform = perform_part,
				   .perform_quietly = perform_part_quietly };
}

ssize_t transfer_send_part(const struct held *held, int fd, const struct send_call *call, struct transfer_part *part,
			   struct ledger_cell *ledger)
{
	struct window window;
	struct send_call here = describe(call, part, &window);

	return transfer_send_held(held, fd, &here, ledger);
}

ssize_t transfer_send_part_again(struct conn *conn, const struct send_call *call, struct transfer_part *part)
{
	struct window window;
	struct send_call here = describe(call, part, &window);

	here.is_again = true;
	return transfer_send(conn, &here);
}
