/* SPDX-License-Identifier: BSD-2-Clause */
/* Privileges.
 *
 * The real user: files that were sent and not received yet count for the sender's real uid, and a process of that uid without capabilities
 * can send none while these are more than it may have open (too_many_unix_fds() in net/unix/garbage.c and scm.c). What clients leave
 * unread would be on root's account, and so keep its other daemons and containers from passing fds. The helper's is therefore nobody's else;
 * the effective one, by which files belong to it, stays.
 *
 * Capabilities: the kernel asks for them when programs and maps are made; what the running needs of them differs between
 * kernels, so it is tried: none first, then one more each time, until a whole join of a socket of our own works (on 6.18:
 * none). What is not needed is dropped for good, from the bounding set too where that is allowed.
 *
 * System calls: a list of those that are used. Any other fails with EPERM and the daemon goes on: killing it for a call that some
 * libc version makes would cost more than it saves, as what an attacker would want (open, exec, connect, ptrace, mount,
 * setuid ...) fails just the same.
 */
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

#define FDS_WANTED 1048576u
#define REAL_UID 1936548195u /* "smac": above what is given to users and containers, below 2^31 */

/* Of those that the running may need; the start alone reads addresses (CAP_SYSLOG). */
static const unsigned needed[] = { CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON };
#define NEEDED_COUNT (sizeof(needed) / sizeof(needed[0]))

static int say_missing(const char *capability, const char *why)
{
	log_error("the capability %s is missing%s; run as root or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and "
		  "CAP_SYSLOG",
		  capability, why);
	return -EPERM;
}

/* In kernel.perf_event_paranoid's default they are not, without CAP_SYSLOG. Not the first line alone: symbols of a CPU begin at 0. */
static bool addresses_are_shown(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long long address = 0;
	char *line = NULL;
	size_t room = 0;

	while (file && !address && getline(&line, &room, file) > 0)
		address = strtoull(line, NULL, 16);
	if (file)
		fclose(file);
	free(line);
	return address != 0;
}

int privileges_check(void)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_get_caps_process() < 0)
		return 0; /* then datapath_open() will say */
	for (size_t i = 0; i < NEEDED_COUNT && !capng_have_capability(CAPNG_EFFECTIVE, CAP_SYS_ADMIN); i++)
		if (!capng_have_capability(CAPNG_EFFECTIVE, needed[i]))
			return say_missing(capng_capability_to_name(needed[i]), "");
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SYSLOG) && !addresses_are_shown())
		return say_missing("syslog", " (/proc/kallsyms shows no addresses without it)");
	return 0;
}

/* Each client's memory is a file of 38 MB, nearly all of it a hole. */
static void raise_file_size(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_FSIZE, &limit) == 0 || getrlimit(RLIMIT_FSIZE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
}

uint32_t privileges_raise_limits(void)
{
	struct rlimit limit;

	raise_file_size();

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return FDS_WANTED;
	if (limit.rlim_max < FDS_WANTED) {
		struct rlimit more = { FDS_WANTED, FDS_WANTED };

		if (setrlimit(RLIMIT_NOFILE, &more) == 0) /* needs CAP_SYS_RESOURCE */
			return FDS_WANTED;
	}
	limit.rlim_cur = limit.rlim_max < FDS_WANTED ? limit.rlim_max : FDS_WANTED;
	setrlimit(RLIMIT_NOFILE, &limit);
	return (uint32_t)limit.rlim_cur;
}

/* Not in a user namespace that has no such user, and not without CAP_SETUID. */
static void leave_real_user(void)
{
	if (getuid() == 0 && setresuid(REAL_UID, (uid_t)-1, (uid_t)-1) < 0)
		log_debug("files that clients do not read are on root's account: %s", strerror(errno));
}

/* ---- capabilities ---- */

/* The first `count` of the needed ones effective, and all of them (or no more than these) permitted. */
static int set_capabilities(size_t count, int for_good)
{
	capng_clear(CAPNG_SELECT_CAPS);
	for (size_t i = 0; i < NEEDED_COUNT; i++) {
		if (i < count)
			capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, needed[i]);
		else if (!for_good)
			capng_update(CAPNG_ADD, CAPNG_PERMITTED, needed[i]);
	}
	return capng_apply(CAPNG_SELECT_CAPS) < 0 ? -EPERM : 0;
}

static void drop_bounding_set(void)
{
	if (!capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP))
		return;
	capng_clear(CAPNG_SELECT_BOUNDS);
	capng_apply(CAPNG_SELECT_BOUNDS);
}

static int drop_capabilities(int (*works)(void *context), void *context)
{
	size_t count = 0;
	int error;

	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_get_caps_process() < 0)
		return -EPERM;
	drop_bounding_set();
	for (; count < NEEDED_COUNT; count++) {
		error = set_capabilities(count, 0);
		if (error)
			return error;
		error = works(context);
		if (!error)
			break;
		log_debug("not without more capabilities than %zu: %s", count, strerror(-error));
	}
	log_debug("%zu capabilities kept", count);
	return set_capabilities(count, 1);
}

/* ---- system calls ---- */

static const int allowed[] = {
	/* the loop */
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(close),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	/* clients and their sockets */
	SCMP_SYS(accept4),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(getsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(listen),
	/* the data path */
	SCMP_SYS(bpf),
	/* session memory, ledgers, replies */
	SCMP_SYS(memfd_create),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fcntl),
	SCMP_SYS(lseek),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(futex),
	/* libc: memory, threads, time */
	SCMP_SYS(mmap),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(mprotect),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(clone),
	SCMP_SYS(clone3),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(rseq),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_setaffinity), /* canaries */
	SCMP_SYS(getrandom),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(membarrier),
	/* signals, the reaper's alarm, the child that lists connections */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(timer_settime),
	SCMP_SYS(timer_delete),
	SCMP_SYS(alarm),
	SCMP_SYS(setitimer),
	SCMP_SYS(prctl),
	SCMP_SYS(wait4),
	SCMP_SYS(waitid),
	SCMP_SYS(tgkill),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* who and where we are */
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(uname),
	/* the end: removing our socket */
	SCMP_SYS(unlink),
	SCMP_SYS(unlinkat),
	SCMP_SYS(lstat),
	SCMP_SYS(stat),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	/* the watchdog */
	SCMP_SYS(shutdown),
	SCMP_SYS(flock),
	SCMP_SYS(kill),
};

static int filter_system_calls(void)
{
	static const scmp_datum_t options[] = { SO_PASSCRED, SO_PEEK_OFF };
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int error = 0;

	if (!filter)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && !error; i++) {
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
		if (error == -EDOM || error == -EFAULT) /* not a call of this architecture */
			error = 0;
	}
	if (!error) /* sd_notify() */
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	/* sockfacts_has_unread() */
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && !error; i++)
		error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
					 SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET), SCMP_A2(SCMP_CMP_EQ, options[i]));
	if (!error)
		error = seccomp_load(filter);
	seccomp_release(filter);
	return error;
}

int privileges_drop(int (*works)(void *context), void *context)
{
	int error;

	leave_real_user();
	error = drop_capabilities(works, context);
	if (error) {
		log_error("cannot drop capabilities: %s", strerror(-error));
		return error;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
#ifdef __SANITIZE_ADDRESS__
	return 0; /* the sanitizer's runtime needs calls of its own */
#endif
	error = filter_system_calls();
	if (error) /* a kernel without seccomp: the capabilities are gone all the same */
		log_error("no filter of system calls: %s", strerror(-error));
	return 0;
}
