/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts of a received fd, all from the kernel (invariant 9). */
#ifndef SMACCEL_HELPER_SOCKFACTS_H
#define SMACCEL_HELPER_SOCKFACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "registry.h"
#include "wire/reason.h"

struct sockfacts {
	bool is_tcp;
	uint64_t cookie;
	struct registry_key key; /* netns_cookie 0: this kernel does not tell */
	uint16_t family;
};

/* Whether fd is a TCP socket. Asks by getsockopt alone, which never blocks, whatever the fd is (fstat on a FUSE file may). */
bool sockfacts_is_tcp(int fd);
/* The same for a unix SEQPACKET socket, which is what a session is made of. */
bool sockfacts_is_channel(int fd);
/* SO_COOKIE, or 0. */
uint64_t sockfacts_cookie(int fd);
/* Whether close() of it can be trusted to the loop (reaper_close_socket()). */
bool sockfacts_closes_quickly(int fd);
/* Fills *facts for a connected TCP socket. REASON_NONE, or why it cannot join. (A ULP shows when it is staged.) */
enum sm_reason sockfacts_read(int fd, struct sockfacts *facts);

#endif
