/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that is not there until somebody says so (userfaultfd): a system call that copies from it or to it stays inside, with the
 * locks it holds. Header-only. */
#ifndef SMACCEL_WITHHELD_PAGE_H
#define SMACCEL_WITHHELD_PAGE_H

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WITHHELD_BYTES ((int)sysconf(_SC_PAGESIZE))

struct withheld_page {
	int uffd;
	char *memory;
};

/* False, with errno: this kernel or user has no userfaultfd. */
static inline bool withheld_page_open(struct withheld_page *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .range.len = WITHHELD_BYTES, .mode = UFFDIO_REGISTER_MODE_MISSING };

	page->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (page->uffd < 0 || ioctl(page->uffd, UFFDIO_API, &api) < 0)
		return false;
	page->memory = (char *)mmap(NULL, WITHHELD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)page->memory;
	return page->memory != MAP_FAILED && ioctl(page->uffd, UFFDIO_REGISTER, &range) == 0;
}

/* Whether somebody waits for it, within limit_ms. */
static inline bool withheld_page_is_awaited(const struct withheld_page *page, int limit_ms)
{
	struct pollfd fault = { .fd = page->uffd, .events = POLLIN };

	return poll(&fault, 1, limit_ms) == 1;
}

/* Whoever waits goes on, and finds zeros. */
static inline bool withheld_page_give(const struct withheld_page *page)
{
	struct uffdio_zeropage zero = { .range = { .start = (uintptr_t)page->memory, .len = WITHHELD_BYTES } };

	return ioctl(page->uffd, UFFDIO_ZEROPAGE, &zero) == 0;
}

static inline void withheld_page_close(const struct withheld_page *page)
{
	munmap(page->memory, WITHHELD_BYTES);
	close(page->uffd);
}

#endif
