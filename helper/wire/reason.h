/* SPDX-License-Identifier: BSD-2-Clause */
/* Reasons: why a connection is where it is. Every connection has exactly one at all times. */
#ifndef SMACCEL_WIRE_REASON_H
#define SMACCEL_WIRE_REASON_H

enum sm_reason {
#define REASON(id, name, text) id,
#include "reason.def"
#undef REASON
	REASON_COUNT
};

/* The name shown by `ss` and `status` ("unseen-traffic"); never NULL, "unknown" for a bad value. */
const char *reason_name(unsigned reason);
/* One sentence for a person; never NULL. */
const char *reason_text(unsigned reason);

#endif
