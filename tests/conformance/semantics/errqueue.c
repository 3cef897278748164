/* SPDX-License-Identifier: BSD-2-Clause */
/* The error queue and control messages: MSG_ZEROCOPY and its completions, timestamps, TCP_INQ, odd control data. */
#include "semantics.h"

#include <linux/errqueue.h>
#include <linux/net_tstamp.h>

#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#ifndef SCM_TSTAMP_ACK
#define SCM_TSTAMP_ACK 2
#endif

/* One message of the error queue, after at most a second. */
static void note_completion(const char *field, int fd)
{
	char control[512], text[64];
	struct iovec vector = { text, sizeof(text) };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct pollfd poller = { .fd = fd };
	ssize_t result;

	poll(&poller, 1, 300);
	errno = 0;
	result = recvmsg(fd, &message, MSG_ERRQUEUE);
	note_result(field, result, errno);
	if (result < 0)
		return;
	note("flags", "%x", message.msg_flags & ~MSG_CTRUNC);
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg)) {
		struct sock_extended_err error;

		if ((cmsg->cmsg_level != SOL_IP || cmsg->cmsg_type != IP_RECVERR) &&
		    (cmsg->cmsg_level != SOL_IPV6 || cmsg->cmsg_type != IPV6_RECVERR)) {
			note("control", "%d %d", cmsg->cmsg_level, cmsg->cmsg_type);
			continue;
		}
		memcpy(&error, CMSG_DATA(cmsg), sizeof(error));
		note("completion", "origin %u info %u data %u code %u errno %u", error.ee_origin, error.ee_info,
		     error.ee_data, error.ee_code, error.ee_errno);
	}
}

/* How many sends are told to be complete until no more is told: the kernel makes one message of neighbours if it can. */
static void note_completed(const char *field, int fd)
{
	char control[512];
	unsigned completed = 0;
	struct msghdr message = { .msg_control = control };
	struct pollfd poller = { .fd = fd };

	for (int i = 0; i < 100; i++) {
		struct sock_extended_err error;

		message.msg_controllen = sizeof(control);
		poll(&poller, 1, 100);
		if (recvmsg(fd, &message, MSG_ERRQUEUE) < 0)
			break;
		memcpy(&error, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(error));
		if (error.ee_origin != SO_EE_ORIGIN_ZEROCOPY || error.ee_info != completed)
			note("FAILED", "origin %u, from %u on", error.ee_origin, error.ee_info);
		completed += error.ee_data - error.ee_info + 1;
	}
	note(field, "%u", completed);
}

static void zero_copy(struct pair *pair, int sends)
{
	static char buffer[20000];

	fill(buffer, sizeof(buffer), 1);
	TRY("set", set_int(pair->a, SOL_SOCKET, SO_ZEROCOPY, 1));
	for (int i = 0; i < sends; i++) {
		TRY("send", send(pair->a, buffer, sizeof(buffer), MSG_ZEROCOPY));
		drain("data", pair->b, sizeof(buffer));
		settle();
		note_completion("done", pair->a);
	}
	note_completion("no-more", pair->a);
	round_trip("trip", pair);
}

enum beside { COLLECTED, SENT, CLOSED_UNREAD };

/* A completion that nobody has taken yet: poll(2) says POLLERR, and no call ends for it. */
static void completion_waits(struct pair *pair, int what)
{
	static char bytes[4000];
	char text[32];

	if (what == CLOSED_UNREAD)
		put(pair->b, "unread");
	TRY("set", set_int(pair->a, SOL_SOCKET, SO_ZEROCOPY, 1));
	TRY("zerocopy", send(pair->a, bytes, sizeof(bytes), MSG_ZEROCOPY));
	drain("data", pair->b, sizeof(bytes));
	settle();
	note_poll("error-queue", pair->a, 0, 1000);
	if (what == COLLECTED) {
		later_put(SOON_MS, pair->b, "0123456789");
		later_put(3 * SOON_MS, pair->b, "abcdefghij");
		GET("whole", text, recv(pair->a, text, 20, MSG_WAITALL));
	} else if (what == SENT) {
		setsockopt(pair->a, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){ .tv_sec = 10 }, sizeof(struct timeval));
		later_drain(2 * SOON_MS, "large", pair->b, 16000000);
		TRY("send", send(pair->a, big_buffer(16000000), 16000000, 0));
	} else {
		TRY("close", close(pair->a));
		pair->a = -1;
		settle();
		get("end", pair->b, 64, 0);
		return;
	}
	later_join();
	note_completion("done", pair->a);
	round_trip("trip", pair);
}

