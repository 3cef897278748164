/* SPDX-License-Identifier: BSD-2-Clause */
/* hoarder SOCKET hoard N: arms N pairs of its own, leaves a byte unread in each, and asks for all of them to be taken out, which
 *   cannot be done before the byte is read; again and again, until its stdin ends. "hoarding" on stdout, once it is under way.
 * hoarder SOCKET flood N: asks for the status through N doors, through each as soon as it is answered there, without an end.
 *   "flooding" on stdout, once each has asked.
 * hoarder SOCKET fill N: has N sessions, every cell of which says that it is a connection in a trial. "filled" on stdout, then
 *   it waits for the end of stdin.
 * hoarder SOCKET unread N: has N sessions, and reads nothing of what the helper says. "unread" on stdout, then as fill.
 * hoarder SOCKET unproved N: joins N pairs of its own, of which one end claims a byte too many, and each of which has many waiters; again and again,
 *   until its stdin ends. "unproved" on stdout, once it is under way.
 * hoarder SOCKET stuff N: N times sends, through a door of its own, what takes the kernel long to close, behind what makes the helper hang up;
 *   the last to have it is the queue of the helper's socket. Tells how often that was so.
 * hoarder SOCKET backlog N: N connections that are not to be accepted yet, each with what lingers in its queue. "sent" on stdout, then as fill.
 * hoarder SOCKET leave: arms a pair and has it taken out; then one with a byte unread, which is refused for that reason and
 *   no other. Exit 0: so it was. */
#include "../support/rights.h"
#include "hostile.h"

#include <signal.h>
#include <sys/epoll.h>

#define ROUND_MS 300
#define WAITERS 200
#define ARM_US 2000000
#define STUFFED 40 /* epoll instances */
#define STUFFED_WATCHES 8000
#define JUNK_MESSAGES 4
#define HANG_UP_MS 5000
#define STUFF_TRIES 4

static void arm_pair(struct hostile *client, uint32_t first_cell, int ends[2])
{
	hostile_pair(ends);
	for (uint32_t side = 0; side < 2; side++) {
		uint32_t cell = first_cell + side;
		uint32_t state;
		int error;

		while ((error = hostile_join(client, ends[side], cell, 1, cell_word(1, CELL_PENDING))) == -EAGAIN)
			pause_us(100);
		state = error ? CELL_PENDING : hostile_answer(client, cell, 1);
		if (state != CELL_DONE) {
			fprintf(stderr, "cell %u has not joined: error %d, state %u, reason %u\n", cell, error, state,
				client->memory->cells[cell].reason);
			exit(2);
		}
	}
}

static void await_armed(const struct hostile *client, uint32_t cell)
{
	uint64_t start_us = now_us();

	while (!(atomic_load(&client->memory->cells[cell].status) & CELL_ARMED)) {
		if (now_us() - start_us > ARM_US)
			die("not armed");
		pause_us(200);
	}
}

/* A byte for the other end, which nobody reads. */
static void leave_unread(int fd)
{
	if (send(fd, "x", 1, 0) != 1)
		die("send");
}

static int hoard(struct hostile *client, uint32_t pairs)
{
	uint64_t *cookies = calloc(pairs, sizeof(*cookies));
	struct pollfd end = { .fd = STDIN_FILENO, .events = POLLIN };

	for (uint32_t i = 0; i < pairs; i++) {
		int ends[2];

		arm_pair(client, 1 + 2 * i, ends);
		await_armed(client, 1 + 2 * i);
		cookies[i] = hostile_cookie(ends[0]);
		leave_unread(ends[0]);
	}
	for (bool is_first = true;; is_first = false) {
		for (uint32_t i = 0; i < pairs; i++) {
			struct wire_pin message = { .cookie = cookies[i], .reason = REASON_WATCHING };

			wire_header_init(&message.header, WIRE_WITHDRAW, sizeof(message), 1 + 2 * i, 1);
			while (wire_send(client->near, &message, sizeof(message), -1) == -EAGAIN)
				pause_us(100);
		}
		if (is_first) {
			pause_us(ROUND_MS * 1000);
			printf("hoarding\n");
			fflush(stdout);
		}
		if (poll(&end, 1, ROUND_MS) == 1)
			return 0;
	}
}

