/* SPDX-License-Identifier: BSD-2-Clause */
/* setrlimit, prlimit: RLIMIT_NOFILE.
 *
 * A sandbox's "no more files" (0) is no more poll(2) either: the kernel refuses to look at more files than that (do_sys_poll()), also at those
 * which are open. Without it receives on an end in the sockhash cannot be repaired, so that the shim takes leave before.
 */
#include "intercept.h"

#include <sys/resource.h>
#include <unistd.h>

#include "fork.h"
#include "quiet.h"
#include "readable.h"

#define FILES_POLLED 2u /* at once, at most: transfer_wait.c */

/* A vfork child's limit is its own, and its connections are its parent's. */
static void before_limit(int resource, const void *limit)
{
	const struct rlimit *wanted = limit;

	if (resource == RLIMIT_NOFILE && limit && conn_table() && readable_bytes(limit, sizeof(*wanted)) &&
	    wanted->rlim_cur < FILES_POLLED && wanted->rlim_cur <= wanted->rlim_max && !fork_in_vfork_child())
		quiet_begin(REASON_NO_FILES);
}

int wrap_setrlimit(int resource, const struct rlimit *limit)
{
	before_limit(resource, limit);
	return REAL(setrlimit)(resource, limit);
}

_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "setrlimit64 is setrlimit");

int wrap_setrlimit64(int resource, const struct rlimit64 *limit)
{
	before_limit(resource, limit);
	return REAL(setrlimit64)(resource, limit);
}

int wrap_prlimit(pid_t process, int resource, const struct rlimit *limit, struct rlimit *before)
{
	if (process == 0 || process == getpid())
		before_limit(resource, limit);
	return REAL(prlimit)(process, resource, limit, before);
}

int wrap_prlimit64(pid_t process, int resource, const struct rlimit64 *limit, struct rlimit64 *before)
{
	if (process == 0 || process == getpid())
		before_limit(resource, limit);
	return REAL(prlimit64)(process, resource, limit, before);
}
