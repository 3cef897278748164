/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of `smaccel trial start`. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trial.h"

#define DURATION_MAX_S (366u * 86400u)

/* A plain decimal number at the start of text; *end is what follows. */
static bool parse_number(const char *text, double *number, const char **end)
{
	char *after;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*number = strtod(text, &after);
	*end = after;
	return !errno && isfinite(*number) && strspn(text, "0123456789.") >= (size_t)(after - text);
}

bool trial_parse_duration(const char *text, uint32_t *seconds)
{
	static const struct {
		const char *unit;
		double seconds;
	} units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 } };
	const char *end;
	double number;

	if (!parse_number(text, &number, &end))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit))
			continue;
		number *= units[i].seconds;
		*seconds = number >= 1 && number <= DURATION_MAX_S ? (uint32_t)number : 0;
		return *seconds != 0;
	}
	return false;
}

bool trial_parse_window(const char *text, uint16_t *seconds)
{
	uint32_t number;

	if (!trial_parse_duration(text, &number) || number < 3 || number > UINT16_MAX)
		return false;
	*seconds = (uint16_t)number;
	return true;
}

bool trial_parse_guard(const char *text, struct wire_trial *settings)
{
	const char *at = text;
	double quantile = 50, percent;

	if (!strncmp(at, "median", strlen("median")))
		at += strlen("median");
	else if (*at != 'p' || !parse_number(at + 1, &quantile, &at))
		return false;
	while (*at == ' ')
		at++;
	if (strncmp(at, "worse by ", strlen("worse by ")) || !parse_number(at + strlen("worse by "), &percent, &at))
		return false;
	while (*at == ' ')
		at++;
	if (strcmp(at, "%") || quantile <= 0 || quantile >= 100 || percent > 100000)
		return false;
	settings->guard_ppm = (uint32_t)lround(quantile * 1e4);
	settings->guard_permille = (uint32_t)lround(percent * 10);
	return settings->guard_ppm > 0 && settings->guard_ppm < 1000000;
}

bool trial_parse_uid(const char *text, uint32_t *uid)
{
	const struct passwd *user;
	const char *end;
	double number;

	if (parse_number(text, &number, &end) && !*end) {
		*uid = (uint32_t)number;
		return number < UINT32_MAX && number == floor(number);
	}
	user = getpwnam(text);
	if (user)
		*uid = user->pw_uid;
	return user != NULL;
}

bool trial_parse_percent(const char *text, uint32_t *permyriad)
{
	const char *end;
	double number;

	if (!parse_number(text, &number, &end) || (*end && strcmp(end, "%")))
		return false;
	*permyriad = number < 100 ? (uint32_t)lround(number * 100) : 0;
	return *permyriad > 0 && *permyriad < 10000;
}

bool trial_parse_port(const char *text, uint16_t *port_h)
{
	const char *end;
	double number;

	if (!parse_number(text, &number, &end) || *end || number < 1 || number > 65535 || number != floor(number))
		return false;
	*port_h = (uint16_t)number;
	return true;
}
