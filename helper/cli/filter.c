/* SPDX-License-Identifier: BSD-2-Clause */
/* Which rows are shown: see filter.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/memory.h"
#include "../wire/reason.h"
#include "fields.h"
#include "filter.h"
#include "trial.h"

/* Whether it is one of them; else a message that lists them. NULL is fine. */
static bool is_name(const char *title, const char *option, const char *text, const char *(*name)(unsigned),
		    unsigned count)
{
	for (unsigned i = 0; text && i < count; i++)
		if (!strcmp(name(i), text))
			return true;
	if (!text)
		return true;
	fprintf(stderr, "%s: --%s %s: there is no such %s; one of", title, option, text, option);
	for (unsigned i = 0; i < count; i++)
		fprintf(stderr, "%s %s", i ? "," : "", name(i));
	fputc('\n', stderr);
	return false;
}

static bool is_pid(const char *text)
{
	char *end;
	unsigned long pid = strtoul(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end && pid > 0 && pid <= INT32_MAX;
}

bool filter_is_good(const struct filter *filter, const char *title)
{
	uint16_t port_h;

	if (filter->pid && !is_pid(filter->pid)) {
		fprintf(stderr, "%s: --pid %s: not the number of a process\n", title, filter->pid);
		return false;
	}
	if (filter->port && !trial_parse_port(filter->port, &port_h)) {
		fprintf(stderr, "%s: --port %s: not a port, from 1 to 65535\n", title, filter->port);
		return false;
	}
	return is_name(title, "state", filter->state, conn_state_name, CONN_STATE_COUNT) &&
	       is_name(title, "reason", filter->reason, reason_name, REASON_COUNT);
}

/* "address:port" */
static bool has_port(const json_t *row, const char *key, const char *port)
{
	const char *colon = strrchr(fields_text(row, key), ':');

	return colon && strtoul(colon + 1, NULL, 10) == strtoul(port, NULL, 10);
}

static bool is_shown(const struct filter *filter, const json_t *row)
{
	return (!filter->pid || fields_number(row, "pid") == strtoul(filter->pid, NULL, 10)) &&
	       (!filter->port || has_port(row, "local", filter->port) || has_port(row, "remote", filter->port)) &&
	       (!filter->state || !strcmp(fields_text(row, "state"), filter->state)) &&
	       (!filter->reason || !strcmp(fields_text(row, "reason"), filter->reason));
}

void filter_rows(const struct filter *filter, json_t *rows)
{
	json_t *shown = json_array(), *row;
	size_t i;

	json_array_foreach (rows, i, row) {
		if (is_shown(filter, row))
			json_array_append(shown, row);
	}
	json_array_clear(rows);
	json_array_extend(rows, shown);
	json_decref(shown);
}
