/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections and hardly anything else: processes on the client's side connect and send a byte, processes on the server's
 * accept, read it and close, the client sees the end of the stream and closes. With SMACCEL_ADMIT=eager both ends join, so
 * several joins are asked for at once, and what bounds them is the helper. (The byte keeps an end open until the other is
 * in.) Prints the ends of connections opened in a second, and the distribution of what one connection took from connect()
 * to close().
 *   joins [--processes N] [arguments of peers.h] */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "peers.h"

#define PROCESSES_MAX 32
#define SAMPLES_OF_PROCESS (SAMPLES_MAX / PROCESSES_MAX)

/* What the processes of the client's side share. */
struct board {
	_Atomic bool measuring, ended;
	size_t counts[PROCESSES_MAX];
	uint64_t ns[PROCESSES_MAX][SAMPLES_OF_PROCESS];
};

static void accept_connections(int listener)
{
	char byte;

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return; /* shut down */
		if (!read_message(fd, &byte, 1))
			exit(1);
		must(close(fd));
	}
}

static pid_t workers[PROCESSES_MAX];

/* A child of this side, which ends with it. True in the child. */
static bool start_worker(int number)
{
	workers[number] = must(fork());
	if (!workers[number])
		must(prctl(PR_SET_PDEATHSIG, SIGKILL));
	return !workers[number];
}

static int workers_failed(int count)
{
	int status, failed = 0;

	for (int i = 0; i < count; i++) {
		must(waitpid(workers[i], &status, 0));
		failed |= status;
	}
	return failed != 0;
}

static int serve(int argc, char **argv, int processes)
{
	int listener = peers_listen(argc, argv);
	char byte;

	for (int i = 0; i < processes; i++)
		if (start_worker(i)) {
			accept_connections(listener);
			_exit(0);
		}
	must(read(peers_control(argc, argv), &byte, 1));
	must(shutdown(listener, SHUT_RDWR));
	return workers_failed(processes);
}

static void open_connections(const struct peers *peers, struct board *board, int number)
{
	char byte;

	while (!atomic_load(&board->ended)) {
		uint64_t begin = now_ns();
		int fd = peers_connect(peers);

		write_message(fd, "", 1);
		if (read_message(fd, &byte, 1))
			exit(1);
		must(close(fd));
		if (atomic_load(&board->measuring) && board->counts[number] < SAMPLES_OF_PROCESS)
			board->ns[number][board->counts[number]++] = now_ns() - begin;
	}
}

static void doze(double seconds)
{
	struct timespec time = { .tv_sec = (time_t)seconds,
				 .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };

	must(nanosleep(&time, NULL));
}

/* How long the measured time really was, in ns. */
static uint64_t measure(const struct peers *peers, struct board *board)
{
	uint64_t begin;

	doze(peers->warm_up);
	begin = now_ns();
	atomic_store(&board->measuring, true);
	doze(peers->seconds);
	atomic_store(&board->measuring, false);
	atomic_store(&board->ended, true);
	return now_ns() - begin;
}

int main(int argc, char **argv)
{
	struct samples samples = { .ns = allocate(SAMPLES_MAX, sizeof(uint64_t)) };
	int processes = (int)argument(argc, argv, "processes", 4);
	struct peers peers;
	struct board *board;
	uint64_t elapsed;

	if (processes < 1 || processes > PROCESSES_MAX)
		return 2;
	if (peers_control(argc, argv) >= 0)
		return serve(argc, argv, processes);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		die("mmap");
	peers = peers_start(argc, argv, 10);
	for (int i = 0; i < processes; i++)
		if (start_worker(i)) {
			open_connections(&peers, board, i);
			_exit(0);
		}
	elapsed = measure(&peers, board);
	if (workers_failed(processes))
		return 1;
	for (int i = 0; i < processes; i++)
		for (size_t j = 0; j < board->counts[i]; j++)
			samples_add(&samples, board->ns[i][j]);
	peers_stop(&peers);
	printf("{\"ends_per_second\": %.1f, ", 2.0 * (double)samples.count * 1e9 / (double)elapsed);
	samples_print(&samples);
	printf("}\n");
	return 0;
}
