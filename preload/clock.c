/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's clock: see clock.h. */
#include "clock.h"

#include <dlfcn.h>

static int (*libc_clock_gettime)(clockid_t clock, struct timespec *now);

void clock_init(void)
{
	/* The library itself is asked, not the search order; musl answers to this name too. It stays open: libc is never unloaded. */
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);

	if (libc)
		libc_clock_gettime = (__typeof__(libc_clock_gettime))dlsym(libc, "clock_gettime");
	if (!libc_clock_gettime)
		dlerror(); /* the application must not find our failure there */
}

void clock_read(clockid_t clock, struct timespec *now)
{
	if (libc_clock_gettime)
		libc_clock_gettime(clock, now);
	else
		clock_gettime(clock, now); /* whosever that is */
}

int64_t clock_coarse_ms(void)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_us(void)
{
	struct timespec now;

	clock_read(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_ms(void)
{
	return clock_us() / 1000;
}
