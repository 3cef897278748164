/* SPDX-License-Identifier: BSD-2-Clause */
/* A program that filters its own system calls in the middle of a conversation: any call that it does not make itself ends it.
 *
 *   sandbox KIND DATA PORT     PORT: of `talk server`
 *   sandbox under PROGRAM...    runs a program that inherits a filter, which ends it for what only the shim does
 *
 * KIND   strict    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)
 *        prctl     a filter of its own making, by prctl
 *        strict-call, prctl-call  the same by syscall(SYS_prctl, ...)
 *        library   libseccomp's
 *        threads   libseccomp's, for all threads, one of which sleeps in recv on a second connection
 *        child     libseccomp's, in a forked child that goes on with the connection
 * DATA   idle         all has been read
 *        unread       an answer waits to be read
 *        signals      so too, and a signal comes each millisecond, whose handler restarts calls
 *        nonblocking  an answer waits, and the fd does not block
 *        edge         so too, and what comes later must be had in the same receive, as for an edge-triggered poller; also
 *        edge-preadv2, edge-recvmmsg (KIND library, child)
 *
 * Prints "warm", then waits for a line on standard input, so that the test can look in which state the connection is: "more"
 * for more turns, and "warm" again. "ok" is the end.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "../../preload/raw_syscall.h"
#include "../support/loopback.h"

#define WARM_TURNS 60
#define MORE_TURNS 20
#define WARM_PAUSE_US 400
#define TURNS 200
#define REQUEST_MAX 20000
#define UNREAD_BYTES 5000
#define DEADLINE_S 20
#define SPURIOUS_MAX 1000
#define SIGNAL_NS 1000000
#define EDGE_MS 300 /* for an answer to arrive */

static unsigned char request[REQUEST_MAX], answer[REQUEST_MAX];
static int second = -1; /* the connection of the sleeping thread */
static _Atomic int sleeper_tid;
static _Atomic unsigned thread_got;
static bool strict, nonblocking, signals;

/* Only what every sandbox here allows. */
static void __attribute__((noreturn)) end(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		text = "";
	if (strict)
		raw_system_call(SYS_exit, strcmp(text, "ok\n") != 0, 0, 0, 0, 0, 0);
	_exit(strcmp(text, "ok\n") != 0);
}

/* read and write only in a strict sandbox, else receive calls of several kinds. */
static ssize_t get(int fd, unsigned char *buffer, size_t bytes, unsigned kind)
{
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	ssize_t got;

	do {
		if (nonblocking && poll(&wait, 1, 5000) != 1)
			end("nothing to read\n");
		got = strict || kind % 3 == 0 ? read(fd, buffer, bytes)
		      : kind % 3 == 1         ? recv(fd, buffer, bytes, kind % 2 ? MSG_WAITALL : 0)
					      : recvfrom(fd, buffer, bytes, 0, NULL, NULL);
	} while (got < 0 && nonblocking && errno == EAGAIN);
	return got;
}

static void receive_answer(int fd, size_t bytes, unsigned kind)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t got = get(fd, answer + done, bytes - done, kind);

		if (got <= 0)
			end(got ? "receive failed\n" : "end of the stream\n");
		done += (size_t)got;
	}
	for (size_t i = 0; i < bytes; i++)
		if (answer[i] != (unsigned char)(request[i] + 1))
			end("wrong byte\n");
}

static void send_request(int fd, size_t bytes, unsigned salt)
{
	for (size_t i = 0; i < bytes; i++)
		request[i] = (unsigned char)(i * 13 + salt + (i >> 8));
	for (size_t done = 0; done < bytes;) {
		ssize_t put = strict || salt % 2 ? write(fd, request + done, bytes - done)
						 : send(fd, request + done, bytes - done, 0);

		if (put < 0 && nonblocking && errno == EAGAIN)
			continue; /* the answers are read in between: it cannot last */
		if (put <= 0)
			end("send failed\n");
		done += (size_t)put;
	}
}

static void converse(int fd, unsigned turns, unsigned pause_us)
{
	for (unsigned i = 0; i < turns; i++) {
		size_t bytes = 1 + (i * 977) % (i % 5 ? 300 : REQUEST_MAX);

		send_request(fd, bytes, i);
		receive_answer(fd, bytes, i);
		if (pause_us)
			usleep(pause_us);
	}
}

