/* SPDX-License-Identifier: BSD-2-Clause */
/* splice(2) out of an end in the sockhash: the kernel's own sees TCP's queue alone (fact 8).
 *
 * What is there is peeked at, written to the pipe, and received as far as the pipe took it, so that nothing is lost when that is full. All three
 * are one step of a receive (receive_call.now), made by the end's only reader (reader.h): else another thread, or process, would take the same
 * bytes. That step does not wait; what is waited for, room in the pipe and then bytes, is waited for outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "config.h"
#include "held_change.h"
#include "queue.h"
#include "raw_syscall.h"
#include "reader.h"
#include "scratch.h"
#include "transfer_internal.h"

#ifndef RWF_NOWAIT /* musl has none */
#define RWF_NOWAIT 8
#endif
#define SPLICE_BYTES_MAX SCRATCH_BYTES
#define SPLICE_SMALL_BYTES 512
#define SPLICE_TRIES_MAX 100000 /* in each of which another reader was faster */

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

struct piece {
	struct conn *conn;
	int pipe_fd;
	bool *is_full; /* out: the pipe was, so that nothing was looked for */
	struct iovec buffer;
	const uint64_t *mask; /* while signals are blocked: the one of before; NULL: they are not */
};

static const uint64_t all_signals = UINT64_MAX;
#define PIPE_FAILED (-2)

/* By way of a pipe of its own, which no child inherits: its pages splice(2) hands on without a wait and without packets. With signals
 * blocked. -1: EAGAIN, or an error. */
static ssize_t hand_to_pipe(int pipe_fd, const void *buffer, size_t bytes)
{
	int own[2], error;

	held_change_begin();
	ssize_t result = raw_syscall(SYS_pipe2, own, O_CLOEXEC | O_NONBLOCK);
	bool is_made = result == 0;
	if (is_made)
		result = raw_syscall(SYS_write, own[1], buffer, bytes);
	if (is_made && result > 0)
		result = raw_syscall(SYS_splice, own[0], NULL, pipe_fd, NULL, result, SPLICE_F_NONBLOCK);
	error = errno;
	for (int i = 0; is_made && i < 2; i++)
		raw_syscall(SYS_close, own[i]);
	held_change_end();
	errno = error;
	return result;
}

static ssize_t write_in_reach_of_signals(const struct piece *piece, size_t bytes)
{
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, piece->mask, NULL, sizeof(*piece->mask));
	ssize_t written = raw_syscall(SYS_write, piece->pipe_fd, piece->buffer.iov_base, bytes);
	int error = errno;
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all_signals, NULL, sizeof(all_signals));
	errno = error;
	return written;
}

/* Another writer may have filled the pipe since the look at its room, and who waits here must be reached by signals: so it does not wait. No
 * RWF_NOWAIT have pipes before 6.4, those with a name, and any that a splice has ever gone into (pipe_clear_nowait() in fs/splice.c). And what
 * is written to a pipe of packets (O_DIRECT) becomes packets, what is spliced does not. Where there is no number for another pipe signals are
 * let in meanwhile; without a mask they are at any time. */
static ssize_t write_to_pipe(const struct piece *piece, size_t bytes)
{
	struct iovec vector = { piece->buffer.iov_base, bytes };
	bool has_packets = real_fcntl(piece->pipe_fd, F_GETFL) & O_DIRECT;
	ssize_t written = -1;

	if (!piece->mask)
		return raw_syscall(SYS_write, piece->pipe_fd, piece->buffer.iov_base, bytes);
	if (!has_packets)
		written = raw_syscall(SYS_pwritev2, piece->pipe_fd, &vector, 1, -1, -1, RWF_NOWAIT);
	if (written >= 0 || (!has_packets && errno != EOPNOTSUPP))
		return written;
	written = hand_to_pipe(piece->pipe_fd, piece->buffer.iov_base, bytes);
	if (written >= 0 || (errno != EMFILE && errno != ENFILE))
		return written;
	return write_in_reach_of_signals(piece, bytes);
}

/* Past libc: no cancellation in the middle. */
static ssize_t move_bytes(int fd, const struct piece *piece, size_t bytes)
{
	void *buffer = piece->buffer.iov_base;
	ssize_t peeked = raw_syscall(SYS_recvfrom, fd, buffer, bytes, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);

	if (peeked <= 0)
		return peeked;
	ssize_t written = write_to_pipe(piece, (size_t)peeked);
	if (written <= 0)
		return PIPE_FAILED;
	ssize_t taken = raw_syscall(SYS_recvfrom, fd, buffer, written, MSG_DONTWAIT, NULL, NULL);
	return taken > 0 ? taken : written; /* it is in the pipe */
}

/* Nobody seizes it either (reader.h). Where another has just done so: EAGAIN, and the call begins anew. */
static ssize_t move_kept(int fd, const struct piece *piece, size_t bytes)
{
	struct memory_cell *cell = conn_cell(piece->conn);

	if (!cell)
		return move_bytes(fd, piece, bytes);
	if (!reader_keep(cell)) {
		errno = EAGAIN;
		return -1;
	}
	ssize_t result = move_bytes(fd, piece, bytes);
	reader_keep_end(cell);
	return result;
}

