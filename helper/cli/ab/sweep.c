/* SPDX-License-Identifier: BSD-2-Clause */
#include "sweep.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

#define SWEEP_MAX 10000 /* processes; a fork bomb must not hold us for ever */
#define STEP_MS 5

static double cpu_of(const struct rusage *usage)
{
	return (double)usage->ru_utime.tv_sec + (double)usage->ru_stime.tv_sec +
	       (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

int ab_sweep_reap(pid_t pid, int pidfd, int *status, double *cpu_s)
{
	int64_t deadline_ns = ab_now_ns() + AB_SWEEP_WAIT_MS * 1000000LL;
	struct pollfd poller = { .fd = pidfd, .events = POLLIN };
	struct rusage usage;

	for (;;) {
		pid_t reaped = wait4(pid, status, WNOHANG, &usage);

		if (reaped == pid) {
			*cpu_s = cpu_of(&usage);
			return 0;
		}
		if ((reaped < 0 && errno != EINTR) || ab_now_ns() > deadline_ns)
			return -EBUSY;
		poll(&poller, 1, pidfd < 0 ? STEP_MS : AB_SWEEP_WAIT_MS);
	}
}

static pid_t parent_of(const char *pid)
{
	char path[64], line[512];
	const char *after;
	int parent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	/* "PID (COMM) STATE PPID": COMM may hold anything, also a parenthesis. */
	if (fgets(line, sizeof(line), file) && (after = strrchr(line, ')')))
		parent = (int)strtol(after + (strlen(after) > 4 ? 4 : 0), NULL, 10);
	fclose(file);
	return parent;
}

/* Returns the last one of them. */
static pid_t kill_children(void)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	pid_t child = 0;

	while (folder && (entry = readdir(folder))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		/* A child of ours stays one until we reap it: its number cannot change hands. */
		if (pid > 1 && parent_of(entry->d_name) == getpid()) {
			kill(pid, SIGKILL);
			child = pid;
		}
	}
	if (folder)
		closedir(folder);
	return child;
}

pid_t ab_sweep(double *cpu_s)
{
	int64_t deadline_ns = 0;
	int count = 0;

	while (count < SWEEP_MAX) {
		struct rusage usage;
		int status;
		pid_t pid = wait4(-1, &status, WNOHANG, &usage), child;

		if (pid < 0 && errno == ECHILD)
			break;
		if (pid > 0) {
			*cpu_s += cpu_of(&usage);
			deadline_ns = 0;
			count++;
			continue;
		}
		child = kill_children();
		if (!deadline_ns)
			deadline_ns = ab_now_ns() + AB_SWEEP_WAIT_MS * 1000000LL;
		else if (ab_now_ns() > deadline_ns)
			return child;
		poll(NULL, 0, STEP_MS);
	}
	return 0;
}
