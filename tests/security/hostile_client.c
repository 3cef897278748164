/* SPDX-License-Identifier: BSD-2-Clause */
/* hostile_client SOCKET [SEED]: sends the helper what no shim would. It may refuse, hang up, answer an error; it must not
 * end, stand still, or hand out what is not ours. Exit 0: it did not.
 *
 * Each attack is a function; after each the helper must still answer a request of the command line in time.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "../support/rights.h"
#include "../support/watchdog.h"
#include "hostile.h"

#define PAGE_BYTES 4096
#define DEADLINE_S 35
#define SURPLUS_FDS 21
#define SLOWEST_US 5000000 /* on a busy machine; one that lingers does so for 30 s */

static int failures;

#define expect(condition)                                                                                              \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                        \
			failures++;                                                                                    \
		}                                                                                                      \
	} while (0)

/* ---- attacks ---- */

static void attack_door_noise(void)
{
	for (int i = 0; i < 300; i++) {
		int door = hostile_door();

		for (int k = 0; door >= 0 && k < 3; k++)
			hostile_send_any(door);
		if (door >= 0)
			close(door);
	}
}

static void attack_session_noise(void)
{
	struct hostile client;

	for (int i = 0; i < 150; i++) {
		if (!hostile_open(&client)) {
			expect(!"a session was refused");
		} else {
			hostile_fill((unsigned char *)&client.memory->cells[1], 3 * sizeof(struct memory_cell));
			for (int k = 0; k < 6; k++)
				hostile_send_any(client.near);
		}
		hostile_close(&client);
	}
}

/* Right messages with wrong fds, cells and numbers of fds: refused or hung up, never answered DONE. */
static void attack_wrong_join(void)
{
	static const uint32_t cells[] = {
		0, 1, MEMORY_CELLS - 1, MEMORY_CELLS, MEMORY_CELLS + 1, 0x7fffffff, UINT32_MAX
	};
	struct hostile client;

	for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		for (int k = 0; k < 12; k++) {
			int fd = hostile_any_fd();

			expect(hostile_open(&client));
			hostile_join(&client, fd, cells[i], 1, cell_word(1, CELL_PENDING));
			hostile_join(&client, fd, cells[i], UINT32_MAX, cell_word(1, CELL_PENDING));
			if (cells[i] < MEMORY_CELLS)
				expect(cell_word_state(client.memory->cells[cells[i]].word) != CELL_DONE || fd >= 0);
			hostile_close(&client);
			if (fd >= 0)
				close(fd);
		}
	}
}

/* A cell whose page the client has never touched, and the helper must not either. */
static void attack_untouched_cells(void)
{
	struct wire_join join = { 0 };
	struct hostile client;
	int ends[2];

	hostile_pair(ends);
	expect(hostile_open(&client));
	join.cookie = hostile_cookie(ends[0]);
	wire_header_init(&join.header, WIRE_JOIN, sizeof(join), MEMORY_CELLS / 2, 1);
	wire_send(client.near, &join, sizeof(join), ends[0]);
	pause_us(50000);
	expect(lseek(client.memory_fd, (off_t)client.memory_bytes / 2, SEEK_DATA) < 0);
	expect(ftruncate(client.memory_fd, 0) < 0);
	hostile_close(&client);
	close(ends[0]);
	close(ends[1]);
}

/* A page that the helper writes to is taken away, so that it would have to be made again. */
static void attack_holes(void)
{
	struct hostile client;
	int ends[2];

	hostile_pair(ends);
	for (int is_sealed = 0; is_sealed < 2; is_sealed++) {
		expect(hostile_open(&client));
		if (is_sealed)
			fcntl(client.memory_fd, F_ADD_SEALS, F_SEAL_SEAL);
		hostile_join(&client, ends[0], 1, 1, cell_word(1, CELL_PENDING));
		if (is_sealed) {
			pause_us(50000); /* it is not worked with */
			expect(atomic_load(&client.memory->cells[1].word) == cell_word(1, CELL_PENDING));
		} else {
			expect(hostile_answer(&client, 1, 1) == CELL_DONE);
			expect(madvise(client.memory, PAGE_BYTES, MADV_REMOVE) < 0 && errno == EPERM);
			expect(fallocate(client.memory_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE_BYTES) <
			       0);
			atomic_store(&client.memory->cells[MEMORY_CELLS - 1].word, 0); /* nor is it kept from growing */
		}
		hostile_close(&client);
	}
	close(ends[0]);
	close(ends[1]);
}

