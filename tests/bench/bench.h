/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the benchmark's programs: arguments, clocks, pinning, samples, messages. Header-only.
 *
 * A program is one arm's work: the same binary runs in every arm and knows nothing of it but which kind of socket it is
 * to use. It prints one JSON object. Whatever goes wrong ends it with a message: half a measurement is none.
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

/* CPU time of this process (RUSAGE_SELF) or of the children it has waited for (RUSAGE_CHILDREN). */
static inline uint64_t cpu_ns(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

/* cpu < 0: wherever the scheduler likes. */
static inline void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(sched_setaffinity(0, sizeof(set), &set));
}

/* The value of "--name VALUE", or `otherwise`. */
static inline const char *text_argument(int argc, char **argv, const char *name, const char *otherwise)
{
	for (int i = 1; i + 1 < argc; i += 2)
		if (!strncmp(argv[i], "--", 2) && !strcmp(argv[i] + 2, name))
			return argv[i + 1];
	return otherwise;
}

static inline double argument(int argc, char **argv, const char *name, double otherwise)
{
	const char *text = text_argument(argc, argv, name, NULL);

	return text ? strtod(text, NULL) : otherwise;
}

/* Ends the process for good after `seconds`: a hang is a failed measurement. */
static inline void bound_lifetime(double seconds)
{
	signal(SIGALRM, SIG_DFL);
	alarm((unsigned)(seconds + 1));
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

static inline void *allocate(size_t count, size_t bytes)
{
	void *memory = calloc(count, bytes);

	if (!memory)
		die("calloc");
	return memory;
}

/* ---- samples: durations in ns, kept whole until the end ---------------------------------------------------------- */
#define SAMPLES_MAX 2000000u

struct samples {
	uint64_t *ns;
	size_t count;
};

static inline void samples_add(struct samples *samples, uint64_t ns)
{
	if (samples->count < SAMPLES_MAX)
		samples->ns[samples->count++] = ns;
}

static inline int compare_samples(const void *a, const void *b)
{
	uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;

	return first < second ? -1 : first > second;
}

static inline void samples_sort(struct samples *samples)
{
	qsort(samples->ns, samples->count, sizeof(*samples->ns), compare_samples);
}

/* Of sorted samples, the one that `part` of all do not exceed. */
static inline unsigned long long samples_at(const struct samples *samples, double part)
{
	size_t index = (size_t)(part * (double)samples->count);

	return samples->ns[index < samples->count ? index : samples->count - 1];
}

/* The distribution, as members of a JSON object; sorts. */
static inline void samples_print(struct samples *samples)
{
	if (!samples->count) {
		fprintf(stderr, "nothing was measured\n");
		exit(1);
	}
	samples_sort(samples);
	printf("\"count\": %zu, \"median_ns\": %llu, \"p99_ns\": %llu, \"p999_ns\": %llu, \"max_ns\": %llu",
	       samples->count, samples_at(samples, 0.5), samples_at(samples, 0.99), samples_at(samples, 0.999),
	       samples_at(samples, 1));
}

#endif
