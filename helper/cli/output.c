/* SPDX-License-Identifier: BSD-2-Clause */
/* A file that a report goes to. It is written under another name beside the old one and takes its place when it is complete, so that a
 * full disk or a SIGKILL leaves the old report. Devices, pipes and what is open as standard output are written to directly; so is a
 * file in a folder where nothing can be added.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE 0666

/* The path without links and dots, malloc'ed; of a file that is not there yet, that of its folder and its name. NULL: neither is there. */
static char *resolve(const char *path)
{
	char *real = realpath(path, NULL), *copy, *folder, *joined = NULL;
	const char *slash = strrchr(path, '/');

	if (real)
		return real;
	copy = strdup(path);
	folder = copy ? realpath(dirname(copy), NULL) : NULL;
	if (folder && asprintf(&joined, "%s/%s", folder, slash ? slash + 1 : path) < 0)
		joined = NULL;
	free(folder);
	free(copy);
	return joined;
}

bool output_is_same(const char *path, const char *other)
{
	char *resolved[2] = { path ? resolve(path) : NULL, other ? resolve(other) : NULL };
	bool same = resolved[0] && resolved[1] && !strcmp(resolved[0], resolved[1]);
	struct stat file;

	if (same && !stat(path, &file))
		same = S_ISREG(file.st_mode);
	free(resolved[0]);
	free(resolved[1]);
	return same;
}

static int open_temporary(const char *target, char **name)
{
	int fd;

	if (asprintf(name, "%s.%d.tmp", target, (int)getpid()) < 0) {
		*name = NULL;
		return -ENOMEM;
	}
	fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
	return fd < 0 ? -errno : fd;
}

/* Whether a file can be added beside `target`. */
static bool has_room_beside(const char *target)
{
	char *name;
	int fd = open_temporary(target, &name);

	if (fd >= 0) {
		close(fd);
		unlink(name);
	}
	free(name);
	return fd >= 0;
}

/* Standard output or standard error, if it is this file: its own descriptor has the position. Else -1. */
static int standard_fd(const struct stat *file)
{
	struct stat standard;

	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		if (!fstat(fd, &standard) && standard.st_dev == file->st_dev && standard.st_ino == file->st_ino)
			return fd;
	return -1;
}

/* The file that is to be replaced, malloc'ed; NULL: it is to be written to directly. */
static char *replaceable(const char *path, const struct stat *file)
{
	struct stat link;
	char *target;

	if (!strncmp(path, "/dev/fd/", 8) || !strncmp(path, "/proc/", 6) || (file && !S_ISREG(file->st_mode)) ||
	    (!file && !lstat(path, &link)))
		return NULL;
	target = file ? realpath(path, NULL) : strdup(path);
	if (target && !has_room_beside(target)) {
		free(target);
		target = NULL;
	}
	return target;
}

int output_prepare(struct output *output, const char *path)
{
	struct stat file;
	bool exists = path && !stat(path, &file);
	int standard = exists ? standard_fd(&file) : -1;

	*output = (struct output){ .path = path, .fd = -1 };
	if (!path)
		return 0;
	if (standard < 0)
		output->target = replaceable(path, exists ? &file : NULL);
	if (output->target && !exists)
		return 0;
	output->fd =
		standard >= 0 ? fcntl(standard, F_DUPFD_CLOEXEC, 0) : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, MODE);
	if (output->fd < 0) {
		int err = -errno;

		free(output->target);
		output->target = NULL;
		return err;
	}
	if (output->target) { /* it may be written to: that was all */
		close(output->fd);
		output->fd = -1;
	}
	return 0;
}

static int write_all(int fd, const char *text, size_t bytes)
{
	while (bytes) {
		ssize_t written = write(fd, text, bytes);

		if (written < 0 && errno != EINTR)
			return -errno;
		if (written > 0) {
			text += written;
			bytes -= (size_t)written;
		}
	}
	return 0;
}

static int write_directly(int fd, const char *text, size_t bytes)
{
	struct stat file;
	int err;

	if (lseek(fd, 0, SEEK_CUR) == 0 && !fstat(fd, &file) && S_ISREG(file.st_mode) && ftruncate(fd, 0))
		err = -errno;
	else
		err = write_all(fd, text, bytes);
	return close(fd) && !err ? -errno : err;
}

/* The new file is as open to others as the old one was. */
static void copy_access(const char *target, int fd)
{
	struct stat old;

	if (stat(target, &old))
		return;
	if (fchown(fd, old.st_uid, old.st_gid) == 0 || old.st_uid == geteuid())
		fchmod(fd, old.st_mode & 0777);
}

static int replace(const char *target, const char *text, size_t bytes)
{
	char *name;
	int fd = open_temporary(target, &name), err = fd < 0 ? fd : 0;

	if (!err) {
		copy_access(target, fd);
		err = write_all(fd, text, bytes);
		if (close(fd) && !err)
			err = -errno;
		if (!err && rename(name, target))
			err = -errno;
		if (err)
			unlink(name);
	}
	free(name);
	return err;
}

int output_write(struct output *output, const char *text, size_t bytes)
{
	int err = 0;

	if (output->target)
		err = replace(output->target, text, bytes);
	else if (output->fd >= 0)
		err = write_directly(output->fd, text, bytes);
	free(output->target);
	*output = (struct output){ .fd = -1 };
	return err;
}

char *output_text(void (*print)(FILE *out, const void *context), const void *context, size_t *bytes)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, bytes);

	if (!out)
		return NULL;
	print(out, context);
	if (fclose(out)) {
		free(text);
		text = NULL;
	}
	return text;
}
