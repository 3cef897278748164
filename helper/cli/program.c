/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks at the file that exec would run: found as execvp() finds it, through the interpreters of scripts. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "program.h"

#define SCRIPT_DEPTH_MAX 5 /* the kernel's own limit is 4 interpreters */
#define SCRIPT_LINE_BYTES 256

static const char *const verdict_texts[] = {
	[PROGRAM_GOOD] = "nothing speaks against it",
	[PROGRAM_NOT_FOUND] = "not found",
	[PROGRAM_NOT_EXECUTABLE] = "not an executable file",
	[PROGRAM_UNREADABLE] = "it cannot be read",
	[PROGRAM_SETUID] = "it is setuid, and the dynamic linker ignores LD_PRELOAD for such programs",
	[PROGRAM_SETGID] = "it is setgid, and the dynamic linker ignores LD_PRELOAD for such programs",
	[PROGRAM_FILE_CAPABILITY] =
		"it has file capabilities, and the dynamic linker ignores LD_PRELOAD for such programs",
	[PROGRAM_STATIC] = "it is statically linked: no dynamic linker, so no LD_PRELOAD",
	[PROGRAM_OTHER_CLASS] = "it is for another machine (32-bit?) than libsmaccel.so",
};

_Static_assert(sizeof(verdict_texts) / sizeof(verdict_texts[0]) == PROGRAM_VERDICT_COUNT, "a text for each verdict");

const char *program_verdict_text(enum program_verdict verdict)
{
	return verdict < PROGRAM_VERDICT_COUNT ? verdict_texts[verdict] : "unknown";
}

static bool is_runnable(const char *path)
{
	struct stat status;

	return !stat(path, &status) && S_ISREG(status.st_mode) && !access(path, X_OK);
}

/* `name` as execvp() resolves it, into path. */
static enum program_verdict resolve(const char *name, char path[PROGRAM_PATH_BYTES])
{
	const char *folders = getenv("PATH");
	bool seen = false;

	if (strchr(name, '/')) {
		if (strlen(name) >= PROGRAM_PATH_BYTES)
			return PROGRAM_NOT_FOUND;
		strcpy(path, name);
		return is_runnable(path)    ? PROGRAM_GOOD
		       : access(path, F_OK) ? PROGRAM_NOT_FOUND
					    : PROGRAM_NOT_EXECUTABLE;
	}
	if (!folders)
		folders = "/bin:/usr/bin"; /* execvp()'s own default */
	for (const char *folder = folders; *name; folder++) {
		size_t length = strcspn(folder, ":");
		const char *separator = length ? "/" : ""; /* an empty entry is the current folder */

		if (snprintf(path, PROGRAM_PATH_BYTES, "%.*s%s%s", (int)length, folder, separator, name) <
		    PROGRAM_PATH_BYTES) {
			if (is_runnable(path))
				return PROGRAM_GOOD;
			seen |= !access(path, F_OK);
		}
		folder += length;
		if (!*folder)
			break;
	}
	snprintf(path, PROGRAM_PATH_BYTES, "%s", name);
	return seen ? PROGRAM_NOT_EXECUTABLE : PROGRAM_NOT_FOUND;
}

static enum program_verdict check_privileges(int fd)
{
	struct stat status;

	if (fstat(fd, &status))
		return PROGRAM_UNREADABLE;
	if (status.st_mode & S_ISUID)
		return PROGRAM_SETUID;
	if ((status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		return PROGRAM_SETGID;
	if (fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return PROGRAM_FILE_CAPABILITY;
	return PROGRAM_GOOD;
}

/* The program that a "#!" line names, into name; through env the one that env runs. False: not a script. */
static bool script_interpreter(int fd, char name[SCRIPT_LINE_BYTES])
{
	char line[SCRIPT_LINE_BYTES];
	ssize_t bytes = pread(fd, line, sizeof(line) - 1, 0);
	char *word, *rest = NULL;
	const char *base;

	if (bytes < 2 || line[0] != '#' || line[1] != '!')
		return false;
	line[bytes] = '\0';
	line[strcspn(line, "\n")] = '\0';
	word = strtok_r(line + 2, " \t", &rest);
	if (!word)
		return false;
	strcpy(name, word);
	base = strrchr(word, '/');
	if (strcmp(base ? base + 1 : word, "env"))
		return true;
	while ((word = strtok_r(NULL, " \t", &rest)))
		if (*word != '-' && !strchr(word, '=')) {
			strcpy(name, word);
			break;
		}
	return true;
}

enum program_verdict program_examine(const char *name, struct program *program)
{
	char next[SCRIPT_LINE_BYTES];
	enum program_verdict verdict;

	program->links_asan = false;
	for (int depth = 0; depth < SCRIPT_DEPTH_MAX; depth++) {
		bool is_elf = false, is_script = false;
		int fd;

		verdict = resolve(name, program->path);
		if (verdict)
			return verdict;
		fd = open(program->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			return PROGRAM_UNREADABLE;
		verdict = elf_examine(fd, program, &is_elf);
		if (!is_elf)
			is_script = script_interpreter(fd, next);
		if (!verdict && !is_script) /* the kernel ignores these bits on scripts */
			verdict = check_privileges(fd);
		close(fd);
		if (verdict || !is_script)
			return verdict;
		name = next;
	}
	return PROGRAM_GOOD; /* exec itself will say ELOOP */
}
