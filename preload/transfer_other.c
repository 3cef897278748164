/* SPDX-License-Identifier: BSD-2-Clause */
/* splice(2) out of an end in the sockhash, and FIONREAD of one: the kernel's own answers miss redirected or passed
 * bytes (facts 6 and 8). */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "channel.h"
#include "fork.h"
#include "queue.h"
#include "scratch.h"
#include "transfer_internal.h"

#define SPLICE_BYTES_MAX SCRATCH_BYTES
#define SPLICE_SMALL_BYTES 1024
#define SPLICE_PIECES_MAX 64

struct plain_receive {
	void *buffer;
	size_t bytes;
};

static ssize_t perform_recv(const struct receive_call *call)
{
	const struct plain_receive *plain = call->arguments;

	return real_recv(call->fd, plain->buffer, plain->bytes, call->flags);
}

static ssize_t receive(struct conn *conn, int fd, void *buffer, size_t bytes, int flags)
{
	struct plain_receive plain = { buffer, bytes };
	struct iovec iov = { buffer, bytes };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct receive_call call = { .fd = fd,
				     .flags = flags,
				     .bytes = bytes,
				     .message = &message,
				     .perform = perform_recv,
				     .arguments = &plain };

	return transfer_receive(conn, &call);
}

/* How much a write to the pipe takes at once without blocking; 0: full. -EINVAL: not a pipe. */
static ssize_t pipe_room(int pipe_fd)
{
	struct pollfd poller = { .fd = pipe_fd, .events = POLLOUT };
	int size = real_fcntl(pipe_fd, F_GETPIPE_SZ), used = 0;

	if (size < 0)
		return -EINVAL;
	if (real_ioctl(pipe_fd, FIONREAD, &used) == 0 && used == 0)
		return size;
	return real_poll(&poller, 1, 0) == 1 ? PIPE_BUF : 0;
}

/* The pipe comes first: its other end, one that nobody reads, or a full one that is not to be waited for, says so whatever the socket
 * has. True: it has said so, in errno. */
static bool pipe_ends_it(int pipe_fd, unsigned flags)
{
	struct pollfd poller = { .fd = pipe_fd, .events = POLLOUT };
	int saved = errno, mode = real_fcntl(pipe_fd, F_GETFL), ready = real_poll(&poller, 1, 0);

	if ((mode & O_ACCMODE) == O_RDONLY) {
		errno = EBADF;
		return true;
	}
	if (ready == 1 && (poller.revents & POLLERR)) {
		(void)transfer_broken_pipe(0);
		return true;
	}
	if (ready == 0 && ((flags & SPLICE_F_NONBLOCK) || (mode & O_NONBLOCK))) {
		errno = EAGAIN;
		return true;
	}
	errno = saved;
	return false;
}

/* Peek, write what the pipe takes, then consume exactly that: nothing is lost when the pipe is full. */
static ssize_t splice_through(struct conn *conn, int fd, int pipe_fd, struct iovec buffer, int flags)
{
	ssize_t room = pipe_room(pipe_fd);
	size_t want = buffer.iov_len;

	if (want > (size_t)room)
		want = room > 0 ? (size_t)room : PIPE_BUF;
	ssize_t peeked = receive(conn, fd, buffer.iov_base, want, MSG_PEEK | flags);
	if (peeked <= 0)
		return peeked;
	ssize_t written = real_write(pipe_fd, buffer.iov_base, (size_t)peeked);
	if (written <= 0)
		return written;
	return receive(conn, fd, buffer.iov_base, (size_t)written, MSG_DONTWAIT);
}

static ssize_t splice_with_memory(struct conn *conn, int fd, int pipe_fd, size_t bytes, int flags)
{
	char small[SPLICE_SMALL_BYTES], *large = bytes > sizeof(small) ? scratch_take() : NULL;
	struct iovec buffer = { large ? large : small, large ? SCRATCH_BYTES : sizeof(small) };

	if (bytes < buffer.iov_len)
		buffer.iov_len = bytes;
	ssize_t result = splice_through(conn, fd, pipe_fd, buffer, flags);
	scratch_give_back(large);
	return result;
}

/* Sleeps without the memory that others may need. */
static ssize_t splice_piece(struct conn *conn, int fd, int pipe_fd, size_t bytes, int flags)
{
	ssize_t result = splice_with_memory(conn, fd, pipe_fd, bytes, flags | MSG_DONTWAIT);
	char byte;

	if (result >= 0 || errno != EAGAIN || (flags & MSG_DONTWAIT))
		return result;
	result = receive(conn, fd, &byte, 1, MSG_PEEK | flags);
	return result > 0 ? splice_with_memory(conn, fd, pipe_fd, bytes, flags) : result;
}

