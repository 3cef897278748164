/* SPDX-License-Identifier: BSD-2-Clause */
/* How a joined socket is read: KERNEL-FACTS 1 to 9. */
#define _GNU_SOURCE
#include "kernel_rig.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/uio.h>

#define SLEEPS_ON_MS 200 /* a wake-up on loopback takes well under one */
#define STATE_CLOSE 7

static ssize_t recv_now(int fd, char *buffer, size_t bytes)
{
	return recv(fd, buffer, bytes, MSG_DONTWAIT);
}

static void test_fact_1(struct rig *rig)
{
	rig_connect_joined(rig);
	rig_pass(rig, "111");
	rig_redirect(rig, "222");
	check(received(rig->ends[1], "222111"), "fact-1", "redirected-after-passed-reorders", "-");
	rig_redirect(rig, "333");
	rig_pass(rig, "444");
	check(received(rig->ends[1], "333444"), "fact-1", "passed-after-redirected-keeps-order", "-");
	rig_close(rig);
}

static void test_fact_2(struct rig *rig)
{
	char buffer[100];
	ssize_t first, second;

	rig_connect_joined(rig);
	rig_redirect(rig, "12345");
	rig_pass(rig, "678");
	first = recv_now(rig->ends[1], buffer, sizeof(buffer));
	second = recv_now(rig->ends[1], buffer, sizeof(buffer));
	check(first == 5 && second == 3, "fact-2", "one-recv-never-merges-the-queues", "%zd, %zd", first, second);
	rig_close(rig);
}

static void test_fact_3(struct rig *rig)
{
	struct sleeper reader;
	char byte;

	rig_connect(rig);
	sleeper_start(&reader, rig->ends[1], 1, 0);
	require(rig_join(rig, 0) == 0 && rig_join(rig, 1) == 0);
	rig_redirect(rig, "x");
	check(!sleeper_returns_within(&reader, SLEEPS_ON_MS), "fact-3", "reader-blocked-before-the-insert-sleeps-on",
	      "it woke with %zd", reader.result);
	check(recv_now(rig->ends[1], &byte, 1) == 1 && byte == 'x', "fact-3", "a-second-reader-gets-the-byte", "-");
	rig->control->mode = KERNEL_TEST_PASS;
	require(sent(rig->ends[0], "y"));
	check(sleeper_returns_within(&reader, 1000) && reader.result == 1, "fact-3", "passed-data-wakes-it", "-");
	shutdown(rig->ends[0], SHUT_WR);
	sleeper_join(&reader);
	rig_close(rig);
}

static void on_signal(int number)
{
	(void)number;
}

