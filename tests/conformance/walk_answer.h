/* SPDX-License-Identifier: BSD-2-Clause */
/* walk.c's calls and answers: what is to be called, and the line that tells what came of it. */
#ifndef SMACCEL_CONFORMANCE_WALK_ANSWER_H
#define SMACCEL_CONFORMANCE_WALK_ANSWER_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "walk_stage.h"

#define LINE_BYTES 240

struct call {
	unsigned kind, end; /* 0: the connecting one */
	size_t bytes;
	int flags;
	uint64_t random;
	bool forked, threaded; /* made by a child, by a thread */
	int wait_ms;           /* of poll and epoll_wait */
	enum role role;
	bool wakes_often; /* the waker's call */
};

struct answer {
	ssize_t result;
	char line[LINE_BYTES];
};

/* What a process knows of its ends. */
static int fds[2] = { -1, -1 }, epolls[2] = { -1, -1 }, pipe_fds[2], file_fd;
static char *buffer;

static uint64_t hash(const void *data, size_t bytes)
{
	uint64_t sum = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < bytes; i++)
		sum = (sum ^ ((const unsigned char *)data)[i]) * UINT64_C(1099511628211);
	return sum;
}

static size_t describe(struct answer *answer, size_t used, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static size_t describe(struct answer *answer, size_t used, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	int more = vsnprintf(answer->line + used, LINE_BYTES - used, format, list);
	va_end(list);
	return used + (size_t)more < LINE_BYTES ? used + (size_t)more : LINE_BYTES - 1;
}

static void conclude(struct answer *answer, const char *name, const struct call *call, ssize_t result, bool has_data)
{
	int error = errno;
	size_t used = describe(answer, 0, "%s %zu %x%s -> %zd", name, call->bytes, (unsigned)call->flags,
			       call->forked ? " forked" : "", result);

	answer->result = result;
	if (result < 0)
		used = describe(answer, used, " %s", strerrorname_np(error));
	else if (has_data)
		used = describe(answer, used, " #%llx", (unsigned long long)hash(buffer, (size_t)result));
}

#endif
