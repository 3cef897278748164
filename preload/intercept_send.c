/* SPDX-License-Identifier: BSD-2-Clause */
/* Sends: each wrapper describes the call (transfer.h) and says how to perform it through libc. sendmmsg is in
 * intercept_many.c.
 */
#include "intercept.h"

#include <errno.h>

#include "direct.h"
#include "intercept_message.h"
#include "libc.h"
#include "lifecycle.h"
#include "readable.h"
#include "transfer_short.h"

enum way {
	TRACKED,
	PAST,    /* to the real function */
	REFUSED, /* with errno */
};

/* Flags that a joined end cannot honour. One that could not leave, but is pinned, sends by TCP as it should (of MSG_ZEROCOPY see
 * transfer_uncopied.c). Not so while the helper does not answer: redirected, an urgent byte would be one as any other, and the
 * completion of a send without a copy would never come (fact 15). ENOBUFS is what the kernel says when it cannot keep a note of it. */
static enum way flagged_way(struct conn *conn, int fd, int flags)
{
	bool urgent = flags & MSG_OOB, uncopied = !urgent && (flags & MSG_ZEROCOPY) && transfer_copies_nothing(fd);

	if (urgent || uncopied) {
		if (!lifecycle_make_plain(conn, fd, urgent ? REASON_OOB : REASON_ZEROCOPY) &&
		    atomic_load(&conn->not_pinned)) {
			errno = urgent ? EOPNOTSUPP : ENOBUFS;
			return REFUSED;
		}
		if (urgent)
			ledger_detach(conn); /* of a pinned end: nobody counts these bytes */
		return urgent ? PAST : TRACKED;
	}
	/* tcp_bpf_sendmsg() does not know that flag, and would send. */
	if (flags & MSG_FASTOPEN && !lifecycle_make_plain(conn, fd, REASON_OPTION) && atomic_load(&conn->not_pinned)) {
		errno = EISCONN;
		return REFUSED;
	}
	return TRACKED;
}

static inline enum way choose_way(struct conn *conn, int fd, size_t bytes, int flags)
{
	if (bytes == 0) {
		if (__builtin_expect(flags & MSG_FASTOPEN, 0) == 0 || !conn_is_joined(conn))
			return PAST;
		errno = EISCONN;
		return REFUSED;
	}
	if (__builtin_expect(flags & (MSG_OOB | MSG_ZEROCOPY | MSG_FASTOPEN), 0) == 0)
		return TRACKED;
	return flagged_way(conn, fd, flags);
}

/* The real function's result of such a call. A joined end sends nothing without a look at its state, where TCP says EPIPE. */
static ssize_t went_past(struct conn *conn, int fd, size_t bytes, int flags, ssize_t result)
{
	if (result == 0 && bytes == 0 && conn && conn_is_joined(conn))
		return transfer_send_nothing(fd, flags);
	return result;
}

/* The same call without SIGPIPE: of those that have the flag, and of those that have no flags. */
static ssize_t perform_flagged(const struct send_call *call)
{
	struct send_call quiet = *call;

	quiet.flags |= MSG_NOSIGNAL;
	return call->perform(&quiet);
}

static ssize_t send_buffer(struct conn *conn, struct send_call *call, const void *buffer)
{
	struct iovec vector = { .iov_base = (void *)buffer, .iov_len = call->bytes };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	call->message = &message;
	return transfer_send(conn, call);
}

static ssize_t perform_write(const struct send_call *call)
{
	return real_write(call->fd, call->arguments, call->bytes);
}

static ssize_t perform_write_quietly(const struct send_call *call)
{
	return real_send(call->fd, call->arguments, call->bytes, MSG_NOSIGNAL);
}

static inline struct send_call describe_write(int fd, const void *buffer, size_t count)
{
	return (struct send_call){ .fd = fd,
				   .bytes = count,
				   .perform = perform_write,
				   .perform_quietly = perform_write_quietly,
				   .arguments = buffer };
}

static __attribute__((noinline)) ssize_t long_write(struct conn *conn, int fd, const void *buffer, size_t count)
{
	if (!conn)
		return REAL(write)(fd, buffer, count); /* nothing after it: direct.h */
	if (choose_way(conn, fd, count, 0) == PAST)
		return went_past(conn, fd, count, 0, REAL(write)(fd, buffer, count));
	struct send_call call = describe_write(fd, buffer, count);
	return send_buffer(conn, &call, buffer);
}

static ssize_t perform_send(const struct send_call *call)
{
	return real_send(call->fd, call->arguments, call->bytes, call->flags);
}

