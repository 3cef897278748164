/* SPDX-License-Identifier: BSD-2-Clause */
/* A library to preload that wraps one function that the shim wraps, COUNTED (environment.mk): at the end it writes how many calls
 * came to it to the file that COUNTING_FILE names, with a dot and the function's name behind it.
 *
 * No header that declares the function is included: it is any that takes up to six numbers or pointers, and returns one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define TEXT_OF(name) #name
#define NAME_OF(name) TEXT_OF(name)

static atomic_uint calls;

long COUNTED(long a, long b, long c, long d, long e, long f);
long COUNTED(long a, long b, long c, long d, long e, long f)
{
	long (*next)(long, long, long, long, long, long) = dlsym(RTLD_NEXT, NAME_OF(COUNTED));

	atomic_fetch_add(&calls, 1);
	return next(a, b, c, d, e, f);
}

__attribute__((destructor)) static void write_count(void)
{
	const char *path = getenv("COUNTING_FILE");
	char own[4096];

	snprintf(own, sizeof(own), "%s." NAME_OF(COUNTED), path ? path : "");
	FILE *file = path ? fopen(own, "w") : NULL;
	if (file) {
		fprintf(file, "%u\n", atomic_load(&calls));
		fclose(file);
	}
}