static void allow_libseccomp(bool all_threads)
{
	static const int allowed[] = {
		SCMP_SYS(read), SCMP_SYS(write),        SCMP_SYS(recvfrom),   SCMP_SYS(sendto),
		SCMP_SYS(poll), SCMP_SYS(ppoll),        SCMP_SYS(exit_group), SCMP_SYS(close),
		SCMP_SYS(exit), SCMP_SYS(rt_sigreturn), SCMP_SYS(preadv2),    SCMP_SYS(recvmmsg)
	};
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (!context || (all_threads && seccomp_attr_set(context, SCMP_FLTATR_CTL_TSYNC, 1) != 0))
		die("seccomp_init");
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (seccomp_rule_add(context, SCMP_ACT_ALLOW, allowed[i], 0) != 0)
			die("seccomp_rule_add");
	if (seccomp_load(context) != 0)
		die("seccomp_load");
}

#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static long set_seccomp(bool by_call, int mode, const struct sock_fprog *program)
{
	return by_call ? syscall(SYS_prctl, PR_SET_SECCOMP, mode, program, 0, 0)
		       : prctl(PR_SET_SECCOMP, mode, program, 0, 0);
}

static void allow_prctl(bool by_call)
{
	struct sock_filter rules[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_read),
		ALLOW(SYS_write),
		ALLOW(SYS_recvfrom),
		ALLOW(SYS_sendto),
		ALLOW(SYS_ppoll),
#ifdef SYS_poll
		ALLOW(SYS_poll),
#endif
		ALLOW(SYS_exit_group),
		ALLOW(SYS_rt_sigreturn),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = { .len = sizeof(rules) / sizeof(rules[0]), .filter = rules };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || set_seccomp(by_call, SECCOMP_MODE_FILTER, &program) < 0)
		die("prctl");
}

static void nothing(int number)
{
	(void)number;
}

