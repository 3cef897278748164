/* SPDX-License-Identifier: BSD-2-Clause */
/* A filter of system calls comes while a non-blocking connection has bytes unread; then a vfork child puts that connection in the place of its
 * parent's datagram socket, as it may. Two datagrams come to the parent: prints what one receive of it brings. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "../support/loopback.h"

#define TURNS 50

static void filter(void)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	struct sock_fprog program = { 1, &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		die("prctl");
}

int main(void)
{
	int listener = loopback_listen("127.0.0.1", 0, 8, 0), ends[2], datagrams[2];
	char buffer[64];

	ends[0] = loopback_connect("127.0.0.1", loopback_port(listener));
	ends[1] = accept(listener, NULL, NULL);
	if (ends[1] < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams) != 0)
		die("ends");
	for (int i = 0; i < TURNS; i++)
		if (write(ends[1], "q", 1) != 1 || read(ends[0], buffer, 1) != 1 || write(ends[0], "a", 1) != 1 ||
		    read(ends[1], buffer, 1) != 1)
			die("turn");
	if (write(ends[1], "unread", 6) != 6 || fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
		die("unread");
	filter();
	pid_t child = vfork();
	if (child == 0) {
		dup2(ends[0], datagrams[0]);
		_exit(0);
	}
	if (child < 0 || waitpid(child, NULL, 0) != child || write(datagrams[1], "one", 3) != 3 ||
	    write(datagrams[1], "two", 3) != 3)
		die("child");
	ssize_t bytes = read(datagrams[0], buffer, sizeof(buffer));
	printf("{\"read\": \"%.*s\"}\n", (int)(bytes > 0 ? bytes : 0), buffer);
	return 0;
}
