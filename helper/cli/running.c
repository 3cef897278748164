/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads /proc/PID: maps, status, auxv and environ, which the kernel shows to the process's user and to root (proc(5), ptrace(2)). */
#include "running.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY_NAME "/libsmaccel.so"
#define SESSION_NAME "/memfd:smaccel-session" /* helper/session.c */
#define REPLACED " (deleted)"                 /* what the kernel adds to the path of a file that is gone */
#define FILE_BYTES_MAX (64ul << 20)           /* of maps and environ: neither comes near it */
#define FIRST_BYTES 16384

/* The whole of /proc/PID/NAME with a 0 behind it, malloc'ed; *bytes without that. NULL with errno. */
static char *read_whole(pid_t pid, const char *name, size_t *bytes)
{
	size_t room = FIRST_BYTES, length = 0;
	char path[64], *text = NULL;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	do {
		char *grown = realloc(text, room);

		got = -1;
		if (!grown)
			break;
		text = grown;
		got = read(fd, text + length, room - 1 - length);
		length += got > 0 ? (size_t)got : 0;
		if (length == room - 1)
			room *= 2;
	} while (got > 0 && room <= FILE_BYTES_MAX);
	close(fd);
	if (got < 0) {
		free(text);
		return NULL;
	}
	text[length] = '\0';
	*bytes = length;
	return text;
}

static bool ends_with(const char *text, size_t length, const char *end)
{
	size_t bytes = strlen(end);

	return length >= bytes && !memcmp(text + length - bytes, end, bytes);
}

/* The first line of maps whose file is the library. */
static void find_library(struct running *running, const char *maps)
{
	for (const char *line = maps; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t length = strcspn(line, "\n");
		const char *path = memchr(line, '/', length);
		size_t bytes = path ? length - (size_t)(path - line) : 0;
		bool replaced = path && ends_with(path, bytes, REPLACED);

		if (replaced)
			bytes -= sizeof(REPLACED) - 1;
		if (!path || !ends_with(path, bytes, LIBRARY_NAME) || bytes >= sizeof(running->library))
			continue;
		memcpy(running->library, path, bytes);
		running->library[bytes] = '\0';
		running->library_replaced = replaced;
		return;
	}
}

/* The number behind a field's name in status; 0 without the field, as of a kernel without filters. */
static unsigned long number_of(const char *status, const char *field)
{
	const char *found = strstr(status, field);

	return found ? strtoul(found + strlen(field), NULL, 10) : 0;
}

/* The last of the four that "Uid:" and "Gid:" have. */
static uint32_t file_id_of(const char *status, const char *field)
{
	const char *found = strstr(status, field);
	char *at = found ? (char *)found + strlen(field) : NULL;
	unsigned long id = 0;

	for (int i = 0; at && i < 4; i++)
		id = strtoul(at, &at, 10);
	return (uint32_t)id;
}

static void find_rights(struct running *running, const char *status)
{
	const char *groups = strstr(status, "\nGroups:");
	const char *capabilities = strstr(status, "\nCapEff:");
	char *at = groups ? (char *)groups + strlen("\nGroups:") : NULL;

	running->file_uid = file_id_of(status, "\nUid:");
	running->file_gid = file_id_of(status, "\nGid:");
	while (at && running->group_count < RUNNING_GROUPS_MAX) {
		at += strspn(at, "\t ");
		if (*at < '0' || *at > '9')
			break;
		running->groups[running->group_count++] = (uint32_t)strtoul(at, &at, 10);
	}
	running->capabilities = capabilities ? strtoull(capabilities + strlen("\nCapEff:"), NULL, 16) : 0;
}

static void find_name(struct running *running, const char *status)
{
	const char *name = status + strcspn(status, "\t");
	size_t length = strcspn(name + (*name == '\t'), "\n");

	name += *name == '\t';
	if (length >= sizeof(running->name))
		length = sizeof(running->name) - 1;
	for (size_t i = 0; i < length; i++)
		running->name[i] = name[i] >= ' ' && name[i] < 0x7f ? name[i] : '?';
	running->name[length] = '\0';
}

/* 0; -ESRCH; -errno. */
static int read_status(struct running *running)
{
	size_t bytes;
	char *status = read_whole(running->pid, "status", &bytes);
	bool has_ended;

	if (!status)
		return errno == ENOENT ? -ESRCH : -errno;
	has_ended = strstr(status, "\nState:\tZ") || strstr(status, "\nState:\tX");
	running->pid = (pid_t)number_of(status, "\nTgid:"); /* it may have been a thread's number */
	running->uid = (uint32_t)number_of(status, "\nUid:");
	running->is_filtered = number_of(status, "\nSeccomp:") > 0;
	find_name(running, status);
	find_rights(running, status);
	free(status);
	return has_ended ? -ESRCH : 0;
}

static void read_auxiliary(struct running *running)
{
	size_t bytes;
	char *vector = read_whole(running->pid, "auxv", &bytes);
	Elf64_auxv_t entry;

	for (size_t at = 0; vector && at + sizeof(entry) <= bytes; at += sizeof(entry)) {
		memcpy(&entry, vector + at, sizeof(entry));
		if (entry.a_type == AT_SECURE)
			running->is_secure = entry.a_un.a_val != 0;
	}
	free(vector);
}

static void read_program(struct running *running)
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)running->pid);
	length = readlink(link, running->program, sizeof(running->program) - 1);
	running->program[length > 0 ? length : 0] = '\0';
}

int running_read(pid_t pid, struct running *running)
{
	size_t bytes;
	char *maps;
	int err;

	*running = (struct running){ .pid = pid };
	err = read_status(running);
	if (err)
		return err;
	maps = read_whole(pid, "maps", &bytes);
	if (!maps)
		return errno == ENOENT ? -ESRCH : -errno;
	find_library(running, maps);
	running->has_session = strstr(maps, SESSION_NAME) != NULL;
	free(maps);
	running->environment = read_whole(pid, "environ", &running->environment_bytes);
	if (!running->environment)
		return errno == ENOENT ? -ESRCH : -errno;
	read_auxiliary(running);
	read_program(running);
	return 0;
}

void running_free(struct running *running)
{
	free(running->environment);
	running->environment = NULL;
}

const char *running_variable(const struct running *running, const char *name)
{
	size_t length = strlen(name);
	const char *end = running->environment + running->environment_bytes;

	for (const char *each = running->environment; each < end; each += strlen(each) + 1)
		if (!strncmp(each, name, length) && each[length] == '=')
			return each + length + 1;
	return NULL;
}