static int flood(uint32_t doors)
{
	struct wire_request request;
	int set = epoll_create1(EPOLL_CLOEXEC);

	wire_header_init(&request.header, WIRE_STATUS, sizeof(request), 0, 0);
	for (uint32_t i = 0; i < doors; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.fd = hostile_door() };

		if (event.data.fd < 0 || epoll_ctl(set, EPOLL_CTL_ADD, event.data.fd, &event) < 0 ||
		    wire_send(event.data.fd, &request, sizeof(request), -1))
			die("a door");
	}
	printf("flooding\n");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[64];
		int count = epoll_wait(set, events, 64, -1);

		for (int i = 0; i < count; i++) {
			struct wire_reply reply;
			int fd = -1;

			if (wire_receive(events[i].data.fd, &reply, sizeof(reply), &fd, NULL) <= 0)
				return 1;
			if (fd >= 0)
				close(fd);
			wire_send(events[i].data.fd, &request, sizeof(request), -1);
		}
	}
}

static int fill(uint32_t sessions)
{
	char byte;

	for (uint32_t i = 0; i < sessions; i++) {
		struct hostile client;

		if (!hostile_open(&client))
			die("no session");
		for (uint32_t cell = 1; cell < MEMORY_CELLS; cell++) {
			atomic_store(&client.memory->cells[cell].shown, cell_word(1, 1));
			atomic_store(&client.memory->cells[cell].status, cell_word(1, CELL_TRIAL_PLAIN));
		}
	}
	printf("filled\n");
	fflush(stdout);
	return (int)read(STDIN_FILENO, &byte, 1);
}

static int unread(uint32_t sessions)
{
	char byte;

	for (uint32_t i = 0; i < sessions; i++) {
		struct hostile client = { .door = hostile_door() };
		int pair[2];

		if (client.door < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			die("no door");
		client.near = pair[0];
		if (hostile_hello(client.door, pair[1]) || !hostile_wait_session(&client))
			die("no session");
		close(pair[1]);
	}
	printf("unread\n");
	fflush(stdout);
	return (int)read(STDIN_FILENO, &byte, 1);
}

static int watch_all(const int *numbers)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < STUFFED_WATCHES; i++)
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, numbers[i], &(struct epoll_event){ .events = EPOLLPRI }))
			die("epoll_ctl");
	return epoll;
}

/* False: it was faster with hanging up, and has not got them. */
static bool stuff_door(const int *epolls)
{
	struct pollfd door = { .fd = hostile_door() };
	bool is_there = true;

	for (int i = 0; is_there && i < JUNK_MESSAGES; i++)
		is_there = send(door.fd, "junk", 4, MSG_DONTWAIT | MSG_NOSIGNAL) == 4;
	is_there = is_there && rights_give_all(door.fd, epolls, STUFFED);
	for (int i = 0; i < STUFFED; i++)
		close(epolls[i]);
	if (poll(&door, 1, HANG_UP_MS) != 1)
		die("it does not hang up");
	close(door.fd);
	return is_there;
}

static int stuff(uint32_t times)
{
	static int numbers[STUFFED_WATCHES];
	int watched = hostile_door(), epolls[STUFFED];
	uint32_t done = 0;

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < STUFFED_WATCHES; i++)
		if ((numbers[i] = dup(watched)) < 0)
			die("dup");
	for (uint32_t round = 0; done < times && round < STUFF_TRIES * times; round++) {
		for (int i = 0; i < STUFFED; i++)
			epolls[i] = watch_all(numbers);
		done += stuff_door(epolls);
	}
	printf("stuffed %u times\n", done);
	fflush(stdout);
	return done ? 0 : 1;
}

static int wait_unaccepted(uint32_t doors)
{
	char byte;

	for (uint32_t i = 0; i < doors; i++) {
		int ends[2], door = hostile_door();

		hostile_lingering_pair(ends);
		if (door < 0 || !rights_give(door, ends[0]))
			die("a door");
		close(ends[0]);
		close(door);
	}
	printf("sent\n");
	fflush(stdout);
	return (int)read(STDIN_FILENO, &byte, 1);
}

/* It is refused, or out again. */
static bool may_join(const struct memory_cell *cell)
{
	uint32_t state = cell_word_state(atomic_load(&cell->word));

	return state == CELL_REFUSED || (state == CELL_DONE && (atomic_load(&cell->status) & CELL_TAKEN_OUT));
}

