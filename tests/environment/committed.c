/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections of a program that has all the memory which the kernel still promises (vm.overcommit_memory is 2): each joins, turns go to and
 * fro, and what the library has in shared memory must not need a page that is not to be had.
 *
 *   committed CONNECTIONS     prints "committed N MB", then "ok"
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "../support/loopback.h"

#define TURNS 20
#define FIRST_BYTES (64ul << 20)
#define LAST_BYTES 4096ul
#define DEADLINE_S 60

static void talk(const int ends[2])
{
	char words[8];

	for (int i = 0; i < TURNS; i++)
		for (int side = 0; side < 2; side++)
			if (send(ends[side], "hello", 5, 0) != 5 || recv(ends[!side], words, 5, MSG_WAITALL) != 5)
				die("a turn");
}

/* Nothing of it is ever touched: the promise is what counts. */
static unsigned long take_all(void)
{
	unsigned long bytes = 0, piece = FIRST_BYTES;

	while (piece >= LAST_BYTES)
		if (mmap(NULL, piece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
			piece /= 2;
		else
			bytes += piece;
	return bytes;
}

int main(int argc, char **argv)
{
	int connections = argc > 1 ? atoi(argv[1]) : 0;
	static char output[256]; /* before there is no memory for it */
	int ends[2];

	alarm(DEADLINE_S);
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	loopback_pair(&ends[0], &ends[1]);
	talk(ends);
	printf("committed %lu MB\n", take_all() >> 20);
	fflush(stdout);
	for (int i = 0; i < connections; i++) {
		loopback_pair(&ends[0], &ends[1]);
		talk(ends);
	}
	puts("ok");
	return 0;
}
