/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives on a connection that could not leave before a filter came (quiet.h): pinned, its redirected bytes yet to be read.
 *
 * Nothing but the application's own call may be made, so that is what is repeated:
 *   2  the redirected bytes are a short read, passed ones may be behind them: on a non-blocking fd once more for the
 *      rest. When that has come to an end the queue of redirected bytes is empty for good, and so is this.
 *   4  EAGAIN on a blocking fd after a wake-up that brought no data: again, a number of times in a row
 *   5  MSG_WAITALL: piece by piece
 *   8  splice and sendfile from it, which see TCP's queue alone, would wait for what is there: EINVAL, as from a file that cannot
 *      be spliced, until the redirected bytes are read
 * These stand in for libc's functions behind the wrappers (real_read and its kin), and are put there when the first such
 * connection is found: all others pay nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "intercept.h"
#include "queue.h"
#include "quiet.h"
#include "quiet_record.h"
#include "signals.h"
#include "transfer_internal.h"

#define AGAIN_MAX 64 /* if the number became a non-blocking file's where no wrapper saw it, its EAGAIN comes late */
#define UNREAD_MAX (1 << 25)

static _Atomic bool stands_in;

static void has_received(int fd, ssize_t bytes, int flags)
{
	struct conn *conn = quiet_record_conn(fd);
	uint64_t unread = conn ? atomic_load(&conn->received) : 0;

	if (bytes <= 0 || (flags & MSG_PEEK))
		return;
	while (unread > 0 && !atomic_compare_exchange_weak(&conn->received, &unread,
							   unread > (uint64_t)bytes ? unread - (uint64_t)bytes : 0))
		;
}

static bool refuses_splice(int fd)
{
	struct conn *conn = quiet_record_conn(fd);

	if (!conn || atomic_load(&conn->received) == 0)
		return false;
	errno = EINVAL;
	return true;
}

/* One call of the application: how to make it for what is left after `done` bytes. */
struct attempt {
	ssize_t (*perform)(const struct attempt *attempt, size_t done);
	int fd;
	char *buffer;
	size_t bytes;
	int flags;
	struct sockaddr *address;
	socklen_t *length;
	struct msghdr *message; /* instead of buffer and bytes */
	const void *arguments;  /* for perform */
};

/* Looks at the application's vector only after the kernel has: nobody could be asked whether it can be read. */
static size_t room_of(const struct attempt *attempt)
{
	size_t bytes = attempt->bytes;

	for (size_t i = 0; attempt->message && i < (size_t)attempt->message->msg_iovlen; i++)
		bytes += attempt->message->msg_iov[i].iov_len;
	return bytes;
}

static ssize_t receive_blocking(const struct attempt *attempt)
{
	struct signals_mark ran = signals_ran;
	int saved = errno;
	size_t done = 0;

	for (int again = 0; again < AGAIN_MAX;) {
		ssize_t result = attempt->perform(attempt, done);

		if (result > 0) {
			errno = saved;
			done += (size_t)result;
			if (!(attempt->flags & MSG_WAITALL) || (attempt->flags & MSG_PEEK) || done >= room_of(attempt))
				return (ssize_t)done;
			continue;
		}
		if (result == 0 || errno != EAGAIN || (attempt->flags & MSG_DONTWAIT))
			return done ? (ssize_t)done : result;
		if (signals_interrupted(ran, done > 0)) {
			errno = EINTR;
			return done ? (ssize_t)done : -1;
		}
		again++;
	}
	return done ? (ssize_t)done : -1; /* EAGAIN */
}

/* More than one may be needed for what is left of it. */
static bool is_of_windows(const struct attempt *attempt)
{
	return attempt->message && attempt->message->msg_iovlen > TRANSFER_WINDOW_IOVECS;
}

