/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a process group listens on a TCP port, from /proc. */
#ifndef SMACCEL_CLI_AB_LISTEN_H
#define SMACCEL_CLI_AB_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* port_h 0: any. Looks in the network namespace of the group's members, and takes only sockets that one of them holds: another
 * process on the port is not the server that was started. A member whose descriptors may not be read is believed to hold it. */
bool ab_listens(pid_t group, uint16_t port_h);

#endif