static void join_unproved(struct hostile *client, const int ends[2], uint32_t first_cell, uint32_t generation)
{
	for (uint32_t side = 0; side < 2; side++) {
		struct memory_cell *cell = &client->memory->cells[first_cell + side];
		struct wire_join join = { .cookie = hostile_cookie(ends[side]),
					  .fd_number = (uint32_t)ends[side],
					  .sent_bytes = side == 0 };

		atomic_store(&cell->status, cell_word(generation, 0));
		atomic_store(&cell->word, cell_word(generation, CELL_PENDING));
		wire_header_init(&join.header, WIRE_JOIN, sizeof(join), first_cell + side, generation);
		while (wire_send(client->near, &join, sizeof(join), ends[side]) == -EAGAIN)
			pause_us(100);
	}
}

static int unproved(struct hostile *client, uint32_t pairs)
{
	int(*ends)[2] = calloc(pairs, sizeof(*ends));
	struct pollfd end = { .fd = STDIN_FILENO, .events = POLLIN };

	for (uint32_t i = 0; i < pairs; i++)
		hostile_pair(ends[i]);
	for (int waiter = 0; waiter < WAITERS; waiter++) {
		int epoll = epoll_create1(EPOLL_CLOEXEC);

		for (uint32_t i = 0; i < 2 * pairs; i++)
			if (epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i / 2][i % 2],
				      &(struct epoll_event){ .events = EPOLLPRI }))
				die("epoll_ctl");
	}
	for (uint32_t generation = 1; poll(&end, 1, 0) == 0; generation++) {
		for (uint32_t i = 0; i < pairs && poll(&end, 1, 0) == 0; i++) {
			const struct memory_cell *cells = &client->memory->cells[2 * i + 1];

			if (generation == 1 || (may_join(&cells[0]) && may_join(&cells[1])))
				join_unproved(client, ends[i], 2 * i + 1, generation);
		}
		if (generation == 1) {
			printf("unproved\n");
			fflush(stdout);
		}
	}
	free(ends);
	return 0;
}

static uint32_t take_out(struct hostile *client, int fd, uint32_t cell)
{
	hostile_pin(client, WIRE_LEAVE, fd, cell, hostile_cookie(fd));
	return hostile_answer(client, cell, 1);
}

static int leave(struct hostile *client)
{
	int ends[2];
	uint32_t drained, unread;

	arm_pair(client, 1, ends);
	await_armed(client, 1);
	drained = take_out(client, ends[0], 1);
	arm_pair(client, 3, ends);
	await_armed(client, 3);
	leave_unread(ends[0]);
	unread = take_out(client, ends[0], 3);
	printf("drained: state %u; unread: state %u, reason %u\n", drained, unread, client->memory->cells[3].reason);
	return drained == CELL_DONE && unread == CELL_REFUSED && client->memory->cells[3].reason == REASON_TIMEOUT ? 0
														   : 1;
}

int main(int argc, char **argv)
{
	struct hostile client;

	if (argc < 3)
		return EXIT_USAGE;
	hostile_path = argv[1];
	hostile_rng = rng_make(1, 0);
	if (argc > 3 && !strcmp(argv[2], "flood"))
		return flood((uint32_t)strtoul(argv[3], NULL, 10));
	if (argc > 3 && !strcmp(argv[2], "fill"))
		return fill((uint32_t)strtoul(argv[3], NULL, 10));
	if (argc > 3 && !strcmp(argv[2], "unread"))
		return unread((uint32_t)strtoul(argv[3], NULL, 10));
	if (argc > 3 && !strcmp(argv[2], "backlog"))
		return wait_unaccepted((uint32_t)strtoul(argv[3], NULL, 10));
	if (argc > 3 && !strcmp(argv[2], "stuff"))
		return stuff((uint32_t)strtoul(argv[3], NULL, 10));
	if (!hostile_open(&client))
		die("no session");
	if (argc > 3 && !strcmp(argv[2], "unproved"))
		return unproved(&client, (uint32_t)strtoul(argv[3], NULL, 10));
	return argc > 3 ? hoard(&client, (uint32_t)strtoul(argv[3], NULL, 10)) : leave(&client);
}
