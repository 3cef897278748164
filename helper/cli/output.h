/* SPDX-License-Identifier: BSD-2-Clause */
/* A file that a report goes to, as a whole or not at all. */
#ifndef SMACCEL_CLI_OUTPUT_H
#define SMACCEL_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct output {
	const char *path; /* as given; NULL: none */
	char *target;     /* the file that is replaced; NULL: `fd` is written to */
	int fd;
};

/* Whether two reports would go to one file, however it is spelled: the second would be all that is left of them. Devices and pipes take
 * both. A NULL path is no output. */
bool output_is_same(const char *path, const char *other);

/* Before the work is done: whether the file can be written; what is in it stays as it is. A NULL path is no output. 0 or -errno. */
int output_prepare(struct output *output, const char *path);

/* After it: the file holds `text` from now on; or, after an error, what it held before, unless it is written to directly. 0 or -errno.
 * Frees what *output owns. */
int output_write(struct output *output, const char *text, size_t bytes);

/* What print() writes, malloc'ed. NULL: out of memory. */
char *output_text(void (*print)(FILE *out, const void *context), const void *context, size_t *bytes);

#endif
