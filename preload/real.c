/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions behind the wrappers, and the stubs that stand in for them until the constructor has run.
 *
 * Three times of life, for each real_NAME:
 *  1. Before this library is relocated, when an IFUNC resolver of another library calls a wrapper: the pointer is NULL, REAL()
 *     takes boot_NAME; neither libc nor errno can be reached yet, so the system call is made in assembly. (NULL in .bss, because
 *     an initialised pointer would hold its unrelocated value.)
 *  2. Until the constructor: still NULL and boot_NAME. An allocator that reads a file in its own initialisation comes
 *     here; dlsym would call that allocator.
 *  3. After real_init(): libc's function, or that of the next preloaded library; boot_NAME where there is none.
 *
 * What is no system call (exec by PATH, posix_spawn, signal, fdopen), or another one than its name says (the kernel writes to the
 * time-outs of poll and select), is looked up by its stub on the spot: no allocator
 * calls these, and there is no other way to be right for a constructor that does.
 */
#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "hot.h"
#include "intercept.h"
#include "libc.h"
#include "raw_syscall.h"

#define RAW raw_syscall

static void *look_up(const char *name)
{
	void *symbol = dlsym(RTLD_NEXT, name);

	if (!symbol)
		dlerror(); /* the application must not find our failure there */
	return symbol;
}