/* Somebody else's connection: another session's cell, another socket's cookie. */
static void attack_foreign(void)
{
	struct hostile owner, thief;
	struct wire_retire retire = { 0 };
	int ends[2], other[2];

	hostile_pair(ends);
	hostile_pair(other);
	expect(hostile_open(&owner) && hostile_open(&thief));
	for (int side = 0; side < 2; side++) {
		hostile_join(&owner, ends[side], 1 + (uint32_t)side, 1, cell_word(1, CELL_PENDING));
		expect(hostile_answer(&owner, 1 + (uint32_t)side, 1) == CELL_DONE);
	}
	retire.cookie = hostile_cookie(ends[0]);
	for (uint32_t cell = 1; cell < 4; cell++) {
		wire_header_init(&retire.header, WIRE_RETIRE, sizeof(retire), cell, 1);
		for (uint32_t i = 0; i < MEMORY_RETIRED; i++)
			atomic_store(&thief.memory->retired[i], memory_retired(i < 4 ? i : UINT32_MAX - i, 1));
		wire_send(thief.near, &retire, sizeof(retire), -1);
		hostile_pin(&thief, WIRE_LEAVE, other[0], cell, hostile_cookie(ends[0]));
		expect(hostile_answer(&thief, cell, 1) != CELL_DONE);
		hostile_join(&thief, other[0], cell, 1, cell_word(1, CELL_IDLE));
	}
	pause_us(20000);
	expect(!(atomic_load(&owner.memory->cells[1].status) & (CELL_PINNED | CELL_TAKEN_OUT)));
	expect(atomic_load(&owner.memory->cells[1].status) & CELL_ARMED);
	hostile_close(&thief);
	hostile_close(&owner);
	for (int side = 0; side < 2; side++) {
		close(ends[side]);
		close(other[side]);
	}
}

/* More offers than the limit, for names that others may have, and the same name over and over. */
static void attack_offers(void)
{
	struct wire_offer offer = { 0 };
	struct hostile client;

	expect(hostile_open(&client));
	for (uint32_t i = 0; i < 70000; i++) {
		struct pollfd room = { .fd = client.near, .events = POLLOUT };

		wire_header_init(&offer.header, WIRE_OFFER, sizeof(offer), 1 + i % (MEMORY_CELLS - 1),
				 1 + i / MEMORY_CELLS);
		offer.netns_cookie = rng_below(&hostile_rng, 4);
		offer.local.port_n = (uint16_t)(i & 1 ? 1 : i);
		offer.remote.port_n = (uint16_t)(i & 1 ? 2 : i / 2);
		if (wire_send(client.near, &offer, sizeof(offer), -1) == -EAGAIN && poll(&room, 1, ANSWER_MS) != 1)
			expect(!"the helper reads no more");
	}
	hostile_close(&client);
}

/* The kernel attaches more to each message than was sent. */
static void attack_ancillary(void)
{
	const int one = 1, options[] = { SO_PASSCRED, 76 /* SO_PASSPIDFD */, SO_PASSSEC, SO_TIMESTAMP };
	struct hostile client;
	int ends[2];

	hostile_pair(ends);
	expect(hostile_open(&client));
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(client.far, SOL_SOCKET, options[i], &one, sizeof(one));
	for (uint32_t i = 1; i < 50; i++)
		hostile_join(&client, ends[0], i, 1, cell_word(1, CELL_PENDING));
	pause_us(20000);
	hostile_close(&client);
	close(ends[0]);
	close(ends[1]);
}

