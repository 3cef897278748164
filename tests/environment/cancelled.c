/* SPDX-License-Identifier: BSD-2-Clause */
/* A process of one thread that cancels itself, and then makes a call that need not wait.
 *
 *	cancelled TURNS CALL      TURNS bytes to and fro before; prints whether it was cancelled
 *
 * It reads __libc_single_threaded, as each C++ program does that has a shared_ptr: so the variable lies in the program, and
 * glibc's pthread_cancel() changes only libc's own copy of it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/single_threaded.h>
#include <sys/uio.h>

#include "../support/loopback.h"

#define DEADLINE_S 20

static void end(const char *word)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); /* to print is another call */
	printf("{\"cancelled\": %s}\n", word);
	fflush(stdout);
	_exit(0);
}

static void was_cancelled(void *unused)
{
	(void)unused;
	end("true");
}

static void call(const char *name, int from, int to)
{
	char byte[1] = { 0 };
	struct iovec vector = { byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };

	if (!strcmp(name, "write"))
		(void)!write(from, byte, 1);
	else if (!strcmp(name, "send"))
		(void)!send(from, byte, 1, 0);
	else if (!strcmp(name, "sendmsg"))
		(void)!sendmsg(from, &message, 0);
	else if (!strcmp(name, "writev"))
		(void)!writev(from, &vector, 1);
	else if (!strcmp(name, "read"))
		(void)!read(to, byte, 1);
	else if (!strcmp(name, "recv"))
		(void)!recv(to, byte, 1, 0);
	else if (!strcmp(name, "recvmsg"))
		(void)!recvmsg(to, &message, 0);
	else if (!strcmp(name, "readv"))
		(void)!readv(to, &vector, 1);
	else
		die("no call %s", name);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return EXIT_USAGE;
	alarm(DEADLINE_S);
	int one, other;

	loopback_pair(&one, &other);
	setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	if (!__libc_single_threaded)
		die("several threads");
	for (int i = 0; i < atoi(argv[1]); i++) {
		call("send", one, other);
		call("recv", one, other);
	}
	call("send", one, other);
	pthread_cleanup_push(was_cancelled, NULL);
	pthread_cancel(pthread_self());
	call(argv[2], one, other);
	end("false");
	pthread_cleanup_pop(0);
	return 0;
}
