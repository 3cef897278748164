/* SPDX-License-Identifier: BSD-2-Clause */
/* fork and vfork: see fork.h.
 *
 * One page holds the pid of the process that owns this memory. The kernel wipes it in a child that gets a copy of the memory
 * (MADV_WIPEONFORK) and leaves it to a child that shares it:
 *
 *	page           getpid()      so this is
 *	pid            the same      the owner
 *	0              any           a forked child that nobody has told of: a raw clone that no wrapper has seen
 *	pid            another       a vfork child: hands off
 *
 * In a PID namespace of its own (unshare) a vfork child may have its parent's number. It is told by what no child inherits: a list of robust
 * futexes, which glibc gives to each thread. (musl gives it to those that have such a mutex: there it is not told.)
 *
 * After fork(3) the atfork handler has written the child's pid before anything else can look.
 */
#include "fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "held.h"
#include "lifecycle.h"
#include "quiet.h"
#include "raw_syscall.h"

#define PAGE_BYTES 4096
#define PROGRAM_BEGINS_MS 50 /* so long it is believed to be on its way */

struct fork_page {
	_Atomic uint32_t pid;
};

/* Where pages cannot be wiped, a child of a raw clone takes itself for a vfork child: it leaves the shim alone. */
static struct fork_page never_wiped;
static struct fork_page *page; /* NULL until fork_init() */
static _Atomic uint32_t forks;
static _Atomic uint32_t forking_pid; /* who forks; in the child: its parent */
static _Atomic uint32_t parent_pid;
static _Atomic bool files_are_shared;
static _Atomic uint32_t spawns; /* under way */
static _Atomic int64_t program_begins_ms = -PROGRAM_BEGINS_MS;
static _Atomic bool numbers_repeat;
static __thread bool memory_is_lent;

static bool has_robust_list(void)
{
	void *head = NULL;
	size_t bytes;
	int saved = errno;
	long error = raw_syscall(SYS_get_robust_list, 0, &head, &bytes);

	errno = saved;
	return !error && head;
}

void fork_numbers_anew(void)
{
	if (page && !quiet_is_on() && !config.trusts_filter && !fork_in_vfork_child() && has_robust_list())
		atomic_store(&numbers_repeat, true);
}

uint32_t fork_count(void)
{
	return atomic_load_explicit(&forks, memory_order_relaxed);
}

bool fork_in_vfork_child(void)
{
	uint32_t pid = page ? atomic_load_explicit(&page->pid, memory_order_relaxed) : 0;

	return pid != 0 &&
	       (memory_is_lent || pid != (uint32_t)getpid() ||
		(atomic_load_explicit(&numbers_repeat, memory_order_relaxed) && !quiet_is_on() && !has_robust_list()));
}

bool fork_memory_is_lent(void)
{
	return memory_is_lent;
}

void fork_lend_memory(bool lends)
{
	if (page) /* before that there may be no thread-local storage yet */
		memory_is_lent = lends;
}

bool fork_happened(void)
{
	uint32_t wiped = 0;

	if (!page || atomic_load_explicit(&page->pid, memory_order_relaxed) != 0)
		return false;
	if (!atomic_compare_exchange_strong(&page->pid, &wiped, (uint32_t)getpid()))
		return false;
	atomic_store(&parent_pid, 0);
	atomic_store(&files_are_shared, false);
	atomic_store(&numbers_repeat, false);
	atomic_store(&spawns, 0);
	memory_is_lent = false; /* one that it was lent to has forked */
	atomic_fetch_add(&forks, 1);
	return true;
}

void fork_notice(void)
{
	if (fork_happened())
		lifecycle_forked();
}

/* In the parent, before: parent and child then agree that what was opened earlier may be shared. */
void fork_note(void)
{
	atomic_fetch_add(&forks, 1);
}

void fork_program_begins(void)
{
	atomic_store(&program_begins_ms, clock_coarse_ms());
}

void fork_spawn_begin(void)
{
	atomic_fetch_add(&spawns, 1);
}

/* The child gives up its parent's memory a little before its close-on-exec fds. */
void fork_spawn_end(void)
{
	fork_program_begins();
	atomic_fetch_sub(&spawns, 1);
}

bool fork_programs_begin(void)
{
	return atomic_load(&spawns) > 0 || clock_coarse_ms() - atomic_load(&program_begins_ms) < PROGRAM_BEGINS_MS;
}

/* Where it is a vfork child that forks, nobody would take back what it counts should it be killed meanwhile; and nobody need wait for it:
 * its numbers are copies already. */
static bool forks_own_memory(void)
{
	return quiet_is_on() ? !memory_is_lent : !fork_in_vfork_child();
}

void fork_before(void)
{
	int saved = errno;

	if (!quiet_is_on())
		atomic_store(&forking_pid, (uint32_t)getpid());
	fork_note();
	if (forks_own_memory())
		held_before_fork();
	errno = saved;
}

void fork_in_parent(void)
{
	int saved = errno;

	if (forks_own_memory())
		held_after_fork();
	errno = saved;
}

bool fork_parent_lives(void)
{
	uint32_t parent = atomic_load_explicit(&parent_pid, memory_order_relaxed);

	return parent != 0 && parent == (uint32_t)getppid();
}

void fork_shares_files(void)
{
	atomic_store(&files_are_shared, true);
}

bool fork_files_are_shared(void)
{
	return atomic_load_explicit(&files_are_shared, memory_order_relaxed);
}

void fork_in_child(void)
{
	int saved = errno;

	atomic_store(&spawns, 0);
	if (quiet_is_on()) {
		held_forked(); /* the page's pid is asked for no more */
	} else if (page) {
		atomic_store(&parent_pid, atomic_load(&forking_pid));
		atomic_store(&files_are_shared, false);
		atomic_store(&numbers_repeat, false);
		memory_is_lent = false;
		atomic_store(&page->pid, (uint32_t)getpid());
		lifecycle_forked();
	}
	errno = saved;
}

/* Neither libc has both, and a library that names one as its own cannot be loaded by the other. */
extern int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library)
	__attribute__((weak)); /* glibc */
#pragma weak pthread_atfork    /* musl */

static void register_handlers(void)
{
	if (__register_atfork)
		__register_atfork(fork_before, fork_in_parent, fork_in_child, NULL); /* NULL: never unloaded */
	else if (pthread_atfork)
		pthread_atfork(fork_before, fork_in_parent, fork_in_child);
}

void fork_init(void)
{
	struct fork_page *fresh = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (fresh == MAP_FAILED)
		fresh = &never_wiped;
	else if (madvise(fresh, PAGE_BYTES, MADV_WIPEONFORK) != 0)
		fresh = &never_wiped; /* the page stays mapped, unused */
	atomic_store(&fresh->pid, (uint32_t)getpid());
	page = fresh;
	register_handlers();
}
