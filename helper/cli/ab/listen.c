/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a process group listens: rows of /proc/PID/net/tcp in state LISTEN, matched with /proc/PID/fd by inode. */
#include "listen.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 128
#define STATE_LISTEN 0x0a

struct inodes {
	unsigned long *list;
	size_t count, room;
};

/* What there is no memory for is left out. */
static void add(struct inodes *inodes, unsigned long inode)
{
	size_t room = inodes->room ? 2 * inodes->room : 64;
	unsigned long *list =
		inodes->count < inodes->room ? inodes->list : reallocarray(inodes->list, room, sizeof(*inodes->list));

	if (!list)
		return;
	inodes->room = inodes->count < inodes->room ? inodes->room : room;
	inodes->list = list;
	inodes->list[inodes->count++] = inode;
}

/* "  sl  local_address rem_address   st ...": address:port in hexadecimal, the inode is the tenth word. */
static bool parse_row(const char *line, unsigned *port_h, unsigned *state, unsigned long *inode)
{
	char copy[512], *word, *rest = NULL;
	int column = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	for (word = strtok_r(copy, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest), column++) {
		if (column == 1) {
			const char *colon = strchr(word, ':');

			if (!colon)
				return false;
			*port_h = (unsigned)strtoul(colon + 1, NULL, 16);
		} else if (column == 3) {
			*state = (unsigned)strtoul(word, NULL, 16);
		} else if (column == 9) {
			*inode = strtoul(word, NULL, 10);
			return true;
		}
	}
	return false;
}

static void read_table(pid_t pid, const char *name, uint16_t port_h, struct inodes *inodes)
{
	char path[PATH_BYTES], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, name);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		unsigned port = 0, state = 0;
		unsigned long inode = 0;

		if (parse_row(line, &port, &state, &inode) && state == STATE_LISTEN && (!port_h || port == port_h))
			add(inodes, inode);
	}
	if (file)
		fclose(file);
}

static bool is_listed(const struct inodes *inodes, unsigned long inode)
{
	for (size_t i = 0; i < inodes->count; i++)
		if (inodes->list[i] == inode)
			return true;
	return false;
}

static bool holds(pid_t pid, const struct inodes *inodes)
{
	char path[PATH_BYTES], target[64];
	struct dirent *entry;
	bool found = false;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	folder = opendir(path);
	if (!folder)
		return errno == EACCES;
	while (!found && (entry = readdir(folder))) {
		ssize_t bytes = readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1);

		if (bytes <= 0)
			continue;
		target[bytes] = '\0';
		found = !strncmp(target, "socket:[", 8) && is_listed(inodes, strtoul(target + 8, NULL, 10));
	}
	closedir(folder);
	return found;
}

static bool member_listens(pid_t pid, uint16_t port_h)
{
	struct inodes inodes = { .list = NULL };

	read_table(pid, "tcp", port_h, &inodes);
	read_table(pid, "tcp6", port_h, &inodes);
	bool found = inodes.count && holds(pid, &inodes);
	free(inodes.list);
	return found;
}

bool ab_listens(pid_t group, uint16_t port_h)
{
	bool found = member_listens(group, port_h); /* its leader: nearly always the one */
	DIR *folder = found ? NULL : opendir("/proc");
	struct dirent *entry;

	while (folder && !found && (entry = readdir(folder))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 1 && pid != group && getpgid(pid) == group)
			found = member_listens(pid, port_h);
	}
	if (folder)
		closedir(folder);
	return found;
}
