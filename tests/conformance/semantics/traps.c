/* SPDX-License-Identifier: BSD-2-Clause */
/* What stops a process without a signal, and so ends a receive for which SO_RCVTIMEO runs: a tracer that seizes, as strace -p does, and
 * the freezer. */
#include "semantics.h"

#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

enum trap { TRAP, TRAP_TWICE, FREEZE, TRAP_SHARED };
#define LIMIT_MS 700
#define FREEZER_DIRS 2
#define PATH_BYTES 512

static bool write_text(const char *directory, const char *file, const char *text)
{
	char path[3 * PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return written;
}

/* As strace -p does. */
static void trap(pid_t other)
{
	if (ptrace(PTRACE_SEIZE, other, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, other, NULL, NULL) < 0)
		return;
	waitpid(other, NULL, __WALL);
	pause_ms(SOON_MS);
	ptrace(PTRACE_DETACH, other, NULL, NULL);
}

/* Where it came from. "/", if that is not known. */
static void read_group(pid_t other, char *out)
{
	char line[PATH_BYTES];

	snprintf(line, sizeof(line), "/proc/%d/cgroup", other);
	FILE *file = fopen(line, "re");
	strcpy(out, "/");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "0::", 3))
			strcpy(out, strtok(line + 3, "\n"));
	if (file)
		fclose(file);
}

/* The version 2 of cgroups, where it is mounted and may be written. */
static void freeze(pid_t other)
{
	static const char *const roots[FREEZER_DIRS] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
	char directory[PATH_BYTES], group[PATH_BYTES], home[2 * PATH_BYTES], pid[16];

	snprintf(pid, sizeof(pid), "%d", other);
	read_group(other, group);
	for (int i = 0; i < FREEZER_DIRS; i++) {
		snprintf(directory, sizeof(directory), "%s/smaccel-test-%d", roots[i], other);
		if (mkdir(directory, 0700) < 0)
			continue;
		if (write_text(directory, "cgroup.procs", pid) && write_text(directory, "cgroup.freeze", "1")) {
			pause_ms(SOON_MS);
			write_text(directory, "cgroup.freeze", "0");
		}
		pause_ms(SOON_MS);
		snprintf(home, sizeof(home), "%s%s", roots[i], group);
		write_text(home, "cgroup.procs", pid);
		for (int j = 0; j < 50 && rmdir(directory) < 0; j++)
			pause_ms(1);
		return;
	}
}

/* A process that is there before the connection is, or shares it. */
static pid_t trapper(int ready, enum trap how)
{
	pid_t self = getpid(), child = fork();
	char byte;

	if (child != 0)
		return child;
	for (int i = 0; i <= (how == TRAP_TWICE); i++) {
		if (read(ready, &byte, 1) != 1)
			_exit(1);
		pause_ms(SOON_MS);
		wait_asleep(self);
		if (how == FREEZE)
			freeze(self);
		else
			trap(self);
	}
	_exit(0);
}

static void stopped_without_signal(struct pair *pair, int how)
{
	struct timeval limit = { .tv_usec = LIMIT_MS * 1000 };
	int ready[2];

	if (pipe2(ready, O_CLOEXEC) < 0)
		note("FAILED", "pipe");
	pid_t child = how == TRAP_SHARED ? 0 : trapper(ready[0], (enum trap)how);
	note("armed", "%s", pair_make(pair, true) ? "yes" : "no");
	if (how == TRAP_SHARED)
		child = trapper(ready[0], TRAP);
	setsockopt(pair->b, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (int i = 0; i <= (how == TRAP_TWICE); i++) {
		TRY("ready", write(ready[1], "r", 1));
		get("receive", pair->b, 9, 0);
	}
	waitpid(child, NULL, 0);
	put(pair->a, "hello");
	get("data", pair->b, 9, 0);
	round_trip("trip", pair);
}

static const struct semantics_case cases[] = {
	{ "trapped-timeout", stopped_without_signal, TRAP, CASE_BARE },
	{ "trapped-timeout-twice", stopped_without_signal, TRAP_TWICE, CASE_BARE },
	{ "trapped-timeout-shared", stopped_without_signal, TRAP_SHARED, CASE_BARE },
	{ "frozen-timeout", stopped_without_signal, FREEZE, CASE_BARE },
};
FAMILY(traps);