/* Nor a handler, whose receives this thread's claim would let through. */
static ssize_t move_undisturbed(int fd, const struct piece *piece, size_t bytes)
{
	struct piece here = *piece;
	uint64_t before = 0;

	if (config.trusts_filter) /* it may not allow this */
		return move_kept(fd, piece, bytes);
	here.mask = &before;
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all_signals, &before, sizeof(before));
	ssize_t result = move_kept(fd, &here, bytes);
	int error = errno;
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	errno = error;
	return result;
}

/* One step: receive_call.now. An error of the pipe's ends a call that has bytes already: its next one meets it again. */
static ssize_t move_piece(const struct receive_call *call, size_t done)
{
	const struct piece *piece = call->arguments;
	size_t want = call->bytes - done, bytes_max = piece->buffer.iov_len;
	ssize_t room = pipe_room(piece->pipe_fd);

	*piece->is_full = room <= 0;
	if (room <= 0) {
		errno = EAGAIN;
		return -1;
	}
	if (bytes_max > (size_t)room)
		bytes_max = (size_t)room;
	ssize_t result = move_undisturbed(call->fd, piece, want < bytes_max ? want : bytes_max);
	if (result == PIPE_FAILED)
		errno = done ? EAGAIN : errno;
	return result > 0 ? result : result == 0 ? 0 : -1;
}

static ssize_t move_first_piece(const struct receive_call *call)
{
	return move_piece(call, 0);
}

/* What is there, and the pipe has room for. */
static ssize_t move_now(struct conn *conn, int fd, int pipe_fd, size_t bytes, bool *is_full)
{
	char small[SPLICE_SMALL_BYTES], *large = bytes > sizeof(small) ? scratch_take() : NULL;
	struct piece piece = { .conn = conn,
			       .pipe_fd = pipe_fd,
			       .is_full = is_full,
			       .buffer = { large ? large : small, large ? SCRATCH_BYTES : sizeof(small) } };
	struct msghdr message = { .msg_iov = &piece.buffer, .msg_iovlen = 1 };
	struct receive_call call = { .fd = fd,
				     .flags = MSG_DONTWAIT,
				     .bytes = bytes,
				     .message = &message,
				     .perform = move_first_piece,
				     .now = move_piece,
				     .arguments = &piece };
	ssize_t result = transfer_receive(conn, &call);

	scratch_give_back(large);
	return result;
}

static ssize_t perform_peek(const struct receive_call *call)
{
	return real_recv(call->fd, call->message->msg_iov->iov_base, 1, call->flags);
}

/* As long as a receive would, without the memory that others may need. Returns as that does. */
static ssize_t wait_for_bytes(struct conn *conn, int fd)
{
	char byte;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
	struct receive_call call = {
		.fd = fd, .flags = MSG_PEEK, .bytes = 1, .message = &message, .perform = perform_peek
	};

	return transfer_receive(conn, &call);
}

/* In a pipe that may be waited for. -1: EINTR, a handler without SA_RESTART has run. */
static int wait_for_room(int pipe_fd)
{
	struct pollfd poller = { .fd = pipe_fd, .events = POLLOUT };
	struct signals_mark ran = signals_ran;

	while (real_poll(&poller, 1, -1) < 0)
		if (errno != EINTR || signals_interrupted(ran, false))
			return -1;
	return 1;
}

/* SPLICE_F_NONBLOCK is about the pipe only. */
static ssize_t move(struct conn *conn, int fd, int pipe_fd, size_t bytes, unsigned flags)
{
	for (int i = 0; i < SPLICE_TRIES_MAX; i++) {
		bool is_full = false;
		ssize_t result = move_now(conn, fd, pipe_fd, bytes, &is_full);
		if (result >= 0 || errno != EAGAIN)
			return result;
		if (is_full && pipe_ends_it(pipe_fd, flags))
			return -1;
		ssize_t waited = is_full ? wait_for_room(pipe_fd) : wait_for_bytes(conn, fd);
		if (waited <= 0)
			return waited;
	}
	errno = EAGAIN;
	return -1;
}

/* At the urgent mark a splice gets nothing, without a wait, of TCP: and what it says of it depends on O_NONBLOCK. */
static bool is_held_up(int fd)
{
	return queue_is_at_mark(fd) && !queue_has_redirected(fd);
}

ssize_t transfer_splice_out(struct conn *conn, int fd, int pipe_fd, size_t bytes, unsigned flags)
{
	int saved = errno;

	if (flags & ~(unsigned)(SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)) {
		errno = EINVAL;
		return -1;
	}
	if (bytes > SSIZE_MAX)
		return real_splice(fd, NULL, pipe_fd, NULL, bytes, flags);
	if (pipe_ends_it(pipe_fd, flags))
		return -1;
	if (is_held_up(fd))
		return real_splice(fd, NULL, pipe_fd, NULL, bytes, flags);
	pthread_testcancel();
	ssize_t result = move(conn, fd, pipe_fd, bytes < SPLICE_BYTES_MAX ? bytes : SPLICE_BYTES_MAX, flags);
	if (result >= 0)
		errno = saved;
	return result;
}
