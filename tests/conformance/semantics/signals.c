/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals that are faults, if the kernel sends them: sent by another thread they end a sleeping call as any other does. And handlers that no function
 * of libc has installed. */
#include "semantics.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define FAULTS 20

/* A handler without SA_RESTART. */
static void sent(struct pair *pair, int number)
{
	handle(number, 0);
	later_signal(SOON_MS, number);
	later_put(4 * SOON_MS, pair->a, "hello");
	get("interrupted", pair->b, 64, 0);
	note("handled", "%d", handled);
	get("next", pair->b, 64, 0);
}

static int told_code, told_number;
static void be_told(int number, siginfo_t *information, void *context)
{
	(void)context;
	told_number = number;
	told_code = information->si_code;
	handled++;
}

static void sent_informed(struct pair *pair, int number)
{
	struct sigaction action = { .sa_sigaction = be_told, .sa_flags = SA_SIGINFO }, before;

	sigaction(number, &action, NULL);
	later_signal(SOON_MS, number);
	later_put(4 * SOON_MS, pair->a, "hello");
	get("interrupted", pair->b, 64, 0);
	note("told", "%d %d, %d times", told_number, told_code, (int)handled);
	sigaction(number, NULL, &before);
	note("is-shown", "%s", before.sa_sigaction == be_told ? "yes" : "no");
	get("next", pair->b, 64, 0);
}

static char *withheld;
static sigjmp_buf escape;

static void repair(int number, siginfo_t *information, void *context)
{
	(void)number;
	(void)context;
	handled += information->si_code == SEGV_ACCERR && information->si_addr == withheld;
	mprotect(withheld, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE);
}

static void leave(int number)
{
	siglongjmp(escape, number);
}

/* Faults of its own between calls, which a handler repairs or leaves by a jump; the calls go on, and none is interrupted. */
static void faults(struct pair *pair, int jumps)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	struct sigaction action = { .sa_flags = jumps ? 0 : SA_SIGINFO };
	volatile int jumped = 0;

	if (jumps)
		action.sa_handler = leave;
	else
		action.sa_sigaction = repair;
	sigaction(SIGSEGV, &action, NULL);
	withheld = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (volatile int i = 0; i < FAULTS; i++) {
		mprotect(withheld, bytes, PROT_NONE);
		if (!jumps || sigsetjmp(escape, 1) == 0)
			*(volatile char *)withheld = 1;
		else
			jumped++;
		put(pair->a, "hello");
		get("receive", pair->b, 64, 0);
	}
	note("handled", "%d, jumped %d", (int)handled, jumped);
	later_put(SOON_MS, pair->a, "later");
	get("asleep", pair->b, 64, 0);
}

/* As the kernel takes it; the restorer is libc's. */
struct kernel_action {
	void *handler;
	unsigned long flags, rest[2];
};
#define MASK_BYTES 8

static void count(int number)
{
	(void)number;
	handled++;
}

/* By libc's syscall(), in the place of the one that sigaction() has installed. */
static void installed_by_call(struct pair *pair, int number)
{
	struct kernel_action action, old;

	handle(number, SA_RESTART);
	TRY("ask", syscall(SYS_rt_sigaction, number, NULL, &action, MASK_BYTES));
	action.handler = (void *)count;
	action.flags &= ~(unsigned long)SA_RESTART;
	TRY("install", syscall(SYS_rt_sigaction, number, &action, &old, MASK_BYTES));
	TRY("ask-again", syscall(SYS_rt_sigaction, number, NULL, &action, MASK_BYTES));
	note("is-shown", "%s", action.handler == (void *)count ? "yes" : "no");
	later_signal(SOON_MS, number);
	later_put(4 * SOON_MS, pair->a, "hello");
	get("interrupted", pair->b, 64, 0);
	note("handled", "%d", handled);
	get("next", pair->b, 64, 0);
	TRY("put-back", syscall(SYS_rt_sigaction, number, &old, NULL, MASK_BYTES));
	later_join();
	later_signal(SOON_MS, number);
	later_put(4 * SOON_MS, pair->a, "again");
	get("restarted", pair->b, 64, 0);
	note("handled", "%d", handled);
	TRY("bad", syscall(SYS_rt_sigaction, 0, NULL, &action, MASK_BYTES));
	TRY("bad", syscall(SYS_rt_sigaction, number, NULL, &action, 4));
}

static const struct semantics_case cases[] = {
	{ "signal-sent-abrt", sent, SIGABRT, 0 },
	{ "signal-sent-segv", sent, SIGSEGV, 0 },
	{ "signal-sent-trap", sent, SIGTRAP, 0 },
	{ "signal-sent-sys", sent, SIGSYS, 0 },
	{ "signal-sent-bus-informed", sent_informed, SIGBUS, 0 },
	{ "signal-sent-fpe-informed", sent_informed, SIGFPE, 0 },
	{ "signal-sent-ill-informed", sent_informed, SIGILL, 0 },
	{ "signal-fault-repaired", faults, 0, 0 },
	{ "signal-fault-jump", faults, 1, 0 },
	{ "signal-installed-by-call", installed_by_call, SIGUSR1, 0 },
};
FAMILY(signals);
