/* SPDX-License-Identifier: BSD-2-Clause */
/* Which thread of this process is inside a call on which connection.
 *
 * Each thread marks itself with plain stores in a slot of its own; who needs to know (a join, an attach: rare) runs
 * membarrier(PRIVATE_EXPEDITED), which makes every mark that precedes a look at the connection's state visible, and
 * scans. A count per connection would be left wrong for all by fork, SIGKILL and siglongjmp; a mark dies with its thread.
 *
 * One that siglongjmp leaves behind stays until then: the thread's later calls put it back at their end (thread_leave()), and take the long way
 * (transfer_short_mark()). To the other threads it is inside the connection of that index, which does not join, get its ledger or settle its
 * accounts in their calls. That is the safe side.
 */
#ifndef SMACCEL_THREADS_H
#define SMACCEL_THREADS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct thread_slot {
	_Atomic int32_t tid;     /* 0: free */
	_Atomic uint32_t inside; /* index of a conn, or 0 */
	_Atomic uint64_t held;   /* held.h */
	uint64_t held_cookie;
	_Atomic uint32_t users; /* threads that have had it, which wraps */
	_Atomic uint32_t turns; /* that they have taken (turn.h), likewise */
	uint32_t padding[8];
};

extern __thread struct thread_slot *thread_self __attribute__((tls_model("initial-exec")));

/* Whether the process has others than this one, in a shim's call or not; also if /proc is not there to say so. A system call. */
bool threads_are_several(void);

void threads_init(void);
struct thread_slot *thread_register(void); /* never NULL */
void threads_forked(void);                 /* child: only this thread is left */
int32_t thread_tid(void);
/* Each slot that a thread ever had; NULL: there are no more. */
struct thread_slot *thread_slot_at(uint32_t number);
#define THREAD_NUMBER_NONE UINT32_MAX
uint32_t thread_slot_number(const struct thread_slot *slot); /* THREAD_NUMBER_NONE: it is not one thread's own */

/* The mark itself, on a slot of this thread's own. */
static inline void thread_mark(struct thread_slot *slot, uint32_t conn_index)
{
	atomic_store_explicit(&slot->inside, conn_index, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst); /* the other half of the fence is the scanner's membarrier */
}
static inline void thread_mark_end(struct thread_slot *slot, uint32_t previous)
{
	/* Who sees the mark gone sees what the call has done. */
	atomic_store_explicit(&slot->inside, previous, memory_order_release);
}

/* Marks this thread; returns what thread_leave() must restore (calls nest in signal handlers). The caller looks at the
 * connection's state only after this. */
static inline uint32_t thread_enter(uint32_t conn_index)
{
	struct thread_slot *slot = thread_self ? thread_self : thread_register();
	uint32_t previous = atomic_load_explicit(&slot->inside, memory_order_relaxed);

	thread_mark(slot, conn_index);
	return previous;
}
static inline void thread_leave(uint32_t previous)
{
	thread_mark_end(thread_self, previous);
}

/* Whether a thread other than the caller is, or cannot be shown not to be, inside a call on the connection. The caller
 * has changed the connection's state first, so that threads that come later see that. */
bool threads_others_inside(uint32_t conn_index);
/* How many there are, at a glance: some may be about to come, or have just gone. */
uint32_t threads_count_inside(uint32_t conn_index);

#endif