static inline struct send_call describe_send(int fd, const void *buffer, size_t count, int flags)
{
	return (struct send_call){ .fd = fd,
				   .flags = flags,
				   .bytes = count,
				   .perform = perform_send,
				   .perform_quietly = perform_flagged,
				   .arguments = buffer };
}

static __attribute__((noinline)) ssize_t long_send(struct conn *conn, int fd, const void *buffer, size_t count,
						   int flags)
{
	if (!conn)
		return REAL(send)(fd, buffer, count, flags);
	enum way way = choose_way(conn, fd, count, flags);
	if (way == REFUSED)
		return -1;
	if (way == PAST)
		return went_past(conn, fd, count, flags, REAL(send)(fd, buffer, count, flags));
	struct send_call call = describe_send(fd, buffer, count, flags);
	return send_buffer(conn, &call, buffer);
}

enum short_send { AS_WRITE, AS_SEND };

/* Goes on with a call that the short way began. */
static __attribute__((noinline)) ssize_t rest_of_send(enum short_send as, struct conn *conn, int fd, const void *buffer,
						      size_t count, int flags, struct transfer_short *way,
						      ssize_t result)
{
	struct send_call call =
		as == AS_WRITE ? describe_write(fd, buffer, count) : describe_send(fd, buffer, count, flags);
	struct iovec vector = { .iov_base = (void *)buffer, .iov_len = count };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	call.message = &message; /* NULL would be a file's */
	return transfer_short_send_rest(conn, &call, way, result);
}

static inline __attribute__((always_inline)) ssize_t send_short(enum short_send as, int fd, const void *buffer,
								size_t count, int flags)
{
	struct conn *conn = conn_get(fd);
	struct transfer_short way;

	if (__builtin_expect(conn != NULL, 1) && transfer_short_send(conn, fd, count, flags, &way)) {
		ssize_t result = as == AS_WRITE && !way.no_signal
					 ? direct_write(fd, buffer, count)
					 : direct_send(fd, buffer, count, flags | way.no_signal);

		if (transfer_short_sent(conn, count, &way, result))
			return result;
		struct transfer_short rest = way;
		return rest_of_send(as, conn, fd, buffer, count, flags, &rest, result);
	}
	return as == AS_WRITE ? long_write(conn, fd, buffer, count) : long_send(conn, fd, buffer, count, flags);
}

static __attribute__((noinline)) ssize_t short_write(int fd, const void *buffer, size_t count)
{
	return send_short(AS_WRITE, fd, buffer, count, 0);
}

static __attribute__((noinline)) ssize_t short_send(int fd, const void *buffer, size_t count, int flags)
{
	return send_short(AS_SEND, fd, buffer, count, flags);
}

/* Goes on with a call of an end that is only watched, which was not sent whole. */
static __attribute__((noinline)) ssize_t rest_of_watched(enum short_send as, struct conn *conn, int fd,
							 const void *buffer, size_t count, int flags,
							 uint32_t generation, long result)
{
	struct transfer_short way = { .generation = generation };

	return rest_of_send(as, conn, fd, buffer, count, flags, &way, direct_result(result));
}

static __attribute__((noinline)) ssize_t window_is_over(struct conn *conn, ssize_t result)
{
	lifecycle_window(conn);
	return result;
}

/* The two calls most connections live on, each a function of its own. */
static inline __attribute__((always_inline)) ssize_t send_watched(enum short_send as, struct conn *conn, int fd,
								  const void *buffer, size_t count, int flags)
{
	uint32_t generation = atomic_load_explicit(&conn->generation, memory_order_relaxed);
	long result = as == AS_WRITE ? direct_raw_write(fd, buffer, count) : direct_raw_send(fd, buffer, count, flags);

	if (__builtin_expect(result != (long)count || !transfer_short_is_of(conn, generation), 0))
		return rest_of_watched(as, conn, fd, buffer, count, flags, generation, result);
	transfer_add(&conn->sent, count);
	if (__builtin_expect(transfer_counted_sent(conn, count), 0))
		return window_is_over(conn, result);
	return result;
}

ssize_t wrap_write(int fd, const void *buffer, size_t count)
{
	struct conn *conn = conn_get(fd);

	if (!conn)
		return direct_is_allowed() ? direct_result(direct_raw_write(fd, buffer, count))
					   : REAL(write)(fd, buffer, count);
	if (__builtin_expect(transfer_short_is_watched(conn, count, 0), 1))
		return send_watched(AS_WRITE, conn, fd, buffer, count, 0);
	return short_write(fd, buffer, count);
}