static ssize_t receive_nonblocking(const struct attempt *attempt)
{
	ssize_t result = attempt->perform(attempt, 0);
	int saved = errno;

	if (result <= 0 || (size_t)result >= room_of(attempt) || (attempt->flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)))
		return result;
	size_t room = room_of(attempt);
	ssize_t more = attempt->perform(attempt, (size_t)result);
	/* An error, or the end of the stream, is found again by the next call. */
	quiet_record_done(attempt->fd);
	for (int windows = 1; more > 0 && is_of_windows(attempt); windows++) {
		result += more;
		more = windows < TRANSFER_WINDOWS && (size_t)result < room ? attempt->perform(attempt, (size_t)result)
									   : 0;
	}
	errno = saved;
	return more > 0 ? result + more : result;
}

static ssize_t receive(const struct attempt *attempt)
{
	ssize_t result = quiet_record_is(STUCK_BLOCKING, attempt->fd)      ? receive_blocking(attempt)
			 : quiet_record_is(STUCK_NONBLOCKING, attempt->fd) ? receive_nonblocking(attempt)
									   : attempt->perform(attempt, 0);
	has_received(attempt->fd, result, attempt->flags);
	return result;
}

/* ---- the stand-ins, each for one of libc's --------------------------------------------------------------------------- */

static __typeof__(real_read) libc_read;
static __typeof__(real_recv) libc_recv;
static __typeof__(real_recvfrom) libc_recvfrom;
static __typeof__(real_recvmsg) libc_recvmsg;
static __typeof__(real_readv) libc_readv;

static ssize_t perform_read(const struct attempt *attempt, size_t done)
{
	return libc_read(attempt->fd, attempt->buffer + done, attempt->bytes - done);
}

static ssize_t stuck_read(int fd, void *buffer, size_t count)
{
	return receive(&(struct attempt){ .perform = perform_read, .fd = fd, .buffer = buffer, .bytes = count });
}

static ssize_t perform_recv(const struct attempt *attempt, size_t done)
{
	return libc_recv(attempt->fd, attempt->buffer + done, attempt->bytes - done, attempt->flags);
}

static ssize_t stuck_recv(int fd, void *buffer, size_t count, int flags)
{
	return receive(&(struct attempt){
		.perform = perform_recv, .fd = fd, .buffer = buffer, .bytes = count, .flags = flags });
}

static ssize_t perform_recvfrom(const struct attempt *attempt, size_t done)
{
	return libc_recvfrom(attempt->fd, attempt->buffer + done, attempt->bytes - done, attempt->flags,
			     attempt->address, attempt->length);
}

static ssize_t stuck_recvfrom(int fd, void *buffer, size_t count, int flags, struct sockaddr *address,
			      socklen_t *length)
{
	return receive(&(struct attempt){ .perform = perform_recvfrom,
					  .fd = fd,
					  .buffer = buffer,
					  .bytes = count,
					  .flags = flags,
					  .address = address,
					  .length = length });
}

/* What is left of a vector after `done` bytes; of a very long one the beginning of that. */
static size_t rest_of(const struct attempt *attempt, size_t done, struct iovec window[TRANSFER_WINDOW_IOVECS])
{
	return transfer_iov_window(attempt->message->msg_iov, attempt->message->msg_iovlen, done, SIZE_MAX, window,
				   TRANSFER_WINDOW_IOVECS);
}

static ssize_t perform_recvmsg(const struct attempt *attempt, size_t done)
{
	struct iovec window[TRANSFER_WINDOW_IOVECS];
	struct msghdr rest = { .msg_iov = window };

	if (done == 0)
		return libc_recvmsg(attempt->fd, attempt->message, attempt->flags);
	rest.msg_iovlen = rest_of(attempt, done, window);
	return libc_recvmsg(attempt->fd, &rest, attempt->flags);
}

static ssize_t stuck_recvmsg(int fd, struct msghdr *message, int flags)
{
	return receive(&(struct attempt){ .perform = perform_recvmsg, .fd = fd, .message = message, .flags = flags });
}

