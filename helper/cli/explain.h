/* SPDX-License-Identifier: BSD-2-Clause */
/* What `smaccel explain` finds out of a process. */
#ifndef SMACCEL_CLI_EXPLAIN_H
#define SMACCEL_CLI_EXPLAIN_H

#include <jansson.h>
#include <stdbool.h>

#include "running.h"

#define TEXT_BYTES 1024

struct explanation {
	const char *title, *socket_path;
	json_t *findings;    /* {subject, hinders, text} */
	json_t *connections; /* {state, reason, text, count, remote}; NULL: not known */
	bool hindered;
	bool failed; /* no memory */
};

/* `hinders`: it keeps all of the process's connections on plain TCP. */
__attribute__((format(printf, 4, 5))) void explanation_find(struct explanation *explanation, const char *subject,
							    bool hinders, const char *format, ...);

/* The library, the filter, the settings (explain_process.c), the limits (explain_limits.c). */
void explain_process(struct explanation *explanation, const struct running *running);
void explain_limits(struct explanation *explanation, const struct running *running);
/* Whether the process's user may connect to the helper's socket, of which `path` is the process's name. False with a finding that says
 * where not; true also where that cannot be told: it takes root (explain_reach.c). */
bool explain_reach(struct explanation *explanation, const struct running *running, const char *path);

#endif
