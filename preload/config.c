/* SPDX-License-Identifier: BSD-2-Clause */
/* The shim's settings: see config.h. A setuid program's environment is its caller's and says nothing. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../helper/wire/protocol.h"
#include "log.h"

#define TURNS_MAX 2000000000u /* leaves room for the back-off that is added to it */

struct config config = { .learns = true, .admit_turns = CONFIG_TURNS_DEFAULT, .socket_path = WIRE_SOCKET_DEFAULT };

static bool means_off(const char *setting)
{
	static const char *const words[] = { "off", "0", "no", "false" };

	for (size_t i = 0; setting && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(setting, words[i]) == 0)
			return true;
	return false;
}

static void parse_admit(const char *setting)
{
	char *end;

	if (!setting || !*setting || strcmp(setting, "auto") == 0)
		return;
	config.learns = false;
	if (strcmp(setting, "eager") == 0) {
		config.eager = true;
		return;
	}
	if (strcmp(setting, "never") == 0) {
		config.never = true;
		return;
	}
	unsigned long turns = strtoul(setting, &end, 10);
	if (*setting >= '0' && *setting <= '9' && *end == '\0' && turns <= TURNS_MAX)
		config.admit_turns = (uint32_t)turns;
	else {
		config.learns = true;
		log_error("SMACCEL_ADMIT=%s is not auto, eager, never or a number of turns: auto it is", setting);
	}
}

static void parse_spin(const char *setting)
{
	char *end;

	if (!setting || !*setting)
		return;
	unsigned long us = strtoul(setting, &end, 10);
	if (*setting >= '0' && *setting <= '9' && *end == '\0' && us <= CONFIG_SPIN_US_MAX)
		config.spin_ns = (int64_t)us * 1000;
	else
		log_error("SMACCEL_SPIN_US=%s is not a number of microseconds up to %u: no spinning", setting,
			  CONFIG_SPIN_US_MAX);
}

static void parse_seccomp(const char *setting)
{
	config.trusts_filter = setting && strcmp(setting, "trust") == 0;
	config.trusts_filter_wholly = setting && strcmp(setting, "trust-all") == 0;
	if (setting && *setting && !config.trusts_filter && !config.trusts_filter_wholly)
		log_error("SMACCEL_SECCOMP=%s is neither trust nor trust-all: off under a filter", setting);
}

static void parse_socket(const char *setting)
{
	if (!setting || !*setting)
		return;
	/* Not the default instead: another helper than the one that was asked for is worse than none. */
	memset(config.socket_path, 0, sizeof(config.socket_path));
	if (strlen(setting) < sizeof(config.socket_path))
		strcpy(config.socket_path, setting);
	else
		log_error("SMACCEL_SOCKET is too long for a socket's path: no helper");
}

static void parse_group(const char *setting)
{
	size_t digits = setting ? strspn(setting, "0123456789abcdefABCDEF") : 0;

	if (!setting || !*setting)
		return;
	if (digits >= 1 && digits <= 16 && setting[digits] == '\0')
		config.group = strtoull(setting, NULL, 16);
	else
		log_error("SMACCEL_GROUP=%s is not a number of 1 to 16 hex digits: no group", setting);
}

void config_init(void)
{
	config.off = means_off(secure_getenv("SMACCEL"));
	parse_admit(secure_getenv("SMACCEL_ADMIT"));
	parse_spin(secure_getenv("SMACCEL_SPIN_US"));
	parse_seccomp(secure_getenv("SMACCEL_SECCOMP"));
	parse_socket(secure_getenv("SMACCEL_SOCKET"));
	parse_group(secure_getenv("SMACCEL_GROUP"));
}