static ssize_t perform_readv(const struct attempt *attempt, size_t done)
{
	struct iovec window[TRANSFER_WINDOW_IOVECS];

	if (done == 0)
		return libc_readv(attempt->fd, attempt->message->msg_iov, (int)attempt->message->msg_iovlen);
	return libc_readv(attempt->fd, window, (int)rest_of(attempt, done, window));
}

static ssize_t stuck_readv(int fd, const struct iovec *vector, int count)
{
	struct msghdr message = { .msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count };

	return receive(&(struct attempt){ .perform = perform_readv, .fd = fd, .message = &message });
}

static __typeof__(real_preadv2) libc_preadv2;
static __typeof__(real_preadv64v2) libc_preadv64v2;
static __typeof__(real_recvmmsg) libc_recvmmsg;

static ssize_t perform_preadv2(const struct attempt *attempt, size_t done)
{
	int flags = *(const int *)attempt->arguments;
	struct iovec window[TRANSFER_WINDOW_IOVECS];

	if (done == 0)
		return libc_preadv2(attempt->fd, attempt->message->msg_iov, (int)attempt->message->msg_iovlen, -1,
				    flags);
	return libc_preadv2(attempt->fd, window, (int)rest_of(attempt, done, window), -1, flags);
}

static ssize_t stuck_preadv2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
	struct msghdr message = { .msg_iov = (struct iovec *)vector, .msg_iovlen = (size_t)count };

	if (offset != -1)
		return libc_preadv2(fd, vector, count, offset, flags);
	return receive(&(struct attempt){ .perform = perform_preadv2,
					  .fd = fd,
					  .flags = flags & RWF_NOWAIT ? MSG_DONTWAIT : 0,
					  .message = &message,
					  .arguments = &flags });
}

static ssize_t stuck_preadv64v2(int fd, const struct iovec *vector, int count, off64_t offset, int flags)
{
	return stuck_preadv2(fd, vector, count, offset, flags);
}

static ssize_t perform_recvmmsg(const struct attempt *attempt, size_t done)
{
	struct mmsghdr *only = (struct mmsghdr *)(void *)attempt->message;
	struct iovec window[TRANSFER_WINDOW_IOVECS];
	struct mmsghdr rest = { .msg_hdr = { .msg_iov = window } };

	if (done == 0) {
		int count = libc_recvmmsg(attempt->fd, only, 1, attempt->flags, NULL);
		return count == 1 ? (ssize_t)only->msg_len : count;
	}
	rest.msg_hdr.msg_iovlen = rest_of(attempt, done, window);
	int count = libc_recvmmsg(attempt->fd, &rest, 1, attempt->flags, NULL);
	return count == 1 ? (ssize_t)rest.msg_len : count;
}

/* Of one message: of several, each goes on where the one before ended. */
static int stuck_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
	if (count != 1 || timeout || !(quiet_record_is(STUCK_BLOCKING, fd) || quiet_record_is(STUCK_NONBLOCKING, fd))) {
		int received = libc_recvmmsg(fd, messages, count, flags, timeout);

		for (int i = 0; i < received; i++)
			has_received(fd, messages[i].msg_len, flags);
		return received;
	}
	ssize_t result = receive(&(struct attempt){
		.perform = perform_recvmmsg, .fd = fd, .message = &messages->msg_hdr, .flags = flags });
	if (result < 0)
		return -1;
	messages->msg_len = (unsigned)result;
	return 1;
}

/* The fortified ones. Too little room: libc's own ends the program, as it should. */
static __typeof__(real___read_chk) libc_read_chk;
static __typeof__(real___recv_chk) libc_recv_chk;
static __typeof__(real___recvfrom_chk) libc_recvfrom_chk;

static ssize_t stuck_read_chk(int fd, void *buffer, size_t count, size_t room)
{
	return count > room ? libc_read_chk(fd, buffer, count, room) : stuck_read(fd, buffer, count);
}

