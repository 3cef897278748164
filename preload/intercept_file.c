/* SPDX-License-Identifier: BSD-2-Clause */
/* Transfers between a connection and another file: sendfile, splice. */
#include "intercept.h"

#include <errno.h>
#include <pthread.h>

#include "direct.h"
#include "transfer_short.h"

struct sendfile_arguments {
	int fd_in;
	off64_t *offset;
};

static ssize_t perform_sendfile(const struct send_call *call)
{
	const struct sendfile_arguments *arguments = call->arguments;

	return real_sendfile64(call->fd, arguments->fd_in, arguments->offset, call->bytes);
}

static __attribute__((noinline)) ssize_t long_sendfile(struct conn *conn, int fd_out, int fd_in, off64_t *offset,
						       size_t count)
{
	int state;

	/* It is no cancellation point, but what is asked after a failure would be one. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	ssize_t result =
		transfer_send(conn, &(struct send_call){ .fd = fd_out,
							 .bytes = count,
							 .perform = perform_sendfile,
							 .arguments = &(struct sendfile_arguments){ fd_in, offset } });
	pthread_setcancelstate(state, NULL);
	return result;
}

/* Goes on with a call of an end that is only watched: the file was shorter, or there was no room. */
static __attribute__((noinline)) ssize_t rest_of_sendfile(struct conn *conn, int fd_out, int fd_in, off64_t *offset,
							  size_t count, uint32_t generation, long result)
{
	struct transfer_short way = { .generation = generation };

	return transfer_short_send_rest(conn,
					&(struct send_call){ .fd = fd_out,
							     .bytes = count,
							     .perform = perform_sendfile,
							     .arguments =
								     &(struct sendfile_arguments){ fd_in, offset } },
					&way, direct_result(result));
}

/* Answers of a web server that is only watched are a sendfile each. */
static inline __attribute__((always_inline)) ssize_t send_file(struct conn *conn, int fd_out, int fd_in,
							       off64_t *offset, size_t count)
{
	if (!transfer_short_is_watched(conn, count, 0))
		return long_sendfile(conn, fd_out, fd_in, offset, count);
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	long result = raw_system_call(SYS_sendfile, fd_out, fd_in, (long)offset, (long)count, 0, 0);
	if (__builtin_expect(result != (long)count || !transfer_short_is_of(conn, generation), 0))
		return rest_of_sendfile(conn, fd_out, fd_in, offset, count, generation, result);
	transfer_add(&conn->sent, count);
	transfer_count_sent(conn, transfer_counted_of_file(conn, count));
	return result;
}

struct splice_arguments {
	int other_fd;
	off64_t *other_offset;
	unsigned int flags;
};

static ssize_t perform_splice_in(const struct send_call *call)
{
	const struct splice_arguments *arguments = call->arguments;

	return real_splice(arguments->other_fd, arguments->other_offset, call->fd, NULL, call->bytes, arguments->flags);
}

static ssize_t perform_splice_out(const struct receive_call *call)
{
	const struct splice_arguments *arguments = call->arguments;

	return real_splice(call->fd, NULL, arguments->other_fd, arguments->other_offset, call->bytes, arguments->flags);
}

static bool is_pipe(int fd)
{
	int saved = errno;
	bool result = real_fcntl(fd, F_GETPIPE_SZ) >= 0;

	errno = saved;
	return result;
}

static ssize_t perform_sendfile_out(const struct receive_call *call)
{
	const struct splice_arguments *arguments = call->arguments;

	return real_sendfile64(arguments->other_fd, call->fd, NULL, call->bytes);
}

/* Out of an end that is joined, into a pipe. */
static ssize_t splice_out_joined(struct conn *conn, int fd, int pipe_fd, size_t count, unsigned int flags,
				 bool is_cancellation_point)
{
	int cancel_state;

	if (is_cancellation_point)
		return transfer_splice_out(conn, fd, pipe_fd, count, flags);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	ssize_t result = transfer_splice_out(conn, fd, pipe_fd, count, flags);
	pthread_setcancelstate(cancel_state, NULL);
	return result;
}

/* splice sees only the TCP queue of a joined socket (fact 8). What is no pipe the kernel refuses. */
static ssize_t splice_out(struct conn *conn, int fd, int pipe_fd, size_t count, unsigned int flags,
			  ssize_t (*perform)(const struct receive_call *call))
{
	struct splice_arguments arguments = { .other_fd = pipe_fd, .flags = flags };
	bool to_pipe = is_pipe(pipe_fd), has_joined;
	struct receive_call call = { .fd = fd,
				     .flags = flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0,
				     .bytes = count,
				     .perform = perform,
				     .arguments = &arguments,
				     .has_joined = to_pipe ? &has_joined : NULL };

	for (;;) {
		if (to_pipe && conn_is_joined(conn))
			return splice_out_joined(conn, fd, pipe_fd, count, flags,
						 perform == perform_splice_out && !libc_is_musl());
		has_joined = false;
		ssize_t result = transfer_receive(conn, &call);
		if (!has_joined)
			return result;
	}
}

static ssize_t splice_in(struct conn *conn, int pipe_fd, int fd, size_t count, unsigned int flags)
{
	struct splice_arguments arguments = { .other_fd = pipe_fd, .flags = flags };

	return transfer_send(
		conn,
		&(struct send_call){ .fd = fd, .bytes = count, .perform = perform_splice_in, .arguments = &arguments });
}

ssize_t wrap_splice(int fd_in, off64_t *offset_in, int fd_out, off64_t *offset_out, size_t count, unsigned int flags)
{
	struct conn *in = conn_get(fd_in), *out = conn_get(fd_out);

	if (!in && !out)
		return REAL(splice)(fd_in, offset_in, fd_out, offset_out, count, flags);
	/* Neither a socket nor a pipe has an offset. */
	if (count != 0 && !offset_in && !offset_out)
		return in ? splice_out(in, fd_in, fd_out, count, flags, perform_splice_out)
			  : splice_in(out, fd_in, fd_out, count, flags);
	return real_splice(fd_in, offset_in, fd_out, offset_out, count, flags);
}

/* sendfile into a pipe takes from any file that can be spliced, a socket too. */
static bool is_splice_out(const struct conn *in, int fd_out, const off64_t *offset, size_t count)
{
	return __builtin_expect(in != NULL, 0) && !offset && count > 0 && is_pipe(fd_out);
}

_Static_assert(sizeof(off_t) == sizeof(off64_t), "sendfile is sendfile64");

ssize_t wrap_sendfile(int fd_out, int fd_in, off_t *offset, size_t count)
{
	struct conn *conn = conn_get(fd_out), *in = conn_get(fd_in);

	if (is_splice_out(in, fd_out, (off64_t *)offset, count))
		return splice_out(in, fd_in, fd_out, count, 0, perform_sendfile_out);
	if (!conn || count == 0)
		return REAL(sendfile)(fd_out, fd_in, offset, count);
	return send_file(conn, fd_out, fd_in, (off64_t *)offset, count);
}

ssize_t wrap_sendfile64(int fd_out, int fd_in, off64_t *offset, size_t count)
{
	struct conn *conn = conn_get(fd_out), *in = conn_get(fd_in);

	if (is_splice_out(in, fd_out, offset, count))
		return splice_out(in, fd_in, fd_out, count, 0, perform_sendfile_out);
	if (!conn || count == 0)
		return REAL(sendfile64)(fd_out, fd_in, offset, count);
	return send_file(conn, fd_out, fd_in, offset, count);
}
