/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether what an application points to can be read: see readable.h.
 *
 * rt_sigprocmask(2) with a `how` that does not exist reads the set, says EFAULT if it cannot, and else EINVAL without having
 * done anything. Pages that it could read, or write, are remembered by thread: those above the current frame, and near it, stay so as long
 * as that frame lives; others are trusted for one tick of the coarse clock (4 to 10 ms), so that a page which an application
 * unmaps, and then hands over, is asked about again.
 */
#include "readable.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "raw_syscall.h"
#include "real.h"

#define PAGE_BYTES 4096u /* the smallest there is: larger pages are asked about more than once */
#define WORD_BYTES 8u    /* what the kernel reads of a signal set */
#define STACK_NEAR_BYTES 131072u
#define PAGE_SETS 8u

struct known_page {
	uintptr_t page;
	long tick; /* nanoseconds of the coarse clock */
};
/* Two of a set, the one that came last in front: a header and its vector may be in pages of the same set. */
static __thread struct known_page known_readable[PAGE_SETS][2] __attribute__((tls_model("initial-exec")));
static __thread struct known_page known_writable[PAGE_SETS][2] __attribute__((tls_model("initial-exec")));

static long tick_now(void)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC_COARSE, &now);
	return now.tv_nsec ^ now.tv_sec << 32;
}

/* At a multiple of eight, so that the word lies in one page. NULL would be no set at all. */
static bool ask_kernel(uintptr_t address)
{
	uintptr_t word = address < WORD_BYTES ? WORD_BYTES : address & ~(uintptr_t)(WORD_BYTES - 1);
	int saved = errno;
	bool result = raw_syscall(SYS_rt_sigprocmask, -1, word, NULL, WORD_BYTES) == 0 ||
		      errno != EFAULT; /* refused by a filter: nothing is known, as before */

	errno = saved;
	return result;
}

static bool is_known(struct known_page (*known)[2], uintptr_t address, uintptr_t frame)
{
	uintptr_t page = address / PAGE_BYTES;
	const struct known_page *set = known[page % PAGE_SETS];
	bool near = page >= frame / PAGE_BYTES && address - frame < STACK_NEAR_BYTES;

	if (page == frame / PAGE_BYTES)
		return true;
	if (set->page != page && (++set)->page != page)
		return false;
	return near || set->tick == tick_now();
}

static void remember(struct known_page (*known)[2], uintptr_t address)
{
	uintptr_t page = address / PAGE_BYTES;
	struct known_page *set = known[page % PAGE_SETS];

	if (set[0].page != page)
		set[1] = set[0];
	set[0] = (struct known_page){ page, tick_now() };
}

static bool page_readable(uintptr_t address, uintptr_t frame)
{
	if (is_known(known_readable, address, frame))
		return true;
	if (!ask_kernel(address))
		return false;
	remember(known_readable, address);
	return true;
}

bool readable_bytes(const void *pointer, size_t bytes)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0), at = (uintptr_t)pointer;
	uintptr_t end = at + bytes;

	if (end < at)
		return false;
	for (; at < end; at = (at / PAGE_BYTES + 1) * PAGE_BYTES)
		if (!page_readable(at, frame))
			return false;
	return true;
}

bool readable_vector(const struct iovec *vector, size_t count, size_t *bytes_out)
{
	size_t bytes = 0;

	*bytes_out = 0;
	if (count > IOV_MAX || !readable_bytes(vector, count * sizeof(*vector)))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (vector[i].iov_len > SSIZE_MAX - bytes)
			return false;
		bytes += vector[i].iov_len;
	}
	*bytes_out = bytes;
	return true;
}

bool readable_message(const struct msghdr *message, size_t *bytes_out)
{
	*bytes_out = 0;
	return readable_bytes(message, sizeof(*message)) &&
	       readable_vector(message->msg_iov, message->msg_iovlen, bytes_out);
}

bool readable_control(const struct msghdr *message)
{
	return readable_bytes(message, sizeof(*message)) &&
	       readable_bytes(message->msg_control, message->msg_controllen);
}

bool readable_address(const void *address, socklen_t length)
{
	/* The kernel takes no more of it, or says EINVAL. */
	return !address || length == 0 || length > sizeof(struct sockaddr_storage) || readable_bytes(address, length);
}

bool readable_beside(const struct msghdr *message)
{
	return readable_address(message->msg_name, message->msg_namelen) &&
	       (message->msg_controllen == 0 || message->msg_controllen > CONTROL_BYTES_MAX ||
		readable_bytes(message->msg_control, message->msg_controllen));
}

int writable_int(int fd, void *pointer)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0), first = (uintptr_t)pointer;
	uintptr_t last = first + sizeof(int) - 1;
	int saved = errno, error = 0;

	if (is_known(known_writable, first, frame) && is_known(known_writable, last, frame))
		return 0;
	if (real_ioctl(fd, SIOCATMARK, pointer) == 0) {
		remember(known_writable, first);
		remember(known_writable, last);
	} else {
		error = errno;
	}
	errno = saved;
	return error;
}