static ssize_t stuck_recv_chk(int fd, void *buffer, size_t count, size_t room, int flags)
{
	return count > room ? libc_recv_chk(fd, buffer, count, room, flags) : stuck_recv(fd, buffer, count, flags);
}

static ssize_t stuck_recvfrom_chk(int fd, void *buffer, size_t count, size_t room, int flags, struct sockaddr *address,
				  socklen_t *length)
{
	return count > room ? libc_recvfrom_chk(fd, buffer, count, room, flags, address, length)
			    : stuck_recvfrom(fd, buffer, count, flags, address, length);
}

static __typeof__(real_splice) libc_splice;
static __typeof__(real_sendfile) libc_sendfile;
static __typeof__(real_sendfile64) libc_sendfile64;

static ssize_t stuck_splice(int fd_in, off64_t *offset_in, int fd_out, off64_t *offset_out, size_t count,
			    unsigned int flags)
{
	return refuses_splice(fd_in) ? -1 : libc_splice(fd_in, offset_in, fd_out, offset_out, count, flags);
}

static ssize_t stuck_sendfile(int fd_out, int fd_in, off_t *offset, size_t count)
{
	return refuses_splice(fd_in) ? -1 : libc_sendfile(fd_out, fd_in, offset, count);
}

static ssize_t stuck_sendfile64(int fd_out, int fd_in, off64_t *offset, size_t count)
{
	return refuses_splice(fd_in) ? -1 : libc_sendfile64(fd_out, fd_in, offset, count);
}

static void stand_in(void)
{
#define STAND_IN(kept, name, replacement)                                                                              \
	do {                                                                                                           \
		(kept) = real_##name;                                                                                  \
		real_##name = (replacement);                                                                           \
	} while (0)
	if (atomic_exchange(&stands_in, true))
		return;
	STAND_IN(libc_read, read, stuck_read);
	STAND_IN(libc_recv, recv, stuck_recv);
	STAND_IN(libc_recvfrom, recvfrom, stuck_recvfrom);
	STAND_IN(libc_recvmsg, recvmsg, stuck_recvmsg);
	STAND_IN(libc_readv, readv, stuck_readv);
	STAND_IN(libc_preadv2, preadv2, stuck_preadv2);
	STAND_IN(libc_preadv64v2, preadv64v2, stuck_preadv64v2);
	STAND_IN(libc_recvmmsg, recvmmsg, stuck_recvmmsg);
	STAND_IN(libc_read_chk, __read_chk, stuck_read_chk);
	STAND_IN(libc_recv_chk, __recv_chk, stuck_recv_chk);
	STAND_IN(libc_recvfrom_chk, __recvfrom_chk, stuck_recvfrom_chk);
	STAND_IN(libc_splice, splice, stuck_splice);
	STAND_IN(libc_sendfile, sendfile, stuck_sendfile);
	STAND_IN(libc_sendfile64, sendfile64, stuck_sendfile64);
#undef STAND_IN
}

void quiet_stuck_add(struct conn *conn, int fd)
{
	struct timeval timeout = { 0 };
	socklen_t length = sizeof(timeout);

	if ((unsigned)fd >= CONN_FD_MAX)
		return;
	bool is_pinned = conn_state(conn) == CONN_PINNED && !atomic_load(&conn->not_pinned);
	atomic_store(&conn->received, is_pinned ? (uint64_t)queue_redirected_bytes(fd, UNREAD_MAX) : UINT64_MAX);
	if (transfer_fd_nonblocking(fd))
		quiet_record_begin(fd, STUCK_NONBLOCKING);
	else if (real_getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length) != 0 ||
		 (timeout.tv_sec == 0 && timeout.tv_usec == 0))
		quiet_record_begin(fd, STUCK_BLOCKING);
	else
		quiet_record_begin(fd, STUCK); /* EAGAIN may be the time-out */
	stand_in();
}
