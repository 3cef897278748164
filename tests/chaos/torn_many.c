/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that is without a CPU between two messages of a sendmmsg(2), just before the system call of the second, while another thread puts
 * another connection at the number.
 *
 * The sender is traced by the parent: it goes step by step from the first message's system call to the second's, and rests there.
 * All messages are one connection's, as over TCP, where they are one system call. Prints one JSON line.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../support/random.h"
#include "race.h"

#define MESSAGES 3
#define MESSAGE_BYTES 1000
#define RESTS_US 50000
#define STEPS_MOST 1000000
#define CALL_BYTES_MOST 4 /* of the instruction that is a system call: 2 or 4 */

struct shared {
	_Atomic int sender; /* its tid */
	_Atomic bool rests;
};
static struct shared *shared;
static int fd;

static void *send_many(void *result)
{
	static char bytes[MESSAGES][MESSAGE_BYTES];
	struct mmsghdr messages[MESSAGES] = { 0 };
	struct iovec parts[MESSAGES];

	for (int i = 0; i < MESSAGES; i++) {
		memset(bytes[i], 'a' + i, MESSAGE_BYTES);
		parts[i] = (struct iovec){ bytes[i], MESSAGE_BYTES };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	shared->sender = (int)syscall(SYS_gettid);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0 || raise(SIGSTOP) != 0)
		die("PTRACE_TRACEME");
	*(int *)result = sendmmsg(fd, messages, MESSAGES, MSG_NOSIGNAL);
	return NULL;
}

/* How many messages have come, in their order. */
static int count_messages(int peer)
{
	char bytes[MESSAGES * MESSAGE_BYTES + 1];
	ssize_t got = recv(peer, bytes, sizeof(bytes), MSG_WAITALL);

	for (ssize_t i = 0; i < got; i++)
		if (bytes[i] != 'a' + i / MESSAGE_BYTES)
			return -1;
	return (int)(got / MESSAGE_BYTES);
}

static int send_and_replace(void)
{
	int listener = loopback_listen("127.0.0.1", 0, 8, 0), peer, other, other_peer, sent = 0;
	pthread_t thread;

	accepted_pair(listener, &fd, &peer);
	accepted_pair(listener, &other, &other_peer);
	if (pthread_create(&thread, NULL, send_many, &sent))
		die("pthread_create");
	while (!shared->rests)
		pause_us(100);
	if (dup2(other, fd) != fd)
		die("dup2");
	pthread_join(thread, NULL);
	close(other);
	close(fd);
	int at_peer = count_messages(peer), at_other = count_messages(other_peer);
	printf("{\"sent\": %d, \"at_peer\": %d, \"at_other\": %d}\n", sent, at_peer, at_other);
	fflush(stdout);
	return 0;
}

static struct __ptrace_syscall_info go_on(int request, int tid)
{
	struct __ptrace_syscall_info info;
	int status;

	if (ptrace(request, tid, NULL, NULL) != 0 || waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) <= 0)
		die("ptrace");
	return info;
}

static void rest_before_second(int tid)
{
	struct __ptrace_syscall_info info;
	uint64_t call;

	do
		info = go_on(PTRACE_SYSCALL, tid);
	while (info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr != SYS_sendmmsg);
	call = info.instruction_pointer;
	go_on(PTRACE_SYSCALL, tid);
	for (int i = 0; i < STEPS_MOST; i++) {
		info = go_on(PTRACE_SINGLESTEP, tid);
		if (info.instruction_pointer < call && info.instruction_pointer + CALL_BYTES_MOST >= call)
			break;
	}
	shared->rests = true;
	pause_us(RESTS_US);
}

int main(void)
{
	int status = 0;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child = fork();
	if (child == 0)
		return send_and_replace();
	while (!shared->sender && waitpid(child, NULL, WNOHANG) == 0)
		pause_us(100);
	int tid = shared->sender;
	if (waitpid(tid, &status, __WALL) != tid ||
	    ptrace(PTRACE_SETOPTIONS, tid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) != 0)
		die("PTRACE_SETOPTIONS");
	rest_before_second(tid);
	if (ptrace(PTRACE_DETACH, tid, NULL, NULL) != 0 || waitpid(child, &status, 0) != child)
		die("PTRACE_DETACH");
	return status != 0;
}
