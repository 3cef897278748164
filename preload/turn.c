/* SPDX-License-Identifier: BSD-2-Clause */
/* Turns of senders: see turn.h. */
#include "turn.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "clock.h"
#include "raw_syscall.h"
#include "real.h"
#include "threads.h"

#define LOOKS 100u /* at once; a send of a small message takes some microseconds */
#define SPIN_US 20
#define NAP_NS 100000

/* Who sends without a pause takes the turn again before one that it wakes has a CPU. That is left so, as it is the fastest for all of them, until a
 * waiter has waited for so long; then it is handed over, and so not more often than that. */
#define STARVED_US 1000
#define STEP_NS 1000000   /* of one that will be woken: between looks for room */
#define GIVE_WAY_US 20000 /* to one that starves: it may have been killed, and may have to wait for a CPU */
/* Others took turns, all in good time: who writes to the word what it likes must not keep this one for ever, and a call that is not to sleep
 * hardly at all. */
#define TURN_WAIT_MAX_MS 2000
#define TURN_WAIT_BRIEF_MS 20

/* Connections that come one after the other have words on different lines. */
#define WORDS MEMORY_CELLS
#define WORDS_TOGETHER 1024u
#define WORDS_IN_LINE 16u

/* A token, from the lowest bit on: the number of the thread's slot, how many threads have had that, and which of its turns it is. Beside it a
 * bit that another sender sets who starves; alone, the turn is free, for that one. */
#define NUMBER_BITS 13
#define USERS_BITS 8
#define THREAD_BITS (NUMBER_BITS + USERS_BITS)
#define WANTED 0x80000000u
/* What the kernel saves of a thread on its stack before a handler runs is more than that, on any machine; ways to a send differ by less. */
#define SIGNAL_FRAME_LEAST 1024u
/* A token of another process looks like any thread's of this one, but hardly like one of the last few of a slot. */
#define LATER_MAX 8u

/* Where on its stack this thread has taken its last turn, and which it was: a handler may have taken one of another connection since. */
static __thread uintptr_t taken_at __attribute__((tls_model("initial-exec")));
static __thread uint32_t taken_token __attribute__((tls_model("initial-exec")));
static _Atomic uint32_t words[WORDS];
static _Atomic bool is_used[WORDS / WORDS_TOGETHER]; /* some of those that are together were taken */
static _Atomic uint32_t process_token;               /* 0: not made yet */

static uint32_t token_of_process(void)
{
	uint32_t token = atomic_load_explicit(&process_token, memory_order_relaxed), none = 0;

	if (token)
		return token;
	token = ((uint32_t)raw_syscall(SYS_gettid) * 2654435761u ^ (uint32_t)clock_us()) | 1;
	return atomic_compare_exchange_strong(&process_token, &none, token) ? token : none;
}

static uint32_t low_bits(uint32_t value, unsigned int bits)
{
	return value & ((1u << bits) - 1);
}

/* Of this thread's next turn, so that nobody takes away one turn of a thread who has looked at an earlier one. Those for which there was no slot
 * have one token together: they do not wait for each other. */
static uint32_t next_token(void)
{
	uint32_t number = thread_slot_number(thread_self), thread = 0;

	if (number != THREAD_NUMBER_NONE)
		thread = (number + 1) |
			 low_bits(atomic_load_explicit(&thread_self->users, memory_order_relaxed), USERS_BITS)
				 << NUMBER_BITS |
			 (atomic_load_explicit(&thread_self->turns, memory_order_relaxed) + 1) << THREAD_BITS;
	uint32_t token = (token_of_process() ^ thread) & ~WANTED;

	return token ? token : 1;
}

/* In place: the frame is that of who calls. */
static inline __attribute__((always_inline)) bool try_to_take(_Atomic uint32_t *word, uint32_t *holder, uint32_t token)
{
	if (!atomic_compare_exchange_strong(word, holder, token))
		return false;
	if (thread_self)
		atomic_fetch_add_explicit(&thread_self->turns, 1, memory_order_relaxed);
	taken_at = (uintptr_t)__builtin_frame_address(0);
	atomic_signal_fence(memory_order_seq_cst); /* a handler in between knows the token not yet */
	taken_token = token & ~WANTED;
	return true;
}

