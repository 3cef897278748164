/* SPDX-License-Identifier: BSD-2-Clause */
/* How long each call takes by itself, in two processes, while a test stops and continues the helper.
 *
 * No call here has to wait for the peer: accept and recv are made when poll() says that they have something. What a call
 * then takes is its own work, and the shim's. Time spent runnable without a processor (schedstat) is taken off, so that a
 * busy machine does not look like a slow call; so is time in which the machine itself stood still, which shows by a process
 * on each CPU that wants to wake every 2 ms. Commands come one a line, each is answered by one JSON line:
 *   open N T   N new connections that stay, T turns on each         turns T   T turns on each that stays
 *   calls      {"client": {...}, "server": {...}} since the last "calls": calls, long_calls (> LONG_US), worst_us, worst
 *   close      closes all: {"us": [from close() to the peer's FIN, ...]}
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/pattern.h"
#include "../support/random.h"

#define CONNECTIONS_MAX 512
#define METERS_MAX 8
#define METER_US 2000
#define STALL_US 20000 /* a wake-up that is later was not late for want of a turn */
#define LONG_US 30000
#define BYTES 64
#define DEADLINE_MS 5000

enum timed { TIMED_CONNECT, TIMED_ACCEPT, TIMED_SEND, TIMED_RECV, TIMED_CLOSE };
static const char *const timed_names[] = { "connect", "accept", "send", "recv", "close" };

struct account {
	_Atomic uint64_t calls, long_calls, worst_us;
	_Atomic uint32_t worst;
};

/* Shared by both processes. */
struct shared {
	struct account client, server;
	_Atomic uint64_t fin_at_us;
	_Atomic uint64_t stalled_us[METERS_MAX]; /* so far, as each CPU's meter saw it */
};

static struct shared *shared;
static struct account *mine;
static int schedstat_fd = -1;
static int fds[CONNECTIONS_MAX];
static struct pattern patterns[CONNECTIONS_MAX];
static uint64_t offsets[CONNECTIONS_MAX];
static int count;

/* Microseconds this thread was runnable without running. */
static uint64_t queued_us(void)
{
	char text[96];
	unsigned long long ran, queued;
	ssize_t got = pread(schedstat_fd, text, sizeof(text) - 1, 0);

	if (got <= 0)
		return 0;
	text[got] = '\0';
	return sscanf(text, "%llu %llu", &ran, &queued) == 2 ? queued / 1000 : 0;
}

/* On a CPU of its own; never returns. */
static void __attribute__((noreturn)) meter_run(int cpu, _Atomic uint64_t *stalled_us)
{
	cpu_set_t cpus;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	for (;;) {
		uint64_t start = now_us(), passed;

		pause_us(METER_US);
		passed = now_us() - start;
		if (passed > METER_US + STALL_US)
			*stalled_us += passed - METER_US;
	}
}

static void meters_start(void)
{
	cpu_set_t cpus;
	int meters = 0;

	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		die("sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE && meters < METERS_MAX; cpu++) {
		if (!CPU_ISSET(cpu, &cpus))
			continue;
		pid_t meter = fork();

		if (meter < 0)
			die("fork");
		if (meter == 0)
			meter_run(cpu, &shared->stalled_us[meters]);
		meters++;
	}
}

struct stalls {
	uint64_t us[METERS_MAX];
};

static struct stalls stalls_now(void)
{
	struct stalls now;

	for (int i = 0; i < METERS_MAX; i++)
		now.us[i] = shared->stalled_us[i];
	return now;
}

/* What is left of `us` that began at these stalls, without what the machine stood still. Costs nothing where nothing was long. */
static uint64_t without_stalls(uint64_t us, const struct stalls *before)
{
	uint64_t most = 0;

	if (us <= LONG_US)
		return us;
	pause_us(5 * METER_US); /* the meters may wake after us */
	for (int i = 0; i < METERS_MAX; i++) {
		uint64_t stalled = shared->stalled_us[i] - before->us[i];

		most = stalled > most ? stalled : most;
	}
	return us > most ? us - most : 0;
}

static void account_add(enum timed what, uint64_t us)
{
	mine->calls++;
	if (us > LONG_US)
		mine->long_calls++;
	if (us > mine->worst_us) {
		mine->worst_us = us;
		mine->worst = what;
	}
}

/* Evaluates `call` and accounts for the time it took. */
#define TIMED(what, call)                                                                                              \
	({                                                                                                             \
		struct stalls timed_stalls = stalls_now();                                                             \
		uint64_t timed_queued = queued_us(), timed_start = now_us();                                           \
		__typeof__(call) timed_result = (call);                                                                \
		int timed_errno = errno;                                                                               \
		uint64_t timed_us = now_us() - timed_start;                                                            \
		timed_queued = queued_us() - timed_queued;                                                             \
		timed_us = timed_us > timed_queued ? timed_us - timed_queued : 0;                                      \
		account_add(what, without_stalls(timed_us, &timed_stalls));                                            \
		errno = timed_errno;                                                                                   \
		timed_result;                                                                                          \
	})

