/* SPDX-License-Identifier: BSD-2-Clause */
/* Which socket options a joined end cannot honour, and what becomes of a call that sets one. */
#ifndef SMACCEL_OPTION_RULES_H
#define SMACCEL_OPTION_RULES_H

#include <stdbool.h>

#include "../helper/wire/reason.h"

/* The values of an option that matter. */
enum condition {
	ANY_VALUE,
	NOT_ZERO,
	ABOVE_ONE,
	NOT_NEGATIVE,
	NOT_ALL_ONES,
};

/* What becomes of the call when the end could not leave and is only pinned. */
enum fallback {
	REFUSE, /* ENOPROTOOPT, the answer of a kernel without the feature: it would act on redirected bytes wrongly */
	EMPTY, /* the same, but if it is only the peer that has such bytes unread: nothing comes here past TCP any more */
	PASS,   /* what TCP carries from now on is served right */
	FILTER, /* the same, but not while the helper does not answer and nothing is pinned */
	STAY,   /* TCP_INQ: it need not leave, the wrappers do what TCP would (inq.h) */
};

struct option_rule {
	int level;
	int name;
	enum condition condition;
	enum sm_reason reason;
	enum fallback fallback;
	bool can_be_asked; /* by option_check(), with getsockopt and an int */
	bool tells_pieces; /* shows how many pieces a send passes in */
};

/* The rule for an option; NULL: none, it passes. */
const struct option_rule *option_rule_find(int level, int name);
/* Whether that value is one that the end must leave for. */
bool option_rule_holds(const struct option_rule *rule, int value);

#endif
