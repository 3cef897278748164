/* SPDX-License-Identifier: BSD-2-Clause */
/* wire.c's system calls in the shim: the real functions, not the wrappers. Included by the build before wire.c. */
#ifndef SMACCEL_WIRE_CALLS_H
#define SMACCEL_WIRE_CALLS_H

#define WIRE_SENDMSG shim_wire_sendmsg
#define WIRE_RECVMSG shim_wire_recvmsg
#define WIRE_CLOSE shim_wire_close

#endif
