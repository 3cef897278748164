/* SPDX-License-Identifier: BSD-2-Clause */
/* mlockall, without the shim's reserved memory (reserved.h).
 *
 * What the kernel does (mm/mlock.c): it refuses with ENOMEM if the whole process is larger than RLIMIT_MEMLOCK, but for CAP_IPC_LOCK;
 * else it locks each mapping, whatever becomes of that. So here:
 *
 *	1. all is locked as it is touched (MCL_ONFAULT), which fills nothing, and the reserved memory is unlocked again;
 *	2. if that is refused only for the reserved memory's size the others are locked one by one instead;
 *	3. what the application wants filled at once is filled by locking it one by one.
 */
#include "intercept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "fork.h"
#include "quiet.h"
#include "raw_syscall.h"
#include "reserved.h"

#define MAPS_BYTES 4096
#define MAPS_MAX 70000 /* vm.max_map_count is 65530 */

static long lock_call(long number, const void *memory, size_t bytes, unsigned flags)
{
	return raw_system_call(number, (long)memory, (long)bytes, (long)flags, 0, 0, 0);
}

/* The pages of the whole process, in bytes, as the kernel counts them against the limit; 0: unknown. */
static size_t process_bytes(void)
{
	char text[128] = "";
	long fd = raw_system_call(SYS_openat, AT_FDCWD, (long)"/proc/self/statm", O_RDONLY | O_CLOEXEC, 0, 0, 0);

	if (fd < 0)
		return 0;
	raw_system_call(SYS_read, fd, (long)text, sizeof(text) - 1, 0, 0, 0);
	raw_system_call(SYS_close, fd, 0, 0, 0, 0, 0);
	return strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Whether only the reserved memory makes the process too large. */
static bool fits_without_reserved(void)
{
	struct rlimit limit;
	size_t all = process_bytes(), reserved = reserved_bytes();

	return all > reserved && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && all - reserved <= limit.rlim_cur;
}

/* All from `at` to `end`, but for what is reserved. A mapping may be of both: the kernel merges neighbours that are alike. */
static void lock_between(char *at, char *end, unsigned flags)
{
	for (int steps = 0; at < end && steps <= RESERVED_MAX; steps++) {
		char *stop = end, *next = end, *from, *to;

		for (int i = 0; i < RESERVED_MAX; i++) {
			if (!reserved_at(i, &from, &to) || to <= at || from >= stop)
				continue;
			stop = from > at ? from : at;
			next = to;
		}
		if (stop > at)
			lock_call(SYS_mlock2, at, (size_t)(stop - at), flags);
		at = next;
	}
}

/* Locks what /proc/self/maps names. False: it cannot be read. */
static bool lock_each(unsigned flags)
{
	char text[MAPS_BYTES + 1];
	size_t kept = 0;
	long fd = raw_system_call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);

	if (fd < 0)
		return false;
	for (int reads = 0; reads < MAPS_MAX; reads++) {
		long bytes = raw_system_call(SYS_read, fd, (long)text + (long)kept, (long)(MAPS_BYTES - kept), 0, 0, 0);
		char *line = text, *end_of_line;

		if (bytes <= 0)
			break;
		text[kept + (size_t)bytes] = 0;
		while ((end_of_line = strchr(line, '\n'))) {
			char *rest;
			unsigned long begin = strtoul(line, &rest, 16),
				      end = *rest == '-' ? strtoul(rest + 1, NULL, 16) : 0;

			lock_between((char *)begin, (char *)end, flags); /* NOLINT(performance-no-int-to-ptr) */
			line = end_of_line + 1;
		}
		kept = strlen(line);
		if (kept == MAPS_BYTES)
			kept = 0; /* a name of that length: of no use, and its line's beginning has been seen */
		memmove(text, line, kept);
	}
	raw_system_call(SYS_close, fd, 0, 0, 0, 0, 0);
	return true;
}

static int lock_all(int flags)
{
	unsigned one_by_one = flags & MCL_ONFAULT ? MLOCK_ONFAULT : 0;
	int result = REAL(mlockall)(MCL_CURRENT | MCL_ONFAULT);
	char *begin, *end;

	if (result != 0 && (errno != ENOMEM || !fits_without_reserved()))
		return result;
	/* The refusal has left in force what an earlier call wanted of later mappings. */
	if (result != 0 && reserved_is_future_locked() && !(flags & MCL_FUTURE))
		lock_call(SYS_munlockall, NULL, 0, 0);
	for (int i = 0; i < RESERVED_MAX && result == 0; i++)
		if (reserved_at(i, &begin, &end))
			lock_call(SYS_munlock, begin, (size_t)(end - begin), 0);
	if ((result != 0 || !one_by_one) && !lock_each(one_by_one))
		return REAL(mlockall)(flags);
	return flags & MCL_FUTURE ? REAL(mlockall)(MCL_FUTURE | (flags & MCL_ONFAULT)) : 0;
}

int wrap_mlockall(int flags)
{
	bool is_ours = conn_table() && !quiet_is_on() && !config.trusts_filter && reserved_bytes() > 0;
	int saved = errno, result;

	if (is_ours && (flags & MCL_CURRENT) && !(flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)))
		result = lock_all(flags);
	else
		result = REAL(mlockall)(flags);
	if (result == 0)
		reserved_future_locked(flags & MCL_FUTURE);
	if (result == 0)
		errno = saved;
	return result;
}
