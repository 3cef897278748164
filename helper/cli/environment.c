/* SPDX-License-Identifier: BSD-2-Clause */
/* What the environment says to the shim, as far as it would not be understood: the shim itself is silent in programs. */
#include "environment.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

/* The first `length` bytes of text. */
static bool is_one_of(const char *text, size_t length, const char *const words[])
{
	for (; *words; words++)
		if (strlen(*words) == length && !strncmp(text, *words, length))
			return true;
	return false;
}

static void complain(const char *title, const char *name, const char *value, const char *wanted)
{
	fprintf(stderr, "%s: %s=%s: %s\n", title, name, value, wanted);
}

void environment_examine(const char *title)
{
	static const char *const levels[] = { "off", "error", "info", "debug", "0", "1", "2", "3", NULL };
	static const char *const admits[] = { "auto", "eager", "never", NULL };
	const char *log = getenv("SMACCEL_LOG"), *admit = getenv("SMACCEL_ADMIT"), *spin = getenv("SMACCEL_SPIN_US");

	if (log && *log && !is_one_of(log, strcspn(log, ":"), levels))
		complain(title, "SMACCEL_LOG", log,
			 "it is error, info or debug, and perhaps :FILE; there will be no log");
	if (admit && *admit && !is_number(admit) && !is_one_of(admit, strlen(admit), admits))
		complain(title, "SMACCEL_ADMIT", admit,
			 "it is auto, eager, never or a number of turns; auto is meant now");
	if (spin && *spin && !is_number(spin))
		complain(title, "SMACCEL_SPIN_US", spin, "it is a number of microseconds; nothing will spin");
}
