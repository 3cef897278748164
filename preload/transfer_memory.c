/* SPDX-License-Identifier: BSD-2-Clause */
/* Sends to a reader that may have no more memory: its cgroup's limit for TCP is reached, or tcp_mem.
 *
 * A redirect is charged to the reader's socket, and fails then: ENOMEM, on blocking sockets too, or, where a part of it went, a short
 * count (tcp_bpf.c, bpf_tcp_ingress()). TCP takes the bytes into the sender's buffer, and the reader's side drops segments until there
 * is memory. So such an end goes back to TCP, or, with redirected bytes unread, at least redirects nothing more; and the send goes on there.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "lifecycle_internal.h"
#include "mode.h"
#include "queue.h"
#include "transfer_internal.h"

#define PARTS_MAX 1000000
#define WITHOUT_HELPER_TRIES 10000 /* of a ms each, of a call that may sleep */

/* False: the helper has not answered. */
static bool stop_redirecting(struct conn *conn, const struct send_call *call, uint32_t generation)
{
	if (!transfer_fd_is(call->fd, conn, generation) || quiet_is_on())
		return false;
	lifecycle_make_plain(conn, call->fd, REASON_NO_MEMORY);
	return !atomic_load(&conn->not_pinned);
}

static bool may_sleep(struct conn *conn, const struct send_call *call)
{
	return !(call->flags & MSG_DONTWAIT) && !mode_is_nonblocking(conn, call->fd);
}

/* Of a send that sent nothing. Without a helper it waits for the reader, or leaves that to the application: EAGAIN. */
static ssize_t send_again(struct conn *conn, const struct send_call *call, uint32_t generation, struct signals_mark ran)
{
	bool stopped = stop_redirecting(conn, call, generation), sleeps = may_sleep(conn, call);
	bool has_timeout = sleeps && transfer_timeout_ms(call->fd, SO_SNDTIMEO) >= 0;
	struct send_call again = *call;
	ssize_t result = -1;

	again.is_again = true;
	for (int i = 0; i < WITHOUT_HELPER_TRIES; i++) {
		errno = ENOMEM;
		if (!transfer_fd_is(call->fd, conn, generation))
			break;
		result = transfer_send(conn, &again);
		if (result >= 0 || errno != ENOMEM || stopped)
			break;
		/* The reader may read meanwhile; and who asks again and again is not to have all of a CPU. */
		real_poll(NULL, 0, 1);
		errno = sleeps ? EINTR : EAGAIN;
		if (!sleeps || signals_interrupted(ran, has_timeout))
			break;
	}
	return result;
}

/* A blocking send that TCP may not have ended here. */
static bool may_go_on(struct conn *conn, const struct send_call *call, uint32_t generation, struct signals_mark ran)
{
	return call->message && !call->message->msg_controllen && !call->is_one_of_many &&
	       !(call->flags & ~(MSG_NOSIGNAL | MSG_MORE)) && !signals_interrupted(ran, true) &&
	       transfer_fd_is(call->fd, conn, generation) && !quiet_is_on() && !mode_is_nonblocking(conn, call->fd) &&
	       transfer_timeout_ms(call->fd, SO_SNDTIMEO) < 0 && !queue_has_error(call->fd) &&
	       !transfer_took_reset(call->fd);
}

/* One more part, which does not wait: SIGCONT, too, ends a send that has sent something, without a handler, and so may whoever cancels the
 * thread. Is no cancellation point, then. */
static ssize_t try_part(struct conn *conn, const struct send_call *call, struct transfer_part *part)
{
	struct lifecycle_quiet quiet = lifecycle_quiet_begin();

	part->flags |= MSG_DONTWAIT;
	part->waits = true;
	ssize_t result = transfer_send_part_again(conn, call, part);
	int error = errno;
	lifecycle_quiet_end(quiet);
	errno = error;
	return result;
}

/* Of a send that was cut short. Once it is known that memory was the cause it waits, as the whole would have. */
static ssize_t send_rest(struct conn *conn, const struct send_call *call, uint32_t generation, size_t done,
			 struct signals_mark ran)
{
	bool stopped = false;

	for (int i = 0; i < PARTS_MAX && done < call->bytes && may_go_on(conn, call, generation, ran); i++) {
		struct transfer_part part = { .done = done,
					      .bytes_max = SIZE_MAX,
					      .flags = call->flags | MSG_NOSIGNAL };
		ssize_t result = stopped ? transfer_send_part_again(conn, call, &part) : try_part(conn, call, &part);

		if (result > 0) {
			done += (size_t)result;
		} else if (result < 0 && errno == ENOMEM && !stopped) {
			stopped = true;
			stop_redirecting(conn, call, generation);
		} else {
			if (result < 0) /* there is a count to return */
				transfer_owe_if_same(conn, generation, errno);
			break;
		}
	}
	return (ssize_t)done;
}

ssize_t transfer_send_without_memory(struct conn *conn, const struct send_call *call, uint32_t generation,
				     ssize_t result, struct signals_mark ran)
{
	if (call->is_again)
		return result;
	return result < 0 ? send_again(conn, call, generation, ran)
			  : send_rest(conn, call, generation, (size_t)result, ran);
}
