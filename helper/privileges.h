/* SPDX-License-Identifier: BSD-2-Clause */
/* Giving up what only the start needed. */
#ifndef SMACCEL_HELPER_PRIVILEGES_H
#define SMACCEL_HELPER_PRIVILEGES_H

#include <stdint.h>

/* Whether the start can work at all: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (or CAP_SYS_ADMIN), and CAP_SYSLOG where the kernel shows
 * its addresses to nobody else. 0, or -EPERM with a line on stderr. */
int privileges_check(void);
/* Room for many fds. Never fails: what is allowed is taken. Returns how many that is. */
uint32_t privileges_raise_limits(void);
/* Gives up root as the real user (files in flight are not on its account) and all capabilities that `works` can do without, and filters
 * system calls. works() tries everything the running needs and returns 0 or -errno. 0 or -errno with a line on stderr. */
int privileges_drop(int (*works)(void *context), void *context);

#endif
