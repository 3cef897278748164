/* SPDX-License-Identifier: BSD-2-Clause */
/* What changes or asks for the nature of a connection: ioctl, sockatmark, setsockopt, getsockopt, fdopen. */
#include "intercept.h"

#include <asm/sockios.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "acknowledge.h"
#include "direct.h"
#include "inq.h"
#include "landing.h"
#include "lifecycle.h"
#include "lifecycle_internal.h"
#include "mode.h"
#include "option.h"
#include "option_rules.h"
#include "queue.h"
#include "quiet.h"
#include "readable.h"
#include "transfer.h"
#include "window.h"

/* Younger than the headers of some systems that we build on. */
#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif
#define OPTION_SO_RCVTIMEO_NEW 66
#define OPTION_SO_SNDTIMEO_NEW 67

/* An int of the application's, at any address, as it may be to the kernel. */
struct int_anywhere {
	int value;
} __attribute__((packed));

/* An end that has to leave for the rule's sake. False: the answer is ENOPROTOOPT. */
static bool make_way(struct conn *conn, int fd, const struct option_rule *rule)
{
	if (rule->fallback == STAY)
		return true;
	struct landing landing = landing_find(conn);
	if (lifecycle_make_plain(conn, fd, rule->reason))
		return !(rule->tells_pieces && lifecycle_is_lent(conn));
	if (rule->fallback == EMPTY) {
		struct lifecycle_quiet quiet = lifecycle_quiet_begin(); /* no cancellation point */
		bool waits = atomic_load(&conn->not_pinned) || landing_waits(conn, fd, &landing);

		lifecycle_quiet_end(quiet);
		return !waits;
	}
	return !(rule->fallback == REFUSE || (rule->fallback == FILTER && atomic_load(&conn->not_pinned)));
}

static bool is_set_by_library(int level, int name)
{
	return level == IPPROTO_TCP && (name == TCP_WINDOW_CLAMP || name == TCP_QUICKACK);
}

/* From now on it is what the application has set. */
static int take_over(struct conn *conn, int fd, int name, const void *value, socklen_t length)
{
	int result = real_setsockopt(fd, IPPROTO_TCP, name, value, length);

	if (result == 0 && name == TCP_WINDOW_CLAMP)
		window_set_by_application(conn);
	else if (result == 0)
		acknowledge_set_by_application(conn);
	return result;
}

static bool is_receive_timeout(int level, int name)
{
	return level == SOL_SOCKET && (name == SO_RCVTIMEO || name == OPTION_SO_RCVTIMEO_NEW);
}

void option_may_change(int fd, int level, int name)
{
	struct conn *conn = conn_get(fd);

	if (conn && level == SOL_SOCKET && (name == SO_SNDTIMEO || name == OPTION_SO_SNDTIMEO_NEW))
		atomic_fetch_or(&conn->options, CONN_SENDS_TIME_OUT);
	if (!conn || !is_receive_timeout(level, name))
		return;
	atomic_store(&conn->timeout_ms, 0);
	atomic_fetch_or(&conn->options, CONN_TIMES_OUT);
}

void option_ask(struct conn *conn, int fd)
{
	int timeout_ms = transfer_timeout_ms(fd, SO_RCVTIMEO);
	uint8_t options = (inq_ask(fd) ? CONN_TELLS_INQ : 0) | (timeout_ms >= 0 ? CONN_TIMES_OUT : 0) |
			  (transfer_timeout_ms(fd, SO_SNDTIMEO) >= 0 ? CONN_SENDS_TIME_OUT : 0);

	atomic_store(&conn->timeout_ms, timeout_ms);
	if (options)
		atomic_fetch_or(&conn->options, options);
}

/* TCP would send an answer in one piece: a header, and a file behind it. Redirected, the header alone wakes the reader at once (fact 15), which
 * costs more than the redirect saves (answers of 200 and 1000 or 3000 bytes, two CPUs: 1.8 to 2.0 x plain TCP's time). So that is no turn; a
 * large file counts by itself (transfer_counted_of_file()). MSG_MORE takes as long as on plain TCP. */
static inline __attribute__((always_inline)) int set_cork(struct conn *conn, int fd, const void *value,
							  socklen_t length)
{
	int result = direct_setsockopt(fd, IPPROTO_TCP, TCP_CORK, value, length), number = 0;

	if (result == 0 && readable_bytes(value, sizeof(number)))
		memcpy(&number, value, sizeof(number));
	if (number) {
		conn->last_was_receive = 0;
		atomic_fetch_or(&conn->options, CONN_CORKED);
	} else if (conn_has_option(conn, CONN_CORKED)) {
		atomic_fetch_and(&conn->options, (uint8_t)~CONN_CORKED);
	}
	return result;
}

/* Below 0 is "do not wait" to the kernel (sock_set_timeout()), which getsockopt() does not tell from "for ever". */
static bool never_waits(const void *value, socklen_t length)
{
	struct timeval timeout = { 0 };

	if (length >= sizeof(timeout) && readable_bytes(value, sizeof(timeout)))
		memcpy(&timeout, value, sizeof(timeout));
	return timeout.tv_sec < 0;
}

