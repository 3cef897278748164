/* SPDX-License-Identifier: BSD-2-Clause */
/* A TCP connection with oneself over loopback: the guinea pig of self-tests. */
#ifndef SMACCEL_LOOPBACK_H
#define SMACCEL_LOOPBACK_H

#include <stdint.h>

/* Connects ends[0] to ends[1] over 127.0.0.1 (both CLOEXEC and blocking, TCP_NODELAY). The caller owns both.
 * -ECONNABORTED when somebody else got in between. 0 or -errno. */
int loopback_pair_open(int ends[2]);
/* Closes both and sets them to -1; -1 is fine. */
void loopback_pair_close(int ends[2]);
/* The socket's SO_COOKIE, or 0. */
uint64_t loopback_cookie(int fd);

#endif
