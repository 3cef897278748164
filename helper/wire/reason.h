/* SPDX-License-Identifier: BSD-2-Clause */
/* Reasons: why a connection is where it is. Every connection has exactly one at all times. */
#ifndef SMACCEL_WIRE_REASON_H
#define SMACCEL_WIRE_REASON_H

#include <stdbool.h>

enum sm_reason {
#define REASON(id, name, text) id,
#include "reason.def"
#undef REASON
	REASON_COUNT
};

/* Whether the same end may be let in a moment later. (Accounts do not match while another thread is in a call.) The helper keeps its
 * offer, the shim asks again after a while. */
bool reason_is_transient(unsigned reason);
/* The name shown by `ss` and `status` ("unseen-traffic"); never NULL, "unknown" for a bad value. */
const char *reason_name(unsigned reason);
/* The reason of that name; REASON_COUNT for one that this version does not know. */
unsigned reason_of_name(const char *name);
/* One sentence for a person; never NULL. */
const char *reason_text(unsigned reason);

#endif
