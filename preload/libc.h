/* SPDX-License-Identifier: BSD-2-Clause */
/* Which libc this process has. One build of this library serves both glibc and musl: where their types differ at all, on 64-bit
 * machines, it is in padding. */
#ifndef SMACCEL_LIBC_H
#define SMACCEL_LIBC_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "hot.h"

#if __SIZEOF_POINTER__ != 8 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "look at musl's bits/socket.h first: where does it put the padding of struct msghdr here?"
#endif

extern const char *gnu_get_libc_version(void) __attribute__((weak));

static inline bool libc_is_musl(void)
{
	return !gnu_get_libc_version;
}

/* glibc tells so; of musl it is not known. Not before the constructor has run. */
extern char __libc_single_threaded __attribute__((weak));
static inline bool libc_single_threaded(void)
{
	return __builtin_expect(*hot.single_threaded != 0, 1);
}

/* To musl these lengths are 32 bits and padding that no program needs to set; to glibc, and the kernel, 64. musl's own functions
 * clear it likewise. */
static inline void libc_clear_padding(struct msghdr *message)
{
	message->msg_iovlen = (uint32_t)message->msg_iovlen;
	message->msg_controllen = (uint32_t)message->msg_controllen;
}

static inline void libc_clear_paddings(struct mmsghdr *messages, unsigned int count)
{
	for (unsigned int i = 0; libc_is_musl() && i < count && i < IOV_MAX; i++)
		libc_clear_padding(&messages[i].msg_hdr);
}

/* As musl does for a message that it must not write to. */
static inline const struct msghdr *libc_clean_message(const struct msghdr *message, struct msghdr *clean)
{
	*clean = *message;
	libc_clear_padding(clean);
	return clean;
}

#endif
