/* SPDX-License-Identifier: BSD-2-Clause */
/* Names, explanations and kinds of the reasons; the one list is reason.def. */
#include <stddef.h>
#include <string.h>

#include "reason.h"

#define REASON_RESERVED "never given"

static const char *const names[] = {
#define REASON(id, name, text) [id] = name,
#include "reason.def"
#undef REASON
};

static const char *const texts[] = {
#define REASON(id, name, text) [id] = text,
#include "reason.def"
#undef REASON
};

_Static_assert(sizeof(names) / sizeof(names[0]) == REASON_COUNT, "a name for each reason");
_Static_assert(sizeof(texts) / sizeof(texts[0]) == REASON_COUNT, "a text for each reason");

bool reason_is_transient(unsigned reason)
{
	switch (reason) {
	case REASON_BLOCKED_READER:
	case REASON_UNSEEN_TRAFFIC:
	case REASON_BUSY:
	case REASON_SHARED:
	case REASON_NOT_ESTABLISHED:
	case REASON_TABLE_FULL:
	case REASON_TIMEOUT: /* the shim's alone */
	case REASON_ABANDONED:
	case REASON_INTERNAL:
		return true;
	default:
		return false;
	}
}

const char *reason_name(unsigned reason)
{
	return reason < REASON_COUNT && names[reason] ? names[reason] : "unknown";
}

unsigned reason_of_name(const char *name)
{
	unsigned reason = 0;

	while (reason < REASON_COUNT && strcmp(names[reason], name))
		reason++;
	return reason;
}

const char *reason_text(unsigned reason)
{
	return reason < REASON_COUNT && texts[reason] ? texts[reason] : "not a reason that this version knows";
}
