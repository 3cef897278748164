/* SPDX-License-Identifier: BSD-2-Clause */
/* recvmmsg and sendmmsg, done message by message as the kernel does. */
#include "intercept.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>

#include "clock.h"
#include "held.h"
#include "intercept_message.h"
#include "libc.h"
#include "mode.h"
#include "queue.h"
#include "raw_syscall.h"
#include "readable.h"
#include "transfer_internal.h"

/* recvmmsg begins with the error that waits, before any byte. True: taken, it is in errno. */
static bool take_error(struct conn *conn, int fd)
{
	int error = transfer_take_owed_error(conn);
	socklen_t length = sizeof(error);

	if (error) {
		errno = error;
		return true;
	}
	if (!queue_has_error(fd) || real_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error == 0)
		return false;
	errno = error;
	return true;
}

/* What is left of `timeout` since `start`; true if nothing is. */
static bool time_is_up(struct timespec *left, const struct timespec *timeout, const struct timespec *start)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC, &now);
	int64_t nanoseconds = (timeout->tv_sec - (now.tv_sec - start->tv_sec)) * INT64_C(1000000000) +
			      timeout->tv_nsec - (now.tv_nsec - start->tv_nsec);
	if (nanoseconds < 0)
		nanoseconds = 0;
	left->tv_sec = nanoseconds / 1000000000;
	left->tv_nsec = nanoseconds % 1000000000;
	return nanoseconds == 0;
}

static ssize_t perform_recvmsg(const struct receive_call *call)
{
	return real_recvmsg(call->fd, call->message, call->flags);
}

/* A message of a call whose fd another thread has closed. */
static ssize_t receive_by_duplicate(const struct held *held, int duplicate, struct msghdr *message, int flags)
{
	struct receive_call call = {
		.fd = duplicate, .flags = flags, .message = message, .perform = perform_recvmsg, .held = held
	};

	if (!readable_message(message, &call.bytes) || call.bytes == 0 || (flags & MSG_OOB))
		return perform_recvmsg(&call);
	return transfer_receive_repaired(held->conn, &call, NULL);
}

/* For one call of several: nothing that a wrapper has to look at message by message. */
static bool are_ordinary(const struct mmsghdr *messages, unsigned int count)
{
	size_t bytes;

	for (unsigned int i = 0; i < count && count <= IOV_MAX; i++)
		if (!readable_bytes(&messages[i], sizeof(messages[i])) || messages[i].msg_hdr.msg_controllen > 0 ||
		    !readable_message(&messages[i].msg_hdr, &bytes) || bytes == 0)
			return false;
	return count > 1 && count <= IOV_MAX;
}

/* One that does not wait between messages, whatever the file's mode is. */
static bool receives_at_once(int flags)
{
	return flags && !(flags & ~(MSG_DONTWAIT | MSG_WAITFORONE));
}

/* `file`: by what the call's file can be reached before this message (held.h). */
static ssize_t receive_one(const struct held *held, int file, struct msghdr *message, int flags)
{
	if (file == held->fd) {
		ssize_t result = intercept_receive_message(held->conn, file, message, flags);
		int error = errno;

		if (result >= 0 || !held->noted || (error != EBADF && error != EINTR))
			return result;
		file = held_file(held);
		errno = error;
		if (file == held->fd || file < 0)
			return result; /* a handler */
	}
	return receive_by_duplicate(held, file, message, flags);
}

static bool may_be_there(const struct conn *conn, const struct mmsghdr *messages, unsigned int count, int flags)
{
	return !flags && !conn_is_joined(conn) && are_ordinary(messages, count);
}

/* What is there of *count messages, in one system call; or one, for which it waits. *count: how many it was. More than one is not waited for
 * at a time: what has come is to be counted while others use the connection. Returns the length of the first. */
static ssize_t receive_next(const struct held *held, int file, struct mmsghdr *messages, unsigned int *count, int flags)
{
	const unsigned int room = *count;
	int saved = errno, done;

	*count = 1;
	if (file == held->fd && may_be_there(held->conn, messages, room, flags) &&
	    transfer_receive_batch(held->conn, file, messages, room, MSG_DONTWAIT, &done) &&
	    (done > 0 || errno != EAGAIN)) {
		*count = done > 0 ? (unsigned int)done : 1;
		return done > 0 ? (ssize_t)messages[0].msg_len : -1;
	}
	errno = saved;
	return receive_one(held, file, &messages[0].msg_hdr, flags);
}