/* The flag without the option: sent as usual, no completion. */
static void zero_copy_unset(struct pair *pair, int unused)
{
	(void)unused;
	TRY("send", send(pair->a, "hello", 5, MSG_ZEROCOPY));
	get("data", pair->b, 64, 0);
	note_completion("none", pair->a);
	round_trip("trip", pair);
}

/* The same in sendmmsg, of an end that another option has pinned. */
static void zero_copy_unset_pinned(struct pair *pair, int unused)
{
	struct iovec vector = { "hello", 5 };
	struct mmsghdr message = { .msg_hdr = { .msg_iov = &vector, .msg_iovlen = 1 } };

	(void)unused;
	put(pair->a, "unread");
	settle();
	TRY("pin", set_int(pair->a, SOL_SOCKET, SO_BUSY_POLL, 1));
	TRY("sendmmsg", sendmmsg(pair->a, &message, 1, MSG_ZEROCOPY));
	TRY("send", send(pair->a, "there", 5, MSG_ZEROCOPY));
	drain("data", pair->b, 16);
	note_completed("none", pair->a);
	round_trip("trip", pair);
}

/* Unread redirected data first. bytes of which each call makes one completion; with MSG_DONTWAIT if it is odd. */
static void zero_copy_behind_unread(struct pair *pair, int bytes)
{
	static char buffer[200001];
	int flags = MSG_ZEROCOPY | (bytes % 2 ? MSG_DONTWAIT : 0);

	put(pair->a, "unread");
	TRY("set", set_int(pair->a, SOL_SOCKET, SO_ZEROCOPY, 1));
	for (int i = 0; i < 2; i++)
		TRY("send", send(pair->a, buffer, (size_t)bytes, flags));
	get("data", pair->b, 6, 0);
	drain("more", pair->b, 2 * (size_t)bytes);
	settle();
	note_completed("done", pair->a);
}

/* Unread redirected data on the end that sends, in many pieces. */
static void zero_copy_over_unread(struct pair *pair, int pieces)
{
	static char buffer[3000];
	struct iovec vector[200];
	struct msghdr message = { .msg_iov = vector, .msg_iovlen = (size_t)pieces };

	for (int i = 0; i < pieces; i++)
		vector[i] = (struct iovec){ buffer, i % 7 * 500 };
	put(pair->b, "unread");
	settle();
	TRY("set", set_int(pair->a, SOL_SOCKET, SO_ZEROCOPY, 1));
	ssize_t sent = TRY("send", sendmsg(pair->a, &message, MSG_ZEROCOPY));
	drain("more", pair->b, sent > 0 ? (size_t)sent : 0);
	settle();
	note_completed("done", pair->a);
	get("data", pair->a, 64, 0);
	round_trip("trip", pair);
}

/* Set on the listener, as gRPC does, which most often never uses it. */
static void zero_copy_of_listener(struct pair *unused, int unread)
{
	static char buffer[50000];
	uint16_t port_h;
	int listener = listen_any(&port_h), a = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = loopback_at(port_h);
	struct pair pair;

	(void)unused;
	TRY("set", set_int(listener, SOL_SOCKET, SO_ZEROCOPY, 1));
	TRY("connect", connect(a, (struct sockaddr *)&address, sizeof(address)));
	pair = (struct pair){ a, accept(listener, NULL, NULL) };
	set_int(pair.a, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(pair.b, IPPROTO_TCP, TCP_NODELAY, 1);
	note("armed", "%s", pair_warm_up(&pair) ? "yes" : "no");
	round_trip("trip", &pair);
	if (unread)
		put(pair.a, "unread");
	settle();
	TRY("nothing", send(pair.b, buffer, 0, MSG_ZEROCOPY));
	for (int i = 0; i < 2; i++)
		TRY("send", send(pair.b, buffer, sizeof(buffer), MSG_ZEROCOPY));
	drain("more", pair.a, 2 * sizeof(buffer));
	settle();
	note_completed("done", pair.b);
	if (unread)
		get("data", pair.b, 64, 0);
	round_trip("trip", &pair);
}

static void empty_queue(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "hello");
	settle();
	get("error-queue", pair->b, 64, MSG_ERRQUEUE);
	get("error-queue-dontwait", pair->b, 64, MSG_ERRQUEUE | MSG_DONTWAIT);
	get("data", pair->b, 64, 0);
}

static void send_timestamps(struct pair *pair, int extra)
{
	TRY("set", set_int(pair->a, SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE | extra));
	put(pair->a, "hello");
	get("data", pair->b, 64, 0);
	settle();
	note_completion("stamp", pair->a);
	note_completion("no-more", pair->a);
	round_trip("trip", pair);
}

