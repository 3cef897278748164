/* SPDX-License-Identifier: BSD-2-Clause */
/* Where libsmaccel.so is, and the LD_PRELOAD that loads it. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "library.h"

#define LIBRARY_NAME "libsmaccel.so"
#define SEPARATORS " :" /* of LD_PRELOAD */

static int take_path(const char *candidate, char path[LIBRARY_PATH_BYTES])
{
	char *real = realpath(candidate, NULL);
	int err = -ENOENT;

	if (real && strlen(real) < LIBRARY_PATH_BYTES && !access(real, R_OK)) {
		strcpy(path, real);
		err = strpbrk(real, SEPARATORS) ? -EINVAL : 0;
	}
	free(real);
	return err;
}

int library_find(char path[LIBRARY_PATH_BYTES])
{
	/* Relative to the folder of this program: the build folder, and what `make install` lays out. */
	static const char *const beside[] = { "", "../lib/" SMACCEL_MULTIARCH "/", "../lib/", "../lib64/" };
	const char *wanted = getenv("SMACCEL_LIBRARY");
	char own[LIBRARY_PATH_BYTES], candidate[LIBRARY_PATH_BYTES + 64];
	ssize_t length;
	char *slash;

	if (wanted && *wanted)
		return take_path(wanted, path);
	length = readlink("/proc/self/exe", own, sizeof(own) - 1);
	own[length > 0 ? length : 0] = '\0';
	slash = strrchr(own, '/');
	for (size_t i = 0; slash && i < sizeof(beside) / sizeof(beside[0]); i++) {
		int err;

		snprintf(candidate, sizeof(candidate), "%.*s/%s%s", (int)(slash - own), own, beside[i], LIBRARY_NAME);
		err = take_path(candidate, path);
		if (err != -ENOENT)
			return err;
	}
	return take_path(SMACCEL_LIBDIR "/" LIBRARY_NAME, path);
}

/* Whether an entry of LD_PRELOAD, of so many bytes, has the library's file name. */
static bool is_library(const char *entry, size_t length)
{
	const size_t name_length = sizeof(LIBRARY_NAME) - 1;

	return length >= name_length && !memcmp(entry + length - name_length, LIBRARY_NAME, name_length) &&
	       (length == name_length || entry[length - name_length - 1] == '/');
}

bool library_is_named(const char *list)
{
	while (*(list += strspn(list, SEPARATORS))) {
		size_t length = strcspn(list, SEPARATORS);

		if (is_library(list, length))
			return true;
		list += length;
	}
	return false;
}

char *library_preload_value(const char *current, const char *path)
{
	char *value = NULL;

	if (!current || !*current)
		return strdup(path);
	if (library_is_named(current))
		return strdup(current);
	return asprintf(&value, "%s:%s", current, path) < 0 ? NULL : value;
}

char *library_preload_without(const char *current)
{
	char *value = malloc(strlen(current) + 1), *end = value;

	if (!value)
		return NULL;
	while (*(current += strspn(current, SEPARATORS))) {
		size_t length = strcspn(current, SEPARATORS);

		if (!is_library(current, length)) {
			if (end > value)
				*end++ = ':';
			end = mempcpy(end, current, length);
		}
		current += length;
	}
	*end = '\0';
	return value;
}