/* As the kernel's do_recvmmsg: MSG_WAITFORONE turns into MSG_DONTWAIT after the first message, the time is looked at
 * only between messages, an error after the first message ends the call with what there is. An error that waits is the next
 * call's, and so is one that arrives while a later message of this call is waited for: the kernel puts it back, a wrapper keeps it.
 * `left` is NULL, or the time there is, and what is left of it afterwards. */
static int receive_messages(struct conn *conn, int fd, struct mmsghdr *messages, unsigned int count, int flags,
			    struct timespec *left)
{
	struct timespec start, whole = left ? *left : (struct timespec){ 0 };
	struct held held = { .conn = conn, .fd = fd, .generation = atomic_load(&conn->generation) };
	int saved = errno, file = fd;
	unsigned int done = 0;

	if ((left || !may_be_there(conn, messages, count, flags)) && take_error(conn, fd))
		return -1;
	if (count > 1 && !(flags & MSG_DONTWAIT))
		held = held_begin(conn, fd, held.generation);
	clock_read(CLOCK_MONOTONIC, &start);
	for (; done < count; done++) { /* of a receive the kernel takes more than IOV_MAX */
		struct msghdr *message = &messages[done].msg_hdr;

		/* As in send_messages(). With MSG_WAITALL no receive sleeps in recv, and before it sleeps elsewhere it says so. */
		held_calling(&held, flags & MSG_WAITALL ? HELD_CALL_BRIEF : HELD_CALL_MAY_SLEEP);
		if (done > 0 || held.noted)
			file = held_file(&held);
		if (file < 0 && done == 0) {
			saved = EBADF;
			break;
		}
		if (done > 0 && (file < 0 || !readable_bytes(&messages[done], sizeof(messages[done]))))
			break;
		unsigned int at_once = left ? 1 : count - done;
		ssize_t result = receive_next(&held, file, &messages[done], &at_once, flags & ~MSG_WAITFORONE);
		held_calling(&held, HELD_CALL_OVER);
		if (result < 0 && done == 0) {
			saved = errno;
			break;
		}
		if (result < 0) {
			transfer_owe_if_same(conn, held.generation, errno);
			break;
		}
		messages[done].msg_len = (unsigned int)result;
		done += at_once - 1;
		message = &messages[done].msg_hdr;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if ((left && time_is_up(left, &whole, &start)) || (message->msg_flags & MSG_OOB)) {
			done++;
			break;
		}
	}
	held_end(&held);
	errno = saved;
	return done ? (int)done : -1;
}

/* What is there first: mostly that is all, and nothing has to be asked for. */
static int receive_without_limit(struct conn *conn, int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	uint32_t generation = atomic_load(&conn->generation);
	int saved = errno, there;

	if (!may_be_there(conn, messages, count, flags) ||
	    !transfer_receive_batch(conn, fd, messages, count, MSG_DONTWAIT, &there))
		return receive_messages(conn, fd, messages, count, flags, NULL);
	if (there == (int)count || (there < 0 && errno != EAGAIN) || mode_is_nonblocking(conn, fd) ||
	    (there > 0 && (messages[there - 1].msg_hdr.msg_flags & MSG_OOB)))
		return there;
	errno = saved;
	there = there > 0 ? there : 0;
	int more = receive_messages(conn, fd, messages + there, count - (unsigned int)there, flags, NULL);
	if (more >= 0 || there == 0)
		return more < 0 ? -1 : there + more;
	transfer_owe_if_same(conn, generation, errno);
	errno = saved;
	return there;
}

static bool time_is_usable(const struct timespec *timeout)
{
	return readable_bytes(timeout, sizeof(*timeout)) && timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 &&
	       timeout->tv_nsec <= 999999999;
}

/* The kernel writes there first, and so says whether one can. */
static int tell_time_left(struct timespec *timeout, const struct timespec *left)
{
	if (raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, timeout) != 0)
		return -1; /* EFAULT */
	*timeout = *left;
	return 0;
}

static int receive_unseen(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
	int result = REAL(recvmmsg)(fd, messages, count, intercept_flags_past(fd, flags), timeout);

	for (int i = 0; conn_table() && i < result; i++)
		intercept_rights_received(&messages[i].msg_hdr);
	return result;
}

int wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
	struct conn *conn = conn_get(fd);
	struct timespec left;
	int result;

	libc_clear_paddings(messages, count);
	if (!conn)
		return receive_unseen(fd, messages, count, flags, timeout);
	if ((timeout && !time_is_usable(timeout)) || !readable_bytes(messages, sizeof(*messages)) || count == 0 ||
	    (flags & MSG_ERRQUEUE))
		return REAL(recvmmsg)(fd, messages, count, intercept_flags_past(fd, flags), timeout);
	if (!timeout && receives_at_once(flags) && !conn_is_joined(conn) && are_ordinary(messages, count) &&
	    transfer_receive_batch(conn, fd, messages, count, flags, &result))
		return result;
	if (!timeout)
		return receive_without_limit(conn, fd, messages, count, flags);
	left = *timeout;
	int done = receive_messages(conn, fd, messages, count, flags, &left);
	return done > 0 && tell_time_left(timeout, &left) != 0 ? -1 : done;
}

/* The kernel fills in msg_len, and so says whether it can. A bad header: its answer too. */
static ssize_t perform_sendmmsg(const struct send_call *call)
{
	struct mmsghdr *one = (struct mmsghdr *)call->message; /* msg_hdr is first */
	int result = real_sendmmsg(call->fd, one, 1, call->flags);

	return result == 1 ? (ssize_t)one->msg_len : result;
}

_Static_assert(offsetof(struct mmsghdr, msg_hdr) == 0, "a message's header is the message");

static ssize_t perform_sendmmsg_quietly(const struct send_call *call)
{
	struct send_call quiet = *call;

	quiet.flags |= MSG_NOSIGNAL;
	return perform_sendmmsg(&quiet);
}

/* A message after the first: by what the call holds its file with (held.h). */
static ssize_t send_by_duplicate(const struct held *held, int duplicate, const struct msghdr *message, int flags)
{
	struct send_call call = { .fd = held->fd,
				  .flags = flags,
				  .is_one_of_many = true,
				  .message = message,
				  .perform = perform_sendmmsg,
				  .perform_quietly = perform_sendmmsg_quietly };

	if (duplicate >= 0 && !readable_message(message, &call.bytes)) {
		call.fd = duplicate;
		return perform_sendmmsg(&call);
	}
	return transfer_send_held(held, duplicate, &call, transfer_ledger(held->conn));
}

static ssize_t send_message(const struct held *held, const struct msghdr *message, int flags, bool is_first)
{
	int file = is_first || !held->noted ? held->fd : held_file(held);

	if (file == held->fd) {
		ssize_t result = intercept_send_message(held->conn, file, message, flags, perform_sendmmsg);
		if (result >= 0 || errno != EBADF || is_first || !held->noted)
			return result;
		file = held_file(held); /* closed since the look at it */
	}
	return send_by_duplicate(held, file == held->fd ? -1 : file, message, flags);
}

/* As the kernel's __sys_sendmmsg: ends after a message that did not fit whole; an error counts only if nothing was sent. */
static int send_messages(struct conn *conn, int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	int saved = errno, error = 0;
	unsigned int done = 0;
	struct held held = { .conn = conn, .fd = fd };

	if (count > 1 && !(flags & MSG_DONTWAIT))
		held = held_begin(conn, fd, atomic_load(&conn->generation));
	count = count > IOV_MAX ? IOV_MAX : count;
	while (done < count) {
		const struct msghdr *message = &messages[done].msg_hdr;
		size_t whole;

		/* It may sleep: then who closes the fd need not wait (held.c). But without a CPU between a look at the number and its
		 * system call it would send to the file that is there by then, and the next message to its own. */
		held_calling(&held, HELD_CALL_MAY_SLEEP);
		ssize_t result = send_message(&held, message, flags, done == 0);
		held_calling(&held, HELD_CALL_OVER);
		if (result < 0) {
			error = errno;
			break;
		}
		done++;
		if (!readable_message(message, &whole) || (size_t)result < whole)
			break;
	}
	held_end(&held);
	errno = done ? saved : error;
	return done ? (int)done : -1;
}

int wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	struct conn *conn = conn_get(fd);
	int result;

	libc_clear_paddings(messages, count);
	if (conn && !(flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) && !conn_is_joined(conn) &&
	    are_ordinary(messages, count) && transfer_send_batch(conn, fd, messages, count, flags, &result))
		return result;
	if (conn && count > 0)
		return send_messages(conn, fd, messages, count, flags);
	for (unsigned int i = 0; conn_table() && i < count && i < IOV_MAX; i++) {
		if (!readable_bytes(&messages[i], sizeof(messages[i])))
			break;
		if (messages[i].msg_hdr.msg_controllen > 0)
			intercept_rights_given(&messages[i].msg_hdr);
	}
	return REAL(sendmmsg)(fd, messages, count, flags);
}
