/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls past libc: no cancellation point, and no wrapper of ours (libc's own syscall() is one of the intercepted
 * symbols). Of use at any time, also before this library is relocated. */
#ifndef SMACCEL_RAW_SYSCALL_H
#define SMACCEL_RAW_SYSCALL_H

#define SIGNAL_MASK_BYTES 8 /* the kernel's sigset_t, which libc's is larger than */

/* In place, and as the kernel has it: -errno on failure. */
static inline __attribute__((always_inline)) long raw_system_call(long number, long a, long b, long c, long d, long e,
								  long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "+a"(number)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return number;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#elif defined(__riscv) && __riscv_xlen == 64
	register long a7 __asm__("a7") = number;
	register long a0 __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;
	register long a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;

	__asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
	return a0;
#else
#error "how are system calls made on this machine? libc's syscall() will not do: it is intercepted"
#endif
}

/* As libc's syscall(): -1 and errno on failure. */
long raw_call(long number, long a, long b, long c, long d, long e, long f);

#define RAW_PAD(number, a, b, c, d, e, f, ...)                                                                         \
	raw_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* raw_syscall(number, up to 6 arguments) */
#define raw_syscall(...) RAW_PAD(__VA_ARGS__, 0, 0, 0, 0, 0, 0)

#endif