/* At the urgent mark a splice gets nothing, without a wait, of TCP: and what it says of it depends on O_NONBLOCK. */
static bool is_held_up(int fd)
{
	return queue_is_at_mark(fd) && !queue_has_redirected(fd);
}

/* A peek sees no further than the redirected bytes (fact 2): what is behind them comes piece by piece. */
ssize_t transfer_splice_out(struct conn *conn, int fd, int pipe_fd, size_t bytes, unsigned flags)
{
	ssize_t result = 0;
	size_t done = 0, most = bytes < SPLICE_BYTES_MAX ? bytes : SPLICE_BYTES_MAX;
	int saved = errno;

	if (flags & ~(unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)) {
		errno = EINVAL;
		return -1;
	}
	if (pipe_ends_it(pipe_fd, flags))
		return -1;
	if (is_held_up(fd))
		return real_splice(fd, NULL, pipe_fd, NULL, bytes, flags);
	for (int i = 0; i < SPLICE_PIECES_MAX && done < most; i++) {
		if (done && (pipe_room(pipe_fd) <= 0 || transfer_must_end(fd)))
			break;
		/* SPLICE_F_NONBLOCK is about the pipe only. */
		result = splice_piece(conn, fd, pipe_fd, most - done, done ? MSG_DONTWAIT : 0);
		if (result <= 0)
			break;
		done += (size_t)result;
	}
	if (!done && result < 0)
		return result;
	if (result < 0)
		transfer_owe_error(conn, errno);
	errno = saved;
	return (ssize_t)done;
}

/* The redirected bytes; guess: how many they are to the ledger, so that the peek need not offer more room. */
static int64_t redirected_bytes(int fd, int64_t guess)
{
	int64_t bytes = queue_redirected_bytes(fd, guess + 1);

	return bytes <= guess ? bytes : queue_redirected_bytes(fd, INT_MAX);
}

/* The bytes in both queues. What the kernel says to FIONREAD lacks one of them on some kernels (fact 6). A ledger that agrees with
 * it confirms nothing: it runs ahead of a send under way, and knows nothing of a peer's raw system calls, whose bytes may be
 * those that are left out. */
static int64_t unread_bytes(struct conn *conn, int fd, int64_t kernel_bytes)
{
	uint32_t features = channel_features();
	bool counts_tcp = features & WIRE_FEATURE_FIONREAD_COUNTS_TCP;
	bool counts_psock = features & WIRE_FEATURE_FIONREAD_COUNTS_PSOCK;
	uint32_t previous = transfer_enter(conn);
	struct ledger_cell *ledger = atomic_load_explicit(&conn->ledger, memory_order_acquire);
	int64_t unread = ledger ? ledger_unread_in(conn, ledger) : INT64_MAX;

	thread_leave(previous);
	if (counts_tcp && counts_psock)
		return kernel_bytes;
	if (counts_psock) {
		int64_t tcp_bytes = queue_tcp_bytes(fd);
		/* Of an end that has left the sockhash, here or in another process, both answers are TCP's own. */
		bool left = tcp_bytes > 0 && kernel_bytes > 0 && !queue_has_redirected(fd);
		return left ? kernel_bytes : kernel_bytes + tcp_bytes;
	}
	if (counts_tcp) {
		bool known = unread >= kernel_bytes && unread != INT64_MAX;
		return kernel_bytes + redirected_bytes(fd, known ? unread - kernel_bytes : INT_MAX);
	}
	return queue_tcp_bytes(fd) + queue_redirected_bytes(fd, INT_MAX);
}

/* It was taken out of the sockhash, and no other process can have put it in again. */
static bool is_out(struct conn *conn)
{
	uint32_t state = conn_state(conn);

	return (state == CONN_LEFT || state == CONN_OFFERED) && !lifecycle_is_lent(conn) &&
	       conn->fork_count == fork_count() && !atomic_load(&conn->given_away) && !atomic_load(&conn->adopted);
}

int transfer_unread(struct conn *conn, int fd, void *bytes_out)
{
	bool was_out = is_out(conn);
	int saved = errno, bytes;

	if (real_ioctl(fd, FIONREAD, bytes_out) != 0) /* EFAULT too is the kernel's to say */
		return -1;
	if (was_out && is_out(conn))
		return 0;
	memcpy(&bytes, bytes_out, sizeof(bytes));
	int64_t unread = unread_bytes(conn, fd, bytes);
	bytes = unread > INT_MAX ? INT_MAX : (int)unread;
	memcpy(bytes_out, &bytes, sizeof(bytes));
	errno = saved;
	return 0;
}