/* The control messages that a receive brings. argument: the option */
static void receive_control(struct pair *pair, int option)
{
	char control[512], text[4];
	struct iovec vector = { text, sizeof(text) };
	int level = option == TCP_INQ ? IPPROTO_TCP : SOL_SOCKET;
	int value = option == SO_TIMESTAMPING ? SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE : 1;

	TRY("set", set_int(pair->b, level, option, value));
	pause_ms(150); /* the kernel turns time-stamping on in the background */
	put(pair->a, "0123456789");
	settle();
	for (int i = 0; i < 3; i++) {
		struct msghdr message = {
			.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
		};

		GET("data", text, recvmsg(pair->b, &message, MSG_DONTWAIT));
		note("flags", "%x", message.msg_flags);
		for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg)) {
			int number = -1;

			memcpy(&number, CMSG_DATA(cmsg), sizeof(number));
			note("control", "%d %d %d", cmsg->cmsg_level, cmsg->cmsg_type, option == TCP_INQ ? number : 0);
		}
	}
	round_trip("trip", pair);
}

static ssize_t send_control(int fd, int level, int type, const void *data, size_t bytes)
{
	union {
		struct cmsghdr header;
		char room[128];
	} control = { .header = { .cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(bytes) } };
	struct iovec vector = { "control", 7 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(bytes)
	};

	memcpy(CMSG_DATA(&control.header), data, bytes);
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void odd_control(struct pair *pair, int unused)
{
	uint32_t number = SOF_TIMESTAMPING_TX_SOFTWARE;
	int fds[1] = { STDOUT_FILENO };
	struct cmsghdr broken = { .cmsg_len = 3, .cmsg_level = SOL_SOCKET };
	struct iovec vector = { "x", 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &broken, .msg_controllen = sizeof(broken)
	};

	(void)unused;
	TRY("unknown", send_control(pair->a, SOL_SOCKET, 9999, &number, sizeof(number)));
	TRY("timestamping", send_control(pair->a, SOL_SOCKET, SO_TIMESTAMPING, &number, sizeof(number)));
	TRY("rights", send_control(pair->a, SOL_SOCKET, SCM_RIGHTS, fds, sizeof(fds)));
	TRY("other-level", send_control(pair->a, SOL_IP, IP_TTL, &number, sizeof(number)));
	TRY("mark", send_control(pair->a, SOL_SOCKET, SO_MARK, &number, sizeof(number)));
	TRY("short-timestamping", send_control(pair->a, SOL_SOCKET, SO_TIMESTAMPING, &number, 1));
	TRY("broken", sendmsg(pair->a, &message, MSG_NOSIGNAL));
	settle();
	get("arrived", pair->b, 256, MSG_DONTWAIT);
	round_trip("trip", pair);
}

static const struct semantics_case cases[] = {
	{ "zerocopy-send", zero_copy, 1, 0 },
	{ "zerocopy-three-sends", zero_copy, 3, 0 },
	{ "completion-waits-waitall", completion_waits, COLLECTED, 0 },
	{ "completion-waits-send", completion_waits, SENT, 0 },
	{ "completion-waits-close", completion_waits, CLOSED_UNREAD, 0 },
	{ "zerocopy-without-option", zero_copy_unset, 0, 0 },
	{ "option-busy-poll-zerocopy-unset", zero_copy_unset_pinned, 0, 0 },
	{ "zerocopy-behind-unread", zero_copy_behind_unread, 20000, 0 },
	{ "zerocopy-behind-unread-large", zero_copy_behind_unread, 200000, 0 },
	{ "zerocopy-behind-unread-dontwait", zero_copy_behind_unread, 200001, 0 },
	{ "zerocopy-over-unread", zero_copy_over_unread, 3, 0 },
	{ "zerocopy-over-unread-pieces", zero_copy_over_unread, 200, 0 },
	{ "zerocopy-listener", zero_copy_of_listener, 0, CASE_BARE },
	{ "zerocopy-listener-unread", zero_copy_of_listener, 1, CASE_BARE },
	{ "errqueue-empty", empty_queue, 0, 0 },
	{ "timestamp-tx", send_timestamps, SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_ID, 0 },
	{ "timestamp-tx-only", send_timestamps, SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_OPT_TSONLY, 0 },
	{ "control-timestamp", receive_control, SO_TIMESTAMP, 0 },
	{ "control-timestampns", receive_control, SO_TIMESTAMPNS, 0 },
	{ "control-timestamping", receive_control, SO_TIMESTAMPING, 0 },
	{ "control-inq", receive_control, TCP_INQ, 0 },
	{ "control-odd", odd_control, 0, 0 },
};
FAMILY(errqueue);
