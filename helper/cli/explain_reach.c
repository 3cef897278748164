/* SPDX-License-Identifier: BSD-2-Clause */
/* smaccel explain: whether the process may connect to the helper's socket. A child tries, with the process's root, folder and user. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/wait.h>
#include <unistd.h>

#include "explain.h"

#define PATH_MAX_BYTES 128 /* no address has as many */
#define NOT_KNOWN 255

static int open_folder(const struct running *running, const char *name)
{
	char link[64];

	snprintf(link, sizeof(link), "/proc/%d/%s", (int)running->pid, name);
	return open(link, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* For the sake of files alone: the user can send this process no signal. */
static bool become(const struct running *running)
{
	gid_t groups[RUNNING_GROUPS_MAX];
	int root = open_folder(running, "root"), folder = open_folder(running, "cwd");

	for (size_t i = 0; i < running->group_count; i++)
		groups[i] = running->groups[i];
	if (root < 0 || folder < 0 || fchdir(root) || chroot(".") || fchdir(folder) ||
	    setgroups(running->group_count, groups))
		return false;
	setfsgid(running->file_gid);
	setfsuid(running->file_uid); /* and without root's rights over files from here on */
	return (uint32_t)setfsuid((uid_t)-1) == running->file_uid && (uint32_t)setfsgid((gid_t)-1) == running->file_gid;
}

static bool may(const char *path, int how)
{
	return !faccessat(AT_FDCWD, path, how, AT_EACCESS) || errno != EACCES;
}

/* How much of the path leads to where the right ends: the folder that may not be searched, or all of it; 0: the process may. */
static size_t refused_at(const char *path)
{
	char part[PATH_MAX_BYTES];

	for (size_t i = 1; path[i]; i++) {
		if (path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (!may(part, X_OK))
			return i;
	}
	return may(path, W_OK) ? 0 : strlen(path);
}

static int try_as_process(const struct running *running, const char *path)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(become(running) ? (int)refused_at(path) : NOT_KNOWN);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return NOT_KNOWN;
	return WEXITSTATUS(status);
}

bool explain_reach(struct explanation *explanation, const struct running *running, const char *path)
{
	size_t length = strlen(path);
	size_t refused;

	/* Without root one has the rights of one's own, and has tried them. */
	if (geteuid() != 0 || running->file_uid == 0 || running->capabilities & 1ull << CAP_DAC_OVERRIDE || !length ||
	    length >= PATH_MAX_BYTES)
		return true;
	refused = (size_t)try_as_process(running, path);
	if (!refused || refused > length)
		return true;
	if (refused == length)
		explanation_find(explanation, "helper", true,
				 "it answers at %s, which user %" PRIu32 " may not write to: see --socket-mode and "
				 "--socket-group of smacceld(8)",
				 path, running->file_uid);
	else
		explanation_find(explanation, "helper", true,
				 "it answers at %s, but user %" PRIu32
				 " may not search the folder %.*s: chmod o+x, or a "
				 "socket elsewhere",
				 path, running->file_uid, (int)refused, path);
	return false;
}
