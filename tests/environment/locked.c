/* SPDX-License-Identifier: BSD-2-Clause */
/* A program that locks its memory (mlockall), before or after its connection is redirected.
 *
 *   locked LIMIT_KIB FLAGS early|late
 *
 * LIMIT_KIB: RLIMIT_MEMLOCK. FLAGS: of one call, or of several, with commas. The connection is to itself. Prints {"result": 0 or errno, "locked_kib":
 * ..., "later_kib": ..., "turns": ...}: of the last mlockall, what of the process is locked at the end, and what of that is of memory
 * that was mapped after it.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/resource.h>

#include "../support/loopback.h"
#include "../support/redirecting.h"

#define TURNS 200
#define DEADLINE_S 20
#define LATER_BYTES (1u << 20)

static unsigned turns_made;
static unsigned long later_kib;

static void turn(int client, int server)
{
	char byte = 'x';

	if (send(client, &byte, 1, 0) != 1 || recv(server, &byte, 1, 0) != 1 || send(server, &byte, 1, 0) != 1 ||
	    recv(client, &byte, 1, 0) != 1)
		die("a turn");
	turns_made++;
}

static void turn_of(void *ends, int i)
{
	(void)i;
	turn(((int *)ends)[0], ((int *)ends)[1]);
}

static unsigned long locked_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	unsigned long kib = 0;

	if (!status)
		die("/proc/self/status");
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, "VmLck:", 6))
			kib = strtoul(line + 6, NULL, 10);
	fclose(status);
	return kib;
}

/* With memory of the program's that is mapped afterwards. */
static int lock_now(const char *flags)
{
	int result = mlockall(atoi(flags)) == 0 ? 0 : errno;
	unsigned long before_kib;

	if (strchr(flags, ','))
		return lock_now(strchr(flags, ',') + 1);
	before_kib = locked_kib();
	if (mmap(NULL, LATER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		die("mmap");
	later_kib = locked_kib() - before_kib;
	return result;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return EXIT_USAGE;
	rlim_t bytes = (rlim_t)strtoul(argv[1], NULL, 10) << 10;
	bool early = !strcmp(argv[3], "early");

	alarm(DEADLINE_S);
	if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ bytes, bytes }) < 0)
		die("setrlimit");
	int result = early ? lock_now(argv[2]) : 0;
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);
	int client = loopback_connect("127.0.0.1", loopback_port(listener)), server = accept(listener, NULL, NULL);

	await_redirecting(client, turn_of, (int[]){ client, server });
	if (!early)
		result = lock_now(argv[2]);
	for (int i = 0; i < TURNS; i++)
		turn(client, server);
	printf("{\"result\": %d, \"locked_kib\": %lu, \"later_kib\": %lu, \"turns\": %u}\n", result, locked_kib(),
	       later_kib, turns_made);
	return 0;
}
