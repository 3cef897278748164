/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions that install signal handlers: what they do is libc's, signals.c only takes notice. */
#include "intercept.h"

#include "fork.h"
#include "signals.h"

/* conn_table is NULL before the constructor, which asks for all signals, and with SMACCEL=off. A vfork child has handlers of its
 * own but its parent's memory (Python's subprocess resets some there). */
static void notice(bool done, int number)
{
	if (done && conn_table && !fork_in_vfork_child())
		signals_changed(number);
}

int wrap_sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	int result = REAL(sigaction)(number, action, old);

	notice(result == 0 && action, number);
	return result;
}

int wrap___sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
	int result = REAL(__sigaction)(number, action, old);

	notice(result == 0 && action, number);
	return result;
}

sighandler_t wrap_signal(int number, sighandler_t handler)
{
	sighandler_t result = REAL(signal)(number, handler);

	notice(result != SIG_ERR, number);
	return result;
}

sighandler_t wrap_bsd_signal(int number, sighandler_t handler)
{
	sighandler_t result = REAL(bsd_signal)(number, handler);

	notice(result != SIG_ERR, number);
	return result;
}

sighandler_t wrap_ssignal(int number, sighandler_t handler)
{
	sighandler_t result = REAL(ssignal)(number, handler);

	notice(result != SIG_ERR, number);
	return result;
}

sighandler_t wrap_sysv_signal(int number, sighandler_t handler)
{
	sighandler_t result = REAL(sysv_signal)(number, handler);

	notice(result != SIG_ERR, number);
	return result;
}

sighandler_t wrap___sysv_signal(int number, sighandler_t handler)
{
	sighandler_t result = REAL(__sysv_signal)(number, handler);

	notice(result != SIG_ERR, number);
	return result;
}

sighandler_t wrap_sigset(int number, sighandler_t handler)
{
	sighandler_t result = REAL(sigset)(number, handler);

	notice(result != SIG_ERR, number);
	return result;
}

int wrap_sigignore(int number)
{
	int result = REAL(sigignore)(number);

	notice(result == 0, number);
	return result;
}

int wrap_siginterrupt(int number, int interrupts)
{
	int result = REAL(siginterrupt)(number, interrupts);

	notice(result == 0, number);
	return result;
}