static void test_fact_4(struct rig *rig)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct linger reset = { .l_onoff = 1 };
	struct sleeper reader;
	char byte;

	require(sigaction(SIGUSR1, &action, NULL) == 0);
	rig_connect_joined(rig);
	sleeper_start(&reader, rig->ends[1], 1, 0);
	pthread_kill(reader.thread, SIGUSR1);
	sleeper_join(&reader);
	check(reader.result < 0 && reader.error == EAGAIN, "fact-4", "a-restarting-signal-gives-eagain", "%zd %s",
	      reader.result, strerror(reader.error));

	sleeper_start(&reader, rig->ends[1], 1, 0);
	require(shutdown(rig->ends[1], SHUT_RD) == 0);
	sleeper_join(&reader);
	check(reader.result < 0 && reader.error == EAGAIN, "fact-4", "a-local-shut-rd-gives-eagain", "%zd %s",
	      reader.result, strerror(reader.error));
	rig_close(rig);

	rig_connect_joined(rig);
	sleeper_start(&reader, rig->ends[1], 1, 0);
	require(setsockopt(rig->ends[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(rig->ends[0]);
	rig->ends[0] = -1;
	sleeper_join(&reader);
	check(reader.result < 0 && reader.error == EAGAIN, "fact-4", "a-reset-gives-eagain", "%zd %s", reader.result,
	      strerror(reader.error));
	check(recv(rig->ends[1], &byte, 1, 0) < 0 && errno == ECONNRESET, "fact-4", "the-next-call-gives-econnreset",
	      "%s", strerror(errno));
	rig_close(rig);
}

static void test_fact_5(struct rig *rig)
{
	struct sleeper reader;
	char buffer[16];
	int ten = 10;
	ssize_t got;

	rig_connect_joined(rig);
	rig_redirect(rig, "12345");
	got = recv(rig->ends[1], buffer, 10, MSG_WAITALL);
	check(got == 5, "fact-5", "waitall-is-ignored-on-redirected-data", "%zd", got);
	rig_pass(rig, "123");
	/* It begins when they have come, and sleeps there once it has taken them. */
	require(wait_until(recv(rig->ends[1], buffer, 1, MSG_PEEK | MSG_DONTWAIT) == 1, 2000));
	sleeper_start(&reader, rig->ends[1], 10, MSG_WAITALL);
	require(wait_until(recv(rig->ends[1], buffer, 1, MSG_PEEK | MSG_DONTWAIT) < 0, 2000));
	rig_redirect(rig, "4567890");
	check(!sleeper_returns_within(&reader, SLEEPS_ON_MS), "fact-5", "waitall-begun-in-tcp-hangs", "%zd",
	      reader.result);
	shutdown(rig->ends[0], SHUT_WR);
	check(sleeper_returns_within(&reader, 1000) && reader.result == 3, "fact-5", "until-fin", "%zd", reader.result);
	sleeper_join(&reader);
	rig_close(rig);

	rig_connect_joined(rig);
	require(setsockopt(rig->ends[1], SOL_SOCKET, SO_RCVLOWAT, &ten, sizeof(ten)) == 0);
	rig_redirect(rig, "123");
	check(readable_within(rig->ends[1], 0), "fact-5", "rcvlowat-poll-reports-too-early", "-");
	got = recv(rig->ends[1], buffer, sizeof(buffer), 0);
	check(got == 3, "fact-5", "rcvlowat-is-ignored-on-redirected-data", "%zd", got);
	rig_close(rig);
}

/* Fact 6 differs with the kernel; where it is known the test insists, elsewhere it says what it saw. */
static void test_fact_6(struct rig *rig)
{
	unsigned version = kernel_version();
	int of_psock = -1, of_tcp = -1;
	bool psock, tcp;

	rig_connect_joined(rig);
	rig_redirect(rig, "12345");
	require(ioctl(rig->ends[1], FIONREAD, &of_psock) == 0 && received(rig->ends[1], "12345"));
	rig_pass(rig, "123");
	require(ioctl(rig->ends[1], FIONREAD, &of_tcp) == 0 && received(rig->ends[1], "123"));
	psock = of_psock == 5;
	tcp = of_tcp == 3;
	printf("# FIONREAD counts%s%s\n", psock ? " redirected" : "", tcp ? " passed" : "");
	check((psock || of_psock == 0) && (tcp || of_tcp == 0) && (psock || tcp), "fact-6",
	      "fionread-counts-one-queue-or-both", "%d of 5, %d of 3", of_psock, of_tcp);
	if (version >> 8 == 0x601)
		check(!psock && tcp, "fact-6", "6.1-counts-passed-bytes-only", "%d of 5, %d of 3", of_psock, of_tcp);
	else if (version >= 0x06120e && version <= 0x06122c)
		check(psock && !tcp, "fact-6", "6.18-counts-redirected-bytes-only", "%d of 5, %d of 3", of_psock,
		      of_tcp);
	else if (version >> 8 == 0x60c && version >= 0x060c72)
		check(psock && tcp, "fact-6", "6.12.114-counts-both", "%d of 5, %d of 3", of_psock, of_tcp);
	else
		skip("fact-6", "which-queue", "not known for this kernel");
	rig_close(rig);
}

static void test_fact_7(struct rig *rig)
{
	const int flags = MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT;
	ssize_t length;

	rig_connect_joined(rig);
	rig_pass(rig, "1234567");
	length = recv(rig->ends[1], NULL, 1 << 30, flags);
	check(length == 7, "fact-7", "peek-trunc-null-measures-the-tcp-queue", "%zd", length);
	require(received(rig->ends[1], "1234567"));
	rig_redirect(rig, "12345");
	length = recv(rig->ends[1], NULL, 1 << 30, flags);
	check(length < 0 && errno == EFAULT, "fact-7", "on-redirected-data-it-gives-efault", "%zd %s", length,
	      strerror(errno));
	check(received(rig->ends[1], "12345"), "fact-7", "and-takes-nothing", "-");
	rig_close(rig);
}

/* Of redirected bytes MSG_OOB is ignored; without any TCP looks for an urgent byte, but not at its queue, nor at an error that waits. */
static void test_fact_7_by_urgent_peeks(struct rig *rig)
{
	const int flags = MSG_PEEK | MSG_OOB | MSG_DONTWAIT;
	const struct linger reset = { .l_onoff = 1 };
	char buffer[8];
	ssize_t none, passed, redirected, at_reset, after;

	rig_connect_joined(rig);
	none = recv(rig->ends[1], buffer, sizeof(buffer), flags);
	rig_pass(rig, "passed");
	passed = recv(rig->ends[1], buffer, sizeof(buffer), flags);
	require(received(rig->ends[1], "passed"));
	rig_redirect(rig, "12345");
	redirected = recv(rig->ends[1], buffer, sizeof(buffer), flags);
	check(none < 0 && passed < 0 && redirected == 5, "fact-7", "a-peek-of-urgent-data-sees-redirected-bytes-alone",
	      "%zd %zd %zd", none, passed, redirected);
	require(setsockopt(rig->ends[0], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	close(rig->ends[0]);
	rig->ends[0] = -1;
	require(wait_until(tcp_state(rig->ends[1]) == STATE_CLOSE, 2000));
	redirected = recv(rig->ends[1], buffer, sizeof(buffer), flags);
	require(received(rig->ends[1], "12345"));
	at_reset = recv(rig->ends[1], buffer, sizeof(buffer), flags) < 0 ? errno : 0;
	after = recv_now(rig->ends[1], buffer, sizeof(buffer)) < 0 ? errno : 0;
	check(redirected == 5 && at_reset == EINVAL && after == ECONNRESET, "fact-7", "and-leaves-the-error-of-a-reset",
	      "%zd, %s, %s", redirected, strerror((int)at_reset), strerror((int)after));
	rig_close(rig);
}

/* What TCP_ZEROCOPY_RECEIVE says when it is to copy up to so many bytes to where nothing can be. */
static int copy_refused(int fd, int bytes)
{
	struct tcp_zerocopy_receive question = { .copybuf_address = ~(uint64_t)4095, .copybuf_len = bytes };
	socklen_t length = offsetof(struct tcp_zerocopy_receive, copybuf_len) + sizeof(int32_t) + sizeof(uint16_t);

	return getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length) ? errno : 0;
}

/* How much waits in the TCP queue also behind redirected bytes, the FIN told from a byte: copies are asked for until one would be
 * made. */
static void test_fact_7_by_refused_copies(struct rig *rig)
{
	const int length = 5000;
	char *text = malloc((size_t)length + 1);
	int less, all, less_at_end, all_at_end;

	require(text);
	memset(text, 'x', (size_t)length);
	text[length] = 0;
	rig_connect_joined(rig);
	rig_redirect(rig, "12345");
	rig_pass(rig, text);
	less = copy_refused(rig->ends[1], length - 1);
	all = copy_refused(rig->ends[1], length);
	check(less != EFAULT && all == EFAULT, "fact-7", "a-refused-copy-measures-the-tcp-queue", "%s, %s",
	      strerror(less), strerror(all));
	require(shutdown(rig->ends[0], SHUT_WR) == 0 && shutdown(rig->ends[1], SHUT_WR) == 0);
	require(wait_until(tcp_state(rig->ends[1]) == STATE_CLOSE, 2000));
	less_at_end = copy_refused(rig->ends[1], length - 1);
	all_at_end = copy_refused(rig->ends[1], length);
	check(less_at_end != EFAULT && all_at_end == EFAULT, "fact-7", "and-does-not-count-a-fin", "%s, %s",
	      strerror(less_at_end), strerror(all_at_end));
	check(received(rig->ends[1], "12345") && recv_now(rig->ends[1], text, (size_t)length) == length, "fact-7",
	      "and-takes-nothing", "-");
	rig_close(rig);
	free(text);
}

static void test_fact_8(struct rig *rig)
{
	struct tcp_zerocopy_receive zerocopy = { .length = 4096 };
	socklen_t bytes = sizeof(zerocopy);
	int tube[2], one = 1;
	char buffer[8], control[64];
	struct iovec vector = { .iov_base = buffer, .iov_len = 2 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64 };
	struct cmsghdr *header;
	ssize_t moved;
	void *area;
	int inq = 0;

	require(pipe2(tube, O_CLOEXEC) == 0);
	rig_connect_joined(rig);
	rig_redirect(rig, "12345");
	moved = splice(rig->ends[1], NULL, tube[1], NULL, 5, SPLICE_F_NONBLOCK);
	check(moved < 0 && errno == EAGAIN, "fact-8", "splice-does-not-see-redirected-data", "%zd", moved);

	area = mmap(NULL, 4096, PROT_READ, MAP_SHARED, rig->ends[1], 0);
	require(area != MAP_FAILED);
	zerocopy.address = (uint64_t)(uintptr_t)area;
	if (getsockopt(rig->ends[1], IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &zerocopy, &bytes) < 0)
		skip("fact-8", "zerocopy-receive", strerror(errno));
	else
		check(zerocopy.length == 0 && zerocopy.recv_skip_hint == 0, "fact-8",
		      "zerocopy-receive-does-not-see-redirected-data", "length %u hint %u", zerocopy.length,
		      zerocopy.recv_skip_hint);
	munmap(area, 4096);

	require(setsockopt(rig->ends[1], IPPROTO_TCP, TCP_INQ, &one, sizeof(one)) == 0);
	require(recvmsg(rig->ends[1], &message, 0) == 2);
	for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
		if (header->cmsg_level == IPPROTO_TCP && header->cmsg_type == TCP_CM_INQ)
			memcpy(&inq, CMSG_DATA(header), sizeof(inq));
	check(inq == 0, "fact-8", "tcp-inq-does-not-count-redirected-data", "%d", inq);
	check(received(rig->ends[1], "345"), "fact-8", "nothing-is-lost-by-asking", "-");
	rig_close(rig);
	close(tube[0]);
	close(tube[1]);
}

static int epoll_events(int epoll)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, 0);
}

static void test_fact_9_readiness(struct rig *rig)
{
	struct epoll_event level = { .events = EPOLLIN }, edge = { .events = EPOLLIN | EPOLLET };
	int on_level = epoll_create1(EPOLL_CLOEXEC), on_edge = epoll_create1(EPOLL_CLOEXEC);
	struct timeval none = { 0 };
	int first, second;
	fd_set set;

	rig_connect_joined(rig);
	require(epoll_ctl(on_level, EPOLL_CTL_ADD, rig->ends[1], &level) == 0);
	require(epoll_ctl(on_edge, EPOLL_CTL_ADD, rig->ends[1], &edge) == 0);
	check(!readable_within(rig->ends[1], 0) && !epoll_events(on_level) && !epoll_events(on_edge), "fact-9",
	      "nothing-to-read-at-first", "-");
	rig_redirect(rig, "abc");
	FD_ZERO(&set);
	FD_SET(rig->ends[1], &set);
	check(readable_within(rig->ends[1], 0), "fact-9", "poll-reports-redirected-data", "-");
	check(select(rig->ends[1] + 1, &set, NULL, NULL, &none) == 1, "fact-9", "select-reports-redirected-data", "-");
	first = epoll_events(on_level);
	second = epoll_events(on_level);
	check(first == 1 && second == 1, "fact-9", "level-triggered-epoll", "%d %d", first, second);
	first = epoll_events(on_edge);
	second = epoll_events(on_edge);
	check(first == 1 && second == 0, "fact-9", "edge-triggered-epoll", "%d %d", first, second);
	rig_redirect(rig, "def");
	check(epoll_events(on_edge) == 1, "fact-9", "a-new-edge-for-each-message", "-");
	require(received(rig->ends[1], "abcdef"));
	check(!epoll_events(on_level), "fact-9", "quiet-once-read", "-");
	close(on_level);
	close(on_edge);
	rig_close(rig);
}

static void test_fact_9_calls(struct rig *rig)
{
	char one[4] = "", two[4] = "", buffer[8];
	struct iovec vectors[] = { { one, 3 }, { two, 3 } };
	uint64_t start;
	ssize_t got;

	rig_connect_joined(rig);
	rig_redirect(rig, "abcdef");
	got = recv(rig->ends[1], buffer, sizeof(buffer), MSG_PEEK);
	check(got == 6 && !memcmp(buffer, "abcdef", 6), "fact-9", "peek", "%zd", got);
	got = readv(rig->ends[1], vectors, 2);
	check(got == 6 && !strcmp(one, "abc") && !strcmp(two, "def"), "fact-9", "readv-after-peek", "%zd", got);
	check(recv_now(rig->ends[1], buffer, 1) < 0 && errno == EAGAIN, "fact-9", "dontwait-when-empty", "-");
	require(fcntl(rig->ends[1], F_SETFL, O_NONBLOCK) == 0);
	check(read(rig->ends[1], buffer, 1) < 0 && errno == EAGAIN, "fact-9", "nonblocking-when-empty", "-");
	require(fcntl(rig->ends[1], F_SETFL, 0) == 0);
	set_receive_limit(rig->ends[1], 50);
	start = now_ns();
	got = recv(rig->ends[1], buffer, 1, 0);
	check(got < 0 && errno == EAGAIN && now_ns() - start >= 40000000, "fact-9", "rcvtimeo", "%zd after %llu us",
	      got, (unsigned long long)(now_ns() - start) / 1000);
	rig_close(rig);
}

int main(void)
{
	struct rig rig;

	alarm(30);
	rig_load(&rig);
	test_fact_1(&rig);
	test_fact_2(&rig);
	test_fact_3(&rig);
	test_fact_4(&rig);
	test_fact_5(&rig);
	test_fact_6(&rig);
	test_fact_7(&rig);
	test_fact_7_by_urgent_peeks(&rig);
	test_fact_7_by_refused_copies(&rig);
	test_fact_8(&rig);
	test_fact_9_readiness(&rig);
	test_fact_9_calls(&rig);
	rig_unload(&rig);
	return kernel_test_finish();
}
