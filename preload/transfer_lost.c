/* SPDX-License-Identifier: BSD-2-Clause */
/* How a receive ends whose number another thread has closed, or put another file at, so that nobody can be asked for it. */
#include <errno.h>
#include <fcntl.h>

#include "held.h"
#include "transfer_internal.h"

/* The number is another file's by now, or nobody's. TCP's receive goes on, but begins anew after a handler with SA_RESTART. */
int transfer_error_of_lost_number(int fd, uint32_t restarting_before)
{
	return signals_ran.restarting != restarting_before && real_fcntl(fd, F_GETFD) < 0 ? EBADF : EINTR;
}

/* The application's own call has slept in recv while another thread closed its number, or put another file there, and was woken without
 * data (fact 4). The file went with the call, so that nobody can ask it: what is left when neither a handler nor a stop nor the time-out
 * was it is an error of the connection, and of those loopback has the reset. Begun anew it meets what is there now; not as
 * a raw call on another connection in a sockhash. Where no wrapper saw a blocking fd closed it may not have slept at all. */
ssize_t transfer_receive_lost(const struct conn *conn, uint32_t generation, const struct receive_call *call,
			      const struct receive_wait *wait)
{
	bool bounded = wait->started_ms != RECEIVE_UNBOUNDED;
	bool timed = bounded && wait->timeout_ms >= 0, unknown = bounded && wait->timeout_ms == RECEIVE_ASKS;
	bool anew = signals_ran.restarting != wait->ran.restarting || (bounded && stops_since(wait->stopped));

	if (unknown || !held_was_asleep(conn, generation) || receive_wait_interrupted(wait, timed) ||
	    (anew && conn_get(call->fd)))
		errno = EINTR;
	else if (anew && atomic_load(&conn->generation) ==
				 generation) /* by another number: what came would be counted as its */
		errno = transfer_error_of_lost_number(call->fd, wait->ran.restarting);
	else if (anew)
		return call->perform(call);
	else if (timed && transfer_precise_ms() + 1 >= wait->started_ms + wait->timeout_ms)
		errno = EAGAIN;
	else
		errno = ECONNRESET;
	return -1;
}