/* A stub for what is no system call. */
#define LOOK_UP(name, failure, args)                                                                                   \
	({                                                                                                             \
		__typeof__(real_##name) found = (__typeof__(real_##name))look_up(#name);                               \
		if (!found)                                                                                            \
			errno = ENOSYS;                                                                                \
		found ? found args : (failure);                                                                        \
	})

/* The argument after the last named one; what was not passed is garbage that the kernel ignores, as in libc. */
#define NEXT_ARGUMENT(last)                                                                                            \
	({                                                                                                             \
		va_list list;                                                                                          \
		va_start(list, last);                                                                                  \
		void *argument = va_arg(list, void *);                                                                 \
		va_end(list);                                                                                          \
		argument;                                                                                              \
	})

/* One line a stub, in the order of intercept.def: the value of boot_NAME. */
#define BOOT_socket(domain, type, protocol) RAW(SYS_socket, domain, type, protocol)
#define BOOT_socketpair(domain, type, protocol, fds) RAW(SYS_socketpair, domain, type, protocol, fds)
#define BOOT_listen(fd, backlog) RAW(SYS_listen, fd, backlog)
#define BOOT_connect(fd, address, length) RAW(SYS_connect, fd, address, length)
#define BOOT_accept(fd, address, length) RAW(SYS_accept4, fd, address, length, 0)
#define BOOT_accept4(fd, address, length, flags) RAW(SYS_accept4, fd, address, length, flags)

#define BOOT_close(fd) RAW(SYS_close, fd)
#define BOOT_fclose(stream) LOOK_UP(fclose, EOF, (stream))
#define BOOT_close_range(first, last, flags) RAW(SYS_close_range, first, last, flags)
#define BOOT_unshare(flags) RAW(SYS_unshare, flags)
#define BOOT_closefrom(first) RAW(SYS_close_range, first < 0 ? 0 : first, UINT_MAX, 0)
#define BOOT_shutdown(fd, how) RAW(SYS_shutdown, fd, how)
#define BOOT_dup(oldfd) RAW(SYS_dup, oldfd)
/* dup3 refuses equal numbers, dup2 returns them if they are open. */
#define BOOT_dup2(oldfd, newfd)                                                                                        \
	(oldfd != newfd ? RAW(SYS_dup3, oldfd, newfd, 0) : RAW(SYS_fcntl, oldfd, F_GETFD) < 0 ? -1 : newfd)
#define BOOT_dup3(oldfd, newfd, flags) RAW(SYS_dup3, oldfd, newfd, flags)
#define BOOT_fcntl(fd, command) RAW(SYS_fcntl, fd, command, NEXT_ARGUMENT(command))
#define BOOT_fcntl64(fd, command) RAW(SYS_fcntl, fd, command, NEXT_ARGUMENT(command))

#define BOOT_read(fd, buffer, count) RAW(SYS_read, fd, buffer, count)
#define BOOT___read_chk(fd, buffer, count, room)                                                                       \
	(count > room ? (__builtin_trap(), 0) : RAW(SYS_read, fd, buffer, count))
#define BOOT_readv(fd, vector, count) RAW(SYS_readv, fd, vector, count)
#define BOOT_preadv2(fd, vector, count, offset, flags) RAW(SYS_preadv2, fd, vector, count, offset, 0, flags)
#define BOOT_preadv64v2(fd, vector, count, offset, flags) RAW(SYS_preadv2, fd, vector, count, offset, 0, flags)
#define BOOT_recv(fd, buffer, count, flags) RAW(SYS_recvfrom, fd, buffer, count, flags, 0, 0)
#define BOOT___recv_chk(fd, buffer, count, room, flags)                                                                \
	(count > room ? (__builtin_trap(), 0) : RAW(SYS_recvfrom, fd, buffer, count, flags, 0, 0))
#define BOOT_recvfrom(fd, buffer, count, flags, address, length)                                                       \
	RAW(SYS_recvfrom, fd, buffer, count, flags, address, length)
#define BOOT___recvfrom_chk(fd, buffer, count, room, flags, address, length)                                           \
	(count > room ? (__builtin_trap(), 0) : RAW(SYS_recvfrom, fd, buffer, count, flags, address, length))
#define BOOT_recvmsg(fd, message, flags) RAW(SYS_recvmsg, fd, message, flags)
#define BOOT_recvmmsg(fd, messages, count, flags, timeout) RAW(SYS_recvmmsg, fd, messages, count, flags, timeout)

#define BOOT_write(fd, buffer, count) RAW(SYS_write, fd, buffer, count)
#define BOOT_writev(fd, vector, count) RAW(SYS_writev, fd, vector, count)
#define BOOT_pwritev2(fd, vector, count, offset, flags) RAW(SYS_pwritev2, fd, vector, count, offset, 0, flags)
#define BOOT_pwritev64v2(fd, vector, count, offset, flags) RAW(SYS_pwritev2, fd, vector, count, offset, 0, flags)
#define BOOT_send(fd, buffer, count, flags) RAW(SYS_sendto, fd, buffer, count, flags, 0, 0)
#define BOOT_sendto(fd, buffer, count, flags, address, length)                                                         \
	RAW(SYS_sendto, fd, buffer, count, flags, address, length)
#define BOOT_sendmsg(fd, message, flags) RAW(SYS_sendmsg, fd, message, flags)
#define BOOT_sendmmsg(fd, messages, count, flags) RAW(SYS_sendmmsg, fd, messages, count, flags)
#define BOOT_sendfile(fd_out, fd_in, offset, count) RAW(SYS_sendfile, fd_out, fd_in, offset, count)
#define BOOT_sendfile64(fd_out, fd_in, offset, count) RAW(SYS_sendfile, fd_out, fd_in, offset, count)
#define BOOT_splice(fd_in, offset_in, fd_out, offset_out, count, flags)                                                \
	RAW(SYS_splice, fd_in, offset_in, fd_out, offset_out, count, flags)

#define BOOT_poll(fds, count, timeout_ms) LOOK_UP(poll, -1, (fds, count, timeout_ms))
#define BOOT___poll_chk(fds, count, timeout_ms, room) LOOK_UP(__poll_chk, -1, (fds, count, timeout_ms, room))
#define BOOT_ppoll(fds, count, timeout, mask) LOOK_UP(ppoll, -1, (fds, count, timeout, mask))
#define BOOT___ppoll_chk(fds, count, timeout, mask, room) LOOK_UP(__ppoll_chk, -1, (fds, count, timeout, mask, room))
#define BOOT_select(count, read_set, write_set, except_set, timeout)                                                   \
	LOOK_UP(select, -1, (count, read_set, write_set, except_set, timeout))
#define BOOT_pselect(count, read_set, write_set, except_set, timeout, mask)                                            \
	LOOK_UP(pselect, -1, (count, read_set, write_set, except_set, timeout, mask))
#define BOOT_epoll_create(size) RAW(SYS_epoll_create1, (size) > 0 ? 0 : -1) /* -1: EINVAL */
#define BOOT_epoll_create1(flags) RAW(SYS_epoll_create1, flags)
#define BOOT_epoll_wait(fd, events, count, timeout_ms) RAW(SYS_epoll_pwait, fd, events, count, timeout_ms, 0, _NSIG / 8)
#define BOOT_epoll_pwait(fd, events, count, timeout_ms, mask)                                                          \
	RAW(SYS_epoll_pwait, fd, events, count, timeout_ms, mask, _NSIG / 8)
#define BOOT_epoll_pwait2(fd, events, count, timeout, mask)                                                            \
	RAW(SYS_epoll_pwait2, fd, events, count, timeout, mask, _NSIG / 8)

#define BOOT_ioctl(fd, request) RAW(SYS_ioctl, fd, request, NEXT_ARGUMENT(request))
#define BOOT_sockatmark(fd) LOOK_UP(sockatmark, -1, (fd))
#define BOOT_setsockopt(fd, level, name, value, length) RAW(SYS_setsockopt, fd, level, name, value, length)
#define BOOT_getsockopt(fd, level, name, value, length) RAW(SYS_getsockopt, fd, level, name, value, length)
#define BOOT_fdopen(fd, mode) LOOK_UP(fdopen, NULL, (fd, mode))

#define BOOT_execve(path, argv, envp) RAW(SYS_execve, path, argv, envp)
#define BOOT_execv(path, argv) RAW(SYS_execve, path, argv, environ)
#define BOOT_execvp(file, argv) LOOK_UP(execvp, -1, (file, argv))
#define BOOT_execvpe(file, argv, envp) LOOK_UP(execvpe, -1, (file, argv, envp))
/* Never called: their wrappers gather the arguments and call real_execve and real_execvp. */
#define BOOT_execl(path, argument) ((void)path, (void)argument, errno = ENOSYS, -1)
#define BOOT_execlp(file, argument) ((void)file, (void)argument, errno = ENOSYS, -1)
#define BOOT_execle(path, argument) ((void)path, (void)argument, errno = ENOSYS, -1)
#define BOOT_execveat(folder_fd, path, argv, envp, flags) RAW(SYS_execveat, folder_fd, path, argv, envp, flags)
#define BOOT_fexecve(fd, argv, envp) RAW(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH)
#define BOOT_posix_spawn(pid, path, actions, attributes, argv, envp)                                                   \
	LOOK_UP(posix_spawn, ENOSYS, (pid, path, actions, attributes, argv, envp))
#define BOOT_posix_spawnp(pid, file, actions, attributes, argv, envp)                                                  \
	LOOK_UP(posix_spawnp, ENOSYS, (pid, file, actions, attributes, argv, envp))

#define BOOT_system(command) LOOK_UP(system, -1, (command))
#define BOOT_popen(command, mode) LOOK_UP(popen, NULL, (command, mode))

#define BOOT__Fork() LOOK_UP(_Fork, -1, ())
#define BOOT_clone(begin, stack, flags, argument)                                                                      \
	({                                                                                                             \
		va_list list;                                                                                          \
		va_start(list, argument);                                                                              \
		void *parent_tid = va_arg(list, void *), *tls = va_arg(list, void *),                                  \
		     *child_tid = va_arg(list, void *);                                                                \
		va_end(list);                                                                                          \
		LOOK_UP(clone, -1, (begin, stack, flags, argument, parent_tid, tls, child_tid));                       \
	})

#define BOOT__exit(status) RAW(SYS_exit_group, status)
#define BOOT__Exit(status) RAW(SYS_exit_group, status)

#define BOOT_prctl(operation, a, b, c, d) RAW(SYS_prctl, operation, a, b, c, d)
#define BOOT_syscall(number, a, b, c, d, e, f) RAW(number, a, b, c, d, e, f)

#define BOOT_pthread_cancel(thread) LOOK_UP(pthread_cancel, ENOSYS, (thread))

#define BOOT_mlockall(flags) RAW(SYS_mlockall, flags)

#define BOOT_setrlimit(resource, limit) RAW(SYS_prlimit64, 0, resource, limit, NULL)
#define BOOT_setrlimit64(resource, limit) RAW(SYS_prlimit64, 0, resource, limit, NULL)
#define BOOT_prlimit(process, resource, limit, before) RAW(SYS_prlimit64, process, resource, limit, before)
#define BOOT_prlimit64(process, resource, limit, before) RAW(SYS_prlimit64, process, resource, limit, before)

#define BOOT_sigaction(number, action, old) LOOK_UP(sigaction, -1, (number, action, old))
#define BOOT___sigaction(number, action, old) LOOK_UP(__sigaction, -1, (number, action, old))
#define BOOT_signal(number, handler) LOOK_UP(signal, SIG_ERR, (number, handler))
#define BOOT_bsd_signal(number, handler) LOOK_UP(bsd_signal, SIG_ERR, (number, handler))
#define BOOT_ssignal(number, handler) LOOK_UP(ssignal, SIG_ERR, (number, handler))
#define BOOT_sysv_signal(number, handler) LOOK_UP(sysv_signal, SIG_ERR, (number, handler))
#define BOOT___sysv_signal(number, handler) LOOK_UP(__sysv_signal, SIG_ERR, (number, handler))
#define BOOT_sigset(number, handler) LOOK_UP(sigset, SIG_ERR, (number, handler))
#define BOOT_sigignore(number) LOOK_UP(sigignore, -1, (number))
#define BOOT_siginterrupt(number, interrupts) LOOK_UP(siginterrupt, -1, (number, interrupts))

#define INTERCEPT(ret, name, params, args)                                                                             \
	ret boot_##name params                                                                                         \
	{                                                                                                              \
		return (ret)BOOT_##name args;                                                                          \
	}                                                                                                              \
	ret(*real_##name) params;
#include "intercept.def"
#undef INTERCEPT

/* Whether those that direct.h makes in place are glibc's own: another preloaded library may want to see these calls, too. */
static bool are_of_libc(void)
{
	void *libc = libc_is_musl() ? NULL : dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	bool all;

	if (!libc)
		return false;
#define IS_OF_LIBC(name) (dlsym(libc, #name) == (void *)real_##name)
	all = IS_OF_LIBC(read) && IS_OF_LIBC(recv) && IS_OF_LIBC(write) && IS_OF_LIBC(send) && IS_OF_LIBC(readv) &&
	      IS_OF_LIBC(recvfrom) && IS_OF_LIBC(recvmsg) && IS_OF_LIBC(writev) && IS_OF_LIBC(sendto) &&
	      IS_OF_LIBC(sendmsg);
#undef IS_OF_LIBC
	dlclose(libc);
	return all;
}

void real_init(void)
{
	void *symbol;

#define INTERCEPT(ret, name, params, args)                                                                             \
	symbol = look_up(#name);                                                                                       \
	real_##name = symbol ? (__typeof__(real_##name))symbol : boot_##name;
#include "intercept.def"
#undef INTERCEPT
	hot.read = real_read;
	hot.recv = real_recv;
	hot.write = real_write;
	hot.send = real_send;
	hot.direct = are_of_libc();
	hot.single_threaded = &__libc_single_threaded ? &__libc_single_threaded : "";
}

#ifdef __aarch64__
/* Which atomic instructions there are, libgcc's outlined ones ask by the name that musl does not have. */
unsigned long __getauxval(unsigned long type);
unsigned long __getauxval(unsigned long type)
{
	return getauxval(type);
}
#endif
