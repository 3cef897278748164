/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel explain: whether the process's limits leave the shim what it needs for a session with a helper. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../wire/latency.h"
#include "../wire/room.h"
#include "explain.h"

#define ROOM_FDS_WITH_DOOR                                                                                             \
	(ROOM_FDS - 1) /* the way to the helper is there first, and may be among those that are taken */

/* UINT64_MAX: none, or not known. */
static uint64_t limit_of(const struct running *running, int resource)
{
	struct rlimit limit;

	/* NOLINTNEXTLINE(bugprone-suspicious-enum-usage) */
	if (prlimit(running->pid, (__rlimit_resource_t)resource, NULL, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

/* As many as are wanted, at most. */
static int free_numbers(const struct running *running, uint64_t limit)
{
	struct stat status;
	char path[64];
	int free = 0;

	for (uint64_t fd = (uint64_t)room_fd_lowest(limit); fd < limit && free < ROOM_FDS; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%" PRIu64, (int)running->pid, fd);
		free += lstat(path, &status) != 0;
	}
	return free;
}

static bool explain_files(struct explanation *explanation, const struct running *running)
{
	uint64_t limit = limit_of(running, RLIMIT_NOFILE);
	int lowest = room_fd_lowest(limit);

	if (limit >= (uint64_t)lowest + ROOM_FDS && free_numbers(running, limit) >= ROOM_FDS_WITH_DOOR)
		return true;
	explanation_find(explanation, "limits", true,
			 "it may have %" PRIu64
			 " files open (RLIMIT_NOFILE), and of the numbers from %d on not the %d are "
			 "free that the library needs: raise it (ulimit -n, LimitNOFILE= of its unit)",
			 limit, lowest, ROOM_FDS);
	return false;
}

static bool explain_memory(struct explanation *explanation, const struct running *running, int resource,
			   const char *name, const char *what)
{
	const char *setting = running_variable(running, "SMACCEL_SECCOMP");
	uint64_t limit = limit_of(running, resource);
	/* Under a filter the whole session is mapped at once (preload/session_memory.c). */
	uint64_t wanted = ROOM_BYTES + (setting && !strcmp(setting, "trust") ? SESSION_BYTES : 0);

	if (limit / ROOM_SHARE >= wanted)
		return true;
	explanation_find(explanation, "limits", true,
			 "it may have %" PRIu64
			 " KiB of %s (%s), of which the library takes no more than one in %d, and it "
			 "needs %" PRIu64 " KiB: raise it to %" PRIu64 " KiB (ulimit, Limit%s= of its unit)",
			 limit >> 10, what, name, ROOM_SHARE, wanted >> 10, wanted * ROOM_SHARE >> 10,
			 name + strlen("RLIMIT_"));
	return false;
}

void explain_limits(struct explanation *explanation, const struct running *running)
{
	bool has_room = true;

	if (!running->has_session) {
		has_room = explain_files(explanation, running);
		has_room &= explain_memory(explanation, running, RLIMIT_AS, "RLIMIT_AS", "addresses");
		has_room &= explain_memory(explanation, running, RLIMIT_DATA, "RLIMIT_DATA", "data");
	}
	if (has_room)
		explanation_find(explanation, "limits", false, "they leave the library what it needs");
}