static void start_signals(void)
{
	const struct sigaction action = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	const struct itimerspec each = { .it_value.tv_nsec = SIGNAL_NS, .it_interval.tv_nsec = SIGNAL_NS };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	timer_t timer;

	if (sigaction(SIGUSR1, &action, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
	    timer_settime(timer, 0, &each, NULL) < 0)
		die("timer");
}

static ssize_t receive_by(const char *how, int fd, void *buffer, size_t bytes)
{
	struct iovec vector = { buffer, bytes };
	struct mmsghdr message = { .msg_hdr = { .msg_iov = &vector, .msg_iovlen = 1 } };

	if (!strcmp(how, "edge-preadv2"))
		return preadv2(fd, &vector, 1, -1, 0);
	if (!strcmp(how, "edge-recvmmsg"))
		return recvmmsg(fd, &message, 1, 0, NULL) == 1 ? (ssize_t)message.msg_len : -1;
	return recv(fd, buffer, bytes, 0);
}

/* The answer that waits was redirected, the second one passed; TCP gives both at once. */
static void receive_edge(int fd, const char *how)
{
	static unsigned char both[2 * UNREAD_BYTES + 1];
	struct pollfd nothing_to_wait_for = { .fd = -1 };

	if (send(fd, request, UNREAD_BYTES, 0) != UNREAD_BYTES)
		end("send failed\n");
	poll(&nothing_to_wait_for, 1, EDGE_MS);
	if (receive_by(how, fd, both, sizeof(both)) != 2 * UNREAD_BYTES)
		end("a short read\n");
	for (size_t i = 0; i < 2 * UNREAD_BYTES; i++)
		if (both[i] != (unsigned char)(request[i % UNREAD_BYTES] + 1))
			end("wrong byte\n");
}

static void *sleeper(void *unused)
{
	char byte;

	sleeper_tid = (int)syscall(SYS_gettid);
	while (recv(second, &byte, 1, 0) ==
	       1) /* allowed: recvfrom; it never ends, as the end of a thread would need more */
		thread_got++;
	end("the thread's receive failed\n");
	return unused;
}

/* In recv, or in the poll by which the shim stands in for one. */
static bool sleeps_in_call(int tid)
{
	char path[64], text[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	fd = tid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0)
		return false;
	ssize_t bytes = read(fd, text, sizeof(text) - 1);
	close(fd);
	long number = bytes > 0 && text[0] != 'r' ? strtol(text, NULL, 10) : -1; /* "running" */
#ifdef SYS_poll
	if (number == SYS_poll)
		return true;
#endif
	return number == SYS_recvfrom || number == SYS_ppoll;
}

static void start_thread(unsigned port)
{
	pthread_t thread;

	second = loopback_connect("127.0.0.1", port);
	converse(second, WARM_TURNS, WARM_PAUSE_US);
	if (pthread_create(&thread, NULL, sleeper, NULL) != 0)
		die("pthread_create");
	while (!sleeps_in_call(sleeper_tid)) /* the start of a thread needs calls that the filter refuses */
		usleep(1000);
}

static void check_thread(void)
{
	struct pollfd nothing = { .fd = -1 };
	static const char bytes[] = "0123456789";

	for (unsigned i = 0; i < 10; i++) {
		if (write(second, bytes + i, 1) != 1)
			end("second connection: send failed\n");
		for (int j = 0; j < SPURIOUS_MAX && thread_got <= i; j++)
			poll(&nothing, 1, 5);
		if (thread_got != i + 1)
			end("the thread got nothing\n");
	}
}

/* Returns in the process that goes on. */
static void sandbox(const char *kind)
{
	if (!strcmp(kind, "child")) {
		pid_t pid = fork();
		int status;

		if (pid < 0)
			die("fork");
		if (pid > 0) {
			if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
				die("the child ended by signal %d", WTERMSIG(status));
			_exit(WEXITSTATUS(status));
		}
	}
	if (signals)
		start_signals(); /* a timer is not inherited */
	bool by_call = strstr(kind, "-call") != NULL;
	if (!strncmp(kind, "strict", 6)) {
		strict = true;
		if (set_seccomp(by_call, SECCOMP_MODE_STRICT, NULL) < 0)
			die("prctl");
	} else if (!strncmp(kind, "prctl", 5)) {
		allow_prctl(by_call);
	} else {
		allow_libseccomp(second >= 0);
	}
}

static int __attribute__((noreturn)) run_under(char **command)
{
	static const int refused[] = { SCMP_SYS(membarrier), SCMP_SYS(madvise), SCMP_SYS(rt_sigaction),
				       SCMP_SYS(sendmsg),    SCMP_SYS(recvmsg), SCMP_SYS(prctl),
				       SCMP_SYS(getsockopt) };
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (!context || seccomp_rule_add(context, SCMP_ACT_KILL_PROCESS, refused[i], 0) != 0)
			die("seccomp_rule_add");
	if (seccomp_load(context) != 0)
		die("seccomp_load");
	execv(command[0], command);
	die("exec %s", command[0]);
}

/* As many turns as the test wants. */
static void warm_up(int fd)
{
	char line[16];

	for (;;) {
		ssize_t bytes;

		if (write(STDOUT_FILENO, "warm\n", 5) < 0 || (bytes = read(STDIN_FILENO, line, sizeof(line))) < 0)
			die("standard input");
		if (bytes == 0 || line[0] != 'm')
			return;
		converse(fd, MORE_TURNS, WARM_PAUSE_US);
	}
}

int main(int argc, char **argv)
{

	if (argc >= 3 && !strcmp(argv[1], "under"))
		run_under(argv + 2);
	if (argc != 4)
		return EXIT_USAGE;
	alarm(DEADLINE_S);
	int fd = loopback_connect("127.0.0.1", (unsigned)atoi(argv[3]));
	/* Nagle's algorithm would wait 40 ms for the acknowledgement of a request's first piece. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	converse(fd, WARM_TURNS, WARM_PAUSE_US);
	if (!strcmp(argv[1], "threads"))
		start_thread((unsigned)atoi(argv[3]));
	warm_up(fd);
	bool unread = strcmp(argv[2], "idle") != 0;
	bool edge = !strncmp(argv[2], "edge", 4);
	nonblocking = edge || !strcmp(argv[2], "nonblocking");
	signals = !strcmp(argv[2], "signals");
	if (nonblocking && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		die("fcntl");
	if (unread) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		send_request(fd, UNREAD_BYTES, 7);
		if (poll(&wait, 1, 5000) != 1)
			die("no answer");
	}
	sandbox(argv[1]);
	if (edge)
		receive_edge(fd, argv[2]);
	else if (unread)
		receive_answer(fd, UNREAD_BYTES, 1);
	converse(fd, TURNS, 0);
	if (second >= 0)
		check_thread();
	end("ok\n");
}
