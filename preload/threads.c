/* SPDX-License-Identifier: BSD-2-Clause */
/* Thread slots: see threads.h. */
#include "threads.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <linux/stat.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "held.h"
#include "libc.h"
#include "raw_syscall.h"

#define SLOTS 4096

static struct thread_slot slots[SLOTS] __attribute__((aligned(64)));
static struct thread_slot slot_shared;    /* for threads beyond SLOTS: nobody can say where they are */
static _Atomic uint32_t slots_used;       /* high-water mark */
static _Atomic uint32_t slots_overflowed; /* threads beyond SLOTS that have not ended */
static pthread_key_t exit_key;
static bool exit_key_valid;

__thread struct thread_slot *thread_self __attribute__((tls_model("initial-exec")));

static int32_t ask_tid(void)
{
	return (int32_t)raw_syscall(SYS_gettid);
}

int32_t thread_tid(void)
{
	int32_t tid = thread_self ? atomic_load_explicit(&thread_self->tid, memory_order_relaxed) : 0;

	return tid ? tid : ask_tid(); /* the shared slot is nobody's */
}

/* A folder of so many links as there are threads, and two: proc_task_getattr(). */
bool threads_are_several(void)
{
	struct statx tasks;
	int saved = errno;
	bool result = !libc_single_threaded() &&
		      (raw_syscall(SYS_statx, AT_FDCWD, "/proc/self/task", 0, STATX_NLINK, &tasks) != 0 ||
		       tasks.stx_nlink != 3);

	errno = saved;
	return result;
}

struct thread_slot *thread_slot_at(uint32_t number)
{
	return number < atomic_load(&slots_used) ? &slots[number] : NULL;
}

uint32_t thread_slot_number(const struct thread_slot *slot)
{
	uintptr_t distance = (uintptr_t)slot - (uintptr_t)slots;

	return distance < sizeof(slots) ? (uint32_t)(distance / sizeof(slots[0])) : THREAD_NUMBER_NONE;
}

static void thread_exited(void *value)
{
	struct thread_slot *slot = value;

	if (slot == &slot_shared) {
		thread_self = NULL;
		atomic_fetch_sub(&slots_overflowed, 1);
		return;
	}
	held_drop(slot);
	atomic_store(&slot->inside, 0);
	thread_self = NULL;
	atomic_store(&slot->tid, 0);
}

void threads_init(void)
{
	exit_key_valid = pthread_key_create(&exit_key, thread_exited) == 0;
	raw_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

struct thread_slot *thread_register(void)
{
	int32_t tid = ask_tid();

	for (uint32_t i = 0; i < SLOTS && exit_key_valid; i++) {
		int32_t expected = 0;

		if (atomic_load_explicit(&slots[i].tid, memory_order_relaxed) != 0 ||
		    !atomic_compare_exchange_strong(&slots[i].tid, &expected, tid))
			continue;
		uint32_t used = atomic_load(&slots_used);
		while (used < i + 1 && !atomic_compare_exchange_weak(&slots_used, &used, i + 1))
			;
		atomic_fetch_add(&slots[i].users, 1);
		thread_self = &slots[i];
		pthread_setspecific(exit_key, thread_self);
		return thread_self;
	}
	atomic_fetch_add(&slots_overflowed, 1);
	thread_self = &slot_shared;
	if (exit_key_valid)
		pthread_setspecific(exit_key, thread_self);
	return thread_self;
}

void threads_forked(void)
{
	uint32_t used = atomic_load(&slots_used);

	for (uint32_t i = 0; i < used; i++) {
		if (&slots[i] == thread_self) {
			atomic_store(&slots[i].tid, ask_tid());
			continue;
		}
		atomic_store(&slots[i].inside, 0);
		atomic_store(&slots[i].tid, 0);
	}
	atomic_store(&slots_overflowed, thread_self == &slot_shared);
}

/* No other thread has ever made a call on a connection. One that makes its first just now registers before it marks itself,
 * by a locked operation on slots_used: if that is not seen here, the thread sees what the caller has made of the state. */
static bool is_only_thread(void)
{
	uint32_t used = atomic_load(&slots_used);

	return used == 0 || (used == 1 && thread_self == &slots[0]);
}

bool threads_others_inside(uint32_t conn_index)
{
	if (atomic_load(&slots_overflowed))
		return true;
	if (is_only_thread())
		return false;
	if (raw_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
		/* Not registered (a fork through a raw clone), or filtered: without it nothing can be shown. */
		if (raw_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0 ||
		    raw_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0)
			return true;
	}
	uint32_t used = atomic_load(&slots_used);
	for (uint32_t i = 0; i < used; i++) {
		if (&slots[i] != thread_self && atomic_load(&slots[i].inside) == conn_index)
			return true;
	}
	return false;
}

uint32_t threads_count_inside(uint32_t conn_index)
{
	uint32_t used = atomic_load(&slots_used), count = 0;

	for (uint32_t i = 0; i < used; i++)
		count += &slots[i] != thread_self && atomic_load(&slots[i].inside) == conn_index;
	return count;
}
