/* SPDX-License-Identifier: BSD-2-Clause */
/* arming SOCKET: starts a trial while pairs wait to be armed, as their sockets have two fds and somebody might be on his way into a receive.
 * Each must then be in one of its arms. Prints how many were armed only after the start; status 0: all are in an arm. */
#include "../security/hostile.h"
#include "../support/watchdog.h"

#define LIMIT_S 20
#define PAIRS 8
#define SETTLED_US 150000
#define ARM_BITS (CELL_TRIAL_ACCELERATED | CELL_TRIAL_PLAIN)

static struct hostile client;

static uint32_t status_of(uint32_t cell)
{
	return atomic_load(&client.memory->cells[cell].status);
}

static void join(uint32_t cell, int fd)
{
	(void)!dup(fd);
	hostile_join(&client, fd, cell, 1, cell_word(1, CELL_PENDING));
	if (hostile_answer(&client, cell, 1) != CELL_DONE)
		die("no join");
}

static int start_trial(void)
{
	struct wire_trial trial = { .accelerated_permyriad = 5000, .uid = WIRE_TRIAL_ANY_UID };
	struct wire_reply reply = { .error = -ENOTCONN };
	int door = hostile_door(), fd = -1;

	wire_header_init(&trial.header, WIRE_TRIAL_START, sizeof(trial), 0, 0);
	if (door < 0 || wire_send(door, &trial, sizeof(trial), -1) || !hostile_wait(door) ||
	    wire_receive(door, &reply, sizeof(reply), &fd, NULL) != sizeof(reply))
		die("no answer");
	return reply.error;
}

int main(int argc, char **argv)
{
	int ends[PAIRS][2], later = 0, wrong = 0;
	bool was_armed[PAIRS];

	if (argc < 2)
		return EXIT_USAGE;
	hostile_path = argv[1];
	watchdog_start(LIMIT_S, NULL);
	if (!hostile_open(&client))
		die("no session");
	for (int i = 0; i < PAIRS; i++)
		hostile_pair(ends[i]);
	for (uint32_t i = 0; i < 2 * PAIRS; i++)
		join(1 + i, ends[i / 2][i % 2]);
	for (uint32_t i = 0; i < PAIRS; i++)
		was_armed[i] = status_of(1 + 2 * i) & CELL_ARMED;
	if (start_trial())
		die("not started");
	pause_us(SETTLED_US);
	for (uint32_t i = 0; i < PAIRS; i++) {
		later += !was_armed[i];
		for (uint32_t cell = 1 + 2 * i; cell <= 2 + 2 * i; cell++)
			wrong += !(status_of(cell) & ARM_BITS) ||
				 (status_of(cell) & CELL_TRIAL_PLAIN && !(status_of(cell) & CELL_TAKEN_OUT));
	}
	printf("later %d wrong %d\n", later, wrong);
	return wrong ? EXIT_WRONG : 0;
}
