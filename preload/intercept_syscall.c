/* SPDX-License-Identifier: BSD-2-Clause */
/* libc's syscall(), which some use for the end of the process, for another program or for a fork, libuv for each close, and libseccomp and
 * others for a filter of system calls (seccomp(2)); and prctl, where a filter can come from as well. And to set an option past setsockopt().
 *
 * The shim takes leave before a filter, since afterwards it must not (quiet.h). Questions that install nothing are not meant:
 * libseccomp asks what the kernel supports by calls that must fail.
 */
#include "intercept.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "fork.h"
#include "intercept_close.h"
#include "intercept_exit.h"
#include "intercept_fork.h"
#include "intercept_process.h"
#include "intercept_signal.h"
#include "lifecycle.h"
#include "mode.h"
#include "option.h"
#include "quiet.h"

/* A vfork child's connections are its parent's, which goes on without a filter; the child's next program finds out for
 * itself. */
static void before_filter(void)
{
	if (conn_table() && !fork_in_vfork_child())
		quiet_begin(REASON_SECCOMP);
}

int wrap_prctl(int operation, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	if (__builtin_expect(operation == PR_SET_SECCOMP, 0) && (a == SECCOMP_MODE_STRICT || b != 0))
		before_filter();
	return REAL(prctl)(operation, a, b, c, d);
}

/* Of seccomp(2). Strict mode takes neither flags nor a filter, the other mode wants one: else the kernel refuses the call. */
static bool installs_filter(long operation, long flags, long filter)
{
	return operation == SECCOMP_SET_MODE_STRICT ? flags == 0 && filter == 0
						    : operation == SECCOMP_SET_MODE_FILTER && filter != 0;
}

static void __attribute__((used)) before_call(int number, long a, long b, long c)
{
	if (number == __NR_exit_group)
		lifecycle_before_exit(false);
	else if (number == __NR_exit)
		intercept_thread_ends();
	else if (number == __NR_unshare)
		intercept_unshares(a);
	else if (number == __NR_clone || number == __NR_clone3)
		fork_note(); /* the second's kind is in memory that may not be there: a fork for all this process knows */
	else if (number == __NR_setsockopt)
		option_may_change((int)a, (int)b, (int)c);
	else if ((number == __NR_fcntl && b == F_SETFL) || (number == __NR_ioctl && (unsigned int)b == FIONBIO))
		mode_changes_unseen((int)a);
	else if ((number == __NR_seccomp && installs_filter(a, b, c)) ||
		 (number == __NR_prctl && a == PR_SET_SECCOMP && (b == SECCOMP_MODE_STRICT || c != 0)))
		before_filter();
}

#if defined(__x86_64__)
#define TEXT(token) #token
#define TEXT_OF(macro) TEXT(macro)
#define IF_NUMBER(number, label)                                                                                       \
	"	cmp	$" TEXT_OF(number) ", %edi\n"                                                                  \
					   "	je	" label "\n"
/* The frame has grown by so much: for who unwinds. */
#ifdef __GCC_HAVE_DWARF2_CFI_ASM
#define FRAME_GROWS(bytes) "	.cfi_adjust_cfa_offset " #bytes "\n"
#else
#define FRAME_GROWS(bytes) ""
#endif

/* The seventh argument is on the stack. Not to be touched: where fewer were passed the caller's variables are there, and maybe
 * the futex that the call is about. In C it would be written back. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
__attribute__((naked)) long wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	/* clang-format off */
	__asm__(IF_NUMBER(__NR_seccomp, "1f")
		IF_NUMBER(__NR_exit_group, "1f")
		IF_NUMBER(__NR_exit, "1f")
		IF_NUMBER(__NR_unshare, "1f")
		IF_NUMBER(__NR_clone3, "1f")
		IF_NUMBER(__NR_setsockopt, "1f")
		IF_NUMBER(__NR_fcntl, "1f")
		IF_NUMBER(__NR_ioctl, "1f")
		IF_NUMBER(__NR_prctl, "1f")
		IF_NUMBER(__NR_rt_sigaction, "9f")
		IF_NUMBER(__NR_clone, "3f")
		IF_NUMBER(__NR_fork, "4f")
		IF_NUMBER(__NR_close, "5f")
		IF_NUMBER(__NR_close_range, "6f")
		IF_NUMBER(__NR_dup2, "8f")
		IF_NUMBER(__NR_dup3, "8f")
		IF_NUMBER(__NR_execve, "7f")
		IF_NUMBER(__NR_execveat, "7f")
		"0:	mov	real_syscall(%rip), %rax\n" /* REAL(syscall) */
		"	test	%rax, %rax\n"
		"	jz	2f\n"
		"	jmp	*%rax\n"
		"1:	push	%rdi\n	push	%rsi\n	push	%rdx\n"
		"	push	%rcx\n	push	%r8\n	push	%r9\n"
		"	sub	$8, %rsp\n" /* a multiple of 16 at a call */
		FRAME_GROWS(56)
		"	call	before_call\n"
		"	add	$8, %rsp\n"
		"	pop	%r9\n	pop	%r8\n	pop	%rcx\n"
		"	pop	%rdx\n	pop	%rsi\n	pop	%rdi\n"
		FRAME_GROWS(-56)
		"	jmp	0b\n"
		"2:	jmp	boot_syscall\n"
		"3:	test	$" TEXT_OF(CLONE_VM) ", %esi\n" /* it would return into frames that the parent goes on to use */
		"	jnz	0b\n"
		"	test	$" TEXT_OF(CLONE_SETTLS) ", %esi\n" /* storage that libc, maybe, has not made */
		"	jnz	1b\n"
		"	test	%rdx, %rdx\n" /* its own stack, which has no frames of ours */
		"	jnz	1b\n"
		"4:	jmp	intercept_fork_by_call\n"
		"5:	jmp	intercept_close_by_call\n"
		"6:	jmp	intercept_close_range_by_call\n"
		"7:	jmp	intercept_exec_by_call\n"
		"8:	jmp	intercept_dup_by_call\n"
		"9:	jmp	intercept_sigaction_by_call\n");
	/* clang-format on */
}
#pragma GCC diagnostic pop
#else
/* All arguments are in registers: a jump, again. */
long wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	bool forks = number == __NR_clone && !(a & CLONE_VM);

	if (forks && !(a & CLONE_SETTLS) && !b)
		return intercept_fork_by_call(number, a, b, c, d, e);
	if (number == __NR_close)
		return intercept_close_by_call(number, a);
	if (number == __NR_close_range)
		return intercept_close_range_by_call(number, a, b, c);
#ifdef __NR_dup2
	if (number == __NR_dup2)
		return intercept_dup_by_call(number, a, b, 0);
#endif
	if (number == __NR_dup3)
		return intercept_dup_by_call(number, a, b, c);
	if (number == __NR_rt_sigaction)
		return intercept_sigaction_by_call(number, a, b, c, d);
	if (number == __NR_execve || number == __NR_execveat)
		return intercept_exec_by_call(number, a, b, c, d, e);
	if (__builtin_expect(forks || number == __NR_seccomp || number == __NR_exit_group || number == __NR_exit ||
				     number == __NR_unshare || number == __NR_clone3 || number == __NR_setsockopt ||
				     number == __NR_fcntl || number == __NR_ioctl || number == __NR_prctl,
			     0))
		before_call(number, a, b, c);
	return REAL(syscall)(number, a, b, c, d, e, f);
}
#endif
