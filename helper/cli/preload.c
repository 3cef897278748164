/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks whether a program can be preloaded into, and sets the environment in which it is. */
#include "preload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "library.h"

/* A profile is settings of the shim under one name. Being asked for on the command line, it wins over the environment. */
static const struct profile {
	const char *name;
	const char *admit;   /* SMACCEL_ADMIT; NULL: SMACCEL=off, and the rest is of no meaning */
	const char *spin_us; /* SMACCEL_SPIN_US; NULL: as it is */
} profiles[] = {
	{ "auto", "auto", NULL },
	{ "eager", "eager", NULL },
	{ "latency", "auto", "50" },
	{ "off", NULL, NULL },
};

#define PROFILE_COUNT (sizeof(profiles) / sizeof(profiles[0]))

static const struct profile *find(const char *name)
{
	for (size_t i = 0; i < PROFILE_COUNT; i++)
		if (!strcmp(name, profiles[i].name))
			return &profiles[i];
	return NULL;
}

bool preload_profile_exists(const char *title, const char *name)
{
	if (!name || find(name))
		return true;
	fprintf(stderr, "%s: no profile \"%s\"; there are auto, eager, latency, off\n", title, name);
	return false;
}

bool preload_profile(const char *title, const char *name)
{
	const struct profile *profile = name ? find(name) : NULL;

	if (!profile)
		return preload_profile_exists(title, name);
	if (!profile->admit)
		return !setenv("SMACCEL", "off", 1);
	unsetenv("SMACCEL");
	return !setenv("SMACCEL_ADMIT", profile->admit, 1) &&
	       (!profile->spin_us || !setenv("SMACCEL_SPIN_US", profile->spin_us, 1));
}

int preload_examine(const char *title, const char *name, struct program *program)
{
	enum program_verdict verdict = program_examine(name, program);

	switch (verdict) {
	case PROGRAM_GOOD:
	case PROGRAM_UNREADABLE: /* exec may be allowed where reading is not */
		return CLI_OK;
	case PROGRAM_NOT_FOUND:
		fprintf(stderr, "%s: %s: not found\n", title, program->path);
		return CLI_NOT_FOUND;
	case PROGRAM_NOT_EXECUTABLE:
		fprintf(stderr, "%s: %s: not an executable file\n", title, program->path);
		return CLI_CANNOT_RUN;
	default:
		fprintf(stderr, "%s: cannot accelerate %s: %s\n", title, program->path, program_verdict_text(verdict));
		return CLI_CANNOT_RUN;
	}
}

/* ASan refuses to run when another library was preloaded before its runtime. It need not be first for our sake: the shim
 * calls on to ASan's interceptors. (To preload the runtime itself would put it in every child, and its leak check there.) */
static int quiet_asan(void)
{
	const char *current = getenv("ASAN_OPTIONS");
	char *value = NULL;
	int err = -ENOMEM;

	if (asprintf(&value, "verify_asan_link_order=0%s%s", current ? ":" : "", current ? current : "") >= 0)
		err = setenv("ASAN_OPTIONS", value, 1) ? -errno : 0;
	free(value);
	return err;
}

static void say_no_library(const char *title, int err)
{
	const char *wanted = getenv("SMACCEL_LIBRARY");

	if (err == -EINVAL)
		fprintf(stderr,
			"%s: the path of libsmaccel.so has a blank or a colon, which LD_PRELOAD cannot express\n",
			title);
	else if (wanted && *wanted)
		fprintf(stderr, "%s: %s, which SMACCEL_LIBRARY names, is not there, or cannot be read\n", title,
			wanted);
	else
		fprintf(stderr, "%s: libsmaccel.so is not to be found; SMACCEL_LIBRARY can name it\n", title);
}

int preload_set(const char *title, const struct program *program)
{
	char path[LIBRARY_PATH_BYTES];
	int err = library_find(path);
	char *value;

	if (err) {
		say_no_library(title, err);
		return err;
	}
	value = library_preload_value(getenv("LD_PRELOAD"), path);
	err = value && !setenv("LD_PRELOAD", value, 1) ? 0 : -ENOMEM;
	free(value);
	if (!err && program->links_asan)
		err = quiet_asan();
	return err;
}

int preload_unset(const char *title)
{
	const char *current = getenv("LD_PRELOAD");
	char *value = current ? library_preload_without(current) : NULL;
	int err = 0;

	if (!current)
		return 0;
	if (!value || (*value ? setenv("LD_PRELOAD", value, 1) : unsetenv("LD_PRELOAD"))) {
		err = -ENOMEM;
		fprintf(stderr, "%s: %s\n", title, strerror(-err));
	}
	free(value);
	return err;
}
