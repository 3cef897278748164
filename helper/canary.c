/* SPDX-License-Identifier: BSD-2-Clause */
/* Canaries. One thread on each CPU sleeps for BEAT_NS again and again and notes how much later than that it ran. Out for a
 * second or so at a time, when the watchdog has a suspicion: else they would be wake-ups for nothing.
 *
 * `flight` is raised each time they are sent out or called back; a canary of an earlier flight that comes to run ends.
 */
#define _GNU_SOURCE
#include "canary.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "loop.h"

#define CANARIES_MAX 64 /* of more CPUs than these nobody is asked */
#define STACK_BYTES (64 * 1024)
#define BEAT_NS (20 * LOOP_NS_PER_MS)
#define LATE_NS (250 * LOOP_NS_PER_MS) /* a busy machine's ordinary delays are below that */

struct canary {
	int cpu;
	bool is_out;
	_Atomic uint64_t due_ns;   /* when it should run next */
	_Atomic uint64_t worst_ns; /* by how much it was late */
};

static struct canary canaries[CANARIES_MAX];
static int count;
static _Atomic uint32_t flight; /* odd: out */

void canaries_open(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE && count < CANARIES_MAX; cpu++)
		if (CPU_ISSET(cpu, &cpus))
			canaries[count++].cpu = cpu;
}

static void *canary_main(void *argument)
{
	const struct timespec beat = { .tv_nsec = BEAT_NS };
	struct canary *canary = argument;
	uint32_t mine = atomic_load(&flight);

	while (atomic_load(&flight) == mine && (mine & 1)) {
		uint64_t now_ns = loop_now_ns(), due_ns = atomic_load(&canary->due_ns);

		if (now_ns > due_ns && now_ns - due_ns > atomic_load(&canary->worst_ns))
			atomic_store(&canary->worst_ns, now_ns - due_ns);
		atomic_store(&canary->due_ns, now_ns + BEAT_NS);
		nanosleep(&beat, NULL);
	}
	return NULL;
}

static bool canary_send(struct canary *canary)
{
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t cpus;
	bool is_out;

	CPU_ZERO(&cpus);
	CPU_SET(canary->cpu, &cpus);
	atomic_store(&canary->worst_ns, 0);
	atomic_store(&canary->due_ns, loop_now_ns());
	if (pthread_attr_init(&attributes))
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	is_out = pthread_attr_setaffinity_np(&attributes, sizeof(cpus), &cpus) == 0 &&
		 pthread_create(&thread, &attributes, canary_main, canary) == 0;
	pthread_attr_destroy(&attributes);
	return is_out;
}

/* By the watchdog, whose signals are blocked; the canaries inherit that. */
void canaries_send(void)
{
	if (atomic_load(&flight) & 1)
		return;
	atomic_fetch_add(&flight, 1);
	for (int i = 0; i < count; i++)
		canaries[i].is_out = canary_send(&canaries[i]);
}

void canaries_recall(void)
{
	if (atomic_load(&flight) & 1)
		atomic_fetch_add(&flight, 1);
}

bool canaries_starved(void)
{
	uint64_t now_ns = loop_now_ns();
	bool starved = false;

	for (int i = 0; i < count; i++) {
		uint64_t due_ns = atomic_load(&canaries[i].due_ns);

		if (!canaries[i].is_out)
			continue;
		if (atomic_exchange(&canaries[i].worst_ns, 0) > LATE_NS || now_ns > due_ns + LATE_NS)
			starved = true;
	}
	return starved;
}
