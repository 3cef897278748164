/* SPDX-License-Identifier: BSD-2-Clause */
/* Which rows `smaccel ss` shows: those that all that is given holds of. */
#ifndef SMACCEL_CLI_FILTER_H
#define SMACCEL_CLI_FILTER_H

#include <jansson.h>
#include <stdbool.h>

/* As given; NULL: any. */
struct filter {
	const char *pid, *port, *state, *reason;
};

/* Whether they name what there is. False after a message on stderr, which lists the names. */
bool filter_is_good(const struct filter *filter, const char *title);
/* Takes out of an array what is not to be shown. */
void filter_rows(const struct filter *filter, json_t *rows);

#endif