static void *scribble(void *argument)
{
	struct hostile *client = argument;
	struct rng rng = rng_make(1, 2);

	for (uint64_t end_us = now_us() + 700000; now_us() < end_us;) {
		uint32_t *word = (uint32_t *)&client->memory->cells[1 + rng_below(&rng, 8)];

		for (int i = 0; i < 12; i++)
			__atomic_store_n(word + i, (uint32_t)rng_next(&rng), __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The shared memory changes while the helper looks at it. */
static void attack_memory(void)
{
	struct hostile client;
	pthread_t thread;
	int ends[2];

	hostile_pair(ends);
	expect(hostile_open(&client));
	if (pthread_create(&thread, NULL, scribble, &client))
		die("pthread_create");
	for (uint64_t end_us = now_us() + 600000; now_us() < end_us; pause_us(500)) {
		uint32_t cell = 1 + (uint32_t)rng_below(&hostile_rng, 8);

		hostile_join(&client, ends[rng_below(&hostile_rng, 2)], cell, 1, cell_word(1, CELL_PENDING));
		hostile_pin(&client, rng_below(&hostile_rng, 2) ? WIRE_PIN : WIRE_LEAVE, ends[0], cell,
			    hostile_cookie(ends[0]));
	}
	pthread_join(thread, NULL);
	hostile_close(&client);
	close(ends[0]);
	close(ends[1]);
}

static void rang(int number)
{
	(void)number;
}

/* Sockets that linger when closed, closed by us while the helper has them: its close() is the last, and would wait for a
 * peer that does not read. Where ours is, an alarm ends it. */
static void attack_lingering(void)
{
	const struct itimerval often = { .it_value.tv_usec = 3000, .it_interval.tv_usec = 3000 }, never = { 0 };
	struct hostile client;

	signal(SIGALRM, rang);
	expect(hostile_open(&client));
	for (uint32_t i = 0; i < 40; i++) {
		uint64_t took_us = 0;
		int ends[2], error;

		hostile_lingering_pair(ends);
		hostile_join(&client, ends[0], 1 + i, 1, cell_word(1, CELL_PENDING));
		setitimer(ITIMER_REAL, &often, NULL);
		close(ends[0]);
		setitimer(ITIMER_REAL, &never, NULL);
		if (i % 10 == 9)
			expect(hostile_helper_lives(WIRE_STATUS, &error, &took_us) && took_us < SLOWEST_US);
		close(ends[1]);
	}
	hostile_close(&client);
}

/* More fds in a message than there is room for: the last of them, which lingers, is closed by the kernel in the helper's receive. */
static void attack_surplus(void)
{
	int ends[2], fds[SURPLUS_FDS] = { STDIN_FILENO }, pair[2], door = hostile_door(), error;
	uint64_t took_us = 0;

	hostile_lingering_pair(ends);
	fds[SURPLUS_FDS - 1] = ends[0];
	expect(door >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	expect(rights_give_all(pair[0], fds, SURPLUS_FDS)); /* before there is a session that receives it */
	close(ends[0]);
	expect(hostile_hello(door, pair[1]) == 0);
	pause_us(50000);
	expect(hostile_helper_lives(WIRE_STATUS, &error, &took_us) && took_us < SLOWEST_US);
	for (int i = 0; i < 4; i++)
		close((int[]){ ends[1], pair[0], pair[1], door }[i]);
}

/* Killed at any moment: nothing of it may stay. */
static void attack_killed(void)
{
	for (int i = 0; i < 12; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct hostile client;

			if (!hostile_open(&client))
				_exit(0);
			for (uint32_t cell = 1; cell < 2000; cell += 2) {
				int ends[2];

				hostile_pair(ends);
				hostile_join(&client, ends[0], cell, 1, cell_word(1, CELL_PENDING));
				hostile_join(&client, ends[1], cell + 1, 1, cell_word(1, CELL_PENDING));
			}
			_exit(0);
		}
		pause_us(10000 + rng_below(&hostile_rng, 60000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

/* Sessions by the thousand through one door, none of them used. */
static void attack_sessions(void)
{
	int door = hostile_door();

	for (int i = 0; i < 3000 && door >= 0; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			break;
		hostile_hello(door, rng_below(&hostile_rng, 50) ? pair[1] : door);
		close(pair[1]);
		if (rng_below(&hostile_rng, 2))
			close(pair[0]); /* half of them stay until this program ends */
		else if (pair[0] > 900)
			close(pair[0]);
	}
	if (door >= 0)
		close(door);
}

static void attack_switch(void)
{
	uint64_t took_us;
	int error = 0;

	if (geteuid() == 0)
		return;
	expect(hostile_helper_lives(WIRE_OFF, &error, &took_us) && error == -EPERM);
}

static const struct {
	const char *name;
	void (*run)(void);
} attacks[] = {
	{ "door-noise", attack_door_noise }, { "session-noise", attack_session_noise },
	{ "wrong-join", attack_wrong_join }, { "untouched-cells", attack_untouched_cells },
	{ "holes", attack_holes },           { "foreign", attack_foreign },
	{ "offers", attack_offers },         { "ancillary", attack_ancillary },
	{ "memory", attack_memory },         { "lingering", attack_lingering },
	{ "surplus", attack_surplus },       { "killed", attack_killed },
	{ "sessions", attack_sessions },     { "switch", attack_switch },
};

int main(int argc, char **argv)
{
	uint64_t took_us;
	int error = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: hostile_client SOCKET [SEED]\n");
		return EXIT_USAGE;
	}
	hostile_path = argv[1];
	hostile_rng = rng_make(argc > 2 ? strtoull(argv[2], NULL, 10) : 1, 0);
	watchdog_start(DEADLINE_S, NULL);
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		uint64_t start_us = now_us();

		attacks[i].run();
		expect(hostile_helper_lives(WIRE_STATUS, &error, &took_us) && error == 0);
		printf("%-16s %6llu ms, then an answer in %llu us\n", attacks[i].name,
		       (unsigned long long)(now_us() - start_us) / 1000, (unsigned long long)took_us);
		expect(took_us < SLOWEST_US);
	}
	return failures ? EXIT_WRONG : 0;
}
