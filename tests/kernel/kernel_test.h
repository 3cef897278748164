/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the kernel tests: TAP-like lines, deadlines, sockets. Header-only; each test is one small program.
 *
 * A line is "ok NAME what-was-seen" or "not ok NAME what-was-expected # detail"; skips are "ok NAME # SKIP why". The
 * program exits 0 when nothing failed. Waits have deadlines; nothing sleeps for luck.
 */
#ifndef SMACCEL_KERNEL_TEST_H
#define SMACCEL_KERNEL_TEST_H

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static int kernel_test_failures;

/* One line of the result; `detail` is shown when the check failed. */
__attribute__((format(printf, 4, 5))) static inline bool check(bool holds, const char *fact, const char *what,
							       const char *detail, ...)
{
	va_list arguments;

	printf("%s %s %s", holds ? "ok" : "not ok", fact, what);
	if (!holds) {
		printf(" # ");
		va_start(arguments, detail);
		vprintf(detail, arguments);
		va_end(arguments);
		kernel_test_failures++;
	}
	printf("\n");
	fflush(stdout);
	return holds;
}

static inline void skip(const char *fact, const char *what, const char *why)
{
	printf("ok %s %s # SKIP %s\n", fact, what, why);
	fflush(stdout);
}

/* What a test cannot go on without. */
#define require(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			printf("not ok setup %s:%d %s # errno %d %s\n", __FILE__, __LINE__, #condition, errno,         \
			       strerror(errno));                                                                       \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static inline int kernel_test_finish(void)
{
	return kernel_test_failures ? 1 : 0;
}

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Waits until `condition` holds, looking every millisecond, at most `limit_ms`. Its value: whether it came to hold. */
#define wait_until(condition, limit_ms)                                                                                \
	({                                                                                                             \
		uint64_t wait_end = now_ns() + (uint64_t)(limit_ms)*1000000u;                                          \
		bool wait_held;                                                                                        \
		while (!(wait_held = (condition)) && now_ns() < wait_end)                                              \
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);                                     \
		wait_held;                                                                                             \
	})

static inline bool readable_within(int fd, int limit_ms)
{
	struct pollfd entry = { .fd = fd, .events = POLLIN };

	return poll(&entry, 1, limit_ms) == 1 && (entry.revents & POLLIN);
}

static inline void set_receive_limit(int fd, int limit_ms)
{
	struct timeval limit = { .tv_sec = limit_ms / 1000, .tv_usec = limit_ms % 1000 * 1000 };

	require(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
}

static inline bool sent(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Whether the next bytes are `text`, in as many calls as it takes, within a second each. */
static inline bool received(int fd, const char *text)
{
	size_t wanted = strlen(text), have = 0;
	char buffer[256];

	while (have < wanted && wanted <= sizeof(buffer) && readable_within(fd, 1000)) {
		ssize_t bytes = recv(fd, buffer + have, wanted - have, MSG_DONTWAIT);

		if (bytes <= 0)
			break;
		have += (size_t)bytes;
	}
	return have == wanted && !memcmp(buffer, text, wanted);
}

/* Linux version as 0xMMmmpp; the patch level is capped as KERNEL_VERSION() does it. Debian's releases may leave it at 0;
 * "Debian 6.1.192-2" in the version string then has it. */
static inline unsigned kernel_version(void)
{
	unsigned major = 0, minor = 0, patch = 0;
	struct utsname name;
	const char *debian;

	uname(&name);
	sscanf(name.release, "%u.%u.%u", &major, &minor, &patch);
	debian = strstr(name.version, "Debian ");
	if (debian && !patch)
		sscanf(debian, "Debian %*u.%*u.%u", &patch);
	return major << 16 | minor << 8 | (patch > 255 ? 255 : patch);
}

/* Its state letter in /proc/PID/stat: 'S' asleep, 'T' stopped. */
static inline bool process_in_state(pid_t process, char state)
{
	char name[32], text[128] = "";
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)process);
	file = fopen(name, "re");
	require(file);
	require(fgets(text, sizeof(text), file));
	fclose(file);
	const char *after = strrchr(text, ')');
	return after && after[1] == ' ' && after[2] == state;
}

#endif
