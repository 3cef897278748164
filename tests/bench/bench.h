/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the benchmark's programs: arguments, clocks, pinning, samples. Header-only; each program is one file.
 *
 * A program is one arm's work: the same binary runs plain and preloaded and knows nothing of it. It prints one JSON
 * object. Whatever goes wrong ends it with a message: half a measurement is none.
 */
#ifndef SMACCEL_BENCH_H
#define SMACCEL_BENCH_H

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "../support/loopback.h"

#define must(expression)                                                                                               \
	({                                                                                                             \
		__typeof__(expression) must_result = (expression);                                                     \
		if (must_result < 0)                                                                                   \
			die(#expression);                                                                              \
		must_result;                                                                                           \
	})

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* CPU time of this process and, once waited for, of its children. */
static inline uint64_t cpu_ns(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

static inline void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(sched_setaffinity(0, sizeof(set), &set));
}

/* The value of "--name VALUE", or `otherwise`. */
static inline double argument(int argc, char **argv, const char *name, double otherwise)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (!strncmp(argv[i], "--", 2) && !strcmp(argv[i] + 2, name))
			return strtod(argv[i + 1], NULL);
	return otherwise;
}

/* Ends the process for good after `seconds`: a hang is a failed measurement. */
static inline void bound_lifetime(double seconds)
{
	signal(SIGALRM, SIG_DFL);
	alarm((unsigned)(seconds + 1));
}

/* A child that serves the one connection of `listener` and exits, and the parent's end of that connection. */
struct peers {
	int client;
	pid_t server;
};

static inline struct peers peers_start(int client_cpu, int server_cpu, double limit_s,
				       void (*serve)(int fd, void *context), void *context)
{
	int listener = loopback_listen("127.0.0.1", 0, 1, 0), one = 1;
	unsigned port_h = loopback_port(listener);
	struct peers peers;

	peers.server = must(fork());
	if (!peers.server) {
		bound_lifetime(limit_s);
		pin_to_cpu(server_cpu);
		int fd = must(accept(listener, NULL, NULL));

		close(listener);
		must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
		serve(fd, context);
		exit(0);
	}
	close(listener);
	bound_lifetime(limit_s);
	pin_to_cpu(client_cpu);
	peers.client = loopback_connect("127.0.0.1", port_h);
	must(setsockopt(peers.client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	return peers;
}

/* Closes the connection; the server must then end well. */
static inline void peers_stop(struct peers *peers)
{
	int status;

	must(close(peers->client));
	must(waitpid(peers->server, &status, 0));
	if (status) {
		fprintf(stderr, "the server ended with status %#x\n", status);
		exit(1);
	}
}

/* The next message; false at the end of the stream. */
static inline bool read_message(int fd, void *buffer, size_t bytes)
{
	if (!read_whole(fd, buffer, bytes))
		return true;
	if (errno)
		die("recv");
	return false;
}

static inline void write_message(int fd, const void *buffer, size_t bytes)
{
	if (write_whole(fd, buffer, bytes))
		die("send");
}

static inline int compare_samples(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

	return first < second ? -1 : first > second;
}

/* Of sorted samples, the one that `part` of all do not exceed. */
static inline uint64_t percentile(const uint64_t *sorted, size_t count, double part)
{
	size_t index = (size_t)(part * (double)count);

	return sorted[index < count ? index : count - 1];
}

#endif
