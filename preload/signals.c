/* SPDX-License-Identifier: BSD-2-Clause */
/* What the application's handlers want: see signals.h.
 *
 * Two bitmaps, bit n - 1 for signal n. The kernel is asked after each change instead of working out what sigset() or
 * siginterrupt() did: two threads that change one signal at a time then both store what is true.
 */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIGNALS 64
#define MASK_BYTES (SIGNALS / 8)

/* As the kernel has it; the mask and, where there is one, the restorer follow. */
struct kernel_action {
	void *handler;
	unsigned long flags;
	unsigned long rest[2 + MASK_BYTES / sizeof(unsigned long)];
};

static _Atomic uint64_t interrupting, restarting;

/* Raised by the instruction that faults, not from outside while a call sleeps: a crash handler must not make EINTR of a
 * wake-up that nobody can explain. */
static bool is_fault(int number)
{
	return number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE || number == SIGTRAP;
}

static void set_bit(_Atomic uint64_t *map, int number, bool value)
{
	uint64_t bit = UINT64_C(1) << (number - 1);

	if (value)
		atomic_fetch_or(map, bit);
	else
		atomic_fetch_and(map, ~bit);
}

void signals_changed(int number)
{
	struct kernel_action action = { 0 };
	int saved = errno;

	if (number < 1 || number > SIGNALS || is_fault(number))
		return;
	/* Raw: libc hides the two signals that it keeps for itself. */
	if (syscall(SYS_rt_sigaction, number, NULL, &action, MASK_BYTES) == 0) {
		bool handled = action.handler != (void *)SIG_DFL && action.handler != (void *)SIG_IGN;

		set_bit(&interrupting, number, handled && !(action.flags & SA_RESTART));
		set_bit(&restarting, number, handled && (action.flags & SA_RESTART));
	}
	errno = saved;
}

void signals_init(void)
{
	for (int number = 1; number <= SIGNALS; number++)
		signals_changed(number);
}

bool signals_any_interrupts(void)
{
	return atomic_load_explicit(&interrupting, memory_order_relaxed) != 0;
}

bool signals_any_restarts(void)
{
	return atomic_load_explicit(&restarting, memory_order_relaxed) != 0;
}