static void process_begin(struct account *account)
{
	mine = account;
	schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* ---- server: one thread, poll; returns what comes ---- */
static void server_answer(struct pollfd *one)
{
	unsigned char buffer[BYTES];
	ssize_t got = TIMED(TIMED_RECV, recv(one->fd, buffer, sizeof(buffer), 0));

	if (got > 0 && TIMED(TIMED_SEND, send(one->fd, buffer, (size_t)got, MSG_NOSIGNAL)) == got)
		return;
	TIMED(TIMED_CLOSE, close(one->fd));
	one->fd = -1;
}

static void server_run(int listener)
{
	static struct pollfd polls[CONNECTIONS_MAX + 1];
	nfds_t polled = 1;

	process_begin(&shared->server);
	polls[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
	for (;;) {
		if (poll(polls, polled, -1) < 0)
			die("poll");
		for (nfds_t i = 1; i < polled; i++)
			if (polls[i].revents & POLLRDHUP && !shared->fin_at_us)
				shared->fin_at_us = now_us();
		for (nfds_t i = 1; i < polled; i++)
			if (polls[i].fd >= 0 && polls[i].revents)
				server_answer(&polls[i]);
		if (!(polls[0].revents & POLLIN))
			continue;
		if (polled > CONNECTIONS_MAX)
			die("too many connections");
		polls[polled].fd = TIMED(TIMED_ACCEPT, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
		polls[polled].revents = 0;
		polls[polled++].events = POLLIN | POLLRDHUP;
	}
}

/* ---- client ---- */
static void client_turn(int i)
{
	unsigned char buffer[BYTES];
	struct pollfd wait = { .fd = fds[i], .events = POLLIN };

	pattern_fill(&patterns[i], offsets[i], buffer, BYTES);
	if (TIMED(TIMED_SEND, send(fds[i], buffer, BYTES, MSG_NOSIGNAL)) != BYTES)
		die("send");
	for (ssize_t done = 0, got; done < BYTES; done += got) {
		if (poll(&wait, 1, DEADLINE_MS) != 1)
			die("no answer");
		got = TIMED(TIMED_RECV, recv(fds[i], buffer + done, (size_t)(BYTES - done), 0));
		if (got <= 0)
			die("recv gave %zd", got);
	}
	if (pattern_verify(&patterns[i], offsets[i], buffer, BYTES) >= 0)
		die("wrong bytes");
	offsets[i] += BYTES;
}

static void client_turns(int first, int turns)
{
	for (int k = 0; k < turns; k++)
		for (int i = first; i < count; i++)
			client_turn(i);
	printf("{\"connections\": %d}\n", count);
}

static void client_open(unsigned port, int connections, int turns)
{
	struct sockaddr_storage address;
	socklen_t length = loopback_address("127.0.0.1", port, &address);
	int first = count;

	for (int i = 0; i < connections && count < CONNECTIONS_MAX; i++, count++) {
		fds[count] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (TIMED(TIMED_CONNECT, connect(fds[count], (struct sockaddr *)&address, length)))
			die("connect");
		patterns[count] = pattern_make((uint64_t)getpid(), (uint64_t)count, 0, 0);
		offsets[count] = 0;
		client_turn(count);
	}
	client_turns(first, turns);
}

static void account_print(const char *name, struct account *account, const char *end)
{
	printf("\"%s\": {\"calls\": %llu, \"long_calls\": %llu, \"worst_us\": %llu, \"worst\": \"%s\"}%s", name,
	       (unsigned long long)account->calls, (unsigned long long)account->long_calls,
	       (unsigned long long)account->worst_us, timed_names[account->worst], end);
	account->calls = account->long_calls = account->worst_us = 0;
}

static void client_close(void)
{
	printf("{\"us\": [");
	for (int i = 0; i < count; i++) {
		struct stalls stalls = stalls_now();
		uint64_t start = now_us();

		shared->fin_at_us = 0;
		TIMED(TIMED_CLOSE, close(fds[i]));
		while (!shared->fin_at_us)
			if (now_us() - start > DEADLINE_MS * 1000ull)
				die("no FIN");
			else
				pause_us(20);
		printf("%s%llu", i ? ", " : "", (unsigned long long)without_stalls(shared->fin_at_us - start, &stalls));
		pause_us(500); /* the server closes its end: its call, not ours */
	}
	printf("]}\n");
	count = 0;
}

static void client_run(unsigned port)
{
	char line[64], word[16];

	process_begin(&shared->client);
	while (fgets(line, sizeof(line), stdin)) {
		int one = 0, two = 0;

		if (sscanf(line, "%15s %d %d", word, &one, &two) < 1)
			continue;
		if (!strcmp(word, "open"))
			client_open(port, one, two);
		else if (!strcmp(word, "turns"))
			client_turns(0, one);
		else if (!strcmp(word, "close"))
			client_close();
		else if (!strcmp(word, "calls")) {
			printf("{");
			account_print("client", &shared->client, ", ");
			account_print("server", &shared->server, "}\n");
		}
		fflush(stdout);
	}
}

int main(void)
{
	pid_t server;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	meters_start(); /* they end with this process, and have no socket of it */

	int listener = loopback_listen("127.0.0.1", 0, 128, 0);
	unsigned port = loopback_port(listener);
	server = fork();
	if (server < 0)
		die("fork");
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		server_run(listener);
	}
	close(listener);
	printf("{\"server\": %d, \"client\": %d}\n", server, getpid());
	fflush(stdout);
	client_run(port);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	_exit(0);
}
