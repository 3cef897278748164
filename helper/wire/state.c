/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of the states a connection goes through in the shim, as `ss` shows them. */
#include <stddef.h>

#include "memory.h"

static const char *const names[] = {
	[CONN_FREE] = "free",     [CONN_WATCHING] = "watching", [CONN_OFFERED] = "offered", [CONN_JOINING] = "joining",
	[CONN_JOINED] = "joined", [CONN_ARMED] = "armed",       [CONN_PINNED] = "pinned",   [CONN_LEAVING] = "leaving",
	[CONN_LEFT] = "left",     [CONN_REFUSED] = "refused",
};

_Static_assert(sizeof(names) / sizeof(names[0]) == CONN_STATE_COUNT, "a name for each state");

const char *conn_state_name(unsigned state)
{
	return state < CONN_STATE_COUNT && names[state] ? names[state] : "unknown";
}
