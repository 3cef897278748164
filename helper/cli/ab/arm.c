/* SPDX-License-Identifier: BSD-2-Clause */
/* The environment of each arm. Both run under the same shim and the same helper: what differs is one variable. A bare arm has no shim,
 * even where the caller has one, and SMACCEL=off for one that comes in another way, as by /etc/ld.so.preload. It has its group all the
 * same: the proof would see one that heeds neither. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ab.h"
#include "../preload.h"

static bool set_all(const char *const *environment)
{
	for (; environment && *environment; environment++)
		if (putenv((char *)*environment)) /* lives to the exec */
			return false;
	return true;
}

static bool set_group(uint64_t group)
{
	char text[20];

	snprintf(text, sizeof(text), "%" PRIx64, group);
	return !setenv("SMACCEL_GROUP", text, 1);
}

/* The variable that makes the arm what it is. --env-only: the caller's own settings stay. */
static bool set_treatment(const struct ab_options *options, enum ab_arm arm)
{
	if (options->kind == AB_SETTINGS)
		return preload_profile(options->title, options->profile);
	unsetenv("SMACCEL");
	if (options->kind == AB_SAME || arm == ARM_A)
		return !setenv("SMACCEL_ADMIT", "never", 1);
	return preload_profile(options->title, options->profile);
}

static bool set_bare(const struct ab_options *options)
{
	return !preload_unset(options->title) && !setenv("SMACCEL", "off", 1);
}

bool ab_arm_prepare(const void *context)
{
	const struct ab_arm_context *arm = context;
	const struct ab_options *options = arm->options;
	bool bare = options->bare_a && arm->arm == ARM_A;

	if (bare ? !set_bare(options) : preload_set(options->title, arm->program) || !set_treatment(options, arm->arm))
		return false;
	if (!set_group(arm->group) || setenv("SMACCEL_SOCKET", options->socket_path, 1))
		return false;
	return set_all(options->environment[arm->arm]);
}

const char *ab_arm_text(const struct ab_options *options, enum ab_arm arm)
{
	switch (options->kind) {
	case AB_SETTINGS:
		return arm == ARM_A ? "as --a-env sets it" : "as --b-env sets it";
	case AB_SAME:
		return "plain TCP under the shim, nothing offered (both arms alike)";
	default:
		if (arm == ARM_B)
			return "accelerated";
		return options->bare_a ? "plain TCP, without the shim (and SMACCEL=off)"
				       : "plain TCP under the shim, nothing offered";
	}
}
