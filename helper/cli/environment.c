/* SPDX-License-Identifier: BSD-2-Clause */
/* What the environment says to the shim, as far as it would not be understood: the shim itself is silent in programs. */
#include "environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The most that the shim takes (preload/config.c, preload/config.h). */
#define TURNS_MAX 2000000000u
#define SPIN_US_MAX 10000u
#define GROUP_DIGITS_MAX 16

static bool is_number(const char *text, unsigned long maximum)
{
	return *text && strspn(text, "0123456789") == strlen(text) && strtoul(text, NULL, 10) <= maximum;
}

/* The first `length` bytes of text. */
static bool is_one_of(const char *text, size_t length, const char *const words[])
{
	for (; *words; words++)
		if (strlen(*words) == length && !strncmp(text, *words, length))
			return true;
	return false;
}

static bool is_log(const char *value)
{
	static const char *const levels[] = { "off", "error", "info", "debug", "0", "1", "2", "3", NULL };

	return is_one_of(value, strcspn(value, ":"), levels);
}

static bool is_admission(const char *value)
{
	static const char *const words[] = { "auto", "eager", "never", NULL };

	return is_number(value, TURNS_MAX) || is_one_of(value, strlen(value), words);
}

static bool is_spin(const char *value)
{
	return is_number(value, SPIN_US_MAX);
}

static bool is_word(const char *value, const char *const words[])
{
	for (; *words; words++)
		if (!strcasecmp(value, *words))
			return true;
	return false;
}

bool environment_means_off(const char *value)
{
	static const char *const words[] = { "off", "0", "no", "false", NULL };

	return is_word(value, words);
}

/* Whatever does not mean off leaves it on; these are how one says so. */
static bool is_switch(const char *value)
{
	static const char *const words[] = { "on", "1", "yes", "true", NULL };

	return environment_means_off(value) || is_word(value, words);
}

static bool is_trust(const char *value)
{
	return !strcmp(value, "trust") || !strcmp(value, "trust-all");
}

static bool is_group(const char *value)
{
	size_t digits = strspn(value, "0123456789abcdefABCDEF");

	return digits <= GROUP_DIGITS_MAX && !value[digits];
}

static bool is_socket_path(const char *value)
{
	return strlen(value) < sizeof(((struct sockaddr_un *)0)->sun_path);
}

static const struct setting {
	const char *name;
	bool (*is_understood)(const char *value);
	const char *wanted; /* and what happens now */
} settings[] = {
	{ "SMACCEL", is_switch, "off switches the shim off; it is on now" },
	{ "SMACCEL_LOG", is_log, "it is error, info or debug, and perhaps :FILE; there will be no log" },
	{ "SMACCEL_ADMIT", is_admission, "it is auto, eager, never or a number of turns; auto is meant now" },
	{ "SMACCEL_SPIN_US", is_spin, "it is a number of microseconds up to 10000; nothing will spin" },
	{ "SMACCEL_SECCOMP", is_trust, "it is trust, trust-all or nothing; the shim will be off under a filter" },
	{ "SMACCEL_GROUP", is_group, "it is a number of 1 to 16 hex digits; there will be no group" },
	{ "SMACCEL_SOCKET", is_socket_path, "it is too long for a socket's path; no helper will be found" },
};

void environment_examine(const char *title)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		const char *value = getenv(settings[i].name);

		if (value && *value && !settings[i].is_understood(value))
			fprintf(stderr, "%s: %s=%s: %s\n", title, settings[i].name, value, settings[i].wanted);
	}
}
