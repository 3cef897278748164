/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts of a received fd, all from the kernel (invariant 9). */
#ifndef SMACCEL_HELPER_SOCKFACTS_H
#define SMACCEL_HELPER_SOCKFACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "../bpf/shared.h"
#include "registry.h"
#include "wire/reason.h"

/* Whether fd is a TCP socket. Asks by getsockopt alone, which never blocks, whatever the fd is (fstat on a FUSE file may). */
bool sockfacts_is_tcp(int fd);
/* The same for a unix SEQPACKET socket, which is what a session is made of. */
bool sockfacts_is_channel(int fd);
/* What was sent to its peer and is not read yet, as memory of the kernel's. 0: nothing. */
uint32_t sockfacts_unread_bytes(int channel);
/* SO_COOKIE, or 0. */
uint64_t sockfacts_cookie(int fd);
/* Whether close() of it can be trusted to the loop (reaper_close_socket()). */
bool sockfacts_closes_quickly(int fd);
/* Whether something is in the queue of a socket to which nobody can send any more: a file, maybe, that takes long to close. */
bool sockfacts_has_unread(int channel);
/* The name of a connected TCP socket that was looked at (datapath_look()). netns_cookie 0: this kernel does not tell. */
struct registry_key sockfacts_name(const struct sm_look *look);
/* Of enum sm_options: why the socket must not join, or REASON_NONE. The application may have set them before the shim tracked
 * the socket, or past its wrappers. */
enum sm_reason sockfacts_reason_of_options(uint32_t options);
/* IP_RECVERR or IPV6_RECVERR is set: errors that do not end the connection. IPv4's decides where addresses are mapped, too (tcp_v4_err()).
 * Not among the options of a look, as kernels differ in where they keep it. */
bool sockfacts_hears_icmp(int fd, const struct sm_look *look);
/* Why the kernel has not taken it into the sockhash: of what datapath_insert() returned. */
enum sm_reason sockfacts_reason_of_insert(int error);

#endif