/* A thread of this process has it that has ended, was cancelled or has left by siglongjmp, and is in no call any more. */
static bool is_left(uint32_t holder)
{
	uint32_t thread = holder ^ token_of_process(), number = low_bits(thread, NUMBER_BITS);
	struct thread_slot *slot = number ? thread_slot_at(number - 1) : NULL;

	if (!slot)
		return false;
	uint32_t later = low_bits(atomic_load(&slot->users) - (thread >> NUMBER_BITS), USERS_BITS);
	return later ? later < LATER_MAX : atomic_load(&slot->tid) == 0 || atomic_load(&slot->inside) == 0;
}

static _Atomic uint32_t *own_word(const struct conn *conn)
{
	const uint32_t lines = WORDS / WORDS_IN_LINE;
	uint32_t number = conn->index % lines * WORDS_IN_LINE + conn->index / lines % WORDS_IN_LINE;

	if (!atomic_load_explicit(&is_used[number / WORDS_TOGETHER], memory_order_relaxed))
		atomic_store(&is_used[number / WORDS_TOGETHER], true);
	return &words[number];
}

/* NULL: no other process can be at work. */
static _Atomic uint32_t *shared_word(const struct conn *conn, struct ledger_cell *ledger)
{
	return ledger && !lifecycle_alone_by_forks(conn) ? &ledger_own(conn, ledger)->sender : NULL;
}

void turn_forked(void)
{
	if (!atomic_exchange(&process_token, 0))
		return;
	/* A page that holds none is not to be copied. */
	for (uint32_t i = 0; i < WORDS; i++) {
		if (!atomic_load_explicit(&is_used[i / WORDS_TOGETHER], memory_order_relaxed))
			i += WORDS_TOGETHER - 1;
		else if (atomic_load_explicit(&words[i], memory_order_relaxed))
			atomic_store(&words[i], 0);
	}
}

/* There is room, and the connection has not ended: it is not for want of it that the other one is still at work. POLLERR alone may be the error
 * queue's. */
static bool has_room(int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLOUT };

	return real_poll(&poller, 1, 0) == 1 && (poller.revents & POLLOUT) && !(poller.revents & POLLHUP);
}

/* The send in which this thread has taken that turn, its last one, is no more: what calls here is not below it on the stack. */
static bool was_left(uint32_t holder, const void *frame)
{
	stack_t stack;

	return (holder & ~WANTED) == taken_token && (uintptr_t)frame + SIGNAL_FRAME_LEAST > taken_at &&
	       sigaltstack(NULL, &stack) == 0 && !(stack.ss_flags & SS_ONSTACK);
}

bool turn_take_word(_Atomic uint32_t *word, struct turn *turn)
{
	uint32_t token = next_token(), holder = 0;

	if (try_to_take(word, &holder, token)) {
		*turn = (struct turn){ .word = word, .token = token };
		return true;
	}
	if (holder == WANTED || low_bits(holder ^ token, THREAD_BITS) != 0)
		return false;
	/* Its own, from a send that it has left by siglongjmp; or this is a handler in the middle of that send, which does without. */
	token |= holder & WANTED;
	if (thread_slot_number(thread_self) != THREAD_NUMBER_NONE && was_left(holder, __builtin_frame_address(0)) &&
	    try_to_take(word, &holder, token))
		*turn = (struct turn){ .word = word, .token = token & ~WANTED };
	return true;
}

bool turn_take(const struct conn *conn, struct ledger_cell *ledger, struct turn *turn)
{
	_Atomic uint32_t *shared = shared_word(conn, ledger);
	struct turn own = { .word = NULL };

	if (!shared || !libc_single_threaded()) {
		if (!turn_take_word(own_word(conn), shared ? &own : turn))
			return false;
		if (!shared)
			return true;
	}
	if (!turn_take_word(shared, turn)) {
		turn_end(&own);
		return false;
	}
	turn->own = own.word;
	turn->own_token = own.token;
	return true;
}