static inline __attribute__((always_inline)) ssize_t any_send(int fd, const void *buffer, size_t count, int flags)
{
	struct conn *conn = conn_get(fd);

	if (!conn)
		return direct_is_allowed() ? direct_result(direct_raw_send(fd, buffer, count, flags))
					   : REAL(send)(fd, buffer, count, flags);
	if (__builtin_expect(transfer_short_is_watched(conn, count, flags), 1))
		return send_watched(AS_SEND, conn, fd, buffer, count, flags);
	return short_send(fd, buffer, count, flags);
}

ssize_t wrap_send(int fd, const void *buffer, size_t count, int flags)
{
	return any_send(fd, buffer, count, flags);
}

struct sendto_arguments {
	const void *buffer;
	const struct sockaddr *address;
	socklen_t length;
};

static ssize_t perform_sendto(const struct send_call *call)
{
	const struct sendto_arguments *arguments = call->arguments;

	return real_sendto(call->fd, arguments->buffer, call->bytes, call->flags, arguments->address,
			   arguments->length);
}

ssize_t wrap_sendto(int fd, const void *buffer, size_t count, int flags, const struct sockaddr *address,
		    socklen_t length)
{
	struct conn *conn = conn_get(fd);

	if (!address && hot.direct)
		return any_send(fd, buffer, count, flags); /* glibc's send() is no more than that */
	enum way way = conn && readable_address(address, length) ? choose_way(conn, fd, count, flags) : PAST;
	if (way == REFUSED)
		return -1;
	if (way == PAST)
		return went_past(conn, fd, count, flags, REAL(sendto)(fd, buffer, count, flags, address, length));
	return send_buffer(conn,
			   &(struct send_call){ .fd = fd,
						.flags = flags,
						.bytes = count,
						.perform = perform_sendto,
						.perform_quietly = perform_flagged,
						.arguments = &(struct sendto_arguments){ buffer, address, length } },
			   buffer);
}

static ssize_t perform_sendmsg(const struct send_call *call)
{
	return real_sendmsg(call->fd, call->message, call->flags);
}

static inline struct send_call describe_message(int fd, const struct msghdr *message, size_t bytes, int flags)
{
	return (struct send_call){ .fd = fd,
				   .flags = flags,
				   .bytes = bytes,
				   .message = message,
				   .perform = perform_sendmsg,
				   .perform_quietly = perform_flagged };
}

static __attribute__((noinline)) ssize_t rest_of_message(struct conn *conn, int fd, const struct msghdr *message,
							 size_t bytes, int flags, struct transfer_short *way,
							 ssize_t result)
{
	struct send_call call = describe_message(fd, message, bytes, flags);

	return transfer_short_send_rest(conn, &call, way, result);
}

ssize_t intercept_send_message(struct conn *conn, int fd, const struct msghdr *message, int flags,
			       ssize_t (*perform)(const struct send_call *call))
{
	size_t bytes;
	bool is_ours = readable_message(message, &bytes) && readable_beside(message);
	enum way way = is_ours ? choose_way(conn, fd, bytes, flags) : PAST;

	if (way == REFUSED)
		return -1;
	if (way == PAST)
		return went_past(conn, fd, bytes, flags,
				 perform(&(struct send_call){ .fd = fd, .flags = flags, .message = message }));
	/* The kernel does not look at control data of a message that it redirects. */
	if (message->msg_controllen > 0 && conn_is_joined(conn))
		(void)lifecycle_make_plain(conn, fd, REASON_OPTION);
	struct send_call call = describe_message(fd, message, bytes, flags);
	call.is_one_of_many = perform != perform_sendmsg;
	call.perform = perform;
	return transfer_send(conn, &call);
}

static __attribute__((noinline)) ssize_t long_sendmsg(struct conn *conn, int fd, const struct msghdr *message,
						      int flags)
{
	struct msghdr clean;

	if (conn_table() && libc_is_musl())
		message = libc_clean_message(message, &clean);
	if (conn)
		return intercept_send_message(conn, fd, message, flags, perform_sendmsg);
	if (conn_table())
		intercept_rights_given(message);
	return REAL(sendmsg)(fd, message, flags);
}

ssize_t wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	struct conn *conn = conn_get(fd);
	struct transfer_short way;
	size_t bytes;

	if (conn && hot.direct && readable_message(message, &bytes) && message->msg_controllen == 0 &&
	    !message->msg_name && transfer_short_send(conn, fd, bytes, flags, &way)) {
		ssize_t result = direct_sendmsg(fd, message, flags | way.no_signal);

		if (transfer_short_sent(conn, bytes, &way, result))
			return result;
		struct transfer_short rest = way;
		return rest_of_message(conn, fd, message, bytes, flags, &rest, result);
	}
	return long_sendmsg(conn, fd, message, flags);
}
