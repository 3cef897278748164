/* SPDX-License-Identifier: BSD-2-Clause */
/* Where fds go to another program: the exec family, posix_spawn, system, popen.
 *
 * The new program may not be under the shim, or read its inherited sockets through stdio: what it inherits leaves first. In a
 * vfork child lifecycle_before_exec() does nothing: the connections are the parent's. What the child's program sends is caught by the
 * accounts, and under the shim it adopts what it finds in the sockhash (adopt.c). No memory is allocated here and nothing is kept: this may run between vfork and exec.
 */
#include "intercept.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>

#include "fork.h"
#include "intercept_process.h"
#include "lifecycle.h"
#include "quiet.h"

static void before_spawn(void)
{
	fork_note();
	if (conn_table())
		lifecycle_before_exec();
	if (!quiet_is_on() && fork_in_vfork_child())
		fork_program_begins();
}

/* `call` comes back only if it has failed. */
#define EXEC(call)                                                                                                     \
	({                                                                                                             \
		before_spawn();                                                                                        \
		lifecycle_exec_begins();                                                                               \
		__typeof__(call) exec_result = (call);                                                                 \
		lifecycle_exec_failed();                                                                               \
		exec_result;                                                                                           \
	})

int wrap_execve(const char *path, char *const argv[], char *const envp[])
{
	return EXEC(REAL(execve)(path, argv, envp));
}

int wrap_execv(const char *path, char *const argv[])
{
	return EXEC(REAL(execv)(path, argv));
}

int wrap_execvp(const char *file, char *const argv[])
{
	return EXEC(REAL(execvp)(file, argv));
}

int wrap_execvpe(const char *file, char *const argv[], char *const envp[])
{
	return EXEC(REAL(execvpe)(file, argv, envp));
}

int wrap_execveat(int folder_fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	return EXEC(REAL(execveat)(folder_fd, path, argv, envp, flags));
}

int wrap_fexecve(int fd, char *const argv[], char *const envp[])
{
	return EXEC(REAL(fexecve)(fd, argv, envp));
}

long intercept_exec_by_call(long number, long a, long b, long c, long d, long e)
{
	return EXEC(REAL(syscall)(number, a, b, c, d, e, 0L));
}

/* How many arguments follow up to the NULL, `first` included; the list is consumed. -1 with E2BIG: no end in sight. */
static int count_arguments(const char *first, va_list *list)
{
	int count = 0;

	for (const char *argument = first; argument; argument = va_arg(*list, const char *)) {
		if (count == INT_MAX - 1) {
			errno = E2BIG;
			return -1;
		}
		count++;
	}
	return count;
}

/* Gathers count arguments and the NULL after them. */
static void gather_arguments(char **argv, int count, const char *first, va_list *list)
{
	argv[0] = (char *)first;
	for (int i = 1; i <= count; i++)
		argv[i] = va_arg(*list, char *);
}

/* On the stack, as libc does: its size is bounded by what the caller has put there himself. */
#define GATHER(first)                                                                                                  \
	va_list list;                                                                                                  \
	va_start(list, first);                                                                                         \
	int count = count_arguments(first, &list);                                                                     \
	va_end(list);                                                                                                  \
	if (count < 0)                                                                                                 \
		return -1;                                                                                             \
	char *argv[count + 1];                                                                                         \
	va_start(list, first);                                                                                         \
	gather_arguments(argv, count, first, &list)

int wrap_execl(const char *path, const char *argument, ...)
{
	GATHER(argument);
	va_end(list);
	return EXEC(REAL(execve)(path, argv, environ));
}

int wrap_execlp(const char *file, const char *argument, ...)
{
	GATHER(argument);
	va_end(list);
	return EXEC(REAL(execvp)(file, argv));
}

int wrap_execle(const char *path, const char *argument, ...)
{
	GATHER(argument);
	char *const *envp = va_arg(list, char *const *);
	va_end(list);
	return EXEC(REAL(execve)(path, argv, envp));
}

#define SPAWN(call)                                                                                                    \
	({                                                                                                             \
		int saved = errno;                                                                                     \
		before_spawn();                                                                                        \
		errno = saved;                                                                                         \
		fork_spawn_begin();                                                                                    \
		int spawn_result = (call);                                                                             \
		fork_spawn_end();                                                                                      \
		spawn_result;                                                                                          \
	})

/* File actions cannot be read portably: every fd that a spawned program could inherit is given away; but for close-on-exec ones that they
 * duplicate, which that program finds by itself (adopt.c). */
int wrap_posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		     const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	return SPAWN(REAL(posix_spawn)(pid, path, actions, attributes, argv, envp));
}

int wrap_posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
		      const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
	return SPAWN(REAL(posix_spawnp)(pid, file, actions, attributes, argv, envp));
}

/* libc makes these processes by itself. That there was one is all that is noted: what its program does on a connection is
 * as in a vfork child, and who closes last is the kernel's to say. */
int wrap_system(const char *command)
{
	fork_note();
	fork_program_begins();
	return REAL(system)(command);
}

FILE *wrap_popen(const char *command, const char *mode)
{
	fork_note();
	fork_program_begins();
	return REAL(popen)(command, mode);
}
