/* SPDX-License-Identifier: BSD-2-Clause */
/* A socket that stays locked while the helper wants to join it: a send() from memory that nobody provides (userfaultfd)
 * holds the lock, and the join waits for it beyond the reach of signals.
 *   locked_socket SOCKET held SECONDS      until the helper hangs up, at most SECONDS. Prints the ms that it took, or -1
 *   locked_socket SOCKET starved SECONDS   while a real-time thread takes one CPU for SECONDS. Prints the answer to the join
 *   locked_socket SOCKET overrun SECONDS   the same with every CPU
 *   locked_socket SOCKET refused SECONDS   prints the answer that comes while it is locked
 * One line of JSON. Exit status 77: this kernel or user has no userfaultfd. */
#define _GNU_SOURCE
#include "hostile.h"
#include "../../helper/wire/reason.c" /* one program, one file */

#include <pthread.h>
#include <sched.h>

#include "../support/watchdog.h"
#include "../support/withheld_page.h"

#define CELL 1
#define GENERATION 1
#define CPUS_MAX 64
#define EXIT_SKIP 77
#define LIMIT_S 40

struct locked {
	struct withheld_page page;
	int ends[2];
	pthread_t sender;
};

static void *send_page(void *argument)
{
	const struct locked *locked = argument;

	send(locked->ends[0], locked->page.memory, WITHHELD_BYTES, MSG_NOSIGNAL);
	return NULL;
}

static void lock(struct locked *locked)
{
	if (!withheld_page_open(&locked->page)) {
		printf("no userfaultfd: %s\n", strerror(errno));
		exit(EXIT_SKIP);
	}
	hostile_pair(locked->ends);
	if (pthread_create(&locked->sender, NULL, send_page, locked))
		die("pthread_create");
	if (!withheld_page_is_awaited(&locked->page, ANSWER_MS))
		die("the send does not wait for its page");
}

static void unlock(struct locked *locked)
{
	if (!withheld_page_give(&locked->page))
		die("UFFDIO_ZEROPAGE");
	pthread_join(locked->sender, NULL);
}

static struct {
	pthread_t threads[2 * CPUS_MAX];
	int count;
	_Atomic int running;
	uint64_t end_us;
} hogs;

static void *take_cpu(void *argument)
{
	(void)argument;
	hogs.running++;
	while (now_us() < hogs.end_us)
		;
	return NULL;
}

static void hog_start(int cpu, int policy)
{
	const struct sched_param priority = { .sched_priority = policy == SCHED_RR };
	pthread_attr_t attributes;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	pthread_attr_init(&attributes);
	pthread_attr_setaffinity_np(&attributes, sizeof(one), &one);
	pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attributes, policy);
	pthread_attr_setschedparam(&attributes, &priority);
	if (pthread_create(&hogs.threads[hogs.count++], &attributes, take_cpu, NULL))
		die("a thread that takes a CPU");
}

/* Returns when the CPUs are taken; the calling thread, of a higher priority, still gets one. Each by two threads: what the kernel
 * keeps for ordinary threads beside real-time ones (50 ms of each second) an ordinary one uses up, else those that need little
 * would notice nothing. */
static void take_cpus(double seconds, int most)
{
	const struct sched_param own = { .sched_priority = 2 };
	int taken = 0;
	cpu_set_t cpus;

	if (sched_setscheduler(0, SCHED_RR, &own) < 0 || sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		die("sched_setscheduler");
	hogs.end_us = now_us() + (uint64_t)(seconds * 1e6);
	for (int cpu = 0; cpu < CPU_SETSIZE && taken < most; cpu++) {
		if (!CPU_ISSET(cpu, &cpus))
			continue;
		hog_start(cpu, SCHED_OTHER);
		hog_start(cpu, SCHED_RR);
		taken++;
	}
	while (hogs.running < taken)
		usleep(1000);
}

static void await_cpus(void)
{
	while (hogs.count)
		pthread_join(hogs.threads[--hogs.count], NULL);
}

static int join_locked(struct hostile *client, struct locked *locked)
{
	uint32_t answer;

	if (hostile_join(client, locked->ends[0], CELL, GENERATION, cell_word(GENERATION, CELL_PENDING)))
		die("JOIN");
	answer = hostile_answer(client, CELL, GENERATION);
	printf("{\"answer\": %u, \"reason\": \"%s\"}\n", answer, reason_name(client->memory->cells[CELL].reason));
	fflush(stdout);
	unlock(locked);
	return 0;
}

int main(int argc, char **argv)
{
	struct locked locked;
	struct hostile client;
	double seconds;

	if (argc < 4)
		return EXIT_USAGE;
	hostile_path = argv[1];
	seconds = strtod(argv[3], NULL);
	watchdog_start(LIMIT_S, NULL);
	if (!hostile_open(&client))
		die("no session");
	lock(&locked);
	if (!strcmp(argv[2], "refused"))
		return join_locked(&client, &locked);
	if (strcmp(argv[2], "held") != 0)
		take_cpus(seconds, strcmp(argv[2], "overrun") ? 1 : CPUS_MAX);
	if (hostile_join(&client, locked.ends[0], CELL, GENERATION, cell_word(GENERATION, CELL_PENDING)))
		die("JOIN");
	if (strcmp(argv[2], "held") != 0) {
		await_cpus();
		unlock(&locked);
		printf("{\"answer\": %u}\n", hostile_answer(&client, CELL, GENERATION));
	} else {
		struct pollfd hang_up = { .fd = client.near, .events = POLLIN };
		uint64_t begun_us = now_us();
		bool hung_up = poll(&hang_up, 1, (int)(seconds * 1000)) == 1;

		printf("{\"hung_up_ms\": %lld}\n", hung_up ? (long long)(now_us() - begun_us) / 1000 : -1);
		fflush(stdout);
		unlock(&locked);
	}
	return 0;
}