/* As the kernel reads it: options of IP may be one byte (do_ip_setsockopt()). */
static int number_of(int level, const void *value, socklen_t length)
{
	int number = 0;

	if (length >= sizeof(number) && readable_bytes(value, sizeof(number)))
		memcpy(&number, value, sizeof(number));
	else if (level == IPPROTO_IP && length >= 1 && readable_bytes(value, 1))
		number = *(const unsigned char *)value;
	return number;
}

static __attribute__((noinline)) int long_setsockopt(struct conn *conn, int fd, int level, int name, const void *value,
						     socklen_t length)
{
	const struct option_rule *rule = conn ? option_rule_find(level, name) : NULL;

	if (conn && is_set_by_library(level, name))
		return take_over(conn, fd, name, value, length);
	option_may_change(fd, level, name);
	if (!rule && !(conn && is_receive_timeout(level, name)))
		return REAL(setsockopt)(fd, level, name, value, length);
	if (!rule) {
		int set = real_setsockopt(fd, level, name, value, length);

		if (set == 0)
			atomic_store(&conn->timeout_ms,
				     never_waits(value, length) ? 1 : transfer_timeout_ms(fd, SO_RCVTIMEO));
		return set;
	}
	if (option_rule_holds(rule, number_of(level, value, length)) && !make_way(conn, fd, rule)) {
		errno = ENOPROTOOPT;
		return -1;
	}
	int result = real_setsockopt(fd, level, name, value, length);
	if (rule->fallback == STAY && result == 0)
		inq_was_set(conn, fd);
	return result;
}

/* Corks come and go with each answer. */
int wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	struct conn *conn = conn_get(fd);

	if (conn && level == IPPROTO_TCP && name == TCP_CORK)
		return set_cork(conn, fd, value, length);
	return long_setsockopt(conn, fd, level, name, value, length);
}

/* What the kernel no longer knows, or not yet again. It has just written `length` bytes there. */
static void correct_answer(struct conn *conn, int fd, int level, int name, struct int_anywhere *answer,
			   socklen_t length)
{
	if (level == SOL_SOCKET && name == SO_ERROR && length == sizeof(int) && answer->value == 0) {
		answer->value = transfer_take_owed_error(conn);
	} else if (level == IPPROTO_TCP && name == TCP_WINDOW_CLAMP && length <= sizeof(int) &&
		   window_is_clamped(conn)) {
		int told = window_told(conn, fd);
		memcpy(answer, &told, length);
	} else if (level == IPPROTO_TCP && name == TCP_QUICKACK && acknowledge_is_hidden(conn)) {
		memset(answer, 0, length);
	}
}

int wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	struct conn *conn = conn_get(fd);

	/* The one question that takes bytes from the stream. */
	if (conn && level == IPPROTO_TCP && name == TCP_ZEROCOPY_RECEIVE &&
	    !lifecycle_make_plain(conn, fd, REASON_ZEROCOPY)) {
		errno = ENOPROTOOPT;
		return -1;
	}
	int result = REAL(getsockopt)(fd, level, name, value, length);
	if (conn && result == 0)
		correct_answer(conn, fd, level, name, value, *length);
	return result;
}

/* The mark is a place in TCP's queue: it is not reached as long as redirected bytes are before that. */
static int ask_mark(int fd, struct int_anywhere *mark)
{
	int result = real_ioctl(fd, SIOCATMARK, mark);

	if (result == 0 && mark->value && queue_has_redirected(fd))
		mark->value = 0;
	return result;
}

int wrap_ioctl(int fd, unsigned long request, ...)
{
	struct conn *conn = conn_get(fd);
	va_list list;

	va_start(list, request);
	void *argument = va_arg(list, void *);
	va_end(list);
	/* SIOCINQ is the same number. A request is 32 bits to the kernel, and may come with its sign extended. */
	if (conn && (unsigned int)request == FIONREAD && argument && conn_is_joined(conn))
		return transfer_unread(conn, fd, argument);
	if (conn && (unsigned int)request == SIOCATMARK && conn_is_joined(conn))
		return ask_mark(fd, argument);
	int result = REAL(ioctl)(fd, request, argument);
	if (conn && (unsigned int)request == FIONBIO)
		mode_may_change(fd);
	if (request == FIONBIO && result == 0 && quiet_is_on())
		quiet_stuck_mode(fd, ((const struct int_anywhere *)argument)->value == 0);
	return result;
}

int wrap_sockatmark(int fd)
{
	struct conn *conn = conn_get(fd);
	struct int_anywhere mark;

	if (!conn || !conn_is_joined(conn))
		return REAL(sockatmark)(fd);
	return ask_mark(fd, &mark) == 0 ? mark.value : -1;
}

FILE *wrap_fdopen(int fd, const char *mode)
{
	struct conn *conn = conn_get(fd);

	/* stdio reads and writes inside libc, where no wrapper sees it. */
	if (conn) {
		atomic_fetch_or(&conn->marks, CONN_HAS_STREAM);
		(void)lifecycle_make_plain(conn, fd, REASON_STDIO);
	} else if (conn_mark(fd) == CONN_MARK_TCP) { /* still to be connected */
		conn_mark_set(fd, CONN_MARK_DUPLICATED);
	}
	return REAL(fdopen)(fd, mode);
}
