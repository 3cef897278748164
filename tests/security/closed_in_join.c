/* SPDX-License-Identifier: BSD-2-Clause */
/* closed_in_join SOCKET: joins a connection and says at the same time, over and over, that it has closed it. The helper has no slot left,
 * so that it takes notice in the middle of the join. Prints how often it did; status 0: it is still there. */
#include <pthread.h>

#include "../support/watchdog.h"
#include "hostile.h"

#define LIMIT_S 20
#define TRIES 100
#define ENOUGH 3
#define BETWEEN_US 15000 /* it does not look more often */

static struct hostile client;
static _Atomic int is_over;

static void *say_closed(void *unused)
{
	(void)unused;
	while (!is_over)
		for (uint32_t i = 0; i < MEMORY_RETIRED; i++)
			atomic_store(&client.memory->retired[i], memory_retired(1, 1));
	return NULL;
}

int main(int argc, char **argv)
{
	int held[2], ends[2], error = 0, noticed = 0;
	struct hostile holder;
	pthread_t thread;
	uint64_t took_us;

	if (argc < 2)
		return EXIT_USAGE;
	hostile_path = argv[1];
	watchdog_start(LIMIT_S, NULL);
	if (!hostile_open(&holder) || !hostile_open(&client))
		die("no session");
	hostile_pair(held);
	hostile_pair(ends);
	hostile_join(&holder, held[0], 1, 1, cell_word(1, CELL_PENDING));
	if (hostile_answer(&holder, 1, 1) != CELL_DONE)
		die("the only slot was not given");
	if (pthread_create(&thread, NULL, say_closed, NULL))
		die("pthread_create");
	for (int i = 0; i < TRIES && noticed < ENOUGH; i++) {
		if (hostile_join(&client, ends[0], 1, 1, cell_word(1, CELL_PENDING)))
			die("JOIN");
		if (hostile_answer(&client, 1, 1) != CELL_REFUSED)
			die("not refused");
		noticed += client.memory->cells[1].reason == REASON_ABANDONED;
		pause_us(BETWEEN_US);
	}
	is_over = 1;
	pthread_join(thread, NULL);
	printf("noticed %d\n", noticed);
	return hostile_helper_lives(WIRE_STATUS, &error, &took_us) && error == 0 ? 0 : EXIT_WRONG;
}