static void wake_all(_Atomic uint32_t *word)
{
	int saved = errno;

	raw_syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	errno = saved;
}

void turn_hand_over(const struct turn *turn)
{
	uint32_t seen = turn->token;

	/* Whoever starves says so, or says it no more, at any moment. */
	while ((seen & ~WANTED) == turn->token) {
		if (!atomic_compare_exchange_weak(turn->word, &seen, seen & WANTED))
			continue;
		if (seen & WANTED)
			wake_all(turn->word);
		return;
	}
}

/* A thread that waits. */
struct waiter {
	int64_t begun_us;
	int64_t given_way_us; /* since when; 0: nobody else starves */
	int64_t deadline_us;  /* of holder */
	uint32_t holder;
	bool starves; /* and has said so */
};

static bool may_take(struct waiter *waiter, uint32_t word, int64_t now_us)
{
	uint32_t holder = word & ~WANTED;

	if (!word || (!holder && waiter->starves))
		return true;
	if (!holder) {
		if (!waiter->given_way_us)
			waiter->given_way_us = now_us;
		return now_us - waiter->given_way_us > GIVE_WAY_US;
	}
	waiter->given_way_us = 0;
	if (holder != waiter->holder) {
		waiter->holder = holder;
		waiter->deadline_us = now_us + TURN_TAKEN_MS * 1000;
	}
	return now_us > waiter->deadline_us || is_left(holder);
}

static void pause_for(_Atomic uint32_t *turn, struct waiter *waiter, uint32_t word, int64_t now_us)
{
	struct timespec step = { .tv_nsec = NAP_NS };

	if (word != WANTED && now_us - waiter->begun_us > STARVED_US) {
		waiter->starves = true;
		if (!(word & WANTED) && !atomic_compare_exchange_strong(turn, &word, word | WANTED))
			return;
		word |= WANTED;
		step.tv_nsec = STEP_NS;
	}
	raw_syscall(SYS_futex, turn, FUTEX_WAIT, word, &step, NULL, 0);
}

/* The others need not give way to it any more. */
static void want_no_more(_Atomic uint32_t *turn, const struct waiter *waiter)
{
	if (waiter->starves && (atomic_fetch_and(turn, ~WANTED) & WANTED))
		wake_all(turn);
}

static struct turn wait_for_word(_Atomic uint32_t *word, int fd, int64_t wait_max_us)
{
	struct turn turn = { .word = word, .token = next_token() };
	struct waiter waiter = { 0 };
	int saved = errno;

	for (unsigned looks = 0;; looks++) {
		uint32_t seen = atomic_load_explicit(word, memory_order_relaxed);
		int64_t now_us = looks < LOOKS ? 0 : clock_us();

		if (looks == LOOKS)
			waiter.begun_us = now_us;
		if (looks < LOOKS ? seen == 0 : may_take(&waiter, seen, now_us)) {
			if (!try_to_take(word, &seen, turn.token))
				continue;
			break;
		}
		if (looks < LOOKS)
			continue;
		turn.gave_up = now_us - waiter.begun_us > wait_max_us;
		if (turn.gave_up || !has_room(fd)) {
			want_no_more(word, &waiter);
			turn.word = NULL;
			break;
		}
		/* sched_yield(2) may take some ms, where others want the CPU. */
		if (now_us - waiter.begun_us >= SPIN_US)
			pause_for(word, &waiter, seen, now_us);
	}
	errno = saved;
	return turn;
}

struct turn turn_wait(const struct conn *conn, struct ledger_cell *ledger, int fd, bool may_sleep)
{
	_Atomic uint32_t *shared = shared_word(conn, ledger);
	struct turn own = { .word = NULL }, turn;

	if (!shared || !libc_single_threaded())
		own = wait_for_word(own_word(conn), fd, TURN_WAIT_MAX_MS * 1000);
	if (!shared || own.gave_up)
		return own;
	turn = wait_for_word(shared, fd, (may_sleep ? TURN_WAIT_MAX_MS : TURN_WAIT_BRIEF_MS) * 1000);
	turn.own = own.word;
	turn.own_token = own.token;
	return turn;
}
