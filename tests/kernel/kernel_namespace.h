/* SPDX-License-Identifier: BSD-2-Clause */
/* A network namespace of the test's own, whose settings and counters are nobody else's. */
#ifndef SMACCEL_KERNEL_NAMESPACE_H
#define SMACCEL_KERNEL_NAMESPACE_H

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "kernel_test.h"

/* With loopback up. The file defines _GNU_SOURCE. */
static inline void enter_namespace(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	require(unshare(CLONE_NEWNET) == 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	require(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0);
	close(fd);
}

#endif
