/* SPDX-License-Identifier: BSD-2-Clause */
/* Many processes join at once (run it with SMACCEL_ADMIT=eager: connect() and accept() join, and sleep until the helper has
 * answered). Who is not woken when his join is answered sleeps until his patience ends, and finds the answer then: a call that
 * takes so long is counted.
 *   join_wakes PROCESSES CONNECTIONS LATE_MS     each process CONNECTIONS to a listener of its own
 * Prints {"calls": connect() and accept(), "late": how many of them took LATE_MS or more, "worst_us": the longest}. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../support/loopback.h"
#include "../support/random.h"

#define LIMIT_S 60
#define PROCESSES_MAX 64

struct board {
	_Atomic uint32_t here; /* processes that are ready */
	_Atomic uint32_t calls, late;
	_Atomic uint64_t worst_us;
};

static void count_call(struct board *board, uint64_t begun_us, uint64_t late_us)
{
	uint64_t took_us = now_us() - begun_us, worst_us = atomic_load(&board->worst_us);

	atomic_fetch_add(&board->calls, 1);
	if (took_us >= late_us)
		atomic_fetch_add(&board->late, 1);
	while (took_us > worst_us && !atomic_compare_exchange_weak(&board->worst_us, &worst_us, took_us))
		;
}

static void one_connection(struct board *board, int listener, uint64_t late_us)
{
	struct sockaddr_storage address;
	socklen_t length = loopback_address("127.0.0.1", loopback_port(listener), &address);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;
	uint64_t begun_us = now_us();

	if (client < 0 || connect(client, (struct sockaddr *)&address, length) < 0)
		die("connect");
	count_call(board, begun_us, late_us);
	begun_us = now_us();
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (server < 0)
		die("accept4");
	count_call(board, begun_us, late_us);
	close(server);
	close(client);
}

static void run_process(struct board *board, uint32_t processes, int connections, uint64_t late_us)
{
	int listener = loopback_listen("127.0.0.1", 0, 16, 0);

	alarm(LIMIT_S);
	atomic_fetch_add(&board->here, 1);
	while (atomic_load(&board->here) < processes)
		pause_us(100);
	for (int i = 0; i < connections; i++)
		one_connection(board, listener, late_us);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int processes = argc == 4 ? atoi(argv[1]) : 0, status, failed = 0;

	if (board == MAP_FAILED || processes < 1 || processes > PROCESSES_MAX)
		return EXIT_USAGE;
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0)
			run_process(board, (uint32_t)processes, atoi(argv[2]), strtoull(argv[3], NULL, 10) * 1000);
	}
	for (int i = 0; i < processes; i++)
		failed |= wait(&status) < 0 || status != 0;
	printf("{\"calls\": %u, \"late\": %u, \"worst_us\": %llu}\n", atomic_load(&board->calls),
	       atomic_load(&board->late), (unsigned long long)atomic_load(&board->worst_us));
	return failed ? EXIT_WRONG : 0;
}
